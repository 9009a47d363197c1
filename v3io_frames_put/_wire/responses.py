"""Answers of the web API -> values. Pure.

An answer is data from outside. Every parser returns a checked value or raises: ProtocolError, or
UnbelievableAnswerError for PutRecords. No number, text or depth in it may raise anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pyarrow as pa
import pybase64

from v3io_frames_put._wire.api import LAST_SEQUENCE_NUMBER, UnreadableJsonError, parse_json
from v3io_frames_put._wire.bodies import NO_SHARD
from v3io_frames_put.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from v3io_frames_put._wire.api import Answer
    from v3io_frames_put._wire.bodies import Entries

_MAX_INT32: Final = 2**31 - 1
_MAX_INT64: Final = 2**63 - 1
_DIGITS: Final = 18  # of a number that 64 bits surely hold
# The documents allow 4,096, and a later release may allow more: beyond this it is an error, and
# whoever reads each shard would never come to an end.
MAX_SHARD_COUNT: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class StreamDescription:
    """The shards and the retention of a stream.

    Attributes
    ----------
    shards : int
        Its shards are numbered from 0 to one less.
    retention_hours : int
        How long a record is surely kept.
    """

    shards: int
    retention_hours: int


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One object of a directory.

    Attributes
    ----------
    key : str
        Its path inside the container.
    last_sequence_number : int or None
        Of a shard, where the platform lists it.
    """

    key: str
    last_sequence_number: int | None


@dataclass(frozen=True, slots=True)
class ListingPage:
    """A page of a directory's content.

    Attributes
    ----------
    objects, directories : tuple
        What is in it; directories end in a slash.
    next_marker : str or None
        Where the next page begins. None: this is the last one.
    """

    objects: tuple[ListedObject, ...]
    directories: tuple[str, ...]
    next_marker: str | None


def parse_description(answer: Answer) -> StreamDescription:
    """Parse the answer to DescribeStream."""
    fields = load_object(answer, "DescribeStream")
    shards = whole_number(fields, "ShardCount", "DescribeStream")
    if not 1 <= shards <= MAX_SHARD_COUNT:
        why = f"ShardCount is {shards:,}; expected 1 to {MAX_SHARD_COUNT:,}"
        raise broken("DescribeStream", why, answer)
    return StreamDescription(
        shards=shards,
        retention_hours=whole_number(fields, "RetentionPeriodHours", "DescribeStream"),
    )


def parse_location(answer: Answer) -> str:
    """Parse the answer to Seek."""
    location = load_object(answer, "Seek").get("Location")
    if not isinstance(location, str) or not location:
        raise broken("Seek", "it has no Location", answer)
    return location


def parse_last_sequence_number(answer: Answer) -> int | None:
    """Parse the answer to GetItem of a shard; None: the shard has no such attribute."""
    item = load_object(answer, "GetItem").get("Item")
    attribute = item.get(LAST_SEQUENCE_NUMBER) if isinstance(item, dict) else None
    number = attribute.get("N") if isinstance(attribute, dict) else None
    return _digits(number)


def parse_listing(answer: Answer) -> ListingPage:
    """Parse a page of a directory listing."""
    try:
        # expat bounds entity expansion itself; the platform is who we sent our key to.
        root = ET.fromstring(answer.body)  # noqa: S314
    except (ET.ParseError, LookupError, ValueError) as error:  # the last two: of its encoding
        raise broken("the listing", f"it is not XML ({error})", answer) from error
    objects = tuple(_listed_object(node, answer) for node in _children(root, "Contents"))
    directories = tuple(_text(node, "Prefix") for node in _children(root, "CommonPrefixes"))
    # NextMarker is filled on the last page, too.
    is_cut = _text(root, "IsTruncated").lower() == "true"
    marker = _text(root, "NextMarker")
    if is_cut and not marker:
        raise broken("the listing", "it is cut, and has no NextMarker", answer)
    return ListingPage(objects, directories, marker if is_cut else None)


def load_object(answer: Answer, function: str) -> dict[str, Any]:
    """Parse a body that has to be a JSON object."""
    try:
        fields = parse_json(answer.body)
    except UnreadableJsonError as error:
        raise broken(function, f"it {error}", answer) from error
    if not isinstance(fields, dict):
        raise broken(function, "it is not a JSON object", answer)
    return fields


def whole_number(fields: dict[str, Any], name: str, function: str) -> int:
    """Return a field that has to be a whole number."""
    value = fields.get(name)
    if type(value) is not int or not 0 <= value <= _MAX_INT64:
        raise ProtocolError(
            f"the answer to {function} has no whole number {name}. "
            f"Check that the endpoint is a v3io web API."
        )
    return value


def broken(function: str, why: str, answer: Answer) -> ProtocolError:
    """Return the error for an answer that cannot be parsed; it does not show the body."""
    return ProtocolError(
        f"the answer to {function} ({len(answer.body):,} bytes) cannot be read: {why}. "
        f"Check that the endpoint is a v3io web API.",
        status=answer.status,
    )


def _listed_object(node: ET.Element, answer: Answer) -> ListedObject:
    key = _text(node, "Key")
    if not key:
        raise broken("the listing", "an entry has no Key", answer)
    # Two spellings are in use: v3io-go reads the first, v3io-py the second.
    number = _text(node, "LastSequenceId") or _text(node, "LastSequenceID")
    return ListedObject(key, _digits(number))


def _digits(text: object) -> int | None:
    """Parse a number that is written as text; None: it is not one, or too large for a record's."""
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        return None
    return int(text)


def _children(node: ET.Element, name: str) -> list[ET.Element]:
    """Return the children of a name, in whatever namespace the platform puts them."""
    return [child for child in node if child.tag.rpartition("}")[2] == name]


def _text(node: ET.Element, name: str) -> str:
    return next(((child.text or "") for child in _children(node, name)), "")


RECORD_SCHEMA: Final = pa.schema(
    [
        pa.field("sequence_number", pa.int64(), nullable=False),
        pa.field("arrival_time", pa.timestamp("ns", tz="UTC"), nullable=False),
        pa.field("partition_key", pa.string()),
        pa.field("client_info", pa.binary()),
        pa.field("data", pa.large_binary(), nullable=False),
    ]
)
_FUNCTION: Final = "GetRecords"
_NANOSECONDS: Final = 1_000_000_000
_PAD: Final = ord("=")
_DIGITS_PER_GROUP: Final = 4  # of Base64 text, for three bytes
_MAX_PADS: Final = 2


@dataclass(frozen=True, slots=True)
class RecordPage:
    """The records of one GetRecords.

    Attributes
    ----------
    records : RecordBatch
        In stored order; ``RECORD_SCHEMA``.
    next_location : str
        Where to go on.
    records_behind : int
        How many more the shard held then.
    """

    records: pa.RecordBatch
    next_location: str
    records_behind: int


def parse_record_page(answer: Answer) -> RecordPage:
    """Parse the answer to GetRecords."""
    fields = load_object(answer, _FUNCTION)
    records, location = fields.get("Records"), fields.get("NextLocation")
    if not isinstance(records, list) or set(map(type, records)) - {dict}:
        raise broken(_FUNCTION, "it has no list Records", answer)
    if not isinstance(location, str) or not location:
        raise broken(_FUNCTION, "it has no NextLocation", answer)
    records_behind = whole_number(fields, "RecordsBehindLatest", _FUNCTION)
    try:
        return RecordPage(_record_columns(records), location, records_behind)
    except (ValueError, TypeError, OverflowError, KeyError, pa.ArrowException) as error:
        why = f"a record is malformed ({type(error).__name__})"
        raise broken(_FUNCTION, why, answer) from error


def _record_columns(records: list[dict[str, Any]]) -> pa.RecordBatch:
    seconds = _whole(records, "ArrivalTimeSec")
    arrival = seconds * _NANOSECONDS + _whole(records, "ArrivalTimeNSec")
    numbers = _whole(records, "SequenceNumber")
    if (np.diff(numbers) <= 0).any():
        raise ValueError("SequenceNumber")
    columns = [
        pa.array(numbers),
        pa.array(arrival).cast(RECORD_SCHEMA.field("arrival_time").type),
        pa.array([record.get("PartitionKey") for record in records], pa.string()),
        decode_base64([record.get("ClientInfo") for record in records]).cast(pa.binary()),
        decode_base64([_text_column(record["Data"]) for record in records]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=RECORD_SCHEMA)


def _whole(records: list[dict[str, Any]], name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    values = [record[name] for record in records]
    if set(map(type, values)) - {int}:
        raise ValueError(name)
    return np.array(values, np.int64)


def _text_column(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("Data")
    return value


def decode_base64(texts: Sequence[str | None]) -> pa.LargeBinaryArray:
    """Decode many Base64 texts in one pass; None stays None.

    Every text fills whole groups of four digits, so all of them are decoded as one text, with
    "A" (zero bits) in place of the padding; the bytes that the padding made are then left out:

        texts     YQ==   YmI=   None   -> sizes 4, 4, 0
        digits    YQAA YmIA            -> a 0 0 b b 0
        kept      a     b b            -> offsets 0, 1, 3, 3

    Raises
    ------
    ValueError
        One of them is not Base64.
    """
    sizes = np.array([0 if text is None else len(text) for text in texts], np.int64)
    digits = np.frombuffer("".join([text or "" for text in texts]).encode("ascii"), np.uint8)
    if (sizes % _DIGITS_PER_GROUP).any():
        raise ValueError("Base64 text of a broken length")
    pads = _count_pads(digits, np.cumsum(sizes))
    filled = np.where(digits == _PAD, ord("A"), digits)
    decoded = np.frombuffer(pybase64.b64decode(filled.data, validate=True), np.uint8)
    sizes = sizes // _DIGITS_PER_GROUP * 3
    ends = np.cumsum(sizes)
    keep = np.ones(len(decoded), np.bool_)
    for nth in range(1, _MAX_PADS + 1):
        keep[ends[pads >= nth] - nth] = False
    offsets = np.concatenate([[0], np.cumsum(sizes - pads)])
    nulls = pa.array([text is not None for text in texts], pa.bool_()).buffers()[1]
    buffers = [nulls, pa.py_buffer(offsets), pa.py_buffer(decoded[keep])]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(texts), buffers)


def _count_pads(digits: Any, ends: Any) -> Any:
    """Count the padding at the end of each text; anywhere else there may be none."""
    pads = np.zeros(len(ends), np.int64)
    filled = np.diff(ends, prepend=0) > 0
    last = ends[filled] - 1
    one = digits[last] == _PAD
    two = one & (digits[last - 1] == _PAD)
    pads[filled] = one.astype(np.int64) + two
    if pads.sum() != np.count_nonzero(digits == _PAD):
        raise ValueError("Base64 padding inside a text")
    return pads


NOWHERE: Final = -1  # shard and number of a record that is not stored
_MAX_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class RecordErrors:
    """The records that a believed answer does not call stored."""

    positions: NDArray[np.intp]
    codes: list[int]
    names: list[str]


@dataclass(frozen=True, slots=True)
class PutAnswer:
    """What a believed answer says of each record, in request order.

    Attributes
    ----------
    stored : ndarray of bool
        Whether the record is stored.
    shard_id : ndarray of int32
        Its shard, or -1.
    sequence_number : ndarray of int64
        Its number in the shard, or -1.
    errors : RecordErrors
        The others.
    """

    stored: NDArray[np.bool_]
    shard_id: NDArray[np.int32]
    sequence_number: NDArray[np.int64]
    errors: RecordErrors

    @property
    def all_stored(self) -> bool:
        """Whether every record is stored."""
        return not self.errors.codes


class _Entry(msgspec.Struct, rename="pascal", gc=False):
    """What an answer says of one record: where it is stored, or why it is not."""

    shard_id: int = NOWHERE
    sequence_number: int = NOWHERE
    error_code: int | None = None
    error_message: Any = None


class _Answer(msgspec.Struct, rename="pascal"):
    """An answer; parsed into typed values, whole or not at all."""

    failed_record_count: int
    records: list[_Entry]


_ANSWER: Final = msgspec.json.Decoder(_Answer)
# These go through a thousand records without entering a Python function.
_shard_id: Final = attrgetter("shard_id")
_sequence_number: Final = attrgetter("sequence_number")
_error_code: Final = attrgetter("error_code")


class UnbelievableAnswerError(Exception):
    """Why a 200 answer is not believed; internal, becomes an unknown outcome."""


def parse_put_answer(body: bytes, entries: Entries) -> PutAnswer:
    """Parse the body of a 200 answer to a PutRecords request.

    Raises
    ------
    UnbelievableAnswerError
        The body contradicts itself, the request or the protocol.
    """
    answer = _parse(body, len(entries))
    columns = _answer_columns(answer.records, answer.failed_record_count)
    _check_shards(columns, entries)
    _check_numbers(columns)
    return columns


def _parse(body: bytes, expected: int) -> _Answer:
    try:
        answer: _Answer = parse_json(body, _decode)
    except UnreadableJsonError as error:
        raise UnbelievableAnswerError(f"the answer {error} ({len(body):,} bytes)") from error
    count = len(answer.records)
    if count != expected:
        raise UnbelievableAnswerError(f"the answer has {count} Records for {expected} sent")
    return answer


def _decode(body: bytes) -> _Answer:
    if not body.isascii():
        body.decode()  # msgspec does not look at the text of fields that it leaves out
    try:
        return _ANSWER.decode(body)
    except msgspec.ValidationError as error:
        raise UnbelievableAnswerError(f"the answer has another form: {error}") from error


def _answer_columns(records: list[_Entry], failed: int) -> PutAnswer:
    codes = list(map(_error_code, records))
    positions = [at for at, code in enumerate(codes) if code] if any(codes) else []
    if len(positions) != failed:
        raise UnbelievableAnswerError("FailedRecordCount disagrees with the Records")
    errors = RecordErrors(
        positions=np.array(positions, np.intp),
        codes=_numbers("ErrorCode", [codes[at] for at in positions]).tolist(),
        names=[_name(records[at].error_message) for at in positions],
    )
    shards = _numbers("ShardId", map(_shard_id, records))
    numbers = _numbers("SequenceNumber", map(_sequence_number, records))
    stored = np.ones(len(records), np.bool_)
    for field, column, maximum in (
        ("ShardId", shards, _MAX_INT32),
        ("SequenceNumber", numbers, _MAX_INT64),
    ):
        column[errors.positions] = 0  # of these, nothing is expected
        _check_range(field, column, maximum)
        column[errors.positions] = NOWHERE
    stored[errors.positions] = False
    return PutAnswer(stored, shards.astype(np.int32), numbers, errors)


def _name(message: Any) -> str:
    return message[:_MAX_NAME] if message and isinstance(message, str) else "unnamed"


def _numbers(field: str, values: Iterable[Any]) -> NDArray[np.int64]:
    try:
        return np.fromiter(values, np.int64)
    except OverflowError as error:
        raise UnbelievableAnswerError(f"a {field} is out of range") from error


def _check_range(field: str, numbers: NDArray[np.int64], maximum: int) -> None:
    """Check numbers before they are cast to fewer bits, which wraps around."""
    if numbers.min(initial=0) < 0:
        raise UnbelievableAnswerError(f"a {field} is missing or negative")
    if numbers.max(initial=0) > maximum:
        raise UnbelievableAnswerError(f"a {field} is out of range")


def _check_shards(answer: PutAnswer, entries: Entries) -> None:
    """Check that records are in the shard that was given, and equal keys in one shard."""
    is_given = entries.shard != NO_SHARD
    if ((entries.shard != answer.shard_id) & is_given & answer.stored).any():
        raise UnbelievableAnswerError("a record is said to be in another shard than it asked for")
    is_keyed = (entries.destination != 0) & answer.stored & ~is_given
    keys = entries.destination[is_keyed]
    if not len(keys):
        return
    order = keys.argsort()
    keys, shards = keys[order], answer.shard_id[is_keyed][order]
    if ((keys[1:] == keys[:-1]) & (shards[1:] != shards[:-1])).any():
        raise UnbelievableAnswerError("one partition key is said to be in two shards")


def _check_numbers(answer: PutAnswer) -> None:
    """Check that sequence numbers ascend within each shard.

    Sorted by shard, in the order of the request within each:

        shard    0   0   0   1   1
        number   4   7   8   2   3     the step from 8 to 2 is between two shards
    """
    shards, numbers = answer.shard_id, answer.sequence_number
    if not answer.all_stored:
        shards, numbers = shards[answer.stored], numbers[answer.stored]
    if not (shards >> 16).any():
        shards = shards.astype(np.uint16)  # which a radix sort takes
    order = shards.argsort(kind="stable")
    shards, numbers = shards[order], numbers[order]
    if ((shards[1:] == shards[:-1]) & (numbers[1:] <= numbers[:-1])).any():
        raise UnbelievableAnswerError("sequence numbers do not ascend within a shard")

"""Answers of the web API -> values. Pure.

An answer is data from outside. Every parser returns a checked value or raises: ProtocolError, or
UnbelievableAnswerError for PutRecords. No number, text or depth in it may raise anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, TypeVar
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pyarrow as pa

from ..errors import ProtocolError
from .api import LAST_SEQUENCE_NUMBER, Answer, UnreadableJsonError, canonical_name, parse_json
from .bodies import NO_SHARD, Entries

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


_MAX_INT32: Final = 2**31 - 1
_MAX_INT64: Final = 2**63 - 1
_DIGITS: Final = 18  # of a number that 64 bits surely hold
# The documents allow 4,096, and a later release may allow more: beyond this it is an error, and
# whoever reads each shard would never come to an end.
MAX_SHARD_COUNT: Final = 1 << 16
_SECOND: Final = 1_000_000_000  # nanoseconds

_Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]
_Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=_MAX_INT64)]
_Seconds: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=_MAX_INT64 // _SECOND)]
_Nanoseconds: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=_SECOND)]
_Shards: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MAX_SHARD_COUNT)]


# The JSON of answers, parsed into typed values, whole or not at all.
class _Location(msgspec.Struct, rename="pascal"):
    location: _Text


class _Item(msgspec.Struct, rename="pascal"):
    item: Any = None


class _Record(msgspec.Struct, rename="pascal", gc=False):
    sequence_number: _Number
    arrival_time_sec: _Seconds
    arrival_time_nsec: _Nanoseconds = msgspec.field(name="ArrivalTimeNSec")
    data: bytes  # msgspec decodes Base64
    partition_key: str | None = None
    client_info: bytes | None = None


class _Page(msgspec.Struct, rename="pascal"):
    records: list[_Record]
    next_location: _Text
    records_behind_latest: _Number


class StreamDescription(msgspec.Struct, frozen=True):
    """The shards and the retention of a stream.

    Attributes
    ----------
    shards : int
        Its shards are numbered from 0 to one less.
    retention_hours : int
        How long a record is surely kept.
    """

    shards: _Shards = msgspec.field(name="ShardCount")
    retention_hours: _Number = msgspec.field(name="RetentionPeriodHours")


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One object of a directory."""

    key: str  # its path inside the container
    last_sequence_number: int | None  # of a shard, where the platform lists it


@dataclass(frozen=True, slots=True)
class ListingPage:
    """A page of a directory's content."""

    objects: tuple[ListedObject, ...]
    directories: tuple[str, ...]  # each ends in a slash
    next_marker: str | None  # where the next page begins; None: this is the last one


def parse_description(answer: Answer) -> StreamDescription:
    """Parse the answer to DescribeStream."""
    return _parse(answer, "DescribeStream", StreamDescription)


def parse_location(answer: Answer) -> str:
    """Parse the answer to Seek."""
    return _parse(answer, "Seek", _Location).location


def parse_last_sequence_number(answer: Answer) -> int | None:
    """Parse the answer to GetItem of a shard; None: the shard has no such attribute."""
    item = _parse(answer, "GetItem", _Item).item
    attribute = item.get(LAST_SEQUENCE_NUMBER) if isinstance(item, dict) else None
    return _digits(attribute.get("N")) if isinstance(attribute, dict) else None


def parse_listing(answer: Answer) -> ListingPage:
    """Parse a page of a directory listing, in whatever namespace the platform puts it."""
    try:
        # expat bounds entity expansion itself; the platform is who we sent our key to.
        root = ET.fromstring(answer.body)  # noqa: S314
    except (ET.ParseError, LookupError, ValueError) as error:  # the last two: of its encoding
        raise _broken("the listing", f"is not XML ({error})", answer) from error
    if not root.tag.endswith("ListBucketResult"):  # a proxy's page would be an empty directory
        raise _broken("the listing", f"is {root.tag[:40]!r}, not ListBucketResult", answer)
    objects = []
    for node in root.iterfind("{*}Contents"):
        # Two spellings are in use: v3io-go reads the first, v3io-py the second.
        number = node.findtext("{*}LastSequenceId") or node.findtext("{*}LastSequenceID")
        objects.append(ListedObject(node.findtext("{*}Key") or "", _digits(number)))
    if not all(entry.key for entry in objects):
        raise _broken("the listing", "has an entry without Key", answer)
    directories = tuple(
        node.findtext("{*}Prefix") or "" for node in root.iterfind("{*}CommonPrefixes")
    )
    # NextMarker is filled on the last page, too.
    is_cut = root.findtext("{*}IsTruncated", "").lower() == "true"
    marker = root.findtext("{*}NextMarker")
    if is_cut and not marker:
        raise _broken("the listing", "is cut, and has no NextMarker", answer)
    return ListingPage(tuple(objects), directories, marker if is_cut else None)


_Fields = TypeVar("_Fields", bound=msgspec.Struct)


def _parse(answer: Answer, function: str, kind: type[_Fields]) -> _Fields:
    """Parse the JSON body of an answer; ProtocolError where it has another form."""
    try:
        return _decode(answer.body, msgspec.json.Decoder(kind))
    except UnreadableJsonError as error:
        raise _broken(function, str(error), answer) from error


def _decode(body: bytes, decoder: msgspec.json.Decoder[_Fields]) -> _Fields:
    def decode(body: bytes) -> _Fields:
        if not body.isascii():
            body.decode()  # msgspec does not look at the text of fields that it leaves out
        try:
            return decoder.decode(body)
        except msgspec.ValidationError as error:
            raise UnreadableJsonError(f"has another form: {error}") from error

    fields: _Fields = parse_json(body, decode)
    return fields


def _broken(function: str, why: str, answer: Answer) -> ProtocolError:
    """Return the error for an answer that cannot be parsed; it does not show the body."""
    return ProtocolError(
        f"the answer to {function} ({len(answer.body):,} bytes) {why}. "
        f"Check that the endpoint is a v3io web API.",
        status=answer.status,
    )


def _digits(text: object) -> int | None:
    """Parse a number that is written as text; None: it is not one, or too large for a record's."""
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        return None
    return int(text)


RECORD_SCHEMA: Final = pa.schema(
    [
        pa.field("sequence_number", pa.int64(), nullable=False),
        pa.field("arrival_time", pa.timestamp("ns", tz="UTC"), nullable=False),
        pa.field("partition_key", pa.string()),
        pa.field("client_info", pa.binary()),
        pa.field("data", pa.large_binary(), nullable=False),
    ]
)


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
    page = _parse(answer, "GetRecords", _Page)
    records = page.records
    numbers = [record.sequence_number for record in records]
    if any(second <= first for first, second in pairwise(numbers)):
        raise _broken("GetRecords", "has sequence numbers that do not ascend", answer)
    arrival = [record.arrival_time_sec * _SECOND + record.arrival_time_nsec for record in records]
    columns = [
        numbers,
        arrival,
        [record.partition_key for record in records],
        [record.client_info for record in records],
        [record.data for record in records],
    ]
    batch = pa.record_batch(
        [pa.array(*pair) for pair in zip(columns, RECORD_SCHEMA.types, strict=True)],
        schema=RECORD_SCHEMA,
    )
    return RecordPage(batch, page.next_location, page.records_behind_latest)


NOWHERE: Final = -1  # shard and number of a record that is not (known to be) stored


@dataclass(frozen=True, slots=True)
class PutAnswer:
    """What a believed answer says of each record, in request order; -1 where it is not stored."""

    stored: NDArray[np.bool_]
    shard_id: NDArray[np.int32]
    sequence_number: NDArray[np.int64]
    errors: list[tuple[int, int, str]]  # of these: position, code and name


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
    try:
        answer = _decode(body, _ANSWER)
    except UnreadableJsonError as error:
        raise UnbelievableAnswerError(f"the answer {error} ({len(body):,} bytes)") from error
    count = len(answer.records)
    if count != len(entries):
        raise UnbelievableAnswerError(f"the answer has {count} Records for {len(entries)} sent")
    columns = _answer_columns(answer.records, answer.failed_record_count)
    _check_shards(columns, entries)
    _check_numbers(columns)
    return columns


def _answer_columns(records: list[_Entry], failed: int) -> PutAnswer:
    codes = list(map(_error_code, records))
    failing = [at for at, code in enumerate(codes) if code] if any(codes) else []
    if len(failing) != failed:
        raise UnbelievableAnswerError("FailedRecordCount disagrees with the Records")
    failures = _numbers("ErrorCode", [codes[at] for at in failing]).tolist()
    names = [_name(records[at].error_message) for at in failing]
    errors, positions = list(zip(failing, failures, names, strict=True)), np.array(failing, np.intp)
    shards = _numbers("ShardId", map(_shard_id, records))
    numbers = _numbers("SequenceNumber", map(_sequence_number, records))
    stored = np.ones(len(records), np.bool_)
    for field, column in (("ShardId", shards), ("SequenceNumber", numbers)):
        column[positions] = 0  # of these, nothing is expected
        if column.min(initial=0) < 0:
            raise UnbelievableAnswerError(f"a {field} is missing or negative")
        column[positions] = NOWHERE
    if shards.max(initial=0) > _MAX_INT32:  # a cast to fewer bits would wrap it around
        raise UnbelievableAnswerError("a ShardId is out of range")
    stored[positions] = False
    return PutAnswer(stored, shards.astype(np.int32), numbers, errors)


def _name(message: Any) -> str:
    return canonical_name(message) if message and isinstance(message, str) else "unnamed"


def _numbers(field: str, values: Iterable[Any]) -> NDArray[np.int64]:
    try:
        return np.fromiter(values, np.int64)
    except OverflowError as error:
        raise UnbelievableAnswerError(f"a {field} is out of range") from error


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
    if answer.errors:
        shards, numbers = shards[answer.stored], numbers[answer.stored]
    if not (shards >> 16).any():
        shards = shards.astype(np.uint16)  # which a radix sort takes
    order = shards.argsort(kind="stable")
    shards, numbers = shards[order], numbers[order]
    if ((shards[1:] == shards[:-1]) & (numbers[1:] <= numbers[:-1])).any():
        raise UnbelievableAnswerError("sequence numbers do not ascend within a shard")

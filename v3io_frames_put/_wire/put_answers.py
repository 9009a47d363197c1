"""A PutRecords answer -> one outcome a record, or the reason not to believe it.

Believed only as contract section 3 says: it parses, its counts agree, its numbers
ascend per shard in request order, and shards are those that were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import orjson

from v3io_frames_put._wire.batches import NO_SHARD
from v3io_frames_put._wire.protocol import UnreadableJsonError, parse_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from v3io_frames_put._wire.batches import Entries

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


class _Entry(msgspec.Struct, rename="pascal", gc=False):
    """What an answer says of one record: where it stands, or why it does not."""

    shard_id: int = NOWHERE
    sequence_number: int = NOWHERE
    error_code: int | None = None
    error_message: Any = None


class _Answer(msgspec.Struct, rename="pascal"):
    """An answer; parsed into typed values, whole or not at all."""

    failed_record_count: int
    records: list[_Entry]


_ANSWER: Final = msgspec.json.Decoder(_Answer)


class UnbelievableAnswerError(Exception):
    """Why a 200 answer tells nothing; internal, becomes an unknown outcome."""


def parse_put_answer(body: bytes, entries: Entries) -> PutAnswer:
    """Parse the body of a 200 answer to a PutRecords request.

    Raises
    ------
    UnbelievableAnswerError
        The body contradicts itself, the request or the protocol.
    """
    told = _parse(body, len(entries))
    answer = _columns(told.records, told.failed_record_count)
    _check_shards(answer, entries)
    _check_numbers(answer)
    return answer


def write_put_answer(request_body: bytes | memoryview, last_number: int) -> tuple[bytes, int]:
    """Write the answer of a platform that stores every record of a PutRecords request.

    Parameters
    ----------
    request_body : bytes or memoryview
        The request.
    last_number : int
        The highest sequence number given so far.

    Returns
    -------
    body, last_number : bytes and int
        A body that is believed, and the highest number it gives. Records go to the shard
        they ask for, else to the first.
    """
    asked = orjson.loads(request_body)["Records"]
    stored = [
        {"ShardId": record.get("ShardId", 0), "SequenceNumber": number}
        for number, record in enumerate(asked, last_number + 1)
    ]
    body = orjson.dumps({"FailedRecordCount": 0, "Records": stored})
    return body, last_number + len(asked)


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


def _columns(records: list[_Entry], failed: int) -> PutAnswer:
    positions = [at for at, record in enumerate(records) if record.error_code]
    if len(positions) != failed:
        raise UnbelievableAnswerError("FailedRecordCount disagrees with the Records")
    stored = np.ones(len(records), np.bool_)
    stored[positions] = False
    shards = _numbers("ShardId", [record.shard_id for record in records])
    numbers = _numbers("SequenceNumber", [record.sequence_number for record in records])
    bad = [records[at] for at in positions]
    codes = _numbers("ErrorCode", [record.error_code for record in bad])
    errors = RecordErrors(
        positions=np.array(positions, np.intp),
        codes=codes.tolist(),
        names=[_name(record.error_message) for record in bad],
    )
    return PutAnswer(
        stored,
        shard_id=_place("ShardId", shards, stored, np.int32),
        sequence_number=_place("SequenceNumber", numbers, stored, np.int64),
        errors=errors,
    )


def _name(message: Any) -> str:
    return message[:_MAX_NAME] if message and isinstance(message, str) else "unnamed"


def _numbers(field: str, values: list[Any]) -> NDArray[np.int64]:
    try:
        return np.array(values, np.int64)
    except OverflowError as error:
        raise UnbelievableAnswerError(f"a {field} is out of range") from error


def _place(
    field: str, numbers: NDArray[np.int64], stored: NDArray[np.bool_], dtype: type
) -> NDArray[Any]:
    """Take where the stored records stand; checked in full width, for a cast wraps around."""
    placed = numbers[stored]
    if (placed < 0).any():
        raise UnbelievableAnswerError(f"a {field} is missing or negative")
    if (placed > np.iinfo(dtype).max).any():
        raise UnbelievableAnswerError(f"a {field} is out of range")
    column: NDArray[Any] = np.full(len(stored), NOWHERE, dtype)
    column[stored] = placed
    return column


def _check_shards(answer: PutAnswer, entries: Entries) -> None:
    asked = (entries.shard != NO_SHARD) & answer.stored
    if not np.array_equal(entries.shard[asked], answer.shard_id[asked]):
        raise UnbelievableAnswerError("a record is said to be in another shard than it asked for")
    keyed = answer.stored & (entries.shard == NO_SHARD) & (entries.destination != 0)
    keys, shards = entries.destination[keyed], answer.shard_id[keyed]
    order = np.argsort(keys)
    same_key = np.diff(keys[order]) == 0
    if (same_key & (np.diff(shards[order]) != 0)).any():
        raise UnbelievableAnswerError("one partition key is said to be in two shards")


def _check_numbers(answer: PutAnswer) -> None:
    shards = answer.shard_id[answer.stored]
    order = np.argsort(shards, kind="stable")
    same_shard = np.diff(shards[order]) == 0
    steps = np.diff(answer.sequence_number[answer.stored][order])
    if (same_shard & (steps <= 0)).any():
        raise UnbelievableAnswerError("sequence numbers do not ascend within a shard")

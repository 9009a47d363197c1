"""A PutRecords answer -> one outcome a record, or the reason not to believe it.

Believed only as contract section 3 says: it parses, its counts agree, its numbers
ascend per shard in request order, and shards are those that were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from v3io_frames_put._wire.batches import NO_SHARD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from v3io_frames_put._wire.batches import Entries


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


class UnbelievableAnswerError(Exception):
    """Why a 200 answer tells nothing; internal, becomes an unknown outcome."""


def parse_put_answer(body: bytes, entries: Entries) -> PutAnswer:
    """Parse the body of a 200 answer to a PutRecords request.

    Raises
    ------
    UnbelievableAnswerError
        The body contradicts itself, the request or the protocol.
    """
    records, failed = _load(body, len(entries))
    answer = _columns(records, failed)
    _check_shards(answer, entries)
    _check_numbers(answer)
    return answer


def write_put_answer(request_body: bytes, last_number: int) -> tuple[bytes, int]:
    """Write the answer of a platform that stores every record of a PutRecords request.

    Parameters
    ----------
    request_body : bytes
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


def _load(body: bytes, expected: int) -> tuple[list[dict[str, Any]], int]:
    try:
        loaded = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnbelievableAnswerError(f"the answer is not JSON ({len(body):,} bytes)") from error
    records = loaded.get("Records") if isinstance(loaded, dict) else None
    if not isinstance(records, list) or set(map(type, records)) - {dict}:
        raise UnbelievableAnswerError("the answer has no list Records")
    if len(records) != expected:
        raise UnbelievableAnswerError(f"the answer has {len(records)} Records for {expected} sent")
    failed = loaded.get("FailedRecordCount")
    if type(failed) is not int:
        raise UnbelievableAnswerError("the answer has no FailedRecordCount")
    return records, failed


def _columns(records: list[dict[str, Any]], failed: int) -> PutAnswer:
    positions = [at for at, record in enumerate(records) if "ErrorCode" in record] if failed else []
    good = records
    if positions:
        chosen = set(positions)
        good = [record for at, record in enumerate(records) if at not in chosen]
    if len(positions) != failed:
        raise UnbelievableAnswerError("FailedRecordCount disagrees with the Records")
    stored = np.ones(len(records), np.bool_)
    stored[positions] = False
    shard_id = np.full(len(records), -1, np.int32)
    sequence_number = np.full(len(records), -1, np.int64)
    shard_id[stored] = _whole_numbers(good, "ShardId", np.int32)
    sequence_number[stored] = _whole_numbers(good, "SequenceNumber", np.int64)
    bad = [records[at] for at in positions]
    _whole_numbers(bad, "ErrorCode", np.int64, negative=True)
    errors = RecordErrors(
        positions=np.array(positions, np.intp),
        codes=[record["ErrorCode"] for record in bad],
        names=[str(record.get("ErrorMessage") or "unnamed")[:200] for record in bad],
    )
    return PutAnswer(stored, shard_id, sequence_number, errors)


def _whole_numbers(
    records: list[dict[str, Any]], field: str, dtype: type, *, negative: bool = False
) -> NDArray[Any]:
    values = [record.get(field) for record in records]
    if set(map(type, values)) - {int}:
        raise UnbelievableAnswerError(f"a record has no whole number {field}")
    try:
        numbers: NDArray[np.int64] = np.array(values, np.int64)
    except OverflowError as error:
        raise UnbelievableAnswerError(f"a {field} is out of range") from error
    if not negative and (numbers < 0).any():
        raise UnbelievableAnswerError(f"a {field} is negative")
    if (numbers > np.iinfo(dtype).max).any():  # NumPy before 2 would wrap it around
        raise UnbelievableAnswerError(f"a {field} is out of range")
    return numbers.astype(dtype, copy=False)


def _check_shards(answer: PutAnswer, entries: Entries) -> None:
    asked = (entries.shard != NO_SHARD) & answer.stored
    if not np.array_equal(entries.shard[asked], answer.shard_id[asked]):
        raise UnbelievableAnswerError("a record is said to be in another shard than it asked for")
    keyed = answer.stored & (entries.shard == NO_SHARD) & (entries.destination != 0)
    order = np.argsort(entries.destination[keyed], kind="stable")
    same_key = np.diff(entries.destination[keyed][order]) == 0
    if (same_key & (np.diff(answer.shard_id[keyed][order]) != 0)).any():
        raise UnbelievableAnswerError("one partition key is said to be in two shards")


def _check_numbers(answer: PutAnswer) -> None:
    shards = answer.shard_id[answer.stored]
    order = np.argsort(shards, kind="stable")
    same_shard = np.diff(shards[order]) == 0
    steps = np.diff(answer.sequence_number[answer.stored][order])
    if (same_shard & (steps <= 0)).any():
        raise UnbelievableAnswerError("sequence numbers do not ascend within a shard")

"""GetRecords answers -> columns; no record becomes a Python object of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pybase64

from v3io_frames_put._wire.answers import broken, load_object, whole_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from v3io_frames_put._wire.exchange import Answer

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
    """What one GetRecords brought.

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
    """Read the answer to GetRecords."""
    fields = load_object(answer, _FUNCTION)
    records, location = fields.get("Records"), fields.get("NextLocation")
    if not isinstance(records, list) or set(map(type, records)) - {dict}:
        raise broken(_FUNCTION, "it has no list Records", answer)
    if not isinstance(location, str) or not location:
        raise broken(_FUNCTION, "it has no NextLocation", answer)
    behind = whole_number(fields, "RecordsBehindLatest", _FUNCTION)
    try:
        return RecordPage(_columns(records), location, behind)
    except (ValueError, TypeError, OverflowError, KeyError, pa.ArrowException) as error:
        why = f"a record is malformed ({type(error).__name__})"
        raise broken(_FUNCTION, why, answer) from error


def _columns(records: list[dict[str, Any]]) -> pa.RecordBatch:
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
        decode_base64([_text(record["Data"]) for record in records]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=RECORD_SCHEMA)


def _whole(records: list[dict[str, Any]], name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    values = [record[name] for record in records]
    if set(map(type, values)) - {int}:
        raise ValueError(name)
    return np.array(values, np.int64)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("Data")
    return value


def decode_base64(texts: Sequence[str | None]) -> pa.LargeBinaryArray:
    """Decode many Base64 texts in one pass; None stays None.

    Every text fills whole groups of four digits, so all of them can be decoded as one
    once the padding counts as digits; the bytes that padding made are then left out.

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

"""Columns to what routes a record: partition keys, shards, client info.

Each function takes one piece of a column, Arrow or Python objects, and returns one
Arrow array of the wire's type; what is wrong with one row goes to the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._rows.arrow_types import is_bytes, is_text, to_numpy
from v3io_frames_put._rows.json_cells import is_missing
from v3io_frames_put._rows.json_leaves import spell_uuids
from v3io_frames_put._rows.json_types import is_uuid
from v3io_frames_put.config import MAX_SHARDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from v3io_frames_put._rows.records import RejectionLog

_INT64_END: Final = 2.0**63


class Unfit(Exception):
    """A cell cannot be what it is mapped to; the text says why."""


def is_key_type(dtype: pa.DataType) -> bool:
    """Tell whether a column of the type can hold partition keys."""
    return is_text(dtype) or is_uuid(dtype) or is_shard_type(dtype)


def is_shard_type(dtype: pa.DataType) -> bool:
    """Tell whether a column of the type can hold shard numbers."""
    return bool(pt.is_integer(dtype) or pt.is_floating(dtype) or pt.is_null(dtype))


def is_client_info_type(dtype: pa.DataType) -> bool:
    """Tell whether a column of the type can hold client info."""
    return is_text(dtype) or is_bytes(dtype) or bool(pt.is_null(dtype))


def spell_keys(
    values: pa.Array | np.ndarray, name: str, max_bytes: int, log: RejectionLog
) -> pa.StringArray:
    """Return partition keys as text; integers as digits, also where they are floats."""
    if isinstance(values, np.ndarray):
        keys = _from_cells(values, name, "UnencodableValue", _spell_key, pa.string(), log)
    elif pt.is_floating(values.type):
        keys = _to_integers(values, name, "UnencodableValue", log).cast(pa.string())
    else:
        keys = spell_uuids(values) if is_uuid(values.type) else values.cast(pa.string())
    _refuse_long(keys, name, max_bytes, "PartitionKeyTooLong", log)
    return keys


def number_shards(values: pa.Array | np.ndarray, name: str, log: RejectionLog) -> pa.Int32Array:
    """Return shard numbers; only what no stream can have is refused here."""
    if isinstance(values, pa.StringArray):  # of a column of objects: this piece has no number
        values = to_numpy(values)
    if isinstance(values, np.ndarray):
        numbers = _from_cells(values, name, "ShardIdInvalid", _number_shard, pa.int64(), log)
    elif pt.is_floating(values.type):
        numbers = _to_integers(values, name, "ShardIdInvalid", log)
    elif pt.is_null(values.type):
        return values.cast(pa.int32())
    else:
        numbers = values
    wide = pa.uint64() if pt.is_unsigned_integer(numbers.type) else pa.int64()
    least, beyond = pa.scalar(0, wide), pa.scalar(MAX_SHARDS, wide)
    inside = pc.and_(pc.greater_equal(numbers, least), pc.less(numbers, beyond))
    for row in _true_rows(pc.invert(inside)):
        detail = f"column {name!r} holds shard {numbers[row]}; expected 0 to {MAX_SHARDS - 1:,}."
        log.add(row, "ShardIdInvalid", f"{detail} Correct it.")
    return pc.if_else(inside, numbers, None).cast(pa.int32())


def take_client_info(
    values: pa.Array | np.ndarray, name: str, max_bytes: int, log: RejectionLog
) -> pa.BinaryArray:
    """Return client info as bytes, text as UTF-8."""
    if isinstance(values, np.ndarray):
        info = _from_cells(values, name, "UnencodableValue", _take_bytes, pa.binary(), log)
    elif is_text(values.type):
        info = values.cast(pa.string()).cast(pa.binary())
    else:
        info = values.cast(pa.large_binary()).cast(pa.binary())
    _refuse_long(info, name, max_bytes, "ClientInfoTooLong", log)
    return info


def _to_integers(array: pa.Array, name: str, error: str, log: RejectionLog) -> pa.Int64Array:
    """Return integral floats as integers, NaN as null; refuse the rows of others."""
    floats = to_numpy(pc.fill_null(array.cast(pa.float64()), np.nan))
    missing = np.isnan(floats)
    fits = (np.trunc(floats) == floats) & (np.abs(floats) < _INT64_END)
    for row in np.flatnonzero(~fits & ~missing):
        detail = f"column {name!r} holds {floats[row]}, which is no whole number of 64 bits."
        log.add(row, error, f"{detail} Cast it to text or to an integer.")
    integers = np.where(fits, floats, 0).astype(np.int64)
    return pa.array(integers, mask=~fits)


def _refuse_long(
    values: pa.Array, name: str, max_bytes: int, error: str, log: RejectionLog
) -> None:
    lengths = pc.binary_length(values)
    for row in _true_rows(pc.greater(lengths, max_bytes)):
        detail = f"column {name!r} holds {lengths[row].as_py():,} bytes; at most {max_bytes:,}"
        log.add(row, error, f"{detail} are allowed. Shorten it.")


def _true_rows(mask: pa.BooleanArray) -> np.ndarray:
    if not mask.true_count:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(to_numpy(pc.fill_null(mask, False)))  # noqa: FBT003 - Arrow's signature


def _from_cells(
    cells: np.ndarray,
    name: str,
    error: str,
    take: Callable[[Any], Any],
    dtype: pa.DataType,
    log: RejectionLog,
) -> pa.Array:
    """Take Python objects one by one; refuse the rows of those that do not fit."""
    taken: list[Any] = [None] * len(cells)
    for row, cell in enumerate(cells):
        try:
            taken[row] = None if is_missing(cell) else take(cell)
        except Unfit as unfit:  # noqa: PERF203 - every cell is judged alone
            log.add(row, error, f"column {name!r} holds {unfit}.")
    return pa.array(taken, dtype)


def _refuse(cell: Any, expected: str) -> NoReturn:
    raise Unfit(f"a {type(cell).__name__}; expected {expected}. Cast it")


def _spell_key(cell: Any) -> str:
    if isinstance(cell, str):
        try:
            cell.encode()
        except UnicodeEncodeError:
            raise Unfit("a lone surrogate, which UTF-8 cannot hold. Correct it") from None
        return str.__str__(cell)
    return (
        str(cell) if isinstance(cell, UUID) else str(_take_integer(cell, "text or a whole number"))
    )


def _number_shard(cell: Any) -> int:
    number = _take_integer(cell, "a whole number")
    if not 0 <= number < MAX_SHARDS:
        raise Unfit(f"shard {number}; expected 0 to {MAX_SHARDS - 1:,}. Correct it")
    return number


def _take_integer(cell: Any, expected: str) -> int:
    is_whole = isinstance(cell, (int, np.integer)) and not isinstance(cell, (bool, np.timedelta64))
    if is_whole:
        return int(cell)
    is_float = isinstance(cell, (float, np.floating)) and abs(float(cell)) < _INT64_END
    return int(cell) if is_float and float(cell).is_integer() else _refuse(cell, expected)


def _take_bytes(cell: Any) -> bytes:
    if isinstance(cell, str):
        return cell.encode("utf-8", "surrogatepass")
    return (
        bytes(cell)
        if isinstance(cell, (bytes, bytearray, memoryview))
        else _refuse(cell, "bytes or text")
    )

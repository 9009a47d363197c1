"""Columns -> partition keys, shards, client info, and a stable number for each destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from ..config import MAX_SHARDS, Limits, RowOptions
from ..errors import ConfigError, UnsupportedType
from .layouts import blank, is_bytes, is_text, to_numpy
from .objects import is_missing
from .sources import Column, Reader, Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from .columns import Selection
    from .rejections import RejectionLog

_SEED: Final = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio
_MIXERS: Final = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))  # MurmurHash3
_SHIFT: Final = np.uint64(33)
_WORD_BYTES: Final = 8
_MASKS: Final = np.array([2 ** (8 * size) - 1 for size in range(_WORD_BYTES + 1)], np.uint64)


def hash_destinations(
    keys: pa.StringArray | None, shards: pa.Int32Array | None
) -> np.ndarray | None:
    """Return a 64-bit hash per record, 0 for none; None when there are no columns for it.

    The same destination has the same hash in every run, window and process. For example,
    the key ``"tail N14228"`` of 11 bytes::

        hash    11 * a constant
        word 1  "tail N14"   hash = mix(hash, word)
        word 2  "228"        the bytes beyond the key are masked off, then mixed
        last    all bits are spread, and the lowest is set: 0 means no destination
    """
    given = keys if keys is not None else shards
    if given is None:
        return None
    hashes = np.zeros(len(given), np.uint64)
    if keys is not None:
        hashes = np.where(to_numpy(keys.is_valid()), _hash_texts(keys), hashes)
    if shards is not None:
        numbers = shards.fill_null(0).to_numpy().astype(np.uint64)
        of_shards = _mix(numbers + _SEED) | np.uint64(1)
        hashes = np.where(to_numpy(shards.is_valid()), of_shards, hashes)
    return hashes


def _hash_texts(texts: pa.StringArray) -> np.ndarray:
    """Hash each text by its length and its bytes, eight at a time; never 0."""
    offsets = np.zeros(1, np.int32)
    if len(texts):
        offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset :][: len(texts) + 1]
    left, places = np.diff(offsets), offsets[:-1] - offsets[0]
    hashes = left.astype(np.uint64) * _MIXERS[0]
    symbols = np.zeros(offsets[-1] - offsets[0] + _WORD_BYTES, np.uint8)
    if len(symbols) > _WORD_BYTES:
        symbols[:-_WORD_BYTES] = np.frombuffer(texts.buffers()[2], np.uint8)[
            offsets[0] : offsets[-1]
        ]
    # The word that begins at each byte.
    words = np.ndarray(len(symbols) - _WORD_BYTES + 1, "<u8", symbols, strides=(1,))
    rows: Any = slice(None)
    while len(left):
        word = words[places] & _MASKS[np.minimum(left, _WORD_BYTES)]
        mixed = (hashes[rows] ^ word) * _SEED
        hashes[rows] = mixed ^ (mixed >> _SHIFT)
        longer = np.flatnonzero(left > _WORD_BYTES)
        rows = np.arange(len(texts))[rows][longer]
        left, places = left[longer] - _WORD_BYTES, places[longer] + _WORD_BYTES
    return _mix(hashes) | np.uint64(1)


def _mix(numbers: np.ndarray) -> np.ndarray:
    """Spread every input bit over all output bits (MurmurHash3's finalizer)."""
    for mixer in _MIXERS:
        numbers = (numbers ^ (numbers >> _SHIFT)) * mixer
    mixed: np.ndarray = numbers ^ (numbers >> _SHIFT)
    return mixed


_INT64_END: Final = 2.0**63


class _InvalidCell(Exception):
    """A cell cannot be what it is mapped to; the text says why."""


# -- what a cell maps to -------------------------------------------------------------------------


def can_be_bytes(dtype: pa.DataType) -> bool:
    """Return whether a column of the type holds bytes or text."""
    return is_text(dtype) or is_bytes(dtype) or bool(pt.is_null(dtype))


def _can_be_shard(dtype: pa.DataType) -> bool:
    return bool(pt.is_integer(dtype) or pt.is_floating(dtype) or pt.is_null(dtype))


def _can_be_key(dtype: pa.DataType) -> bool:
    return is_text(dtype) or _can_be_shard(dtype)


def to_bytes(values: pa.Array | np.ndarray, name: str, log: RejectionLog) -> pa.BinaryArray:
    """Return bytes as they are, text as UTF-8."""
    values = _refuse_type(values, can_be_bytes)
    if isinstance(values, np.ndarray):
        return _convert_cells(values, name, "UnencodableValue", _take_bytes, pa.binary(), log)
    if is_text(values.type):
        return values.cast(pa.string()).cast(pa.binary())
    return values.cast(pa.large_binary()).cast(pa.binary())  # one step lacks fixed sizes


def _format_keys(values: pa.Array | np.ndarray, name: str, log: RejectionLog) -> pa.StringArray:
    """Return partition keys as text; integers as digits, also where they are floats."""
    values = _refuse_type(values, _can_be_key)
    if isinstance(values, np.ndarray):
        return _convert_cells(values, name, "UnencodableValue", _format_key, pa.string(), log)
    if pt.is_floating(values.type):
        values = _to_integers(values, name, "UnencodableValue", log)
    return values.cast(pa.string())


def _number_shards(values: pa.Array | np.ndarray, name: str, log: RejectionLog) -> pa.Int32Array:
    """Return shard numbers; reject those that no stream can have."""
    if isinstance(values, pa.StringArray):  # of a column of objects: this piece has no number
        values = to_numpy(values)
    values = _refuse_type(values, _can_be_shard)
    if isinstance(values, np.ndarray):
        values = _convert_cells(values, name, "ShardIdInvalid", _take_integer, pa.int64(), log)
    elif pt.is_floating(values.type):
        values = _to_integers(values, name, "ShardIdInvalid", log)
    elif pt.is_null(values.type):
        return values.cast(pa.int32())
    wide = pa.uint64() if pt.is_unsigned_integer(values.type) else pa.int64()
    least, beyond = pa.scalar(0, wide), pa.scalar(MAX_SHARDS, wide)
    inside = pc.and_(pc.greater_equal(values, least), pc.less(values, beyond))
    for row in pc.indices_nonzero(pc.invert(inside)).to_pylist():
        detail = f"column {name!r} holds shard {values[row]}; expected 0 to {MAX_SHARDS - 1:,}."
        log.add(row, "ShardIdInvalid", f"{detail} Correct it.")
    return pc.if_else(inside, values, None).cast(pa.int32())


def _refuse_type(
    values: pa.Array | np.ndarray, is_fit: Callable[[pa.DataType], bool]
) -> pa.Array | np.ndarray:
    """Return a piece of another type as cells, none of which converts.

    Types are known, and refused, before the first request, but not those of the pieces of a
    column of objects.
    """
    if isinstance(values, np.ndarray) or is_fit(values.type):
        return values
    cells = np.full(len(values), None, object)
    for row in pc.indices_nonzero(values.is_valid()).to_pylist():
        cells[row] = values[row]
    return cells


def _to_integers(array: pa.Array, name: str, error: str, log: RejectionLog) -> pa.Int64Array:
    """Return integral floats as integers, NaN as null; reject the rows of others."""
    floats = to_numpy(pc.fill_null(array.cast(pa.float64()), np.nan))
    fits = (np.trunc(floats) == floats) & (np.abs(floats) < _INT64_END)
    for row in np.flatnonzero(~fits & ~np.isnan(floats)):
        detail = f"column {name!r} holds {floats[row]}, which is not a whole number of 64 bits."
        log.add(row, error, f"{detail} Cast it to text or to an integer.")
    return pa.array(np.where(fits, floats, 0).astype(np.int64), mask=~fits)


def _reject_long(
    values: pa.Array, name: str, max_bytes: int, error: str, log: RejectionLog
) -> None:
    lengths = pc.binary_length(values)
    for row in pc.indices_nonzero(pc.greater(lengths, max_bytes)).to_pylist():
        detail = f"column {name!r} holds {lengths[row].as_py():,} bytes; at most {max_bytes:,}"
        log.add(row, error, f"{detail} are allowed. Shorten it.")


def _convert_cells(
    cells: np.ndarray,
    name: str,
    error: str,
    convert: Callable[[Any], Any],
    dtype: pa.DataType,
    log: RejectionLog,
) -> pa.Array:
    """Convert Python objects one by one; reject the rows of those that do not fit."""
    converted: list[Any] = [None] * len(cells)
    for row, cell in enumerate(cells):
        try:
            converted[row] = None if is_missing(cell) else convert(cell)
        except _InvalidCell as error_of_cell:  # noqa: PERF203 - each cell alone
            log.add(row, error, f"column {name!r} holds {error_of_cell}.")
        except UnicodeEncodeError:
            reason = "a lone surrogate, which UTF-8 cannot hold. Correct it"
            log.add(row, error, f"column {name!r} holds {reason}.")
    return pa.array(converted, dtype)


def _format_key(cell: Any) -> str:
    if isinstance(cell, str):
        return str.encode(cell).decode()
    return str(cell if isinstance(cell, UUID) else _whole_number(cell, "text or a whole number"))


def _take_integer(cell: Any) -> int:
    number = _whole_number(cell, "a whole number")
    if not 0 <= number < MAX_SHARDS:
        raise _InvalidCell(f"shard {number}; expected 0 to {MAX_SHARDS - 1:,}. Correct it")
    return number


def _take_bytes(cell: Any) -> bytes:
    if isinstance(cell, str):
        return str.encode(cell)
    if isinstance(cell, (bytes, bytearray, memoryview)):
        return bytes(cell)
    raise _InvalidCell(f"a {type(cell).__name__}; expected bytes or text. Cast it")


def _whole_number(cell: Any, expected: str) -> int:
    is_whole = isinstance(cell, (int, np.integer)) and not isinstance(cell, (bool, np.timedelta64))
    is_float = isinstance(cell, (float, np.floating)) and abs(float(cell)) < _INT64_END
    if is_whole or (is_float and float(cell).is_integer()):
        return int(cell)
    raise _InvalidCell(f"a {type(cell).__name__}; expected {expected}. Cast it")


# -- routes --------------------------------------------------------------------------------------


class Routes(NamedTuple):
    """Partition key, shard and client info of each row; None: no row has one."""

    partition_key: pa.StringArray | None
    shard: pa.Int32Array | None
    client_info: pa.BinaryArray | None

    def each(self, change: Callable[[pa.Array], pa.Array]) -> Routes:
        """Return the routes with every column that is there changed alike."""
        return Routes(*(None if column is None else change(column) for column in self))


class Router:
    """How rows get their partition key, shard and client info."""

    def __init__(self, selection: Selection, limits: Limits, options: RowOptions) -> None:
        self._limits = limits
        self._key = _plan(selection, limits, "partition_key", options.partition_key, _can_be_key)
        self._shard = _plan(selection, limits, "shard", options.shard, _can_be_shard)
        self._info = _plan(selection, limits, "client_info", options.client_info, can_be_bytes)
        self.is_given = bool(self._key or self._shard or self._info)

    def apply(self, window: Window, log: RejectionLog) -> Routes:
        """Return the routes of a window's rows; a shard takes the place of the key."""
        key = shard = info = None
        if self._shard is not None:
            values, name = window.columns[self._shard.number], self._shard.name
            shard = _number_shards(values, name, log)
        if self._key is not None:
            values, name = window.columns[self._key.number], self._key.name
            if shard is not None:  # what these rows have as key does not matter
                values = _leave_out(values, to_numpy(shard.is_valid()))
            key = _format_keys(values, name, log)
            limit = self._limits.max_partition_key_bytes
            _reject_long(key, name, limit, "PartitionKeyTooLong", log)
        if self._info is not None:
            values, name = window.columns[self._info.number], self._info.name
            info = to_bytes(values, name, log)
            _reject_long(info, name, self._limits.max_client_info_bytes, "ClientInfoTooLong", log)
        return Routes(key, shard, info)

    def blank(self) -> Routes:
        """Return the routes of one row that is rejected."""
        return Routes(
            pa.nulls(1, pa.string()) if self._key is not None else None,
            pa.nulls(1, pa.int32()) if self._shard is not None else None,
            pa.nulls(1, pa.binary()) if self._info is not None else None,
        )


def _leave_out(values: pa.Array | np.ndarray, mask: np.ndarray) -> pa.Array | np.ndarray:
    """Return values, missing where the mask is true."""
    if isinstance(values, np.ndarray):
        values = values.copy()
        values[mask] = None
        return values
    return blank(values, mask)


def _plan(
    selection: Selection,
    limits: Limits,
    option: str,
    value: Any,
    is_fit: Callable[[pa.DataType], bool],
) -> Column | None:
    """Open what an option maps, and check it."""
    if value is None:
        return None
    constant = _read_constant(option, value, limits)
    if constant is not None:
        cut = lambda start, stop: pa.repeat(constant, stop - start)  # noqa: E731
        return selection.add(Reader(cut, constant.type), option)
    column = selection.add_option(value, option)
    if column.type is not None and not is_fit(column.type):
        advice = f"which cannot be a {option}. Cast it (files: by types), or map another column"
        raise UnsupportedType(column=column.name, dtype=column.type, advice=advice)
    return column


def _read_constant(option: str, value: Any, limits: Limits) -> pa.Scalar | None:
    """Return a shard or client info that serves every row; None where it is a column."""
    if option == "shard" and isinstance(value, (bool, float)):
        raise ConfigError(f"shard={value!r}: expected a whole number, a column or an array.")
    if option == "shard" and isinstance(value, (int, np.integer)):
        if not 0 <= value < MAX_SHARDS:
            raise ConfigError(f"shard={value!r}: expected 0 to {MAX_SHARDS - 1:,}. Correct it.")
        return pa.scalar(int(value), pa.int32())
    if option == "client_info" and isinstance(value, (bytes, bytearray)):
        if len(value) > limits.max_client_info_bytes:
            raise ConfigError(
                f"client_info has {len(value):,} bytes; a record may hold at most "
                f"{limits.max_client_info_bytes:,}. Shorten it."
            )
        return pa.scalar(bytes(value), pa.binary())
    return None

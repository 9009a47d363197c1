"""Columns -> partition keys, shards, client info, and a stable number for each destination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._encode.json_types import format_uuids, is_uuid
from v3io_frames_put._encode.layouts import is_bytes, is_text, to_numpy
from v3io_frames_put._encode.objects import is_missing
from v3io_frames_put.config import MAX_SHARDS
from v3io_frames_put.errors import ConfigError, UnsupportedType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from v3io_frames_put._encode.columns import Selection
    from v3io_frames_put._encode.sources import Column, Window
    from v3io_frames_put._encode.values import RejectionLog
    from v3io_frames_put.config import Limits

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
        hashes = np.where(_is_given(keys), _hash_texts(keys), hashes)
    if shards is not None:
        numbers = shards.fill_null(0).to_numpy().astype(np.uint64)
        hashes = np.where(_is_given(shards), _mix(numbers + _SEED) | np.uint64(1), hashes)
    return hashes


def _is_given(values: pa.Array) -> np.ndarray:
    return to_numpy(values.is_valid())


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


class InvalidCells(Exception):
    """A cell cannot be what it is mapped to; the text says why."""


def is_key_type(dtype: pa.DataType) -> bool:
    """Return whether a column of the type can hold partition keys."""
    return is_text(dtype) or is_uuid(dtype) or is_shard_type(dtype)


def is_shard_type(dtype: pa.DataType) -> bool:
    """Return whether a column of the type can hold shard numbers."""
    return bool(pt.is_integer(dtype) or pt.is_floating(dtype) or pt.is_null(dtype))


def is_client_info_type(dtype: pa.DataType) -> bool:
    """Return whether a column of the type can hold client info."""
    return is_text(dtype) or is_bytes(dtype) or bool(pt.is_null(dtype))


def format_keys(
    values: pa.Array | np.ndarray, name: str, max_bytes: int, log: RejectionLog
) -> pa.StringArray:
    """Return partition keys as text; integers as digits, also where they are floats."""
    if isinstance(values, np.ndarray):
        keys = _from_cells(values, name, "UnencodableValue", _format_key, pa.string(), log)
    elif pt.is_floating(values.type):
        keys = _to_integers(values, name, "UnencodableValue", log).cast(pa.string())
    else:
        keys = format_uuids(values) if is_uuid(values.type) else values.cast(pa.string())
    _reject_long(keys, name, max_bytes, "PartitionKeyTooLong", log)
    return keys


def number_shards(values: pa.Array | np.ndarray, name: str, log: RejectionLog) -> pa.Int32Array:
    """Return shard numbers; reject those that no stream can have."""
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
    _reject_long(info, name, max_bytes, "ClientInfoTooLong", log)
    return info


def _to_integers(array: pa.Array, name: str, error: str, log: RejectionLog) -> pa.Int64Array:
    """Return integral floats as integers, NaN as null; reject the rows of others."""
    floats = to_numpy(pc.fill_null(array.cast(pa.float64()), np.nan))
    missing = np.isnan(floats)
    fits = (np.trunc(floats) == floats) & (np.abs(floats) < _INT64_END)
    for row in np.flatnonzero(~fits & ~missing):
        detail = f"column {name!r} holds {floats[row]}, which is not a whole number of 64 bits."
        log.add(row, error, f"{detail} Cast it to text or to an integer.")
    integers = np.where(fits, floats, 0).astype(np.int64)
    return pa.array(integers, mask=~fits)


def _reject_long(
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
    """Convert Python objects one by one; reject the rows of those that do not fit."""
    taken: list[Any] = [None] * len(cells)
    for row, cell in enumerate(cells):
        try:
            taken[row] = None if is_missing(cell) else take(cell)
        except InvalidCells as error_of_cell:  # noqa: PERF203 - each cell alone
            log.add(row, error, f"column {name!r} holds {error_of_cell}.")
    return pa.array(taken, dtype)


def _refuse(cell: Any, expected: str) -> NoReturn:
    raise InvalidCells(f"a {type(cell).__name__}; expected {expected}. Cast it")


def _encode_text(cell: str) -> bytes:
    try:
        return str.encode(cell)
    except UnicodeEncodeError:
        raise InvalidCells("a lone surrogate, which UTF-8 cannot hold. Correct it") from None


def _format_key(cell: Any) -> str:
    if isinstance(cell, str):
        return _encode_text(cell).decode()
    if isinstance(cell, UUID):
        return str(cell)
    return str(_take_integer(cell, "text or a whole number"))


def _number_shard(cell: Any) -> int:
    number = _take_integer(cell, "a whole number")
    if not 0 <= number < MAX_SHARDS:
        raise InvalidCells(f"shard {number}; expected 0 to {MAX_SHARDS - 1:,}. Correct it")
    return number


def _take_integer(cell: Any, expected: str) -> int:
    is_whole = isinstance(cell, (int, np.integer)) and not isinstance(cell, (bool, np.timedelta64))
    if is_whole:
        return int(cell)
    is_float = isinstance(cell, (float, np.floating)) and abs(float(cell)) < _INT64_END
    return int(cell) if is_float and float(cell).is_integer() else _refuse(cell, expected)


def _take_bytes(cell: Any) -> bytes:
    if isinstance(cell, str):
        return _encode_text(cell)
    if isinstance(cell, (bytes, bytearray, memoryview)):
        return bytes(cell)
    return _refuse(cell, "bytes or text")


@dataclass(frozen=True, slots=True)
class Routes:
    """Partition key, shard and client info of each row; None: no row has one."""

    partition_key: pa.StringArray | None
    shard: pa.Int32Array | None
    client_info: pa.BinaryArray | None

    def each(self, change: Callable[[pa.Array], pa.Array]) -> Routes:
        """Return the routes with every column that is there changed alike."""
        return Routes(*(None if column is None else change(column) for column in self.columns))

    @property
    def columns(self) -> tuple[pa.Array | None, ...]:
        """All three."""
        return self.partition_key, self.shard, self.client_info

    @staticmethod
    def concat(parts: Sequence[Routes]) -> Routes:
        """Return the routes of rows that follow each other."""
        columns = zip(*(part.columns for part in parts), strict=True)
        return Routes(*(None if c[0] is None else pa.concat_arrays(c) for c in columns))


class Mapping:
    """How rows get their partition key, shard and client info.

    Parameters
    ----------
    selection : Selection
        Where the columns are opened.
    limits : Limits
        Of keys and client info.
    partition_key, shard, client_info
        The options of ``put_records``.
    """

    def __init__(
        self,
        selection: Selection,
        limits: Limits,
        *,
        partition_key: Any = None,
        shard: Any = None,
        client_info: Any = None,
    ) -> None:
        self._limits = limits
        self._key = _plan(selection, partition_key, "partition_key", is_key_type)
        self._fixed_shard = _check_shard(shard)
        self._shard = None
        if self._fixed_shard is None:
            self._shard = _plan(selection, shard, "shard", is_shard_type)
        self._fixed_info = _check_client_info(client_info, limits)
        self._info = None
        if self._fixed_info is None:
            self._info = _plan(selection, client_info, "client_info", is_client_info_type)

    def apply(self, window: Window, log: RejectionLog) -> Routes:
        """Return the routes of a window's rows; a shard takes the place of the key."""
        shard = self._number_shards(window, log)
        key = self._format_keys(window, shard, log)
        return Routes(key, shard, self._take_client_info(window, log))

    @property
    def is_given(self) -> bool:
        """Whether rows may differ in where they go, or in what their readers see."""
        return any(column is not None for column in (self._key, self._shard, self._info))

    def blank(self) -> Routes:
        """Return the routes of one row that is rejected."""
        has_shard = self._fixed_shard is not None or self._shard is not None
        has_info = self._fixed_info is not None or self._info is not None
        return Routes(
            pa.nulls(1, pa.string()) if self._key is not None else None,
            pa.nulls(1, pa.int32()) if has_shard else None,
            pa.nulls(1, pa.binary()) if has_info else None,
        )

    def _format_keys(
        self, window: Window, shard: pa.Int32Array | None, log: RejectionLog
    ) -> pa.StringArray | None:
        """Return the keys of rows without a shard; what the others have as key does not matter."""
        if self._key is None:
            return None
        values = window.columns[self._key.number]
        if shard is not None:
            values = _leave_out(values, to_numpy(shard.is_valid()))
        limit = self._limits.max_partition_key_bytes
        return format_keys(values, self._key.name, limit, log)

    def _number_shards(self, window: Window, log: RejectionLog) -> pa.Int32Array | None:
        if self._fixed_shard is not None:
            return pa.repeat(pa.scalar(self._fixed_shard, pa.int32()), window.num_rows)
        if self._shard is None:
            return None
        return number_shards(window.columns[self._shard.number], self._shard.name, log)

    def _take_client_info(self, window: Window, log: RejectionLog) -> pa.BinaryArray | None:
        if self._fixed_info is not None:
            return pa.repeat(pa.scalar(self._fixed_info, pa.binary()), window.num_rows)
        if self._info is None:
            return None
        values = window.columns[self._info.number]
        limit = self._limits.max_client_info_bytes
        return take_client_info(values, self._info.name, limit, log)


def _leave_out(values: pa.Array | np.ndarray, mask: np.ndarray) -> pa.Array | np.ndarray:
    """Return values, missing where the mask is true."""
    if isinstance(values, np.ndarray):
        values = values.copy()
        values[mask] = None
        return values
    return values.take(pa.array(np.arange(len(values)), mask=mask))  # of any type


def _plan(
    selection: Selection,
    value: Any,
    option: str,
    is_fit: Callable[[pa.DataType], bool],
) -> Column | None:
    """Open what an option maps, and check its type."""
    if value is None:
        return None
    column = selection.add_option(value, option)
    if column.type is not None and not is_fit(column.type):
        advice = f"which cannot be a {option}. Cast it, or map another column"
        raise UnsupportedType(column=column.name, dtype=column.type, advice=advice)
    return column


def _check_shard(shard: Any) -> int | None:
    """Return a shard number that serves every row; None where it is a column."""
    if isinstance(shard, (bool, float)):
        raise ConfigError(f"shard={shard!r}: expected a whole number, a column or an array.")
    if not isinstance(shard, (int, np.integer)):
        return None
    if not 0 <= shard < MAX_SHARDS:
        raise ConfigError(f"shard={shard!r}: expected 0 to {MAX_SHARDS - 1:,}. Correct it.")
    return int(shard)


def _check_client_info(client_info: Any, limits: Limits) -> bytes | None:
    """Return bytes that serve every row; None where it is a column."""
    if not isinstance(client_info, (bytes, bytearray)):
        return None
    if len(client_info) > limits.max_client_info_bytes:
        raise ConfigError(
            f"client_info has {len(client_info):,} bytes; a record may hold at most "
            f"{limits.max_client_info_bytes:,}. Shorten it."
        )
    return bytes(client_info)

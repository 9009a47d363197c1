"""How rows get their partition key, shard and client info.

Options name columns, or bring arrays of their own; everything wrong with one of
them is raised when a `Mapping` is made, before anything is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from v3io_frames_put._rows import keys
from v3io_frames_put._rows.arrow_types import to_numpy
from v3io_frames_put._rows.source import Column
from v3io_frames_put.config import MAX_SHARDS
from v3io_frames_put.errors import ConfigError, UnsupportedType

if TYPE_CHECKING:
    from collections.abc import Callable

    from v3io_frames_put._rows.records import RejectionLog
    from v3io_frames_put._rows.selection import Selection
    from v3io_frames_put._rows.source import Column, Window
    from v3io_frames_put.config import Limits


@dataclass(frozen=True, slots=True)
class Routes:
    """What routes each record of a window, and what its reader is told about it."""

    partition_key: pa.StringArray | None
    shard: pa.Int32Array | None
    client_info: pa.BinaryArray | None

    def each(self, change: Callable[[pa.Array], pa.Array]) -> Routes:
        """Return the routes with every column that is there changed alike."""
        columns = (self.partition_key, self.shard, self.client_info)
        return Routes(*(None if column is None else change(column) for column in columns))


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
        self._key = _plan(selection, partition_key, "partition_key", keys.is_key_type)
        self._fixed_shard = _check_shard(shard)
        self._shard = None
        if self._fixed_shard is None:
            self._shard = _plan(selection, shard, "shard", keys.is_shard_type)
        self._fixed_info = _check_client_info(client_info, limits)
        self._info = None
        if self._fixed_info is None:
            self._info = _plan(selection, client_info, "client_info", keys.is_client_info_type)

    def apply(self, window: Window, log: RejectionLog) -> Routes:
        """Return the routes of a window's rows; a shard takes the place of the key."""
        shard = self._number_shards(window, log)
        key = self._spell_keys(window, shard, log)
        return Routes(key, shard, self._take_client_info(window, log))

    def _spell_keys(
        self, window: Window, shard: pa.Int32Array | None, log: RejectionLog
    ) -> pa.StringArray | None:
        """Return the keys of rows without a shard; what the others have as key does not matter."""
        if self._key is None:
            return None
        values = window.columns[self._key.number]
        if shard is not None:
            values = _leave_out(values, to_numpy(shard.is_valid()))
        limit = self._limits.max_partition_key_bytes
        return keys.spell_keys(values, self._key.name, limit, log)

    def _number_shards(self, window: Window, log: RejectionLog) -> pa.Int32Array | None:
        if self._fixed_shard is not None:
            return pa.repeat(pa.scalar(self._fixed_shard, pa.int32()), window.num_rows)
        if self._shard is None:
            return None
        return keys.number_shards(window.columns[self._shard.number], self._shard.name, log)

    def _take_client_info(self, window: Window, log: RejectionLog) -> pa.BinaryArray | None:
        if self._fixed_info is not None:
            return pa.repeat(pa.scalar(self._fixed_info, pa.binary()), window.num_rows)
        if self._info is None:
            return None
        values = window.columns[self._info.number]
        limit = self._limits.max_client_info_bytes
        return keys.take_client_info(values, self._info.name, limit, log)


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

"""The bytes or text of one column, verbatim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._rows.arrow_types import is_bytes, is_text, to_numpy
from v3io_frames_put._rows.encoded import CELL_BYTES, binary_sizes
from v3io_frames_put.errors import ConfigError, UnsupportedType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from v3io_frames_put._rows.records import RejectionLog
    from v3io_frames_put._rows.source import Column, Window


class RawEncoder:
    """Hands on the values of one column; a missing one refuses its row."""

    row_bytes = CELL_BYTES

    def __init__(self, columns: Sequence[Column]) -> None:
        if len(columns) != 1:
            raise ConfigError(
                f"format='raw' sends one column, and {len(columns)} are chosen. "
                f"Name it with columns=[...]."
            )
        self._column = columns[0]
        dtype = self._column.type
        if dtype is not None and not (is_text(dtype) or is_bytes(dtype) or pt.is_null(dtype)):
            advice = "which format='raw' cannot send. Choose a column of bytes or text"
            raise UnsupportedType(column=self._column.name, dtype=dtype, advice=advice)

    def encode(self, window: Window, log: RejectionLog) -> pa.BinaryArray:
        """Return the bytes of each row."""
        values = window.columns[self._column.number]
        if isinstance(values, np.ndarray):
            values = pa.array([self._take(cell) for cell in values], pa.binary())
        elif is_text(values.type):
            values = values.cast(pa.string())
        else:
            values = values.cast(pa.large_binary())
        values = values.cast(pa.binary())
        for row in np.flatnonzero(to_numpy(values.is_null())):
            detail = f"column {self._column.name!r} holds a value that is no bytes and no text."
            log.add(row, "UnencodableValue", f"{detail} Fill it, or leave the row out.")
        return pc.fill_null(values, b"") if values.null_count else values

    def measure(self, payload: pa.BinaryArray) -> np.ndarray:
        """Return the bytes of each row."""
        return binary_sizes(payload)

    @staticmethod
    def _take(cell: object) -> bytes | None:
        if isinstance(cell, (bytes, bytearray, memoryview)):
            return bytes(cell)
        if not isinstance(cell, str):
            return None
        try:
            return cell.encode()
        except UnicodeEncodeError:
            return None

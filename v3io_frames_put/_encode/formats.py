"""Formats: what one row becomes, and how several rows share a record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._encode.arrow_rows import ArrowRecords, ArrowRows
from v3io_frames_put._encode.columns import decide_type
from v3io_frames_put._encode.json_rows import JsonEncoder
from v3io_frames_put._encode.layouts import is_bytes, is_text, to_numpy
from v3io_frames_put._encode.packs import LineJoiner, Packer, StreamJoiner
from v3io_frames_put._encode.records import CELL_BYTES, binary_sizes
from v3io_frames_put._encode.sources import MAX_ROWS, read_window
from v3io_frames_put.errors import ConfigError, UnsupportedType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from v3io_frames_put._encode.columns import Selection
    from v3io_frames_put._encode.packs import Joiner
    from v3io_frames_put._encode.records import Encoder
    from v3io_frames_put._encode.sources import Column, Window
    from v3io_frames_put._encode.values import RejectionLog
    from v3io_frames_put.config import Limits, RowOptions

# More rows hardly make a pack smaller per row, but leave fewer records to send side by side.
_AUTO_ROWS: Final = 1_000


class RawEncoder:
    """Passes the values of one column on; a missing one rejects its row."""

    row_bytes = CELL_BYTES
    payload_type = pa.binary()

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
            values = pa.array([self._encode_cell(cell) for cell in values], pa.binary())
        elif is_text(values.type):
            values = values.cast(pa.string())
        else:
            values = values.cast(pa.large_binary())
        values = values.cast(pa.binary())
        for row in np.flatnonzero(to_numpy(values.is_null())):
            detail = f"column {self._column.name!r} holds neither bytes nor text here."
            log.add(row, "UnencodableValue", f"{detail} Fill it, or leave the row out.")
        return pc.fill_null(values, b"") if values.null_count else values

    def measure(self, payload: pa.BinaryArray) -> np.ndarray:
        """Return the bytes of each row."""
        return binary_sizes(payload)

    @staticmethod
    def _encode_cell(cell: object) -> bytes | None:
        if isinstance(cell, (bytes, bytearray, memoryview)):
            return bytes(cell)
        try:
            return str.encode(cell) if isinstance(cell, str) else None
        except UnicodeEncodeError:
            return None


@dataclass(frozen=True, slots=True)
class FormatPlan:
    """The options that decide what a record's data is.

    Attributes
    ----------
    window_bytes, gathered_bytes : int
        See ``plan_rows``.
    """

    options: RowOptions
    limits: Limits
    window_bytes: int
    gathered_bytes: int

    def plan(
        self, columns: Sequence[Column], selection: Selection
    ) -> tuple[Encoder, Packer | None]:
        """Return what encodes the rows, and what packs them; None: one row a record."""
        if self.options.format == "raw":
            return RawEncoder(columns), None
        if self.options.format == "json":
            json = JsonEncoder(columns, self.options.encoding, self.window_bytes)
            return json, self.packer(LineJoiner())
        columns = [self._with_type(column, selection) for column in columns]
        max_bytes, compression = self.limits.max_data_bytes, self.options.encoding.arrow_compression
        if self.options.rows_per_record == 1:
            return ArrowRecords(columns, max_bytes, compression), None
        rows = ArrowRows(columns, max_bytes, compression)
        return rows, self.packer(StreamJoiner(rows))

    def packer(self, joiner: Joiner) -> Packer | None:
        """Return what packs rows; None: one row a record."""
        rows = self.options.rows_per_record
        if rows == 1:
            return None
        rows = _AUTO_ROWS if rows == "auto" else rows
        return Packer(rows, self.limits, joiner, self.gathered_bytes, self.window_bytes)

    def _with_type(self, column: Column, selection: Selection) -> Column:
        """Give a column of Python objects its one Arrow type; reads all of it."""
        if column.type is not None:
            return column
        if selection.source.num_rows is None:
            advice = (
                "whose Arrow type is decided over the whole column, and this data is read once. "
                "Give it a type, or send a DataFrame"
            )
            raise UnsupportedType(column=column.name, dtype="object", advice=advice)
        return replace(column, type=decide_type(self._pieces(column, selection), column.name))

    def _pieces(self, column: Column, selection: Selection) -> Iterator[pa.Array | np.ndarray]:
        """Read one column from its first row to its last."""
        readers, row = [selection.readers[column.number]], 0
        while window := read_window(selection.source, readers, row, MAX_ROWS, self.window_bytes):
            yield window.columns[0]
            row += window.num_rows

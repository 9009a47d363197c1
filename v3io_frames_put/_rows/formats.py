"""Formats: what one row becomes, and how several share a record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from v3io_frames_put._rows.arrow_ipc import ArrowRecords, ArrowRows, StreamJoiner
from v3io_frames_put._rows.json_text import JsonEncoder
from v3io_frames_put._rows.object_types import decide_type
from v3io_frames_put._rows.packs import LineJoiner, Packer
from v3io_frames_put._rows.raw import RawEncoder
from v3io_frames_put._rows.source import MAX_ROWS, read_window
from v3io_frames_put.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import pyarrow as pa

    from v3io_frames_put._rows.encoded import Encoder
    from v3io_frames_put._rows.selection import Selection
    from v3io_frames_put._rows.source import Column
    from v3io_frames_put.config import Encoding, Limits

Format = Literal["json", "arrow", "raw"]
RowsPerRecord = int | Literal["auto"]

# More rows hardly make a pack smaller per row, but leave fewer records to send side by side.
_AUTO_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class FormatPlan:
    """The options that say what a record's data is."""

    format: Format
    rows_per_record: RowsPerRecord
    encoding: Encoding
    limits: Limits
    window_bytes: int

    def __post_init__(self) -> None:
        if self.format not in ("json", "arrow", "raw"):
            raise ConfigError(f"format={self.format!r}: expected 'json', 'arrow' or 'raw'.")
        rows, where = self.rows_per_record, f"rows_per_record={self.rows_per_record!r}"
        if rows == "auto":
            if self.format != "arrow":
                raise ConfigError(f"{where} is for format='arrow'; expected a number of rows.")
        elif type(rows) is not int or rows < 1:
            raise ConfigError(f"{where}: expected a whole number from 1, or 'auto'.")
        elif self.format == "raw" and rows != 1:
            raise ConfigError(f"{where}: format='raw' sends one row in a record. Leave it out.")

    def plan(
        self, columns: Sequence[Column], selection: Selection
    ) -> tuple[Encoder, Packer | None]:
        """Return what encodes the rows, and what packs them; None: one row a record."""
        if self.format == "raw":
            return RawEncoder(columns), None
        if self.format == "json":
            return JsonEncoder(columns, self.encoding, self.window_bytes), self.packer(LineJoiner())
        columns = [self._with_type(column, selection) for column in columns]
        max_bytes = self.limits.max_data_bytes
        if self.rows_per_record == 1:
            return ArrowRecords(columns, max_bytes), None
        rows = ArrowRows(columns, max_bytes)
        return rows, self.packer(StreamJoiner(rows, max_bytes))

    def packer(self, joiner: LineJoiner | StreamJoiner) -> Packer | None:
        """Return what packs rows; None: one row a record."""
        if self.rows_per_record == 1:
            return None
        rows = _AUTO_ROWS if self.rows_per_record == "auto" else self.rows_per_record
        return Packer(rows, self.limits.max_data_bytes, joiner)

    def _with_type(self, column: Column, selection: Selection) -> Column:
        """Give a column of Python objects its one Arrow type; reads all of it."""
        if column.type is not None:
            return column
        dtype = decide_type(self._pieces(column, selection), column.name)
        return replace(column, type=dtype)

    def _pieces(self, column: Column, selection: Selection) -> Iterator[pa.Array | np.ndarray]:
        """Read one column from its first row to its last."""
        readers, row = [selection.readers[column.number]], 0
        while window := read_window(selection.source, readers, row, MAX_ROWS, self.window_bytes):
            yield window.columns[0]
            row += window.num_rows

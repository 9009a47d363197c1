"""Formats: what one row becomes, and how several rows share a record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._encode.arrow_rows import ArrowRecords, ArrowRows, StreamJoiner
from v3io_frames_put._encode.columns import decide_type
from v3io_frames_put._encode.json_rows import JsonEncoder
from v3io_frames_put._encode.layouts import is_bytes, is_text, to_numpy
from v3io_frames_put._encode.records import CELL_BYTES, Records, binary_sizes
from v3io_frames_put._encode.sources import MAX_ROWS, read_window
from v3io_frames_put.errors import ConfigError, UnsupportedType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from v3io_frames_put._encode.columns import Selection
    from v3io_frames_put._encode.records import EncodedRows, Encoder, RejectionLog
    from v3io_frames_put._encode.sources import Column, Window
    from v3io_frames_put.config import Encoding, Limits


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


class Joiner(Protocol):
    """Joins the payloads of rows to the data of packs."""

    extra_bytes: int  # what a pack holds beside its rows
    row_bytes: int  # what each row adds beside its payload

    def join(
        self, payload: pa.Array, rows: np.ndarray, ends: np.ndarray
    ) -> tuple[pa.Array, np.ndarray]:
        """Return the data of each pack, and the packs' ends.

        ``rows`` are places in ``payload``, pack after pack; ``ends`` says how many
        rows the packs hold so far. A pack that is too large is cut, so that more ends
        may come back.
        """


class LineJoiner:
    """Joins JSON texts to JSON Lines, without a newline at the end."""

    extra_bytes = 0
    row_bytes = 1

    def join(
        self, payload: pa.BinaryArray, rows: np.ndarray, ends: np.ndarray
    ) -> tuple[pa.Array, np.ndarray]:
        """Return the lines of each pack."""
        offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
        lines = pa.ListArray.from_arrays(offsets, payload.take(pa.array(rows)))
        return pc.binary_join(lines, b"\n"), ends


@dataclass(frozen=True, slots=True)
class Packer:
    """Packs rows to records.

    Parameters
    ----------
    max_rows : int
        Rows in one record, at most.
    max_data_bytes : int
        Bytes in one record, at most.
    joiner : Joiner
        Of the format.
    """

    max_rows: int
    max_data_bytes: int
    joiner: Joiner

    def pack(self, window: EncodedRows) -> Records:
        """Return the packs of a window, in the order of their first rows."""
        order, ends = self._cut(window)
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        by_first = np.argsort(order[starts], kind="stable") if len(ends) else ends
        counts = (ends - starts)[by_first]
        # Places of all rows, pack after pack: each pack's start, counted on.
        ends = np.cumsum(counts)
        order = order[np.repeat(starts[by_first] - ends + counts, counts) + np.arange(len(order))]
        data, ends = self.joiner.join(window.payload, order, ends)
        firsts = order[np.concatenate([[0], ends[:-1]]).astype(np.int64)] if len(ends) else ends
        routes = window.routes.each(lambda column: column.take(pa.array(firsts, pa.int64())))
        return Records(
            first_row=window.first_row,
            num_rows=window.num_rows,
            data=data,
            partition_key=routes.partition_key,
            shard=routes.shard,
            client_info=routes.client_info,
            rows=window.rows[order],
            row_counts=np.diff(ends, prepend=0).astype(np.int32),
            destination=None if window.destination is None else window.destination[firsts],
            rejections=window.rejections,
        )

    def _cut(self, window: EncodedRows) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows by destination, and where packs end among them."""
        order, borders = _group(window)
        sizes = window.sizes[order] + self.joiner.row_bytes
        total = np.concatenate([[0], np.cumsum(sizes)])
        # A line's separator is not needed after the last line.
        room = self.max_data_bytes - self.joiner.extra_bytes + self.joiner.row_bytes
        fits = np.searchsorted(total, total[:-1] + room, side="right") - 1
        ends, start = [], 0
        for border in borders.tolist():
            while start < border:
                start = max(start + 1, min(border, start + self.max_rows, int(fits[start])))
                ends.append(start)
        return order, np.array(ends, dtype=np.int64)


def _group(window: EncodedRows) -> tuple[np.ndarray, np.ndarray]:
    """Return rows sorted by destination, in data order, and where a pack must end.

    A pack leaves no row of its destination out: then its first row and its number of
    rows tell all of them, which is what a tag holds.
    """
    num_rows = len(window.rows)
    order = np.arange(num_rows)
    marks = [window.rows - order]  # how many rows were refused or skipped before
    if window.destination is not None:
        order = np.argsort(window.destination, kind="stable")
        marks.append(window.destination)
    routes = window.routes
    marks += [_codes(c) for c in (routes.partition_key, routes.client_info) if c is not None]
    changes = np.zeros(num_rows, dtype=bool)
    for mark in marks:
        changes[1:] |= mark[order][1:] != mark[order][:-1]
    return order, np.append(np.flatnonzero(changes), num_rows)


def _codes(column: pa.Array) -> np.ndarray:
    """Return numbers by first appearance of the values; -1 for null."""
    indices = column.dictionary_encode().indices
    return to_numpy(pc.fill_null(indices, -1))


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

"""Rows on their way to records: read, encoded, mapped, and held against the limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from v3io_frames_put._rows.arrow_types import to_numpy
from v3io_frames_put._rows.destinations import hash_destinations
from v3io_frames_put._rows.records import RejectionLog
from v3io_frames_put._rows.source import MAX_ROWS, read_window
from v3io_frames_put._rows.validity import refuse_invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from v3io_frames_put._rows.blocks import Blocks
    from v3io_frames_put._rows.mapping import Mapping, Routes
    from v3io_frames_put._rows.records import Rejections
    from v3io_frames_put._rows.selection import Selection
    from v3io_frames_put._rows.source import Column, Window
    from v3io_frames_put.config import Limits


CELL_BYTES: Final = 8  # a number as text, about
# Of long values fewer are read at once: encoding takes several times as much for a moment.
# Half as many would take 1.4 times as long: a window costs its calls.
_LONG_BYTES: Final = 2**20


class Encoder(Protocol):
    """Turns windows into one payload a row."""

    @property
    def row_bytes(self) -> int:
        """About what a row's payload takes, long values aside."""

    def encode(self, window: Window, log: RejectionLog) -> pa.Array:
        """Return the payloads of the window's rows, or of its first ones."""

    def measure(self, payload: pa.Array) -> np.ndarray:
        """Return the bytes that each payload adds to a record's data."""


class Skip(Protocol):
    """Rows that are read, but not sent."""

    def among(self, first_row: int, num_rows: int) -> np.ndarray:
        """Return the mask of the rows to leave out, of some that follow each other."""

    def note_destinations(self, first_row: int, destination: np.ndarray | None) -> None:
        """Take the destinations of rows, those to leave out among them; None: none have one."""


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Consecutive rows with their payloads; refused and skipped ones are left out.

    Attributes
    ----------
    first_row, num_rows : int
        The window they are from.
    rows : ndarray of int64
        Row numbers of the payloads.
    payload : Array
        What the encoder made, one a row.
    sizes : ndarray of int64
        Bytes of each payload.
    """

    first_row: int
    num_rows: int
    rows: np.ndarray
    payload: pa.Array
    sizes: np.ndarray
    routes: Routes
    destination: np.ndarray | None
    rejections: Rejections


@dataclass(frozen=True)
class RowEncoder:
    """Reads a source window by window and encodes its rows."""

    selection: Selection
    mapping: Mapping
    encoder: Encoder
    limits: Limits
    window_bytes: int
    invalid: Column | None = None  # cells that did not fit, by column
    detail: Column | None = None  # what is wrong with such a row

    def windows(self, skip: Skip | None, blocks: Blocks | None = None) -> Iterator[EncodedRows]:
        """Yield all rows but the skipped, in order; every row is in one window."""
        row = 0
        held: list[EncodedRows] = []
        while (window := self._read(row, blocks)) is not None:
            encoded, is_checked = self._encode(window, skip, blocks)
            row += encoded.num_rows
            held.append(encoded)
            if is_checked:
                yield from held
                held.clear()
            del window, encoded  # their memory is the next window's
        if blocks is not None:
            blocks.finish(row)

    def _read(self, row: int, blocks: Blocks | None) -> Window | None:
        selection, row_bytes = self.selection, self.encoder.row_bytes
        max_rows = max(1, min(MAX_ROWS, self.window_bytes // row_bytes))
        max_bytes = min(self.window_bytes, max(_LONG_BYTES, max_rows * row_bytes))
        if blocks is not None:
            max_rows = blocks.room(max_rows)
        return read_window(selection.source, selection.readers, row, max_rows, max_bytes)

    def _encode(
        self, window: Window, skip: Skip | None, blocks: Blocks | None
    ) -> tuple[EncodedRows, bool]:
        """Encode a window, or its first rows; tell whether they are checked."""
        log = RejectionLog()
        window = refuse_invalid(window, self.selection.names, log)
        payload = self.encoder.encode(window, log)
        window = window.head(len(payload))
        if self.invalid is not None:
            _refuse_marked(window, self.invalid, self.detail, log)
        routes = self.mapping.apply(window, log)
        is_checked = blocks is None or blocks.take(window.first_row, payload, routes)
        skipped = None
        if skip is not None:
            skipped = skip.among(window.first_row, window.num_rows)
            skip.note_destinations(window.first_row, _hash(routes))
        sizes = self.encoder.measure(payload)
        _refuse_large(window.first_row, sizes, self.limits.max_data_bytes, log)
        rejections = log.close(window.first_row, window.num_rows, skipped)
        keep = _keep(log, window.num_rows, skipped)
        rows = np.arange(window.first_row, window.first_row + window.num_rows)
        if keep is not None:
            rows, sizes = rows[keep], sizes[keep]
            mask = pa.array(keep)
            payload = payload.filter(mask)
            routes = routes.each(lambda column: column.filter(mask))
        encoded = EncodedRows(
            first_row=window.first_row,
            num_rows=window.num_rows,
            rows=rows,
            payload=payload,
            sizes=sizes,
            routes=routes,
            destination=_hash(routes),
            rejections=rejections,
        )
        return encoded, is_checked


def _hash(routes: Routes) -> np.ndarray | None:
    return hash_destinations(routes.partition_key, routes.shard)


def binary_sizes(payload: pa.Array) -> np.ndarray:
    """Return the bytes of each value of a binary column."""
    return to_numpy(pc.binary_length(payload)).astype(np.int64)


def _keep(log: RejectionLog, num_rows: int, skipped: np.ndarray | None) -> np.ndarray | None:
    """Return the mask of rows to go on with; None for all."""
    keep = log.keep(num_rows)
    if skipped is None or not skipped.any():
        return keep
    return ~skipped if keep is None else keep & ~skipped


def _refuse_marked(
    window: Window, invalid: Column, detail: Column | None, log: RejectionLog
) -> None:
    """Refuse rows with cells that did not fit: a null is never sent in their place."""
    marks = window.columns[invalid.number]
    details = None if detail is None else window.columns[detail.number]
    is_given = marks.is_valid() if isinstance(marks, pa.Array) else pa.array(pd.notna(marks))
    for row in pc.indices_nonzero(is_given).to_pylist():
        cells = marks[row].as_py() if isinstance(marks, pa.Array) else marks[row]
        if not len(cells):
            continue
        text = None if details is None else details[row]
        text = text.as_py() if isinstance(text, pa.Scalar) else text
        if not isinstance(text, str):
            shown = f"{dict(cells)!s:.200}"
            text = f"cells that do not fit: {shown}. Fill them in, and clear {invalid.name}."
        log.reasons[row] = ("UnencodableValue", text)


def _refuse_large(first_row: int, sizes: np.ndarray, max_bytes: int, log: RejectionLog) -> None:
    for row in np.flatnonzero(sizes > max_bytes):
        detail = (
            f"row {first_row + row:,} encodes to {sizes[row]:,} bytes; a record may hold at most "
            f"{max_bytes:,}. Leave out or shorten its largest column."
        )
        log.add(row, "DataTooLarge", detail)

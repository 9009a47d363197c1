"""Several rows in one record: rows of one destination that follow each other.

In a window, each destination's rows are packed in data order. A pack also ends where
the client info changes, since a record has one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from v3io_frames_put._rows.arrow_types import to_numpy
from v3io_frames_put._rows.records import Records

if TYPE_CHECKING:
    from v3io_frames_put._rows.encoded import EncodedRows


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

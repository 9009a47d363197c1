"""Packs: several rows of one destination in one record.

Rows are gathered up to ``max_in_flight_bytes``, sorted once by destination, and cut
into packs. The packs leave in pieces of about a window, in the order of their first
rows. For example, with two rows in a pack and the destinations ``a b a b a``::

    gathered        a0 b1 a2 b3 a4
    sorted          a0 a2 a4 b1 b3
    packs           a0 a2 | a4 | b1 b3
    by first row    a0 a2 | b1 b3 | a4
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .layouts import concat, copy, own_copy, take, to_numpy
from .records import Encoder, Records, RowsAtFault, binary_sizes, is_unforeseen
from .rejections import NO_REJECTIONS, Rejections
from .routing import Routes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..config import Limits

_ROW_BYTES: Final = 24  # its number, size and destination, beside its payload
_MOST_BYTES: Final = 2**30  # gathered: text has offsets of 31 bits
_ENTRY_BYTES: Final = 128  # of a request's body beside one record's data, key and client info
_ESCAPED_BYTES: Final = 6  # of a character of a key that JSON escapes


@dataclass(frozen=True, slots=True)
class Packer:
    """Packs rows to records."""

    max_rows: int  # in one record; 1: Arrow, of which a row alone is a stream, too
    limits: Limits  # of a record, and of the body that has to hold it
    encoder: Encoder  # joins the rows of a pack
    gathered_bytes: int  # of the rows that are sorted by destination together
    piece_bytes: int  # about how much of the packs leaves at once

    def pack(self, windows: Iterable[Records]) -> Iterator[Records]:
        """Yield the packs of all rows."""
        gathered = gather(windows, min(self.gathered_bytes, _MOST_BYTES))
        # A loop's variable would hold a window's rows beside those that are sorted.
        pack = partial(self._pack, faults=RowsAtFault())
        yield from chain.from_iterable(map(pack, gathered))

    def _pack(
        self, window: Records, faults: RowsAtFault, *, is_copy: bool = False
    ) -> Iterator[Records]:
        """Pack a window; where that fails, a copy of what is left of it, then its halves."""
        packed: list[np.ndarray] = []  # the rows of the packs that have left
        try:
            window, ends, rooms = self._sort(window)
            for packs in self._join_pieces(window, ends, rooms):
                packed.append(packs.rows)
                yield packs
        except BaseException as error:
            if not is_unforeseen(error):
                raise
            failure = error
        else:
            return
        rest = replace(window, num_rows=0, rejections=NO_REJECTIONS)
        places = np.flatnonzero(~np.isin(window.rows, np.concatenate([window.rows[:0], *packed])))
        places = places[np.argsort(window.rows[places])]
        no_packs = _take_rows(rest, places[:0])
        no_packs = replace(
            no_packs, data=pa.array([], pa.binary()), row_counts=self._count(places[:0])
        )
        if not packed:  # nothing has left that says what became of the window's other rows
            yield replace(no_packs, num_rows=window.num_rows, rejections=window.rejections)
        if is_copy and len(places) == 1:
            row = int(window.rows[places[0]])
            name, detail = faults.reject(row, failure)
            yield replace(no_packs, rejections=Rejections(np.array([row]), [name], [detail]))
            return
        middle = len(places) // 2 if is_copy else len(places)
        for part in (places[:middle], places[middle:]):
            if len(part):
                yield from self._pack(_take_rows(rest, part).each(copy), faults, is_copy=True)

    def _sort(self, window: Records) -> tuple[Records, np.ndarray, np.ndarray]:
        """Sort rows pack after pack, in the order of the packs' first rows.

        Return them, and the end and room of each pack.
        """
        order, borders = _group(window)
        rooms = self._room(window)[order]
        ends = self._cut(window.sizes[order], rooms, borders)
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        if len(ends):
            by_first = np.argsort(order[starts], kind="stable")
            starts, counts = starts[by_first], (ends - starts)[by_first]
            rooms = rooms[starts]
            # Places of all rows, pack after pack: each pack's start, counted on.
            ends = np.cumsum(counts)
            order = order[np.repeat(starts - ends + counts, counts) + np.arange(len(order))]
        return _take_rows(window, order), ends, rooms

    def _join_pieces(
        self, window: Records, ends: np.ndarray, rooms: np.ndarray
    ) -> Iterator[Records]:
        """Yield the packs of sorted rows piece by piece.

        The first piece has all of the window's rows and rejections, the others none.
        """
        filled = np.concatenate([[0], np.cumsum(window.sizes)])[ends]
        filled += np.arange(len(ends)) * self.encoder.frame_bytes
        pieces = np.flatnonzero(np.diff(filled // self.piece_bytes)) + 1
        first_row, stop_row = window.first_row, window.first_row + window.num_rows
        for start, stop in pairwise([0, *pieces.tolist(), len(ends)]):
            first, last = (int(ends[at - 1]) if at else 0 for at in (start, stop))
            rows = _slice(window, slice(first, last), first_row, stop_row)
            yield self._join(rows, ends[start:stop] - first, rooms[start:stop])
            first_row = stop_row

    def _join(self, window: Records, ends: np.ndarray, rooms: np.ndarray) -> Records:
        """Return the packs of sorted rows."""
        data, ends = self.encoder.join(window.data, ends, rooms)
        firsts = np.concatenate([[0], ends[:-1]]).astype(np.int64) if len(ends) else ends
        return replace(
            window,
            data=data,
            sizes=binary_sizes(data),
            routes=window.routes.each(lambda column: take(column, firsts)),
            row_counts=self._count(ends),
            destination=None if window.destination is None else window.destination[firsts],
        )

    def _count(self, ends: np.ndarray) -> np.ndarray | None:
        """Return how many rows each pack has; None: one each."""
        return None if self.max_rows == 1 else np.diff(ends, prepend=0).astype(np.int32)

    def _room(self, window: Records) -> np.ndarray:
        """Return the bytes that a pack beginning with each row may have.

        A record, or a body with nothing else: four bytes of Base64 hold three of data.
        """
        beside = np.full(len(window.rows), _ENTRY_BYTES)
        for column in (window.routes.partition_key, window.routes.client_info):
            if column is not None:
                beside += _ESCAPED_BYTES * to_numpy(pc.fill_null(pc.binary_length(column), 0))
        in_body = (self.limits.max_body_bytes - beside) // 4 * 3
        room: np.ndarray = np.minimum(in_body, self.limits.max_data_bytes)
        return room

    def _cut(self, sizes: np.ndarray, room: np.ndarray, borders: np.ndarray) -> np.ndarray:
        """Return where packs end among rows that are sorted by destination.

        ``total`` counts the bytes before each row, so that the last row that fits is
        found by bisection. Rows of 4, 4 and 5 bytes: ``total`` is 0 4 8 13, room for 9
        from row 0 on ends before 0 + 9 < 13, after two rows.
        """
        total = np.concatenate([[0], np.cumsum(sizes + self.encoder.separator_bytes)])
        # A line's separator is not needed after the last line.
        room = room - self.encoder.frame_bytes + self.encoder.separator_bytes
        fits = np.searchsorted(total, total[:-1] + room, side="right") - 1
        ends, start = [], 0
        for border in borders.tolist():
            while start < border:
                start = max(start + 1, min(border, start + self.max_rows, int(fits[start])))
                ends.append(start)
        return np.array(ends, dtype=np.int64)


def _take_rows(window: Records, places: np.ndarray) -> Records:
    """Return a window with some of its rows, in the order of ``places``."""
    return window.each(lambda column: take(column, places))


def _group(window: Records) -> tuple[np.ndarray, np.ndarray]:
    """Return rows sorted by destination, in data order, and where a pack must end.

    A pack leaves no row of its destination out: then its first row and its number of
    rows determine all of them, which is what a tag holds.
    """
    num_rows = len(window.rows)
    order = np.arange(num_rows)
    marks = [window.rows - order]  # how many rows were rejected or skipped before
    if window.destination is not None:
        # Few numbers from 0 on are sorted by counting them, which keeps their order, too.
        codes = pa.array(window.destination).dictionary_encode().indices
        order = to_numpy(pc.array_sort_indices(codes)).astype(np.int64)
        marks.append(to_numpy(codes))
    routes = window.routes
    marks += [  # numbers of their values, by first appearance
        to_numpy(pc.fill_null(column.dictionary_encode().indices, -1))
        for column in (routes.partition_key, routes.client_info)
        if column is not None
    ]
    changes = np.zeros(num_rows, dtype=bool)
    for mark in marks:
        changes[1:] |= mark[order][1:] != mark[order][:-1]
    return order, np.append(np.flatnonzero(changes), num_rows)


def gather(windows: Iterable[Records], num_bytes: int) -> Iterator[Records]:
    """Yield windows that each end right after the row that fills ``num_bytes``.

    So packs do not depend on how the input was batched. What ``windows`` raises comes
    after the rows before it. For example, 100 bytes, of windows of rows of 40, 40 |
    40, 40, 40 bytes: the first window returned ends within the second one read, after
    its first row, which makes 120.
    """
    gathered: list[Records] = []
    room = num_bytes
    try:
        for window in windows:
            rest, filled = window, _fill(window)
            while len(filled) and filled[-1] >= room:
                head, rest = _split(rest, int(np.searchsorted(filled, room)) + 1)
                gathered.append(head)
                yield _concat(gathered)
                room, filled = num_bytes, _fill(rest)
            if rest.num_rows:
                gathered.append(rest)
                room -= int(filled[-1]) if len(filled) else 0
    except Exception:
        if gathered:
            yield _concat(gathered)
        raise
    if gathered:
        yield _concat(gathered)


def _fill(window: Records) -> np.ndarray:
    """Return how many bytes the rows take up to each one."""
    filled: np.ndarray = np.cumsum(window.sizes + _ROW_BYTES)
    return filled


def _split(window: Records, count: int) -> tuple[Records, Records]:
    """Split a window after its first ``count`` payloads."""
    end = int(window.rows[count - 1]) + 1
    stop = window.first_row + window.num_rows
    return (
        _slice(window, slice(0, count), window.first_row, end),
        _slice(window, slice(count, None), end, stop),
    )


def _slice(window: Records, part: slice, start: int, stop: int) -> Records:
    """Return the rows from ``start`` to ``stop``, whose payloads are ``part``."""
    rejected = window.rejections
    inside = slice(*np.searchsorted(rejected.rows, [start, stop]).tolist())
    return replace(
        window.each(itemgetter(part)),
        first_row=start,
        num_rows=stop - start,
        rejections=Rejections(
            rejected.rows[inside], rejected.names[inside], rejected.details[inside]
        ),
    )


def _concat(windows: list[Records]) -> Records:
    """Put windows that follow each other together, in memory of their own.

    Empties the list: its memory is needed.
    """
    whole = windows[0]
    if len(windows) == 1:
        whole = replace(whole, data=own_copy(whole.data))
    else:
        routes = zip(*(window.routes for window in windows), strict=True)
        columns: Any = {
            name: concat([getattr(window, name) for window in windows])
            for name in ("data", "sizes", "destination", "rows")
        }
        whole = replace(
            whole,
            num_rows=sum(window.num_rows for window in windows),
            routes=Routes(*map(concat, routes)),
            rejections=Rejections.concat([window.rejections for window in windows]),
            **columns,
        )
    windows.clear()
    return whole

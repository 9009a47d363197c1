"""Rows that are stored after later ones of their destination."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from v3io_frames_put._producer.accumulator import NOT_REORDERED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from v3io_frames_put._producer.accumulator import Batch
    from v3io_frames_put._producer.values import Copy
    from v3io_frames_put._wire.bodies import Entries


class Reordering:
    """Rows that are stored after later ones of their destination.

    It happens inside one request: the platform refuses a record for a passing reason and
    stores a later one of its destination. Of records a, a, b, a sent together:

        answer   a Busy    a 0:17    b 2:5     a 0:18     (shard:number)
        open     row 0, reordered_at 17: the next stored record of its destination
        then     row 0 is stored as 0:19, after 17: it is out of order
        or       a look-up finds row 0 as 0:16, from a request cut off before: it is in order

    Attributes
    ----------
    rows : list of int
        Rows that are out of order.
    """

    def __init__(self) -> None:
        self.rows: list[int] = []
        self._reordered_at: dict[int, int] = {}

    def note_open(
        self, batch: Batch, is_stored: NDArray[np.bool_], sequence_number: NDArray[np.int64]
    ) -> None:
        """Note which open records of a batch have a later one of their destination stored."""
        least = find_reordered(batch.entries, is_stored, sequence_number)
        np.minimum(batch.state["reordered_at"], least, out=least)
        batch.state["reordered_at"] = least
        reordered = np.flatnonzero(least != NOT_REORDERED)
        rows = batch.entries.rows_of(reordered)
        numbers = batch.entries.spread(least, reordered)
        self._reordered_at.update(zip(rows.tolist(), numbers.tolist(), strict=True))

    def note_stored(
        self, batch: Batch, stored: NDArray[np.intp], sequence_number: NDArray[np.int64]
    ) -> None:
        """Note which stored records of a batch are stored after later ones."""
        is_late = sequence_number[stored] > batch.state["reordered_at"][stored]
        if is_late.any():
            self.rows += batch.entries.rows_of(stored[is_late]).tolist()

    def late_rows(self, late: Iterable[Copy]) -> list[int]:
        """Return those of the rows found late that are stored after later ones."""
        least = self._reordered_at
        return sorted(
            {
                copy.row
                for copy in late
                if copy.row in least and copy.sequence_number > least[copy.row]
            }
        )


def find_reordered(
    entries: Entries, is_stored: NDArray[np.bool_], sequence_number: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return for each open record the number of the next stored one of its destination.

    Numbers ascend in the order of a request, so that the next one is the least of those after
    it. Sorted by destination, last record first, it is the last stored one passed:

        destination     a     a     a     b
        record          3     1     0     2
        is stored       yes   yes   no    yes
        last stored     0     1     1     3      (position in this order, running maximum)
        result of record 0: the number of record 1
    """
    order = np.argsort(entries.destination, kind="stable")[::-1]
    destination, stored = entries.destination[order], is_stored[order]
    begins = np.flatnonzero(np.r_[True, destination[1:] != destination[:-1]])
    first = np.repeat(begins, np.diff(np.r_[begins, len(order)]))
    last_stored = np.maximum.accumulate(np.where(stored, np.arange(len(order)), -1))
    is_reordered = (last_stored >= first) & ~stored & (destination != 0)
    least = np.full(len(order), NOT_REORDERED)
    least[order[is_reordered]] = sequence_number[order[last_stored[is_reordered]]]
    return least

"""Rows of a resumed run that come to stand behind later ones of their destination.

An earlier process stored rows behind one that it left open. Reading the data again
shows every row's destination: which open rows have a stored one behind them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from v3io_frames_put._delivery.earlier import Earlier


class Resumption:
    """What reading the data again leaves out, and what it finds out.

    Parameters
    ----------
    earlier : Earlier
        What earlier processes left.

    Attributes
    ----------
    fresh : deque of ndarray
        Overtaken rows that are not on record yet; whoever records some takes them out.
    """

    def __init__(self, earlier: Earlier) -> None:
        self.earlier = earlier
        self._rows = np.zeros(0, np.int64)  # open, and not behind all that is stored
        self._destinations = np.zeros(0, np.uint64)
        self.fresh: deque[NDArray[np.int64]] = deque()
        self._overtaken: list[NDArray[np.int64]] = []

    def among(self, first_row: int, num_rows: int) -> NDArray[np.bool_]:
        """Return the mask of the rows to leave out, of some that follow each other."""
        return self.earlier.keeps(first_row, num_rows)

    def note_destinations(self, first_row: int, destination: NDArray[np.uint64] | None) -> None:
        """Take the destinations of the next rows."""
        if destination is None or first_row > self.earlier.last_stored:
            return
        rows = np.arange(first_row, first_row + len(destination))
        stored = self.earlier.is_stored(rows)
        is_open = ~self.among(first_row, len(rows)) & (destination != 0)
        self._rows = np.concatenate([self._rows, rows[is_open]])
        self._destinations = np.concatenate([self._destinations, destination[is_open]])
        if not len(self._rows) or not stored.any():
            return
        behind, last = np.unique(destination[stored][::-1], return_index=True)
        last_row = rows[stored][::-1][last]
        place = np.minimum(np.searchsorted(behind, self._destinations), len(behind) - 1)
        overtaken = (behind[place] == self._destinations) & (self._rows < last_row[place])
        if overtaken.any():
            self._overtaken.append(self._rows[overtaken])
            self.fresh.append(self._rows[overtaken])
        self._rows = self._rows[~overtaken]
        self._destinations = self._destinations[~overtaken]

    def out_of_order(self) -> list[int]:
        """List the rows that stand behind later ones of their destination."""
        rows, least = self.earlier.overtaken.T
        stood = self.earlier.is_stored(rows)
        numbers = self.earlier.places(rows[stood])[:, 1]
        is_late = numbers > least[stood]  # else it was found in order
        overtaken = np.concatenate([rows, *self._overtaken])
        sent_now = overtaken[np.isin(overtaken, self.earlier.stored_now())]
        found: list[int] = np.union1d(rows[stood][is_late], sent_now).tolist()
        return found

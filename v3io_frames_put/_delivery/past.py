"""What earlier processes of a run may have stored, looked up before it goes on.

Pure; ``exactly_once`` only. Reading the stream is ``scan``'s, when to read
``reconcile``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from v3io_frames_put._delivery.outcome_pages import NOT_GIVEN, STATUSES, Failure
from v3io_frames_put._delivery.suspects import Copy
from v3io_frames_put._wire.tags import Tag, split_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from v3io_frames_put._delivery.earlier import Earlier

LOST: Final = Failure(
    "NoAnswer",
    "an earlier process of the run may have stored it; records are missing where it would stand, "
    "so its absence is not proven",
)


class Past:
    """What earlier processes may have stored.

    Parameters
    ----------
    earlier : Earlier
        What they left; what is found is written into it.
    rows_of : callable
        Finds the rows of the record with a tag.
    floor : ndarray of int64
        Per shard, the number behind which everything stands that is in doubt.
    starts : mapping of str to int
        Per shard, the last number before the run, as a receipt tells it.
    knows_requests : bool
        Whether no row but the unknown ones can have been sent.
    """

    def __init__(
        self,
        earlier: Earlier,
        rows_of: Callable[[Tag], NDArray[np.int64]],
        *,
        floor: NDArray[np.int64],
        starts: Mapping[str, int],
        knows_requests: bool,
    ) -> None:
        self.floor = floor
        self.starts = starts
        self._earlier = earlier
        self._rows_of = rows_of
        self._knows_requests = knows_requests
        self._rows = np.zeros(0, np.int64)  # that an earlier request may yet bring, in order
        self._places = np.zeros((0, 2), np.int64)  # of each: shard, number; NOT_GIVEN: none
        self._copies = np.zeros((0, 3), np.int64)  # row, shard, number

    def take(self, found: NDArray[Any], *, proves_absence: bool) -> None:
        """Take where the run's tags stand, and whether what is not there is nowhere."""
        of, rows, within = self._spread(found["tag"])
        order = np.argsort(rows, kind="stable")  # a row may be in several records
        of, rows, within = of[order], rows[order], within[order]
        is_first = np.r_[True, rows[1:] != rows[:-1]][: len(rows)]
        places, known = _places_of(found, of), self._earlier.places(rows)
        is_fresh = known[:, 0] == NOT_GIVEN
        before = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]  # the first of the same row
        known[is_fresh] = places[before[is_fresh]]
        self._note_copies(rows, places, known)
        chosen = np.flatnonzero(is_first & is_fresh)
        del of, order, places, before  # as large as the pages that are copied next
        shards, numbers = known[chosen].T
        self._earlier.find(
            rows[chosen], shard_id=shards, sequence_number=numbers, record_row=within[chosen]
        )
        if proves_absence:
            self._earlier.prove()
            self._rows = np.flatnonzero(self._earlier.status == STATUSES.index("unknown"))
            self._places = np.full((len(self._rows), 2), NOT_GIVEN, np.int64)
        else:
            self._earlier.lose(LOST, everything=not self._knows_requests)

    def _spread(
        self, tags: NDArray[np.uint64]
    ) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.intp]]:
        """List the rows of records: of which record each is, the row, its place in the record."""
        firsts, counts = split_tags(tags)
        if (counts == 1).all():
            return np.arange(len(tags)), firsts, np.zeros(len(tags), np.intp)
        parts = [
            self._rows_of(Tag(*pair)) for pair in zip(firsts.tolist(), counts.tolist(), strict=True)
        ]
        lengths = np.array([len(part) for part in parts])
        of = np.repeat(np.arange(len(tags)), lengths)
        return of, np.concatenate(parts), np.arange(len(of)) - (np.cumsum(lengths) - lengths)[of]

    def _note_copies(
        self, rows: NDArray[np.int64], places: NDArray[np.int64], known: NDArray[np.int64]
    ) -> None:
        """Note the places of rows that are not those where they are known to stand."""
        is_copy = (places != known).any(axis=1)
        copies = np.column_stack([rows[is_copy], places[is_copy]])
        self._copies = np.unique(np.concatenate([self._copies, copies]), axis=0)

    @property
    def is_over(self) -> bool:
        """Whether no request of an earlier process can bring another copy."""
        return not len(self._rows)

    def expects(self, tags: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Tell of which tags an earlier request may yet bring rows."""
        of, rows, _ = self._spread(tags)
        expected = np.zeros(len(tags), np.bool_)
        expected[of[self._earlier.is_stored(rows) | self.doubts(rows)]] = True
        return expected

    def doubts(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell of which rows an earlier request may yet bring another copy."""
        if self.is_over:
            return np.zeros(len(rows), np.bool_)
        at = np.searchsorted(self._rows, rows)
        doubted: NDArray[np.bool_] = self._rows[np.minimum(at, len(self._rows) - 1)] == rows
        return doubted

    def note_stored(self, rows: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        """Note where rows stand now: shard and sequence number of each."""
        doubted = self.doubts(rows)
        self._places[np.searchsorted(self._rows, rows[doubted])] = places[doubted]

    def take_last(self, found: NDArray[Any]) -> None:
        """Take where expected tags stand at the end of the run."""
        of, rows, _ = self._spread(found["tag"])
        known = self._earlier.places(rows)
        is_told = self.doubts(rows) | (known[:, 0] != NOT_GIVEN)
        self._note_copies(rows[is_told], _places_of(found, of[is_told]), known[is_told])

    def duplicates(self) -> list[Copy]:
        """List copies that stand besides the place where a row is known to stand."""
        elsewhere = (self._told() != self._copies[:, 1:]).any(axis=1)
        return [Copy(*copy) for copy in self._copies[elsewhere].tolist()]

    def late(self) -> list[Copy]:
        """List copies of rows that had been settled as not, or maybe, stored."""
        is_late = self.doubts(self._copies[:, 0]) & (self._told()[:, 0] == NOT_GIVEN)
        return [Copy(*copy) for copy in self._copies[is_late].tolist()]

    def _told(self) -> NDArray[np.int64]:
        """Return where the row of each copy came to stand; NOT_GIVEN: nowhere, or before."""
        told = np.full((len(self._copies), 2), NOT_GIVEN, np.int64)
        doubted = self.doubts(self._copies[:, 0])
        told[doubted] = self._places[np.searchsorted(self._rows, self._copies[doubted, 0])]
        return told


def _places_of(found: NDArray[Any], at: NDArray[np.intp]) -> NDArray[np.int64]:
    return np.stack([found[name][at] for name in ("shard_id", "sequence_number")], axis=1)

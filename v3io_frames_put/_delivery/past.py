"""What earlier processes of a run may have stored, looked up before it goes on.

Pure; ``exactly_once`` only. Reading the stream is ``scan``'s, when to read
``reconcile``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from v3io_frames_put._delivery.outcome_pages import STATUSES, Failure
from v3io_frames_put._delivery.scan import Place
from v3io_frames_put._delivery.suspects import Copy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from v3io_frames_put._delivery.earlier import Earlier
    from v3io_frames_put._wire.tags import Tag

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
        self._places: dict[int, Place | None] = {}  # of rows that an earlier request may yet bring
        self._copies: set[Copy] = set()

    def take(self, found: Mapping[Tag, list[Place]], *, proves_absence: bool) -> None:
        """Take where the run's tags stand, and whether what is not there is nowhere."""
        fresh: dict[int, tuple[Place, int]] = {}  # where each stands, and its place in the record
        for tag, places in sorted(found.items()):
            for within, row in enumerate(self._rows_of(tag).tolist()):
                known = self._earlier.place(row)
                if known is None:
                    known, _ = fresh.setdefault(row, (min(places), within))
                self._copies |= {Copy(row, *place) for place in places if place != known}
        self._find(fresh)
        if proves_absence:
            self._earlier.prove()
            unknown = np.flatnonzero(self._earlier.status == STATUSES.index("unknown"))
            self._places = dict.fromkeys(unknown.tolist())
        else:
            self._earlier.lose(LOST, everything=not self._knows_requests)

    def _find(self, fresh: Mapping[int, tuple[Place, int]]) -> None:
        """Write into the outcomes which rows were found."""
        rows = np.fromiter(fresh, np.int64, len(fresh))
        told = np.array([(*place, within) for place, within in fresh.values()], np.int64)
        shards, numbers, places = told.reshape(-1, 3).T
        self._earlier.find(rows, shard_id=shards, sequence_number=numbers, record_row=places)

    @property
    def is_over(self) -> bool:
        """Whether no request of an earlier process can bring another copy."""
        return not self._places

    def expects(self, tag: Tag) -> bool:
        """Tell whether an earlier request may yet bring rows of a tag."""
        rows = self._rows_of(tag)
        is_stored = bool(self._earlier.is_stored(rows).any())
        return is_stored or any(row in self._places for row in rows.tolist())

    def doubts(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell of which rows an earlier request may yet bring another copy."""
        return np.array([row in self._places for row in rows.tolist()], np.bool_)

    def note_stored(self, rows: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        """Note where rows stand now: shard and sequence number of each."""
        if self.is_over:
            return
        for row, place in zip(rows.tolist(), places.tolist(), strict=True):
            if row in self._places:
                self._places[row] = Place(*place)

    def take_last(self, found: Mapping[Tag, list[Place]]) -> None:
        """Take where expected tags stand at the end of the run."""
        for tag, places in found.items():
            for row in self._rows_of(tag).tolist():
                told = self._earlier.place(row)
                if row in self._places or told is not None:
                    self._copies |= {Copy(row, *place) for place in places if place != told}

    def duplicates(self) -> list[Copy]:
        """List copies that stand besides the place where a row is known to stand."""
        return sorted(copy for copy in self._copies if not self._is_told(copy))

    def late(self) -> list[Copy]:
        """List rows that scans saw after they had been settled as not, or maybe, stored."""
        late = {
            copy.row: copy for copy in sorted(self._copies, reverse=True) if not self._known(copy)
        }
        return sorted(late.values())

    def _known(self, copy: Copy) -> bool:
        return copy.row not in self._places or self._places[copy.row] is not None

    def _is_told(self, copy: Copy) -> bool:
        return self._places.get(copy.row) == (copy.shard_id, copy.sequence_number)

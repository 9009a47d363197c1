"""What waits to be sent: records in lanes, batches in a pause, and what is held for good.

Pure: it orders and holds; when and whether to send is decided by ``delivery``.
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

import numpy as np

from v3io_frames_put._delivery.batch import Batch, links
from v3io_frames_put._delivery.lanes import Lanes

if TYPE_CHECKING:
    from v3io_frames_put._wire.batches import Entries
    from v3io_frames_put.config import Limits


class Backlog:
    """Records and batches that wait.

    Parameters
    ----------
    lanes : int
        Number of lanes; see ``Lanes``.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = Lanes(lanes)
        self._pauses: list[tuple[float, int, Batch]] = []
        self._numbers = itertools.count()
        self._given_up = np.zeros(0, np.uint64)

    def __bool__(self) -> bool:
        return bool(self._pauses or self._lanes.records)

    @property
    def nbytes(self) -> int:
        """Encoded bytes that wait."""
        return self._lanes.nbytes + sum(b.nbytes for _, _, b in self._pauses)

    @property
    def idle_records(self) -> int:
        """Number of records that could be sent now."""
        return self._lanes.idle_records

    def add(self, entries: Entries) -> Entries:
        """Queue records; return those that stand behind a destination given up."""
        if not len(self._given_up):
            self._lanes.add(entries)
            return entries.slice(0, 0)
        held = np.isin(entries.destination, self._given_up)
        self._lanes.add(entries.take(np.flatnonzero(~held)))
        return entries.take(np.flatnonzero(held))

    def pause(self, batch: Batch, until: float) -> None:
        """Keep a batch, and its lanes, until a time."""
        heapq.heappush(self._pauses, (until, next(self._numbers), batch))

    def next_batch(self, now: float, limits: Limits, *, partial: bool) -> Batch | None:
        """Take the batch whose pause is over, else gather one from idle lanes."""
        if self._pauses and self._pauses[0][0] <= now:
            return heapq.heappop(self._pauses)[2]
        gathered = self._lanes.gather(limits, partial=partial)
        return None if gathered is None else Batch(*gathered)

    def wake_at(self, now: float, gate: float) -> float | None:
        """Say when something may be sent; None: not by waiting alone."""
        times = [max(gate, self._pauses[0][0])] if self._pauses else []
        if now < gate and self._lanes.idle_records:
            times.append(gate)
        return min(times, default=None)

    def first_pause(self) -> tuple[float, Batch] | None:
        """Show the pause that ends first."""
        return (self._pauses[0][0], self._pauses[0][2]) if self._pauses else None

    def advance(self, batch: Batch) -> None:
        """Go on behind a settled batch: its other half, or its lanes' next records."""
        if batch.rest is not None:
            self.pause(batch.rest, 0.0)
        else:
            self._lanes.release(batch.lanes)

    def give_up(self, batch: Batch) -> tuple[list[Entries], list[Batch]]:
        """Hold for good what stands behind a batch's destinations.

        Returns
        -------
        queued, split : list of Entries and list of Batch
            What will not be sent any more: from the lanes, and from the batch's
            own other halves.
        """
        lost = np.unique(batch.entries.destination)
        self._given_up = np.union1d(self._given_up, lost[lost != 0])
        behind, kept = [], []
        for link in links(batch.rest):
            held = np.isin(link.entries.destination, self._given_up)
            if held.any():
                behind.append(link.pick(np.flatnonzero(held)))
            if not held.all():
                kept.append(link.pick(np.flatnonzero(~held)))
        batch.rest = None
        for link in reversed(kept):
            link.rest, batch.rest = batch.rest, link
        return self._lanes.drop(self._given_up), behind

    def clear(self) -> tuple[list[Entries], list[Batch]]:
        """Take out all that waits: records never sent, and batches in a pause."""
        batches = [batch for _, _, batch in self._pauses]
        self._pauses.clear()
        return self._lanes.clear(), batches

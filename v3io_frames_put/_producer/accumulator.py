"""Records that wait to be sent, in lanes that keep each destination in order."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from v3io_frames_put._producer.batch import Batch, links
from v3io_frames_put._wire.bodies import Entries, count_fitting, join_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from v3io_frames_put.config import Limits

_BUCKETS: Final = 1 << 16
_UNASSIGNED: Final = -1
FREE: Final = -1  # the queue of records without a destination; never busy
LANES_PER_BATCH: Final = 4  # at most, but for the last ones: the rest is left to other batches
_LATE_ROWS: Final = 1 << 16  # about a page of outcomes, which stays in memory for its last row


class _Queue:
    """Entries in data order, cut from the front."""

    __slots__ = ("nbytes", "parts", "records")

    def __init__(self) -> None:
        self.parts: deque[Entries] = deque()
        self.records = 0
        self.nbytes = 0

    @property
    def first_row(self) -> int:
        return int(self.parts[0].rows[0])

    def append(self, entries: Entries) -> None:
        self.parts.append(entries)
        self.records += len(entries)
        self.nbytes += entries.nbytes

    def take(self, limits: Limits, *, used: int, held: int) -> list[Entries]:
        """Cut off what fits a body that already holds ``held`` records of ``used`` bytes."""
        taken: list[Entries] = []
        while self.parts:
            first = self.parts[0]
            count = count_fitting(first.offsets, limits, used=used, held=held)
            if held == 0:
                count = max(count, 1)  # a learned limit never keeps a single record back
            if count <= 0:
                break
            head = first.slice(0, count)
            if count == len(first):
                self.parts.popleft()
            else:
                self.parts[0] = first.slice(count, len(first))
            taken.append(head)
            used, held = used + head.nbytes, held + count
            self.records -= count
            self.nbytes -= head.nbytes
        return taken

    def drop(self, lost: Callable[[Entries], NDArray[np.bool_]]) -> list[Entries]:
        """Remove the entries that ``lost`` marks, and return them."""
        dropped = []
        parts, self.parts, self.records, self.nbytes = self.parts, deque(), 0, 0
        for part in parts:
            mask = lost(part)
            if mask.any():
                dropped.append(part.take(np.flatnonzero(mask)))
                part = part.take(np.flatnonzero(~mask))  # noqa: PLW2901  # what is left of it
            if len(part):
                self.append(part)
        return dropped


class Lanes:
    """What waits to be sent.

    Parameters
    ----------
    count : int
        Number of lanes: several times the batches under way, so that one batch
        needs few of them and the rest stay free for the others.
    """

    def __init__(self, count: int) -> None:
        self._queues = {FREE: _Queue(), **{lane: _Queue() for lane in range(count)}}
        self._lane_of = np.full(_BUCKETS, _UNASSIGNED, np.int32)
        self._assigned = 0
        self._count = count
        self._busy: set[int] = set()
        self._newest_row = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all entries that wait."""
        return sum(queue.nbytes for queue in self._queues.values())

    @property
    def records(self) -> int:
        """Number of records that wait."""
        return sum(queue.records for queue in self._queues.values())

    @property
    def idle_records(self) -> int:
        """Number of records that wait in lanes without a batch under way."""
        return sum(self._queues[lane].records for lane in self._idle())

    def add(self, entries: Entries) -> None:
        """Queue records behind the earlier ones of their destinations."""
        if len(entries):
            self._newest_row = max(self._newest_row, int(entries.rows[-1]))
        if not entries.destination.any():
            if len(entries):
                self._queues[FREE].append(entries)
            return
        lanes = self._lanes_of(entries.destination)
        order = np.argsort(lanes, kind="stable")
        lanes = lanes[order]
        cuts = [0, *(np.flatnonzero(np.diff(lanes)) + 1).tolist(), len(lanes)]
        for start, stop in pairwise(cuts):
            # A copy: a lane that waits must not hold the whole window in memory.
            self._queues[int(lanes[start])].append(entries.take(order[start:stop]))

    def _lanes_of(self, destination: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Give each destination its lane: new ones in turn, so few destinations share none."""
        buckets = (destination & np.uint64(_BUCKETS - 1)).astype(np.intp)
        lanes = self._lane_of[buckets]
        new = (lanes == _UNASSIGNED) & (destination != 0)
        if new.any():
            fresh, first = np.unique(buckets[new], return_index=True)
            fresh = fresh[np.argsort(first)]  # in order of appearance
            self._lane_of[fresh] = (self._assigned + np.arange(len(fresh))) % self._count
            self._assigned += len(fresh)
            lanes = self._lane_of[buckets]
        return np.where(destination == 0, np.int32(FREE), lanes)

    def _idle(self) -> list[int]:
        return [lane for lane in self._queues if lane not in self._busy]

    def gather(self, limits: Limits, *, partial: bool) -> tuple[Entries, frozenset[int]] | None:
        """Gather the next batch, longest queue first, and hold its lanes.

        Before that come queues whose first row was passed by too many: short ones, and
        the free records, would else wait to the end of the data.

        Parameters
        ----------
        limits : Limits
            Records and bytes of one body.
        partial : bool
            Whether a batch may leave with less than fits (nothing more is coming).

        Returns
        -------
        entries, lanes : Entries and frozenset of int
            What to send, and the lanes to ``release`` once it has its outcomes.
            None: nothing to send now.
        """
        idle = [lane for lane in self._idle() if self._queues[lane].records]
        # Free records last: they fit anywhere, lanes only while they are idle.
        idle.sort(key=self._turn)
        if not idle or not (partial or self._fills_a_batch(idle, limits)):
            return None
        parts: list[Entries] = []
        lanes = set()
        used = held = 0
        for lane in idle:
            taken = self._queues[lane].take(limits, used=used, held=held)
            if not taken:
                break
            parts += taken
            lanes.add(lane)
            used += sum(part.nbytes for part in taken)
            held += sum(len(part) for part in taken)
        lanes.discard(FREE)
        self._busy |= lanes
        return join_entries(parts), frozenset(lanes)

    def _turn(self, lane: int) -> tuple[int, int, int]:
        """Say when a lane's turn is: late ones first, the latest of them before all."""
        queue = self._queues[lane]
        late_since = min(0, queue.first_row + _LATE_ROWS - self._newest_row)
        return late_since, int(lane == FREE), -queue.records

    def _fills_a_batch(self, idle: list[int], limits: Limits) -> bool:
        idle = [lane for at, lane in enumerate(idle) if at < LANES_PER_BATCH or lane == FREE]
        records = sum(self._queues[lane].records for lane in idle)
        return (
            records >= limits.max_records
            or sum(self._queues[lane].nbytes for lane in idle) >= limits.max_body_bytes
        )

    def release(self, lanes: Iterable[int]) -> None:
        """Let the lanes of a settled batch lend records again."""
        self._busy -= set(lanes)

    def drop(self, destinations: NDArray[np.uint64]) -> list[Entries]:
        """Remove all that waits for the given destinations, and return it."""

        def lost(part: Entries) -> NDArray[np.bool_]:
            return np.isin(part.destination, destinations)

        return [part for queue in self._queues.values() for part in queue.drop(lost)]

    def clear(self) -> list[Entries]:
        """Remove all that waits, and return it."""
        parts = [part for queue in self._queues.values() for part in queue.parts]
        for lane in self._queues:
            self._queues[lane] = _Queue()
        return parts


class Accumulator:
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

"""Records that wait to be sent, in lanes that keep each destination in order.

A destination (a shard, or else a partition key) hashes to a lane, and a lane has at most one
batch under way, so that rows of a destination are never in two requests at once. Records
without a destination wait in a lane that is never busy.

Each batch is cut from the front of a few lanes. Which ones decides how full the requests are
in the end, and how long a row may wait. The longest lane goes first, so that the commonest
key does not come last and alone:

    lane 1: a a a a a a      batch 1: a a a a   (lane 1 is busy until its answer)
    lane 2: b b              batch 2: b b c     (lanes 2 and 3)
    lane 3: c                batch 3: a a       when batch 1 has its outcome
    no destination: - - -    fill up what the lanes leave of a batch

A short lane would then wait until the end of the data. So a lane whose first row was passed
by 65,536 newer ones goes before all others, the one that waits longest first.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .._wire.bodies import ENVELOPE_BYTES, Entries, EntryRange, join_entries
from ..config import LANES_PER_BATCH, MOST_LANES, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .values import Failure

FREE: Final = 0  # the lane of records without a destination, which is never busy
_LATE_ROWS: Final = 1 << 16  # about a page of outcomes, which stays in memory for its last row
_SHARED_WINDOWS: Final = 2  # lanes show parts of so many windows; of older ones they hold copies

NOT_REORDERED: Final = np.int64(np.iinfo(np.int64).max)

RECORD_STATE: Final = np.dtype(
    [
        # An earlier request may have stored it, and no look-up has resolved that yet.
        ("maybe_stored", np.bool_),
        # It was sent again although it may have been stored.
        ("sent_twice", np.bool_),
        # A request that carried it ended unknown; stays set when that is resolved.
        ("was_in_doubt", np.bool_),
        # The least number that a later record of its destination is stored under.
        ("reordered_at", np.int64),
        # The ``Failure`` of its last request. None: that did not fail.
        ("why", object),
    ]
)
_NEW: Final = np.array([(False, False, False, NOT_REORDERED, None)], RECORD_STATE)


@dataclass(slots=True)
class Batch:
    """Records that travel together until each has its outcome.

    A batch is sent, and sent again, with the same entries. Records that get an outcome leave
    it; when it is split, the second half waits in ``rest`` until the first is over, because
    both may hold rows of one destination:

        [1 2 3 4 5 6 7 8]  -413->  [1 2 3 4] rest [5 6 7 8]
                           -413->  [1 2] rest [3 4] rest [5 6 7 8]
    """

    entries: Entries  # that have no outcome yet
    lanes: tuple[int, ...]  # that wait for this batch and its ``rest``
    state: NDArray[Any] = field(init=False)  # of RECORD_STATE: what happened to each record
    # The highest number of each shard before the first request (``exactly_once``).
    low_watermark: NDArray[np.int64] | None = None
    ticket: int = -1  # of the last request that carried them
    attempts: int = 0  # requests that carried them
    has_arrived: bool = False  # one of these reached the platform: its connection was made
    failures: int = 0  # those that ended without an outcome
    resets: int = 0  # those that were cut off while the body was leaving
    first_failure: float = math.inf  # when the first failed; the deadline counts from it
    rest: Batch | None = None  # the other half of a batch that was split

    def __post_init__(self) -> None:
        self.state = _NEW.repeat(len(self.entries.shard))

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def nbytes(self) -> int:
        """Encoded bytes of these records and of those in ``rest``."""
        if self.rest is None:
            return self.entries.nbytes
        return sum(part.entries.nbytes for part in iterate_parts(self))

    def pick(self, positions: NDArray[np.intp]) -> Batch:
        """Return a batch of only some of the records, with their state."""
        picked = replace(self, entries=self.entries.take(positions))
        picked.state = self.state[positions]
        return picked

    def split(self) -> Batch:
        """Return the first half of the records; the second half waits in its ``rest``."""
        middle = len(self) // 2
        second = self.pick(np.arange(middle, len(self)))
        first = self.pick(np.arange(middle))
        first.rest = second
        return first

    def note_failure(self, now: float) -> None:
        """Count a request of all records that ended without an outcome."""
        self.failures += 1
        self.first_failure = min(self.first_failure, now)

    def set_reason(self, failure: Failure) -> None:
        self.state["why"][:] = failure


def iterate_parts(batch: Batch | None) -> Iterator[Batch]:
    """Yield a batch and the halves in its ``rest``, in the order in which they are sent."""
    while batch is not None:
        yield batch
        batch = batch.rest


@dataclass(slots=True)
class _Lane:
    """Ranges of entries in data order, cut from the front."""

    number: int
    ranges: deque[EntryRange] = field(default_factory=deque)
    first_row: int = 0
    records: int = 0
    nbytes: int = 0
    is_busy: bool = False

    def append(self, part: EntryRange) -> None:
        if not self.ranges:
            self.first_row = part.first_row
        self.ranges.append(part)
        self.records += part.stop - part.start
        self.nbytes += part.nbytes

    def cut(self, room: int, records: int, *, is_first: bool) -> tuple[list[EntryRange], int, int]:
        """Cut off at most so many records that fit into ``room`` bytes.

        A limit on bytes that was learned from the platform never holds a single record
        back: the first one of a batch is taken whatever its size.

        Returns the ranges, their records and their bytes.
        """
        taken: list[EntryRange] = []
        count = nbytes = 0
        while self.ranges and count < records:
            part = self.ranges[0]
            fitting = part.count_fitting(room - nbytes, records - count)
            if not fitting and is_first and not taken:
                fitting = 1
            if not fitting:
                break
            head, rest = part.split(fitting)
            if rest is None:
                self.ranges.popleft()
            else:
                self.ranges[0] = rest
            taken.append(head)
            count += fitting
            nbytes += head.nbytes
        self.records -= count
        self.nbytes -= nbytes
        if self.ranges:
            self.first_row = self.ranges[0].first_row
        return taken, count, nbytes


class Accumulator:
    """Records and batches that wait.

    The more lanes there are beside the batches in flight, the fewer lanes one batch needs, and
    the more of them stay free for the others.
    """

    def __init__(self, lanes: int) -> None:
        self.records = 0  # that wait in lanes
        self.idle_records = 0  # in lanes without a batch in flight: they could be sent now
        self.nbytes = 0  # of what waits, in lanes and in batches that pause
        # Of the newest windows: what was sent of them may still be in memory.
        self.shared_bytes = 0
        self._lanes = [_Lane(number) for number in range(lanes + 1)]  # FREE is the first
        self._lane_of = np.full(MOST_LANES, FREE, np.int16 if lanes < 1 << 15 else np.int32)
        self._assigned = 0
        self._newest_row = 0
        self._windows: deque[Entries] = deque()
        self._pauses: list[tuple[float, int, Batch]] = []
        self._numbers = itertools.count()
        self._given_up = np.zeros(0, np.uint64)

    def __bool__(self) -> bool:
        return bool(self._pauses or self.records)

    # -- in ------------------------------------------------------------------------------

    def add(self, entries: Entries) -> NDArray[np.int64]:
        """Queue records after the earlier ones of their destinations.

        Returns the rows of those whose destination was given up: they are not queued.
        """
        held = np.zeros(0, np.int64)
        if len(self._given_up):
            is_held = np.isin(entries.destination, self._given_up)
            held = entries.rows_of(is_held)
            entries = entries.take(np.flatnonzero(~is_held))
        if not len(entries):
            return held
        self._newest_row = max(self._newest_row, int(entries.rows[-1]))
        lanes = self._lanes_of(entries.destination)
        if lanes is None:
            lanes = np.full(1, FREE)
            cuts = [0, len(entries)]
        else:
            order = lanes.argsort(kind="stable")
            entries, lanes = entries.take(order), lanes[order]
            cuts = [0, *((lanes[1:] != lanes[:-1]).nonzero()[0] + 1).tolist(), len(lanes)]
        self.records += len(entries)
        self.nbytes += entries.nbytes
        for start, stop in pairwise(cuts):
            lane = self._lanes[lanes[start]]
            lane.append(EntryRange(entries, start, stop))
            if not lane.is_busy:
                self.idle_records += stop - start
        self._windows.append(entries)
        self.shared_bytes += entries.nbytes
        if len(self._windows) > _SHARED_WINDOWS:
            oldest = self._windows.popleft()
            self.shared_bytes -= oldest.nbytes
            self._copy_remains(oldest)
        return held

    def _lanes_of(self, destination: NDArray[np.uint64]) -> NDArray[Any] | None:
        """Return the lane of each record; None: none has a destination.

        New destinations get lanes in turn, so that few of them share none.
        """
        has_destination = destination != 0
        if not has_destination.any():
            return None
        buckets = (destination & np.uint64(MOST_LANES - 1)).astype(np.intp)
        lanes: NDArray[Any] = self._lane_of[buckets]
        is_new = (lanes == FREE) & has_destination
        if is_new.any():
            fresh, first = np.unique(buckets[is_new], return_index=True)
            fresh = fresh[np.argsort(first)]  # in order of appearance
            turn = self._assigned + np.arange(len(fresh))
            self._lane_of[fresh] = 1 + turn % (len(self._lanes) - 1)
            self._assigned += len(fresh)
            lanes = self._lane_of[buckets]
        lanes[~has_destination] = FREE
        return lanes

    def _copy_remains(self, window: Entries) -> None:
        """Copy what still waits of a window, lane by lane: a range holds all of it in memory.

        A lane whose batch pauses for minutes would else hold every window that came since.
        """
        for lane in self._lanes:
            for at, part in enumerate(lane.ranges):
                if part.entries is window and part.nbytes < window.nbytes:
                    lane.ranges[at] = part.copy()

    # -- out -----------------------------------------------------------------------------

    def next_batch(self, now: float, limits: Limits, *, partial: bool) -> Batch | None:
        """Return the batch whose pause is over, else cut one from idle lanes; None: nothing now.

        ``partial``: it may leave with less than fits, for nothing more is coming. ``advance`` or
        ``give_up`` takes it when it has its outcomes.
        """
        if self._pauses and self._pauses[0][0] <= now:
            batch = heapq.heappop(self._pauses)[2]
            self.nbytes -= batch.nbytes
            return batch
        late_before = self._newest_row - _LATE_ROWS
        idle = [
            (min(0, lane.first_row - late_before), lane.number == FREE, -lane.records, lane.number)
            for lane in self._lanes
            if lane.records and not lane.is_busy
        ]
        lanes = [self._lanes[number] for *_, number in sorted(idle)]
        if not partial:  # the first lanes, and the one without destinations, have to fill a body
            records = nbytes = 0
            for place, lane in enumerate(lanes):
                if place < LANES_PER_BATCH or lane.number == FREE:
                    records += lane.records
                    nbytes += lane.nbytes
            if records < limits.max_records and nbytes < limits.max_body_bytes:
                return None
        return self._cut(lanes, limits) if lanes else None

    def _cut(self, lanes: list[_Lane], limits: Limits) -> Batch:
        """Cut a batch from the first of some lanes, and mark these as busy."""
        room, records = limits.max_body_bytes - ENVELOPE_BYTES, limits.max_records
        ranges: list[EntryRange] = []
        busy = []
        for lane in lanes:
            taken, count, nbytes = lane.cut(room, records, is_first=not ranges)
            if not taken:
                break
            ranges += taken
            room, records = room - nbytes, records - count
            self.records -= count
            self.idle_records -= count
            self.nbytes -= nbytes
            if lane.number != FREE:
                lane.is_busy = True
                self.idle_records -= lane.records
                busy.append(lane.number)
        return Batch(join_entries(ranges), tuple(busy))

    def wake_at(self, now: float, opens_at: float) -> float | None:
        """Return when something may be sent, not before ``opens_at``; None: after an event."""
        times = [max(opens_at, self._pauses[0][0])] if self._pauses else []
        if now < opens_at and self.idle_records:
            times.append(opens_at)
        return min(times, default=None)

    def first_pause(self) -> tuple[float, Batch] | None:
        return (self._pauses[0][0], self._pauses[0][2]) if self._pauses else None

    # -- after a batch -------------------------------------------------------------------

    def pause(self, batch: Batch, until: float) -> None:
        """Keep a batch, and its lanes, until a time."""
        self.nbytes += batch.nbytes
        heapq.heappush(self._pauses, (until, next(self._numbers), batch))

    def advance(self, batch: Batch) -> None:
        """Send what comes after a batch that is over: its other half, or its lanes' records."""
        if batch.rest is not None:
            self.pause(batch.rest, 0.0)
            return
        for number in batch.lanes:
            lane = self._lanes[number]
            lane.is_busy = False
            self.idle_records += lane.records

    def give_up(self, batch: Batch) -> tuple[list[Entries], list[Batch]]:
        """Hold for good what comes after a batch in its destinations.

        Returns what will not be sent any more: from the lanes, and from the batch's own halves.
        """
        lost = np.unique(batch.entries.destination)
        self._given_up = np.union1d(self._given_up, lost[lost != 0])
        held, remaining = [], []
        for part in iterate_parts(batch.rest):
            is_held = np.isin(part.entries.destination, self._given_up)
            if is_held.any():
                held.append(part.pick(np.flatnonzero(is_held)))
            if not is_held.all():
                remaining.append(part.pick(np.flatnonzero(~is_held)))
        batch.rest = None
        for part in reversed(remaining):
            part.rest, batch.rest = batch.rest, part
        return self._take_given_up(), held

    def _take_given_up(self) -> list[Entries]:
        """Remove what waits for the destinations that were given up, and return it."""
        taken = []
        for lane in self._lanes:
            ranges, lane.ranges = lane.ranges, deque()
            before, lane.records, lane.nbytes = (lane.records, lane.nbytes), 0, 0
            for part in ranges:
                is_lost = np.isin(part.entries.destination[part.start : part.stop], self._given_up)
                if is_lost.any():
                    taken.append(part.take(np.flatnonzero(is_lost)))
                    rest = part.take(np.flatnonzero(~is_lost))
                    part = EntryRange(rest, 0, len(rest))  # noqa: PLW2901  # what is left of it
                if part.stop > part.start:
                    lane.append(part)
            self.records -= before[0] - lane.records
            self.nbytes -= before[1] - lane.nbytes
            if not lane.is_busy:
                self.idle_records -= before[0] - lane.records
        return taken

    def clear(self) -> tuple[list[Entries], list[Batch]]:
        """Remove all that waits: records never sent, and batches that pause."""
        queued = [part.copy().entries for lane in self._lanes for part in lane.ranges]
        batches = [batch for _, _, batch in self._pauses]
        for lane in self._lanes:
            lane.ranges.clear()
            lane.records = lane.nbytes = 0
        self._pauses.clear()
        self._windows.clear()
        self.records = self.idle_records = self.nbytes = self.shared_bytes = 0
        return queued, batches

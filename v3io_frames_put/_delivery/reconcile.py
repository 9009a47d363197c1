"""``exactly_once``: what lost answers would have told, looked up on the stream.

Before the first record it notes where every shard ends. A batch whose request ended
unknown waits until nothing of it can still be on its way, then its tags are read
back: what is found is stored, what is provably absent is sent again, and what cannot
be proven either way stays unknown. Batches that wait share one scan.
"""

from __future__ import annotations

from functools import partial, reduce
from typing import TYPE_CHECKING, Final

import numpy as np

from v3io_frames_put._delivery.errand_queue import ErrandQueue, Job
from v3io_frames_put._delivery.errands import (
    Start,
    Survey,
    check_reading,
    find_start,
    survey_stream,
)
from v3io_frames_put._delivery.scan import NOWHERE, Scan, first_places, lower_floor
from v3io_frames_put._delivery.suspects import Lookup, Suspects
from v3io_frames_put._delivery.verdicts import GAVE_UP
from v3io_frames_put.config import MAX_SHARDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from v3io_frames_put._delivery.batch import Batch
    from v3io_frames_put._delivery.past import Past
    from v3io_frames_put._delivery.suspects import Copy
    from v3io_frames_put._delivery.verdicts import Verdict
    from v3io_frames_put._wire.exchange import Attempt, Request
    from v3io_frames_put._wire.paths import StreamPath
    from v3io_frames_put._wire.put_answers import PutAnswer
    from v3io_frames_put.config import Retry


_STARTS_KEPT: Final = 512  # in a receipt of at most 20 kB
_FLOOR_BYTES: Final = 40  # for each record: batches share a floor, or it weighs more than they


class Reconciler:
    """Finds out what became of records whose request got no answer.

    Parameters
    ----------
    stream : StreamPath
        Where they were sent.
    run_id : bytes
        What their tags begin with.
    retry : Retry
        Patience, and ``settle_seconds``.
    past : Past, optional
        An earlier process of the run, to be looked up before anything is sent.

    Attributes
    ----------
    lookups : list of Lookup
        What scans found out; whoever takes it empties it.
    suspects : Suspects
        Records that had an unknown outcome once.
    starts : dict of str to int
        Per shard, its last number before the run; the first of them. One that is not
        there is read from its beginning, which is slower and as right.
    is_stream_missing : bool
        Whether a survey found no stream.
    """

    def __init__(
        self, stream: StreamPath, run_id: bytes, retry: Retry, *, past: Past | None = None
    ) -> None:
        self._past = past
        self._is_past_open = past is not None
        self._past_floor: NDArray[np.int64] | None = None
        self.lookups: list[Lookup] = []
        self._rejected: list[NDArray[np.int64]] = []
        self.suspects = Suspects()
        self.is_stream_missing = False
        self._stream, self._run_id = stream, run_id
        self._settle_seconds = retry.settle_seconds
        self._errands = ErrandQueue(retry)
        self.starts = dict(past.starts) if past else {}
        self._floor = np.zeros(MAX_SHARDS, np.int64)
        self._shared_floor: NDArray[np.int64] | None = None
        self._sharing = 0  # records
        self._locations: dict[int, str] = {}
        self._waiting: list[tuple[float, Batch]] = []
        self._scan: Scan | None = None
        self._is_last_due = False
        self._last_cut_off = 0.0
        self._errands.add(check_reading(stream), lambda _: None)
        self._errands.add(survey_stream(stream), self._note_starts)

    # -- before the first record ------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether records may be sent: the starts are noted."""
        return not self._is_past_open and (not self._errands or self._scan is not None)

    def _note_starts(self, survey: Survey | None) -> None:
        if survey is None:
            self.is_stream_missing = True
            return
        for shard, number in survey.written.items():
            if number is None:
                self._errands.add(find_start(self._stream, shard), partial(self._note, shard))
            else:
                self._note(shard, Start(number))

    def _note(self, shard: int, start: Start) -> None:
        if shard >= MAX_SHARDS:
            return  # more than the documents allow: such a shard is read from its beginning
        self._floor[shard] = start.number
        if self._past is None and len(self.starts) < _STARTS_KEPT and start.number:
            self.starts[str(shard)] = start.number
        if start.location is not None:
            self._locations[shard] = start.location

    # -- while records are sent -------------------------------------------------------

    def prepare(self, batch: Batch) -> None:
        """Note, before a batch is sent, the highest number known in each shard.

        Small batches share what was known before the first of them: a look-up from there
        reads a little more.
        """
        if batch.floor is not None:
            return
        shared = self._shared_floor
        if shared is None or self._sharing * _FLOOR_BYTES >= shared.nbytes:
            shared = self._shared_floor = np.trim_zeros(self._floor, "b").copy()
            self._sharing = 0
        self._sharing += len(batch)
        batch.floor = shared

    def note_stored(self, batch: Batch, stored: NDArray[np.intp], told: PutAnswer) -> None:
        """Note acknowledged records, and where those of them stand that may come twice."""
        shards, numbers = told.shard_id[stored], told.sequence_number[stored]
        is_known = shards < MAX_SHARDS
        np.maximum.at(self._floor, shards[is_known], numbers[is_known])
        self.suspects.note_stored(batch, stored, told)
        self._note_rows(batch, stored, np.stack([shards, numbers], axis=1))

    def note_rejected(self, batch: Batch) -> None:
        """Note rejected records that an earlier request may yet bring."""
        rows = batch.entries.rows
        doubted = np.isin(rows, batch.entries.rows_of(np.flatnonzero(batch.is_suspect)))
        if self._past is not None:
            doubted |= self._past.doubts(rows)
        if doubted.any():
            self._rejected.append(rows[doubted])

    def count_rejected(self, rows: Iterable[int]) -> int:
        """Count those of some rows that were rejected while they were in doubt."""
        rejected = np.concatenate([np.zeros(0, np.int64), *self._rejected])
        return int(np.isin(np.fromiter(rows, np.int64), rejected).sum())

    def _note_rows(self, batch: Batch, at: NDArray[np.intp], places: NDArray[np.int64]) -> None:
        if self._past is not None and not self._past.is_over:
            counts = batch.entries.row_counts
            places = places if counts is None else np.repeat(places, counts[at], axis=0)
            self._past.note_stored(batch.entries.rows_of(at), places)

    def look_up(self, batch: Batch, now: float) -> None:
        """Queue a batch whose connection was closed just now."""
        self.suspects.add(batch)
        self._waiting.append((now + self._settle_seconds, batch))
        self._last_cut_off, self._is_last_due = now, True

    @property
    def batches(self) -> list[Batch]:
        """Batches that wait for a scan, or are looked for by one."""
        scanned = self._scan.batches if self._scan else []
        return [*(batch for _, batch in self._waiting), *scanned]

    # -- scans ------------------------------------------------------------------------

    def next_ask(self, now: float) -> tuple[Job, Request] | None:
        """Decide what to read now."""
        if self._scan is None and not self._errands:
            if self._is_past_open and self._past is not None:
                scan = Scan(self._run_id, self._past.floor)
                self._begin(scan, not_before=now + self._settle_seconds)
            due = [batch for until, batch in self._waiting if until <= now]
            if due and self._scan is None:
                self._waiting = [pair for pair in self._waiting if pair[0] > now]
                floor = reduce(lower_floor, (b.floor for b in due if b.floor is not None))
                self._begin(Scan(self._run_id, floor, due, wants=self._wants))
        return self._errands.next_ask(now)

    def wake_at(self) -> float | None:
        """Say when there may be something to read; None: only after an event."""
        if self._errands:
            return self._errands.wake_at()
        return min((until for until, _ in self._waiting), default=None)

    def finish(
        self, job: Job, attempt: Attempt, *, now: float, pause: tuple[float, float]
    ) -> Verdict | None:
        """Take in how a reading request ended; see ``ErrandQueue.finish``."""
        verdict = self._errands.finish(job, attempt, now=now, pause=pause)
        if verdict is GAVE_UP and self._scan is not None:
            self._errands.clear()
            self._conclude()  # shards that were not read prove nothing
            return None
        return verdict

    @property
    def has_work(self) -> bool:
        """Whether anything is to be read before the run is over."""
        return bool(
            self._errands or self._waiting or self._scan or self._is_last_due or self._is_past_open
        )

    def finish_up(self) -> None:
        """Say that all is sent: the last scan, if one is due, may begin."""
        if self._is_last_due and not (self._waiting or self._scan or self._errands):
            self._is_last_due = False
            late = self._last_cut_off + self._settle_seconds
            self._begin(Scan(self._run_id, self._last_floor(), wants=self._wants), not_before=late)

    def clear(self) -> list[Batch]:
        """Give up all reading; return the batches that waited for it."""
        batches = self.batches
        self._waiting, self._scan, self._is_last_due, self._is_past_open = [], None, False, False
        self._errands.clear()
        return batches

    def _wants(self, tags: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Tell which tags a scan during the run is to note the places of."""
        suspected = self.suspects.among(tags)
        return suspected if self._past is None else suspected | self._past.expects(tags)

    def _last_floor(self) -> NDArray[np.int64]:
        """Per shard, the number behind which all stands that may have come late."""
        floors = (self._past_floor, self.suspects.floor)
        return reduce(lower_floor, (floor for floor in floors if floor is not None))

    def duplicates(self) -> list[Copy]:
        """List copies that stand besides the one that the results tell of."""
        past = self._past.duplicates() if self._past else []
        return sorted({*past, *self.suspects.duplicates()} - {*self.late()})

    def late(self) -> list[Copy]:
        """List rows that scans saw after they had been settled as not, or maybe, stored.

        Of several copies of a row it is the first.
        """
        past = self._past.late() if self._past else []
        seen = {copy.row: copy for copy in sorted([*past, *self.suspects.late()], reverse=True)}
        return sorted(seen.values())

    def _begin(self, scan: Scan, not_before: float = 0.0) -> None:
        self._scan = scan
        errand = survey_stream(self._stream)
        self._errands.add(errand, self._read_shards, not_before=not_before)

    def _read_shards(self, survey: Survey | None) -> None:
        if survey is None or self._scan is None:
            self.is_stream_missing = survey is None
            return
        for errand, end in self._scan.errands(self._stream, survey, self._locations):
            self._errands.add(errand, partial(self._end_shard, end))
        if self._scan.is_over:
            self._conclude()

    def _end_shard(self, end: Callable[[bool], None], is_gapless: bool) -> None:  # noqa: FBT001
        end(is_gapless)
        if self._scan is not None and self._scan.is_over:
            self._conclude()

    def _conclude(self) -> None:
        """Say what the scan found out."""
        scan, self._scan = self._scan, None
        assert scan is not None  # noqa: S101  # only a scan is concluded
        found = scan.found()
        for batch in scan.batches:
            places = first_places(found, batch.entries.tags)
            self.lookups.append(Lookup(batch, places, scan.proven(batch)))
            self.suspects.note_places(places)
            at = np.flatnonzero(places["shard_id"] != NOWHERE)
            told = np.stack([places["shard_id"], places["sequence_number"]], axis=1)
            self._note_rows(batch, at, told[at])
        self.suspects.note_copies(found)
        if self._past is None:
            return
        if self._is_past_open:
            self._is_past_open = False
            self._past.take(found, proves_absence=scan.proves_absence)
            self._is_last_due = not self._past.is_over
            self._past_floor = self._floor.copy()  # what comes late stands behind it
        else:
            self._past.take_last(found)

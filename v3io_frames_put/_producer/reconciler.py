"""``exactly_once``: records whose request got no answer are looked up on the stream.

Each record carries a tag: the run, its first row, its number of rows. A look-up reads the
shards from the low watermark, the highest number known there before the batch was first sent,
to the end as it was when the look-up began, and collects the tags of the run:

    shard 0, low watermark 17:   16   17 | 18 tag 3   19 other   20 tag 5 | end
    in doubt: tags 3, 4, 5       tags 3 and 5 are stored as 0:18 and 0:20
    tag 4                        absent: the first record read is numbered at most 17 + 1 and
                                 no location expired, so nothing between was missed

Record 17 is read once more to prove that nothing after it was dropped. Absent records are sent
again; those whose absence is not proven end unknown. A request on a dead connection may be
stored even later: a last scan, when all is sent, finds such copies.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .._wire.bodies import NO_SHARD
from .._wire.responses import NOWHERE
from .._wire.tags import read_tags
from ..config import MAX_SHARDS, Retry
from . import queries
from .in_doubt import (
    POSITION,
    RecordsInDoubt,
    first_positions,
    lowest_watermark,
    make_positions,
    sort_positions,
)
from .queries import PendingQuery, QueryScheduler, ShardPosition, StreamSurvey
from .values import NOT_GIVEN, NOT_LOOKED_UP, Copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from .._wire.api import Attempt, Request
    from .._wire.paths import StreamPath
    from .._wire.responses import PutAnswer, RecordPage
    from .accumulator import Batch
    from .classification import Cause
    from .flow_control import RetryContext
    from .prior_run import PriorInDoubt


@dataclass(slots=True)
class Scan:
    """One reading of all shards that may hold what is looked for."""

    run_id: bytes  # whose tags
    low_watermark: NDArray[np.int64]  # per shard, where to begin after; beyond its end, 0
    batches: list[Batch] = field(default_factory=list)  # what is looked for
    # Returns which tags are of interest. None: every tag of the run.
    wants: Callable[[NDArray[np.uint64]], NDArray[np.bool_]] | None = None
    gapless: dict[int, bool] = field(default_factory=dict)  # per shard: nothing was missed
    unread: set[int] = field(default_factory=set)
    seen: bytearray = field(default_factory=bytearray)  # positions, as they were read

    def start_positions(
        self, survey: StreamSurvey, locations: Mapping[int, str]
    ) -> Iterator[tuple[int, ShardPosition]]:
        """Yield which shards to read from where; those that did not change are left out.

        ``locations`` are where to begin in shards whose number is not known.
        """
        for shard in self._shards(survey):
            number = int(self.low_watermark[shard]) if shard < len(self.low_watermark) else 0
            location = None if number else locations.get(shard)
            last = survey.written.get(shard, 0)  # None: not listed
            # A lower number: the stream was created anew.
            is_changed = location is not None or last != number
            self.gapless[shard] = not is_changed
            if is_changed:
                self.unread.add(shard)
                is_written = survey.is_listed and last != 0
                yield shard, ShardPosition(number, location, is_written=is_written)

    def _shards(self, survey: StreamSurvey) -> list[int]:
        """Return the shards that may hold what is looked for."""
        given = [batch.entries.shard for batch in self.batches]
        named = set(np.concatenate(given).tolist()) if given else {NO_SHARD}
        if NO_SHARD in named:
            # A shard that is named may not be one of the stream: then it holds nothing.
            named = named - {NO_SHARD} | set(range(survey.shards))
        return sorted(named)

    def take_page(self, shard: int, page: RecordPage) -> None:
        """Collect the tags of this run on a page."""
        at, tags = read_tags(page.records.column("client_info"), self.run_id)
        numbers = np.asarray(page.records.column("sequence_number"))[at]
        positions = make_positions(tags, shard, numbers)
        self.seen += (positions if self.wants is None else positions[self.wants(tags)]).tobytes()

    @property
    def proves_absence(self) -> bool:
        """Whether what was not found anywhere is not stored."""
        return bool(self.gapless) and all(self.gapless.values())

    def lookups(self, found: NDArray[Any]) -> Iterator[Lookup]:
        """Yield for each batch where its records are among what was found, sorted."""
        for batch in self.batches:
            yield Lookup(batch, first_positions(found, batch.entries.tags), self._proven(batch))

    def _proven(self, batch: Batch) -> NDArray[np.bool_]:
        """Return for each record whether every shard it may be in was read without a gap."""
        everywhere = self.proves_absence
        return np.array(
            [
                everywhere if shard == NO_SHARD else self.gapless.get(int(shard), False)
                for shard in batch.entries.shard
            ]
        )


@dataclass(slots=True)
class Lookup:
    """What a scan learned about a batch."""

    batch: Batch
    positions: NDArray[Any]  # of POSITION: where each record is stored, or NOWHERE
    is_proven: NDArray[np.bool_]  # per record: if it was not found, it is not stored

    @property
    def is_found(self) -> NDArray[np.bool_]:
        is_found: NDArray[np.bool_] = self.positions["shard_id"] != NOWHERE
        return is_found


STARTS_KEPT: Final = 512  # in a receipt of at most 20 kB
_WATERMARK_BYTES: Final = 40  # for each record: batches share a watermark, or it outweighs them


class Reconciler:
    """Looks up what became of records whose request got no answer.

    Their tags begin with ``run_id``. What earlier processes of the run left in doubt,
    is looked up before anything is sent.
    """

    def __init__(
        self,
        stream: StreamPath,
        run_id: bytes,
        retry: Retry,
        *,
        prior_in_doubt: PriorInDoubt | None = None,
    ) -> None:
        self._prior = prior = prior_in_doubt
        self._is_prior_open = prior is not None
        self._prior_watermark: NDArray[np.int64] | None = None
        self._concluded: list[tuple[Scan, NDArray[Any]]] = []  # and what it found
        self._rejected: list[NDArray[np.int64]] = []
        self.in_doubt = RecordsInDoubt()
        self.is_stream_missing = False  # a survey found no stream
        self._stream, self._run_id = stream, run_id
        self._settle_seconds = retry.settle_seconds
        self._queries = QueryScheduler(retry)
        # Per shard, its last number before the run; of the first shards only. One that is not
        # there is read from its beginning: where retention took that, nothing is proven.
        self.starts = dict(itertools.islice(prior.starts.items(), STARTS_KEPT)) if prior else {}
        self._acknowledged = np.zeros(MAX_SHARDS, np.int64)  # the highest number of each shard
        self._shared_watermark: NDArray[np.int64] | None = None
        self._sharing = 0  # records
        self._locations: dict[int, str] = {}
        self._waiting: list[tuple[float, Batch]] = []
        self._scan: Scan | None = None
        self._is_last_due = False
        self._is_end_proven = True  # the last scan missed nothing, or none was due
        self._last_cut_off = 0.0
        self._queries.add(queries.check_reading(stream), lambda _: None)
        self._queries.add(queries.survey_stream(stream), self._note_starts)

    # -- before the first record ------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether records may be sent: the starts are noted."""
        return not self._is_prior_open and (not self._queries or self._scan is not None)

    def _note_starts(self, survey: StreamSurvey | None) -> None:
        if survey is None:
            self.is_stream_missing = True
            return
        for shard, number in survey.written.items():
            if number is None:
                self._queries.add(
                    queries.find_shard_position(self._stream, shard), partial(self._note, shard)
                )
            else:
                self._note(shard, ShardPosition(number))

    def _note(self, shard: int, start: ShardPosition) -> None:
        if shard >= MAX_SHARDS:
            return  # more than the documents allow: such a shard is read from its start
        self._acknowledged[shard] = start.number
        if self._prior is None and len(self.starts) < STARTS_KEPT and start.number:
            self.starts[str(shard)] = start.number
        if start.location is not None:
            self._locations[shard] = start.location

    # -- while records are sent -------------------------------------------------------

    def prepare(self, batch: Batch) -> None:
        """Set the low watermark of a batch, before it is sent: the highest number of each shard.

        Small batches share what was known before the first of them: a look-up from there
        reads a little more.
        """
        if batch.low_watermark is not None:
            return
        shared = self._shared_watermark
        if shared is None or self._sharing * _WATERMARK_BYTES >= shared.nbytes:
            shared = self._shared_watermark = np.trim_zeros(self._acknowledged, "b").copy()
            self._sharing = 0
        self._sharing += len(batch)
        batch.low_watermark = shared

    def note_stored(self, batch: Batch, stored: NDArray[np.intp], answer: PutAnswer) -> None:
        """Note acknowledged records, and where those of them are stored that may come twice."""
        shards, numbers = answer.shard_id[stored], answer.sequence_number[stored]
        is_known = shards < MAX_SHARDS
        np.maximum.at(self._acknowledged, shards[is_known], numbers[is_known])
        self.in_doubt.note_stored(batch, stored, answer)
        self._note_rows(batch, stored, answer.shard_id, answer.sequence_number)

    def note_rejected(self, batch: Batch) -> None:
        """Note rejected records that an earlier request may still store."""
        rows = batch.entries.rows
        in_doubt = np.isin(rows, batch.entries.rows_of(np.flatnonzero(batch.state["was_in_doubt"])))
        if self._prior is not None:
            in_doubt |= self._prior.contains(rows)
        if in_doubt.any():
            self._rejected.append(rows[in_doubt])

    def count_rejected(self, rows: Iterable[int]) -> int:
        """Return how many of some rows were rejected while they were in doubt."""
        rejected = np.concatenate([np.zeros(0, np.int64), *self._rejected])
        return int(np.isin(np.fromiter(rows, np.int64), rejected).sum())

    def _note_rows(
        self,
        batch: Batch,
        at: NDArray[np.intp],
        shard_id: NDArray[np.int32],
        sequence_number: NDArray[np.int64],
    ) -> None:
        if self._prior is not None and not self._prior.is_over:
            entries, places = batch.entries, (shard_id, sequence_number)
            spread = (entries.spread(column, at) for column in places)
            self._prior.note_positions(make_positions(entries.rows_of(at), *spread))

    def look_up(self, batch: Batch, now: float) -> None:
        """Queue a batch whose connection was closed just now."""
        self.in_doubt.add(batch)
        self._waiting.append((now + self._settle_seconds, batch))
        self._last_cut_off, self._is_last_due = now, True

    @property
    def batches(self) -> list[Batch]:
        """Batches that wait for a scan, or are looked for by one."""
        scanned = self._scan.batches if self._scan else []
        return [*(batch for _, batch in self._waiting), *scanned]

    # -- scans ------------------------------------------------------------------------

    def next_query(self, now: float) -> tuple[PendingQuery, Request] | None:
        if not self._queries:  # then there is no scan, either
            if self._is_prior_open and self._prior is not None:
                scan = Scan(self._run_id, self._prior.low_watermark)
                self._begin(scan, not_before=now + self._settle_seconds)
            due = [batch for until, batch in self._waiting if until <= now]
            if due:
                self._waiting = [pair for pair in self._waiting if pair[0] > now]
                watermark = lowest_watermark(batch.low_watermark for batch in due)
                self._begin(Scan(self._run_id, watermark, due, wants=self._wants))
        return self._queries.next_query(now)

    def wake_at(self) -> float | None:
        """Return when there may be something to read; None: only after an event."""
        if self._queries:
            return self._queries.wake_at()
        return min((until for until, _ in self._waiting), default=None)

    def complete(
        self, query: PendingQuery, attempt: Attempt, context: RetryContext
    ) -> Cause | None:
        """Take how a reading request ended; see ``QueryScheduler.complete``."""
        cause = self._queries.complete(query, attempt, context)
        if cause == "unavailable" and self._scan is not None:
            self._queries.clear()
            self._conclude()  # shards that were not read prove nothing
            return None
        return cause

    def take_lookups(self) -> Iterator[Lookup]:
        """Yield what concluded scans learned, each look-up made as it is taken."""
        concluded, self._concluded = self._concluded, []
        for scan, found in concluded:
            yield from scan.lookups(found)

    @property
    def has_work(self) -> bool:
        """Whether anything is to be read before the run is over."""
        return bool(self._queries or self._waiting or self._is_last_due or self._is_prior_open)

    def begin_last_scan(self) -> None:
        """Begin the last scan if one is due: all is sent."""
        if self._is_last_due and not (self._waiting or self._queries):
            self._is_last_due = False
            # Per shard, the number after which all is stored that may have come late.
            watermark = lowest_watermark([self._prior_watermark, self.in_doubt.low_watermark])
            scan = Scan(self._run_id, watermark, wants=self._wants)
            self._begin(scan, not_before=self._last_cut_off + self._settle_seconds)

    def clear(self) -> list[Batch]:
        """Cancel all queries; return the batches that waited for them."""
        batches = self.batches
        if self._is_prior_open and self._prior is not None:
            self._prior.give_up(NOT_LOOKED_UP)
        self._waiting, self._scan, self._is_last_due, self._is_prior_open = [], None, False, False
        self._queries.clear()
        return batches

    def _wants(self, tags: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which tags a scan during the run is to collect."""
        in_doubt = self.in_doubt.contains(tags)
        return in_doubt if self._prior is None else in_doubt | self._prior.expects(tags)

    def duplicates(self) -> list[Copy]:
        """Return copies that are stored besides the one in the results."""
        prior = self._prior.duplicates() if self._prior else []
        late = {copy._replace(record_row=0) for copy in self.late()}
        return sorted({*prior, *self.in_doubt.duplicates()} - late)

    def late(self) -> list[Copy]:
        """Return rows that scans saw after they had been recorded as not, or maybe, stored.

        Of several copies of a row it is the first. Where the last scan missed records, rows that
        it did not see are lost.
        """
        sources = [self.in_doubt, *([self._prior] if self._prior else [])]
        copies = [copy for source in sources for copy in source.late()]
        late = {copy.row: copy for copy in sorted(copies, reverse=True)}
        if not self._is_end_proven:
            for row in (row for source in sources for row in source.unseen_rows()):
                late.setdefault(row, Copy(row, NOWHERE, NOWHERE, NOT_GIVEN))
        return sorted(late.values())

    def _begin(self, scan: Scan, not_before: float = 0.0) -> None:
        self._scan = scan
        query = queries.survey_stream(self._stream)
        self._queries.add(query, self._read_shards, not_before=not_before)

    def _read_shards(self, survey: StreamSurvey | None) -> None:
        if survey is None:
            self.is_stream_missing = True
            return
        assert self._scan is not None  # noqa: S101  # its survey
        # A location is where this process began: behind what earlier ones stored.
        locations = {} if self._is_prior_open else self._locations
        for shard, start in self._scan.start_positions(survey, locations):
            query = queries.scan_shard(self._stream, shard, start, self._scan.take_page)
            self._queries.add(query, partial(self._end_shard, shard))
        if not self._scan.unread:
            self._conclude()

    def _end_shard(self, shard: int, is_gapless: bool) -> None:  # noqa: FBT001  # a query's result
        assert self._scan is not None  # noqa: S101  # it reads this shard
        self._scan.gapless[shard] = is_gapless
        self._scan.unread.discard(shard)
        if not self._scan.unread:
            self._conclude()

    def _conclude(self) -> None:
        """Publish what the scan learned."""
        scan, self._scan = self._scan, None
        assert scan is not None  # noqa: S101  # only a scan is concluded
        found = sort_positions(np.frombuffer(scan.seen, POSITION))
        scan.seen = bytearray()
        for lookup in scan.lookups(found):
            positions = lookup.positions
            self.in_doubt.note_positions(positions)
            at = np.flatnonzero(lookup.is_found)
            self._note_rows(lookup.batch, at, positions["shard_id"], positions["sequence_number"])
        if scan.batches:
            self._concluded.append((scan, found))
        self.in_doubt.note_copies(found)
        if not (scan.batches or self._is_prior_open):
            self._is_end_proven = scan.proves_absence
        if self._prior is None:
            return
        if self._is_prior_open:
            self._is_prior_open = False
            self._prior.take(found, proves_absence=scan.proves_absence)
            self._rejected.append(self._prior.kept_rejected)
            self._is_last_due = self._prior.needs_last_scan
            self._prior_watermark = self._acknowledged.copy()  # what comes late is stored after it
        else:
            self._prior.note_copies(found)

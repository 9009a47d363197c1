"""``exactly_once``: records without an answer are looked up on the stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from v3io_frames_put._producer.classification import GAVE_UP
from v3io_frames_put._producer.queries import (
    PendingQuery,
    QueryScheduler,
    ShardPosition,
    StreamSurvey,
    check_reading,
    find_shard_position,
    scan_shard,
    survey_stream,
)
from v3io_frames_put._wire.bodies import NO_SHARD, read_tags, split_tags
from v3io_frames_put.config import MAX_SHARDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from v3io_frames_put._producer.batch import Batch
    from v3io_frames_put._producer.classification import Classification
    from v3io_frames_put._producer.prior_run import PriorInDoubt
    from v3io_frames_put._producer.queries import Query
    from v3io_frames_put._wire.api import Attempt, Request
    from v3io_frames_put._wire.paths import StreamPath
    from v3io_frames_put._wire.responses import PutAnswer, RecordPage
    from v3io_frames_put.config import Retry

NOWHERE: Final = -1  # the shard of a record that is known to stand in none
PLACE: Final = np.dtype(
    [("tag", np.uint64), ("sequence_number", np.int64), ("shard_id", np.int32)], align=True
)
"""Where a record stands: 24 bytes, for there may be millions in doubt at once."""


def make_places(
    tags: NDArray[np.uint64], shard_id: Any = NOWHERE, sequence_number: Any = NOWHERE
) -> NDArray[Any]:
    """Put together where records stand; a value serves all, an array has one each."""
    places = np.empty(len(tags), PLACE)
    places["tag"], places["shard_id"] = tags, shard_id
    places["sequence_number"] = sequence_number
    return places


def sort_places(*parts: NDArray[Any]) -> NDArray[Any]:
    """Join places, each once; those of a tag follow one another, the first one first."""
    places = np.concatenate(parts) if len(parts) > 1 else parts[0]
    places = places[np.lexsort((places["sequence_number"], places["shard_id"], places["tag"]))]
    is_new: NDArray[np.bool_] = np.r_[True, places[1:] != places[:-1]][: len(places)]
    return places[is_new]


def find_tags(
    places: NDArray[Any], tags: NDArray[np.uint64]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Find where the first place of each tag is among sorted ones, and whether it is."""
    at = np.searchsorted(places["tag"], tags)
    if not len(places):
        return at, np.zeros(len(tags), np.bool_)
    is_there: NDArray[np.bool_] = places["tag"][np.minimum(at, len(places) - 1)] == tags
    return at, is_there


def first_places(places: NDArray[Any], tags: NDArray[np.uint64]) -> NDArray[Any]:
    """Return the first place of each tag among sorted ones, or none."""
    at, is_there = find_tags(places, tags)
    first = make_places(tags)
    first[is_there] = places[at[is_there]]
    return first


def lower_floor(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the lower one of two floors in each shard; behind its end, a floor is 0."""
    shards = min(len(one), len(other))
    lower: NDArray[np.int64] = np.minimum(one[:shards], other[:shards])
    return lower


@dataclass(slots=True)
class Scan:
    """One reading of all shards that may hold what is looked for.

    Attributes
    ----------
    run_id : bytes
        Whose tags.
    floor : ndarray of int64
        Per shard, the number behind which to begin; behind its end, 0.
    batches : list of Batch
        What is looked for.
    wants : callable, optional
        Tells of which tags to note where they stand. None: every tag of the run.
    gapless : dict of int to bool
        Per shard that was to be read, whether nothing in it was missed.
    """

    run_id: bytes
    floor: NDArray[np.int64]
    batches: list[Batch] = field(default_factory=list)
    wants: Callable[[NDArray[np.uint64]], NDArray[np.bool_]] | None = None
    gapless: dict[int, bool] = field(default_factory=dict)
    _open: set[int] = field(default_factory=set)
    _seen: bytearray = field(default_factory=bytearray)  # places, as they were read

    @property
    def is_over(self) -> bool:
        """Whether every shard has been read."""
        return not self._open

    def queries(
        self, stream: StreamPath, survey: StreamSurvey, locations: Mapping[int, str]
    ) -> Iterator[tuple[Query[bool], Callable[[bool], None]]]:
        """Begin: what to read, and who takes the end of it.

        Parameters
        ----------
        stream : StreamPath
            Of which.
        survey : StreamSurvey
            How it stands now; shards that did not grow are not read.
        locations : mapping of int to str
            Where to begin in shards whose number was not told.
        """
        for shard in self._shards(survey):
            number = int(self.floor[shard]) if shard < len(self.floor) else 0
            start = ShardPosition(number, None if number else locations.get(shard))
            self.gapless[shard] = not _has_grown(survey, shard, start)
            if not self.gapless[shard]:
                self._open.add(shard)
                yield (
                    scan_shard(stream, shard, start, self._take),
                    partial(self._end_shard, shard),
                )

    def _shards(self, survey: StreamSurvey) -> list[int]:
        """List the shards that may hold what is looked for."""
        asked = [batch.entries.shard for batch in self.batches]
        named = set(np.concatenate(asked).tolist()) if asked else {NO_SHARD}
        if NO_SHARD in named:
            # A shard that is named may be none of the stream's: then it holds nothing.
            named = named - {NO_SHARD} | set(range(survey.shards))
        return sorted(named)

    def _take(self, shard: int, page: RecordPage) -> None:
        """Note the tags of this run on a page."""
        at, tags = read_tags(page.records.column("client_info"), self.run_id)
        numbers = np.asarray(page.records.column("sequence_number"))[at]
        places = make_places(tags, shard, numbers)
        self._seen += (places if self.wants is None else places[self.wants(tags)]).tobytes()

    def _end_shard(self, shard: int, is_gapless: bool) -> None:  # noqa: FBT001  # an errand's end
        self.gapless[shard] = is_gapless
        self._open.discard(shard)

    def found(self) -> NDArray[Any]:
        """Hand out where the tags stand, sorted; all shards have been read."""
        seen, self._seen = self._seen, bytearray()
        return sort_places(np.frombuffer(seen, PLACE))

    @property
    def proves_absence(self) -> bool:
        """Whether what was not found anywhere is nowhere."""
        return bool(self.gapless) and all(self.gapless.values())

    def proven(self, batch: Batch) -> NDArray[np.bool_]:
        """Tell for each record whether every shard it may be in was read without a gap."""
        everywhere = self.proves_absence
        return np.array(
            [
                everywhere if shard == NO_SHARD else self.gapless.get(int(shard), False)
                for shard in batch.entries.shard
            ]
        )


def _has_grown(survey: StreamSurvey, shard: int, start: ShardPosition) -> bool:
    """Whether a shard can hold anything behind a start."""
    if start.location is not None:
        return True
    if shard not in survey.written:
        return start.number > 0  # it was written once: somebody made the stream anew
    return survey.written[shard] != start.number


class Copy(NamedTuple):
    """Where a row stands, too."""

    row: int
    shard_id: int
    sequence_number: int


@dataclass(slots=True)
class Lookup:
    """What a scan found out about a batch.

    Attributes
    ----------
    batch : Batch
        What was looked for.
    places : ndarray of PLACE
        Per record, where it stands, or ``NOWHERE``.
    is_proven : ndarray of bool
        Per record: if it was not found, it is not there.
    """

    batch: Batch
    places: NDArray[Any]
    is_proven: NDArray[np.bool_]


class RecordsInDoubt:
    """All records of a run that a dead connection may still deliver.

    Attributes
    ----------
    floor : ndarray of int64 or None
        Per shard, the number behind which all of them stand. None: there are none.
    """

    def __init__(self) -> None:
        self.floor: NDArray[np.int64] | None = None
        # Where each is known to stand, by tag. Each part is at least twice as long as the
        # next, so that the many that are added, some at a time, are seldom sorted again.
        self._parts: list[NDArray[Any]] = []
        self._packs: list[tuple[NDArray[np.uint64], NDArray[np.int64]]] = []  # tags, their rows
        self._copies = np.empty(0, PLACE)  # that scans saw elsewhere

    def add(self, batch: Batch) -> None:
        """RecordInDoubt the records of a batch whose request ended unknown."""
        batch.is_in_doubt[:] = True
        assert batch.floor is not None  # noqa: S101  # it was sent
        self.floor = batch.floor if self.floor is None else lower_floor(self.floor, batch.floor)
        tags = batch.entries.tags
        is_new = ~self.among(tags)
        part = make_places(np.sort(tags[is_new]))
        while self._parts and len(self._parts[-1]) < 2 * len(part):
            part = sort_places(self._parts.pop(), part)
        self._parts.append(part)
        if batch.entries.row_counts is not None:
            self._packs.append((tags[is_new], batch.entries.rows_of(is_new)))

    def among(self, tags: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Tell which tags are of suspects."""
        suspected = np.zeros(len(tags), np.bool_)
        for _, _, is_there in self._find(tags):
            suspected |= is_there
        return suspected

    def _find(
        self, tags: NDArray[np.uint64]
    ) -> Iterator[tuple[NDArray[Any], NDArray[np.intp], NDArray[np.bool_]]]:
        """Go through the parts: where in each its tags are, and which of ``tags`` these are."""
        for part in self._parts:
            at, is_there = find_tags(part, tags)
            yield part, at[is_there], is_there

    def note_stored(self, batch: Batch, stored: NDArray[np.intp], told: PutAnswer) -> None:
        """Note where an answer says that suspects stand."""
        at = stored[batch.is_in_doubt[stored]]
        if len(at):
            shards, numbers = told.shard_id[at], told.sequence_number[at]
            self.note_places(make_places(batch.entries.tags[at], shards, numbers))

    def note_places(self, places: NDArray[Any]) -> None:
        """Note where suspects are known to stand, one place for each."""
        for part, at, is_there in self._find(places["tag"]):
            part[at] = places[is_there]

    def _places(self, tags: NDArray[np.uint64]) -> NDArray[Any]:
        """Return where suspects are known to stand."""
        places = make_places(tags)
        for part, at, is_there in self._find(tags):
            places[is_there] = part[at]
        return places

    def note_copies(self, found: NDArray[Any]) -> None:
        """Note wherever a scan saw suspects."""
        is_elsewhere = np.zeros(len(found), np.bool_)
        for part, at, is_there in self._find(found["tag"]):
            for name in ("shard_id", "sequence_number"):
                is_elsewhere[is_there] |= part[name][at] != found[name][is_there]
        self._copies = sort_places(self._copies, found[is_elsewhere])

    def duplicates(self) -> list[Copy]:
        """List copies that stand besides the place where a record is known to stand."""
        return self._spread(self._copies[self._copies != self._places(self._copies["tag"])])

    def late(self) -> list[Copy]:
        """List copies of records that had been settled as not, or maybe, stored."""
        return self._spread(self._copies[self._places(self._copies["tag"])["shard_id"] == NOWHERE])

    def _spread(self, places: NDArray[Any]) -> list[Copy]:
        """Give the rows of records their records' places."""
        rows_of = dict(self._rows(places["tag"]))
        told = (places[name].tolist() for name in ("tag", "shard_id", "sequence_number"))
        return [
            Copy(row, shard, number)
            for tag, shard, number in zip(*told, strict=True)
            for row in rows_of[tag]
        ]

    def _rows(self, tags: NDArray[np.uint64]) -> Iterator[tuple[int, list[int]]]:
        """Tell which rows records hold."""
        if not self._packs:
            yield from zip(tags.tolist(), split_tags(tags)[0][:, None].tolist(), strict=True)
        for held, rows in self._packs:
            counts = split_tags(held)[1]
            ends = np.cumsum(counts)
            for at in np.flatnonzero(np.isin(held, tags)).tolist():
                yield int(held[at]), rows[ends[at] - counts[at] : ends[at]].tolist()


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
    in_doubt : RecordInDoubts
        Records that had an unknown outcome once.
    starts : dict of str to int
        Per shard, its last number before the run; the first of them. One that is not
        there is read from its beginning, which is slower and as right.
    is_stream_missing : bool
        Whether a survey found no stream.
    """

    def __init__(
        self, stream: StreamPath, run_id: bytes, retry: Retry, *, past: PriorInDoubt | None = None
    ) -> None:
        self._past = past
        self._is_past_open = past is not None
        self._past_floor: NDArray[np.int64] | None = None
        self.lookups: list[Lookup] = []
        self._rejected: list[NDArray[np.int64]] = []
        self.in_doubt = RecordsInDoubt()
        self.is_stream_missing = False
        self._stream, self._run_id = stream, run_id
        self._settle_seconds = retry.settle_seconds
        self._queries = QueryScheduler(retry)
        self.starts = dict(past.starts) if past else {}
        self._floor = np.zeros(MAX_SHARDS, np.int64)
        self._shared_floor: NDArray[np.int64] | None = None
        self._sharing = 0  # records
        self._locations: dict[int, str] = {}
        self._waiting: list[tuple[float, Batch]] = []
        self._scan: Scan | None = None
        self._is_last_due = False
        self._last_cut_off = 0.0
        self._queries.add(check_reading(stream), lambda _: None)
        self._queries.add(survey_stream(stream), self._note_starts)

    # -- before the first record ------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether records may be sent: the starts are noted."""
        return not self._is_past_open and (not self._queries or self._scan is not None)

    def _note_starts(self, survey: StreamSurvey | None) -> None:
        if survey is None:
            self.is_stream_missing = True
            return
        for shard, number in survey.written.items():
            if number is None:
                self._queries.add(
                    find_shard_position(self._stream, shard), partial(self._note, shard)
                )
            else:
                self._note(shard, ShardPosition(number))

    def _note(self, shard: int, start: ShardPosition) -> None:
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
        self.in_doubt.note_stored(batch, stored, told)
        self._note_rows(batch, stored, np.stack([shards, numbers], axis=1))

    def note_rejected(self, batch: Batch) -> None:
        """Note rejected records that an earlier request may yet bring."""
        rows = batch.entries.rows
        doubted = np.isin(rows, batch.entries.rows_of(np.flatnonzero(batch.is_in_doubt)))
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
        """Decide what to read now."""
        if self._scan is None and not self._queries:
            if self._is_past_open and self._past is not None:
                scan = Scan(self._run_id, self._past.floor)
                self._begin(scan, not_before=now + self._settle_seconds)
            due = [batch for until, batch in self._waiting if until <= now]
            if due and self._scan is None:
                self._waiting = [pair for pair in self._waiting if pair[0] > now]
                floor = reduce(lower_floor, (b.floor for b in due if b.floor is not None))
                self._begin(Scan(self._run_id, floor, due, wants=self._wants))
        return self._queries.next_query(now)

    def wake_at(self) -> float | None:
        """Say when there may be something to read; None: only after an event."""
        if self._queries:
            return self._queries.wake_at()
        return min((until for until, _ in self._waiting), default=None)

    def finish(
        self, job: PendingQuery, attempt: Attempt, *, now: float, pause: tuple[float, float]
    ) -> Classification | None:
        """Take in how a reading request ended; see ``QueryScheduler.finish``."""
        verdict = self._queries.finish(job, attempt, now=now, pause=pause)
        if verdict is GAVE_UP and self._scan is not None:
            self._queries.clear()
            self._conclude()  # shards that were not read prove nothing
            return None
        return verdict

    @property
    def has_work(self) -> bool:
        """Whether anything is to be read before the run is over."""
        return bool(
            self._queries or self._waiting or self._scan or self._is_last_due or self._is_past_open
        )

    def finish_up(self) -> None:
        """Say that all is sent: the last scan, if one is due, may begin."""
        if self._is_last_due and not (self._waiting or self._scan or self._queries):
            self._is_last_due = False
            late = self._last_cut_off + self._settle_seconds
            self._begin(Scan(self._run_id, self._last_floor(), wants=self._wants), not_before=late)

    def clear(self) -> list[Batch]:
        """Give up all reading; return the batches that waited for it."""
        batches = self.batches
        self._waiting, self._scan, self._is_last_due, self._is_past_open = [], None, False, False
        self._queries.clear()
        return batches

    def _wants(self, tags: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Tell which tags a scan during the run is to note the places of."""
        suspected = self.in_doubt.among(tags)
        return suspected if self._past is None else suspected | self._past.expects(tags)

    def _last_floor(self) -> NDArray[np.int64]:
        """Per shard, the number behind which all stands that may have come late."""
        floors = (self._past_floor, self.in_doubt.floor)
        return reduce(lower_floor, (floor for floor in floors if floor is not None))

    def duplicates(self) -> list[Copy]:
        """List copies that stand besides the one that the results tell of."""
        past = self._past.duplicates() if self._past else []
        return sorted({*past, *self.in_doubt.duplicates()} - {*self.late()})

    def late(self) -> list[Copy]:
        """List rows that scans saw after they had been settled as not, or maybe, stored.

        Of several copies of a row it is the first.
        """
        past = self._past.late() if self._past else []
        seen = {copy.row: copy for copy in sorted([*past, *self.in_doubt.late()], reverse=True)}
        return sorted(seen.values())

    def _begin(self, scan: Scan, not_before: float = 0.0) -> None:
        self._scan = scan
        query = survey_stream(self._stream)
        self._queries.add(query, self._read_shards, not_before=not_before)

    def _read_shards(self, survey: StreamSurvey | None) -> None:
        if survey is None or self._scan is None:
            self.is_stream_missing = survey is None
            return
        for query, end in self._scan.queries(self._stream, survey, self._locations):
            self._queries.add(query, partial(self._end_shard, end))
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
            self.in_doubt.note_places(places)
            at = np.flatnonzero(places["shard_id"] != NOWHERE)
            told = np.stack([places["shard_id"], places["sequence_number"]], axis=1)
            self._note_rows(batch, at, told[at])
        self.in_doubt.note_copies(found)
        if self._past is None:
            return
        if self._is_past_open:
            self._is_past_open = False
            self._past.take(found, proves_absence=scan.proves_absence)
            self._is_last_due = not self._past.is_over
            self._past_floor = self._floor.copy()  # what comes late stands behind it
        else:
            self._past.take_last(found)

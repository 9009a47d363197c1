"""What ``exactly_once`` reads: conversations with the platform, without a network."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from v3io_frames_put._producer.classification import GAVE_UP, classify_query_response
from v3io_frames_put._producer.flow_control import next_delay
from v3io_frames_put._wire import api
from v3io_frames_put._wire.api import ILLEGAL_LOCATION, Answer, parse_error
from v3io_frames_put._wire.responses import (
    RecordPage,
    parse_description,
    parse_last_sequence_number,
    parse_listing,
    parse_location,
    parse_record_page,
)
from v3io_frames_put.config import MAX_SHARDS
from v3io_frames_put.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from v3io_frames_put._producer.classification import Classification
    from v3io_frames_put._wire.api import Attempt, Request
    from v3io_frames_put._wire.paths import StreamPath
    from v3io_frames_put.config import Retry

Result = TypeVar("Result")
Query: TypeAlias = "Generator[QueryStep, Any, Result]"

PAGE_RECORDS: Final = 1_000
_SUCCESS: Final = 200


@dataclass(frozen=True, slots=True)
class QueryStep:
    """A request, and how to read its answer; a ``ProtocolError`` asks again."""

    request: Request
    parse: Callable[[Answer], Any]


@dataclass(frozen=True, slots=True)
class ShardPosition:
    """Where the records that are not ours to look at end.

    Attributes
    ----------
    number : int
        Sequence number of the last of them; 0: there are none.
    location : str or None
        The place behind it, where the platform tells no number.
    """

    number: int = 0
    location: str | None = None


@dataclass(frozen=True, slots=True)
class StreamSurvey:
    """How a stream stands.

    Attributes
    ----------
    shards : int
        Number of shards.
    written : dict of int to (int or None)
        Shards that hold or held records; their last number, where it is told.
    """

    shards: int
    written: dict[int, int | None]


def survey_stream(stream: StreamPath) -> Query[StreamSurvey | None]:
    """Ask for shards and their last numbers; None: there is no stream."""
    described = yield QueryStep(api.describe_stream_request(stream), _if_success(parse_description))
    if described is None:
        return None
    written: dict[int, int | None] = {}
    marker = None
    for _ in range(MAX_SHARDS):  # pages: a listing that never ends is none
        request = api.list_request(stream.container, stream.path, marker=marker)
        page = yield QueryStep(request, _if_success(parse_listing))
        if page is None:  # nothing was ever written to it
            return StreamSurvey(described.shards, written)
        for entry in page.objects:
            name = entry.key.rpartition("/")[2]
            if name.isascii() and name.isdigit():
                written[int(name)] = entry.last_sequence_number
        if page.next_marker is None:
            break
        marker = page.next_marker
    return StreamSurvey(described.shards, written)


def find_shard_position(stream: StreamPath, shard: int) -> Query[ShardPosition]:
    """Find where a shard ends now, when the listing does not tell."""
    request = api.last_sequence_number_request(stream, shard)
    number = yield QueryStep(request, _if_success(parse_last_sequence_number))
    if number is not None:
        return ShardPosition(number)
    seek = api.seek_latest_request(stream, shard)
    location = yield QueryStep(seek, _if_success(parse_location))
    return ShardPosition() if location is None else ShardPosition(location=location)


def check_reading(stream: StreamPath) -> Query[None]:
    """Read a record of the first shard, or find that it has none: that we may."""
    location = yield QueryStep(api.seek_earliest_request(stream, 0), _if_success(parse_location))
    if location is not None:
        get = api.get_records_request(stream, 0, location=location, limit=1)
        yield QueryStep(get, _if_success(parse_record_page))


def scan_shard(
    stream: StreamPath, shard: int, start: ShardPosition, take: Callable[[int, RecordPage], None]
) -> Query[bool]:
    """Read a shard from a start to its end as it stood at the first answer.

    Returns
    -------
    bool
        Whether nothing between start and end can have been missed: contract
        section 3, "a tag counts as absent only if".
    """
    location, is_gapless = yield from _enter(stream, shard, start)
    # Behind a number, the first record read tells whether any was lost before it.
    must_begin_by = start.number + 1 if start.location is None else None
    end = last = start.number
    is_first = True
    while location is not None:
        get = api.get_records_request(stream, shard, location=location, limit=PAGE_RECORDS)
        page = yield QueryStep(get, _page_or_lost)
        if page is None:
            # Retention was faster; what it dropped, nobody can look up.
            return False
        numbers = page.records.column("sequence_number")
        if len(numbers):
            if must_begin_by is not None:
                is_gapless &= numbers[0].as_py() <= must_begin_by
                must_begin_by = None
            last = numbers[-1].as_py()
            take(shard, page)
        if is_first:
            end, is_first = last + page.records_behind, False
        if not len(numbers) or last >= end:
            # An end before the start: somebody made the stream anew.
            return is_gapless and must_begin_by is None and last >= end >= start.number
        location = page.next_location
    return is_gapless


def _enter(stream: StreamPath, shard: int, start: ShardPosition) -> Query[tuple[str | None, bool]]:
    """Seek a start: its location, and whether nothing can lie between the two."""
    if start.location is not None:
        return start.location, True
    if start.number:
        # The record before is read once more: it proves that none behind it was dropped.
        request = api.seek_sequence_request(stream, shard, sequence_number=start.number)
        location = yield QueryStep(request, _parse_seek)
        if location is not None:
            return location, True
    location = yield QueryStep(api.seek_earliest_request(stream, shard), _parse_seek)
    # A shard that was never written holds nothing of ours for certain.
    return location, location is not None or start.number == 0


def _if_success(parse: Callable[[Answer], Result]) -> Callable[[Answer], Result | None]:
    return lambda answer: parse(answer) if answer.status == _SUCCESS else None


_parse_seek: Final = _if_success(parse_location)


def _page_or_lost(answer: Answer) -> RecordPage | None:
    """Read a page; None: its location is gone, with whatever stood there."""
    if answer.status == _SUCCESS:
        return parse_record_page(answer)
    if parse_error(answer).name != ILLEGAL_LOCATION:
        parse_record_page(answer)  # what else it says breaks the protocol, and is asked again
    return None


@dataclass(slots=True, eq=False)
class PendingQuery:
    """An errand under way.

    Attributes
    ----------
    query : generator
        What asks.
    done : callable
        Takes what it found out.
    ask : Ask or None
        Its open question. None: it has not begun.
    """

    query: Query[Any]
    done: Callable[[Any], None]
    ask: QueryStep | None = None
    failures: int = 0
    first_failure: float | None = None
    not_before: float = 0.0


class QueryScheduler:
    """Runs errands side by side.

    Parameters
    ----------
    retry : Retry
        Pauses, and how long one question may fail.
    """

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._waiting: deque[PendingQuery] = deque()
        self._under_way: set[PendingQuery] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting or self._under_way)

    def add(
        self, query: Query[Any], done: Callable[[Any], None], *, not_before: float = 0.0
    ) -> None:
        """Queue an errand; ``done`` takes its result."""
        self._waiting.append(PendingQuery(query, done, not_before=not_before))

    def next_query(self, now: float) -> tuple[PendingQuery, Request] | None:
        """Decide what to ask now."""
        while job := next((job for job in self._waiting if job.not_before <= now), None):
            self._waiting.remove(job)
            if job.ask is None and not self._step(job, None):
                continue
            self._under_way.add(job)
            assert job.ask is not None  # noqa: S101  # _step set it
            return job, job.ask.request
        return None

    def wake_at(self) -> float | None:
        """Say when there may be something to ask; None: only after an event."""
        return min((job.not_before for job in self._waiting), default=None)

    def finish(
        self, job: PendingQuery, attempt: Attempt, *, now: float, pause: tuple[float, float]
    ) -> Classification | None:
        """Take in how a question ended.

        Returns
        -------
        Classification or None
            Why the errand cannot go on: the run stops, or (``again``) its patience
            ended. None: it goes on, or is over.
        """
        if job not in self._under_way:
            return None  # it was cleared meanwhile
        self._under_way.remove(job)
        verdict = classify_query_response(attempt)
        if verdict.step == "stop":
            return verdict
        if isinstance(attempt, Answer) and verdict.step == "read" and self._read(job, attempt):
            return None
        return self._retry_later(job, now, pause)

    def _read(self, job: PendingQuery, answer: Answer) -> bool:
        """Hand the answer to the errand; False: it breaks the protocol."""
        assert job.ask is not None  # noqa: S101  # it was asked
        try:
            value = job.ask.parse(answer)
        except ProtocolError:
            return False  # half an answer, a proxy's page: asked again like any trouble
        job.failures, job.first_failure = 0, None
        if self._step(job, value):
            self._waiting.appendleft(job)
        return True

    def _step(self, job: PendingQuery, value: Any) -> bool:
        """Run an errand to its next question; False: it is over."""
        try:
            job.ask = job.query.send(value)
        except StopIteration as over:
            job.done(over.value)
            return False
        return True

    def _retry_later(
        self, job: PendingQuery, now: float, pause: tuple[float, float]
    ) -> Classification | None:
        floor, draw = pause
        job.failures += 1
        if job.first_failure is None:
            job.first_failure = now
        left = job.first_failure + self._retry.deadline_seconds - now
        if left <= 0 or floor > left:
            return GAVE_UP
        delay = min(left, next_delay(self._retry, failures=job.failures, draw=draw))
        job.not_before = now + max(floor, delay)
        self._waiting.append(job)
        return None

    def clear(self) -> None:
        """Forget all errands."""
        self._waiting.clear()
        self._under_way.clear()

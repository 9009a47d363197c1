"""Queries: generators that read a stream, without a network.

A query yields a ``QueryStep``, gets what the step parsed of the answer, and returns its result.
Whoever drives it sends the requests: the run among its own requests (``QueryScheduler``), or a
synchronous reader one after the other.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from .._wire import api, responses
from .._wire.api import ILLEGAL_LOCATION, Answer, Attempt, Request, parse_error
from .._wire.responses import MAX_SHARD_COUNT, RecordPage
from ..config import MAX_SHARDS, Retry
from ..errors import ProtocolError
from .classification import classify_query_response, is_missing, is_refused
from .flow_control import RetryContext, next_pause

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .._wire.paths import StreamPath
    from .classification import Cause

Result = TypeVar("Result")
Query: TypeAlias = "Generator[QueryStep, Any, Result]"

PAGE_RECORDS: Final = 1_000
# A page with less of both is no progress: a platform could go on like that for ever.
_FEW_RECORDS: Final = 10
_FEW_BYTES: Final = 100_000
_MAX_PAGES: Final = 1_000_000  # that a shard may need, of as many records as its first page has
_SUCCESS: Final = 200


@dataclass(frozen=True, slots=True)
class QueryStep:
    """A request, and how to parse its answer; after a ``ProtocolError`` it is sent again."""

    request: Request
    parse: Callable[[Answer], Any]
    follows_little: bool = False  # the last page brought next to nothing: that is no progress


@dataclass(frozen=True, slots=True)
class ShardPosition:
    """Where a scan starts: after the last record that existed before."""

    number: int = 0  # the sequence number of that record; 0: there is none
    location: str | None = None  # the place after it, where its number is not known
    is_written: bool = False  # a listing shows that the shard holds or held records


@dataclass(frozen=True, slots=True)
class StreamSurvey:
    """The shards of a stream, and where they end."""

    shards: int
    # Shards that hold or held records; their last number, where the platform lists it.
    written: dict[int, int | None]
    is_listed: bool = True  # False: nothing lists them, so ``written`` has every shard


def survey_stream(stream: StreamPath) -> Query[StreamSurvey | None]:
    """List the shards and their last numbers; None: there is no stream."""
    step = QueryStep(api.describe_stream_request(stream), _if_there(responses.parse_description))
    description = yield step
    if description is None:
        return None
    written = yield from list_shards(stream)
    if written is None:
        every = dict.fromkeys(range(description.shards))
        return StreamSurvey(description.shards, every, is_listed=False)
    return StreamSurvey(description.shards, written)


def list_shards(stream: StreamPath) -> Query[dict[int, int | None] | None]:
    """List the shards that were written, with their last numbers; None: there is no listing.

    A listing that never ends, or breaks off, is none.
    """
    written: dict[int, int | None] = {}
    marker = None
    follows_little = False
    for _ in range(MAX_SHARDS):  # pages
        request = api.list_request(stream.container, stream.path, marker=marker)
        page = yield QueryStep(request, _if_there(responses.parse_listing), follows_little)
        if page is None:
            return None
        for entry in page.objects:
            name = entry.key.rpartition("/")[2]
            if len(name) <= len(str(MAX_SHARD_COUNT)) and name.isascii() and name.isdigit():
                written[int(name)] = entry.last_sequence_number
        follows_little = len(page.objects) < _FEW_RECORDS
        if page.next_marker is None:
            return written
        marker = page.next_marker
    return None


def find_last_number(stream: StreamPath, shard: int) -> Query[int | None]:
    """Return the last number of a shard by its attribute; None: older releases have none."""
    request = api.last_sequence_number_request(stream, shard)
    number: int | None = yield QueryStep(request, _if_success(responses.parse_last_sequence_number))
    return number


def find_shard_position(stream: StreamPath, shard: int) -> Query[ShardPosition]:
    """Return where a shard ends now, when the listing does not have it."""
    number = yield from find_last_number(stream, shard)
    if number is not None:
        return ShardPosition(number)
    seek = api.seek_request(stream, shard, "latest")
    location = yield QueryStep(seek, _if_success(responses.parse_location))
    return ShardPosition() if location is None else ShardPosition(location=location)


def check_reading(stream: StreamPath) -> Query[None]:
    """Check that we may read: read a record of the first shard, or learn that it has none."""
    location = yield QueryStep(
        api.seek_request(stream, 0, "earliest"), _if_there(responses.parse_location)
    )
    if location is not None:
        get = api.get_records_request(stream, 0, location=location, limit=1)
        yield QueryStep(get, _if_success(responses.parse_record_page))


def scan_shard(
    stream: StreamPath, shard: int, start: ShardPosition, take: Callable[[int, RecordPage], None]
) -> Query[bool]:
    """Read a shard from a start position to its end as it was at the first answer.

    Returns whether nothing between start and end can have been missed: the first record read
    is numbered at most start + 1, and no location expired meanwhile.
    """
    location, is_gapless = yield from _enter(stream, shard, start)
    # After a number, the first record read shows whether any was lost before it.
    must_begin_by = start.number + 1 if start.location is None else None
    end = last = start.number
    is_first, follows_little = True, False
    while location is not None:
        get = api.get_records_request(stream, shard, location=location, limit=PAGE_RECORDS)
        page = yield QueryStep(get, _page_or_lost, follows_little)
        if page is None:
            # Retention was faster: what it dropped cannot be looked up.
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
            if page.records_behind > _MAX_PAGES * len(numbers):
                return False  # no stream is read so: the number is not believed
        if not len(numbers) or last >= end:
            # An end before the start: the stream was created anew.
            return is_gapless and must_begin_by is None and last >= end >= start.number
        location = page.next_location
        follows_little = len(numbers) < _FEW_RECORDS and page.records.nbytes < _FEW_BYTES
    return is_gapless


def _enter(stream: StreamPath, shard: int, start: ShardPosition) -> Query[tuple[str | None, bool]]:
    """Seek a start position: its location, and whether nothing can lie between the two."""
    if start.location is not None:
        return start.location, True
    if start.number:
        # The record before is read once more: it proves that none after it was dropped.
        request = api.seek_request(stream, shard, "sequence", start.number)
        location = yield QueryStep(request, _if_success(responses.parse_location))
        if location is not None:
            return location, True
    seek = api.seek_request(stream, shard, "earliest")
    location = yield QueryStep(seek, _if_there(responses.parse_location))
    # A shard that was never written holds none of our records for certain.
    return location, location is not None or not (start.number or start.is_written)


def _if_success(parse: Callable[[Answer], Result]) -> Callable[[Answer], Result | None]:
    return lambda answer: parse(answer) if answer.status == _SUCCESS else None


def _if_there(parse: Callable[[Answer], Result]) -> Callable[[Answer], Result | None]:
    """Return a parser that returns None where nothing is there, or we may not look.

    Any other answer, of a proxy for example, says nothing of the stream: it is a ProtocolError.
    """

    def parse_answer(answer: Answer) -> Result | None:
        if answer.status == _SUCCESS:
            return parse(answer)
        error = parse_error(answer)
        if is_missing(answer) or error.name == api.SHARD_OUT_OF_RANGE or is_refused(answer):
            return None
        raise ProtocolError(
            f"the platform answered {error.status} {error.text}.", status=error.status
        )

    return parse_answer


def _page_or_lost(answer: Answer) -> RecordPage | None:
    """Parse a page; None: its location has expired, with whatever was stored there."""
    if answer.status == _SUCCESS:
        return responses.parse_record_page(answer)
    if parse_error(answer).name != ILLEGAL_LOCATION:
        responses.parse_record_page(answer)  # raises, so that the request is sent again
    return None


@dataclass(slots=True, eq=False)
class PendingQuery:
    """A query that is being driven; ``done`` takes its result."""

    query: Query[Any]
    done: Callable[[Any], None]
    step: QueryStep | None = None  # its open request; None: it has not begun, or is over
    failures: int = 0
    first_failure: float | None = None
    not_before: float = 0.0


class QueryScheduler:
    """Drives queries side by side; a request of one may fail until the deadline of ``retry``."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._waiting: deque[PendingQuery] = deque()
        self._in_flight: set[PendingQuery] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting or self._in_flight)

    def add(
        self, query: Query[Any], done: Callable[[Any], None], *, not_before: float = 0.0
    ) -> None:
        self._waiting.append(PendingQuery(query, done, not_before=not_before))

    def next_query(self, now: float) -> tuple[PendingQuery, Request] | None:
        while query := next((one for one in self._waiting if one.not_before <= now), None):
            self._waiting.remove(query)
            if query.step is None and not self._advance(query, None):
                continue
            self._in_flight.add(query)
            assert query.step is not None  # noqa: S101  # _advance set it
            return query, query.step.request
        return None

    def wake_at(self) -> float | None:
        """Return when there may be something to send; None: only after an event."""
        return min((query.not_before for query in self._waiting), default=None)

    def complete(
        self, query: PendingQuery, attempt: Attempt, context: RetryContext
    ) -> Cause | None:
        """Take how a request ended.

        Returns why the query cannot go on: what stops the run, or "unavailable" where its deadline
        ended. None: it goes on, or is over.
        """
        if query not in self._in_flight:
            return None  # it was cleared meanwhile
        self._in_flight.remove(query)
        classification = classify_query_response(attempt)
        if classification.step == "stop":
            return classification.cause
        assert query.step is not None  # noqa: S101  # its request was sent
        if not isinstance(attempt, Answer) or classification.step != "parse":
            return self._retry_later(query, context)
        try:
            value = query.step.parse(attempt)
        except ProtocolError:  # half an answer, a proxy's page
            return self._retry_later(query, context)
        query.failures = 0
        return self._go_on(query, context.now) if self._advance(query, value) else None

    def _go_on(self, query: PendingQuery, now: float) -> Cause | None:
        """Queue a query again, unless it makes no progress until the deadline."""
        assert query.step is not None  # noqa: S101  # it is not over
        if not query.step.follows_little:
            query.first_failure = None
        elif query.first_failure is None:
            query.first_failure = now
        elif now - query.first_failure >= self._retry.deadline_seconds:
            return "unavailable"
        self._waiting.appendleft(query)
        return None

    def _advance(self, query: PendingQuery, value: Any) -> bool:
        """Run a query to its next request; False: it is over."""
        try:
            query.step = query.query.send(value)
        except StopIteration as over:
            query.step = None
            query.done(over.value)
            return False
        return True

    def _retry_later(self, query: PendingQuery, context: RetryContext) -> Cause | None:
        query.failures += 1
        if query.first_failure is None:
            query.first_failure = context.now
        pause = next_pause(
            self._retry,
            failures=query.failures,
            failing_seconds=context.now - query.first_failure,
            context=context,
        )
        if pause is None:
            return "unavailable"
        query.not_before = context.now + pause
        self._waiting.append(query)
        return None

    def clear(self) -> None:
        self._waiting.clear()
        self._in_flight.clear()

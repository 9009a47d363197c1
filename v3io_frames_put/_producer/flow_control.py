"""How many requests may be in flight, and how long to wait before the next one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from statistics import fmean, median
from typing import TYPE_CHECKING, Final, NamedTuple

from .._wire.api import Answer, Attempt, Fault
from ..config import FIRST_REQUESTS, MOST_REQUESTS, Retry

if TYPE_CHECKING:
    from collections.abc import Mapping


_MAX_DOUBLINGS: Final = 62  # beyond it 2**n leaves what a float holds exactly; any cap is passed


def next_delay(retry: Retry, *, failures: int, draw: float) -> float:
    """Return how many seconds to wait after so many failures: backoff with full jitter."""
    doublings = min(max(failures - 1, 0), _MAX_DOUBLINGS)
    return draw * min(retry.cap_seconds, retry.base_seconds * 2.0**doublings)


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Parse the pause that an answer asks for, in seconds.

    A date is read against the answer's own Date header, so that no two clocks are
    compared. None: nothing was asked for, or nothing that can be read.
    """
    asked = headers.get("retry-after", "").strip()
    if not asked:
        return None  # as nearly always: no date is worth reading
    if asked.isascii() and asked.isdigit():
        return float(asked)
    until, sent = _parse_date(asked), _parse_date(headers.get("date", ""))
    if until is None or sent is None:
        return None
    return max(0.0, (until - sent).total_seconds())


def _parse_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)


class RetryContext(NamedTuple):
    """When a request ended, and what decides over the pause after it: made once for each."""

    now: float
    draw: float  # from [0, 1)
    retry_after: float = 0.0  # seconds that the platform asked for
    longest: float = math.inf  # seconds until the platform is called unavailable


def next_pause(
    retry: Retry, *, failures: int, failing_seconds: float, context: RetryContext
) -> float | None:
    """Return how long to wait before the next try; None: give up.

    The rule of batches, queries and the client's verbs: the pause ends at the deadline for
    one last try, and a Retry-After beyond the deadline gives up at once.
    """
    left = retry.deadline_seconds - failing_seconds
    if left <= 0 or context.retry_after > left:
        return None
    delay = next_delay(retry, failures=failures, draw=context.draw)
    return max(context.retry_after, min(left, context.longest, delay))


@dataclass(slots=True)
class Availability:
    """Whether the platform answers, and from when on requests may be sent."""

    _retry: Retry
    had_contact: bool = False  # the platform has accepted a connection
    throttled_until: float = 0.0  # a Retry-After holds for all requests
    reconnect_at: float = 0.0  # while no connection can be made
    _began: float | None = None  # when the first request was sent
    _silent_since: float | None = None  # the first fault since the last answer
    _failed_connections: int = 0  # since then

    @property
    def opens_at(self) -> float:
        return max(self.throttled_until, self.reconnect_at)

    def begin(self, now: float) -> None:
        """Note that a request is sent: the time for the first contact begins with the first."""
        self._began = now if self._began is None else self._began

    @property
    def longest_silence(self) -> float:
        """Seconds that the platform may be silent; fewer until it has accepted a connection."""
        first = self._retry.first_contact_seconds
        return self._retry.deadline_seconds if first is None or self.had_contact else first

    def seconds_left(self, now: float) -> float:
        """Return how much longer no request may be answered, or no connection accepted."""
        if self._silent_since is None:
            return math.inf
        is_first = self._retry.first_contact_seconds is not None and not self.had_contact
        since = self._began if is_first else self._silent_since
        return max(0.0, self.longest_silence - (now - (since or 0.0)))

    def note(self, attempt: Attempt, *, now: float, draw: float, requests: int) -> float:
        """Note how a request ended, of ``requests`` that may be in flight.

        Returns the seconds of a Retry-After.
        """
        is_connecting = isinstance(attempt, Fault) and attempt.stage == "connecting"
        self.had_contact |= not is_connecting
        if isinstance(attempt, Fault):
            if self._silent_since is None:
                self._silent_since = now
            self._failed_connections += is_connecting
            self._space_reconnects(now, draw, requests)
            return 0.0
        self._silent_since, self._failed_connections, self.reconnect_at = None, 0, 0.0
        retry_after = parse_retry_after(attempt.headers)
        if retry_after is None:
            return 0.0
        pause = min(retry_after, self._retry.deadline_seconds)
        self.throttled_until = max(self.throttled_until, now + pause)
        return retry_after

    def _space_reconnects(self, now: float, draw: float, requests: int) -> None:
        """Set when to connect again to a platform that cannot be reached.

        Each batch pauses by itself; hundreds of them together would connect without a pause.
        As many failures as requests may be in flight are one try, and the first of them
        draws the pause: the longest of many draws would have no jitter.
        """
        tries = self._failed_connections // requests
        if not tries or now < self.reconnect_at:
            return
        pause = next_delay(self._retry, failures=tries, draw=draw)
        self.reconnect_at = now + min(pause, self.seconds_left(now))


_ANSWERS: Final = 8  # make a round at least: the median of fewer is chance
_ROOTS: Final = 2.5  # a queue of so many square roots of the limit is accepted
_DRAINED: Final = 0.9  # of what the link carries without a queue: it empties, and shows its base
_EASED: Final = 0.8  # after a refusal: it came back at once and left no queue
_HALVED: Final = 0.5  # after worse
_STORED: Final = 200
_REFUSED: Final = 429
_OVERLOADED: Final = frozenset({408, _REFUSED, 503, 504})


class ConcurrencyLimit:
    """How many requests may be in flight at once: always the same number."""

    def __init__(self, requests: int) -> None:
        self.requests = requests

    def note_sent(self, ticket: int, *, now: float, nbytes: int) -> None:
        """Note a request; ``nbytes`` is 0 where it only reads."""

    def note_ended(self, ticket: int, attempt: Attempt, *, now: float) -> None:
        """Note how it ended."""


class _Sent(NamedTuple):
    at: float
    nbytes: int


class _Time(NamedTuple):
    """How long bodies of a size took."""

    seconds: float
    nbytes: float

    def expected(self, nbytes: float) -> float:
        """Return how long another size may take: in proportion if larger, as long if smaller."""
        return self.seconds * max(1.0, nbytes / self.nbytes)


_NEVER: Final = _Time(math.inf, 1.0)


class AdaptiveLimit(ConcurrencyLimit):
    """A number that follows what the link and the platform can carry.

    Additive increase, multiplicative decrease. The number doubles from round to round
    until a queue shows, then it grows by one for each round of answers that used it.
    It sinks, once for all requests that were in flight, after a refusal or a timeout
    and when answers have become slow.

    Notes
    -----
    Slow is what TCP Vegas calls it: of ``n`` requests in flight, ``n * (1 - base / now)``
    wait in a queue, where ``base`` is the time of an answer when there is none. Vegas
    accepts a few; we accept ``2.5 * sqrt(n)``, since the median of more answers is surer, and
    since then of two uploaders the larger gives way first. Vegas then takes off one; we
    leave a little less than fills the link, so that its queue empties: only then can
    another uploader, which came when there was a queue, learn the true base.

    The base is the fastest round since the decrease before the last one, so that a link
    that has become slower is accepted in the end. Rounds are compared by the median of
    their answers, and it takes two slow rounds, for platforms pause now and then.
    """

    def __init__(self) -> None:
        super().__init__(FIRST_REQUESTS)
        self._limit = float(FIRST_REQUESTS)  # of which ``requests`` is the whole part
        self._doubles = True
        self._in_flight: dict[int, _Sent] = {}
        self._round: list[_Time] = []
        self._first_ticket = self._next_ticket = 0
        self._is_used = self._was_slow = False
        self._bases = [_NEVER, _NEVER]  # until the last slow round that counted, and since

    def note_sent(self, ticket: int, *, now: float, nbytes: int) -> None:
        self._in_flight[ticket] = _Sent(now, nbytes)
        self._next_ticket = ticket + 1
        self._is_used = self._is_used or len(self._in_flight) >= self.requests

    def note_ended(self, ticket: int, attempt: Attempt, *, now: float) -> None:
        sent = self._in_flight.pop(ticket)
        if ticket < self._first_ticket:
            return  # sent before the last change: its time is not about that
        status = attempt.status if isinstance(attempt, Answer) else None
        if status in _OVERLOADED or (not isinstance(attempt, Answer) and attempt.kind == "timeout"):
            self._lower(_EASED if status == _REFUSED else _HALVED)
        elif sent.nbytes and status == _STORED:
            self._note_time(_Time(now - sent.at, sent.nbytes))

    def _note_time(self, time: _Time) -> None:
        """Grow by one a round, an answer at a time, so that all grow alike at any number."""
        self._round.append(time)
        if self._is_used and not (self._doubles or self._was_slow):
            self._raise(1 / self._limit)
        if len(self._round) >= max(_ANSWERS, self.requests):
            self._compare_round()

    def _compare_round(self) -> None:
        """Compare a round with the base: slower answers show a queue."""
        seconds, sizes = zip(*self._round, strict=True)
        time, is_used = _Time(median(seconds), fmean(sizes)), self._is_used
        self._round, self._is_used = [], False
        base = min(base.expected(time.nbytes) for base in self._bases)
        if time.seconds < self._bases[1].expected(time.nbytes):
            self._bases[1] = time
        flow = base / time.seconds if time.seconds > base else 1.0
        queued, accepted = self._limit * (1 - flow), _ROOTS * math.sqrt(self._limit)
        was_slow, self._was_slow = self._was_slow, queued > accepted
        self._doubles = self._doubles and queued <= accepted / 2
        if was_slow and self._was_slow:
            self._lower(_DRAINED * flow)
            self._bases = [self._bases[1], _NEVER]
        elif self._doubles and is_used:
            self._raise(self._limit)
            self._begin_round()

    def _raise(self, by: float) -> None:
        self._limit = min(float(MOST_REQUESTS), self._limit + by)
        self.requests = int(self._limit)

    def _lower(self, factor: float) -> None:
        self._limit = max(1.0, self._limit * factor)
        self.requests = int(self._limit)
        self._doubles = self._was_slow = False
        self._begin_round()

    def _begin_round(self) -> None:
        """Ignore what is in flight from now on: it was sent before a change."""
        self._first_ticket = self._next_ticket
        self._round, self._is_used = [], False

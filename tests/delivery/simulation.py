"""A network without sockets and a clock that only moves when told.

The decisions under test are the real ones, and so is the local platform behind its
script of faults; only what lies between them is simulated: delays, connections, time.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from tests.internals import (
    Answer,
    Attempt,
    EncodedRecords,
    Event,
    Fault,
    RecordsReady,
    Request,
    RequestDone,
    StopSwitch,
)
from v3io_frames_put.local import Exchange, FaultProxy
from v3io_frames_put.local import Request as Arriving

READ_SECONDS = 60.0


class Clock:
    """Seconds that pass when something sets them."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class WatchedSwitch(StopSwitch):
    """Tells of each round: a run looks at its switch once before it.

    Parameters
    ----------
    look : callable
        Called before the switch is read, so that it can press it.
    """

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__()
        self._look = look

    @property
    def is_on(self) -> bool:
        """Whether to send nothing new."""
        self._look()
        return super().is_on


class SimulatedNetwork:
    """Carries requests to a platform on a virtual clock.

    Parameters
    ----------
    proxy : FaultProxy
        The platform and its faults.
    clock : Clock
        What ``collect`` moves on.
    records : iterator of EncodedRecords
        What ``feed`` hands out, without taking time.
    delay : callable
        Seconds of each way; called once a request for each of the two.
    before : SimulatedNetwork, optional
        The network of an earlier process: nobody listens to it any more, but what is on
        its way still arrives.
    """

    def __init__(
        self,
        proxy: FaultProxy,
        clock: Clock,
        records: Iterator[EncodedRecords],
        delay: Callable[[], float] = lambda: 0.01,
        *,
        before: SimulatedNetwork | None = None,
    ) -> None:
        self.peak_in_flight = 0
        self.sent: list[Request] = []
        self._proxy, self._clock, self._records, self._delay = proxy, clock, records, delay
        self._agenda: list[tuple[float, int, Callable[[], Event | None]]] = []
        self._order = itertools.count()
        self._is_over = False
        self._down_until = 0.0
        if before is not None:
            before._is_over = True
            self._agenda, self._order = before._agenda, before._order
            self._down_until = before._down_until
        self._in_flight = 0
        self._encoding = False

    def _at(self, time: float, action: Callable[[], Event | None]) -> None:
        heapq.heappush(self._agenda, (time, next(self._order), action))

    def send(self, ticket: int, request: Request) -> None:
        """Put a request on its way."""
        self.sent.append(request)
        self._in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self._in_flight)
        self._at(self._clock.now + self._delay(), lambda: self._arrive(ticket, request))

    def request_records(self) -> None:
        """Hand out the records of the next window."""
        if not self._encoding:
            self._encoding = True
            self._at(self._clock.now, self._fed)

    def _fed(self) -> Event | None:
        return None if self._is_over else RecordsReady(next(self._records, None))

    def _arrive(self, ticket: int, request: Request) -> None:
        now = self._clock.now
        if now < self._down_until:
            self._end(now, ticket, Fault("connect", "connecting", "refused"))
            return
        path, _, query = request.path.partition("?")
        exchange = self._proxy.exchange(_arriving(request, path, query))
        wait = exchange.wait_seconds
        if wait is None or wait + exchange.drip_seconds > READ_SECONDS:
            over, attempt = now + READ_SECONDS, Fault("timeout", "waiting", "no answer")
        else:
            over = now + wait + exchange.drip_seconds + self._delay()
            attempt = _attempt(exchange)
        self._end(over, ticket, attempt)
        for write in exchange.delayed_writes:
            when = over + write.after_seconds
            self._at(when, lambda write=write: self._proxy.apply_delayed_write(write))
        if exchange.down_seconds is not None:
            self._down_until = now + exchange.down_seconds

    def _end(self, time: float, ticket: int, attempt: Attempt) -> None:
        def end() -> Event | None:
            self._in_flight -= 1
            return None if self._is_over else RequestDone(ticket, attempt)

        self._at(time, end)

    def collect(self, timeout: float) -> list[Event]:
        """Let time pass until something happens."""
        until = self._clock.now + max(0.0, timeout)
        events: list[Event] = []
        while self._agenda and self._agenda[0][0] <= (self._clock.now if events else until):
            self._clock.now = max(self._clock.now, self._agenda[0][0])
            event = heapq.heappop(self._agenda)[2]()
            if isinstance(event, RecordsReady):
                self._encoding = False
            if event is not None:
                events.append(event)
        if not events:
            self._clock.now = until
        return events

    def wake(self) -> None:
        """Do nothing: no signal is simulated."""

    def shutdown(self) -> None:
        """Cut the connections; what is on its way still arrives."""

    def close(self) -> None:
        """Let the run go; what is on its way still arrives."""

    def settle(self) -> None:
        """Let all that is on its way arrive, delayed writes included."""
        while self._agenda:
            time, _, action = heapq.heappop(self._agenda)
            self._clock.now = max(self._clock.now, time)
            action()


def _arriving(request: Request, path: str, query: str) -> Any:
    return Arriving(
        method=request.method,
        path=path,
        query=query,
        headers=dict(request.headers),
        body=bytes(request.body),
    )


def _attempt(exchange: Exchange) -> Attempt:
    """Tell what a client sees of an exchange."""
    stage = "sending" if exchange.body_read < 1 else "waiting"
    response = exchange.response
    if response is None or exchange.body_sent < 1:
        return Fault("reset" if exchange.ending == "reset" else "closed", stage, "cut off")
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status, headers, response.body)

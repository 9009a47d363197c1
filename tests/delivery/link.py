"""A link with a capacity, and uploaders that share it, on a virtual clock.

Bodies go one after another through a pipe of so many bytes a second, then to a platform
with so many workers. Requests that find no worker wait; those that find no room to wait
are refused, though their bytes have used the pipe. Whoever sends is the real ``Delivery``
in its real loop, with one record a request; nothing but the link takes any time.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import orjson
import pyarrow as pa

from tests.delivery.examples import PLACE, make_entries
from tests.delivery.simulation import Clock
from v3io_frames_put._delivery import uploader
from v3io_frames_put._delivery.couriers import Ended, Event, Fed
from v3io_frames_put._delivery.delivery import Delivery
from v3io_frames_put._delivery.outcomes import Outcomes
from v3io_frames_put._delivery.policy import Policy
from v3io_frames_put._rows.records import Rejections
from v3io_frames_put._wire.batches import Window
from v3io_frames_put._wire.exchange import Answer, Attempt, Fault, Request
from v3io_frames_put.config import Limits

BODY_BYTES = 1_000
_WINDOW_ROWS = 512
_ENTRY = b',{"Data":"' + b"x" * (BODY_BYTES - 24) + b'"}'  # 13 bytes of a body are not entries


@dataclass(frozen=True, kw_only=True)
class Link:
    """What lies between uploaders and their platform, and the platform.

    Attributes
    ----------
    workers : int
        Requests that the platform serves at once.
    seconds : float
        A worker's time for one request.
    delay : float
        Seconds there and back, when nobody else is on the way.
    bytes_per_second : float
        Of the pipe.
    room : float
        Requests that may wait for a worker; one more is refused with 429.
    refusing : float
        What a refusal takes of a worker's time, as a share of a request's.
    loss : float
        Share of requests whose connection breaks before they are served.
    spread : float
        How much a worker's time varies: the sigma of a lognormal factor. Never none:
        without any chance, uploaders keep step for ever.
    """

    workers: int
    seconds: float
    delay: float
    bytes_per_second: float = math.inf
    room: float = math.inf
    refusing: float = 0.0
    loss: float = 0.0
    spread: float = 0.1

    @property
    def capacity(self) -> float:
        """Requests a second that can be stored."""
        served = self.workers / self.seconds / math.exp(self.spread**2 / 2)
        return min(served, self.bytes_per_second / BODY_BYTES)


LINKS = {
    "near": Link(workers=10, seconds=0.02, delay=0.002),
    "far": Link(workers=4, seconds=0.04, delay=0.2),
    "thin": Link(workers=64, seconds=0.001, delay=0.1, bytes_per_second=100_000),
    "one": Link(workers=1, seconds=0.02, delay=0.002),
    "strict": Link(workers=8, seconds=0.04, delay=0.01, room=4, refusing=0.25),
    "lossy": Link(workers=8, seconds=0.04, delay=0.04, loss=0.02),
    "noisy": Link(workers=12, seconds=0.04, delay=0.01, spread=0.5),
}
"""A platform close by; one far away; one behind a thin pipe; one that serves one request
at a time; one that refuses what it cannot take soon, and tires of refusing; one whose
connections break; one whose time for a request varies by a factor of five."""


class Traffic:
    """Uploaders on one link, and the time they share."""

    def __init__(self, link: Link) -> None:
        self.link, self.clock, self.random = link, Clock(), random.Random(1)
        self.uploaders: list[Uploader] = []
        self._began = self.clock.now
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._pipe_free_at = 0.0
        self._workers_free_at = [0.0] * link.workers
        self._begins: list[float] = []
        self._numbers = itertools.count(1)

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self.clock.now - self._began

    def add(self, max_in_flight: int | Literal["auto"], *, after: float = 0.0) -> Uploader:
        """Let another uploader begin, now or after some seconds."""
        new = Uploader(self, max_in_flight)
        self._at(self.clock.now + after, lambda: self.uploaders.append(new))
        return new

    def change(self, link: Link, *, after: float) -> None:
        """Make the link another one (with as many workers)."""
        self._at(self.clock.now + after, lambda: setattr(self, "link", link))

    def run(self, seconds: float) -> None:
        """Let time pass until so many seconds after the beginning."""
        until = self._began + seconds
        while (now := self._next_event()) < until:
            self.clock.now = max(now, self.clock.now)
            while self._agenda and self._agenda[0][0] <= now:
                heapq.heappop(self._agenda)[2]()
            for each in self.uploaders:
                if each.wake_at <= now:
                    each.step()
        self.clock.now = until

    def _next_event(self) -> float:
        wakes = [each.wake_at for each in self.uploaders]
        return min([*wakes, *(time for time, _, _ in self._agenda[:1])])

    def _at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (time, next(self._order), action))

    def carry(self, request: Request, end: Callable[[Attempt], None]) -> None:
        """Carry a request to the platform, and how it ended back."""
        arrives = self.clock.now + self.link.delay / 2
        leaves = max(arrives, self._pipe_free_at)
        self._pipe_free_at = leaves + len(request.body) / self.link.bytes_per_second
        self._at(self._pipe_free_at, lambda: self._arrive(request, end))

    def _arrive(self, request: Request, end: Callable[[Attempt], None]) -> None:
        now = self.clock.now
        if self.random.random() < self.link.loss:
            over, attempt = now, Fault("reset", "waiting", "the connection broke")
        else:
            over, attempt = self._serve(request)
        self._at(over + self.link.delay / 2, lambda: end(attempt))

    def _serve(self, request: Request) -> tuple[float, Attempt]:
        """Give a request its worker; say when and how it ends."""
        now, link = self.clock.now, self.link
        while self._begins and self._begins[0] <= now:
            heapq.heappop(self._begins)
        begins = max(now, self._workers_free_at[0])
        is_refused = begins > now and len(self._begins) >= link.room
        seconds = link.seconds * math.exp(self.random.gauss(0.0, link.spread))
        busy = seconds * link.refusing if is_refused else seconds
        heapq.heapreplace(self._workers_free_at, begins + busy)
        if is_refused:
            return now, Answer(429, {}, b"{}")
        heapq.heappush(self._begins, begins)
        return begins + seconds, _stored(request, self._numbers)


def _stored(request: Request, numbers: Iterator[int]) -> Answer:
    count = len(orjson.loads(request.body)["Records"])
    records = [{"SequenceNumber": next(numbers), "ShardId": 0} for _ in range(count)]
    return Answer(200, {}, orjson.dumps({"FailedRecordCount": 0, "Records": records}))


class Uploader:
    """A run whose data never ends, and the couriers of its loop.

    Attributes
    ----------
    stored : list of float
        When each request was stored.
    curve : list of (float, int)
        From when on how many requests might be under way.
    wake_at : float
        When its loop goes on.
    """

    def __init__(self, traffic: Traffic, max_in_flight: int | Literal["auto"]) -> None:
        policy = Policy(max_in_flight=max_in_flight, limits=Limits(max_records=1))
        self.delivery = Delivery(policy, stream=PLACE, outcomes=Outcomes())
        self.stored: list[float] = []
        self.curve: list[tuple[float, int]] = []
        self.wake_at = 0.0
        self._traffic, self._events = traffic, list[Event]()
        self._rows = 0

    def step(self) -> None:
        """Go once round the loop."""
        clock, draw = self._traffic.clock, self._traffic.random.random
        assert uploader._round(self.delivery, self, None, clock, draw) is None
        for _ in self.delivery.outcomes.drain():
            pass  # what is settled leaves memory
        requests = self.delivery._ceiling.requests
        if not self.curve or self.curve[-1][1] != requests:
            self.curve.append((self._traffic.now, requests))

    def send(self, ticket: int, request: Request) -> None:
        """Put a request on the link."""

        def end(attempt: Attempt) -> None:
            if isinstance(attempt, Answer) and attempt.status == 200:
                self.stored.append(self._traffic.now)
            self._hear(Ended(ticket, attempt))

        self._traffic.carry(request, end)

    def feed(self) -> None:
        """Hand out another window."""
        entries = make_entries([0] * _WINDOW_ROWS, first_row=self._rows)
        text = pa.array([_ENTRY] * _WINDOW_ROWS, pa.binary())
        self._rows += _WINDOW_ROWS
        nothing = Rejections(np.zeros(0, np.int64), [], [])
        self._hear(Fed(Window(_WINDOW_ROWS, replace(entries, text=text), nothing)))

    def _hear(self, event: Event) -> None:
        self._events.append(event)
        self.wake_at = self._traffic.clock.now

    def collect(self, timeout: float) -> list[Event]:
        """Take what happened; without anything, sleep."""
        events, self._events = self._events, []
        self.wake_at = self._traffic.clock.now + (0.0 if events else max(0.0, timeout))
        return events

    def shutdown(self) -> None:
        """Never asked for."""

    def rate(self, since: float, until: float) -> float:
        """Requests stored a second between two times."""
        return sum(since <= time < until for time in self.stored) / (until - since)

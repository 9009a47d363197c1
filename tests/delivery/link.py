"""A link with a capacity, and uploaders that share it, on a virtual clock.

Bodies go one after another through a pipe of so many bytes a second, then to a platform
with so many workers. Requests that find no worker wait; those that find no room to wait
are refused, though their bytes have used the pipe. Whoever sends is a real ``Run`` with one
record a request, which is led round its loop step by step, so that several share one clock;
nothing but the link takes any time.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec
import pyarrow as pa

from tests.delivery.examples import PLACE
from tests.delivery.simulation import Clock
from tests.internals import (
    Answer,
    Attempt,
    DeliveryOptions,
    EncodedRecords,
    Event,
    Fault,
    RecordsReady,
    Request,
    RequestDone,
    RowPlan,
    Run,
    RunPlan,
    Runtime,
    plan_rows,
)
from v3io_frames_put.config import Limits

BODY_BYTES = 1_000
_WINDOW_ROWS = 512
_DATA_BYTES = (BODY_BYTES - 24) // 4 * 3  # Base64 makes 4 bytes of 3; 24 are not data


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
    """RunPlaners on one link, and the time they share."""

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
    count = len(msgspec.json.decode(request.body)["Records"])
    records = [{"SequenceNumber": next(numbers), "ShardId": 0} for _ in range(count)]
    return Answer(200, {}, msgspec.json.encode({"FailedRecordCount": 0, "Records": records}))


def _endless_plan() -> RowPlan:
    """Plan rows that never end: as many bytes each as fill a body."""
    batch = pa.record_batch({"data": pa.array([b"x" * _DATA_BYTES] * _WINDOW_ROWS, pa.binary())})
    reader = pa.RecordBatchReader.from_batches(batch.schema, itertools.repeat(batch))
    window_bytes = _WINDOW_ROWS * (_DATA_BYTES + 4)  # as a row is measured: with its offset
    return plan_rows(reader, format="raw", columns=["data"], window_bytes=window_bytes)


class Uploader:
    """A run whose data never ends, and its network.

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
        self.stored: list[float] = []
        self.curve: list[tuple[float, int]] = []
        self.wake_at = 0.0
        self._traffic, self._events = traffic, list[Event]()
        job = RunPlan(
            row_plan=_endless_plan(),
            replan=_endless_plan,
            client=None,
            stream=PLACE,
            delivery_options=DeliveryOptions(
                max_in_flight=max_in_flight, limits=Limits(max_records=1)
            ),
            progress=False,
        )
        runtime = Runtime(self._open_network, traffic.clock, traffic.random.random)
        self._run = Run(job, runtime=runtime)
        self.delivery = self._run.producer

    def _open_network(self, _job: RunPlan, records: Iterator[EncodedRecords]) -> Uploader:
        self._records = records
        return self

    def step(self) -> None:
        """Go once round the loop; what is settled leaves memory."""
        assert self._run.step(lambda _batch: None)
        requests = self.delivery._concurrency.requests
        if not self.curve or self.curve[-1][1] != requests:
            self.curve.append((self._traffic.now, requests))

    def send(self, ticket: int, request: Request) -> None:
        """Put a request on the link."""

        def end(attempt: Attempt) -> None:
            if isinstance(attempt, Answer) and attempt.status == 200:
                self.stored.append(self._traffic.now)
            self._hear(RequestDone(ticket, attempt))

        self._traffic.carry(request, end)

    def request_records(self) -> None:
        """Hand out the records of another window."""
        self._hear(RecordsReady(next(self._records)))

    def _hear(self, event: Event) -> None:
        self._events.append(event)
        self.wake_at = self._traffic.clock.now

    def collect(self, timeout: float) -> list[Event]:
        """Take what happened; without anything, sleep."""
        events, self._events = self._events, []
        self.wake_at = self._traffic.clock.now + (0.0 if events else max(0.0, timeout))
        return events

    def wake(self) -> None:
        """Never asked for, nor are the others: nothing stops or ends the run."""

    shutdown = close = wake

    def rate(self, since: float, until: float) -> float:
        """Requests stored a second between two times."""
        return sum(since <= time < until for time in self.stored) / (until - since)

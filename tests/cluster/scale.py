"""What N workers do to a platform with K shards: a simulation, on a clock of its own.

    python -m tests.cluster.scale

prints the tables of the page "Scale" (docs/explanation/scale.md). Every figure that the
platform's makers do not publish is an assumption and stored in `Figures`, so that you
can put yours there: `--shard-request-ms 0.2` and so on. Nothing here sends anything.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
from collections import deque
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

WARM_UP_SECONDS = 1.0
SECONDS = 4.0


@dataclass(frozen=True)
class Figures:
    """What the simulation takes for granted: per worker first, then the platform."""

    rows_per_second: float = 200_000  # that a worker encodes
    request_rows: int = 1_000  # documented: the most that a request may hold
    row_bytes: int = 433  # measured: flights with a key, in Base64
    worker_mb_per_second: float = 125  # a network of 1 Gbit/s
    round_trip_ms: float = 1
    servers: int = 8  # requests that the platform's front parses at once
    parse_ms: float = 5  # for a whole request
    shard_request_ms: float = 1  # that a shard takes for its part of a request ...
    shard_row_us: float = 2  # ... and for each row of it
    open_requests: int = 128  # beyond them the platform answers 503
    retry_base_ms: float = 100  # Retry.base_seconds
    retry_cap_ms: float = 10_000  # Retry.cap_seconds


@dataclass(frozen=True)
class Case:
    """One situation."""

    workers: int
    shards: int
    max_in_flight: int
    goes_to: Literal["all shards", "one shard"] = "all shards"

    @property
    def share(self) -> int:
        """Requests that each worker may have under way."""
        return max(1, self.max_in_flight // self.workers)


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    rows_per_second: float
    request_ms: float
    refused: float
    bottleneck: str


class Worker:
    """Encodes one batch after the other, and sends as many at once as it may."""

    def __init__(self, run: Run, number: int) -> None:
        self._run, self.number = run, number
        self._ready: deque[int] = deque()  # batches, each by how often it was refused
        self._in_flight = 0
        self._is_encoding = False
        self._network_free = 0.0
        self.encoded = 0

    def step(self) -> None:
        """Do what can be done now."""
        run, share = self._run, self._run.case.share
        while self._ready and self._in_flight < share:
            self._send(self._ready.popleft())
        if not self._is_encoding and len(self._ready) < 2 * share:
            self._is_encoding = True
            run.after(run.figures.request_rows / run.figures.rows_per_second, self._encode)

    def _encode(self) -> None:
        self._is_encoding = False
        self.encoded += 1
        self._ready.append(0)
        self.step()

    def _send(self, refused: int) -> None:
        run = self._run
        self._in_flight += 1
        body_mb = run.figures.request_rows * run.figures.row_bytes / 1e6
        begin = max(run.now, self._network_free)
        self._network_free = begin + body_mb / run.figures.worker_mb_per_second
        arrives = self._network_free - run.now + run.figures.round_trip_ms / 2e3
        sent = run.now
        run.after(arrives, lambda: run.platform.take(self, sent, refused))

    def hear(self, sent: float, refused: int, *, is_stored: bool) -> None:
        """Take in an answer."""
        run = self._run
        self._in_flight -= 1
        run.note(sent, is_stored=is_stored)
        if not is_stored:
            ceiling = min(run.figures.retry_cap_ms, run.figures.retry_base_ms * 2**refused)
            run.after(run.chance.uniform(0, ceiling) / 1e3, lambda: self._retry_later(refused + 1))
        self.step()

    def _retry_later(self, refused: int) -> None:
        self._ready.appendleft(refused)
        self.step()


class Platform:
    """Front servers that parse requests, and shards that each store one part at a time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._servers = [0.0] * run.figures.servers  # when each is free again
        self._shards = [0.0] * run.case.shards
        self._open = 0
        self.server_seconds = 0.0
        self.shard_seconds = [0.0] * run.case.shards

    def take(self, worker: Worker, sent: float, refused: int) -> None:
        """Take a request in, or refuse it."""
        run = self._run
        way_back = run.figures.round_trip_ms / 2e3
        if self._open >= run.figures.open_requests:
            run.after(way_back, lambda: worker.hear(sent, refused, is_stored=False))
            return
        self._open += 1
        done = self._store(self._parse(), worker.number)

        def answer() -> None:
            self._open -= 1
            run.after(way_back, lambda: worker.hear(sent, refused, is_stored=True))

        run.after(done - run.now, answer)

    def _parse(self) -> float:
        """Give a request to the server that is free first; return when it is parsed."""
        seconds = self._run.figures.parse_ms / 1e3
        first = min(range(len(self._servers)), key=self._servers.__getitem__)
        self._servers[first] = max(self._run.now, self._servers[first]) + seconds
        self.server_seconds += seconds
        return self._servers[first]

    def _store(self, parsed: float, worker: int) -> float:
        """Queue the parts of a request at their shards; return when all are stored."""
        figures, case = self._run.figures, self._run.case
        shards = range(case.shards)
        if case.goes_to == "one shard":
            shards = range(worker % case.shards, worker % case.shards + 1)
        rows = figures.request_rows / len(shards)
        seconds = figures.shard_request_ms / 1e3 + rows * figures.shard_row_us / 1e6
        for shard in shards:
            self._shards[shard] = max(parsed, self._shards[shard]) + seconds
            self.shard_seconds[shard] += seconds
        return max(self._shards[shard] for shard in shards)


class Run:
    """The clock, what happens on it, and what is counted."""

    def __init__(self, case: Case, figures: Figures) -> None:
        self.case, self.figures = case, figures
        self.now = 0.0
        self.chance = random.Random(0)  # the same draws in every run
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._latencies: list[float] = []
        self._refused = 0
        self.platform = Platform(self)
        self.workers = [Worker(self, number) for number in range(case.workers)]

    def after(self, seconds: float, happen: Callable[[], None]) -> None:
        """Let something happen later."""
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), happen))

    def note(self, sent: float, *, is_stored: bool) -> None:
        """Count an answer, once the run has warmed up."""
        if self.now < WARM_UP_SECONDS:
            return
        if is_stored:
            self._latencies.append(self.now - sent)
        else:
            self._refused += 1

    def play(self) -> Outcome:
        """Let time pass."""
        for worker in self.workers:
            worker.step()
        while self._events and self._events[0][0] <= SECONDS:
            self.now, _, happen = heapq.heappop(self._events)
            happen()
        stored = len(self._latencies)
        return Outcome(
            rows_per_second=stored * self.figures.request_rows / (SECONDS - WARM_UP_SECONDS),
            request_ms=1e3 * sorted(self._latencies)[stored // 2],
            refused=self._refused / (stored + self._refused),
            bottleneck=self._find_bottleneck(),
        )

    def _find_bottleneck(self) -> str:
        """Name what was busy nearly all the time; nothing: requests were waited for."""
        encoded = sum(worker.encoded for worker in self.workers)
        encoding = encoded * self.figures.request_rows / self.figures.rows_per_second
        body_mb = self.figures.request_rows * self.figures.row_bytes / 1e6
        busy = {
            "workers": encoding / (SECONDS * self.case.workers),
            "network": encoded * body_mb / self.figures.worker_mb_per_second
            / (SECONDS * self.case.workers),
            "front": self.platform.server_seconds / (SECONDS * self.figures.servers),
            "shards": max(self.platform.shard_seconds) / SECONDS,
        }  # fmt: skip
        name = max(busy, key=busy.__getitem__)
        return name if busy[name] > 0.9 else "round trips"


def simulate(case: Case, figures: Figures | None = None) -> Outcome:
    """Play one situation."""
    return Run(case, figures or Figures()).play()


WORKERS = (1, 2, 4, 8, 16, 32)
SHARDS = (1, 4, 16, 64)
BUDGETS = (16, 32, 64, 128, 256, 512)


def print_tables(figures: Figures) -> None:
    """Print what the page shows."""
    print("1. rows/s (thousands), max_in_flight=32 shared, and what limits them\n")
    print("workers" + "".join(f"{f'{shards} shards':>20}" for shards in SHARDS))
    for workers in WORKERS:
        reported = [simulate(Case(workers, shards, 32), figures) for shards in SHARDS]
        print(f"{workers:>7}" + "".join(f"{_rate(one)} {one.bottleneck:<11}" for one in reported))
    print("\n2. 16 workers, 4 shards: requests under way in all\n")
    print("max_in_flight   rows/s (k)   median ms   answered 503")
    for budget in BUDGETS:
        one = simulate(Case(16, 4, budget), figures)
        print(
            f"{budget:>13}   {one.rows_per_second / 1e3:>10.0f}   {one.request_ms:>9.0f}"
            f"   {one.refused:>12.0%}"
        )
    print("\n3. rows/s (thousands), 16 workers, max_in_flight=32: where the rows of a request go\n")
    print("shards   all shards   one shard")
    for shards in SHARDS:
        everywhere, one = (
            simulate(Case(16, shards, 32, goes_to), figures)
            for goes_to in ("all shards", "one shard")
        )
        print(
            f"{shards:>6}   {everywhere.rows_per_second / 1e3:>10.0f}"
            f"   {one.rows_per_second / 1e3:>9.0f}"
        )


def _rate(outcome: Outcome) -> str:
    return f"{outcome.rows_per_second / 1e3:>8.0f}"


def main(arguments: list[str] | None = None) -> None:
    """Read the figures from the command line, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.scale")
    for field in fields(Figures):
        name = "--" + field.name.replace("_", "-")
        kind = int if isinstance(field.default, int) else float
        parser.add_argument(name, type=float if "_ms" in name else kind, default=field.default)
    given = vars(parser.parse_args(arguments))
    print_tables(replace(Figures(), **given))


if __name__ == "__main__":
    main()

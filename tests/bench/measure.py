"""Interleaved runs, and what one took beside the other in the same round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Run:
    """One run of one contestant: what it took, the processor time of this process included."""

    rows: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds

    @property
    def cpu_rate(self) -> float:
        """Rows a second of processor time."""
        return self.rows / self.cpu_seconds


Contestant = tuple[int, Callable[[], Any]]  # rows, and what sends or encodes them


class Comparison:
    """Runs of several contestants, round by round.

    Shared machines swing by a third from run to run, so contestants take turns and a
    ratio is taken within each round; the median of the rounds counts.
    """

    def __init__(
        self, contestants: Mapping[str, Contestant], rounds: int, *, warm_up: bool = True
    ) -> None:
        self.runs: dict[str, list[Run]] = {name: [] for name in contestants}
        if warm_up:  # loads what is loaded at first use
            for _, work in contestants.values():
                work()
        for _ in range(rounds):
            for name, (rows, work) in contestants.items():
                self.runs[name].append(time_run(rows, work))

    def rate(self, name: str) -> float:
        """Return the median rows a second."""
        return statistics.median(run.rate for run in self.runs[name])

    def cpu_rate(self, name: str) -> float:
        """Return the median rows a second of processor time."""
        return statistics.median(run.cpu_rate for run in self.runs[name])

    def cpu_seconds(self, name: str) -> float:
        """Return the median processor time of this process."""
        return statistics.median(run.cpu_seconds for run in self.runs[name])

    def ratio(self, name: str, peer: str) -> float:
        """Return how many times the peer's rows a second."""
        return self._ratio(name, peer, lambda run: run.rate)

    def cpu_ratio(self, name: str, peer: str) -> float:
        """Return how many times the peer's processor time a row."""
        return self._ratio(peer, name, lambda run: run.cpu_rate)

    def as_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Return every run."""
        return {name: [asdict(run) for run in runs] for name, runs in self.runs.items()}

    def _ratio(self, name: str, peer: str, of: Callable[[Run], float]) -> float:
        pairs = zip(self.runs[name], self.runs[peer], strict=True)
        return statistics.median(of(ours) / of(theirs) for ours, theirs in pairs)


def time_run(rows: int, work: Callable[[], Any]) -> Run:
    """Run work once, by the clock."""
    start, cpu_start = time.perf_counter(), time.process_time()
    work()
    return Run(rows, time.perf_counter() - start, time.process_time() - cpu_start)

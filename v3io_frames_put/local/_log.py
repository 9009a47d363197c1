"""What arrived, what became of it, and how much was under way at once."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_KEPT: Final = 100_000  # a server that runs for weeks must not grow


@dataclass(slots=True)
class Arrival:
    """One request that reached the platform.

    Attributes
    ----------
    number : int
        Counted from 1.
    function : str
        The function, or the verb of a request that names none.
    path : str
        As sent.
    in_flight : int
        Requests of the same function under way when it came, itself included.
    body_bytes : int
        Bytes of its body that were read.
    status : int or None
        What was answered; None for no answer, or none yet.
    fault : str or None
        The fault that took it.
    """

    number: int
    function: str
    path: str
    in_flight: int
    body_bytes: int = 0
    status: int | None = None
    fault: str | None = None


class Log:
    """Arrivals in order, the newest 100,000; one thread writes, others look and wait."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._arrivals: deque[Arrival] = deque(maxlen=_KEPT)
        self._count = 0
        self._in_flight: Counter[str] = Counter()
        self._peaks: Counter[str] = Counter()
        self._errors: list[BaseException] = []

    @contextmanager
    def record(self, function: str, path: str) -> Iterator[Arrival]:
        """Note a request for as long as it is under way."""
        with self._changed:
            count = self._in_flight[function] = self._in_flight[function] + 1
            self._peaks[function] = max(self._peaks[function], count)
            self._count += 1
            arrival = Arrival(self._count, function, path, count)
            self._arrivals.append(arrival)
            self._changed.notify_all()
        try:
            yield arrival
        finally:
            with self._changed:
                self._in_flight[function] -= 1
                self._changed.notify_all()

    def touch(self) -> None:
        """Let those who wait look again."""
        with self._changed:
            self._changed.notify_all()

    def note_error(self, error: BaseException) -> None:
        """Keep an error of ours for the one who checks."""
        with self._changed:
            self._errors.append(error)

    def arrivals(self) -> list[Arrival]:
        """Return what arrived so far."""
        with self._changed:
            return list(self._arrivals)

    def in_flight(self, function: str) -> int:
        """Return how many requests of a function are under way."""
        with self._changed:
            return self._in_flight[function]

    def peak_in_flight(self, function: str) -> int:
        """Return how many requests of a function were ever under way at once."""
        with self._changed:
            return self._peaks[function]

    def wait_until(self, condition: Callable[[], bool], timeout_seconds: float) -> bool:
        """Wait for a condition on this log; False when the time is over."""
        with self._changed:
            return self._changed.wait_for(condition, timeout_seconds)

    def errors(self) -> list[BaseException]:
        """Return the errors of ours since the log was cleared."""
        with self._changed:
            return list(self._errors)

    def clear(self) -> None:
        """Forget arrivals, peaks and errors; what is under way stays counted."""
        with self._changed:
            self._arrivals.clear()
            self._count = 0
            self._peaks.clear()
            self._errors.clear()

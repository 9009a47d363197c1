"""Errands that wait or are under way: each asks one thing at a time.

Pure. Passing trouble pauses one errand and asks the same again; only an errand that
is over, or cannot go on, is heard of.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from v3io_frames_put._delivery.pace import next_delay
from v3io_frames_put._delivery.verdicts import GAVE_UP, judge_reading
from v3io_frames_put._wire.exchange import Answer
from v3io_frames_put.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from v3io_frames_put._delivery.errands import Ask, Errand
    from v3io_frames_put._delivery.verdicts import Verdict
    from v3io_frames_put._wire.exchange import Attempt, Request
    from v3io_frames_put.config import Retry


@dataclass(slots=True, eq=False)
class Job:
    """An errand under way.

    Attributes
    ----------
    errand : generator
        What asks.
    done : callable
        Takes what it found out.
    ask : Ask or None
        Its open question. None: it has not begun.
    """

    errand: Errand[Any]
    done: Callable[[Any], None]
    ask: Ask | None = None
    failures: int = 0
    first_failure: float | None = None
    not_before: float = 0.0


class ErrandQueue:
    """Runs errands side by side.

    Parameters
    ----------
    retry : Retry
        Pauses, and how long one question may fail.
    """

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._waiting: deque[Job] = deque()
        self._under_way: set[Job] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting or self._under_way)

    def add(
        self, errand: Errand[Any], done: Callable[[Any], None], *, not_before: float = 0.0
    ) -> None:
        """Queue an errand; ``done`` takes its result."""
        self._waiting.append(Job(errand, done, not_before=not_before))

    def next_ask(self, now: float) -> tuple[Job, Request] | None:
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
        self, job: Job, attempt: Attempt, *, now: float, pause: tuple[float, float]
    ) -> Verdict | None:
        """Take in how a question ended.

        Returns
        -------
        Verdict or None
            Why the errand cannot go on: the run stops, or (``again``) its patience
            ended. None: it goes on, or is over.
        """
        if job not in self._under_way:
            return None  # it was cleared meanwhile
        self._under_way.remove(job)
        verdict = judge_reading(attempt)
        if verdict.step == "stop":
            return verdict
        if isinstance(attempt, Answer) and verdict.step == "read" and self._read(job, attempt):
            return None
        return self._again(job, now, pause)

    def _read(self, job: Job, answer: Answer) -> bool:
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

    def _step(self, job: Job, value: Any) -> bool:
        """Run an errand to its next question; False: it is over."""
        try:
            job.ask = job.errand.send(value)
        except StopIteration as over:
            job.done(over.value)
            return False
        return True

    def _again(self, job: Job, now: float, pause: tuple[float, float]) -> Verdict | None:
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

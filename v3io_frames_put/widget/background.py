"""One thread for what takes too long for a callback: plans, files, questions."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Background:
    """Runs jobs one after the other, once nothing new came for a moment.

    A job takes the place of a waiting one of its name, so that a plan is made once
    although ten choices changed. The thread is started by the first job.

    Parameters
    ----------
    quiet_seconds : float
        How long nothing new has to come.
    """

    def __init__(self, quiet_seconds: float) -> None:
        self._quiet_seconds = quiet_seconds
        self._changed = threading.Condition()
        self._jobs: dict[str, Callable[[], None]] = {}
        self._is_fresh = self._is_busy = self._is_closed = False
        self._thread: threading.Thread | None = None

    def submit(self, name: str, work: Callable[[], None]) -> None:
        """Have work done soon; it must not raise."""
        with self._changed:
            if self._is_closed:
                return
            self._jobs.pop(name, None)
            self._jobs[name] = work
            self._is_fresh = True
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="v3io-put-background", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def wait_idle(self, timeout_seconds: float) -> bool:
        """Wait until no job waits or runs; False: it took too long."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._jobs and not self._is_busy, timeout_seconds
            )

    def close(self, timeout_seconds: float = 5) -> None:
        """Drop the jobs that wait, and end the thread after the one that runs."""
        with self._changed:
            self._is_closed = True
            self._jobs.clear()
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_seconds)

    def _work(self) -> None:
        while jobs := self._next_jobs():
            for work in jobs:
                work()
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()

    def _next_jobs(self) -> list[Callable[[], None]]:
        """Wait for jobs and for quiet; none: closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._is_closed)
            self._is_fresh = False
            while self._changed.wait_for(lambda: self._is_fresh, self._quiet_seconds):
                self._is_fresh = False
            jobs = list(self._jobs.values())
            self._jobs.clear()
            self._is_busy = bool(jobs)
            return jobs

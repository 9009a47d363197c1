"""Threads of an uploader: one that uploads, one for what takes too long for a callback."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from v3io_frames_put.errors import Interrupted, PartialFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from v3io_frames_put.progress import Progress

EndStatus: TypeAlias = Literal["done", "stopped", "failed"]


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


@dataclass(frozen=True, slots=True)
class Ended:
    """How an upload ended.

    Attributes
    ----------
    status : {"done", "stopped", "failed"}
        ``"done"``: every row has an outcome, though it may not be stored.
    results : DataFrame or None
        None: nothing had been sent.
    error : BaseException or None
        Why it failed.
    """

    status: EndStatus
    results: pd.DataFrame | None = None
    error: BaseException | None = None


@dataclass(slots=True)
class Run:
    """An upload under way; it knows no widget.

    Parameters
    ----------
    send : callable
        Takes ``progress``, ``cancel`` and ``on_error``; returns the results.
    watch : callable
        Takes each snapshot, in the upload's thread.
    end : callable
        Takes how it ended, in the upload's thread; the last thing that happens.
    """

    send: Callable[..., pd.DataFrame]
    watch: Callable[[Progress], Any]
    end: Callable[[Ended], Any]
    _cancel: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread = threading.Thread(target=self._work, name="v3io-put-upload", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send nothing new; what is under way still gets its outcome."""
        self._cancel.set()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the end; False: it took too long."""
        if self._thread is None or self._thread is threading.current_thread():
            return True
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        self.end(self._run())

    def _run(self) -> Ended:
        try:
            # A warning would be printed, and what a thread prints a notebook loses.
            results = self.send(progress=self.watch, cancel=self._cancel, on_error="raise")
        except PartialFailure as error:
            return Ended("done", error.results)
        except Interrupted as stop:
            return Ended("stopped", stop.results)
        except BaseException as error:  # noqa: BLE001  # shown: nobody else sees it
            return Ended("failed", getattr(error, "results", None), error)
        return Ended("done", results)

"""One upload in a thread of its own: started, watched, stopped. Knows no widget."""

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

    @property
    def is_alarming(self) -> bool:
        """Whether it failed, or left rows that are not stored though nobody stopped it."""
        if self.status != "done":
            return self.status == "failed"
        return self.results is not None and bool((self.results["status"] != "stored").any())


@dataclass(slots=True)
class Run:
    """An upload under way.

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

"""Work that takes too long for a callback: done in a thread, once the choices rest."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Background:
    """Does work a moment after it was submitted, one piece at a time.

    Newer work takes the place of work of the same name that has not begun, so that ten
    changed choices make one plan.
    """

    def __init__(self, quiet_seconds: float) -> None:
        self._quiet_seconds = quiet_seconds
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._newest: dict[str, threading.Timer] = {}
        self._timers: list[threading.Timer] = []  # all that may be alive
        self._is_closed = False

    def submit(self, name: str, work: Callable[[], None]) -> None:
        """Do work soon, unless this is closed; it must not raise."""
        with self._lock:
            if self._is_closed:
                return
            if name in self._newest:
                self._newest[name].cancel()
            timer = threading.Timer(self._quiet_seconds, self._do, [work])
            timer.name, timer.daemon = "v3io-put-background", True
            self._newest[name] = timer
            self._timers = [*filter(threading.Timer.is_alive, self._timers), timer]
            timer.start()

    def _do(self, work: Callable[[], None]) -> None:
        with self._turn:
            work()

    def close(self, timeout_seconds: float = 5) -> None:
        """Drop the work that has not begun, and wait for the rest."""
        with self._lock:
            self._is_closed = True
        for timer in self._timers:
            timer.cancel()
            if timer is not threading.current_thread():
                timer.join(timeout_seconds)

"""The only threads of a run: sender threads carry requests, one encoder thread prepares windows."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from v3io_frames_put._io.transport import Transport
    from v3io_frames_put._wire.api import Attempt, Request
    from v3io_frames_put._wire.bodies import EncodedWindow

_JOIN_SECONDS: Final = 5.0  # threads end at once, but for one that is stuck in a name look-up


@dataclass(frozen=True, slots=True)
class RequestDone:
    """A request ended."""

    ticket: int
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class WindowReady:
    """The next window is encoded; None: there are no more."""

    window: EncodedWindow | None


@dataclass(frozen=True, slots=True)
class ThreadFailed:
    """A thread ran into what is no network trouble: unreadable data, or our own fault."""

    error: BaseException
    is_from_source: bool = False


Event: TypeAlias = RequestDone | WindowReady | ThreadFailed


class Senders:
    """Carries requests and encodes windows, each in threads of its own.

    Parameters
    ----------
    open_transport : callable
        Makes a transport for one thread.
    windows : iterator of Window
        What to encode; pulled one at a time, on ``feed``.
    """

    def __init__(
        self, open_transport: Callable[[], Transport], windows: Iterator[EncodedWindow]
    ) -> None:
        self._open_transport = open_transport
        self._windows = windows
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._requests: queue.SimpleQueue[tuple[int, Request] | None] = queue.SimpleQueue()
        self._wanted: queue.SimpleQueue[Callable[[], WindowReady] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._transports: list[Transport] = []
        self._idle = 0
        self._encoder_thread: threading.Thread | None = None
        self._is_encoding = False

    def send(self, ticket: int, request: Request) -> None:
        """Carry a request; its end comes back as ``RequestDone``."""
        if self._idle:
            self._idle -= 1
        else:
            transport = self._open_transport()
            self._transports.append(transport)
            name = f"v3io-put-courier-{len(self._transports)}"
            self._start(name, self._send_requests, transport)
        self._requests.put((ticket, request))

    def request_window(self) -> None:
        """Encode the next window, unless one is being encoded; it comes back as ``WindowReady``."""
        if self._is_encoding:
            return
        self._is_encoding = True
        if self._encoder_thread is None:
            self._encoder_thread = self._start("v3io-put-feeder", self._encode)
        self._wanted.put(self._next_window)

    def collect(self, timeout: float) -> list[Event]:
        """Wait up to ``timeout`` seconds for events, and take all there are."""
        events = []
        with suppress(queue.Empty):  # then that was all
            events.append(self._events.get(timeout=max(0.0, timeout)))
            while True:
                events.append(self._events.get_nowait())
        self._idle += sum(isinstance(event, RequestDone) for event in events)
        if any(isinstance(event, WindowReady) for event in events):
            self._is_encoding = False
        return [event for event in events if event is not None]

    def wake(self) -> None:
        """End a ``collect`` that waits; safe in a signal handler."""
        self._events.put(None)

    def shutdown(self) -> None:
        """Let no byte leave any more, whatever the threads are doing."""
        for transport in self._transports:
            transport.shutdown()

    def close(self) -> None:
        """End the threads."""
        self._wanted.put(None)
        for _ in self._transports:
            self._requests.put(None)
        for thread in self._threads:
            # A source that hangs, or a name look-up, can be left behind: neither sends.
            thread.join(
                0.0 if thread is self._encoder_thread and self._is_encoding else _JOIN_SECONDS
            )

    def _start(self, name: str, work: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=args, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _send_requests(self, transport: Transport) -> None:
        try:
            while (job := self._requests.get()) is not None:
                ticket, request = job
                self._events.put(RequestDone(ticket, transport.attempt(request)))
        except BaseException as error:  # noqa: BLE001  # raised again by who runs the delivery
            self._events.put(ThreadFailed(error))
        finally:
            transport.close()

    def _next_window(self) -> WindowReady:
        return WindowReady(next(self._windows, None))

    def _encode(self) -> None:
        try:
            while (make := self._wanted.get()) is not None:
                self._events.put(make())
        except BaseException as error:  # noqa: BLE001  # raised again by who runs the delivery
            self._events.put(ThreadFailed(error, is_from_source=True))

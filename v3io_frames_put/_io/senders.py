"""The threads of a run: sender threads send requests, one encoder thread encodes records."""

from __future__ import annotations

import atexit
import queue
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from .._wire.api import Attempt, Fault, Request
from ..errors import PutRecordsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._wire.bodies import EncodedRecords
    from .transport import Transport

_JOIN_SECONDS: Final = 5.0  # for all threads together; idle ones end at once
# After a shutdown only a name look-up can still hold a thread, and that one sends nothing.
_SHUT_DOWN_SECONDS: Final = 0.5
_EXIT_SECONDS: Final = 5.0  # for the batch that the source is reading when the program ends


@dataclass(frozen=True, slots=True)
class RequestDone:
    ticket: int
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class RecordsReady:
    """The records of the next window are encoded; None: there are no more."""

    records: EncodedRecords | None


@dataclass(frozen=True, slots=True)
class ThreadFailed:
    """A thread failed by something other than the network: unreadable data, or a defect."""

    error: BaseException
    is_from_source: bool = False


Event: TypeAlias = RequestDone | RecordsReady | ThreadFailed


class Senders:
    """Sends requests and encodes records, each in threads of its own.

    A transport is opened for each thread that sends. ``stop_reading`` ends the records after
    the batch that is being read.
    """

    def __init__(
        self,
        open_transport: Callable[[], Transport],
        records: Iterator[EncodedRecords],
        stop_reading: Callable[[], object] = lambda: None,
    ) -> None:
        self._open_transport = open_transport
        self._records, self._stop_reading = records, stop_reading
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._requests: queue.SimpleQueue[tuple[int, Request] | None] = queue.SimpleQueue()
        self._wanted: queue.SimpleQueue[Literal["records", "end"]] = queue.SimpleQueue()
        self._senders: list[threading.Thread] = []
        self._transports: list[Transport] = []
        self._free = 0  # sender threads, less the requests they have
        self._is_full = False  # no more threads can be started
        self._is_shut_down = False
        self._encoder: threading.Thread | None = None
        self._is_encoding = False
        self._is_asked = False

    def send(self, ticket: int, request: Request) -> None:
        """Send a request; its end comes back as ``RequestDone``.

        Where no more threads can be started, it waits for one of those there are.
        """
        self._free -= 1
        if self._free < 0 and not self._is_full:
            try:
                transport = self._open_transport()
                thread = threading.Thread(
                    target=self._send_requests,
                    args=(transport,),
                    name=f"v3io-put-sender-{len(self._senders) + 1}",
                    daemon=True,
                )
                thread.start()
            except RuntimeError as error:
                if not self._senders:
                    unsent = Fault("stopped", "connecting", "no thread could be started")
                    self._events.put(RequestDone(ticket, unsent))
                    self._events.put(ThreadFailed(_no_threads(error)))
                    return
                self._is_full = True
            else:
                self._senders.append(thread)
                self._transports.append(transport)
                self._free += 1
        self._requests.put((ticket, request))

    def request_records(self) -> None:
        """Hand out the records of the next window, unless some are on their way.

        ``RecordsReady`` brings them.
        """
        if self._is_asked:
            return
        self._is_asked = True
        if self._encoder is None:
            encoder = threading.Thread(target=self._encode, name="v3io-put-encoder", daemon=True)
            try:
                encoder.start()
            except RuntimeError as error:
                self._events.put(ThreadFailed(_no_threads(error)))
                return
            self._encoder = encoder
        self._wanted.put("records")

    def collect(self, timeout: float) -> list[Event]:
        """Wait up to ``timeout`` seconds for events, and take all there are."""
        events: list[Event] = []
        with suppress(queue.Empty):  # then that was all
            event = self._events.get(timeout=max(0.0, timeout))
            while True:
                if event is not None:
                    events.append(event)
                if isinstance(event, RequestDone):
                    self._free += 1
                elif isinstance(event, RecordsReady):
                    self._is_asked = False
                event = self._events.get_nowait()
        return events

    def wake(self) -> None:
        """End a ``collect`` that waits; safe in a signal handler."""
        self._events.put(None)

    def shutdown(self) -> None:
        """Let no byte leave any more, whatever the threads are doing."""
        self._is_shut_down = True
        for transport in self._transports:
            transport.shutdown()

    def close(self) -> None:
        """End the threads; one that hangs in a name look-up or a source is left alone."""
        self._wanted.put("end")
        for _ in self._senders:
            self._requests.put(None)
        seconds = _SHUT_DOWN_SECONDS if self._is_shut_down else _JOIN_SECONDS
        deadline = time.monotonic() + seconds
        for thread in self._senders:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._encoder is not None:
            self._stop_reading()
            is_busy = self._is_asked or self._is_encoding
            self._encoder.join(0.0 if is_busy else _JOIN_SECONDS)
            if self._encoder.is_alive():
                # Python ends daemon threads where they take the lock again. One that a native
                # reader called back into Python aborts the process with it.
                atexit.register(self._encoder.join, _EXIT_SECONDS)

    def _send_requests(self, transport: Transport) -> None:
        try:
            while (job := self._requests.get()) is not None:
                ticket, request = job
                self._events.put(RequestDone(ticket, transport.attempt(request)))
        except BaseException as error:  # noqa: BLE001  # raised by who drives the run
            self._events.put(ThreadFailed(error))
        finally:
            transport.close()

    def _encode(self) -> None:
        """Hand out records when they are wanted; the next ones are encoded before they are.

        But not after the first, whose requests would leave later for that.
        """
        ready: list[EncodedRecords | None] = []  # which keeps none that was handed out
        is_first = True
        try:
            while self._wanted.get() == "records":
                self._is_encoding = True
                if not ready:
                    ready.append(next(self._records, None))
                self._events.put(RecordsReady(ready.pop()))
                if not is_first:
                    ready.append(next(self._records, None))
                is_first = self._is_encoding = False
        except BaseException as error:  # noqa: BLE001  # raised by who drives the run
            self._events.put(ThreadFailed(error, is_from_source=True))


def _no_threads(error: RuntimeError) -> PutRecordsError:
    return PutRecordsError(
        f"no thread could be started ({error}); expected one that encodes rows and at least one "
        f"that sends them. Raise the limit on threads (ulimit -u, or the container's pids limit) "
        f"or end other work, then send the rest: put_records(..., resume=error.results)"
    )

"""A connection that knows how far its request has come and can be shut down from another thread."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import threading
import weakref
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING, Any, Final

from urllib3.connection import HTTPConnection
from urllib3.exceptions import ProxyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from v3io_frames_put._wire.api import Stage
    from v3io_frames_put.config import Timeouts

MAX_IDLE_SECONDS: Final = 5  # below what servers and proxies keep an idle connection open
MAX_ANSWER_BYTES: Final = 256 * 2**20  # the platform's longest answer is 10 MB of records
_READ_BYTES: Final = 64 * 2**10  # the answer to a thousand records in one go
# How long to look for an answer once writing has failed: it was sent before, or never.
_LATE_ANSWER_SECONDS: Final = 1.0


class CutError(OSError):
    """The connection was cut by our own side."""


class OversizedAnswerError(HTTPException):
    """The answer is longer than any that the protocol allows."""


class GarbledHeadError(HTTPException):
    """The answer's head is not one that HTTP allows."""


class Line:
    """What a transport and its connection share: one request's progress, and the cut."""

    def __init__(
        self, timeouts: Timeouts, clock: Callable[[], float], *, is_insecure: bool
    ) -> None:
        self.timeouts, self.is_insecure = timeouts, is_insecure
        self.stage: Stage = "connecting"
        self.connection: HTTPConnection | None = None
        self.write_error: OSError | None = None
        self.is_cut = False
        self._clock = clock
        self._deadline = self._idle_since = clock()
        self.is_at_end = False
        self._unread_bytes = 0
        self._lock = threading.Lock()
        self._handles: list[socket.socket] = []
        # A client that is dropped without close() leaves nothing open, as in urllib3.
        weakref.finalize(self, _close_all, self._handles)

    def begin(self) -> None:
        """Start a request, unless the line was cut."""
        self.stage, self.write_error = "connecting", None
        self.is_at_end, self._unread_bytes = False, MAX_ANSWER_BYTES
        self.allow(self.timeouts.connect_seconds)
        if self.is_cut:
            raise CutError("stopped")

    def end(self, *, is_reusable: bool) -> None:
        """Finish a request; a connection that nobody may use again is closed."""
        self._idle_since = self._clock()
        if self.connection is not None and not is_reusable:
            self.connection.close()
        if self.connection is None or self.connection.sock is None:
            with self._lock:
                self._release()

    def adopt(self, connection: HTTPConnection, sock: socket.socket) -> None:
        """Take a new socket under the cut, before a byte leaves through it."""
        with self._lock:
            self._release()
            if self.is_cut:
                sock.close()
                raise CutError("stopped")
            self._handles.append(_second_handle(sock))
            self.connection = connection
        self.allow(self.timeouts.connect_seconds)

    def cut(self) -> None:
        """Shut the socket down; from any thread, for good."""
        with self._lock:
            self.is_cut = True
            for handle in self._handles:
                # An error says that the other side was faster: nothing leaves any more.
                with contextlib.suppress(OSError):
                    handle.shutdown(socket.SHUT_RDWR)
            self._release()

    def allow(self, seconds: float) -> None:
        """Give what is read from now on so many seconds in all."""
        self._deadline = self._clock() + seconds

    def seconds_left(self) -> float:
        """Say how long the next read may take."""
        left = self._deadline - self._clock()
        if left <= 0:
            raise TimeoutError("the answer was not whole in time")
        return left

    def count(self, received: int) -> None:
        """Bound the answer's bytes, and note its end."""
        self.is_at_end = received == 0
        self._unread_bytes -= received
        if self._unread_bytes < 0:
            raise OversizedAnswerError(f"the answer is longer than {MAX_ANSWER_BYTES:,} bytes")

    def is_fresh(self) -> bool:
        """Say whether the connection was used within the last seconds."""
        return self._clock() - self._idle_since <= MAX_IDLE_SECONDS

    def _release(self) -> None:
        """Let go of the second handle; the connection closes with the first."""
        _close_all(self._handles)


def _second_handle(sock: socket.socket) -> socket.socket:
    """Open the same connection once more.

    The first handle moves into an SSLSocket, whose own ``shutdown`` would let another
    thread write in clear.
    """
    try:
        return socket.socket(fileno=socket.dup(sock.fileno()))
    except OSError:  # too many open files
        sock.close()
        raise


def _close_all(handles: list[socket.socket]) -> None:
    while handles:
        handles.pop().close()


class _TimedReader(io.RawIOBase):
    """Reads a socket, each time with what is left of the whole answer's time."""

    def __init__(self, sock: socket.socket, line: Line) -> None:
        self._sock, self._line = sock, line
        # Holds the socket open when the connection lets go of it before the body's end.
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._line.seconds_left())
        received = self._raw.readinto(buffer)
        self._line.count(received or 0)
        return received

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedSocket:
    """All that ``HTTPResponse`` wants of a socket."""

    def __init__(self, sock: socket.socket, line: Line) -> None:
        self._sock, self._line = sock, line

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._sock, self._line), _READ_BYTES)


class _StrictResponse(HTTPResponse):
    """Takes no head for whole that is not: the standard library is lenient there."""

    def __init__(self, sock: socket.socket, line: Line, **options: Any) -> None:
        super().__init__(_TimedSocket(sock, line), **options)  # type: ignore[arg-type]
        self._line = line

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        if self._line.is_at_end:
            raise IncompleteRead(b"")
        if self.msg.defects:
            raise GarbledHeadError("a header of the answer is malformed")


# Mixed into whatever class urllib3 uses for the scheme: plain, TLS or SOCKS.
class WatchedConnection(HTTPConnection):
    """Keeps its line informed."""

    line: Line
    _has_body = False

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        self.line.adopt(self, sock)
        return sock

    def connect(self) -> None:
        """Connect; a proxy that refuses CONNECT is told from a platform that fails."""
        is_tunneling = self._tunnel_host is not None  # a refusal makes it forget
        try:
            super().connect()
        except ssl.SSLError:
            raise
        except (OSError, HTTPException) as error:
            if is_tunneling and not self.line.is_cut:
                raise ProxyError("the proxy did not connect us", error) from error
            raise
        if self.line.is_insecure:
            # We have warned; urllib3 would for every connection.
            self.is_verified = True

    @property
    def is_connected(self) -> bool:
        """Whether the connection may carry another request."""
        return self.line.is_fresh() and super().is_connected

    def request(
        self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any
    ) -> None:
        """Write a request; when writing fails, the answer may be there nevertheless."""
        self._has_body = bool(body)
        try:
            super().request(method, url, body=body, headers=headers, **options)
        except OSError as error:
            if self.line.stage != "sending" or self.sock is None or self.line.is_cut:
                raise
            self.line.write_error = error
            self.line.allow(_LATE_ANSWER_SECONDS)
        else:
            self.line.stage = "waiting"
            self.line.allow(self.line.timeouts.read_seconds)

    def endheaders(self, *args: Any, **options: Any) -> None:
        """Write the headers; of a request without a body they are all there is."""
        if self.sock is None:
            self.connect()
        if not self._has_body:
            self.line.stage = "sending"
        super().endheaders(*args, **options)
        self.sock.settimeout(self.line.timeouts.read_seconds)
        self.line.stage = "sending"

    def getresponse(self) -> Any:
        """Read the head of the answer."""
        try:
            return super().getresponse()
        except (OSError, HTTPException):
            if self.line.write_error is None:
                raise
            raise self.line.write_error from None  # what broke first says what happened

    def response_class(self, sock: socket.socket, **options: Any) -> HTTPResponse:  # type: ignore[override]
        """Read answers by our clock."""
        return _StrictResponse(sock, self.line, **options)


def watch(base: type[HTTPConnection], line: Line) -> type[HTTPConnection]:
    """Make a connection class that reports to a line."""
    return type("Connection", (WatchedConnection, base), {"line": line})

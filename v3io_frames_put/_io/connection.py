"""One HTTP connection: urllib3 opens it, we write and read it.

urllib3 connects: proxies, CONNECT, TLS and certificates are its work. A request is then one
``sendmsg`` of head and body, and a plain ``200`` with a Content-Length is parsed from the buffer
it was received in; ``http.client`` parses every other answer. That halves the sender threads'
processor time.
"""

from __future__ import annotations

import contextlib
import io
import re
import socket
import ssl
import threading
import weakref
import zlib
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING, Any, Final

from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, ProxyError
from urllib3.util.wait import wait_for_read

from v3io_frames_put._wire.api import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from urllib3 import HTTPConnectionPool

    from v3io_frames_put._wire.api import Stage
    from v3io_frames_put.config import Timeouts

MAX_IDLE_SECONDS: Final = 5  # below what servers and proxies keep an idle connection open
MAX_ANSWER_BYTES: Final = 64 * 2**20  # the platform's longest answer is 10 MB of records
_BUFFER_BYTES: Final = 128 * 2**10  # the answer to a thousand records is 60 kB
_UNPACK_BYTES: Final = 2**20
# How long to wait for an answer once writing has failed: it was sent before, or never.
_LATE_ANSWER_SECONDS: Final = 1.0
# A body leaves in pieces, each within read_seconds: a slow line is not a dead one.
_PIECE_BYTES: Final = 256 * 2**10
_CAN_GATHER: Final = hasattr(socket.socket, "sendmsg")  # not on Windows

_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")  # OpenSSL's names
_TLS_ALERT: Final = b"\x15\x03"  # how a TLS server answers plain HTTP

_PLAIN_HEAD: Final = re.compile(
    rb"HTTP/1\.1 200 [^\r\n]*\r\n((?:[A-Za-z0-9-]+:[\t -~\x80-\xff]*\r\n)+)\r\n"
)
# Headers that change how a body is read, or whether another answer may follow it.
_SPECIAL_HEADERS: Final = frozenset({"transfer-encoding", "content-encoding", "connection"})


class CutError(OSError):
    """The connection was shut down by our own side."""


class WrongSchemeError(OSError):
    """TLS was spoken to a port that does not speak it, or the reverse: nothing was understood."""


class OversizedAnswerError(HTTPException):
    """The answer is longer than any that the protocol allows."""


class GarbledAnswerError(HTTPException):
    """The answer is not one that HTTP allows."""


class _Watch:
    """Bounds what the sockets of one connection do: a deadline, a byte limit, a shutdown.

    Shared by a connection and the sockets under it; refers to neither.
    """

    def __init__(self, clock: Callable[[], float], connect_seconds: float) -> None:
        self.is_shut_down = False
        self._clock, self._connect_seconds = clock, connect_seconds
        self._deadline = clock()
        self._bytes_left = 0
        self._lock = threading.Lock()
        self._handles: list[socket.socket] = []

    def allow(self, seconds: float) -> None:
        """Start a deadline: everything read from now on has so many seconds in all."""
        self._deadline = self._clock() + seconds
        self._bytes_left = MAX_ANSWER_BYTES

    def seconds_left(self) -> float:
        """Return how long the next read may take."""
        left = self._deadline - self._clock()
        if left <= 0:
            raise TimeoutError("the answer was not whole in time")
        return left

    def receive(self, sock: socket.socket, buffer: Any) -> int:
        """Receive bytes within the deadline and the byte limit; 0: the other side has ended."""
        sock.settimeout(self.seconds_left())
        received = sock.recv_into(buffer)
        self.count(received)
        return received

    def count(self, received: int) -> None:
        """Count bytes of the answer, as received or as unpacked."""
        self._bytes_left -= received
        if self._bytes_left < 0:
            raise OversizedAnswerError(f"the answer is longer than {MAX_ANSWER_BYTES:,} bytes")

    def adopt(self, sock: socket.socket) -> None:
        """Register a new socket for shutdown, before a byte leaves through it."""
        with self._lock:
            self._release()
            if self.is_shut_down:
                sock.close()
                raise CutError("stopped")
            self._handles.append(_second_handle(sock))
        self.allow(self._connect_seconds)

    def shutdown(self) -> None:
        """Shut the socket down, and every later one; from any thread."""
        with self._lock:
            self.is_shut_down = True
            for handle in self._handles:
                # An error says that the other side was faster: nothing leaves any more.
                with contextlib.suppress(OSError):
                    handle.shutdown(socket.SHUT_RDWR)
            self._release()

    def release(self) -> None:
        """Close the second handle; the connection closes with the first."""
        with self._lock:
            self._release()

    def _release(self) -> None:
        while self._handles:
            self._handles.pop().close()


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


class _WatchedReader(io.RawIOBase):
    """Reads what was received already, then a socket under its watch."""

    def __init__(self, sock: socket.socket, watch: _Watch, received: bytes | None) -> None:
        self._sock, self._watch = sock, watch
        self._received = received
        self.is_at_end = received == b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._received:
            count = min(len(buffer), len(self._received))
            buffer[:count] = self._received[:count]
            self._received = self._received[count:]
            return count
        if not self.is_at_end:
            count = self._watch.receive(self._sock, buffer)
            self.is_at_end = count == 0
            return count
        return 0


class _AnswerFile(io.BufferedReader):
    """The file that ``HTTPResponse`` reads; notes what it leaves unread."""

    has_more = False

    def __init__(self, raw: _WatchedReader) -> None:
        super().__init__(raw, _BUFFER_BYTES)
        self._reader = raw

    @property
    def is_at_end(self) -> bool:
        """Whether the other side has ended."""
        return self._reader.is_at_end

    def read(self, size: int | None = -1, /) -> bytes:
        """Read so many bytes; the memory for them is allocated first, so they are bounded."""
        if size is not None and size > MAX_ANSWER_BYTES:
            raise OversizedAnswerError(f"the answer is longer than {MAX_ANSWER_BYTES:,} bytes")
        if size is not None and size < -1:
            raise GarbledAnswerError("a chunk of the answer has a negative size")
        return super().read(size)

    def close(self) -> None:
        """Close the file; the connection stays open."""
        if not self.closed:
            self._reader.is_at_end = True  # peek shows what is buffered, and receives nothing
            self.has_more = bool(self.peek(1))
        super().close()


class _Source:
    """All that ``HTTPResponse`` needs of a socket."""

    def __init__(self, sock: socket.socket, watch: _Watch, received: bytes | None = None) -> None:
        self.file = _AnswerFile(_WatchedReader(sock, watch, received))

    def makefile(self, _mode: str) -> io.BufferedReader:
        return self.file


class _StrictResponse(HTTPResponse):
    """Refuses heads that the standard library accepts although they are broken or ambiguous."""

    def __init__(self, source: _Source, **options: Any) -> None:
        super().__init__(source, **options)  # type: ignore[arg-type]
        self._file = source.file

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        if self._file.is_at_end:
            raise IncompleteRead(b"")
        if self.msg.defects:
            raise GarbledAnswerError("a header of the answer is malformed")
        lengths = {value.strip() for value in self.msg.get_all("Content-Length", [])}
        if len(lengths) > 1 or not all(re.fullmatch("[0-9]{1,15}", text) for text in lengths):
            raise GarbledAnswerError("the Content-Length of the answer is not one number")
        encoding = self.msg.get("Transfer-Encoding")
        if encoding is not None and encoding.strip().lower() != "chunked":
            raise GarbledAnswerError("the Transfer-Encoding of the answer is not chunked")


# Mixed into whatever class urllib3 uses for the scheme: plain, TLS or SOCKS.
class _WatchedConnection(HTTPConnection):
    """Registers its socket before a byte leaves, and reads a proxy's answer under the watch."""

    watch: _Watch

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        self.watch.adopt(sock)
        return sock

    def response_class(self, sock: socket.socket, **options: Any) -> HTTPResponse:  # type: ignore[override]
        """Parse the answer to CONNECT."""
        return _StrictResponse(_Source(sock, self.watch), **options)


class Connection:
    """A connection to one endpoint, opened when a request needs it.

    Parameters
    ----------
    pool : HTTPConnectionPool
        Makes the connection; its proxies and certificates are set.
    has_tunnel : bool
        Whether the pool's proxy is asked to CONNECT.
    timeouts : Timeouts
        Of each request.
    clock : callable
        Monotonic seconds.

    Attributes
    ----------
    stage : Stage
        How far the last request came.

    Notes
    -----
    Belongs to one thread; only ``shutdown`` may be called from another.
    """

    def __init__(
        self,
        pool: HTTPConnectionPool,
        *,
        has_tunnel: bool,
        timeouts: Timeouts,
        clock: Callable[[], float],
    ) -> None:
        self.stage: Stage = "connecting"
        self._timeouts, self._clock = timeouts, clock
        self._watch = _Watch(clock, timeouts.connect_seconds)
        self._idle_since = clock()
        self._buffer = bytearray(_BUFFER_BYTES)
        bases = (_WatchedConnection, pool.ConnectionCls)
        pool.ConnectionCls = type("Connection", bases, {"watch": self._watch})
        self._http: Any = pool._new_conn()  # noqa: SLF001  # no public call gives one
        self._http.timeout = timeouts.connect_seconds
        self._prepare_proxy = pool._prepare_proxy if has_tunnel else None  # noqa: SLF001
        self._has_proxy = pool.proxy is not None
        # One that is dropped without close() leaves nothing open, as in urllib3.
        weakref.finalize(self, _close, self._http, self._watch)

    @property
    def is_shut_down(self) -> bool:
        """Whether ``shutdown`` was called."""
        return self._watch.is_shut_down

    def exchange(self, method: str, head: bytes, body: bytes | memoryview) -> Answer:
        """Send a request, and read its answer; afterwards ``stage`` says how far it came.

        Whatever is raised, a ``KeyboardInterrupt`` included, closes the connection.
        """
        self.stage = "connecting"
        is_reusable = False
        try:
            if self._watch.is_shut_down:
                raise CutError("stopped")
            sock = self._open()
            write_error = self._write(sock, head, body)
            try:
                answer, is_reusable = self._read(sock, method)
            except (OSError, HTTPException):
                if write_error is None:
                    raise
                raise write_error from None  # what broke first says what happened
            is_reusable = is_reusable and write_error is None
        finally:
            if not is_reusable:
                self.close()
        self._idle_since = self._clock()
        return answer

    def shutdown(self) -> None:
        """Let no byte leave from now on; from any thread, for good."""
        self._watch.shutdown()

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        _close(self._http, self._watch)

    def _open(self) -> Any:
        """Return the socket: the last one while it is fresh, or else a new one."""
        if self._http.sock is not None:
            is_fresh = self._clock() - self._idle_since <= MAX_IDLE_SECONDS
            # Readable before a request: it was ended, or holds an answer to nothing.
            if is_fresh and not wait_for_read(self._http.sock, timeout=0.0):
                return self._http.sock
            self.close()
        try:
            if self._prepare_proxy is not None:
                self._prepare_proxy(self._http)
            else:
                self._http.connect()
        except ssl.SSLError as error:
            if error.reason in _NO_TLS:
                raise WrongSchemeError("the port does not speak TLS; expected http://") from None
            raise
        except (OSError, HTTPException, HTTPError) as error:
            if not self._has_proxy or self._watch.is_shut_down:
                raise
            raise ProxyError("the proxy did not connect us", error) from error
        return self._http.sock

    def _write(self, sock: Any, head: bytes, body: bytes | memoryview) -> OSError | None:
        """Write a request; return what broke on the way: an answer may be there all the same."""
        rest = memoryview(body)
        sock.settimeout(self._timeouts.read_seconds)
        try:
            if type(sock) is socket.socket and _CAN_GATHER:
                sent = sock.sendmsg((head, rest))  # raises only where nothing has left
                self.stage = "sending"
                if sent < len(head):
                    sock.sendall(head[sent:])
                rest = rest[max(0, sent - len(head)) :]
            else:  # TLS writes one buffer at a time
                self.stage = "sending"
                sock.sendall(head + bytes(rest[:_PIECE_BYTES]))
                rest = rest[_PIECE_BYTES:]
            while rest:
                rest = rest[sock.send(rest[:_PIECE_BYTES]) :]
        except OSError as error:
            if self.stage != "sending" or self._watch.is_shut_down:
                raise
            self._watch.allow(_LATE_ANSWER_SECONDS)
            return error
        self.stage = "waiting"
        self._watch.allow(self._timeouts.read_seconds)
        return None

    def _read(self, sock: Any, method: str) -> tuple[Answer, bool]:
        """Read an answer; return with it whether the connection can carry another."""
        buffer, watch = self._buffer, self._watch
        view = memoryview(buffer)
        received = watch.receive(sock, view)
        if buffer.startswith(_TLS_ALERT, 0, received):
            raise WrongSchemeError("the port speaks TLS; expected https://")
        head = _PLAIN_HEAD.match(buffer, 0, received)
        headers = None if head is None or method == "HEAD" else _parse_plain(head.group(1))
        if head is None or headers is None:
            return self._read_other(sock, method, bytes(view[:received]))
        end = head.end() + int(headers["content-length"])
        if end > len(buffer):
            return self._read_other(sock, method, bytes(view[:received]))
        while received < end:
            count = watch.receive(sock, view[received:])
            if not count:
                raise IncompleteRead(b"")
            received += count
        return Answer(200, headers, bytes(view[head.end() : end])), received == end

    def _read_other(self, sock: Any, method: str, received: bytes) -> tuple[Answer, bool]:
        """Parse any answer that is not plain, by ``http.client``."""
        source = _Source(sock, self._watch, received)
        with contextlib.closing(_StrictResponse(source, method=method)) as response:
            response.begin()
            is_last = response.will_close
            body = response.read()
        if response.status < 200:  # noqa: PLR2004  # interim: the final one did not come
            raise GarbledAnswerError("the answer ended with an interim status")
        headers = {name.lower(): value for name, value in response.msg.items()}
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding in ("gzip", "x-gzip"):
            body = _unpack(body, self._watch)
        elif encoding not in ("identity", ""):
            raise GarbledAnswerError("the Content-Encoding of the answer was not asked for")
        return Answer(response.status, headers, body), not (is_last or source.file.has_more)


def _parse_plain(lines: bytes) -> dict[str, str] | None:
    """Parse headers; None: ``http.client`` has to look at them."""
    headers = {}
    for line in lines.decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        name = name.lower()
        if name in headers or name in _SPECIAL_HEADERS:
            return None
        headers[name] = value.strip()
    length = headers.get("content-length", "")
    return headers if length.isascii() and length.isdigit() and len(length) < 10 else None  # noqa: PLR2004


def _unpack(packed: bytes, watch: _Watch) -> bytes:
    """Unpack gzip within the deadline and the byte limit of the answer."""
    parts: list[bytes] = []
    try:
        while packed:  # a gzip file is one member after the other
            member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            while not member.eof:
                watch.seconds_left()
                part = member.decompress(packed, _UNPACK_BYTES)
                packed = member.unconsumed_tail
                if not (part or packed or member.eof):
                    raise GarbledAnswerError("the gzip of the answer ends early")
                watch.count(len(part))
                parts.append(part)
            packed = member.unused_data
    except zlib.error as error:
        raise GarbledAnswerError(f"the answer is not valid gzip ({error})") from error
    return b"".join(parts)


def _close(http: Any, watch: _Watch) -> None:
    http.close()
    watch.release()

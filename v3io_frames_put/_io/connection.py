"""One HTTP connection: urllib3 opens it, requests are written and answers read here.

urllib3 connects: proxies, CONNECT, TLS and certificates are its work. A request is then one
``sendmsg`` of head and body, and an answer is parsed from the buffer it is received in. That takes
half of the processor time of ``http.client``, and bounds an answer as a whole.
"""

from __future__ import annotations

import queue
import re
import socket
import ssl
import threading
from contextlib import suppress
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final

from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, ProxyError
from urllib3.util.wait import wait_for_read

from .._wire.api import Answer, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from urllib3 import HTTPConnectionPool

    from ..config import Timeouts

MAX_IDLE_SECONDS: Final = 5  # below what servers and proxies keep an idle connection open
MAX_ANSWER_BYTES: Final = 64 * 2**20  # the platform's longest answer is 10 MB of records
_MAX_HEAD_BYTES: Final = 64 * 2**10
_BUFFER_BYTES: Final = 128 * 2**10  # the answer to a thousand records is 60 kB
# How long to wait for an answer once writing has failed: it was sent before, or never.
_LATE_ANSWER_SECONDS: Final = 1.0
# A body leaves in pieces, each within read_seconds: a slow line is not a dead one.
_PIECE_BYTES: Final = 256 * 2**10
_CAN_GATHER: Final = hasattr(socket.socket, "sendmsg")  # not on Windows

_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")  # OpenSSL's names
# How a TLS server answers plain HTTP: with an alert, or, as nginx, Apache and Go do, with a page.
_TLS_ALERT: Final = b"\x15\x03"
_TLS_PAGE: Final = re.compile(rb"plain HTTP request|plain HTTP to an SSL|HTTP request to an HTTPS")

_SPEAKS_TLS: Final = "the port speaks TLS; expected https://"

_FIRST_BYTES: Final = b"HTTP/1."
_HEAD: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n]*)?\r\n"
    rb"((?:[!#$%&'*+.^_`|~A-Za-z0-9-]+:[^\r\n]*\r\n){0,100})\r\n"
)
_FIRST_FINAL_STATUS: Final = 200
_BAD_REQUEST: Final = 400
_FIRST_SERVER_ERROR: Final = 500
_WITHOUT_BODY: Final = frozenset({204, 304})


class CutError(OSError):
    """The connection was shut down by our own side."""


class WrongSchemeError(OSError):
    """TLS was spoken to a port that does not speak it, or the reverse: nothing was understood."""


class ClosedError(ConnectionError):
    """The other side ended the connection before the answer was whole."""


class GarbledAnswerError(Exception):
    """The answer is not one that HTTP allows, or is longer than any that the platform gives."""


# Mixed into whatever class urllib3 uses for the scheme: plain, TLS or SOCKS.
class _CuttableConnection(HTTPConnection):
    """Can be cut off from any thread, also while it is being opened."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.opened: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self.is_cut = False
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        with self._lock:
            try:
                if self.is_cut:
                    raise CutError("stopped")
                # The first handle moves into an SSLSocket, whose own ``shutdown`` would let
                # another thread write in clear.
                self._handle = socket.socket(fileno=socket.dup(sock.fileno()))
            except OSError:  # also: too many open files
                sock.close()
                raise
        return sock

    def cut(self) -> None:
        """Let no byte leave from now on; whoever waits for it to open waits no longer."""
        with self._lock:
            self.is_cut = True
            if self._handle is not None:
                # An error says that the other side was faster: nothing leaves any more.
                with suppress(OSError):
                    self._handle.shutdown(socket.SHUT_RDWR)
        self.opened.put(CutError("stopped"))

    def close(self) -> None:
        """Close both handles."""
        super().close()
        with self._lock:
            if self._handle is not None:
                self._handle.close()


class Connection:
    """A connection to one endpoint, opened when a request needs it.

    Belongs to one thread; only ``shutdown`` may be called from another. ``has_tunnel`` says
    whether the pool's proxy is asked to CONNECT, ``stage`` how far the last request came.
    """

    def __init__(
        self,
        pool: HTTPConnectionPool,
        *,
        has_tunnel: bool,
        timeouts: Timeouts,
        first_contact_seconds: float | None = None,
        clock: Callable[[], float],
    ) -> None:
        self.stage: Stage = "connecting"
        self.is_shut_down = False
        self._http: Any = None
        self._lock = threading.Lock()
        self._pool, self._has_tunnel = pool, has_tunnel
        pool.ConnectionCls = type("Connection", (_CuttableConnection, pool.ConnectionCls), {})
        self._timeouts, self._clock = timeouts, clock
        limit = first_contact_seconds or timeouts.connect_seconds
        self._connect_seconds = min(limit, timeouts.connect_seconds)
        self._idle_since = 0.0
        self._buffer = bytearray(_BUFFER_BYTES)

    def exchange(self, method: str, head: bytes, body: bytes | memoryview) -> Answer:
        """Send a request, and read its answer; afterwards ``stage`` says how far it came.

        Whatever is raised, a ``KeyboardInterrupt`` included, closes the connection.
        """
        self.stage = "connecting"
        is_reusable = False
        try:
            sock = self._open()
            write_error = self._write(sock, head, body)
            seconds = _LATE_ANSWER_SECONDS if write_error else self._timeouts.read_seconds
            reader = _AnswerReader(sock, self._buffer, self._clock, seconds)
            try:
                answer, is_reusable = reader.read(method)
            except (OSError, GarbledAnswerError):
                if write_error is None:
                    raise
                raise write_error from None  # what broke first says what happened
            # What a proxy answers for the platform leaves the request under way: look-ups begin
            # after the connection is closed.
            has_passed = write_error is None and answer.status < _FIRST_SERVER_ERROR
            is_reusable = is_reusable and has_passed
            self._idle_since = self._clock()
        finally:
            if not is_reusable:
                self.close()
        return answer

    def shutdown(self) -> None:
        """Let no byte leave from now on; from any thread, for good."""
        with self._lock:
            self.is_shut_down = True
            if self._http is not None:
                self._http.cut()

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        with self._lock:
            http, self._http = self._http, None
        if http is not None:
            http.cut()  # it may be opening
            http.close()

    __del__ = close  # as in urllib3, one that is dropped leaves nothing open

    def _open(self) -> Any:
        """Return the socket: the last one while it is fresh, or else a new one."""
        if self._http is not None:
            is_fresh = self._clock() - self._idle_since <= MAX_IDLE_SECONDS
            # Readable before a request: it was ended, or holds an answer to nothing.
            if is_fresh and not self.is_shut_down and not wait_for_read(self._http.sock, 0.0):
                return self._http.sock
            self.close()
        with self._lock:
            if self.is_shut_down:
                raise CutError("stopped")
            http: Any = self._pool._new_conn()  # noqa: SLF001  # no public call gives one
            self._http = http
        try:
            self._connect(http)
        except ssl.SSLError as error:
            if error.reason in _NO_TLS:
                raise WrongSchemeError("the port does not speak TLS; expected http://") from None
            raise
        except (OSError, HTTPException, HTTPError) as error:
            if self._pool.proxy is None or self.is_shut_down:
                raise
            raise ProxyError("the proxy did not connect us", error) from error
        self._connect_seconds = self._timeouts.connect_seconds
        return http.sock

    def _connect(self, http: Any) -> None:
        """Connect in a thread of its own, for a name look-up takes neither timeout nor shutdown."""
        http.timeout = self._connect_seconds

        def connect() -> None:
            try:
                if self._has_tunnel:
                    self._pool._prepare_proxy(http)  # noqa: SLF001  # as the pool does
                else:
                    http.connect()
            except BaseException as error:  # noqa: BLE001  # raised below
                http.opened.put(error)
            else:
                http.opened.put(None)
            if http.is_cut:
                http.close()

        try:
            threading.Thread(target=connect, name="v3io-put-connect", daemon=True).start()
        except RuntimeError:  # no more threads can be started
            connect()
        try:
            error = http.opened.get(timeout=self._connect_seconds)
        except queue.Empty:
            seconds = f"{self._connect_seconds:g} s"
            raise TimeoutError(f"no connection, or no address of the host, in {seconds}") from None
        if error is not None:
            raise error

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
            if self.stage != "sending" or self.is_shut_down:
                raise
            return error
        self.stage = "waiting"
        return None


class _AnswerReader:
    """Reads one answer, as a whole within a time and a number of bytes.

    ``buffer`` grows with a long answer.
    """

    def __init__(
        self, sock: Any, buffer: bytearray, clock: Callable[[], float], seconds: float
    ) -> None:
        self._sock, self._buffer, self._clock = sock, buffer, clock
        self._deadline = clock() + seconds
        self._at = self._end = 0  # what is received and not read yet

    def read(self, method: str) -> tuple[Answer, bool]:
        """Read an answer; return with it whether the connection can carry another."""
        status, headers, is_last = self._read_head()
        while status < _FIRST_FINAL_STATUS:
            status, headers, is_last = self._read_head()
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        body = b""
        if method == "HEAD" or status in _WITHOUT_BODY:
            pass
        elif coding is not None:
            if coding.lower() != "chunked":
                raise GarbledAnswerError("the Transfer-Encoding of the answer is not chunked")
            body = self._read_chunks()
        elif length is not None:
            if not (length.isascii() and length.isdigit() and len(length) < 16):  # noqa: PLR2004
                raise GarbledAnswerError("the Content-Length of the answer is not one number")
            body = self._read_bytes(int(length))
        else:
            body, is_last = self._read_to_end(), True
        if (
            status == _BAD_REQUEST
            and not isinstance(self._sock, ssl.SSLSocket)
            and _TLS_PAGE.search(body)
        ):
            raise WrongSchemeError(_SPEAKS_TLS)
        if body and headers.get("content-encoding", "identity").lower() != "identity":
            raise GarbledAnswerError("the Content-Encoding of the answer was not asked for")
        answer = Answer(status, headers, body)
        is_reusable = not is_last and self._at == self._end
        if len(self._buffer) > _BUFFER_BYTES:
            del self._buffer[_BUFFER_BYTES:]
        return answer, is_reusable

    def _read_head(self) -> tuple[int, dict[str, str], bool]:
        """Read status and headers, and whether the connection ends with the answer."""
        while not (head := _HEAD.match(self._buffer, self._at, self._end)):
            first = bytes(self._buffer[self._at : min(self._end, self._at + len(_FIRST_BYTES))])
            if first.startswith(_TLS_ALERT):
                raise WrongSchemeError(_SPEAKS_TLS)
            is_whole = self._buffer.find(b"\r\n\r\n", self._at, self._end) >= 0
            if is_whole or not _FIRST_BYTES.startswith(first):
                raise GarbledAnswerError("the head of the answer is malformed")
            self._receive(_MAX_HEAD_BYTES)
        self._at = head.end()
        headers: dict[str, str] = {}
        for line in head[3].decode("latin-1").split("\r\n")[:-1]:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        is_last = head[1] == b"0" or "close" in headers.get("connection", "").lower()
        return int(head[2]), headers, is_last

    def _read_bytes(self, count: int) -> bytes:
        if count > MAX_ANSWER_BYTES:
            raise GarbledAnswerError(f"the answer is longer than {MAX_ANSWER_BYTES:,} bytes")
        while self._end - self._at < count:
            self._receive()
        self._at += count
        return bytes(memoryview(self._buffer)[self._at - count : self._at])

    def _read_chunks(self) -> bytes:
        parts = []
        while True:
            size = re.match(rb"[0-9A-Fa-f]{1,8}(?=[ ;]|$)", self._read_line())
            if size is None:
                raise GarbledAnswerError("a chunk of the answer has no size")
            if not int(size[0], 16):
                break
            parts.append(self._read_bytes(int(size[0], 16)))
            if self._read_line():
                raise GarbledAnswerError("a chunk of the answer is longer than its size")
        while self._read_line():
            pass  # a trailer
        return b"".join(parts)

    def _read_line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n", self._at, self._end)) < 0:
            if self._end - self._at > _MAX_HEAD_BYTES:
                raise GarbledAnswerError("a line of the answer does not end")
            self._receive()
        line = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return line

    def _read_to_end(self) -> bytes:
        with suppress(ClosedError):
            while True:
                self._receive()
        return self._read_bytes(self._end - self._at)

    def _receive(self, max_bytes: int = MAX_ANSWER_BYTES) -> None:
        """Receive more of the answer."""
        if self._end >= min(max_bytes, MAX_ANSWER_BYTES):
            raise GarbledAnswerError(f"the answer is longer than {max_bytes:,} bytes")
        left = self._deadline - self._clock()
        if left <= 0:
            raise TimeoutError("the answer was not whole in time")
        if self._end == len(self._buffer):
            self._buffer.extend(bytes(self._end))
        self._sock.settimeout(left)
        received = self._sock.recv_into(memoryview(self._buffer)[self._end :])
        if not received:
            raise ClosedError("the connection was closed before the answer was whole")
        self._end += received

"""Servers that do exactly one thing, named for the fault; transports to them."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading

import pytest

from tests.internals import Endpoint, Request, Transport
from v3io_frames_put.config import Timeouts

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def read_request(connection):
    """Read one whole request: its head, and as much body as it announces."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65_536)
        if not piece:
            raise EOFError
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    length = next((int(value) for name, _, value in lines if name.lower() == b"content-length"), 0)
    while len(body) < length:
        body += connection.recv(65_536)
    return head, body


def reset(connection):
    """End a connection with a reset instead of a proper end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Answers:
    """Answers every request with the same bytes, then closes if reported to."""

    def __init__(self, *answers, closes=False):
        self.answers, self.closes = answers or (OK,), closes

    def __call__(self, connection, server):
        answers = itertools.cycle(self.answers) if len(self.answers) == 1 else iter(self.answers)
        for answer in answers:
            server.requests.append(read_request(connection))
            connection.sendall(answer)
            if self.closes:
                return


class Server:
    """Listens on loopback; the n-th connection is served by the n-th script, then the last."""

    def __init__(self, *scripts, tls=None):
        self.requests, self.connections, self.errors = [], 0, []
        self.stopped = threading.Event()
        self._scripts, self._tls, self._open, self._threads = scripts, tls, [], []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._start(self._accept)

    def _start(self, target, *arguments):
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                script = self._scripts[min(self.connections, len(self._scripts) - 1)]
                self.connections += 1
                self._open.append(connection)
                self._start(self._serve, script, connection)

    def _serve(self, script, connection):
        # Clients under test break connections in every way; a script then just ends.
        with contextlib.suppress(OSError, EOFError), connection:
            wrapped = (
                self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            )
            with wrapped:
                script(wrapped, self)

    def close(self):
        self.stopped.set()
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def serve():
    """Start servers; they are gone when the test is."""
    with contextlib.ExitStack() as stack:

        def start(*scripts, tls=None):
            server = Server(*scripts, tls=tls)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def connect():
    """Make transports; they are closed when the test is over."""
    with contextlib.ExitStack() as stack:

        def make(url, *, read_seconds=10, connect_seconds=10, clock=None, **who):
            timeouts = Timeouts(connect_seconds=connect_seconds, read_seconds=read_seconds)
            endpoint = Endpoint(url=url, **who)
            transport = Transport(endpoint, timeouts, clock=clock or FakeClock())
            stack.callback(transport.close)
            return transport

        yield make


class FakeClock:
    """Stands still unless a test moves it."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return FakeClock()


def post(size=1_000):
    return Request("POST", "/projects/s/", {"X-v3io-function": "PutRecords"}, b"x" * size)


@pytest.fixture
def tools():
    """Hand the helpers of this file to tests, which cannot import it."""

    class Tools:
        pass

    tools = Tools()
    tools.OK, tools.Answers, tools.post = OK, Answers, post
    tools.read_request, tools.reset = read_request, reset
    return tools

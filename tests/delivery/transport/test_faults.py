"""Every way a request can end, and the stage it had reached."""

import itertools
import socket
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.internals import Answer, Fault, Request
from tests.internals import connection as connection_module

pytestmark = pytest.mark.enable_socket

BIG = 30_000_000  # more than any socket buffers hold


def outcome(attempt):
    return (attempt.kind, attempt.stage) if isinstance(attempt, Fault) else attempt.status


def test_an_answer_comes_whole_with_headers_in_lower_case(serve, connect, tools):
    server = serve(tools.Answers())
    answer = connect(server.url).attempt(tools.post())
    headers = {"content-type": "application/json", "content-length": "2"}
    assert answer == Answer(200, headers, b"{}")


def test_the_request_is_on_the_wire_as_it_was_given(serve, connect, tools):
    server = serve(tools.Answers())
    connect(server.url, access_key="secret-key").attempt(tools.post(5))
    head, body = server.requests[0]
    assert body == b"xxxxx"
    assert sorted(head.decode().split("\r\n")) == sorted([
        "POST /projects/s/ HTTP/1.1", f"Host: 127.0.0.1:{server.port}",
        "User-Agent: v3io-frames-put", "Accept-Encoding: identity", "Content-Length: 5",
        "X-v3io-function: PutRecords", "X-v3io-session-key: secret-key",
    ])  # fmt: skip


def test_a_password_goes_out_as_basic_authentication(serve, connect, tools):
    server = serve(tools.Answers())
    connect(server.url, username="ann", password="p:w").attempt(tools.post())
    assert b"Authorization: Basic YW5uOnA6dw==" in server.requests[0][0]


@pytest.mark.parametrize("status", [204, 301, 308, 400, 401, 429, 500, 503])
def test_every_status_is_an_answer_and_nothing_is_tried_twice(status, serve, connect, tools):
    head = f"HTTP/1.1 {status} X\r\nLocation: /elsewhere\r\nRetry-After: 0\r\n"
    length = "" if status == 204 else "Content-Length: 0\r\n"
    server = serve(tools.Answers(f"{head}{length}\r\n".encode()))
    assert connect(server.url).attempt(tools.post()).status == status
    assert len(server.requests) == 1


@pytest.mark.parametrize("size", [0, 1, 60_000, 131_072, 5_000_000])
def test_answers_of_every_size_come_whole(size, serve, connect, tools):
    body = b"x" * size
    server = serve(tools.Answers(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body))
    transport = connect(server.url)
    assert [transport.attempt(tools.post()).body == body for _ in range(3)] == [True] * 3
    assert server.connections == 1


@given(cuts=st.lists(st.integers(1, 120), max_size=5))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_answer_is_the_same_in_whatever_pieces_it_arrives(cuts, serve, connect, tools):
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    for whole in (tools.OK, chunked):

        def drip(connection, server, whole=whole):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tools.read_request(connection)
            for start, end in itertools.pairwise([0, *sorted(cuts), len(whole)]):
                connection.sendall(whole[start:end])
            server.stopped.wait(10)

        answer = connect(serve(drip).url).attempt(tools.post())
        assert (answer.status, answer.body) == (200, b"{}")


@given(garbage=st.binary(max_size=200))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_is_never_raised(garbage, serve, connect, tools):
    for head in (b"", b"HTTP/1.1 200 OK\r\n"):
        server = serve(tools.Answers(head + garbage, closes=True))
        attempt = connect(server.url).attempt(tools.post())
        assert isinstance(attempt, (Answer, Fault))


def test_nothing_listening_is_a_connect_fault(connect, tools):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    fault = connect(f"http://127.0.0.1:{port}").attempt(tools.post())
    assert outcome(fault) == ("connect", "connecting")
    assert f"127.0.0.1:{port}" in fault.detail


def test_a_name_that_nobody_knows_is_a_dns_fault(connect, tools, monkeypatch):
    def unknown(*_arguments, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    fault = connect("http://no-such-host:8081").attempt(tools.post())
    assert outcome(fault) == ("dns", "connecting")


def test_a_name_that_cannot_be_looked_up_is_a_dns_fault(connect, tools):
    fault = connect(f"http://{'a' * 70}.example").attempt(tools.post())
    assert outcome(fault) == ("dns", "connecting")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Len", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", "closed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "closed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n", "garbled"),
        (b"220 mail.example ESMTP\r\n\r\n", "garbled"),
        (b"HTTP/1.1 20x OK\r\n\r\n", "garbled"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n", "garbled"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", "garbled"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "garbled"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}", "garbled"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n{}", "garbled"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n{}", "garbled"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", "garbled"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000 + b"Content-Length: 2\r\n\r\n{}", "garbled"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{}", "garbled"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffff\r\n{}", "garbled"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n{}", "garbled"),
    ],
    ids=[
        "nothing", "half a head", "half a body", "half a chunk", "no chunk size", "not HTTP",
        "no status", "endless header", "interim only", "an encoding nobody asked for",
        "two lengths", "a negative length",
        "a length that is Python", "a length without end", "an encoding of the transfer",
        "a thousand headers", "a huge length", "a huge chunk", "a negative chunk",
    ],
)  # fmt: skip
def test_a_broken_answer_leaves_the_request_unknown(answer, kind, serve, connect, tools):
    server = serve(tools.Answers(answer, closes=True))
    assert outcome(connect(server.url).attempt(tools.post())) == (kind, "waiting")


def test_a_reset_after_the_request_is_reported(serve, connect, tools):
    def reset_after_request(connection, server):
        tools.read_request(connection)
        tools.reset(connection)

    server = serve(reset_after_request)
    assert outcome(connect(server.url).attempt(tools.post())) == ("reset", "waiting")


def test_a_reset_within_the_body_is_reported(serve, connect, tools):
    def reset_in_body(connection, server):
        connection.recv(100_000)
        tools.reset(connection)

    server = serve(reset_in_body)
    assert outcome(connect(server.url).attempt(tools.post(BIG))) == ("reset", "sending")


def test_a_request_without_a_body_is_under_way_once_its_head_leaves(serve, connect, tools):
    def silent(connection, server):
        server.stopped.wait(10)

    server = serve(silent)
    transport = connect(server.url, read_seconds=0.2, clock=time.monotonic)
    assert outcome(transport.attempt(Request("GET", "/projects"))) == ("timeout", "waiting")


def test_a_platform_that_takes_nothing_is_a_timeout_while_sending(serve, connect, tools):
    def deaf(connection, server):
        server.stopped.wait(10)

    server = serve(deaf)
    transport = connect(server.url, read_seconds=0.2, clock=time.monotonic)
    assert outcome(transport.attempt(tools.post(BIG))) == ("timeout", "sending")


@pytest.mark.parametrize("pause", [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_an_answer_that_drips_is_bounded_as_a_whole(pause, serve, connect, tools):
    def drip(connection, server):
        tools.read_request(connection)
        connection.sendall(pause)
        while not server.stopped.wait(0.01):
            connection.sendall(b"a")

    server = serve(drip)
    transport = connect(server.url, read_seconds=0.3, clock=time.monotonic)
    began = time.monotonic()
    assert outcome(transport.attempt(tools.post())) == ("timeout", "waiting")
    assert time.monotonic() - began < 5


def test_an_endless_answer_is_bounded_in_bytes(serve, connect, tools, monkeypatch):
    def flood(connection, server):
        tools.read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"a" * 65_536)

    monkeypatch.setattr(connection_module, "MAX_ANSWER_BYTES", 1_000_000)
    server = serve(flood)
    assert outcome(connect(server.url).attempt(tools.post())) == ("garbled", "waiting")


def test_an_early_refusal_is_read_although_the_body_could_not_leave(serve, connect, tools):
    def refuse_early(connection, server):
        connection.recv(1_000)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        connection.close()  # with unread data: that is a reset

    server = serve(refuse_early, tools.Answers())
    transport = connect(server.url)
    assert outcome(transport.attempt(tools.post(BIG))) == 413
    assert outcome(transport.attempt(tools.post())) == 200
    assert server.connections == 2


def test_an_early_refusal_is_read_when_the_platform_stops_listening(serve, connect, tools):
    def refuse_and_hold(connection, server):
        connection.recv(1_000)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        server.stopped.wait(10)

    server = serve(refuse_and_hold)
    transport = connect(server.url, read_seconds=0.2, clock=time.monotonic)
    assert outcome(transport.attempt(tools.post(BIG))) == 413


def test_no_secret_is_in_what_people_read(connect, tools):
    transport = connect("http://127.0.0.1:9", access_key="secret-key", username="ann")
    fault = transport.attempt(tools.post())
    assert "secret-key" not in repr(transport) + repr(fault) + repr(vars(transport))


def test_a_keyboard_interrupt_passes_and_closes_the_connection(serve, connect, tools):
    class Interrupted:
        """A clock during whose sixth reading somebody presses Ctrl-C."""

        readings = 0

        def __call__(self):
            self.readings += 1
            if self.readings == 6:
                raise KeyboardInterrupt
            return 0.0

    server = serve(tools.Answers())
    transport = connect(server.url, clock=Interrupted())
    transport.attempt(tools.post())
    with pytest.raises(KeyboardInterrupt):
        transport.attempt(tools.post())
    assert transport.attempt(tools.post()).status == 200
    assert server.connections == 2

"""Which connections carry another request, and what ends one for good."""

import socket
import threading

import pytest

from tests.internals import Request

pytestmark = pytest.mark.enable_socket


def test_requests_follow_each_other_on_one_connection(serve, connect, tools):
    server = serve(tools.Answers())
    transport = connect(server.url)
    assert [transport.attempt(tools.post()).status for _ in range(5)] == [200] * 5
    assert server.connections == 1


@pytest.mark.parametrize(("seconds", "connections"), [(5, 1), (5.1, 2)])
def test_a_connection_that_was_idle_is_not_used_again(
    seconds, connections, serve, connect, tools, clock
):
    server = serve(tools.Answers())
    transport = connect(server.url, clock=clock)
    transport.attempt(tools.post())
    clock.now += seconds
    assert transport.attempt(tools.post()).status == 200
    assert server.connections == connections


def test_a_connection_that_the_platform_closed_is_not_used_again(serve, connect, tools):
    closed = threading.Event()

    def answer_and_close(connection, server):
        tools.Answers(closes=True)(connection, server)
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    server = serve(answer_and_close, tools.Answers())
    transport = connect(server.url)
    transport.attempt(tools.post())
    assert closed.wait(10)
    assert transport.attempt(tools.post()).status == 200
    assert server.connections == 2


def test_a_connection_with_unasked_bytes_is_not_used_again(serve, connect, tools):
    sent = threading.Event()
    go_on = threading.Event()

    def chatter(connection, server):
        server.requests.append(tools.read_request(connection))
        connection.sendall(tools.OK)
        assert go_on.wait(10)
        connection.sendall(tools.OK.replace(b"200", b"500"))
        sent.set()
        server.stopped.wait(10)

    server = serve(chatter, tools.Answers())
    transport = connect(server.url)
    assert transport.attempt(tools.post()).status == 200
    go_on.set()
    assert sent.wait(10)
    assert transport.attempt(tools.post()).status == 200


def test_after_a_fault_the_connection_is_closed(serve, connect, tools):
    at_end = threading.Event()

    def garble(connection, server):
        tools.read_request(connection)
        connection.sendall(b"garbage\r\n\r\n")
        assert connection.recv(1) == b""
        at_end.set()

    server = serve(garble)
    assert connect(server.url).attempt(tools.post()).kind == "garbled"
    assert at_end.wait(10)


def test_an_answer_before_the_bodys_end_ends_the_connection(serve, connect, tools):
    def answer_early(connection, server):
        connection.sendall(tools.OK)
        tools.read_request(connection)
        server.stopped.wait(10)

    server = serve(answer_early)
    transport = connect(server.url)
    assert transport.attempt(tools.post()).status == 200


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        (b"HTTP/1.1 429 Busy\r\nContent-Length: 2\r\n\r\n{}", 1),
        (b"HTTP/1.1 504 Late\r\nContent-Length: 2\r\n\r\n{}", 3),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}", 1),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", 3),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", 3),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n", 3),
        (b"HTTP/1.1 429 Busy\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n", 3),
    ],
    ids=[
        "429",
        "504",
        "204",
        "chunked",
        "keep",
        "close",
        "1.0",
        "more after 200",
        "more after 429",
    ],
)
def test_an_answer_says_whether_the_connection_stays(answer, connections, serve, connect, tools):
    server = serve(tools.Answers(answer))
    transport = connect(server.url)
    assert len({transport.attempt(tools.post()).status for _ in range(3)}) == 1
    assert server.connections == connections


def test_a_head_request_has_an_answer_without_a_body(serve, connect, tools):
    server = serve(tools.Answers(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"))
    transport = connect(server.url)
    assert [transport.attempt(Request("HEAD", "/a")).body for _ in range(2)] == [b"", b""]
    assert server.connections == 1


def test_a_closed_transport_opens_a_new_connection(serve, connect, tools):
    server = serve(tools.Answers())
    transport = connect(server.url)
    transport.attempt(tools.post())
    transport.close()
    assert transport.attempt(tools.post()).status == 200
    assert server.connections == 2


def outcome(fault):
    return fault.kind, fault.stage


def test_after_shutdown_nothing_is_sent(serve, connect, tools):
    server = serve(tools.Answers())
    transport = connect(server.url)
    transport.attempt(tools.post())
    transport.shutdown()
    transport.shutdown()
    assert outcome(transport.attempt(tools.post())) == ("stopped", "connecting")
    assert len(server.requests) == 1


def attempt_in_thread(transport, request):
    """Start an attempt; the list gets its outcome."""
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(transport.attempt(request)))
    thread.start()
    return thread, outcomes


def test_shutdown_ends_a_request_that_waits(serve, connect, tools):
    arrived = threading.Event()

    def silent(connection, server):
        tools.read_request(connection)
        arrived.set()
        server.stopped.wait(10)

    transport = connect(serve(silent).url)
    thread, outcomes = attempt_in_thread(transport, tools.post())
    assert arrived.wait(10)
    transport.shutdown()
    thread.join(10)
    # "sending" where the thread had not yet come back from its last write.
    assert outcomes[0].kind == "stopped"
    assert outcomes[0].stage in ("sending", "waiting")


def test_shutdown_ends_a_request_that_is_being_sent(serve, connect, tools):
    begun = threading.Event()

    def deaf(connection, server):
        connection.recv(1_000)
        begun.set()
        server.stopped.wait(10)

    transport = connect(serve(deaf).url)
    thread, outcomes = attempt_in_thread(transport, tools.post(30_000_000))
    assert begun.wait(10)
    transport.shutdown()
    thread.join(10)
    assert outcome(outcomes[0]) == ("stopped", "sending")


def test_a_name_look_up_that_ends_after_shutdown_sends_nothing(serve, connect, tools, monkeypatch):
    looking_up, go_on = threading.Event(), threading.Event()
    look_up = socket.getaddrinfo

    def slow(*arguments, **options):
        looking_up.set()
        assert go_on.wait(10)
        return look_up(*arguments, **options)

    received = []
    closed = threading.Event()

    def listen(connection, server):
        received.append(connection.recv(1_000))
        closed.set()

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    transport = connect(serve(listen).url)
    thread, outcomes = attempt_in_thread(transport, tools.post())
    assert looking_up.wait(10)
    transport.shutdown()
    go_on.set()
    thread.join(10)
    assert outcome(outcomes[0]) == ("stopped", "connecting")
    assert closed.wait(10)
    assert received == [b""]

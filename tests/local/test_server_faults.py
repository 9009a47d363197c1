"""Faults as a client feels them on a real connection."""

from __future__ import annotations

import socket
from http.client import HTTPConnection, IncompleteRead
from time import monotonic

import pytest

from v3io_frames_put.local import faults

ONE = b'{"Records":[{"Data":"QQ=="}]}'
LARGE = b'{"Records":[{"Data":"%b"}]}' % (b"QUFB" * 500_000)
PUT = {"X-v3io-function": "PutRecords"}


@pytest.fixture
def platform(local_platform):
    local_platform.create_stream("projects/s")
    return local_platform


@pytest.fixture
def connection(platform):
    connection = HTTPConnection(platform.endpoint.partition("://")[2], timeout=10)
    yield connection
    connection.close()


def post(connection, body=ONE):
    connection.request("POST", "/projects/s", body, PUT)
    answer = connection.getresponse()
    return answer.status, answer.read()


def stored(platform):
    return len(platform.records("projects/s"))


@pytest.mark.parametrize("when", ["before_body", "in_body", "after_body"])
def test_a_reset_stores_nothing(platform, connection, when):
    platform.faults = [faults.Disconnect(when=when)]
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        post(connection, LARGE)
    assert stored(platform) == 0
    connection.close()
    assert post(connection, LARGE)[0] == 200


def test_a_reset_in_the_body_comes_before_the_body_is_read(platform):
    platform.faults = [faults.Disconnect(when="in_body")]
    host, port = platform.endpoint.partition("://")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(
            b"POST /projects/s HTTP/1.1\r\nHost: 127.0.0.1\r\nX-v3io-function: PutRecords\r\n"
            b"Content-Length: 1000\r\n\r\n" + b"x" * 500
        )
        with pytest.raises(ConnectionResetError):
            raw.recv(1)


@pytest.mark.parametrize(("ending", "felt"), [("reset", ConnectionResetError), ("close", b"")])
def test_an_answer_is_lost_by_reset_or_in_order(platform, ending, felt):
    platform.faults = [faults.lost_answer(ending=ending)]
    host, port = platform.endpoint.partition("://")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(
            b"POST /projects/s HTTP/1.1\r\nHost: 127.0.0.1\r\nX-v3io-function: PutRecords\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(ONE), ONE)
        )
        if felt == b"":
            assert raw.recv(1) == felt
        else:
            with pytest.raises(felt):
                raw.recv(1)
    assert stored(platform) == 1


def test_an_early_413_can_be_read_while_the_body_is_being_sent(platform):
    platform.faults = [faults.Answer(status=413, when="before_body")]
    host, port = platform.endpoint.partition("://")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(
            b"POST /projects/s HTTP/1.1\r\nHost: 127.0.0.1\r\nX-v3io-function: PutRecords\r\n"
            b"Content-Length: 1000000\r\n\r\n"
        )
        answer = raw.recv(4096)
        assert answer.startswith(b"HTTP/1.1 413 ")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):  # noqa: PT012  # takes some
            for _ in range(1_000):
                raw.sendall(b"x" * 100_000)
    assert stored(platform) == 0


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_an_answer_may_break_off(platform, connection, share):
    platform.faults = [faults.Answer(body_share=share, ending="reset")]
    with pytest.raises((IncompleteRead, ConnectionResetError)):
        post(connection)
    assert stored(platform) == 1


def test_an_answer_may_be_late(platform, connection):
    platform.faults = [faults.stalled_answer(seconds=0.1)]
    start = monotonic()
    assert post(connection)[0] == 200
    assert monotonic() - start >= 0.1


def test_an_answer_may_drip(platform, connection):
    platform.faults = [faults.Answer(drip_seconds=0.2)]
    connection.request("POST", "/projects/s", ONE, PUT)
    answer = connection.getresponse()
    start = monotonic()
    assert answer.read() == b'{"FailedRecordCount":0,"Records":[{"SequenceNumber":1,"ShardId":0}]}'
    assert monotonic() - start >= 0.1


def test_who_goes_while_it_stalls_is_no_longer_under_way(platform, connection):
    platform.faults = [faults.stalled_answer()]
    connection.timeout = 0.1
    with pytest.raises(TimeoutError):
        post(connection)
    assert stored(platform) == 1
    connection.close()
    platform.wait_until(lambda p: p.in_flight() == 0)


def test_a_delayed_write_comes_after_its_connection_died(platform, connection):
    platform.faults = [faults.delayed_write(after_seconds=0.05)]
    with pytest.raises(ConnectionResetError):
        post(connection)
    assert stored(platform) == 0
    platform.wait_until(stored)
    assert stored(platform) == 1


def test_a_restart_cuts_every_connection_and_keeps_the_port(platform, connection):
    post(connection)
    other = HTTPConnection(platform.endpoint.partition("://")[2], timeout=10)
    post(other)
    platform.faults = [faults.restart(stored="all", down_seconds=0.1)]
    with pytest.raises(ConnectionResetError):
        post(connection)
    with pytest.raises(ConnectionResetError):
        post(other)
    with pytest.raises(ConnectionRefusedError):
        post(connection)
    platform.wait_until(answers)
    assert stored(platform) == 3
    other.close()


def answers(platform):
    try:
        connection = HTTPConnection(platform.endpoint.partition("://")[2], timeout=10)
        connection.connect()
    except ConnectionRefusedError:
        return False
    connection.close()
    return True

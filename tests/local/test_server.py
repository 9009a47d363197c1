"""The platform on a socket, asked with the standard library only."""

from __future__ import annotations

import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import trustme

from v3io_frames_put.local import Fault, LocalPlatform, faults

ONE = b'{"Records":[{"Data":"QQ=="}]}'
PUT = {"X-v3io-function": "PutRecords"}


def post(platform, body=ONE, path="/projects/s", **headers):
    request = Request(platform.endpoint + path, body, {**PUT, **headers}, method="POST")  # noqa: S310
    with urlopen(request, timeout=10) as answer:  # noqa: S310  # our own endpoint
        return answer.read()


def refuse(platform):
    with pytest.raises(HTTPError) as caught:
        post(platform)
    caught.value.close()
    return caught.value.code


def connect(platform):
    host, _, port = platform.endpoint.partition("://")[2].partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def read_all(raw):
    with raw.makefile("rb") as stream:
        return stream.read()


@pytest.fixture
def platform(local_platform):
    local_platform.create_stream("projects/s", shards=2)
    return local_platform


def test_a_connection_serves_many_requests(platform):
    connection = HTTPConnection(platform.endpoint.partition("://")[2], timeout=10)
    for number in (1, 2):
        connection.request("PUT", "/projects/s/", ONE, PUT)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Server"]) == (200, "nginx")
        assert answer.headers.get_all("Date") == [answer.headers["Date"]]
        answer.read()
        assert len(platform.records("projects/s")) == number
    connection.close()


def test_a_head_has_a_length_and_no_body(platform):
    connection = HTTPConnection(platform.endpoint.partition("://")[2], timeout=10)
    connection.request("PUT", "/projects/o", b"12345")
    connection.getresponse().read()
    connection.request("HEAD", "/projects/o")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Length"], answer.read()) == (200, "5", b"")
    connection.request("DELETE", "/projects/o")
    assert connection.getresponse().status == 204
    connection.close()


def test_two_slashes_are_no_host(platform):
    assert b'"FailedRecordCount":0' in post(platform, path="//projects//s//")


def test_head_and_body_may_come_apart(platform):
    with connect(platform) as raw:
        raw.sendall(
            b"POST /projects/s HTTP/1.1\r\nHost: 127.0.0.1\r\nX-V3io-Function: PutRecords\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(ONE)
        )
        platform.wait_until(lambda p: p.in_flight() == 1)
        raw.sendall(ONE[:10])
        raw.sendall(ONE[10:])
        assert read_all(raw).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_body_may_come_in_chunks(platform):
    with connect(platform) as raw:
        raw.sendall(
            b"POST /projects/s HTTP/1.1\r\nHost: 127.0.0.1\r\nX-v3io-function: PutRecords\r\n"
            b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(ONE), ONE)
        )
        assert read_all(raw).startswith(b"HTTP/1.1 200 OK\r\n")


def test_who_waits_for_a_continue_gets_it(platform):
    with connect(platform) as raw:
        raw.sendall(
            b"POST /projects/s HTTP/1.1\r\nHost: 127.0.0.1\r\nX-v3io-function: PutRecords\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(ONE)
        )
        assert raw.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(ONE)
        assert read_all(raw).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("sent", [b"5\r\nhalf", b"no length\r\n"])
def test_a_request_that_never_ends_or_is_no_http_stores_nothing_and_is_no_error_of_ours(
    platform, sent
):
    with connect(platform) as raw:
        raw.sendall(
            b"POST /projects/s HTTP/1.1\r\nHost: 127.0.0.1\r\nX-v3io-function: PutRecords\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + sent
        )
        platform.wait_until(lambda p: len(p.requests) == 1 or sent == b"no length\r\n")
    platform.wait_until(lambda p: p.in_flight() == 0)
    assert platform.records("projects/s") == []
    platform.check()


def test_the_log_lists_what_arrived_and_what_was_answered(platform):
    platform.faults = [faults.throttled()]
    assert refuse(platform) == 429
    post(platform, path="/projects/s/")
    told = [(a.number, a.function, a.path, a.status, a.fault) for a in platform.requests]
    assert told == [
        (1, "PutRecords", "/projects/s", 429, faults.throttled()),
        (2, "PutRecords", "/projects/s/", 200, None),
    ]
    assert platform.requests[1].body_bytes == len(ONE)


def test_requests_under_way_at_once_are_counted(platform):
    with ThreadPoolExecutor(3) as pool, platform.hold():
        waiting = [pool.submit(post, platform) for _ in range(3)]
        platform.wait_until(lambda p: p.in_flight() == 3)
        assert not any(future.done() for future in waiting)
    assert sorted(a.in_flight for a in platform.requests) == [1, 2, 3]
    platform.wait_until(lambda p: p.in_flight() == 0)
    assert platform.peak_in_flight() == 3
    assert platform.peak_in_flight("GetRecords") == 0


def test_a_wait_that_is_in_vain_ends(platform):
    with pytest.raises(TimeoutError, match="did not come true"):
        platform.wait_until(lambda p: p.in_flight() == 1, timeout_seconds=0.01)


def test_clearing_leaves_nothing_behind(platform):
    platform.faults = [faults.delayed_write(after_seconds=0.05)]
    with pytest.raises(ConnectionResetError):
        post(platform)
    platform.clear()
    assert (platform.requests, platform.faults, platform.peak_in_flight()) == ([], (), 0)
    platform.create_stream("projects/s")
    with pytest.raises(TimeoutError):
        platform.wait_until(lambda p: p.records("projects/s"), timeout_seconds=0.1)


class OurMistake(Fault, frozen=True):
    def apply(self, platform, request):
        raise ZeroDivisionError("a mistake of ours")


def test_an_error_of_ours_is_a_500_and_comes_up_when_asked():
    with LocalPlatform(faults=[OurMistake()]) as platform:
        assert refuse(platform) == 500
        with pytest.raises(ZeroDivisionError, match="a mistake of ours"):
            platform.check()


def test_a_platform_ends_with_its_block():
    with LocalPlatform() as platform:
        raw = connect(platform)
        names = [thread.name for thread in threading.enumerate()]
        assert "v3io-local-platform" in names
        port = int(platform.endpoint.rpartition(":")[2])
    with raw, pytest.raises(ConnectionResetError):
        raw.recv(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    with pytest.raises(RuntimeError, match="not running"):
        _ = platform.endpoint


def test_a_port_in_use_is_told_and_leaves_no_thread():
    with LocalPlatform() as platform:
        port = int(platform.endpoint.rpartition(":")[2])
        count = threading.active_count()
        with pytest.raises(OSError, match="in use"), LocalPlatform(port=port):
            pass
        assert threading.active_count() == count


def test_a_platform_may_start_again():
    platform = LocalPlatform()
    for _ in range(2):
        with platform:
            platform.create_stream("projects/s")
            assert b"SequenceNumber" in post(platform)


def test_a_notebook_starts_and_stops_it_in_cells_that_may_run_twice():
    platform = LocalPlatform()
    assert platform.start() is platform
    endpoint = platform.endpoint
    platform.create_stream("projects/s")
    assert platform.start().endpoint == endpoint
    assert b"SequenceNumber" in post(platform)
    with platform:  # which also stops it
        assert len(platform.records("projects/s")) == 1
    for _ in range(2):
        platform.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2])), timeout=5)
    with pytest.raises(RuntimeError, match=r"Call start\(\)"):
        platform.records("projects/s")


def test_waiting_ends_when_another_thread_stops_it():
    platform = LocalPlatform().start()
    waiting = threading.Thread(target=platform.wait)
    waiting.start()
    assert waiting.is_alive()
    platform.stop()
    waiting.join(10)
    assert not waiting.is_alive()


def test_it_speaks_tls_with_a_given_certificate(tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    cert, key, trusted = (tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem"))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(cert, append=True)
    certificate.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(trusted)
    context = ssl.create_default_context(cafile=trusted)
    with LocalPlatform(tls=(cert, key)) as platform:
        platform.create_stream("projects/s")
        assert platform.endpoint.startswith("https://")
        request = Request(platform.endpoint + "/projects/s", ONE, PUT)  # noqa: S310
        with urlopen(request, timeout=10, context=context) as answer:  # noqa: S310
            assert answer.status == 200
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            post(platform)
        platform.check()


def test_its_client_passes_proxies_by(local_platform, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with local_platform.client() as client:
        client.create_stream("projects/house/readings")
        assert client.describe_stream("projects/house/readings").shards == 1

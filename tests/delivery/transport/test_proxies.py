"""Proxies as requests finds them, and what else of the environment is not read."""

import time

import pytest

from tests.internals import Endpoint, Fault, Transport
from v3io_frames_put.config import Timeouts
from v3io_frames_put.errors import ConfigError

pytestmark = pytest.mark.enable_socket


def outcome(attempt):
    return (attempt.kind, attempt.stage) if isinstance(attempt, Fault) else attempt.status


def test_plain_http_goes_through_the_proxy_with_its_whole_address(
    serve, connect, tools, monkeypatch
):
    proxy = serve(tools.Answers())
    monkeypatch.setenv("HTTP_PROXY", f"http://me:pass@127.0.0.1:{proxy.port}")
    transport = connect("http://platform.example:8081")
    assert [outcome(transport.attempt(tools.post())) for _ in range(2)] == [200, 200]
    head = proxy.requests[0][0]
    assert head.startswith(b"POST http://platform.example:8081/projects/s/ HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6cGFzcw==" in head
    assert proxy.connections == 1


def test_a_host_without_proxy_is_reached_directly(serve, connect, tools, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = serve(tools.Answers())
    assert outcome(connect(server.url).attempt(tools.post())) == 200
    assert server.requests[0][0].startswith(b"POST /projects/s/ HTTP/1.1\r\n")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_a_proxy_fault(scheme, connect, tools, monkeypatch):
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", "http://127.0.0.1:9")
    fault = connect(f"{scheme}://platform.example").attempt(tools.post())
    assert outcome(fault) == ("proxy", "connecting")


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"garbage\r\n\r\n", b""],
    ids=["refuses", "garbles", "hangs up"],
)
def test_a_proxy_that_does_not_connect_us_is_a_proxy_fault(
    answer, serve, connect, tools, monkeypatch
):
    proxy = serve(tools.Answers(answer, closes=True))
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:pass@127.0.0.1:{proxy.port}")
    fault = connect("https://platform.example").attempt(tools.post())
    assert outcome(fault) == ("proxy", "connecting")
    assert "pass" not in fault.detail


def test_a_proxy_that_stalls_is_bounded(serve, connect, tools, monkeypatch):
    def drip(connection, server):
        tools.read_request(connection)
        while not server.stopped.wait(0.01):
            connection.sendall(b"H")

    proxy = serve(drip)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    transport = connect("https://platform.example", connect_seconds=0.3, clock=time.monotonic)
    assert outcome(transport.attempt(tools.post()))[1] == "connecting"


def test_a_proxy_address_that_is_not_valid_is_refused_without_its_password(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://me:topsecret@")
    with pytest.raises(ConfigError, match="HTTP_PROXY") as caught:
        Transport(Endpoint(url="http://127.0.0.1:9"), Timeouts(), clock=time.monotonic)
    assert "topsecret" not in str(caught.value)


def test_netrc_is_not_read(serve, connect, tools, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password topsecret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve(tools.Answers())
    connect(server.url).attempt(tools.post())
    assert b"Authorization" not in server.requests[0][0]


def test_cookies_are_not_kept(serve, connect, tools):
    answer = tools.OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n")
    server = serve(tools.Answers(answer))
    transport = connect(server.url)
    transport.attempt(tools.post())
    transport.attempt(tools.post())
    assert b"Cookie" not in server.requests[1][0]


def test_no_endpoint_is_reported():
    with pytest.raises(ConfigError, match="V3IO_API"):
        Transport(Endpoint(), Timeouts(), clock=time.monotonic)

"""Certificates: verified, given, from the environment, refused, ignored on demand."""

import ssl
import time

import pandas as pd
import pytest
import trustme

from tests.internals import Endpoint, Fault, Transport
from v3io_frames_put import Client, put_records
from v3io_frames_put.config import Timeouts
from v3io_frames_put.errors import ConfigError, RequestError

pytestmark = pytest.mark.enable_socket


def outcome(attempt):
    return (attempt.kind, attempt.stage) if isinstance(attempt, Fault) else attempt.status


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def server_context(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def test_a_trusted_certificate_is_fine(serve, connect, tools, server_context, ca_file):
    server = serve(tools.Answers(), tls=server_context)
    transport = connect(server.url, verify=ca_file)
    assert [outcome(transport.attempt(tools.post(600_000))) for _ in range(3)] == [200] * 3
    assert server.connections == 1


def test_an_unknown_authority_is_a_certificate_fault(serve, connect, tools, server_context):
    server = serve(tools.Answers(), tls=server_context)
    fault = connect(server.url).attempt(tools.post())
    assert outcome(fault) == ("certificate", "connecting")
    assert "self-signed" in fault.detail or "unable to get" in fault.detail
    assert server.requests == []


def test_a_certificate_for_another_host_is_refused(serve, connect, tools, authority, ca_file):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    server = serve(tools.Answers(), tls=context)
    fault = connect(server.url, verify=ca_file).attempt(tools.post())
    assert outcome(fault) == ("certificate", "connecting")


def test_the_environment_may_name_the_authority(
    serve, connect, tools, server_context, ca_file, monkeypatch
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca_file))
    server = serve(tools.Answers(), tls=server_context)
    assert outcome(connect(server.url).attempt(tools.post())) == 200


def test_verification_can_be_left_out_without_a_word_per_request(
    serve, connect, tools, server_context
):
    server = serve(tools.Answers(), tls=server_context)
    assert outcome(connect(server.url, verify=False).attempt(tools.post())) == 200


def test_verification_stays_out_whatever_the_environment_says(
    serve, connect, tools, server_context, ca_file, monkeypatch
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca_file))
    server = serve(tools.Answers(), tls=server_context)
    assert outcome(connect(server.url, verify=False).attempt(tools.post())) == 200


def test_a_platform_that_does_not_speak_tls_is_a_fault_of_the_scheme(serve, connect, tools):
    def plain(connection, server):
        connection.recv(1_000)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    url = serve(plain).url.replace("http://", "https://")
    fault = connect(url).attempt(tools.post())
    assert outcome(fault) == ("scheme", "connecting")
    assert "expected http://" in fault.detail


def alert(connection, server):
    connection.recv(65_536)  # all of it: a close with unread data is a reset
    connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")


def test_a_platform_that_speaks_tls_is_a_fault_of_the_scheme(serve, connect, tools):
    fault = connect(serve(alert).url).attempt(tools.post())
    assert outcome(fault) == ("scheme", "connecting")
    assert "expected https://" in fault.detail


PAGES = [
    b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head>",
    b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
    b"Client sent an HTTP request to an HTTPS server.\n",
]


def page(body):
    return b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize("body", PAGES)
def test_a_platform_that_speaks_tls_and_answers_a_page_is_a_fault_of_the_scheme(
    serve, connect, tools, body
):
    fault = connect(serve(tools.Answers(page(body))).url).attempt(tools.post())
    assert outcome(fault) == ("scheme", "connecting")
    assert "expected https://" in fault.detail


def test_a_page_that_came_within_tls_is_an_answer(serve, connect, tools, server_context, ca_file):
    server = serve(tools.Answers(page(PAGES[0])), tls=server_context)
    assert outcome(connect(server.url, verify=ca_file).attempt(tools.post())) == 400


def test_a_platform_that_has_answered_has_the_right_scheme(serve, connect, tools):
    last = tools.OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    transport = connect(serve(tools.Answers(last, closes=True), alert).url)
    assert outcome(transport.attempt(tools.post())) == 200
    assert outcome(transport.attempt(tools.post())) == ("tls", "waiting")


@pytest.mark.parametrize("script", [alert, None])
@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_a_wrong_scheme_is_reported_at_once(serve, tools, delivery, script):
    client = Client(serve(script or tools.Answers(page(PAGES[0]))).url)
    with pytest.raises(RequestError, match="expected https://") as caught:
        put_records(pd.DataFrame({"a": [1]}), "projects/s", client=client, delivery=delivery)
    assert list(caught.value.results.status) == ["unsent"]
    with pytest.raises(RequestError, match="expected https://"):
        client.describe_stream("projects/s")


def test_a_handshake_that_stalls_is_a_timeout_before_anything_was_sent(serve, connect, tools):
    def silent(connection, server):
        server.stopped.wait(10)

    url = serve(silent).url.replace("http://", "https://")
    transport = connect(url, connect_seconds=0.2, clock=time.monotonic)
    assert outcome(transport.attempt(tools.post())) == ("timeout", "connecting")


def test_a_connection_cut_within_tls_leaves_the_request_unknown(
    serve, connect, tools, server_context, ca_file
):
    def cut(connection, server):
        tools.read_request(connection)
        tools.reset(connection)

    server = serve(cut, tls=server_context)
    fault = connect(server.url, verify=ca_file).attempt(tools.post())
    assert fault.stage == "waiting"


def test_an_early_refusal_is_read_within_tls(serve, connect, tools, server_context, ca_file):
    def refuse_early(connection, server):
        connection.recv(1_000)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        while connection.recv(65_536):
            pass  # as nginx ends it: it goes on reading, so that no reset eats the answer

    server = serve(refuse_early, tls=server_context)
    attempt = connect(server.url, verify=ca_file).attempt(tools.post(30_000_000))
    assert outcome(attempt) == 413


def test_shutdown_reaches_through_tls(serve, connect, tools, server_context, ca_file):
    transport = None

    def cut_from_outside(connection, server):
        tools.read_request(connection)
        transport.shutdown()
        server.stopped.wait(10)

    server = serve(cut_from_outside, tls=server_context)
    transport = connect(server.url, verify=ca_file)
    assert transport.attempt(tools.post()).kind == "stopped"


def test_a_bundle_that_is_not_there_is_reported_before_anything_is_sent(monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file.pem")
    with pytest.raises(ConfigError, match="REQUESTS_CA_BUNDLE"):
        Transport(Endpoint(url="https://127.0.0.1:9"), Timeouts(), clock=time.monotonic)


@pytest.mark.parametrize("text", ["nothing", ""])
def test_a_file_that_holds_no_certificates_is_reported_before_anything_is_sent(
    tmp_path, monkeypatch, text
):
    path = tmp_path / "empty.pem"
    path.write_text(text)
    with pytest.raises(ConfigError, match="no certificates can be read from it"):
        Transport(
            Endpoint(url="https://127.0.0.1:9", verify=path), Timeouts(), clock=time.monotonic
        )
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with pytest.raises(ConfigError, match=r"empty\.pem.*REQUESTS_CA_BUNDLE"):
        Transport(Endpoint(url="https://127.0.0.1:9"), Timeouts(), clock=time.monotonic)

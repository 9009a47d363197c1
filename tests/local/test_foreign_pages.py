"""What a web page in the browser of this machine could send to a platform without a key."""

from __future__ import annotations

import socket
from http.client import HTTPConnection

import pytest

from v3io_frames_put.local import LocalPlatform, Rules

ONE = b'{"Records":[{"Data":"QQ=="}]}'
PUT = {"X-v3io-function": "PutRecords"}


def send(platform, method="POST", path="/projects/s", body=ONE, **headers):
    address = platform.endpoint.partition("://")[2]
    connection = HTTPConnection(address, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, {**PUT, **named} if method == "POST" else named)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


@pytest.fixture
def platform(local_platform):
    local_platform.create_stream("projects/s")
    yield local_platform
    local_platform.check()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "LOCALHOST:8081", "localhost.", "[::1]:80", "10.1.2.3:9", "127.0.0.1:"]
)
def test_names_of_this_machine_are_answered(platform, host):
    assert send(platform, Host=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "x", "[x", "::x]"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_other_names_are_refused_and_the_answer_says_what_to_do(platform, host, method):
    status, text = send(platform, method, Host=host)
    assert status == 403
    assert repr(host.partition(":")[0].strip("[]"))[:-1] in text or host.startswith(":")
    assert "--allow-host" in text
    assert platform.records("projects/s") == []


def test_a_name_may_be_allowed():
    with LocalPlatform(allowed_hosts=["Platform"]) as platform:
        platform.create_stream("projects/s")
        assert send(platform, Host="platform:8081")[0] == 200
        assert send(platform, Host="platform2:8081")[0] == 403


def test_a_client_of_http_1_0_sends_no_host_and_is_answered(platform):
    host, _, port = platform.endpoint.partition("://")[2].partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert raw.recv(12) == b"HTTP/1.0 200"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8888"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_what_another_page_sends_changes_nothing(platform, headers, method):
    status, text = send(platform, method, **headers)
    assert (status, "web page" in text) == (403, True)
    assert platform.records("projects/s") == []


def test_a_page_of_the_platform_itself_may_write(platform):
    own = {"Origin": platform.endpoint, "Sec_Fetch_Site": "same-origin"}
    assert send(platform, **own)[0] == 200
    assert send(platform, Sec_Fetch_Site="none")[0] == 200
    assert send(platform, "GET", "/", None, Origin="https://evil.example")[0] == 200


def test_with_a_key_the_key_decides():
    with LocalPlatform(access_key="k") as platform:
        platform.create_stream("projects/s")
        named = {"Host": "evil.example", "Origin": "https://evil.example"}
        assert send(platform, **named)[0] == 401
        assert send(platform, **named, X_v3io_session_key="k")[0] == 200


class Endless:
    """A body that never ends, unless somebody stops reading it."""

    def __init__(self, platform, announced):
        host, _, port = platform.endpoint.partition("://")[2].partition(":")
        self.raw = socket.create_connection((host, int(port)), timeout=10)
        self.raw.sendall(
            b"PUT /projects/o HTTP/1.1\r\nHost: localhost\r\n" + announced + b"\r\n\r\n"
        )

    def answer(self):
        with self.raw:
            return self.raw.recv(12)


@pytest.fixture
def small():
    rules = Rules(max_body_bytes=1_000, max_object_bytes=1_000)
    with LocalPlatform(rules=rules) as platform:
        yield platform
        platform.check()


def test_a_body_that_is_announced_too_long_is_refused_before_it_is_read(small):
    body = Endless(small, b"Content-Length: 1000000000000")
    assert body.answer() == b"HTTP/1.1 413"
    assert [arrival.body_bytes for arrival in small.requests] == [0]


def test_a_body_of_unknown_length_is_read_as_far_as_it_may_be_long(small):
    body = Endless(small, b"Transfer-Encoding: chunked")
    body.raw.sendall(b"3e8\r\n" + b"x" * 1_000 + b"\r\n1\r\nx\r\n")
    assert body.answer() == b"HTTP/1.1 413"


def test_a_body_at_the_limit_is_taken(small):
    assert send(small, "PUT", "/projects/o", b"x" * 1_000)[0] == 200
    assert send(small, "PUT", "/projects/o", b"x" * 1_001)[0] == 413
    assert send(small, "PUT", "/projects/o", b"x", Range="-1")[0] == 413  # appended, 1,001

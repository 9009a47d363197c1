"""Questions are asked again until answered, never too often, never twice by accident."""

import threading

import pytest

from tests.internals import Answer, Clock, Fault, Request, RetryingRequests
from v3io_frames_put.config import Retry
from v3io_frames_put.errors import PlatformUnavailable, RequestError

QUESTION = Request("GET", "/projects")
OK = Answer(200, {}, b"{}")
BUSY = Answer(503, {}, b'{"ErrorCode": -117440512, "ErrorMessage": "busy"}')


class ScriptedTransport:
    """Answers with a list; the last one for ever."""

    def __init__(self, *attempts):
        self.attempts, self.asked, self.end = list(attempts), 0, None

    def attempt(self, request):
        assert request is QUESTION
        self.asked += 1
        return self.attempts.pop(0) if len(self.attempts) > 1 else self.attempts[0]

    def close(self):
        self.end = "closed"

    def shutdown(self):
        self.end = "cut"


class Nap:
    """A clock that a nap moves on; draws are always the whole interval."""

    def __init__(self):
        self.seconds, self.naps = 0.0, []

    def sleep(self, seconds):
        self.naps.append(seconds)
        self.seconds += seconds

    def clock(self):
        return Clock(now=lambda: self.seconds, sleep=self.sleep, draw=lambda: 1.0)


def ask(*attempts, retry=None, **options):
    """Ask once; return the answer, what was slept, and how often the platform was asked."""
    nap, transport = Nap(), ScriptedTransport(*attempts)
    requests = RetryingRequests(
        lambda: transport, retry or Retry(), where="http://p", clock=nap.clock()
    )
    try:
        answer = requests.send(QUESTION, doing="look", **options)
    except RequestError as error:
        answer = error
    return answer, nap.naps, transport.asked


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 403, 404, 409, 413])
def test_what_another_try_cannot_better_is_returned_at_once(status):
    answer = Answer(status, {}, b"")
    assert ask(answer) == (answer, [], 1)


@pytest.mark.parametrize(
    "passing",
    [
        *[Answer(status, {}, b"") for status in (408, 429, 500, 502, 503, 504, 513)],
        Fault("dns", "connecting", ""), Fault("reset", "waiting", ""),
        Fault("timeout", "waiting", ""), Fault("garbled", "waiting", ""),
    ],
)  # fmt: skip
def test_what_may_pass_is_asked_again_after_growing_pauses(passing):
    assert ask(passing, passing, passing, OK) == (OK, [0.1, 0.2, 0.4], 4)


def test_a_retry_after_is_a_floor():
    slow_down = Answer(429, {"retry-after": "7"}, b"")
    assert ask(slow_down, OK) == (OK, [7], 2)


def test_a_retry_after_as_a_date_is_read_by_the_platforms_own_clock():
    dates = {
        "date": "Sun, 22 Nov 2026 10:00:00 GMT",
        "retry-after": "Sun, 22 Nov 2026 10:00:30 GMT",
    }
    assert ask(Answer(503, dates, b""), OK) == (OK, [30], 2)


def test_the_deadline_ends_it():
    error, naps, asked = ask(BUSY, retry=Retry(deadline_seconds=1))
    assert isinstance(error, PlatformUnavailable)
    assert (naps, asked) == ([0.1, 0.2, 0.4, pytest.approx(0.3)], 5)  # the last at the deadline
    assert (error.status, error.error_code) == (503, -117440512)
    assert str(error) == (
        "look at http://p: no usable answer in 5 tries within 1 s; the last: the platform answered "
        "503 busy, ErrorCode -117440512. Check the endpoint and the network, or try again later."
    )


def test_attempts_end_it():
    error, naps, asked = ask(Fault("dns", "connecting", "no such host"), retry=Retry(attempts=2))
    assert isinstance(error, PlatformUnavailable)
    assert (len(naps), asked) == (1, 2)
    assert "no such host" in str(error)


def test_a_pause_beyond_the_deadline_is_not_waited_for():
    error, naps, asked = ask(Answer(503, {"retry-after": "3600"}, b""))
    assert isinstance(error, PlatformUnavailable)
    assert (naps, asked) == ([], 1)


def test_a_certificate_is_not_asked_about_again():
    error, naps, asked = ask(Fault("certificate", "connecting", "self-signed"))
    assert (type(error), naps, asked) == (RequestError, [], 1)
    assert "verify=" in str(error)


@pytest.mark.parametrize(
    "attempt",
    [Fault("connect", "connecting", ""), Fault("tls", "connecting", ""), Answer(429, {}, b"")],
)
def test_a_change_is_asked_for_again_while_it_is_surely_not_made(attempt):
    assert ask(attempt, OK, is_repeatable=False)[0] == OK


@pytest.mark.parametrize(
    "attempt", [Fault("reset", "sending", ""), Fault("closed", "waiting", ""), BUSY]
)
def test_a_change_that_may_be_made_is_not_asked_for_again(attempt):
    error, _, asked = ask(attempt, OK, is_repeatable=False)
    assert isinstance(error, PlatformUnavailable)
    assert "not known whether it was done" in str(error)
    assert asked == 1


def test_every_thread_has_its_own_transport_and_close_closes_them():
    transports = []

    def open_transport():
        transports.append(ScriptedTransport(OK))
        return transports[-1]

    requests = RetryingRequests(open_transport, Retry(), where="http://p", clock=Nap().clock())

    def ask_twice():
        requests.send(QUESTION, doing="look")
        requests.send(QUESTION, doing="look")

    thread = threading.Thread(target=ask_twice)
    thread.start()
    thread.join(10)
    ask_twice()
    assert [transport.asked for transport in transports] == [2, 2]
    requests.close()
    # Another thread may be using its own: to close it would take the socket from under it.
    assert [transport.end for transport in transports] == ["cut", "closed"]
    requests.send(QUESTION, doing="look")
    assert len(transports) == 3

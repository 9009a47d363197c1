"""A wrong host name or port is reported in time, with its cause."""

import signal
import socket
import threading

import pandas as pd
import pytest

from tests.internals import Answer, Clock, Fault, RetryingRequests
from v3io_frames_put import Client, Retry, local, put_records
from v3io_frames_put.errors import Interrupted, PlatformUnavailable

FRAME = pd.DataFrame({"a": range(3)})
REFUSED = Fault("connect", "connecting", "http://host: Connection refused")
RESET = Fault("reset", "waiting", "http://host: reset")


class Platform:
    """Answers with what it was given, one after the other, then with the last for ever."""

    def __init__(self, *attempts):
        self.attempts, self.tries = list(attempts), 0

    def attempt(self, _request):
        self.tries += 1
        return self.attempts.pop(0) if len(self.attempts) > 1 else self.attempts[0]


def send(platform, retry):
    """Send until it gives up; return the seconds that took."""
    now = [0.0]
    clock = Clock(lambda: now[0], lambda seconds: now.append(now.pop() + seconds), lambda: 0.9)
    requests = RetryingRequests(lambda: platform, retry, where="http://host", clock=clock)
    with pytest.raises(PlatformUnavailable) as caught:
        requests.send(None, doing="describe")
    return now[0], str(caught.value)


def test_a_verb_gives_up_when_no_connection_is_accepted_in_time():
    seconds, message = send(Platform(REFUSED), Retry(first_contact_seconds=10))
    assert seconds == 10
    assert "Connection refused" in message


def test_once_a_connection_was_accepted_the_deadline_counts():
    retry = Retry(first_contact_seconds=10, deadline_seconds=60)
    for contact in (RESET, Answer(503, {}, b"")):
        seconds, _ = send(Platform(REFUSED, contact, REFUSED), retry)
        assert 50 < seconds <= 60


def test_without_a_time_for_it_the_deadline_counts():
    seconds, _ = send(Platform(REFUSED), Retry(deadline_seconds=60))
    assert 50 < seconds <= 60


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.enable_socket
@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_a_wrong_port_is_reported_with_its_cause(free_port, delivery):
    retry = Retry(first_contact_seconds=0.3, base_seconds=60, cap_seconds=60)
    client = Client(f"127.0.0.1:{free_port}", retry=retry)
    cause = "no connection was accepted for 0.3 s.*onnection refused"
    with pytest.raises(PlatformUnavailable, match=cause) as caught:
        put_records(FRAME, "projects/s", client=client, delivery=delivery, progress=False)
    assert set(caught.value.results.status) == {"unsent"}
    with pytest.raises(PlatformUnavailable, match="onnection refused"):
        client.describe_stream("projects/s")


@pytest.mark.enable_socket
def test_an_unknown_host_is_reported_with_its_cause(monkeypatch):
    def unknown(*_arguments, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    client = Client("http://no-such-host:8081", retry=Retry(first_contact_seconds=0.3))
    with pytest.raises(PlatformUnavailable, match="host name not found"):
        put_records(FRAME, "projects/s", client=client, progress=False)


@pytest.mark.enable_socket
def test_a_platform_that_was_there_is_awaited_for_the_deadline(local_platform):
    local_platform.create_stream("projects/s", shards=1)
    local_platform.faults = [local.faults.throttled(retry_after_seconds=1)]
    retry = Retry(first_contact_seconds=0.5, base_seconds=0.01, cap_seconds=0.01)
    client = Client(local_platform.endpoint, retry=retry)
    results = put_records(FRAME, "projects/s", client=client, progress=False)
    assert set(results.status) == {"stored"}


@pytest.fixture
def hanging_name_server(monkeypatch):
    go_on = threading.Event()

    def hang(*_arguments, **_options):
        go_on.wait(60)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield
    go_on.set()


@pytest.mark.enable_socket
@pytest.mark.usefixtures("hanging_name_server")
def test_a_name_look_up_that_hangs_ends_with_the_time_for_the_first_contact():
    client = Client("http://platform.example:8081", retry=Retry(first_contact_seconds=0.3))
    with pytest.raises(PlatformUnavailable, match=r"no address of the host, in 0.3 s") as caught:
        put_records(FRAME, "projects/s", client=client, progress=False)
    assert set(caught.value.results.status) == {"unsent"}
    with pytest.raises(PlatformUnavailable, match="no address of the host"):
        client.describe_stream("projects/s")


@pytest.mark.enable_socket
@pytest.mark.usefixtures("hanging_name_server")
def test_rows_whose_name_look_up_hangs_when_the_run_is_stopped_are_unsent():
    client = Client("http://platform.example:8081")

    def press(snapshot):
        if snapshot.in_flight:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted) as caught:
        put_records(FRAME, "projects/s", client=client, progress=press)
    assert set(caught.value.results.status) == {"unsent"}

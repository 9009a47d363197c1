"""Threads that cannot start, hang, or are in the middle of the input when the program ends."""

import signal
import threading
import time

import pandas as pd
import pytest

from tests.internals import Fault, RequestDone, Senders, ThreadFailed
from tests.processes.harness import PATIENCE_SECONDS, is_over, running
from v3io_frames_put import put_records
from v3io_frames_put.errors import PutRecordsError

STREAM = "projects/s"


@pytest.fixture
def platform(local_platform):
    local_platform.create_stream(STREAM, shards=3)
    return local_platform


def allow_threads(monkeypatch, count):
    """Let so many threads start, as a container's limit does."""
    start = threading.Thread.start
    left = iter(range(count))

    def limited(thread):
        if "v3io-put" in thread.name and next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)


FRAME = pd.DataFrame({"a": range(5_000)})


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_run_goes_on_with_the_threads_that_there_are(platform, monkeypatch, count):
    allow_threads(monkeypatch, count)
    results = put_records(FRAME, STREAM, client=platform.client(), max_in_flight=8)
    assert set(results.status) == {"stored"}
    assert len(platform.records(STREAM)) == len(FRAME)


@pytest.mark.parametrize("count", [0, 1])
def test_a_run_without_threads_has_true_results(platform, monkeypatch, count):
    allow_threads(monkeypatch, count)
    with pytest.raises(PutRecordsError, match="no thread could be started") as caught:
        put_records(FRAME, STREAM, client=platform.client())
    assert list(caught.value.results.status) == ["unsent"] * len(FRAME)
    monkeypatch.undo()
    results = put_records(FRAME, STREAM, client=platform.client(), resume=caught.value.results)
    assert set(results.status) == {"stored"}


class Hanging:
    """A transport that hangs in a name look-up, which no shutdown ends."""

    def __init__(self, released):
        self._released = released

    def attempt(self, _request):
        self._released.wait(PATIENCE_SECONDS)
        return Fault("stopped", "connecting", "")

    def shutdown(self):
        pass

    def close(self):
        pass


def test_threads_that_hang_are_waited_for_together():
    released = threading.Event()
    senders = Senders(lambda: Hanging(released), iter(()))
    for ticket in range(8):
        senders.send(ticket, None)
    senders.shutdown()
    began = time.monotonic()
    senders.close()
    assert time.monotonic() - began < 4  # one after the other, half a second each, or five
    released.set()


@pytest.fixture
def ahead():
    """Return threads whose encoder hangs ahead of what is wanted, and the event of that."""
    hanging, released = threading.Event(), threading.Event()

    def records():
        yield from ("first", "second")
        hanging.set()
        released.wait(PATIENCE_SECONDS)

    senders = Senders(lambda: Hanging(released), records())
    yield senders, hanging
    released.set()


def take_two(senders):
    """Take the first two records, each when it is wanted."""
    taken = []
    for _ in range(2):
        senders.request_records()
        taken += [event.records for event in senders.collect(PATIENCE_SECONDS)]
    return taken


def test_the_third_records_are_encoded_before_they_are_wanted(ahead):
    senders, hanging = ahead
    assert take_two(senders) == ["first", "second"]
    assert hanging.wait(PATIENCE_SECONDS)
    senders.close()


def test_a_source_that_hangs_ahead_is_not_waited_for(ahead):
    senders, hanging = ahead
    take_two(senders)
    assert hanging.wait(PATIENCE_SECONDS)
    began = time.monotonic()
    senders.close()
    assert time.monotonic() - began < 4  # an encoder that is waited for gets five


def test_an_unsent_request_is_reported_before_its_threads_failure(monkeypatch):
    allow_threads(monkeypatch, 0)
    senders = Senders(lambda: Hanging(threading.Event()), iter(()))
    senders.send(7, None)
    done, failed = senders.collect(0)
    assert isinstance(done, RequestDone)
    assert (done.ticket, done.attempt.stage) == (7, "connecting")
    assert isinstance(failed, ThreadFailed)
    senders.close()


HUNG_NAMES = """
import os, socket, sys, threading
import pandas as pd
from v3io_frames_put import Client, Interrupted, put_records

def hang(*_arguments, **_options):
    os.write(1, b"looking up\\n")  # a print writes text and line end apart
    threading.Event().wait()

socket.getaddrinfo = hang
try:
    put_records(pd.DataFrame({"a": range(8_000)}), "projects/s", client=Client("http://host"),
                progress=False)
except Interrupted as error:
    print(set(error.results.status), flush=True)
    sys.exit(130)
"""


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_ends_a_run_whose_name_look_ups_hang(presses):
    with running("-c", HUNG_NAMES) as process:
        for _ in range(8):
            assert process.stdout.readline() == "looking up\n"
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        while presses == 2 and not is_over(process):
            process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=PATIENCE_SECONDS)
        assert time.monotonic() - began < 20  # not five seconds for each of eight senders
    assert output == "{'unsent'}\n", errors  # no connection, so nothing can be stored
    # A press too many may meet the interpreter on its way out.
    assert process.returncode in (130, -signal.SIGINT)


READING = """
import sys, threading, time
import pyarrow as pa
from v3io_frames_put import Client, Interrupted, put_records

cancel = threading.Event()

def batches():
    for number in range(1_000):
        if number == 3:
            cancel.set()
        time.sleep(0.1)
        yield pa.record_batch({"a": [number]})

reader = pa.RecordBatchReader.from_batches(pa.schema({"a": pa.int64()}), batches())
try:
    put_records(reader, "projects/s", client=Client(sys.argv[1]), cancel=cancel, progress=False)
except Interrupted:
    sys.exit(3)
"""


def test_a_program_that_ends_while_its_input_is_read_has_its_own_exit_code(platform):
    with running("-c", READING, platform.endpoint) as process:
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, errors) == (3, "")

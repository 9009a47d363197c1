"""How a call of ``put_records`` ends: what it warns of, raises, shows, and leaves behind."""

from __future__ import annotations

import io
import json
import linecache
import pickle
import signal
import sys
import threading
import warnings
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest

from tests.internals import (
    DeliveryOptions,
    RowOptions,
    Run,
    Runtime,
    Senders,
    StopSwitch,
    attach_receipt,
    plan_run,
    run_to_results,
)
from v3io_frames_put import (
    Interrupted,
    Limits,
    PartialFailure,
    Retry,
    UnstoredRowsWarning,
    local,
    put_records,
    summarize,
)
from v3io_frames_put.errors import (
    AuthenticationError,
    PermissionDenied,
    PlatformUnavailable,
    PutRecordsError,
    RequestError,
    StreamNotFound,
)

STREAM = "projects/house/readings"

FRAME = pd.DataFrame({"row": range(6)}, index=list("abcdef"))
BAD = pd.DataFrame({"value": [0.5, float("inf"), 0.5]}, index=[7, 8, 9])
FOR_EVER = {"times": None}


@pytest.fixture
def platform(local_platform):
    local_platform.create_stream(STREAM, shards=3)
    return local_platform


def put(platform, data=FRAME, *, retry=None, max_records=2, **options):
    client = platform.client(
        retry=retry or Retry(base_seconds=0.01), limits=Limits(max_records=max_records)
    )
    return put_records(data, STREAM, client=client, **{"max_in_flight": 1, **options})


# -- rows that are not stored ----------------------------------------------------------------


def test_unstored_rows_give_one_warning_that_points_at_the_call(platform):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        put_records(BAD, STREAM, client=platform.client())
    (warned,) = caught
    assert warned.category is UnstoredRowsWarning
    assert warned.filename == __file__
    assert str(warned.message).startswith("1 of 3 rows are not stored (1 rejected). 1 x Unencod")
    assert 'results[results.status != "stored"]' in str(warned.message)
    assert linecache.getline(warned.filename, warned.lineno).strip().startswith("put_records(BAD")


def test_the_accessors_warning_points_at_the_call_as_well(platform):
    with pytest.warns(UnstoredRowsWarning) as caught:
        BAD.v3io.put_records(STREAM, client=platform.client())
    assert caught[0].filename == __file__


def test_all_rows_stored_warn_of_nothing(platform):
    put(platform)  # warnings are errors here


def test_the_warning_names_the_commonest_errors_first(platform):
    frame = pd.DataFrame({"v": [float("inf")] * 3 + [1.0], "key": ["", "", "", "k" * 300]})
    with pytest.warns(UnstoredRowsWarning, match=r"3 x UnencodableValue.*1 x PartitionKeyTooLong"):
        put(platform, frame, partition_key="key")


def test_on_error_raise_carries_the_same_table(platform):
    with pytest.warns(UnstoredRowsWarning):
        returned = put(platform, BAD)
    with pytest.raises(PartialFailure) as caught:
        put(platform, BAD, on_error="raise")
    error = caught.value
    same = ["status", "error_code", "error_message", "error_detail", "attempts", "maybe_duplicate"]
    pd.testing.assert_frame_equal(error.results[same], returned[same])
    assert str(error).startswith("1 of 3 rows are not stored")


def test_on_error_raise_returns_when_all_is_stored(platform):
    assert put(platform, on_error="raise").status.tolist() == ["stored"] * 6


# -- faults that every row shares --------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error_class", "status"),
    [
        (local.faults.refused(status=401, nth=2), AuthenticationError, 401),
        (
            local.faults.refused(status=403, nth=2, message="Permission denied"),
            PermissionDenied,
            403,
        ),
        (local.faults.Change(action="delete", nth=2), StreamNotFound, 404),
        (local.faults.redirected(nth=2), RequestError, 308),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("on_error", ["return", "raise"])
def test_what_every_row_shares_raises_at_once_with_true_results(
    platform, fault, error_class, status, on_error
):
    platform.faults = [fault]
    with pytest.raises(error_class) as caught:
        put(platform, on_error=on_error)
    error = caught.value
    assert error.status == status
    assert error.results.status.tolist() == ["stored"] * 2 + ["unsent"] * 4
    assert error.results.index.tolist() == list("abcdef")
    assert error.results.attrs["v3io"]["counts"]["stored"] == 2


def test_a_redirect_says_where_the_platform_moved(platform):
    platform.faults = [local.faults.redirected(location="https://user:pw@new.example:8443/x?key=s")]
    with pytest.raises(RequestError, match=r"moved to https://new\.example:8443\. Set") as caught:
        put(platform)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("location", ["http://[::1", "/login", ""])
def test_a_redirect_to_nowhere_is_no_web_api(platform, location):
    platform.faults = [local.faults.redirected(nth=2, location=location)]
    with pytest.raises(RequestError, match=rf"on {STREAM} at .* answered 308, which no v3io web"):
        put(platform)


KEY = "s3cret-s3cret"


@pytest.mark.parametrize(
    "fault",
    [
        local.faults.refused(status=400, message=f"the key {KEY} may not", times=None),
        local.faults.refused(status=503, message=f"X-v3io-session-key: {KEY}", times=None),
        local.faults.RecordErrors(places=(0,), message=f"not for {KEY}", code=-7, times=None),
    ],
    ids=["request", "front end", "record"],
)
def test_no_text_repeats_the_key(fault):
    with local.LocalPlatform(access_key=KEY) as platform, warnings.catch_warnings(record=True) as w:
        platform.create_stream(STREAM)
        platform.faults = [fault]
        warnings.simplefilter("always")
        client = platform.client(retry=Retry(base_seconds=0.01, attempts=2))
        results = put_records(FRAME, STREAM, client=client)
    shown = results.to_csv() + repr(summarize(results)) + "".join(str(told.message) for told in w)
    assert "***" in shown
    assert KEY not in shown


def test_silence_for_the_deadline_raises_whatever_on_error_says(platform):
    platform.faults = [local.faults.Disconnect(**FOR_EVER)]
    with pytest.raises(PlatformUnavailable) as caught:
        put(platform, retry=Retry(deadline_seconds=0.3, base_seconds=0.01))
    assert caught.value.results.status.tolist() == ["unknown"] * 6
    assert platform.records(STREAM) == []


@pytest.mark.parametrize(
    "fault",
    [
        local.faults.Answer(status=200, stored="all", **FOR_EVER),
        local.faults.Answer(status=200, body="", **FOR_EVER),
        local.faults.Answer(body_share=0.5, **FOR_EVER),
        local.faults.WrongEntries(entries=-1, **FOR_EVER),
        local.faults.WrongEntries(entries=1, **FOR_EVER),
        local.faults.WrongEntries(entries=0, failed=1, **FOR_EVER),
        local.faults.WrongEntries(order="reversed", **FOR_EVER),
        local.faults.Answer(status=502, **FOR_EVER),
    ],
    ids=["page", "empty", "half", "too few", "too many", "miscounted", "permuted", "502"],
)
@pytest.mark.filterwarnings("ignore::v3io_frames_put.UnstoredRowsWarning")
def test_an_answer_that_cannot_be_believed_leaves_rows_unknown(platform, fault):
    platform.faults = [fault]
    frame = FRAME.assign(key="same")  # one shard, so that an exchange of two shows
    results = put(platform, frame, partition_key="key", delivery="at_most_once")
    assert results.status.tolist() == ["unknown"] * 6
    assert results.error_message.notna().all()
    assert results[["shard_id", "sequence_number"]].isna().all(axis=None)
    assert results.attempts.tolist() == [1] * 6


class DeepAnswer(local.Fault, frozen=True):
    """Everything stored, and an answer whose JSON is nested deep."""

    def apply(self, platform, request):
        answer = platform.handle(request)
        deep = b'{"FailedRecordCount":0,"More":' + b"[" * 3_000 + b"]" * 3_000 + b","
        return local.Exchange(response=replace(answer, body=deep + answer.body[1:]))


@pytest.mark.parametrize(
    ("delivery", "status", "twice"),
    [
        ("at_least_once", "stored", [True] * 2 + [False] * 4),
        ("at_most_once", "unknown", [False] * 6),
        ("exactly_once", "stored", [False] * 6),
    ],
)
@pytest.mark.filterwarnings("ignore::v3io_frames_put.UnstoredRowsWarning")
def test_rows_of_an_answer_nested_deep_are_unknown(platform, delivery, status, twice):
    platform.faults = [DeepAnswer(), DeepAnswer(function="GetRecords", times=2)]
    quick = Retry(settle_seconds=0.01, base_seconds=0.01)
    results = put(platform, delivery=delivery, retry=quick)
    assert results.status.tolist() == [status] * 2 + ["stored"] * 4
    assert results.maybe_duplicate.tolist() == twice
    assert len(platform.records(STREAM)) == 6 + sum(twice)


def test_an_answer_that_cannot_be_believed_once_is_asked_for_again(platform):
    platform.faults = [local.faults.Answer(body_share=0.5, times=1)]
    results = put(platform)
    assert results.status.tolist() == ["stored"] * 6
    assert results.maybe_duplicate.tolist() == [True] * 2 + [False] * 4
    assert len(platform.records(STREAM)) == 8


@pytest.mark.parametrize(
    ("options", "records"),
    [({}, 2), ({"rows_per_record": 3}, 1), ({"rows_per_record": "auto", "format": "arrow"}, 1)],
)
def test_data_that_breaks_off_tells_of_the_rows_before(platform, options, records):
    schema = pa.schema([("row", pa.int64())])

    def batches():
        yield pa.record_batch([pa.array([0, 1])], schema)
        raise OSError("the disk is gone")

    reader = pa.RecordBatchReader.from_batches(schema, batches())
    with pytest.raises(PutRecordsError, match="OSError: the disk is gone") as caught:
        put(platform, reader, **options)
    assert isinstance(caught.value.__cause__, OSError)
    results = caught.value.results
    assert results.status.tolist() == ["stored"] * 2
    assert len(platform.records(STREAM)) == records


# -- errors travel -------------------------------------------------------------------------------


def _raised(platform, faults, **options):
    platform.faults = faults
    with pytest.raises((PutRecordsError, Interrupted)) as caught:
        put(platform, **options)
    return caught.value


@pytest.mark.parametrize(
    ("faults", "options"),
    [
        ([local.faults.refused(status=401, nth=2)], {}),
        ([local.faults.redirected()], {}),
        ([local.faults.Change(action="delete")], {}),
        ([], {"data": BAD, "on_error": "raise"}),
        (
            [local.faults.Disconnect(**FOR_EVER)],
            {"retry": Retry(deadline_seconds=0.1, base_seconds=0.01)},
        ),
    ],
    ids=["401", "308", "missing", "partial", "unavailable"],
)
def test_errors_pickle_with_their_results(platform, faults, options):
    error = _raised(platform, faults, **options)
    read = pickle.loads(pickle.dumps(error))
    assert type(read) is type(error)
    assert str(read) == str(error)
    assert getattr(read, "status", None) == getattr(error, "status", None)
    pd.testing.assert_frame_equal(read.results, error.results)
    assert read.results.attrs == error.results.attrs


def test_an_interruption_pickles_with_its_results(platform):
    stop = threading.Event()
    stop.set()
    error = _raised(platform, [], cancel=stop)
    read = pickle.loads(pickle.dumps(error))
    assert type(read) is Interrupted
    pd.testing.assert_frame_equal(read.results, error.results)


# -- stopping --------------------------------------------------------------------------------------


def test_a_cancel_that_is_set_before_sends_nothing(platform):
    stop = threading.Event()
    stop.set()
    error = _raised(platform, [], cancel=stop)
    assert isinstance(error, Interrupted)
    assert not isinstance(error, PutRecordsError)
    assert error.results.status.tolist() == ["unsent"] * 6
    assert platform.records(STREAM) == []


def test_a_cancel_in_mid_run_leaves_true_results_and_sends_nothing_afterwards(platform):
    stop = threading.Event()

    def stop_soon(snapshot):
        if snapshot.stored:
            stop.set()

    data = pd.DataFrame({"row": range(20_000)})
    before = set(threading.enumerate())
    error = _raised(platform, [], data=data, max_records=20, cancel=stop, progress=stop_soon)
    results = error.results
    stands = {json.loads(record.data)["row"] for record in platform.records(STREAM)}
    assert len(results) == 20_000
    assert set(results.index[results.status == "stored"]) == stands
    assert set(results.status) == {"stored", "unsent"}
    assert 0 < len(stands) < 20_000
    assert [t for t in threading.enumerate() if t not in before and "v3io-put" in t.name] == []


def test_ctrl_c_behind_the_last_answer_leaves_the_results(platform):
    def press(snapshot):
        if snapshot.stored == 6:
            signal.raise_signal(signal.SIGINT)

    error = _raised(platform, [], progress=press)
    assert isinstance(error, Interrupted)
    assert error.results.status.tolist() == ["stored"] * 6


def test_ctrl_c_while_results_are_put_together_leaves_them(platform, monkeypatch):
    def attach(*args):
        signal.raise_signal(signal.SIGINT)
        attach_receipt(*args)

    monkeypatch.setattr("v3io_frames_put.put.attach_receipt", attach)
    error = _raised(platform, [])
    assert isinstance(error, Interrupted)
    assert error.results.status.tolist() == ["stored"] * 6


@pytest.mark.parametrize("call", ["signal", "Connection.close"])
def test_ctrl_c_after_the_run_leaves_the_results(platform, tmp_path, call, ctrl_c_after):
    """It comes when Python's own handler is back, and when the journal is closed."""
    with ctrl_c_after(call), pytest.raises(KeyboardInterrupt) as raised:
        put(platform, journal=tmp_path / "run.v3io")
    assert raised.value.results.status.tolist() == ["stored"] * 6


def test_ctrl_c_while_a_missing_stream_is_looked_at_leaves_the_results(platform, monkeypatch):
    def diagnose(*_):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("v3io_frames_put._io.stream_admin.StreamAdmin.diagnose", diagnose)
    error = _raised(platform, [local.faults.Change(action="delete", nth=2)])
    assert isinstance(error, Interrupted)
    assert error.results.status.tolist() == ["stored"] * 2 + ["unsent"] * 4


def test_a_background_job_ignores_ctrl_c_but_not_what_is_handed_on():
    switch = StopSwitch()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with switch.on_interrupt(lambda: None), switch.on_interrupt(lambda: None):
            signal.raise_signal(signal.SIGINT)
            assert not switch.is_on
            signal.getsignal(signal.SIGINT)(signal.SIGTERM, None)
            assert switch.is_on
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# -- faults of our own, and of the machine -------------------------------------------------------


class FailsAtRound:
    """An event to cancel by that raises at its n-th look: as a fault in our own loop would."""

    def __init__(self, number, error):
        self.left, self.error = number, error

    def is_set(self):
        self.left -= 1
        if not self.left:
            raise self.error
        return False


class NativePanicError(BaseException):
    """What a native library raises that is not an Exception, as PyO3's panics are."""


@pytest.mark.parametrize(
    "error",
    [RecursionError("deep"), MemoryError(), AssertionError("odd"), NativePanicError("index")],
)
@pytest.mark.parametrize("number", [1, 2, 4, 6])
def test_what_no_one_foresaw_carries_true_results(platform, error, number):
    with pytest.raises(PutRecordsError, match=type(error).__name__) as caught:
        put(platform, max_records=1, cancel=FailsAtRound(number, error))
    assert caught.value.__cause__ is error
    results = caught.value.results
    assert results.index.tolist() == list("abcdef")
    stored = {json.loads(record.data)["row"] for record in platform.records(STREAM)}
    is_stored = results.status.eq("stored").tolist()
    assert {row for row in range(6) if is_stored[row]} <= stored
    is_unsent = results.status.eq("unsent").tolist()
    assert not {row for row in range(6) if is_unsent[row]} & stored


class SendsNothing(Senders):
    """A network that fails before a request has left."""

    def send(self, ticket, request):
        raise RuntimeError("can't start new thread")


def test_a_network_that_fails_before_it_sends_costs_no_result(platform):
    client = platform.client(limits=Limits(max_records=2))
    plan = plan_run(
        FRAME,
        STREAM,
        client=client,
        row_options=RowOptions(),
        delivery_options=DeliveryOptions(limits=client.limits),
        progress=False,
        cancel=None,
    )

    def open_network(plan, windows):
        return SendsNothing(lambda: plan.client.transport(plan.stream), windows)

    results, report = run_to_results(Run(plan, runtime=Runtime(open_network)))
    assert isinstance(report.broken, RuntimeError)
    assert results.status.tolist() == ["unsent"] * 6
    assert platform.records(STREAM) == []


def test_a_warning_that_is_an_error_carries_the_results(platform):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnstoredRowsWarning) as caught:
            put(platform, BAD)
    assert caught.value.results.status.tolist() == ["stored", "rejected", "stored"]


class NotWritable(io.TextIOBase):
    """A stderr whose disk is full."""

    def write(self, _text):
        raise OSError(28, "No space left on device")

    def flush(self):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("progress", [None, True])
@pytest.mark.parametrize("stderr", ["closed", "none", "not writable"])
def test_a_stderr_that_cannot_be_written_shows_no_bar(platform, monkeypatch, progress, stderr):
    closed = io.StringIO()
    closed.close()
    streams = {"closed": closed, "none": None, "not writable": NotWritable()}
    monkeypatch.setattr(sys, "stderr", streams[stderr])
    assert put(platform, progress=progress).status.tolist() == ["stored"] * 6

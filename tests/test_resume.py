"""A run goes on where an earlier one ended: under its run id, with what is not stored."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
import threading

import pandas as pd
import pyarrow as pa
import pytest

from tests.internals import Copy, Reconciler
from v3io_frames_put import Client, Interrupted, Limits, Retry, put_records
from v3io_frames_put.errors import ConfigError, RequestError
from v3io_frames_put.local import LocalPlatform, faults

STREAM = "projects/house/readings"
FRAME = pd.DataFrame({"row": range(40), "key": [f"k{row % 7}" for row in range(40)]})
QUICK = Retry(settle_seconds=0.01, base_seconds=0.01)

pytestmark = pytest.mark.filterwarnings("ignore::v3io_frames_put.UnstoredRowsWarning")


@pytest.fixture
def platform(local_platform):
    local_platform.create_stream(STREAM, shards=3)
    return local_platform


def put(platform, data=FRAME, **options):
    client = platform.client(retry=QUICK)
    return put_records(data, STREAM, partition_key="key", client=client, **options)


def stop_at_once():
    """Return a ``cancel`` that is set before the run begins."""
    cancel = threading.Event()
    cancel.set()
    return cancel


def rows_on(platform):
    return sorted(pd.read_json(_lines(platform), lines=True)["row"])


def _lines(platform):
    return io.BytesIO(b"\n".join(record.data for record in platform.records(STREAM)))


def test_a_stopped_run_goes_on_and_stores_every_row_once(platform):
    with pytest.raises(Interrupted) as stopped:
        put(platform, cancel=stop_at_once())
    before = stopped.value.results
    assert before.status.tolist() == ["unsent"] * 40
    after = put(platform, resume=before)
    assert after.status.tolist() == ["stored"] * 40
    assert after.attrs["v3io"]["run_id"] == before.attrs["v3io"]["run_id"]
    assert rows_on(platform) == list(range(40))


def test_stored_rows_are_not_sent_again(platform):
    platform.faults = [faults.RecordErrors(places=(3, 4))]  # refuses two rows for good
    before = put(platform)
    assert before.status.value_counts()["rejected"] == 2
    after = put(platform, resume=before)
    assert after.status.tolist() == ["stored"] * 40
    assert after.attempts.tolist() == [2 if was == "rejected" else 1 for was in before.status]
    assert rows_on(platform) == list(range(40))


def test_the_receipts_rate_and_requests_are_of_this_call_alone(platform):
    platform.faults = [faults.RecordErrors(places=(3, 4))]
    before = put(platform)
    after = put(platform, resume=before)
    receipt = after.attrs["v3io"]
    assert (before.attrs["v3io"]["resumed_rows"], receipt["resumed_rows"]) == (0, 38)
    assert (receipt["counts"]["stored"], receipt["requests"]) == (40, 1)
    assert receipt["rows_per_second"] == pytest.approx(2 / receipt["seconds"], rel=0.5)


def test_nothing_stored_in_this_call_is_no_rate(platform):
    before = put(platform)
    receipt = put(platform, resume=before).attrs["v3io"]
    assert (receipt["rows_per_second"], receipt["resumed_rows"]) == (None, 40)
    assert receipt["requests"] == receipt["bytes"] == 0


def test_unknown_rows_are_sent_again_and_marked_with_at_least_once(platform):
    platform.faults = [faults.lost_answer(times=None)]
    client = platform.client(retry=Retry(attempts=1))
    before = put_records(FRAME, STREAM, partition_key="key", client=client)
    assert before.status.tolist() == ["unknown"] * 40
    platform.faults = []
    after = put(platform, resume=before)
    assert after.status.tolist() == ["stored"] * 40
    assert after.maybe_duplicate.all()
    assert rows_on(platform) == sorted([*range(40)] * 2)


def test_unknown_rows_stay_unknown_with_at_most_once(platform):
    platform.faults = [faults.lost_answer()]
    before = put(platform, delivery="at_most_once")
    assert before.status.tolist() == ["unknown"] * 40
    after = put(platform, delivery="at_most_once", resume=before)
    assert after.status.tolist() == ["unknown"] * 40
    assert len(platform.records(STREAM)) == 40


@pytest.mark.parametrize("rows_per_record", [1, 4])
def test_unknown_rows_are_looked_up_with_exactly_once(platform, rows_per_record):
    options = {"delivery": "exactly_once", "rows_per_record": rows_per_record}
    platform.faults = [faults.lost_answer()]
    cancel = threading.Event()
    # The answer is lost, and the run is stopped while it settles, before any look-up.
    with pytest.raises(Interrupted) as stopped:
        put_records(
            FRAME,
            STREAM,
            partition_key="key",
            client=platform.client(retry=Retry(settle_seconds=60)),
            cancel=cancel,
            progress=lambda _: cancel.set() if platform.records(STREAM) else None,
            **options,
        )
    before = stopped.value.results
    assert before.status.tolist() == ["unknown"] * 40
    after = put(platform, resume=before, **options)
    assert after.status.tolist() == ["stored"] * 40
    assert rows_on(platform) == list(range(40))
    stands = {(record.shard_id, record.sequence_number) for record in platform.records(STREAM)}
    assert set(zip(after.shard_id, after.sequence_number, strict=True)) == stands


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"resume": FRAME}, "receipt"),
        ({"resume": 7}, "receipt"),
        ({"data": FRAME[:39]}, "39"),
        ({"data": FRAME.set_index(FRAME.index + 1)}, "index"),
        ({"columns": ["row"]}, "mapping"),
        ({"format": "arrow"}, "mapping"),
        ({"delivery": "at_most_once"}, "delivery"),
        ({"data": pa.Table.from_pandas(FRAME).to_reader()}, "not known before it is read"),
    ],
)
def test_what_is_not_the_same_run_is_refused_before_anything_is_sent(platform, change, says):
    before = put(platform)
    seen = len(platform.requests)
    with pytest.raises(ConfigError, match=says) as refused:
        put(platform, **{"data": FRAME, "resume": before, **change})
    assert refused.value.results is None
    assert len(platform.requests) == seen


@pytest.mark.parametrize("types", [{"status": str}, {"shard_id": float, "attempts": object}])
def test_results_whose_types_were_changed_resume_as_they_are(platform, types):
    before = put(platform)
    before.loc[3, "status"] = "unsent"
    after = put(platform, resume=before.astype(types))
    assert after.attrs["v3io"]["resumed_rows"] == 39
    assert after.dtypes.equals(before.dtypes)
    assert after.drop(index=3).equals(before.drop(index=3))


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize(
    "change",
    [
        {"status": "sent"},
        {"status": None},
        {"attempts": "many"},
        {"shard_id": 1.5},
        {"maybe_duplicate": None},
        {"maybe_duplicate": "False or true"},
    ],
)
def test_results_that_cannot_be_of_a_run_are_refused(platform, delivery, change):
    before = put(platform, delivery=delivery)
    seen = len(platform.requests)
    for wrong in (before.assign(**change), before.drop(columns=[*change])):
        with pytest.raises(ConfigError, match="results: "):
            put(platform, delivery=delivery, resume=wrong)
    assert len(platform.requests) == seen


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize(
    "change",
    [
        {"run_id": None},
        {"run_id": "zz"},
        {"starts": {"x": 1}},
        {"starts": {"99999": 1}},
        {"starts": {"0": "y"}},
        {"starts": None},
        {"duplicates": None},
        {"duplicates": {}},
        {"duplicates": {"first": [[1]]}},
    ],
)
def test_a_receipt_that_was_changed_is_refused(platform, delivery, change):
    results = put(platform, delivery=delivery)
    results.attrs["v3io"] |= change
    seen = len(platform.requests)
    with pytest.raises(ConfigError, match="resume: the receipt in attrs was changed"):
        put(platform, delivery=delivery, resume=results)
    assert len(platform.requests) == seen


def test_packs_of_data_that_is_read_once_cannot_be_looked_up_and_are_refused(platform):
    options = {"delivery": "exactly_once", "rows_per_record": 3}
    before = put(platform, **options)
    read_once = pa.Table.from_pandas(FRAME).to_reader()
    with pytest.raises(ConfigError, match="can be read once"):
        put(platform, read_once, resume=before, **options)


def test_rows_that_were_never_sent_are_sent_though_the_unknown_ones_cannot_be_looked_up(platform):
    platform.faults = [faults.Answer(status=504, stored="all", wait_seconds=0.5, times=None)]
    cancel = threading.Event()
    with pytest.raises(Interrupted) as stopped:
        put_records(
            FRAME,
            STREAM,
            client=platform.client(retry=Retry(settle_seconds=60), limits=Limits(max_records=10)),
            delivery="exactly_once",
            max_in_flight=1,
            cancel=cancel,
            progress=lambda _: cancel.set() if platform.records(STREAM) else None,
        )
    before = stopped.value.results
    assert {"unknown", "unsent"} == set(before.status)
    platform.faults = []
    platform.platform.drop_records(STREAM)  # what was stored proves nothing any more
    client = platform.client(retry=QUICK)
    after = put_records(FRAME, STREAM, client=client, delivery="exactly_once", resume=before)
    assert after.status.tolist() == [
        "stored" if was == "unsent" else "unknown" for was in before.status
    ]


def test_a_resumed_run_that_is_stopped_before_its_look_up_leaves_unknown_rows_unknown(platform):
    platform.faults = [faults.lost_answer()]
    cancel = threading.Event()
    with pytest.raises(Interrupted) as stopped:
        put_records(
            FRAME[:3],
            STREAM,
            client=platform.client(retry=Retry(settle_seconds=60)),
            delivery="exactly_once",
            cancel=cancel,
            progress=lambda _: cancel.set() if platform.records(STREAM) else None,
            partition_key="key",
        )
    before = stopped.value.results
    assert before.status.tolist() == ["unknown"] * 3
    with pytest.raises(Interrupted) as again:
        put(platform, FRAME[:3], delivery="exactly_once", resume=before, cancel=stop_at_once())
    assert again.value.results.status.tolist() == ["unknown"] * 3


def test_a_resumed_run_does_not_know_what_is_out_of_order(platform):
    frame = pd.DataFrame({"row": range(6), "key": ["a", "b", "a", "b", "a", "c"]})
    platform.faults = [faults.RecordErrors(places=(2,))]
    before = put(platform, frame, max_in_flight=1)
    assert before.status.tolist().index("rejected") == 2
    after = put(platform, frame, resume=before)
    assert after.attrs["v3io"]["out_of_order"] is None


def test_another_stream_is_refused(platform):
    before = put(platform)
    platform.create_stream("projects/house/others")
    with pytest.raises(ConfigError, match="stream"):
        put_records(
            FRAME,
            "projects/house/others",
            partition_key="key",
            client=platform.client(),
            resume=before,
        )


def test_ctrl_c_in_a_script_leaves_results_that_resume(tmp_path):
    script = textwrap.dedent("""
        import os, signal
        import pandas as pd
        import v3io_frames_put
        from v3io_frames_put.local import LocalPlatform

        frame = pd.DataFrame({"row": range(60_000)})

        def press(snapshot):
            if 0 < snapshot.stored < 60_000 and not pressed:
                pressed.append(True)
                signal.raise_signal(signal.SIGINT)

        pressed = []
        with LocalPlatform() as platform:
            client = platform.client()
            client.create_stream("projects/a/b", shards=2)
            options = {"client": client, "max_in_flight": 1}
            try:
                frame.v3io.put_records("projects/a/b", progress=press, **options)
            except KeyboardInterrupt as stopped:
                results = stopped.results
            assert set(results.status) == {"stored", "unsent"}, results.status.value_counts()
            results = frame.v3io.put_records("projects/a/b", resume=results, **options)
            assert (results.status == "stored").all()
            assert len(platform.records("projects/a/b")) == 60_000
        print("held")
    """)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout.strip() == "held", done.stderr


def test_another_platform_is_refused(platform):
    results = put(platform)
    with LocalPlatform() as other, pytest.raises(ConfigError, match="the endpoint is not the"):
        put(other, resume=results)


def test_the_receipt_names_the_host_that_a_path_names(platform):
    path = f"{platform.endpoint.replace('http', 'v3io', 1)}/{STREAM}"
    results = put_records(FRAME, path, client=Client("http://127.0.0.1:1"))
    assert results.attrs["v3io"]["endpoint"] == platform.endpoint


def test_a_row_that_was_reordered_is_listed_when_a_scan_sees_it_late(platform, monkeypatch):
    platform.faults = [faults.RecordErrors(places=(0,), message="Busy", code=-11)]
    monkeypatch.setattr(Reconciler, "late", lambda _self: [Copy(0, 2, 9)])
    client = platform.client(retry=Retry(attempts=1, settle_seconds=0.01))
    data = pd.DataFrame({"row": [0, 1], "key": ["a", "a"]})
    results = put_records(data, STREAM, partition_key="key", delivery="exactly_once", client=client)
    assert results.status.tolist() == ["stored", "stored"]
    assert results.sequence_number[0] == 9
    assert results.attrs["v3io"]["out_of_order"] == {"count": 1, "first": [0]}


def test_a_row_that_was_stored_though_the_answer_named_an_error_is_in_order(platform):
    platform.faults = [faults.RecordErrors(places=(0, 2), message="Busy", code=-11, is_stored=True)]
    client = platform.client(retry=Retry(settle_seconds=0.01))
    data = pd.DataFrame({"row": range(4), "key": ["a", "a", "b", "b"]})
    results = put_records(data, STREAM, partition_key="key", delivery="exactly_once", client=client)
    assert results.status.tolist() == ["stored"] * 4
    assert results.sequence_number[0] < results.sequence_number[1]
    assert results.attrs["v3io"]["out_of_order"] == {"count": 0, "first": []}
    assert client.verify_results(results, STREAM).is_proven


def test_of_a_resumed_run_verify_finds_what_is_out_of_order(platform):
    frame = pd.DataFrame({"row": range(8), "key": "k"})
    client = platform.client(limits=Limits(max_records=4))
    platform.faults = [
        faults.RecordErrors(nth=1, places=(1,), code=-1, message="Weird"),
        faults.redirected(nth=3),
    ]
    with pytest.raises(RequestError) as stopped:
        put_records(frame, STREAM, client=client, partition_key="key")
    before = stopped.value.results
    assert before.attrs["v3io"]["out_of_order"] == {"count": 1, "first": [1]}
    platform.faults = []
    after = put_records(frame, STREAM, client=client, partition_key="key", resume=before)
    assert after.attrs["v3io"]["out_of_order"] is None
    assert client.verify_results(after, STREAM).first_out_of_order == (1,)

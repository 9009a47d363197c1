"""What an attempt does that knows only that there was another before it."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.cluster.conftest import STREAM
from tests.internals import (
    StreamSource,
    begin_run,
    find_copies,
    make_run,
    merge_receipts,
    send_partition,
)
from v3io_frames_put import Client, ConfigError, PutRecordsError, Retry, StreamNotFound
from v3io_frames_put.local import LocalPlatform, faults


@pytest.fixture
def begin(client, clicks):
    def begin(**options):
        given = {"client": client, **options}
        return begin_run(make_run(STREAM, given), clicks(0))

    return begin


def receipt(results):
    return results.attrs["v3io"]


def test_an_attempt_that_is_the_first_sends_everything(begin, clicks, read_numbers):
    results = send_partition(begin(), 0, clicks(100), is_first=True)
    assert (results.status == "stored").all()
    assert not results.maybe_duplicate.any()
    assert not receipt(results)["run_again"]
    assert read_numbers() == dict.fromkeys(range(100), 1)


def test_at_least_once_sends_again_and_marks_every_row(begin, clicks, read_numbers):
    run = begin()
    send_partition(run, 0, clicks(100), is_first=True)
    results = send_partition(run, 0, clicks(100), is_first=False)
    assert (results.status == "stored").all()
    assert results.maybe_duplicate.all()
    assert receipt(results)["run_again"]
    assert read_numbers() == dict.fromkeys(range(100), 2)


def test_at_most_once_sends_nothing_again(begin, clicks, read_numbers):
    run = begin(delivery="at_most_once")
    results = send_partition(run, 0, clicks(100), is_first=False)
    assert (results.status == "unknown").all()
    assert (results.error_message == "NoAnswer").all()
    assert "an earlier attempt of this task" in results.error_detail[0]
    assert read_numbers() == {}


@pytest.mark.parametrize("rows_per_record", [1, 30])
def test_exactly_once_sends_what_an_earlier_attempt_did_not_store(
    begin, clicks, read_numbers, client, rows_per_record
):
    run = begin(delivery="exactly_once", partition_key="user", rows_per_record=rows_per_record)
    first = send_partition(run, 0, clicks(1_000), is_first=True)
    requests = receipt(first)["requests"]
    second = send_partition(run, 0, clicks(1_000), is_first=False)
    pd.testing.assert_frame_equal(
        second.drop(columns="attempts"), first.drop(columns="attempts"), check_exact=True
    )
    assert (requests > 0, receipt(second)["requests"]) == (True, 0)
    if rows_per_record == 1:
        assert read_numbers() == dict.fromkeys(range(1_000), 1)


def test_exactly_once_finds_what_was_stored_without_an_answer(
    begin, clicks, read_numbers, local_platform
):
    """The first attempt is cut off: its first request was stored, the second never sent."""
    run = begin(delivery="exactly_once", max_in_flight=1)
    send_partition(run, 7, clicks(1_000), is_first=True)
    results = send_partition(run, 7, clicks(1_700), is_first=False)
    assert (results.status == "stored").all()
    assert results.attempts.tolist() == [0] * 1_000 + [1] * 700
    assert read_numbers() == dict.fromkeys(range(1_700), 1)


@pytest.mark.parametrize("delivery", ["at_least_once", "at_most_once", "exactly_once"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_partition_without_rows_sends_nothing(begin, clicks, read_numbers, delivery, is_first):
    results = send_partition(begin(delivery=delivery), 0, clicks(0), is_first=is_first)
    assert len(results) == 0
    assert receipt(results)["counts"] == dict.fromkeys(
        ["stored", "rejected", "unsent", "unknown"], 0
    )
    assert read_numbers() == {}


def test_partitions_do_not_take_each_others_rows_for_their_own(begin, clicks, read_numbers):
    run = begin(delivery="exactly_once")
    send_partition(run, 0, clicks(10), is_first=True)
    results = send_partition(run, 1, clicks(10), is_first=False)
    assert results.attempts.tolist() == [1] * 10
    assert read_numbers() == dict.fromkeys(range(10), 2)


def test_absence_is_not_proven_where_records_were_dropped(begin, clicks, local_platform):
    local_platform.add_records(STREAM, [b"{}"] * 5, shard=0)
    run = begin(delivery="exactly_once", shard=0)
    local_platform.add_records(STREAM, [b"{}"] * 5, shard=0)
    local_platform.platform.drop_records(STREAM, keep_last=1)
    results = send_partition(run, 0, clicks(10), is_first=False)
    assert (results.status == "unknown").all()


def test_rows_that_an_attempt_left_open_are_taken_up(begin, clicks, read_numbers, local_platform):
    run = begin(delivery="at_most_once", max_in_flight=1)
    local_platform.faults = [faults.lost_answer(nth=2)]
    first = send_partition(run, 0, clicks(3_000), is_first=True)
    assert first.status.value_counts()["unknown"] == 1_000
    second = send_partition(run, 0, clicks(3_000), is_first=True, earlier=first)
    assert second.status.tolist() == first.status.tolist()
    assert not receipt(second)["run_again"]
    assert read_numbers() == dict.fromkeys(range(3_000), 1)


@pytest.mark.parametrize("delivery", ["at_least_once", "at_most_once", "exactly_once"])
def test_rows_that_an_attempt_left_open_are_in_doubt_when_the_next_one_was_cut_off(
    begin, clicks, read_numbers, local_platform, delivery
):
    run = begin(delivery=delivery, max_in_flight=1)
    local_platform.faults = [faults.refused(status=403, nth=2, times=None)]
    first = send_partition(run, 0, clicks(3_000), is_first=True)
    assert first.status.value_counts()["unsent"] == 2_000
    local_platform.faults = []
    send_partition(run, 0, clicks(3_000), is_first=True, earlier=first)  # its results are lost
    third = send_partition(run, 0, clicks(3_000), is_first=False, earlier=first)
    assert receipt(third)["run_again"]
    open_rows = (first.status == "unsent").to_numpy()
    is_again, is_unknown = delivery == "at_least_once", delivery == "at_most_once"
    assert third.maybe_duplicate.tolist() == (open_rows & is_again).tolist()
    assert (third.status == "unknown").tolist() == (open_rows & is_unknown).tolist()
    assert sum(read_numbers().values()) == 3_000 + 2_000 * is_again
    if is_unknown:
        assert "an earlier attempt of this task" in third.error_detail[open_rows.argmax()]


def test_what_a_cut_off_attempt_stores_later_is_found_by_the_last_scan(begin, clicks):
    run = begin(delivery="exactly_once", shard=1)
    results = send_partition(run, 3, clicks(20), is_first=False)
    late = send_partition(run, 3, clicks(20), is_first=True)  # it still lives
    copies = find_copies(run, [receipt(results)], {3: results}.get)
    assert [row for _, row, _, _ in copies] == list(range(20))
    assert [number for *_, number in copies] == late.sequence_number.tolist()
    merged = merge_receipts(run, [receipt(results)], copies=copies, seconds=1.0)
    assert merged["duplicates"]["count"] == 20
    assert merged["duplicates"]["first"][0] == [3, 0, 1, 21]
    assert merged["run_again"] == {"count": 1, "first": [3]}


def test_the_last_scan_also_finds_what_is_reported_as_not_stored(begin, clicks):
    run = begin(delivery="exactly_once")
    results = send_partition(run, 0, clicks(4), is_first=True)
    results["status"] = "unknown"
    tasks = [{"partition": 0, "run_again": True}]
    copies = find_copies(run, tasks, {0: results}.get)
    assert sorted(row for _, row, _, _ in copies) == [0, 1, 2, 3]


def test_without_a_task_run_again_the_last_scan_reads_nothing(begin, local_platform):
    run = begin(delivery="exactly_once")
    tasks = [{"partition": 0, "run_again": False}]
    before = len(local_platform.requests)
    assert find_copies(run, tasks, {}.get) == []
    assert len(local_platform.requests) == before


def test_data_that_breaks_is_an_error_that_every_engine_can_carry(begin):
    class Panic(BaseException):
        """What native code raises."""

    def batches():
        yield pa.record_batch({"n": [1], "user": ["u"]})
        raise Panic

    schema = pa.schema({"n": pa.int64(), "user": pa.string()})
    data = StreamSource(schema, lambda _: batches())
    with pytest.raises(PutRecordsError, match=r"partition 5 .* Panic") as caught:
        send_partition(begin(), 5, data, is_first=True)
    assert isinstance(caught.value.__cause__, Panic)


def test_receipts_are_added_up(begin, clicks):
    run = begin(partition_key="user", max_in_flight=1)
    parts = [clicks(5), clicks(7)]
    parts[1].loc[3, "user"] = "x" * 300
    reported = [
        receipt(send_partition(run, n, part, is_first=True)) for n, part in enumerate(parts)
    ]
    merged = json.loads(json.dumps(merge_receipts(run, reported, copies=[], seconds=2.0)))
    assert merged["counts"] == {"stored": 11, "rejected": 1, "unsent": 0, "unknown": 0}
    assert (merged["tasks"], merged["requests"], merged["rows_per_second"]) == (2, 2, 6)
    [reason] = merged["reasons"]
    assert (reason["error_message"], reason["rows"]) == ("PartitionKeyTooLong", 1)
    assert "300" in reason["detail"]


def test_a_missing_stream_is_reported_before_any_task(client, clicks):
    with pytest.raises(StreamNotFound):
        begin_run(make_run("users/none", {"client": client}), clicks(0))


def test_a_run_travels_without_its_secrets(local_platform, client, clicks):
    options = {"client": Client(local_platform.endpoint, "a-secret-key")}
    run = begin_run(make_run(STREAM, options), clicks(0))
    carried = pickle.dumps(run)
    assert b"a-secret-key" not in carried
    assert "a-secret-key" not in repr(run)
    with pytest.raises(ConfigError, match="Set it in the environment of every worker"):
        send_partition(pickle.loads(carried), 0, clicks(1), is_first=True)


@pytest.mark.parametrize(
    ("worker", "status", "error"),
    [("the-key", "stored", None), ("another", "unsent", "AuthenticationError")],
)
def test_a_worker_takes_its_secrets_from_its_environment(
    clicks, monkeypatch, worker, status, error
):
    with LocalPlatform(access_key="the-key") as platform:
        platform.create_stream(STREAM)
        run = begin_run(make_run(STREAM, {"client": platform.client()}), clicks(0))
        monkeypatch.setenv("V3IO_ACCESS_KEY", worker)
        results = send_partition(pickle.loads(pickle.dumps(run)), 0, clicks(1), is_first=True)
    assert results.status.tolist() == [status]
    reported = receipt(results)["error"]
    assert (reported and reported["type"]) == error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resume": pd.DataFrame()}, "resume: not on a cluster"),
        ({"journal": "run.v3io"}, "journal: not on a cluster"),
        ({"cancel": object()}, "cancel: not on a cluster"),
        ({"progress": print}, "progress: a callable"),
        ({"partition_key": ["a", "b"]}, "expected the name of a column"),
        ({"shard": np.zeros(3)}, "expected the name of a column"),
        ({"client_info": pd.Series([b""])}, "expected the name of a column"),
        ({"on_error": "ignore"}, "on_error='ignore'"),
    ],
)
def test_options_without_a_meaning_on_a_cluster_are_refused(client, options, message):
    with pytest.raises(ConfigError, match=message):
        make_run(STREAM, {"client": client, **options})


def test_client_info_beside_tags_is_refused_before_any_task(client, clicks):
    run = make_run(STREAM, {"client": client, "delivery": "exactly_once", "client_info": b"x"})
    with pytest.raises(ConfigError, match="writes its tags there"):
        begin_run(run, clicks(0))


def test_an_option_that_there_is_not_is_refused_as_python_does(client):
    with pytest.raises(TypeError, match="'colums'"):
        make_run(STREAM, {"client": client, "colums": ["n"]})


@pytest.mark.parametrize(
    ("max_in_flight", "tasks", "share"),
    [(8, 1, 8), (8, 3, 2), (8, 100, 1), (1, 2, 1), (100, 8, 12)],
)
def test_requests_under_way_are_shared_by_the_tasks_at_once(client, max_in_flight, tasks, share):
    run = make_run(STREAM, {"client": client, "max_in_flight": max_in_flight})
    assert run.share_among(tasks).delivery_options.max_in_flight == share


def test_each_task_has_a_run_id_of_its_own_and_keeps_it(begin):
    run = begin()
    ids = [run.task_id(partition) for partition in range(1_000)]
    assert len({*ids, run.run_id}) == 1_001
    assert all(len(bytes.fromhex(task)) == 8 for task in ids)
    assert pickle.loads(pickle.dumps(run)).task_id(5) == ids[5]


def test_a_retry_of_the_client_travels_along(client, clicks):
    run = begin_run(make_run(STREAM, {"client": client}), clicks(0))
    assert pickle.loads(pickle.dumps(run)).client.retry == Retry(settle_seconds=0.2)

"""Dask: one task a partition, on a real cluster whose workers die."""

from __future__ import annotations

import json
import os
import pickle
import signal

import numpy as np
import pandas as pd
import pytest

from tests.cluster.conftest import STREAM
from tests.internals import ResultsFolder, StopFlag
from v3io_frames_put import (
    ConfigError,
    DataError,
    Interrupted,
    PartialFailure,
    PutRecordsError,
    StreamNotFound,
    UnstoredRowsWarning,
    UnsupportedType,
)
from v3io_frames_put.local import LocalPlatform, faults

pytestmark = pytest.mark.filterwarnings("default")  # Dask's own


@pytest.fixture
def dd(require_module):
    require_module("v3io_frames_put.dask")
    return require_module("dask.dataframe")


@pytest.fixture
def dask(require_module):
    return require_module("dask")


@pytest.fixture
def threads(dask):
    """Tasks in two threads of this process."""
    with dask.config.set(scheduler="threads", num_workers=2):
        yield


@pytest.fixture
def put(client, threads, tmp_path):
    def put(ddf, **options):
        path = str(tmp_path / "results")
        return ddf.v3io.put_records(STREAM, **{"results_path": path, "client": client} | options)

    return put


@pytest.fixture
def objects(require_module):
    """Let object columns be: otherwise Dask makes text of them."""
    with require_module("dask").config.set({"dataframe.convert-string": False}):
        yield


def read_receipt(tmp_path):
    return json.loads((tmp_path / "results" / "_receipt.json").read_text())


def test_results_stand_on_the_partitions_and_the_index_of_the_data(dd, put, clicks, local_platform):
    frame = clicks(1_000).set_index(pd.date_range("2026-01-01", periods=1_000, name="at"))
    results = put(dd.from_pandas(frame, npartitions=4), partition_key="user")
    assert (results.npartitions, results.known_divisions) == (4, True)
    reported = results.compute()
    assert reported.index.tolist() == frame.index.tolist()
    assert reported.index.name == "at"
    records = local_platform.records(STREAM)
    places = {(r.shard_id, r.sequence_number): json.loads(r.data)["n"] for r in records}
    found = [places[row.shard_id, row.sequence_number] for row in reported.itertuples()]
    assert found == list(range(1_000))


def test_results_have_the_columns_and_types_of_put_records(dd, put, clicks, client):
    ours = clicks(20).v3io.put_records(STREAM, client=client)
    results = put(dd.from_pandas(clicks(20), npartitions=3))
    assert results.compute().dtypes.to_dict() == ours.dtypes.to_dict()
    assert results.partitions[1].compute().status.cat.categories.tolist() == [
        "stored", "rejected", "unsent", "unknown"
    ]  # fmt: skip


def test_the_receipt_of_the_run_is_among_its_results(dd, put, clicks, tmp_path):
    put(dd.from_pandas(clicks(50), npartitions=5), delivery="exactly_once")
    receipt = read_receipt(tmp_path)
    assert receipt["counts"] == {"stored": 50, "rejected": 0, "unsent": 0, "unknown": 0}
    assert (receipt["tasks"], receipt["stream"]) == (5, STREAM)
    assert {file.name for file in (tmp_path / "results").iterdir()} == {
        "_receipt.json", *(f"part-{number:05}.parquet" for number in range(5))
    }  # fmt: skip


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_data_without_rows_has_results_without_rows(dd, put, clicks, tmp_path, delivery):
    ddf = dd.from_pandas(clicks(20), npartitions=2)
    results = put(ddf[ddf.n < 0], delivery=delivery)
    assert len(results.compute()) == 0
    assert read_receipt(tmp_path)["tasks"] == 2


def test_a_row_that_is_not_stored_raises_by_default(dd, put, clicks):
    frame = clicks(30)
    frame.loc[17, "user"] = "x" * 300
    with pytest.raises(PartialFailure, match=r"1 of 30 rows .* PartitionKeyTooLong") as caught:
        put(dd.from_pandas(frame, npartitions=3), partition_key="user")
    reported = caught.value.results.compute()
    assert reported.index[reported.status == "rejected"].tolist() == [17]


def test_on_error_return_warns(dd, put, clicks):
    frame = clicks(30)
    frame.loc[17, "user"] = "x" * 300
    with pytest.warns(UnstoredRowsWarning, match="1 of 30 rows") as caught:
        results = put(dd.from_pandas(frame, npartitions=3), partition_key="user", on_error="return")
    assert (results.compute().status == "rejected").sum() == 1
    assert [w.filename for w in caught if w.category is UnstoredRowsWarning] == [__file__]


def test_what_no_retry_cures_stops_every_task_and_is_raised(dd, put, clicks, local_platform):
    local_platform.faults = [faults.Change(action="delete", nth=3, times=1)]
    with pytest.raises(StreamNotFound) as caught:
        put(dd.from_pandas(clicks(4_000), npartitions=8), max_in_flight=1)
    reported = caught.value.results.compute()
    assert len(reported) == 4_000
    assert set(reported.status) <= {"stored", "unsent"}


def test_a_missing_stream_is_reported_before_anything_is_made(
    dd, clicks, client, tmp_path, threads
):
    ddf = dd.from_pandas(clicks(10), npartitions=2)
    with pytest.raises(StreamNotFound):
        ddf.v3io.put_records("users/none", results_path=str(tmp_path / "results"), client=client)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (None, "results_path=None: expected the path or URL of a folder"),
        ("zz://x", r"results_path='zz://x': no folder can be made there \(Protocol not known"),
        ("/proc/x/y", r"results_path='/proc/x/y': no folder can be made there \(.*No such file"),
    ],
)
def test_a_place_where_no_folder_can_be_is_refused(dd, put, clicks, local_platform, path, says):
    with pytest.raises(ConfigError, match=says):
        put(dd.from_pandas(clicks(10), npartitions=2), results_path=path)
    assert "PutRecords" not in {request.function for request in local_platform.requests}


def test_a_frame_of_pandas_is_refused(dd, clicks, tmp_path):
    from v3io_frames_put.dask import put_records

    with pytest.raises(ConfigError, match=r"expected a Dask DataFrame.*from_pandas\(df"):
        put_records(clicks(10), STREAM, results_path=tmp_path)


def test_without_a_partition_that_is_done_no_results_are_named(dd, put, clicks, dask):
    def read(_):
        raise OSError("the disk is gone")

    with pytest.raises(PutRecordsError, match="0 of 2 partitions are done; of the") as caught:
        put(dd.from_map(read, range(2), meta=clicks(0)))
    assert caught.value.results is None


def test_a_folder_that_holds_something_is_refused(dd, put, clicks, tmp_path):
    ddf = dd.from_pandas(clicks(10), npartitions=2)
    put(ddf)
    with pytest.raises(ConfigError, match="is not empty"):
        put(ddf)


def test_a_wrong_column_is_reported_before_anything_is_sent(dd, put, clicks, local_platform):
    with pytest.raises(DataError, match="usr"):
        put(dd.from_pandas(clicks(10), npartitions=2), partition_key="usr")
    assert "PutRecords" not in {request.function for request in local_platform.requests}


def test_arrow_wants_types_that_hold_for_all_partitions(dd, put, objects):
    frame = pd.DataFrame({"n": [1, 2], "mixed": pd.Series([[1], {"a": 2}], dtype=object)})
    ddf = dd.from_pandas(frame, npartitions=2)
    with pytest.raises(UnsupportedType, match=r"'mixed'.*ddf\.astype"):
        put(ddf, format="arrow")


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_object_cells_are_sent_as_they_are(dd, put, objects, local_platform, delivery):
    """A file format with one type a column would make {"a": 1, "b": null} of the first."""
    cells = [{"a": 1}, {"b": [2.0]}, "text", None]
    frame = pd.DataFrame({"cell": pd.Series(cells, dtype=object)})
    with_objects = dd.from_map(lambda _: frame, [0], meta=frame.iloc[:0])
    put(with_objects, delivery=delivery)
    sent = [json.loads(record.data)["cell"] for record in local_platform.records(STREAM)]
    assert sorted(sent, key=repr) == sorted(cells, key=repr)


def test_an_index_that_results_cannot_have_is_refused_before_anything_is_sent(
    dd, put, objects, local_platform
):
    frame = pd.DataFrame({"n": [1, 2]}, index=pd.Index([(1,), "b"], dtype=object))
    ddf = dd.from_map(lambda _: frame, [0], meta=frame.iloc[:0])
    with pytest.raises(DataError, match=r"index of partition 0 .* ddf\.reset_index"):
        put(ddf)
    assert local_platform.records(STREAM) == []


def test_a_failure_of_the_data_itself_reports_what_is_done(dd, put, clicks):
    def read(number):
        if number == 3:
            raise OSError("the disk is gone")
        return clicks(10)

    ddf = dd.from_map(read, range(4), meta=clicks(0))
    with pytest.raises(PutRecordsError, match="the disk is gone") as caught:
        put(ddf)
    assert isinstance(caught.value.__cause__, OSError)
    reported = caught.value.results
    assert reported is None or (reported.compute().status == "stored").all()


def test_an_interrupt_tells_what_is_done_and_stops_the_others(dd, put, clicks, tmp_path, dask):
    def read(number):
        if number == 1:
            raise KeyboardInterrupt
        return clicks(10)

    ddf = dd.from_map(read, range(3), meta=clicks(0))
    with dask.config.set(scheduler="sync"), pytest.raises(Interrupted) as caught:
        put(ddf)
    reported = caught.value.results
    assert reported is None or (reported.compute().status == "stored").all()
    assert ResultsFolder(str(tmp_path / "results")).is_flag_up()


def test_a_task_stops_soon_after_the_flag_is_raised(tmp_path):
    now = [100.0]
    folder = ResultsFolder(str(tmp_path / "results"))
    folder.make("0" * 16)
    flag = StopFlag(folder, lambda: now[0])
    assert not flag.is_set()
    folder.raise_flag()
    assert not flag.is_set()  # it looks once a second
    now[0] += 1
    assert flag.is_set()


def test_a_worker_that_does_not_share_the_folder_is_refused(tmp_path):
    driver, worker = (ResultsFolder(str(tmp_path / name)) for name in ("driver", "worker"))
    driver.make("0" * 16)
    driver.check_is_shared("0" * 16)
    with pytest.raises(ConfigError, match="does not see there what the driver wrote"):
        worker.check_is_shared("0" * 16)


def test_a_delayed_run_keeps_its_run_id_and_goes_on(
    dd, put, clicks, read_numbers, local_platform, tmp_path
):
    """The first time the platform refuses us in mid-run; the second time it does not."""
    ddf = dd.from_pandas(clicks(4_000), npartitions=4)
    delayed = put(ddf, compute=False, delivery="exactly_once", max_in_flight=1)
    assert local_platform.records(STREAM) == []
    local_platform.faults = [faults.refused(status=403, nth=3, times=None)]
    with pytest.raises(PutRecordsError):
        delayed.compute()
    first = read_receipt(tmp_path)
    assert 0 < first["counts"]["stored"] < 4_000
    local_platform.faults = []
    results = delayed.compute()
    assert (results.compute().status == "stored").all()
    assert read_receipt(tmp_path)["run_id"] == first["run_id"]
    assert read_numbers() == dict.fromkeys(range(4_000), 1)
    delayed.compute()  # all is done
    assert read_numbers() == dict.fromkeys(range(4_000), 1)


def test_an_attempt_whose_results_were_lost_is_known_to_have_begun(
    dd, put, clicks, read_numbers, local_platform, tmp_path, monkeypatch
):
    """The second attempt stores what the first one left, and then cannot write its results."""

    def fail(*_):
        raise OSError("no space left")

    ddf = dd.from_pandas(clicks(3_000), npartitions=1)
    delayed = put(ddf, compute=False, max_in_flight=1)
    local_platform.faults = [faults.refused(status=403, nth=2, times=None)]
    with pytest.raises(PutRecordsError):
        delayed.compute()
    local_platform.faults = []
    with monkeypatch.context() as full:
        full.setattr("fsspec.implementations.local.LocalFileSystem.mv", fail)
        with pytest.raises(OSError, match="no space left"):
            delayed.compute()
    results = delayed.compute().compute()
    assert read_receipt(tmp_path)["run_again"]["count"] == 1
    twice = {number for number, times in read_numbers().items() if times > 1}
    assert len(twice) == 2_000
    assert set(np.flatnonzero(results.maybe_duplicate)) == twice


def test_an_attempt_that_was_taken_for_dead_does_not_hide_what_the_next_one_sent(
    dd, dask, put, clicks, objects, read_numbers, tmp_path
):
    """The second attempt begins, sends and ends while the first one encodes its rows."""

    class Meanwhile(dict):
        def items(self):
            if attempts:
                attempts.pop().compute()
            return super().items()

    frame = clicks(10)
    frame["cell"] = [Meanwhile(), *[{}] * 9]
    part = dask.delayed(lambda: frame, pure=False)()
    delayed = put(dd.from_delayed([part], meta=frame.iloc[:0]), compute=False)
    attempts = [delayed]
    results = delayed.compute().compute()
    assert set(read_numbers().values()) == {2}
    assert results.maybe_duplicate.all()
    assert read_receipt(tmp_path)["run_again"]["count"] == 1


def test_a_worker_that_does_not_know_who_we_are_has_not_begun(dd, put, clicks, monkeypatch):
    with LocalPlatform(access_key="the-key") as platform, platform.client() as client:
        client.create_stream(STREAM)
        ddf = dd.from_pandas(clicks(30), npartitions=1)
        delayed = put(ddf, compute=False, client=client, delivery="at_most_once")
        carried = pickle.dumps(delayed)  # a client travels without its secrets
        with pytest.raises(ConfigError, match="does not know who we are"):
            pickle.loads(carried).compute()
        monkeypatch.setenv("V3IO_ACCESS_KEY", "the-key")
        assert (pickle.loads(carried).compute().compute().status == "stored").all()


def test_keys_hold_nothing_but_the_run_and_the_partition(
    dd, client, clicks, tmp_path, threads, require_module
):
    from v3io_frames_put import Client

    secret = Client(client.endpoint, "a-secret-key", retry=client.retry)
    ddf = dd.from_pandas(clicks(10), npartitions=2)
    delayed = ddf.v3io.put_records(
        STREAM, results_path=str(tmp_path / "results"), client=secret, compute=False
    )
    graph = dict(delayed.__dask_graph__())
    assert "a-secret-key" not in repr(graph)
    assert b"a-secret-key" not in require_module("cloudpickle").dumps(graph)
    assert b"a-secret-key" not in pickle.dumps([repr(key) for key in graph])
    ours = {key for key in graph if str(key).startswith("v3io-put-")}
    run_id = min(ours).split("-")[2]
    assert ours == {f"v3io-put-{run_id}-{n}" for n in (0, 1, "begin", "receipt", "results")}


@pytest.fixture(scope="module")
def local_cluster(require_module):
    """Two workers, each a process with one thread."""
    distributed = require_module("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            env={"V3IO_ACCESS_KEY": "the-workers-key"},
        ) as cluster,
        distributed.Client(cluster) as workers,
    ):
        yield workers


@pytest.fixture
def cluster(local_cluster):
    """The cluster, whole again after a worker was killed."""
    local_cluster.wait_for_workers(2, timeout=60)
    return local_cluster


@pytest.fixture
def put_with_a_death(cluster, client, local_platform, wait_for_sender, tmp_path):
    """One worker waits for an answer that never comes, and dies with half of its rows stored."""

    def put_with_a_death(ddf, **options):
        local_platform.faults = [faults.stalled_answer(nth=1)]
        path = str(tmp_path / "results")
        delayed = ddf.v3io.put_records(
            STREAM, results_path=path, client=client, max_in_flight=2, compute=False, **options
        )
        running = cluster.compute(delayed)
        # The other worker does its partition; then only the one that waits has a connection.
        local_platform.wait_until(lambda p: len(p.records(STREAM)) == 3_000, 60)
        pids = cluster.run(os.getpid).values()
        os.kill(wait_for_sender(lambda: pids), signal.SIGKILL)
        return running.result(timeout=60)

    return put_with_a_death


@pytest.mark.enable_socket
@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_worker_that_is_killed_in_mid_run(
    dd, clicks, put_with_a_death, read_numbers, tmp_path, delivery
):
    ddf = dd.from_pandas(clicks(4_000), npartitions=2)
    results = put_with_a_death(ddf, delivery=delivery).compute()
    assert (results.status == "stored").all()
    receipt = read_receipt(tmp_path)
    assert (receipt["run_again"]["count"], receipt["duplicates"]["count"]) == (1, 0)
    [again] = receipt["run_again"]["first"]
    rows = set(range(2_000 * again, 2_000 * again + 2_000))
    found = read_numbers()
    assert found.keys() == set(range(4_000))
    twice = {number for number, times in found.items() if times != 1}
    if delivery == "exactly_once":
        assert twice == set()
        assert not results.maybe_duplicate.any()
    else:
        assert len(twice) == 1_000
        assert twice < rows
        assert set(np.flatnonzero(results.maybe_duplicate)) == rows


@pytest.mark.enable_socket
def test_an_error_brings_its_results_from_another_process(dd, cluster, clicks, client, tmp_path):
    frame = clicks(30)
    frame.loc[17, "user"] = "x" * 300
    ddf = dd.from_pandas(frame, npartitions=3)
    path = str(tmp_path / "results")
    delayed = ddf.v3io.put_records(
        STREAM, results_path=path, client=client, partition_key="user", compute=False
    )
    with pytest.raises(PartialFailure, match="1 of 30 rows") as caught:
        cluster.compute(delayed).result()
    reported = caught.value.results.compute()
    assert reported.index[reported.status == "rejected"].tolist() == [17]


@pytest.mark.enable_socket
def test_requests_are_shared_by_all_threads_of_the_cluster(
    dd, cluster, clicks, client, local_platform, tmp_path
):
    ddf = dd.from_pandas(clicks(12_000), npartitions=4)
    ddf.v3io.put_records(
        STREAM, results_path=str(tmp_path / "results"), client=client, max_in_flight=4
    )
    assert local_platform.peak_in_flight() <= 4

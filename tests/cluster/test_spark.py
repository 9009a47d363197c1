"""Spark: one task a partition, on a real Spark whose tasks die and are run again."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlparse

import psutil
import pytest

from tests.cluster.conftest import STREAM
from tests.test_docs import ROOT, read_blocks, run_block
from v3io_frames_put import (
    Client,
    ColumnNotFound,
    ConfigError,
    PartialFailure,
    PermissionDenied,
    PutRecordsError,
    Retry,
    StreamNotFound,
    UnstoredRowsWarning,
)
from v3io_frames_put.local import faults

pytestmark = [
    pytest.mark.filterwarnings("default"),  # Spark's own
    pytest.mark.enable_socket,
    pytest.mark.timeout(240),  # the first test starts Spark
]


@pytest.fixture(scope="module")
def spark(require, require_module, tmp_path_factory):
    """Two tasks at once, each tried four times; its workers know a key."""
    sql = require_module("pyspark.sql")
    require(
        "Java", present=shutil.which("java"), hint="Type: apt-get install openjdk-17-jre-headless"
    )
    log = tmp_path_factory.mktemp("spark")
    settings = {
        # Tests are over before a compiler that takes its time has paid.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.eventLog.dir": log.as_uri(),
        "spark.eventLog.enabled": "true",
        "spark.eventLog.compress": "false",
        "spark.local.dir": str(tmp_path_factory.mktemp("scratch")),
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = sql.SparkSession.builder.master("local[2,4]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    before, on_ctrl_c = dict(os.environ), signal.getsignal(signal.SIGINT)
    os.environ.update(PYSPARK_PYTHON=sys.executable, V3IO_ACCESS_KEY="a-secret-key")
    try:
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
        yield session
        session.stop()
    finally:
        signal.signal(signal.SIGINT, on_ctrl_c)  # pyspark 4.0 leaves one of its own
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def put(spark, client, tmp_path):
    from v3io_frames_put.spark import put_records

    def put(sdf, stream=STREAM, **options):
        path = str(tmp_path / "results")
        return put_records(sdf, stream, **{"results_path": path, "client": client} | options)

    return put


@pytest.fixture
def clicks(spark):
    """Make rows numbered through, of seven users, in two partitions one after the other."""

    def clicks(rows):
        return spark.range(0, rows, 1, 2).selectExpr("id as n", "concat('u', id % 7) as user")

    return clicks


def read_receipt(tmp_path):
    return json.loads((tmp_path / "results" / "_receipt.json").read_text())


def test_results_report_every_row_in_order(spark, put, clicks, local_platform, tmp_path):
    path = tmp_path / "results"
    results = put(clicks(1_000), index_col="n", partition_key="user", results_path=path)
    assert spark.sparkContext.getCheckpointDir() is None
    reported = results.orderBy("partition_id", "row").toPandas()
    assert reported.n.tolist() == list(range(1_000))
    assert reported.partition_id.tolist() == [0] * 500 + [1] * 500
    assert reported.row.tolist() == [*range(500), *range(500)]
    assert set(reported.status) == {"stored"}
    stored = local_platform.records(STREAM)
    places = {(r.shard_id, r.sequence_number): json.loads(r.data)["n"] for r in stored}
    assert [places[row.shard_id, row.sequence_number] for row in reported.itertuples()] == list(
        range(1_000)
    )
    receipt = read_receipt(tmp_path)
    assert receipt["counts"] == {"stored": 1_000, "rejected": 0, "unsent": 0, "unknown": 0}
    assert (receipt["tasks"], receipt["run_again"]["count"]) == (2, 0)
    assert not (tmp_path / "results" / "_input").exists()


@pytest.fixture
def put_with_a_death(put, local_platform, wait_for_sender):
    """A task gets no answer; when the other one is done, its process is killed."""

    def kill_the_sender():
        local_platform.wait_until(lambda p: len(p.records(STREAM)) == 3_000, 120)
        os.kill(wait_for_sender(find_workers), signal.SIGKILL)

    def put_with_a_death(sdf, **options):
        local_platform.faults = [faults.stalled_answer(nth=1)]
        killer = threading.Thread(target=kill_the_sender)
        killer.start()
        results = put(sdf, max_in_flight=2, **options)
        killer.join(60)
        return results

    return put_with_a_death


def find_workers():
    below = psutil.Process().children(recursive=True)
    return [process.pid for process in below if process.name().startswith("python")]


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_task_that_dies_after_half_of_its_rows(
    put_with_a_death, clicks, read_numbers, tmp_path, delivery
):
    results = put_with_a_death(clicks(4_000), delivery=delivery, index_col="n")
    reported = results.toPandas().set_index("n")
    assert (reported.status == "stored").all()
    receipt = read_receipt(tmp_path)
    assert (receipt["run_again"]["count"], receipt["duplicates"]["count"]) == (1, 0)
    [again] = receipt["run_again"]["first"]
    found = read_numbers()
    assert found.keys() == set(range(4_000))
    twice = {number for number, times in found.items() if times != 1}
    if delivery == "exactly_once":
        assert twice == set()
        assert not reported.maybe_duplicate.any()
    else:
        assert len(twice) == 1_000
        marked = set(reported.index[reported.maybe_duplicate])
        assert marked == set(range(2_000 * again, 2_000 * again + 2_000))
        assert twice < marked


def test_rows_that_are_not_stored_raise_by_default(put, clicks, tmp_path):
    sdf = clicks(6).selectExpr("n", "if(n = 3, repeat('x', 300), user) as user")
    with pytest.raises(PartialFailure, match=r"1 of 6 rows .* PartitionKeyTooLong") as caught:
        put(sdf, partition_key="user", index_col=["n"])
    rejected = caught.value.results.where("status = 'rejected'").collect()
    assert [row.n for row in rejected] == [3]
    with pytest.warns(UnstoredRowsWarning, match="1 of 6 rows"):
        put(sdf, partition_key="user", on_error="return", results_path=str(tmp_path / "again"))
    with pytest.raises(ConfigError, match="is not empty"):
        put(sdf)


def test_data_without_rows_has_results_without_rows(put, clicks, tmp_path):
    results = put(clicks(20).where("n < 0"), index_col="n", delivery="exactly_once")
    assert results.count() == 0
    assert results.columns[:4] == ["n", "partition_id", "row", "status"]
    assert sum(read_receipt(tmp_path)["counts"].values()) == 0


def test_what_no_retry_cures_is_raised_with_the_table(put, clicks, local_platform):
    local_platform.faults = [faults.refused(status=403, nth=2, times=None)]
    with pytest.raises(PermissionDenied) as caught:
        put(clicks(4_000), max_in_flight=1, rows_per_record=2)
    reported = caught.value.results.toPandas()
    assert len(reported) == 4_000
    assert set(reported.status) == {"stored", "unsent"}
    assert set(reported.record_row.dropna()) == {0, 1}


def test_a_job_that_spark_gives_up_reports_every_row_as_unknown(
    spark, put, client, local_platform, tmp_path
):
    """No request is ever answered; Spark tries each task four times."""
    local_platform.faults = [faults.Disconnect(times=None)]
    impatient = Client(client.endpoint, retry=Retry(deadline_seconds=0.2))
    with pytest.raises(
        PutRecordsError, match=r"PlatformUnavailable: .* no usable answer came"
    ) as caught:
        put(spark.range(0, 10, 1, 1).withColumnRenamed("id", "n"), client=impatient, index_col="n")
    reported = caught.value.results.toPandas()
    assert sorted(reported.n) == list(range(10))
    assert set(reported.status) == {"unknown"}
    assert set(reported.error_message) == {"NoAnswer"}
    assert not (tmp_path / "results" / "_input").exists()


@pytest.fixture
def meanwhile(clicks):
    """Make rows that run a function when they are written down, before any is sent."""

    def meanwhile(work):
        def read(frames):
            work()
            yield from frames

        return clicks(10).coalesce(1).mapInPandas(read, "n long, user string")

    return meanwhile


def test_results_that_cannot_be_written_either(put, meanwhile, tmp_path):
    no_folder = tmp_path / "results" / "_temporary"  # where Spark would write them first
    with pytest.raises(PutRecordsError, match="and no results could be written") as caught:
        put(meanwhile(no_folder.touch))
    assert caught.value.results is None
    assert caught.value.__cause__ is not None
    assert not (tmp_path / "results" / "_input").exists()


def test_a_receipt_that_cannot_be_written_leaves_the_results(put, meanwhile, tmp_path):
    taken = tmp_path / "results" / "_receipt.json" / "taken"
    sdf = meanwhile(lambda: taken.mkdir(parents=True))
    with pytest.raises(PutRecordsError, match="could not sum up") as caught:
        put(sdf, index_col="n")
    assert {row.status for row in caught.value.results.collect()} == {"stored"}
    assert not (tmp_path / "results" / "_input").exists()


def test_wrong_options_are_refused_before_anything_is_sent(put, clicks, tmp_path):
    sdf = clicks(4)
    with pytest.raises(ColumnNotFound, match="index_col='m'"):
        put(sdf, index_col="m")
    with pytest.raises(ConfigError, match="results have a column of that name"):
        put(sdf.withColumnRenamed("n", "status"), index_col="status")
    with pytest.raises(ConfigError, match="index_col=5: expected the name"):
        put(sdf, index_col=5)
    with pytest.raises(ConfigError, match="results_path=None: expected the path"):
        put(sdf, results_path=None)
    with pytest.raises(ConfigError, match=r"results_path='zz://x': no folder .*No FileSystem"):
        put(sdf, results_path="zz://x")
    with pytest.raises(ConfigError, match=r"expected a Spark DataFrame.*createDataFrame\(df\)"):
        put(sdf.toPandas())
    with pytest.raises(ColumnNotFound, match="'usr'"):
        put(sdf, partition_key="usr")
    with pytest.raises(StreamNotFound):
        put(sdf, stream="users/none")
    assert not (tmp_path / "results").exists()


def test_what_the_page_shows_is_what_happens(spark, client, local_platform, tmp_path):
    page = Path(__file__).parents[2] / "docs" / "how-to" / "cluster.md"
    [block] = re.findall(r"```{code-block} python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    local_platform.create_stream("projects/fraud/clicks", shards=2)
    sdf = spark.range(20).selectExpr("id as n", "concat('u', id % 3) as user", "-id as at")
    names = {"sdf": sdf, "client": client, "results_path": str(tmp_path / "results")}
    exec(block, names)  # noqa: S102  # our own page
    assert names["results"].columns[:3] == ["n", "partition_id", "row"]
    at = {}
    for record in local_platform.records("projects/fraud/clicks"):
        row = json.loads(record.data)
        assert row["at"] > at.get(row["user"], -100)
        at[row["user"]] = row["at"]


@pytest.mark.parametrize("delivery", ["exactly_once", "at_most_once"])
def test_two_attempts_at_the_same_time_are_refused(put, delivery):
    eager = SimpleNamespace(conf={"spark.speculation": "true"})
    sdf = SimpleNamespace(sparkSession=eager)
    with pytest.raises(ConfigError, match=r"spark\.speculation is on"):
        put(sdf, delivery=delivery)


def test_rows_that_two_attempts_may_send_are_marked(spark, put, clicks):
    spark.conf.set("spark.sql.legacy.setCommandRejectsSparkCoreConfs", "false")
    spark.conf.set("spark.speculation", "true")
    try:
        results = put(clicks(100)).toPandas()
    finally:
        spark.conf.unset("spark.speculation")
    assert set(results.status) == {"stored"}
    assert results.maybe_duplicate.all()


def test_the_key_is_in_no_plan_and_no_log(spark, put, clicks, client):
    secret = Client(client.endpoint, "a-secret-key", retry=client.retry)
    results = put(clicks(100), client=secret)
    assert results.count() == 100
    folder = Path(urlparse(spark.conf.get("spark.eventLog.dir")).path)
    logs = [file for file in folder.rglob("*") if file.is_file()]
    text = b"".join(file.read_bytes() for file in logs)
    assert b"put_partition" in text
    assert b"a-secret-key" not in text


def test_the_page_about_reading_shows_what_spark_reads(spark, local_platform, monkeypatch):
    monkeypatch.setenv("V3IO_API", local_platform.endpoint)
    page = ROOT / "docs/how-to/read-the-stream.md"
    first, *blocks = read_blocks(page)
    names = {"spark": spark, "__name__": "__main__"}
    run_block(first, page, names)
    ((block, output),) = [pair for pair in itertools.pairwise(blocks) if "spark" in pair[0].text]
    assert run_block(block, page, names).strip() == output.text.strip()

"""One call of each face, against the local platform: the happy paths of ``make test-fast``."""

from __future__ import annotations

import json
import subprocess
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import v3io_frames_put
from v3io_frames_put import jobs
from v3io_frames_put.cli import main

STREAM = "projects/house/readings"
ROWS = [{"sensor": "attic", "celsius": 31.5}, {"sensor": "cellar", "celsius": 12.0}]

pytestmark = pytest.mark.face


@pytest.fixture
def client(local_platform):
    with local_platform.client() as client:
        client.create_stream(STREAM, shards=2)
        yield client


@pytest.fixture
def rows_on_the_stream(local_platform):
    def rows_on_the_stream():
        found = [json.loads(record.data) for record in local_platform.records(STREAM)]
        return sorted(found, key=lambda row: row["sensor"])

    return rows_on_the_stream


@pytest.fixture
def parquet(tmp_path):
    path = tmp_path / "readings.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize("delivery", ["at_least_once", "at_most_once", "exactly_once"])
def test_the_accessor(client, rows_on_the_stream, delivery):
    df = pd.DataFrame(ROWS, index=["a", "b"])
    results = df.v3io.put_records(
        STREAM, partition_key="sensor", client=client, delivery=delivery, progress=False
    )
    assert results.index.tolist() == ["a", "b"]
    assert results["status"].tolist() == ["stored", "stored"]
    assert rows_on_the_stream() == ROWS


def test_an_arrow_table(client, rows_on_the_stream):
    table = pa.Table.from_pylist(ROWS)
    results = v3io_frames_put.put_records(table, STREAM, client=client, progress=False)
    assert results["status"].eq("stored").all()
    assert rows_on_the_stream() == ROWS


def test_a_plan(local_platform):
    plan = pd.DataFrame(ROWS).v3io.plan_records(STREAM, partition_key="sensor")
    assert (plan.rows, plan.records, plan.requests) == (2, 2, 1)


def test_reading_back(client):
    pd.DataFrame(ROWS).v3io.put_records(STREAM, client=client, progress=False)
    rows = client.decode_records(client.read_records(STREAM), format="json")
    assert sorted(rows["celsius"]) == [12.0, 31.5]


def test_a_journal_tells_a_finished_run_again(client, rows_on_the_stream, tmp_path):
    df, journal = pd.DataFrame(ROWS), tmp_path / "run.v3io"
    first = df.v3io.put_records(STREAM, client=client, journal=journal, progress=False)
    again = df.v3io.put_records(STREAM, client=client, journal=journal, progress=False)
    pd.testing.assert_frame_equal(first, again)
    assert rows_on_the_stream() == ROWS


def test_a_job(client, rows_on_the_stream, parquet):
    results = jobs.publish(parquet, STREAM, client=client, progress=False)
    assert results.counts["stored"] == 2
    assert rows_on_the_stream() == ROWS


def test_the_command_line(client, local_platform, rows_on_the_stream, parquet, monkeypatch):
    monkeypatch.setenv("V3IO_API", local_platform.endpoint)
    done = CliRunner().invoke(main, ["publish", str(parquet), STREAM])
    assert done.exit_code == 0, done.output
    assert rows_on_the_stream() == ROWS


def test_the_demo(require_module):
    require_module("aiohttp")
    done = CliRunner().invoke(main, ["demo", "--rows", "500"])
    assert done.exit_code == 0, done.output


def test_the_uploader(client, rows_on_the_stream):
    uploader = v3io_frames_put.Uploader(pd.DataFrame(ROWS), STREAM, client=client)
    try:
        uploader.upload()
        assert uploader.wait(30)
        assert uploader.results["status"].eq("stored").all()
        assert rows_on_the_stream() == ROWS
    finally:
        uploader.close()


def test_dask(client, rows_on_the_stream, require_module, tmp_path):
    require_module("v3io_frames_put.dask")
    dd = require_module("dask.dataframe")
    dask = require_module("dask")
    ddf = dd.from_pandas(pd.DataFrame(ROWS), npartitions=2)
    with dask.config.set(scheduler="synchronous"):
        results = ddf.v3io.put_records(STREAM, client=client, results_path=str(tmp_path))
        assert results["status"].compute().eq("stored").all()
    assert rows_on_the_stream() == ROWS


def test_the_package_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "v3io_frames_put", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "publish" in done.stdout

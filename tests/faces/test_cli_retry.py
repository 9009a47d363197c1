"""`v3io-put retry` sends the failed rows of a job, and nothing else of it."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet as pq

from v3io_frames_put.cli import main
from v3io_frames_put.local import faults

STREAM = "projects/house/readings"


@pytest.fixture
def run(local_platform, monkeypatch, tmp_path):
    monkeypatch.setenv("V3IO_API", local_platform.endpoint)
    local_platform.create_stream(STREAM, shards=2)
    return lambda *words: CliRunner().invoke(main, [*map(str, words)])


@pytest.fixture
def job(tmp_path):
    """A job file of twelve rows; it names what a retry must leave alone."""
    rows = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"n": list(range(14)), "room": ["hall", "attic"] * 7}), rows)
    path = tmp_path / "job.toml"
    path.write_text(
        f'files = "{rows}"\nstream = "{STREAM}"\ncolumns = ["n"]\npartition_key = "room"\n'
        f'where = "n > 1"\njournal = "{tmp_path}/run.v3io"\nresults = "{tmp_path}/r.parquet"\n'
        f'failed = "{tmp_path}/f.parquet"\nsummary = "{tmp_path}/s.json"\ncreate = true\n'
        f"shards = 5\nmax_in_flight = 2\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def failed(run, job, local_platform, tmp_path):
    """The rows 3 and 13 of the job, which failed for a passing reason."""
    local_platform.faults = [faults.RecordErrors(containing="3}", times=None)]
    assert run("publish", "--config", job).exit_code == 1
    local_platform.faults = []
    for name in ("r.parquet", "s.json"):
        (tmp_path / name).unlink()
    return tmp_path / "f.parquet"


def sent(local_platform):
    records = local_platform.records(STREAM)
    return sorted((record.partition_key, json.loads(record.data)["n"]) for record in records)


def test_the_jobs_rows_go_where_the_job_sends_them(run, job, failed, local_platform, tmp_path):
    before = sent(local_platform)
    done = run("retry", "--config", job)
    assert done.exit_code == 0, done.stderr
    assert sent(local_platform) == sorted([*before, ("attic", 3), ("attic", 13)])
    assert done.stderr.splitlines()[-1].startswith("2 rows stored in ")
    assert len(pd.read_parquet(tmp_path / "f-left.parquet")) == 0
    assert not (tmp_path / "r.parquet").exists()
    assert not (tmp_path / "s.json").exists()
    assert pd.read_parquet(failed).n.tolist() == [3, 13]


def test_what_is_left_stands_beside_it_and_can_be_sent_again(
    run, job, failed, local_platform, tmp_path
):
    local_platform.faults = [faults.RecordErrors(containing="13}", times=None)]
    done = run("retry", "--config", job, failed)
    assert done.exit_code == 1
    left = tmp_path / "f-left.parquet"
    assert pd.read_parquet(left).n.tolist() == [13]
    local_platform.faults = []
    assert run("retry", "--config", job, left, "--failed", tmp_path / "x.parquet").exit_code == 0
    assert [n for _, n in sent(local_platform)].count(13) == 1
    assert len(pd.read_parquet(tmp_path / "x.parquet")) == 0


def test_a_row_with_a_bad_cell_waits_until_it_is_mended(run, tmp_path, local_platform):
    rows, job, failed = (tmp_path / name for name in ("rows.csv", "job.toml", "f.parquet"))
    rows.write_text("n,room\n1,hall\nthree,hall\n")
    job.write_text(
        f'files = "{rows}"\nstream = "{STREAM}"\nfailed = "{failed}"\n'
        f'types = {{ n = "int64" }}\npartition_key = "room"\n'
    )
    assert run("publish", "--config", job).exit_code == 1
    assert run("retry", "--config", job).exit_code == 1
    mended = pd.read_parquet(failed).assign(n=3, __v3io_invalid=None)
    mended.to_parquet(failed)
    assert run("retry", "--config", job).exit_code == 0
    assert sent(local_platform) == [("hall", 1), ("hall", 3)]


def test_lines_that_are_not_objects_are_sent_as_lines(run, tmp_path, local_platform):
    job, failed = tmp_path / "job.toml", tmp_path / "f.parquet"
    job.write_text(f'files = "in.jsonl"\nstream = "{STREAM}"\npartition_key = "room"\n')
    lines = ['{"n": 1, "room": "hall"}', '{"n": 2, "room"']
    pq.write_table(pa.table({"line": lines, "__v3io_status": ["unsent", "rejected"]}), failed)
    done = run("retry", "--config", job, failed)
    assert done.exit_code == 1
    assert sent(local_platform) == [("hall", 1)]
    left = pq.read_table(tmp_path / "f-left.parquet")
    assert lines[1] in str(left.to_pylist())


def test_the_platform_can_stop_it(run, job, failed, local_platform):
    local_platform.faults = [faults.refused(status=401, times=None)]
    assert run("retry", "--config", job).exit_code == 4


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "expected --config JOB.toml"),
        (["--config", "{job}", "--where", "n > 1"], "No such option"),
        (
            ["--config", "{job}", "{failed}", "--failed", "{failed}"],
            "is one of the files to publish",
        ),
        (["--config", "{job}", "nothing.parquet"], "'nothing.parquet' does not exist"),
    ],
)
def test_what_sends_nothing(run, job, failed, local_platform, words, says):
    before = sent(local_platform)
    done = run("retry", *(word.format(job=job, failed=failed) for word in words))
    assert done.exit_code == 2
    assert says in done.stderr
    assert sent(local_platform) == before

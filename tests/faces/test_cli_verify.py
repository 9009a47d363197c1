"""`v3io-put verify` against the local platform: what it says, and how it exits."""

import pandas as pd
import pytest
from click.testing import CliRunner

from v3io_frames_put import put_records
from v3io_frames_put.cli import main

STREAM = "projects/house/readings"


@pytest.fixture
def results_file(local_platform, tmp_path):
    local_platform.create_stream(STREAM, shards=2)
    frame = pd.DataFrame({"row": range(8)}, index=list("abcdefgh"))
    results = put_records(frame, STREAM, client=local_platform.client())
    path = tmp_path / "results.parquet"
    results.to_parquet(path)
    return path


@pytest.fixture
def verify(local_platform, monkeypatch):
    monkeypatch.setenv("V3IO_API", local_platform.endpoint)
    return lambda *words: CliRunner().invoke(main, ["verify", *map(str, words)])


def test_rows_that_stand_there_exit_with_0(verify, results_file):
    done = verify(results_file, STREAM)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "8 of 8 stored rows are where the results say.\n"


def test_rows_that_are_missing_exit_with_3(verify, results_file, local_platform):
    local_platform.platform.drop_records(STREAM, keep_last=1)
    done = verify(results_file, STREAM)
    assert done.exit_code == 3
    assert done.stdout.startswith("2 of 8 stored rows are where the results say.\n6 are missing:")


def test_a_stream_that_is_not_there_exits_with_4(verify, results_file):
    done = verify(results_file, "projects/nothing/here")
    assert (done.exit_code, done.stdout) == (4, "")
    assert "projects/nothing/here" in done.stderr


@pytest.mark.parametrize("content", [b"", b"PAR1", b"a,b\n1,2\n"])
def test_a_file_that_is_no_parquet_exits_with_2(verify, results_file, content):
    results_file.write_bytes(content)
    done = verify(results_file, STREAM)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--results" in done.stderr


def test_a_table_that_is_no_results_exits_with_2(verify, results_file):
    pd.DataFrame({"a": [1]}).to_parquet(results_file)
    done = verify(results_file, STREAM)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Error: RESULTS: expected the results of a run; it has no column" in done.stderr


def test_a_file_that_is_not_there_exits_with_2(verify, tmp_path):
    assert verify(tmp_path / "nothing.parquet", STREAM).exit_code == 2


def test_the_results_of_a_job_can_be_verified(verify, results_file, local_platform, tmp_path):
    table, told = tmp_path / "rows.csv", tmp_path / "told.parquet"
    table.write_text("row,key\n1,a\n2,b\n3,a\n")
    words = ["publish", table, STREAM, "--partition-key", "key", "--results", told]
    published = CliRunner().invoke(main, [*map(str, words)])
    assert published.exit_code == 0, published.output
    done = verify(told, STREAM)
    assert (done.exit_code, done.stdout) == (0, "3 of 3 stored rows are where the results say.\n")

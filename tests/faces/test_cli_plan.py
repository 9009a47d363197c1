"""`v3io-put plan` says what `v3io-put publish` does, and asks no platform."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet as pq

from v3io_frames_put import Client, ConfigError, DataError, Limits, jobs
from v3io_frames_put.cli import main

STREAM = "projects/house/readings"


@pytest.fixture
def run():
    def run(*words):
        return CliRunner().invoke(main, [*map(str, words)])

    return run


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rooms.parquet"
    pq.write_table(pa.table({"n": [1, 2, 3], "room": ["hall", "attic", "hall"]}), path)
    return path


def test_the_plan_is_printed_and_no_platform_is_asked(run, file):
    told = run("plan", file, STREAM, "--partition-key", "room")
    assert (told.exit_code, told.stderr) == (0, "")
    assert told.stdout == (
        "Stream:            projects/house/readings\n"
        "Rows:              3\n"
        "Records:           3\n"
        "Requests:          1\n"
        "Bytes on the wire: 204\n"
        "Bytes of a record: min 21, median 21, p95 22, max 22\n"
        "Destinations:      partition keys 2\n"
        "Rejected rows:     0\n"
        "\n"
        "Records of the most frequent keys\n"
        "             2 'hall'\n"
        "             1 'attic'\n"
        "\n"
        "67% of the records have the partition key 'hall': one shard takes them all.\n"
    )


def test_it_says_what_publish_then_does(run, file, local_platform, monkeypatch):
    words = (file, STREAM, "--where", "n > 1", "--columns", "room", "--rows-per-record", 2)
    planned = jobs.plan(file, STREAM, where="n > 1", columns=["room"], rows_per_record=2)
    assert run("plan", *words).stdout == f"{planned!r}\n"
    assert local_platform.requests == []
    monkeypatch.setenv("V3IO_API", local_platform.endpoint)
    told = run("publish", *words, "--create", "--summary", "-")
    receipt = json.loads(told.stdout)
    assert (planned.rows, planned.records) == (2, len(local_platform.records(STREAM)))
    assert (planned.requests, planned.body_bytes) == (receipt["requests"], receipt["bytes"])
    assert planned.preview[0].data == local_platform.records(STREAM)[0].data


def test_it_takes_every_option_of_publish_and_a_job_file(run, file, tmp_path):
    taken = {name: param.opts for name, param in params_of("plan").items()}
    assert taken == {name: param.opts for name, param in params_of("publish").items()}
    job = tmp_path / "job.toml"
    job.write_text(
        f'files = "{file}"\nstream = "{STREAM}"\ncreate = true\nresults = "{tmp_path}/r.parquet"\n'
        f'endpoint = "http://127.0.0.1:1"\nsummary = "{tmp_path}/s.json"\n',
        encoding="utf-8",
    )
    told = run("plan", "--config", job)
    assert told.exit_code == 0
    assert "Rows:              3\n" in told.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.toml", "rooms.parquet"]


def params_of(name):
    return {param.name: param for param in main.commands[name].params}


def test_rows_that_would_be_refused_end_with_one_as_publish_does(run, tmp_path):
    path = tmp_path / "odd.parquet"
    pq.write_table(pa.table({"n": [0.5, float("inf")]}), path)
    told = run("plan", path, STREAM)
    assert told.exit_code == 1
    assert "column 'n' (double) holds an infinity" in told.stdout
    assert run("plan", path, STREAM, "--infinity", "null").exit_code == 0


def test_cells_that_do_not_fit_their_type_are_refused(run, tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text("n\n1\ntwo\n", encoding="utf-8")
    told = run("plan", path, STREAM, "--types", "n=int64")
    assert told.exit_code == 1
    assert "two" in told.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "expected FILES"),
        (("missing.parquet", STREAM), "missing.parquet"),
        (("{file}", "nowhere"), "nowhere"),
        (("{file}", STREAM, "--partition-key", "floor"), "floor"),
    ],
    ids=["nothing", "no such file", "no stream", "no such column"],
)
def test_what_cannot_be_planned_ends_with_two(run, file, words, says):
    told = run("plan", *(word.format(file=file) for word in words))
    assert told.exit_code == 2
    assert says in told.stderr
    assert told.stdout == ""


def test_a_file_that_cannot_be_read_is_told(run, file, tmp_path):
    broken = tmp_path / "torn.parquet"
    broken.write_bytes(file.read_bytes()[:100])
    told = run("plan", file, broken, STREAM)
    assert (told.exit_code, told.stdout) == (2, "")
    assert "torn.parquet cannot be read" in told.stderr
    with pytest.raises(DataError, match=r"torn\.parquet"):
        jobs.plan([file, broken], STREAM)


def test_the_limits_of_a_client_count(file):
    with Client("http://127.0.0.1:1", limits=Limits(max_records=2)) as client:
        assert jobs.plan(file, STREAM, client=client).requests == 2


def test_options_are_checked(file):
    with pytest.raises(ConfigError, match="twice"):
        jobs.plan(file, STREAM, delivery="twice")


def test_options_that_publish_does_not_have_are_refused(file):
    with pytest.raises(TypeError, match=r"plan\(\) got .*'wher'\. Did you mean 'where'"):
        jobs.plan(file, STREAM, wher="n > 1")


def test_options_that_send_nothing_are_ignored(file, tmp_path):
    results = tmp_path / "r.parquet"
    assert jobs.plan(file, STREAM, results=results, create=True, shards=3).rows == 3
    assert not results.exists()

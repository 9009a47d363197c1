"""`v3io-put publish`: its options, its files, and every exit code, against the local platform."""

from __future__ import annotations

import gzip
import inspect
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet as pq

from v3io_frames_put import jobs
from v3io_frames_put.cli import main
from v3io_frames_put.local import faults

STREAM = "projects/house/readings"


@pytest.fixture
def run(local_platform, monkeypatch):
    monkeypatch.setenv("V3IO_API", local_platform.endpoint)
    local_platform.create_stream(STREAM, shards=2)

    def run(*words, text=None):
        return CliRunner().invoke(main, ["publish", *map(str, words)], input=text)

    return run


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "rooms.parquet", n=[1, 2, 3], room=["hall", "attic", "hall"])


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def sent_to(local_platform):
    return [arrival for arrival in local_platform.requests if arrival.function == "PutRecords"]


def sent(local_platform):
    return [json.loads(record.data) for record in local_platform.records(STREAM)]


class TestOptions:
    def test_are_the_keywords_of_the_function(self):
        keywords = {
            name: parameter.default
            for name, parameter in inspect.signature(jobs.publish).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        command = main.commands["publish"]
        context = command.make_context("publish", ["a", "b/c"])
        options = {param.name: param.get_default(context) for param in command.params}
        for name in ("cancel", "client", "encoding", "on_error"):
            del keywords[name]
        assert {name: options[name] for name in keywords} == keywords

    def test_reach_the_function(self, run, file, local_platform):
        done = run(
            file, STREAM, "--columns", "room,n", "--types", "n=decimal128(5, 2)", "--shard", 1,
            "--where", "n > 1", "--rows-per-record", 1, "--max-in-flight", 2, "--no-progress",
        )  # fmt: skip
        assert done.exit_code == 0, done.stderr
        assert sent(local_platform) == [
            {"room": "attic", "n": "2.00"},
            {"room": "hall", "n": "3.00"},
        ]
        assert {record.shard_id for record in local_platform.records(STREAM)} == {1}

    def test_as_many_requests_as_go(self, run, file, local_platform):
        done = run(file, STREAM, "--max-in-flight", "auto")
        assert done.exit_code == 0, done.stderr
        assert len(local_platform.records(STREAM)) == 3

    @pytest.mark.parametrize(
        ("codec", "magic"), [("zstd", b"\x28\xb5\x2f\xfd"), ("lz4", b"\x04\x22\x4d\x18")]
    )
    def test_arrow_compression(self, run, tmp_path, local_platform, codec, magic):
        ones = write(tmp_path / "ones.parquet", n=[1] * 1_000)
        words = ("--format", "arrow", "--rows-per-record", "auto", "--arrow-compression", codec)
        assert run(ones, STREAM, *words).exit_code == 0
        (record,) = local_platform.records(STREAM)
        assert magic in record.data
        assert pa.ipc.open_stream(record.data).read_all()["n"].to_pylist() == [1] * 1_000

    def test_create(self, run, file, local_platform):
        done = run(file, "projects/new/one", "--create", "--shards", 3, "--retention-hours", 5)
        assert done.exit_code == 0, done.stderr
        assert len(local_platform.records("projects/new/one")) == 3

    def test_infinity(self, run, tmp_path, local_platform):
        endless = write(tmp_path / "e.parquet", x=[float("inf")])
        assert run(endless, STREAM).exit_code == 1
        assert run(endless, STREAM, "--infinity", "string").exit_code == 0
        assert sent(local_platform) == [{"x": "Infinity"}]


class TestOutput:
    def test_stdout_has_the_summary_alone(self, run, file, tmp_path):
        done = run(file, STREAM, "--summary", "-", "--results", tmp_path / "r.parquet")
        told = json.loads(done.stdout)
        assert done.stdout.count("\n") == 1
        assert told["counts"] == {"stored": 3, "rejected": 0, "unsent": 0, "unknown": 0}
        assert (told["complete"], told["error"]) == (True, None)
        assert told["results"] == str(tmp_path / "r.parquet")
        assert pd.read_parquet(tmp_path / "r.parquet").status.tolist() == ["stored"] * 3

    def test_a_summary_in_a_file(self, run, file, tmp_path):
        done = run(file, STREAM, "--summary", tmp_path / "s.json")
        assert done.stdout == ""
        assert json.loads((tmp_path / "s.json").read_text())["rows"] == 3

    def test_a_summary_never_stands_in_the_place_of_a_file_that_is_read(
        self, run, file, local_platform
    ):
        before = file.read_bytes()
        done = run(file, STREAM, "--summary", file.parent / "." / file.name)
        assert done.exit_code == 2
        assert "one of the files to publish" in done.stderr
        assert file.read_bytes() == before
        assert sent(local_platform) == []

    def test_a_summary_is_written_anew_where_the_names_of_files_do_not_show_what_they_hold(
        self, run, tmp_path, local_platform
    ):
        summary, file = tmp_path / "s.json", tmp_path / "data"
        summary.touch()
        file.write_text("n\n1\n")
        for named, text in ((file, None), ("-", "n\n2\n")):
            words = ["--input-format", "csv", "--summary", summary]
            assert run(named, STREAM, *words, text=text).exit_code == 0
            assert json.loads(summary.read_text())["rows"] == 1
        assert len(sent(local_platform)) == 2

    def test_without_summary_stdout_is_empty(self, run, file):
        done = run(file, STREAM)
        assert done.stdout == ""
        assert "ended" in done.stderr

    def test_a_log_of_json(self, run, file):
        lines = [
            json.loads(li)
            for li in run(file, STREAM, "--log-format", "json").stderr.split("\n")
            if li
        ]
        assert {line["level"] for line in lines} == {"info"}
        assert "sending to projects/house/readings" in lines[0]["message"]

    @pytest.mark.filterwarnings("default::v3io_frames_put.InsecureConnectionWarning")
    def test_a_log_of_json_tells_of_warnings_and_errors_too(self, run, file, local_platform):
        refused = write(file.parent / "refused.parquet", n=[1, 2], room=["hall", "x" * 300])
        for options, level, said in [
            ([refused, STREAM, "--partition-key", "room"], "error", "1 of 2 rows are not"),
            ([file, "projects/house/none"], "error", "nothing is there"),
            ([file, STREAM, "--partition-key", "floor"], "error", "'floor' is not a column"),
            ([file, STREAM, "--shard", "-1"], "error", "--shard -1: expected 0 to 4,095"),
            ([file, STREAM, "--insecure"], "warning", "TLS is not verified"),
        ]:
            lines = run(*options, "--log-format", "json").stderr.splitlines()
            told = [json.loads(line) for line in lines]
            assert [one["level"] for one in told if said in one["message"]] == [level], told

    def test_inferred_types_are_printed(self, run, tmp_path):
        (tmp_path / "a.csv").write_text("n,x\n1,2.5\n")
        assert "n=int64, x=double" in run(tmp_path / "a.csv", STREAM).stderr

    def test_failed_is_fed_straight_back(self, run, tmp_path, local_platform):
        rooms = write(tmp_path / "r.parquet", n=[1, 2], room=["hall", "x" * 300])
        failed = tmp_path / "f.parquet"
        assert run(rooms, STREAM, "--partition-key", "room", "--failed", failed).exit_code == 1
        refused = run(failed, STREAM, "--failed", failed)
        assert refused.exit_code == 2
        assert "is one of the files to publish" in refused.stderr
        assert run(failed, STREAM).exit_code == 0
        assert sorted(row["n"] for row in sent(local_platform)) == [1, 2]
        assert {tuple(row) for row in sent(local_platform)} == {("n", "room")}


class TestConfig:
    def test_says_all_that_a_command_line_can(self, run, file, tmp_path, local_platform):
        config = tmp_path / "job.toml"
        config.write_text(
            f'files = "{file}"\nstream = "{STREAM}"\nwhere = "n < 3"\ncolumns = ["n"]\n'
            f'partition-key = "room"\ntypes = {{ room = "large_string" }}\nsummary = "-"\n'
        )
        done = run("--config", config)
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["rows"] == 2
        assert sorted(row["n"] for row in sent(local_platform)) == [1, 2]

    def test_the_command_line_wins(self, run, file, tmp_path):
        config = tmp_path / "job.toml"
        config.write_text(f'stream = "{STREAM}"\nwhere = "n < 3"\n')
        done = run(file, STREAM, "--config", config, "--where", "n = 3", "--summary", "-")
        assert json.loads(done.stdout)["rows"] == 1

    def test_one_word_beside_a_job_file_that_says_both_is_no_guess(
        self, run, file, tmp_path, local_platform
    ):
        config = tmp_path / "job.toml"
        config.write_text(f'files = "{file}"\nstream = "{STREAM}"\n')
        done = run(tmp_path / "other.parquet", "--config", config)
        assert done.exit_code == 2
        assert "other.parquet alone would be STREAM" in done.stderr
        config.write_text(f'files = "{file}"\n')
        assert run(STREAM, "--config", config).exit_code == 0
        assert len(sent(local_platform)) == 3

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("summary", "results"),
            ("summary", "journal"),
            ("summary", "config"),
            ("failed", "config"),
            ("journal", "failed"),
        ],
    )
    def test_no_output_is_written_over_another(
        self, run, file, tmp_path, local_platform, one, other
    ):
        config = tmp_path / "job.toml"
        config.write_text(f'files = "{file}"\nstream = "{STREAM}"\n')
        places = {"config": config, other: config if other == "config" else tmp_path / "o"}
        words = {**places, one: tmp_path / "." / places[other].name}
        done = run(*(word for name, path in words.items() for word in (f"--{name}", path)))
        assert done.exit_code == 2
        assert ", too. Choose another place" in done.stderr
        assert sent(local_platform) == []
        assert config.read_text() == f'files = "{file}"\nstream = "{STREAM}"\n'

    def test_an_unknown_key_is_refused_with_the_nearest(self, run, file, tmp_path, local_platform):
        config = tmp_path / "job.toml"
        config.write_text('partition_kye = "room"\n')
        done = run(file, STREAM, "--config", config)
        assert done.exit_code == 2
        assert "'partition_kye'" in done.stderr
        assert "Did you mean 'partition_key'?" in done.stderr
        assert sent(local_platform) == []

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("results = 5", "results = 5: expected text, in quotes"),
            ('stream = ["projects/s"]', "expected text, in quotes"),
            ("shards = 2.7", "'2.7' is not a valid integer"),
            ("shards = true", "'True' is not a valid integer"),
            ("shards = [2]", "'[2]' is not a valid integer"),
            ("max_in_flight = 4.5", "--max-in-flight '4.5': expected a whole number from 1"),
            ('types = ["n"]', "is not text or a table of types"),
            ("types = 5", "'--types': 5 is not text or a table of types"),
            ("columns = 5", "'--columns': 5 is not text or a list of names"),
            ("columns = { n = 1 }", "is not text or a list of names"),
            ("create = 5", "'5' is not a valid boolean"),
            ('where = ""', "--where '': expected a condition as text"),
        ],
    )
    def test_a_value_that_no_option_takes(self, run, file, tmp_path, local_platform, line, says):
        config = tmp_path / "job.toml"
        config.write_text(line + "\n")
        done = run(file, STREAM, "--config", config)
        assert done.exit_code == 2
        assert says in done.stderr
        assert sent(local_platform) == []

    def test_what_is_no_toml(self, run, file, tmp_path):
        config = tmp_path / "job.toml"
        config.write_text("where: n\n")
        assert run(file, STREAM, "--config", config).exit_code == 2


class TestExitCodes:
    def test_0_all_is_well(self, run, file):
        assert run(file, STREAM).exit_code == 0

    def test_0_a_condition_that_matches_nothing_and_says_so(self, run, file):
        done = run(file, STREAM, "--where", "n > 100", "--summary", "-")
        assert done.exit_code == 0
        assert json.loads(done.stdout)["rows"] == 0
        assert "0 rows were sent: no row matches where" in done.stderr

    def test_1_rejected_rows(self, run, tmp_path):
        rooms = write(tmp_path / "r.parquet", n=[1, 2], room=["hall", "x" * 300])
        done = run(rooms, STREAM, "--partition-key", "room")
        assert done.exit_code == 1
        assert "1 of 2 rows are not stored (1 rejected)" in done.stderr

    def test_1_an_input_that_cannot_be_read_to_its_end(self, run, file, tmp_path, local_platform):
        lines = "n,room\n" + "".join(f"{n},hall\n" for n in range(40_000))
        packed = gzip.compress(lines.encode())
        (tmp_path / "z.csv.gz").write_bytes(packed[: len(packed) * 2 // 3])
        done = run(file, tmp_path / "z.csv.gz", STREAM, "--summary", "-")
        assert done.exit_code == 1
        told = json.loads(done.stdout)
        assert (told["counts"]["stored"], told["complete"]) == (len(sent(local_platform)), False)
        assert told["counts"]["stored"] > 3
        assert "z.csv.gz cannot be read to its end" in told["error"]

    def test_2_an_input_that_cannot_be_opened(self, run, file, tmp_path, local_platform):
        (tmp_path / "z.parquet").write_bytes(file.read_bytes()[:-5])
        done = run(file, tmp_path / "z.parquet", STREAM)
        assert done.exit_code == 2
        assert "z.parquet cannot be read" in done.stderr
        assert sent(local_platform) == []

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ([], "expected FILES"),
            (["only-one-word"], "expected FILES"),
            (["nothing/*.parquet", STREAM], "leads to no file"),
            (["FILE", "projects"], "projects"),
            (["FILE", STREAM, "--partition-key", "color"], "'color' is not a column"),
            (["FILE", STREAM, "--where", "n >"], "Write comparisons of a column"),
            (["FILE", STREAM, "--types", "n"], "is not column=type"),
            (["FILE", STREAM, "--types", "n=integer"], "is not a type"),
            (["FILE", STREAM, "--max-in-flight", "0"], "--max-in-flight 0: expected"),
        ],
    )
    def test_2_nothing_was_sent(self, run, file, local_platform, words, said):
        done = run(*(file if word == "FILE" else word for word in words))
        assert done.exit_code == 2
        assert said in done.stderr
        assert sent(local_platform) == []

    def test_3_rows_nobody_knows_about(self, run, file, tmp_path, local_platform):
        local_platform.faults = [faults.lost_answer()]
        failed = tmp_path / "f.parquet"
        done = run(file, STREAM, "--delivery", "at_most_once", "--failed", failed)
        assert done.exit_code == 3
        assert len(pd.read_parquet(failed)) == 0

    def test_4_the_platform_stopped_the_run(self, run, file):
        done = run(file, "projects/no/stream", "--summary", "-")
        assert done.exit_code == 4
        assert json.loads(done.stdout)["counts"]["unsent"] == 3

    @pytest.mark.parametrize(
        ("start", "number", "code"),
        [
            ([], signal.SIGINT, 130),
            ([], signal.SIGTERM, 143),
            # As a shell starts what stands before "&".
            (["sh", "-c", """trap "" INT; exec "$@" """, "sh"], signal.SIGTERM, 143),
        ],
        ids=["SIGINT", "SIGTERM", "in the background"],
    )
    def test_130_and_143_signals(self, file, tmp_path, local_platform, start, number, code):
        local_platform.create_stream(STREAM)
        local_platform.faults = [faults.throttled(times=None, retry_after_seconds=60)]
        results, failed = tmp_path / "r.parquet", tmp_path / "f.parquet"
        words = [
            "publish",
            file,
            STREAM,
            "--results",
            results,
            "--failed",
            failed,
            "--summary",
            "-",
            "--log-format",
            "json",
        ]
        with subprocess.Popen(
            [*start, sys.executable, "-m", "v3io_frames_put", *map(str, words)],
            env=os.environ | {"V3IO_API": local_platform.endpoint},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as job:
            assert job.stderr is not None
            assert any("sending to" in line for line in job.stderr)
            local_platform.wait_until(sent_to)
            job.send_signal(number)
            out, err = job.communicate(timeout=60)
        assert job.returncode == code, err
        last = [json.loads(line) for line in err.splitlines()][-1]
        assert (last["level"], "stopped while sending" in last["message"]) == ("error", True)
        assert json.loads(out)["counts"]["unsent"] == 3
        assert pd.read_parquet(results).status.tolist() == ["unsent"] * 3
        assert pd.read_parquet(failed).n.tolist() == [1, 2, 3]


def test_a_summary_that_cannot_be_written_is_refused_before_anything_is_sent(
    run, local_platform, file, tmp_path
):
    done = run(file, STREAM, "--summary", tmp_path / "no" / "summary.json")
    assert done.exit_code == 2
    assert "--summary" in done.stderr
    assert sent_to(local_platform) == []


def test_a_summary_that_fails_at_the_end_hides_nothing(run, file):
    done = run(file, STREAM, "--summary", "/dev/full")
    assert done.exit_code == 0
    assert "/dev/full cannot be written" in done.stderr


def test_nor_does_a_full_disk_under_stdout(run, file):
    words = ["publish", str(file), STREAM, "--summary", "-"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "v3io_frames_put", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
    assert "--summary - cannot be written" in done.stderr


@pytest.mark.parametrize("wrong", [["--order", "any"], ["--nope"], ["--rows-per-record", "x"]])
def test_wrong_options_are_told_in_the_form_of_the_log(run, file, tmp_path, wrong):
    config = tmp_path / "job.toml"
    config.write_text('log_format = "json"')
    done = run(file, STREAM, *wrong, "--config", config)
    assert done.exit_code == 2
    if wrong == ["--nope"]:  # nothing of the line was read yet
        assert "Usage: " in done.stderr
        done = run(file, STREAM, "--log-format", "json", "--order", "any")
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["level"] == "error"


@pytest.mark.parametrize("asked", [["--log-format", "json"], ["--log-format=json"]])
@pytest.mark.parametrize("wrong", ["--config", "--nope", "--summary"])
def test_a_line_that_asks_for_json_is_told_in_json_what_is_wrong_before(
    run, file, tmp_path, asked, wrong
):
    (tmp_path / "job.toml").write_text("ordr = 'any'")
    done = run(file, STREAM, wrong, tmp_path / "job.toml", *asked, "--columns", "n", "--summary")
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["level"] == "error"


def test_progress_without_stderr_is_not_shown(run, file, local_platform):
    words = ["publish", str(file), STREAM, "--progress"]
    subprocess.run(
        [sys.executable, "-m", "v3io_frames_put", *words],
        preexec_fn=lambda: os.close(2),
        check=True,
    )
    assert len(sent(local_platform)) == 3


@pytest.mark.parametrize("wrong", [[], ["--order", "any"]], ids=["well", "wrong"])
def test_the_log_is_as_before_when_the_command_is_over(run, file, wrong):
    log = logging.getLogger("v3io_frames_put")
    before = list(log.handlers), log.level
    run(file, STREAM, "--log-format", "json", *wrong)
    assert (log.handlers, log.level) == before


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_log_that_nobody_takes_costs_no_results(run, file, tmp_path, log_format):
    results, failed = tmp_path / "r.parquet", tmp_path / "f.parquet"
    outputs = ["--results", str(results), "--failed", str(failed), "--summary", "-"]
    words = ["publish", str(file), STREAM, *outputs, "--log-format", log_format]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "v3io_frames_put", *words],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            check=True,
        )
    assert json.loads(done.stdout)["counts"]["stored"] == 3
    assert len(pd.read_parquet(results)) == 3
    assert len(pd.read_parquet(failed)) == 0


def test_a_mistyped_stream_is_no_dead_end_for_its_journal(run, file, tmp_path, local_platform):
    journal = tmp_path / "run.v3io"
    for words, code in (
        ([file, "projects/hose/readings"], 4),
        ([file, STREAM, "--partition-key", "rom"], 2),
        ([file, "projects/hose/readings", "--delivery", "exactly_once"], 4),
    ):
        assert run(*words, "--journal", journal).exit_code == code
        assert list(tmp_path.iterdir()) == [file]
    assert run(file, STREAM, "--journal", journal).exit_code == 0
    assert len(sent(local_platform)) == 3

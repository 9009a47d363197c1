"""What the command writes: help, log, last lines, in any terminal and for any reader."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import signal
import struct
import subprocess
import sys
import termios

import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet as pq

from tests.internals import escape, to_json, to_options
from v3io_frames_put import Client
from v3io_frames_put.cli import main
from v3io_frames_put.errors import ConfigError
from v3io_frames_put.local import faults

STREAM = "projects/house/readings"
COUNTS = ["stored", "rejected", "unsent", "unknown"]


@pytest.fixture
def run(local_platform, monkeypatch):
    monkeypatch.setenv("V3IO_API", local_platform.endpoint)
    local_platform.create_stream(STREAM, shards=2)
    return lambda *words: CliRunner().invoke(main, [*map(str, words)])


@pytest.fixture
def start(local_platform):
    """Run the command as a program of its own."""
    local_platform.create_stream(STREAM, shards=2)

    def start(*words, python=(), variables=None, **options):
        return subprocess.run(
            [sys.executable, *python, "-m", "v3io_frames_put", *map(str, words)],
            env=os.environ | {"V3IO_API": local_platform.endpoint} | (variables or {}),
            check=False,
            **{"capture_output": True, **options},
        )

    return start


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rooms.parquet"
    pq.write_table(pa.table({"n": [1, 2, 3], "room": ["Łódź", "attic", "Łódź"]}), path)
    return path


def sent(local_platform):
    return [json.loads(record.data) for record in local_platform.records(STREAM)]


class TestHelp:
    def test_options_stand_in_groups(self, run):
        text = run("publish", "--help").stdout
        groups = re.findall(r"^([A-Z][a-z ]+):$", text, re.MULTILINE)
        assert groups == [
            "Rows", "Where to", "Delivery", "Files written", "Connection", "Output", "Options",
        ]  # fmt: skip
        assert text.count("  v3io-put publish ") == 3
        assert "Exit codes" in text

    @pytest.mark.parametrize("alias", ["put", "upload"])
    def test_aliases(self, run, file, local_platform, alias):
        assert run(alias, file, STREAM).exit_code == 0
        assert len(sent(local_platform)) == 3

    @pytest.mark.parametrize(
        ("word", "meant"),
        [
            ("publsh", "'publish'?"),
            ("uplaod", "'upload'?"),
            ("rety", "'retry'?"),
            ("PLAN", "'plan'?"),
            ("xyzzy", "Known are create, delete, demo, "),
        ],
    )
    def test_a_word_that_is_not_a_command(self, run, word, meant):
        done = run(word)
        assert done.exit_code == 2
        assert meant in done.stderr


class TestLastLine:
    def test_a_success_ends_with_rows_seconds_and_rate(self, run, file):
        last = run("publish", file, STREAM).stderr.splitlines()[-1]
        assert re.fullmatch(r"3 rows stored in \d+\.\d s, [\d,]+ rows/s\.", last)

    def test_a_run_that_was_complete_says_so(self, run, file, tmp_path):
        words = ("publish", file, STREAM, "--journal", tmp_path / "run.v3io")
        run(*words)
        last = run(*words).stderr.splitlines()[-1]
        assert last == "Already complete: 3 rows are stored. Nothing was sent."

    def test_a_failure_ends_with_its_error(self, run, file, local_platform):
        local_platform.faults = [faults.RecordErrors(containing='"n":2', times=None)]
        last = run("publish", file, STREAM).stderr.splitlines()[-1]
        assert last.startswith("Error: 1 of 3 rows are not stored (1 rejected). 1 x ")


class TestJsonLog:
    def read(self, done):
        return [json.loads(line) for line in done.stderr.splitlines()]

    def test_each_line_has_event_and_run_and_each_count_its_field(self, run, file):
        lines = self.read(run("publish", file, STREAM, "--log-format", "json"))
        assert [line["event"] for line in lines] == ["started", "ended", "finished"]
        (run_id,) = {line["run_id"] for line in lines}
        assert re.fullmatch(r"[0-9a-f]{16}", run_id)
        last = lines[-1]
        assert [last[name] for name in ("rows", *COUNTS)] == [3, 3, 0, 0, 0]
        assert (last["requests"], last["duplicates"], last["exit_code"]) == (1, 0, 0)
        assert {"bytes", "retried", "seconds", "rows_per_second"} < set(last)
        assert [lines[1][name] for name in COUNTS] == [3, 0, 0, 0]

    def test_a_failure_too(self, run, file, local_platform):
        local_platform.faults = [faults.RecordErrors(containing='"n":2', times=None)]
        last = self.read(run("publish", file, STREAM, "--log-format", "json"))[-1]
        assert (last["event"], last["level"], last["exit_code"]) == ("failed", "error", 1)
        assert [last[name] for name in COUNTS] == [2, 1, 0, 0]

    def test_what_sent_nothing_has_no_run(self, run, file):
        words = ("publish", file, STREAM, "--shard", "floor", "--log-format", "json")
        (line,) = self.read(run(*words))
        assert (line["event"], line["run_id"], line["exit_code"]) == ("failed", None, 2)

    def test_what_is_tried_again(self, run, file, local_platform):
        local_platform.faults = [faults.refused(status=503, times=1)]
        lines = self.read(run("publish", file, STREAM, "--log-format", "json"))
        (retried,) = (line for line in lines if line["event"] == "retried")
        assert (retried["level"], retried["requests"], retried["rows"]) == ("warning", 1, 3)


class TestAnyTerminal:
    @pytest.mark.parametrize("words", [["plan"], ["publish", "--summary", "-"]])
    @pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
    def test_what_it_cannot_show_is_escaped(self, start, file, words, encoding):
        renamed = file.rename(file.with_name("Łódź.parquet"))
        command, *options = words
        done = start(
            command, renamed, STREAM, "--partition-key", "room", *options,
            "--results", file.with_name("Ł.parquet"), variables={"PYTHONIOENCODING": encoding},
        )  # fmt: skip
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
        text = done.stdout.decode(encoding)
        if command == "plan":
            assert r"'\u0141" in text
        else:
            assert json.loads(text)["results"].endswith("Ł.parquet")

    def test_what_it_would_obey_is_escaped(self, run, file, local_platform):
        text = "\x1b[2J\x1b]0;gone\x07\x9b1m"
        refused = faults.refused(status=400, message=text, function="DescribeStream", times=None)
        local_platform.faults = [refused]
        done = run("describe", STREAM)
        assert done.exit_code == 4
        assert not set("\x1b\x07\x9b") & set(done.stderr)
        assert "\\x1b[2J\\x1b]0;gone\\x07\\x9b1m" in done.stderr

    def test_line_breaks_stay(self):
        assert escape("a\tb\nc\rd\u2028e\x85") == "a\tb\nc\\rd\\u2028e\\x85"
        assert to_json("\x9b\u2028é") == '"\\u009b\\u2028é"'


class TestOtherProcesses:
    """Where nobody reads stderr, or every warning is an error."""

    def test_warnings_as_errors_end_no_run(self, start, file, local_platform):
        local_platform.faults = [faults.RecordErrors(containing='"n":2', times=None)]
        done = start(
            "publish", file, STREAM, "--insecure", "--summary", "-", python=["-W", "error"]
        )
        assert done.returncode == 1, done.stderr
        assert json.loads(done.stdout)["counts"]["stored"] == 2
        assert b"Warning: --insecure: TLS is not verified" in done.stderr

    @pytest.mark.parametrize("words", [["--progress"], ["--log-format", "json"], []])
    @pytest.mark.parametrize("code", [0, 2])
    def test_stderr_that_is_closed_or_full(self, start, file, local_platform, words, code):
        wrong = ["--order", "any"] if code else []
        closed = start(
            "publish", file, STREAM, *words, *wrong, preexec_fn=lambda: os.close(2),
            capture_output=False,
        )  # fmt: skip
        assert closed.returncode == code
        with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
            done = start("publish", file, STREAM, *words, *wrong, capture_output=False, stderr=full)
        assert done.returncode == code
        assert len(sent(local_platform)) == (0 if code else 6)

    def test_a_closed_stdout(self, start, file):
        done = start(
            "publish", file, STREAM, "--summary", "-", preexec_fn=lambda: os.close(1),
            capture_output=False, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize("how", ["module", "script"])
    def test_ctrl_c_while_it_imports(self, tmp_path, how):
        """A package that is imported first says when, and waits to be interrupted."""
        (tmp_path / "pandas.py").write_text(
            "import sys, time\nprint('importing', flush=True)\ntime.sleep(60)\n"
        )
        script = tmp_path / "v3io-put"  # as an installer writes it
        script.write_text("from v3io_frames_put.cli import main\nmain()\n")
        words = ["-m", "v3io_frames_put"] if how == "module" else [str(script)]
        with subprocess.Popen(
            [sys.executable, *words, "--version"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"importing\n"
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (130, b"")

    def test_an_import_changes_no_signal_elsewhere(self):
        code = (
            "import signal, v3io_frames_put;"
            "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestSecrets:
    KEY = "s3cret-key-0123456789"

    @pytest.mark.parametrize("log_format", ["text", "json"])
    @pytest.mark.parametrize("text", [KEY, f"{KEY}\0", KEY * 500])
    def test_a_key_in_the_place_of_its_file_is_not_shown(self, run, file, text, log_format):
        words = ("publish", file, STREAM, "--access-key-file", text, "--log-format", log_format)
        done = run(*words)
        assert done.exit_code == 2
        assert "expected the path of a file that holds the access key" in done.stderr
        assert self.KEY not in done.output

    def test_nor_in_a_job_file(self, run, file, tmp_path):
        config = tmp_path / "job.toml"
        for line in (f'access_key_file = "{self.KEY}"', f'access-key-file = ["{self.KEY}"]'):
            config.write_text(f"{line}\n")
            done = run("publish", file, STREAM, "--config", config)
            assert done.exit_code == 2
            assert self.KEY not in done.output

    def test_a_401_says_that_the_key_of_the_environment_was_not_sent(
        self, run, file, local_platform, monkeypatch
    ):
        local_platform.faults = [faults.refused(status=401, times=None)]
        words = ("publish", file, STREAM)
        assert "Check --access-key-file or V3IO_ACCESS_KEY" in run(*words).stderr
        monkeypatch.setenv("V3IO_ACCESS_KEY", self.KEY)
        assert "Check --access-key-file or V3IO_ACCESS_KEY" in run(*words).stderr
        describe = faults.refused(status=401, function="DescribeStream", times=None)
        local_platform.faults = [*local_platform.faults, describe]
        demo = ("demo", "--rows", "1", "--stream", "projects/new")
        create = faults.refused(status=401, function="CreateStream", times=None)
        local_platform.faults = [*local_platform.faults, create]
        for command in (words, ("describe", STREAM), demo):
            done = run(*command, "--endpoint", local_platform.endpoint)
            assert done.exit_code == 4
            assert (
                "V3IO_ACCESS_KEY of the environment is not sent to an address given by --endpoint"
                in done.stderr
            )
            assert "Check " not in done.stderr
            assert self.KEY not in done.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_in_flight=0: expected more", "--max-in-flight 0: expected more"),
        ("types: a='int' is no type", "--types: a='int' is no type"),
        ("journal: run.v3io is in use", "--journal: run.v3io is in use"),
        ("there are none. See columns=.", "there are none. See --columns."),
        ("give the column another type by types.", "give the column another type by --types."),
        ("Set endpoint= or V3IO_API to it", "Set --endpoint or V3IO_API to it"),
        (
            "Give verify= the file; verify=False trusts",
            "Give --ca-file the file; --insecure trusts",
        ),
        ("client.create_stream('a/b', shards=8)", "v3io-put create 'a/b' --shards 8"),
        ("with failed= (--failed), what is left", "with --failed, what is left"),
        ("Read it with delimiter=';' (--delimiter ';').", "Read it with --delimiter ';'."),
        ("index=True sends it.", "--index sends it."),
        ("Send the row again with resume=results.", "Send the row again with v3io-put retry."),
        (
            "or choose Encoding(infinity='null' or 'string')",
            "or choose --infinity 'null' or 'string'",
        ),
        ("column 'where' of 'x=1' and day=5", "column 'where' of 'x=1' and day=5"),
        ("cell '?columns=3', \"it's where=1\"", "cell '?columns=3', \"it's where=1\""),
        ("Set V3IO_API, or give Client(endpoint=...).", "Set V3IO_API, or give --endpoint."),
        ("use it as it is with exist_ok=True.", "use it as it is with --exist-ok."),
        (
            "expected 'latest', a timestamp, or {shard: sequence_number}.",
            "expected 'latest', or a timestamp.",
        ),
        (
            "what it holds; expected input_format (csv).",
            "what it holds; expected --input-format (csv).",
        ),
        ("or nothing after skip_lines. Correct it.", "or nothing after --skip-lines. Correct it."),
        ("Name it with columns=[...].", "Name it with --columns."),
        ("skip_lines=-1: expected a number", "--skip-lines -1: expected a number"),
        ("the platform's, and types= of the user's", "the platform's, and --types of the user's"),
    ],
)
def test_messages_speak_the_language_of_the_command_line(text, said):
    assert to_options(text) == said


def test_errors_of_the_package_do_so_too(run, file, tmp_path):
    done = run("describe", STREAM, "--endpoint", "a@b")
    assert "V3IO_USERNAME and V3IO_PASSWORD, or by --access-key-file." in done.stderr
    with pytest.raises(ConfigError, match="username= and password="):
        Client("a@b")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["create", "a/b", "--shards", "0"], "Error: --shards: expected a whole number"),
        (["tail", STREAM, "--shard", "9"], "Error: --shard: expected a whole number"),
        (["create", STREAM], "Choose another, or use it as it is with --exist-ok."),
        (["publish", "-", STREAM], "shows what it holds; expected --input-format ("),
    ],
)
def test_an_error_names_the_option(run, words, line):
    assert line in run(*words).stderr


def test_the_logger_is_left_as_it_was(run, file):
    log = logging.getLogger("v3io_frames_put")
    before = list(log.handlers), log.level
    run("publish", file, STREAM)
    assert (log.handlers, log.level) == before


class TestBars:
    """Drawn on a terminal alone."""

    @pytest.fixture
    def on_a_terminal(self, start):
        def run(*words):
            master, terminal = os.openpty()
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))
            done = start(*words, capture_output=False, stderr=terminal, stdout=subprocess.PIPE)
            os.close(terminal)
            drawn = b""
            with contextlib.suppress(OSError):  # how a pseudo-terminal ends on Linux
                while part := os.read(master, 1 << 16):
                    drawn += part
            os.close(master)
            return done, drawn.decode()

        return run

    def test_verify_shows_how_much_it_has_read(self, start, on_a_terminal, file, tmp_path):
        results = tmp_path / "r.parquet"
        assert start("publish", file, STREAM, "--results", results).returncode == 0
        done, drawn = on_a_terminal("verify", results, STREAM)
        assert done.returncode == 0
        assert "Verifying: 100%" in drawn
        assert "3.00/3.00" in drawn
        assert done.stdout.startswith(b"3 of 3 ")

    def test_tries_of_a_verb_are_one_line(self, start, on_a_terminal, local_platform):
        local_platform.faults = [faults.unavailable(function="DescribeStream", times=3)]
        _, drawn = on_a_terminal("describe", STREAM)
        first, *rewritten = drawn.splitlines()
        assert first.startswith(f"Warning: describe stream {STREAM}: the platform answered 503")
        assert [line.partition("Warning")[0] for line in rewritten] == ["\x1b[2A\x1b[J"] * 2
        local_platform.faults = local_platform.faults
        assert start("describe", STREAM).stderr.count(b"\n") == 1

    def test_publish_ends_with_the_bar_and_the_line_for_people(self, on_a_terminal, file):
        done, drawn = on_a_terminal("publish", file, STREAM)
        assert (done.returncode, done.stdout) == (0, b"")
        assert "100%" in drawn
        assert re.search(r"\n3 rows stored in \d+\.\d s, [\d,]+ rows/s\.\s*$", drawn)

    @pytest.mark.parametrize("log_format", ["text", "json"])
    def test_retries_are_shown_by_the_bar_and_logged_as_json_only(
        self, on_a_terminal, file, local_platform, log_format
    ):
        local_platform.faults = [faults.refused(status=503, times=3)]
        done, drawn = on_a_terminal("publish", file, STREAM, "--log-format", log_format)
        assert done.returncode == 0
        assert "the platform answered 503" in drawn
        assert "3 of 3 rows stored · 9 retried" in drawn
        assert ("tried again" in drawn) == (log_format == "json")

    def test_plan_shows_how_much_it_has_read_of_text(self, on_a_terminal, tmp_path):
        path = tmp_path / "rooms.csv"
        path.write_text("n,room\n" + "1,hall\n" * 300_000)
        done, drawn = on_a_terminal("plan", path, STREAM)
        assert done.returncode == 0
        assert re.search(r"Planning: +\d+%\|", drawn)
        assert "Planning: 100%" in drawn
        assert b"Rows:              300,000" in done.stdout

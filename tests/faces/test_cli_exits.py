"""Every way a command can end has its exit code; the first of the table is taken."""

from __future__ import annotations

import errno
import json
import logging
import signal

import click
import pandas as pd
import pytest
from click.testing import CliRunner

from tests.internals import CommandGroup, Exit, judge_error, judge_results, log_to_stderr
from v3io_frames_put import errors

STATUSES = ["stored", "rejected", "unsent", "unknown"]


def make_results(*statuses, duplicates=0):
    results = pd.DataFrame({"status": pd.Categorical(statuses, STATUSES)})
    results.attrs["v3io"] = {"duplicates": {"count": duplicates}}
    return results


def with_results(error, *statuses):
    error.results = make_results(*statuses)
    return error


@pytest.mark.parametrize(
    ("results", "code"),
    [
        (make_results(), 0),
        (make_results("stored", "stored"), 0),
        (make_results("stored", "rejected"), 1),
        (make_results("stored", "unsent"), 1),
        (make_results("rejected", "unknown"), 3),
        (make_results("stored", "unknown"), 3),
        (make_results("stored", duplicates=1), 3),
        (make_results("stored", "rejected", duplicates=1), 3),
    ],
)
def test_a_run_that_came_to_its_end(results, code):
    assert judge_results(results) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("no endpoint"), 2),
        (errors.DataError("two columns of one name"), 2),
        (errors.MissingExtra(package="aiohttp", extra="local"), 2),
        (errors.StreamNotFound("nothing there", status=404), 4),
        (with_results(errors.PlatformUnavailable("gone"), "stored", "unknown"), 4),
        (with_results(errors.PartialFailure("one row"), "stored", "rejected"), 1),
        (with_results(errors.PartialFailure("one row"), "stored", "unknown"), 3),
        (with_results(errors.DataError("block 7 differs"), "stored"), 1),
    ],
)
def test_a_run_that_an_error_ended(error, code):
    assert judge_error(error) == code


def run(body):
    @click.group(cls=CommandGroup)
    def group():
        pass

    group.command("go")(body)
    return CliRunner().invoke(group, ["go"])


def raising(error):
    def body():
        raise error

    return body


def test_an_error_is_one_readable_line_on_stderr():
    done = run(raising(errors.ConfigError("max_in_flight=0: expected more than 0.")))
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr == "Error: --max-in-flight 0: expected more than 0.\n"


def test_what_takes_long_says_why():
    log = logging.getLogger("v3io_frames_put")

    def body():
        log.info("found it")
        log.warning("no answer; trying again in %.1f s", 0.5)

    before = log.handlers, log.level
    assert run(body).stderr == "Warning: no answer; trying again in 0.5 s\n"
    assert (log.handlers, log.level) == before


def test_a_full_disk_under_stdout_is_one_readable_line():
    done = run(raising(OSError(errno.ENOSPC, "No space left on device")))
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: [Errno 28] No space left on device. ")


def test_a_reader_that_goes_away_ends_a_command_in_silence():
    done = run(raising(BrokenPipeError(errno.EPIPE, "Broken pipe")))
    assert done.exit_code == 1
    assert done.stderr == ""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_should_not_happen_is_told_where_everything_is(log_format):
    """A log of JSON stays one, so that whoever reads it finds the traceback, too."""

    def body():
        click.get_current_context().find_root().with_resource(log_to_stderr(log_format))
        raise KeyError("nobody thought of this")

    done = run(body)
    assert done.exit_code == Exit.NOT_ALL_STORED
    told = done.stderr
    if log_format == "json":
        (line,) = done.stderr.splitlines()
        told = json.loads(line)["message"]
    assert "please report this" in told
    assert "nobody thought of this" in told
    assert "Traceback" in told


def test_ctrl_c_ends_with_130():
    assert run(raising(KeyboardInterrupt())).exit_code == 130


def test_an_interrupted_run_ends_with_130_and_its_message():
    done = run(raising(errors.Interrupted("3 of 7 rows are stored.")))
    assert done.exit_code == Exit.INTERRUPTED
    assert "3 of 7 rows are stored." in done.stderr


def test_sigterm_stops_like_ctrl_c_and_ends_with_143():
    def body():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as stop:
            raise errors.Interrupted("2 of 7 rows are stored.") from stop

    done = run(body)
    assert done.exit_code == 143
    assert "2 of 7 rows are stored." in done.stderr


def test_sigterm_means_what_it_meant_before_once_the_command_is_over():
    before = signal.getsignal(signal.SIGTERM)
    run(lambda: None)
    assert signal.getsignal(signal.SIGTERM) == before


def test_unknown_options_end_with_2():
    @click.group(cls=CommandGroup)
    def group():
        pass

    assert CliRunner().invoke(group, ["--nope"]).exit_code == 2

"""`publish`: files of any size onto a stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from v3io_frames_put.cli.connection import FILE, takes_client
from v3io_frames_put.cli.exits import Exit, judge_counts
from v3io_frames_put.cli.job_file import find_job_file, read_job_file
from v3io_frames_put.cli.job_options import takes_job_options
from v3io_frames_put.cli.log import LOG_FORMATS, log_to_stderr, tell
from v3io_frames_put.errors import Interrupted, PutRecordsError, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from v3io_frames_put.client import Client
    from v3io_frames_put.jobs import JobResults


def _start_log(ctx: click.Context, _option: click.Parameter, log_format: str) -> None:
    """Log from before the client is made to the end of all: warnings and signals, too."""
    ctx.find_root().with_resource(log_to_stderr(log_format))


def _take_files(
    ctx: click.Context, _argument: click.Parameter, files: tuple[str, ...]
) -> tuple[str, ...]:
    """Take those of the job file where none are typed: click before 8.3 looks for no default."""
    if files:
        return files
    ctx.set_parameter_source("files", click.core.ParameterSource.DEFAULT_MAP)
    return tuple(ctx.lookup_default("files") or ())


@click.command()
@click.argument("files", nargs=-1, callback=_take_files)
@click.argument("stream", required=False)
@takes_job_options
@click.option(
    "--infinity",
    type=click.Choice(["refuse", "null", "string"]),
    default="refuse",
    show_default=True,
    help="What an infinite number becomes in JSON.",
)
@click.option("--summary", metavar="-|FILE", help="Write one line of JSON that says how it went.")
@click.option(
    "--log-format",
    type=click.Choice(LOG_FORMATS),
    default="text",
    show_default=True,
    is_eager=True,  # what is wrong with the others is told in its form
    expose_value=False,
    callback=_start_log,
    help="How lines on stderr look.",
)
@click.option(
    "--config",
    type=FILE,
    is_eager=True,
    expose_value=False,
    callback=read_job_file,
    help="Take all of this from a TOML file; what the command line says wins.",
)
@takes_client
def publish(
    *,
    files: tuple[str, ...],
    stream: str,
    infinity: str,
    summary: str | None,
    client: Client,
    **options: Any,
) -> None:
    """Put every row of FILES onto STREAM; they may be larger than memory.

    FILES are Parquet, CSV, JSON Lines or Arrow IPC: files, folders, globs in quotes, or URLs.
    """
    check_arguments(files, stream)
    from v3io_frames_put import Encoding, jobs

    encoding = Encoding(infinity=infinity)  # type: ignore[arg-type]  # one of its words
    written = {name: options[name] for name in ("results", "failed", "journal")}
    try:
        _check_summary(summary, files, {**written, "config": find_job_file()})
        results = jobs.publish(files, stream, encoding=encoding, client=client, **options)
    except (PutRecordsError, Interrupted) as error:
        _write_summary(summary, error.results, error)
        if isinstance(error, Interrupted):
            raise  # what the signal was decides
        tell(str(error))
        raise click.exceptions.Exit(judge_job_error(error)) from error
    _write_summary(summary, results)
    raise click.exceptions.Exit(judge_job(results))


def check_arguments(files: tuple[str, ...], stream: str | None) -> None:
    """Refuse a command line, with its job file, that does not say what goes where."""
    ctx = click.get_current_context()
    typed = [
        name
        for name in ("files", "stream")
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    if typed == ["stream"] and "stream" in (ctx.default_map or {}):
        raise click.UsageError(
            f"{stream} alone would be STREAM, which the job file says, too. Give FILES... and "
            f"STREAM, or neither."
        )
    if not stream or not files:
        raise click.UsageError("expected FILES... and then STREAM, where their rows go.")


def judge_job(results: JobResults) -> Exit:
    """Find the code for a job that came to its end."""
    return judge_counts(results.counts, results.receipt)


def judge_job_error(error: PutRecordsError) -> Exit:
    """Find the code for a job that an error ended."""
    if isinstance(error, RequestError):
        return Exit.STOPPED_ON_PLATFORM
    results: Any = error.results
    return Exit.NOTHING_SENT if results is None else max(judge_job(results), Exit.NOT_ALL_STORED)


def _check_summary(
    to: str | None, files: tuple[str, ...], others: Mapping[str, Path | None]
) -> None:
    """Refuse a place where no file can be, or another one is, while nothing is sent."""
    from v3io_frames_put.jobs._outputs import check_apart

    if to is None or to == "-":
        check_apart(others)
        return
    check_apart({**others, "summary": to})
    path = Path(to)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise click.UsageError(
            f"--summary {to} cannot be written: expected - or a file's name in a folder that is "
            f"there."
        )
    if not path.exists():
        return
    from v3io_frames_put.jobs._files import find_files

    if path.resolve() in [file.resolve() for file in find_files(files)]:
        raise click.UsageError(f"--summary {to} is one of the files to publish.")


def _write_summary(to: str | None, results: Any, error: BaseException | None = None) -> None:
    if to is None:
        return
    told = {} if results is None else results.to_json()
    line = json.dumps({**told, "error": None if error is None else str(error)}, ensure_ascii=False)
    try:
        if to == "-":
            click.echo(line)
        else:
            Path(to).write_text(line + "\n", encoding="utf-8")
    except OSError as failure:  # the code tells of the rows all the same
        tell(f"--summary {to} cannot be written: {failure}")

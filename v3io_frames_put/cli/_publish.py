"""`publish`, `retry`, `plan`: files of any size onto a stream."""

from __future__ import annotations

import inspect
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from ..errors import Interrupted, PutRecordsError
from ._main import (
    EXIT_CODES,
    Exit,
    escape,
    judge_error,
    judge_results,
    reading_bar,
    report,
    report_error,
    to_json,
    to_options,
)
from ._options import FILE, JOB_FILE, GroupedCommand, option, takes_client, takes_job_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .. import Encoding
    from ..client import Client


def _take_files(
    ctx: click.Context, _argument: click.Parameter, files: tuple[str, ...]
) -> tuple[str, ...]:
    """Take those of the job file where none are typed: click before 8.3 looks for no default."""
    if files:
        return files
    ctx.set_parameter_source("files", click.core.ParameterSource.DEFAULT_MAP)
    return tuple(ctx.lookup_default("files") or ())


_EXAMPLES: Final = """\b
Examples:
  v3io-put publish clicks.parquet projects/clicks --partition-key user
  v3io-put publish lake/ projects/clicks --where "day >= '2026-11-01'" --create
  v3io-put publish --config job.toml --failed failed.parquet --summary -
"""


@click.command(
    cls=GroupedCommand,
    epilog=f"{_EXAMPLES}\n{EXIT_CODES}",
    short_help="Put every row of files onto a stream (also: put, upload).",
)
@click.argument("files", nargs=-1, callback=_take_files)
@click.argument("stream", required=False)
@takes_job_options
@takes_client
def publish(
    *, files: tuple[str, ...], stream: str, summary: str | None, client: Client, **options: Any
) -> None:
    """Put every row of FILES onto STREAM; they may be larger than memory.

    FILES are Parquet, CSV, JSON Lines or Arrow IPC: files, folders, globs in quotes, URLs, or -
    for standard input.
    """
    _check_arguments(files, stream)
    _check_outputs(summary, files, options)  # before anything could be written there
    _publish(files, stream, client, options, summary=summary)


@click.command(
    cls=GroupedCommand, epilog=EXIT_CODES, short_help="Send the failed rows of a job again."
)
@click.argument("source", metavar="[FAILED]", required=False, type=FILE)
@option("--stream", metavar="STREAM", group="Where to", help="Stream to use, not the job's.")
@takes_job_options
@takes_client
def retry(
    *, source: Path | None, stream: str | None, client: Client, failed: Path | None, **options: Any
) -> None:
    """Send the rows of FAILED again, a file that `publish --failed` wrote.

    --config names the job file, which has the stream, mapping, delivery and connection. Without
    FAILED, its `failed` is sent. Rows that fail again go to FAILED-left.parquet beside FAILED,
    or to --failed.
    """
    from ..jobs._outputs import check_failed_rows

    if stream is None or source is None:
        raise click.UsageError(
            "expected --config JOB.toml, which says stream and mapping, and FAILED, unless it is "
            "the `failed` of the job file."
        )
    left = failed or source.with_name(f"{source.stem}-left.parquet")
    check_failed_rows(source)
    _publish([source], stream, client, {**options, "failed": left})


_NOT_RETRIED: Final = (
    "files", "input_format", "where", "journal", "results", "summary",
    "delimiter", "quote", "csv_encoding", "header", "skip_lines", "decimal_point", "all_text",
)  # fmt: skip
retry.params = [param for param in retry.params if param.name not in _NOT_RETRIED]
retry.job_file_names = {  # type: ignore[attr-defined]  # what its job file says otherwise
    **dict.fromkeys(_NOT_RETRIED),
    "failed": "source",
}


def _plan(*, files: tuple[str, ...], stream: str, **options: Any) -> None:
    _check_arguments(files, stream)
    from .. import jobs

    encoding = _take_encoding(options)
    of_publish = inspect.signature(jobs.publish).parameters  # not those of the platform
    used = {name: value for name, value in options.items() if name in of_publish}
    with reading_bar("Planning", "rows") as show:
        planned = jobs.plan(files, stream, encoding=encoding, **{**used, "progress": show})
    text = repr(planned)
    for advice in planned.advice:
        text = text.replace(advice, to_options(advice))
    click.echo(escape(text))
    raise click.exceptions.Exit(Exit.NOT_ALL_STORED if planned.rejected_rows else Exit.OK)


plan = GroupedCommand(
    "plan",
    callback=_plan,
    params=publish.params,
    short_help="Show what `publish` would send, without sending anything.",
    help="""Show what `publish` would send to STREAM, without sending anything.

    Reads and encodes every row of FILES. Needs no platform. Takes every option of `publish`, so
    that one job file serves both; those that change nothing here are ignored.
    """,
)


def _take_encoding(options: dict[str, Any]) -> Encoding:
    from .. import Encoding

    return Encoding(**{name: options.pop(name) for name in ("infinity", "arrow_compression")})


# -- how a job ends -------------------------------------------------------------------------


def _publish(
    files: Any, stream: str, client: Client, options: dict[str, Any], *, summary: str | None = None
) -> NoReturn:
    """Publish files; report the end to the summary, to people, and by the exit code."""
    from .. import jobs

    try:
        encoding = _take_encoding(options)
        results = jobs.publish(files, stream, encoding=encoding, client=client, **options)
    except (PutRecordsError, Interrupted) as error:
        _write_summary(summary, error.results, error)
        if isinstance(error, Interrupted):
            raise  # what the signal was decides
        code = judge_error(error)
        report_error(error, event="failed", exit_code=int(code), **_count(error.results))
        raise click.exceptions.Exit(code) from error
    _write_summary(summary, results)
    code, receipt, stored = judge_results(results), results.receipt, results.counts["stored"]
    message = f"{stored:,} rows stored in {receipt['seconds']:,.1f} s"
    if receipt["rows_per_second"] is not None:
        message = f"{message}, {receipt['rows_per_second']:,.0f} rows/s"
    if receipt["already_complete"]:
        message = f"Already complete: {stored:,} rows are stored. Nothing was sent"
    fields = {"event": "failed" if code else "finished", "exit_code": int(code), **_count(results)}
    report(f"{message}.", level=logging.INFO, plain=f"{message}.", **fields)
    raise click.exceptions.Exit(code)


def _count(results: Any) -> dict[str, Any]:
    """Return the counts of a job as fields of the last line of a JSON log."""
    if results is None:
        return {}
    names = ("run_id", "requests", "retried", "bytes", "seconds", "rows_per_second")
    return {
        "rows": results.rows,
        **results.counts,
        **{name: results.receipt[name] for name in names},
        "duplicates": results.receipt["duplicates"]["count"],
    }


def _check_arguments(files: Sequence[str], stream: str | None) -> None:
    """Refuse a command line, with its job file, that does not say what goes where."""
    ctx, typed = click.get_current_context(), click.core.ParameterSource.COMMANDLINE
    sources = [ctx.get_parameter_source(name) for name in ("files", "stream")]
    if sources[1] is typed is not sources[0] and "stream" in (ctx.default_map or {}):
        raise click.UsageError(
            f"{stream} alone would be STREAM, which the job file says, too. Give FILES... and "
            f"STREAM, or neither."
        )
    if not stream or not files:
        raise click.UsageError("expected FILES... and then STREAM, where their rows go.")


def _check_outputs(to: str | None, files: tuple[str, ...], options: dict[str, Any]) -> None:
    """Refuse a summary where no file can be, and one place for two files, the job's among them."""
    from ..jobs._files import STDIN, find_files
    from ..jobs._outputs import check_outputs

    outputs = {name: options[name] for name in ("results", "failed", "journal")}
    outputs["config"] = click.get_current_context().meta.get(JOB_FILE)
    outputs["summary"] = to = None if to == "-" else to
    named = [file for file in files if file != STDIN] if to and Path(to).exists() else []
    check_outputs(find_files(named, options["input_format"]) if named else [], **outputs)


def _write_summary(to: str | None, results: Any, error: BaseException | None = None) -> None:
    if to is None:
        return
    summary = {} if results is None else results.to_json()
    summary["error"] = None if error is None else to_options(str(error))
    try:
        if to == "-":
            click.echo(to_json(summary, stream=sys.stdout))
        else:
            Path(to).write_text(to_json(summary) + "\n", encoding="utf-8")
    except OSError as failure:  # the exit code reports the rows all the same
        report(f"--summary {to} cannot be written: {failure}")

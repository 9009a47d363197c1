"""`plan`: what `publish` would send."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import click

from v3io_frames_put.cli.exits import Exit
from v3io_frames_put.cli.publish import check_arguments, publish

if TYPE_CHECKING:
    from v3io_frames_put.plan import RecordsPlan


def show_plan(*, files: tuple[str, ...], stream: str, infinity: str, **options: Any) -> None:
    """Plan what was asked for, and show it."""
    check_arguments(files, stream)
    from v3io_frames_put import Encoding, jobs

    encoding = Encoding(infinity=infinity)  # type: ignore[arg-type]  # one of its words
    keywords = inspect.signature(jobs.plan).parameters
    used = {name: value for name, value in options.items() if name in keywords}
    planned = jobs.plan(files, stream, encoding=encoding, **used)
    click.echo(repr(planned))
    raise click.exceptions.Exit(judge_plan(planned))


def judge_plan(planned: RecordsPlan) -> Exit:
    """Find the code that the job would end with, if nothing came in its way."""
    return Exit.NOT_ALL_STORED if planned.rejected_rows else Exit.OK


plan = click.Command(
    "plan",
    callback=show_plan,
    params=publish.params,
    short_help="Say what `publish` would send, without sending anything.",
    help="""Say what `publish` would send to STREAM, without sending anything.

    Reads and encodes every row of FILES. No platform is asked, and none is needed: what of the
    options of `publish` has no part in that is left alone, so that a job file serves both.
    """,
)

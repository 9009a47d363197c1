"""The group of commands, and how each of them ends: signals and errors become exit codes."""

from __future__ import annotations

import errno
import logging
import signal
import traceback
import warnings
from typing import TYPE_CHECKING, Any, Final

import click

from v3io_frames_put.cli.exits import Exit, judge_error
from v3io_frames_put.cli.log import asks_for_json, log_to_stderr, logs_json, tell
from v3io_frames_put.errors import PutRecordsError

if TYPE_CHECKING:
    from types import FrameType

    from typing_extensions import Self


class _Signals:
    """While a command runs, SIGTERM does what Ctrl-C does, and is remembered."""

    def __init__(self) -> None:
        self.terminated = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGTERM, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.terminated = True
        on_ctrl_c = signal.getsignal(signal.SIGINT)  # a run has one of its own
        if not callable(on_ctrl_c):
            raise KeyboardInterrupt
        on_ctrl_c(number, frame)


def _show_warning(message: Warning | str, *_: Any) -> None:
    tell(str(message), level=logging.WARNING)


_DEFECT: Final = (
    "this should not have happened. What --results, --journal or the log tell of rows still holds; "
    "please report this, with what follows:"
)


class CommandGroup(click.Group):
    """Commands whose errors end as one readable line and the exit code of the table."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; tell what stopped it."""
        # A command may put its own in front; what is wrong with its options comes before.
        ctx.with_resource(log_to_stderr("json" if asks_for_json(ctx.args) else None))
        with _Signals() as signals, warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]  # takes more than it reads
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt as stop:
                text = str(stop) or "stopped."
                tell(text, plain=f"\n{text[0].upper()}{text[1:]}")
                ctx.exit(Exit.TERMINATED if signals.terminated else Exit.INTERRUPTED)
            except Exception as error:  # noqa: BLE001 - whatever it is, the log stays readable
                ctx.exit(_tell_error(error))


def _tell_error(error: Exception) -> int:
    """Tell what stopped a command, and return its exit code; raise what click tells itself."""
    if isinstance(error, PutRecordsError):
        tell(str(error))
        return judge_error(error)
    if isinstance(error, click.UsageError) and logs_json():
        tell(error.format_message())
        return error.exit_code
    is_pipe = isinstance(error, OSError) and error.errno == errno.EPIPE  # `tail ... | head`
    if is_pipe or isinstance(error, (click.ClickException, click.exceptions.Exit, click.Abort)):
        raise error
    if isinstance(error, OSError):
        tell(f"{error}. Look for what is full, gone or not allowed.")
    else:
        tell(f"{_DEFECT}\n{''.join(traceback.format_exception(error))}")
    return Exit.NOT_ALL_STORED


EXIT_CODES: Final = """\b
Exit codes, the first that applies:
  130  stopped by Ctrl-C
  143  stopped by SIGTERM
    4  the platform stopped the run
    3  what became of some rows is unknown, or some stand twice
    1  some rows were rejected or not sent, or an input broke off
    2  nothing was sent: usage, configuration or data
    0  all is well
"""


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
)
@click.version_option(package_name="v3io-frames-put", prog_name="v3io-put")
def main() -> None:
    """Put the rows of a table onto a v3io stream, and look after streams.

    STREAM is container/path/to/stream; v3io:///container/path means the same.
    """

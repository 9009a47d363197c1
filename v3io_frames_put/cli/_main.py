"""The group of commands: what they write to stderr, and how each of them ends.

Errors and signals become one readable line and an exit code of the table. Whatever a
terminal cannot show, or would obey, is escaped.
"""

from __future__ import annotations

import enum
import errno
import json
import logging
import os
import re
import signal
import sys
import traceback
import warnings
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final

import click

from .._startup import leave
from ..errors import AuthenticationError, PutRecordsError, RequestError, suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from typing_extensions import Self

_LOGGER: Final = logging.getLogger("v3io_frames_put")
LOG_FORMATS: Final = ("text", "json")


# -- exit codes ---------------------------------------------------------------------------


class Exit(enum.IntEnum):
    """Codes of `v3io-put`; the first that applies is taken."""

    INTERRUPTED = 130
    TERMINATED = 143
    STOPPED_ON_PLATFORM = 4
    IN_DOUBT = 3
    NOT_ALL_STORED = 1
    NOTHING_SENT = 2
    OK = 0


EXIT_CODES: Final = """\b
Exit codes, the first that applies:
  130  stopped by Ctrl-C
  143  stopped by SIGTERM
    4  the platform stopped the run
    3  rows are unknown, or stored twice
    1  rows are rejected or not sent, or a file broke off
    2  nothing was sent: usage, configuration or data
    0  success
"""


def judge_results(results: Any) -> Exit:
    """Return the code for a run that came to its end: a frame of results, or of a job."""
    if hasattr(results, "counts"):
        counts, receipt = results.counts, results.receipt
    else:
        counts, receipt = results["status"].value_counts(), results.attrs.get("v3io", {})
    if counts.get("unknown", 0) or receipt.get("duplicates", {}).get("count", 0):
        return Exit.IN_DOUBT
    if counts.get("rejected", 0) or counts.get("unsent", 0):
        return Exit.NOT_ALL_STORED
    return Exit.OK


def judge_error(error: PutRecordsError) -> Exit:
    """Return the code for a run that an error ended."""
    if isinstance(error, RequestError):
        return Exit.STOPPED_ON_PLATFORM
    if error.results is None:
        return Exit.NOTHING_SENT
    return max(judge_results(error.results), Exit.NOT_ALL_STORED)


# -- text for people ------------------------------------------------------------------------

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_QUOTED: Final = re.compile(r"""(?<!\w)(['"])(?:[^\\\n]|\\.)*?\1(?!\w)""")
_OPTIONS: Final = (
    "access_key|all_text|client_info|columns|create|csv_encoding|decimal_point|delimiter|delivery|"
    "endpoint|failed|files|format|header|index|input_format|journal|limit|max_in_flight|"
    "max_in_flight_bytes|order|partition_key|progress|quote|results|retention_hours|"
    "rows_per_record|shard|shards|skip_lines|start|summary|types|where"
)
_SPELLED: Final = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # What only Python can do, and what does it here.
        (r"access_key= or V3IO_ACCESS_KEY", "--access-key-file or V3IO_ACCESS_KEY"),
        (r"username= and password=", "V3IO_USERNAME and V3IO_PASSWORD"),
        (r"or as access_key=", "or by --access-key-file"),
        (r"client\.create_stream\((\0\d+\0), shards=(\d+)\)", r"v3io-put create \1 --shards \2"),
        (r"Look with describe_stream", "Look with v3io-put describe"),
        (r"\b(all_text|create|exist_ok|index)=True", lambda m: _kebab(m[1])),
        (r"Client\(endpoint=\.\.\.\)", "--endpoint"),
        (r"columns=\[\.\.\.\]", "--columns"),
        (r"^results: ", "RESULTS: "),
        (r"the frame that put_records returned", "the results of a run"),
        (r"a timestamp, or \{shard: sequence_number\}", "or a timestamp"),
        (r"verify=False", "--insecure"),
        (r"verify=(?= )", "--ca-file"),
        (r"verify=", "--ca-file "),
        (r"access_key(?=:|=)", "--access-key-file"),
        (r"Encoding\(infinity=([^)]*)\)", r"--infinity \1"),
        (r"Give username= too", "Set V3IO_USERNAME, too"),
        (r"to the Client instead", "by --access-key-file or the environment instead"),
        (r"with resume=results", "with v3io-put retry"),
        (r"\b[a-z_]+=\S* \((--[a-z-]+[^)]*)\)", r"\1"),  # some messages speak both languages
        (r"\b(by|without|through) (types|failed|columns)\b", r"\1 --\2"),
        (r"\b(input_format|skip_lines)\b(?!=)", lambda m: _kebab(m[1])),
        # An option at the beginning of a message, or with its value.
        (rf"(?<![\w.'\"-])({_OPTIONS})=(?=[\s.,;:)]|$)", lambda m: _kebab(m[1])),
        (rf"(?<![\w.'\"-])({_OPTIONS})=", lambda m: f"{_kebab(m[1])} "),
        (rf"^({_OPTIONS})(?=: )", lambda m: _kebab(m[1])),
    )
]  # fmt: skip


def _kebab(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def to_options(text: str) -> str:
    """Write a message of the package in the language of the command line.

    Text in quotes is data, and is left alone.
    """
    quoted: list[str] = []

    def take_out(found: re.Match[str]) -> str:
        quoted.append(found[0])
        return f"\0{len(quoted) - 1}\0"

    text = _QUOTED.sub(take_out, text.replace("\0", "\\0"))
    for pattern, replacement in _SPELLED:
        text = pattern.sub(replacement, text)
    return re.sub(r"\0(\d+)\0", lambda found: quoted[int(found[1])], text)


def escape(text: str) -> str:
    """Escape what a terminal would obey, such as a platform's text that moves the cursor."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def to_json(value: Any, *, stream: Any = None) -> str:
    """Write one line of JSON; a stream that cannot show other letters gets them escaped."""
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "")
    line = json.dumps(value, ensure_ascii=encoding != "utf8", default=str)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


# -- the log, and lines on stderr ---------------------------------------------------------------


_FORMATTER: Final = logging.Formatter()


class _ToStderr(logging.Handler):
    """Writes lines for people, in the language of the command line, or JSON objects.

    It writes where stderr is now, which a test runner may have changed. JSON has an event, its
    run, and each count as a field of its own: whoever logs gives them as
    ``extra={"fields": {...}}``.
    """

    def __init__(self, log_format: str | None) -> None:
        super().__init__()
        self.log_format = log_format
        self._run_id: str | None = None
        self._height = 1  # lines that the last try took on the terminal

    def emit(self, record: logging.LogRecord) -> None:
        message, level = to_options(record.getMessage()), record.levelname
        fields = dict(getattr(record, "fields", {}))
        trace = _FORMATTER.formatException(record.exc_info) if record.exc_info else ""
        if self.log_format == "json":
            self._run_id = fields.pop("run_id", self._run_id)
            event = "message" if record.levelno == logging.INFO else level.lower()
            line = {
                "time": _FORMATTER.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
                "level": level.lower(),
                "event": fields.pop("event", event),
                "run_id": self._run_id,
                "message": message,
                **fields,
                **({"exception": trace} if trace else {}),
            }
            return echo_error(to_json(line, stream=sys.stderr))
        bars = sys.modules.get("tqdm")
        has_bar = bars and getattr(bars.tqdm, "_instances", None) and sys.stderr.isatty()
        if has_bar and fields.get("event") == "retried":
            return None  # the bar names the cause itself
        if getattr(record, "plain", None):
            message = to_options(record.plain)  # type: ignore[attr-defined]  # see `report`
        elif hasattr(record, "plain") or self.log_format is None:  # no log was asked for
            message = f"{level.capitalize()}: {message}"
        else:
            message = f"{_FORMATTER.formatTime(record)} {level} {message}"
        text = escape(f"{message}\n{trace}" if trace else message)
        if "tries" in fields and sys.stderr.isatty():  # each of them rewrites the one before
            up = f"\x1b[{self._height}A\x1b[J" if fields["tries"] > 1 else ""
            self._height = -(
                -len(text) // (os.get_terminal_size(sys.stderr.fileno()).columns or 80)
            )
            text = f"{up}{text}"
        return echo_error(text)


@contextmanager
def log_to_stderr(log_format: str | None = None) -> Iterator[None]:
    """Log while a command runs, instead of as before; without a format, warnings alone."""
    handlers, before = _LOGGER.handlers, _LOGGER.level
    others = (h for h in handlers if not isinstance(h, _ToStderr))
    _LOGGER.handlers = [*others, _ToStderr(log_format)]
    _LOGGER.setLevel(logging.WARNING if log_format is None else logging.INFO)
    try:
        yield
    finally:
        _LOGGER.handlers = handlers
        _LOGGER.setLevel(before)


def logs_json() -> bool:
    """Return whether lines on stderr are to be JSON."""
    return any(getattr(handler, "log_format", None) == "json" for handler in _LOGGER.handlers)


def report(
    text: str, *, level: int = logging.ERROR, plain: str | None = None, **fields: Any
) -> None:
    """Write a line to stderr; ``fields`` are those of a JSON log.

    ``plain`` is what people read. None: the level, then the text.
    """
    _LOGGER.log(level, "%s", text, extra={"fields": fields, "plain": plain})


def echo_error(line: str) -> None:
    """Write a line to stderr, above a bar if there is one."""
    bars = sys.modules.get("tqdm")
    # Where nobody reads stderr any more, a run keeps its results all the same.
    with (
        suppress(OSError, ValueError),
        bars.tqdm.external_write_mode(sys.stderr) if bars else nullcontext(),
    ):
        click.echo(line, err=True)


@contextmanager
def reading_bar(what: str, unit: str = "records") -> Iterator[Callable[[int, int | None], None]]:
    """Give what shows how many records were read, and of how many, where a person looks on."""
    from tqdm import tqdm

    from ..progress import someone_looks_on

    with tqdm(desc=what, unit=unit, unit_scale=True, disable=not someone_looks_on()) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


# -- how a command ends ---------------------------------------------------------------------


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


_DEFECT: Final = (
    "this should not have happened. What --results, --journal and the log say still holds; "
    "please report this, with what follows:"
)
_ALIASES: Final = {"put": "publish", "upload": "publish"}


class CommandGroup(click.Group):
    """Commands whose errors end as one readable line and the exit code of the table."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command line, and exit."""
        if signal.getsignal(signal.SIGINT) is leave:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):
                # By line, so that a full disk is seen where a line is written.
                stream.reconfigure(errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except (click.Abort, KeyboardInterrupt):
            code = Exit.INTERRUPTED
        except click.ClickException as error:
            with suppress(OSError, ValueError):
                error.show()
            code = error.exit_code
        for name in ("stdout", "stderr"):
            try:
                getattr(sys, name).flush()
            except (AttributeError, OSError, ValueError):  # noqa: PERF203  # else Python ends with 120
                setattr(sys, name, None)
        sys.exit(code or 0)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name, or by an alias; suggest one for an unknown name."""
        command = super().get_command(ctx, _ALIASES.get(cmd_name, cmd_name))
        if command is None and not cmd_name.startswith("-"):
            known = sorted([*self.commands, *_ALIASES])
            advice = suggest(cmd_name.lower(), known) or f" Known are {', '.join(known)}."
            ctx.fail(f"There is no command {cmd_name!r}.{advice}")
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; report what stopped it."""
        # A command may put its own in front; what is wrong with its options comes before.
        words = " ".join([*ctx.args, ""]).replace("=", " ")
        ctx.with_resource(log_to_stderr("json" if "--log-format json " in words else None))
        with _Signals() as signals, warnings.catch_warnings():
            # Show what the package warns of, and ignore the rest: `python -W error` ends no run.
            warnings.showwarning = _show_warning  # type: ignore[assignment]  # takes more than it reads
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", category=UserWarning)
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt as stop:
                text = str(stop) or "stopped."
                report(text, plain=f"\n{text[0].upper()}{text[1:]}", event="stopped")
                ctx.exit(Exit.TERMINATED if signals.terminated else Exit.INTERRUPTED)
            except Exception as error:  # noqa: BLE001 - whatever it is, the log stays readable
                ctx.exit(_report_error(error))


def _show_warning(message: Warning | str, *_: Any) -> None:
    report(str(message), level=logging.WARNING)


def _report_error(error: Exception) -> int:
    """Report what stopped a command, and return its exit code; raise what click reports itself."""
    if isinstance(error, PutRecordsError):
        report_error(error)
        return judge_error(error)
    if isinstance(error, click.UsageError) and logs_json():
        report(error.format_message())
        return error.exit_code
    is_pipe = isinstance(error, OSError) and error.errno == errno.EPIPE  # `tail ... | head`
    if is_pipe or isinstance(error, (click.ClickException, click.exceptions.Exit, click.Abort)):
        raise error
    if isinstance(error, OSError):
        report(f"{error}. Look for what is full, gone or not allowed.")
    else:
        report(f"{_DEFECT}\n{''.join(traceback.format_exception(error))}")
    return Exit.NOT_ALL_STORED


def report_error(error: PutRecordsError, **fields: Any) -> None:
    """Report an error of the package, in the language of the command line."""
    text, ctx = str(error), click.get_current_context()
    kept_back: Sequence[str] = ctx.meta.get(KEPT_BACK, ())
    if isinstance(error, AuthenticationError) and kept_back:
        text = (
            f"{text.partition('. Check ')[0]}. {' and '.join(kept_back)} of the environment "
            f"{'is' if len(kept_back) == 1 else 'are'} not sent to an address given by --endpoint. "
            f"Give the key by --access-key-file, or set V3IO_API to that address and leave "
            f"--endpoint out."
        )
    if ctx.invoked_subcommand == "demo":  # it takes no stream that exists
        text = text.replace(", or use it as it is with exist_ok=True", "")
    report(text, **fields)


KEPT_BACK: Final = f"{__name__}.kept_back"
"""In a context's meta: the variables whose secrets are not sent to the endpoint given."""


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
)
@click.version_option(package_name="v3io-frames-put", prog_name="v3io-put")
def main() -> None:
    """Put the rows of a table onto a v3io stream, and manage streams.

    STREAM is container/path/to/stream; v3io:///container/path means the same.
    """

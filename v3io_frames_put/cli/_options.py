"""The options of commands: help in groups, the keywords of `jobs.publish`, the platform.

Left out are keywords that only make sense in Python (`cancel`, `encoding`, `client`,
`context`, `on_error`: a command ends with an exit code). No secret is ever an option's value.
"""

from __future__ import annotations

import difflib
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from v3io_frames_put.cli._main import KEPT_BACK, LOG_FORMATS, log_to_stderr
from v3io_frames_put.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUTPUT_FILE: Final = click.Path(dir_okay=False, path_type=Path)
GROUPS: Final = ("Rows", "Where to", "Delivery", "Files written", "Connection", "Output", "Options")
_ROWS, _WHERE_TO, _DELIVERY, _WRITTEN, _CONNECTION, _OUTPUT, _OTHERS = GROUPS


class GroupedOption(click.Option):
    """An option in a group of the help."""

    def __init__(self, *args: Any, group: str = _OTHERS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help shows its options in groups; what has none comes last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options into the formatter, a section for each group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                groups.setdefault(getattr(param, "group", _OTHERS), []).append(record)
        for group in sorted(groups, key=[*GROUPS, *groups].index):
            with formatter.section(group):
                formatter.write_dl(groups[group])


def option(*names: str, group: str = _OTHERS, **kwargs: Any) -> Callable[..., Any]:
    """Give a command an option in a group of its help."""
    return click.option(*names, cls=GroupedOption, group=group, **kwargs)


# -- what an option takes ------------------------------------------------------------------


class Names(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """Names with commas between them; a list where a job file has one."""

    name = "a,b,..."

    def convert(self, value: Any, _param: Any, _ctx: Any) -> list[str]:
        """Split them."""
        if isinstance(value, str):
            return [name.strip() for name in value.split(",") if name.strip()]
        return [str(name) for name in value]


class Types(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """`column=type` pairs with commas between them; a table where a job file has one."""

    name = "a=type,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> dict[str, str]:
        """Split them; a comma between brackets belongs to the type."""
        if isinstance(value, dict):
            return {str(column): str(dtype) for column, dtype in value.items()}
        if not isinstance(value, str):
            self.fail(f"{value!r} is not a table of columns and types", param, ctx)
        types: dict[str, str] = {}
        for pair in _split_outside_brackets(value):
            column, equals, dtype = pair.partition("=")
            if not equals or not column.strip() or not dtype.strip():
                self.fail(f"{pair!r} is not column=type", param, ctx)
            types[column.strip()] = dtype.strip()
        return types


class IntOr(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """A whole number, or text.

    Parameters
    ----------
    name : str
        How help calls it.
    words : str
        Texts that will do; none at all: any.
    """

    def __init__(self, name: str, *words: str) -> None:
        self.name, self._words = name, words

    def convert(self, value: Any, param: Any, ctx: Any) -> int | str:
        """Make a number of digits."""
        text = str(value)
        if text.isdecimal():
            return int(text)
        if self._words and text not in self._words:
            self.fail(f"{text!r} is neither a number nor {self._words[0]!r}", param, ctx)
        return text


class SecretFile(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """A file that holds a key. What was given is never shown: it may be the key itself."""

    name = "file"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Read the one line of the file."""
        expected = "expected the path of a file that holds the access key and nothing else"
        try:
            secret = Path(os.fsdecode(value)).read_text(encoding="utf-8").strip()
        except (OSError, ValueError, TypeError):  # not there, a folder, a NUL, not UTF-8
            self.fail(f"it cannot be read as text; {expected}. Write the key to one", param, ctx)
        if not secret or "\n" in secret:
            self.fail(f"it holds no line, or several; {expected}", param, ctx)
        return secret


def _split_outside_brackets(text: str) -> list[str]:
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part.strip()]


# -- the platform ----------------------------------------------------------------------------


def access_key_file(text: str, group: str = _CONNECTION) -> Callable[..., Any]:
    """Give a command the option for a key, by the name `access_key`."""
    return option("--access-key-file", "access_key", type=SecretFile(), group=group, help=text)


_CLIENT_OPTIONS: Final = (
    option(
        "--endpoint",
        metavar="URL",
        group=_CONNECTION,
        help="Address of the web API; no key from the environment goes there.  [default: V3IO_API]",
    ),
    access_key_file("File that holds the access key.  [default: V3IO_ACCESS_KEY]"),
    option("--ca-file", type=FILE, group=_CONNECTION, help="Certificates to trust, in a PEM file."),
    option(
        "--insecure",
        is_flag=True,
        group=_CONNECTION,
        help="Do not check the platform's certificate.",
    ),
)


def takes_client(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a platform, and call it with a Client."""

    @functools.wraps(function)
    def with_client(
        *,
        endpoint: str | None,
        access_key: str | None,
        ca_file: Path | None,
        insecure: bool,
        **rest: Any,
    ) -> Any:
        from v3io_frames_put.client import Client

        if endpoint and not access_key:
            names = ("V3IO_ACCESS_KEY", "V3IO_PASSWORD")
            kept_back = [name for name in names if os.environ.get(name)]
            click.get_current_context().meta[KEPT_BACK] = kept_back
        verify = str(ca_file) if ca_file else not insecure
        with Client(endpoint, access_key, verify=verify) as client:
            return function(client=client, **rest)

    for add in reversed(_CLIENT_OPTIONS):
        with_client = add(with_client)
    return with_client


# -- the keywords of jobs.publish ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JobOption:
    """One keyword of `jobs.publish`.

    Attributes
    ----------
    group : str
        Where help shows it.
    name : str
        The keyword.
    kind : ParamType or type
        What click makes of it.
    help : str
        What it is for.
    default : object
        The keyword's.
    """

    group: str
    name: str
    kind: Any
    help: str
    default: Any = None

    def attach(self, command: Callable[..., Any]) -> Callable[..., Any]:
        """Give a command this option."""
        spelled = f"--{self.name.replace('_', '-')}"
        options: dict[str, Any] = {"type": self.kind, "show_default": self.default is not None}
        if self.kind is bool:
            spelled += "" if self.default is False else f"/--no-{spelled[2:]}"
            options = {"is_flag": True}
        attach: Callable[..., Any] = option(
            spelled, self.name, group=self.group, default=self.default, help=self.help, **options
        )
        return attach(command)  # type: ignore[no-any-return]


JOB_OPTIONS: Final = (
    JobOption(
        _ROWS,
        "input_format",
        click.Choice(["parquet", "csv", "tsv", "jsonl", "arrow"]),
        "What all FILES hold, whatever their names; needed for - (standard input).",
    ),
    JobOption(
        _ROWS, "columns", Names(), "Columns that go into the record, in this order.  [default: all]"
    ),
    JobOption(_ROWS, "where", str, "Which rows, as \"amount > 5 and day >= '2026-11-01'\"."),
    JobOption(
        _ROWS, "types", Types(), "Types in place of those that were found: a=string,b=date32."
    ),
    JobOption(_ROWS, "index", bool, "Also send the index of pandas frames.", default=False),
    JobOption(
        _ROWS, "delimiter", str, "CSV: between cells, or tab.  [default: a comma; tab in .tsv]"
    ),
    JobOption(_ROWS, "quote", str, "CSV: around cells that hold delimiters; '' for none.", '"'),
    JobOption(_ROWS, "csv_encoding", str, "CSV: encoding, for example cp1252 or utf-16.", "utf-8"),
    JobOption(_ROWS, "header", bool, "CSV: whether the first row names the columns.", default=True),
    JobOption(_ROWS, "skip_lines", click.IntRange(min=0), "CSV: lines before the header.", 0),
    JobOption(_ROWS, "decimal_point", str, "CSV: point of numbers.", "."),
    JobOption(_ROWS, "all_text", bool, "CSV: read every column as text.", default=False),
    JobOption(
        _ROWS, "format", click.Choice(["json", "arrow", "raw"]), "What a record holds.", "json"
    ),
    JobOption(_ROWS, "rows_per_record", IntOr("N|auto", "auto"), "Rows packed in one record.", 1),
    JobOption(
        _WHERE_TO,
        "partition_key",
        str,
        "Column whose values keep their rows in order, on one shard.",
    ),
    JobOption(_WHERE_TO, "shard", IntOr("N|COLUMN"), "A shard, or the column that says which."),
    JobOption(_WHERE_TO, "client_info", str, "Column with up to 16 bytes beside the record."),
    JobOption(_WHERE_TO, "create", bool, "Create STREAM if it does not exist.", default=False),
    JobOption(_WHERE_TO, "shards", click.IntRange(min=1), "Of a stream that is created.", 1),
    JobOption(
        _WHERE_TO, "retention_hours", click.IntRange(min=1), "Of a stream that is created.", 24
    ),
    JobOption(
        _DELIVERY,
        "delivery",
        click.Choice(["at_least_once", "at_most_once", "exactly_once"]),
        "What happens to a row when nobody knows whether it was stored.",
        "at_least_once",
    ),
    JobOption(
        _DELIVERY,
        "order",
        click.Choice(["key", "none"]),
        "Whether rows of one key stay in order.",
        "key",
    ),
    JobOption(
        _DELIVERY, "max_in_flight", IntOr("N|auto", "auto"), "Requests in flight at once.", 8
    ),
    JobOption(_DELIVERY, "max_in_flight_bytes", int, "Encoded bytes held at once.", 64 << 20),
    JobOption(
        _WRITTEN, "results", _OUTPUT_FILE, "Write the status of each row to this Parquet file."
    ),
    JobOption(
        _WRITTEN,
        "failed",
        _OUTPUT_FILE,
        "Write the rows left to send, and why, to this Parquet file.",
    ),
    JobOption(
        _WRITTEN,
        "journal",
        _OUTPUT_FILE,
        "Keep the state of the run in this file: after a kill, the same command finishes the run.",
    ),
    JobOption(
        _OUTPUT,
        "progress",
        bool,
        "A progress bar.  [default: on a terminal; else a log line every 10 s]",
    ),
)


def _start_log(ctx: click.Context, _option: click.Parameter, log_format: str) -> None:
    """Log from before the client is made to the end of all: warnings and signals, too."""
    ctx.find_root().with_resource(log_to_stderr(log_format))


def takes_job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every option of a job but its files and the platform."""
    others = (
        option(
            "--infinity",
            type=click.Choice(["refuse", "null", "string"]),
            default="refuse",
            show_default=True,
            group=_ROWS,
            help="What an infinite number becomes in JSON.",
        ),
        option(
            "--arrow-compression",
            type=click.Choice(["zstd", "lz4"]),
            group=_ROWS,
            help="How the buffers of Arrow records are compressed.  [default: not at all]",
        ),
        option(
            "--summary",
            metavar="-|FILE",
            group=_WRITTEN,
            help="Write one line of JSON that says how it went; - is stdout.",
        ),
        option(
            "--log-format",
            type=click.Choice(LOG_FORMATS),
            default="text",
            show_default=True,
            is_eager=True,  # what is wrong with the others is reported in its form
            expose_value=False,
            callback=_start_log,
            group=_OUTPUT,
            help="How lines on stderr look.",
        ),
        option(
            "--config",
            type=FILE,
            is_eager=True,
            expose_value=False,
            callback=_read_job_file,
            help="Take all of this from a TOML file; what the command line says wins.",
        ),
    )
    for add in (*reversed(others), *(job_option.attach for job_option in reversed(JOB_OPTIONS))):
        command = add(command)
    return command


# -- the job file ------------------------------------------------------------------------------

JOB_FILE: Final = f"{__name__}.job_file"
"""In a context's meta: the path of the job file."""


def _read_job_file(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
    """Take what a job file says as defaults: the command line wins.

    Called by click before the other options are looked at.
    """
    if path is None:
        return
    ctx.meta[JOB_FILE] = path
    known = {
        _spelled(param): param
        for param in ctx.command.params
        if param.name not in ("config", "help")
    }
    renamed: dict[str, str | None] = getattr(ctx.command, "job_file_names", {})
    values: dict[str, Any] = {}
    for key, value in _load(path).items():
        name: str | None = key.replace("-", "_")
        name = renamed.get(name, name)  # type: ignore[arg-type]  # text, here
        if name is None:
            continue
        if name not in known:
            raise click.UsageError(f"{path}: there is no option {key!r}. {_advise(name, known)}")
        param = known[name]
        try:
            values[str(param.name)] = _fit(param, value)
        except TypeError as error:
            shown = "..." if isinstance(param.type, SecretFile) else repr(value)
            raise click.UsageError(f"{path}: {key} = {shown}: {error}. Correct it.") from error
    ctx.default_map = {**(ctx.default_map or {}), **values}


def _spelled(param: click.Parameter) -> str:
    """Return a parameter's name as the command line and the job file have it."""
    words = [word for word in param.opts if word.startswith("--")]
    return words[0][2:].replace("-", "_") if words else str(param.name)


def _load(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ModuleNotFoundError as error:
            if error.name != "tomli":
                raise
            raise MissingExtra(package="tomli", extra="local") from error
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path}: this is not valid TOML: {error}") from error


def _advise(name: str, known: dict[str, click.Parameter]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known are {', '.join(sorted(known))}."


def _fit(param: click.Parameter, value: Any) -> Any:
    """Return a value as its option takes it, one path as a list; raise TypeError otherwise."""
    is_text = isinstance(param.type, (click.types.StringParamType, click.Path, SecretFile))
    if isinstance(value, list) and is_text and param.nargs == 1:
        raise TypeError("expected one value, not a list")
    one = value if isinstance(value, list) else [value]
    is_whole = isinstance(param.type, (click.types.IntParamType, IntOr))
    if is_whole and isinstance(value, (bool, float)):
        raise TypeError("expected a whole number")
    is_path = isinstance(param.type, (click.Path, SecretFile))
    if is_path and not all(isinstance(item, str) for item in one):
        raise TypeError("expected a path, in quotes")
    return one if param.nargs == -1 else value

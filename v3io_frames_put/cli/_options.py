"""The options of commands: help in groups, the keywords of `jobs.publish`, the platform.

Left out are keywords that only make sense in Python (`cancel`, `encoding`, `client`,
`on_error`: a command ends with an exit code). No secret is ever an option's value.
"""

from __future__ import annotations

import functools
import os
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from ..errors import MissingExtra, suggest
from ._main import KEPT_BACK, LOG_FORMATS, log_to_stderr

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUTPUT_FILE: Final = click.Path(dir_okay=False, path_type=Path)
GROUPS: Final = ("Rows", "Where to", "Delivery", "Files written", "Connection", "Output", "Options")
_WRITTEN, _CONNECTION, _OUTPUT, _OTHERS = GROUPS[3:]


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
        for group in sorted(groups, key=GROUPS.index):
            with formatter.section(group):
                formatter.write_dl(groups[group])


def option(*names: str, group: str = _OTHERS, **kwargs: Any) -> Callable[..., Any]:
    """Give a command an option in a group of its help."""
    return click.option(*names, cls=GroupedOption, group=group, **kwargs)


# -- what an option takes ------------------------------------------------------------------


class Names(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """Names with commas between them; a list where a job file has one."""

    name = "a,b,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> list[str]:
        """Split them."""
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, list):
            self.fail(f"{value!r} is not text or a list of names", param, ctx)
        return [name.strip() for name in map(str, names) if name.strip()]


class Types(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """`column=type` pairs with commas between them; a table where a job file has one."""

    name = "a=type,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> dict[str, str]:
        """Split them; a comma between brackets belongs to the type."""
        if isinstance(value, dict):
            return {str(column): str(dtype) for column, dtype in value.items()}
        if not isinstance(value, str):
            self.fail(f"{value!r} is not text or a table of types", param, ctx)
        types: dict[str, str] = {}
        for pair in re.split(r",(?![^(\[]*[)\]])", value):
            column, _, dtype = map(str.strip, pair.partition("="))
            if not column or not dtype:
                self.fail(f"{pair!r} is not column=type", param, ctx)
            types[column] = dtype
        return types


def number_or_word(value: Any) -> int | str:
    """Read digits as a number; the options themselves check other words."""
    text = str(value)
    return int(text) if re.fullmatch("-?[0-9]+", text) else text


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


# -- the platform ----------------------------------------------------------------------------


def access_key_file(text: str, group: str = _CONNECTION) -> Callable[..., Any]:
    """Give a command the option for a key, by the name `access_key`."""
    return option("--access-key-file", "access_key", type=SecretFile(), group=group, help=text)


def note_kept_back(endpoint: str | None, access_key: str | None) -> None:
    """Note which secrets of the environment are not sent, so that a 401 says so."""
    if endpoint and not access_key:
        names = ("V3IO_ACCESS_KEY", "V3IO_PASSWORD")
        kept_back = [name for name in names if os.environ.get(name)]
        click.get_current_context().meta[KEPT_BACK] = kept_back


def takes_client(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a platform, and call it with a Client."""

    @option(
        "--endpoint",
        metavar="URL",
        group=_CONNECTION,
        help="Web API to use; a key from the environment is not sent there.  [default: V3IO_API]",
    )
    @access_key_file("File with the access key.  [default: V3IO_ACCESS_KEY]")
    @option("--ca-file", type=FILE, group=_CONNECTION, help="PEM file of certificates to trust.")
    @option("--insecure", is_flag=True, group=_CONNECTION, help="Do not verify the certificate.")
    @functools.wraps(function)
    def with_client(
        *,
        endpoint: str | None,
        access_key: str | None,
        ca_file: Path | None,
        insecure: bool,
        **rest: Any,
    ) -> Any:
        from ..client import Client

        note_kept_back(endpoint, access_key)
        verify = str(ca_file) if ca_file else not insecure
        with Client(endpoint, access_key, verify=verify) as client:
            return function(client=client, **rest)

    return with_client  # type: ignore[no-any-return]


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
    known = {_spell(param): param for param in ctx.command.params}
    renamed: dict[str, str | None] = getattr(ctx.command, "job_file_names", {})
    values: dict[str, Any] = {}
    for key, value in _load(path).items():
        name = key.replace("-", "_")
        target = renamed.get(name, name)
        if target is None:
            continue
        if target not in known:
            advice = suggest(name, [*known]) or f" Known are {', '.join(known)}."
            raise click.UsageError(f"{path}: there is no option {key!r}.{advice}")
        param = known[target]
        takes_text = isinstance(param.type, (click.types.StringParamType, click.Path, SecretFile))
        if takes_text and param.nargs == 1 and not isinstance(value, str):
            shown = "..." if isinstance(param.type, SecretFile) else repr(value)
            raise click.UsageError(
                f"{path}: {key} = {shown}: expected text, in quotes. Correct it."
            )
        if param.nargs == -1:
            values[str(param.name)] = [value] if isinstance(value, str) else value
        elif isinstance(param.type, (Names, Types)):
            values[str(param.name)] = value
        else:  # as if it were typed
            values[str(param.name)] = str(value)
    ctx.default_map = {**(ctx.default_map or {}), **values}


def _spell(param: click.Parameter) -> str:
    """Return a parameter's name as the command line and the job file have it."""
    words = [word for word in param.opts if word.startswith("--")]
    return words[0][2:].replace("-", "_") if words else str(param.name)


def _load(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = msgspec.toml.decode(path.read_bytes())
    except ImportError as error:  # Python itself can from 3.11 on
        raise MissingExtra(package="tomli", extra="local") from error
    except msgspec.DecodeError as error:
        raise click.UsageError(f"{path}: this is not valid TOML: {error}") from error
    return values


# -- the keywords of jobs.publish ------------------------------------------------------------


def _start_log(ctx: click.Context, _option: click.Parameter, log_format: str) -> None:
    """Log from before the client is made to the end of all: warnings and signals, too."""
    ctx.find_root().with_resource(log_to_stderr(log_format))


def _keyword(group: str, name: str, kind: Any, text: str, default: Any = None) -> Any:
    """Return the option for a keyword of `jobs.publish`, with its default."""
    spelled = f"--{name.replace('_', '-')}"
    known = {"group": group, "help": text, "default": default}
    if kind is bool:
        spelled += "" if default is False else f"/--no-{spelled[2:]}"
        return option(spelled, name, is_flag=True, **known)
    metavar = "N" if isinstance(kind, click.types.IntParamType) else None
    if kind is number_or_word:
        metavar = "N|COLUMN" if name == "shard" else "N|auto"
    return option(
        spelled, name, type=kind, metavar=metavar, show_default=default is not None, **known
    )


_KINDS: Final = click.Choice(["parquet", "csv", "tsv", "jsonl", "arrow"])
_rows, _to, _delivery, _written = (partial(_keyword, group) for group in GROUPS[:4])
_JOB_OPTIONS: Final = (
    _rows("input_format", _KINDS, "Format of all FILES, whatever their names; - needs it."),
    _rows("columns", Names(), "Columns to send, in this order.  [default: all]"),
    _rows("where", str, "Send only these rows, as in \"amount > 5 and day >= '2026-11-01'\"."),
    _rows("types", Types(), "Types of columns, as in zip=string,paid=decimal128(9,2)."),
    _rows("index", bool, "Also send the index of pandas frames.", default=False),
    _rows("delimiter", str, "CSV: character between cells.  [default: comma; in .tsv tab]"),
    _rows("quote", str, "CSV: character around cells with delimiters; '' for none.", '"'),
    _rows("csv_encoding", str, "CSV: encoding, such as cp1252 or utf-16.", "utf-8"),
    _rows("header", bool, "CSV: whether the first row names the columns.", default=True),
    _rows("skip_lines", click.IntRange(min=0), "CSV: lines before the header.", 0),
    _rows("decimal_point", str, "CSV: decimal point of numbers.", "."),
    _rows("all_text", bool, "CSV: read every column as text.", default=False),
    _rows("format", click.Choice(["json", "arrow", "raw"]), "What a record holds.", "json"),
    _rows("rows_per_record", number_or_word, "Rows to pack in one record.", 1),
    _rows(
        "infinity",
        click.Choice(["refuse", "null", "string"]),
        "What to do with infinite numbers in JSON.",
        "refuse",
    ),
    _rows(
        "arrow_compression",
        click.Choice(["zstd", "lz4"]),
        "How to compress Arrow records.  [default: not at all]",
    ),
    _to("partition_key", str, "Column of the key: rows of one key go to one shard, in order."),
    _to("shard", number_or_word, "Number of the shard, or a column with it."),
    _to("client_info", str, "Column of the client info: up to 16 bytes a record."),
    _to("create", bool, "Create STREAM if it does not exist.", default=False),
    _to("shards", click.IntRange(min=1), "Shards of a stream that is created.", 1),
    _to("retention_hours", click.IntRange(min=1), "Hours that it keeps records.", 24),
    _delivery(
        "delivery",
        click.Choice(["at_least_once", "at_most_once", "exactly_once"]),
        "How to treat a row of which no answer says whether it is stored.",
        "at_least_once",
    ),
    _delivery(
        "order",
        click.Choice(["key", "none"]),
        "Whether rows of one key, or of one shard, keep their order.",
        "key",
    ),
    _delivery("max_in_flight", number_or_word, "Requests in flight at once.", 8),
    _delivery("max_in_flight_bytes", click.INT, "Encoded bytes held at once.", 64 << 20),
    _written("results", _OUTPUT_FILE, "Parquet file for the outcome of each row."),
    _written("failed", _OUTPUT_FILE, "Parquet file for the rows that are not stored, and why."),
    _written(
        "journal",
        _OUTPUT_FILE,
        "File for the state of the run: after a kill, the same command continues it.",
    ),
    option(
        "--summary",
        metavar="-|FILE",
        group=_WRITTEN,
        help="File for counts and reasons, one line of JSON; - is stdout.",
    ),
    _keyword(
        _OUTPUT,
        "progress",
        bool,
        "Show a bar.  [default: on a terminal; else a log line every 10 s]",
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
        help="Format of the log on stderr.",
    ),
    option(
        "--config",
        type=FILE,
        is_eager=True,
        expose_value=False,
        callback=_read_job_file,
        help="TOML file with these options, files and stream; the command line wins.",
    ),
)


def takes_job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every option of a job but its files and the platform."""
    for add in reversed(_JOB_OPTIONS):
        command = add(command)
    return command

"""The options of `publish`, from one table: the keywords of `jobs.publish`, spelt for a shell.

Left out are those that only make sense in Python (`cancel`, `encoding`, `client`,
`on_error`: a command ends with an exit code).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable


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
            return {str(column): str(told) for column, told in value.items()}
        if not isinstance(value, str):
            self.fail(f"{value!r} is no table of columns and types", param, ctx)
        types: dict[str, str] = {}
        for pair in _split_outside_brackets(value):
            column, equals, told = pair.partition("=")
            if not equals or not column.strip() or not told.strip():
                self.fail(f"{pair!r} is no column=type", param, ctx)
            types[column.strip()] = told.strip()
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


def _split_outside_brackets(text: str) -> list[str]:
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part.strip()]


@dataclass(frozen=True, slots=True)
class JobOption:
    """One option.

    Attributes
    ----------
    name : str
        The keyword of `jobs.publish`.
    kind : ParamType or type
        What click makes of it.
    help : str
        What it is for.
    default : object
        The keyword's.
    """

    name: str
    kind: Any
    help: str
    default: Any = None

    def attach(self, command: Callable[..., Any]) -> Callable[..., Any]:
        """Give a command this option."""
        spelt = self.name.replace("_", "-")
        if self.kind is bool:
            words = f"--{spelt}" if self.default is False else f"--{spelt}/--no-{spelt}"
            flag = click.option(
                words, self.name, is_flag=True, default=self.default, help=self.help
            )
            return flag(command)
        return click.option(
            f"--{spelt}",
            self.name,
            type=self.kind,
            default=self.default,
            show_default=self.default is not None,
            help=self.help,
        )(command)


_FILE: Final = click.Path(dir_okay=False, path_type=Path)

JOB_OPTIONS: Final = (
    JobOption("input_format", str, "What all FILES hold, whatever their names; for - as well."),
    JobOption(
        "columns", Names(), "Columns that go into the record, in this order.  [default: all]"
    ),
    JobOption("where", str, "Which rows, for example \"amount > 5 and day >= '2026-11-01'\"."),
    JobOption(
        "types", Types(), "Types in place of those that were found: a=string,b=timestamp[us]."
    ),
    JobOption("index", bool, "Also send the index of pandas frames.", default=False),
    JobOption("delimiter", str, "Between the cells of CSV.  [default: a comma; in .tsv a tab]"),
    JobOption("quote", str, "Around cells of CSV.", '"'),
    JobOption("csv_encoding", str, "Of CSV.", "utf-8"),
    JobOption("header", bool, "Whether the first row of CSV names the columns.", default=True),
    JobOption("skip_lines", int, "Lines before the header of CSV.", 0),
    JobOption("decimal_point", str, "Of numbers in CSV.", "."),
    JobOption("all_text", bool, "Read every column of CSV as text.", default=False),
    JobOption("format", click.Choice(["json", "arrow", "raw"]), "What a record holds.", "json"),
    JobOption("rows_per_record", IntOr("N|auto", "auto"), "Rows packed in one record.", 1),
    JobOption("partition_key", str, "Column whose values keep their rows in order, on one shard."),
    JobOption("shard", IntOr("N|COLUMN"), "A shard, or the column that says which."),
    JobOption("client_info", str, "Column with up to 16 bytes beside the record."),
    JobOption(
        "delivery",
        click.Choice(["at_least_once", "at_most_once", "exactly_once"]),
        "What becomes of a row when nobody knows whether it was stored.",
        "at_least_once",
    ),
    JobOption(
        "order", click.Choice(["key", "none"]), "Whether rows of one key stay in order.", "key"
    ),
    JobOption("max_in_flight", IntOr("N|auto", "auto"), "Requests under way at once.", 8),
    JobOption("max_in_flight_bytes", int, "Encoded bytes held at once.", 64 << 20),
    JobOption(
        "progress", bool, "A progress bar.  [default: on a terminal; else a log line every 10 s]"
    ),
    JobOption("create", bool, "Make STREAM, if it is not there.", default=False),
    JobOption("shards", click.IntRange(min=1), "Of a stream that is made.", 1),
    JobOption("retention_hours", click.IntRange(min=1), "Of a stream that is made.", 24),
    JobOption(
        "journal", _FILE, "Keep the run's story in this file: the same command again finishes it."
    ),
    JobOption("results", _FILE, "Write what became of each row to this Parquet file."),
    JobOption("failed", _FILE, "Write the rows left to send, and why, to this Parquet file."),
)


def takes_job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every option of the table."""
    for option in reversed(JOB_OPTIONS):
        command = option.attach(command)
    return command

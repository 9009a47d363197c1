"""A results frame -> its summary: as values, as lines of text, as a page.

The page is static HTML that reads the same live, saved, on GitHub and in docs.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from . import _html
from ._html import plural
from ._producer.values import STATUSES
from .errors import ConfigError
from .results import ANSWER_COLUMNS, ATTRS_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_SHOWN_REASONS: Final = 10
_WARNED_REASONS: Final = 3  # in one paragraph
_SHOWN_LABELS: Final = 4
_SHOWN_SHARDS: Final = 16  # as text
_DRAWN_SHARDS: Final = 256
_OPEN_SHARDS: Final = 64  # more would be a page of their own
_UNEVEN: Final = 2  # times the mean: such a shard limits its readers
_ROWS_ENOUGH: Final = 10  # a shard: fewer spread unevenly by chance
_NEEDED: Final = (*ANSWER_COLUMNS, "maybe_duplicate")
REASON: Final = ["status", "error_message", "error_code", "column"]
_COLUMN: Final = r"^column '(?P<name>[^']*)'"  # the first words of a detail about one column
_RESUME: Final = "`put_records(data, stream, ..., resume=results)`"
_TO_DO: Final = {  # with what goes on, see `Summary.notices`
    "Stopped": "{go_on} sends them.",
    "RetriesExhausted": "{go_on} sends them.",
    "HeldBehindDestination": "{go_on} sends them.",
    "ShardIDOutOfRangeException": "Give a shard that the stream has, or a partition key.",
    "Permission denied": "Ask for the right to write to this stream.",
}
_RESOLVED: Final = {  # unknown rows, by the delivery of their run
    "exactly_once": "{go_on} looks for them on the stream, and sends what is not there.",
    "at_least_once": "{go_on} sends them again, and marks them as possible duplicates.",
    "at_most_once": "`at_most_once` never sends them again; read the stream to find out.",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summary:
    """The numbers of a results frame.

    Attributes
    ----------
    counts : dict of str to int
        Rows by status, all four of them.
    shards : DataFrame
        Per ``shard_id``, from 0 to the last known one: ``rows`` stored, ``first`` and
        ``last`` sequence number (missing where no row is stored).
    errors : DataFrame
        Per status, ``error_message``, ``error_code`` and ``column``: ``rows``, one ``detail``
        and the ``labels`` of the first rows.
    maybe_duplicates : int
        Rows that may be stored twice because a request was sent again.
    receipt : dict
        The run's, as in ``results.attrs["v3io"]``. Empty: the frame carries none.
    """

    counts: Mapping[str, int]
    shards: pd.DataFrame
    errors: pd.DataFrame
    maybe_duplicates: int
    receipt: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of the frame."""
        return sum(self.counts.values())

    @property
    def headline(self) -> str:
        """How many rows are stored, in one line."""
        stored = self.counts["stored"]
        if not self.rows:
            return "No rows"
        if stored == self.rows:
            return "1 row stored" if stored == 1 else f"All {stored:,} rows stored"
        return f"{stored:,} of {plural(self.rows, 'row')} stored"

    def unstored_message(self) -> str:
        """Return one paragraph: how many rows are not stored, and the most frequent reasons."""
        return describe_unstored(self.counts, list_reasons(self.errors))

    def notices(self, go_on: str = _RESUME) -> list[str]:
        """Return what must not be missed; ``go_on`` is what sends the rows that are left."""
        counts, receipt, notices = self.counts, self.receipt, []
        if self.maybe_duplicates:
            exact = receipt.get("delivery") == "exactly_once"
            cure = (
                "Readers drop the copies with `read_records(..., unique=True)`."
                if exact
                else 'To prevent it, use `delivery="exactly_once"`.'
            )
            notices.append(
                f"**{plural(self.maybe_duplicates, 'row')} may be stored twice**, because an "
                f"answer was lost and the request sent again. See "
                f"`results[results.maybe_duplicate]`. {cure}"
            )
        if copies := _count_of(receipt, "duplicates"):
            notices.append(
                f"**{plural(copies, 'further copy', 'further copies')} of stored rows** "
                f"{'is' if copies == 1 else 'are'} on the stream: "
                f'`results.attrs["v3io"]["duplicates"]`. Readers drop them with '
                f"`read_records(..., unique=True)`."
            )
        if counts["unknown"]:
            notices.append(
                f"**{plural(counts['unknown'], 'row')} may or may not be stored**: no answer "
                f"came. {_advise(receipt, go_on)['unknown']}"
            )
        if counts["unsent"]:
            early = ", because the run ended early" if receipt.get("stopped") else ""
            them = "it" if counts["unsent"] == 1 else "them"
            notices.append(
                f"**{plural(counts['unsent'], 'row')} not sent**{early}. {go_on} sends {them}."
            )
        if moved := _count_of(receipt, "out_of_order"):
            notices.append(
                f"**{plural(moved, 'row')} stored after later rows** of the same key or shard: "
                f'`results.attrs["v3io"]["out_of_order"]`.'
            )
        return [*notices, *self._warn_of_empty_shards()]

    def _warn_of_empty_shards(self) -> list[str]:
        """Warn of shards that got nothing although there were rows enough for each."""
        rows = self.shards.get("rows", pd.Series(dtype="int64"))
        empty = [str(shard) for shard, count in rows.items() if not count]
        if not empty or rows.sum() < len(rows) * _ROWS_ENOUGH:
            return []
        more = f" and {len(empty) - _SHOWN_SHARDS:,} more" if len(empty) > _SHOWN_SHARDS else ""
        names = f"{', '.join(empty[:_SHOWN_SHARDS])}{more}"
        return [
            (
                f"**{len(empty):,} of {len(rows):,} shards got no rows**: {names}. "
                f"A partition key with more values spreads them better."
            )
        ]

    def facts(self) -> list[tuple[str, str]]:
        """List the numbers of the run's receipt, as names and values."""
        names = {
            "Stream": "stream", "Platform": "endpoint", "Run": "run_id", "Delivery": "delivery",
            "Order": "order", "Stopped": "stopped", "Requests": "requests",
            "Rows sent again": "retried", "Bytes sent": "bytes", "Seconds": "seconds",
            "Tasks": "tasks", "Rows finished by earlier calls": "resumed_rows",
        }  # fmt: skip
        known = {name: self.receipt.get(key) for name, key in names.items()}
        return [
            (name, value if isinstance(value, str) else f"{value:,}")
            for name, value in known.items()
            if value
        ]

    def rate(self) -> tuple[str, str]:
        """Return rows per second, and the numbers beside it; empty: nothing is known."""
        receipt, rate = self.receipt, self.receipt.get("rows_per_second")
        if receipt.get("already_complete"):
            return "", "already complete: nothing was sent"
        if not rate:
            return "", ""
        parts, seconds = [], receipt.get("seconds")
        if seconds and receipt.get("bytes"):
            parts.append(f"{receipt['bytes'] / seconds / 1e6:,.1f} MB/s")
        if receipt.get("requests"):
            parts.append(plural(receipt["requests"], "request"))
        if seconds is not None:
            parts.append(f"{seconds:,.1f} s")
        return f"{_html.short_number(rate)} rows/s", " · ".join(parts)

    def __repr__(self) -> str:
        return "\n".join(_write_text(self))

    def _repr_html_(self) -> str:
        return draw_summary(self)


def summarize(results: Any) -> Summary:
    """Count the outcomes in a results frame.

    Parameters
    ----------
    results : DataFrame
        From ``put_records``, whole or a selection of its rows; or the Dask or Spark
        DataFrame that the faces for them return (its columns are read into memory).

    Returns
    -------
    Summary
        Of the rows given; only the rate and the receipt are of the whole run. Print it, or
        show it in a notebook.

    Raises
    ------
    ConfigError
        The frame is not a results frame.
    """
    missing = set(_NEEDED) - set(getattr(results, "columns", ()))
    if missing:
        raise ConfigError(
            f"results: expected the frame that put_records returned; it has no column "
            f"{', '.join(sorted(missing))}."
        )
    frame = _to_pandas(results)
    return count_results(frame, frame.attrs.get(ATTRS_KEY, {}))


def count_results(
    results: pd.DataFrame,
    receipt: Mapping[str, Any],
    label: Callable[[Any], str | None] = str,
) -> Summary:
    """Count results; ``label`` names a row by its index, and None leaves it out."""
    counts = results["status"].value_counts()
    stored = results.loc[results["status"] == "stored", ["shard_id", "sequence_number"]]
    # Index levels may be named as columns are, and then no column can be named.
    numbers = stored.reset_index(drop=True).groupby("shard_id")["sequence_number"]
    shards: Any = numbers.agg(rows="size", first="min", last="max")
    return Summary(
        counts={status: int(counts.get(status, 0)) for status in STATUSES},
        shards=_add_empty_shards(shards, receipt),
        errors=group_reasons(results, label),
        maybe_duplicates=int(results["maybe_duplicate"].sum()),
        receipt=receipt,
    )


def add_summaries(parts: Sequence[Summary], receipt: Mapping[str, Any]) -> Summary:
    """Add up the summaries of parts that follow each other."""
    shards: Any = pd.concat([part.shards for part in parts]).groupby("shard_id")
    shards = shards.agg({"rows": "sum", "first": "min", "last": "max"})
    errors = [part.errors for part in parts if len(part.errors)] or [parts[0].errors]
    return Summary(
        counts={status: sum(part.counts[status] for part in parts) for status in STATUSES},
        shards=_add_empty_shards(shards, receipt),
        errors=add_reasons(pd.concat(errors), REASON),
        maybe_duplicates=sum(part.maybe_duplicates for part in parts),
        receipt=receipt,
    )


def describe_unstored(
    counts: Mapping[str, int],
    reasons: Iterable[Mapping[str, Any]],
    where: str = 'See them: results[results.status != "stored"].',
) -> str:
    """Write in one paragraph how many rows are not stored, why, and where they are.

    Each reason has ``error_message``, ``rows`` and one ``detail``, or None.
    """
    of_name: Counter[Any] = Counter()
    details: dict[Any, Any] = {}
    for reason in reasons:
        of_name[reason["error_message"]] += reason["rows"]
        details.setdefault(reason["error_message"], reason["detail"])
    why = "; ".join(
        f"{count:,} x {name}" + (f": {str(details[name]).rstrip('.')}" if details[name] else "")
        for name, count in of_name.most_common(_WARNED_REASONS)
    )
    rows = sum(counts.values())
    counted = ", ".join(f"{counts[s]:,} {s}" for s in STATUSES[1:] if counts[s])
    of_rows = f"{rows - counts['stored']:,} of {_are_not_stored(rows, counts)} ({counted})"
    return f"{of_rows}. {why}. {where}".rstrip()


def _are_not_stored(rows: int, counts: Mapping[str, int]) -> str:
    """Return what is known of rows that are not reported as stored."""
    known = "not known to be stored" if counts["unknown"] else "not stored"
    return f"{plural(rows, 'row')} {'is' if rows == 1 else 'are'} {known}"


def _to_pandas(results: Any) -> pd.DataFrame:
    """Read the needed columns of a Dask or Spark DataFrame."""
    if isinstance(results, pd.DataFrame):
        return results
    if hasattr(results, "toPandas"):
        frame: pd.DataFrame = results.select(*_NEEDED).toPandas()
    else:
        frame = results[list(_NEEDED)].compute()
    return frame.astype({"shard_id": "Int32", "sequence_number": "Int64", "error_code": "Int64"})


def _add_empty_shards(counted: pd.DataFrame, receipt: Mapping[str, Any]) -> pd.DataFrame:
    """Add the shards that got nothing, as far as they are known; none if no shard got any."""
    known = [receipt.get("shards") or 0, *(int(shard) + 1 for shard in receipt.get("starts", ()))]
    shards = max(int(counted.index.max()) + 1, *known) if len(counted) else 0
    counted = counted.reindex(pd.Index(range(shards), dtype="Int32", name="shard_id"))
    rows: Any = counted["rows"].fillna(0).astype("int64")
    return counted.assign(rows=rows)


def group_reasons(results: pd.DataFrame, label: Callable[[Any], str | None] = str) -> pd.DataFrame:
    """Group rows that are not stored by their reason and column, the most frequent first."""
    columns = ["status", "error_code", "error_message", "error_detail"]
    others = results.loc[results["status"] != "stored", columns]
    codes, details = pd.factorize(others["error_detail"])  # few, as a rule: rows share them
    named = pc.struct_field(pc.extract_regex(pa.array(details, pa.string()), _COLUMN), "name")
    labels = others.index.to_flat_index()
    others = others.reset_index(drop=True)  # its levels may be named as columns are
    others = others.assign(column=named.to_pandas().reindex(codes).to_numpy(), label=labels)
    grouped = others.groupby(REASON, dropna=False, observed=True, sort=False)
    counted: pd.DataFrame = grouped.agg(
        rows=("error_detail", "size"),
        detail=("error_detail", "first"),
        labels=("label", lambda few: tuple(filter(None, map(label, few.head(_SHOWN_LABELS))))),
    ).reset_index()
    return counted.sort_values(by="rows", ascending=False, kind="stable", ignore_index=True)


def add_reasons(errors: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Add up reasons that are the same by some of their columns."""
    grouped = errors.groupby(by, dropna=False, observed=True, sort=False)
    added = grouped.agg(
        rows=("rows", "sum"),
        detail=("detail", "first"),
        labels=("labels", lambda several: tuple(chain(*several))[:_SHOWN_LABELS]),
    )
    added = added.reset_index()
    return added.sort_values(by="rows", ascending=False, kind="stable", ignore_index=True)


def list_reasons(errors: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return reasons in plain JSON types."""
    return errors.astype(object).where(errors.notna(), None).to_dict("records")


def _advise(receipt: Mapping[str, Any], go_on: str) -> dict[str, str]:
    """Return what to do about rows, by the name of their error; of unknown ones by their status."""
    unknown = _RESOLVED.get(receipt.get("delivery", ""), "{go_on} treats them as `delivery` says.")
    advice = {"unknown": unknown, **_TO_DO}
    return {name: words.replace("{go_on}", go_on) for name, words in advice.items()}


def _count_of(receipt: Mapping[str, Any], name: str) -> int:
    """Return how many rows a receipt lists; of a resumed run it may not know."""
    count: int = (receipt.get(name) or {}).get("count", 0)
    return count


class _Reason(NamedTuple):
    """Why rows are not stored, as the cells of a table."""

    rows: int
    status: str
    name: str
    code: str
    column: str
    what: str
    to_do: str
    labels: str


def _read_reasons(errors: pd.DataFrame, advice: Mapping[str, str]) -> list[_Reason]:
    """Read the most frequent reasons; details without advice end with what to do."""
    reasons = []
    shown = errors.head(_SHOWN_REASONS).astype(object)
    row: Any
    for row in shown.where(shown.notna(), "").itertuples():
        name, detail = str(row.error_message), str(row.detail)
        cause = "unknown" if row.status == "unknown" else name
        what, to_do = (detail, advice[cause]) if cause in advice else _split_advice(detail)
        what = re.sub(rf"{_COLUMN}(?: \([^)]*\))? ", "", what)
        labels, more = ", ".join(row.labels), row.rows - len(row.labels)
        if labels and more > 0:
            labels += f" and {more:,} more"
        code = str(row.error_code).removesuffix(".0")  # beside missing ones, pandas has floats
        reasons.append(_Reason(row.rows, row.status, name, code, row.column, what, to_do, labels))
    return reasons


def _split_advice(text: str) -> tuple[str, str]:
    """Split "what is wrong; what to do." or "What is wrong. What to do." at its last break."""
    at = max(text.rfind("; "), text.rfind(". "))
    if at < 0:
        return text, ""
    to_do = text[at + 2 :]
    return text[:at], to_do[:1].upper() + to_do[1:]


def _name_run(receipt: Mapping[str, Any]) -> str:
    run = f"run {receipt['run_id']}" if receipt.get("run_id") else ""
    return " · ".join(filter(None, [receipt.get("stream"), run]))


def _why_heading(summary: Summary) -> str:
    total = summary.rows - summary.counts["stored"]
    return f"Why {_are_not_stored(total, summary.counts)}"


def _describe_balance(shards: pd.DataFrame) -> str:
    """Describe how evenly rows are spread over shards."""
    rows = shards["rows"]
    if rows.empty:
        return ""
    least, most, mean = int(rows.min()), int(rows.max()), float(rows.mean())
    parts = [plural(len(rows), "shard")]
    if len(rows) == 1:
        return f"{parts[0]}, {plural(most, 'row')}"
    least_of_them = f"{least:,} to " if least < most else ""
    parts.append(f"{least_of_them}{plural(most, 'row')} each")
    if most > _UNEVEN * mean:
        if rows.sum() >= len(rows) * _ROWS_ENOUGH:
            parts.append(f"{most / rows.sum():.0%} of the rows are in shard {rows.idxmax()}")
    elif least * _UNEVEN >= mean:
        parts.append("evenly spread")
    return ", ".join(parts)


# -- as text -------------------------------------------------------------------------------


def _write_text(summary: Summary) -> list[str]:
    counts, shards, errors = summary.counts, summary.shards, summary.errors
    aside = ", ".join(f"{counts[s]:,} {_html.SPOKEN[s]}" for s in STATUSES[1:] if counts[s])
    lines = [f"{summary.headline}{f' ({aside})' if aside else ''}"]
    lines += filter(None, [" · ".join(filter(None, [*summary.rate(), _name_run(summary.receipt)]))])
    lines += [notice.replace("**", "").replace("`", "") for notice in summary.notices()]
    if len(errors):
        lines += ["", _why_heading(summary)]
        for reason in _read_reasons(errors, _advise(summary.receipt, _RESUME)):
            where = f", column {reason.column!r}" if reason.column else ""
            code = f" ({reason.code})" if reason.code else ""
            text = f"{reason.what}. {reason.to_do}".rstrip(". ").replace("`", "")
            lines.append(f"{reason.rows:>12,}  {reason.name}{code}{where}: {text}")
            lines += [f"{'':>12}  rows {reason.labels}"] if reason.labels else []
        if len(errors) > _SHOWN_REASONS:
            lines.append(f"and {len(errors) - _SHOWN_REASONS:,} more reasons, in .errors")
    if len(shards):
        lines += ["", f"Rows per shard: {_describe_balance(shards)}"]
        shown = shards["rows"].head(_SHOWN_SHARDS)
        lines += [f"{shard:>12}  {rows:,}" for shard, rows in shown.items()]
        if len(shards) > _SHOWN_SHARDS:
            lines.append(f"and {len(shards) - _SHOWN_SHARDS:,} more shards, in .shards")
    return lines


# -- as a page -----------------------------------------------------------------------------


def draw_summary(summary: Summary, go_on: str = _RESUME) -> str:
    """Draw the page; ``go_on`` is what sends the rows that are left."""
    counts, errors, shards, names = summary.counts, summary.errors, summary.shards, _html.SPOKEN
    chips = [_html.chip(s, counts[s], name) for s, name in names.items() if s != "stored"]
    figures = [(f"{counts[s]:,}", _html.dot(s) + name) for s, name in names.items()]
    most_frequent = ""
    if len(errors) > _SHOWN_REASONS:
        most_frequent = (
            f"the {_SHOWN_REASONS} most frequent of {len(errors):,} reasons, all in .errors"
        )
    chart = _html.shards_chart(shards["rows"].head(_DRAWN_SHARDS).to_dict())
    if len(shards) > _DRAWN_SHARDS:
        chart += _html.paragraph(
            f"The first {_DRAWN_SHARDS} of {len(shards):,} shards; all are in `.shards`."
        )
    return _html.card(
        _html.headline(summary.headline, " ".join(chips), _name_run(summary.receipt)),
        _html.status_bar(counts, summary.rows),
        _html.figures([*figures, summary.rate()]),
        *(_html.notice(notice) for notice in summary.notices(go_on)),
        _html.fold(
            _why_heading(summary),
            most_frequent,
            draw_reasons(errors, _advise(summary.receipt, go_on)),
            is_open=True,
        ),
        _html.fold(
            "Rows per shard",
            _describe_balance(shards),
            chart,
            is_open=len(shards) <= _OPEN_SHARDS,
        ),
        _html.fold("Details", "", _html.table(["", ""], summary.facts())),
    )


def draw_reasons(errors: pd.DataFrame, advice: Mapping[str, str]) -> str:
    """Draw the most frequent reasons as a table, with advice where their details have none."""
    header = ["Rows", "Reason", "Column", "For example", "What to do", "Row labels"]
    rows = []
    for reason in _read_reasons(errors, advice):
        name = f"{_html.dot(reason.status)}{_html.text(reason.name)}"
        code = f" {_html.code(reason.code)}" if reason.code else ""
        rows.append(
            (
                reason.rows,
                _html.Html(f'<span style="white-space:nowrap">{name}</span>{code}'),
                _html.code(reason.column) if reason.column else "",
                reason.what,
                _html.prose(reason.to_do),
                reason.labels,
            )
        )
    return _html.table(header, rows)

"""A results frame -> what it says: as values, as lines of text, as a page.

The page is static HTML that reads the same live, saved, on GitHub and in docs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from v3io_frames_put import _html
from v3io_frames_put._html import plural
from v3io_frames_put._producer.values import STATUSES
from v3io_frames_put.errors import ConfigError
from v3io_frames_put.results import ATTRS_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHOWN_REASONS: Final = 10
_TOLD_REASONS: Final = 3  # in one paragraph
_SHOWN_LABELS: Final = 4
_SHOWN_SHARDS: Final = 16  # as text, and in tables
_DRAWN_SHARDS: Final = 256
_OPEN_SHARDS: Final = 64  # more would be a page of their own
_SHARDS_A_LINE: Final = (8, 16, 24)
_UNEVEN: Final = 2  # times the mean: a shard that sets the pace of its readers
_ROWS_ENOUGH: Final = 10  # a shard: fewer spread unevenly by chance
_NEEDED: Final = (
    "status",
    "shard_id",
    "sequence_number",
    "error_code",
    "error_message",
    "error_detail",
    "attempts",
    "maybe_duplicate",
)
_ERRORS: Final = ("status", "error_message", "error_code", "column", "rows", "detail", "labels")
_RESUME: Final = "`put_records(data, stream, ..., resume=results)`"
_TO_DO: Final = {  # with what goes on, see `Summary.notices`
    "Stopped": "{go_on} sends them.",
    "RetriesExhausted": "{go_on} sends them.",
    "HeldBehindDestination": "{go_on} sends them.",
    "ShardIDOutOfRangeException": "Give a shard that the stream has, or a partition key.",
    "Permission denied": "Ask for the right to write to this stream.",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summary:
    """What a results frame says.

    Attributes
    ----------
    counts : dict of str to int
        Rows by status, all four of them.
    shards : DataFrame
        Per ``shard_id``, from 0 to the last one that is known of: ``rows`` stored, ``first``
        and ``last`` (sequence numbers; missing where there are none).
    errors : DataFrame
        Per status, ``error_message``, ``error_code`` and ``column``: ``rows``, one ``detail``
        and the ``labels`` of the first rows.
    attempts : dict of int to int
        Rows by the number of requests that carried them.
    maybe_duplicates : int
        Rows that may be stored twice because of us.
    rows_per_second : float or None
        Of the run. None: the frame carries no receipt.
    receipt : dict
        Of the run, as ``results.attrs["v3io"]`` has it. Empty: the frame carries none.
    """

    counts: Mapping[str, int]
    shards: pd.DataFrame
    errors: pd.DataFrame
    attempts: Mapping[int, int]
    maybe_duplicates: int
    rows_per_second: float | None
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
        """Say in one paragraph how many rows are not stored, and why."""
        reasons: dict[str, list[Any]] = {}
        for name, rows, detail in self.errors[["error_message", "rows", "detail"]].to_numpy():
            reasons.setdefault(str(name), [0, detail])[0] += rows
        return describe_unstored(
            self.counts, [(name, rows, detail) for name, (rows, detail) in reasons.items()]
        )

    def notices(self, go_on: str = _RESUME) -> list[str]:
        """Say what must not be missed, a sentence or two each; code is in backticks.

        Parameters
        ----------
        go_on : str
            What sends the rows that are left.
        """
        counts, receipt = self.counts, self.receipt
        exact = receipt.get("delivery") == "exactly_once"
        said = []
        if self.maybe_duplicates:
            them = plural(self.maybe_duplicates, "row")
            cure = (
                "Readers drop the copies with `read_records(..., unique=True)`."
                if exact
                else 'To prevent it, use `delivery="exactly_once"`.'
            )
            said.append(
                f"**{them} may be stored twice**, because an answer was lost and the request sent "
                f"again. See `results[results.maybe_duplicate]`. {cure}"
            )
        copies = _count_of(receipt, "duplicates")
        if copies:
            said.append(
                f"**{plural(copies, 'further copy', 'further copies')} of stored rows** "
                f"{'is' if copies == 1 else 'are'} on the stream: "
                f'`results.attrs["v3io"]["duplicates"]`. Readers drop them with '
                f"`read_records(..., unique=True)`."
            )
        if counts["unknown"]:
            said.append(
                f"**{plural(counts['unknown'], 'row')} may or may not be stored**: no answer "
                f"came. {_resolve(receipt, go_on)}"
            )
        if counts["unsent"]:
            them = "it" if counts["unsent"] == 1 else "them"
            said.append(
                f"**{plural(counts['unsent'], 'row')} not sent**"
                f"{', because the run ended early' if receipt.get('stopped') else ''}. "
                f"{go_on} sends {them}."
            )
        moved = _count_of(receipt, "out_of_order")
        if moved:
            said.append(
                f"**{plural(moved, 'row')} stored after later rows** of the same key or shard: "
                f'`results.attrs["v3io"]["out_of_order"]`.'
            )
        empty = self._empty_shards()
        if empty:
            said.append(empty)
        return said

    def _empty_shards(self) -> str:
        """Warn of shards that got nothing though there were rows enough for each."""
        rows = self.shards.get("rows", pd.Series(dtype="int64"))
        none = [str(shard) for shard, count in rows.items() if not count]
        if not none or rows.sum() < len(rows) * _ROWS_ENOUGH:
            return ""
        more = f" and {len(none) - _SHOWN_SHARDS:,} more" if len(none) > _SHOWN_SHARDS else ""
        return (
            f"**{len(none):,} of {len(rows):,} shards got no rows**: "
            f"{', '.join(none[:_SHOWN_SHARDS])}{more}. A partition key with more values spreads "
            f"them better."
        )

    def facts(self) -> list[tuple[str, str]]:
        """List the numbers of the run's receipt, as names and values."""
        receipt, facts = self.receipt, []
        for name, key in (
            ("Stream", "stream"), ("Platform", "endpoint"), ("Run", "run_id"),
            ("Delivery", "delivery"), ("Order", "order"), ("Stopped", "stopped"),
        ):  # fmt: skip
            if receipt.get(key) is not None:
                facts.append((name, str(receipt[key])))
        for name, key in (
            ("Requests", "requests"), ("Rows sent again", "retried"), ("Bytes sent", "bytes"),
            ("Tasks", "tasks"), ("Rows finished by earlier calls", "resumed_rows"),
        ):  # fmt: skip
            if receipt.get(key):
                facts.append((name, f"{receipt[key]:,}"))
        if receipt.get("seconds") is not None:
            facts.append(("Seconds", f"{receipt['seconds']:,.1f}"))
        again = sum(rows for attempts, rows in self.attempts.items() if attempts > 1)
        if again:
            facts.append(
                ("Most attempts", f"{max(self.attempts)}; {plural(again, 'row')} needed over one")
            )
        return facts

    def rate(self) -> tuple[str, str]:
        """Say how fast it was: rows per second, and what else there is; empty: nothing is known."""
        if self.receipt.get("already_complete"):
            return "", "already complete: nothing was sent"
        if not self.rows_per_second:
            return "", ""
        parts = []
        seconds, sent = self.receipt.get("seconds"), self.receipt.get("bytes")
        if seconds and sent:
            parts.append(f"{sent / seconds / 1e6:,.1f} MB/s")
        if self.receipt.get("requests"):
            parts.append(plural(self.receipt["requests"], "request"))
        if seconds is not None:
            parts.append(f"{seconds:,.1f} s")
        return f"{_html.short_number(self.rows_per_second)} rows/s", " · ".join(parts)

    def __repr__(self) -> str:
        return "\n".join(_draw_text(self))

    def _repr_html_(self) -> str:
        return draw_summary(self)


def summarize(results: Any) -> Summary:
    """Count what a results frame says.

    Parameters
    ----------
    results : DataFrame
        From ``put_records``, whole or a selection of its rows; pandas, or the Dask or Spark
        DataFrame that the faces for them return (its columns are read into memory).

    Returns
    -------
    Summary
        Of the rows given; only the rate and the receipt are the whole run's.

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
    frame = _as_pandas(results)
    counts = frame["status"].value_counts()
    receipt = frame.attrs.get(ATTRS_KEY, {})
    attempts = frame["attempts"].value_counts().sort_index()
    return Summary(
        counts={status: int(counts.get(status, 0)) for status in STATUSES},
        shards=_shards(frame, receipt),
        errors=group_reasons(frame),
        attempts=dict(zip(attempts.index.tolist(), attempts.tolist(), strict=True)),
        maybe_duplicates=int(frame["maybe_duplicate"].sum()),
        rows_per_second=receipt.get("rows_per_second"),
        receipt=receipt,
    )


def summarize_receipt(
    receipt: Mapping[str, Any],
    reasons: Sequence[Mapping[str, Any]],
    counts: Mapping[str, int] | None = None,
    shards: Mapping[int, Mapping[str, int]] | None = None,
) -> Summary:
    """Make a summary of rows that are not at hand, by what a receipt says of them.

    Parameters
    ----------
    receipt : dict
        The run's.
    reasons : sequence of dict
        Why rows are not stored: ``status``, ``error_message``, ``error_code``, ``rows`` and
        one ``detail``.
    counts : dict of str to int, optional
        Rows by status. None: the receipt's.
    shards : dict of int to dict, optional
        ``rows``, ``first`` and ``last`` of each shard that got any. None: not known.
    """
    errors = pd.DataFrame([dict(reason) for reason in reasons], columns=list(_ERRORS))
    columns = errors["detail"].astype("string").str.extract(_COLUMN, expand=False)
    by_shard = pd.DataFrame(
        list((shards or {}).values()),
        index=list(shards or {}),
        columns=["rows", "first", "last"],
        dtype="Int64",
    )
    return Summary(
        counts=receipt["counts"] if counts is None else counts,
        shards=_every_shard(by_shard, receipt),
        errors=errors.assign(column=columns, labels=pd.Series([()] * len(errors), dtype=object)),
        attempts={},
        maybe_duplicates=receipt.get("maybe_duplicates", 0),
        rows_per_second=receipt.get("rows_per_second"),
        receipt=receipt,
    )


def describe_unstored(
    counts: Mapping[str, int],
    reasons: Sequence[tuple[Any, int, Any]],
    where: str = 'See them: results[results.status != "stored"].',
) -> str:
    """Say in one paragraph how many rows are not stored, why, and where they are."""
    rows = sum(counts.values())
    total = rows - counts["stored"]
    counted = ", ".join(f"{counts[s]:,} {s}" for s in STATUSES[1:] if counts[s])
    first = sorted(reasons, key=lambda reason: -reason[1])[:_TOLD_REASONS]
    why = "; ".join(
        f"{count:,} x {name}" + ("" if pd.isna(detail) else f": {str(detail).rstrip('.')}")
        for name, count, detail in first
    )
    verb = "is" if rows == 1 else "are"
    return (
        f"{total:,} of {plural(rows, 'row')} {verb} not stored ({counted}). {why}. {where}"
    ).rstrip()


_COLUMN: Final = r"^column '([^']*)'"  # how a detail begins that is of one column


def _as_pandas(results: Any) -> pd.DataFrame:
    """Read what is needed of a Dask or Spark DataFrame."""
    if isinstance(results, pd.DataFrame):
        return results
    if hasattr(results, "toPandas"):
        frame: pd.DataFrame = results.select(*_NEEDED).toPandas()
    else:
        frame = results[list(_NEEDED)].compute()
    return frame.astype({"shard_id": "Int32", "sequence_number": "Int64", "error_code": "Int64"})


def _shards(results: pd.DataFrame, receipt: Mapping[str, Any]) -> pd.DataFrame:
    stored = results[results["status"] == "stored"]
    numbers = stored.groupby("shard_id")["sequence_number"]
    counted: Any = numbers.agg(rows="size", first="min", last="max")
    return _every_shard(counted, receipt)


def _every_shard(counted: pd.DataFrame, receipt: Mapping[str, Any]) -> pd.DataFrame:
    """Add the shards that got nothing, as far as they are known; none if no shard got any."""
    known = [receipt.get("shards") or 0, *(int(shard) + 1 for shard in receipt.get("starts", ()))]
    last = max(int(counted.index.max()) + 1, *known) if len(counted) else 0
    counted = counted.reindex(pd.Index(range(last), dtype="Int32", name="shard_id"))
    rows: Any = counted["rows"].fillna(0).astype("int64")
    return counted.assign(rows=rows)


def group_reasons(results: pd.DataFrame) -> pd.DataFrame:
    """Group rows that are not stored by their reason and column, the most frequent first."""
    others = results.loc[results["status"] != "stored", ["status", *_NEEDED[3:6]]]
    codes, details = pd.factorize(others["error_detail"])  # few, as a rule: rows share them
    columns = pd.Series(details, dtype="string").str.extract(_COLUMN, expand=False)
    others = others.assign(column=columns.reindex(codes).to_numpy())
    by = ["status", "error_message", "error_code", "column"]
    grouped = others.groupby(by, dropna=False, observed=True, sort=False)
    counted: pd.DataFrame = grouped["error_detail"].agg(rows="size", detail="first").reset_index()
    labels: list[list[str]] = [[] for _ in range(len(counted))]
    if len(others):
        is_first = grouped.cumcount() < _SHOWN_LABELS
        for label, number in grouped.ngroup()[is_first].items():
            labels[number].append(str(label))
    counted["labels"] = pd.Series(map(tuple, labels), dtype=object)
    return counted.sort_values(by="rows", ascending=False, kind="stable", ignore_index=True)


def _resolve(receipt: Mapping[str, Any], go_on: str) -> str:
    """Say what becomes of rows of which nobody knows whether they are stored."""
    resolved = {
        "exactly_once": f"{go_on} looks for them on the stream, and sends what is not there.",
        "at_least_once": f"{go_on} sends them again, and marks them as possible duplicates.",
        "at_most_once": "`at_most_once` never sends them again; read the stream to find out.",
    }
    return resolved.get(receipt.get("delivery", ""), f"{go_on} treats them as `delivery` says.")


def _count_of(receipt: Mapping[str, Any], name: str) -> int:
    """Return how many rows a receipt lists; of a resumed run it may not know."""
    count: int = (receipt.get(name) or {}).get("count", 0)
    return count


# -- as text -------------------------------------------------------------------------------


def _draw_text(summary: Summary) -> list[str]:
    counts = summary.counts
    aside = ", ".join(f"{counts[s]:,} {_html.SPOKEN.get(s, s)}" for s in STATUSES[1:] if counts[s])
    lines = [f"{summary.headline}{f' ({aside})' if aside else ''}"]
    lines += [" · ".join(filter(None, [*summary.rate(), _whose(summary.receipt)]))]
    lines += [notice.replace("**", "").replace("`", "") for notice in summary.notices()]
    if len(summary.errors):
        lines += ["", _why_heading(summary)]
        resolve = _resolve(summary.receipt, _RESUME)
        for reason in _read_reasons(summary.errors, resolve=resolve):
            where = f", column {reason.column!r}" if reason.column else ""
            code = f" ({reason.code})" if reason.code else ""
            said = f"{reason.what}. {reason.to_do}".rstrip(". ").replace("`", "")
            lines.append(f"{reason.rows:>12,}  {reason.name}{code}{where}: {said}")
            if reason.labels:
                lines.append(f"{'':>12}  rows {reason.labels}")
        if len(summary.errors) > _SHOWN_REASONS:
            lines.append(f"and {len(summary.errors) - _SHOWN_REASONS:,} more reasons, in .errors")
    if len(summary.shards):
        lines += ["", f"Rows per shard: {_balance(summary.shards)}"]
        lines += [
            f"{shard:>12}  {rows:,}"
            for shard, rows in summary.shards["rows"].head(_SHOWN_SHARDS).items()
        ]
        if len(summary.shards) > _SHOWN_SHARDS:
            lines.append(f"and {len(summary.shards) - _SHOWN_SHARDS:,} more shards, in .shards")
    return [line for line in lines if line or lines.index(line)]


def _whose(receipt: Mapping[str, Any]) -> str:
    """Say which run it was."""
    run = f"run {receipt['run_id']}" if receipt.get("run_id") else ""
    return " · ".join(filter(None, [receipt.get("stream"), run]))


def _why_heading(summary: Summary) -> str:
    total = summary.rows - summary.counts["stored"]
    return f"Why {plural(total, 'row')} {'is' if total == 1 else 'are'} not stored"


@dataclass(frozen=True, slots=True)
class _Reason:
    """A reason as a reader needs it."""

    rows: int
    status: str
    name: str
    code: str
    column: str
    what: str
    to_do: str
    labels: str


def _read_reasons(errors: pd.DataFrame, go_on: str = _RESUME, resolve: str = "") -> list[_Reason]:
    """Read the most frequent reasons; their details end with what to do."""
    reasons = []
    row: Any
    for row in errors.head(_SHOWN_REASONS).itertuples():
        name = "" if pd.isna(row.error_message) else str(row.error_message)
        text = "" if pd.isna(row.detail) else str(row.detail)
        what, to_do = _split_advice(text)
        if row.status == "unknown":
            what, to_do = text, resolve
        elif name in _TO_DO:
            what, to_do = text, _TO_DO[name].replace("{go_on}", go_on)
        what = re.sub(rf"{_COLUMN}(?: \([^)]*\))? ", "", what)
        labels = ", ".join(row.labels)
        more = row.rows - len(row.labels)
        if labels and more > 0:
            labels += f" and {more:,} more"
        reasons.append(
            _Reason(
                rows=int(row.rows),
                status=str(row.status),
                name=name,
                code="" if pd.isna(row.error_code) else str(int(row.error_code)),
                column="" if pd.isna(row.column) else str(row.column),
                what=what,
                to_do=to_do,
                labels=labels,
            )
        )
    return reasons


def _split_advice(text: str) -> tuple[str, str]:
    """Split "what is wrong; what to do." or "What is wrong. What to do." at its last break."""
    at = max(text.rfind("; "), text.rfind(". "))
    if at < 0:
        return text, ""
    to_do = text[at + 2 :]
    return text[:at], to_do[:1].upper() + to_do[1:]


def _balance(shards: pd.DataFrame) -> str:
    """Say how evenly rows are spread."""
    rows = shards["rows"]
    least, most, mean = int(rows.min()), int(rows.max()), float(rows.mean())
    said = plural(len(rows), "shard")
    if len(rows) == 1:
        return f"{said}, {plural(most, 'row')}"
    even = "evenly spread" if most <= _UNEVEN * mean and least * _UNEVEN >= mean else ""
    if most > _UNEVEN * mean and rows.sum() >= len(rows) * _ROWS_ENOUGH:
        even = f"{most / rows.sum():.0%} of the rows are in shard {rows.idxmax()}"
    return ", ".join(filter(None, [said, f"{least:,} to {most:,} rows each", even]))


# -- as a page -----------------------------------------------------------------------------


def draw_summary(summary: Summary, *, more: str = "", go_on: str = _RESUME) -> str:
    """Draw the page; ``more`` is drawn before the details, ``go_on`` sends what is left."""
    return _html.card(
        _draw_head(summary),
        *(_html.notice(notice) for notice in summary.notices(go_on)),
        _draw_reasons(summary, go_on),
        _draw_shards(summary),
        more,
        _draw_details(summary),
    )


def _draw_head(summary: Summary) -> str:
    counts = summary.counts
    chips = " ".join(
        _html.chip(status, f"{counts[status]:,} {_html.SPOKEN.get(status, status)}")
        for status in ("rejected", "unknown", "unsent")
        if counts[status]
    )
    figures = [
        (f"{counts[status]:,}", _html.dot(status) + _html.SPOKEN.get(status, status))
        for status in ("stored", "rejected", "unknown", "unsent")
    ]
    number, rest = summary.rate()
    figures.append((number, _html.text(rest)))
    shares = {status: counts[status] for status in ("stored", "rejected", "unknown", "unsent")}
    return (
        _html.headline(summary.headline, chips, _html.text(_whose(summary.receipt)))
        + _html.status_bar(shares, summary.rows)
        + _html.figures(figures)
    )


def _draw_reasons(summary: Summary, go_on: str) -> str:
    errors = summary.errors
    if errors.empty:
        return ""
    aside = ""
    if len(errors) > _SHOWN_REASONS:
        aside = f"the {_SHOWN_REASONS} most frequent of {len(errors):,} reasons, all in .errors"
    drawn = draw_reasons(errors, go_on, _resolve(summary.receipt, go_on))
    return _html.fold(_why_heading(summary), aside, drawn, is_open=True)


def draw_reasons(errors: pd.DataFrame, go_on: str = _RESUME, resolve: str = "") -> str:
    """Draw the most frequent reasons as a table; columns that say nothing are left out."""
    rows = [
        (
            reason.rows,
            _html.Html(
                f'<span style="white-space:nowrap">{_html.dot(reason.status)}'
                f"{_html.text(reason.name)}</span>"
                + (f" {_html.code(reason.code)}" if reason.code else "")
            ),
            _html.code(reason.column) if reason.column else "",
            reason.what,
            _html.prose(reason.to_do),
            reason.labels,
        )
        for reason in _read_reasons(errors, go_on, resolve)
    ]
    header = ["Rows", "Reason", "Column", "For example", "What to do", "Row labels"]
    shown = [at for at, _ in enumerate(header) if any(row[at] for row in rows)]
    return _html.table([header[at] for at in shown], [[row[at] for at in shown] for row in rows])


def _draw_shards(summary: Summary) -> str:
    shards = summary.shards
    if shards.empty:
        return ""
    drawn = shards["rows"].head(_DRAWN_SHARDS)
    a_line = next((n for n in _SHARDS_A_LINE if len(drawn) <= n), _SHARDS_A_LINE[-1])
    names = [str(shard) for shard in drawn.index]
    chart = _html.columns_chart(names, drawn.tolist(), heading="Shard", a_line=a_line)
    if len(shards) > _DRAWN_SHARDS:
        chart += _html.paragraph(
            f"The first {_DRAWN_SHARDS} of {len(shards):,} shards; all are in `.shards`."
        )
    is_open = len(shards) <= _OPEN_SHARDS
    return _html.fold("Rows per shard", _balance(shards), chart, is_open=is_open)


def _draw_details(summary: Summary) -> str:
    facts, shards = summary.facts(), summary.shards
    inside = _html.table([], facts)
    got = shards[shards["rows"] > 0] if len(shards) else shards
    if len(got):
        rows = [
            (str(shard), int(rows), str(first), str(last))
            for shard, rows, first, last in got.head(_SHOWN_SHARDS).itertuples()
        ]
        inside += _html.table(["Shard", "Rows", "First sequence number", "Last"], rows)
        if len(got) > _SHOWN_SHARDS:
            inside += _html.paragraph(
                f"The first {_SHOWN_SHARDS} of {plural(len(got), 'shard')}; all are in `.shards`."
            )
    return _html.fold("Details", "", inside) if facts or len(got) else ""

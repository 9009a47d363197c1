"""A results frame -> what it says, in a few lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from v3io_frames_put._producer.outcomes import STATUSES
from v3io_frames_put.errors import ConfigError
from v3io_frames_put.results import ATTRS_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

_SHOWN_ERRORS: Final = 5
_SHOWN_SHARDS: Final = 16
_NEEDED: Final = frozenset(
    {
        "status",
        "shard_id",
        "sequence_number",
        "error_code",
        "error_message",
        "error_detail",
        "attempts",
        "maybe_duplicate",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summary:
    """What a results frame says.

    Attributes
    ----------
    counts : dict of str to int
        Rows by status, all four of them.
    shards : DataFrame
        Per ``shard_id`` of the stored rows: ``rows``, ``first`` and ``last`` (sequence
        numbers).
    errors : DataFrame
        Per status, ``error_message`` and ``error_code``: ``rows`` and one ``detail``.
    attempts : dict of int to int
        Rows by the number of requests that carried them.
    maybe_duplicates : int
        Rows that may stand twice because of us.
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

    def unstored_message(self) -> str:
        """Say in one paragraph how many rows are not stored, and why."""
        counted = ", ".join(f"{self.counts[s]:,} {s}" for s in STATUSES[1:] if self.counts[s])
        commonest = "; ".join(
            f"{row.rows:,} x {row.error_message}: {str(row.detail).rstrip('.')}"
            for row in self.errors.head(3).itertuples()
        )
        total = self.rows - self.counts["stored"]
        return (
            f"{total:,} of {self.rows:,} rows are not stored ({counted}). {commonest}. "
            f'See them: results[results.status != "stored"].'
        )

    def remarks(self) -> list[str]:
        """Say what else there is to know, one line each."""
        lines = []
        if self.receipt.get("already_complete"):
            lines.append("already complete: the journal's rows, nothing was sent")
        if self.maybe_duplicates:
            lines.append(f"{self.maybe_duplicates:,} rows may stand twice")
        again = sum(rows for attempts, rows in self.attempts.items() if attempts > 1)
        if again:
            lines.append(
                f"{again:,} rows were sent more than once, at most {max(self.attempts)} times"
            )
        for name, said in (("out_of_order", "stand out of order"), ("duplicates", "stand twice")):
            count = self.receipt.get(name, {}).get("count", 0)
            if count:
                lines.append(f"{count:,} rows of the run {said}")
        if self.rows_per_second:
            lines.append(self._throughput())
        return lines

    def _throughput(self) -> str:
        parts = [f"{self.rows_per_second:,.0f} rows a second"]
        seconds, sent = self.receipt.get("seconds"), self.receipt.get("bytes")
        if seconds and sent:
            parts.append(f"{sent / seconds / 1e6:,.1f} MB/s")
            parts.append(f"{self.receipt.get('requests', 0):,} requests in {seconds:,.1f} s")
        return ", ".join(parts)

    def __repr__(self) -> str:
        lines = [f"{self.rows:,} rows"]
        lines += [f"  {self.counts[status]:>12,} {status}" for status in STATUSES]
        lines += self.remarks()
        if len(self.shards):
            lines += ["", "Rows per shard", self.shards.head(_SHOWN_SHARDS).to_string()]
            if len(self.shards) > _SHOWN_SHARDS:
                lines.append(f"and {len(self.shards) - _SHOWN_SHARDS} more shards, in .shards")
        if len(self.errors):
            lines += ["", "Not stored", self.errors.head(_SHOWN_ERRORS).to_string(index=False)]
            if len(self.errors) > _SHOWN_ERRORS:
                lines.append(f"and {len(self.errors) - _SHOWN_ERRORS} more reasons, in .errors")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from v3io_frames_put.summary_page import draw_summary

        return draw_summary(self)


def summarize(results: pd.DataFrame) -> Summary:
    """Count what a results frame says.

    Parameters
    ----------
    results : DataFrame
        From ``put_records``, whole or a selection of its rows.

    Returns
    -------
    Summary
        Of the rows given; only the rate and the receipt are the whole run's.

    Raises
    ------
    ConfigError
        The frame is no results frame.
    """
    missing = _NEEDED - set(getattr(results, "columns", ()))
    if missing:
        raise ConfigError(
            f"results: expected the frame that put_records returned; it has no column "
            f"{', '.join(sorted(missing))}."
        )
    counts = results["status"].value_counts()
    receipt = results.attrs.get(ATTRS_KEY, {})
    attempts = results["attempts"].value_counts().sort_index()
    return Summary(
        counts={status: int(counts.get(status, 0)) for status in STATUSES},
        shards=_shards(results),
        errors=_errors(results),
        attempts=dict(zip(attempts.index.tolist(), attempts.tolist(), strict=True)),
        maybe_duplicates=int(results["maybe_duplicate"].sum()),
        rows_per_second=receipt.get("rows_per_second"),
        receipt=receipt,
    )


def _shards(results: pd.DataFrame) -> pd.DataFrame:
    stored = results[results["status"] == "stored"]
    numbers = stored.groupby("shard_id")["sequence_number"]
    counted: Any = numbers.agg(rows="size", first="min", last="max")
    return counted.sort_index()  # type: ignore[no-any-return]


def _errors(results: pd.DataFrame) -> pd.DataFrame:
    others = results[results["status"] != "stored"]
    by = ["status", "error_message", "error_code"]
    grouped = others.groupby(by, dropna=False, observed=True)["error_detail"]
    counted: pd.DataFrame = grouped.agg(rows="size", detail="first").reset_index()
    return counted.sort_values(by="rows", ascending=False, kind="stable", ignore_index=True)

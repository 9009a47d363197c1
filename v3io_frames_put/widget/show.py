"""What the uploader shows, as HTML: what happened last, the plan, how it went."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pandas as pd

from v3io_frames_put import _html
from v3io_frames_put.errors import PutRecordsError
from v3io_frames_put.plan.page import draw_preview
from v3io_frames_put.summary import summarize
from v3io_frames_put.summary_page import draw_head, draw_shards

if TYPE_CHECKING:
    from collections.abc import Sequence

    from v3io_frames_put.plan import RecordsPlan
    from v3io_frames_put.widget.run import Ended

SHOWN_ROWS: Final = 50
SHOWN_RECORDS: Final = 3
_PROSE: Final = "white-space:normal;line-height:1.4"
_ALARM: Final = "border-left:4px solid var(--jp-error-color1,#d32f2f);padding-left:8px"
_CALM: Final = "border-left:4px solid var(--jp-brand-color1,#1976d2);padding-left:8px"


def draw_message(message: str, *, is_alarm: bool = False) -> str:
    """Draw what happened last; screen readers say it."""
    style = _ALARM if is_alarm else _CALM
    said = _html.text(message, 2_000)
    return f'<div role="status" style="{style};{_PROSE}">{said}</div>'


def last_word(ended: Ended) -> str:
    """Say in a sentence how an upload ended."""
    if ended.error is not None:
        known = isinstance(ended.error, PutRecordsError)
        return str(ended.error) if known else f"{type(ended.error).__name__}: {ended.error}"
    if ended.results is None:
        return "Stopped: nothing was sent."
    summary = summarize(ended.results)
    word = "Stopped. " if ended.status == "stopped" else ""
    if summary.receipt.get("already_complete"):
        word = "Already complete, nothing was sent. "
    if summary.counts["stored"] == summary.rows:
        return f"{word}All {summary.rows:,} rows are stored."
    return word + summary.unstored_message()


def draw_plan(plan: RecordsPlan, *, sampled_of: int | None) -> str:
    """Draw a live plan: a few numbers, advice, the first records.

    Parameters
    ----------
    plan : RecordsPlan
        Of all rows, or of the first ones.
    sampled_of : int, optional
        How many rows there are in all, if the plan saw only the first of them.
    """
    whose = "" if sampled_of is None else f"Of the first {plan.rows:,} of {sampled_of:,} rows: "
    refused = f", {plan.refused_rows:,} rows refused" if plan.refused_rows else ""
    sent = f"{plan.records:,} records in {plan.requests_text} request{'s'[: plan.requests != 1]}"
    lines = [f"{whose}{sent}, {plan.body_bytes:,} bytes on the wire{refused}"]
    details = plan.refused.head(3)["error_detail"].items()
    lines += [f"Row {row}: {detail}" for row, detail in details]
    return _html.paragraph(*lines, *plan.advice) + draw_preview(plan.preview[:SHOWN_RECORDS])


def draw_results(results: pd.DataFrame, history: Sequence[tuple[float, int]]) -> str:
    """Draw how it went: the summary, throughput over time, and rows that are not stored."""
    summary = summarize(results)
    parts = [draw_head(summary), _draw_unstored(results)]
    rates = rates_of(history)
    if len(rates) > 1:
        highest = max(rate for _, rate in rates)
        said = f"Rows stored a second over {rates[-1][0]:.1f} s, at most {highest:,.0f}"
        parts += [_html.paragraph(said), _html.area_chart(said, rates)]
    return "".join([*parts, draw_shards(summary.shards)])


def rates_of(history: Sequence[tuple[float, int]]) -> list[tuple[float, float]]:
    """Turn seconds and rows stored until then into seconds and rows a second."""
    return [
        (now, (rows - rows_before) / (now - before))
        for (before, rows_before), (now, rows) in pairwise(history)
        if now > before
    ]


def _draw_unstored(results: pd.DataFrame) -> str:
    unstored = results[results["status"] != "stored"]
    if unstored.empty:
        return ""
    caption = f"{len(unstored):,} rows are not stored"
    if len(unstored) > SHOWN_ROWS:
        caption += f"; the first {SHOWN_ROWS}, all in .results"
    rows = [
        (str(label), *("" if pd.isna(cell) else str(cell) for cell in cells))
        for label, *cells in unstored.head(SHOWN_ROWS)[
            ["status", "error_message", "error_detail", "attempts"]
        ].itertuples(name=None)
    ]
    return _html.table(caption, ["Row", "Status", "Reason", "Detail", "Attempts"], rows)

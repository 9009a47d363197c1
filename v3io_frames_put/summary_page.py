"""A summary as static HTML: it reads the same live, saved, on GitHub and in docs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from v3io_frames_put import _html

if TYPE_CHECKING:
    import pandas as pd

    from v3io_frames_put.summary import Summary

_SHOWN_SHARDS: Final = 16
_SHOWN_ERRORS: Final = 10
_DRAWN_SHARDS: Final = 256  # more columns than that are thinner than a pixel can show


def draw_summary(summary: Summary) -> str:
    """Draw counts, remarks, reasons and rows per shard."""
    return f"<div>{draw_head(summary)}{draw_shards(summary.shards)}</div>"


def draw_head(summary: Summary) -> str:
    """Draw counts, remarks and reasons."""
    names, counts = list(summary.counts), list(summary.counts.values())
    parts = [_html.table(f"{summary.rows:,} rows", names, [counts])]
    remarks = summary.remarks()
    if remarks:
        parts.append(_html.paragraph(*remarks))
    if len(summary.errors):
        parts.append(_draw_errors(summary.errors))
    return "".join(parts)


def draw_shards(shards: pd.DataFrame) -> str:
    """Draw the rows of each shard, as columns and as a table; nothing without rows."""
    if shards.empty:
        return ""
    rows = shards["rows"]
    said = (
        f"Rows per shard: {rows.sum():,} in all, shards {len(shards):,}, "
        f"the fewest {rows.min():,}, the most {rows.max():,}"
    )
    drawn = rows.head(_DRAWN_SHARDS).tolist()
    caption = "Rows and sequence numbers"
    if len(shards) > _SHOWN_SHARDS:
        caption += f": the first {_SHOWN_SHARDS} of {len(shards):,}, all in .shards"
    table = _html.table(
        caption,
        ["Shard", "Rows", "First sequence number", "Last"],
        [
            (str(shard), *numbers)
            for shard, *numbers in shards.head(_SHOWN_SHARDS).reset_index().to_numpy().tolist()
        ],
    )
    return _html.paragraph(said) + _html.columns_chart(said, drawn) + table


def _draw_errors(errors: pd.DataFrame) -> str:
    caption = "Not stored"
    if len(errors) > _SHOWN_ERRORS:
        caption += f": the {_SHOWN_ERRORS} commonest of {len(errors):,} reasons, all in .errors"
    columns = ["status", "rows", "error_message", "error_code", "detail"]
    shown = errors.head(_SHOWN_ERRORS)[columns].to_numpy(dtype=object, na_value="").tolist()
    return _html.table(caption, ["Status", "Rows", "Reason", "Code", "For example"], shown)

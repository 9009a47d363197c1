"""A plan as static HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from v3io_frames_put import _html
from v3io_frames_put._html import plural
from v3io_frames_put.summary import draw_reasons, group_reasons

if TYPE_CHECKING:
    from v3io_frames_put.plan.records_plan import PlannedRecord, RecordsPlan

_SHOWN_BYTES: Final = 200
_SHOWN_KEYS: Final = 5
_SHOWN_RECORDS: Final = 3


def draw_plan(plan: RecordsPlan) -> str:
    """Draw the numbers, advice, the first records, and what would be rejected."""
    figures = [
        (f"{plan.rows:,}", "rows"),
        (f"{plan.records:,}", "records"),
        (plan.requests_text, "requests"),
        (f"{plan.rejected_rows:,}", _html.dot("rejected") + "rejected"),
        (_html.size(plan.body_bytes), "on the wire"),
    ]
    chips = (
        _html.chip("rejected", f"{plan.rejected_rows:,} would be rejected")
        if plan.rejected_rows
        else ""
    )
    return _html.card(
        _html.headline("What would be sent", chips, _html.text(plan.stream)),
        _html.figures(figures),
        *(_html.notice(advice, color="running") for advice in plan.advice),
        _draw_rejected(plan),
        _html.fold("The first records", "", _draw_records(plan.preview), is_open=True)
        if plan.preview
        else "",
        _draw_keys(plan),
        _html.fold("Details", "", _html.table([], plan.facts())),
    )


def draw_live_plan(plan: RecordsPlan, total: int, *, is_open: bool = True) -> str:
    """Draw what fits below a form; of a sample, what it makes of all ``total`` rows."""
    is_sample = total > plan.rows
    factor = total / plan.rows if is_sample and plan.rows else 1
    about = "about " if is_sample else ""
    words = (
        f"**{plural(total, 'row')}** make {about}{plural(round(plan.records * factor), 'record')}"
    )
    if not is_sample:  # how full the last request of a sample is says nothing of the others
        vary = "about " if plan.requests_vary else ""
        words += f" in {vary}{plural(plan.requests, 'request')}"
    words += f", {about}{_html.size(plan.body_bytes * factor)} on the wire"
    words += f" (by the first {plan.rows:,} rows)" if is_sample else ""
    parts = [_html.paragraph(words)]
    if plan.rejected_rows:
        whose = f" of the first {plan.rows:,}" if is_sample else ""
        rows = plural(plan.rejected_rows, "row")
        label, detail = plan.rejected.iloc[0][["label", "error_detail"]]
        first = f"**{rows}{whose} would be rejected**, the first is {label}: {detail}"
        parts.append(_html.notice(first, color="rejected"))
    parts += [_html.notice(advice, color="running") for advice in plan.advice]
    parts.append(_draw_records(plan.preview[:_SHOWN_RECORDS]))
    return _html.fold("What would be sent", "", "".join(parts), is_open=is_open)


def _draw_records(preview: tuple[PlannedRecord, ...]) -> str:
    """Draw the first records as they will be on the stream."""
    keys, shards = (
        any(getattr(record, name) is not None for record in preview)
        for name in ("partition_key", "shard")
    )
    header = ["Partition key"] * keys + ["Shard"] * shards + ["Data of the first records"]
    rows = [
        [
            *([_show(record.partition_key)] if keys else []),
            *([_show(record.shard)] if shards else []),
            _html.code(_show_bytes(record.data)),
        ]
        for record in preview
    ]
    return _html.table(header, rows) if rows else ""


def _show_bytes(data: bytes) -> str:
    head = data[:_SHOWN_BYTES]
    try:
        shown = head.decode()
    except UnicodeDecodeError:  # bytes of another kind, or cut inside a character
        shown = repr(head)
    return shown if len(head) == len(data) else f"{shown}… ({len(data):,} bytes)"


def _show(value: str | int | None) -> str:
    return "none" if value is None else str(value)


def _draw_rejected(plan: RecordsPlan) -> str:
    if not plan.rejected_rows:
        return ""
    kept = len(plan.rejected)
    aside = f"by the first {kept:,}, which are in .rejected" if plan.rejected_rows > kept else ""
    rows = plan.rejected.set_index("label").assign(status="rejected", error_code=None)
    heading = f"{plural(plan.rejected_rows, 'row')} would be rejected"
    return _html.fold(heading, aside, draw_reasons(group_reasons(rows)), is_open=True)


def _draw_keys(plan: RecordsPlan) -> str:
    if not plan.keys.largest:
        return ""
    rows = [(repr(key), count) for key, count in plan.keys.largest.items()][:_SHOWN_KEYS]
    aside = f"of {plan.keys.keys:,}"
    drawn = _html.table(["Key", "Records"], rows)
    return _html.fold("The most frequent partition keys", aside, drawn, is_open=True)

"""A plan as static HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from v3io_frames_put import _html

if TYPE_CHECKING:
    from v3io_frames_put.plan.records_plan import PlannedRecord, RecordsPlan

_SHOWN_REFUSED: Final = 10
_SHOWN_BYTES: Final = 200
_SHOWN_KEYS: Final = 5


def draw_plan(plan: RecordsPlan) -> str:
    """Draw the numbers, the first records, what is refused, and advice."""
    parts = [_html.table("What would be sent", ["", ""], plan.facts())]
    if plan.advice:
        parts.append(_html.paragraph(*plan.advice))
    if plan.preview:
        parts.append(draw_preview(plan.preview))
    if plan.refused_rows:
        parts.append(_draw_refused(plan))
    if plan.keys.largest:
        rows = [(repr(key), count) for key, count in plan.keys.largest.items()][:_SHOWN_KEYS]
        parts.append(_html.table("The commonest partition keys", ["Key", "Records"], rows))
    return f"<div>{''.join(parts)}</div>"


def draw_preview(preview: tuple[PlannedRecord, ...]) -> str:
    """Draw the first records as they will stand on the stream."""
    rows = [
        (_show(record.partition_key), _show(record.shard), _show_bytes(record.data))
        for record in preview
    ]
    return _html.table("The first records", ["Partition key", "Shard", "Data"], rows)


def _show_bytes(data: bytes) -> str:
    head = data[:_SHOWN_BYTES]
    try:
        shown = head.decode()
    except UnicodeDecodeError:  # bytes of another kind, or cut inside a character
        shown = repr(head)
    return shown if len(head) == len(data) else f"{shown}… ({len(data):,} bytes)"


def _show(value: str | int | None) -> str:
    return "none" if value is None else str(value)


def _draw_refused(plan: RecordsPlan) -> str:
    caption = f"{plan.refused_rows:,} rows would be refused"
    if plan.refused_rows > _SHOWN_REFUSED:
        caption += f"; the first {_SHOWN_REFUSED}, more in .refused"
    rows = [
        (str(row.Index), str(row.label), row.error_message, row.error_detail)
        for row in plan.refused.head(_SHOWN_REFUSED).itertuples()
    ]
    return _html.table(caption, ["Row", "Label", "Reason", "Detail"], rows)

"""Cells that break the rules of their own Arrow type: their rows are refused, one by one.

Whoever makes Arrow data without Arrow's builders can put anything in a text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._rows.arrow_types import is_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from v3io_frames_put._rows.records import RejectionLog
    from v3io_frames_put._rows.source import Window


def refuse_invalid(window: Window, names: Sequence[str], log: RejectionLog) -> Window:
    """Refuse rows with text that is not UTF-8, or a date64 within a day; null these cells.

    Nested values are not looked into: to check a part of a list takes the whole list.
    """
    for number, column in enumerate(window.columns):
        if not isinstance(column, pa.Array) or not _may_be_invalid(column.type):
            continue
        bad = _find_invalid(column, 0)
        for row, why in bad.items():
            log.add(row, "UnencodableValue", f"column {names[number]!r} holds {why}. Correct it.")
        if bad:
            is_bad = pc.is_in(pa.array(range(len(column))), pa.array(list(bad)))
            window.columns[number] = pc.if_else(is_bad, None, column)
    return window


def _may_be_invalid(dtype: pa.DataType) -> bool:
    return is_text(dtype) or pt.is_date64(dtype)


def _find_invalid(column: pa.Array, first: int) -> dict[int, str]:
    """Find the cells that are not what their type allows, and what is wrong with each."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        if len(column) > 1:
            middle = len(column) // 2
            before = _find_invalid(column[:middle], first)
            return before | _find_invalid(column[middle:], first + middle)
        is_date = pt.is_date64(column.type)
        return {first: "a date within a day" if is_date else "text that is not UTF-8"}
    return {}

"""Cells that break the rules of their own Arrow type: their rows are refused, one by one.

Whoever makes Arrow data without Arrow's builders can put anything in a text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.types as pt

from v3io_frames_put._rows.arrow_types import (
    contains,
    is_list,
    is_text,
    list_values,
    map_as_list,
    storage_type,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from v3io_frames_put._rows.records import RejectionLog
    from v3io_frames_put._rows.source import Window


def refuse_invalid(window: Window, names: Sequence[str], log: RejectionLog) -> Window:
    """Refuse rows with text that is not UTF-8, or a date64 within a day; null these cells."""
    for number, column in enumerate(window.columns):
        bad = find_invalid(column) if isinstance(column, pa.Array) else {}
        for row, why in bad.items():
            log.add(row, "UnencodableValue", f"column {names[number]!r} holds {why}. Correct it.")
        if bad:
            good = [None if row in bad else row for row in range(len(column))]
            window.columns[number] = column.take(pa.array(good, pa.int64()))
    return window


def find_invalid(column: pa.Array) -> dict[int, str]:
    """Find the cells that are not what their type allows, and what is wrong with each."""
    may_be = contains(storage_type(column.type), _may_be_invalid)
    return _find_invalid(column, 0) if may_be else {}


def _may_be_invalid(dtype: pa.DataType) -> bool:
    return is_text(dtype) or pt.is_date64(dtype)


def _find_invalid(column: pa.Array, first: int) -> dict[int, str]:
    wrong = next((leaf for leaf in _leaves(column) if not _is_valid(leaf)), None)
    if wrong is None:
        return {}
    if len(column) == 1:
        is_date = pt.is_date64(wrong.type)
        return {first: "a date within a day" if is_date else "text that is not UTF-8"}
    middle = len(column) // 2
    before = _find_invalid(column[:middle], first)
    return before | _find_invalid(column[middle:], first + middle)


def _is_valid(leaf: pa.Array) -> bool:
    try:
        leaf.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _leaves(column: pa.Array) -> Iterator[pa.Array]:
    """Yield the values to check: Arrow would check all of a list for any slice of it."""
    dtype = column.type
    if _may_be_invalid(dtype):
        yield column
    elif isinstance(column, pa.ExtensionArray):
        yield from _leaves(column.storage)
    elif pt.is_struct(dtype):
        for child in column.flatten():
            yield from _leaves(child)
    elif pt.is_map(dtype):
        yield from _leaves(map_as_list(column))
    elif is_list(dtype):
        yield from _leaves(list_values(column))

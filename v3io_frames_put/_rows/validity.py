"""Invalid cells: each rejects its own row.

Two kinds: cells that break the rules of their own Arrow type, since data that was made
without Arrow's builders can hold anything in a text; and cells that a reader of files, or
an earlier run, could not convert. Those are null, and ``__v3io_invalid`` has their text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
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

INVALID: Final = "__v3io_invalid"
"""Column that maps the name of each column whose cell did not fit to the cell's text."""

_SHOWN_CHARACTERS: Final = 60


@dataclass(frozen=True, slots=True)
class InvalidCells:
    """Rejects the rows that came with invalid cells: a null must not be sent in their place.

    Attributes
    ----------
    number : int
        Place of ``__v3io_invalid`` in a window.
    types : mapping of str to DataType or None
        Types of the columns that are sent.
    """

    number: int
    types: Mapping[str, pa.DataType | None]

    def refuse(self, window: Window, log: RejectionLog) -> None:
        """Reject the rows whose cell of the column is not empty, whatever else they hold."""
        cells = window.columns[self.number]
        if isinstance(cells, pa.Array):
            if cells.null_count == len(cells):
                return
            cells = cells.to_pylist()
        for row, cell in enumerate(cells):
            found = _entries(cell)
            if found:
                log.reasons[row] = ("UnencodableValue", self._explain(found))

    def _explain(self, found: list[tuple[str, str]]) -> str:
        name, text = found[0]
        shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
        dtype = self.types.get(name)
        fit = "is not valid" if dtype is None else f"is not a valid {dtype}"
        more = f" (and {len(found) - 1} more columns)" if len(found) > 1 else ""
        return (
            f"column {name!r}: {shown!r} {fit}{more}. Correct the cell where it comes from, or "
            f"fill it in and remove its entry from {INVALID}."
        )


def _entries(cell: Any) -> list[tuple[str, str]]:
    """Return the pairs of a map as Arrow, pandas, polars or a person may hold it."""
    if isinstance(cell, Mapping):
        cell = list(cell.items())
    if isinstance(cell, str) or not hasattr(cell, "__iter__"):
        is_empty = not cell if isinstance(cell, str) else pd.isna(cell)
        return [] if is_empty else [(INVALID, str(cell))]
    pairs = [tuple(pair.values()) if isinstance(pair, Mapping) else tuple(pair) for pair in cell]
    return [(str(pair[0]), str(pair[-1])) for pair in pairs if pair]


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

"""Cells -> a type, where some may not fit: those become null, and their rows are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from v3io_frames_put._encode.layouts import make_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Sequence

    from v3io_frames_put.jobs._where import Where

_UNFIT: Final = (pa.ArrowInvalid, UnicodeEncodeError)
_SHOWN_CHARACTERS: Final = 60
_LONG_NUMBER: Final = r"^[ \t]*[-+]?[0-9]{16,}[ \t]*$"
_EXACT: Final = 2**53  # a double holds every whole number up to here


@dataclass(frozen=True, slots=True)
class Reading:
    """What to read from every file alike.

    Attributes
    ----------
    schema : Schema
        The type of each column.
    where : Where or None
        Rows that it excludes may be left out already while reading.
    text : frozenset of str
        Columns to read as they are spelt instead.
    """

    schema: pa.Schema
    where: Where | None = None
    text: frozenset[str] = frozenset()

    def type_of(self, name: str) -> pa.DataType:
        """Return the type that a column is to have."""
        return pa.string() if name in self.text else self.schema.field(name).type


@dataclass(slots=True)
class Piece:
    """Consecutive rows of a file, and why some of them cannot be sent.

    Attributes
    ----------
    columns : dict of str to Array
        Of one length.
    num_rows : int
        That length.
    file : str
        The file's name.
    lines : list of int
        The line of each row, where a file of text was read line by line; else empty.
    refusals : dict of int to str
        By the row's place in the piece.
    lost : set of int
        Rows of which no cell could be read.
    misfits : dict of str to set of int
        Rows with a cell that did not fit its column's type, by column.
    """

    columns: dict[str, pa.Array]
    num_rows: int
    file: str
    lines: list[int] = field(default_factory=list)
    refusals: dict[int, str] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    misfits: dict[str, set[int]] = field(default_factory=dict)
    invalid: dict[int, dict[str, str]] = field(default_factory=dict)

    def refuse(self, row: int, reason: str) -> None:
        """Refuse a row of which no cell could be read."""
        self.lost.add(row)
        self.refusals.setdefault(row, f"{self._place(row)}: {reason}")
        self.invalid.setdefault(row, {})["line"] = reason

    def refuse_cells(self, column: str, dtype: pa.DataType, cells: dict[int, Any]) -> None:
        """Refuse the rows of cells that do not fit their column's type."""
        if cells:
            self.misfits[column] = set(cells)
        for row, cell in cells.items():
            self.invalid.setdefault(row, {})[column] = str(cell)
            self.refusals.setdefault(
                row,
                f"{self._place(row)}, column {column!r}: {shorten(cell)} is no {dtype}, which the "
                f"column has. Correct the cell, or give the column another type by types.",
            )

    def refuse_invalid(self, cells: pa.Array) -> None:
        """Refuse the rows that an earlier run found invalid cells in."""
        for row in pc.indices_nonzero(cells.is_valid()).to_pylist():
            for column, cell in cells[row].as_py():
                self.invalid.setdefault(row, {})[column] = cell
                self.misfits.setdefault(column, set()).add(row)
                self.refusals.setdefault(row, f"{self._place(row)}, column {column!r}: {cell!r}")

    def _place(self, row: int) -> str:
        return f"line {self.lines[row]:,} of {self.file}" if self.lines else self.file

    def refused(self, columns: Collection[str]) -> set[int]:
        """Return the rows that are refused by whoever reads some of the columns."""
        misfits = [rows for name, rows in self.misfits.items() if name in columns]
        return self.lost.union(*misfits)

    def reasons(self) -> pa.StringArray:
        """Return the refusals as a column, null where a row is fine."""
        if not self.refusals:
            return pa.nulls(self.num_rows, pa.string())
        texts: list[str | None] = [None] * self.num_rows
        for row, reason in self.refusals.items():
            texts[row] = reason
        return pa.array(texts, pa.string())


def shorten(cell: object) -> str:
    """Show a cell, however long it is."""
    text = repr(cell)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def fit_cells(
    cells: Any, dtype: pa.DataType, convert: Callable[[Any], pa.Array]
) -> tuple[pa.Array, list[int]]:
    """Convert cells, and find those that do not fit.

    Parameters
    ----------
    cells : sequence
        Can be sliced.
    dtype : DataType
        What ``convert`` makes.
    convert : callable
        Converts any part of the cells; raises ArrowInvalid where one does not fit.

    Returns
    -------
    Array, list of int
        Null where a cell does not fit, and where that is.
    """
    try:
        return convert(cells), []
    except _UNFIT:
        if len(cells) == 1:
            return pa.nulls(1, dtype), [0]
    middle = len(cells) // 2  # most cells fit: halves without a bad one take one call
    left, bad_left = fit_cells(cells[:middle], dtype, convert)
    right, bad_right = fit_cells(cells[middle:], dtype, convert)
    return pa.concat_arrays([left, right]), bad_left + [middle + row for row in bad_right]


def fit_spellings(
    cells: Sequence[Hashable], dtype: pa.DataType, convert: Callable[[Any], pa.Array]
) -> tuple[pa.Array, list[int]]:
    """Do as ``fit_cells`` where to convert takes long: what does not fit is often spelt alike."""
    try:
        return convert(cells), []
    except _UNFIT:
        places: dict[Hashable, int] = {}
        spelt = [places.setdefault(cell, len(places)) for cell in cells]
    fitted, bad = fit_cells(list(places), dtype, convert)
    misfits = set(bad)
    rows = [row for row, place in enumerate(spelt) if place in misfits]
    return fitted.take(pa.array(spelt, pa.int64())), rows


def cast_column(piece: Piece, name: str, dtype: pa.DataType) -> pa.Array:
    """Return a column of a piece as a type; note the rows that do not fit."""
    cells = piece.columns[name]
    if cells.type.equals(dtype):
        return cells
    cells = make_plain(cells)
    if cells.type.equals(dtype):
        return cells
    if pa.types.is_integer(cells.type) and pa.types.is_decimal(dtype):
        # Arrow asks for room for any integer of the type; the values themselves may need less.
        cells = cells.cast(pa.decimal256(76, dtype.scale))
    fitted, bad = _cast(cells, dtype)
    piece.refuse_cells(name, dtype, {row: cells[row].as_py() for row in bad})
    return fitted


def _cast(cells: pa.Array, dtype: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Cast cells; return where one does not fit, too: it is null."""
    if pa.types.is_null(dtype):  # of a column that was empty wherever its run had read it
        return pa.nulls(len(cells)), pc.indices_nonzero(cells.is_valid()).to_pylist()
    rounded = find_rounded(cells) if pa.types.is_floating(dtype) else {}
    if rounded:
        cells = pc.if_else(make_mask(rounded, len(cells)), None, cells)
    # What a part of nested cells is cut from is cast with it, unless the part is copied.
    is_nested = pa.types.is_nested(cells.type)
    fitted, bad = fit_cells(
        cells,
        dtype,
        lambda part: (part.take(np.arange(len(part))) if is_nested else part).cast(dtype),
    )
    return fitted, sorted({*bad, *rounded})


def make_mask(rows: Collection[int], count: int) -> pa.BooleanArray:
    """Return so many booleans, true at some rows."""
    return pa.array(np.isin(np.arange(count), list(rows)))


def respell(
    spelt: pa.Array, typed: pa.Array, misfits: Collection[int]
) -> tuple[pa.Array, set[int]]:
    """Give a column as text that is read as the same values again.

    Parameters
    ----------
    spelt : StringArray
        The column as it is spelt.
    typed : Array
        What it was read as; null where a cell did not fit.
    misfits : collection of int
        Rows of the cells that did not fit: those stay as they are spelt.

    Returns
    -------
    StringArray, set of int
        The text, and misfits that would be read as something all the same.
    """
    if pa.types.is_timestamp(typed.type) and typed.type.tz is not None:
        # Before there were zones of whole minutes, an offset as Arrow spells it is not exact.
        typed = typed.cast(pa.timestamp(typed.type.unit, "UTC"))
    text = typed.cast(pa.string())
    again = _cast(spelt, typed.type)[0].cast(pa.string())
    is_same = pc.fill_null(pc.equal(again, text), fill_value=False)
    is_misfit = make_mask(misfits, len(spelt))
    would_fit = pc.and_(is_misfit, again.is_valid())
    text = pc.if_else(pc.or_(is_same, is_misfit), spelt, text)
    return text, set(pc.indices_nonzero(would_fit).to_pylist())


def find_rounded(cells: pa.Array) -> dict[int, str]:
    """Find texts of whole numbers that would be others as doubles."""
    if not (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)):
        return {}
    is_long = pc.fill_null(pc.match_substring_regex(cells, _LONG_NUMBER), fill_value=False)
    long = {row: cells[row].as_py() for row in pc.indices_nonzero(is_long).to_pylist()}
    return {row: text for row, text in long.items() if is_rounded(text)}


def is_rounded(text: str) -> bool:
    """Whether a text is of a whole number that would be another one as a double."""
    is_long = re.search(_LONG_NUMBER, text) is not None
    return is_long and Decimal(float(text)) != Decimal(text.strip())


def may_be_rounded(column: pa.Array) -> bool:
    """Whether a double is large enough to stand for a whole number that it does not hold."""
    if pa.types.is_floating(column.type):
        return bool(pc.any(pc.greater_equal(pc.abs(column), float(_EXACT))).as_py())
    if pa.types.is_struct(column.type):
        return any(map(may_be_rounded, column.flatten()))
    return pa.types.is_list(column.type) and may_be_rounded(column.flatten())

"""The columns a plan reads, and the one Arrow type of an object column."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sized
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from v3io_frames_put._encode.layouts import (
    NO_EXTENSION,
    NoPlainLayout,
    contains,
    is_foreign,
    reject_invalid,
)
from v3io_frames_put._encode.objects import Unencodable, build_array, infer_type
from v3io_frames_put._encode.sources import ArrowReader, Column, open_series
from v3io_frames_put.errors import ColumnNotFound, ConfigError, UnsupportedType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from v3io_frames_put._encode.sources import Reader, Source
    from v3io_frames_put._encode.values import RejectionLog


def decide_type(pieces: Iterable[pa.Array | np.ndarray], name: str) -> pa.DataType:
    """Return the Arrow type that holds every cell of a column of objects unchanged.

    Raises
    ------
    UnsupportedType
        No type does; the text names the first row that does not fit those before it.
    """
    cells: list[Any] = []
    for piece in pieces:
        if isinstance(piece, np.ndarray):
            cells += piece.tolist()
        else:  # nothing but text, or nothing but nulls
            cells += ["" if piece.null_count < len(piece) else None] * len(piece)
    try:
        return infer_type(cells)
    except (Unencodable, RecursionError):
        row = bisect_left(range(len(cells)), True, key=lambda row: _misfit(cells[: row + 1]) != "")  # noqa: FBT003
        advice = f"and row {row:,} {_misfit(cells[: row + 1])}. Make the column one type"
        raise UnsupportedType(column=name, dtype="object", advice=advice) from None


def _misfit(cells: list[Any]) -> str:
    """Return why no type holds some cells; empty where one does."""
    try:
        infer_type(cells)
    except Unencodable as error:
        return str(error)
    except RecursionError:
        return "is nested too deeply"
    return ""


def cells_to_arrow(values: pa.Array | np.ndarray, column: Column, log: RejectionLog) -> pa.Array:
    """Bring a piece of a column to its type; reject rows with text that UTF-8 lacks."""
    if not isinstance(values, np.ndarray):
        is_empty = values.null_count == len(values)
        return pa.nulls(len(values), column.type) if is_empty else values
    return reject_invalid(build_array(values, column.type), column.name, log)


INTERNAL: Final = "__v3io_"
"""What names begin with that no option can name: such columns are never sent."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Selection:
    """The columns a plan reads, each opened once however often it is named.

    Parameters
    ----------
    source : Source
        The data.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.readers: list[Reader] = []
        self.names: list[str] = []
        self._numbers: dict[int, int] = {}  # position in the source -> number in a window

    def add(self, reader: Reader, name: str) -> Column:
        """Read one more column."""
        self.readers.append(reader)
        self.names.append(name)
        try:
            dtype = reader.type
        except NoPlainLayout as found:
            advice = "whose layout cannot be taken apart. Cast it to plain lists"
            raise UnsupportedType(column=name, dtype=found, advice=advice) from None
        if dtype is not None and contains(dtype, is_foreign):
            raise UnsupportedType(column=name, dtype=dtype, advice=NO_EXTENSION)
        return Column(len(self.readers) - 1, name, dtype)

    def add_position(self, position: int) -> Column:
        """Read a column of the source."""
        name = [*self.source.names, *self.source.level_names][position]
        if position not in self._numbers:
            self._numbers[position] = self.add(self.source.open(position), name).number
        number = self._numbers[position]
        return Column(number, name, self.readers[number].type)

    def add_name(self, name: str, option: str) -> Column:
        """Read the column, or else the index level, of that name."""
        for names, first in (
            (self.source.names, 0),
            (self.source.level_names, len(self.source.names)),
        ):
            found = [] if name.startswith(INTERNAL) else _find(name, names, first)
            if len(found) > 1:
                raise ConfigError(
                    f"{option}={name!r} names {len(found)} columns of the data; "
                    f"expected one. Rename the others."
                )
            if found:
                return self.add_position(found[0])
        names = [*self.source.names, *self.source.level_names]
        available = [name for name in names if not name.startswith(INTERNAL)]
        raise ColumnNotFound(name, option=option, available=available)

    def add_internal(self, name: str) -> int | None:
        """Read an internal column; return its place in a window. None: there is none."""
        names = self.source.names
        return self.add_position(names.index(name)).number if name in names else None

    def add_data(self, columns: Sequence[Any] | None, *, index: bool) -> list[Column]:
        """Read the columns that go into Data, in order."""
        if columns is None:
            chosen = [
                self.add_position(place)
                for place, name in enumerate(self.source.names)
                if not name.startswith(INTERNAL)
            ]
        else:
            chosen = [self.add_name(str(name), "columns") for name in _as_list(columns)]
        if index:
            first = len(self.source.names)
            levels = range(first, first + len(self.source.level_names))
            chosen = [*(self.add_position(place) for place in levels), *chosen]
        _check_names(chosen)
        return chosen

    def add_option(self, value: Any, option: str) -> Column:
        """Read the column that an option names, or the array it brings."""
        names = [*self.source.names, *self.source.level_names]
        if isinstance(value, (str, int, np.integer)) or _is_label(value, names):
            return self.add_name(str(value), option)
        self._refuse_names(value, option)
        reader = _open_array(value, option, self.source)
        return self.add(reader, option)

    def _refuse_names(self, value: Any, option: str) -> None:
        """Refuse a list of column names, and say how to join the columns."""
        names = set(self.source.names)
        is_names = isinstance(value, (list, tuple)) and all(
            isinstance(item, str) and item in names for item in value
        )
        if is_names and value:
            joined = ' + "/" + '.join(f"df[{item!r}].astype(str)" for item in value)
            raise ConfigError(
                f"{option}={list(value)!r} names several columns; expected one. "
                f"Join them first, for example {option}={joined}."
            )


def _find(name: str, names: Sequence[str], first: int) -> list[int]:
    return [first + place for place, known in enumerate(names) if known == name]


def _is_label(value: Any, names: Sequence[str]) -> bool:
    """Whether a value is a label of one column: of any type, a tuple where it has levels."""
    may_be = isinstance(value, tuple) or pd.api.types.is_scalar(value)
    return may_be and str(value) in names


def _as_list(columns: Any) -> list[Any]:
    if isinstance(columns, str):
        raise ConfigError(
            f"columns={columns!r} is text; expected a list. Type columns=[{columns!r}]."
        )
    if not pd.api.types.is_list_like(columns):
        raise ConfigError(f"columns={columns!r}: expected a list of names. Correct it.")
    return list(columns)


def _check_names(columns: Sequence[Column]) -> None:
    """Refuse no columns, and names that are the same as text."""
    names = [column.name for column in columns]
    odd = next(filter(_SURROGATE.search, names), None)
    if odd is not None:
        raise ConfigError(
            f"the column name {odd!r} holds a lone surrogate, which UTF-8 cannot. Rename it."
        )
    if not names:
        raise ConfigError("there are no columns to send; expected at least one. See columns=.")
    is_unique = len(set(names)) == len(names)
    twice = [] if is_unique else sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"column names must differ as text, and {twice[0]!r} names several. Rename one, "
            f"or leave it out with columns=."
        )


def _open_array(value: Any, option: str, source: Source) -> Reader:
    """Return a reader of an array that is given beside the data."""
    is_one_dimensional = isinstance(value, Sized) and getattr(value, "ndim", 1) == 1
    if not is_one_dimensional or isinstance(value, (bytes, dict, set, frozenset)):
        kind = type(value).__name__
        raise ConfigError(
            f"{option} is a {kind}; expected a column's name or an array with one value a row."
        )
    if source.num_rows is None:
        raise ConfigError(
            f"{option} is an array, and how many rows the data has is not known before it is "
            f"read. Make it a column of the data."
        )
    if len(value) != source.num_rows:
        raise ConfigError(
            f"{option} has {len(value):,} values for {source.num_rows:,} rows; expected one each."
        )
    if isinstance(value, (pa.Array, pa.ChunkedArray)):
        return ArrowReader(
            value if isinstance(value, pa.ChunkedArray) else pa.chunked_array([value])
        )
    return open_series(_as_series(value, option, source), option)


def _as_series(value: Any, option: str, source: Source) -> pd.Series[Any]:
    """Check a Series' index against the data's; others go by position."""
    if isinstance(value, pd.Series):
        index = pd.RangeIndex(len(value)) if source.index is None else source.index
        if not value.index.equals(index):
            raise ConfigError(
                f"{option} is a Series with another index than the data. Align it, for example "
                f"{option}=series.reindex(df.index), or pass series.to_numpy()."
            )
        return value
    if isinstance(value, (list, tuple)):  # cell by cell: pandas would turn 7 beside None into 7.0
        cells = np.empty(len(value), dtype=object)
        cells[:] = value
        return pd.Series(cells)
    return pd.Series(value)

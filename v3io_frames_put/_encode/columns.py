"""The columns a plan reads, and the one Arrow type of an object column."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence, Sized
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from ..errors import ColumnNotFound, ConfigError, UnsupportedType
from .layouts import UNSUPPORTED, contains, is_unsupported
from .objects import Unencodable, build_array, infer_type
from .rejections import RejectionLog, reject_invalid
from .sources import Column, Reader, Source, find_text_type, open_arrow, open_series


def decide_type(column: Column, selection: Selection) -> pa.DataType:
    """Return the Arrow type that holds every cell of a column of objects unchanged."""
    num_rows = selection.source.num_rows
    if num_rows is None:
        advice = (
            "whose Arrow type is decided over the whole column, and this data is read once. "
            "Give it a type, or send a DataFrame"
        )
        raise UnsupportedType(column=column.name, dtype="object", advice=advice)
    reader = selection.readers[column.number]
    found = find_text_type(reader, num_rows)
    if found is not None:
        return found
    cells: list[Any] = np.asarray(reader.cut(0, num_rows)).tolist()
    try:
        return infer_type(cells)
    except (Unencodable, RecursionError):
        pass  # no type holds the cells up to some row
    row = bisect_left(range(num_rows), True, key=lambda row: _misfit(cells[: row + 1]) != "")  # noqa: FBT003 - is it there
    advice = f"and row {row:,} {_misfit(cells[: row + 1])}. Make the column one type"
    raise UnsupportedType(column=column.name, dtype="object", advice=advice)


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
    """The columns a plan reads, each opened once however often it is named."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.readers: list[Reader] = []
        self.names: list[str] = []
        self._columns: dict[int, Column] = {}  # by position in the source

    def add(self, reader: Reader, name: str) -> Column:
        """Read one more column."""
        if reader.type is not None and contains(reader.type, is_unsupported):
            raise UnsupportedType(column=name, dtype=reader.type, advice=UNSUPPORTED)
        self.readers.append(reader)
        self.names.append(name)
        return Column(len(self.readers) - 1, name, reader.type)

    def add_position(self, position: int) -> Column:
        """Read a column of the source, or an index level, which come after the columns."""
        if position not in self._columns:
            name = [*self.source.names, *self.source.level_names][position]
            self._columns[position] = self.add(self.source.open(position), name)
        return self._columns[position]

    def add_name(self, name: str, option: str) -> Column:
        """Read the column, or else the index level, of that name."""
        names = [*self.source.names, *self.source.level_names]
        available = [known for known in names if not known.startswith(INTERNAL)]
        if name not in available:
            raise ColumnNotFound(name, option=option, available=available)
        position = names.index(name)
        count = (self.source.names if name in self.source.names else names).count(name)
        if count > 1:
            raise ConfigError(
                f"{option}={name!r} names {count} columns of the data; "
                f"expected one. Rename the others."
            )
        return self.add_position(position)

    def add_data(self, columns: Sequence[Any] | None, *, index: bool) -> list[Column]:
        """Read the columns that go into Data, in order."""
        if columns is None:
            chosen = [
                self.add_position(place)
                for place, name in enumerate(self.source.names)
                if not name.startswith(INTERNAL)
            ]
        else:
            chosen = [self.add_name(str(name), "columns") for name in columns]
        if index:
            first = len(self.source.names)
            levels = range(first, first + len(self.source.level_names))
            chosen = [*(self.add_position(place) for place in levels), *chosen]
        names = [column.name for column in chosen]
        if not names:
            raise ConfigError("there are no columns to send; expected at least one. See columns=.")
        odd = next(filter(_SURROGATE.search, names), None)
        if odd is not None:
            raise ConfigError(
                f"the column name {odd!r} holds a lone surrogate, which UTF-8 cannot. Rename it."
            )
        if len(set(names)) < len(names):
            twice = min(name for name, count in Counter(names).items() if count > 1)
            raise ConfigError(
                f"column names must differ as text, and {twice!r} names several. Rename one, "
                f"or leave it out with columns=."
            )
        return chosen

    def add_option(self, value: Any, option: str) -> Column:
        """Read the column that an option names, or the array it brings."""
        names = [*self.source.names, *self.source.level_names]
        if isinstance(value, (str, int, np.integer)):
            return self.add_name(str(value), option)
        # A label may be of any type, a tuple where columns have levels.
        may_be_label = isinstance(value, tuple) or pd.api.types.is_scalar(value)
        if may_be_label and str(value) in names:
            return self.add_name(str(value), option)
        is_list = isinstance(value, (list, tuple)) and len(value) > 0
        if is_list and all(isinstance(item, str) and item in names for item in value):
            joined = ' + "/" + '.join(f"df[{item!r}].astype(str)" for item in value)
            raise ConfigError(
                f"{option}={list(value)!r} names several columns; expected one. "
                f"Join them first, for example {option}={joined}."
            )
        return self.add(_open_array(value, option, self.source), option)


def _open_array(value: Any, option: str, source: Source) -> Reader:
    """Return a reader of an array that is given beside the data.

    A Series has to have the data's index; other arrays go by position.
    """
    is_array = isinstance(value, Sized) and getattr(value, "ndim", 1) == 1
    if not is_array or isinstance(value, (bytes, dict, set, frozenset)):
        raise ConfigError(
            f"{option} is a {type(value).__name__}; expected a column's name or an array with one "
            f"value a row."
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
    # pandas would make floats of integers; polars would give the addresses of objects.
    is_polars = hasattr(value, "__arrow_c_stream__") and not isinstance(value, pd.Series)
    if is_polars and str(getattr(value, "dtype", "")) != "Object":
        value = pa.chunked_array(value)
    elif isinstance(value, np.ma.MaskedArray) and value.dtype.kind in "iu":
        value = pa.array(value.data, mask=np.ma.getmaskarray(value))
    if isinstance(value, (pa.Array, pa.ChunkedArray)):
        cut = lambda start, stop: value.slice(start, stop - start)  # noqa: E731
        return open_arrow(cut, pa.field(option, value.type))
    if isinstance(value, pd.Series):
        index = pd.RangeIndex(len(value)) if source.index is None else source.index
        if not value.index.equals(index):
            raise ConfigError(
                f"{option} is a Series with another index than the data. Align it, for example "
                f"{option}=series.reindex(df.index), or pass series.to_numpy()."
            )
    elif isinstance(value, (list, tuple)):  # pandas would turn 7 beside None into 7.0
        value = pd.Series(value, dtype=object)
    else:
        value = pd.Series(value)
    return open_series(value, option)

"""pandas DataFrames, column by column and slice by slice.

NumPy columns go to Arrow without a copy. Object columns stay Python objects, since
Arrow would infer one type from their first cells, except where a piece holds
nothing but text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from v3io_frames_put._rows.arrow_types import NoPlainLayout, combine, plain_type
from v3io_frames_put._rows.sizes import rows_within
from v3io_frames_put.errors import UnsupportedType

if TYPE_CHECKING:
    from v3io_frames_put._rows.source import Reader

Values = Any  # an ndarray or an ExtensionArray: what pandas keeps columns in
Slice = Callable[[int, int], Values]

_CELLS_AT_ONCE: Final = 512  # rows between two looks at how much text there is


class FrameSource:
    """A pandas DataFrame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.num_rows = len(frame)
        self.index = frame.index
        self.names = [str(label) for label in frame.columns]
        self.level_names = _name_levels(frame)
        self._frame = frame

    def open(self, position: int) -> Reader:
        """Return a reader of a column; positions from ``len(names)`` are index levels."""
        if position >= len(self.names):
            level = position - len(self.names)
            return open_values(*_slice_level(self.index, level), self.level_names[level])
        series = self._frame.iloc[:, position]
        return open_series(series, self.names[position])

    def available(self, start: int, num_rows: int, max_bytes: int) -> int:  # noqa: ARG002 - all is here
        """Return how many rows there are from ``start``."""
        return min(num_rows, self.num_rows - start)


def open_series(series: pd.Series[Any], name: str) -> Reader:
    """Return a reader of a Series."""
    values = _bare(series)
    return open_values(lambda start, stop: values[start:stop], series.dtype, name)


def open_values(cut: Slice, dtype: Any, name: str) -> Reader:
    """Return a reader of values of a pandas dtype; raise UnsupportedType where none can be."""
    if isinstance(dtype, pd.SparseDtype):
        return open_values(lambda start, stop: np.asarray(cut(start, stop)), dtype.subtype, name)
    if isinstance(dtype, pd.CategoricalDtype) and _is_python(dtype.categories.dtype):
        return _CellReader(_cut_categories(cut, dtype.categories))
    if _is_python(dtype):
        return _CellReader(cut)
    try:
        return _ValueReader(cut, plain_type(_to_arrow(cut(0, 0)).type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, NoPlainLayout):
        advice = "which has no Arrow type. Convert it, or leave the column out"
        raise UnsupportedType(column=name, dtype=dtype, advice=advice) from None


def _name_levels(frame: pd.DataFrame) -> list[str]:
    """Name index levels as ``reset_index`` does."""
    nameless = [f"level_{number}" for number in range(frame.index.nlevels)]
    if frame.index.nlevels == 1 and "index" not in frame.columns:
        nameless = ["index"]
    return [
        nameless[number] if name is None else str(name)
        for number, name in enumerate(frame.index.names)
    ]


def _slice_level(index: pd.Index[Any], level: int) -> tuple[Slice, Any]:
    """Return how to cut one index level, and its dtype, without making the whole of it."""

    def cut(start: int, stop: int) -> Values:
        return _bare(index[start:stop].get_level_values(level))

    return cut, index[:0].get_level_values(level).dtype


def _bare(column: pd.Series[Any] | pd.Index[Any]) -> Values:
    """Return what a column is kept in, NumPy's own array where it is one."""
    return column.to_numpy() if isinstance(column.dtype, np.dtype) else column.array


def _is_python(dtype: Any) -> bool:
    """Tell whether values of the dtype are Python objects in memory."""
    return dtype == np.dtype(object) or (
        isinstance(dtype, pd.StringDtype) and dtype.storage == "python"
    )


def _cut_categories(cut: Slice, categories: pd.Index[Any]) -> Slice:
    """Cut a categorical to its values, as objects."""
    objects = categories.to_numpy(dtype=object)

    def cut_values(start: int, stop: int) -> np.ndarray:
        codes = cut(start, stop).codes
        values = np.where(codes < 0, None, objects[codes] if len(objects) else None)
        return np.asarray(values, dtype=object)

    return cut_values


def _to_arrow(values: Values) -> pa.Array | pa.ChunkedArray:
    """Bring values to Arrow; a float NaN stays one, which saves a mask and means the same."""
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        dtype = values.dtype
        ticks = np.asarray(values, f"M8[{dtype.unit}]").view(np.int64)
        return _ticks_to_arrow(ticks, pa.timestamp(dtype.unit, dtype.tz))
    if not isinstance(values, np.ndarray):
        return pa.array(values, from_pandas=True)
    if values.dtype.kind not in "iuf":
        return pa.array(values)
    # pyarrow.array would wrap each piece in a Series first.
    native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    dtype = pa.from_numpy_dtype(native.dtype)
    return pa.Array.from_buffers(dtype, len(native), [None, pa.py_buffer(native)])


def _ticks_to_arrow(ticks: np.ndarray, dtype: pa.DataType) -> pa.Array:
    """Show integers as timestamps, NaT as null."""
    data = pa.py_buffer(np.ascontiguousarray(ticks))
    numbers = pa.Array.from_buffers(pa.int64(), len(ticks), [None, data])
    is_given = pc.not_equal(numbers, pd.NaT.value)
    validity = None if is_given.true_count == len(ticks) else is_given.buffers()[1]
    return pa.Array.from_buffers(dtype, len(ticks), [validity, data])


@dataclass(frozen=True, slots=True)
class _ValueReader:
    """Reads a column whose dtype has an Arrow type."""

    cut: Slice
    type: pa.DataType

    def read(self, start: int, stop: int, max_bytes: int) -> pa.Array:
        """Return the rows as one plain array."""
        values = _to_arrow(self.cut(start, stop))
        column = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])
        column = column.slice(0, rows_within(column, max_bytes))
        return combine(column.chunks, column.type)


@dataclass(frozen=True, slots=True)
class _CellReader:
    """Reads a column of Python objects."""

    cut: Slice
    type: None = None

    def read(self, start: int, stop: int, max_bytes: int) -> pa.Array | np.ndarray:
        """Return the rows as text where all cells are text or missing, else as objects."""
        cells = np.asarray(self.cut(start, stop), dtype=object)
        texts: list[pa.Array] = []
        size = 0
        for at in range(0, len(cells), _CELLS_AT_ONCE):
            text = _as_text(cells[at : at + _CELLS_AT_ONCE])
            if text is None:
                return cells
            texts.append(text)
            size += text.nbytes
            if size > max_bytes:
                break
        return pa.concat_arrays(texts) if texts else pa.array([], pa.string())


def _as_text(cells: np.ndarray) -> pa.StringArray | None:
    """Return cells as Arrow text; None where one is neither text nor missing."""
    if pd.api.types.infer_dtype(cells, skipna=True) not in ("string", "empty"):
        return None
    try:
        return pa.array(cells, pa.string(), from_pandas=True)
    except (UnicodeEncodeError, pa.ArrowTypeError):
        return None  # a lone surrogate, or a NaN that is no Python float: told cell by cell

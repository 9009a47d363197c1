"""Sources: tables that are read in order, as windows of plain columns.

::

    Source.open            a reader of one column
    Reader.read            the next rows of a column, in the plain layout of its type
    read_window            the next rows of all columns that were opened
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.types as pt

from ..errors import UnsupportedType
from .layouts import (
    UNSUPPORTED,
    combine,
    copy,
    format_uuids,
    is_bytes,
    is_text,
    make_plain,
    measure,
    plain_type,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

MAX_ROWS: Final = 16_384  # of a window: fewer spend their time in calls, more spill the caches
_CELLS_AT_ONCE: Final = 1_024  # Python objects between two looks at how much text there is
_SAMPLE_CELLS: Final = 32  # up to twice as many are measured; of fewer all
_LONG_CELLS: Final = (str, bytes, bytearray, memoryview)  # Python objects that may be long
_LOOK_BYTES: Final = 2**20  # of text at once, where only the type is asked for
ANY_SIZE: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Column:
    """A column as a plan sees it: its place in a window, its name and type."""

    number: int
    name: str
    type: pa.DataType | None


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive rows of the columns a plan reads."""

    first_row: int
    num_rows: int
    columns: list[pa.Array | np.ndarray]

    def slice(self, start: int, stop: int) -> Window:
        """Return some of the rows, without a copy."""
        if start == 0 and stop >= self.num_rows:
            return self
        columns = [column[start:stop] for column in self.columns]
        return Window(self.first_row + start, stop - start, columns)

    def copy(self) -> Window:
        """Return the window in memory of its own at every level."""
        return Window(self.first_row, self.num_rows, [copy(column) for column in self.columns])


@dataclass(frozen=True, slots=True)
class Reader:
    """One column, read piece by piece."""

    cut: Callable[[int, int], pa.Array | pa.ChunkedArray | np.ndarray]  # rows, in any layout
    type: pa.DataType | None  # the plain type of all pieces; None for Python objects

    def read(self, start: int, stop: int, max_bytes: int) -> pa.Array | np.ndarray:
        """Return rows from ``start``, before ``stop``, as many as fit ``max_bytes``.

        At least one. Python objects come as an object array, or as Arrow text where
        every cell of the piece is text or missing.
        """
        values = self.cut(start, stop)
        if isinstance(values, np.ndarray):
            return _read_cells(values, max_bytes)
        column = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])
        if pt.is_primitive(column.type) and column.num_chunks == 1:
            return column.chunk(0)  # of few bytes, and plain
        while len(column) > 1 and sum(map(measure, column.chunks)) > max_bytes:
            column = column.slice(0, (len(column) + 1) // 2)
        return combine(column.chunks, column.type)


def _read_cells(cells: np.ndarray, max_bytes: int) -> pa.Array | np.ndarray:
    """Return cells from the first on, as many as fit; as text where all are text or missing."""
    texts: list[pa.Array] = []
    is_text, room, stop = True, max_bytes, 0
    for start in range(0, len(cells), _CELLS_AT_ONCE):
        some = cells[start : start + _CELLS_AT_ONCE]
        while len(some) > 1 and _measure_cells(some) > room:
            some = some[: (len(some) + 1) // 2]
        text = _as_text(some) if is_text else None
        if text is None:
            is_text = False
            room -= _measure_cells(some)
        else:
            texts.append(text)
            room -= text.nbytes
        stop = start + len(some)
        if len(some) < _CELLS_AT_ONCE:
            break
    if not is_text:
        return cells[:stop]
    return pa.concat_arrays(texts) if texts else pa.array([], pa.string())


def _as_text(cells: np.ndarray) -> pa.Array | None:
    """Return cells as text if all are text or missing; else None."""
    if pd.api.types.infer_dtype(cells, skipna=True) not in ("string", "empty"):
        return None
    try:
        return pa.array(cells, pa.string(), from_pandas=True)
    except (UnicodeEncodeError, pa.ArrowException):
        return None  # a lone surrogate, or a NaN of NumPy: encoded cell by cell


def _measure_cells(cells: np.ndarray) -> int:
    """Return about how long the texts and bytes among Python objects are, by a sample of them."""
    sample = cells[:: len(cells) // _SAMPLE_CELLS | 1]  # odd: few patterns have such a period
    size = sum(len(cell) for cell in sample if isinstance(cell, _LONG_CELLS))
    return size * len(cells) // max(1, len(sample))


def find_text_type(reader: Reader, num_rows: int) -> pa.DataType | None:
    """Return text if all cells are text or missing, null if all are missing; else None."""
    found, start = pa.null(), 0
    while start < num_rows:
        stop = min(start + MAX_ROWS, num_rows)
        piece = reader.read(start, stop, _LOOK_BYTES)
        if isinstance(piece, np.ndarray):
            return None
        if piece.null_count < len(piece):
            found = pa.string()
        start += len(piece)
    return found


class Source:
    """A table-like input: the defaults are those of a table in memory."""

    names: list[str]  # of its columns, as text
    level_names: list[str]  # of its index; ``open`` counts through both
    num_rows: int | None = None  # None: unknown until read
    index: pd.Index[Any] | None = None  # the labels of the rows; None where it has none
    misfits: Mapping[int, str] = {}  # why rows that were read are rejected, by number
    is_read_once = False  # the data that it was opened from cannot be opened again

    def open(self, position: int) -> Reader:
        """Return a reader of a column; positions from ``len(names)`` are index levels."""
        raise NotImplementedError

    def available(self, start: int, num_rows: int, max_bytes: int) -> int:  # noqa: ARG002 - for streams
        """Return how many rows from ``start`` can be read now; 0 only at the end.

        At most ``num_rows``, and no more are gathered once they take ``max_bytes``. Rows
        before ``start`` may be forgotten.
        """
        return min(num_rows, (self.num_rows or 0) - start)

    def stop_reading(self) -> None:
        """Read no further batch, also not for the window that is being read; from any thread."""


def read_window(
    source: Source,
    readers: Sequence[Reader],
    first_row: int,
    max_rows: int,
    max_bytes: int,
    window_bytes: int,
) -> Window | None:
    """Read the window that begins at ``first_row``; None at the end.

    No column has more than ``max_bytes``, and together they have ``window_bytes``, where
    that is not less than a row.
    """
    num_rows = source.available(first_row, max_rows, max_bytes)
    if num_rows == 0:
        return None
    window, size = Window(first_row, num_rows, []), 0
    for reader in readers:  # where one has long values, no more rows of the others are needed
        column = reader.read(first_row, first_row + window.num_rows, max_bytes)
        window.columns.append(column)
        size += _measure_column(column)
        count = len(column)
        while count < window.num_rows or (size > window_bytes and count > 1):
            if count == window.num_rows:
                count = (count + 1) // 2
            window = window.slice(0, count)
            size = sum(map(_measure_column, window.columns))
    return window


def _measure_column(column: pa.Array | np.ndarray) -> int:
    return _measure_cells(column) if isinstance(column, np.ndarray) else measure(column)


# -- Arrow -------------------------------------------------------------------------------------


def open_arrow(cut: Callable[[int, int], pa.ChunkedArray], field: pa.Field) -> Reader:
    """Return a reader of a column of Arrow's; raise UnsupportedType for an unknown extension.

    Arrow leaves types that are not registered as they are stored, with their name in the
    field's metadata; whether pandas has registered its own depends on what was imported.
    """
    name, *inside = _extension_names(field)
    known = name in ("", "arrow.json", "arrow.uuid", "arrow.bool8")
    odd = next((one for one in inside if one not in ("", "arrow.json")), None if known else name)
    if odd is not None:
        raise UnsupportedType(column=field.name, dtype=odd, advice=UNSUPPORTED)
    if name == "arrow.uuid":
        return Reader(lambda start, stop: format_uuids(cut(start, stop)), pa.string())
    if name == "arrow.bool8":
        return Reader(lambda start, stop: cut(start, stop).cast(pa.bool_()), pa.bool_())
    labels = field.type.value_type if pt.is_dictionary(field.type) else pa.null()
    if is_text(labels) or is_bytes(labels):
        cut = partial(_cut_labels, cut, [])
    return Reader(cut, plain_type(field.type))


def _cut_labels(
    cut: Callable[[int, int], pa.ChunkedArray],
    known: list[tuple[pa.Array, pa.Array]],
    start: int,
    stop: int,
) -> pa.ChunkedArray:
    """Return dictionaries of plain labels; ``known`` keeps the last ones, before and after.

    To make a million labels plain takes longer than all else that a window needs.
    """
    values = cut(start, stop)
    chunks = []
    for chunk in values.chunks if isinstance(values, pa.ChunkedArray) else [values]:
        labels = chunk.dictionary
        if not known or not _is_same(known[0][0], labels):
            known[:] = [(labels, make_plain(labels))]
        chunks.append(pa.DictionaryArray.from_arrays(chunk.indices, known[0][1], safe=False))
    return pa.chunked_array(chunks) if chunks else values


def _is_same(one: pa.Array, other: pa.Array) -> bool:
    """Return whether two arrays without others inside, both still in memory, share all of it."""
    places = [
        (array.offset, len(array), [buffer and buffer.address for buffer in array.buffers()])
        for array in (one, other)
    ]
    return places[0] == places[1]


def _extension_names(field: pa.Field) -> Iterator[str]:
    """Yield the extension of a field that only its metadata names, then those inside it."""
    if isinstance(field.type, pa.BaseExtensionType):
        yield ""
        return
    yield (field.metadata or {}).get(b"ARROW:extension:name", b"").decode()
    for number in range(field.type.num_fields):
        yield from _extension_names(field.type.field(number))


def split_index(schema: pa.Schema) -> tuple[list[str], list[str], list[int]]:
    """Return the names of columns and of pandas' index levels, and the places of both."""
    metadata = schema.pandas_metadata or {}
    levels = [
        schema.get_field_index(name)
        for name in metadata.get("index_columns", ())
        if isinstance(name, str) and schema.names.count(name) == 1
    ]
    columns = [place for place in range(len(schema)) if place not in levels]
    names = [schema.names[place] for place in columns]
    labels = {of.get("field_name"): of.get("name") for of in metadata.get("columns", ())}
    level_names = _name_levels([labels.get(schema.names[place]) for place in levels], names)
    return names, level_names, [*columns, *levels]


def _name_levels(levels: Sequence[Any], names: Sequence[Any]) -> list[str]:
    """Name index levels as ``reset_index`` does beside columns of some names."""
    if len(levels) == 1 and levels[0] is None and "index" not in names:
        return ["index"]
    return [f"level_{at}" if name is None else str(name) for at, name in enumerate(levels)]


class TableSource(Source):
    """A table in memory."""

    def __init__(self, table: pa.Table) -> None:
        self.num_rows: int = table.num_rows
        self.names, self.level_names, self._places = split_index(table.schema)
        self._table = table

    def open(self, position: int) -> Reader:
        """Return a reader of a column."""
        place = self._places[position]
        column = self._table.column(place)
        return open_arrow(
            lambda start, stop: column.slice(start, stop - start), self._table.field(place)
        )


class StreamSource(Source):
    """Record batches that come one after another, once.

    ``batches`` is called at the first read. Given the positions of the columns that were
    opened, it returns the batches of these columns, in this order.
    """

    def __init__(
        self, schema: pa.Schema, batches: Callable[[list[int]], Iterator[pa.RecordBatch]]
    ) -> None:
        self.names, self.level_names, self._places = split_index(schema)
        self._schema = schema
        self._open_batches = batches
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._opened: list[int] = []
        # From row ``_first_row`` on, each with its bytes.
        self._pending: deque[tuple[pa.RecordBatch, int]] = deque()
        self._first_row = 0
        self._is_stopped = False

    def open(self, position: int) -> Reader:
        """Return a reader of a column."""
        place = self._places[position]
        if place not in self._opened:
            self._opened.append(place)
        field = self._schema.field(place)
        return open_arrow(partial(self._cut, self._opened.index(place), field.type), field)

    def available(self, start: int, num_rows: int, max_bytes: int) -> int:
        """Read batches until there are enough rows or bytes, or no more."""
        if self._batches is None:
            self._batches = self._open_batches(self._opened)
        while self._pending and self._first_row + len(self._pending[0][0]) <= start:
            self._first_row += len(self._pending.popleft()[0])
        rows = self._first_row + sum(len(batch) for batch, _ in self._pending) - start
        size = sum(num_bytes for _, num_bytes in self._pending)
        while rows == 0 or (rows < num_rows and size < max_bytes):
            try:
                batch = None if self._is_stopped else next(self._batches, None)
            except Exception as error:
                if not rows:
                    raise
                self._batches = _fail(error)  # once what was read before it is on its way
                break
            if batch is None:
                break
            num_bytes = sum(map(measure, batch.columns))
            self._pending.append((batch, num_bytes))
            rows += batch.num_rows
            size += num_bytes
        return min(num_rows, rows)

    def stop_reading(self) -> None:
        """Read no further batch, also not for the window that is being read; from any thread."""
        self._is_stopped = True

    def _cut(self, number: int, dtype: pa.DataType, start: int, stop: int) -> pa.ChunkedArray:
        chunks = [batch.column(number) for batch, _ in self._pending]
        return pa.chunked_array(chunks, dtype).slice(start - self._first_row, stop - start)


def _fail(error: Exception) -> Iterator[pa.RecordBatch]:
    raise error
    yield


# -- pandas ------------------------------------------------------------------------------------


class FrameSource(Source):
    """A pandas DataFrame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.num_rows = len(frame)
        self.index = frame.index
        self.names = list(map(str, frame.columns))
        self.level_names = _name_levels(frame.index.names, list(frame.columns))
        self._frame = frame

    def open(self, position: int) -> Reader:
        """Return a reader of a column, or of an index level without making the whole of it."""
        if position < len(self.names):
            return open_series(self._frame.iloc[:, position], self.names[position])
        level, index = position - len(self.names), self._frame.index
        name = self.level_names[level]
        if not isinstance(index, pd.MultiIndex):
            return open_series(index, name)
        return _open_coded(index.levels[level], index.codes[level], name)


def open_series(series: pd.Series[Any] | pd.Index[Any], name: str) -> Reader:
    """Return a reader of a Series or Index; raise UnsupportedType where none can be."""
    dtype: Any = series.dtype
    values: Any = series.to_numpy() if isinstance(dtype, np.dtype) else series.array
    if isinstance(dtype, pd.CategoricalDtype):
        return _open_coded(dtype.categories, values.codes, name)
    of_cells = dtype.subtype if isinstance(dtype, pd.SparseDtype) else dtype
    is_python_text = isinstance(of_cells, pd.StringDtype) and of_cells.storage == "python"
    if is_python_text or of_cells == np.dtype(object):
        return Reader(lambda start, stop: np.asarray(values[start:stop], dtype=object), None)
    try:
        found = plain_type(_to_arrow(values[:0]).type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        raise UnsupportedType(column=name, dtype=dtype, advice=UNSUPPORTED) from None
    return Reader(lambda start, stop: _to_arrow(values[start:stop]), found)


def _open_coded(labels: pd.Index[Any], codes: np.ndarray, name: str) -> Reader:
    """Return a reader of labels by their numbers, of which -1 is missing.

    All pieces have the type of the labels; what pandas makes of some of them depends on
    whether one is missing there.
    """
    reader = open_series(labels, name)
    if reader.type is None:
        objects = np.array([*labels.to_numpy(dtype=object), None], dtype=object)  # -1 is the last
        return Reader(lambda start, stop: objects[codes[start:stop]], None)
    whole = reader.read(0, len(labels), ANY_SIZE)

    def cut_labels(start: int, stop: int) -> pa.Array:
        numbers = codes[start:stop]
        return pa.DictionaryArray.from_arrays(pa.array(numbers, mask=numbers < 0), whole)

    return Reader(cut_labels, reader.type)


def _to_arrow(values: Any) -> pa.Array | pa.ChunkedArray:
    """Bring values to Arrow; a float NaN stays one, which saves a mask and means the same."""
    if isinstance(values.dtype, pd.SparseDtype):
        values = np.asarray(values)
    dtype = values.dtype
    if isinstance(dtype, pd.DatetimeTZDtype):  # four times as fast as pandas' own conversion
        ticks = np.asarray(values, f"M8[{dtype.unit}]")
        return pa.array(ticks, pa.timestamp(dtype.unit, dtype.tz))
    if not isinstance(values, np.ndarray):
        return pa.array(values, from_pandas=True)
    return pa.array(values if dtype.isnative else values.astype(dtype.newbyteorder("=")))

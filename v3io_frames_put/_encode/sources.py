"""Any supported table as a source: windows of columns, read in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._encode.json_types import format_uuids
from v3io_frames_put._encode.layouts import (
    NO_EXTENSION,
    NoPlainLayout,
    combine,
    is_extension,
    measure,
    plain_type,
    rows_within,
)
from v3io_frames_put.errors import UnsupportedType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_ROWS: Final = 8_192  # of a window: fewer spend their time in calls, more spill the caches


class Reader(Protocol):
    """One column, read piece by piece."""

    @property
    def type(self) -> pa.DataType | None:
        """The plain Arrow type of all pieces; None for Python objects."""

    def read(self, start: int, stop: int, max_bytes: int) -> pa.Array | np.ndarray:
        """Return rows from ``start``, before ``stop``, as many as fit ``max_bytes``.

        At least one. Python objects come as an object array, or as Arrow text where
        every cell of the piece is text or missing.
        """


class Source(Protocol):
    """A table-like input.

    Attributes
    ----------
    names, level_names : list of str
        Columns and index levels as text; ``open`` counts through both.
    """

    names: list[str]
    level_names: list[str]

    @property
    def num_rows(self) -> int | None:
        """Rows of the input; None: unknown until read."""

    @property
    def index(self) -> pd.Index[Any] | None:
        """The labels of the input's rows; None where it has none."""

    def open(self, position: int) -> Reader:
        """Return a reader of a column; positions from ``len(names)`` are index levels."""

    def available(self, start: int, num_rows: int, max_bytes: int) -> int:
        """Return how many rows from ``start`` can be read now, at most ``num_rows``.

        0 only at the end. Rows before ``start`` may be forgotten; ``max_bytes`` is
        when to stop gathering more.
        """


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
        columns = [
            pa.concat_arrays([c, c[:0]]) if isinstance(c, pa.Array) else c for c in self.columns
        ]
        return Window(self.first_row, self.num_rows, columns)


def read_window(
    source: Source, readers: Sequence[Reader], first_row: int, max_rows: int, max_bytes: int
) -> Window | None:
    """Read the window that begins at ``first_row``; None at the end."""
    num_rows = source.available(first_row, max_rows, max_bytes)
    if num_rows == 0:
        return None
    stop = first_row + num_rows
    values = [reader.read(first_row, stop, max_bytes) for reader in readers]
    num_rows = min(map(len, values), default=num_rows)
    if num_rows < stop - first_row:
        values = [column[:num_rows] for column in values]
    return Window(first_row, num_rows, values)


@dataclass(frozen=True, slots=True)
class ArrowReader:
    """Reads a chunked Arrow array; no copy inside a chunk of a plain type."""

    column: pa.ChunkedArray
    extension: str = ""

    @property
    def type(self) -> pa.DataType:
        """The plain type."""
        return _EXTENSIONS[self.extension][0] or plain_type(self.column.type)

    def read(self, start: int, stop: int, max_bytes: int) -> pa.Array:
        """Return the rows as one plain array."""
        piece = self.column.slice(start, stop - start)
        piece = piece.slice(0, rows_within(piece, max_bytes))
        return _EXTENSIONS[self.extension][1](combine(piece.chunks, piece.type))


# What columns become whose extension this pyarrow does not know.
_EXTENSIONS: Final[dict[str, tuple[pa.DataType | None, Callable[[pa.Array], pa.Array]]]] = {
    "": (None, lambda array: array),
    "arrow.json": (None, lambda array: array),
    "arrow.uuid": (pa.string(), format_uuids),
    "arrow.bool8": (pa.bool_(), lambda array: array.cast(pa.bool_())),
}


def find_extension(field: pa.Field) -> str:
    """Return the extension type of a field that only its metadata names, or ``""``.

    Arrow leaves types that are not registered as they are stored, and whether pandas has
    registered its own depends on what was imported.

    Raises
    ------
    UnsupportedType
        The extension, of the field or one inside it, is not one that can be sent.
    """
    name, *inside = _extension_names(field)
    odd = [name] if name not in _EXTENSIONS else [n for n in inside if n not in ("", "arrow.json")]
    if odd:
        raise UnsupportedType(column=field.name, dtype=odd[0], advice=NO_EXTENSION)
    return name


def _extension_names(field: pa.Field) -> Iterator[str]:
    """Yield the extension of a field that only its metadata names, then those inside it."""
    if is_extension(field.type):
        yield ""
        return
    yield (field.metadata or {}).get(b"ARROW:extension:name", b"").decode()
    for number in range(field.type.num_fields):
        yield from _extension_names(field.type.field(number))


def _split_index(schema: pa.Schema) -> tuple[list[str], list[str], list[int]]:
    """Tell the index levels of pandas, which its metadata names, from the data columns.

    Returns
    -------
    names, level_names : list of str
        The levels as ``reset_index`` names them.
    places : list of int
        The place in the schema of each column, then of each level.
    """
    metadata = schema.pandas_metadata or {}
    levels = [
        schema.get_field_index(name)
        for name in metadata.get("index_columns", ())
        if isinstance(name, str) and schema.names.count(name) == 1
    ]
    columns = [place for place in range(len(schema)) if place not in levels]
    names = [schema.names[place] for place in columns]
    labels = {of.get("field_name"): of.get("name") for of in metadata.get("columns", ())}
    nameless = _name_levels([labels.get(schema.names[place]) for place in levels], names)
    return names, nameless, [*columns, *levels]


def _name_levels(levels: Sequence[Any], names: Sequence[Any]) -> list[str]:
    """Name index levels as ``reset_index`` does beside columns of some names."""
    if len(levels) == 1 and levels[0] is None and "index" not in names:
        return ["index"]
    return [f"level_{at}" if name is None else str(name) for at, name in enumerate(levels)]


class TableSource:
    """A table in memory."""

    index = None

    def __init__(self, table: pa.Table) -> None:
        self.num_rows: int = table.num_rows
        self.names, self.level_names, self._places = _split_index(table.schema)
        self._table = table

    def open(self, position: int) -> ArrowReader:
        """Return a reader of a column."""
        place = self._places[position]
        return ArrowReader(self._table.column(place), find_extension(self._table.field(place)))

    def available(self, start: int, num_rows: int, max_bytes: int) -> int:  # noqa: ARG002 - all is here
        """Return how many rows there are from ``start``."""
        return min(num_rows, self.num_rows - start)


class StreamSource:
    """Record batches that come one after another, once.

    Parameters
    ----------
    schema : Schema
        Of the batches, all columns.
    batches : callable
        Given the positions of the columns that were opened, returns the batches of
        these columns, in this order. Called at the first read.
    """

    index = None
    num_rows = None

    def __init__(
        self, schema: pa.Schema, batches: Callable[[list[int]], Iterator[pa.RecordBatch]]
    ) -> None:
        self.names, self.level_names, self._places = _split_index(schema)
        self._schema = schema
        self._open_batches = batches
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._opened: list[int] = []
        self._pending: list[pa.RecordBatch] = []
        self._first_row = 0  # of the pending batches
        self._is_stopped = False

    def open(self, position: int) -> Reader:
        """Return a reader of a column."""
        place = self._places[position]
        if place not in self._opened:
            self._opened.append(place)
        field = self._schema.field(place)
        return _StreamReader(self, self._opened.index(place), field.type, find_extension(field))

    def available(self, start: int, num_rows: int, max_bytes: int) -> int:
        """Read batches until there are enough rows or bytes, or no more."""
        if self._batches is None:
            self._batches = self._open_batches(self._opened)
        self._forget(start)
        rows: int = sum(batch.num_rows for batch in self._pending)
        size = sum(measure(batch.columns) for batch in self._pending)
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
            self._pending.append(batch)
            rows += batch.num_rows
            size += measure(batch.columns)
        return min(num_rows, rows)

    def stop_reading(self) -> None:
        """Read no further batch, also not for the window that is being read; from any thread."""
        self._is_stopped = True

    def column(self, number: int, start: int, stop: int, dtype: pa.DataType) -> pa.ChunkedArray:
        """Return rows of an opened column."""
        chunks = [batch.column(number) for batch in self._pending]
        return pa.chunked_array(chunks, dtype).slice(start - self._first_row, stop - start)

    def _forget(self, start: int) -> None:
        """Drop rows before ``start``."""
        while self._pending and self._first_row < start:
            batch = self._pending.pop(0)
            passed = min(batch.num_rows, start - self._first_row)
            self._first_row += passed
            if passed < batch.num_rows:
                self._pending.insert(0, batch.slice(passed))


def _fail(error: Exception) -> Iterator[pa.RecordBatch]:
    raise error
    yield


@dataclass(frozen=True, slots=True)
class _StreamReader:
    """Reads a column of a stream's pending batches."""

    source: StreamSource
    number: int
    stored_type: pa.DataType
    extension: str

    @property
    def type(self) -> pa.DataType:
        """The plain type."""
        return ArrowReader(pa.chunked_array([], self.stored_type), self.extension).type

    def read(self, start: int, stop: int, max_bytes: int) -> pa.Array:
        """Return the rows as one plain array."""
        column = self.source.column(self.number, start, stop, self.stored_type)
        return ArrowReader(column, self.extension).read(0, len(column), max_bytes)


Values = Any  # an ndarray or an ExtensionArray: what pandas keeps columns in
Slice = Callable[[int, int], Values]

_CELLS_AT_ONCE: Final = 512  # rows between two looks at how much text there is


class FrameSource:
    """A pandas DataFrame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.num_rows = len(frame)
        self.index = frame.index
        self.names = [str(label) for label in frame.columns]
        self.level_names = _name_levels(frame.index.names, list(frame.columns))
        self._frame = frame

    def open(self, position: int) -> Reader:
        """Return a reader of a column; positions from ``len(names)`` are index levels."""
        if position >= len(self.names):
            level = position - len(self.names)
            return _open_level(self.index, level, self.level_names[level])
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
        codes = lambda start, stop: cut(start, stop).codes  # noqa: E731
        return _CellReader(_cut_coded(codes, dtype.categories))
    if _is_python(dtype):
        return _CellReader(cut)
    try:
        return _ValueReader(cut, plain_type(_to_arrow(cut(0, 0)).type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, NoPlainLayout):
        advice = "which has no Arrow type. Convert it, or leave the column out"
        raise UnsupportedType(column=name, dtype=dtype, advice=advice) from None


def _open_level(index: pd.Index[Any], level: int, name: str) -> Reader:
    """Return a reader of one index level, without making the whole of it.

    The labels of a MultiIndex have one type for the whole index; what pandas makes of a
    part of it depends on whether labels are missing there.
    """
    if not isinstance(index, pd.MultiIndex):
        values = _bare(index)
        return open_values(lambda start, stop: values[start:stop], index.dtype, name)
    labels, codes = index.levels[level], index.codes[level]
    if _is_python(labels.dtype):
        return _CellReader(_cut_coded(lambda start, stop: codes[start:stop], labels))
    reader = open_values(lambda start, stop: _bare(labels[start:stop]), labels.dtype, name)

    def cut(start: int, stop: int) -> Values:
        places = np.asarray(codes[start:stop], np.int64)
        values = _to_arrow(_bare(labels.take(np.maximum(places, 0)) if len(labels) else labels))
        return values.take(pa.array(np.arange(len(places)), mask=places < 0))

    return _ValueReader(cut, reader.type)


def _bare(column: pd.Series[Any] | pd.Index[Any]) -> Values:
    """Return what a column is kept in, NumPy's own array where it is one."""
    return column.to_numpy() if isinstance(column.dtype, np.dtype) else column.array


def _is_python(dtype: Any) -> bool:
    """Return whether values of the dtype are Python objects in memory."""
    return dtype == np.dtype(object) or (
        isinstance(dtype, pd.StringDtype) and dtype.storage == "python"
    )


def _cut_coded(cut: Slice, labels: pd.Index[Any]) -> Slice:
    """Cut codes to the labels that they number, as objects."""
    objects = labels.to_numpy(dtype=object)

    def cut_values(start: int, stop: int) -> np.ndarray:
        codes = np.asarray(cut(start, stop))
        values = np.where(codes < 0, None, objects[codes] if len(objects) else None)
        return np.asarray(values, dtype=object)

    return cut_values


def _to_arrow(values: Values) -> pa.Array | pa.ChunkedArray:
    """Bring values to Arrow; a float NaN stays one, which saves a mask and means the same."""
    if isinstance(values, pa.Array):
        return values
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
        if isinstance(values, pa.Array) and pt.is_primitive(values.type):
            return values  # of few bytes, and plain
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
        return None  # a lone surrogate, or a NaN of NumPy: encoded cell by cell

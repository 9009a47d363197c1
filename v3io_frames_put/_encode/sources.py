"""Any supported table as a source: windows of plain columns, read in order.

::

    open_source(data)      a source: the names of the columns, and a reader for each
    Reader.read            the next rows of a column, in the plain layout of its type
    read_window            the next rows of all columns that were opened
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import GEN_CLOSED, getgeneratorstate, isgenerator
from itertools import chain, count
from typing import Any, Final
from weakref import WeakSet

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from ..errors import ConfigError, DataError, UnsupportedType
from .layouts import UNSUPPORTED, combine, format_uuids, is_text, measure, plain_type

MAX_ROWS: Final = 8_192  # of a window: fewer spend their time in calls, more spill the caches
_CELLS_AT_ONCE: Final = 512  # Python objects between two looks at how much text there is
_SHOWN: Final = 60  # characters of a cell in a message
_ANY_SIZE: Final = 1 << 62


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
    """Return cells as text where all of them are text or missing."""
    texts: list[pa.Array] = []
    size = 0
    for at in range(0, len(cells), _CELLS_AT_ONCE):
        some = cells[at : at + _CELLS_AT_ONCE]
        if pd.api.types.infer_dtype(some, skipna=True) not in ("string", "empty"):
            return cells
        try:
            texts.append(pa.array(some, pa.string(), from_pandas=True))
        except (UnicodeEncodeError, pa.ArrowTypeError):
            return cells  # a lone surrogate, or a NaN of NumPy: encoded cell by cell
        size += texts[-1].nbytes
        if size > max_bytes:
            break
    return pa.concat_arrays(texts) if texts else pa.array([], pa.string())


class Source:
    """A table-like input: the defaults are those of a table in memory."""

    names: list[str]  # of its columns, as text
    level_names: list[str]  # of its index; ``open`` counts through both
    num_rows: int | None = None  # None: unknown until read
    index: pd.Index[Any] | None = None  # the labels of the rows; None where it has none
    misfits: Mapping[int, str] = {}  # why rows that were read are rejected, by number

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
    source: Source, readers: Sequence[Reader], first_row: int, max_rows: int, max_bytes: int
) -> Window | None:
    """Read the window that begins at ``first_row``; None at the end."""
    num_rows = source.available(first_row, max_rows, max_bytes)
    if num_rows == 0:
        return None
    columns = [reader.read(first_row, first_row + num_rows, max_bytes) for reader in readers]
    shortest = min(map(len, columns), default=num_rows)
    return Window(first_row, num_rows, columns).slice(0, shortest)


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
    return Reader(cut, plain_type(field.type))


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
        self._pending: list[pa.RecordBatch] = []
        self._first_row = 0  # of the pending batches
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
        while self._pending and self._first_row + self._pending[0].num_rows <= start:
            self._first_row += self._pending.pop(0).num_rows
        rows: int = sum(batch.num_rows for batch in self._pending) - (start - self._first_row)
        size = sum(sum(map(measure, batch.columns)) for batch in self._pending)
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
            size += sum(map(measure, batch.columns))
        return min(num_rows, rows)

    def stop_reading(self) -> None:
        """Read no further batch, also not for the window that is being read; from any thread."""
        self._is_stopped = True

    def _cut(self, number: int, dtype: pa.DataType, start: int, stop: int) -> pa.ChunkedArray:
        chunks = [batch.column(number) for batch in self._pending]
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
    if _is_python(dtype.subtype if isinstance(dtype, pd.SparseDtype) else dtype):
        return Reader(lambda start, stop: np.asarray(values[start:stop], dtype=object), None)
    try:
        found = plain_type(_to_arrow(values[:0]).type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        advice = "which has no Arrow type. Convert it, or leave the column out"
        raise UnsupportedType(column=name, dtype=dtype, advice=advice) from None
    return Reader(lambda start, stop: _to_arrow(values[start:stop]), found)


def _open_coded(labels: pd.Index[Any], codes: np.ndarray, name: str) -> Reader:
    """Return a reader of labels by their numbers, of which -1 is missing.

    All pieces have the type of the labels; what pandas makes of some of them depends on
    whether one is missing there.
    """
    if _is_python(labels.dtype):
        objects = np.array([*labels.to_numpy(dtype=object), None], dtype=object)  # -1 is the last
        return Reader(lambda start, stop: objects[codes[start:stop]], None)
    reader = open_series(labels, name)
    whole = reader.read(0, len(labels), _ANY_SIZE)

    def cut_labels(start: int, stop: int) -> pa.Array:
        numbers = codes[start:stop]
        return pa.DictionaryArray.from_arrays(pa.array(numbers, mask=numbers < 0), whole)

    return Reader(cut_labels, reader.type)


def _is_python(dtype: Any) -> bool:
    """Return whether values of the dtype are Python objects in memory."""
    return dtype == np.dtype(object) or (
        isinstance(dtype, pd.StringDtype) and dtype.storage == "python"
    )


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


# -- what is a table ---------------------------------------------------------------------------

_HELP: Final = {  # by the beginning of a type's full name: the call that helps
    "pandas.core.series.Series": "data.to_frame()",
    "pandas.Series": "data.to_frame()",
    "pandas.core.groupby": "the DataFrame that was grouped, or an aggregate of the groups",
    "pandas.api.typing": "the DataFrame that was grouped, or an aggregate of the groups",
    "polars.series": "data.to_frame()",
    "dask.": "import v3io_frames_put.dask, then data.v3io.put_records(stream, results_path=...)",
    "pyspark.": "v3io_frames_put.spark.put_records(data, stream, results_path=...)",
    "numpy.ndarray": "pd.DataFrame(data, columns=[...])",
}
_EXPECTED: Final = (
    "expected a pandas DataFrame, a pyarrow Table, RecordBatch, RecordBatchReader, Dataset or "
    "Scanner, a polars frame, another object with __arrow_c_stream__, or an iterable of frames"
)
_READ_ROWS: Final = 16_384  # of a Hugging Face Dataset at once
_read: WeakSet[Any] = WeakSet()  # readers that a source has begun to read


def open_source(data: Any) -> Source:  # noqa: C901, PLR0911, PLR0912 - one branch a kind
    """Return the source for any table-like input; raise ConfigError for anything else."""
    if isinstance(data, pd.DataFrame):
        return FrameSource(data)
    if isinstance(data, Source):
        return data
    if isinstance(data, pa.Table):
        return TableSource(data)
    if isinstance(data, pa.RecordBatch):
        return TableSource(pa.Table.from_batches([data]))
    if isinstance(data, pa.RecordBatchReader):
        return _open_reader(data)
    kind = _full_name(data)
    if kind.startswith("polars."):
        _refuse_objects(data)
        if kind.endswith(".LazyFrame"):
            return _open_lazy(data)
    elif kind.startswith("pyarrow._dataset."):
        is_scanner = hasattr(data, "projected_schema")
        return _open_reader(data.to_reader()) if is_scanner else _open_dataset(data)
    elif kind.startswith("deltalake.") and hasattr(data, "to_pyarrow_dataset"):
        return _open_dataset(data.to_pyarrow_dataset())
    elif kind.startswith("pyiceberg."):
        return _open_iceberg(data)
    elif kind == "datasets.arrow_dataset.Dataset":
        return _open_hugging_face(data)
    try:
        if hasattr(data, "__arrow_c_stream__"):
            return _open_reader(pa.RecordBatchReader.from_stream(data))
        if hasattr(data, "__arrow_c_array__"):
            return TableSource(pa.Table.from_batches([pa.record_batch(data)]))
    except pa.ArrowInvalid as error:
        if "released" in str(error):
            raise ConfigError(
                f"data is a {kind} that was read before; it can be read once. Make it anew."
            ) from error
        raise _refusal(data, kind) from error  # one column, such as a Series
    is_refused = isinstance(data, (str, bytes, Mapping)) or any(map(kind.startswith, _HELP))
    if is_refused or not isinstance(data, Iterable):
        raise _refusal(data, kind)
    return _open_chunks(data, kind)


def _full_name(data: object) -> str:
    return f"{type(data).__module__}.{type(data).__qualname__}".removeprefix("builtins.")


def _refusal(data: object, kind: str) -> ConfigError:
    """Make the error for what is not a table, with the one call that helps."""
    call = next((call for start, call in _HELP.items() if kind.startswith(start)), None)
    if isinstance(data, (str, os.PathLike)):
        call = f"v3io_frames_put.jobs.publish({str(data)!r}, stream), which reads files"
    elif isinstance(data, Mapping):
        call = "pd.DataFrame(data) if its values are columns, pd.DataFrame([data]) if it is a row"
    helps = f" Try: {call}." if call else ""
    return ConfigError(f"data is a {kind}; {_EXPECTED}.{helps}")


def _open_reader(reader: pa.RecordBatchReader) -> StreamSource:
    """Open a reader; one that a call has read already is a ConfigError."""
    if reader in _read:
        raise ConfigError(
            "data is a reader that was read before, by an earlier call; a reader can be read "
            "once. Make it anew, or give a Table: reader.read_all()."
        )

    def batches(positions: list[int]) -> Iterator[pa.RecordBatch]:
        _read.add(reader)
        return (batch.select(positions) for batch in reader)

    return StreamSource(reader.schema, batches)


def _open_dataset(dataset: Any) -> StreamSource:
    """Open a dataset; only the columns that are opened are read."""

    def batches(positions: list[int]) -> Iterator[pa.RecordBatch]:
        names = [dataset.schema.names[position] for position in positions]
        return iter(dataset.scanner(columns=names).to_reader())

    return StreamSource(dataset.schema, batches)


def _refuse_objects(data: Any) -> None:
    """Refuse polars columns of Python objects: Arrow would be given their addresses."""
    schema = data.collect_schema() if hasattr(data, "collect_schema") else {}
    for name, dtype in schema.items():
        if "Object" in str(dtype):
            raise UnsupportedType(
                column=name,
                dtype=f"polars {dtype}",
                advice="which holds Python objects. Convert it, or send data.to_pandas()",
            )


def _open_lazy(lazy: Any) -> StreamSource:
    """Open a polars LazyFrame: its batches are collected as they are read."""
    import polars as pl

    empty = pl.DataFrame(schema=lazy.collect_schema())
    schema = pa.RecordBatchReader.from_stream(empty).schema

    def batches(positions: list[int]) -> Iterator[pa.RecordBatch]:
        chosen = lazy.select([schema.names[position] for position in positions])
        collect = getattr(chosen, "collect_batches", None)  # polars 1.34 and later
        for frame in collect() if collect else [chosen.collect()]:
            yield from pa.RecordBatchReader.from_stream(frame)

    return StreamSource(schema, batches)


def _open_hugging_face(dataset: Any) -> StreamSource:
    """Open a Dataset of Hugging Face; only the columns that are opened are read."""
    schema = dataset.features.arrow_schema

    def batches(positions: list[int]) -> Iterator[pa.RecordBatch]:
        chosen = dataset.select_columns([schema.names[position] for position in positions])
        for table in chosen.with_format("arrow").iter(_READ_ROWS):
            yield from table.to_batches()

    return StreamSource(schema, batches)


def _open_iceberg(data: Any) -> StreamSource:
    """Open a pyiceberg Table or a scan of one; only the columns that are opened are read."""
    scan = data.scan() if hasattr(data, "scan") else data
    schema = scan.to_arrow_batch_reader().schema

    def batches(positions: list[int]) -> Iterator[pa.RecordBatch]:
        names = [schema.names[position] for position in positions]
        reader = scan.select(*names).to_arrow_batch_reader()
        return (batch.select(names) for batch in reader)

    return StreamSource(schema, batches)


# -- tables that come one after another ----------------------------------------------------------


def _open_chunks(data: Iterable[Any], kind: str) -> Source:
    """Open an iterable of frames or record batches."""
    if isgenerator(data) and getgeneratorstate(data) == GEN_CLOSED:
        raise ConfigError("data is a generator that was read to its end before. Make it anew.")
    chunks = iter(data)
    try:
        first = next(chunks)
    except StopIteration:
        raise ConfigError(
            f"data is a {kind} that gives nothing: it is empty, or was read before. The columns "
            f"are those of its first frame; give one, or make it anew."
        ) from None
    if isinstance(first, (Mapping, tuple, list, str, int, float)) or first is None:
        raise ConfigError(
            f"data is a {kind} of {_full_name(first)}; {_EXPECTED}. Try: pd.DataFrame(data)."
        )
    return ChunkSource(_open_chunk(first, 0), chunks)


def _open_chunk(chunk: Any, number: int) -> FrameSource | TableSource:
    """Open one of several tables."""
    if isinstance(chunk, pd.DataFrame):
        return FrameSource(chunk)
    if _full_name(chunk).startswith("polars."):
        _refuse_objects(chunk)
    if isinstance(chunk, pa.RecordBatch):
        chunk = pa.Table.from_batches([chunk])
    elif not isinstance(chunk, pa.Table) and hasattr(chunk, "__arrow_c_stream__"):
        chunk = pa.RecordBatchReader.from_stream(chunk).read_all()
    if isinstance(chunk, pa.Table):
        return TableSource(chunk)
    raise ConfigError(
        f"data gives a {_full_name(chunk)} in place {number}; expected only DataFrames, tables or "
        f"record batches. Try: pd.DataFrame(data)."
    )


class ChunkSource(Source):
    """Tables that come one after another, once.

    The first one sets the columns and their types. Of the later ones a missing column is
    null, a cell that does not fit rejects its row, and an additional column is an error.

        first chunk     a: int64 [1, 2]       b: text ["x", "y"]
        second chunk    a: text  ["3", "n/a"]
        columns         a: int64 [1, 2, 3, null]   b: text ["x", "y", null, null]
        row 3           is rejected: 'n/a' in column a is not an int64
    """

    def __init__(self, first: FrameSource | TableSource, rest: Iterator[Any]) -> None:
        self.names, self.level_names = first.names, first.level_names
        self.misfits: dict[int, str] = {}
        self._chunks = chain([first], map(_open_chunk, rest, count(1)))
        self._chunk = first  # that is read
        self._number = -1
        self._first_row = self._end = 0  # its rows
        self._readers: dict[str, Reader] = {}  # of its columns, once they are read

    def open(self, position: int) -> Reader:
        """Return a reader of a column; positions from ``len(names)`` are index levels.

        Its type is that of the first table; of Python objects, text if all of them are.
        """
        name = [*self.names, *self.level_names][position]
        reader = self._chunk.open(position)
        dtype = None if reader.type is None or pt.is_null(reader.type) else reader.type
        if dtype is None:
            cells = reader.read(0, self._chunk.num_rows or 0, _ANY_SIZE)
            is_text_alone = isinstance(cells, pa.Array) and cells.null_count < len(cells)
            dtype = pa.string() if is_text_alone else None
        return Reader(partial(self._cut, name, dtype), dtype)

    def available(self, start: int, num_rows: int, max_bytes: int) -> int:  # noqa: ARG002 - a chunk is in memory
        """Return how many rows of the chunk that holds ``start`` there are from it."""
        while start >= self._end:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._open_next(chunk)
        return min(num_rows, self._end - start)

    def _open_next(self, chunk: FrameSource | TableSource) -> None:
        self._number += 1
        known = [*self.names, *self.level_names]
        unknown = next((name for name in chunk.names if name not in known), None)
        if unknown is not None:
            raise DataError(
                f"table {self._number} of data has the column {unknown!r}, which the first has "
                f"not; expected {', '.join(map(repr, known))}. Leave it out, or give the "
                f"first table all columns."
            )
        self._chunk, self._readers = chunk, {}
        self._first_row, self._end = self._end, self._end + (chunk.num_rows or 0)
        self.misfits.clear()

    def _cut(
        self, name: str, dtype: pa.DataType | None, start: int, stop: int
    ) -> pa.Array | np.ndarray:
        """Return rows of a column in its type; note the cells that do not fit."""
        own = [*self._chunk.names, *self._chunk.level_names]
        if name not in own:
            num_rows = stop - start
            return np.full(num_rows, None) if dtype is None else pa.nulls(num_rows, dtype)
        if name not in self._readers:
            self._readers[name] = self._chunk.open(own.index(name))
        reader, first_row = self._readers[name], self._first_row
        values = reader.read(start - first_row, stop - first_row, _ANY_SIZE)
        if dtype is None:
            return _as_objects(values)
        cells, bad = _fit(values, dtype)
        for row in bad:
            cell = repr(values[row].as_py() if isinstance(values, pa.Array) else values[row])
            shown = cell if len(cell) <= _SHOWN else f"{cell[:_SHOWN]}..."
            reason = (
                f"column {name!r}: {shown} is not a value of {dtype}, its type in the first "
                f"table. Correct it."
            )
            self.misfits.setdefault(start + row, reason)
        return cells


def _as_objects(values: pa.Array | np.ndarray) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values
    cells = np.empty(len(values), object)
    for place, cell in enumerate(values.to_pylist()):
        cells[place] = cell  # at once, NumPy would take lists apart
    return cells


def _fit(values: pa.Array | np.ndarray, dtype: pa.DataType) -> tuple[pa.Array, Sequence[int]]:
    """Bring cells to a type, null where they do not fit, and return the places of those.

    Cells that have no common type, or cannot be cast together, are halved down to those at
    fault.
    """
    try:
        # Given the type, Arrow would cut an object 2.5 to 2.
        cells = values if isinstance(values, pa.Array) else pa.array(values, from_pandas=True)
        if pt.is_floating(cells.type) and not pt.is_floating(dtype):
            cells = pc.if_else(pc.is_nan(cells), pa.scalar(None, cells.type), cells)
        if _may_cast(cells.type, dtype):
            return cells.cast(dtype), []
        if isinstance(values, pa.Array):
            return pa.nulls(len(cells), dtype), pc.indices_nonzero(cells.is_valid()).to_pylist()
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        pass
    if len(values) == 1:
        return pa.nulls(1, dtype), [0]
    middle = len(values) // 2
    head, bad = _fit(values[:middle], dtype)
    tail, more = _fit(values[middle:], dtype)
    return pa.concat_arrays([head, tail]), [*bad, *(middle + row for row in more)]


def _may_cast(own: pa.DataType, dtype: pa.DataType) -> bool:
    """Whether Arrow's safe cast keeps the value: it would also make 2 true, or a time of 3.

    Text may be read as anything; a number is not text, since it may have been a code with
    zeros before it.
    """
    if pt.is_null(own) or (is_text(own) and not pt.is_nested(dtype)):
        return True
    if pt.is_timestamp(own) and pt.is_timestamp(dtype):
        return (own.tz is None) == (dtype.tz is None)
    is_number = [pt.is_integer(t) or pt.is_floating(t) or pt.is_decimal(t) for t in (own, dtype)]
    return all(is_number) or own.id == dtype.id

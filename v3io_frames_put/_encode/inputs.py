"""Any supported input as a source: of pandas, pyarrow and other libraries, whole or in parts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from inspect import GEN_CLOSED, getgeneratorstate, isgenerator
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._encode.layouts import DETAIL, INVALID, is_text
from v3io_frames_put._encode.sources import (
    ArrowReader,
    FrameSource,
    StreamSource,
    TableSource,
)
from v3io_frames_put.errors import ConfigError, DataError, UnsupportedType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from v3io_frames_put._encode.sources import Reader, Source

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
_INTERNAL_TYPES: Final = {INVALID: pa.map_(pa.string(), pa.string()), DETAIL: pa.string()}
_SHOWN: Final = 60  # characters of a cell in a message
_read: WeakSet[Any] = WeakSet()  # readers that a source has begun to read


def open_source(data: Any) -> Source:  # noqa: PLR0911  # one return a kind
    """Return the source for any table-like input.

    Raises
    ------
    ConfigError
        It is not a table; the text names the call that makes one of it.
    """
    if isinstance(data, pd.DataFrame):
        return FrameSource(data)
    if isinstance(data, (StreamSource, ChunkSource)):
        return data
    if isinstance(data, pa.Table):
        return TableSource(data)
    if isinstance(data, pa.RecordBatch):
        return TableSource(pa.Table.from_batches([data]))
    if isinstance(data, pa.RecordBatchReader):
        return open_reader(data)
    kind = _full_name(data)
    opened = _open_of_library(data, kind)
    if opened is not None:
        return opened
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        return _open_capsule(data, kind)
    if isinstance(data, Iterable) and not _is_help_known(data, kind):
        return _open_chunks(data, kind)
    raise _refusal(data, kind)


def _open_of_library(data: Any, kind: str) -> Source | None:
    """Open what needs the calls of its own library; None: it does not."""
    if kind.startswith("polars."):
        _refuse_objects(data)
        return _open_lazy(data) if kind.endswith(".LazyFrame") else None
    if kind.startswith("pyarrow._dataset."):
        is_scanner = hasattr(data, "projected_schema")
        return open_reader(data.to_reader()) if is_scanner else open_dataset(data)
    if kind.startswith("deltalake.") and hasattr(data, "to_pyarrow_dataset"):
        return open_dataset(data.to_pyarrow_dataset())
    if kind.startswith("pyiceberg."):
        return _open_iceberg(data)
    return None


def open_reader(reader: pa.RecordBatchReader) -> StreamSource:
    """Return a reader as a source; one that a call has read already is a ConfigError."""
    if reader in _read:
        raise ConfigError(
            "data is a reader that was read before, by an earlier call; a reader can be read "
            "once. Make it anew, or give a Table: reader.read_all()."
        )

    def batches(positions: list[int]) -> Iterator[pa.RecordBatch]:
        _read.add(reader)
        return (batch.select(positions) for batch in reader)

    return StreamSource(reader.schema, batches)


def open_dataset(dataset: Any) -> StreamSource:
    """Return a dataset as a source, which reads only the columns that are opened."""

    def batches(positions: list[int]) -> Iterator[pa.RecordBatch]:
        names = [dataset.schema.names[position] for position in positions]
        return iter(dataset.scanner(columns=names).to_reader())

    return StreamSource(dataset.schema, batches)


def _full_name(data: object) -> str:
    return f"{type(data).__module__}.{type(data).__qualname__}".removeprefix("builtins.")


def _is_help_known(data: object, kind: str) -> bool:
    """Whether an iterable is surely not one of tables."""
    return isinstance(data, (str, bytes, Mapping)) or any(map(kind.startswith, _HELP))


def _refusal(data: object, kind: str) -> ConfigError:
    """Make the error for what is not a table, with the one call that helps."""
    call = next((call for start, call in _HELP.items() if kind.startswith(start)), None)
    if isinstance(data, (str, os.PathLike)):
        call = f"v3io_frames_put.jobs.publish({str(data)!r}, stream), which reads files"
    elif isinstance(data, Mapping):
        call = "pd.DataFrame(data) if its values are columns, pd.DataFrame([data]) if it is a row"
    helps = f" Try: {call}." if call else ""
    return ConfigError(f"data is a {kind}; {_EXPECTED}.{helps}")


def _open_capsule(data: Any, kind: str) -> Source:
    """Open an object of another library by Arrow's protocol."""
    try:
        if hasattr(data, "__arrow_c_stream__"):
            return open_reader(pa.RecordBatchReader.from_stream(data))
        return TableSource(pa.Table.from_batches([pa.record_batch(data)]))
    except pa.ArrowInvalid as error:
        if "released" in str(error):
            raise ConfigError(
                f"data is a {kind} that was read before; it can be read once. Make it anew."
            ) from error
        raise _refusal(data, kind) from error  # one column, such as a Series


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


def _open_iceberg(data: Any) -> StreamSource:
    """Open a pyiceberg Table or a scan of one; only the columns that are opened are read."""
    scan = data.scan() if hasattr(data, "scan") else data
    schema = scan.to_arrow_batch_reader().schema

    def batches(positions: list[int]) -> Iterator[pa.RecordBatch]:
        names = [schema.names[position] for position in positions]
        reader = scan.select(*names).to_arrow_batch_reader()
        return (batch.select(names) for batch in reader)

    return StreamSource(schema, batches)


# -- tables that come one after another ------------------------------------------------------


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
    if isinstance(chunk, pa.RecordBatch):
        return TableSource(pa.Table.from_batches([chunk]))
    if isinstance(chunk, pa.Table):
        return TableSource(chunk)
    if _full_name(chunk).startswith("polars."):
        _refuse_objects(chunk)
    if hasattr(chunk, "__arrow_c_stream__"):
        return TableSource(pa.RecordBatchReader.from_stream(chunk).read_all())
    raise ConfigError(
        f"data gives a {_full_name(chunk)} in place {number}; expected only DataFrames, tables or "
        f"record batches. Try: pd.DataFrame(data)."
    )


class ChunkSource:
    """Tables that come one after another, once.

    The first one sets the columns and their types. Of the later ones a missing column is
    null, a cell that does not fit rejects its row, and an additional column is an error.

        first chunk     a: int64 [1, 2]       b: text ["x", "y"]
        second chunk    a: text  ["3", "n/a"]
        columns         a: int64 [1, 2, 3, null]   b: text ["x", "y", null, null]
        row 3           is rejected: 'n/a' in column a is not an int64
    """

    index = None
    num_rows = None

    def __init__(self, first: FrameSource | TableSource, rest: Iterator[Any]) -> None:
        own = [*first.names, *first.level_names]
        self._types = {name: _first_type(first, position) for position, name in enumerate(own)}
        for name, dtype in _INTERNAL_TYPES.items():  # rows that failed before have their own
            self._types[name] = None if name in own else dtype
        self.names = list(dict.fromkeys([*first.names, *_INTERNAL_TYPES]))
        self.level_names = first.level_names
        self._chunks = chain([first], map(_open_chunk, rest, count(1)))
        self._opened: list[str] = []
        self._number = -1  # of the chunk that is read
        self._first_row = self._end = 0  # its rows
        self._columns: dict[str, Any] = {}
        self._invalid: dict[int, tuple[str, str, str]] = {}  # by row: column, cell, reason

    def open(self, position: int) -> _ChunkReader:
        """Return a reader of a column; positions from ``len(names)`` are index levels."""
        name = [*self.names, *self.level_names][position]
        if name not in self._opened:
            self._opened.append(name)
        return _ChunkReader(self, name, self._types[name])

    def available(self, start: int, num_rows: int, max_bytes: int) -> int:  # noqa: ARG002  # a chunk is in memory
        """Return how many rows of the chunk that holds ``start`` there are from it."""
        while start >= self._end:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._take(chunk)
        return min(num_rows, self._end - start)

    def cells(self, name: str, start: int, stop: int, max_bytes: int) -> pa.Array | np.ndarray:
        """Return rows of a column of the chunk that is read."""
        first, last = start - self._first_row, stop - self._first_row
        if name in _INTERNAL_TYPES and self._invalid:
            return self._internal_cells(name, range(first, last))
        column = self._columns[name]
        if isinstance(column, np.ndarray):
            return column[first:last]
        return ArrowReader(pa.chunked_array([column])).read(first, last, max_bytes)

    def _internal_cells(self, name: str, rows: range) -> pa.Array | np.ndarray:
        """Return what is wrong with rows, and what their own internal columns say."""
        column = self._columns[name]
        cells = column[rows.start : rows.stop]
        known = cells.tolist() if isinstance(cells, np.ndarray) else cells.to_pylist()
        for row in self._invalid.keys() & set(rows):
            where, cell, reason = self._invalid[row]
            known[row - rows.start] = reason if name == DETAIL else [(where, cell)]
        dtype = self._types[name]
        return _as_objects(known) if dtype is None else pa.array(known, dtype)

    def _take(self, chunk: FrameSource | TableSource) -> None:
        """Bring the columns of the next chunk to the types of the first."""
        self._number += 1
        self._first_row, self._end = self._end, self._end + chunk.num_rows
        self._columns, self._invalid = {}, {}
        own = [*chunk.names, *chunk.level_names]
        unknown = [name for name in chunk.names if name not in self._types]
        if unknown:
            raise DataError(
                f"table {self._number} of data has the column {unknown[0]!r}, which the first has "
                f"not; expected {', '.join(map(repr, self._types))}. Leave it out, or give the "
                f"first table all columns."
            )
        for name in self._opened:
            dtype = self._types[name]
            if name not in own:
                self._columns[name] = _nulls(chunk.num_rows, dtype)
                continue
            reader = chunk.open(own.index(name))
            values = _read_all(reader, chunk.num_rows)
            cells, bad = _fit(values, reader.type, dtype)
            self._columns[name] = cells
            for row in bad:
                cell = _show(values, row)
                reason = (
                    f"column {name!r}: {cell} is not a value of {dtype}, its type in the first "
                    f"table. Correct it."
                )
                self._invalid.setdefault(row, (name, cell, reason))


class _ChunkReader:
    """Reads a column of the chunk that is read."""

    def __init__(self, source: ChunkSource, name: str, dtype: pa.DataType | None) -> None:
        self.type = dtype
        self._source, self._name = source, name

    def read(self, start: int, stop: int, max_bytes: int) -> pa.Array | np.ndarray:
        """Return the rows, as many as fit ``max_bytes``."""
        return self._source.cells(self._name, start, stop, max_bytes)


def _first_type(first: FrameSource | TableSource, position: int) -> pa.DataType | None:
    """Return the type of a column: of Python objects, text if all cells are; else None."""
    reader = first.open(position)
    if reader.type is not None:
        return None if pt.is_null(reader.type) else reader.type
    values = _read_all(reader, first.num_rows)
    is_text = isinstance(values, pa.Array) and values.null_count < len(values)
    return pa.string() if is_text else None


def _read_all(reader: Reader, num_rows: int) -> pa.Array | np.ndarray:
    """Read a whole column of a table in memory."""
    parts = []
    row = 0
    while row < num_rows:
        part = reader.read(row, num_rows, 1 << 62)
        parts.append(part)
        row += len(part)
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, pa.Array) for part in parts) and parts:
        return pa.concat_arrays(parts)
    if parts:
        return np.concatenate([_as_objects(part) for part in parts])
    return np.empty(0, object) if reader.type is None else pa.array([], reader.type)


def _nulls(count: int, dtype: pa.DataType | None) -> pa.Array | np.ndarray:
    return np.full(count, None, object) if dtype is None else pa.nulls(count, dtype)


def _as_objects(values: pa.Array | np.ndarray | list[Any]) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values
    cells = np.empty(len(values), object)
    for place, cell in enumerate(values if isinstance(values, list) else values.to_pylist()):
        cells[place] = cell  # at once, NumPy would take lists apart
    return cells


def _fit(
    values: pa.Array | np.ndarray, own: pa.DataType | None, dtype: pa.DataType | None
) -> tuple[pa.Array | np.ndarray, Sequence[int]]:
    """Bring a column to a type; return it and the rows whose cells do not fit, null in it."""
    if dtype is None:
        return (values if own is None else _as_objects(values)), []
    if own == dtype and isinstance(values, pa.Array):
        return values, []
    if isinstance(values, pa.Array):
        if pt.is_floating(values.type) and not pt.is_floating(dtype):
            values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
        return _cast(values, dtype)
    return _convert(values, dtype)


def _cast(values: pa.Array, dtype: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Cast a column; halve it where that fails, down to the cells that do not fit."""
    if not _may_cast(values.type, dtype):
        return pa.nulls(len(values), dtype), pc.indices_nonzero(values.is_valid()).to_pylist()
    try:
        return values.cast(dtype), []
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if len(values) == 1:
            return pa.nulls(1, dtype), [0]
    middle = len(values) // 2
    head, bad = _cast(values.slice(0, middle), dtype)
    tail, more = _cast(values.slice(middle), dtype)
    return pa.concat_arrays([head, tail]), [*bad, *(middle + row for row in more)]


def _may_cast(own: pa.DataType, dtype: pa.DataType) -> bool:
    """Whether Arrow's safe cast keeps the value: it would also make 2 true, or a time of 3.

    Text may be read as anything; a number is not text, since it may have been a code with
    zeros before it.
    """
    return (
        pt.is_null(own) or (is_text(own) and not pt.is_nested(dtype)) or _kind(own) == _kind(dtype)
    )


def _kind(dtype: pa.DataType) -> object:
    if pt.is_integer(dtype) or pt.is_floating(dtype) or pt.is_decimal(dtype):
        return "number"
    if is_text(dtype):
        return "text"
    if pt.is_timestamp(dtype):
        return "time", dtype.tz is None
    return dtype.id


def _convert(cells: np.ndarray, dtype: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Convert Python objects; halve them where they have no common type that fits."""
    try:
        values = pa.array(cells, from_pandas=True)  # given the type, Arrow would cut 2.5 to 2
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        values = None
    if values is not None and (len(cells) == 1 or _may_cast(values.type, dtype)):
        return _cast(values, dtype)
    if len(cells) == 1:
        return pa.nulls(1, dtype), [0]
    middle = len(cells) // 2
    head, bad = _convert(cells[:middle], dtype)
    tail, more = _convert(cells[middle:], dtype)
    return pa.concat_arrays([head, tail]), [*bad, *(middle + row for row in more)]


def _show(values: pa.Array | np.ndarray, row: int) -> str:
    cell = values[row].as_py() if isinstance(values, pa.Array) else values[row]
    text = repr(cell)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."

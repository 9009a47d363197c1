"""Any supported table, and an iterable of tables, opened as a source."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from inspect import GEN_CLOSED, getgeneratorstate, isgenerator
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.types as pt

from ..errors import ConfigError, DataError, UnsupportedType
from .casts import cast_cells, try_cast, without_nan
from .layouts import UNSUPPORTED, contains, is_unsupported, to_numpy
from .objects import build_array, infer_type
from .rejections import shorten
from .sources import FrameSource, Reader, Source, StreamSource, TableSource, find_text_type

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
_POLARS_ALONE: Final = re.compile("Object|Int128")
_QUOTED: Final = re.compile("'[^']*'|\"[^\"]*\"")
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
        _refuse_polars_types(data)
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
            reader = pa.RecordBatchReader.from_stream(data)  # each call exports the data anew
            return _open_reader(reader, is_read_once=False)
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


def _open_reader(reader: pa.RecordBatchReader, *, is_read_once: bool = True) -> StreamSource:
    """Open a reader; one that a call has read already is a ConfigError."""
    if reader in _read:
        raise ConfigError(
            "data is a reader that was read before, by an earlier call; a reader can be read "
            "once. Make it anew, or give a Table: reader.read_all()."
        )

    def batches(positions: list[int]) -> Iterator[pa.RecordBatch]:
        _read.add(reader)
        return (batch.select(positions) for batch in reader)

    source = StreamSource(reader.schema, batches)
    source.is_read_once = is_read_once
    return source


def _open_by_name(
    schema: pa.Schema, read: Callable[[list[str]], Iterator[pa.RecordBatch]]
) -> StreamSource:
    """Open what is read by the names of its columns; only those that are opened are read."""
    return StreamSource(schema, lambda places: read([schema.names[place] for place in places]))


def _open_dataset(dataset: Any) -> StreamSource:
    """Open a dataset of Arrow's."""
    return _open_by_name(dataset.schema, lambda names: dataset.scanner(columns=names).to_reader())


def _refuse_polars_types(data: Any) -> None:
    """Refuse polars columns that Arrow lacks: of objects, it would be given their addresses."""
    schema = data.collect_schema() if hasattr(data, "collect_schema") else {}
    for name, dtype in schema.items():
        if _POLARS_ALONE.search(_QUOTED.sub("", str(dtype))):  # names of fields are quoted
            raise UnsupportedType(
                column=name,
                dtype=f"polars {dtype}",
                advice="which Arrow lacks. Convert it, or send data.to_pandas()",
            )


def _open_lazy(lazy: Any) -> StreamSource:
    """Open a polars LazyFrame: its batches are collected as they are read."""
    import polars as pl

    def read(places: list[int]) -> Iterator[pa.RecordBatch]:
        chosen = lazy.select(pl.nth(places))  # a name such as * selects others
        collect = getattr(chosen, "collect_batches", None)  # polars 1.34 and later
        for frame in collect() if collect else [chosen.collect()]:
            yield from pa.RecordBatchReader.from_stream(frame)

    empty = pl.DataFrame(schema=lazy.collect_schema())
    return StreamSource(pa.RecordBatchReader.from_stream(empty).schema, read)


def _open_hugging_face(dataset: Any) -> StreamSource:
    """Open a Dataset of Hugging Face."""

    def read(names: list[str]) -> Iterator[pa.RecordBatch]:
        for table in dataset.select_columns(names).with_format("arrow").iter(_READ_ROWS):
            yield from table.to_batches()

    return _open_by_name(dataset.features.arrow_schema, read)


def _open_iceberg(data: Any) -> StreamSource:
    """Open a pyiceberg Table, or a scan of one."""
    scan = data.scan() if hasattr(data, "scan") else data

    def read(names: list[str]) -> Iterator[pa.RecordBatch]:
        reader = scan.select(*names).to_arrow_batch_reader()
        return (batch.select(names) for batch in reader)

    return _open_by_name(scan.to_arrow_batch_reader().schema, read)


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
    source = ChunkSource(_open_chunk(first, 0), chunks)
    source.is_read_once = chunks is data
    return source


def _open_chunk(chunk: Any, number: int) -> FrameSource | TableSource:
    """Open one of several tables."""
    if isinstance(chunk, pd.DataFrame):
        return FrameSource(chunk)
    if _full_name(chunk).startswith("polars."):
        _refuse_polars_types(chunk)
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
        self._max_bytes = 0  # of a column of the window that is read
        self._readers: dict[str, Reader] = {}  # of its columns, once they are read

    def open(self, position: int) -> Reader:
        """Return a reader of a column; positions from ``len(names)`` are index levels.

        Its type is that of the first table; of Python objects, text if all of them are.
        """
        name = [*self.names, *self.level_names][position]
        reader = self._chunk.open(position)
        dtype = None if reader.type is None or pt.is_null(reader.type) else reader.type
        if dtype is None:
            found = find_text_type(reader, self._chunk.num_rows or 0)
            dtype = pa.string() if found == pa.string() else None
        return Reader(partial(self._cut, name, dtype), dtype)

    def available(self, start: int, num_rows: int, max_bytes: int) -> int:
        """Return how many rows of the chunk that holds ``start`` there are from it."""
        self._max_bytes = max_bytes
        while start >= self._end:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._open_next(chunk)
        return min(num_rows, self._end - start)

    def _open_next(self, chunk: FrameSource | TableSource) -> None:
        self._number += 1
        known = [*self.names, *self.level_names]
        unknown = next(iter(Counter(chunk.names) - Counter(known)), None)
        if unknown is not None:
            twice = " twice" if unknown in known else ""
            raise DataError(
                f"table {self._number} of data has the column {unknown!r}{twice}, unlike the "
                f"first; expected {', '.join(map(repr, known))}. Leave it out, or give the "
                f"first table all columns."
            )
        self._chunk, self._readers = chunk, {}
        self._first_row, self._end = self._end, self._end + (chunk.num_rows or 0)
        self.misfits.clear()

    def _cut(
        self, name: str, dtype: pa.DataType | None, start: int, stop: int
    ) -> pa.Array | np.ndarray:
        """Return rows of a column in its type, as many as fit; note cells that do not fit it."""
        own = [*self._chunk.names, *self._chunk.level_names]
        if name not in own:
            num_rows = stop - start
            return np.full(num_rows, None) if dtype is None else pa.nulls(num_rows, dtype)
        if name not in self._readers:
            self._readers[name] = self._chunk.open(own.index(name))
        reader, first_row = self._readers[name], self._first_row
        values = reader.read(start - first_row, stop - first_row, self._max_bytes)
        if dtype is None:  # each piece has a type of its own, or none
            if isinstance(values, pa.Array) and contains(values.type, is_unsupported):
                raise UnsupportedType(column=name, dtype=values.type, advice=UNSUPPORTED)
            return values
        cells, bad = _fit(values, dtype)
        for row in np.flatnonzero(bad).tolist():
            reason = (
                f"column {name!r}: {_show(values[row])} is not a value of {dtype}, its type in the "
                f"first table. Correct it."
            )
            self.misfits.setdefault(start + row, reason)
        return cells


def _show(cell: Any) -> str:
    try:
        text = repr(cell.as_py() if isinstance(cell, pa.Scalar) else cell)
    except (ArithmeticError, LookupError, ValueError):  # no time, or no zone, of Python's
        text = f"a {cell.type}"
    return shorten(text)


def _fit(values: pa.Array | np.ndarray, dtype: pa.DataType) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Bring cells to a type: null where one does not fit, and a mask of those."""

    def build(cells: np.ndarray) -> pa.Array:
        built = build_array(cells, infer_type(cells))
        built.validate(full=True)  # text that UTF-8 lacks
        cast, bad = cast_cells(built, dtype, is_strict=True)
        if bad.any():
            raise pa.ArrowInvalid(f"not all are {dtype}")
        return cast

    if isinstance(values, np.ndarray):
        return try_cast(values, build)
    try:
        return cast_cells(values, dtype, is_strict=True)
    except pa.ArrowNotImplementedError:
        return pa.nulls(len(values), dtype), to_numpy(without_nan(values).is_valid())

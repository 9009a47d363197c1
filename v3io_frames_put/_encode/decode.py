"""Records -> rows: the other direction of this package."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.types as pt

from v3io_frames_put._encode.json_values import as_type, from_json
from v3io_frames_put._encode.layouts import combine, plain_type
from v3io_frames_put._encode.sources import FrameSource, open_series
from v3io_frames_put.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from v3io_frames_put._encode.formats import Format

# What pandas calls the cells of an object column, and the type their JSON text is read as.
_OBJECT_TYPES: Final = {
    "bytes": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timedelta": pa.duration("us"),
    "timedelta64": pa.duration("ns"),
}


class Target(Protocol):
    """What one column shall be again."""

    def from_json(self, values: list[Any]) -> Any:
        """Return the column of JSON values."""

    def from_arrow(self, column: pa.ChunkedArray) -> Any:
        """Return the column of Arrow values."""

    def from_bytes(self, data: Sequence[bytes]) -> Any:
        """Return the column of values sent as they are."""


def plan_targets(schema: pa.Schema | pd.DataFrame | None) -> dict[str, Target]:
    """Return what each column of a schema shall be again."""
    if schema is None:
        return {}
    if isinstance(schema, pa.Schema):
        return {field.name: _ArrowTarget(field.type) for field in schema}
    if not isinstance(schema, pd.DataFrame):
        kind = type(schema).__name__
        raise ConfigError(f"schema is a {kind}; expected a pyarrow Schema, or the frame sent.")
    source = FrameSource(schema)
    index = schema.index
    levels = {
        name: _plan_target(index.get_level_values(level).to_series(), name)
        for level, name in enumerate(source.level_names)
    }
    columns = {
        name: _plan_target(schema.iloc[:, position], name)
        for position, name in enumerate(source.names)
    }
    return levels | columns


def name_columns(schema: pa.Schema | pd.DataFrame | None) -> list[str]:
    """Return the names of a schema's columns."""
    if schema is None:
        return []
    return list(schema.names) if isinstance(schema, pa.Schema) else FrameSource(schema).names


def _plan_target(series: pd.Series[Any], name: str) -> Target:
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        values = dtype.categories.to_series()
        return _CategoryTarget(dtype, _plan_target(values, name))
    if isinstance(dtype, pd.SparseDtype):
        return _SparseTarget(dtype, _plan_target(pd.Series([], dtype=dtype.subtype), name))
    found = open_series(series.iloc[:0], name).type
    if found is None:
        return _plan_object_target(series)
    return _DtypeTarget(dtype, found)


def _plan_object_target(series: pd.Series[Any]) -> Target:
    """Read the kind of an object column off its cells; JSON's own values where they mix."""
    if isinstance(series.dtype, pd.StringDtype):
        return _DtypeTarget(series.dtype, pa.string())
    kind = pd.api.types.infer_dtype(series, skipna=True)
    return _ObjectTarget(_OBJECT_TYPES.get(kind), is_decimal=kind == "decimal")


@dataclass(frozen=True, slots=True)
class _ArrowTarget:
    """A column of an Arrow type, as pandas' ArrowDtype."""

    type: pa.DataType

    def from_json(self, values: list[Any]) -> Any:
        return self._wrap(from_json(values, self.type))

    def from_arrow(self, column: pa.ChunkedArray) -> Any:
        return self._wrap(as_type(one_array(column), self.type))

    def from_bytes(self, data: Sequence[bytes]) -> Any:
        return self._wrap(
            as_type(pa.array(data, pa.binary()).cast(plain_type(self.type)), self.type)
        )

    def _wrap(self, array: pa.Array) -> Any:
        return pd.arrays.ArrowExtensionArray(pa.chunked_array([array]))


@dataclass(frozen=True, slots=True)
class _DtypeTarget:
    """A column of a pandas dtype that has an Arrow type."""

    dtype: Any
    type: pa.DataType

    def from_json(self, values: list[Any]) -> Any:
        return self.from_arrow(pa.chunked_array([from_json(values, self.type)]))

    def from_arrow(self, column: pa.ChunkedArray) -> Any:
        if isinstance(self.dtype, pd.ArrowDtype):
            array = as_type(one_array(column), self.dtype.pyarrow_dtype)
            return pd.arrays.ArrowExtensionArray(pa.chunked_array([array]))
        if hasattr(self.dtype, "__from_arrow__"):
            return self.dtype.__from_arrow__(column.cast(self.type))
        if pt.is_timestamp(self.type) or pt.is_duration(self.type):
            ticks = one_array(column.cast(self.type)).view(pa.int64())
            values = ticks.fill_null(np.iinfo(np.int64).min).to_numpy()
            return values.view(self.dtype)
        if column.null_count and self.dtype.kind in "iub":
            raise ValueError(f"{self.dtype} has no null")  # NumPy would make a number of it
        return column.to_numpy().astype(self.dtype)

    def from_bytes(self, data: Sequence[bytes]) -> Any:
        return self.from_arrow(pa.chunked_array([pa.array(data, pa.binary())]))


@dataclass(frozen=True, slots=True)
class _ObjectTarget:
    """A column of Python objects of one kind; None: whatever JSON has."""

    type: pa.DataType | None
    is_decimal: bool

    def from_json(self, values: list[Any]) -> Any:
        if self.is_decimal:
            return _objects([None if value is None else Decimal(value) for value in values])
        if self.type is None:
            return _objects(values)
        return _objects(from_json(values, self.type).to_pylist())

    def from_arrow(self, column: pa.ChunkedArray) -> Any:
        return _objects(column.to_pylist())

    def from_bytes(self, data: Sequence[bytes]) -> Any:
        is_bytes = self.type == pa.binary()
        return _objects([value if is_bytes else value.decode() for value in data])


@dataclass(frozen=True, slots=True)
class _CategoryTarget:
    """A categorical: its values first, then its categories."""

    dtype: pd.CategoricalDtype
    values: Target

    def from_json(self, values: list[Any]) -> Any:
        return pd.Categorical(self.values.from_json(values), dtype=self.dtype)

    def from_arrow(self, column: pa.ChunkedArray) -> Any:
        return pd.Categorical(self.values.from_arrow(column), dtype=self.dtype)

    def from_bytes(self, data: Sequence[bytes]) -> Any:
        return pd.Categorical(self.values.from_bytes(data), dtype=self.dtype)


@dataclass(frozen=True, slots=True)
class _SparseTarget:
    """A sparse column: its values first."""

    dtype: pd.SparseDtype
    values: Target

    def from_json(self, values: list[Any]) -> Any:
        return pd.arrays.SparseArray(self.values.from_json(values), dtype=self.dtype)

    def from_arrow(self, column: pa.ChunkedArray) -> Any:
        return pd.arrays.SparseArray(self.values.from_arrow(column), dtype=self.dtype)

    def from_bytes(self, data: Sequence[bytes]) -> Any:
        return pd.arrays.SparseArray(self.values.from_bytes(data), dtype=self.dtype)


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one plain array."""
    return combine(column.chunks, column.type)


def _objects(values: Sequence[Any]) -> pd.Series[Any]:
    """Return values as Python objects, lists as single cells."""
    cells = np.empty(len(values), dtype=object)
    cells[:] = values
    return pd.Series(cells, dtype=object)


Decoded = tuple[dict[str, Any], np.ndarray]  # columns, and the rows of each record


def decode_records(
    records: pd.DataFrame,
    *,
    format: Format = "json",  # noqa: A002 - the option's public name
    schema: pa.Schema | pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Turn records back into rows: what ``Client.decode_records`` promises."""
    if format not in _DECODERS:
        raise ConfigError(f"format={format!r}: expected 'json', 'arrow' or 'raw'.")
    missing = {"shard_id", "sequence_number", "data"} - set(records)
    if missing:
        raise ConfigError(
            f"records has no column {min(missing)!r}; expected what read_records returns."
        )
    targets, names = plan_targets(schema), name_columns(schema)
    if format == "raw":
        targets = {name: targets[name] for name in names}
        if len(targets) > 1:
            raise ConfigError(f"schema has {len(names)} columns; format='raw' has one. Name it.")
    columns: dict[str, Any] = {name: targets[name].from_json([]) for name in names}
    counts = np.zeros(0, np.int64)
    if not records.empty:
        columns, counts = _DECODERS[format](records["data"].tolist(), targets)
    labels = records[["shard_id", "sequence_number"]]
    index = pd.MultiIndex.from_frame(labels.iloc[np.repeat(np.arange(len(records)), counts)])
    frame = pd.DataFrame(columns, columns=pd.Index(list(columns), dtype=_label_type(schema)))
    return frame.set_axis(index) if columns else pd.DataFrame(index=index)


def _label_type(schema: pa.Schema | pd.DataFrame | None) -> type | None:
    """Return the type of labels: pandas' own for text, but as the frame sent had them."""
    had_objects = isinstance(schema, pd.DataFrame) and schema.columns.dtype == object
    return object if had_objects else None


def _decode_json(data: Sequence[bytes], targets: dict[str, Target]) -> Decoded:
    """Parse each line, and give every column its type."""
    rows: list[dict[str, Any]] = []
    counts = np.zeros(len(data), np.int64)
    for number, text in enumerate(data):
        lines = text.splitlines() if b"\n" in text else [text]
        rows += (_parse(line, number) for line in lines)
        counts[number] = len(lines)
    columns = {}
    for name in _find_names(rows):
        values = [row.get(name) for row in rows]
        columns[name] = values
        if name in targets:
            with _told_of(name):
                columns[name] = targets[name].from_json(values)
    return columns, counts


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    """Say which column the values of the records do not fit."""
    try:
        yield
    except (pa.ArrowException, ValueError, TypeError, ArithmeticError) as error:
        raise DataError(
            f"column {name!r}: the records hold what its type in schema= cannot: {error}. "
            f"Give another type, or leave the column out of schema."
        ) from error


def _parse(line: bytes, number: int) -> dict[str, Any]:
    """Parse one line; it must be an object."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(f"record {number:,} is no JSON: {error}. See format=.") from None
    if not isinstance(row, dict):
        raise DataError(f"record {number:,} is a JSON {type(row).__name__}; expected an object.")
    return row


def _find_names(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return all names, in the order of the first rows that have them."""
    found: dict[str, None] = {}
    for row in rows:
        if row.keys() != found.keys():
            found.update(dict.fromkeys(row))
    return list(found)


def _decode_arrow(data: Sequence[bytes], targets: dict[str, Target]) -> Decoded:
    """Read each stream, and put them together."""
    tables = [_read_stream(stream, number) for number, stream in enumerate(data)]
    counts = np.array([table.num_rows for table in tables], np.int64)
    table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        with _told_of(name):
            columns[name] = (
                targets[name].from_arrow(column) if name in targets else column.to_pandas().array
            )
    return columns, counts


def _read_stream(stream: bytes, number: int) -> pa.Table:
    try:
        return pa.ipc.open_stream(stream).read_all()
    except pa.ArrowInvalid as error:
        raise DataError(f"record {number:,} is no Arrow stream: {error}. See format=.") from None


def _decode_raw(data: Sequence[bytes], targets: dict[str, Target]) -> Decoded:
    """Hand the bytes back, or what the one column of the schema says."""
    counts = np.ones(len(data), np.int64)
    for name, target in targets.items():
        with _told_of(name):
            return {name: target.from_bytes(data)}, counts
    values = np.empty(len(data), dtype=object)
    values[:] = data
    return {"data": values}, counts


_DECODERS: Final[dict[str, Callable[[Sequence[bytes], dict[str, Target]], Decoded]]] = {
    "json": _decode_json,
    "arrow": _decode_arrow,
    "raw": _decode_raw,
}

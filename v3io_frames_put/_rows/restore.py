"""Types given back: JSON values or Arrow columns to the types that were sent."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.types as pt

from v3io_frames_put._rows.arrow_types import combine, plain_type
from v3io_frames_put._rows.frame import FrameSource, open_series
from v3io_frames_put._rows.json_values import as_type, from_json
from v3io_frames_put.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

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

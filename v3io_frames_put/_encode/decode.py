"""Records -> rows: the reverse of encoding.

Values come back in plain Arrow types: a dictionary, runs or views are how an array was
laid out, not what it holds.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._encode.base64 import decode_base64
from v3io_frames_put._encode.json_types import PER_SECOND, is_bool8, is_uuid, null_mask
from v3io_frames_put._encode.layouts import (
    combine,
    is_bytes,
    is_list,
    is_text,
    map_as_list,
    plain_type,
    rebuild_list,
    rebuild_map,
)
from v3io_frames_put._encode.sources import FrameSource, open_series
from v3io_frames_put.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from v3io_frames_put.config import Format

Templates = dict[str, Any]  # by column, what it shall be again: an Arrow type or a Series
Decoded = tuple[dict[str, Any], np.ndarray]  # columns, and the number of rows of each record
_EXACT_FLOATS: Final = 2**53  # whole numbers below it are floats, too


def decode_records(
    records: pd.DataFrame,
    *,
    format: Format = "json",  # noqa: A002 - the option's public name
    schema: Any = None,
    on_error: Literal["raise", "skip"] = "raise",
) -> pd.DataFrame:
    """Turn records back into rows: what ``Client.decode_records`` promises."""
    if format not in _PARSERS:
        raise ConfigError(f"format={format!r}: expected 'json', 'arrow' or 'raw'.")
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"on_error={on_error!r}: expected 'raise' or 'skip'.")
    missing = {"shard_id", "sequence_number", "data"} - set(records)
    if missing:
        raise ConfigError(
            f"records has no column {min(missing)!r}; expected what read_records returns."
        )
    templates, names = _read_schema(schema)
    if format == "raw" and len(names) > 1:
        raise ConfigError(f"schema has {len(names)} columns; format='raw' has one. Name it.")
    records, parsed = _parse(records, format, skip=on_error == "skip")
    if parsed:
        columns, counts = _COLLECTORS[format](parsed, templates, names)
    else:
        columns = {name: _Target.of(templates[name], name).from_json([]) for name in names}
        counts = np.zeros(0, np.int64)
    labels = records[["shard_id", "sequence_number"]]
    index = pd.MultiIndex.from_frame(labels.iloc[np.repeat(np.arange(len(records)), counts)])
    # Labels have pandas' own type for text, but objects where the frame sent had them.
    had_objects = isinstance(schema, pd.DataFrame) and schema.columns.dtype == object
    dtype = object if had_objects else None
    # Given with the data, the labels make pandas 2.1 copy Arrow columns as objects, which fails.
    frame = pd.DataFrame(columns).set_axis(pd.Index(list(columns), dtype=dtype), axis="columns")
    return frame.set_axis(index) if columns else pd.DataFrame(index=index)


def _read_schema(schema: Any) -> tuple[Templates, list[str]]:
    """Return what each column shall be again, index levels too, and the columns' names."""
    if schema is None:
        return {}, []
    if isinstance(schema, pd.DataFrame):
        source = FrameSource(schema)
        levels = {
            name: schema.index.get_level_values(level).to_series()
            for level, name in enumerate(source.level_names)
        }
        columns = {name: schema.iloc[:, at] for at, name in enumerate(source.names)}
        return levels | columns, source.names
    if hasattr(schema, "__arrow_c_schema__"):  # polars' and others', too
        if not isinstance(schema, pa.Schema):  # a C string ends at a NUL in a name
            schema = pa.Schema._import_from_c_capsule(schema.__arrow_c_schema__())  # noqa: SLF001 - the protocol
        return {field.name: field.type for field in schema}, list(schema.names)
    kind = type(schema).__name__
    raise ConfigError(f"schema is a {kind}; expected a pyarrow Schema, or the frame sent.")


# -- Records -> values ------------------------------------------------------------------


def _parse(
    records: pd.DataFrame, data_format: Format, *, skip: bool
) -> tuple[pd.DataFrame, list[Any]]:
    """Parse each record; leave out those that cannot be, and warn of them, if asked to."""
    parse, parsed, bad = _PARSERS[data_format], [], {}
    for number, data in enumerate(records["data"]):
        try:
            parsed.append(parse(data))
        except (msgspec.DecodeError, RecursionError, pa.ArrowInvalid, OSError, TypeError) as error:  # noqa: PERF203 - each alone
            bad[number] = f"is not {_EXPECTED[data_format]} ({error})"
            if not skip:
                raise DataError(f"record {number:,} {bad[number]}. See format=.") from None
    if not bad:
        return records, parsed
    labels = [
        f"shard {shard}, sequence number {number}"
        for shard, number in records[["shard_id", "sequence_number"]]
        .iloc[list(bad)[:_NAMED]]
        .itertuples(index=False)
    ]
    more = f", and {len(bad) - _NAMED:,} more" if len(bad) > _NAMED else ""
    warnings.warn(
        f"{len(bad):,} of {len(records):,} records were left out, since they cannot be decoded: "
        f"{'; '.join(labels)}{more}. The first {next(iter(bad.values()))}.",
        UserWarning,
        stacklevel=4,  # the caller of Client.decode_records
    )
    return records.drop(records.index[list(bad)]), parsed


_NAMED: Final = 10
_EXPECTED: Final = {"json": "a JSON object", "arrow": "an Arrow stream", "raw": "bytes"}


def _parse_lines(data: bytes) -> list[dict[str, Any]]:
    """Parse the lines of a record; each must be an object."""
    rows = [_JSON.decode(line) for line in (data.splitlines() if b"\n" in data else [data])]
    for row in rows:
        if not isinstance(row, dict):
            raise TypeError(f"a JSON {type(row).__name__}")
    return rows


_JSON: Final = msgspec.json.Decoder()
_PARSERS: Final[dict[str, Callable[[bytes], Any]]] = {
    "json": _parse_lines,
    "arrow": lambda data: pa.ipc.open_stream(data).read_all(),
    "raw": bytes,
}


def _collect_json(parsed: list[Any], templates: Templates, _: list[str]) -> Decoded:
    """Give every column its type; names come in the order of the rows that have them first."""
    rows = [row for lines in parsed for row in lines]
    names: dict[str, None] = {}
    for row in rows:
        if row.keys() != names.keys():
            names.update(dict.fromkeys(row))
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        with _naming(name):
            has_type = name in templates
            columns[name] = (
                _Target.of(templates[name], name).from_json(values)
                if has_type
                else _from_json_alone(values)
            )
    return columns, np.array([len(lines) for lines in parsed], np.int64)


def _collect_arrow(parsed: list[Any], templates: Templates, _: list[str]) -> Decoded:
    """Put the tables of all records together."""
    table = pa.concat_tables(parsed, promote_options="permissive").combine_chunks()
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        array = combine(column.chunks, column.type)
        with _naming(name):
            columns[name] = (
                _Target.of(templates[name], name).from_arrow(array)
                if name in templates
                else _from_arrow_alone(array)
            )
    return columns, np.array([table.num_rows for table in parsed], np.int64)


def _collect_raw(parsed: list[Any], templates: Templates, names: list[str]) -> Decoded:
    """Return the bytes, or what the one column of the schema makes of them."""
    counts = np.ones(len(parsed), np.int64)
    for name in names:
        with _naming(name):
            return {name: _Target.of(templates[name], name).from_bytes(parsed)}, counts
    return {"data": _objects(parsed)}, counts


_COLLECTORS: Final[dict[str, Callable[[list[Any], Templates, list[str]], Decoded]]] = {
    "json": _collect_json,
    "arrow": _collect_arrow,
    "raw": _collect_raw,
}


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name the column whose type in ``schema`` the values of the records do not fit."""
    try:
        yield
    except (pa.ArrowException, ValueError, TypeError, ArithmeticError, AttributeError) as error:
        raise DataError(
            f"column {name!r}: the records hold what its type in schema= cannot: {error}. "
            f"Give another type, or leave the column out of schema."
        ) from error


def _from_json_alone(values: list[Any]) -> Any:
    """Return a column of JSON's own types; whole numbers stay exact beside nulls and floats."""
    kinds = set(map(type, values))
    numbers = [value for value in values if type(value) is int]
    if kinds == {int, type(None)} and min(numbers) >= -(2**63) and max(numbers) < 2**64:
        return pd.array(values, dtype="UInt64" if max(numbers) >= 2**63 else "Int64")
    is_inexact = float in kinds and any(abs(number) > _EXACT_FLOATS for number in numbers)
    return _objects(values) if is_inexact else values


def _from_arrow_alone(array: pa.Array) -> Any:
    """Return a column of pandas' types; where none is exact, of Python objects or Arrow's."""
    if pt.is_integer(array.type) and array.null_count:
        name = str(array.type).replace("i", "I").replace("u", "U")
        dtype: Any = pd.api.types.pandas_dtype(name)
        return dtype.__from_arrow__(array)
    try:
        if pt.is_nested(array.type):
            return _objects(array.to_pylist())
        return pa.chunked_array([array]).to_pandas().array
    except (pa.ArrowException, ValueError):
        return _as_arrow(array)


# -- Values -> pandas columns -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Target:
    """What one column shall be again.

    Attributes
    ----------
    type : DataType or None
        The plain Arrow type of its values. None: JSON's own.
    finish : callable
        Makes the column of an array of that type; of a list of values for None.
    """

    type: pa.DataType | None
    finish: Callable[[Any], Any]

    @classmethod
    def of(cls, template: Any, name: str) -> _Target:
        """Return the target for an Arrow type, or for a Series like the one that was sent."""
        if isinstance(template, pa.DataType):
            return cls(plain_type(template), _as_arrow)
        dtype = template.dtype
        if isinstance(dtype, pd.CategoricalDtype):
            values = cls.of(dtype.categories.to_series(), name)
            return cls(values.type, lambda array: _to_categories(array, values, dtype))
        if isinstance(dtype, pd.SparseDtype):
            dense = cls.of(pd.Series([], dtype=dtype.subtype), name)
            return cls(
                dense.type, lambda array: pd.arrays.SparseArray(dense.finish(array), dtype=dtype)
            )
        is_text = isinstance(dtype, pd.StringDtype)
        found = pa.string() if is_text else open_series(template.iloc[:0], name).type
        if found is None:
            return cls._of_objects(template)
        return cls(found, lambda array: _to_dtype(array, dtype))

    @classmethod
    def _of_objects(cls, template: pd.Series[Any]) -> _Target:
        """Return the target for Python objects: of the kind of its cells, if they have one."""
        kind = pd.api.types.infer_dtype(template, skipna=True)
        if kind == "decimal":
            return cls(
                None, lambda values: _objects([v if v is None else Decimal(v) for v in values])
            )
        if kind in _OBJECT_TYPES:
            return cls(_OBJECT_TYPES[kind], lambda array: _objects(array.to_pylist()))
        return cls(None, _objects)

    def from_json(self, values: list[Any]) -> Any:
        """Return the column of JSON values."""
        return self.finish(values if self.type is None else from_json(values, self.type))

    def from_arrow(self, array: pa.Array) -> Any:
        """Return the column of a plain Arrow array."""
        if self.type is None:
            return self.finish(array.to_pylist())
        return self.finish(array if array.type == self.type else array.cast(self.type))

    def from_bytes(self, data: list[bytes]) -> Any:
        """Return the column of values sent as they are."""
        if self.type is None:
            return self.finish([value.decode() for value in data])
        return self.finish(pa.array(data, pa.binary()).cast(self.type))


# What pandas calls the cells of an object column, and the type their JSON text is read as.
_OBJECT_TYPES: Final = {
    "bytes": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timedelta": pa.duration("us"),
    "timedelta64": pa.duration("ns"),
}


def _as_arrow(array: pa.Array) -> Any:
    return pd.arrays.ArrowExtensionArray(pa.chunked_array([array]))


def _to_categories(array: pa.Array, values: _Target, dtype: pd.CategoricalDtype) -> Any:
    """Return a categorical; the type of its categories need not have a null."""
    if not isinstance(array, pa.Array):
        return pd.Categorical(array, dtype=dtype)
    codes = np.full(len(array), -1)
    given = array.is_valid().to_numpy(zero_copy_only=False)
    codes[given] = pd.Categorical(values.finish(array.drop_null()), dtype=dtype).codes
    return pd.Categorical.from_codes(codes.tolist(), dtype=dtype)


def _to_dtype(array: pa.Array, dtype: Any) -> Any:
    """Return a column of a pandas dtype that has an Arrow type."""
    if isinstance(dtype, pd.ArrowDtype):
        return _as_arrow(array)
    if hasattr(dtype, "__from_arrow__"):
        return dtype.__from_arrow__(array)
    if pt.is_timestamp(array.type) or pt.is_duration(array.type):
        ticks = array.view(pa.int64()).fill_null(np.iinfo(np.int64).min)
        return ticks.to_numpy().view(dtype)
    if array.null_count and dtype.kind in "iub":
        raise ValueError(f"{dtype} has no null")  # NumPy would make a number of it
    return array.to_numpy(zero_copy_only=False).astype(dtype)


def _objects(values: Sequence[Any]) -> pd.Series[Any]:
    """Return values as Python objects, lists as single cells."""
    cells = np.empty(len(values), dtype=object)
    cells[:] = values
    return pd.Series(cells, dtype=object)


# -- JSON values -> Arrow types ------------------------------------------------------------


def from_json(values: list[Any], dtype: pa.DataType) -> pa.Array:
    """Return JSON values as an array of the plain type they were before they became JSON."""
    return _restore(pa.array(_arrange(values, dtype), _carrier(dtype)), dtype)


def _arrange(values: list[Any], dtype: pa.DataType) -> list[Any]:
    """Bring JSON values to what ``pyarrow.array`` takes: maps as pairs, infinities as floats."""
    if pt.is_integer(dtype) and float in set(map(type, values)):
        _check_exact(any(isinstance(v, float) and not v.is_integer() for v in values), dtype)
    if not _needs_arranging(dtype) and not (pt.is_floating(dtype) and _has_text(values)):
        return values
    return [None if value is None else _arrange_one(value, dtype) for value in values]


def _has_text(values: list[Any]) -> bool:
    return any(isinstance(value, str) for value in values)


def _needs_arranging(dtype: pa.DataType) -> bool:
    """Return whether a map, or a number below the top, is in the type."""
    if isinstance(dtype, pa.BaseExtensionType):
        return False
    children = [dtype.field(number).type for number in range(dtype.num_fields)]
    return pt.is_map(dtype) or any(
        pt.is_floating(c) or pt.is_integer(c) or _needs_arranging(c) for c in children
    )


def _arrange_one(value: Any, dtype: pa.DataType) -> Any:
    if pt.is_floating(dtype):
        return float(value)  # reads "Infinity", too
    if is_list(dtype):
        return _arrange(value, dtype.value_type)
    if pt.is_struct(dtype):
        return {field.name: _arrange([value.get(field.name)], field.type)[0] for field in dtype}
    if pt.is_map(dtype):
        return list(zip(value, _arrange(list(value.values()), dtype.item_type), strict=True))
    return value


def _carrier(dtype: pa.DataType) -> pa.DataType:
    """Return the type in which JSON carries a plain type."""
    if is_list(dtype):
        return pa.large_list(_carrier(dtype.value_type))
    if pt.is_struct(dtype):
        return pa.struct([field.with_type(_carrier(field.type)) for field in dtype])
    if pt.is_map(dtype):
        return pa.map_(pa.string(), _carrier(dtype.item_type))
    if pt.is_float16(dtype):
        return pa.float64()
    if is_bool8(dtype):
        return pa.bool_()
    has_own_json = pt.is_boolean(dtype) or pt.is_integer(dtype) or pt.is_floating(dtype)
    return dtype if has_own_json or pt.is_null(dtype) or is_text(dtype) else pa.string()


def _restore(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    """Turn a carried array into its type."""
    if array.type == dtype:
        return array
    if is_list(dtype):
        return rebuild_list(array, _restore(array.flatten(), dtype.value_type)).cast(dtype)
    if pt.is_struct(dtype):
        children = [
            _restore(child, field.type) for child, field in zip(array.flatten(), dtype, strict=True)
        ]
        return pa.StructArray.from_arrays(children, fields=list(dtype), mask=array.is_null())
    if pt.is_map(dtype):
        pairs = map_as_list(array)
        keys, items = pairs.flatten().flatten()
        return rebuild_map(pairs, keys, _restore(items, dtype.item_type)).cast(dtype)
    return next(revive for is_type, revive in _LEAVES if is_type(dtype))(array, dtype)


def _restore_half_floats(array: pa.DoubleArray, _: pa.DataType) -> pa.Array:
    values = pc.fill_null(array, 0).to_numpy().astype(np.float16)
    return pa.array(values, mask=null_mask(array))


def _restore_bytes(array: pa.StringArray, dtype: pa.DataType) -> pa.Array:
    return decode_base64(array.to_pylist()).cast(dtype)


def _restore_uuids(array: pa.StringArray, dtype: pa.DataType) -> pa.Array:
    raw = [None if text is None else UUID(text).bytes for text in array.to_pylist()]
    return pa.ExtensionArray.from_storage(dtype, pa.array(raw, dtype.storage_type))


def _restore_bool8(array: pa.BooleanArray, dtype: pa.DataType) -> pa.Array:
    return pa.ExtensionArray.from_storage(dtype, array.cast(pa.int8()))


def _restore_dates(array: pa.StringArray, dtype: pa.DataType) -> pa.Array:
    return array.cast(pa.date32()).cast(dtype)


def _restore_times(array: pa.StringArray, dtype: pa.DataType) -> pa.Array:
    moments = pc.binary_join_element_wise("1970-01-01T", array, "").cast(pa.timestamp("ns"))
    nanoseconds, scale = moments.view(pa.int64()), PER_SECOND["ns"] // PER_SECOND[dtype.unit]
    ticks = pc.divide(nanoseconds, scale)
    _check_exact(pc.any(pc.not_equal(pc.multiply(ticks, scale), nanoseconds)).as_py(), dtype)
    return ticks.cast(pa.int32() if dtype.bit_width == _HALF_WORD else pa.int64()).view(dtype)


def _restore_timestamps(array: pa.StringArray, dtype: pa.DataType) -> pa.Array:
    """Read seconds and fraction apart: Arrow rejects nanoseconds at the ends of 64 bits."""
    parts = pc.extract_regex(array, r"^(?P<whole>[^.Z]+)\.?(?P<rest>\d*)Z?$")
    whole, rest = parts.flatten()  # with the nulls of the text
    seconds = pc.fill_null(whole.cast(pa.timestamp("s")).view(pa.int64()), 0)
    scale = PER_SECOND[dtype.unit]
    ticks = seconds.to_numpy() * np.int64(scale)  # may overflow, and come back with the fraction
    digits = len(str(scale)) - 1
    _check_exact(pc.any(pc.greater(pc.utf8_length(rest), digits)).as_py(), dtype)
    if digits:
        rest = pc.utf8_rpad(pc.fill_null(rest, ""), digits, "0")
        ticks = ticks + rest.cast(pa.int64()).to_numpy()
    _check_exact((ticks // scale != seconds.to_numpy()).any(), dtype)
    return pa.array(ticks, mask=null_mask(array)).view(dtype)


def _restore_durations(array: pa.StringArray, dtype: pa.DataType) -> pa.Array:
    parts = pc.extract_regex(array, r"^(?P<sign>-?)PT(?P<whole>\d+)\.?(?P<rest>\d*)S$")
    sign, whole, rest = parts.flatten()  # with the nulls of the text
    digits = len(str(PER_SECOND[dtype.unit])) - 1
    _check_exact(pc.any(pc.greater(pc.utf8_length(rest), digits)).as_py(), dtype)
    ticks = pc.binary_join_element_wise(
        sign, whole, pc.utf8_rpad(rest, digits, "0") if digits else "", ""
    )
    return ticks.cast(pa.int64()).view(dtype)


def _check_exact(is_lost: bool | None, dtype: pa.DataType) -> None:  # noqa: FBT001 - an answer
    """Raise where a type would change a value; None: there is no value."""
    if is_lost:
        raise pa.ArrowInvalid(f"a value that {dtype} cannot hold exactly")


_HALF_WORD: Final = 32
_LEAVES: Final[
    tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array, pa.DataType], pa.Array]], ...]
] = (
    (pt.is_float16, _restore_half_floats),
    (is_bytes, _restore_bytes),
    (is_uuid, _restore_uuids),
    (is_bool8, _restore_bool8),
    (pt.is_date, _restore_dates),
    (pt.is_time, _restore_times),
    (pt.is_timestamp, _restore_timestamps),
    (pt.is_duration, _restore_durations),
    (lambda _: True, lambda array, dtype: array.cast(dtype)),
)

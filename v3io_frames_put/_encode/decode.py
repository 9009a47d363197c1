"""Records -> rows: the reverse of encoding.

Values come back in plain Arrow types: a dictionary, runs or views are how an array was
laid out, not what it holds.
"""

from __future__ import annotations

import datetime as dt
import re
import warnings
from base64 import b64decode
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.types as pt

from ..config import check_choice
from ..errors import ConfigError, DataError
from .layouts import PER_SECOND, combine, is_bytes, is_list, plain_type, to_numpy
from .sources import FrameSource, open_series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..config import Format

Templates = dict[str, Any]  # by column, what it shall be again: an Arrow type or a Series
Collected = tuple[dict[str, Any], list[int]]  # values by column, and the rows of each record
_EXACT_FLOATS: Final = 2**53  # whole numbers below it are floats, too


def decode_records(
    records: pd.DataFrame,
    *,
    format: Format = "json",  # noqa: A002 - the option's public name
    schema: Any = None,
    on_error: Literal["raise", "skip"] = "raise",
) -> pd.DataFrame:
    """Turn records back into rows: what ``Client.decode_records`` promises."""
    check_choice("format", format, tuple(_FORMATS))
    check_choice("on_error", on_error, ("raise", "skip"))
    missing = {"shard_id", "sequence_number", "data"} - set(getattr(records, "columns", ()))
    if missing:
        raise ConfigError(
            f"records has no column {min(missing)!r}; expected what read_records returns."
        )
    templates, names = _read_schema(schema)
    if format == "raw" and len(names) > 1:
        raise ConfigError(
            f"schema has {len(names)} columns; format='raw' decodes one. Give a schema of that "
            f"column alone."
        )
    records, parsed = _parse(records, format, skip=on_error == "skip")
    found: dict[str, Any] = {name: [] for name in names}
    counts: Any = []
    if parsed:
        found, counts = _FORMATS[format].collect(parsed)
    if format == "raw" and names:
        found = {names[0]: found.popitem()[1]}
    columns = {}
    for name, values in found.items():
        with _naming(name):
            if name in templates:
                columns[name] = _restore(values, templates[name], name)
            else:
                columns[name] = _restore_alone(values)
    labels = records[["shard_id", "sequence_number"]]
    index = pd.MultiIndex.from_frame(
        labels.iloc[np.repeat(np.arange(len(records)), np.array(counts, np.int64))]
    )
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
    if hasattr(schema, "__arrow_c_stream__"):
        schema = pa.RecordBatchReader.from_stream(schema).schema
    elif not hasattr(schema, "__arrow_c_schema__"):
        raise ConfigError(
            f"schema is a {type(schema).__name__}; expected a pyarrow or polars Schema, or the "
            f"frame sent."
        )
    elif not isinstance(schema, pa.Schema):  # by the protocol, a name would end at its NUL
        schema = pa.Schema._import_from_c_capsule(schema.__arrow_c_schema__())  # noqa: SLF001 - older Arrow has no other way
    return {field.name: field.type for field in schema}, list(schema.names)


# -- Records -> values ------------------------------------------------------------------


def _parse(
    records: pd.DataFrame, data_format: Format, *, skip: bool
) -> tuple[pd.DataFrame, list[Any]]:
    """Parse each record; leave out those that cannot be, and warn of them, if asked to."""
    parse, _, expected = _FORMATS[data_format]
    parsed, bad = [], {}
    for number, data in enumerate(records["data"]):
        try:
            parsed.append(parse(data))
        except (msgspec.DecodeError, RecursionError, pa.ArrowInvalid, OSError, TypeError) as error:  # noqa: PERF203 - each alone
            bad[number] = f"is not {expected} ({error})"
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
_JSON: Final = msgspec.json.Decoder(dict[str, Any])


def _parse_lines(data: bytes) -> list[dict[str, Any]]:
    """Parse the lines of a record; each must be an object."""
    return [_JSON.decode(line) for line in data.removesuffix(b"\n").split(b"\n")]


def _collect_json(parsed: list[Any]) -> Collected:
    """Return the values of each member, in the order of the rows that have it first."""
    rows = [row for lines in parsed for row in lines]
    names: dict[str, None] = {}
    for row in rows:
        if row.keys() != names.keys():
            names.update(dict.fromkeys(row))
    return {name: [row.get(name) for row in rows] for name in names}, list(map(len, parsed))


def _collect_arrow(parsed: list[Any]) -> Collected:
    table = pa.concat_tables(parsed, promote_options="permissive").combine_chunks()
    columns = zip(table.column_names, table.columns, strict=True)
    return {name: combine(c.chunks, c.type) for name, c in columns}, list(map(len, parsed))


def _collect_raw(parsed: list[Any]) -> Collected:
    return {"data": pa.array(parsed, pa.large_binary())}, [1] * len(parsed)


class _Format(NamedTuple):
    parse: Callable[[bytes], Any]  # one record
    collect: Callable[[list[Any]], Collected]
    expected: str


_FORMATS: Final = {
    "json": _Format(_parse_lines, _collect_json, "a JSON object"),
    "arrow": _Format(
        lambda data: pa.ipc.open_stream(data).read_all(), _collect_arrow, "an Arrow stream"
    ),
    "raw": _Format(bytes, _collect_raw, "bytes"),
}


# What values raise that a type of pandas or Python cannot hold; LookupError is a zone's.
_UNFIT: Final = (
    pa.ArrowException,
    ValueError,
    TypeError,
    ArithmeticError,
    AttributeError,
    LookupError,
)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name the column whose type in ``schema`` the values of the records do not fit."""
    try:
        yield
    except _UNFIT as error:
        raise DataError(
            f"column {name!r}: the records hold what its type in schema= cannot: {error}. "
            f"Give another type, or leave the column out of schema."
        ) from error


def _restore_alone(values: list[Any] | pa.Array) -> Any:
    """Return a column of JSON's or pandas' own types; where none is exact, of objects or Arrow's.

    Whole numbers stay exact beside nulls and floats.
    """
    if isinstance(values, list):
        kinds = set(map(type, values))
        numbers = [value for value in values if type(value) is int]
        if kinds == {int, type(None)} and min(numbers) >= -(2**63) and max(numbers) < 2**64:
            return pd.array(values, dtype="UInt64" if max(numbers) >= 2**63 else "Int64")
        is_inexact = float in kinds and any(abs(number) > _EXACT_FLOATS for number in numbers)
        return _objects(values) if is_inexact else values
    if pt.is_integer(values.type) and values.null_count:
        name = str(values.type).replace("i", "I").replace("u", "U")
        dtype: Any = pd.api.types.pandas_dtype(name)
        return dtype.__from_arrow__(values)
    try:
        if pt.is_nested(values.type):
            return _objects(values.to_pylist())
        return pa.chunked_array([values]).to_pandas().array
    except _UNFIT:
        return _as_arrow(values)


# -- Values -> pandas columns -------------------------------------------------------------


def _restore(values: list[Any] | pa.Array, template: Any, name: str) -> Any:
    """Return a column like its template: of JSON values, or of an Arrow array."""
    dtype, finish = _plan_column(template, name)
    if dtype is None:
        return finish(values.to_pylist() if isinstance(values, pa.Array) else values)
    if isinstance(values, list):
        values = pa.array(_convert(values, _plan_cells(dtype)), dtype)
    return finish(values if values.type == dtype else values.cast(dtype))


def _plan_column(  # noqa: PLR0911 - one return a kind
    template: Any, name: str
) -> tuple[pa.DataType | None, Callable[[Any], Any]]:
    """Return the type of a column's values, and what makes the column of an array of them.

    The template is an Arrow type, or a Series like the one that was sent. Without a type the
    column is made of a list of values as JSON has them.
    """
    if isinstance(template, pa.DataType):
        return plain_type(template), _as_arrow
    dtype = template.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        found, finish = _plan_column(dtype.categories.to_series(), name)
        return found, lambda values: _to_categories(values, finish, dtype)
    if isinstance(dtype, pd.SparseDtype):
        found, finish = _plan_column(pd.Series([], dtype=dtype.subtype), name)
        return found, lambda values: pd.arrays.SparseArray(finish(values), dtype=dtype)
    is_text = isinstance(dtype, pd.StringDtype)
    found = pa.string() if is_text else open_series(template.iloc[:0], name).type
    if found is not None:
        return found, lambda array: _to_dtype(array, dtype)
    kind = pd.api.types.infer_dtype(template, skipna=True)
    if kind == "decimal":
        return None, lambda values: _objects(_convert(values, Decimal))
    if kind == "timedelta" and any(getattr(cell, "nanoseconds", 0) for cell in template):
        kind = "timedelta64"
    if kind in _OBJECT_TYPES:
        return _OBJECT_TYPES[kind], lambda array: _objects(array.to_pylist())
    return None, _objects


# What pandas calls the cells of an object column, and the type their JSON text is read as.
_OBJECT_TYPES: Final = {
    "string": pa.string(),
    "bytes": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timedelta": pa.duration("us"),
    "timedelta64": pa.duration("ns"),
}


def _as_arrow(array: pa.Array) -> Any:
    return pd.arrays.ArrowExtensionArray(pa.chunked_array([array]))


def _to_categories(values: Any, finish: Callable[[Any], Any], dtype: pd.CategoricalDtype) -> Any:
    """Return a categorical; the type of its categories need not have a null."""
    if not isinstance(values, pa.Array):
        return pd.Categorical(values, dtype=dtype)
    codes = np.full(len(values), -1)
    given = to_numpy(values.is_valid())
    codes[given] = pd.Categorical(finish(values.drop_null()), dtype=dtype).codes
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
    return to_numpy(array).astype(dtype)


def _objects(values: Sequence[Any]) -> pd.Series[Any]:
    """Return values as Python objects, lists as single cells."""
    cells = np.empty(len(values), dtype=object)
    cells[:] = values
    return pd.Series(cells, dtype=object)


# -- JSON values -> the values that pyarrow.array takes for a type ------------------------------


def _convert(values: list[Any], convert: Callable[[Any], Any] | None) -> list[Any]:
    if convert is None:
        return values
    return [None if value is None else convert(value) for value in values]


def _plan_cells(dtype: pa.DataType) -> Callable[[Any], Any] | None:
    """Return what converts a JSON value for a plain type; None: it is taken as it is."""
    if is_list(dtype):
        item = _plan_cells(dtype.value_type)
        return None if item is None else lambda values: _convert(values, item)
    if pt.is_map(dtype):
        item = _plan_cells(dtype.item_type)
        return lambda cell: list(zip(cell, _convert([*cell.values()], item), strict=True))
    if pt.is_struct(dtype):
        fields = {field.name: _plan_cells(field.type) for field in dtype}
        return lambda cell: {
            name: _convert([cell.get(name)], field)[0] for name, field in fields.items()
        }
    found = next((convert for is_type, convert in _CELLS if is_type(dtype)), None)
    return None if found is None else lambda value: found(value, dtype)


def _whole_number(value: Any, dtype: pa.DataType) -> Any:
    if isinstance(value, float) and not value.is_integer():
        raise pa.ArrowInvalid(_INEXACT.format(dtype))  # Arrow would cut the fraction off
    return int(value) if isinstance(value, float) else value


def _time(text: str, dtype: pa.DataType) -> int:
    whole, _, fraction = text.partition(".")
    hours, minutes, seconds = map(int, whole.split(":"))
    return _ticks(hours * 3_600 + minutes * 60 + seconds, fraction, dtype)


def _timestamp(text: str, dtype: pa.DataType) -> int:
    whole, _, fraction = text.removesuffix("Z").partition(".")
    since = dt.datetime.fromisoformat(whole) - _EPOCH
    return _ticks(since.days * 86_400 + since.seconds, fraction, dtype)


def _duration(text: str, dtype: pa.DataType) -> int:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration in seconds")
    return _ticks(int(match[2]), match[3], dtype, sign=-1 if match[1] else 1)


def _ticks(seconds: int, fraction: str, dtype: pa.DataType, sign: int = 1) -> int:
    """Return a time as a number in the unit of its type."""
    per_second = PER_SECOND[dtype.unit]
    digits = len(str(per_second)) - 1
    ticks = sign * (seconds * per_second + int(fraction.ljust(digits, "0") or 0))
    if len(fraction) > digits or not -(2**63) <= ticks < 2**63:
        raise pa.ArrowInvalid(_INEXACT.format(dtype))
    return ticks


_INEXACT: Final = "a value that {} cannot hold exactly"
_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - UTC by arithmetic
_DURATION: Final = re.compile(r"(-?)PT(\d+)\.?(\d*)S")
_CELLS: Final[
    tuple[tuple[Callable[[pa.DataType], bool], Callable[[Any, pa.DataType], Any]], ...]
] = (
    (pt.is_integer, _whole_number),
    (pt.is_float16, lambda value, _: np.float16(value)),
    # Infinities may be text; Arrow refuses the whole numbers that a float does not hold.
    (pt.is_floating, lambda value, _: float(value) if isinstance(value, str) else value),
    (pt.is_decimal, lambda value, _: Decimal(value)),
    (is_bytes, lambda text, _: b64decode(text, validate=True)),
    (pt.is_date, lambda text, _: dt.date.fromisoformat(text)),
    (pt.is_time, _time),
    (pt.is_timestamp, _timestamp),
    (pt.is_duration, _duration),
)

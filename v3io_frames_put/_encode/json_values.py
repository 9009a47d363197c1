"""JSON values -> Arrow types: the reverse of json_types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._encode.base64 import decode_base64
from v3io_frames_put._encode.json_types import PER_SECOND, is_bool8, is_uuid, null_mask
from v3io_frames_put._encode.layouts import (
    is_bytes,
    is_list,
    is_text,
    list_offsets,
    map_as_list,
    plain_type,
    rebuild_list,
    rebuild_map,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def from_json(values: list[Any], dtype: pa.DataType) -> pa.Array:
    """Return JSON values as an array of the type they were before they became JSON."""
    plain = plain_type(dtype)
    carried = pa.array(_arrange(values, plain), _carrier(plain))
    return as_type(_restore(carried, plain), dtype)


def as_type(array: pa.Array, dtype: pa.DataType) -> pa.Array:  # noqa: PLR0911 - one return a kind
    """Give a plain array its layout back: dictionary, runs or views."""
    if array.type == dtype:
        return array
    if pt.is_dictionary(dtype):
        is_half = pt.is_float16(array.type)  # whose bits Arrow can tell apart, but not its values
        encoded = (array.view(pa.uint16()) if is_half else array).dictionary_encode()
        values = encoded.dictionary.view(pa.float16()) if is_half else encoded.dictionary
        return pa.DictionaryArray.from_arrays(
            encoded.indices.cast(dtype.index_type),
            as_type(values, dtype.value_type),
            ordered=dtype.ordered,
        )
    if pt.is_run_end_encoded(dtype):
        runs = pc.run_end_encode(array, run_end_type=dtype.run_end_type)
        values = as_type(runs.values, dtype.value_type)  # Arrow makes no runs of views
        return pa.RunEndEncodedArray.from_arrays(runs.run_ends, values)
    if is_list(dtype):
        return _lay_out_list(array, dtype)
    if pt.is_struct(dtype):
        children = [
            as_type(child, field.type) for child, field in zip(array.flatten(), dtype, strict=True)
        ]
        return pa.StructArray.from_arrays(children, fields=list(dtype), mask=array.is_null())
    if pt.is_map(dtype):
        pairs = map_as_list(array)
        keys, items = pairs.flatten().flatten()
        keys, items = as_type(keys, dtype.key_type), as_type(items, dtype.item_type)
        return rebuild_map(pairs, keys, items).cast(dtype)
    return array.cast(dtype)


def _lay_out_list(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    """Give lists, and their values, the layout of a type."""
    if pt.is_fixed_size_list(dtype):
        size = dtype.list_size
        values = array.values[array.offset * size : (array.offset + len(array)) * size]
        values = as_type(values, dtype.value_type)
        return pa.FixedSizeListArray.from_arrays(values, size, mask=array.is_null()).cast(dtype)
    values = as_type(array.flatten(), dtype.value_type)
    if not (pt.is_list_view(dtype) or pt.is_large_list_view(dtype)):
        return rebuild_list(array, values).cast(dtype)
    kind = pa.ListViewArray if pt.is_list_view(dtype) else pa.LargeListViewArray
    offsets = list_offsets(array, np.int32 if pt.is_list_view(dtype) else np.int64)
    lengths = pc.subtract(offsets[1:], offsets[:-1])
    return kind.from_arrays(offsets[:-1], lengths, values, mask=array.is_null())


def _arrange(values: list[Any], dtype: pa.DataType) -> list[Any]:
    """Bring JSON values to what ``pyarrow.array`` takes: maps as pairs, infinities as floats."""
    if pt.is_integer(dtype) and float in set(map(type, values)):
        _refuse_lost(any(isinstance(v, float) and not v.is_integer() for v in values), dtype)
    if not _needs_arranging(dtype) and not (pt.is_floating(dtype) and _has_text(values)):
        return values
    return [None if value is None else _arrange_one(value, dtype) for value in values]


def _has_text(values: list[Any]) -> bool:
    return any(isinstance(value, str) for value in values)


def _needs_arranging(dtype: pa.DataType) -> bool:
    """Tell whether a map, or a number below the top, is in the type."""
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


def _cast(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    return array.cast(dtype)


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
    _refuse_lost(pc.any(pc.not_equal(pc.multiply(ticks, scale), nanoseconds)).as_py(), dtype)
    return ticks.cast(pa.int32() if dtype.bit_width == _HALF_WORD else pa.int64()).view(dtype)


def _restore_timestamps(array: pa.StringArray, dtype: pa.DataType) -> pa.Array:
    """Read seconds and fraction apart; the kernel refuses nanoseconds at the ends of 64 bits."""
    parts = pc.extract_regex(array, r"^(?P<whole>[^.Z]+)\.?(?P<rest>\d*)Z?$")
    whole, rest = parts.flatten()  # with the nulls of the text
    seconds = pc.fill_null(whole.cast(pa.timestamp("s")).view(pa.int64()), 0)
    scale = PER_SECOND[dtype.unit]
    ticks = seconds.to_numpy() * np.int64(scale)  # may overflow, and come back with the fraction
    digits = len(str(scale)) - 1
    _refuse_lost(pc.any(pc.greater(pc.utf8_length(rest), digits)).as_py(), dtype)
    if digits:
        rest = pc.utf8_rpad(pc.fill_null(rest, ""), digits, "0")
        ticks = ticks + rest.cast(pa.int64()).to_numpy()
    _refuse_lost((ticks // scale != seconds.to_numpy()).any(), dtype)
    return pa.array(ticks, mask=null_mask(array)).view(dtype)


def _restore_durations(array: pa.StringArray, dtype: pa.DataType) -> pa.Array:
    parts = pc.extract_regex(array, r"^(?P<sign>-?)PT(?P<whole>\d+)\.?(?P<rest>\d*)S$")
    sign, whole, rest = parts.flatten()  # with the nulls of the text
    digits = len(str(PER_SECOND[dtype.unit])) - 1
    _refuse_lost(pc.any(pc.greater(pc.utf8_length(rest), digits)).as_py(), dtype)
    ticks = pc.binary_join_element_wise(
        sign, whole, pc.utf8_rpad(rest, digits, "0") if digits else "", ""
    )
    return ticks.cast(pa.int64()).view(dtype)


def _refuse_lost(is_lost: bool | None, dtype: pa.DataType) -> None:  # noqa: FBT001 - an answer
    """Refuse a type that would change a value; None: there is no value."""
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
    (lambda _: True, _cast),
)

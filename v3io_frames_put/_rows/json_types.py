"""What a column's Arrow type needs before the native JSON writer gets it.

The writer (arrow-rs, through arro3) spells most types as we promise. For the others
there is a *conversion*, chosen once per column from its type alone, and for types
with values that JSON cannot hold a *check* that finds their rows. Both reach into
lists, structs and maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from v3io_frames_put._rows import json_leaves as leaves
from v3io_frames_put._rows.arrow_types import (
    contains,
    is_bytes,
    is_list,
    is_text,
    list_parents,
    list_values,
    map_as_list,
    rebuild_list,
    rebuild_map,
)
from v3io_frames_put._rows.base64 import encode_base64

if TYPE_CHECKING:
    from v3io_frames_put.config import Encoding

Convert = Callable[[pa.Array], pa.Array]
Flaw = tuple[np.ndarray, str]  # which values, and what is wrong with them
Check = Callable[[pa.Array], Iterator[Flaw]]


@dataclass(frozen=True, slots=True)
class Writing:
    """How to bring one type to the native writer; None where nothing is to do."""

    convert: Convert | None = None
    check: Check | None = None


class NoEncoding(Exception):
    """A type has no JSON; the text says why, and what to do."""


AS_IT_IS: Final = Writing()


def plan_writing(dtype: pa.DataType, encoding: Encoding) -> Writing:
    """Choose conversion and check for a type; raise NoEncoding when it has no JSON."""
    for is_type, plan in _NESTED:
        if is_type(dtype):
            return plan(dtype, encoding)
    if pt.is_floating(dtype):
        return _plan_float(dtype, encoding)
    for is_type, writing in _LEAVES:
        if is_type(dtype):
            return writing
    raise NoEncoding(f"and {dtype} has no JSON form. Cast it, or leave the column out")


def contains_float(dtype: pa.DataType) -> bool:
    """Tell whether a float of any width is in the type."""
    return contains(dtype, pt.is_floating)


def _plan_float(dtype: pa.DataType, encoding: Encoding) -> Writing:
    """Infinities are an encoding's choice; 16 bits go through a table of shortest texts."""
    return Writing(
        convert=leaves.widen_half_floats if pt.is_float16(dtype) else None,
        check=leaves.find_infinities if encoding.infinity == "refuse" else None,
    )


def _plan_list(dtype: pa.DataType, encoding: Encoding) -> Writing:
    values = plan_writing(dtype.value_type, encoding)

    def convert(array: pa.Array, convert_values: Convert) -> pa.Array:
        return rebuild_list(array, convert_values(list_values(array)))

    def check(array: pa.Array, check_values: Check) -> Iterator[Flaw]:
        for flawed, reason in check_values(list_values(array)):
            mask = np.zeros(len(array), dtype=bool)
            mask[list_parents(array)[flawed]] = True
            yield mask, reason

    return Writing(
        partial(convert, convert_values=values.convert) if values.convert else None,
        partial(check, check_values=values.check) if values.check else None,
    )


def _plan_struct(dtype: pa.StructType, encoding: Encoding) -> Writing:
    names = [field.name for field in dtype]
    if len(set(names)) < len(names):
        raise NoEncoding("which names a field twice. Rename one")
    if any("\0" in name for name in names):
        raise NoEncoding("which has a NUL in a field's name. Rename the field")
    fields = [plan_writing(field.type, encoding) for field in dtype]

    def convert(array: pa.Array) -> pa.Array:
        children = [
            field.convert(child) if field.convert else child
            for field, child in zip(fields, array.flatten(), strict=True)
        ]
        return pa.StructArray.from_arrays(children, names, mask=array.is_null())

    def check(array: pa.Array) -> Iterator[Flaw]:
        for field, child in zip(fields, array.flatten(), strict=True):
            yield from field.check(child) if field.check else ()

    return Writing(
        convert if any(field.convert for field in fields) else None,
        check if any(field.check for field in fields) else None,
    )


def _plan_map(dtype: pa.MapType, encoding: Encoding) -> Writing:
    if not is_text(dtype.key_type):
        raise NoEncoding("which has a map whose keys are no text. Cast them")
    pairs = _plan_list(pa.list_(pa.struct([("value", dtype.item_type)])), encoding)
    items = plan_writing(dtype.item_type, encoding)

    def convert(array: pa.Array) -> pa.Array:
        as_list = map_as_list(array)
        keys, values = list_values(as_list).flatten()
        return rebuild_map(
            as_list,
            keys.cast(pa.string()),
            items.convert(values) if items.convert else values,
        )

    def check(array: pa.Array) -> Iterator[Flaw]:
        as_list = map_as_list(array)
        yield leaves.find_repeated_keys(as_list)
        if pairs.check:
            values = list_values(as_list).flatten()[1:]
            yield from pairs.check(
                rebuild_list(as_list, pa.StructArray.from_arrays(values, ["value"]))
            )

    return Writing(convert, check)


def is_uuid(dtype: pa.DataType) -> bool:
    """Tell whether the type is Arrow's UUID."""
    return getattr(dtype, "extension_name", "") == "arrow.uuid"


def is_bool8(dtype: pa.DataType) -> bool:
    """Tell whether the type is Arrow's one-byte boolean."""
    return getattr(dtype, "extension_name", "") == "arrow.bool8"


_NESTED: Final = ((is_list, _plan_list), (pt.is_struct, _plan_struct), (pt.is_map, _plan_map))
_LEAVES: Final[tuple[tuple[Callable[[pa.DataType], bool], Writing], ...]] = (
    (pt.is_null, AS_IT_IS),
    (pt.is_boolean, AS_IT_IS),
    (pt.is_integer, AS_IT_IS),
    (is_text, AS_IT_IS),
    (is_bytes, Writing(encode_base64)),
    (is_uuid, Writing(leaves.spell_uuids)),
    (is_bool8, Writing(lambda array: array.cast(pa.bool_()))),
    (pt.is_decimal, Writing(leaves.spell_decimals)),
    (pt.is_date, Writing(lambda array: array.cast(pa.date32()), leaves.find_wild_years)),
    (pt.is_time, Writing(None, leaves.find_wild_times)),
    (pt.is_duration, Writing(leaves.spell_durations)),
    (pt.is_timestamp, Writing(leaves.spell_repeated_timestamps, leaves.find_wild_years)),
)

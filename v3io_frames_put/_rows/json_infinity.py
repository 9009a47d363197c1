"""JSON text of types that contain floats, with infinities as strings.

The native writer has one spelling for a float's place, and null for what it cannot
write. Where ``Encoding(infinity="string")`` was chosen, every column with a float in
its type takes this way, so that a cell's text does not depend on its neighbors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._rows.arrow_types import is_list, list_offsets, list_values, map_as_list
from v3io_frames_put._rows.json_types import contains_float, plan_writing
from v3io_frames_put._rows.json_writer import spell_name, write_cells

if TYPE_CHECKING:
    from v3io_frames_put.config import Encoding


def write_with_infinities(
    array: pa.Array, dtype: pa.DataType, encoding: Encoding
) -> pa.StringArray:
    """Write the JSON text of each value; no nulls in the result, but ``null``.

    ``dtype`` is the column's type, whose extension types ``array`` may have as their
    storage: lists are taken apart to that.
    """
    if pt.is_floating(dtype):
        return _write_floats(array, encoding)
    if not contains_float(dtype):
        writing = plan_writing(dtype, encoding)
        return write_cells(writing.convert(array) if writing.convert else array)
    if is_list(dtype):
        texts = write_with_infinities(list_values(array), dtype.value_type, encoding)
        return _enclose("[", _join_lists(array, texts), "]", array)
    if pt.is_struct(dtype):
        return _write_structs(array, dtype, encoding)
    return _write_maps(array, dtype, encoding)


def _write_floats(array: pa.Array, encoding: Encoding) -> pa.StringArray:
    convert = plan_writing(array.type, encoding).convert
    floats = convert(array) if convert else array
    infinity = pc.if_else(pc.greater(floats, 0), '"Infinity"', '"-Infinity"')
    is_infinite = pc.fill_null(pc.is_inf(floats), False)  # noqa: FBT003 - Arrow's signature
    return pc.if_else(is_infinite, infinity, write_cells(floats))


def _write_structs(
    array: pa.StructArray, dtype: pa.StructType, encoding: Encoding
) -> pa.StringArray:
    members = []
    for number, (field, child) in enumerate(zip(dtype, array.flatten(), strict=True)):
        comma = "," if number else ""
        members += [
            comma + spell_name(field.name).decode(),
            write_with_infinities(child, field.type, encoding),
        ]
    return _enclose("{", pc.binary_join_element_wise(*members, ""), "}", array)


def _write_maps(array: pa.MapArray, dtype: pa.MapType, encoding: Encoding) -> pa.StringArray:
    pairs = map_as_list(array)
    keys, items = list_values(pairs).flatten()
    members = pc.binary_join_element_wise(
        write_cells(keys), write_with_infinities(items, dtype.item_type, encoding), ":"
    )
    return _enclose("{", _join_lists(pairs, members), "}", array)


def _join_lists(lists: pa.Array, texts: pa.StringArray) -> pa.StringArray:
    return pc.binary_join(pa.ListArray.from_arrays(list_offsets(lists, np.int32), texts), ",")


def _enclose(start: str, inside: pa.StringArray, end: str, like: pa.Array) -> pa.StringArray:
    text = pc.binary_join_element_wise(start, inside, end, "")
    return pc.if_else(like.is_null(), "null", text) if like.null_count else text

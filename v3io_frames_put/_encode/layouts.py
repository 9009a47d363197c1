"""Arrow layouts: plain types, and the one place where arrays are brought to them.

A plain array has no dictionaries, runs, views or extension types at any level, and, where
it holds structs, memory of its own: what reads it need not know how it was laid out.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_VIEWS: Final = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
_CASTS_VIEWS: Final = int(pa.__version__.split(".")[0]) >= 18  # noqa: PLR2004 - pyarrow 17 does not
_TEXT: Final = {pa.string().id, pa.large_string().id, pa.string_view().id}
_BYTES: Final = {pa.binary().id, pa.large_binary().id, pa.binary(1).id, pa.binary_view().id}
_ITEM: Final = pa.null()
_LISTS: Final = {
    pa.list_(_ITEM).id, pa.large_list(_ITEM).id, pa.list_(_ITEM, 1).id, pa.list_view(_ITEM).id,
    pa.large_list_view(_ITEM).id,
}  # fmt: skip
_EXTENSIONS: Final = {"arrow.uuid": pa.string(), "arrow.bool8": pa.bool_()}
UNSUPPORTED: Final = "which cannot be sent. Convert it with astype(str), or leave the column out"


# -- types -------------------------------------------------------------------------------------

PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def is_text(dtype: pa.DataType) -> bool:
    """Return whether values of the type are text."""
    return dtype.id in _TEXT


def is_bytes(dtype: pa.DataType) -> bool:
    """Return whether values of the type are bytes."""
    return dtype.id in _BYTES


def is_list(dtype: pa.DataType) -> bool:
    """Return whether the type is a list of any layout."""
    return dtype.id in _LISTS


@lru_cache(maxsize=1_024)
def contains(dtype: pa.DataType, *kinds: Callable[[pa.DataType], bool]) -> bool:
    """Return whether a type, or one inside it, is of any of some kinds."""
    for kind in kinds:
        if kind(dtype):
            return True
    if not isinstance(dtype, pa.BaseExtensionType):
        for number in range(dtype.num_fields):
            if contains(dtype.field(number).type, *kinds):
                return True
    return False


@lru_cache
def plain_type(dtype: pa.DataType) -> pa.DataType:  # noqa: PLR0911 - one return a kind
    """Return the type whose arrays hold the same values in the plain layout.

    Runs and dictionaries of half floats inside lists and maps, and extension types that
    cannot be sent, such as pandas' Period, stay as they are: see ``is_unsupported``.
    """
    if isinstance(dtype, pa.BaseExtensionType):
        if dtype.extension_name == "arrow.json":
            return plain_type(dtype.storage_type)
        return _EXTENSIONS.get(dtype.extension_name, dtype)
    if pt.is_dictionary(dtype) or pt.is_run_end_encoded(dtype):
        return plain_type(dtype.value_type)
    if dtype in _VIEWS:
        return _VIEWS[dtype]
    if pt.is_struct(dtype):
        return pa.struct([_plain_field(field) for field in dtype])
    # Arrow (seen with 26) gives other half floats where it joins their dictionaries.
    has_halves = contains(dtype, pt.is_dictionary) and contains(dtype, _is_dictionary_of_halves)
    if has_halves or contains(dtype, pt.is_run_end_encoded):
        return dtype
    if pt.is_map(dtype):
        return pa.map_(plain_type(dtype.key_type), _plain_field(dtype.item_field))
    if pt.is_fixed_size_list(dtype):
        return pa.list_(_plain_field(dtype.value_field), dtype.list_size)
    if pt.is_large_list(dtype) or pt.is_large_list_view(dtype):
        return pa.large_list(_plain_field(dtype.value_field))
    return pa.list_(_plain_field(dtype.value_field)) if is_list(dtype) else dtype


def _is_dictionary_of_halves(dtype: pa.DataType) -> bool:
    return bool(pt.is_dictionary(dtype) and pt.is_float16(dtype.value_type))


def _plain_field(field: pa.Field) -> pa.Field:
    return field.with_type(plain_type(field.type))


def is_unsupported(dtype: pa.DataType) -> bool:
    """Return whether a plain type is one that Arrow cannot take apart, or that has no meaning."""
    is_laid_out = pt.is_run_end_encoded(dtype) or pt.is_dictionary(dtype)
    return bool(isinstance(dtype, pa.BaseExtensionType) or is_laid_out or pt.is_union(dtype))


# -- arrays ------------------------------------------------------------------------------------


def make_plain(array: pa.Array) -> pa.Array:  # noqa: PLR0911 - one return a kind
    """Bring an array to its plain type; no copy where it is plain."""
    dtype, target = array.type, plain_type(array.type)
    if dtype == target:
        return array
    if isinstance(dtype, pa.BaseExtensionType):
        if dtype.extension_name == "arrow.uuid":
            return format_uuids(array.storage)
        return make_plain(array.storage).cast(target)
    if pt.is_dictionary(dtype) or pt.is_run_end_encoded(dtype):
        return _spread(*_find_labels(array))
    below = children(array)
    if below:
        rebuilt = rebuild(array, map(make_plain, below))
        # To cast large lists, even to their own type, loses nulls that have no other type.
        return rebuilt if rebuilt.type == target else rebuilt.cast(target)
    if not _CASTS_VIEWS:
        return pa.array(array.to_pylist(), target)
    return array.cast(target)


def _find_labels(array: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return the values of a dictionary or of runs, and the place of each row's among them."""
    if pt.is_dictionary(array.type):
        return array.dictionary, array.indices
    rows = np.arange(array.offset, array.offset + len(array))
    ends = to_numpy(array.run_ends)
    return array.values, pa.array(np.searchsorted(ends, rows, side="right"))


def _spread(values: pa.Array, places: pa.Array) -> pa.Array:
    """Return the values at some places; Arrow's decoding has kernels for fewer types."""
    return own_copy(make_plain(values)).take(places)


def format_uuids(storage: pa.Array | pa.ChunkedArray) -> pa.StringArray:
    """Format UUIDs as 8-4-4-4-12 hex digits."""
    raw = storage.to_pylist()  # rare, and short texts: a Python object each is fine
    return pa.array([None if value is None else str(UUID(bytes=value)) for value in raw], "string")


def combine(chunks: Sequence[pa.Array], dtype: pa.DataType) -> pa.Array:
    """Put chunks together as one plain array; no copy of a single plain one, as a rule."""
    if len(chunks) == 1:
        return own_copy(make_plain(chunks[0]))
    if not chunks:
        return pa.nulls(0, plain_type(dtype))
    return pa.concat_arrays([make_plain(chunk) for chunk in chunks])


def own_copy(array: pa.Array) -> pa.Array:
    """Copy nested values, which may be a slice, to buffers of their own; return others as is.

    The native JSON writer panics on slices of structs in structs and of fixed-size lists
    of structs, and Arrow's ``take`` and ``filter`` return other rows from a slice of
    fixed-size lists in fixed-size lists (seen with pyarrow 17 to 26). An array does not
    show whether something below it is a slice; concatenating it with nothing copies it at
    every level.
    """
    return copy(array) if contains(array.type, pt.is_struct, pt.is_fixed_size_list) else array


def copy(column: Any) -> Any:
    """Copy an Arrow array to buffers of its own at every level; return NumPy's as they are."""
    return column if isinstance(column, np.ndarray) else pa.concat_arrays([column, column[:0]])


def take(column: Any, places: np.ndarray) -> Any:
    """Return the values of Arrow or NumPy at some places; a slice where they follow each other."""
    if len(places) and places[-1] - places[0] == len(places) - 1 and (np.diff(places) == 1).all():
        return column[int(places[0]) : int(places[-1]) + 1]
    if isinstance(column, np.ndarray):
        return column[places]
    return column.take(pa.array(places, pa.int64()))


def concat(parts: Sequence[Any]) -> Any:
    """Put parts of a column of Arrow or NumPy together; None where they are None."""
    if parts[0] is None:
        return None
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else pa.concat_arrays(parts)


def children(array: pa.Array) -> list[pa.Array]:
    """Return what is right below an array: a struct's fields, a list's values, a map's pairs.

    Fields are null where the struct is; what null lists and maps hold is left out.
    """
    if pt.is_struct(array.type):
        return list(array.flatten())
    if pt.is_map(array.type):
        array = map_as_list(array)
    return [list_values(array)] if is_list(array.type) else []


def rebuild(array: pa.Array, others: Iterable[pa.Array]) -> pa.Array:
    """Return a nested array with others in place of its children."""
    below = list(others)
    if pt.is_struct(array.type):
        fields = [own.with_type(new.type) for own, new in zip(array.type, below, strict=True)]
        return pa.StructArray.from_arrays(below, fields=fields, mask=array.is_null())
    if pt.is_map(array.type):
        return rebuild_map(map_as_list(array), *below[0].flatten())
    return rebuild_list(array, below[0])


def list_values(array: pa.Array) -> pa.Array:
    """Flatten lists of any layout; Arrow cannot build every type's empty array itself."""
    if not pc.sum(pc.list_value_length(array)).as_py():
        return array.values[:0]
    return array.flatten()


def map_as_list(array: pa.MapArray) -> pa.ListArray:
    """View maps as lists of structs ``key``, ``value``, whose kernels respect slices."""
    dtype = array.type
    pair = pa.struct([pa.field("key", dtype.key_type), pa.field("value", dtype.item_type)])
    return array.cast(pa.list_(pair))


def rebuild_list(like: pa.Array, values: pa.Array) -> pa.LargeListArray:
    """Make lists as long and as null as ``like`` of other flattened values."""
    offsets = list_offsets(like, np.int64)
    return pa.LargeListArray.from_arrays(offsets, values, mask=like.is_null())


def rebuild_map(like: pa.Array, keys: pa.Array, items: pa.Array) -> pa.MapArray:
    """Make maps as long and as null as ``like``, a list, of other keys and items."""
    offsets = list_offsets(like, np.int32)
    return pa.MapArray.from_arrays(offsets, keys, items, mask=like.is_null())


def find_holders(array: pa.Array, mask: np.ndarray) -> np.ndarray:
    """Return which values hold one of the children that a mask chooses."""
    if pt.is_struct(array.type):
        return mask
    holders = np.zeros(len(array), dtype=bool)
    holders[list_parents(map_as_list(array) if pt.is_map(array.type) else array)[mask]] = True
    return holders


def list_offsets(array: pa.Array, width: type[np.signedinteger[Any]]) -> pa.Array:
    """Return offsets into the flattened values of lists of any layout."""
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    offsets = np.zeros(len(array) + 1, dtype=width)
    np.cumsum(to_numpy(lengths), out=offsets[1:])
    return pa.array(offsets)


def clear_nulls(array: pa.Array) -> pa.Array:
    """Clear what lies under the nulls of a plain array, at any level; no copy without nulls.

    Arrow keeps values under nulls: those that pandas has blanked, and the items of null
    lists. They must not be sent, and bytes must not depend on them.
    """
    if not _has_nulls(array):
        return array
    nulls = to_numpy(array.is_null())
    if not pt.is_nested(array.type):
        return blank(array, nulls)
    array = blank(copy(array), nulls)
    below = _memory_below(array)
    if pt.is_fixed_size_list(array.type):  # Arrow's take leaves zeros or nulls there
        below = [blank(below[0], np.repeat(nulls, array.type.list_size))]
    buffers = array.buffers()[: array.type.num_buffers]
    below = list(map(clear_nulls, below))
    # The entries of a map may not be null: older Arrow goes by the count, which is not known else.
    nulls_left = array.null_count
    return pa.Array.from_buffers(array.type, len(array), buffers, nulls_left, children=below)


def blank(array: pa.Array, mask: np.ndarray) -> pa.Array:
    """Return an array of any type with nothing but nulls where the mask is true."""
    return array.take(pa.array(np.arange(len(array)), mask=mask))


def _has_nulls(array: pa.Array) -> bool:
    if pt.is_null(array.type):
        return False
    return array.null_count > 0 or any(map(_has_nulls, _memory_below(array)))


def _memory_below(array: pa.Array) -> list[pa.Array]:
    """Return the arrays right below one, with what lies under nulls and between lists."""
    if pt.is_struct(array.type):
        return [array.field(number) for number in range(array.type.num_fields)]
    return [array.values] if is_list(array.type) or pt.is_map(array.type) else []


def to_numpy(array: pa.Array) -> np.ndarray:
    """Return an array's values for NumPy, without a copy where that can be."""
    values: np.ndarray = array.to_numpy(zero_copy_only=False)
    return values


def list_parents(array: pa.Array) -> np.ndarray:
    """Return the list that each flattened value is from.

    Unlike Arrow's own, leaves out what null lists hold, as ``flatten`` does.
    """
    lengths = to_numpy(pc.fill_null(pc.list_value_length(array), 0))
    return np.repeat(np.arange(len(array)), lengths)


# -- invalid cells -----------------------------------------------------------------------------

INVALID: Final = "__v3io_invalid"
"""Column that maps the name of each column whose cell did not fit to the cell's text."""

DETAIL: Final = "__v3io_detail"
"""Column that says what is wrong with a row that has invalid cells."""


def find_invalid(column: pa.Array, first: int = 0) -> dict[int, str]:
    """Find the cells that are not what their type allows, and what is wrong with each.

    ``first`` is the number of the column's first cell.
    """
    if not contains(column.type, is_text, pt.is_date64):
        return {}
    wrong = next(_invalid_leaves(column), None)
    if wrong is None:
        return {}
    if len(column) == 1:
        is_date = pt.is_date64(wrong.type)
        return {first: "a date within a day" if is_date else "text that is not UTF-8"}
    middle = len(column) // 2
    before = find_invalid(column[:middle], first)
    return before | find_invalid(column[middle:], first + middle)


def _invalid_leaves(column: pa.Array) -> Iterator[pa.Array]:
    """Yield the arrays that hold an invalid value: Arrow checks all of a list for any slice."""
    for child in children(column):
        yield from _invalid_leaves(child)
    if is_text(column.type) or pt.is_date64(column.type):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            yield column


# -- sizes -------------------------------------------------------------------------------------

_OFFSET_BYTES: Final = 8  # at most, of what has no fixed width
_SHORT_BYTES: Final = 64  # of a label: in all rows of a window, these are few
_OFFSETS: Final = {
    pa.string(): np.int32,
    pa.binary(): np.int32,
    pa.large_string(): np.int64,
    pa.large_binary(): np.int64,
}


def measure(array: pa.Array) -> int:
    """Return about how many bytes the values take in the plain layout."""
    dtype = array.type
    if pt.is_dictionary(dtype) or pt.is_run_end_encoded(dtype):
        values = array.dictionary if pt.is_dictionary(dtype) else array.values
        offsets = None
        if values.type in _OFFSETS:
            every = np.frombuffer(values.buffers()[1] or b"", _OFFSETS[values.type])
            offsets = every[values.offset :][: len(values) + 1]
        are_few = len(values) <= len(array)
        if offsets is None or (are_few and np.diff(offsets).max(initial=0) <= _SHORT_BYTES):
            return len(array) * max(8, measure(values) // max(1, len(values)))
        # One may be much longer than most, and in every row.
        places = to_numpy(_find_labels(array)[1].drop_null()).astype(np.int64)
        lengths = offsets[places + 1] - offsets[places]
        return int(lengths.sum()) + len(array) * _OFFSET_BYTES
    if pt.is_string_view(dtype) or pt.is_binary_view(dtype):  # their lengths begin 16-byte heads
        heads = np.frombuffer(array.buffers()[1], np.int32).reshape(-1, 4)
        return int(heads[array.offset : array.offset + len(array), 0].sum())
    try:
        return int(array.nbytes)
    except (pa.ArrowTypeError, pa.ArrowNotImplementedError):  # views inside lists or structs
        return int(array.get_total_buffer_size())


def row_sizes(array: pa.Array) -> np.ndarray:
    """Return about how many bytes each value takes, whatever its neighbors are."""
    dtype = array.type
    if is_text(dtype) or (is_bytes(dtype) and not pt.is_fixed_size_binary(dtype)):
        lengths = pc.fill_null(pc.binary_length(array), 0)
        return to_numpy(lengths).astype(np.int64) + _OFFSET_BYTES
    if pt.is_struct(dtype):
        fields = map(row_sizes, array.flatten())
        return sum(fields, start=np.zeros(len(array), np.int64))
    if pt.is_map(dtype):
        array = map_as_list(array)
    if is_list(array.type):
        offsets = to_numpy(list_offsets(array, np.int64))
        total = np.concatenate([[0], np.cumsum(row_sizes(list_values(array)))])
        sizes: np.ndarray = np.diff(total[offsets]) + _OFFSET_BYTES
        return sizes
    width = 1 if pt.is_null(dtype) else -(-dtype.bit_width // 8)
    return np.full(len(array), width, np.int64)

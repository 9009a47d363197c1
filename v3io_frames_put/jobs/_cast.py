"""Types of columns: read by name, brought together, and cells cast to them.

One rule for all: a cell that its column's type cannot hold as it is becomes null, and is
named. No cell is converted to another value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._encode.columns import INTERNAL
from v3io_frames_put._encode.layouts import (
    is_bytes,
    is_list,
    is_text,
    make_plain,
    map_as_list,
    plain_type,
    rebuild_list,
    rebuild_map,
)
from v3io_frames_put.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_ZONED: Final = re.compile(r"timestamp\[(s|ms|us|ns), *(?:tz=)?([\w/+:-]+)\]")
_DECIMAL: Final = re.compile(r"decimal(128|256)?\((\d+), *(-?\d+)\)")
_MANTISSA: Final = {16: 11, 32: 24, 64: 53}  # bits of whole numbers that a float of so many holds
_UNITS: Final = ("s", "ms", "us", "ns")

_WHOLE: Final = r"^-?(0|[1-9][0-9]*)$"
# An exponent has a sign or follows a fraction: 12E45 is a code.
_REAL: Final = r"^-?(0|[1-9][0-9]*)(\.[0-9]+([eE][+-]?[0-9]+)?|[eE][+-][0-9]+)?$"
_LONG: Final = r"^-?[0-9]{16,}$"  # a double holds every whole number of 15 digits
_BOOLS: Final = pa.array(["true", "false", "True", "False", "TRUE", "FALSE"])


BLOCK_BYTES: Final = 1 << 20
MAX_LINE_BYTES: Final = 16 << 20  # no record may be so long
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"  # of a file in UTF-8, where it has one


@dataclass(slots=True)
class Piece:
    """Consecutive rows of a file, as its reader found them.

    Attributes
    ----------
    columns : dict of str to Array
        Of one length; one that is missing is null.
    rows : ndarray of int64
        Where each row is in the file, counted from 1; of text, its first line.
    lost : dict of int to (str, str)
        Rows of which no cell could be read: their text, and why.
    invalid : dict of str to (BooleanArray, Array)
        Cells that the reader itself refuses, by column, and what to show of them.
    """

    columns: dict[str, pa.Array]
    rows: NDArray[np.int64]
    lost: dict[int, tuple[str, str]] = field(default_factory=dict)
    invalid: dict[str, tuple[pa.BooleanArray, pa.Array]] = field(default_factory=dict)


def show_bytes(text: bytes) -> str:
    """Return bytes as text; those that are not UTF-8 as they are escaped in Python."""
    return text.decode("utf-8", "backslashreplace")


# -- types ------------------------------------------------------------------------------


def read_types(types: Mapping[str, Any] | None) -> dict[str, pa.DataType]:
    """Turn type names into types; types stay as they are.

    Raises
    ------
    ConfigError
        A name is not a type.
    """
    if types is not None and not isinstance(types, Mapping):
        raise ConfigError(f"types={types!r}: expected a dict of types by column. Correct it.")
    return {str(name): _read_type(str(name), given) for name, given in (types or {}).items()}


def _read_type(column: str, given: Any) -> pa.DataType:
    if isinstance(given, pa.DataType):
        return given
    try:
        if zoned := _ZONED.fullmatch(str(given)):
            return pa.timestamp(zoned[1], zoned[2])
        if exact := _DECIMAL.fullmatch(str(given)):
            make = pa.decimal256 if exact[1] == "256" else pa.decimal128
            return make(int(exact[2]), int(exact[3]))
        return pa.type_for_alias(str(given))
    except ValueError:
        raise ConfigError(
            f"types: {column}={given!r} is not a type; expected for example string, int64, double, "
            f"bool, date32, timestamp[us], timestamp[us, UTC] or decimal128(10, 2)."
        ) from None


def merge_schemas(
    schemas: Sequence[tuple[str, pa.Schema]], types: Mapping[str, pa.DataType]
) -> pa.Schema:
    """Find the columns and types that serve all files without loss.

    Parameters
    ----------
    schemas : sequence of (str, Schema)
        Per file, its name and what it holds.
    types : dict of str to DataType
        What the user wants; anything else is promoted.

    Raises
    ------
    DataError
        Two files disagree beyond what can be promoted: file and column are named.
    """
    merged: dict[str, tuple[str, pa.DataType]] = {}
    for file, schema in schemas:
        check_unique(file, schema)
        for name, dtype in zip(schema.names, map(plain_type, schema.types), strict=True):
            if name.startswith(INTERNAL):
                continue
            first, known = merged.get(name, (file, dtype))
            both = plain_type(types[name]) if name in types else promote(known, dtype)
            if both is None:
                advice = "publish the files apart"
                if can_cast(known, pa.string()) and can_cast(dtype, pa.string()):
                    advice = f"give one by types ({name}=string), or {advice}"
                raise DataError(
                    f"{file}: column {name!r} is {dtype}, and {known} in {first}; no type holds "
                    f"both without loss: {advice}."
                )
            merged[name] = (first, both)
    return pa.schema([(name, dtype) for name, (_, dtype) in merged.items()])


def check_unique(file: str, schema: pa.Schema) -> None:
    """Raise DataError where two columns of a file have one name."""
    names = schema.names
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"{file}: two columns are named {twice[0]!r}. Rename one.")


def can_cast(given: pa.DataType, dtype: pa.DataType) -> bool:
    """Tell whether any value of one type can become another."""
    try:
        cast_cells(pa.nulls(1, plain_type(given)), dtype)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError):
        return False
    return True


def promote(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return a type that holds every value of both; None where there is none."""
    if one.equals(other):
        return one
    if pt.is_null(one) or pt.is_null(other):
        return other if pt.is_null(one) else one
    for rule in (_numbers, _times, _texts, _decimals, _nested):
        both = rule(one, other)
        if both is not None:
            return both
    return None


def _numbers(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    both = (one, other)
    if all(map(pt.is_integer, both)):
        return _integers(one, other)
    if all(map(pt.is_floating, both)):
        return max(both, key=lambda dtype: int(dtype.bit_width))
    if not all(pt.is_integer(t) or pt.is_floating(t) for t in both):
        return None
    whole, real = both if pt.is_integer(one) else (other, one)
    bits = whole.bit_width - pt.is_signed_integer(whole)
    for real_bits in (16, 32, 64):
        if real_bits >= real.bit_width and _MANTISSA[real_bits] >= bits:
            return pa.type_for_alias(f"float{real_bits}")
    return None


def _integers(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    signed = [pt.is_signed_integer(dtype) for dtype in (one, other)]
    if all(signed) or not any(signed):
        return max((one, other), key=lambda dtype: int(dtype.bit_width))
    with_sign, without = (one, other) if signed[0] else (other, one)
    bits = max(with_sign.bit_width, 2 * without.bit_width)
    return pa.type_for_alias(f"int{bits}") if bits <= 64 else None  # noqa: PLR2004 - the widest


def _times(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if pt.is_date(one) and pt.is_date(other):
        return pa.date32()
    is_alike = one.id == other.id or (pt.is_time(one) and pt.is_time(other))
    if not (is_alike and (pt.is_timestamp(one) or pt.is_time(one) or pt.is_duration(one))):
        return None
    unit = _UNITS[max(_UNITS.index(one.unit), _UNITS.index(other.unit))]
    if pt.is_time(one):
        return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
    if pt.is_duration(one):
        return pa.duration(unit)
    # Zones differ in looks, not in instants.
    return pa.timestamp(unit, one.tz) if (one.tz is None) == (other.tz is None) else None


def _texts(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if is_text(one) and is_text(other):
        return pa.large_string()
    is_alike = is_bytes(one) and is_bytes(other)
    return pa.large_binary() if is_alike else None


def _decimals(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if not (pt.is_decimal(one) and pt.is_decimal(other)):
        return None
    scale = max(one.scale, other.scale)
    precision = scale + max(one.precision - one.scale, other.precision - other.scale)
    if precision <= 38:  # noqa: PLR2004 - what 128 bits hold
        return pa.decimal128(precision, scale)
    return pa.decimal256(precision, scale) if precision <= 76 else None  # noqa: PLR2004 - 256 bits


def _nested(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Bring lists, maps and structs together: fields by name, those of either, all nullable."""
    if pt.is_struct(one) and pt.is_struct(other):
        fields = {own.name: own.type for own in one}
        if len(fields) < one.num_fields or len({f.name for f in other}) < other.num_fields:
            return None  # a name twice: the fields cannot be distinguished
        for more in other:
            both = promote(fields.get(more.name, more.type), more.type)
            if both is None:
                return None
            fields[more.name] = both
        return pa.struct(list(fields.items()))
    if pt.is_map(one) and pt.is_map(other):
        key, item = promote(one.key_type, other.key_type), promote(one.item_type, other.item_type)
        return None if key is None or item is None else pa.map_(key, item)
    if is_list(one) and is_list(other):
        value = promote(one.value_type, other.value_type)
        return None if value is None else pa.large_list(value)
    return None


# -- cells ------------------------------------------------------------------------------


def cast_cells(cells: pa.Array, dtype: pa.DataType) -> tuple[pa.Array, pa.BooleanArray | None]:
    """Cast the cells of a typed column.

    Returns
    -------
    Array, BooleanArray or None
        Null where a cell does not fit, and a mask of those cells. None: all fit.
    """
    if cells.type.equals(dtype):
        return cells, None
    cells = make_plain(cells)
    if pt.is_null(dtype):  # of a column that was empty wherever its run had read it
        return pa.nulls(len(cells)), _none_if_false(cells.is_valid())
    if is_text(cells.type) and not pt.is_nested(dtype):
        return cast_text(cells, dtype)
    if pt.is_integer(cells.type) and pt.is_decimal(dtype):
        # Arrow asks for room for any integer of the type; the values may need less.
        cells = cells.cast(pa.decimal256(76, dtype.scale))
    return _fit(cells, partial(_reshape, dtype=dtype))


def cast_text(
    cells: pa.Array, dtype: pa.DataType, *, is_strict: bool = False, point: str = "."
) -> tuple[pa.Array, pa.BooleanArray | None]:
    """Cast cells of text, as ``cast_cells``.

    Parameters
    ----------
    is_strict : bool
        Whether numbers and booleans must be written as such: 007 and 12E45 are codes.
    point : str
        Decimal point of numbers.
    """
    if is_text(dtype):
        return cells.cast(dtype), None
    if pt.is_time(dtype):  # which Arrow casts from times of day with a day alone
        moments = pc.binary_join_element_wise("1970-01-01T", cells, "")
        return _fit(moments, lambda part: part.cast(pa.timestamp(dtype.unit)).cast(dtype))
    cells, fits = _check_text(cells, dtype, is_strict=is_strict, point=point)
    bad = None
    if fits is not None:
        bad = _none_if_false(pc.and_(cells.is_valid(), pc.invert(pc.fill_null(fits, False))))  # noqa: FBT003 - Arrow's signature
        if bad is not None:
            cells = pc.if_else(bad, None, cells)
    cast, misfits = _fit(cells, lambda part: part.cast(dtype))
    return cast, misfits if bad is None else bad if misfits is None else pc.or_(bad, misfits)


def _check_text(
    cells: pa.Array, dtype: pa.DataType, *, is_strict: bool, point: str
) -> tuple[pa.Array, pa.BooleanArray | None]:
    """Return numbers with Arrow's point, and which texts may be cast; None: all."""
    if pt.is_integer(dtype):  # Arrow's own cast also reads 0x1F
        return cells, pc.match_substring_regex(cells, _WHOLE if is_strict else r"^-?[0-9]+$")
    if pt.is_boolean(dtype):
        return cells, pc.is_in(cells, _BOOLS) if is_strict else None
    if not (pt.is_floating(dtype) or pt.is_decimal(dtype)):
        return cells, None
    fits = None
    if point != ".":
        fits = pc.invert(pc.match_substring(cells, "."))
        cells = pc.replace_substring(cells, point, ".")
    if is_strict:
        fits = _and(fits, pc.match_substring_regex(cells, _REAL))
    return cells, _and(fits, _is_exact(cells, dtype)) if pt.is_floating(dtype) else fits


def _is_exact(cells: pa.Array, dtype: pa.DataType) -> pa.BooleanArray | None:
    """Tell which texts are not whole numbers that a float would change; None: all."""
    digits = 16 if dtype.bit_width == 64 else 3  # noqa: PLR2004 - a double's
    rows = pc.indices_nonzero(pc.match_substring_regex(cells, rf"^-?[0-9]{{{digits},}}$"))
    if not len(rows):
        return None
    exact = np.ones(len(cells), bool)
    real: Any = {16: np.float16, 32: np.float32, 64: np.float64}[dtype.bit_width]
    for row in rows.to_pylist():
        text = cells[row].as_py()
        with np.errstate(over="ignore"):
            exact[row] = Decimal(float(real(text))) == Decimal(text)
    return pa.array(exact)


def _and(one: pa.BooleanArray | None, other: pa.BooleanArray | None) -> pa.BooleanArray | None:
    if one is None or other is None:
        return other if one is None else one
    return pc.and_(one, other)


def _none_if_false(mask: pa.BooleanArray) -> pa.BooleanArray | None:
    return mask if mask.true_count else None


def _fit(
    cells: pa.Array, convert: Callable[[pa.Array], pa.Array]
) -> tuple[pa.Array, pa.BooleanArray | None]:
    """Convert cells; halve where one fails, until those that fail are found."""
    try:
        return convert(cells), None
    except pa.ArrowInvalid:
        pass
    places = None
    if is_text(cells.type):  # what does not fit is often written alike
        encoded = cells.dictionary_encode()
        cells, places = encoded.dictionary, encoded.indices
    parts, bad = _halve(cells, convert)
    mask = np.zeros(len(cells), bool)
    mask[bad] = True
    found, invalid = pa.concat_arrays(parts), pa.array(mask)
    if places is not None:
        found, invalid = found.take(places), pc.fill_null(invalid.take(places), False)  # noqa: FBT003 - Arrow's signature
    return found, invalid


def _halve(
    cells: pa.Array, convert: Callable[[pa.Array], pa.Array], first: int = 0
) -> tuple[list[pa.Array], list[int]]:
    try:
        return [convert(cells)], []
    except pa.ArrowInvalid:
        if len(cells) == 1:
            return [convert(pa.nulls(1, cells.type))], [first]
    middle = len(cells) // 2
    left, bad = _halve(cells[:middle], convert, first)
    right, more = _halve(cells[middle:], convert, first + middle)
    return left + right, bad + more


def _reshape(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    """Cast plain cells; structs field by field, by name."""
    if array.type.equals(dtype):
        return array
    if pt.is_struct(array.type) and pt.is_struct(dtype):
        own = dict(zip((child.name for child in array.type), array.flatten(), strict=True))
        children = [
            _reshape(own[child.name], child.type)
            if child.name in own
            else pa.nulls(len(array), child.type)
            for child in dtype
        ]
        return pa.StructArray.from_arrays(children, fields=list(dtype), mask=array.is_null())
    if is_list(array.type) and is_list(dtype):
        return rebuild_list(array, _reshape(array.flatten(), dtype.value_type)).cast(dtype)
    if pt.is_map(array.type) and pt.is_map(dtype):
        pairs = map_as_list(array)
        keys, items = pairs.flatten().flatten()
        cast = (_reshape(keys, dtype.key_type), _reshape(items, dtype.item_type))
        return rebuild_map(pairs, *cast).cast(dtype)
    return array.cast(dtype)

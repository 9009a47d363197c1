"""Exact casts of columns.

One rule for all: a cell that its column's type cannot hold as it is becomes null, and is
marked. No cell is converted to another value; NaN is null where the type is not of floats.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from .layouts import blank, children, is_bytes, is_list, is_text, make_plain, rebuild, to_numpy
from .objects import Unencodable

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_WHOLE: Final = r"^-?(0|[1-9][0-9]*)$"
# An exponent has a sign or follows a fraction: 12E45 is a code.
_REAL: Final = r"^-?(0|[1-9][0-9]*)(\.[0-9]+([eE][+-]?[0-9]+)?|[eE][+-][0-9]+)?$"
_DIGITS: Final = r"^-?[0-9]+$"
_BOOLS: Final = pa.array(["true", "false", "True", "False", "TRUE", "FALSE"])
_CAST_ERRORS: Final = (
    pa.ArrowException, Unencodable, msgspec.DecodeError, TypeError, ValueError, OverflowError,
    RecursionError,
)  # fmt: skip


def cast_cells(
    cells: pa.Array, dtype: pa.DataType, *, is_strict: bool = False
) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Cast the cells of a typed column: null where one does not fit, and a mask of those.

    ``is_strict``: nobody chose the type for these cells. Then only values of its kind and text
    that is written as one fit, and structs must have the same fields. Else one without a field
    has null there, and any value fits whose meaning the type can keep.

    Raises ArrowNotImplementedError where values of one type are never values of the other.
    """
    if cells.type == dtype:
        return cells, np.zeros(len(cells), bool)
    cells = make_plain(cells)
    if is_text(cells.type) and not is_bytes(dtype):
        return cast_text(cells, dtype, is_strict=is_strict)
    return try_cast(cells, lambda part: _cast(part, dtype, is_strict=is_strict))


def cast_text(
    cells: pa.Array, dtype: pa.DataType, *, is_strict: bool = False, point: str = "."
) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Cast cells of text, as ``cast_cells``.

    ``is_strict``: numbers and booleans must be written as such, since 007 and 12E45 are codes.
    ``point`` is the decimal point of numbers.
    """
    if is_text(dtype):
        return cells.cast(dtype), np.zeros(len(cells), bool)
    if pt.is_time(dtype):  # which Arrow casts from times of day with a day alone
        moments = pc.binary_join_element_wise("1970-01-01T", cells, "")
        return try_cast(moments, lambda part: part.cast(pa.timestamp(dtype.unit)).cast(dtype))
    fits = np.ones(len(cells), bool)
    if pt.is_integer(dtype):  # Arrow's own cast also reads 0x1F
        fits = _matches(cells, _WHOLE if is_strict else _DIGITS)
    elif pt.is_boolean(dtype) and is_strict:
        fits = to_numpy(pc.is_in(cells, _BOOLS))
    elif _is_real(dtype):
        if point != ".":
            fits = ~_matches(cells, r"\.")
            cells = pc.replace_substring(cells, point, ".")
        if is_strict:
            fits &= _matches(cells, _REAL)
    bad = ~fits & to_numpy(cells.is_valid())
    if bad.any():
        cells = blank(cells, bad)
    cast, invalid = try_cast(cells, lambda part: part.cast(dtype))
    if _is_real(dtype) and (changed := _find_changed(cells, cast)).any():
        cast, invalid = blank(cast, changed), invalid | changed
    return cast, bad | invalid


def _matches(cells: pa.Array, pattern: str) -> NDArray[np.bool_]:
    return to_numpy(pc.fill_null(pc.match_substring_regex(cells, pattern), False))  # noqa: FBT003 - Arrow's signature


def _find_changed(cells: pa.Array, cast: pa.Array) -> NDArray[np.bool_]:
    """Return which numbers a type does not hold: long ones, and those that became infinite."""
    dtype, changed = cast.type, np.zeros(len(cast), bool)
    if pt.is_decimal(dtype):  # Arrow lets numbers overflow that have too many digits
        whole = max(1, dtype.precision - dtype.scale + 1)
        long = rf"^[-+]?[0-9]{{{whole},}}|[0-9.]{{{dtype.precision + 2},}}|[eE]"
    else:
        changed = np.isinf(to_numpy(cast))
        if changed.any():
            changed &= _matches(cells, "[0-9]")
        # A double holds any 15 digits.
        long = rf"^-?[0-9]{{{16 if dtype.bit_width == 64 else 3},}}$"  # noqa: PLR2004
    rows = np.flatnonzero(_matches(cells, long))
    values = to_numpy(cast.take(pa.array(rows, pa.int64()))).tolist()
    for row, value in zip(rows.tolist(), values, strict=True):
        changed[row] = value is None or Decimal(value) != Decimal(cells[row].as_py())
    return changed


def try_cast(cells: Any, convert: Callable[[Any], pa.Array]) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Convert an array or list; halve where that fails, until the cells that fail are found.

    What fails also without cells is raised.
    """
    try:
        return convert(cells), np.zeros(len(cells), bool)
    except _CAST_ERRORS:
        if len(cells) <= 1:
            return pa.nulls(len(cells), convert(cells[:0]).type), np.ones(len(cells), bool)
    middle = len(cells) // 2
    halves = [try_cast(part, convert) for part in (cells[:middle], cells[middle:])]
    return pa.concat_arrays([cast for cast, _ in halves]), np.append(*(bad for _, bad in halves))


def without_nan(cells: pa.Array) -> pa.Array:
    """Make NaN null."""
    return blank(cells, np.isnan(to_numpy(cells))) if pt.is_floating(cells.type) else cells


def _cast(cells: pa.Array, dtype: pa.DataType, *, is_strict: bool) -> pa.Array:
    """Cast a plain array, structs by the names of their fields; raise where a value would change.

    A field that ``dtype`` lacks, or that is there twice, raises ArrowNotImplementedError.
    """
    if cells.type == dtype:
        return cells
    below = children(cells)
    if pt.is_struct(cells.type) and pt.is_struct(dtype):
        own = dict(zip((field.name for field in cells.type), below, strict=True))
        wanted = {field.name for field in dtype}
        if len(own) < len(below) or own.keys() - wanted or (is_strict and wanted - own.keys()):
            raise pa.ArrowNotImplementedError(f"{cells.type} to {dtype}")
        fields = [
            _cast(own[field.name], field.type, is_strict=is_strict)
            if field.name in own
            else pa.nulls(len(cells), field.type)
            for field in dtype
        ]
        return pa.StructArray.from_arrays(fields, fields=list(dtype), mask=cells.is_null())
    if pt.is_map(cells.type) and pt.is_map(dtype):
        inner = pa.struct([("key", dtype.key_type), ("value", dtype.item_type)])
    elif is_list(cells.type) and is_list(dtype):
        inner = dtype.value_type
    else:
        return _cast_leaf(cells, dtype, is_strict=is_strict)
    return rebuild(cells, [_cast(below[0], inner, is_strict=is_strict)]).cast(dtype)


def _cast_leaf(cells: pa.Array, dtype: pa.DataType, *, is_strict: bool) -> pa.Array:
    own = cells.type
    if pt.is_null(own):
        return pa.nulls(len(cells), dtype)
    if not _may_become(own, dtype, is_strict=is_strict):
        raise pa.ArrowNotImplementedError(f"{own} to {dtype}")
    if not pt.is_floating(dtype):
        cells = without_nan(cells)
    is_other_number = pt.is_decimal(dtype) and (pt.is_integer(own) or pt.is_floating(own))
    if is_other_number or (is_bytes(own) and not is_bytes(dtype)):
        cells = cells.cast(pa.string())  # so that 0.1 is 0.1
    if is_text(cells.type):
        cast, bad = cast_text(cells, dtype, is_strict=is_strict)
        if bad.any():
            raise pa.ArrowInvalid(f"text that is not {dtype}")
        return cast
    is_narrower = pt.is_floating(own) and pt.is_floating(dtype) and own.bit_width > dtype.bit_width
    if (pt.is_decimal(own) and pt.is_floating(dtype)) or (is_narrower and not is_strict):
        cast = cells.cast(pa.string()).cast(dtype)
        back = cast.cast(pa.string()).cast(own)
    else:
        cast = cells.cast(dtype)
        if not (_is_real(dtype) or pt.is_date(dtype)):
            return cast
        back = cast.cast(own)  # Arrow rounds to days and half floats, and lets decimals overflow
    if not without_nan(back).equals(without_nan(cells)):
        raise pa.ArrowInvalid(f"a value that {dtype} cannot hold exactly")
    return cast


def _may_become(own: pa.DataType, dtype: pa.DataType, *, is_strict: bool) -> bool:
    """Return whether a cast can keep what a value says: Arrow would also make 2 true.

    Text is sent as it is, bytes as Base64. Where nobody chose the type, a number is not text,
    since it may have been a code with zeros before it.
    """
    if is_text(own):
        return not is_bytes(dtype)
    own_zone, zone = (getattr(one, "tz", None) is not None for one in (own, dtype))
    if pt.is_temporal(dtype) and own_zone and not zone:
        return False
    if any(is_kind(own) and is_kind(dtype) for is_kind in _KINDS):
        return not is_strict or own_zone == zone
    return not is_strict and (is_bytes(own) or not (pt.is_boolean(dtype) or pt.is_time(dtype)))


def _is_real(dtype: pa.DataType) -> bool:
    return bool(pt.is_floating(dtype) or pt.is_decimal(dtype))


def _is_number(dtype: pa.DataType) -> bool:
    return bool(pt.is_integer(dtype)) or _is_real(dtype)


_KINDS: Final = (_is_number, is_bytes, pt.is_date, pt.is_time, pt.is_timestamp, pt.is_duration)

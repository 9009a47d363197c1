"""Types of columns: read by name, brought together, and cells cast to them.

One rule for all: a cell that its column's type cannot hold as it is becomes null, and is
marked. No cell is converted to another value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from .._encode.columns import INTERNAL
from .._encode.layouts import (
    cast_leaves,
    contains,
    is_bytes,
    is_text,
    make_plain,
    plain_type,
    to_numpy,
)
from ..errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

HOLDS: Final = b"v3io_holds"
"""Metadata that marks columns, also in a file of failed rows: index, json-lines or cells."""

_ZONED: Final = re.compile(r"timestamp\[(s|ms|us|ns), *(?:tz=)?([\w/+:-]+)\]")
_DECIMAL: Final = re.compile(r"decimal(128|256)?\((\d+), *(-?\d+)\)")

_WHOLE: Final = r"^-?(0|[1-9][0-9]*)$"
# An exponent has a sign or follows a fraction: 12E45 is a code.
_REAL: Final = r"^-?(0|[1-9][0-9]*)(\.[0-9]+([eE][+-]?[0-9]+)?|[eE][+-][0-9]+)?$"
_DIGITS: Final = r"^-?[0-9]+$"
_BOOLS: Final = pa.array(["true", "false", "True", "False", "TRUE", "FALSE"])


# -- types ------------------------------------------------------------------------------


def read_types(types: Mapping[str, Any] | None) -> dict[str, pa.DataType]:
    """Turn type names into types; types stay as they are. Raises ConfigError."""
    if types is not None and not isinstance(types, Mapping):
        raise ConfigError(f"types={types!r}: expected a dict of types by column. Correct it.")
    read = {}
    for column, given in (types or {}).items():
        try:
            if isinstance(given, pa.DataType):
                read[str(column)] = given
            elif zoned := _ZONED.fullmatch(str(given)):
                read[str(column)] = pa.timestamp(zoned[1], zoned[2])
            elif exact := _DECIMAL.fullmatch(str(given)):
                make = pa.decimal256 if exact[1] == "256" else pa.decimal128
                read[str(column)] = make(int(exact[2]), int(exact[3]))
            else:
                read[str(column)] = pa.type_for_alias(str(given))
        except ValueError:  # noqa: PERF203 - it ends the loop
            raise ConfigError(
                f"types: {column}={given!r} is not a type; expected for example string, int64, "
                f"double, bool, date32, timestamp[us], timestamp[us, UTC] or decimal128(10, 2)."
            ) from None
    return read


def merge_schemas(
    schemas: Sequence[tuple[str, pa.Schema]], types: Mapping[str, pa.DataType]
) -> pa.Schema:
    """Find the columns and types that serve all files, each given with its name.

    A column of ``types`` has that type, any other one that Arrow promotes all files' to.
    Raises DataError, which names file and column, where there is none.
    """
    merged: dict[str, pa.Field] = {}
    for file, schema in schemas:
        twice = [name for name in schema.names if schema.names.count(name) > 1]
        if twice:
            raise DataError(f"{file}: two columns are named {twice[0]!r}. Rename one.")
        for own in schema:
            if own.name.startswith(INTERNAL):
                continue
            dtype = plain_type(types.get(own.name, own.type))
            known = merged.get(own.name, own.with_type(dtype))
            both = promote(known.type, dtype)
            if both is None:
                raise DataError(
                    f"{file}: column {own.name!r} is {dtype}, and {known.type} in files before it; "
                    f"no type holds both without loss. Give it one by types, or publish the files "
                    f"apart."
                )
            metadata = {**(known.metadata or {}), **(own.metadata or {})}  # names extension types
            if holds(known) != holds(own):  # an index here is a column there
                del metadata[HOLDS]
            merged[own.name] = pa.field(own.name, both, metadata=metadata)
    return pa.schema(list(merged.values()))


def promote(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type that Arrow promotes both to; None where there is none, or it rounds."""
    try:
        schemas = [pa.schema([("", one)]), pa.schema([("", other)])]
        both = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return None
    is_exact = contains(one, pt.is_decimal) or contains(other, pt.is_decimal)
    return None if is_exact and not contains(both, pt.is_decimal) else both


def holds(own: pa.Field) -> bytes | None:
    """Return what a column holds, if it is marked."""
    return (own.metadata or {}).get(HOLDS)


# -- cells ------------------------------------------------------------------------------


def cast_cells(cells: pa.Array, dtype: pa.DataType) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Cast the cells of a typed column: null where one does not fit, and a mask of those."""
    if cells.type.equals(dtype):
        return cells, np.zeros(len(cells), bool)
    cells = make_plain(cells)
    if is_text(cells.type) and not (pt.is_nested(dtype) or is_bytes(dtype)):
        return cast_text(cells, dtype)
    if pt.is_integer(cells.type) and pt.is_decimal(dtype):
        # Arrow asks for room for any integer of the type; the values may need less.
        cells = cells.cast(pa.decimal256(76, dtype.scale))
    return try_cast(cells, lambda part: cast_leaves(part, dtype, _cast_leaf, may_lack=True))


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
    elif pt.is_floating(dtype) or pt.is_decimal(dtype):
        if point != ".":
            fits = ~_matches(cells, r"\.")
            cells = pc.replace_substring(cells, point, ".")
        if is_strict:
            fits &= _matches(cells, _REAL)
    bad = ~fits & to_numpy(cells.is_valid())
    if bad.any():
        cells = pc.if_else(pa.array(bad), None, cells)
    cast, invalid = try_cast(cells, lambda part: part.cast(dtype))
    if pt.is_floating(dtype) and (changed := _find_changed(cells, cast)).any():
        cast, invalid = pc.if_else(pa.array(changed), None, cast), invalid | changed
    return cast, bad | invalid


def _matches(cells: pa.Array, pattern: str) -> NDArray[np.bool_]:
    return to_numpy(pc.fill_null(pc.match_substring_regex(cells, pattern), False))  # noqa: FBT003 - Arrow's signature


def _find_changed(cells: pa.Array, cast: pa.Array) -> NDArray[np.bool_]:
    """Return which numbers floats do not hold: long whole ones, and those that became infinite."""
    changed: NDArray[np.bool_] = np.isinf(to_numpy(cast))
    if changed.any():
        changed &= _matches(cells, "[0-9]")
    digits = 16 if cast.type.bit_width == 64 else 3  # noqa: PLR2004 - a double holds any 15 digits
    for row in np.flatnonzero(_matches(cells, rf"^-?[0-9]{{{digits},}}$")).tolist():
        changed[row] = Decimal(cast[row].as_py()) != Decimal(cells[row].as_py())
    return changed


def try_cast(cells: Any, convert: Callable[[Any], pa.Array]) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Convert an array or list; halve where that fails, until the cells that fail are found."""
    try:
        return convert(cells), np.zeros(len(cells), bool)
    except (pa.ArrowInvalid, OverflowError, msgspec.DecodeError):
        if len(cells) == 1:
            return pa.nulls(1, convert(cells[:0]).type), np.ones(1, bool)
    middle = len(cells) // 2
    halves = [try_cast(part, convert) for part in (cells[:middle], cells[middle:])]
    return pa.concat_arrays([cast for cast, _ in halves]), np.append(*(bad for _, bad in halves))


def _cast_leaf(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    """Cast plain cells without changing a value."""
    if _is_refused(array.type, dtype):
        raise pa.ArrowNotImplementedError(f"{array.type} to {dtype}")
    is_real = _is_real(array.type) and _is_real(dtype)
    if is_real and promote(array.type, dtype) != dtype:
        # As they are written, so that 0.1 is 0.1 in any type; Arrow would round some.
        cast = array.cast(pa.string()).cast(dtype)
        back = cast.cast(pa.string()).cast(array.type)
    elif pt.is_timestamp(array.type) and pt.is_date(dtype):
        cast = array.cast(dtype)
        back = cast.cast(array.type)
    else:
        return array.cast(dtype)
    differs = pc.not_equal(back, array)
    if pt.is_floating(array.type):
        differs = pc.and_not(differs, pc.is_nan(array))
    if pc.any(differs).as_py():
        raise pa.ArrowInvalid(f"{dtype} has other values")
    return cast


def _is_real(dtype: pa.DataType) -> bool:
    return bool(pt.is_floating(dtype) or pt.is_decimal(dtype))


def _is_refused(own: pa.DataType, dtype: pa.DataType) -> bool:
    """Return whether Arrow casts between two types, but to other values."""
    if pt.is_timestamp(own) and pt.is_temporal(dtype):
        loses_zone = own.tz is not None and getattr(dtype, "tz", None) is None
        return loses_zone or bool(pt.is_time(dtype))
    if pt.is_boolean(dtype):
        return bool(pt.is_integer(own)) or _is_real(own)
    return is_text(own) and is_bytes(dtype)  # text is sent as it is, bytes as Base64

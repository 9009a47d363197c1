"""Types by name, and the one type that files with different ones agree on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from v3io_frames_put._encode.layouts import NoPlainLayout, plain_type
from v3io_frames_put.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERNAL: Final = "__v3io_"
"""What columns begin with that are ours and never sent."""

_TOLD_TYPE: Final = b"v3io_read_as"
"""In a column's metadata: the type that its texts are read as."""

_TEXT: Final = pa.string()
_ZONED: Final = re.compile(r"timestamp\[(s|ms|us|ns), *(?:tz=)?([\w/+:-]+)\]")
_DECIMAL: Final = re.compile(r"decimal(128|256)?\((\d+), *(-?\d+)\)")
_MANTISSA: Final = {16: 11, 32: 24, 64: 53}  # bits of whole numbers that a float of so many holds
_UNITS: Final = ("s", "ms", "us", "ns")


def read_types(types: Mapping[str, Any] | None) -> dict[str, pa.DataType]:
    """Turn type names into types; types stay as they are.

    Raises
    ------
    ConfigError
        A name means no type.
    """
    if types is not None and not isinstance(types, Mapping):
        raise ConfigError(f"types={types!r}: expected a dict of types by column. Correct it.")
    return {str(name): _read_type(str(name), told) for name, told in (types or {}).items()}


def _read_type(column: str, told: Any) -> pa.DataType:
    if isinstance(told, pa.DataType):
        return told
    try:
        if zoned := _ZONED.fullmatch(str(told)):
            return pa.timestamp(zoned[1], zoned[2])
        if exact := _DECIMAL.fullmatch(str(told)):
            make = pa.decimal256 if exact[1] == "256" else pa.decimal128
            return make(int(exact[2]), int(exact[3]))
        return pa.type_for_alias(str(told))
    except ValueError:
        raise ConfigError(
            f"types: {column}={told!r} is no type; expected for example string, int64, double, "
            f"bool, date32, timestamp[us], timestamp[us, UTC] or decimal128(10, 2)."
        ) from None


def is_kept_as_text(dtype: pa.DataType) -> bool:
    """Whether a column of text can tell that it is of the type, and be read as it."""
    return (
        bool(pa.types.is_string(dtype)) or told_type(tell_type(pa.field("", _TEXT), dtype)) == dtype
    )


def tell_type(field: pa.Field, dtype: pa.DataType) -> pa.Field:
    """Return a column of text that tells what it is read as."""
    return field.with_metadata({_TOLD_TYPE: str(dtype)})


def told_type(field: pa.Field) -> pa.DataType:
    """Return the type that a column is read as: its own, unless it tells of another."""
    told = (field.metadata or {}).get(_TOLD_TYPE)
    if told is None or not pa.types.is_string(field.type):
        return field.type
    try:
        dtype = _read_type(field.name, told.decode())
        pa.array([], _TEXT).cast(dtype)
    except (ConfigError, UnicodeDecodeError, pa.ArrowNotImplementedError):
        return field.type
    is_bytes = pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype)
    return field.type if is_bytes else dtype  # not all bytes are text


def read_as(dtype: pa.DataType) -> pa.DataType:
    """Return the type that a column of a file is read as: few kernels take other layouts."""
    try:
        return plain_type(dtype)
    except NoPlainLayout:  # refused, with its name, if it is sent
        return dtype


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
    ConfigError
        ``types`` names a column that no file has.
    """
    merged: dict[str, tuple[str, pa.DataType]] = {}
    for file, schema in schemas:
        check_unique(file, schema)
        for name, dtype in zip(schema.names, map(read_as, schema.types), strict=True):
            if name.startswith(INTERNAL):
                continue
            first, known = merged.get(name, (file, dtype))
            agreed = read_as(types[name]) if name in types else promote(known, dtype)
            if agreed is None:
                raise DataError(
                    f"{file}: column {name!r} is {dtype}, and {known} in {first}; one type cannot "
                    f"hold both without loss. Say which by types ({name}=string), or publish the "
                    f"files apart."
                )
            merged[name] = (first, agreed)
    unknown = sorted(set(types) - set(merged))
    if unknown:
        raise ConfigError(f"types: no file has a column {unknown[0]!r}. Correct the name.")
    return pa.schema([(name, dtype) for name, (_, dtype) in merged.items()])


def check_unique(file: str, schema: pa.Schema) -> None:
    """Raise DataError where two columns of a file have one name."""
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise DataError(f"{file}: two columns are named {twice[0]!r}. Rename one.")


def promote(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return a type that holds every value of both; None where there is none."""
    if one.equals(other):
        return one
    if pa.types.is_null(one) or pa.types.is_null(other):
        return other if pa.types.is_null(one) else one
    for rule in (_promote_numbers, _promote_times, _promote_texts, _promote_decimals):
        agreed = rule(one, other)
        if agreed is not None:
            return agreed
    return None


def _promote_numbers(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    both = (one, other)
    if all(map(pa.types.is_integer, both)):
        return _promote_integers(one, other)
    if all(map(pa.types.is_floating, both)):
        return max(both, key=lambda dtype: int(dtype.bit_width))
    if not all(pa.types.is_integer(t) or pa.types.is_floating(t) for t in both):
        return None
    whole, real = both if pa.types.is_integer(one) else (other, one)
    bits = whole.bit_width - pa.types.is_signed_integer(whole)
    for real_bits in (16, 32, 64):
        if real_bits >= real.bit_width and _MANTISSA[real_bits] >= bits:
            return pa.type_for_alias(f"float{real_bits}")
    return None


def _promote_integers(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    signed = [pa.types.is_signed_integer(dtype) for dtype in (one, other)]
    if all(signed) or not any(signed):
        return max((one, other), key=lambda dtype: int(dtype.bit_width))
    with_sign, without = (one, other) if signed[0] else (other, one)
    bits = max(with_sign.bit_width, 2 * without.bit_width)
    return pa.type_for_alias(f"int{bits}") if bits <= 64 else None  # noqa: PLR2004 - the widest


def _promote_times(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if pa.types.is_date(one) and pa.types.is_date(other):
        return pa.date32()
    if pa.types.is_timestamp(one) and pa.types.is_timestamp(other):
        is_alike = (one.tz is None) == (other.tz is None)  # zones differ in looks, not in instants
        return pa.timestamp(_finest(one, other), one.tz) if is_alike else None
    if pa.types.is_time(one) and pa.types.is_time(other):
        unit = _finest(one, other)
        return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
    if pa.types.is_duration(one) and pa.types.is_duration(other):
        return pa.duration(_finest(one, other))
    return None


def _finest(one: pa.DataType, other: pa.DataType) -> str:
    return _UNITS[max(_UNITS.index(one.unit), _UNITS.index(other.unit))]


def _promote_texts(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    for is_kind, widest in (
        (
            (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
            pa.large_string(),
        ),
        (
            (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view),
            pa.large_binary(),
        ),
    ):
        if all(any(test(dtype) for test in is_kind) for dtype in (one, other)):
            return widest
    return None


def _promote_decimals(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if not (pa.types.is_decimal(one) and pa.types.is_decimal(other)):
        return None
    scale = max(one.scale, other.scale)
    precision = scale + max(one.precision - one.scale, other.precision - other.scale)
    if precision <= 38:  # noqa: PLR2004 - what 128 bits hold
        return pa.decimal128(precision, scale)
    return pa.decimal256(precision, scale) if precision <= 76 else None  # noqa: PLR2004 - 256 bits

"""Comparisons as pyarrow expressions that no value of their columns can break.

Arrow brings both sides to one type first, and fails at the first value that this type
cannot hold: in the middle of a run. Here both sides have room.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._encode.layouts import is_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Literal: TypeAlias = int | Decimal | str | bool

COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "=": lambda left, right: left == right,
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<>": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}
_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_EXACTLY: Final = Context(prec=1_000)  # Arrow's numbers have 76 digits at most, literals any
_UNEQUAL: Final = ("!=", "<>")
_NANOSECONDS: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_DAY: Final = 86_400 * 10**9
_ANY_INT64: Final = pa.decimal128(20, 0)  # of either sign; of uint64, too


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a plain type."""

    name: str
    dtype: pa.DataType

    @property
    def field(self) -> Any:
        """Its values, as an expression."""
        return pc.field(self.name)


def compare(left: Column | Literal, sign: str, right: Column | Literal) -> Any:
    """Compare a column with a literal, or with another.

    Raises
    ------
    ArrowInvalid, ArrowNotImplementedError, TypeError, ArithmeticError
        The literal is nothing that the column could be compared with.
    """
    if isinstance(left, Column) and isinstance(right, Column):
        return COMPARE[sign](*_with_room(left, right))
    if isinstance(right, Column):
        return compare(right, _MIRRORED.get(sign, sign), left)
    assert isinstance(left, Column)  # noqa: S101  # two literals are refused by the parser
    if _is_exact(left.dtype) and _is_number(right):
        return _compare_exact(left, sign, right)
    return COMPARE[sign](left.field, _fit(right, left.dtype))


def is_in(column: Column, literals: Sequence[Literal]) -> Any:
    """Ask whether a column's value is one of a list. Raises what ``compare`` does."""
    dtype = column.dtype
    if _is_exact(dtype):
        numbers = [one if _is_number(one) else _fit(one, dtype).as_py() for one in literals]
        values = [_scalar(one, dtype) for one in map(Decimal, numbers) if _holds(dtype, one)]
    else:
        values = [_fit(one, dtype) for one in literals]
        if pt.is_floating(dtype) and any(one.as_py() == 0 for one in values):
            values += [pa.scalar(zero, dtype) for zero in (0.0, -0.0)]  # equal, unlike their bits
    return column.field.isin(pa.array(values, dtype))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def _is_exact(dtype: pa.DataType) -> bool:
    return bool(pt.is_integer(dtype) or pt.is_decimal(dtype))


def _range(dtype: pa.DataType) -> tuple[Decimal, Decimal]:
    """Return the least and the greatest value of a type of exact numbers."""
    if pt.is_decimal(dtype):
        greatest = _EXACTLY.scaleb(Decimal(10**dtype.precision - 1), -dtype.scale)
        return -greatest, greatest
    if pt.is_unsigned_integer(dtype):
        return Decimal(0), Decimal(2**dtype.bit_width - 1)
    return Decimal(-(2 ** (dtype.bit_width - 1))), Decimal(2 ** (dtype.bit_width - 1) - 1)


def _floor(number: Decimal, dtype: pa.DataType) -> Decimal:
    """Return the greatest value of a type that is not above a number within its range."""
    step = _EXACTLY.scaleb(Decimal(1), -dtype.scale if pt.is_decimal(dtype) else 0)
    return number.quantize(step, ROUND_FLOOR, _EXACTLY)


def _holds(dtype: pa.DataType, number: Decimal) -> bool:
    least, greatest = _range(dtype)
    return least <= number <= greatest and number == _floor(number, dtype)


def _scalar(number: Decimal, dtype: pa.DataType) -> pa.Scalar:
    return pa.scalar(number if pt.is_decimal(dtype) else int(number), dtype)


def _compare_exact(column: Column, sign: str, literal: Any) -> Any:
    """Compare exact numbers with any number, of any size."""
    number, dtype = Decimal(literal), column.dtype
    least, greatest = _range(dtype)
    if _holds(dtype, number):
        return COMPARE[sign](column.field, _scalar(number, dtype))
    if sign not in _MIRRORED:  # nothing is equal to it
        return _say(column, always=sign in _UNEQUAL)
    is_less = sign in ("<", "<=")
    if least < number < greatest:
        below = _scalar(_floor(number, dtype), dtype)
        return COMPARE["<=" if is_less else ">"](column.field, below)
    return _say(column, always=is_less == (number > greatest))


def _say(column: Column, *, always: bool) -> Any:
    """Give every value the same answer; null none."""
    return pc.if_else(column.field.is_valid(), pa.scalar(always), pa.scalar(None, pa.bool_()))


def _with_room(left: Column, right: Column) -> tuple[Any, Any]:
    """Bring two columns to a type that holds every value of both, where Arrow's own does not."""
    types = left.dtype, right.dtype
    if all(map(pt.is_integer, types)) and len({pt.is_signed_integer(one) for one in types}) > 1:
        return left.field.cast(_ANY_INT64), right.field.cast(_ANY_INT64)
    if any(map(pt.is_floating, types)) and any(map(pt.is_integer, types)):
        as_double: Any = pa.float64()  # rounded, as elsewhere where doubles are compared
        return left.field.cast(as_double, safe=False), right.field.cast(as_double, safe=False)
    zones = {one.tz is not None for one in types if pt.is_timestamp(one)}
    if types[0] != types[1] and len(zones) == 1 and all(map(_is_moment, types)):
        return _nanoseconds(left), _nanoseconds(right)
    if types[0] != types[1] and all(map(pt.is_duration, types)):
        return _nanoseconds(left), _nanoseconds(right)
    return left.field, right.field


def _is_moment(dtype: pa.DataType) -> bool:
    return bool(pt.is_timestamp(dtype) or pt.is_date(dtype))


def _nanoseconds(column: Column) -> Any:
    """Count the nanoseconds since 1970, of any year, or of a duration of any length."""
    dtype = column.dtype
    if pt.is_date32(dtype):
        count, unit = column.field.cast(pa.int32()), _DAY
    else:
        unit = _NANOSECONDS["ms" if pt.is_date64(dtype) else dtype.unit]
        count = column.field.cast(pa.int64())
    return pc.multiply(count.cast(pa.decimal128(19, 0)), pa.scalar(Decimal(unit)))


def _fit(value: Literal, dtype: pa.DataType) -> pa.Scalar:
    """Give a literal the type of the column beside it."""
    if isinstance(value, str) and not is_text(dtype):
        return _read_text(value, dtype)
    if _is_number(value) and pt.is_floating(dtype):
        return pa.scalar(float(value), dtype)
    return pa.scalar(value, dtype)


def _read_text(text: str, dtype: pa.DataType) -> pa.Scalar:
    """Read text as a value of a type; a time without zone beside zoned ones is UTC."""
    if pt.is_timestamp(dtype):
        try:
            return pa.scalar(text).cast(dtype)
        except pa.ArrowInvalid:
            plain = pa.timestamp(dtype.unit)
            return pa.scalar(text).cast(plain).cast(pa.int64()).cast(dtype)
    return pa.scalar(text).cast(dtype)

"""Python objects -> JSON text, each cell by its own value."""

from __future__ import annotations

import datetime as dt
import math
from base64 import b64encode
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np
import orjson
import pandas as pd

from v3io_frames_put._encode.json_types import PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from v3io_frames_put.config import Encoding

_SMALLEST: Final = -(2**63)
_LARGEST: Final = 2**64 - 1


class Unencodable(Exception):
    """A value that JSON cannot hold; the text says what and what to do."""


def is_missing(cell: Any) -> bool:
    """Tell whether a cell holds nothing: None, NaN of any type, NaT, NA."""
    if isinstance(cell, Decimal):  # pandas compares, which a signaling NaN refuses
        return cell.is_nan()
    return cell is None or (pd.api.types.is_scalar(cell) and bool(pd.isna(cell)))


def encode_cell(value: object, encoding: Encoding) -> bytes:
    """Return a value's JSON text; raise Unencodable for one that has none."""
    try:
        return orjson.dumps(_plain(value, encoding))
    except RecursionError:
        raise Unencodable("a value nested too deeply; flatten it") from None
    except orjson.JSONEncodeError as error:
        # What orjson still refuses after _plain: lone surrogates, and its depth limit.
        raise Unencodable(f"a value that is no JSON ({error}); correct it") from None


def _plain(value: Any, encoding: Encoding) -> Any:
    """Turn a value into what orjson writes as promised."""
    spell = _FORMATTERS.get(type(value))
    if spell is None:
        spell = next((found for kind, found in _FAMILIES if isinstance(value, kind)), _refuse)
    return spell(value, encoding)


def _refuse(value: Any, _: Encoding) -> Any:
    raise Unencodable(f"a {type(value).__module__}.{type(value).__qualname__}; convert it")


def _null(_value: Any, _: Encoding) -> None:
    return None


def _same(value: Any, _: Encoding) -> Any:
    return value


def _integer(value: Any, _: Encoding) -> int:
    number = int(value)
    if not _SMALLEST <= number <= _LARGEST:
        raise Unencodable("an integer beyond 64 bits; send it as text")
    return number


def _float(value: Any, encoding: Encoding) -> float | str | None:
    if math.isinf(value):
        return _infinity(value > 0, encoding)
    # Through text, a narrow float keeps the shortest digits of its own type.
    return float(value if isinstance(value, float) else str(value))


def _infinity(is_positive: bool, encoding: Encoding) -> str | None:  # noqa: FBT001 - a sign
    if encoding.infinity == "refuse":
        raise Unencodable("an infinity; clean it, or choose Encoding(infinity='null' or 'string')")
    if encoding.infinity == "null":
        return None
    return "Infinity" if is_positive else "-Infinity"


def _decimal(value: Decimal, encoding: Encoding) -> str | None:
    if value.is_nan():
        return None
    return _infinity(value > 0, encoding) if value.is_infinite() else str(value)


def _bytes(value: Any, _: Encoding) -> str:
    return b64encode(bytes(value)).decode()  # a view may be of every second byte


def _text(value: Any, _: Encoding) -> str:
    return str.__str__(value)


def _datetime(value: dt.datetime, _: Encoding) -> str:
    try:
        moment = value.astimezone(dt.timezone.utc) if value.tzinfo else value
    except OverflowError:
        raise Unencodable("a year outside 1 - 9999; correct it") from None
    text = moment.replace(microsecond=0, tzinfo=None).isoformat()
    zone = "Z" if value.tzinfo else ""
    return f"{text}{_fraction(moment.microsecond * 1_000)}{zone}"


def _timestamp(value: pd.Timestamp, _: Encoding) -> str:
    """Spell a pandas timestamp, whose years and nanoseconds Python's type cannot hold."""
    ticks = value.as_unit(value.unit).asm8.astype(np.int64)
    seconds, rest = divmod(int(ticks), PER_SECOND[value.unit])
    nanoseconds = rest * (PER_SECOND["ns"] // PER_SECOND[value.unit])
    try:
        moment = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)  # noqa: DTZ001 - UTC by arithmetic
    except OverflowError:
        raise Unencodable("a year outside 1 - 9999; correct it") from None
    return f"{moment.isoformat()}{_fraction(nanoseconds)}{'Z' if value.tzinfo else ''}"


def _datetime64(value: np.datetime64, encoding: Encoding) -> str | None:
    if np.isnat(value):
        return None
    try:
        return _timestamp(pd.Timestamp(value), encoding)
    except (pd.errors.OutOfBoundsDatetime, OverflowError):
        raise Unencodable("a year outside 1 - 9999; correct it") from None


def _time(value: dt.time, encoding: Encoding) -> str:
    if value.tzinfo is not None:
        return str(_refuse(value, encoding))
    return f"{value.replace(microsecond=0).isoformat()}{_fraction(value.microsecond * 1_000)}"


def _fraction(nanoseconds: int) -> str:
    """Spell a fraction of a second in 0, 3, 6 or 9 digits, the fewest that hold it."""
    if not nanoseconds:
        return ""
    digits = f"{nanoseconds:09d}"
    return "." + digits.removesuffix("000").removesuffix("000")


def _timedelta(value: dt.timedelta, _: Encoding) -> str:
    microseconds = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    return _duration(microseconds * 1_000)


def _pandas_timedelta(value: pd.Timedelta, _: Encoding) -> str:
    ticks = int(value.asm8.astype(np.int64))
    return _duration(ticks * (PER_SECOND["ns"] // PER_SECOND[value.unit]))


def _timedelta64(value: np.timedelta64, encoding: Encoding) -> str | None:
    if np.isnat(value):
        return None
    try:
        return _pandas_timedelta(pd.Timedelta(value), encoding)
    except (pd.errors.OutOfBoundsTimedelta, ValueError, OverflowError):
        raise Unencodable("a duration beyond 64 bits, or of months; convert it") from None


def _duration(nanoseconds: int) -> str:
    seconds, rest = divmod(abs(nanoseconds), PER_SECOND["ns"])
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{'-' if nanoseconds < 0 else ''}PT{seconds}{fraction}S"


def _list(value: Any, encoding: Encoding) -> list[Any]:
    return [_plain(item, encoding) for item in value]


def _array(value: np.ndarray, encoding: Encoding) -> Any:
    if value.ndim == 0:
        return _plain(value[()], encoding)
    return [_plain(item, encoding) for item in value]


def _dict(value: dict[Any, Any], encoding: Encoding) -> dict[str, Any]:
    plain = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise Unencodable(f"a dict with a key of type {type(key).__name__}; make it text")
        plain[str.__str__(key)] = _plain(item, encoding)
    return plain


_FORMATTERS: Final[dict[type, Callable[[Any, Encoding], Any]]] = {
    type(None): _null,
    type(pd.NaT): _null,
    type(pd.NA): _null,
    str: _same,
    bool: _same,
    int: _integer,
    float: _float,
    pd.Timestamp: _timestamp,
    pd.Timedelta: _pandas_timedelta,
    np.bool_: lambda value, _: bool(value),
}
# Subclasses, and what is rarer. First match wins: a datetime is also a date.
_FAMILIES: Final[tuple[tuple[type | tuple[type, ...], Callable[[Any, Encoding], Any]], ...]] = (
    (str, _text),
    (np.timedelta64, _timedelta64),  # NumPy counts it among the integers
    ((int, np.integer), _integer),
    ((float, np.float32, np.float16), _float),
    ((list, tuple), _list),
    (dict, _dict),
    (np.ndarray, _array),
    ((bytes, bytearray, memoryview), _bytes),
    (Decimal, _decimal),
    (pd.Timestamp, _timestamp),
    (pd.Timedelta, _pandas_timedelta),
    (dt.datetime, _datetime),
    (dt.date, lambda value, _: dt.date.isoformat(value)),
    (dt.time, _time),
    (dt.timedelta, _timedelta),
    (np.datetime64, _datetime64),
    (UUID, lambda value, _: str(value)),
)

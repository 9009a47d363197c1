"""Python objects: the JSON text of a cell, and the one Arrow type of a column of them.

A cell's text depends on its value alone. For Arrow, ``CellType`` sees every cell of the
column before the first request, and ``build_array`` makes the values from the cells
themselves: Arrow's own inference cuts nanoseconds, drops zones and overflows.
"""

from __future__ import annotations

import datetime as dt
import math
from base64 import b64encode
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.types as pt

from v3io_frames_put._encode.json_types import PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from v3io_frames_put.config import Encoding

_INT64: Final = (-(2**63), 2**63 - 1)
_UINT64_END: Final = 2**64
_NANO: Final = PER_SECOND["ns"]
_EPOCH_DAY: Final = dt.date(1970, 1, 1).toordinal()
_DAY_SECONDS: Final = 86_400


class Unencodable(Exception):
    """A value that cannot be encoded; the text says what it is and what to do."""


def is_missing(cell: Any) -> bool:
    """Return whether a cell has no value: None, NaN of any type, NaT, NA."""
    if isinstance(cell, Decimal):  # pandas compares, which a signaling NaN refuses
        return cell.is_nan()
    return cell is None or (pd.api.types.is_scalar(cell) and bool(pd.isna(cell)))


# -- JSON -----------------------------------------------------------------------------


def encode_cell(value: object, encoding: Encoding) -> bytes:
    """Return a value's JSON text; raise Unencodable for one that has none.

    msgspec gets checked values only: it writes infinities as null, and sets and keys
    that are not text as something else.
    """
    try:
        return msgspec.json.encode(_plain(value, encoding))
    except RecursionError:
        raise Unencodable("a value nested too deeply; flatten it") from None
    except UnicodeEncodeError:
        raise Unencodable("text with a lone surrogate, which UTF-8 lacks; correct it") from None


def _plain(value: Any, encoding: Encoding) -> Any:
    """Turn a value into None, bool, int, float, str, list or dict."""
    convert = _CONVERSIONS.get(type(value))
    if convert is None:
        convert = next((make for kind, make in _FAMILIES if isinstance(value, kind)), _refuse)
    return convert(value, encoding)


def _refuse(value: Any, _: Encoding) -> Any:
    raise Unencodable(f"a {type(value).__module__}.{type(value).__qualname__}; convert it")


def _null(_value: Any, _: Encoding) -> None:
    return None


def _same(value: Any, _: Encoding) -> Any:
    return value


def _integer(value: Any, _: Encoding) -> int:
    number = int(value)
    if not _INT64[0] <= number < _UINT64_END:
        raise Unencodable("an integer beyond 64 bits; send it as text")
    return number


def _float(value: Any, encoding: Encoding) -> float | str | None:
    if math.isnan(value):
        return None
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


def _time(value: dt.time, encoding: Encoding) -> str:
    if value.tzinfo is not None:
        return str(_refuse(value, encoding))
    return value.replace(microsecond=0).isoformat() + _fraction(value.microsecond * 1_000)


def _timestamp(value: Any, _: Encoding) -> str | None:
    if isinstance(value, np.datetime64) and np.isnat(value):
        return None
    seconds, nanoseconds = divmod(_since_epoch(value), _NANO)
    try:
        moment = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)  # noqa: DTZ001 - UTC by arithmetic
    except OverflowError:
        raise Unencodable("a year outside 1 - 9999; correct it") from None
    zone = "Z" if getattr(value, "tzinfo", None) else ""
    return f"{moment.isoformat()}{_fraction(nanoseconds)}{zone}"


def _fraction(nanoseconds: int) -> str:
    """Format a fraction of a second in 0, 3, 6 or 9 digits, the fewest that hold it."""
    if not nanoseconds:
        return ""
    return "." + f"{nanoseconds:09d}".removesuffix("000").removesuffix("000")


def _duration(value: Any, _: Encoding) -> str | None:
    if isinstance(value, np.timedelta64) and np.isnat(value):
        return None
    nanoseconds = _nanoseconds(value)
    seconds, rest = divmod(abs(nanoseconds), _NANO)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{'-' if nanoseconds < 0 else ''}PT{seconds}{fraction}S"


def _array(value: np.ndarray, encoding: Encoding) -> Any:
    if value.ndim == 0:
        return _plain(value[()], encoding)
    return [_plain(item, encoding) for item in value]


def _dict(value: dict[Any, Any], encoding: Encoding) -> dict[str, Any]:
    return {_key(key): _plain(item, encoding) for key, item in value.items()}


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise Unencodable(f"a dict with a key of type {type(key).__name__}; make it text")
    return str.__str__(key)


# -- Time in nanoseconds since 1970: exact in any year and unit --------------------------


def _since_epoch(value: Any) -> int:
    """Return a timestamp of Python, pandas or NumPy in nanoseconds, zoned ones in UTC."""
    if isinstance(value, np.datetime64):
        return _scale(value, _as_seconds(value, "datetime64"))
    if isinstance(value, pd.Timestamp):
        return int(value.asm8.astype(np.int64)) * (_NANO // PER_SECOND[value.unit])
    days, seconds = value.toordinal() - _EPOCH_DAY, value.hour * 3_600 + value.minute * 60
    whole = days * _DAY_SECONDS + seconds + value.second
    # Subtracted as a number: what astimezone returns has to lie in the years 1 - 9999.
    offset = _nanoseconds(value.utcoffset()) if value.tzinfo else 0
    return int(whole * _NANO + value.microsecond * 1_000 - offset)


def _nanoseconds(value: Any) -> int:
    """Return a duration of Python, pandas or NumPy in nanoseconds."""
    if isinstance(value, np.timedelta64):
        return _scale(value, _as_seconds(value, "timedelta64"))
    if isinstance(value, pd.Timedelta):
        return int(value.asm8.astype(np.int64)) * (_NANO // PER_SECOND[value.unit])
    seconds = value.days * _DAY_SECONDS + value.seconds
    return int(seconds * _NANO + value.microseconds * 1_000)


_UNITS: Final = {"W": 604_800, "D": _DAY_SECONDS, "h": 3_600, "m": 60, "s": 1}
_FRACTIONS: Final = {
    "ms": 10**3,
    "us": 10**6,
    "ns": 10**9,
    "ps": 10**12,
    "fs": 10**15,
    "as": 10**18,
}

_MOST_MONTHS: Final = 10**9


def _as_seconds(value: Any, kind: str) -> tuple[int, int]:
    """Return the unit of a NumPy time as a fraction of seconds: numerator, denominator."""
    unit, count = np.datetime_data(value.dtype)
    if unit in _UNITS:
        return _UNITS[unit] * count, 1
    if unit in _FRACTIONS:
        return count, _FRACTIONS[unit]
    if kind == "datetime64" and unit in ("Y", "M"):
        return 0, 1  # not of one length: counted in days instead
    raise Unencodable("a duration of months, or without a unit; convert it")


def _scale(value: Any, unit: tuple[int, int]) -> int:
    """Return a NumPy time in nanoseconds."""
    numerator, denominator = unit
    if numerator == 0:
        if abs(int(value.astype(np.int64))) > _MOST_MONTHS:  # NumPy would overflow in silence
            raise Unencodable("a year outside 1 - 9999; correct it")
        value, numerator = value.astype("M8[D]"), _DAY_SECONDS
    nanoseconds, rest = divmod(int(value.astype(np.int64)) * numerator * _NANO, denominator)
    if rest:
        raise Unencodable("a time finer than a nanosecond; round it")
    return nanoseconds


_CONVERSIONS: Final[dict[type, Callable[[Any, Encoding], Any]]] = {
    type(None): _null,
    type(pd.NaT): _null,
    type(pd.NA): _null,
    str: _same,
    bool: _same,
    int: _integer,
    float: _float,
    dict: _dict,
    list: lambda value, encoding: [_plain(item, encoding) for item in value],
    Decimal: _decimal,
}
# Subclasses, and what is rarer. First match wins: a datetime is also a date.
_FAMILIES: Final[tuple[tuple[type | tuple[type, ...], Callable[[Any, Encoding], Any]], ...]] = (
    (str, lambda value, _: str.__str__(value)),
    ((bool, np.bool_), lambda value, _: bool(value)),
    ((dt.timedelta, np.timedelta64), _duration),  # NumPy counts its own among the integers
    ((int, np.integer), _integer),
    ((float, np.float32, np.float16), _float),
    ((list, tuple), _CONVERSIONS[list]),
    (dict, _dict),
    (np.ndarray, _array),
    # bytes() joins what a memory view of every second byte shows.
    ((bytes, bytearray, memoryview), lambda value, _: b64encode(bytes(value)).decode()),
    (Decimal, _decimal),
    ((dt.datetime, np.datetime64), _timestamp),
    (dt.date, lambda value, _: dt.date.isoformat(value)),
    (dt.time, _time),
    (UUID, lambda value, _: str(value)),
)


# -- Arrow ----------------------------------------------------------------------------

_KINDS: Final[tuple[tuple[str, tuple[type, ...]], ...]] = (
    ("text", (str,)),
    ("booleans", (bool, np.bool_)),
    ("floats", (float, np.float32, np.float16)),
    ("durations", (dt.timedelta, np.timedelta64)),
    ("integers", (int, np.integer)),
    ("lists", (list, tuple, np.ndarray)),
    ("dicts", (dict,)),
    ("bytes", (bytes, bytearray, memoryview)),
    ("decimals", (Decimal,)),
    ("timestamps", (dt.datetime, np.datetime64)),
    ("dates", (dt.date,)),
    ("times", (dt.time,)),
    *([("UUIDs", (UUID,))] if hasattr(pa, "uuid") else []),  # from pyarrow 18 on
)
_FIXED_TYPES: Final = {
    "": pa.null(),
    "text": pa.string(),
    "booleans": pa.bool_(),
    "floats": pa.float64(),
    "bytes": pa.binary(),
    "dates": pa.date32(),
    "times": pa.time64("us"),
}
_DECIMAL_DIGITS: Final = (38, 76)  # of decimal128 and decimal256


class CellType:
    """The Arrow type that holds every cell it has seen, unchanged.

    For example: after 1 it is int64, after 2**63 uint64; -1 fits no type beside that,
    and ``add`` raises. A list or dict has a type for its items or fields:
    ``{"k": [1]}`` then ``{"k": [None]}`` is struct<k: list<int64>>.
    """

    def __init__(self) -> None:
        self.kind = ""
        self.least = self.most = 0  # integers, or nanoseconds
        self.digits = [0, 0]  # before and after a decimal's point
        self.is_nano = False
        self.zones: set[str] = set()
        self.items: Any = None  # a CellType
        self.fields: Any = None  # a dict of them by key

    def add(self, cell: Any) -> None:
        """Take a cell into account; raise Unencodable where no type holds it and those before."""
        cell = _unwrap(cell)
        if cell is None:
            return
        kind = next((kind for kind, types in _KINDS if isinstance(cell, types)), "")
        kind = f"zoned {kind}" if kind and getattr(cell, "tzinfo", None) is not None else kind
        kind = kind or f"{type(cell).__name__} objects"
        if self.kind not in ("", kind):
            raise Unencodable(f"holds {kind} where rows before hold {self.kind}")
        self.kind = kind
        note = _NOTES.get(kind)
        if note is not None:
            note(self, cell)
        elif kind not in _FIXED_TYPES and kind != "UUIDs":
            raise Unencodable(f"holds {kind}, which have no Arrow type")

    def to_type(self) -> pa.DataType:
        """Return the type."""
        make = _TYPES.get(self.kind)
        if make is not None:
            return make(self)
        return pa.uuid() if self.kind == "UUIDs" else _FIXED_TYPES[self.kind]

    @property
    def unit(self) -> str:
        """The coarsest unit, of those that Python's own times fit, that loses nothing."""
        return "ns" if self.is_nano else "us"

    @property
    def zone(self) -> str:
        """The zone of all timestamps; UTC where they have several."""
        return next(iter(self.zones)) if len(self.zones) == 1 else "UTC"

    def note_number(self, number: int) -> None:
        """Keep the smallest and the largest number."""
        self.least, self.most = min(self.least, number), max(self.most, number)

    def note_integer(self, cell: Any) -> None:
        """Take a whole number; 64 bits, with or without a sign, have to hold all of them."""
        self.note_number(int(cell))
        end = _INT64[1] + 1 if self.least < 0 else _UINT64_END
        if self.least < _INT64[0] or self.most >= end:
            raise Unencodable(
                "holds an integer that, beside those of other rows, is beyond 64 bits"
            )

    def note_time(self, nanoseconds: int) -> None:
        """Take nanoseconds; 64 bits have to hold them in the unit that all need."""
        self.note_number(nanoseconds)
        self.is_nano = self.is_nano or nanoseconds % 1_000 != 0
        scale = 1 if self.is_nano else 1_000
        if self.least < _INT64[0] * scale or self.most > _INT64[1] * scale:
            raise Unencodable("holds a time that, in the unit the column needs, is beyond 64 bits")

    def note_zoned(self, cell: Any) -> None:
        """Take a timestamp with a zone."""
        try:
            self.zones.add(pa.lib.tzinfo_to_string(cell.tzinfo))
        except (ValueError, TypeError):  # Arrow has no name for it: the instant is kept
            self.zones |= {"", "UTC"}
        self.note_time(_since_epoch(cell))

    def note_decimal(self, cell: Decimal) -> None:
        """Take a decimal: its digits before and after the point."""
        if not cell.is_finite():
            raise Unencodable("holds an infinity, which Arrow's decimals lack")
        _, digits, exponent = cell.as_tuple()
        before, after = max(0, len(digits) + int(exponent)), max(0, -int(exponent))
        self.digits = [max(self.digits[0], before), max(self.digits[1], after)]
        if sum(self.digits) > _DECIMAL_DIGITS[1]:
            raise Unencodable(
                "holds a decimal that, beside those of other rows, needs over 76 digits"
            )

    def note_list(self, cell: Any) -> None:
        """Take the items of a list."""
        self.items = self.items or CellType()
        for item in cell:
            self.items.add(item)

    def note_dict(self, cell: dict[Any, Any]) -> None:
        """Take the items of a dict; all have the same keys."""
        keys = {_key(key): item for key, item in cell.items()}
        if self.fields is None:
            self.fields = {key: CellType() for key in keys}
        if keys.keys() != self.fields.keys():
            raise Unencodable("holds a dict with other keys than those of rows before")
        for key, item in keys.items():
            self.fields[key].add(item)


_NOTES: Final[dict[str, Callable[[CellType, Any], None]]] = {
    "integers": CellType.note_integer,
    "decimals": CellType.note_decimal,
    "durations": lambda to, cell: to.note_time(_nanoseconds(cell)),
    "timestamps": lambda to, cell: to.note_time(_since_epoch(cell)),
    "zoned timestamps": CellType.note_zoned,
    "lists": CellType.note_list,
    "dicts": CellType.note_dict,
}
_TYPES: Final[dict[str, Callable[[CellType], pa.DataType]]] = {
    "integers": lambda of: pa.int64() if of.most <= _INT64[1] else pa.uint64(),
    "decimals": lambda of: _decimal_type(*of.digits),
    "durations": lambda of: pa.duration(of.unit),
    "timestamps": lambda of: pa.timestamp(of.unit),
    "zoned timestamps": lambda of: pa.timestamp(of.unit, of.zone),
    "lists": lambda of: pa.list_(of.items.to_type()),
    "dicts": lambda of: pa.struct([(name, one.to_type()) for name, one in of.fields.items()]),
}


def _decimal_type(before: int, after: int) -> pa.DataType:
    make = pa.decimal128 if before + after <= _DECIMAL_DIGITS[0] else pa.decimal256
    return make(max(1, before + after), after)


def _unwrap(cell: Any) -> Any:
    """Return None for a missing cell, and the item of an array without dimensions."""
    if isinstance(cell, np.ndarray) and cell.ndim == 0:
        cell = cell[()]
    return None if is_missing(cell) else cell


def build_array(cells: Iterable[Any], dtype: pa.DataType) -> pa.Array:
    """Return cells as an array of the type that a ``CellType`` found for them.

    Text may hold lone surrogates, as bytes that are not valid UTF-8: see ``find_invalid``.
    """
    cells = [_unwrap(cell) for cell in cells]
    if pt.is_string(dtype):
        texts = [c if c is None else str.encode(c, "utf-8", "surrogatepass") for c in cells]
        return pa.array(texts, pa.binary()).view(dtype)
    if pt.is_list(dtype):
        mask = pa.array([cell is None for cell in cells], pa.bool_())
        lists = [() if cell is None else cell for cell in cells]
        offsets = np.cumsum([0, *map(len, lists)]).astype(np.int32)
        items = build_array(list(chain.from_iterable(lists)), dtype.value_type)
        return pa.ListArray.from_arrays(pa.array(offsets), items, mask=mask)
    if pt.is_struct(dtype) and dtype.num_fields:
        children = [
            build_array([None if cell is None else cell[field.name] for cell in cells], field.type)
            for field in dtype
        ]
        mask = pa.array([cell is None for cell in cells], pa.bool_())
        return pa.StructArray.from_arrays(children, fields=list(dtype), mask=mask)
    if pt.is_timestamp(dtype) or pt.is_duration(dtype):
        measure = _since_epoch if pt.is_timestamp(dtype) else _nanoseconds
        scale = _NANO // PER_SECOND[dtype.unit]
        ticks = [None if cell is None else measure(cell) // scale for cell in cells]
        return pa.array(ticks, pa.int64()).view(dtype)
    if isinstance(dtype, pa.BaseExtensionType):
        raw = pa.array([None if cell is None else cell.bytes for cell in cells], pa.binary(16))
        return pa.ExtensionArray.from_storage(dtype, raw)
    convert = next((make for is_type, make in _BUILDERS if is_type(dtype)), None)
    if convert is not None:
        cells = [None if cell is None else convert(cell) for cell in cells]
    return pa.array(cells, dtype)


_BUILDERS: Final[tuple[tuple[Callable[[pa.DataType], bool], Callable[[Any], Any]], ...]] = (
    (pt.is_integer, int),
    (pt.is_floating, float),
    (pt.is_boolean, bool),
    (pt.is_binary, bytes),
)

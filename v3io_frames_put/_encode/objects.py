"""Python objects: the JSON text of a cell, and the one Arrow type of a column of them.

A cell's text depends on its value alone. For Arrow, ``infer_type`` sees every cell of the
column before the first request, and ``build_array`` makes the values from the cells
themselves: Arrow's own inference cuts nanoseconds, drops zones and overflows.
"""

from __future__ import annotations

import datetime as dt
import math
from base64 import b64encode
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.types as pt

from .layouts import PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..config import Encoding

_INT64: Final = (-(2**63), 2**63 - 1)
_UINT64_END: Final = 2**64
_NANO: Final = PER_SECOND["ns"]
_EPOCH_DAY: Final = dt.date(1970, 1, 1).toordinal()
_DAY_SECONDS: Final = 86_400
_MISSING: Final = (type(None), type(pd.NaT), type(pd.NA), type(np.ma.masked))


class Unencodable(Exception):
    """A value that cannot be encoded; the text says what it is and what to do."""


def is_missing(cell: Any) -> bool:
    """Return whether a cell has no value: None, NaN of any type, NaT, NA, NumPy's masked."""
    if isinstance(cell, Decimal):  # to compare refuses a signaling NaN
        return cell.is_nan()
    if isinstance(cell, (float, np.floating, np.datetime64, np.timedelta64)):
        return bool(cell != cell)  # noqa: PLR0124 - true of NaN and NaT alone
    return isinstance(cell, _MISSING)


# -- JSON -----------------------------------------------------------------------------

_ENCODER: Final = msgspec.json.Encoder()


def encode_cells(
    cells: Sequence[Any], encoding: Encoding, reject: Callable[[int, str], None]
) -> bytes:
    """Return each cell's JSON text, ended by a newline; ``null`` for a rejected one.

    msgspec gets checked values only: it writes infinities as null, and sets and keys
    that are not text as something else.
    """
    try:
        if _are_plain(cells):
            return _ENCODER.encode_lines(cells)
    except (RecursionError, UnicodeEncodeError):
        pass  # of one cell: found below
    texts = []
    for place, cell in enumerate(cells):
        try:
            texts.append(_encode_cell(cell, encoding))
        except Unencodable as error:  # noqa: PERF203 - each cell alone
            reject(place, str(error))
            texts.append(b"null")
    return b"\n".join([*texts, b""])


def _are_plain(values: Iterable[Any]) -> bool:
    """Return whether msgspec encodes all values, and those inside them, as we do.

    Cells of a column are alike as a rule, so that this check and one call for many of
    them take a fifth of the time of ``_to_plain`` and a call for each.
    """
    for value in values:
        kind = type(value)
        if kind in _PLAIN_TYPES:
            continue
        if kind is int:
            is_plain = _INT64[0] <= value < _UINT64_END
        elif kind is float:
            is_plain = abs(value) != math.inf
        elif kind is list:
            is_plain = _PLAIN_TYPES.issuperset(map(type, value)) or _are_plain(value)
        elif kind is dict:
            is_plain = _TEXT.issuperset(map(type, value)) and _are_plain(value.values())
        else:
            is_plain = kind is Decimal and value.is_finite()
        if not is_plain:
            return False
    return True


_TEXT: Final = frozenset([str])
_PLAIN_TYPES: Final = frozenset([str, bool, type(None)])


def _encode_cell(value: Any, encoding: Encoding) -> bytes:
    try:
        return _ENCODER.encode(_to_plain(value, encoding))
    except RecursionError:
        raise Unencodable("a value nested too deeply; flatten it") from None
    except UnicodeEncodeError:
        raise Unencodable("text with a lone surrogate, which UTF-8 lacks; correct it") from None


def _to_plain(value: Any, encoding: Encoding) -> Any:
    """Turn a value into None, bool, int, float, str, list or dict."""
    return _find_kind(type(value)).to_plain(value, encoding)  # type: ignore[arg-type]  # it hashes


def _refuse(value: Any, _: Encoding) -> str:
    raise Unencodable(f"a {type(value).__module__}.{type(value).__qualname__}; convert it")


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
        return _refuse(value, encoding)
    return value.replace(microsecond=0).isoformat() + _fraction(value.microsecond * 1_000)


def _timestamp(value: Any, _: Encoding) -> str | None:
    if is_missing(value):
        return None
    seconds, nanoseconds = divmod(_since_epoch(value), _NANO)
    try:
        moment = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)  # noqa: DTZ001 - UTC by arithmetic
    except OverflowError:
        raise Unencodable("a year outside 1 - 9999; correct it") from None
    zone = "Z" if _is_zoned(value) else ""
    return f"{moment.isoformat()}{_fraction(nanoseconds)}{zone}"


def _fraction(nanoseconds: int) -> str:
    """Format a fraction of a second in 0, 3, 6 or 9 digits, the fewest that hold it."""
    if not nanoseconds:
        return ""
    return "." + f"{nanoseconds:09d}".removesuffix("000").removesuffix("000")


def _duration(value: Any, _: Encoding) -> str | None:
    if is_missing(value):
        return None
    nanoseconds = _nanoseconds(value)
    seconds, rest = divmod(abs(nanoseconds), _NANO)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{'-' if nanoseconds < 0 else ''}PT{seconds}{fraction}S"


def _base64(value: Any, _: Encoding) -> str:
    return b64encode(bytes(value)).decode()


def _list(value: Any, encoding: Encoding) -> Any:
    if getattr(value, "ndim", 1) == 0:
        return _to_plain(value[()], encoding)
    return [_to_plain(item, encoding) for item in value]


def _dict(value: dict[Any, Any], encoding: Encoding) -> dict[str, Any]:
    return {_key(key): _to_plain(item, encoding) for key, item in value.items()}


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise Unencodable(f"a dict with a key of type {type(key).__name__}; make it text")
    return str.__str__(key)


# -- Time in nanoseconds since 1970: exact in any year and unit --------------------------


def _since_epoch(value: Any) -> int:
    """Return a timestamp of Python, pandas or NumPy in nanoseconds, zoned ones in UTC."""
    if isinstance(value, (np.datetime64, pd.Timestamp)):
        return _count_nanoseconds(value)
    days, seconds = value.toordinal() - _EPOCH_DAY, value.hour * 3_600 + value.minute * 60
    whole = days * _DAY_SECONDS + seconds + value.second
    # Subtracted as a number: what astimezone returns has to lie in the years 1 - 9999.
    offset = _nanoseconds(value.utcoffset()) if _is_zoned(value) else 0
    return int(whole * _NANO + value.microsecond * 1_000 - offset)


def _is_zoned(value: Any) -> bool:
    """Return whether a timestamp is aware, as Python says: its zone knows the offset."""
    return getattr(value, "tzinfo", None) is not None and value.utcoffset() is not None


def _nanoseconds(value: Any) -> int:
    """Return a duration of Python, pandas or NumPy in nanoseconds."""
    if isinstance(value, (np.timedelta64, pd.Timedelta)):
        return _count_nanoseconds(value)
    seconds = value.days * _DAY_SECONDS + value.seconds
    return int(seconds * _NANO + value.microseconds * 1_000)


_UNITS: Final = {
    "W": 604_800 * _NANO,
    "D": _DAY_SECONDS * _NANO,
    "h": 3_600 * _NANO,
    "m": 60 * _NANO,
    "s": _NANO,
    "ms": 10**6,
    "us": 10**3,
    "ns": 1,
}


def _count_nanoseconds(value: Any) -> int:
    """Return a time of NumPy, or the one that pandas keeps, in nanoseconds."""
    value = getattr(value, "asm8", value)
    unit, count = np.datetime_data(value.dtype)
    if unit not in _UNITS:
        raise Unencodable("a time of NumPy in years, months, picoseconds or no unit; convert it")
    return int(value.astype(np.int64)) * count * _UNITS[unit]


# -- Arrow ----------------------------------------------------------------------------

_DECIMAL_DIGITS: Final = (38, 76)  # of decimal128 and decimal256


def infer_type(cells: Iterable[Any]) -> pa.DataType:
    """Return the Arrow type that holds every cell unchanged.

    For example, ``{"k": [1]}`` and ``{"k": [None]}`` are struct<k: list<int64>>; 1 is
    int64, and with 2**63 uint64; -1 fits no type beside that.

    Raises
    ------
    Unencodable
        No type does.
    """
    cells = [cell for cell in map(_unwrap, cells) if cell is not None]
    kinds = dict.fromkeys(map(_find_kind, dict.fromkeys(map(type, cells))))
    if not kinds:
        return pa.null()
    kind, *others = kinds
    if others:
        raise Unencodable(f"holds {others[0].name} where rows before hold {kind.name}")
    if kind.arrow is None:
        raise Unencodable(f"holds {kind.name}, which have no Arrow type")
    return kind.arrow if isinstance(kind.arrow, pa.DataType) else kind.arrow(cells)


def _integer_type(cells: list[Any]) -> pa.DataType:
    least, most = min(map(int, cells)), max(map(int, cells))
    if least < _INT64[0] or most >= (_INT64[1] + 1 if least < 0 else _UINT64_END):
        raise Unencodable("holds an integer that, beside those of other rows, is beyond 64 bits")
    return pa.int64() if most <= _INT64[1] else pa.uint64()


def _decimal_type(cells: list[Decimal]) -> pa.DataType:
    if not all(map(Decimal.is_finite, cells)):
        raise Unencodable("holds an infinity, which Arrow's decimals lack")
    before = after = 0
    for cell in cells:
        _, digits, exponent = cell.as_tuple()
        shift = int(exponent) if cell else min(int(exponent), 0)  # 0E+400 is 0
        before, after = max(before, len(digits) + shift), max(after, -shift)
    narrow, wide = _DECIMAL_DIGITS
    if before + after > wide:
        raise Unencodable("holds a decimal that, beside those of other rows, needs over 76 digits")
    make = pa.decimal128 if before + after <= narrow else pa.decimal256
    return make(max(1, before + after), after)


def _duration_type(cells: list[Any]) -> pa.DataType:
    return pa.duration(_find_unit(map(_nanoseconds, cells)))


def _timestamp_type(cells: list[Any]) -> pa.DataType:
    """Return timestamps in the one zone of all cells; in UTC where they have several."""
    first, *other = dict.fromkeys(map(_is_zoned, cells))
    if other:
        zoned, plain = "zoned timestamps", "timestamps"
        now, before = (plain, zoned) if first else (zoned, plain)
        raise Unencodable(f"holds {now} where rows before hold {before}")
    unit = _find_unit(map(_since_epoch, cells))
    if not first:
        return pa.timestamp(unit)
    zones = {_name_zone(zone) for zone in {cell.tzinfo for cell in cells}}
    return pa.timestamp(unit, zones.pop() if len(zones) == 1 else "UTC")


def _name_zone(zone: dt.tzinfo) -> str:
    try:
        return str(pa.lib.tzinfo_to_string(zone))
    except (ValueError, TypeError):  # Arrow has no name for it: the instant is kept
        return "UTC"


def _find_unit(nanoseconds: Iterable[int]) -> str:
    """Return the coarsest unit, of those that Python's own times fit, that loses nothing."""
    ticks = list(nanoseconds)
    is_nano = any(tick % 1_000 for tick in ticks)
    scale = 1 if is_nano else 1_000
    if min(ticks) < _INT64[0] * scale or max(ticks) > _INT64[1] * scale:
        raise Unencodable("holds a time that, in the unit the column needs, is beyond 64 bits")
    return "ns" if is_nano else "us"


def _time_type(cells: list[dt.time]) -> pa.DataType:
    if any(cell.tzinfo is not None for cell in cells):
        raise Unencodable("holds zoned times, which have no Arrow type")
    return pa.time64("us")


def _list_type(cells: list[Any]) -> pa.DataType:
    return pa.list_(infer_type(chain.from_iterable(_distinct(cells))))


def _struct_type(cells: list[dict[Any, Any]]) -> pa.DataType:
    cells = _distinct(cells)
    names = list(map(_key, cells[0]))
    if any(set(map(_key, cell)) != set(names) for cell in cells):
        raise Unencodable("holds a dict with other keys than those of rows before")
    return pa.struct([(name, infer_type([cell[name] for cell in cells])) for name in names])


def _distinct(cells: list[Any]) -> list[Any]:
    """Look at each object once: lists that hold themselves would double at each level."""
    return list({id(cell): cell for cell in cells}.values())


@dataclass(frozen=True, slots=True)
class _Kind:
    """How cells of some Python types are encoded."""

    name: str  # in messages
    types: tuple[type, ...]
    to_plain: Callable[[Any, Encoding], Any]  # turns a cell into what msgspec encodes
    # The type of a column of such cells, or what returns it for them. None: it has none.
    arrow: pa.DataType | Callable[[list[Any]], pa.DataType] | None


# First match wins: a datetime is also a date, and NumPy counts durations as integers.
# bytes() joins what a memory view of every second byte shows.
_KINDS: Final = (
    _Kind("missing", _MISSING, lambda *_: None, pa.null()),
    _Kind("text", (str,), lambda value, _: str.__str__(value), pa.string()),
    _Kind("booleans", (bool, np.bool_), lambda value, _: bool(value), pa.bool_()),
    _Kind("durations", (dt.timedelta, np.timedelta64), _duration, _duration_type),
    _Kind("integers", (int, np.integer), _integer, _integer_type),
    _Kind("floats", (float, np.float32, np.float16), _float, pa.float64()),
    _Kind("lists", (list, tuple, np.ndarray), _list, _list_type),
    _Kind("dicts", (dict,), _dict, _struct_type),
    _Kind("bytes", (bytes, bytearray, memoryview), _base64, pa.binary()),
    _Kind("decimals", (Decimal,), _decimal, _decimal_type),
    _Kind("timestamps", (dt.datetime, np.datetime64), _timestamp, _timestamp_type),
    _Kind("dates", (dt.date,), lambda value, _: dt.date.isoformat(value), pa.date32()),
    _Kind("times", (dt.time,), _time, _time_type),
    _Kind("UUIDs", (UUID,), lambda value, _: str(value), pa.string()),
)


@cache
def _find_kind(cell_type: type) -> _Kind:
    """Return how cells of a Python type are encoded."""
    found = next((kind for kind in _KINDS if issubclass(cell_type, kind.types)), None)
    return found or _Kind(f"{cell_type.__name__} objects", (cell_type,), _refuse, None)


def _unwrap(cell: Any) -> Any:
    """Return None for a missing cell, and the item of an array without dimensions."""
    if isinstance(cell, np.ndarray) and cell.ndim == 0:
        cell = cell[()]
    return None if is_missing(cell) else cell


def build_array(cells: Iterable[Any], dtype: pa.DataType) -> pa.Array:
    """Return cells as an array of the type that ``infer_type`` returned for them.

    Text may hold lone surrogates, as bytes that are not valid UTF-8: see ``find_invalid``.
    """
    cells = [_unwrap(cell) for cell in cells]
    if pt.is_string(dtype):
        texts = [str(cell) if isinstance(cell, UUID) else cell for cell in cells]
        raw = [t if t is None else str.encode(t, "utf-8", "surrogatepass") for t in texts]
        return pa.array(raw, pa.binary()).view(dtype)
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
    convert = next((make for is_type, make in _BUILDERS if is_type(dtype)), None)
    if convert is not None:
        cells = [None if cell is None else convert(cell) for cell in cells]
    return pa.array(cells, dtype)


_BUILDERS: Final[tuple[tuple[Callable[[pa.DataType], bool], Callable[[Any], Any]], ...]] = (
    (pt.is_integer, int),
    (pt.is_floating, float),
    (pt.is_boolean, bool),
    (pt.is_binary, bytes),
    (pt.is_decimal, lambda cell: cell or Decimal(0)),  # Arrow cannot read 0E+400
)

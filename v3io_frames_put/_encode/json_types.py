"""Arrow types -> what the native JSON writer needs before it gets their values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._encode.base64 import encode_base64
from v3io_frames_put._encode.json_writer import write_cells
from v3io_frames_put._encode.layouts import (
    is_bytes,
    is_list,
    is_text,
    list_parents,
    list_values,
    map_as_list,
    rebuild_list,
    rebuild_map,
    to_numpy,
)

if TYPE_CHECKING:
    from v3io_frames_put.config import Encoding

PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DAY_SECONDS: Final = 86_400
# Seconds since 1970 of 0001-01-01T00:00:00 and 10000-01-01T00:00:00, in Python's calendar.
FIRST_SECOND: Final = -62_135_596_800
END_SECOND: Final = 253_402_300_800
_DECIMALS: Final = {  # by bits: the type, and the most digits and scale
    bits: (getattr(pa, f"decimal{bits}"), digits)
    for bits, digits in ((32, 9), (64, 18), (128, 38), (256, 76))
    if hasattr(pa, f"decimal{bits}")
}
INFINITY: Final = "an infinity; clean it, or choose Encoding(infinity='null' or 'string')"
_PLAIN_DIGITS: Final = 6  # after the point: with more, older Arrow may write 1.E-7 for 1E-7
_SAMPLE_ROWS: Final = 256  # looked at before all are
_FEW: Final = 4  # rows to a value from where formatting each value once pays


def as_int64(array: pa.Array) -> np.ndarray:
    """Return dates, times, timestamps or durations as their integers; 0 for null."""
    physical = pa.int32() if array.type.bit_width == 32 else pa.int64()  # noqa: PLR2004
    numbers = pc.fill_null(array.view(physical), 0)
    return to_numpy(numbers).astype(np.int64, copy=False)


def find_infinities(array: pa.Array) -> Iterator[tuple[np.ndarray, str]]:
    """Yield the mask of infinite floats, if any."""
    wide = array.cast(pa.float32()) if pt.is_float16(array.type) else array
    infinite = pc.is_inf(wide)
    if infinite.true_count:
        mask = to_numpy(pc.fill_null(infinite, False))  # noqa: FBT003 - Arrow's signature
        yield mask, INFINITY


def find_invalid_years(array: pa.Array) -> Iterator[tuple[np.ndarray, str]]:
    """Yield the mask of dates and timestamps outside the years 1 - 9999, if any."""
    per_day = 1 if pt.is_date32(array.type) else _DAY_SECONDS * 1_000
    scale = PER_SECOND[array.type.unit] if pt.is_timestamp(array.type) else None
    if scale == PER_SECOND["ns"]:
        return  # 64 bits of nanoseconds reach from 1677 to 2262
    first, end = (
        (second * scale if scale else second // _DAY_SECONDS * per_day)
        for second in (FIRST_SECOND, END_SECOND)
    )
    yield from _find_outside(array, first, end, "a year outside 1 - 9999; correct it")


def find_invalid_times(array: pa.Array) -> Iterator[tuple[np.ndarray, str]]:
    """Yield the mask of times that no day has, if any."""
    end = _DAY_SECONDS * PER_SECOND[array.type.unit]
    yield from _find_outside(array, 0, end, "a time outside one day; correct it")


def _find_outside(
    array: pa.Array, first: int, end: int, reason: str
) -> Iterator[tuple[np.ndarray, str]]:
    numbers = as_int64(array)
    if len(numbers) == 0 or (numbers.min() >= first and numbers.max() < end):
        return
    mask = (numbers < first) | (numbers >= end)
    if array.null_count:
        mask &= ~to_numpy(array.is_null())
    yield mask, reason


def find_repeated_keys(pairs: pa.Array) -> tuple[np.ndarray, str]:
    """Return the mask of maps (as lists of pairs) that hold a key twice."""
    owners = list_parents(pairs)
    keys = list_values(pairs).field("key").dictionary_encode().indices
    codes = owners * np.int64(len(keys) + 1) + to_numpy(keys)
    order = np.argsort(codes, kind="stable")
    repeated = order[1:][np.diff(codes[order]) == 0]
    mask = np.zeros(len(pairs), dtype=bool)
    mask[owners[repeated]] = True
    return mask, "a map with a key twice; merge its values"


@cache
def _half_float_values() -> np.ndarray:
    """Return, for each 16-bit pattern, the double with the same shortest digits."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    return halves.astype(str).astype(np.float64)


def widen_half_floats(array: pa.Array) -> pa.DoubleArray:
    """Widen 16-bit floats so that the digits written are the shortest of 16 bits."""
    patterns = to_numpy(pc.fill_null(array.view(pa.uint16()), 0))
    return pa.array(_half_float_values()[patterns], mask=to_numpy(array.is_null()))


def format_repeated_timestamps(array: pa.TimestampArray) -> pa.Array:
    """Give timestamps the zone UTC, which the writer formats as ``Z``.

    Where few values repeat, each is formatted once: that takes a quarter of the time.
    """
    if array.type.tz is not None:
        array = array.cast(pa.timestamp(array.type.unit, "UTC"))
    if not _repeats(array[:_SAMPLE_ROWS]):
        return array
    encoded = array.dictionary_encode()
    if len(encoded.dictionary) * _FEW > len(array):
        return array
    texts = pc.binary_slice(write_cells(encoded.dictionary).cast(pa.binary()), 1, -1)
    return texts.cast(pa.string()).take(encoded.indices)


def _repeats(sample: pa.Array) -> bool:
    return len(sample) == _SAMPLE_ROWS and pc.count_distinct(sample).as_py() * _FEW < len(sample)


def format_decimals(array: pa.Array) -> pa.StringArray:
    """Format decimals exactly; beyond a width's scales Arrow writes an error in their place."""
    dtype = array.type
    make, most_digits = _DECIMALS[dtype.bit_width]
    if abs(dtype.scale) <= most_digits:
        texts = array.cast(pa.string())
        return (
            texts if 0 <= dtype.scale <= _PLAIN_DIGITS else pc.replace_substring(texts, ".E", "E")
        )
    digits = array.view(make(dtype.precision, 0)).cast(pa.string()).to_pylist()
    texts = [None if d is None else str(Decimal(f"{d}E{-dtype.scale}")) for d in digits]
    return pa.array(texts, pa.string())


def format_durations(array: pa.DurationArray) -> pa.StringArray:
    """Format durations as ISO 8601 seconds, with no more digits than the value needs."""
    scale = PER_SECOND[array.type.unit]
    ticks = as_int64(array)
    # -2**63 has no positive 64-bit twin; unsigned arithmetic has room for it.
    size = np.where(ticks < 0, np.uint64(0) - ticks.view(np.uint64), ticks.view(np.uint64))
    whole, rest = np.divmod(size, np.uint64(scale))
    pieces = [
        pa.array(np.where(ticks < 0, "-PT", "PT")),
        pa.array(whole).cast(pa.string()),
        _format_fraction(rest, digits=len(str(scale)) - 1),
        "S",
        "",
    ]
    texts = pc.binary_join_element_wise(*pieces)
    return pc.if_else(array.is_null(), None, texts) if array.null_count else texts


def _format_fraction(rest: np.ndarray, digits: int) -> pa.StringArray:
    """Format ticks below a second: ``.5``, or nothing for none."""
    if not digits:
        return pa.array(np.full(len(rest), ""))
    padded = pc.utf8_lpad(pa.array(rest).cast(pa.string()), digits, "0")
    return pc.utf8_rtrim(pc.binary_join_element_wise(".", padded, ""), "0.")


Convert = Callable[[pa.Array], pa.Array]
Flaw = tuple[np.ndarray, str]  # which values, and what is wrong with them
Check = Callable[[pa.Array], Iterator[Flaw]]


@dataclass(frozen=True, slots=True)
class Writing:
    """How to bring one type to the native writer; None where nothing is to do."""

    convert: Convert | None = None
    check: Check | None = None


class NoEncoding(Exception):
    """A type has no JSON; the text says why, and what to do."""


AS_IT_IS: Final = Writing()


def plan_writing(dtype: pa.DataType, encoding: Encoding) -> Writing:
    """Choose conversion and check for a type; raise NoEncoding when it has no JSON."""
    for is_type, plan in _NESTED:
        if is_type(dtype):
            return plan(dtype, encoding)
    if pt.is_floating(dtype):
        return _plan_float(dtype, encoding)
    for is_type, writing in _LEAVES:
        if is_type(dtype):
            return writing
    raise NoEncoding(f"and {dtype} has no JSON form. Cast it, or leave the column out")


def _plan_float(dtype: pa.DataType, encoding: Encoding) -> Writing:
    """Infinities are an encoding's choice; 16 bits go through a table of shortest texts."""
    return Writing(
        convert=widen_half_floats if pt.is_float16(dtype) else None,
        check=None if encoding.infinity == "null" else find_infinities,
    )


def _plan_list(dtype: pa.DataType, encoding: Encoding) -> Writing:
    values = plan_writing(dtype.value_type, encoding)

    def convert(array: pa.Array, convert_values: Convert) -> pa.Array:
        return rebuild_list(array, convert_values(list_values(array)))

    def check(array: pa.Array, check_values: Check) -> Iterator[Flaw]:
        for flawed, reason in check_values(list_values(array)):
            mask = np.zeros(len(array), dtype=bool)
            mask[list_parents(array)[flawed]] = True
            yield mask, reason

    return Writing(
        partial(convert, convert_values=values.convert) if values.convert else None,
        partial(check, check_values=values.check) if values.check else None,
    )


def _plan_struct(dtype: pa.StructType, encoding: Encoding) -> Writing:
    names = [field.name for field in dtype]
    if len(set(names)) < len(names):
        raise NoEncoding("which names a field twice. Rename one")
    if any("\0" in name for name in names):
        raise NoEncoding("which has a NUL in a field's name. Rename the field")
    fields = [plan_writing(field.type, encoding) for field in dtype]

    def convert(array: pa.Array) -> pa.Array:
        children = [
            field.convert(child) if field.convert else child
            for field, child in zip(fields, array.flatten(), strict=True)
        ]
        return pa.StructArray.from_arrays(children, names, mask=array.is_null())

    def check(array: pa.Array) -> Iterator[Flaw]:
        for field, child in zip(fields, array.flatten(), strict=True):
            yield from field.check(child) if field.check else ()

    return Writing(
        convert if any(field.convert for field in fields) else None,
        check if any(field.check for field in fields) else None,
    )


def _plan_map(dtype: pa.MapType, encoding: Encoding) -> Writing:
    if not is_text(dtype.key_type):
        raise NoEncoding("which has a map whose keys are not text. Cast them")
    pairs = _plan_list(pa.list_(pa.struct([("value", dtype.item_type)])), encoding)
    items = plan_writing(dtype.item_type, encoding)

    def convert(array: pa.Array) -> pa.Array:
        as_list = map_as_list(array)
        keys, values = list_values(as_list).flatten()
        return rebuild_map(
            as_list,
            keys.cast(pa.string()),
            items.convert(values) if items.convert else values,
        )

    def check(array: pa.Array) -> Iterator[Flaw]:
        as_list = map_as_list(array)
        yield find_repeated_keys(as_list)
        if pairs.check:
            values = list_values(as_list).flatten()[1:]
            yield from pairs.check(
                rebuild_list(as_list, pa.StructArray.from_arrays(values, ["value"]))
            )

    return Writing(convert, check)


_NESTED: Final = ((is_list, _plan_list), (pt.is_struct, _plan_struct), (pt.is_map, _plan_map))
_LEAVES: Final[tuple[tuple[Callable[[pa.DataType], bool], Writing], ...]] = (
    (pt.is_null, AS_IT_IS),
    (pt.is_boolean, AS_IT_IS),
    (pt.is_integer, AS_IT_IS),
    (is_text, AS_IT_IS),
    (is_bytes, Writing(encode_base64)),
    (pt.is_decimal, Writing(format_decimals)),
    (pt.is_date, Writing(lambda array: array.cast(pa.date32()), find_invalid_years)),
    (pt.is_time, Writing(None, find_invalid_times)),
    (pt.is_duration, Writing(format_durations)),
    (pt.is_timestamp, Writing(format_repeated_timestamps, find_invalid_years)),
)


def write_infinities(cells: pa.Array, texts: pa.StringArray, mask: np.ndarray) -> pa.StringArray:
    """Write the infinities in some cells, which the native writer made null, as strings."""
    mended = [
        msgspec.json.encode(
            _with_infinities(msgspec.json.decode(texts[row].as_py()), cells[row].as_py())
        )
        for row in np.flatnonzero(mask).tolist()
    ]
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(mended, pa.string()))


def _with_infinities(parsed: Any, cell: Any) -> Any:
    """Return parsed JSON with the infinities of the cell it was written from."""
    if isinstance(cell, (float, np.floating)) and math.isinf(cell):
        return "Infinity" if cell > 0 else "-Infinity"
    if isinstance(parsed, dict):
        items = dict(cell)  # of a map as Arrow returns it: pairs
        return {key: _with_infinities(value, items[key]) for key, value in parsed.items()}
    if isinstance(parsed, list):
        return [_with_infinities(*pair) for pair in zip(parsed, cell, strict=True)]
    return parsed

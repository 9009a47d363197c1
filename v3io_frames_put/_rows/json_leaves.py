"""Single values that the native JSON writer spells in another way, or cannot.

Each function takes one Arrow array of a type without children and treats the
whole of it at once: conversions return another array, checks a mask and a reason.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._rows.arrow_types import list_parents, list_values, to_numpy
from v3io_frames_put._rows.json_writer import write_cells

if TYPE_CHECKING:
    from collections.abc import Iterator

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
_SAMPLE_ROWS: Final = 256  # looked at before all are
_FEW: Final = 4  # rows to a value from where spelling each value once pays


def as_int64(array: pa.Array) -> np.ndarray:
    """Return dates, times, timestamps or durations as their integers; 0 for null."""
    physical = pa.int32() if array.type.bit_width == 32 else pa.int64()  # noqa: PLR2004
    numbers = pc.fill_null(array.view(physical), 0)
    return to_numpy(numbers).astype(np.int64, copy=False)


def null_mask(array: pa.Array) -> np.ndarray | None:
    """Return the mask of nulls; None when there are none."""
    return to_numpy(array.is_null()) if array.null_count else None


def find_infinities(array: pa.Array) -> Iterator[tuple[np.ndarray, str]]:
    """Yield the mask of infinite floats, if any."""
    wide = array.cast(pa.float32()) if pt.is_float16(array.type) else array
    infinite = pc.is_inf(wide)
    if infinite.true_count:
        mask = to_numpy(pc.fill_null(infinite, False))  # noqa: FBT003 - Arrow's signature
        yield mask, "an infinity; clean it, or choose Encoding(infinity='null' or 'string')"


def find_wild_years(array: pa.Array) -> Iterator[tuple[np.ndarray, str]]:
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


def find_wild_times(array: pa.Array) -> Iterator[tuple[np.ndarray, str]]:
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
    return pa.array(_half_float_values()[patterns], mask=null_mask(array))


def spell_repeated_timestamps(array: pa.TimestampArray) -> pa.Array:
    """Give timestamps the zone UTC, which the writer spells ``Z``.

    Where few values repeat, each is spelled once: that takes a quarter of the time.
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


def spell_decimals(array: pa.Array) -> pa.StringArray:
    """Spell decimals exactly; beyond a width's scales Arrow writes an error in their place."""
    dtype = array.type
    make, most_digits = _DECIMALS[dtype.bit_width]
    if abs(dtype.scale) <= most_digits:
        return array.cast(pa.string())
    digits = array.view(make(dtype.precision, 0)).cast(pa.string()).to_pylist()
    texts = [None if d is None else str(Decimal(f"{d}E{-dtype.scale}")) for d in digits]
    return pa.array(texts, pa.string())


def spell_uuids(array: pa.Array) -> pa.StringArray:
    """Spell UUIDs as 8-4-4-4-12 hex digits."""
    from uuid import UUID

    storage = array.storage if isinstance(array, pa.ExtensionArray) else array
    values = storage.to_pylist()  # rare, and short texts: a Python object each is fine
    return pa.array([None if raw is None else str(UUID(bytes=raw)) for raw in values], pa.string())


def spell_durations(array: pa.DurationArray) -> pa.StringArray:
    """Spell durations as ISO 8601 seconds, with no more digits than the value needs."""
    scale = PER_SECOND[array.type.unit]
    ticks = as_int64(array)
    # -2**63 has no positive 64-bit twin; unsigned arithmetic has room for it.
    size = np.where(ticks < 0, np.uint64(0) - ticks.view(np.uint64), ticks.view(np.uint64))
    whole, rest = np.divmod(size, np.uint64(scale))
    pieces = [
        pa.array(np.where(ticks < 0, "-PT", "PT")),
        pa.array(whole).cast(pa.string()),
        _spell_fraction(rest, digits=len(str(scale)) - 1),
        "S",
        "",
    ]
    texts = pc.binary_join_element_wise(*pieces)
    return pc.if_else(array.is_null(), None, texts) if array.null_count else texts


def _spell_fraction(rest: np.ndarray, digits: int) -> pa.StringArray:
    """Spell ticks below a second: ``.5``, or nothing for none."""
    if not digits:
        return pa.array(np.full(len(rest), ""))
    padded = pc.utf8_lpad(pa.array(rest).cast(pa.string()), digits, "0")
    return pc.utf8_rtrim(pc.binary_join_element_wise(".", padded, ""), "0.")

"""Random columns, with what contract section 5 makes of each of their cells.

What is expected is computed here, from the numbers that the cells were made of, and by
nothing that the package or Arrow did to them. Every array may be a slice, keep garbage
below its nulls, and come in chunks.
"""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import math
from decimal import Decimal
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa

REJECTED = object()  # the row cannot be sent
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
YEARS = (-62_135_596_800, 253_402_300_800)  # seconds since 1970 of the years 1 and 10,000
INT64 = (-(2**63), 2**63 - 1)
HAS_UUID = hasattr(pa, "uuid")
HAS_VIEWS = int(pa.__version__.split(".")[0]) >= 20  # before, Arrow itself fails on many of them


def fraction(nanoseconds):
    digits = f"{nanoseconds:09d}"
    kept = next(n for n in (0, 3, 6, 9) if int(digits[n:] or 0) == 0)
    return f".{digits[:kept]}" if kept else ""


def moment(nanoseconds, zoned):
    """The text of a timestamp by its nanoseconds since 1970."""
    seconds, rest = divmod(nanoseconds, 10**9)
    if not YEARS[0] <= seconds < YEARS[1]:
        return REJECTED
    days, second = divmod(seconds, 86_400)
    day = dt.date.fromordinal(719_163 + days).isoformat()
    clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    return f"{day}T{clock}{fraction(rest)}{'Z' if zoned else ''}"


def duration(nanoseconds):
    seconds, rest = divmod(abs(nanoseconds), 10**9)
    text = f"{seconds}.{rest:09d}".rstrip("0").rstrip(".")
    return f"{'-' if nanoseconds < 0 else ''}PT{text}S"


def floating(value, text):
    """A float by its shortest text; JSON ints and floats are told apart by this tuple."""
    if math.isnan(value):
        return None
    return REJECTED if math.isinf(value) else ("float", repr(float(text)))


# -- Arrow ----------------------------------------------------------------------------


def _ticks(rng, low, high, odd):
    """Numbers within bounds, at them, or, rarely, beyond."""
    choice = rng.random()
    if choice < odd:
        return rng.choice([low - 1, high + 1, *INT64])
    return (
        rng.choice([low, high, 0]) if choice < 0.2 and low <= 0 <= high else rng.randint(low, high)
    )


def _clip(number):
    return max(INT64[0], min(INT64[1], number))


def leaf_kinds():  # noqa: C901 - one yield a kind
    """Each leaf: how to draw a stored value, its Arrow type, its storage, and its JSON."""
    for bits in (8, 16, 32, 64):
        signed, unsigned = getattr(pa, f"int{bits}")(), getattr(pa, f"uint{bits}")()
        top = 2 ** (bits - 1)
        yield signed, signed, lambda r, t=top: r.choice([-t, t - 1, r.randint(-t, t - 1)]), int
        yield (
            unsigned,
            unsigned,
            lambda r, t=top: r.choice([0, 2 * t - 1, r.randint(0, 2 * t - 1)]),
            int,
        )
    yield pa.bool_(), pa.bool_(), lambda r: r.random() < 0.5, bool
    for bits, kind in ((16, np.float16), (32, np.float32), (64, np.float64)):
        special = [0.0, -0.0, math.nan, 0.1, 517.0, 1e4, 6e-8, 1 / 3]

        def draw(r, kind=kind, special=special):
            value = r.choice([*special, r.uniform(-1e4, 1e4)])
            return kind(math.inf if r.random() < 0.02 else value)

        dtype = getattr(pa, f"float{bits}")()
        yield dtype, dtype, draw, lambda v: floating(v, str(v))
    for dtype in (
        pa.decimal128(12, 3),
        pa.decimal128(5, -2),
        pa.decimal128(9, 9),
        pa.decimal256(60, 7),
    ):
        scale = dtype.scale
        draw = lambda r, s=scale: Decimal(f"{r.randint(-99_999, 99_999)}E{-s}")  # noqa: E731
        yield dtype, dtype, draw, str
    texts = [
        t.encode() for t in ("", "x", 'é"\\\n\x00', "😀" * 5, "a text that no view holds itself")
    ]
    text = lambda r: r.choice(texts)  # noqa: E731
    raw = lambda r: r.randbytes(r.choice([0, 1, 2, 3, 13, 40]))  # noqa: E731
    views = [(pa.string_view(), pa.binary_view())] if HAS_VIEWS else []
    for strings, binaries in [
        (pa.string(), pa.binary()),
        (pa.large_string(), pa.large_binary()),
        *views,
    ]:
        yield strings, binaries, text, bytes.decode
        yield binaries, binaries, raw, lambda v: base64.b64encode(v).decode()
    yield (
        pa.binary(5),
        pa.binary(5),
        lambda r: r.randbytes(5),
        lambda v: base64.b64encode(v).decode(),
    )
    if HAS_UUID:
        yield pa.uuid(), pa.binary(16), lambda r: r.randbytes(16), lambda v: str(UUID(bytes=v))
        yield pa.bool8(), pa.int8(), lambda r: r.randint(0, 1), bool
    day = 86_400
    first, last = YEARS[0] // day, YEARS[1] // day - 1

    def date(days):
        is_inside = first <= days <= last
        return dt.date.fromordinal(719_163 + days).isoformat() if is_inside else REJECTED

    yield (
        pa.date32(),
        pa.int32(),
        lambda r: r.choice([first, last, first - 1, r.randint(first, last)]),
        date,
    )
    yield (
        pa.date64(),
        pa.int64(),
        lambda r: r.randint(first, last) * day * 1000,
        lambda v: date(v // day // 1000),
    )
    for unit, scale in UNITS.items():
        make, stored = (pa.time32, pa.int32()) if scale <= 1000 else (pa.time64, pa.int64())
        end = day * scale

        def time(v, scale=scale, end=end):
            return moment(v * (10**9 // scale), False)[11:] if 0 <= v < end else REJECTED

        yield (
            make(unit),
            stored,
            lambda r, e=end: _ticks(r, 0, e - 1, 0.0) if r.random() < 0.98 else -1,
            time,
        )
        low, high = (_clip(YEARS[0] * scale), _clip(YEARS[1] * scale - 1))
        for zone in (None, "UTC", "Europe/Berlin", "+05:30"):
            text_of = lambda v, s=scale, z=zone: moment(v * (10**9 // s), z is not None)  # noqa: E731
            yield (
                pa.timestamp(unit, zone), pa.int64(),
                lambda r, a=low, b=high: _clip(_ticks(r, a, b, 0.02)), text_of,
            )  # fmt: skip
        yield (
            pa.duration(unit), pa.int64(), lambda r: r.choice([*INT64, 0, -1, r.randint(*INT64)]),
            lambda v, s=scale: duration(v * (10**9 // s)),
        )  # fmt: skip


LEAVES = list(leaf_kinds())


def below_nulls(array, valid):
    """Make some values null, and leave what they are where it is."""
    bits = pa.array(valid, pa.bool_()).buffers()[1]
    return pa.Array.from_buffers(array.type, len(array), [bits, *array.buffers()[1:]])


def leaf(rng, size):
    dtype, stored, draw, json_of = rng.choice(LEAVES)
    values = [draw(rng) for _ in range(size)]
    valid = [rng.random() < 0.8 for _ in range(size)]
    expected = [json_of(v) if ok else None for v, ok in zip(values, valid, strict=True)]
    garbage = values
    if pa.types.is_binary(stored) or pa.types.is_large_binary(stored):
        garbage = [v if ok else b"\xff\xfe" for v, ok in zip(values, valid, strict=True)]
    array = below_nulls(pa.array(garbage, stored), valid)
    if isinstance(dtype, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(dtype, array), expected
    return array if dtype == stored else array.view(dtype), expected


def coded(rng, size):
    """Draw a dictionary or runs of values."""
    values, expected = leaf(rng, 4)
    # Arrow makes no runs of extension types, nor of times that no day has.
    odd = isinstance(values.type, pa.BaseExtensionType) or pa.types.is_time(values.type)
    if rng.random() < 0.5 or odd or size == 0:
        codes = [rng.choice([None, 0, 1, 2, 3]) for _ in range(size)]
        array = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), values)
        return array, [None if code is None else expected[code] for code in codes]
    ends = [*sorted(rng.sample(range(1, size + 4), 3)), size + 4]
    runs = pa.RunEndEncodedArray.from_arrays(pa.array(ends, pa.int32()), values)
    places = [sum(end <= place for end in ends) for place in range(size)]
    return runs.slice(0, size), [expected[place] for place in places]


def array_of(rng, size, depth, *, in_list=False):
    """Draw an array that is a slice of another, and its cells as JSON."""
    before, after = rng.randint(0, 3), rng.randint(0, 2)
    whole = before + size + after
    kinds = ["leaf", "leaf"] if in_list else ["leaf", "leaf", "coded"]
    if depth:
        kinds += ["struct", "list", "large", "fixed", "map", *(["view"] if HAS_VIEWS else [])]
    kind = rng.choice(kinds)
    if kind == "leaf":
        array, values = leaf(rng, whole)
    elif kind == "coded":
        array, values = coded(rng, whole)
    else:
        array, values = nested(rng, kind, whole, depth)
    return array[before : before + size], values[before : before + size]


def nested(rng, kind, size, depth):
    valid = [rng.random() < 0.8 for _ in range(size)]
    mask = pa.array([not ok for ok in valid], pa.bool_())
    if kind == "struct":
        parts = [array_of(rng, size, depth - 1, in_list=True) for _ in range(rng.randint(1, 3))]
        names = ["a", "é", 'q"'][: len(parts)]
        array = pa.StructArray.from_arrays([part for part, _ in parts], names, mask=mask)
        rows = zip(*(values for _, values in parts), strict=True)
        cells = [dict(zip(names, row, strict=True)) for row in rows]
    else:
        lengths = [2 if kind == "fixed" else rng.randint(0, 3) for _ in range(size)]
        ends = np.cumsum([0, *lengths])
        items, values = array_of(rng, int(ends[-1]), depth - 1, in_list=True)
        cells = [values[a:b] for a, b in itertools.pairwise(ends)]
        offsets = pa.array(ends, pa.int64() if kind == "large" else pa.int32())
        if kind == "fixed":
            array = pa.FixedSizeListArray.from_arrays(items, 2, mask=mask)
        elif kind == "map":
            keys = pa.array([f"k{n}" for n in range(len(items))], pa.string())
            array = pa.MapArray.from_arrays(offsets, keys, items, mask=mask)
            cells = [
                {f"k{start + n}": item for n, item in enumerate(cell)}
                for start, cell in zip(ends, cells, strict=False)
            ]
        elif kind == "view":
            sizes = pa.array(lengths, pa.int32())
            array = pa.ListViewArray.from_arrays(offsets[:-1], sizes, items, mask=mask)
        else:
            make = pa.LargeListArray if kind == "large" else pa.ListArray
            array = make.from_arrays(offsets, items, mask=mask)
    return array, [cell if ok else None for ok, cell in zip(valid, cells, strict=True)]


def arrow_column(rng, size):
    """Draw a column, and its cells as JSON."""
    return array_of(rng, size, rng.randint(0, 2))


def is_rejected(value):
    """Whether a cell, or one inside it, makes its row one that cannot be sent."""
    if isinstance(value, dict):
        return any(map(is_rejected, value.values()))
    return any(map(is_rejected, value)) if isinstance(value, list) else value is REJECTED


# -- Python objects: each cell, its JSON, its key, its shard, and its bytes ------------------

NO = REJECTED
BERLIN = dt.timezone(dt.timedelta(hours=1))


class NoOffset(dt.tzinfo):
    """A zone that does not know its offset: times in it are naive."""

    def utcoffset(self, _):
        return None


def _float(value):
    return ("float", repr(value))


CELLS = [
    # cell, JSON, key, shard, raw or client info
    ("x", "x", "x", NO, b"x"),
    (np.str_("é"), "é", "é", NO, "é".encode()),
    ("", "", "", NO, b""),
    ("\ud800", NO, NO, NO, NO),
    (b"ab", "YWI=", NO, NO, b"ab"),
    (bytearray(b"abc"), "YWJj", NO, NO, b"abc"),
    (memoryview(b"abcd")[::2], "YWM=", NO, NO, b"ac"),
    (np.bytes_(b"z"), "eg==", NO, NO, b"z"),
    (True, True, NO, NO, NO),
    (np.bool_(False), False, NO, NO, NO),
    (7, 7, "7", 7, NO),
    (-1, -1, "-1", NO, NO),
    (2**53 + 1, 2**53 + 1, str(2**53 + 1), NO, NO),
    (2**64 - 1, 2**64 - 1, str(2**64 - 1), NO, NO),
    (2**64, NO, str(2**64), NO, NO),
    (np.int8(5), 5, "5", 5, NO),
    (np.uint64(2**64 - 1), 2**64 - 1, str(2**64 - 1), NO, NO),
    (np.int64(4_095), 4_095, "4095", 4_095, NO),
    (4_096, 4_096, "4096", NO, NO),
    (2.0, _float(2.0), "2", 2, NO),
    (2.5, _float(2.5), NO, NO, NO),
    (-0.0, _float(-0.0), "0", 0, NO),
    (np.float16(0.1), _float(0.1), NO, NO, NO),
    (np.float32(0.1), _float(0.1), NO, NO, NO),
    (np.float64(3.0), _float(3.0), "3", 3, NO),
    (math.inf, NO, NO, NO, NO),
    (np.float32("-inf"), NO, NO, NO, NO),
    (Decimal("1.50"), "1.50", NO, NO, NO),
    (Decimal("Infinity"), NO, NO, NO, NO),
    (dt.date(2026, 11, 22), "2026-11-22", NO, NO, NO),
    (dt.datetime(2026, 11, 22, 1, 2, 3, 40), "2026-11-22T01:02:03.000040", NO, NO, NO),
    (dt.datetime(2026, 11, 22, 1, tzinfo=BERLIN), "2026-11-22T00:00:00Z", NO, NO, NO),
    (dt.datetime(2026, 11, 22, 1, tzinfo=NoOffset()), "2026-11-22T01:00:00", NO, NO, NO),
    (dt.datetime(1, 1, 1, tzinfo=BERLIN), NO, NO, NO, NO),
    (pd.Timestamp("2026-11-22T00:00:00.000000001"), "2026-11-22T00:00:00.000000001", NO, NO, NO),
    (pd.Timestamp("2026-11-22", tz="Asia/Kolkata"), "2026-11-21T18:30:00Z", NO, NO, NO),
    (np.datetime64("2026-11"), NO, NO, NO, NO),
    (np.datetime64("2026-11-22T01"), "2026-11-22T01:00:00", NO, NO, NO),
    (np.datetime64("2026-11-22T01:00:00.123456789"), "2026-11-22T01:00:00.123456789", NO, NO, NO),
    (np.datetime64("20000-01-01"), NO, NO, NO, NO),
    (dt.time(1, 2, 3), "01:02:03", NO, NO, NO),
    (dt.time(1, tzinfo=BERLIN), NO, NO, NO, NO),
    (dt.timedelta(days=-1, microseconds=1), "-PT86399.999999S", NO, NO, NO),
    (pd.Timedelta(1, "ns"), "PT0.000000001S", NO, NO, NO),
    (np.timedelta64(90, "m"), "PT5400S", NO, NO, NO),
    (np.timedelta64(1, "Y"), NO, NO, NO, NO),
    (UUID(int=1), str(UUID(int=1)), str(UUID(int=1)), NO, NO),
    ([1, None, "x"], [1, None, "x"], NO, NO, NO),
    ((), [], NO, NO, NO),
    (np.array([[1, 2]]), [[1, 2]], NO, NO, NO),
    ({"k": np.float32(0.1)}, {"k": _float(0.1)}, NO, NO, NO),
    ({1: 2}, NO, NO, NO, NO),
    ({1, 2}, NO, NO, NO, NO),
    (1j, NO, NO, NO, NO),
    (pd.Period("2026"), NO, NO, NO, NO),
    *(
        (missing, None, None, None, NO)
        for missing in (
            None, math.nan, np.float32("nan"), np.float16("nan"), pd.NaT, pd.NA,
            Decimal("NaN"), Decimal("sNaN"),
            np.datetime64("NaT", "ns"), np.timedelta64("NaT", "ns"), np.ma.masked,
        )
    ),
]  # fmt: skip


def object_column(rows):
    """Make a column of the cells of some rows of ``CELLS``."""
    cells = np.empty(len(rows), dtype=object)
    for place, row in enumerate(rows):
        cells[place] = row[0]
    return pd.Series(cells, dtype=object)

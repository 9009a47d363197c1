"""Hypothesis strategies: tables of any type, index and missing values."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import strategies as st

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=8)
COLUMN_NAMES = NAMES.filter(lambda name: not name.startswith("__v3io_"))  # these are never sent
FIELD_NAMES = NAMES.filter(lambda name: "\0" not in name)  # Arrow's C interface ends names there
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12)
TOP = 2  # levels of nesting
UUIDS = [pa.uuid] if hasattr(pa, "uuid") else []  # from pyarrow 18 on
UNITS = ("s", "ms", "us", "ns")
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
FIRST_SECOND, END_SECOND = -62_135_596_800, 253_402_300_800  # the years 1 - 9999
INT64 = (-(2**63), 2**63 - 1)


def _integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    if signed:
        return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return st.integers(0, 2**bits - 1)


def _floats(width: int) -> st.SearchStrategy[float]:
    return st.floats(width=width, allow_nan=False, allow_infinity=False)


def _ticks(unit: str, first: int, end: int) -> st.SearchStrategy[int]:
    scale = PER_SECOND[unit]
    return st.integers(max(INT64[0] + 1, first * scale), min(INT64[1], end * scale - 1))


def _decimals(dtype: Any) -> st.SearchStrategy[Decimal]:
    unscaled = st.integers(-(10**dtype.precision) + 1, 10**dtype.precision - 1)
    return unscaled.map(lambda digits: Decimal(f"{digits}E{-dtype.scale}"))


def _raw(array_type: pa.DataType, physical: pa.DataType, ticks: st.SearchStrategy[int]) -> Any:
    """Values of a type that Python's own types cannot hold: by their integers."""
    return array_type, ticks, physical


LEAVES: list[tuple[pa.DataType, st.SearchStrategy[Any], pa.DataType | None]] = [
    (pa.bool_(), st.booleans(), None),
    *(
        (getattr(pa, f"int{bits}")(), _integers(bits, signed=True), None)
        for bits in (8, 16, 32, 64)
    ),
    *(
        (getattr(pa, f"uint{bits}")(), _integers(bits, signed=False), None)
        for bits in (8, 16, 32, 64)
    ),
    (pa.float16(), _floats(16).map(np.float16), None),
    (pa.float32(), _floats(32), None),
    (pa.float64(), _floats(64), None),
    *(
        (dtype, _decimals(dtype), None)
        for dtype in (
            pa.decimal128(12, 3),
            pa.decimal128(38, 38),
            pa.decimal128(5, -2),
            pa.decimal256(60, 7),
        )
    ),
    (pa.string(), TEXT, None),
    (pa.large_string(), TEXT, None),
    (pa.string_view(), TEXT, None),
    (pa.binary(), st.binary(max_size=12), None),
    (pa.large_binary(), st.binary(max_size=12), None),
    (pa.binary_view(), st.binary(max_size=40), None),
    (pa.binary(5), st.binary(min_size=5, max_size=5), None),
    *((make(), st.binary(min_size=16, max_size=16), pa.binary(16)) for make in UUIDS),
    (pa.date32(), st.dates(), None),
    (pa.date64(), st.dates(), None),
    (pa.null(), st.none(), None),
    *(_raw(pa.time32(unit), pa.int32(), _ticks(unit, 0, 86_400)) for unit in UNITS[:2]),
    *(_raw(pa.time64(unit), pa.int64(), _ticks(unit, 0, 86_400)) for unit in UNITS[2:]),
    *(
        _raw(pa.timestamp(unit, zone), pa.int64(), _ticks(unit, FIRST_SECOND, END_SECOND))
        for unit in UNITS
        for zone in (None, "UTC", "Europe/Berlin", "+05:30")
    ),
    *(_raw(pa.duration(unit), pa.int64(), st.integers(*INT64)) for unit in UNITS),
]


@st.composite
def leaf_arrays(draw: st.DrawFn, size: int) -> pa.Array:
    """Draw an array of a type without children, with nulls."""
    dtype, values, physical = draw(st.sampled_from(LEAVES))
    cells = draw(st.lists(st.none() | values, min_size=size, max_size=size))
    if physical is None:
        return pa.array(cells, dtype)
    storage = pa.array(cells, physical)
    if isinstance(dtype, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(dtype, storage)
    return storage.view(dtype)


@st.composite
def arrays(draw: st.DrawFn, size: int, depth: int = TOP) -> pa.Array:
    """Draw an array of any type that has JSON, with nulls."""
    kinds = ["leaf", "leaf", "leaf", "dictionary", "runs", "list", "fixed", "view", "struct", "map"]
    if depth < TOP:  # few of Arrow's kernels take runs inside other values
        kinds.remove("runs")
    kind = draw(st.sampled_from(kinds if depth else ["leaf"]))
    if kind == "leaf":
        leaves = leaf_arrays(size)
        # Arrow itself loses count of columns of nothing but nulls inside lists.
        return draw(leaves if depth == TOP else leaves.filter(lambda v: v.type != pa.null()))
    if kind == "dictionary":
        return _draw_dictionary(draw, size)
    if kind == "runs":
        values = draw(leaf_arrays(size).filter(_can_run))
        return pa.RunEndEncodedArray.from_arrays(pa.array(range(1, size + 1), pa.int32()), values)
    if kind == "struct":
        names = draw(st.lists(FIELD_NAMES, min_size=1, max_size=3, unique=True))
        children = [draw(arrays(size, depth - 1)) for _ in names]
        return pa.StructArray.from_arrays(children, names, mask=draw(_masks(size)))
    return _draw_nested(draw, kind, size, depth)


def _can_run(array: pa.Array) -> bool:
    """Arrow cannot decode runs of these."""
    unfit = isinstance(array.type, pa.BaseExtensionType) or pa.types.is_null(array.type)
    return not unfit and len(array) > 0


def _draw_dictionary(draw: st.DrawFn, size: int) -> pa.Array:
    values = draw(leaf_arrays(3).filter(_can_be_dictionary))
    indices = draw(st.lists(st.none() | st.integers(0, 2), min_size=size, max_size=size))
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int8()), values)


def _can_be_dictionary(array: pa.Array) -> bool:
    unfit = isinstance(array.type, pa.BaseExtensionType) or pa.types.is_null(array.type)
    return not unfit


def _draw_nested(draw: st.DrawFn, kind: str, size: int, depth: int) -> pa.Array:
    if kind == "fixed":
        values = draw(arrays(size * 2, depth - 1))
        return pa.FixedSizeListArray.from_arrays(values, 2, mask=draw(_masks(size)))
    lengths = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    values = draw(
        arrays(int(offsets[-1]), depth - 1).filter(
            lambda v: kind != "view" or "uuid" not in str(v.type)
        )
    )
    if kind == "map":
        keys = pa.array([f"k{i}" for i in range(len(values))], pa.string())
        return pa.MapArray.from_arrays(pa.array(offsets), keys, values, mask=draw(_masks(size)))
    if kind == "view":
        return pa.ListViewArray.from_arrays(
            pa.array(offsets[:-1]), pa.array(np.diff(offsets)), values, mask=draw(_masks(size))
        )
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=draw(_masks(size)))


def _masks(size: int) -> st.SearchStrategy[pa.BooleanArray]:
    flags = st.lists(st.booleans(), min_size=size, max_size=size)
    return flags.map(lambda mask: pa.array(mask, pa.bool_()))


@st.composite
def tables(draw: st.DrawFn, max_rows: int = 12) -> pa.Table:
    """Draw a pyarrow Table of any types."""
    size = draw(st.integers(0, max_rows))
    names = draw(st.lists(COLUMN_NAMES, min_size=1, max_size=4, unique=True))
    return pa.table([draw(arrays(size)) for _ in names], names=names)


COLUMNS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    ("bool", st.booleans()),
    ("int8", _integers(8, signed=True)),
    ("int64", _integers(64, signed=True)),
    ("uint64", _integers(64, signed=False)),
    ("float32", _floats(32) | st.just(np.nan)),
    ("float64", _floats(64) | st.just(np.nan)),
    ("Int64", _integers(64, signed=True) | st.just(pd.NA)),
    ("Float64", _floats(64) | st.just(pd.NA)),
    ("boolean", st.booleans() | st.just(pd.NA)),
    ("string", TEXT | st.just(pd.NA)),
    ("category", TEXT | st.none()),
    (pd.ArrowDtype(pa.int64()), _integers(64, signed=True) | st.none()),
    (pd.ArrowDtype(pa.string()), TEXT | st.none()),
    (pd.SparseDtype("float64"), _floats(64)),
    ("object", TEXT | st.none()),
    ("object", _integers(64, signed=True) | st.none()),
    ("object", st.booleans() | st.none()),
    ("object", st.binary(max_size=8) | st.none()),
    ("object", st.dates() | st.none()),
    ("object", st.times() | st.none()),
    ("object", st.lists(st.integers(-9, 9), max_size=3) | st.none()),
    ("object", st.dictionaries(NAMES, TEXT | st.integers(-9, 9), max_size=3) | st.none()),
    (
        "object",
        st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-9, max_value=9),
    ),
    *((f"datetime64[{unit}]", _ticks(unit, -9_000_000_000, 9_000_000_000)) for unit in UNITS),
    *((f"timedelta64[{unit}]", _ticks(unit, -9_000_000_000, 9_000_000_000)) for unit in UNITS),
    ("datetime64[ns, Europe/Berlin]", _ticks("ns", -9_000_000_000, 9_000_000_000)),
    ("datetime64[s, UTC]", _ticks("s", -9_000_000_000, 9_000_000_000)),
]


@st.composite
def series(draw: st.DrawFn, size: int) -> pd.Series[Any]:
    """Draw a pandas Series of any dtype."""
    dtype, values = draw(st.sampled_from(COLUMNS))
    cells = draw(st.lists(values, min_size=size, max_size=size))
    if str(dtype).startswith(("datetime64", "timedelta64")):
        naive, _, zone = str(dtype).rstrip("]").partition(", ")
        ticks = pd.Series(np.array(cells, np.int64).view(naive + "]"))
        return ticks.dt.tz_localize("UTC").dt.tz_convert(zone) if zone else ticks
    if dtype != "object":
        return pd.Series(cells, dtype=dtype)
    objects = np.empty(size, dtype=object)
    objects[:] = cells
    return pd.Series(objects, dtype=object)


@st.composite
def indexes(draw: st.DrawFn, size: int) -> pd.Index[Any]:
    """Draw an index: ranges, repeated labels, dates, several levels."""
    kind = draw(st.sampled_from(["range", "labels", "dates", "levels"]))
    if kind == "range":
        return pd.RangeIndex(5, 5 + size)
    if kind == "dates":
        return pd.date_range("2026-01-01", periods=size, tz="UTC", name="when")
    labels = draw(st.lists(TEXT, min_size=size, max_size=size))
    if kind == "labels":
        return pd.Index(labels, dtype=object, name=draw(st.none() | st.just("label")))
    return pd.MultiIndex.from_arrays([labels, range(size)], names=["a label", None])


@st.composite
def frames(draw: st.DrawFn, max_rows: int = 12) -> pd.DataFrame:
    """Draw a DataFrame of any dtypes on any index."""
    size = draw(st.integers(0, max_rows))
    names = draw(st.lists(COLUMN_NAMES, min_size=1, max_size=4, unique=True))
    index = draw(indexes(size))
    columns = [draw(series(size)) for _ in names]
    frame = pd.DataFrame(dict(enumerate(columns)), index=range(size)).set_axis(index)
    frame.columns = pd.Index(names, dtype=object)
    return frame

"""Exact casts: a cell is what it was, or null and marked, whatever its neighbors are."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.internals import cast_cells

TYPES = (
    pa.int8(),
    pa.uint64(),
    pa.int64(),
    pa.float16(),
    pa.float32(),
    pa.float64(),
    pa.decimal128(5, 2),
    pa.decimal128(38, 20),
    pa.decimal256(60, 1),
)
INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 70_000)
TEXTS = st.sampled_from(
    ["7", "-0", "1.50", "007", "0x1F", "12E45", "1e5", "1e+400", ".5", "nan", "inf", " 1", "", "é"]
) | INTEGERS.map(str)
CELLS = (
    (pa.int64(), INTEGERS),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.float64(), INTEGERS.map(float)),
    (pa.float32(), st.floats(width=32, allow_nan=False)),
    (pa.decimal128(38, 10), INTEGERS.map(Decimal) | st.decimals(-9, 9, places=10)),
    (pa.string(), TEXTS),
    (pa.binary(), TEXTS.map(str.encode)),
)
COLUMNS = st.one_of(
    st.lists(st.none() | cells, max_size=6).map(lambda values, own=own: pa.array(values, own))
    for own, cells in CELLS
)


def read_number(cell):
    return Decimal(cell.decode() if isinstance(cell, bytes) else str(cell))


def as_written(cell, dtype):
    """Return what a number says: its value, and its shortest digits where it is a float."""
    if not pa.types.is_floating(dtype) or not math.isfinite(cell):
        return {read_number(cell)}
    digits = np.format_float_positional(np.dtype(dtype.to_pandas_dtype()).type(cell))
    return {Decimal(float(cell)), Decimal(digits)}


@given(COLUMNS, st.sampled_from(TYPES), st.booleans())
def test_a_number_stays_the_same_or_is_marked(cells, dtype, is_strict):
    try:
        cast, bad = cast_cells(cells, dtype, is_strict=is_strict)
    except pa.ArrowNotImplementedError:
        assert is_strict  # bytes are not numbers where nobody chose the type
        assert cells.type == pa.binary()
        return
    assert cast.type == dtype
    assert not (bad & cells.is_null().to_numpy(zero_copy_only=False)).any()
    for own, new, is_bad in zip(cells.to_pylist(), cast.to_pylist(), bad.tolist(), strict=True):
        assert (new is None) == (own is None or is_bad)
        if new is None:
            continue
        before = as_written(own, cells.type)
        assert before & as_written(new, dtype) or any(map(Decimal.is_nan, before))


@given(COLUMNS, st.sampled_from(TYPES), st.booleans())
def test_a_cell_is_judged_alone(cells, dtype, is_strict):
    try:
        cast, bad = cast_cells(cells, dtype, is_strict=is_strict)
    except pa.ArrowNotImplementedError:
        return
    for row in range(len(cells)):
        alone, is_bad = cast_cells(cells[row : row + 1], dtype, is_strict=is_strict)
        assert (str(alone[0]), is_bad[0]) == (str(cast[row]), bad[row])


@pytest.mark.parametrize(
    ("cells", "dtype", "fit", "strictly"),
    [
        (["5", "007", "1e5", "0x1F", "1.0"], pa.int64(), [0, 1], [0]),
        (["1.5", "1e5", "1.2e5", "nan", "9007199254740993"], pa.float64(), [0, 1, 2, 3], [0, 2]),
        (["100", "2048", "2049"], pa.float16(), [0, 1], [0, 1]),
        (["true", "False", "1"], pa.bool_(), [0, 1, 2], [0, 1]),
        (["10:30:00", "25:00:00", "noon"], pa.time32("s"), [0], [0]),
        ([b"5", b"0x1F", b"\xff"], pa.int64(), [0], None),
        ([b"5", b"\xff"], pa.string(), [0], None),
        ([["5"], ["0x1F"], ["007"]], pa.list_(pa.int64()), [0, 2], [0]),
        ([5, 300], pa.string(), [0, 1], None),
        ([7, 2049, 70_000], pa.float16(), [0], [0]),
        ([0.5, 0.1, 1e300], pa.float32(), [0, 1], [0]),
        ([1.0, math.nan, 1.5], pa.int64(), [0, 1], [0, 1]),
        ([Decimal("5.0"), Decimal("5.5")], pa.int64(), [0], [0]),
        (["7" + "0" * 36, "7.5e+36", "7.5e+3"], pa.decimal128(38, 2), [2], [2]),
        (["0.94" + "0" * 39, "0.94" + "0" * 35], pa.decimal128(5, 2), [1], [1]),
        ([7 * 10**18, 7], pa.decimal128(38, 20), [1], [1]),
        ([7e18, 7.5], pa.decimal128(38, 20), [1], [1]),
        ([Decimal(7 * 10**18), Decimal(7)], pa.decimal128(38, 20), [1], [1]),
        ([Decimal(70), Decimal(0)], pa.decimal256(76, 76), [1], [1]),
        ([1], pa.time64("us"), None, None),
        ([1], pa.timestamp("s"), [0], None),
        (["x"], pa.binary(), None, None),
        ([True], pa.int64(), [0], None),
        ([1], pa.bool_(), None, None),
    ],
)
def test_what_fits(cells, dtype, fit, strictly):
    for is_strict, rows in ((False, fit), (True, strictly)):
        if rows is None:
            with pytest.raises(pa.ArrowNotImplementedError):
                cast_cells(pa.array(cells), dtype, is_strict=is_strict)
        else:
            _, bad = cast_cells(pa.array(cells), dtype, is_strict=is_strict)
            assert np.flatnonzero(~bad).tolist() == rows


def test_nan_is_null():
    cast, bad = cast_cells(pa.array([math.nan, None, 1.0]), pa.decimal128(5, 2))
    assert cast.to_pylist() == [None, None, Decimal("1.00")]
    assert not bad.any()

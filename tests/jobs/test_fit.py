"""A column with a cell that does not fit its type: as text, it means what it meant."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from v3io_frames_put.jobs._fit import Piece, cast_column, fit_cells, fit_spellings, respell
from v3io_frames_put.jobs._types import tell_type, told_type

YEARS = {"min_value": datetime(1, 1, 2), "max_value": datetime(9999, 12, 30)}
CELLS = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float64(): st.floats(),
    pa.float32(): st.floats(width=32),
    pa.float16(): st.floats(width=16).map(np.float16),
    pa.bool_(): st.booleans(),
    pa.date32(): st.dates(),
    pa.date64(): st.dates(date(1, 1, 2)),
    pa.timestamp("us"): st.datetimes(**YEARS),
    pa.timestamp("us", "Europe/Berlin"): st.datetimes(**YEARS, timezones=st.just(timezone.utc)),
    pa.decimal128(30, 4): st.decimals(-(10**25), 10**25, places=4),
    pa.large_string(): st.text(),
}
TYPES = pytest.mark.parametrize("dtype", list(CELLS), ids=str)


@TYPES
@given(data=st.data())
def test_what_fits_is_read_from_text_as_it_was(dtype, data):
    cells = data.draw(st.lists(st.none() | CELLS[dtype], max_size=9))
    spelt = data.draw(
        st.lists(st.none() | st.text(max_size=5), min_size=len(cells), max_size=len(cells))
    )
    nulls = [row for row, cell in enumerate(cells) if cell is None]
    misfits = data.draw(st.sets(st.sampled_from(nulls))) if nulls else set()
    typed, texts = pa.array(cells, dtype), pa.array(spelt, pa.string())
    text, _ = respell(texts, typed, misfits)
    for row, (was, cell) in enumerate(zip(typed, text, strict=True)):
        if row in misfits:
            assert cell.equals(texts[row])
        else:
            again = pa.array([cell.as_py()], pa.string()).cast(dtype)
            assert str(again[0]) == str(was)


@TYPES
def test_a_column_of_text_tells_what_it_is_read_as(dtype):
    assert told_type(tell_type(pa.field("x", pa.string()), dtype)) == dtype


@pytest.mark.parametrize("told", [b"int65", b"\xff", b"time32[s]", b"list<item: int64>"])
def test_what_tells_of_no_type_is_text(told):
    field = pa.field("x", pa.string(), metadata={b"v3io_read_as": told})
    assert told_type(field) == pa.string()
    assert told_type(field.with_type(pa.int32())) == pa.int32()


def test_as_it_is_spelt_where_it_means_the_same():
    spelt = pa.array(["007", " 5", "1.50", "oops", None])
    typed = pa.array([7, 5, 1.5, None, None], pa.float64())
    text, would_fit = respell(spelt, typed, {3})
    assert text.to_pylist() == ["007", "5", "1.50", "oops", None]
    assert would_fit == set()
    assert respell(spelt, pa.nulls(5, pa.float64()), {0, 3})[1] == {0}


@pytest.mark.parametrize("layout", [pa.string(), pa.large_string()])
def test_a_whole_number_in_text_that_a_double_would_change_is_refused(layout):
    exact, changed = str(2**53), str(2**53 + 1)
    piece = Piece({"x": pa.array([exact, changed, "1.5"], layout)}, 3, "a.parquet")
    assert cast_column(piece, "x", pa.float64()).to_pylist() == [2.0**53, None, 1.5]
    assert piece.refusals == {
        1: f"a.parquet, column 'x': '{changed}' is no double, which the column has. Correct the "
        f"cell, or give the column another type by types."
    }
    assert cast_column(piece, "x", pa.decimal128(20, 0))[1].as_py() == Decimal(changed)


@given(st.lists(st.none() | st.sampled_from(["1", "2", "oops", "\udcff", ""]), max_size=30))
def test_each_spelling_alone_fits_as_all_together(cells):
    def convert(part):
        return pa.array(part, pa.string()).cast(pa.int8())

    fitted, bad = fit_spellings(cells, pa.int8(), convert)
    each, misfits = fit_cells(cells, pa.int8(), convert) if cells else (fitted, [])
    assert fitted.equals(each)
    assert bad == misfits == [row for row, cell in enumerate(cells) if cell not in ("1", "2", None)]

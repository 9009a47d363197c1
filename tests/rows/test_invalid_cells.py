"""A row with an invalid cell is rejected by every face; a column ``__v3io_*`` is never sent."""

from __future__ import annotations

import json

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tests.internals import INVALID, plan_rows
from v3io_frames_put import ColumnNotFound

TEXTS = pa.map_(pa.string(), pa.string())
PAIRS = pa.list_(pa.struct({"key": pa.string(), "value": pa.string()}))
CELLS = [None, [], [("n", "two")], [("n", "x" * 80), ("room", "y")]]
TABLE = pa.table(
    {
        "n": pa.array([1, 2, None, None]),
        "room": ["hall", "attic", "hall", None],
        "__v3io_status": ["unsent"] * 4,
        INVALID: pa.array(CELLS, TEXTS),
    }
)


def as_frame(cells):
    return TABLE.to_pandas().assign(**{INVALID: pd.Series(cells, dtype=object)})


def plan(data, **options):
    (records,) = plan_rows(data, **options).records()
    return records


DATA = {
    "arrow": TABLE,
    "a batch": TABLE.to_batches()[0],
    "a reader": TABLE.to_reader,
    "pandas": TABLE.to_pandas(),
    "pandas, Arrow's dtypes": TABLE.to_pandas(types_mapper=pd.ArrowDtype),
    "polars": pl.from_arrow(
        TABLE.set_column(
            3,
            INVALID,
            TABLE[INVALID].cast(PAIRS),
        )
    ),
    "dicts": as_frame([None, {}, {"n": "two"}, {"n": "x" * 80, "room": "y"}]),
    "text": as_frame([float("nan"), "", "n=two", "n=x"]),
}


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("layout", ["json", "arrow"])
def test_its_row_is_rejected_and_no_null_takes_its_place(kind, layout):
    data = DATA[kind]() if callable(DATA[kind]) else DATA[kind]
    records = plan(data, format=layout)
    assert records.rows.tolist() == [0, 1]
    assert records.rejections.rows.tolist() == [2, 3]
    assert set(records.rejections.names) == {"UnencodableValue"}


def test_the_reason_shows_columns_and_cells():
    records = plan(TABLE)
    advice = "Correct them where they come from, or fill them in and remove their entries."
    assert records.rejections.details == [
        f"column '__v3io_invalid' names cells that did not fit: [('n', 'two')]. {advice}",
        f"column '__v3io_invalid' names cells that did not fit: [('n', '{'x' * 52}.... {advice}",
    ]


def test_columns_of_ours_are_never_sent():
    assert [json.loads(data) for data in plan(TABLE).data.to_pylist()] == [
        {"n": 1, "room": "hall"},
        {"n": 2, "room": "attic"},
    ]


@pytest.mark.parametrize(
    "option", [{"columns": ["n", "__v3io_status"]}, {"partition_key": INVALID}]
)
def test_no_option_can_name_one(option):
    with pytest.raises(ColumnNotFound, match=r"it has 'n', 'room'[.]"):
        plan_rows(TABLE, **option)


def test_a_cell_that_was_filled_in_is_sent():
    mended = TABLE.set_column(0, "n", pa.array([1, 2, 2, 4])).set_column(
        3, INVALID, pa.nulls(4, TEXTS)
    )
    assert plan(mended).rejections.names == []

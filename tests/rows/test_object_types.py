"""One Arrow type for a column of Python objects, or an error that names the row."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.internals import plan_rows
from tests.rows.frames import NoOffset
from v3io_frames_put.errors import UnsupportedType


def frame_of(*cells):
    objects = np.empty(len(cells), dtype=object)
    objects[:] = cells
    return pd.DataFrame({"a": pd.Series(objects, dtype=object)})


def arrow_type(*cells):
    (records,) = plan_rows(frame_of(*cells), format="arrow").records()
    return pa.ipc.open_stream(records.data[0].as_py()).schema.field("a").type


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (("x", None), pa.string()),
        ((None, 7), pa.int64()),
        ((None, None), pa.null()),
        ((True, np.bool_(False)), pa.bool_()),
        ((1.5, np.nan), pa.float64()),
        ((b"x",), pa.binary()),
        pytest.param((b"x", bytearray(b"x"), memoryview(b"xy")[::2]), pa.binary(), id="bytes"),
        ((Decimal("1.5"), Decimal("22.25")), pa.decimal128(4, 2)),
        ((Decimal("0E+400"), Decimal("-0E+9"), Decimal("0.00")), pa.decimal128(3, 2)),
        pytest.param(
            (dt.datetime(2026, 11, 22, tzinfo=NoOffset()), dt.datetime(2026, 1, 1)),
            pa.timestamp("us"),
            id="naive",
        ),
        ((dt.date(2026, 11, 22),), pa.date32()),
        (([1, 2], None, []), pa.list_(pa.int64())),
        (({"k": 1}, {"k": None}), pa.struct([("k", pa.int64())])),
    ],
    ids=str,
)
def test_objects_of_one_kind_have_one_type(cells, expected):
    assert arrow_type(*cells) == expected


@pytest.mark.parametrize(
    ("cells", "row"),
    [
        (("x", None, 7), 2),
        ((1, 2.5), 1),
        ((1, True), 1),
        (("x", b"x"), 1),
        (([1], ["x"]), 1),
        (([1, 2.5],), 0),
        (({"k": 1}, {"l": 1}), 1),
        ((2**70,), 0),
        pytest.param((object(),), 0, id="an object"),
    ],
    ids=str,
)
def test_a_mix_that_would_change_a_value_names_column_and_row(cells, row):
    with pytest.raises(UnsupportedType, match=rf"column 'a' has type object, and row {row} "):
        plan_rows(frame_of(*cells), format="arrow")


MISSING = [np.nan, np.float32("nan"), np.float16("nan"), pd.NaT, pd.NA, Decimal("sNaN")]
MISSING += [np.ma.masked]
MISSING += [np.datetime64("NaT", "ns"), np.timedelta64("NaT", "ns")]


@pytest.mark.parametrize("missing", MISSING, ids=lambda cell: f"{type(cell).__name__} {cell}")
@pytest.mark.parametrize("cell", [None, "x", 7, 1.5, b"x", dt.date(2026, 11, 22), [1]], ids=str)
def test_a_missing_cell_is_null_and_decides_no_type(missing, cell):
    (records,) = plan_rows(
        frame_of(cell, missing), format="arrow", rows_per_record="auto"
    ).records()
    column = pa.ipc.open_stream(records.data[0].as_py()).read_all()["a"]
    assert column.type == arrow_type(cell)
    assert column.to_pylist() == [cell, None]


def test_a_missing_item_of_a_list_is_null():
    frame = frame_of([1.5, np.nan], [np.nan])
    (records,) = plan_rows(frame, format="arrow", rows_per_record="auto").records()
    column = pa.ipc.open_stream(records.data[0].as_py()).read_all()["a"]
    assert column.to_pylist() == [[1.5, None], [None]]


def test_the_type_is_decided_over_the_whole_column():
    cells = [None] * 40_000 + ["x"]
    (first, *_) = plan_rows(frame_of(*cells), format="arrow", rows_per_record="auto").records()
    assert pa.ipc.open_stream(first.data[0].as_py()).schema.field("a").type == pa.string()


def test_lists_that_hold_themselves_twice_are_nested_too_deeply():
    twice = []
    twice += [twice, twice]
    with pytest.raises(UnsupportedType, match="row 1 is nested too deeply"):
        plan_rows(frame_of([], twice), format="arrow")


def test_nesting_beyond_what_arrow_sends_names_the_column():
    cell, dtype = [], pa.list_(pa.null())
    for _ in range(62):
        cell, dtype = [cell], pa.list_(dtype)
    assert arrow_type(cell) == dtype
    for data in (frame_of([cell]), pa.table({"a": pa.array([], pa.list_(dtype))})):
        with pytest.raises(UnsupportedType, match=r"column 'a' has type .* over 64 levels"):
            plan_rows(data, format="arrow")


def test_a_lone_surrogate_rejects_its_row_alone():
    (records,) = plan_rows(frame_of("x", "\ud800"), format="arrow").records()
    assert records.rows.tolist() == [0]
    assert records.rejections.names == ["UnencodableValue"]

"""Types by name, and which two types have one that holds both."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pytest

from tests.internals import merge_schemas, promote, read_types
from tests.jobs.conftest import read_rows, write_parquet, write_text
from v3io_frames_put import ConfigError, DataError


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("string", pa.string()),
        ("double", pa.float64()),
        ("timestamp[us]", pa.timestamp("us")),
        ("timestamp[ms, Europe/Berlin]", pa.timestamp("ms", "Europe/Berlin")),
        ("decimal128(10, 2)", pa.decimal128(10, 2)),
        ("decimal(10,2)", pa.decimal128(10, 2)),
        (pa.int8(), pa.int8()),
    ],
)
def test_reads_types(name, dtype):
    assert read_types({"a": name}) == {"a": dtype}


def test_refuses_what_is_not_a_type():
    for name in ("text", "decimal128(50, 2)", "timestamp[h]"):
        with pytest.raises(ConfigError, match="is not a type; expected for example string"):
            read_types({"a": name})


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (pa.int8(), pa.int64(), pa.int64()),
        (pa.uint8(), pa.int8(), pa.int16()),
        (pa.uint64(), pa.int8(), pa.int64()),
        (pa.int32(), pa.float32(), pa.float64()),
        (pa.int16(), pa.float32(), pa.float32()),
        (pa.int64(), pa.float64(), pa.float64()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.null(), pa.string(), pa.string()),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.string(), pa.int64(), None),
        (pa.date32(), pa.date64(), pa.date64()),
        (pa.decimal128(5, 2), pa.float64(), None),
        (pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("us")),
        (pa.timestamp("s", "UTC"), pa.timestamp("s", "CET"), None),
        (pa.timestamp("s", "UTC"), pa.timestamp("s"), None),
        (pa.decimal128(5, 2), pa.decimal128(6, 4), pa.decimal128(7, 4)),
        (pa.decimal128(38, 0), pa.decimal128(38, 10), pa.decimal256(48, 10)),
        (pa.bool_(), pa.int8(), None),
    ],
)
def test_promotes(one, other, both):
    assert promote(one, other) == both


def test_merges_in_order_of_appearance_and_leaves_our_columns_out():
    merged = merge_schemas(
        [
            ("a", pa.schema([("x", pa.int8()), ("__v3io_status", pa.string())])),
            ("b", pa.schema([("y", pa.string()), ("x", pa.int16())])),
        ],
        {},
    )
    assert merged == pa.schema([("x", pa.int16()), ("y", pa.string())])


def test_types_of_the_user_settle_it():
    schemas = [("a", pa.schema([("x", pa.int8())])), ("b", pa.schema([("x", pa.string())]))]
    assert merge_schemas(schemas, {"x": pa.string()}).field("x").type == pa.string()
    with pytest.raises(DataError, match=r"b: column 'x' is string, and int8 in files before"):
        merge_schemas(schemas, {})


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(DataError, match="two columns are named 'x'"):
        merge_schemas([("a", pa.schema([("x", pa.int8()), ("x", pa.int8())]))], {})


def test_other_layouts_are_read_as_plain_ones():
    layouts = [
        pa.dictionary(pa.int8(), pa.string()),
        pa.string_view(),
        pa.run_end_encoded(pa.int32(), pa.string()),
        pa.string(),
    ]
    schemas = [(f"{n}.arrow", pa.schema([("c", dtype)])) for n, dtype in enumerate(layouts)]
    assert merge_schemas(schemas, {}) == pa.schema([("c", pa.string())])
    assert merge_schemas(schemas[:1], {"c": layouts[2]}) == pa.schema([("c", pa.string())])


def test_types_make_text_of_bytes_and_floats_of_decimals(tmp_path):
    columns = {"b": [b"x", b"\xff"], "d": pa.array([Decimal("1.10"), None])}
    found = read_rows(
        write_parquet(tmp_path / "a.parquet", **columns), types={"b": "string", "d": "double"}
    )
    assert found.rows == [{"b": "x", "d": 1.1}, {"b": None, "d": None}]
    assert list(found.invalid) == [1]


NOON = dt.datetime(2026, 11, 22, 12)
MIDNIGHT = dt.datetime(2026, 11, 22)


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [
        ("decimal128(10,2)", pa.array([1.25, 0.1, -3.0]), pa.array([1.239, 1e300, math.inf])),
        ("float", pa.array([1.25, 0.1, 1e30]), pa.array([0.123456789012, 1e300])),
        ("float", pa.array([Decimal("1.239")]), pa.array([Decimal("16777217.001")])),
        ("double", pa.array([Decimal("0.30")]), pa.array([Decimal("1.2345678901234567891")])),
        ("date32", pa.array([MIDNIGHT]), pa.array([NOON])),
        ("date32", pa.array([[MIDNIGHT]]), pa.array([[MIDNIGHT, NOON]])),
    ],
)
def test_types_change_no_value(tmp_path, dtype, good, bad):
    wanted = read_types({"c": dtype})["c"]
    if pa.types.is_list(good.type):
        wanted = pa.list_(wanted)
    for cells, count in ((good, 0), (bad, len(bad))):
        file = write_parquet(tmp_path / "a.parquet", c=cells)
        found = read_rows(file, types={"c": wanted})
        assert len(found.invalid) == count
        assert all(row["c"] is not None for row in found.rows[count:])


def test_a_float_that_is_no_number_keeps_it(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", c=[math.nan, math.inf, None])
    assert not read_rows(file, types={"c": "float"}).invalid


@pytest.mark.parametrize(
    ("cell", "dtype"),
    [
        (5, "bool"),
        (1e300, "bool"),
        (NOON, "time64[us]"),
        (NOON.replace(tzinfo=dt.timezone.utc), "timestamp[us]"),
        (NOON.replace(tzinfo=dt.timezone.utc), "date32"),
    ],
)
def test_types_that_would_lose_what_a_value_says_are_refused(tmp_path, cell, dtype):
    with pytest.raises(DataError, match="cannot become"):
        read_rows(write_parquet(tmp_path / "a.parquet", c=[cell]), types={"c": dtype})


def test_a_time_in_a_zone_that_nobody_knows_rejects_its_row_alone(tmp_path):
    times = pa.array([1, 10**6], pa.timestamp("us", "Mars/Olympus"))
    file = write_parquet(tmp_path / "a.parquet", t=times)
    found = read_rows(file, types={"t": "timestamp[s, UTC]"})
    assert found.invalid == {0: {"t": "a value that Python cannot hold"}}
    assert found.rows[1]["t"].second == 1


def test_an_index_of_one_file_alone_is_a_column(tmp_path):
    frame = pd.DataFrame({"v": [1]}, index=pd.Index([7], name="id"))
    frame.to_parquet(tmp_path / "0.parquet")
    assert read_rows(tmp_path).table.index == ["id"]
    write_parquet(tmp_path / "1.parquet", v=[2], id=[8])
    assert read_rows(tmp_path).table.index == []


def test_types_of_members_that_come_later_are_checked_first(tmp_path):
    file = write_text(tmp_path / "a.jsonl", '{"a":1}')
    with pytest.raises(DataError, match=r"'late' is string, which cannot become duration\[s\]"):
        read_rows(file, types={"late": "duration[s]"})

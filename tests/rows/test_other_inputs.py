"""Inputs of other libraries, tables one after another, and what is refused with help."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from tests.internals import plan_rows
from v3io_frames_put import ConfigError, DataError, UnsupportedType

TABLE = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]})
ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": None}, {"a": 3, "b": "z"}]


def read(data, **options):
    """Return the rows that would be sent, and why others would not, by row number."""
    sent, rejected = [], {}
    for records in plan_rows(data, **options).records():
        sent += map(json.loads, records.data.to_pylist())
        refused = records.rejections
        rejected |= dict(zip(refused.rows.tolist(), refused.details, strict=True))
    return sent, rejected


# -- libraries ---------------------------------------------------------------------------------


def test_a_lazy_frame_is_collected_as_it_is_read():
    lazy = pl.from_arrow(TABLE).lazy().filter(pl.col("a") > 1)
    assert read(lazy) == (ROWS[1:], {})
    assert read(lazy, columns=["b"]) == ([{"b": None}, {"b": "z"}], {})


def test_a_lazy_frame_without_rows_keeps_its_columns():
    assert read(pl.from_arrow(TABLE).lazy().filter(pl.col("a") > 9)) == ([], {})


def test_a_scanner_is_read():
    assert read(ds.dataset(TABLE).scanner(filter=ds.field("a") > 1)) == (ROWS[1:], {})


def test_a_delta_table_is_read(tmp_path):
    deltalake = pytest.importorskip("deltalake")
    deltalake.write_deltalake(str(tmp_path), TABLE)
    assert read(deltalake.DeltaTable(str(tmp_path)), columns=["b", "a"])[0] == [
        {"b": row["b"], "a": row["a"]} for row in ROWS
    ]


def test_an_iceberg_table_and_a_scan_of_it_are_read(tmp_path):
    catalogs = pytest.importorskip("pyiceberg.catalog.sql")
    catalog = catalogs.SqlCatalog(
        "own", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}"
    )
    catalog.create_namespace("house")
    table = catalog.create_table("house.rows", schema=TABLE.schema)
    table.append(TABLE)
    assert read(table)[0] == ROWS
    assert read(table.scan(row_filter="a > 1"), columns=["a"])[0] == [{"a": 2}, {"a": 3}]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what datasets imports
def test_a_hugging_face_dataset_is_read():
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_dict(TABLE.to_pydict())
    assert read(dataset)[0] == ROWS
    turned = dataset.select(range(len(ROWS) - 1, -1, -1))
    assert read(turned, columns=["a"])[0] == [{"a": row["a"]} for row in reversed(ROWS)]
    assert read(dataset.select([]))[0] == []


@pytest.mark.parametrize(
    "dtype", [pl.Object, pl.List(pl.Int64)], ids=["an object column", "a list is none"]
)
def test_polars_columns_of_python_objects_are_refused(dtype):
    frame = pl.DataFrame({"o": pl.Series([[1], [2]], dtype=dtype)})
    if dtype is not pl.Object:
        assert read(frame)[0] == [{"o": [1]}, {"o": [2]}]
        return
    for data in (frame, frame.lazy()):
        with pytest.raises(UnsupportedType, match=r"'o' has type polars Object"):
            read(data)


@pytest.mark.parametrize("dtype", [pl.Int128, pl.List(pl.Int128)], ids=str)
def test_polars_columns_that_arrow_lacks_are_refused(dtype):
    frame = pl.DataFrame({"o": [None]}, schema={"o": dtype})
    for data in (frame, frame.lazy(), [frame]):
        with pytest.raises(UnsupportedType, match=r"'o' has type polars .*Int128"):
            read(data)
    assert read(pl.DataFrame({"a": [{"Int128": 1}]}))[0] == [{"a": {"Int128": 1}}]


def test_columns_of_a_lazy_frame_are_selected_whatever_their_names():
    lazy = pl.LazyFrame({"b": [1], "*": [2], "^b$": [3]})
    assert read(lazy, columns=["*", "^b$"])[0] == [{"*": 2, "^b$": 3}]


# -- tables one after another ------------------------------------------------------------------

KINDS = {
    "frames": TABLE.to_pandas,
    "tables": lambda: TABLE,
    "record batches": lambda: TABLE.to_batches()[0],
    "polars frames": lambda: pl.from_arrow(TABLE),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("wrap", [list, iter, tuple, lambda parts: (part for part in parts)])
def test_tables_one_after_another_are_one(make, wrap):
    plan = plan_rows(wrap([make(), make()]))
    assert (plan.num_rows, plan.index) == (None, None)
    texts = [data for records in plan.records() for data in records.data.to_pylist()]
    assert [json.loads(text) for text in texts] == ROWS * 2


def test_a_csv_in_chunks_rejects_the_cell_that_does_not_fit_and_no_other():
    text = "id,name\n1,x\n2,y\n3,z\nn/a!,w\n5,\n6,007\n"
    sent, rejected = read(pd.read_csv(io.StringIO(text), chunksize=2), partition_key="name")
    assert sent == [
        {"id": 1, "name": "x"},
        {"id": 2, "name": "y"},
        {"id": 3, "name": "z"},
        {"id": 5, "name": None},
    ]
    assert list(rejected) == [3, 5]
    assert "column 'id': 'n/a!' is not a value of int64" in rejected[3]
    assert "column 'name': 7.0 is not a value of " in rejected[5]  # pandas took the zeros


def test_rows_that_failed_before_stay_rejected_until_their_cells_are_cleared():
    failed = pd.DataFrame({"a": [None, 2.0], "__v3io_invalid": [{"a": "one"}, None]})
    later = pd.DataFrame({"a": ["x"], "__v3io_invalid": [None]})
    sent, rejected = read([failed, later])
    assert sent == [{"a": 2.0}]
    assert list(rejected) == [0, 2]
    assert "cells that did not fit: {'a': 'one'}" in rejected[0]
    assert "'x' is not a value of double" in rejected[2]


def test_a_number_is_not_text():
    parts = [pd.DataFrame({"zip": ["00501"]}), pd.DataFrame({"zip": [10001, 10002]})]
    sent, rejected = read(parts)
    assert sent == [{"zip": "00501"}]
    assert sorted(rejected) == [1, 2]


@pytest.mark.parametrize(
    ("first", "later", "sent", "bad"),
    [
        ([1], [2.0, 2.5, np.nan], [2, None], {2}),
        ([1], [2, None], [2, None], set()),
        ([1], [2**53 + 1], [2**53 + 1], set()),
        ([1.5], [2], [2.0], set()),
        ([True], [False, None], [False, None], set()),
        ([True], [2, 0], [], {1, 2}),
        ([1], [True], [], {1}),
        ([1], pd.to_datetime(["2026-11-22"]), [], {1}),
        (pd.to_datetime(["2026-11-22"]), [3], [], {1}),
        (pd.to_datetime(["2026-11-22"]), pd.to_datetime(["2026-11-22"], utc=True), [], {1}),
        ([1], np.array([2, "3", "x", 2.5, {}], object), [2, 3], {3, 4, 5}),
        (["x"], ["y", None], ["y", None], set()),
        ([{"k": 1}], [{"k": "v"}, 5, None], [{"k": "v"}, 5, None], set()),
        ([None], ["x", None], ["x", None], set()),
        (
            pd.to_datetime(["2026-11-22"]),
            ["2026-11-23", "soon"],
            ["2026-11-23T00:00:00"],
            {2},
        ),
    ],
)
def test_the_first_table_sets_the_types(first, later, sent, bad):
    parts = [pd.DataFrame({"v": first}), pd.DataFrame({"v": later})]
    rows, rejected = read(parts)
    assert [row["v"] for row in rows[1:]] == sent
    assert set(rejected) == bad


NANO = pd.Timestamp("2026-11-22T00:00:00.000000001")
ZONED = pd.Timestamp("2026-11-22T12:00", tz="America/New_York")
NOON = dt.datetime(2026, 11, 22, 12)
MISFITS = [
    (pa.timestamp("us"), [NOON, NANO, ZONED, NOON.date()], [0]),
    (pa.timestamp("ns"), [NANO, ZONED], [0]),
    (pa.timestamp("us", "UTC"), [NOON, ZONED], [1]),
    (pa.duration("us"), [pd.Timedelta(1, "ns"), pd.Timedelta(1, "us")], [1]),
    (pa.date32(), [NOON.date(), NOON], [0]),
    (pa.time64("us"), [dt.time(1), dt.time(2, tzinfo=dt.timezone.utc)], [0]),
    (pa.float64(), [1.0, True, 2, 2**53 + 1, Decimal("0.10000000000000000000001")], [0, 2]),
    (pa.float32(), pa.array([0.5, 0.1, 1e300, None]), [0, 3]),
    (pa.decimal128(10, 2), [Decimal("1.25"), 1.239, Decimal("1.239")], [0]),
    (pa.decimal128(10, 2), [7, 10**8, None, -(10**8) + 1], [0, 2, 3]),
    (pa.int64(), pa.array(["7", "0x1F", "00501", " 5"]), [0]),
    (pa.string(), ["x", "\ud800", b"y", 5], [0]),
    (pa.struct({"a": pa.int64()}), [{"a": 1}, {"a": 1, "b": 2}, {"b": 1}, None], [0, 3]),
    (pa.struct({"a": pa.string()}), [{"a": "x"}, {"a": 7}, {"a": None}], [0, 2]),
    (pa.struct({"a": pa.int8(), "b": pa.int8()}), [{"b": 1, "a": 2}, {"a": 1}], [0]),
    (pa.list_(pa.string()), [["x"], [1], [], None], [0, 2, 3]),
    (pa.list_(pa.bool_()), [[True], [2]], [0]),
    (pa.list_(pa.int64()), [[1], [True], [2.0], [2.5], [None]], [0, 2, 4]),
    (pa.list_(pa.timestamp("us")), pa.array([[0]], pa.list_(pa.timestamp("us", "UTC"))), []),
    (pa.large_list(pa.int64()), pa.array([[1], None]), [0, 1]),
    (pa.list_(pa.float64(), 2), pa.array([[1, 2], None, [3]]), [0, 1]),
    (
        pa.map_("string", "int64"),
        pa.array([[("k", 1)], None], pa.map_("large_string", "int8")),
        [0, 1],
    ),
    (pa.large_binary(), pa.array([b"x"]), [0]),
    (pa.time64("us"), pa.array([1], pa.time32("s")), [0]),
    (pa.date64(), pa.array([1], pa.date32()), [0]),
    (pa.date32(), pa.array([2**60], pa.timestamp("us")), []),
]


@pytest.mark.parametrize(("dtype", "later", "fit"), MISFITS, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("is_alone", [False, True])
def test_a_later_cell_is_sent_as_it_is_or_not_at_all(dtype, later, fit, is_alone):
    def part(cells):
        if isinstance(later, pa.Array):
            return pa.table({"v": cells})
        return pd.Series(cells, dtype=object).to_frame("v")

    parts = [part(later[row : row + 1]) for row in range(len(later))] if is_alone else [part(later)]
    empty = pa.table({"v": pa.array([], dtype)})
    sent, rejected = read([empty, *parts])
    assert set(rejected) == set(range(len(later))) - set(fit)
    if isinstance(later, pa.Array):
        fitting = later.take(pa.array(fit, pa.int64()))
        is_map = pa.types.is_map(dtype)  # of which pyarrow 23 casts none with null rows
        fitting = pa.array(fitting.to_pylist(), dtype) if is_map else fitting.cast(dtype)
    else:
        fitting = pa.array([later[row] for row in fit], dtype)
    expected, _ = read(pa.table({"v": fitting}))
    if not pa.types.is_timestamp(dtype):  # Arrow itself would cut nanoseconds here
        assert sent == expected


@pytest.mark.parametrize(
    ("later", "said"),
    [
        (pa.array([0, 2**60], pa.timestamp("us")), ["1970-01-01T00:00:00"]),
        (pa.array([2**60], pa.duration("s")), [f"PT{2**60}S"]),
        (pa.array([1], pa.time64("ns")), ["00:00:00.000000001"]),
        (pa.array([0.1], pa.float32()), [0.1]),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), [{"k": 1}]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
@pytest.mark.parametrize("first", [pa.array([None]), pd.Series([{"a": 1}])], ids=["null", "object"])
def test_a_piece_keeps_its_type_where_the_first_table_shows_none(first, later, said):
    first = pa.table({"v": first}) if isinstance(first, pa.Array) else first.to_frame("v")
    sent, _ = read([first, pa.table({"v": later})])
    assert [row["v"] for row in sent[1:]] == said


def test_a_piece_of_a_type_that_cannot_be_sent_is_refused_as_a_column_is():
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    for later in (union, pa.array([[(1, 1)]], pa.map_(pa.int64(), pa.int64()))):
        with pytest.raises(UnsupportedType, match="column 'v' has type"):
            read([pa.table({"v": pa.array([None])}), pa.table({"v": later})])


def test_a_key_of_a_piece_that_cannot_be_one_rejects_its_row():
    first = pa.table({"v": pa.array([None])})
    later = pa.table({"v": pa.array([0, None], pa.timestamp("us"))})
    for option in ("partition_key", "shard", "client_info"):
        sent, rejected = read([first, later], **{option: "v"})
        assert len(sent) == 2
        assert "column 'v' holds a TimestampScalar; expected" in rejected[1]


def test_a_later_column_that_comes_twice_ends_the_data():
    later = pd.DataFrame([[2, 3]], columns=["a", "a"])
    with pytest.raises(DataError, match="table 1 of data has the column 'a' twice"):
        read([pd.DataFrame({"a": [1]}), later])


def test_a_later_missing_column_is_null():
    parts = [pd.DataFrame({"a": [1], "b": ["x"], "c": [{}]}), pd.DataFrame({"a": [2]})]
    assert read(parts)[0][1] == {"a": 2, "b": None, "c": None}


def test_a_later_additional_column_ends_the_data():
    parts = [pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2], "b": [3]})]
    windows = plan_rows(iter(parts)).records()
    assert next(windows).data.to_pylist() == [b'{"a":1}']
    with pytest.raises(DataError, match="table 1 of data has the column 'b'"):
        next(windows)


def test_a_later_part_that_is_no_table_ends_the_data():
    windows = plan_rows([pd.DataFrame({"a": [1]}), 5]).records()
    next(windows)
    with pytest.raises(ConfigError, match="data gives a int in place 1"):
        next(windows)


def test_empty_tables_among_others_give_no_row():
    empty = TABLE.slice(0, 0)
    assert read([empty, TABLE, empty, TABLE])[0] == ROWS * 2
    assert read([empty]) == ([], {})


def test_index_levels_are_those_of_each_frame():
    parts = [pd.DataFrame({"a": [1]}, index=[7]), pd.DataFrame({"a": [2]}, index=[9])]
    assert read(parts, index=True)[0] == [{"index": 7, "a": 1}, {"index": 9, "a": 2}]


def test_arrow_takes_typed_columns_and_refuses_objects_of_data_that_is_read_once():
    (stream,) = [
        data
        for records in plan_rows([TABLE, TABLE], format="arrow", rows_per_record=6).records()
        for data in records.data.to_pylist()
    ] or [None]
    assert pa.ipc.open_stream(stream).read_all().to_pylist() == ROWS * 2
    with pytest.raises(UnsupportedType, match="this data is read once"):
        plan_rows([pd.DataFrame({"o": [{"a": 1}, 5]})], format="arrow")


def test_large_chunks_are_cut_to_windows():
    parts = [pd.DataFrame({"a": np.arange(20_000), "b": ["x"] * 20_000})] * 2
    sent, _ = read(parts)
    assert [row["a"] for row in sent] == [*range(20_000)] * 2


# -- what was read before ------------------------------------------------------------------------


def test_a_reader_that_was_read_is_an_error():
    reader = TABLE.to_reader()
    assert read(reader)[0] == ROWS
    with pytest.raises(ConfigError, match="a reader that was read before"):
        plan_rows(reader)


def test_a_generator_that_was_read_is_an_error():
    frames = (frame for frame in [TABLE.to_pandas()])
    read(frames)
    with pytest.raises(ConfigError, match="a generator that was read to its end before"):
        plan_rows(frames)


def test_an_iterator_that_gives_nothing_is_an_error():
    with pytest.raises(ConfigError, match="a list_iterator that gives nothing"):
        plan_rows(iter([]))


# -- what is not a table -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "call"),
    [
        ([{"a": 1}], "pd.DataFrame(data)"),
        ([[1, 2]], "pd.DataFrame(data)"),
        ([1, 2], "pd.DataFrame(data)"),
        ({"a": [1]}, "pd.DataFrame(data) if its values are columns"),
        (pd.Series([1]), "data.to_frame()"),
        (pl.Series([1]), "data.to_frame()"),
        (np.zeros((2, 2)), "pd.DataFrame(data, columns=[...])"),
        ("clicks.parquet", "v3io_frames_put.jobs.publish('clicks.parquet', stream)"),
        (pd.DataFrame({"a": [1]}).groupby("a"), "the DataFrame that was grouped"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_a_table_is_refused_with_the_call_that_helps(data, call):
    with pytest.raises(ConfigError, match=r"expected a pandas DataFrame") as raised:
        plan_rows(data)
    assert f"Try: {call}" in str(raised.value)


def test_a_dask_frame_is_refused_with_its_own_face(require_module):
    dd = require_module("dask.dataframe")
    frame = dd.from_pandas(TABLE.to_pandas(), npartitions=1)
    with pytest.raises(ConfigError, match=re.escape("import v3io_frames_put.dask")):
        plan_rows(frame)


@pytest.mark.parametrize("data", [5, None, object()])
def test_anything_else_is_refused(data):
    with pytest.raises(ConfigError, match=f"data is a {type(data).__name__}; expected a pandas"):
        plan_rows(data)

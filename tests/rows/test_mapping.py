"""Which column is what: columns, index levels, keys, shards, client info."""

from __future__ import annotations

import json
from decimal import Decimal
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from tests.internals import plan_rows
from v3io_frames_put.errors import ColumnNotFound, ConfigError, UnsupportedType

FRAME = pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]}, index=pd.Index([7, 7, 9], name="i"))


def only(data, **options):
    (records,) = plan_rows(data, **options).records()
    return records


def texts(records):
    return [data.decode() for data in records.data.to_pylist()]


def test_columns_go_into_data_in_the_order_asked_for():
    assert texts(only(FRAME, columns=["b", "a"]))[0] == '{"b":"x","a":1}'


def test_mapped_columns_stay_in_data_unless_columns_leaves_them_out():
    assert texts(only(FRAME, partition_key="b"))[0] == '{"a":1,"b":"x"}'
    records = only(FRAME, partition_key="b", columns=["a"])
    assert texts(records)[0] == '{"a":1}'
    assert records.routes.partition_key.to_pylist() == ["x", None, "z"]


def test_the_index_is_sent_when_asked_for():
    assert texts(only(FRAME))[0] == '{"a":1,"b":"x"}'
    assert texts(only(FRAME, index=True))[0] == '{"i":7,"a":1,"b":"x"}'


@pytest.mark.parametrize(
    ("index", "columns", "expected"),
    [
        (pd.Index([5]), ["a"], '{"index":5,"a":1}'),
        (pd.RangeIndex(5, 6), ["index"], '{"level_0":5,"index":1}'),
        (pd.MultiIndex.from_tuples([(5, "x")]), ["a"], '{"level_0":5,"level_1":"x","a":1}'),
        (pd.MultiIndex.from_tuples([(5, "x")], names=["k", 3]), ["a"], '{"k":5,"3":"x","a":1}'),
        (
            pd.date_range("2026-11-22", periods=1, tz="UTC"),
            ["a"],
            '{"index":"2026-11-22T00:00:00Z","a":1}',
        ),
    ],
    ids=["plain", "taken", "levels", "named levels", "dates"],
)
def test_index_levels_are_named_as_reset_index_names_them(index, columns, expected):
    frame = pd.DataFrame([[1]], columns=columns, index=index)
    assert texts(only(frame, index=True)) == [expected]
    assert [str(name) for name in frame.reset_index().columns] == [
        column.name for column in plan_rows(frame, index=True).columns
    ]


@pytest.mark.parametrize(
    ("index", "level", "label"),
    [
        (pd.Index([5, 3]), "index", 5),
        (pd.Index([5, 3], name="when"), "when", 5),
        (pd.MultiIndex.from_tuples([("x", 5), ("y", 3)]), "level_0", "x"),
    ],
    ids=["nameless", "named", "levels"],
)
@pytest.mark.parametrize("kind", ["table", "stream", "parquet"])
def test_an_index_that_arrow_keeps_for_pandas_is_an_index(index, level, label, kind, tmp_path):
    table = pa.Table.from_pandas(pd.DataFrame({"a": [1, 2]}, index=index))
    pq.write_table(table, tmp_path / "t.parquet")

    def data():
        files = pyarrow.dataset.dataset(tmp_path / "t.parquet")
        return {"table": table, "stream": table.to_reader(), "parquet": files}[kind]

    assert texts(only(data())) == ['{"a":1}', '{"a":2}']
    assert json.loads(texts(only(data(), index=True))[0])[level] == label
    key = str(label)
    assert only(data(), partition_key=level).routes.partition_key[0].as_py() == key


def test_a_stored_index_of_a_range_is_no_column():
    table = pa.Table.from_pandas(pd.DataFrame({"a": [1]}, index=pd.RangeIndex(5, 6)))
    assert texts(only(table, index=True)) == ['{"a":1}']


@pytest.mark.parametrize("window_bytes", [1, 2**20])
def test_a_level_has_one_type_whatever_is_missing_where(window_bytes):
    tuples = [(2**53 + 1, True, "x", 1.5), (None, None, None, None), (3, False, "y", 2.0)]
    index = pd.MultiIndex.from_tuples(tuples, names=["k", "flag", "t", "f"])
    frame = pd.DataFrame({"a": [0, 1, 2]}, index=index)
    records = plan_rows(frame, index=True, window_bytes=window_bytes).records()
    assert [text for window in records for text in texts(window)] == [
        '{"k":9007199254740993,"flag":true,"t":"x","f":1.5,"a":0}',
        '{"k":null,"flag":null,"t":null,"f":null,"a":1}',
        '{"k":3,"flag":false,"t":"y","f":2.0,"a":2}',
    ]
    plan = plan_rows(frame, index=True, format="arrow", window_bytes=window_bytes)
    streams = [data for window in plan.records() for data in window.data.to_pylist()]
    rows = [row for s in streams for row in pa.ipc.open_stream(s).read_all().to_pylist()]
    assert [(r["k"], r["flag"], r["t"], r["f"]) for r in rows] == tuples


def test_an_index_level_may_be_the_partition_key():
    assert only(FRAME, partition_key="i").routes.partition_key.to_pylist() == ["7", "7", "9"]


@pytest.mark.parametrize(
    "labels",
    [
        pd.Index([7, 8]),
        pd.Index([7, 8], dtype="uint8"),
        pd.Index([7.5, 8.0]),
        pd.Index([True, False]),
        pd.date_range("2026-11-22", periods=2),
        pd.period_range("2026-11", periods=2, freq="M"),
        pd.MultiIndex.from_tuples([("a", 1), ("a", 2)]),
        pd.CategoricalIndex(["u", "v"]),
    ],
    ids=lambda labels: str(labels.dtype),
)
def test_a_label_of_the_frame_names_its_column(labels):
    frame = pd.DataFrame([["x", "y"]], columns=labels)
    for place, label in enumerate(labels):
        assert only(frame, partition_key=label).routes.partition_key.to_pylist() == ["xy"[place]]


def test_a_label_names_an_index_level_too():
    frame = pd.DataFrame({"a": ["x"]}, index=pd.Index(["k"], name=np.int64(7)))
    assert only(frame, partition_key=frame.index.name).routes.partition_key.to_pylist() == ["k"]


@pytest.mark.parametrize("option", ["columns", "partition_key", "shard", "client_info"])
def test_a_column_that_is_not_there_is_named_with_those_that_are(option):
    value = ["nope"] if option == "columns" else "nope"
    with pytest.raises(ColumnNotFound, match=rf"{option}='nope' .* it has 'a', 'b', 'i'"):
        plan_rows(FRAME, **{option: value})


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {}, "'a' names several"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), {}, "'1' names several"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {"columns": ["a"]}, "names 2 columns"),
        (FRAME, {"columns": ["a", "a"]}, "'a' names several"),
        (FRAME, {"columns": []}, "no columns to send"),
        (pd.DataFrame(index=[1, 2]), {}, "no columns to send"),
        (FRAME.rename_axis("a"), {"index": True}, "'a' names several"),
        (FRAME, {"columns": "a"}, r"Type columns=\['a'\]"),
        (FRAME, {"partition_key": ["a", "b"]}, r"df\['a'\].astype\(str\) \+ \"/\" \+ df\['b'\]"),
        (FRAME, {"partition_key": ["x"]}, "1 values for 3 rows"),
        (FRAME, {"partition_key": pd.Series(["x", "y", "z"])}, "another index"),
        (FRAME, {"partition_key": 7.5}, "a column's name or an array"),
        (FRAME, {"shard": True}, "expected a whole number"),
        (FRAME, {"shard": -1}, "expected 0 to 4,095"),
        (FRAME, {"shard": 4096}, "expected 0 to 4,095"),
        (FRAME, {"client_info": b"x" * 17}, "17 bytes; a record may hold at most 16"),
        (FRAME, {"format": "csv"}, "expected one of 'json', 'arrow', 'raw'"),
        (FRAME, {"format": "raw"}, "2 are chosen"),
        (FRAME, {"rows_per_record": 0}, "a whole number from 1"),
        (FRAME, {"rows_per_record": "auto"}, "is for format='arrow'"),
        (FRAME, {"format": "raw", "columns": ["b"], "rows_per_record": 2}, "one row in a record"),
        (7, {}, "data is a int; expected"),
    ],
)
def test_what_is_wrong_with_an_option_raises_before_anything_is_encoded(frame, options, message):
    with pytest.raises(ConfigError, match=message):
        plan_rows(frame, **options)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("partition_key", pa.array([True])),
        ("partition_key", pa.array([b"x"])),
        ("shard", pa.array(["0"])),
        ("client_info", pa.array([1])),
    ],
)
def test_a_column_of_a_type_that_cannot_be_mapped_raises(option, values):
    with pytest.raises(UnsupportedType, match=f"cannot be a {option}"):
        plan_rows(pa.table({"a": [1], "m": values}), **{option: "m"})


UUIDS = pa.array([str(UUID(int=1))] * 3)
if hasattr(pa, "uuid"):  # not in the oldest pyarrow we work with
    UUIDS = pa.array([UUID(int=1).bytes] * 3, pa.binary(16))
    UUIDS = pa.ExtensionArray.from_storage(pa.uuid(), UUIDS)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (pd.Series(["x", "", None]), ["x", "", None]),
        (pd.Series([7, 8, 9]), ["7", "8", "9"]),
        (pd.Series([7, 8, None], dtype="Int64"), ["7", "8", None]),
        (pd.Series([7.0, -0.0, None]), ["7", "0", None]),
        (pd.Series([2.0**62, 1e15, -7.0]), ["4611686018427387904", "1000000000000000", "-7"]),
        (pd.Series(["x", 7, 8.0], dtype=object), ["x", "7", "8"]),
        (pd.Series(["x", "y", "x"], dtype="category"), ["x", "y", "x"]),
        (np.array([2**64 - 1, 0, 1], np.uint64), ["18446744073709551615", "0", "1"]),
        ([7, None, "x"], ["7", None, "x"]),
        (pa.array(["x", None, 'é"\n']), ["x", None, 'é"\n']),
        (pa.chunked_array([["x"], ["y", None]]), ["x", "y", None]),
        (UUIDS, [str(UUID(int=1))] * 3),
        (pd.Series([None, None, None]), [None, None, None]),
    ],
    ids=str,
)
def test_partition_keys_are_text_and_integers_keep_their_digits(keys, expected):
    frame = pd.DataFrame({"a": [1, 2, 3]})
    assert only(frame, partition_key=keys).routes.partition_key.to_pylist() == expected


@pytest.mark.parametrize("keys", [[1.5, 2.0, 3.0], [np.inf, 2.0, 3.0], [1e300, 2.0, 3.0]])
@pytest.mark.parametrize("dtype", [float, object])
def test_a_float_that_is_no_integer_is_no_key_and_rejects_its_row(keys, dtype):
    frame = pd.DataFrame({"a": [1, 2, 3], "k": pd.Series(keys, dtype=dtype)})
    records = only(frame, columns=["a"], partition_key="k")
    assert records.rejections.names == ["UnencodableValue"]
    assert "column 'k' holds" in records.rejections.details[0]
    assert records.rows.tolist() == [1, 2]
    assert records.routes.partition_key.to_pylist() == ["2", "3"]


def test_other_objects_as_keys_reject_their_rows():
    keys = np.array([True, b"x", "\ud800"], dtype=object)
    records = only(pd.DataFrame({"a": [1, 2, 3]}), partition_key=keys)
    assert records.rejections.rows.tolist() == [0, 1, 2]
    assert len(records.data) == 0


def test_one_shard_serves_every_row():
    assert only(FRAME, shard=5).routes.shard.to_pylist() == [5, 5, 5]
    assert only(FRAME, shard=np.int64(5)).routes.shard.to_pylist() == [5, 5, 5]


@pytest.mark.parametrize(
    "shards",
    [
        pd.Series([0, 4095, 4096, -1, None], dtype="Int64"),
        pd.Series([0.0, 4095.0, 4096.0, -1.0, None]),
        pd.Series([0, 4095.0, 4096, -1, None], dtype=object),
    ],
    ids=["integers", "floats", "objects"],
)
def test_only_shards_that_no_stream_can_have_are_refused(shards):
    records = only(pd.DataFrame({"a": range(5)}), shard=shards)
    assert records.rejections.rows.tolist() == [2, 3]
    assert records.rejections.names == ["ShardIdInvalid"] * 2
    assert records.routes.shard.to_pylist() == [0, 4095, None]


@pytest.mark.parametrize("dtype", [float, object])
def test_a_fractional_shard_rejects_its_row(dtype):
    records = only(pd.DataFrame({"a": [1, 2]}), shard=pd.Series([0.5, 1.0], dtype=dtype))
    assert records.rejections.names == ["ShardIdInvalid"]
    assert records.routes.shard.to_pylist() == [1]


def test_a_shard_takes_the_place_of_the_key_row_by_row():
    records = only(FRAME, partition_key="a", shard=pd.array([0, None, 1], dtype="Int64"))
    assert records.routes.shard.to_pylist() == [0, None, 1]
    assert records.routes.partition_key.to_pylist() == [None, "2", None]


MIXED_CELLS = [0, 1, None, np.nan, "x", "7", pd.NaT, b"y", 2, None]


@pytest.mark.parametrize(
    "missing", [np.float32("nan"), Decimal("sNaN"), np.datetime64("NaT", "ns")]
)
@pytest.mark.parametrize(
    ("option", "given", "expected"),
    [("partition_key", "x", "x"), ("shard", 1, 1), ("client_info", "x", b"x")],
)
def test_a_missing_cell_maps_to_nothing(option, given, expected, missing):
    for cells, mapped in (([given, missing], [expected, None]), ([missing], [None])):
        records = only(
            pd.DataFrame({"a": range(len(cells))}), **{option: pd.Series(cells, dtype=object)}
        )
        assert getattr(records.routes, option).to_pylist() == mapped


@pytest.mark.parametrize("dtype", [object, "category"])
@pytest.mark.parametrize("option", ["partition_key", "shard", "client_info"])
def test_what_a_cell_maps_to_does_not_depend_on_the_cells_read_with_it(option, dtype):
    cells = pd.Series(MIXED_CELLS, dtype=object).astype(dtype)
    frame = pd.DataFrame({"a": range(len(cells)), "m": cells})
    options = {"columns": ["a"], option: "m"}
    whole = only(frame, **options)
    windows = list(plan_rows(frame, **options, window_bytes=1).records())
    assert len(windows) == len(cells)
    mapped = [value for window in windows for value in getattr(window.routes, option).to_pylist()]
    assert mapped == getattr(whole.routes, option).to_pylist()
    details = [detail for window in windows for detail in window.rejections.details]
    assert details == whole.rejections.details


@pytest.mark.parametrize("cell", [None, np.nan, "x"])
def test_a_window_without_numbers_does_not_end_a_run_with_shards(cell):
    shards = pd.Series([0] * 8_192 + [cell] * 1_808, dtype=object)
    windows = list(plan_rows(pd.DataFrame({"a": range(10_000)}), shard=shards).records())
    assert [len(window.rows) for window in windows] == [8_192, 0 if cell == "x" else 1_808]
    assert set(windows[1].rejections.names) == ({"ShardIdInvalid"} if cell == "x" else set())


def test_texts_as_shards_reject_their_rows():
    shards = pd.Series(["1", None], dtype="string[python]")
    records = only(pd.DataFrame({"a": [1, 2]}), shard=shards)
    assert records.rejections.details == [
        "column 'shard' holds a str; expected a whole number. Cast it."
    ]
    assert records.routes.shard.to_pylist() == [None]


def test_client_info_is_bytes_or_text():
    assert only(FRAME, client_info=b"all").routes.client_info.to_pylist() == [b"all"] * 3
    assert only(FRAME, client_info="b").routes.client_info.to_pylist() == [b"x", None, b"z"]
    mixed = np.array(["é", b"\xff", None], dtype=object)
    assert only(FRAME, client_info=mixed).routes.client_info.to_pylist() == [
        "é".encode(),
        b"\xff",
        None,
    ]
    views = [memoryview(b"abcd")[::2], bytearray(b"x"), None]
    assert only(FRAME, client_info=views).routes.client_info.to_pylist() == [b"ac", b"x", None]


def test_equal_destinations_share_a_number_and_others_differ():
    keys = ["a", "b", None, "a", "", "ab", "ba", "7"]
    shards = pd.array([None] * 7 + [7], dtype="Int64")
    numbers = only(pd.DataFrame({"a": range(8)}), partition_key=keys, shard=shards).destination
    assert numbers.dtype == np.uint64
    assert numbers[0] == numbers[3]
    assert numbers[2] == 0
    assert len(set(numbers.tolist())) == 7
    assert only(FRAME).destination is None


def test_a_destination_is_the_same_number_in_every_process():
    frame = pd.DataFrame({"k": ["N14228", None]})
    expected = [14315719824513252017, 0]
    assert only(frame, partition_key="k").destination.tolist() == expected
    assert only(frame.iloc[:1], partition_key="k").destination.tolist() == expected[:1]


@pytest.mark.parametrize("key", ["", "k", "7 bytes", "8 bytes.", "9 bytes..", "k" * 17, "é" * 128])
def test_a_destination_does_not_depend_on_the_keys_beside_it(key):
    keys = ["before", key, "longer than it"]
    among = only(pd.DataFrame({"a": range(3)}), partition_key=keys).destination
    assert only(FRAME.iloc[:1], partition_key=[key]).destination[0] == among[1]


def test_keys_of_nul_characters_differ_by_their_number():
    keys = ["\0" * count for count in range(20)]
    records = only(pd.DataFrame({"a": range(20)}), partition_key=keys)
    assert len(set(records.destination.tolist())) == 20


def test_many_destinations_do_not_collide():
    keys = [f"user-{n}" for n in range(8_000)]
    records = only(pd.DataFrame({"a": range(8_000)}), partition_key=keys)
    assert len(set(records.destination.tolist())) == 8_000


@pytest.mark.parametrize(
    "keys",
    [
        UUIDS,
        pa.DictionaryArray.from_arrays(pa.array([0, 0, 1]), UUIDS),
        pa.array([1, 2, 3], pa.uint64()),
        pa.array(np.array([1, 2, 3], np.float16)),
        pa.array(["x", "y", "z"], pa.string_view()),
        pa.nulls(3),
    ],
    ids=lambda keys: str(keys.type),
)
def test_a_key_of_any_type_gives_way_to_a_shard(keys):
    table = pa.table({"k": keys})
    expected = only(table, columns=["k"], partition_key="k").routes.partition_key.to_pylist()
    records = only(table, partition_key="k", shard=pd.array([4, None, 5], "Int64"))
    assert records.routes.partition_key.to_pylist() == [None, expected[1], None]
    assert only(table, partition_key="k", shard=4).routes.partition_key.to_pylist() == [None] * 3


@pytest.mark.parametrize("dtype", [object, "string[pyarrow]"])
def test_a_key_does_not_matter_where_a_shard_is_given(dtype):
    keys = pd.Series(["k" * 257, "k" * 257, "k"], dtype=dtype)
    frame = pd.DataFrame({"a": [1, 2, 3], "key": keys, "to": pd.array([4, None, None], "Int64")})
    (records,) = plan_rows(frame, columns=["a"], partition_key="key", shard="to").records()
    assert records.rejections.rows.tolist() == [1]
    assert records.routes.shard.to_pylist() == [4, None]
    assert records.routes.partition_key.to_pylist() == [None, "k"]


@pytest.mark.parametrize(
    "keys",
    [
        pl.Series([2**53 + 1, None, 3]),
        np.ma.array([2**53 + 1, 5, 3], mask=[False, True, False]),
        pl.Series([2**53 + 1, None, 3], dtype=pl.Object),
        pa.chunked_array([[2**53 + 1, None, 3]]),
    ],
    ids=["polars", "masked", "polars objects", "arrow"],
)
def test_keys_of_any_array_keep_their_digits_beside_a_missing_one(keys):
    found = only(FRAME, partition_key=keys).routes.partition_key
    assert found.to_pylist() == [str(2**53 + 1), None, "3"]

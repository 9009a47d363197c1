"""Any table-like input, read window by window."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from tests.internals import plan_rows, sources

TABLE = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]})
TEXTS = [b'{"a":1,"b":"x"}', b'{"a":2,"b":null}', b'{"a":3,"b":"z"}']


class Capsule:
    """A table of another library: nothing but the Arrow stream interface."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


class ArrayCapsule:
    """One batch of another library."""

    def __arrow_c_array__(self, requested_schema=None):
        return TABLE.to_batches()[0].__arrow_c_array__(requested_schema)


def encode(data, **options):
    plan = plan_rows(data, **options)
    return plan, [data for records in plan.records() for data in records.data.to_pylist()]


@pytest.mark.parametrize(
    ("data", "num_rows"),
    [
        (TABLE.to_pandas(), 3),
        (TABLE, 3),
        (TABLE.to_batches()[0], 3),
        (TABLE.to_reader(), None),
        (pa.dataset.dataset(TABLE), None),
        (Capsule(TABLE), None),
        (ArrayCapsule(), 3),
    ],
    ids=["pandas", "Table", "RecordBatch", "reader", "Dataset", "stream", "array"],
)
def test_every_table_like_input_gives_the_same_records(data, num_rows):
    plan, texts = encode(data)
    assert texts == TEXTS
    assert plan.num_rows == num_rows


def test_polars_categories_are_their_texts_wherever_they_stand():
    polars = pytest.importorskip("polars")
    kinds = polars.Categorical, polars.Enum(["y", "x"])
    texts = ["x", None, "y"]
    columns = {
        **{str(place): polars.Series(texts, dtype=kind) for place, kind in enumerate(kinds)},
        "list": polars.Series([texts, None, []], dtype=polars.List(kinds[0])),
        "array": polars.Series([texts[:2], None, texts[1:]], dtype=polars.Array(kinds[1], 2)),
        "struct": polars.Series(
            [{"k": "x"}, None, {"k": None}], dtype=polars.Struct({"k": kinds[0]})
        ),
    }
    frame = polars.DataFrame(columns)
    assert [json.loads(text) for text in encode(frame)[1]] == frame.to_dicts()
    (stream,) = encode(frame, format="arrow", rows_per_record="auto")[1]
    assert pa.ipc.open_stream(stream).read_all().to_pylist() == frame.to_dicts()


@pytest.mark.parametrize("function", ["measure", "make_plain"])
def test_a_batch_is_looked_at_whole_once_and_not_in_each_of_its_windows(function, monkeypatch):
    polars = pytest.importorskip("polars")
    count, looked_at = 50_000, 0
    texts = polars.Series([f"text {number}" for number in range(count)])
    frame = polars.DataFrame({"s": texts, "c": texts.cast(polars.Categorical)})
    work = getattr(sources, function)

    def look(array):
        nonlocal looked_at
        looked_at += len(array)
        return work(array)

    monkeypatch.setattr(sources, function, look)
    windows = list(plan_rows(frame, window_bytes=50_000).records())
    assert sum(records.num_rows for records in windows) == count
    assert len(windows) > 20
    assert looked_at <= 15 * count


def test_polars_frames_are_read_by_their_arrow_stream():
    polars = pytest.importorskip("polars")
    assert encode(polars.from_arrow(TABLE))[1] == TEXTS


def test_duckdb_relations_are_read_by_their_arrow_stream(require_module):
    duckdb = require_module("duckdb")
    assert encode(duckdb.from_arrow(TABLE))[1] == TEXTS


def test_only_a_frame_has_labels():
    frame = TABLE.to_pandas().set_axis([7, 8, 9])
    assert plan_rows(frame).index is frame.index
    assert plan_rows(TABLE).index is None


@pytest.mark.parametrize(
    "make",
    [lambda: TABLE[:0], TABLE[:0].to_pandas, TABLE[:0].to_reader],
    ids=["table", "frame", "reader"],
)
@pytest.mark.parametrize("data_format", ["json", "arrow"])
@pytest.mark.parametrize("rows_per_record", [1, 2])
def test_an_empty_input_gives_no_record(make, data_format, rows_per_record):
    _, texts = encode(make(), format=data_format, rows_per_record=rows_per_record)
    assert texts == []


def test_an_array_beside_a_stream_of_unknown_length_is_refused():
    with pytest.raises(ValueError, match="how many rows the data has is not known"):
        plan_rows(TABLE.to_reader(), partition_key=["x", "y", "z"])


def test_the_first_record_leaves_before_the_last_row_is_read():
    taken = []

    def batches():
        for number in range(100):
            taken.append(number)
            yield pa.record_batch({"a": pa.array(np.arange(20_000))})

    reader = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), batches())
    windows = plan_rows(reader).records()
    assert taken == []
    assert next(windows).num_rows > 1_000
    assert taken == [0]


def test_a_dataset_reads_the_chosen_columns_only(tmp_path):
    pq.write_table(TABLE, tmp_path / "t.parquet")
    dataset = pa.dataset.dataset(tmp_path / "t.parquet")
    plan = plan_rows(dataset, columns=["b"], partition_key="a")
    (records,) = plan.records()
    assert records.data.to_pylist() == [b'{"b":"x"}', b'{"b":null}', b'{"b":"z"}']
    assert records.routes.partition_key.to_pylist() == ["1", "2", "3"]


LONG, COUNT = "x" * 100_000, 200
WIDE = {
    "objects": pd.DataFrame({"a": pd.Series([LONG] * COUNT, dtype=object)}),
    "late": pd.DataFrame({"a": pd.Series(["x"] * 600 + [LONG] * COUNT, dtype=object)}),
    "bytes": pd.DataFrame({"a": [LONG.encode()] * COUNT}),
    "arrow": pa.table({"a": [LONG] * COUNT}),
    "views": pa.table({"a": pa.array([LONG] * COUNT, pa.string_view())}),
    "dictionary": pa.table({"a": pa.array([LONG] * COUNT).dictionary_encode()}),
    "one long label": pa.table(
        {"a": pa.DictionaryArray.from_arrays([0] * COUNT, [LONG, *map(str, range(1_000))])}
    ),
    "one long run": pa.table(
        {
            "a": pa.RunEndEncodedArray.from_arrays(
                list(range(COUNT, COUNT + 1_001)), [LONG, *map(str, range(1_000))]
            )
        }
    ),
    "lists": pd.DataFrame({"a": pd.Series([[LONG]] * COUNT, dtype=object)}),
    "columns": pa.table({f"a{number}": [LONG[:2_000]] * COUNT for number in range(50)}),
    "columns of bytes": pd.DataFrame({f"a{n}": [LONG[:2_000].encode()] * COUNT for n in range(50)}),
    "columns of lists": pd.DataFrame(
        {f"a{n}": pd.Series([[LONG[:2_000]]] * COUNT, dtype=object) for n in range(50)}
    ),
    "tables": lambda: iter([pd.DataFrame({"a": pd.Series([LONG] * COUNT, dtype=object)})]),
}


@pytest.mark.parametrize("data_format", ["json", "arrow", "raw"])
@pytest.mark.parametrize("kind", WIDE)
def test_windows_stay_small_when_rows_are_wide(kind, data_format):
    data = WIDE[kind]() if callable(WIDE[kind]) else WIDE[kind]
    if data_format == "raw" and (kind == "lists" or "columns" in kind):
        pytest.skip("raw sends one column of text or bytes")
    plan = plan_rows(data, window_bytes=2**20, format=data_format)
    # Base64 takes a third more, and the last row may lie across the border.
    sizes = [records.data.nbytes for records in plan.records()]
    assert max(sizes) <= 2 * 2**20


@pytest.fixture
def pool():
    """Count what Arrow allocates."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    yield pool
    pa.set_memory_pool(before)


@pytest.mark.parametrize("data_format", ["json", "arrow"])
@pytest.mark.parametrize(
    "kind",
    [
        "objects",
        "bytes",
        "columns",
        "columns of bytes",
        "lists",
        "columns of lists",
        "tables",
        "one long label",
        "one long run",
    ],
)
def test_no_more_than_a_few_windows_are_in_memory(kind, data_format, pool):
    data = WIDE[kind]() if callable(WIDE[kind]) else WIDE[kind]
    tracemalloc.start()
    for _ in plan_rows(data, window_bytes=2**20, format=data_format).records():
        pass
    python_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert python_bytes <= 10 * 2**20
    assert pool.max_memory() <= 10 * 2**20


def test_a_stream_of_wide_rows_is_not_gathered_whole():
    taken = []

    def batches():
        for number in range(50):
            taken.append(number)
            yield pa.record_batch({"a": ["x" * 500_000]})

    reader = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.string())]), batches())
    first = next(plan_rows(reader, window_bytes=2**20).records())
    assert first.num_rows <= 3
    assert len(taken) <= 4


def test_a_plan_of_a_table_can_be_followed_twice():
    plan = plan_rows(TABLE)
    assert [r.data.to_pylist() for r in plan.records()] == [
        r.data.to_pylist() for r in plan.records()
    ]


def test_the_input_is_not_changed():
    frame = TABLE.to_pandas()
    before = frame.copy(deep=True)
    encode(frame, partition_key="b", index=True)
    pd.testing.assert_frame_equal(frame, before)


def at_an_odd_address(data):
    """Copy bytes to where no number of theirs is aligned, as Dask's frames come off the wire."""
    room = bytearray(len(data) + 1)
    room[1:] = data
    return memoryview(room)[1:]


def test_memory_need_not_be_aligned():
    numbers = np.frombuffer(at_an_odd_address(np.arange(3).tobytes()), np.int64)
    assert not numbers.flags.aligned
    text = pa.array(["a", None, "c"])
    buffers = [pa.py_buffer(at_an_odd_address(part.to_pybytes())) for part in text.buffers()]
    table = pa.table({"text": pa.Array.from_buffers(pa.string(), 3, buffers)})
    for data, said in (
        (pd.DataFrame({"n": numbers}), [b'{"n":0}', b'{"n":1}', b'{"n":2}']),
        (table, [b'{"text":"a"}', b'{"text":null}', b'{"text":"c"}']),
    ):
        [records] = plan_rows(data).records()
        assert records.data.to_pylist() == said

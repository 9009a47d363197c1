"""``put_records`` on a platform that is well: results, index, attrs, and what stands there."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import indexes
from v3io_frames_put import put_records, summarize
from v3io_frames_put.errors import ConfigError, DataError, StreamNotFound

STREAM = "projects/house/readings"
FRAME = pd.DataFrame({"sensor": ["a", "b", "a", None], "celsius": [20.5, 21.0, np.nan, 19.25]})
RUN_KEYS = {
    "run_id", "stream", "endpoint", "delivery", "counts", "requests", "retried", "bytes", "seconds",
    "rows_per_second", "stopped", "out_of_order", "duplicates",
}  # fmt: skip


@pytest.fixture
def platform(local_platform):
    local_platform.create_stream(STREAM, shards=3)
    return local_platform


def put(platform, data=FRAME, **options):
    return put_records(data, STREAM, client=platform.client(), **options)


def test_the_results_have_the_columns_and_types_of_the_contract(platform):
    results = put(platform)
    assert {name: str(dtype) for name, dtype in results.dtypes.items()} == {
        "status": "category",
        "shard_id": "Int32",
        "sequence_number": "Int64",
        "error_code": "Int64",
        "error_message": "string",
        "error_detail": "string",
        "attempts": "Int16",
        "maybe_duplicate": "bool",
    }
    assert results.status.cat.categories.tolist() == ["stored", "rejected", "unsent", "unknown"]
    assert not results.status.cat.ordered


def test_stored_rows_have_their_place_and_nothing_else(platform):
    results = put(platform)
    assert results.status.tolist() == ["stored"] * 4
    assert results[["error_code", "error_message", "error_detail"]].isna().all(axis=None)
    assert results.attempts.tolist() == [1] * 4
    assert results.maybe_duplicate.tolist() == [False] * 4


def test_every_row_stands_where_the_results_say(platform):
    results = put(platform, partition_key="sensor")
    stands = {(r.shard_id, r.sequence_number): r for r in platform.records(STREAM)}
    assert len(stands) == 4
    for row, result in results.iterrows():
        record = stands[result.shard_id, result.sequence_number]
        told = {name: None if pd.isna(FRAME[name][row]) else FRAME[name][row] for name in FRAME}
        assert json.loads(record.data) == told
        assert record.partition_key == told["sensor"]


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(10, 18, 2),
        pd.Index(["x", "x", "y", "x"]),
        pd.Index([3, 1, 2, 0], name="n"),
        pd.DatetimeIndex(["2026-01-01", None, "2026-01-02", "2026-01-01"], tz="Asia/Tokyo"),
        pd.MultiIndex.from_tuples([("a", 1), ("a", 1), ("b", None), (None, 2)], names=["p", None]),
        pd.CategoricalIndex(["lo", "hi", "lo", "hi"]),
        pd.IntervalIndex.from_breaks([0, 1, 2, 3, 4]),
        pd.PeriodIndex(["2026-01", "2026-02", "2026-02", "2026-03"], freq="M"),
        pd.Index([1.5, np.nan, np.nan, 2.0]),
        pd.Index([("t",), 1, None, "s"], dtype=object),
    ],
    ids=lambda index: type(index).__name__,
)
def test_the_results_are_on_the_datas_index_whatever_it_is(platform, index):
    frame = FRAME.set_axis(index)
    results = put(platform, frame)
    pd.testing.assert_index_equal(results.index, index, exact=True)
    assert results.status.tolist() == ["stored"] * 4


@settings(max_examples=15)
@given(index=st.integers(0, 6).flatmap(indexes))
def test_rows_in_are_rows_out_on_any_index(local_platform, index):
    local_platform.clear()
    local_platform.create_stream(STREAM)
    frame = pd.DataFrame({"row": range(len(index))}, index=index)
    results = put(local_platform, frame)
    pd.testing.assert_index_equal(results.index, frame.index)
    assert results.status.tolist() == ["stored"] * len(index)


@pytest.mark.parametrize(
    "data",
    [
        pa.Table.from_pandas(FRAME),
        pa.RecordBatch.from_pandas(FRAME),
        pa.Table.from_pandas(FRAME).to_reader(max_chunksize=3),
    ],
    ids=["table", "batch", "reader"],
)
def test_tables_without_an_index_get_positions(platform, data):
    results = put(platform, data)
    pd.testing.assert_index_equal(results.index, pd.RangeIndex(4))
    assert results.status.tolist() == ["stored"] * 4


def test_the_input_is_not_changed(platform):
    frame = FRAME.copy()
    put(platform, frame, partition_key="sensor", index=True)
    pd.testing.assert_frame_equal(frame, FRAME)
    assert frame.attrs == {}


def test_frames_one_after_another_are_one_input(platform):
    frames = (pd.DataFrame({"id": ids}) for ids in ([1, 2], [3, "n/a"], [5]))
    with pytest.warns(match="1 of 5 rows are not stored"):
        results = put_records(frames, STREAM, client=platform.client())
    assert results.index.equals(pd.RangeIndex(5))
    assert results.status.tolist() == ["stored"] * 3 + ["rejected", "stored"]
    assert "'n/a' is not a value of int64" in results.error_detail[3]


def test_a_later_frame_with_another_column_ends_the_run_with_its_results(platform):
    frames = (pd.DataFrame(columns) for columns in ({"id": [1, 2]}, {"id": [3], "new": [4]}))
    with pytest.raises(DataError, match="table 1 of data has the column 'new'") as raised:
        put_records(frames, STREAM, client=platform.client())
    assert raised.value.results.status.tolist() == ["stored"] * 2


def test_the_receipt_is_plain_json_and_small(platform):
    results = put(platform)
    receipt = results.attrs["v3io"]
    text = json.dumps(receipt)
    assert json.loads(text) == receipt
    assert len(text) < 20_000
    assert set(receipt) >= RUN_KEYS
    assert receipt["counts"] == {"stored": 4, "rejected": 0, "unsent": 0, "unknown": 0}
    assert (receipt["requests"], receipt["retried"], receipt["stopped"]) == (1, 0, None)
    assert receipt["out_of_order"] == {"count": 0, "first": []}
    assert receipt["duplicates"] == {"count": 0, "first": []}
    assert int(receipt["run_id"], 16) >= 0


@pytest.mark.parametrize(
    ("column", "value"),
    [("status", "unsent"), ("shard_id", 9), ("sequence_number", 9), ("error_code", 9),
     ("error_message", "x"), ("error_detail", "x"), ("attempts", 9), ("maybe_duplicate", True)],
)  # fmt: skip
def test_the_results_are_the_callers_to_change(platform, column, value):
    results = put(platform)
    results.loc[2:, column] = value
    assert results[column].eq(value).tolist()[2:] == [True, True]


def test_two_runs_have_two_ids(platform):
    ids = {put(platform).attrs["v3io"]["run_id"] for _ in range(3)}
    assert len(ids) == 3


def test_attrs_types_and_index_survive_parquet(platform, tmp_path):
    results = put(platform, FRAME.set_axis(pd.Index([7, 7, 8, 9], name="n")))
    results.to_parquet(tmp_path / "results.parquet")
    read = pd.read_parquet(tmp_path / "results.parquet")
    assert read.attrs == results.attrs
    pd.testing.assert_index_equal(read.index, results.index)
    assert read.status.cat.categories.tolist() == ["stored", "rejected", "unsent", "unknown"]
    again = read.astype(results.dtypes.to_dict())
    pd.testing.assert_frame_equal(again, results)


def test_attrs_survive_a_selection_and_a_summary_needs_none(platform):
    results = put(platform)
    assert results[results.status == "stored"].attrs == results.attrs
    assert summarize(results).counts["stored"] == 4
    results.attrs.clear()
    assert summarize(results.head(3)).counts == {
        "stored": 3, "rejected": 0, "unsent": 0, "unknown": 0,
    }  # fmt: skip


def test_a_summary_of_something_else_says_what_it_expects():
    with pytest.raises(ConfigError, match="put_records"):
        summarize(FRAME)


def test_packed_rows_share_a_record_and_know_their_place_in_it(platform):
    frame = pd.DataFrame({"row": range(7), "key": list("aabaabb")})
    results = put(platform, frame, rows_per_record=2, partition_key="key")
    assert results.columns[-1] == "record_row"
    assert str(results.record_row.dtype) == "Int32"
    assert results.record_row.tolist() == [0, 1, 0, 0, 1, 1, 0]
    places = list(zip(results.shard_id, results.sequence_number, strict=True))
    assert places[0] == places[1]
    assert places[2] == places[5]
    assert len(set(places)) == 4
    assert len(platform.records(STREAM)) == 4


def test_without_packs_there_is_no_record_row(platform):
    assert "record_row" not in put(platform)


@pytest.mark.parametrize("format", ["json", "arrow"])
def test_what_was_put_is_read_back(platform, format):  # noqa: A002  # the option's name
    results = put(platform, partition_key="sensor", format=format)
    client = platform.client()
    read = client.decode_records(client.read_records(STREAM), format=format, schema=FRAME)
    places = pd.MultiIndex.from_frame(results[["shard_id", "sequence_number"]])
    pd.testing.assert_frame_equal(read.loc[places].reset_index(drop=True), FRAME)


def test_the_accessor_is_the_function(platform):
    results = FRAME.v3io.put_records(STREAM, client=platform.client(), columns=["celsius"])
    assert results.status.tolist() == ["stored"] * 4
    assert json.loads(platform.records(STREAM)[0].data).keys() == {"celsius"}
    assert results.v3io.summary().counts["stored"] == 4


def test_the_environment_says_where_the_platform_is(platform, monkeypatch):
    monkeypatch.setenv("V3IO_API", platform.endpoint.removeprefix("http://"))
    assert put_records(FRAME, STREAM).status.tolist() == ["stored"] * 4


@pytest.mark.parametrize("path", ["/{}/", "v3io:///{}", "v3io://projects/house/readings"])
def test_a_stream_may_be_spelled_in_these_ways(platform, path):
    results = put_records(FRAME, path.format(STREAM), client=platform.client())
    assert results.status.tolist() == ["stored"] * 4


def test_a_path_may_name_the_api_host(platform):
    host = platform.endpoint.removeprefix("http://")
    results = put_records(FRAME, f"v3io://{host}/{STREAM}", client=platform.client())
    assert results.status.tolist() == ["stored"] * 4


def test_requests_are_full_and_at_most_as_many_as_allowed_are_under_way(platform):
    frame = pd.DataFrame({"row": range(25_500)})
    results = put(platform, frame, max_in_flight=4)
    puts = [arrival for arrival in platform.requests if arrival.function == "PutRecords"]
    assert len(puts) == 26
    assert platform.peak_in_flight() <= 4
    assert results.attrs["v3io"]["requests"] == 26
    assert results.attrs["v3io"]["bytes"] == sum(arrival.body_bytes for arrival in puts)


def test_the_rate_is_of_rows_that_were_stored(platform):
    results = put_records(FRAME, STREAM, client=platform.client())
    assert results.attrs["v3io"]["rows_per_second"] > 0
    with pytest.raises(StreamNotFound) as missing:
        put_records(FRAME, "projects/nothing/here", client=platform.client())
    assert missing.value.results.attrs["v3io"]["rows_per_second"] is None

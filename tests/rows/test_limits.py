"""Local limits: refused alone, exactly at the limit, in bytes and not characters."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.internals import plan_rows
from tests.rows.skipping import LeaveOut
from v3io_frames_put.config import Limits

LIMITS = Limits(max_data_bytes=40, max_partition_key_bytes=6, max_client_info_bytes=4)


def encode(data, **options):
    windows = list(plan_rows(data, limits=LIMITS, **options).records())
    rows = [row for records in windows for row in records.rows.tolist()]
    refused = {
        int(row): (name, detail)
        for records in windows
        for row, name, detail in zip(
            records.rejections.rows,
            records.rejections.names,
            records.rejections.details,
            strict=True,
        )
    }
    return rows, refused


@pytest.mark.parametrize("rows_per_record", [1, 3])
def test_data_may_fill_the_limit_and_no_more(rows_per_record):
    # {"a":"..."} is eight bytes beside the text.
    frame = pd.DataFrame({"a": ["x" * 31, "x" * 32, "x" * 33, "é" * 16, "é" * 17]})
    rows, refused = encode(frame, rows_per_record=rows_per_record)
    assert rows == [0, 1, 3]
    assert refused[2] == (
        "DataTooLarge",
        (
            "row 2 encodes to 41 bytes; a record may hold at most 40. "
            "Leave out or shorten its largest column."
        ),
    )
    assert refused[4][0] == "DataTooLarge"


def test_rows_that_did_not_fit_a_window_are_rejected_in_the_next():
    # The long texts end the first window before the infinity that was found in it.
    frame = pd.DataFrame({"d": [{"t": "x" * 1_000}] * 9_000, "f": [1.0] * 8_000 + [np.inf] * 1_000})
    windows = list(plan_rows(frame).records())
    assert windows[0].num_rows < 8_000
    assert sum(len(records.rows) for records in windows) == 8_000
    refused = np.concatenate([records.rejections.rows for records in windows])
    assert refused.tolist() == list(range(8_000, 9_000))


def test_raw_data_may_fill_the_limit_and_no_more():
    rows, refused = encode(pa.table({"a": [b"x" * 39, b"x" * 40, b"x" * 41, None]}), format="raw")
    assert rows == [0, 1]
    assert {row: name for row, (name, _) in refused.items()} == {
        2: "DataTooLarge",
        3: "UnencodableValue",
    }


@pytest.mark.parametrize("rows_per_record", [1, 4, "auto"])
def test_an_arrow_record_may_fill_the_limit_and_no_more(rows_per_record):
    table = pa.table({"a": ["x" * 8 * n for n in range(1, 40)]})
    sizes = [
        len(data)
        for records in plan_rows(table, format="arrow").records()
        for data in records.data.to_pylist()
    ]
    limit = sizes[20]
    plan = plan_rows(
        table,
        format="arrow",
        rows_per_record=rows_per_record,
        limits=Limits(max_data_bytes=limit),
    )
    windows = list(plan.records())
    data = [data for records in windows for data in records.data.to_pylist()]
    refused = [row for records in windows for row in records.rejections.rows]
    assert max(map(len, data)) <= limit
    assert refused == [row for row, size in enumerate(sizes) if size > limit]
    assert sum(pa.ipc.open_stream(stream).read_all().num_rows for stream in data) == 39 - len(
        refused
    )


def test_keys_are_counted_in_bytes():
    keys = ["x" * 5, "x" * 6, "x" * 7, "éé", "ééé", "éééé"]
    rows, refused = encode(pd.DataFrame({"a": range(6)}), partition_key=keys)
    assert rows == [0, 1, 3, 4]
    assert refused[5] == (
        "PartitionKeyTooLong",
        "column 'partition_key' holds 8 bytes; at most 6 are allowed. Shorten it.",
    )


def test_client_info_is_counted_in_bytes():
    info = pa.array([b"123", b"1234", b"12345"])
    rows, refused = encode(pd.DataFrame({"a": range(3)}), client_info=info)
    assert rows == [0, 1]
    assert refused[2][0] == "ClientInfoTooLong"


def test_an_unencodable_cell_deep_in_the_data_rejects_its_row_alone():
    count = 40_000
    values = np.ones(count)
    values[33_333] = np.inf
    rows, refused = encode(pd.DataFrame({"price": values}))
    assert len(rows) == count - 1
    assert list(refused) == [33_333]
    name, detail = refused[33_333]
    assert name == "UnencodableValue"
    assert "column 'price' (double) holds an infinity" in detail


def test_a_row_is_told_one_reason():
    frame = pd.DataFrame({"a": [np.inf]})
    _, refused = encode(frame, partition_key=["x" * 99], shard=[-1])
    assert refused == {0: ("UnencodableValue", refused[0][1])}


def test_skipped_rows_are_not_judged():
    plan = plan_rows(pd.DataFrame({"a": [np.inf, 1.0, 2.0]}))
    (records,) = plan.records(LeaveOut([True, False, True]))
    assert records.rows.tolist() == [1]
    assert records.rejections.names == []
    assert records.num_rows == 3


def test_rows_with_invalid_cells_are_refused_with_their_detail():
    marks = pa.array([None, [("a", "x")], []], pa.map_(pa.string(), pa.string()))
    table = pa.table({"a": [1, None, 3], "__v3io_invalid": marks, "__v3io_detail": ["", "b", "c"]})
    (records,) = plan_rows(table).records()
    assert records.rows.tolist() == [0, 2]
    assert records.data.to_pylist() == [b'{"a":1}', b'{"a":3}']
    assert records.rejections.rows.tolist() == [1]
    assert records.rejections.names == ["UnencodableValue"]
    assert records.rejections.details == ["b"]


def test_arrow_packs_of_which_no_row_is_left_are_none():
    frame = pd.DataFrame({"a": ["x" * 41, "x" * 42]})
    rows, refused = encode(frame, format="arrow", rows_per_record=2)
    assert rows == []
    assert [name for name, _ in refused.values()] == ["DataTooLarge"] * 2

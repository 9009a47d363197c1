"""Laws that hold for every table: hypothesis looks for one that breaks them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from tests.internals import decode_records, make_plain, plain_type, plan_rows
from tests.rows.skipping import LeaveOut
from v3io_frames_put.config import Limits
from v3io_frames_put.errors import UnsupportedType

_SPEC = importlib.util.spec_from_file_location(
    "strategies", Path(__file__).parents[1] / "strategies.py"
)
strategies = sys.modules.setdefault("strategies", importlib.util.module_from_spec(_SPEC))
_SPEC.loader.exec_module(strategies)

PYARROW = int(pa.__version__.split(".")[0])
ROWS_PER_RECORD = st.sampled_from([1, 2, 5])
FORMATS = st.sampled_from(["json", "arrow"])


def read_back(windows):
    """Return records as ``read_records`` would: a frame with the bytes of each."""
    data = [data for records in windows for data in records.data.to_pylist()]
    return pd.DataFrame(
        {
            "shard_id": np.zeros(len(data), np.int32),
            "sequence_number": np.arange(len(data)) + 1,
            "data": pd.Series(data, dtype=object),
        }
    )


def fingerprint(windows):
    """Return everything a record is, in data order."""
    found = []
    for records in windows:
        counts = (
            np.ones(len(records.data), int) if records.row_counts is None else records.row_counts
        )
        rows = np.split(records.rows, np.cumsum(counts)[:-1]) if len(counts) else []
        found += zip(records.data.to_pylist(), (tuple(r) for r in rows), strict=True)
    return found


@pytest.mark.skipif(PYARROW < 20, reason="older Arrow fails, or crashes, on views and odd nestings")
@settings(max_examples=200)
@given(table=strategies.tables(), data_format=FORMATS, rows_per_record=ROWS_PER_RECORD)
def test_an_arrow_table_comes_back_as_it_was_sent(table, data_format, rows_per_record):
    windows = list(plan_rows(table, format=data_format, rows_per_record=rows_per_record).records())
    decoded = decode_records(read_back(windows), format=data_format, schema=table.schema)
    for name in table.column_names:
        column = decoded[name].array.__arrow_array__()
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        # How values were laid out, in dictionaries, runs or views, is nobody's promise.
        assert column.type == plain_type(table.schema.field(name).type)
        assert make_plain(column).equals(make_plain(table[name].combine_chunks())), name


@settings(max_examples=200)
@given(frame=strategies.frames(), data_format=FORMATS, rows_per_record=ROWS_PER_RECORD)
def test_a_frame_comes_back_as_it_was_sent(frame, data_format, rows_per_record):
    try:
        plan = plan_rows(frame, format=data_format, rows_per_record=rows_per_record)
    except UnsupportedType:  # dicts whose keys differ have no one Arrow type
        assert data_format == "arrow"
        reject()
    windows = list(plan.records())
    decoded = decode_records(read_back(windows), format=data_format, schema=frame)
    pd.testing.assert_frame_equal(
        decoded.reset_index(drop=True), frame.reset_index(drop=True), check_exact=True
    )


@settings(max_examples=100)
@given(
    frame=strategies.frames(),
    options=st.fixed_dictionaries({"rows_per_record": ROWS_PER_RECORD}),
    data=st.data(),
)
def test_every_row_is_in_one_record_or_refused(frame, options, data):
    skip = np.array(
        data.draw(st.lists(st.booleans(), min_size=len(frame), max_size=len(frame))), bool
    )
    windows = list(plan_rows(frame, **options, window_bytes=200).records(LeaveOut(skip)))
    rows = np.concatenate([np.empty(0, int), *(records.rows for records in windows)])
    assert sorted(rows) == np.flatnonzero(~skip).tolist()
    firsts = [(records.first_row, records.first_row + records.num_rows) for records in windows]
    assert [start for start, _ in firsts] == [0, *(stop for _, stop in firsts)][: len(firsts)]
    assert (firsts[-1][1] if firsts else 0) == len(frame)


KEYS = st.lists(st.none() | st.sampled_from("abc"), min_size=1, max_size=60)


@settings(max_examples=150)
@given(
    keys=KEYS,
    cuts=st.lists(st.integers(1, 20), max_size=8),
    data_format=FORMATS,
    rows_per_record=ROWS_PER_RECORD,
    window_bytes=st.sampled_from([300, 2_000, 2**20]),
)
def test_the_bytes_do_not_depend_on_how_the_input_is_batched(
    keys, cuts, data_format, rows_per_record, window_bytes
):
    table = pa.table(
        {
            "key": pa.array(keys, pa.string()),
            "kind": pa.array(keys, pa.string()).dictionary_encode(),
            "flag": pa.array([None if n % 3 else bool(n % 2) for n in range(len(keys))]),
            "text": ["x" * (n * 7 % 50) for n in range(len(keys))],
            "list": [None if n % 5 == 0 else list(range(n % 4)) for n in range(len(keys))],
        }
    )
    batches, start = [], 0
    for cut in [*cuts, len(keys)]:
        batches += table.slice(start, cut).combine_chunks().to_batches()
        start += cut
    options = {"partition_key": "key", "format": data_format, "rows_per_record": rows_per_record}
    options["window_bytes"] = window_bytes
    expected = fingerprint(plan_rows(table, **options).records())
    reader = pa.RecordBatchReader.from_batches(table.schema, batches)
    assert fingerprint(plan_rows(reader, **options).records()) == expected
    assert (
        fingerprint(plan_rows(pa.Table.from_batches(batches, table.schema), **options).records())
        == expected
    )


@settings(max_examples=100)
@given(keys=KEYS, rows_per_record=st.integers(2, 6), max_bytes=st.integers(20, 120))
def test_a_pack_holds_neighbors_of_one_destination_within_the_limits(
    keys, rows_per_record, max_bytes
):
    frame = pd.DataFrame({"n": range(len(keys)), "key": pd.Series(keys, dtype=object)})
    plan = plan_rows(
        frame,
        columns=["n"],
        partition_key="key",
        rows_per_record=rows_per_record,
        limits=Limits(max_data_bytes=max_bytes),
    )
    by_key = {key: [] for key in set(keys)}
    for records in plan.records():
        packs = np.split(records.rows, np.cumsum(records.row_counts)[:-1])
        assert [rows[0] for rows in packs] == sorted(rows[0] for rows in packs)
        for rows, key, data in zip(
            packs, records.routes.partition_key.to_pylist(), records.data.to_pylist(), strict=True
        ):
            assert data == b"\n".join(b'{"n":%d}' % row for row in rows)
            assert len(rows) <= rows_per_record
            assert len(data) <= max_bytes
            by_key[key] += rows.tolist()
    assert by_key == {key: [n for n, k in enumerate(keys) if k == key] for key in set(keys)}


@pytest.mark.parametrize("max_bytes", [23, 24, 25, 26])
def test_packs_are_as_full_as_the_limit_allows(max_bytes):
    plan = plan_rows(
        pd.DataFrame({"n": range(6)}), rows_per_record=6, limits=Limits(max_data_bytes=max_bytes)
    )
    (records,) = plan.records()
    # Three rows of seven bytes and two newlines are 23 bytes.
    assert records.row_counts.tolist() == [3, 3]

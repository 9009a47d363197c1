"""Packs by destination: gathered widely, cut to the limits, the same however they leave."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.internals import encode_records, plan_rows
from v3io_frames_put.config import Encoding, Limits
from v3io_frames_put.errors import ConfigError

COUNT = 20_000
FRAME = pd.DataFrame({"n": range(COUNT), "key": [f"k{n % 50}" for n in range(COUNT)]})


def read(data, data_format):
    if data_format == "arrow":
        return pa.ipc.open_stream(data).read_all()["n"].to_pylist()
    return [int(line[5:-1]) for line in data.split(b"\n")]


def pack(data_format="arrow", rows_per_record="auto", **options):
    return plan_rows(
        FRAME,
        columns=["n"],
        partition_key="key",
        format=data_format,
        rows_per_record=rows_per_record,
        window_bytes=2**14,
        **options,
    )


@pytest.mark.parametrize(("data_format", "most"), [("arrow", "auto"), ("json", 1_000)])
def test_packs_are_gathered_from_as_much_as_may_be_held(data_format, most):
    windows = list(pack(data_format, most, held_bytes=2**24).records())
    assert sum(len(window.data) for window in windows) == 50
    assert len(windows) > 5  # they leave in pieces
    assert [window.num_rows for window in windows] == [COUNT] + [0] * (len(windows) - 1)
    assert windows[1].first_row == COUNT
    firsts = []
    for window in windows:
        packs = np.split(window.rows, np.cumsum(window.row_counts)[:-1])
        keys, data = window.routes.partition_key.to_pylist(), window.data.to_pylist()
        for rows, key, text in zip(packs, keys, data, strict=True):
            assert read(text, data_format) == rows.tolist()
            assert {f"k{row % 50}" for row in rows.tolist()} == {key}
            firsts.append(rows[0])
    assert firsts == sorted(firsts)


def test_rows_that_go_anywhere_are_not_gathered():
    plan = plan_rows(
        FRAME[["n"]], format="arrow", rows_per_record=10, window_bytes=2**14, held_bytes=2**24
    )
    assert next(plan.records()).num_rows < COUNT / 5


@pytest.mark.parametrize("data_format", ["arrow", "json"])
@pytest.mark.parametrize("body_bytes", [2_000, 5_000, 20_000])
@pytest.mark.parametrize("held", [True, False])
def test_a_pack_fits_a_body_of_its_own(data_format, body_bytes, held):
    limits = Limits() if held else Limits(max_body_bytes=body_bytes)
    options = {"held_bytes": body_bytes} if held else {"limits": limits}
    most = "auto" if data_format == "arrow" else 1_000
    sizes = [
        size
        for records in pack(data_format, most, **options).records()
        for size in encode_records(records).entries.sizes.tolist()
    ]
    assert max(sizes) + len(b'{"Records":[]}') <= body_bytes


@pytest.mark.parametrize("rows_per_record", [1, "auto"])
@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_compressed_records_are_read_by_arrow_alone(rows_per_record, compression):
    plain = pack(rows_per_record=rows_per_record, held_bytes=2**24)
    encoding = Encoding(arrow_compression=compression)
    small = pack(rows_per_record=rows_per_record, held_bytes=2**24, encoding=encoding)
    data = [[d for w in plan.records() for d in w.data.to_pylist()] for plan in (plain, small)]
    assert [read(d, "arrow") for d in data[1]] == [read(d, "arrow") for d in data[0]]
    if rows_per_record == "auto":
        assert sum(map(len, data[1])) < sum(map(len, data[0]))


def test_an_unknown_compression_is_refused():
    with pytest.raises(ConfigError, match="expected one of 'zstd', 'lz4'"):
        Encoding(arrow_compression="gzip")


def test_validity_inside_lists_counts_for_the_limit():
    dtype = pa.list_(pa.int8())
    cells = [[None, 1] * 450, [None, 1] * 500, [1]]
    limits = Limits(max_data_bytes=1_500)
    plan = plan_rows(
        pa.table({"a": pa.array(cells, dtype)}), format="arrow", rows_per_record=2, limits=limits
    )
    for records in plan.records():
        assert max(len(data) for data in records.data.to_pylist()) <= 1_500


def test_one_row_streams_are_what_arrow_writes_and_hold_nothing_of_other_rows():
    table = pa.table({"a": ["x", None], "b": [1, 2], "c": [[1], None], "d": [{"k": True}] * 2})
    (records,) = plan_rows(table, format="arrow").records()
    for row, data in enumerate(records.data.to_pylist()):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table.take([row]).combine_chunks())
        assert data == sink.getvalue().to_pybytes()

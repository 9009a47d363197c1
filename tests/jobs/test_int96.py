"""Timestamps of Parquet's old type INT96, which Spark still writes, keep their dates."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from tests.jobs.conftest import STREAM, read_rows, read_table
from v3io_frames_put import DataError, PartialFailure
from v3io_frames_put.jobs._files import find_files
from v3io_frames_put.jobs._reader import FileTable, ReadOptions

FAR = dt.datetime(9999, 12, 31)  # what many a database has for "still valid"
EARLY = dt.datetime(1, 1, 1)
NOW = dt.datetime(2026, 11, 22, 10, 0, 0, 123_456)
MICROSECONDS = pa.timestamp("us")


def write_int96(path, **columns):
    pq.write_table(pa.table(columns), path, use_deprecated_int96_timestamps=True, row_group_size=2)
    return path


@pytest.mark.parametrize("options", [{}, {"where": "n >= 0"}, {"columns": ["at"]}], ids=str)
def test_years_beyond_64_bits_of_nanoseconds_keep_their_dates(publish, sent, tmp_path, options):
    times = [FAR, EARLY, NOW, None]
    file = write_int96(tmp_path / "a.parquet", n=range(4), at=pa.array(times, MICROSECONDS))
    assert publish(file, **options).complete
    expected = ["9999-12-31T00:00:00", "0001-01-01T00:00:00", "2026-11-22T10:00:00.123456", None]
    assert sorted((row["at"] for row in sent()), key=str) == sorted(expected, key=str)


def test_row_groups_are_chosen_by_the_true_dates(publish, sent, tmp_path):
    times = pa.array([NOW, NOW, FAR, NOW], MICROSECONDS)
    file = write_int96(tmp_path / "a.parquet", n=range(4), at=times)
    publish(file, where="at > '9000-01-01 00:00:00'")
    assert [row["n"] for row in sent()] == [2]


def test_dates_inside_lists_structs_and_maps_are_kept_too(publish, sent, tmp_path):
    file = write_int96(
        tmp_path / "a.parquet",
        many=pa.array([[FAR], None], pa.list_(MICROSECONDS)),
        one=pa.array([{"at": FAR, "x": float("nan")}, None]),
        named=pa.array([[("k", FAR)], []], pa.map_(pa.string(), MICROSECONDS)),
    )
    assert publish(file).complete
    far = "9999-12-31T00:00:00"
    assert sent(by=str) == [
        {"many": None, "one": None, "named": {}},
        {"many": [far], "one": {"at": far, "x": None}, "named": {"k": far}},
    ]


def test_text_that_is_not_utf_8_beside_a_time_rejects_its_row_alone(tmp_path):
    texts = pa.array([b"a", b"\xff"]).view(pa.string())
    cells = pa.StructArray.from_arrays([texts, pa.array([FAR, NOW], MICROSECONDS)], ["s", "at"])
    found = read_rows(write_int96(tmp_path / "a.parquet", one=cells))
    assert found.rows == [{"one": {"s": "a", "at": FAR}}, {"one": None}]
    assert list(found.invalid) == [1]


def test_a_time_with_nanoseconds_rejects_its_row_alone(publish, sent, tmp_path):
    ticks = pa.array([1_000, -1, None, 1, 0], pa.int64()).view(pa.timestamp("ns"))
    many = pa.ListArray.from_arrays([0, 1, 1, 1, 1, 2], ticks[2:4])
    file = write_int96(tmp_path / "a.parquet", n=range(5), at=ticks, many=many)
    outcomes = tmp_path / "results.parquet"
    with pytest.raises(
        PartialFailure,
        match=r"column 'at' holds '1969-12-31 23:59:59\.999999999', which",
    ):
        publish(file, results=outcomes)
    told = read_table(outcomes)
    assert told["status"].tolist() == ["stored", "rejected", "stored", "rejected", "rejected"]
    assert "column 'many' holds" in told["error_detail"][4]
    assert [row["n"] for row in sent(by="n")] == [0, 2]
    assert publish(file, columns=["n"]).complete


def test_the_type_in_arrow_is_the_one_that_was_read(tmp_path, publish, local_platform):
    publish(write_int96(tmp_path / "a.parquet", at=pa.array([FAR], MICROSECONDS)), format="arrow")
    (record,) = local_platform.records(STREAM)
    assert pa.ipc.open_stream(record.data).read_all()["at"].to_pylist() == [FAR]


@pytest.mark.parametrize("damaged", [0, 1], ids=["another column", "the times"])
def test_rows_before_damage_are_read(tmp_path, damaged):
    path = tmp_path / "a.parquet"
    write_int96(path, n=range(6), at=pa.array([FAR, NOW] * 3, MICROSECONDS))
    chunk = pq.read_metadata(path).row_group(1).column(damaged)
    content = bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)
    batches = FileTable(find_files(path), ReadOptions())._batches([0, 1])
    assert next(batches).to_pylist() == [{"n": 0, "at": FAR}, {"n": 1, "at": NOW}]
    with pytest.raises(DataError, match="cannot be read to its end"):
        next(batches)

"""Parquet and Arrow IPC: true values whatever a file's layout, or the row is rejected."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from tests.internals import FILE, plan_rows
from tests.jobs.conftest import read_rows, write_parquet, write_text
from v3io_frames_put import ConfigError, DataError, PartialFailure, UnsupportedType, jobs
from v3io_frames_put.jobs._files import find_files
from v3io_frames_put.jobs._reader import INTERNAL_FIELDS, FileTable, ReadOptions


def write(path, table, **options):
    pq.write_table(table, path, **options)
    return path


def dates(*moments):
    return pa.table({"n": range(len(moments)), "at": pa.array(moments, pa.timestamp("us"))})


class TestInt96:
    MOMENTS = (dt.datetime(9999, 12, 31), dt.datetime(2020, 1, 1, 1, 2, 3, 456_789), None)

    def test_dates_are_true(self, tmp_path):
        path = write(
            tmp_path / "a.parquet", dates(*self.MOMENTS), use_deprecated_int96_timestamps=True
        )
        found = read_rows(path)
        assert [row["at"] for row in found.rows] == list(self.MOMENTS)
        assert not found.invalid

    def test_nanoseconds_that_would_be_cut_reject_their_row(self, tmp_path):
        nanos = pa.table({"at": pa.array([1_577_836_800_000_000_001, 0], pa.timestamp("ns"))})
        path = write(tmp_path / "a.parquet", nanos, use_deprecated_int96_timestamps=True)
        assert list(read_rows(path).invalid) == [0]
        found = read_rows(path, types={"at": "timestamp[ns]"})
        assert [row["at"].value for row in found.rows] == [1_577_836_800_000_000_001, 0]

    def test_dates_that_nanoseconds_cannot_hold_reject_their_row(self, tmp_path):
        path = write(
            tmp_path / "a.parquet", dates(*self.MOMENTS), use_deprecated_int96_timestamps=True
        )
        found = read_rows(path, types={"at": "timestamp[ns]"})
        assert list(found.invalid) == [0]
        assert found.rows[1]["at"] == pd.Timestamp(self.MOMENTS[1])


PERIOD = """
import sys
import {imports}
from v3io_frames_put import UnsupportedType
from v3io_frames_put.jobs._files import find_files
from v3io_frames_put.jobs._reader import FileTable, ReadOptions
from tests.internals import plan_rows
def plan(*columns):
    return plan_rows(FileTable(find_files(sys.argv[1]), ReadOptions()).source(), columns=columns)
try:
    plan("p")
except UnsupportedType as error:
    print("pandas.period" in error.dtype)
plan("n")
"""


class TestExtensionTypes:
    @pytest.mark.parametrize("imports", ["pyarrow", "pandas.core.arrays.arrow.extension_types"])
    def test_are_known_by_the_file_whatever_is_imported(self, tmp_path, imports):
        frame = pd.DataFrame({"p": pd.period_range("2020-01", periods=2, freq="M"), "n": [1, 2]})
        frame.to_parquet(tmp_path / "a.parquet")
        command = [sys.executable, "-c", PERIOD.format(imports=imports), tmp_path / "a.parquet"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == "True\n"

    def test_are_refused_where_they_are_sent(self, publish, tmp_path, sent):
        frame = pd.DataFrame({"p": pd.interval_range(0, 2), "n": [1, 2]})
        frame.to_parquet(tmp_path / "a.parquet")
        with pytest.raises(UnsupportedType, match=r"'p' has type .*pandas\.interval"):
            publish(tmp_path / "a.parquet")
        publish(tmp_path / "a.parquet", columns=["n"])
        assert sent("n") == [{"n": 1}, {"n": 2}]


class TestIndex:
    def test_is_not_sent_unless_asked_for(self, publish, tmp_path, sent):
        pd.DataFrame({"a": [2, 3, 1]}).sort_values("a").to_parquet(tmp_path / "a.parquet")
        publish(tmp_path / "a.parquet")
        assert sent("a") == [{"a": 1}, {"a": 2}, {"a": 3}]
        publish(tmp_path / "a.parquet", index=True)
        assert [row for row in sent("a") if "index" in row] == [
            {"index": 2, "a": 1},
            {"index": 0, "a": 2},
            {"index": 1, "a": 3},
        ]

    def test_a_range_is_not_a_column_of_the_file(self, publish, tmp_path, sent):
        frame = pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(5, 7, name="t"))
        frame.to_parquet(tmp_path / "a.parquet")
        publish(tmp_path / "a.parquet", index=True)
        assert sent("a") == [{"a": 1}, {"a": 2}]

    def test_is_not_sent_from_failed_rows_either(self, publish, tmp_path, sent):
        frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["k", "x" * 300], name="t"))
        frame.to_parquet(tmp_path / "a.parquet")
        with pytest.raises(PartialFailure, match="PartitionKeyTooLong"):
            publish(tmp_path / "a.parquet", partition_key="t", failed=tmp_path / "f.parquet")
        publish(tmp_path / "f.parquet")
        assert sent("a") == [{"a": 1}, {"a": 2}]

    def test_names_are_those_of_reset_index(self, publish, tmp_path, sent):
        frame = pd.DataFrame(
            {"a": [1]}, index=pd.MultiIndex.from_tuples([(7, "x")], names=[None, "t"])
        )
        frame.to_parquet(tmp_path / "a.parquet")
        publish(tmp_path / "a.parquet", index=True)
        assert sent() == frame.reset_index().to_dict("records")

    def test_may_route_rows_though_it_is_not_sent(self, publish, tmp_path, sent, local_platform):
        pd.DataFrame({"a": [1]}, index=pd.Index(["k"], name="t")).to_parquet(tmp_path / "a.parquet")
        publish(tmp_path / "a.parquet", partition_key="t")
        assert sent() == [{"a": 1}]
        [record] = local_platform.records("projects/house/readings")
        assert record.partition_key == "k"

    def test_plan_says_that_it_is_not_sent(self, tmp_path):
        pd.DataFrame({"a": [1]}, index=pd.Index(["k"], name="t")).to_parquet(tmp_path / "a.parquet")
        advice = jobs.plan(tmp_path / "a.parquet", "projects/a/b").advice
        assert "The index of the pandas frame is not sent: 't'. index=True sends it." in advice


LEAF = st.sampled_from([pa.int32(), pa.int64(), pa.string()])


class TestNested:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (pa.list_(pa.field("item", pa.int64(), nullable=False)), pa.list_(pa.int64())),
            (
                pa.struct([("x", pa.int32()), ("y", pa.string())]),
                pa.struct([("y", pa.string()), ("x", pa.int64())]),
            ),
            (pa.struct([("x", pa.int64())]), pa.struct([("x", pa.int64()), ("z", pa.bool_())])),
            (
                pa.map_(pa.string(), pa.struct([("x", pa.int64())])),
                pa.map_(pa.string(), pa.struct([("z", pa.bool_()), ("x", pa.int64())])),
            ),
            (pa.list_(pa.int64(), 2), pa.large_list(pa.int32())),
        ],
    )
    @pytest.mark.parametrize("is_first", [True, False])
    def test_types_that_differ_in_form_are_brought_together(self, tmp_path, one, other, is_first):
        def value(dtype, n):
            if pa.types.is_struct(dtype):
                values = {"x": n, "y": f"t{n}", "z": True}
                return {field.name: values[field.name] for field in dtype}
            if pa.types.is_map(dtype):
                return [("k", value(dtype.item_type, n))]
            return [n, n + 1]

        def strip(cell):
            if isinstance(cell, dict):
                return {name: item for name, item in sorted(cell.items()) if item is not None}
            return [strip(item) for item in cell] if isinstance(cell, (list, tuple)) else cell

        types = [one, other] if is_first else [other, one]
        expected = []
        for place, dtype in enumerate(types):
            # Some versions of pyarrow cannot write a null in a list of fixed size.
            nothing = [] if pa.types.is_fixed_size_list(dtype) else [None]
            values = [value(dtype, 10 * place), *nothing, value(dtype, 10 * place + 1)]
            expected += values
            write(tmp_path / f"{place}.parquet", pa.table({"v": pa.array(values, dtype)}))
        found = read_rows(tmp_path)
        assert not found.invalid
        assert [strip(row["v"]) for row in found.rows] == [strip(cell) for cell in expected]

    def test_microseconds_beside_nanoseconds_row_by_row(self, tmp_path):
        inner = [dt.datetime(2020, 1, 1), dt.datetime(1500, 1, 1), dt.datetime(2021, 1, 1)]
        for unit, moments in (("ns", inner[:1]), ("us", inner)):
            cells = pa.array(
                [{"at": moment} for moment in moments], pa.struct([("at", pa.timestamp(unit))])
            )
            write(
                tmp_path / f"{unit}.parquet",
                pa.table({"v": cells, "at": pa.array(moments, pa.timestamp(unit))}),
            )
        found = read_rows(tmp_path)
        assert [cells.keys() for cells in found.invalid.values()] == [{"v", "at"}]
        assert [row["at"] is None for row in found.rows] == [False, False, True, False]

    def test_advice_of_a_refusal_works(self, tmp_path):
        write_parquet(tmp_path / "0.parquet", v=[1])
        write_parquet(tmp_path / "1.parquet", v=["x"])
        with pytest.raises(DataError, match=r"Give it one by types, or publish"):
            read_rows(tmp_path)
        assert [row["v"] for row in read_rows(tmp_path, types={"v": "string"}).rows] == ["1", "x"]
        write_parquet(tmp_path / "3.parquet", v=[b"x"])
        with pytest.raises(DataError, match="is string, which cannot become binary"):
            read_rows(tmp_path / "1.parquet", tmp_path / "3.parquet")


class TestRows:
    @given(st.lists(st.integers(0, 40), min_size=1, max_size=4), st.integers(1, 9))
    def test_rows_in_are_rows_out_with_their_places(self, tmp_path_factory, sizes, group):
        folder, first = tmp_path_factory.mktemp("rows"), 0
        for number, size in enumerate(sizes):
            table = pa.table({"n": pa.array(range(first, first + size), pa.int64())})
            if number % 2:
                with pa.ipc.new_file(folder / f"{number}.arrow", table.schema) as sink:
                    sink.write_table(table, max_chunksize=group)
            else:
                write(folder / f"{number}.parquet", table, row_group_size=group)
            first += size
        found = read_rows(folder)
        assert [row["n"] for row in found.rows] == list(range(first))
        assert found.places == [row for size in sizes for row in range(1, size + 1)]

    def test_places_are_noted_as_rows_are_read(self, tmp_path):
        for number in range(2):
            write_parquet(tmp_path / f"{number}.parquet", n=range(5))
        table = FileTable(find_files(tmp_path), ReadOptions(where="n != 2"))
        written = []
        table.places = written
        assert sum(batch.num_rows for batch in table._batches([0])) == table.rows_read == 8
        files, rows = pa.Table.from_batches(written).columns
        assert rows.to_pylist() == [1, 2, 4, 5] * 2
        assert [name[-9:] for name in files.to_pylist()] == ["0.parquet"] * 4 + ["1.parquet"] * 4

    def test_text_that_is_not_utf_8_rejects_its_row(self, tmp_path):
        bad = pa.StringArray.from_buffers(
            2, pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff")
        )
        write(tmp_path / "a.parquet", pa.table({"t": bad}))
        found = read_rows(tmp_path / "a.parquet")
        assert found.rows == [{"t": "a"}, {"t": None}]
        assert found.invalid == {1: {"t": "\\xff"}}

    def test_marks_of_failed_rows_reject_them_until_they_are_cleared(self, publish, tmp_path, sent):
        table = pa.table(
            {
                "n": [1, None, 3],
                "__v3io_status": ["rejected"] * 3,
                "__v3io_invalid": pa.array([None, [("n", "x")], []], INTERNAL_FIELDS[0].type),
            }
        )
        with pytest.raises(PartialFailure, match=r"1 rejected.*'n', 'x'"):
            publish(write(tmp_path / "a.parquet", table))
        assert sent("n") == [{"n": 1}, {"n": 3}]

    @pytest.mark.parametrize("kind", ["frame", "table"])
    def test_every_face_rejects_marked_rows(self, kind):
        marks = pa.array([None, [("n", "x")], []], INTERNAL_FIELDS[0].type)
        data = pa.table({"n": [1, None, 3], "__v3io_invalid": marks, "__v3io_error": ["a"] * 3})
        if kind == "frame":
            data = data.to_pandas()
            data["__v3io_invalid"] = [None, {"n": "x"}, {}]
        [records] = plan_rows(data).records()
        assert records.rejections.rows.tolist() == [1]
        assert "cells that did not fit" in records.rejections.details[0]
        assert b"v3io" not in b"".join(records.data.to_pylist())

    def test_types_that_no_file_has_are_refused(self, tmp_path):
        with pytest.raises(ConfigError, match="no file has a column 'm'"):
            read_rows(write_parquet(tmp_path / "a.parquet", n=[1]), types={"m": "int64"})

    def test_a_column_that_is_missing_is_null(self, tmp_path):
        write_parquet(tmp_path / "0.parquet", n=[1])
        write_text(tmp_path / "1.csv", "m,n", "a,2")
        assert read_rows(tmp_path).rows == [{"n": 1, "m": None}, {"n": 2, "m": "a"}]

    def test_a_column_without_values_takes_the_type_of_another_file(self, tmp_path):
        write_text(tmp_path / "0.csv", "n,t", ",")
        write_text(tmp_path / "1.csv", "n,t", "2,")
        assert read_rows(tmp_path).types == {"n": "int64", "t": "string"}

    def test_a_0_byte_file_among_others(self, tmp_path):
        write_text(tmp_path / "0.csv", "n", "1")
        (tmp_path / "1.csv").touch()
        (tmp_path / "2.jsonl").touch()
        assert read_rows(tmp_path).rows == [{"n": 1}]

    def test_the_file_is_a_dictionary(self, tmp_path):
        path = write_parquet(tmp_path / "a.parquet", n=[1, 2])
        [batch] = FileTable(find_files(path), ReadOptions()).read_again(0)
        assert batch.column(FILE).to_pylist() == [str(path)] * 2

    def test_ten_thousand_files(self, tmp_path):
        for number in range(10_000):
            (tmp_path / f"{number:05}.jsonl").write_bytes(b"{}\n")
        table = FileTable(find_files(tmp_path), ReadOptions())
        written = []
        table.places = written
        assert sum(batch.num_rows for batch in table._batches([0])) == 10_000
        assert len(written) == 10_000
        assert written[-1].column(0).to_pylist() == [f"{tmp_path}/09999.jsonl"]

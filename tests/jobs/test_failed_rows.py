"""Failed rows: the input's columns in its types, and why; sent again once they are mended."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from tests.internals import RowReader, check_failed_rows
from tests.jobs.conftest import read_table, write_parquet, write_text
from v3io_frames_put import ConfigError, Interrupted, PartialFailure, StreamNotFound, jobs
from v3io_frames_put.errors import PutRecordsError
from v3io_frames_put.jobs._reader import FileTable
from v3io_frames_put.local import faults

pytestmark = pytest.mark.filterwarnings("default::v3io_frames_put.UnstoredRowsWarning")

NOWHERE = "projects/nothing/here"
REASONS = ["__v3io_status", "__v3io_error", "__v3io_detail", "__v3io_invalid"]


@pytest.fixture
def failed(tmp_path):
    return tmp_path / "f.parquet"


class TestWhatIsWritten:
    def test_the_rows_in_their_types_and_why(self, publish, folder, failed):
        rooms, levels = ["x" * 300, "hall"], pa.array([1, None], pa.int8())
        write_parquet(folder / "1.parquet", n=[10, 11], room=rooms, level=levels)
        with pytest.raises(PartialFailure) as caught:
            publish(folder, partition_key="room", failed=failed)
        assert (caught.value.results.failed, caught.value.results.failed_rows) == (failed, 1)
        table = pq.read_table(failed)
        assert table.schema.names == ["n", "room", "level", *REASONS]
        assert table.schema.types[:3] == [pa.int64(), pa.string(), pa.int8()]
        (row,) = table.to_pylist()
        assert (row["n"], row["level"], row["__v3io_status"]) == (10, 1, "rejected")
        assert row["__v3io_error"] == "PartitionKeyTooLong"
        assert "300 bytes" in row["__v3io_detail"]
        assert row["__v3io_invalid"] is None

    def test_a_cell_that_does_not_fit_is_null_and_its_text_beside_it(
        self, publish, tmp_path, failed
    ):
        file = write_text(tmp_path / "a.csv", "n,x,room", "1,1.50,hall", "2,many,attic", "odd,no,")
        with pytest.raises(PartialFailure):
            publish(file, types={"n": "int64", "x": "double"}, failed=failed)
        table = pq.read_table(failed)
        assert table.select(["n", "x", "room"]).to_pylist() == [
            {"n": 2, "x": None, "room": "attic"},
            {"n": None, "x": None, "room": None},
        ]
        assert table["__v3io_invalid"].to_pylist() == [
            [("x", "many")],
            [("n", "odd"), ("x", "no")],
        ]

    def test_every_row_of_a_stream_that_is_missing(self, client, folder, tmp_path, failed):
        results = tmp_path / "r.parquet"
        with pytest.raises(StreamNotFound) as caught:
            jobs.publish(folder, NOWHERE, client=client, results=results, failed=failed)
        assert caught.value.results.rows == 30
        assert read_table(failed).n.tolist() == list(range(30))
        assert set(read_table(results).status) == {"unsent"}

    def test_rows_of_the_condition_alone(self, publish, folder, failed):
        write_parquet(folder / "1.parquet", n=[10, 11, 12], room=["x" * 300, "hall", "y" * 300])
        with pytest.raises(PartialFailure):
            publish(folder, where="n >= 11", columns=["n"], partition_key="room", failed=failed)
        assert read_table(failed).n.tolist() == [12]

    def test_rows_that_were_never_read_too(self, publish, folder, failed):
        cancel = threading.Event()
        cancel.set()
        with pytest.raises(Interrupted) as caught:
            publish(folder, where="n >= 5", cancel=cancel, failed=failed)
        assert caught.value.results.failed_rows == 25

    @pytest.mark.parametrize(("delivery", "count"), [("at_least_once", 30), ("at_most_once", 0)])
    def test_unknown_rows_where_they_may_be_sent_again(
        self, publish, folder, failed, local_platform, delivery, count
    ):
        local_platform.faults = [faults.lost_answer(times=None)]
        with pytest.raises((PartialFailure, Interrupted)) as caught:
            publish(folder, delivery=delivery, cancel=_after_one(local_platform), failed=failed)
        assert caught.value.results.counts["unknown"] > 0
        assert len(read_table(failed)) == count

    def test_text_that_is_not_utf_8_is_an_invalid_cell(self, publish, tmp_path, failed):
        texts = pa.array([b"a", b"\xffb", b"c"]).view(pa.string())
        nested = pa.ListArray.from_arrays([0, 1, 2, 3], texts)
        file = write_parquet(tmp_path / "a.parquet", s=texts, n=[1, 2, float("inf")], t=nested)
        with pytest.raises(PartialFailure):
            publish(file, failed=failed)
        table = pq.read_table(failed)
        assert table["s"].to_pylist() == [None, "c"]
        assert table["__v3io_invalid"].to_pylist() == [
            [("s", "\\xffb"), ("t", "a value that Python cannot hold")],
            None,
        ]

    def test_what_can_be_read_of_a_damaged_file(self, client, tmp_path, failed):
        file = tmp_path / "a.parquet"
        table = pa.table({"x": list(range(20_000)), "y": [float(n) for n in range(20_000)]})
        pq.write_table(table, file, row_group_size=5_000, use_dictionary=False, compression="none")
        column = pq.read_metadata(file).row_group(2).column(1)
        content = bytearray(file.read_bytes())
        content[column.data_page_offset : column.data_page_offset + 20] = b"\xff" * 20
        file.write_bytes(content)
        with pytest.raises(StreamNotFound):
            jobs.publish(file, NOWHERE, client=client, failed=failed)
        assert read_table(failed).x.tolist() == list(range(10_000))

    def test_nothing_of_a_file_that_has_changed(self, publish, folder, failed):
        broken = folder / "1.parquet"
        write_parquet(broken, n=[10], room=["x" * 300])

        def change(_snapshot):
            write_parquet(broken, n=[99, 98], room=["x", "y"])

        with pytest.raises(PutRecordsError, match="has changed") as caught:
            publish(folder, partition_key="room", progress=change, failed=failed)
        assert caught.value.results.counts["rejected"] == 1
        assert not failed.exists()

    def test_nothing_of_rows_that_are_read_differently(
        self, publish, tmp_path, failed, monkeypatch
    ):
        """The file must never hold the neighbors of those meant."""
        file = write_text(tmp_path / "a.csv", "n", "1", "x")
        read, seen = FileTable.read_again, []

        def read_less(table, number):
            for batch in read(table, number):
                seen.append(number)
                yield batch[:1]

        monkeypatch.setattr(FileTable, "read_again", read_less)
        with pytest.raises(PutRecordsError, match="has other rows than when it was published"):
            publish(file, types={"n": "int64"}, failed=failed)
        assert seen
        assert not failed.exists()

    def test_what_parquet_cannot_hold_is_reported_with_the_results(
        self, publish, tmp_path, failed, monkeypatch
    ):
        """As seconds of a year that has no milliseconds in 64 bits."""
        file = write_text(tmp_path / "a.csv", "n", "1", "oops")

        def refuse(*_):
            raise pa.ArrowInvalid("Integer overflow")

        monkeypatch.setattr(pq.ParquetWriter, "write_table", refuse)
        message = r"f\.parquet cannot be written: Integer overflow"
        with pytest.raises(PutRecordsError, match=message) as caught:
            publish(file, types={"n": "int64"}, failed=failed)
        assert caught.value.results.counts["stored"] == 1
        assert list(tmp_path.iterdir()) == [file]

    def test_no_name_in_a_type_changes(self, client, tmp_path, failed):
        file = tmp_path / "a.parquet"
        pq.write_table(pa.table({"x": [[1], [2]]}), file, use_compliant_nested_type=False)
        with pytest.raises(StreamNotFound):
            jobs.publish(file, NOWHERE, client=client, failed=failed)
        assert pq.read_schema(failed).field("x") == pq.read_schema(file).field("x")


def _after_one(platform):
    """Stop once a request has arrived."""

    class Cancel(threading.Event):
        def is_set(self):
            return any(arrival.function == "PutRecords" for arrival in platform.requests)

    return Cancel()


class TestSendingThemAgain:
    def test_without_the_columns_of_ours(self, publish, folder, failed, sent, local_platform):
        local_platform.faults = [faults.RecordErrors(containing='"n":7,', times=None)]
        with pytest.raises(PartialFailure):
            publish(folder, failed=failed)
        local_platform.faults = []
        assert publish(failed).counts["stored"] == 1
        assert sent(by="n") == [{"n": n, "room": f"r{n % 4}"} for n in range(30)]

    def test_a_bad_cell_is_never_sent_as_a_null(self, publish, tmp_path, failed, sent):
        file = write_text(tmp_path / "a.csv", "n,x", "1,2", "2,many", "3,4")
        with pytest.raises(PartialFailure):
            publish(file, types={"x": "int64"}, failed=failed)
        for _ in range(2):
            with pytest.raises(PartialFailure, match=r"did not fit: \[\('x', 'many'\)") as caught:
                publish(failed, failed=tmp_path / "left.parquet")
            assert caught.value.results.counts["rejected"] == 1
        assert pq.read_table(tmp_path / "left.parquet").select(["n", "x"]).to_pylist() == [
            {"n": 2, "x": None}
        ]
        mended = read_table(failed)
        mended["x"], mended["__v3io_invalid"] = mended["x"].fillna(3), None
        mended.to_parquet(failed)
        publish(failed)
        assert sent(by="n") == [{"n": 1, "x": 2}, {"n": 2, "x": 3}, {"n": 3, "x": 4}]


class TestOpening:
    def write(self, path, **columns):
        count = len(next(iter(columns.values())))
        told = {"__v3io_status": ["unsent"] * count}
        pq.write_table(pa.table({**columns, **told}), path)
        return path

    def test_lines_are_lines_again(self, publish, failed, local_platform):
        """Also in a copy by another program, and where whoever mended one has broken it."""
        self.write(failed, line=['{"n": 1}', "[2]", '{"n":\n 3}'])
        with pytest.raises(PartialFailure, match="1 of 3 rows are not stored"):
            publish(failed)
        records = local_platform.records("projects/house/readings")
        assert sorted(bytes(record.data) for record in records) == [b'{"n":  3}', b'{"n": 1}']

    def test_lines_beside_a_folder_are_lines_in_a_copy_too(
        self, publish, tmp_path, failed, local_platform
    ):
        write_text(tmp_path / "day=1/a.jsonl", '{"n": 1}', "[2]")
        with pytest.raises(PartialFailure, match="1 of 2 rows are not stored"):
            publish(tmp_path, partition_key="day", failed=failed)
        mended = read_table(failed).assign(line=[b'{"n": 2}'])
        mended.to_parquet(failed)
        publish(failed, partition_key="day")
        records = local_platform.records("projects/house/readings")
        found = sorted((bytes(record.data), record.partition_key) for record in records)
        assert found == [(b'{"n": 1}', "1"), (b'{"n": 2}', "1")]

    def test_a_column_of_the_data_may_be_called_line(self, publish, failed, sent):
        self.write(failed, n=[1, 2], line=["a", None])
        publish(failed)
        assert sent("n") == [{"n": 1, "line": "a"}, {"n": 2, "line": None}]

    @pytest.mark.parametrize(
        ("write", "says"),
        [
            (lambda path: None, "cannot be read as Parquet"),
            (lambda path: path.write_text("n\n1\n"), "cannot be read as Parquet"),
            (lambda path: write_parquet(path, n=[1]), "has no column __v3io_status"),
        ],
        ids=["nothing", "another kind", "no failed rows"],
    )
    def test_what_is_not_such_a_file_is_refused(self, tmp_path, failed, write, says):
        write(failed)
        with pytest.raises(ConfigError, match=says):
            check_failed_rows(failed)

    def test_it_is_not_written_over(self, publish, tmp_path, failed):
        self.write(failed, n=[1])
        with pytest.raises(ConfigError, match="is one of the files to publish"):
            publish(failed, failed=tmp_path / "." / failed.name)


@given(
    batches=st.lists(
        st.tuples(st.sampled_from("ab"), st.sets(st.integers(1, 12)).map(sorted)), max_size=4
    ),
    counts=st.lists(st.integers(0, 9), max_size=12),
)
def test_rows_of_batches_are_taken_in_any_number(batches, counts):
    schema = pa.schema({"file": pa.dictionary(pa.int32(), pa.string()), "row": pa.int64()})
    parts = []
    for file, rows in batches:
        files = pa.array([file] * len(rows), schema.field("file").type)
        parts.append(pa.record_batch([files, pa.array(rows, pa.int64())], schema=schema))
    known = [(file, row) for file, rows in batches for row in rows]
    reader = RowReader(parts, lambda missing: nulls(schema, missing))
    start = 0
    for count in counts:
        taken = reader.take(count).to_pylist()
        expected = known[start : start + count]
        expected += [(None, None)] * (count - len(expected))
        assert [(one["file"], one["row"]) for one in taken] == expected
        start += count


def nulls(schema, count):
    return pa.record_batch([pa.nulls(count, dtype) for dtype in schema.types], schema=schema)


def test_cells_of_a_column_line_are_not_taken_for_json(publish, tmp_path, failed, sent):
    file = write_text(tmp_path / "a.csv", "line", "x" * 300, "hall")
    with pytest.raises(PartialFailure):
        publish(file, partition_key="line", failed=failed)
    assert publish(failed).counts["stored"] == 1
    assert sorted(map(len, (row["line"] for row in sent()))) == [4, 300]


def test_bytes_of_a_column_line_are_not_taken_for_json(publish, tmp_path, failed, sent):
    table = pa.table({"line": [b'{"a":1}'], "n": [1], "k": ["k" * 300]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(PartialFailure):
        publish(tmp_path / "a.parquet", partition_key="k", failed=failed)
    for again in (tmp_path / "a.parquet", failed):
        assert publish(again).counts["stored"] == 1
        assert [row["n"] for row in sent()[-1:]] == [1]


def test_marks_in_text_reject_a_row_until_they_are_cleared(publish, tmp_path):
    lines = ['{"a":1,"__v3io_invalid":{"b":"x"}}', '{"a":2,"__v3io_invalid":null}', '{"a":3}']
    file = write_text(tmp_path / "a.jsonl", *lines)
    for options, stored in (({"format": "arrow"}, 2), ({}, 1)):
        results = publish(file, on_error="return", **options)
        assert results.counts["stored"] == stored

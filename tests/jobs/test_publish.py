"""Files of every kind onto a stream; the results and the rows left to send, row for row."""

from __future__ import annotations

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import PurePath

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import feather
from pyarrow import parquet as pq

from tests.jobs.conftest import STREAM, read_table, write_parquet, write_text
from v3io_frames_put import (
    Client,
    ConfigError,
    DataError,
    Interrupted,
    PartialFailure,
    Retry,
    jobs,
)
from v3io_frames_put.errors import ColumnNotFound, PlatformUnavailable, PutRecordsError
from v3io_frames_put.local import faults

ODD = 2**53 + 1  # the first whole number that no double holds

pytestmark = pytest.mark.filterwarnings("default::v3io_frames_put.UnstoredRowsWarning")


class TestKinds:
    def test_a_folder_of_parquet(self, publish, sent, folder):
        told = publish(folder)
        assert (told.files, told.rows, told.complete) == (3, 30, True)
        assert sent(by="n") == [{"n": n, "room": f"r{n % 4}"} for n in range(30)]

    def test_csv(self, publish, sent, tmp_path):
        file = write_text(tmp_path / "a.csv", "n,at,x", "1,2026-11-22 10:00:00,0.5", '2,,"a, b"')
        publish(file)
        assert sent(by="n") == [
            {"n": 1, "at": "2026-11-22 10:00:00", "x": "0.5"},
            {"n": 2, "at": None, "x": "a, b"},
        ]

    def test_tabs_and_compression(self, publish, sent, tmp_path):
        (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfn\tx\n1\ty\n"))
        publish(tmp_path / "a.tsv.gz")
        assert sent() == [{"n": 1, "x": "y"}]

    def test_json_lines_keep_text_that_looks_like_a_time(self, publish, sent, tmp_path):
        line = {"n": 1, "at": "2026-11-22 10:00:00", "deep": {"x": [1, 2]}, "none": None}
        publish(write_text(tmp_path / "a.jsonl", json.dumps(line)))
        assert sent() == [line]

    @pytest.mark.parametrize("kind", ["file", "stream"])
    def test_arrow_ipc(self, publish, sent, tmp_path, kind):
        table = pa.table({"n": [1, 2], "c": pa.array(["x", "y"]).dictionary_encode()})
        path = tmp_path / "a.arrow"
        if kind == "file":
            feather.write_feather(table, path)
        else:
            with pa.ipc.new_stream(path, table.schema) as writer:
                writer.write_table(table)
        publish(path)
        assert sent(by="n") == [{"n": 1, "c": "x"}, {"n": 2, "c": "y"}]

    def test_urls_by_fsspec(self, publish, sent, tmp_path, require_module):
        fsspec = require_module("fsspec")
        memory = fsspec.filesystem("memory")
        memory.pipe("/readings/day=2/a.csv", b"n\n1\n2\n")
        try:
            told = publish("memory://readings")
        finally:
            memory.rm("/readings", recursive=True)
        assert told.rows == 2
        assert sent(by="n") == [{"n": 1, "day": "2"}, {"n": 2, "day": "2"}]


class TestResults:
    def test_are_row_for_row_what_put_records_returns(self, publish, folder, tmp_path):
        told = publish(folder, partition_key="room", results=tmp_path / "r.parquet")
        results = read_table(told.results)
        assert list(results.status) == ["stored"] * 30
        assert list(results.status.cat.categories) == ["stored", "rejected", "unsent", "unknown"]
        assert results.attrs["v3io"]["counts"]["stored"] == 30
        assert dict(results.dtypes.astype(str)) == {
            "status": "category",
            "shard_id": "Int32",
            "sequence_number": "Int64",
            "error_code": "Int64",
            "error_message": "string",
            "error_detail": "string",
            "attempts": "Int16",
            "maybe_duplicate": "bool",
            "file": "category",
            "file_row": "Int64",
        }
        assert [PurePath(file).name for file in results.file[9:11]] == ["0.parquet", "1.parquet"]
        assert results.file_row.tolist() == [*range(1, 11)] * 3

    def test_say_where_each_row_stands(self, publish, folder, tmp_path, local_platform):
        told = publish(folder, partition_key="room", results=tmp_path / "r.parquet")
        stands = {
            (record.shard_id, record.sequence_number): json.loads(record.data)["n"]
            for record in local_platform.records(STREAM)
        }
        results = read_table(told.results)
        places = zip(results.shard_id, results.sequence_number, strict=True)
        assert [stands[place] for place in places] == list(range(30))

    def test_a_row_that_is_refused_is_told_of_in_its_place(self, publish, folder, tmp_path):
        write_parquet(folder / "1.parquet", n=[10, 11], room=["x" * 300, "hall"])
        with pytest.raises(PartialFailure) as caught:
            publish(folder, partition_key="room", results=tmp_path / "r.parquet")
        told = caught.value.results
        assert told.counts == {"stored": 21, "rejected": 1, "unsent": 0, "unknown": 0}
        assert [reason["error_message"] for reason in told.reasons] == ["PartitionKeyTooLong"]
        status = read_table(told.results).status
        assert list(status[status != "stored"].index) == [10]
        (reason,) = told.reasons
        assert (reason["file"], reason["file_row"]) == (f"{folder}/1.parquet", 1)

    def test_nothing_is_left_behind_when_nothing_is_asked_for(self, publish, folder, tmp_path):
        before = sorted(tmp_path.rglob("*"))
        told = publish(folder)
        assert (told.results, told.failed) == (None, None)
        assert sorted(tmp_path.rglob("*")) == before

    def test_on_error_return_warns(self, publish, folder):
        write_parquet(folder / "1.parquet", n=[10], room=["x" * 300])
        with pytest.warns(UserWarning, match="1 of 21 rows are not stored"):
            told = publish(folder, partition_key="room", on_error="return")
        assert told.counts["rejected"] == 1


class TestSchemas:
    def test_types_are_promoted_where_nothing_is_lost(self, publish, sent, tmp_path):
        write_parquet(tmp_path / "d/1.parquet", n=pa.array([1], pa.int8()), a=["x"])
        write_parquet(tmp_path / "d/2.parquet", n=pa.array([2**40], pa.int64()), b=[True])
        publish(tmp_path / "d")
        assert sent(by="n") == [
            {"n": 1, "a": "x", "b": None},
            {"n": 2**40, "a": None, "b": True},
        ]

    def test_what_cannot_be_promoted_is_refused_before_anything_is_sent(
        self, publish, folder, local_platform
    ):
        write_parquet(folder / "2.parquet", n=["many"])
        before = len(local_platform.requests)
        with pytest.raises(DataError, match=r"2\.parquet: column 'n' is string, and int64 in"):
            publish(folder)
        assert len(local_platform.requests) == before

    def test_types_bring_files_together(self, publish, folder, sent):
        write_parquet(folder / "2.parquet", n=["many"], room=["r1"])
        publish(folder, types={"n": "string"})
        assert {"n": "many", "room": "r1"} in sent()
        assert {"n": "3", "room": "r3"} in sent()

    def test_hive_partitions_are_columns(self, publish, sent, tmp_path):
        for day in ("2026-11-21", "2026-11-22"):
            write_parquet(tmp_path / f"d/day={day}/part=7/x.parquet", n=[1])
        write_parquet(tmp_path / "d/day=__HIVE_DEFAULT_PARTITION__/part=8/x.parquet", n=[2])
        publish(tmp_path / "d", where="n = 2 or day > '2026-11-21'")
        assert sent(by="n") == [
            {"n": 1, "day": "2026-11-22", "part": "7"},
            {"n": 2, "day": None, "part": "8"},
        ]

    @pytest.mark.parametrize("name", ["x.parquet", "x.csv", "x.jsonl", "x.arrow"])
    def test_excluded_partitions_are_not_opened(self, publish, sent, tmp_path, name):
        """Neither a file that is half written nor one with another schema is in the way."""
        write_parquet(tmp_path / "d/day=2/x.parquet", n=[1])
        write_text(tmp_path / f"d/day=1/{name}", "half a fi")
        write_parquet(tmp_path / "d/day=3/x.parquet", n=["text"])
        told = publish(tmp_path / "d", where="day = '2' and n > 0")
        assert (told.rows, told.files) == (1, 1)
        assert sent() == [{"n": 1, "day": "2"}]

    def test_where_all_folders_are_excluded_one_file_tells_the_columns(self, publish, tmp_path):
        write_parquet(tmp_path / "d/day=1/x.parquet", n=[1])
        write_text(tmp_path / "d/day=2/x.parquet", "half a fi")
        assert publish(tmp_path / "d", where="day = '3'", partition_key="n").rows == 0
        with pytest.raises(ColumnNotFound, match="'m'"):
            publish(tmp_path / "d", where="day = '3' and m = 1")


def _fill_the_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class TestPlaces:
    @pytest.mark.parametrize(
        "cells",
        [pa.array([{}, {}], pa.struct([])), pa.array([Decimal("1E+3")] * 2, pa.decimal128(5, -2))],
    )
    def test_failed_that_could_not_hold_a_column_is_refused_first(
        self, publish, tmp_path, local_platform, cells
    ):
        file = tmp_path / "a.arrow"
        table = pa.table({"n": [1, 2], "odd": cells})
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        before = len(local_platform.requests)
        with pytest.raises(ConfigError, match=r"f\.parquet cannot be written: "):
            publish(file, columns=["n"], failed=tmp_path / "f.parquet")
        assert len(local_platform.requests) == before
        assert list(tmp_path.iterdir()) == [file]

    def test_two_runs_with_the_same_failed_at_once(self, publish, folder, tmp_path, sent):
        failed, others = tmp_path / "f.parquet", []

        def start_another(_snapshot):
            if not others:
                others.append(publish(folder, failed=failed))

        assert publish(folder, failed=failed, progress=start_another).failed_rows == 0
        assert others[0].failed_rows == 0
        assert len(sent()) == 60
        assert sorted(tmp_path.iterdir()) == [failed, folder]

    @pytest.mark.parametrize(
        "options",
        [
            {"results": 5},
            {"failed": ["a"]},
            {"journal": 5},
            {"where": 5},
            {"where": ""},
            {"types": ["n"]},
            {"cancel": 1},
        ],
    )
    def test_an_option_of_a_wrong_kind_is_refused(self, publish, folder, local_platform, options):
        before = len(local_platform.requests)
        (name,) = options
        with pytest.raises(ConfigError, match=rf"{name}.*expected"):
            publish(folder, **options)
        with pytest.raises(ConfigError, match=r"files=.*expected a path"):
            publish(5)
        assert len(local_platform.requests) == before

    def test_a_full_disk_is_told_with_the_file(self, publish, folder, tmp_path, monkeypatch):
        monkeypatch.setattr(pq.ParquetWriter, "write_table", _fill_the_disk)
        with pytest.raises(PutRecordsError, match=r"r\.parquet cannot be written: .*No space left"):
            publish(folder, results=tmp_path / "r.parquet")

    def test_a_folder_that_does_not_fit_its_type_is_refused_first(
        self, publish, tmp_path, local_platform
    ):
        for day in ("2026-11-21", "bad"):
            write_parquet(tmp_path / f"lake/day={day}/a.parquet", n=[1])
        before = len(local_platform.requests)
        with pytest.raises(DataError, match="its folder day=bad is not a value of date32"):
            publish(tmp_path / "lake", types={"day": "date32"})
        assert len(local_platform.requests) == before

    def test_a_condition_on_columns_of_any_layout(self, publish, tmp_path, sent):
        text = pa.array(["a", "b", "b"])
        table = pa.table(
            {
                "n": [1, 2, 3],
                "view": text.cast(pa.string_view()),
                "runs": pc.run_end_encode(text),
                "code": text.dictionary_encode(),
                "views": pa.array([["x"], [], None], pa.list_(pa.string_view())),
            }
        )
        path = str(tmp_path / "a.arrow")
        with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        publish(path, where="n > 1 and runs = 'b' and view >= 'b' and code = 'b'")
        same = {"view": "b", "runs": "b", "code": "b"}
        assert sent(by="n") == [
            {"n": 2, **same, "views": []},
            {"n": 3, **same, "views": None},
        ]


class TestTrouble:
    def test_a_damaged_file_ends_the_run_there(self, publish, folder, tmp_path, sent):
        broken = folder / "1.parquet"
        write_parquet(broken, n=[10, 11], room=["hall", "attic"])
        column = pq.read_metadata(broken).row_group(0).column(0)
        content = bytearray(broken.read_bytes())
        start, size = column.dictionary_page_offset, column.total_compressed_size
        content[start : start + size] = b"\xff" * size
        broken.write_bytes(content)
        with pytest.raises(PutRecordsError, match=r"1\.parquet cannot be read to its") as caught:
            publish(folder, where="n >= 0", results=tmp_path / "r.parquet", failed=tmp_path / "f")
        assert str(caught.value).endswith(
            f"Until then 10 rows were stored; 0 are left of those that were read, and all after "
            f"them. 10 rows to send are in {tmp_path / 'f'}."
        )
        told = caught.value.results
        assert told.counts["stored"] == 10
        assert not told.complete
        assert len(read_table(told.results)) == 10
        assert sent(by="n")[-1]["n"] == 9
        assert read_table(told.failed).n.tolist() == list(range(20, 30))

    @pytest.mark.parametrize("number", [0, 2])
    def test_a_file_that_cannot_be_opened_sends_nothing(
        self, publish, folder, local_platform, number
    ):
        (folder / f"{number}.parquet").write_bytes(b"PAR1")
        before = len(local_platform.requests)
        with pytest.raises(DataError, match=rf"{number}\.parquet cannot be read"):
            publish(folder)
        assert len(local_platform.requests) == before

    def test_a_file_that_breaks_off_in_the_middle(self, publish, tmp_path, sent):
        lines = "n\n" + "".join(f"{n}\n" for n in range(400_000))
        packed = gzip.compress(lines.encode())
        (tmp_path / "a.csv.gz").write_bytes(packed[: len(packed) * 3 // 4])
        with pytest.raises(
            PutRecordsError, match=r"a\.csv\.gz cannot be read to its end"
        ) as caught:
            publish(tmp_path / "a.csv.gz", results=tmp_path / "r.parquet")
        told = caught.value.results
        assert told.counts["stored"] > 0
        assert told.counts["stored"] == told.rows < 400_000
        assert len(read_table(told.results)) == told.rows

    @pytest.mark.parametrize("group", [100, 5_000])  # a batch that is read has 8,192 rows
    def test_all_that_stands_before_a_damaged_part_of_a_file_is_sent(
        self, publish, tmp_path, sent, group
    ):
        path = tmp_path / "a.parquet"
        rows, before = 10 * group, 5 * group
        table = pa.table({"n": range(rows), "text": [f"{n:060d}" for n in range(rows)]})
        pq.write_table(table, path, row_group_size=group, compression="none", use_dictionary=False)
        place = pq.read_metadata(path).row_group(5).column(1).data_page_offset
        broken = bytearray(path.read_bytes())
        broken[place : place + 40] = b"\xff" * 40
        path.write_bytes(bytes(broken))
        with pytest.raises(
            PutRecordsError, match=r"a\.parquet cannot be read to its end"
        ) as caught:
            publish(path, failed=tmp_path / "f.parquet")
        assert caught.value.results.counts["stored"] == before
        told = f". Until then {before:,} rows were stored; {rows - before:,} are left."
        assert told in str(caught.value)
        assert [value["n"] for value in sent("n")] == list(range(before))

    def test_a_stop_tells_where_the_rest_stands(self, publish, folder, tmp_path):
        cancel, failed = threading.Event(), tmp_path / "f.parquet"
        cancel.set()
        with pytest.raises(Interrupted, match=r"what is left is in .*f\.parquet; with a jour"):
            publish(folder, cancel=cancel, failed=failed)
        with pytest.raises(Interrupted, match=r"with a journal, the same call would continue"):
            publish(folder, cancel=cancel)
        assert len(read_table(failed)) == 30

    def test_a_stop_tells_of_every_row(self, publish, folder, tmp_path, local_platform):
        local_platform.faults = [faults.throttled(times=None, retry_after_seconds=30)]
        stop = threading.Event()

        def press(snapshot):
            if snapshot.retried or snapshot.waiting:
                stop.set()

        with pytest.raises(Interrupted) as caught:
            publish(
                folder,
                cancel=stop,
                progress=press,
                results=tmp_path / "r.parquet",
                failed=tmp_path / "f.parquet",
            )
        assert caught.value.results.counts["unsent"] == 30
        assert not caught.value.results.complete
        assert len(read_table(tmp_path / "r.parquet")) == 30
        assert read_table(tmp_path / "f.parquet").n.tolist() == list(range(30))

    def test_ctrl_c_while_the_failed_rows_are_written_keeps_the_results(
        self, publish, folder, tmp_path, monkeypatch
    ):
        def press(*_args, **_options):
            raise KeyboardInterrupt

        monkeypatch.setattr("v3io_frames_put.jobs._run.write_failed_rows", press)
        with pytest.raises(Interrupted) as caught:
            publish(folder, results=tmp_path / "r.parquet", failed=tmp_path / "f.parquet")
        assert "what is left is not written; " in str(caught.value)
        told = caught.value.results
        assert (told.counts["stored"], told.failed) == (30, None)
        assert len(read_table(told.results)) == 30

    def test_ctrl_c_behind_the_last_answer_keeps_the_results(
        self, publish, folder, tmp_path, monkeypatch
    ):
        write = pq.ParquetWriter.write_table

        def press_and_write(*rows):
            signal.raise_signal(signal.SIGINT)
            write(*rows)

        monkeypatch.setattr(pq.ParquetWriter, "write_table", press_and_write)
        with pytest.raises(Interrupted) as caught:
            publish(folder, results=tmp_path / "r.parquet")
        assert len(read_table(caught.value.results.results)) == 30

    def test_ctrl_c_while_the_journal_is_closed_keeps_the_results(
        self, publish, folder, tmp_path, ctrl_c_after
    ):
        with ctrl_c_after("Connection.close"), pytest.raises(KeyboardInterrupt) as caught:
            publish(folder, journal=tmp_path / "run.v3io")
        assert caught.value.results.counts["stored"] == 30

    def test_a_condition_that_matches_nothing(self, publish, folder, caplog):
        told = publish(folder, where="n > 1000")
        assert told.rows == 0
        assert "0 rows were sent: no row matches where" in caplog.text

    def test_no_files(self, publish, tmp_path):
        with pytest.raises(ConfigError, match="there are no files"):
            publish()
        with pytest.raises(ConfigError, match="leads to no file"):
            publish(tmp_path / "*.parquet")
        with pytest.raises(ConfigError, match="there is no such file"):
            publish(tmp_path / "a.parquet")

    def test_results_are_not_written_over_an_input(self, publish, folder):
        with pytest.raises(ConfigError, match="is one of the files"):
            publish(folder, results=folder / "0.parquet")
        assert pq.read_metadata(folder / "0.parquet").num_rows == 10

    def test_results_that_cannot_be_opened_send_nothing(self, publish, folder, local_platform):
        before = len(local_platform.requests)
        with pytest.raises(ConfigError, match="cannot be written"):
            publish(folder, results=folder / "no" / "such" / "r.parquet")
        assert len(local_platform.requests) == before

    @pytest.mark.parametrize("option", ["results", "failed"])
    def test_what_is_no_file_is_not_replaced(self, publish, folder, tmp_path, option, sent):
        pipe, ring = tmp_path / "pipe", tmp_path / "ring"
        os.mkfifo(pipe)
        ring.symlink_to(ring)
        for place in (pipe, ring, tmp_path, "nul\0.parquet"):
            with pytest.raises(ConfigError, match="expected a file's name in a folder that exists"):
                publish(folder, **{option: place})
        assert pipe.is_fifo()
        assert sent() == []

    def test_create_makes_the_stream(self, client, folder):

        jobs.publish(folder, "projects/new/one", client=client, create=True, shards=3)
        assert client.describe_stream("projects/new/one").shards == 3


FULL_DISK = """
import resource, sys
from v3io_frames_put import Client, PutRecordsError, jobs

resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
with Client(sys.argv[1]) as client:
    try:
        jobs.publish(sys.argv[2], sys.argv[3], client=client, results=sys.argv[4])
    except PutRecordsError as error:
        print(error.results.counts["stored"], error.results.results, type(error).__name__)
        print(error)
"""


def test_a_full_disk_stops_the_run_and_says_what_is_stored(tmp_path, local_platform):
    local_platform.create_stream(STREAM)
    file = write_parquet(tmp_path / "many.parquet", n=list(range(400_000)))
    words = [local_platform.endpoint, file, STREAM, tmp_path / "r.parquet"]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *map(str, words)],
        capture_output=True,
        text=True,
        check=True,
    )
    first, message = done.stdout.splitlines()
    assert first == f"{len(local_platform.records(STREAM))} None PutRecordsError"
    assert "File too large" in message
    assert not list(tmp_path.glob("*r.parquet*"))


def test_only_the_columns_that_are_needed_are_read(publish, folder, sent):
    publish(folder, columns=["n"], where="room = 'r1'")
    assert sent(by="n")[:2] == [{"n": 1}, {"n": 5}]


def test_packs_and_arrow(publish, folder, tmp_path):
    told = publish(
        folder,
        format="arrow",
        rows_per_record=10,
        partition_key="room",
        results=tmp_path / "r.parquet",
    )
    assert told.counts["stored"] == 30
    assert read_table(told.results).record_row.max() > 0


def test_the_total_is_known_from_parquet(publish, folder):
    seen = []
    publish(folder, progress=seen.append)
    assert (seen[-1].total, seen[-1].stored) == (30, 30)
    assert pd.notna(seen[-1].seconds)


def test_exactly_once_through_lost_answers(local_platform, folder, tmp_path, sent):
    from v3io_frames_put import Client, Retry

    local_platform.create_stream(STREAM, shards=2)
    local_platform.faults = [faults.lost_answer(times=2)]
    retry = Retry(settle_seconds=0.01, base_seconds=0.01)
    with Client(local_platform.endpoint, retry=retry) as client:
        told = jobs.publish(
            folder,
            STREAM,
            delivery="exactly_once",
            partition_key="room",
            client=client,
            results=tmp_path / "r.parquet",
        )
    assert told.counts["stored"] == 30
    assert [row["n"] for row in sent(by="n")] == list(range(30))
    assert set(read_table(tmp_path / "r.parquet").status) == {"stored"}


@pytest.mark.parametrize("option", ["results", "failed"])
@pytest.mark.parametrize("place", ["", "no/such/folder.parquet"])
def test_a_place_where_no_file_can_be_is_refused_before_anything_is_sent(
    publish, sent, folder, tmp_path, option, place
):
    outputs = {"results": tmp_path / "r.parquet", "failed": tmp_path / "f.parquet"}
    with pytest.raises(ConfigError, match="cannot be written"):
        publish(folder, **{**outputs, option: tmp_path / place})
    assert sent() == []


def test_columns_are_a_list(publish, sent, folder):
    with pytest.raises(ConfigError, match="expected a list"):
        publish(folder, columns="n")
    assert sent() == []


def test_rows_are_counted_by_shard(publish, folder, local_platform):
    told = publish(folder, partition_key="room")
    numbers = {}
    for record in local_platform.records(STREAM):
        numbers.setdefault(record.shard_id, []).append(record.sequence_number)
    assert told.shards.to_dict("index") == {
        shard: {"rows": len(found), "first": min(found), "last": max(found)}
        for shard, found in sorted(numbers.items())
    }
    assert "Rows per shard: " in repr(told)
    assert "Rows per shard" in told._repr_html_()


@pytest.mark.long
def test_a_job_that_creates_its_stream_waits_longer_than_a_person(folder):
    retry = Retry(deadline_seconds=11, cap_seconds=1)
    with (
        Client("http://127.0.0.1:1", retry=retry) as client,
        pytest.raises(PlatformUnavailable, match=r"within 1[01] s"),
    ):
        jobs.publish(folder, STREAM, client=client, create=True)

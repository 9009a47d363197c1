"""A run that keeps a journal survives its process: the same call again finishes it."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from tests.internals import Journal, from_blob
from v3io_frames_put import Encoding, Interrupted, Limits, Retry, put_records, summarize
from v3io_frames_put.errors import ConfigError, DataError, PutRecordsError, RequestError
from v3io_frames_put.local import LocalPlatform, faults

STREAM = "projects/house/readings"
FRAME = pd.DataFrame({"row": range(40), "key": [f"k{row % 7}" for row in range(40)]})
QUICK = Retry(settle_seconds=0.01, base_seconds=0.01)
DELIVERIES = ["at_least_once", "at_most_once", "exactly_once"]

pytestmark = pytest.mark.filterwarnings("ignore::v3io_frames_put.UnstoredRowsWarning")


@pytest.fixture
def platform(local_platform):
    local_platform.create_stream(STREAM, shards=3)
    return local_platform


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.v3io"


def put(platform, path, data=FRAME, **options):
    options = {"partition_key": "key", "client": platform.client(retry=QUICK), **options}
    return put_records(data, STREAM, journal=path, **options)


def rows_on(platform):
    return sorted(json.loads(record.data)["row"] for record in platform.records(STREAM))


def stop_after(platform, path, rows, **options):
    """Stop a run once so many rows are stored."""
    cancel = threading.Event()

    def watch(snapshot):
        if snapshot.stored >= rows:
            cancel.set()

    with pytest.raises(Interrupted) as stopped:
        put(platform, path, cancel=cancel, progress=watch, **options)
    return stopped.value.results


def stop_early(platform, path, **options):
    """Stop a run once its first request is answered."""
    platform.faults = [faults.throttled(nth=2, times=None, retry_after_seconds=60)]
    client = platform.client(retry=QUICK, limits=Limits(max_records=5))
    results = stop_after(platform, path, 1, client=client, max_in_flight=1, **options)
    platform.faults = []
    return results


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_run_is_the_same_with_a_journal(platform, path, delivery):
    results = put(platform, path, delivery=delivery)
    assert results.status.tolist() == ["stored"] * 40
    assert rows_on(platform) == list(range(40))


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("rows_per_record", [1, 3])
def test_a_stopped_run_goes_on_under_its_run_id(platform, path, delivery, rows_per_record):
    options = {"delivery": delivery, "rows_per_record": rows_per_record}
    before = stop_early(platform, path, **options)
    after = put(platform, path, **options)
    assert after.status.tolist() == ["stored"] * 40
    assert after.attrs["v3io"]["run_id"] == before.attrs["v3io"]["run_id"]


def test_results_of_all_processes_cover_all_rows(platform, path):
    big = pd.DataFrame({"row": range(150_000)})
    options = {"data": big, "partition_key": None, "max_in_flight": 2}
    before = stop_after(platform, path, 20_000, **options)
    assert 20_000 <= (before.status == "stored").sum() < 150_000
    after = put(platform, path, **options)
    assert (after.status == "stored").all()
    was_stored = before.status == "stored"
    pd.testing.assert_frame_equal(after[was_stored], before[was_stored], check_dtype=True)
    assert (after[~was_stored].attempts == 1).all()
    assert rows_on(platform) == list(range(150_000))


def test_places_are_kept_of_a_page_of_which_a_row_is_found_by_the_look_up(platform, path):
    big = pd.DataFrame({"row": range(140_000)})
    options = {"data": big, "partition_key": None, "max_in_flight": 2, "delivery": "exactly_once"}
    platform.faults = [faults.lost_answer()]
    slow = platform.client(retry=Retry(settle_seconds=1_000))  # not looked up by the first call
    before = stop_after(platform, path, 70_000, client=slow, **options)
    is_stored, is_unknown = before.status == "stored", before.status == "unknown"
    assert is_unknown[:65_536].any()
    after = put(platform, path, **options)
    assert (after.status == "stored").all()
    pd.testing.assert_frame_equal(after[is_stored], before[is_stored])
    assert (after[is_unknown].attempts == 1).all()
    assert not after.maybe_duplicate.any()
    places = {
        json.loads(record.data)["row"]: (record.shard_id, record.sequence_number)
        for record in platform.records(STREAM)
    }
    reported = zip(after.shard_id.tolist(), after.sequence_number.tolist(), strict=True)
    assert dict(enumerate(reported)) == places
    pd.testing.assert_frame_equal(put(platform, path, **options), after)


def test_a_kill_leaves_at_most_four_answered_requests_in_doubt(path, tmp_path):
    journal, in_doubt = Journal(path), []
    for request in range(20):
        entries = SimpleNamespace(rows=np.array([request]))
        journal.note_request(SimpleNamespace(ticket=request, entries=entries, low_watermark=None))
        journal.commit()  # it is sent, and answered while the next one waits for the file
        for part in ("", "-wal"):  # what a killed process leaves
            shutil.copy(f"{path}{part}", f"{tmp_path}/copy{part}")
        with closing(sqlite3.connect(tmp_path / "copy")) as left:
            count = "select count(*) from requests where not is_refused"
            in_doubt += left.execute(count).fetchone()
        (journal.note_refused if request % 2 else journal.note_answered)(request)
    journal.close()
    assert max(in_doubt) <= 1 + 4


def test_a_journal_is_small(platform, path):
    big = pd.DataFrame({"row": range(140_000)})
    put(platform, path, big, partition_key=None)
    assert path.stat().st_size < 16 * len(big)


def test_a_finished_run_is_reported_again_and_sends_nothing(platform, path, caplog):
    platform.faults = [faults.RecordErrors(places=(3, 4))]
    before = put(platform, path)
    seen = len(platform.requests)
    with caplog.at_level(logging.INFO, "v3io_frames_put"):
        after = put(platform, path)
    assert len(platform.requests) == seen
    assert "already complete" in caplog.text
    run_id = before.attrs["v3io"]["run_id"]
    assert {"event": "already_complete", "run_id": run_id} in [
        getattr(record, "fields", None) for record in caplog.records
    ]
    assert after.attrs["v3io"]["already_complete"]
    assert not before.attrs["v3io"]["already_complete"]
    assert "already complete" in repr(summarize(after))
    assert "already complete" not in repr(summarize(before))
    pd.testing.assert_frame_equal(after, before)


@pytest.mark.parametrize(
    "change",
    [
        {"data": FRAME.assign(row=FRAME.row.where(FRAME.row != 17, 170))},
        {"data": FRAME.assign(key=FRAME.key.where(FRAME.row != 17, "k9"))},
        {"data": FRAME[:39]},
        {"columns": ["row"]},
        {"delivery": "at_most_once"},
    ],
)
def test_a_finished_run_of_another_call_is_set_aside(platform, path, change):
    first = put(platform, path)
    second = put(platform, path, **{"data": FRAME, **change})
    assert second.status.eq("stored").all()
    assert second.attrs["v3io"]["run_id"] != first.attrs["v3io"]["run_id"]
    assert path.with_name("run.v3io.1").exists()
    put(platform, path)
    assert path.with_name("run.v3io.2").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data": FRAME[:39]}, "num_rows"),
        ({"columns": ["row"]}, "mapping"),
        ({"rows_per_record": 2}, "mapping"),
        ({"delivery": "at_most_once"}, "delivery"),
        ({"partition_key": None}, "mapping"),
    ],
)
def test_an_unfinished_run_refuses_another_call(platform, path, change, says):
    stop_early(platform, path)
    seen = len(platform.requests)
    with pytest.raises(ConfigError, match=says) as refused:
        put(platform, path, **{"data": FRAME, **change})
    assert refused.value.results is None
    assert len(platform.requests) == seen


def test_an_unfinished_run_refuses_another_stream(platform, path):
    stop_early(platform, path)
    platform.create_stream("projects/house/others")
    with pytest.raises(ConfigError, match="stream"):
        put_records(
            FRAME,
            "projects/house/others",
            partition_key="key",
            client=platform.client(),
            journal=path,
        )


def test_changed_data_stops_an_unfinished_run_before_any_of_its_block_is_sent(platform, path):
    big = pd.DataFrame({"row": range(100_000)})
    options = {"partition_key": None, "max_in_flight": 1}
    before = stop_after(platform, path, 20_000, data=big, **options)
    first_left = int(before.status.ne("stored").idxmax())
    changed = big.assign(row=big.row.where(big.row != first_left, 7))
    with pytest.raises(DataError, match=r"rows [\d,]+ to [\d,]+ are not what they were") as no:
        put(platform, path, changed, **options)
    assert no.value.results.status.value_counts()["stored"] == (before.status == "stored").sum()
    assert rows_on(platform) == sorted(before.index[before.status == "stored"])
    assert (put(platform, path, big, **options).status == "stored").all()
    assert rows_on(platform) == list(range(100_000))


def test_two_runs_cannot_share_a_journal(platform, path):
    cancel, seen = threading.Event(), []

    def intrude(_snapshot):
        if not seen:
            with pytest.raises(ConfigError, match="in use") as refused:
                put(platform, path)
            seen.append(refused.value)

    put(platform, path, progress=intrude, cancel=cancel)
    assert seen
    script = f"""
        import sqlite3
        from v3io_frames_put._journal import open_journal
        with open_journal({str(path)!r}):
            print("open", flush=True)
            input()
    """
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "open\n"
    with pytest.raises(ConfigError, match="in use"):
        put(platform, path)
    other.communicate("\n", timeout=60)
    assert put(platform, path).attrs["v3io"]["already_complete"]


def test_what_is_not_a_journal_is_refused_and_left_alone(platform, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("dear diary, today I wrote no database. " * 99)
    with pytest.raises(ConfigError, match="damaged, or not a journal"):
        put(platform, text)
    assert text.read_text().startswith("dear diary")
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("create table t (a)")
    database.close()
    with pytest.raises(ConfigError, match="something else"):
        put(platform, other)


def test_a_journal_of_another_version_is_refused(platform, path):
    put(platform, path)
    with sqlite3.connect(path) as database:
        database.execute("pragma user_version = 99")
    database.close()
    with pytest.raises(ConfigError, match="version 99"):
        put(platform, path)


def test_a_journal_of_the_first_package_goes_on(platform, path):
    put(platform, path)
    with sqlite3.connect(path) as database:
        database.execute("create table overtaken (row integer primary key, least integer)")
        database.execute("insert into overtaken values (1, 2)")
    database.close()
    assert put(platform, path).attrs["v3io"]["already_complete"]


def test_a_damaged_journal_is_refused(platform, path):
    put(platform, path)
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="damaged"):
        put(platform, path)
    assert len(platform.records(STREAM)) == 40


@pytest.mark.parametrize(
    "damage", ["drop table blocks", "drop table run", "update outcomes set outcomes = x'ff00'"]
)
def test_a_journal_with_a_damaged_part_is_refused(platform, path, damage):
    put(platform, path)
    with sqlite3.connect(path) as database:
        database.execute("update run set is_finished = 0")
        database.execute(damage)
    database.close()
    with pytest.raises(ConfigError, match=r"run\.v3io is damaged, or not a journal"):
        put(platform, path)
    assert len(platform.records(STREAM)) == 40


def test_a_folder_that_is_not_there_is_refused_with_advice(platform, tmp_path):
    with pytest.raises(ConfigError, match="folder that can be written"):
        put(platform, tmp_path / "no" / "such" / "run.v3io")


def test_a_file_system_that_cannot_lock_is_refused_with_advice(platform, path, monkeypatch):
    connect = sqlite3.connect

    class Unlockable(sqlite3.Connection):
        def execute(self, statement, *values):
            if statement == "begin exclusive":
                raise sqlite3.OperationalError("locking protocol")  # as SQLite says it
            return super().execute(statement, *values)

    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Unlockable, **k))
    with pytest.raises(ConfigError, match="file system that can lock"):
        put(platform, path)
    assert not platform.records(STREAM)


def test_resume_and_journal_together_are_refused(platform, path):
    with pytest.raises(ConfigError, match="resume and journal"):
        put(platform, path, resume=FRAME)


def test_a_stream_of_batches_is_read_again_and_checked(platform, path):
    table = pa.Table.from_pandas(FRAME)
    stop_early(platform, path, data=table.to_reader(max_chunksize=7))
    after = put(platform, path, table.to_reader(max_chunksize=11))
    assert after.status.tolist() == ["stored"] * 40
    assert put(platform, path, table.to_reader()).attrs["v3io"]["already_complete"]
    for other in (table.slice(1), table.slice(0, 39), pa.concat_tables([table, table[:1]])):
        with pytest.raises(ConfigError, match="has been read now"):
            put(platform, path, other.to_reader())


def test_a_full_disk_stops_the_run_and_nothing_is_sent_unrecorded(platform, path, monkeypatch):
    connect, requests = sqlite3.connect, []

    class Full(sqlite3.Connection):
        def executemany(self, statement, rows):
            if statement.startswith("insert into requests"):
                requests.append(statement)
            if len(requests) > 1:
                raise sqlite3.OperationalError("database or disk is full")
            return super().executemany(statement, rows)

    big = pd.DataFrame({"row": range(30_000)})
    options = {"data": big, "partition_key": None, "max_in_flight": 1}
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Full, **k))
    with pytest.raises(
        PutRecordsError, match="cannot be written: database or disk is full"
    ) as full:
        put(platform, path, **options)
    results = full.value.results
    stored = results.index[results.status == "stored"].tolist()
    assert rows_on(platform) == stored
    assert len(stored) == 1_000
    unsent = results[results.status != "stored"]
    assert set(unsent.status) == {"unsent"}
    assert unsent.error_detail.str.contains("database or disk is full").any()
    monkeypatch.undo()
    after = put(platform, path, **options)
    assert (after.status == "stored").all()
    assert after.maybe_duplicate.sum() == 1_000  # their answer is not on record


def test_a_disk_that_is_full_when_the_starts_are_synced_stops_the_run(platform, path, monkeypatch):
    connect = sqlite3.connect

    class Full(sqlite3.Connection):
        def execute(self, statement, *values):
            if "wal_checkpoint" in statement:
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(statement, *values)

    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Full, **k))
    with pytest.raises(
        PutRecordsError, match="cannot be written: database or disk is full"
    ) as full:
        put(platform, path, delivery="exactly_once")
    assert set(full.value.results.status) == {"unsent"}
    assert not rows_on(platform)
    monkeypatch.undo()
    assert (put(platform, path, delivery="exactly_once").status == "stored").all()


@pytest.mark.parametrize("rows_per_record", [1, 3])
def test_a_lost_answer_is_looked_up_by_the_next_process(platform, path, rows_per_record):
    platform.faults = [faults.lost_answer()]
    patient = platform.client(retry=Retry(settle_seconds=60))
    cancel = threading.Event()
    options = {"delivery": "exactly_once", "rows_per_record": rows_per_record}
    with pytest.raises(Interrupted) as stopped:
        put(
            platform,
            path,
            client=patient,
            cancel=cancel,
            progress=lambda _: cancel.set() if platform.records(STREAM) else None,
            **options,
        )
    assert stopped.value.results.status.tolist() == ["unknown"] * 40
    after = put(platform, path, **options)
    assert after.status.tolist() == ["stored"] * 40
    assert len(platform.records(STREAM)) == after.groupby(["shard_id", "sequence_number"]).ngroups
    again = put(platform, path, **options)  # what was found is on record, too
    assert again.attrs["v3io"]["already_complete"]
    pd.testing.assert_frame_equal(again, after)


def test_a_process_that_goes_on_notes_from_where_it_looks(platform, path):
    """What it finds is on record later than what it sends: the next one needs the same start."""
    platform.add_records(STREAM, [b"older"] * 5, shard=0)
    platform.faults = [faults.lost_answer()]
    patient = platform.client(retry=Retry(settle_seconds=60))

    def stop(is_time):
        cancel = threading.Event()
        with pytest.raises(Interrupted):
            put(
                platform,
                path,
                delivery="exactly_once",
                client=patient,
                cancel=cancel,
                progress=lambda _: cancel.set() if is_time() else None,
            )
        with closing(sqlite3.connect(path)) as journal:
            rows = journal.execute("select last_row, floor from requests order by moment")
            return [(row, from_blob(floor).column(0).to_pylist()) for row, floor in rows]

    first = stop(lambda: len(platform.records(STREAM)) > 5)
    assert [row for row, _ in first] == [39]
    again = stop(lambda: True)
    assert again == [*first, (-1, first[0][1])]
    assert put(platform, path, delivery="exactly_once").status.tolist() == ["stored"] * 40
    assert len(platform.records(STREAM)) == 5 + 40


READ_ONCE = {
    "reader": lambda: pa.Table.from_pandas(FRAME).to_reader(7),
    "scanner": lambda: ds.dataset(pa.Table.from_pandas(FRAME)).scanner(),
    "generator": lambda: (FRAME[row : row + 10] for row in range(0, 40, 10)),
}
READ_AGAIN = {
    "dataset": lambda: ds.dataset(pa.Table.from_pandas(FRAME)),
    "list": lambda: [FRAME[row : row + 10] for row in range(0, 40, 10)],
    "lazy frame": lambda: pl.from_pandas(FRAME).lazy(),
    "arrow stream": lambda: ArrowStream(pa.Table.from_pandas(FRAME)),
}


class ArrowStream:
    """Another library's table: it exports its rows as often as it is asked."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("kind", READ_AGAIN)
def test_packs_in_doubt_are_looked_up_in_data_that_is_opened_again(platform, path, kind):
    platform.faults = [faults.lost_answer(nth=2)]
    patient = platform.client(retry=Retry(settle_seconds=60), limits=Limits(max_records=2))
    cancel = threading.Event()
    options = {"delivery": "exactly_once", "rows_per_record": 3}
    with pytest.raises(Interrupted) as stopped:
        put(
            platform,
            path,
            READ_AGAIN[kind](),
            client=patient,
            cancel=cancel,
            progress=lambda _: cancel.set() if len(platform.records(STREAM)) > 3 else None,
            **options,
        )
    assert (stopped.value.results.status == "unknown").any()
    after = put(platform, path, READ_AGAIN[kind](), **options)
    assert after.status.tolist() == ["stored"] * 40
    rows = [
        json.loads(line)["row"] for r in platform.records(STREAM) for line in r.data.split(b"\n")
    ]
    assert sorted(rows) == list(range(40))


@pytest.mark.parametrize("kind", READ_ONCE)
def test_packs_of_data_that_is_read_once_cannot_be_resumed_exactly_once(platform, path, kind):
    options = {"delivery": "exactly_once", "rows_per_record": 3}
    with pytest.raises(ConfigError, match="can be read once"):
        put(platform, path, READ_ONCE[kind](), **options)
    first = put(platform, None, READ_ONCE[kind](), **options)
    assert first.status.tolist() == ["stored"] * 40
    with pytest.raises(ConfigError, match="can be read once"):
        put(platform, None, READ_ONCE[kind](), resume=first, **options)
    single = {**options, "rows_per_record": 1}
    assert put(platform, path, READ_ONCE[kind](), **single).status.tolist() == ["stored"] * 40


def test_a_resumed_run_does_not_know_what_is_out_of_order(platform, path):
    frame = pd.DataFrame({"row": range(6), "key": ["a", "b", "a", "b", "a", "c"]})
    platform.faults = [faults.RecordErrors(places=(2,), code=-99, message="BusyException")]
    client = platform.client(retry=Retry(attempts=1))
    options = {"data": frame, "max_in_flight": 1}
    before = put(platform, path, client=client, **options)
    assert before.status[2] == "unknown"
    after = put(platform, path, **options)
    assert after.status.tolist() == ["stored"] * 6
    assert after.attrs["v3io"]["out_of_order"] is None
    assert put(platform, path, **options).attrs["v3io"]["out_of_order"] is None
    assert client.verify_results(after, STREAM).first_out_of_order == (2,)


def test_no_secret_is_in_a_journal(path):
    from v3io_frames_put.local import LocalPlatform

    with LocalPlatform(access_key="hunter2-hunter2") as platform:
        platform.create_stream(STREAM)
        put(platform, path)
    assert b"hunter2" not in path.read_bytes()


def test_another_platform_is_another_run(platform, path):
    put(platform, path)
    with LocalPlatform() as other:
        other.create_stream(STREAM)
        results = put(other, path)
        assert len(other.records(STREAM)) == 40
    assert not results.attrs["v3io"]["already_complete"]
    assert path.with_name(f"{path.name}.1").exists()


def test_defaults_that_are_spelt_out_are_the_same_call(platform, path):
    put(platform, path)
    again = put(platform, path, encoding=Encoding(), columns=["row", "key"])
    assert again.attrs["v3io"]["already_complete"]
    assert len(platform.records(STREAM)) == 40


KILLED_EARLY = """
import os, sys
import pandas as pd
from v3io_frames_put import Client, put_records

endpoint, stream, delivery, path = sys.argv[1:]
frame = pd.DataFrame({"row": [1]})
kill = lambda _snapshot: os._exit(9)
put_records(frame, stream, delivery=delivery, journal=path, progress=kill, client=Client(endpoint))
"""


class TestARunThatSentNothing:
    """Its journal is no dead end, and a call that made one leaves none behind."""

    @pytest.mark.parametrize("delivery", DELIVERIES)
    def test_leaves_no_file(self, platform, path, delivery):
        for stream in ("projects/nothing/here", "projects/house/readings/"):
            cancel = threading.Event()
            cancel.set()
            client = platform.client(retry=QUICK)
            with pytest.raises((RequestError, Interrupted)):
                put_records(
                    FRAME, stream, journal=path, delivery=delivery, client=client, cancel=cancel
                )
            assert list(path.parent.iterdir()) == []
        with pytest.raises(DataError):
            put(platform, path, shard="floor")
        assert list(path.parent.iterdir()) == []

    def test_leaves_a_journal_that_was_there(self, platform, path):
        put(platform, path)
        with pytest.raises(ConfigError):
            put(platform, path, max_in_flight=0)
        assert path.exists()

    @pytest.mark.parametrize("delivery", DELIVERIES)
    def test_gives_way_to_any_call(self, platform, path, delivery):
        """Killed before its first request, it could not remove its journal."""
        platform.create_stream("projects/hose/readings")
        words = [platform.endpoint, "projects/hose/readings", delivery, str(path)]
        subprocess.run([sys.executable, "-c", KILLED_EARLY, *words], check=False)
        assert path.exists()
        assert not platform.records("projects/hose/readings")
        results = put(platform, path, delivery=delivery)
        assert results.status.tolist() == ["stored"] * 40

    @pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
    def test_is_not_one_whose_request_has_no_outcome(self, platform, path, delivery):
        platform.faults = [faults.Disconnect(times=None)]
        once = platform.client(retry=Retry(attempts=1, base_seconds=0.01, settle_seconds=0.01))
        results = put(platform, path, delivery=delivery, client=once)
        assert "stored" not in set(results.status)
        platform.faults = []
        with pytest.raises(ConfigError, match="belongs to an unfinished run"):
            put(platform, path, delivery=delivery, columns=["row"])
        assert put(platform, path, delivery=delivery).status.eq("stored").all()

    def test_refused_requests_stored_nothing(self, platform, path):
        platform.faults = [faults.refused(status=401, times=None)]
        with pytest.raises(RequestError):
            put(platform, path)
        assert not path.exists()

    @pytest.mark.parametrize("path", ["\0", "x" * 300])
    def test_a_path_that_is_none(self, platform, path):
        with pytest.raises(ConfigError, match="journal="):
            put(platform, path)

    def test_a_path_that_sqlite_keeps_in_memory_is_a_file(self, platform, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        put(platform, ":memory:")
        assert (tmp_path / ":memory:").stat().st_size

"""Where results are written: whole, in their place, and right when something fails."""

from __future__ import annotations

import errno
import itertools
import signal
import subprocess
import sys
from contextlib import closing
from types import SimpleNamespace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.internals import (
    NOT_GIVEN,
    PAGE_ROWS,
    SCHEMA,
    STATUSES,
    Copy,
    Receipt,
    Sink,
    open_parquet,
)
from tests.jobs.conftest import read_table, write_parquet
from v3io_frames_put import summarize

RECEIPT = Receipt(
    run_id="00" * 8, stream="s", endpoint="e", delivery="exactly_once", counts={"stored": 1},
    order="key", mapping="", requests=1, retried=0, bytes=1, seconds=1.0,
)  # fmt: skip


def outcomes(status, num_rows):
    indices = pa.repeat(pa.scalar(STATUSES.index(status), pa.int8()), num_rows)
    known = {
        "status": pa.DictionaryArray.from_arrays(indices, pa.array(STATUSES)),
        "error_message": pa.repeat(pa.scalar("NoAnswer"), num_rows),
        "maybe_duplicate": pa.repeat(pa.scalar(value=False), num_rows),
    }
    if status == "stored":
        known["shard_id"] = pa.repeat(pa.scalar(0, pa.int32()), num_rows)
        known["sequence_number"] = pa.array(range(1, num_rows + 1), pa.int64())
    columns = [known.get(field.name, pa.nulls(num_rows, field.type)) for field in SCHEMA]
    return pa.record_batch(columns, schema=SCHEMA)


def table(num_rows=None, rows_read=0):
    return SimpleNamespace(num_rows=num_rows, rows_read=rows_read)


def finish(path, *batches, late=(), duplicates=()):
    """Write the results of a run whose outcomes are these; return its sink."""
    with closing(Sink(table(), results=path, packed=False)) as sink:
        for batch in batches:
            assert sink.take(batch)
        sink.finish(SimpleNamespace(receipt=RECEIPT, late=late, duplicates=duplicates))
    return sink


def test_rows_that_came_late_are_stored_and_counted(tmp_path):
    path = tmp_path / "r.parquet"
    batches = [outcomes(status, PAGE_ROWS) for status in ("stored", "unknown")]
    copies = [Copy(5, 0, 9), Copy(5, 0, 10)]
    sink = finish(path, *batches, late=[Copy(PAGE_ROWS + 1, 3, 77)], duplicates=copies)
    assert sink.summary.counts["unknown"] == PAGE_ROWS - 1
    assert sink.summary.shards.loc[3].tolist() == [1, 77, 77]
    assert sink.summary.errors["rows"].tolist() == [PAGE_ROWS - 1]
    results = read_table(path)
    late = results.loc[PAGE_ROWS + 1]
    assert (late.status, late.shard_id, late.sequence_number) == ("stored", 3, 77)
    assert results.error_message.isna().sum() == 1
    assert results.index[results.maybe_duplicate].tolist() == [5]
    assert sink.summary.maybe_duplicates == 1
    assert results.attrs["v3io"]["run_id"] == "00" * 8
    assert list(results.status.cat.categories) == list(STATUSES)
    assert list(tmp_path.iterdir()) == [path]


@given(st.lists(st.tuples(st.sampled_from(STATUSES), st.integers(1, 5)), max_size=6))
def test_pages_are_counted_as_the_whole(tmp_path_factory, pages):
    path = tmp_path_factory.mktemp("pages") / "r.parquet"
    counted = finish(path, *itertools.starmap(outcomes, pages)).summary
    whole = summarize(read_table(path))
    assert counted.counts == whole.counts
    assert counted.shards.to_dict() == whole.shards.to_dict()
    columns = ["status", "error_message", "rows"]
    assert counted.errors[columns].to_dict() == whole.errors[columns].to_dict()


def test_rows_that_the_last_scan_lost_are_unknown(tmp_path):
    path = tmp_path / "r.parquet"
    sink = finish(path, outcomes("unsent", 3), late=[Copy(1, NOT_GIVEN, NOT_GIVEN)])
    assert sink.summary.counts == {"stored": 0, "rejected": 0, "unsent": 2, "unknown": 1}
    lost = read_table(path).loc[1]
    assert (lost.status, lost.error_message) == ("unknown", "NoAnswer")
    assert "records are missing" in lost.error_detail
    assert lost[["shard_id", "sequence_number"]].isna().all()


@pytest.mark.parametrize("late", [[], [Copy(1, 3, 77)]], ids=["as it is", "amended"])
def test_results_that_cannot_be_put_in_their_place_are_counted_all_the_same(tmp_path, late):
    path = tmp_path / "r.parquet"
    path.mkdir()  # by somebody, meanwhile
    sink = finish(path, outcomes("unknown", 3), late=late)
    stored = len(late)
    counts = {"stored": stored, "rejected": 0, "unsent": 0, "unknown": 3 - stored}
    assert sink.summary.counts == counts
    assert isinstance(sink.failure, OSError)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("reads_on", [False, True])
def test_a_full_disk_while_the_run_goes_on(tmp_path, monkeypatch, reads_on):
    """What the run itself has counted is all that is known then."""
    report = SimpleNamespace(receipt=RECEIPT, late=[], duplicates=[])
    files = table(rows_read=9 if reads_on else 4)
    with closing(Sink(files, results=tmp_path / "r.parquet", packed=False)) as sink:
        assert sink.take(outcomes("stored", 2))
        with monkeypatch.context() as patch:
            patch.setattr(pa.ipc.RecordBatchStreamWriter, "write_table", _fill_the_disk)
            assert not sink.take(outcomes("stored", 2))
        assert not sink.take(outcomes("stored", 2))
        sink.finish(report)
    assert "No space left" in str(sink.failure)
    assert sink.summary.counts == RECEIPT.counts
    assert list(tmp_path.iterdir()) == []


def _fill_the_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_rows_that_were_never_read_are_unsent(tmp_path):
    path = tmp_path / "r.parquet"
    report = SimpleNamespace(receipt=RECEIPT, late=[], duplicates=[])
    with closing(Sink(table(PAGE_ROWS + 2), results=path, packed=True)) as sink:
        sink.finish(report)
    results = read_table(path)
    assert set(results.status) == {"unsent"}
    assert list(results.status.cat.categories) == list(STATUSES)
    assert len(results) == sink.num_rows == sink.summary.counts["unsent"] == PAGE_ROWS + 2
    assert results.file.isna().all()


def test_two_that_write_to_one_place_at_once(tmp_path):
    """Each is whole; the one that ends last stays."""
    path, schema = tmp_path / "r.parquet", pa.schema({"n": pa.int64()})
    with open_parquet(path, schema) as first:
        first.write_table(pa.table({"n": [1]}))
        with open_parquet(path, schema) as second:
            second.write_table(pa.table({"n": [2]}))
        assert read_table(path).n.tolist() == [2]
    assert read_table(path).n.tolist() == [1]
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_not_complete_leaves_nothing(tmp_path):
    path = write_parquet(tmp_path / "r.parquet", n=[1])
    with pytest.raises(KeyboardInterrupt), open_parquet(path, pa.schema({"n": pa.int64()})):
        raise KeyboardInterrupt
    assert read_table(path).n.tolist() == [1]
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.internals import Sink
from tests.jobs.test_results_file import outcomes, table

sink = Sink(table(), results=Path(sys.argv[1]), packed=False)
sink._file.rollover()
assert sink.take(outcomes("stored", 2))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_leaves_no_file(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "r.parquet"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_and_leads_to_the_results(tmp_path):
    (tmp_path / "today").mkdir()
    link = tmp_path / "r.parquet"
    link.symlink_to("today/r.parquet")
    finish(link, outcomes("stored", 1))
    assert link.is_symlink()
    assert read_table(tmp_path / "today" / "r.parquet").status.tolist() == ["stored"]

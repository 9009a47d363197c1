"""Where results are written: whole, in their place, and right when something fails."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from tests.internals import PAGE_ROWS, SCHEMA, STATUSES, Copy, Receipt, Sink
from tests.jobs.conftest import read_table
from v3io_frames_put.errors import ConfigError

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


def make_sink(path, *batches):
    sink = Sink(SimpleNamespace(), results=path, packed=False)
    for batch in batches:
        sink.take(batch)
    return sink


def test_rows_that_came_late_are_stored_and_counted(tmp_path):
    path = tmp_path / "r.parquet"
    batches = [outcomes(status, PAGE_ROWS) for status in ("stored", "unknown")]
    sink = make_sink(path, *batches)
    assert sink.tally.counts["unknown"] == PAGE_ROWS
    with sink:
        sink.finish(
            RECEIPT, late=[Copy(PAGE_ROWS + 1, 3, 77)], duplicates=[Copy(5, 0, 9), Copy(5, 0, 10)]
        )
    assert sink.tally.counts["unknown"] == PAGE_ROWS - 1
    assert sink.tally.shards[3] == {"rows": 1, "first": 77, "last": 77}
    results = read_table(path)
    late = results.loc[PAGE_ROWS + 1]
    assert (late.status, late.shard_id, late.sequence_number) == ("stored", 3, 77)
    assert results.error_message.isna().sum() == 1
    assert results.index[results.maybe_duplicate].tolist() == [5]
    assert results.attrs["v3io"]["run_id"] == "00" * 8
    assert list(results.status.cat.categories) == list(STATUSES)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("late", [[], [Copy(1, 3, 77)]], ids=["as it is", "amended"])
def test_results_that_cannot_be_put_in_their_place_are_counted_all_the_same(tmp_path, late):
    path = tmp_path / "r.parquet"
    sink = make_sink(path, outcomes("unknown", 3))
    path.mkdir()  # by somebody, meanwhile
    with sink:
        sink.finish(RECEIPT, late=late, duplicates=[])
    stored = len(late)
    assert sink.tally.counts == {
        "stored": stored,
        "rejected": 0,
        "unsent": 0,
        "unknown": 3 - stored,
    }
    assert isinstance(sink.failure, OSError)
    assert list(tmp_path.iterdir()) == [path]


def test_a_second_run_that_writes_to_the_same_place_is_refused(tmp_path):
    path = tmp_path / "r.parquet"
    first = make_sink(path, outcomes("stored", 2))
    with pytest.raises(ConfigError, match=r"r\.parquet is being written by another run"):
        make_sink(path)
    first.take(outcomes("stored", 1))
    first.finish(RECEIPT, late=[], duplicates=[])
    assert read_table(path).status.tolist() == ["stored"] * 3
    second = make_sink(path, outcomes("unknown", 1))
    second.finish(RECEIPT, late=[], duplicates=[])
    assert read_table(path).status.tolist() == ["unknown"]
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_begun_leaves_nothing_and_keeps_nobody_out(tmp_path, monkeypatch):
    path = tmp_path / "r.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(pq, "ParquetWriter", mock.Mock(side_effect=MemoryError))
        with pytest.raises(MemoryError) as kept:  # with its frames, and their locks
            make_sink(path)
    assert list(tmp_path.iterdir()) == []
    make_sink(path, outcomes("stored", 1)).finish(RECEIPT, late=[], duplicates=[])
    assert kept.value is not None


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.internals import ResultsOutput

ResultsOutput(Path(sys.argv[1]), packed=False)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_left_is_taken_over(tmp_path):
    path = tmp_path / "r.parquet"
    subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert list(tmp_path.iterdir()) == [tmp_path / ".r.parquet.part"]
    make_sink(path, outcomes("stored", 1)).finish(RECEIPT, late=[], duplicates=[])
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_leads_to_the_results(tmp_path):
    (tmp_path / "today").mkdir()
    link = tmp_path / "r.parquet"
    link.symlink_to("today/r.parquet")
    make_sink(link, outcomes("stored", 1)).finish(RECEIPT, late=[], duplicates=[])
    assert link.is_symlink()
    assert read_table(tmp_path / "today" / "r.parquet").status.tolist() == ["stored"]

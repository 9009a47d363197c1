"""Progress as a callable, as a bar, or not at all."""

from __future__ import annotations

import errno
import io
import logging
import sys
import threading

import pandas as pd
import pyarrow as pa
import pytest

from v3io_frames_put import (
    AuthenticationError,
    Limits,
    Progress,
    UnstoredRowsWarning,
    local,
    put_records,
)

STREAM = "projects/house/readings"
FRAME = pd.DataFrame({"row": range(6)})
BAD = pd.DataFrame({"value": [0.5, float("inf"), 0.5]})


@pytest.fixture
def platform(local_platform):
    local_platform.create_stream(STREAM)
    return local_platform


def put(platform, data, *, max_records=2, **options):
    client = platform.client(limits=Limits(max_records=max_records))
    return put_records(data, STREAM, client=client, max_in_flight=1, **options)


def test_progress_is_called_in_this_thread_and_once_more_at_the_end(platform):
    seen = []
    frame = pd.DataFrame({"row": range(2_000)})
    put(platform, frame, max_records=10, progress=lambda p: seen.append((p, threading.get_ident())))
    snapshots = [snapshot for snapshot, _ in seen]
    assert {ident for _, ident in seen} == {threading.get_ident()}
    last = snapshots[-1]
    assert isinstance(last, Progress)
    assert (last.total, last.stored, last.rejected, last.unknown, last.unsent) == (
        2_000, 2_000, 0, 0, 0,
    )  # fmt: skip
    assert (last.in_flight, last.waiting) == (0, None)
    assert last.bytes_sent > 2_000
    assert len(snapshots) <= 10 * last.seconds + 2
    stored = [snapshot.stored for snapshot in snapshots]
    assert stored == sorted(stored)


def test_progress_ends_true_when_rows_are_not_stored(platform):
    seen = []
    with pytest.warns(UnstoredRowsWarning):
        put(platform, BAD, progress=seen.append)
    assert (seen[-1].stored, seen[-1].rejected, seen[-1].settled) == (2, 1, 3)


def test_progress_ends_true_when_the_run_is_stopped(platform):
    seen = []
    platform.faults = [local.faults.refused(status=401, nth=2)]
    with pytest.raises(AuthenticationError):
        put(platform, FRAME, progress=seen.append)
    assert (seen[-1].stored, seen[-1].unsent) == (2, 4)


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_what_progress_raises_is_logged_once_and_ignored(platform, caplog, error):
    def fail(_snapshot):
        raise error("my display broke")

    with caplog.at_level(logging.WARNING, "v3io_frames_put"):
        results = put(platform, pd.DataFrame({"row": range(200)}), progress=fail)
    assert results.status.eq("stored").all()
    (record,) = caplog.records
    assert "my display broke" in str(record.exc_info[1])


class Full(io.StringIO):
    """A file on a disk that is full once the bar stands in it."""

    def write(self, text):
        if self.tell():
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_a_bar_that_cannot_be_drawn_costs_no_results(platform, monkeypatch, caplog):
    monkeypatch.setattr(sys, "stderr", Full())
    results = put(platform, FRAME, progress=True)
    assert results.status.eq("stored").all()
    assert "showing progress failed" in caplog.text


def test_a_total_that_nobody_knows_is_none_until_the_end(platform):
    seen = []
    reader = pa.table({"row": [1, 2, 3]}).to_reader()
    results = put(platform, reader, progress=seen.append)
    assert results.status.tolist() == ["stored"] * 3
    assert seen[-1].stored == 3
    assert {snapshot.total for snapshot in seen} <= {None, 3}


def test_progress_true_shows_a_bar_and_false_shows_nothing(platform, capsys):
    put(platform, FRAME, progress=False)
    assert capsys.readouterr().err == ""
    put(platform, FRAME, progress=True)
    assert "6.00/6.00" in capsys.readouterr().err.split("\r")[-1]

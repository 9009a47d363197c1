"""Progress as a callable, as a bar, or not at all."""

from __future__ import annotations

import errno
import io
import logging
import re
import socket
import sys
import threading
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest

from v3io_frames_put import (
    AuthenticationError,
    Client,
    Limits,
    PlatformUnavailable,
    Progress,
    Retry,
    UnstoredRowsWarning,
    _html,
    local,
    put_records,
)
from v3io_frames_put.progress import Pace, draw_progress, progress_words

STREAM = "projects/house/readings"
FRAME = pd.DataFrame({"row": range(6)})
BAD = pd.DataFrame({"value": [0.5, float("inf"), 0.5]})


@pytest.fixture
def free_port():
    """Return a port of this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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


def test_progress_is_called_once_where_nothing_is_sent(platform, tmp_path):
    seen = []
    options = {"client": platform.client(), "progress": seen.append}
    put_records(FRAME[:0], STREAM, **options)
    assert [(snapshot.total, snapshot.stored) for snapshot in seen] == [(0, 0)]
    options["journal"] = tmp_path / "run.v3io"
    put_records(FRAME, STREAM, **options)
    seen.clear()
    put_records(FRAME, STREAM, **options)  # it is complete
    assert [(snapshot.total, snapshot.stored) for snapshot in seen] == [(6, 6)]


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


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


class Unwritable(io.StringIO):
    """A stream that was opened for reading, as a daemon may have it."""

    def write(self, _text):
        raise io.UnsupportedOperation("not writable")


@pytest.mark.parametrize("progress", [True, None])
@pytest.mark.parametrize("make", [lambda: None, closed, Unwritable], ids=["none", "closed", "full"])
def test_without_a_stderr_there_is_no_bar(platform, monkeypatch, progress, make):
    monkeypatch.setattr(sys, "stderr", make())
    assert put(platform, FRAME, progress=progress).status.eq("stored").all()


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
    shown = capsys.readouterr().err.split("\r")[-1]
    assert "100%" in shown
    assert "6 of 6 rows stored · " in shown


def test_a_bar_in_a_terminal_fills_with_stored_rows_only(platform, capsys):
    with pytest.warns(UnstoredRowsWarning):
        put(platform, BAD, progress=True)
    shown = capsys.readouterr().err.split("\r")[-1]
    assert shown.startswith(" 66%|")  # never 100 before all rows are stored
    assert "2 of 3 rows stored · 1 rejected" in shown
    platform.faults = [local.faults.refused(status=401)]
    with pytest.raises(AuthenticationError):
        put(platform, FRAME, progress=True)
    shown = capsys.readouterr().err.split("\r")[-1]
    assert "0%|" in shown
    assert "█" not in shown
    assert "0 of 6 rows stored · 6 not sent" in shown


class Terminal(io.StringIO):
    """A terminal, as a person looks at it."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("value", "has_colors"), [("", True), ("1", False)])
def test_a_bar_has_no_colors_where_nobody_wants_them(platform, monkeypatch, value, has_colors):
    monkeypatch.setenv("NO_COLOR", value)
    monkeypatch.setattr(sys, "stderr", Terminal())
    put(platform, FRAME)
    shown = sys.stderr.getvalue()
    assert "6 of 6 rows stored" in shown
    assert ("\x1b[32m" in shown) == has_colors


SNAPSHOT = Progress(
    total=200, stored=0, rejected=0, unknown=0, unsent=0, retried=0, in_flight=0,
    bytes_sent=0, seconds=0.0, waiting=None,
)  # fmt: skip


def test_the_rate_counts_only_what_came_since_the_first_snapshot():
    """A run that is resumed begins with rows that earlier calls stored."""
    pace = Pace()
    assert pace.measure(replace(SNAPSHOT, stored=100)) == (None, None)
    assert pace.measure(replace(SNAPSHOT, stored=150, rejected=10, seconds=10.0)) == (
        5.0,
        pytest.approx(40 * 10 / 50),
    )


def test_words_while_it_runs_and_once_it_ended():
    pace = Pace()
    pace.measure(SNAPSHOT)
    under_way = replace(SNAPSHOT, stored=99, rejected=1, bytes_sent=30_000_000, seconds=2.0)
    assert progress_words(under_way, pace, is_ended=False) == [
        "99 of 200 rows stored", "49 %", "1 rejected", "49.5 rows/s", "15.0 MB/s", "2.0 s left",
    ]  # fmt: skip
    waiting = replace(under_way, waiting="connection refused by localhost:8081")
    assert progress_words(waiting, pace, is_ended=False)[2] == waiting.waiting
    assert waiting.waiting not in progress_words(waiting, pace, is_ended=True)
    assert progress_words(waiting, pace, is_ended=True)[-1] == "2.0 s"
    one = replace(SNAPSHOT, total=1, stored=1)
    assert progress_words(one, Pace(), is_ended=True)[0] == "1 of 1 row stored"
    unknown_total = replace(SNAPSHOT, total=None, stored=5)
    assert progress_words(unknown_total, Pace(), is_ended=False) == ["5 rows stored"]


def draw(*, is_ended=True, **counts):
    return draw_progress(replace(SNAPSHOT, **counts), ["said"], is_ended=is_ended)


GREEN, RED, AMBER, BLUE = (_html.COLORS[s] for s in ("stored", "rejected", "unknown", "running"))
HALF = ("50.0000%", AMBER)
DRAWN = r'class="v3io-(stored|rejected|unknown|unsent)".*?width:([^;]+);.*?background:(#\w+)'


@pytest.mark.parametrize(
    ("counts", "is_ended", "stored", "others"),
    [
        ({"stored": 200}, True, ("100.0000%", GREEN), {}),
        ({"stored": 50}, False, ("25.0000%", BLUE), {}),
        ({"stored": 198, "rejected": 2}, True, ("99.0000%", RED), {"rejected": ("1.0000%", RED)}),
        ({"stored": 100, "unknown": 100}, True, HALF, {"unknown": HALF}),
        ({"stored": 100, "unsent": 100}, True, HALF, {}),
        ({"unsent": 200}, True, None, {}),
    ],
    ids=["all stored", "under way", "rejected", "unknown", "stopped", "nothing sent"],
)  # fmt: skip
def test_a_bar_fills_with_stored_rows_and_takes_the_color_of_the_outcome(
    counts, is_ended, stored, others
):
    html = draw(is_ended=is_ended, **counts)
    drawn = {status: (width, color) for status, width, color in re.findall(DRAWN, html)}
    assert drawn == ({"stored": stored} if stored else {}) | others


def test_a_bar_says_its_numbers_to_those_who_do_not_see_it():
    assert 'role="img" aria-label="198 stored, 2 not sent"' in draw(stored=198, unsent=2)


def test_a_platform_that_is_not_there_counts_for_nothing_and_is_named(free_port):
    """What was never carried was not sent again, and no bytes of it were sent."""
    endpoint = f"http://127.0.0.1:{free_port}"
    client = Client(endpoint, retry=Retry(deadline_seconds=0.5, base_seconds=0.05))
    seen = []
    with pytest.raises(PlatformUnavailable) as caught:
        put_records(FRAME, STREAM, client=client, progress=seen.append)
    assert {(snapshot.retried, snapshot.bytes_sent) for snapshot in seen} == {(0, 0)}
    assert {snapshot.stored for snapshot in seen} == {0}
    receipt = caught.value.results.attrs["v3io"]
    assert (receipt["retried"], receipt["bytes"]) == (0, 0)
    (why, *_) = [snapshot.waiting for snapshot in seen if snapshot.waiting]
    cause = f"connection refused by 127.0.0.1:{free_port}"
    assert re.fullmatch(rf"{cause}; trying again in [\d.]+ s", why)
    assert f"the last: {cause}. Check the endpoint" in str(caught.value)


def test_what_the_platform_took_and_did_not_answer_was_sent_again(platform):
    platform.faults = [local.faults.lost_answer()]
    seen = []
    put(platform, FRAME, max_records=6, progress=seen.append)
    assert seen[-1].retried == 6
    assert seen[-1].bytes_sent == sum(arrival.body_bytes for arrival in platform.requests)

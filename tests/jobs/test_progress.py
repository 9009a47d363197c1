"""Without a terminal a job logs where it is, every ten seconds."""

from __future__ import annotations

import logging

from v3io_frames_put import Progress
from v3io_frames_put.jobs._progress import LogLines, show_progress


def snapshot(seconds, stored, waiting=None):
    return Progress(
        total=None, stored=stored, rejected=1, unknown=0, unsent=0, retried=0, in_flight=8,
        bytes_sent=10, seconds=seconds, waiting=waiting,
    )  # fmt: skip


def test_a_line_every_ten_seconds(caplog):
    caplog.set_level(logging.INFO, "v3io_frames_put")
    log = LogLines()
    for seconds in (0.1, 5, 10, 12, 19.9, 20.1):
        log(snapshot(seconds, stored=1_000 * int(seconds) - 1))
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "10,000 rows",
        "20,000 rows",
    ]
    assert caplog.records[0].fields["in_flight"] == 8


def test_the_total_of_the_files_is_told(caplog):
    caplog.set_level(logging.INFO, "v3io_frames_put")
    with show_progress(None, 50_000) as show:
        show(snapshot(10, stored=999, waiting="the platform asked to wait"))
    (line,) = caplog.messages
    assert line.startswith("1,000 of 50,000 rows: 999 stored, 1 rejected, 0 unknown, 0 unsent, ")
    assert line.endswith("100 rows a second; the platform asked to wait")


def test_a_callable_gets_the_total_too():
    seen = []
    with show_progress(seen.append, 7) as show:
        show(snapshot(1, stored=3))
    assert (seen[0].total, seen[0].stored) == (7, 3)

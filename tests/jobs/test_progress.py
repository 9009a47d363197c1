"""Without a terminal a job logs where it is, every ten seconds."""

from __future__ import annotations

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.internals import estimate_rows, log_every_ten_seconds, show_progress
from v3io_frames_put import Progress


def snapshot(seconds, stored, waiting=None):
    return Progress(
        total=None, stored=stored, rejected=1, unknown=0, unsent=0, retried=0, in_flight=8,
        bytes_sent=10, seconds=seconds, waiting=waiting,
    )  # fmt: skip


def test_a_line_every_ten_seconds(caplog):
    caplog.set_level(logging.INFO, "v3io_frames_put")
    log = log_every_ten_seconds()
    for seconds in (0.1, 5, 10, 12, 19.9, 20.1):
        log(snapshot(seconds, stored=1_000 * int(seconds) - 1))
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "10,000 rows",
        "20,000 rows",
    ]
    assert caplog.records[0].fields["in_flight"] == 8


def files(num_rows=None, num_bytes=None, rows_read=0, bytes_read=0, *, is_read=False):
    return SimpleNamespace(
        num_rows=num_rows, num_bytes=num_bytes, rows_read=rows_read, bytes_read=bytes_read,
        is_read=is_read,
    )  # fmt: skip


def test_the_rows_of_the_files_are_the_total(caplog):
    caplog.set_level(logging.INFO, "v3io_frames_put")
    with show_progress(None, files(50_000)) as show:
        show(snapshot(10, stored=999, waiting="the platform asked to wait"))
    (line,) = caplog.messages
    assert line.startswith("1,000 of 50,000 rows: 999 stored, 1 rejected, 0 unsent, 0 unknown, ")
    assert line.endswith("100 rows a second; the platform asked to wait")


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        (files(7), 7),
        (files(), None),
        (files(num_bytes=1_000), None),
        (files(num_bytes=1_000, rows_read=10, bytes_read=250), 40),
        (files(num_bytes=1_000, rows_read=40, bytes_read=1_002), 40),  # it has grown
        (files(num_bytes=1_000, rows_read=41, bytes_read=990, is_read=True), 41),
    ],
)
def test_rows_are_estimated_by_the_bytes_read(table, rows):
    assert estimate_rows(table) == rows


def test_a_callable_is_given_what_is_exact():
    seen = []
    with show_progress(seen.append, files(7)) as show:
        show(snapshot(1, stored=3))
    with show_progress(seen.append, files(num_bytes=100, rows_read=1, bytes_read=1)) as show:
        show(snapshot(1, stored=3))
    assert [(one.total, one.stored) for one in seen] == [(7, 3), (None, 3)]


def test_after_a_kill_it_begins_with_what_the_journal_knows():
    seen = []
    known = {"stored": 500, "rejected": 2, "unsent": 0, "unknown": 40}
    with show_progress(seen.append, files(1_000), known, looks_up=True) as show:
        show(replace(snapshot(1, stored=0), bytes_sent=0, in_flight=0))
        show(replace(snapshot(2, stored=600), bytes_sent=0, in_flight=8))
    assert [(one.stored, one.rejected) for one in seen] == [(500, 2), (500, 2), (600, 2)]
    look_up = "looking up 40 rows that may be stored"
    assert [one.waiting for one in seen] == [look_up, look_up, None]


def test_rows_that_are_sent_again_are_not_looked_up():
    seen = []
    with show_progress(seen.append, files(9), {"unknown": 4}):
        pass
    assert [one.waiting for one in seen] == [None]

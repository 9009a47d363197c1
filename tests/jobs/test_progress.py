"""Without a terminal a job logs where it is, every ten seconds."""

from __future__ import annotations

import logging
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.internals import STATUSES, ProgressLog, estimate_rows, show_progress
from v3io_frames_put import Progress


def snapshot(seconds, stored, waiting=None):
    return Progress(
        total=None, stored=stored, rejected=1, unknown=0, unsent=0, retried=0, in_flight=8,
        bytes_sent=10, seconds=seconds, waiting=waiting,
    )  # fmt: skip


def test_a_line_every_ten_seconds(caplog):
    caplog.set_level(logging.INFO, "v3io_frames_put")
    log = ProgressLog().log
    for seconds in (0.1, 5, 10, 12, 19.9, 20.1):
        log(snapshot(seconds, stored=1_000 * int(seconds) - 1))
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == ["9", "19"]
    assert caplog.records[0].fields["in_flight"] == 8


def files(num_rows=None, num_bytes=None, rows_read=0, bytes_read=0, *, is_read=False):
    return SimpleNamespace(
        num_rows=num_rows, num_bytes=num_bytes, rows_read=rows_read, bytes_read=bytes_read,
        is_read=is_read,
    )  # fmt: skip


def job(progress=None, delivery="at_least_once"):
    return SimpleNamespace(progress=progress, delivery_options=SimpleNamespace(delivery=delivery))


def prior(**rows):
    codes = [STATUSES.index(name) for name, count in rows.items() for _ in range(count)]
    return SimpleNamespace(
        is_complete=False, outcomes=SimpleNamespace(status=np.array(codes, np.int8))
    )


def test_the_rows_of_the_files_are_the_total(caplog):
    caplog.set_level(logging.INFO, "v3io_frames_put")
    with show_progress(job(), files(50_000), None) as show:
        show(snapshot(0, stored=0))
        show(snapshot(10, stored=999, waiting="the platform asked to wait"))
    assert caplog.messages == [
        "999 of 50,000 rows stored, 1 %, the platform asked to wait, 1 rejected, 99.9 rows/s"
    ]


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
    with show_progress(job(seen.append), files(7), None) as show:
        show(snapshot(1, stored=3))
    table = files(num_bytes=100, rows_read=1, bytes_read=1)
    with show_progress(job(seen.append), table, None) as show:
        show(snapshot(1, stored=3))
    assert [(one.total, one.stored) for one in seen] == [(7, 3), (None, 3)]


@pytest.mark.parametrize(
    ("delivery", "waiting"),
    [("exactly_once", "looking up 40 rows that may be stored"), ("at_least_once", None)],
)
def test_after_a_kill_it_begins_with_what_the_journal_knows(delivery, waiting):
    seen = []
    known = prior(stored=500, rejected=2, unknown=40)
    with show_progress(job(seen.append, delivery), files(1_000), known) as show:
        show(replace(snapshot(1, stored=0), bytes_sent=0, in_flight=0))
        show(replace(snapshot(2, stored=600), bytes_sent=0, in_flight=8))
    assert [(one.stored, one.rejected) for one in seen] == [(500, 2), (600, 2)]
    assert [one.waiting for one in seen] == [waiting, None]

"""What a run tries again is logged: rarely, and with its cause."""

from __future__ import annotations

import logging

import pandas as pd
import pytest

from tests.internals import Failure, Retried
from tests.test_endings import STREAM
from v3io_frames_put import Retry, put_records
from v3io_frames_put.local import faults
from v3io_frames_put.progress import RetryLog

FRAME = pd.DataFrame({"row": range(6)})
QUICK = Retry(base_seconds=0.01, settle_seconds=0.01)


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (faults.lost_answer(), "reset while waiting"),
        (faults.throttled(), "the platform answered 429"),
        (faults.unavailable(), "the platform answered 503"),
    ],
)
def test_what_is_tried_again_is_a_warning(local_platform, caplog, delivery, fault, told):
    local_platform.create_stream(STREAM)
    local_platform.faults = [fault]
    with caplog.at_level(logging.WARNING, "v3io_frames_put"):
        results = put_records(
            FRAME, STREAM, client=local_platform.client(retry=QUICK), delivery=delivery
        )
    run_id = results.attrs["v3io"]["run_id"]
    line = caplog.messages[0]
    assert line.startswith(f"run {run_id}: requests tried again: 1 (6 rows); the last: ")
    assert told in line


@pytest.mark.parametrize(
    ("fault", "delivery"), [(faults.lost_answer(), "at_most_once"), (None, "at_least_once")]
)
def test_what_is_not_tried_again_is_none(local_platform, caplog, fault, delivery):
    local_platform.create_stream(STREAM)
    local_platform.faults = [fault] if fault else []
    with (
        caplog.at_level(logging.WARNING, "v3io_frames_put"),
        pytest.warns(match="6 of 6") if fault else caplog.filtering(lambda _record: True),
    ):
        put_records(FRAME, STREAM, client=local_platform.client(retry=QUICK), delivery=delivery)
    assert caplog.messages == []


class Failing:
    """Four requests fail every tenth of a second."""

    def take_retried(self):
        return [Retried(10, Failure("NoAnswer", "connection refused by localhost:8081"))] * 4


def test_however_much_fails_lines_are_rare_and_no_request_is_left_out(caplog):
    retries = RetryLog("5" * 16, Failing())
    with caplog.at_level(logging.WARNING, "v3io_frames_put"):
        for tenth in range(3_000):
            retries.log(tenth / 10)
    counted = [line.partition("again: ")[2].partition(";")[0] for line in caplog.messages]
    assert counted == [
        "4 (40 rows)",
        "80 (800 rows)",
        "160 (1,600 rows)",
        "320 (3,200 rows)",
        "640 (6,400 rows)",
        "1,280 (12,800 rows)",
        "2,400 (24,000 rows)",
        "2,400 (24,000 rows)",
        "2,400 (24,000 rows)",
    ]
    assert caplog.messages[0].endswith("the last: connection refused by localhost:8081")

"""Real SIGINTs, at random points of a real upload: what is left behind is true and resumes."""

from __future__ import annotations

import signal

import pandas as pd
import pytest

from tests.processes.harness import (
    DELIVERIES,
    PATIENCE_SECONDS,
    draws,
    hold_against,
    is_over,
    seeds,
    uploading,
)
from tests.processes.uploader import STREAM, Spec
from v3io_frames_put.local import faults

ROWS = 4_000  # 400 requests


@pytest.fixture
def platform(local_platform):
    local_platform.create_stream(STREAM, shards=3)
    return local_platform


@pytest.mark.parametrize("seed", seeds(20, at_once=3))
def test_ctrl_c_leaves_true_results_that_resume(platform, tmp_path, seed):
    chance = draws("ctrl-c", seed)
    delivery = DELIVERIES[seed % 3]
    press_at = chance.randrange(1, 300)
    if chance.random() < 0.5:
        platform.faults = [
            faults.lost_answer(nth=chance.randrange(1, 50), every=40, times=3),
            faults.unavailable(
                nth=chance.randrange(1, 50), every=60, times=3, stored="even_shards"
            ),
            faults.throttled(nth=chance.randrange(1, 50), every=50, times=3),
        ]
    options = {"delivery": delivery, "max_in_flight": 4}
    first = Spec(platform.endpoint, str(tmp_path / "first"), ROWS, options=options)
    with uploading(first, tmp_path) as process:
        platform.wait_until(lambda p: puts(p) >= press_at, PATIENCE_SECONDS)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, errors
    results = pd.read_pickle(first.results)
    assert len(results) == ROWS
    assert "unsent" in set(results.status)
    hold_against(results, platform.records(STREAM), delivery)
    second = Spec(
        platform.endpoint, str(tmp_path / "second"), ROWS, resume=first.results, options=options
    )
    with uploading(second, tmp_path) as process:
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors
    results = pd.read_pickle(second.results)
    counts = hold_against(results, platform.records(STREAM), delivery)
    missing = {"at_most_once": {"unknown"}}.get(delivery, set())
    assert set(results.status) <= {"stored"} | missing
    assert delivery == "at_most_once" or set(counts) == set(range(ROWS))


def puts(platform):
    return sum(arrival.function == "PutRecords" for arrival in platform.requests)


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_second_ctrl_c_does_not_wait_for_answers(platform, tmp_path, delivery):
    options = {"delivery": delivery, "max_in_flight": 4}
    spec = Spec(platform.endpoint, str(tmp_path / "results"), ROWS, options=options)
    with uploading(spec, tmp_path) as process:
        platform.wait_until(lambda p: puts(p) >= 20, PATIENCE_SECONDS)
        with platform.hold():
            before = puts(platform)
            platform.wait_until(lambda p: p.in_flight() == 4, PATIENCE_SECONDS)
            while not is_over(process):
                process.send_signal(signal.SIGINT)
            assert puts(platform) <= before + 4  # nothing was sent afterwards
    assert process.returncode == 130
    results = pd.read_pickle(spec.results)
    assert (results.status == "unknown").sum() == 40
    hold_against(results, platform.records(STREAM), delivery)

"""How long a run waits before it sends again, and when it gives up."""

import random
import statistics
from itertools import pairwise

import pytest

from tests.delivery.examples import (
    FOR_EVER,
    STREAM,
    Run,
    one_by_one,
    reasons,
    rows_frame,
    statuses,
)
from tests.internals import DeliveryOptions
from v3io_frames_put import local
from v3io_frames_put.config import Limits, Retry


def arrivals(run):
    """Seconds after the start at which each row was stored, by row."""
    began = 1_000_000.0
    records = run.platform.records(STREAM)
    return sorted(round(record.arrival_time - began, 2) for record in records)


def test_a_retry_after_holds_for_all_requests():
    faults = [local.faults.throttled(retry_after_seconds=7)]
    run = Run(faults, DeliveryOptions(max_in_flight=2, limits=Limits(max_records=1)))
    results = run.send(rows_frame(6))
    assert statuses(results) == ["stored"] * 6
    first, *later = arrivals(run)
    assert first == pytest.approx(0.01)  # was under way beside the one that was refused
    assert min(later) >= 7
    assert any("asked for a pause" in why for why in run.waits)


def test_a_retry_after_beyond_the_deadline_ends_with_the_deadline():
    faults = [local.faults.throttled(retry_after_seconds=100_000, **FOR_EVER)]
    run = Run(faults, DeliveryOptions(max_in_flight=2, limits=Limits(max_records=1),
                             retry=Retry(deadline_seconds=30)))  # fmt: skip
    results = run.send(rows_frame(6))
    assert statuses(results) == ["unsent"] * 6
    assert run.seconds < 3 * 31  # three pairs of requests, and never longer than the deadline


def test_a_platform_that_is_busy_for_ever_is_given_up_at_the_deadline():
    faults = [local.faults.throttled(retry_after_seconds=None, **FOR_EVER)]
    run = Run(faults, one_by_one(8, retry=Retry(deadline_seconds=30)))
    results = run.send(rows_frame(8))
    assert statuses(results) == ["unsent"] * 8
    assert set(reasons(results).values()) == {"RetriesExhausted"}
    assert 30 <= run.seconds < 41
    assert "HTTP 429" in results.error_detail[0]


def test_a_platform_that_fails_for_ever_leaves_its_rows_unknown():
    faults = [local.faults.unavailable(**FOR_EVER)]
    run = Run(faults, one_by_one(8, retry=Retry(deadline_seconds=30)))
    assert statuses(run.send(rows_frame(8))) == ["unknown"] * 8


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_attempts_bound_the_requests_that_carry_a_row(attempts):
    faults = [local.faults.throttled(retry_after_seconds=None, **FOR_EVER)]
    run = Run(faults, one_by_one(8, retry=Retry(attempts=attempts)))
    results = run.send(rows_frame(8))
    assert results.attempts.tolist() == [attempts] * 8
    assert run.sizes == [8] * attempts


def test_attempts_bound_the_halves_of_a_batch_that_was_split():
    faults = [local.faults.Answer(status=413), local.faults.unavailable(stored="none", **FOR_EVER)]
    run = Run(faults, one_by_one(8, retry=Retry(attempts=1)))
    results = run.send(rows_frame(8))
    assert run.sizes[:2] == [8, 4]
    assert results.attempts.max() == 2
    assert len(run.sizes) <= 3


def test_pauses_grow_to_the_cap_with_full_jitter():
    faults = [local.faults.throttled(retry_after_seconds=None, times=10)]
    run = Run(faults, one_by_one(1), delay=lambda: 0.0, draw=lambda: 0.5)
    run.send(rows_frame(1))
    # half of 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10
    assert run.seconds == pytest.approx(0.5 * (0.1 * 127 + 30))


@pytest.mark.parametrize("seed", range(3))
def test_connections_to_a_platform_that_is_down_have_the_jitter_of_one(seed):
    """However many requests fail at once."""
    policy = DeliveryOptions(max_in_flight=16, limits=Limits(max_records=1))
    moments = []
    run = Run([local.faults.restart(down_seconds=9_999)], policy, draw=random.Random(seed).random)
    run.at_round = lambda _number, run: moments.append((run.clock.now, len(run.network.sent)))
    run.send(rows_frame(300))
    tries = [now for (now, sent), (_, before) in pairwise(reversed(moments)) if sent > before]
    gaps = [late - soon for late, soon in pairwise(tries) if late - soon > 0.1]
    assert 4 < statistics.mean(gaps[:30]) < 7  # half of ten seconds
    assert min(gaps[:30]) < 3


def test_connections_to_a_platform_that_is_down_are_shared_by_all_batches():
    """However many batches wait, each with a pause of its own."""
    policy = DeliveryOptions(
        max_in_flight=4, limits=Limits(max_records=1), retry=Retry(deadline_seconds=60)
    )
    run = Run([local.faults.restart(down_seconds=3_600)], policy)
    results = run.send(rows_frame(300))
    assert set(statuses(results)) <= {"unsent", "unknown"}
    assert 60 <= run.seconds < 72  # it gives up at the deadline, and a pause later at the latest
    # 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, then 5 seconds: four at a time, and the first.
    assert len(run.network.sent) <= 4 * 21
    assert any(why.endswith("; trying again in 5.0 s") for why in run.waits)


def test_the_first_answer_of_a_platform_that_is_up_again_lets_all_go():
    policy = DeliveryOptions(max_in_flight=4, limits=Limits(max_records=1))
    run = Run([local.faults.restart(down_seconds=30)], policy)
    results = run.send(rows_frame(300))
    assert statuses(results) == ["stored"] * 300
    late = [moment for moment in arrivals(run) if moment > 31]
    assert len(late) > 290
    assert late[-1] - late[0] < 20  # batches end their own pauses, ten seconds at most

"""Why a run stops early, and what it leaves: true results, and nothing sent afterwards."""

import random

import pytest

from tests.delivery.examples import (
    FOR_EVER,
    Run,
    assert_true,
    one_by_one,
    reasons,
    rows_frame,
    statuses,
)
from tests.internals import DeliveryOptions
from v3io_frames_put import local
from v3io_frames_put.config import Limits, Retry


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (local.faults.refused(status=401, nth=4), "authentication"),
        (local.faults.refused(status=403, nth=4, message="Permission denied"), "permission"),
        (local.faults.refused(status=400, nth=4, message="Permission denied"), "permission"),
        (local.faults.refused(status=404, nth=4, message="ResourceNotFoundException"), "missing"),
        (local.faults.refused(status=400, nth=4, message="ResourceIsnotStream"), "not a stream"),
        (local.faults.redirected(nth=4), "moved"),
        (local.faults.Change(action="delete", nth=4), "missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.parametrize("max_in_flight", [1, 8])
def test_what_every_row_shares_stops_the_run_and_all_results_are_true(fault, cause, max_in_flight):
    run = Run([fault], DeliveryOptions(max_in_flight=max_in_flight, limits=Limits(max_records=2)))
    results = run.send(rows_frame(60))
    assert run.delivery.stopped.cause == cause
    assert len(results) == 60
    assert len(run.network.sent) <= 3 + max_in_flight
    assert set(statuses(results)) == {"stored", "unsent"}
    if not isinstance(fault, local.faults.Change):  # which took what was stored with it
        assert_true(run, results)
        assert sorted(run.stored) == results.index[results.status == "stored"].tolist()


def test_silence_for_the_deadline_stops_the_run():
    faults = [local.faults.restart(nth=3, down_seconds=100_000)]
    run = Run(faults, DeliveryOptions(max_in_flight=2, limits=Limits(max_records=2),
                             retry=Retry(deadline_seconds=60)))  # fmt: skip
    results = run.send(rows_frame(40))
    assert run.delivery.stopped.cause == "unavailable"
    assert 60 <= run.seconds <= 72
    assert_true(run, results)
    assert statuses(results).count("unknown") == 2  # the request that was there when it died
    assert statuses(results).count("stored") >= 4


def test_a_platform_that_comes_back_in_time_is_not_given_up():
    run = Run([local.faults.restart(nth=3, down_seconds=40)], one_by_one(2))
    results = run.send(rows_frame(10))
    assert statuses(results) == ["stored"] * 10
    assert run.seconds > 40


def press(times, at_round):
    def at(number, run):
        if number == at_round:
            run.switch.presses = times

    return at


@pytest.mark.parametrize("after", [2, 5, 20])
def test_a_stop_lets_what_is_under_way_end_and_sends_nothing_new(after):
    sent = []

    def at(number, run):
        if number == after:
            run.switch.presses = 1
            sent.append(len(run.network.sent))

    rng = random.Random(1)
    run = Run(policy=DeliveryOptions(limits=Limits(max_records=2)), at_round=at,
              delay=lambda: rng.uniform(0.01, 0.9))  # fmt: skip
    results = run.send(rows_frame(500))
    assert [len(run.network.sent)] == sent
    assert run.delivery.stopped.cause == "stopped"
    assert set(statuses(results)) == {"stored", "unsent"}
    assert statuses(results).count("stored") == sum(run.sizes)
    assert set(reasons(results).values()) == {"Stopped"}
    assert_true(run, results)


def test_a_stop_does_not_wait_for_ever_for_what_is_under_way():
    run = Run([local.faults.stalled_answer(**FOR_EVER)], one_by_one(2), at_round=press(1, 2))
    results = run.send(rows_frame(6))
    assert statuses(results) == ["unknown"] * 2 + ["unsent"] * 4
    assert 5 <= run.seconds < 6


def test_a_second_press_leaves_at_once_and_calls_what_is_under_way_unknown():
    run = Run([local.faults.stalled_answer(**FOR_EVER)], one_by_one(2), at_round=press(2, 2))
    results = run.send(rows_frame(6))
    assert statuses(results) == ["unknown"] * 2 + ["unsent"] * 4
    assert reasons(results)[0] == "NoAnswer"
    assert run.seconds < 0.5


def test_a_stop_before_the_first_window_leaves_all_rows_unsent():
    run = Run()
    run.switch.presses = 1
    results = run.send(rows_frame(3))
    assert statuses(results) == ["unsent"] * 3
    assert run.network.sent == []


def test_a_stop_leaves_what_pauses_as_it_is():
    faults = [local.faults.lost_answer(nth=1), local.faults.throttled(nth=1)]
    run = Run(faults, one_by_one(2), at_round=press(1, 3), draw=lambda: 0.999)
    results = run.send(rows_frame(4))
    assert statuses(results)[:2] == ["unknown"] * 2
    assert statuses(results)[2:] == ["unsent"] * 2

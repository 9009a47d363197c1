"""Rows of a destination keep their order, or are held, or are listed; lanes stay full."""

import random

import pandas as pd
import pytest

from tests.delivery.examples import (
    FOR_EVER,
    Run,
    assert_in_order,
    assert_true,
    one_by_one,
    reasons,
    rows_frame,
    statuses,
)
from tests.internals import Copy, DeliveryOptions
from v3io_frames_put import local
from v3io_frames_put.config import Limits, Retry


def test_rows_behind_a_destination_that_was_given_up_are_held():
    busy = local.faults.throttled(containing='"key":"a"', retry_after_seconds=None, **FOR_EVER)
    run = Run([busy], DeliveryOptions(max_in_flight=2, limits=Limits(max_records=2),
                             retry=Retry(deadline_seconds=5)))  # fmt: skip
    keys = ["a", "a", "b", "b", "a", "a", "b", "a"]
    results = run.send(rows_frame(8, key=keys), partition_key="key")
    assert results.status[results.index[pd.Series(keys) == "b"]].tolist() == ["stored"] * 3
    told = reasons(results)
    assert {row: told[row] for row in (0, 1)} == {0: "RetriesExhausted", 1: "RetriesExhausted"}
    assert {told[row] for row in (4, 5, 7)} == {"HeldBehindDestination"}
    assert statuses(results).count("unsent") == 5
    assert_true(run, results)


def test_rows_that_come_after_their_destination_was_given_up_are_held_too():
    busy = local.faults.throttled(containing='"key":"a"', retry_after_seconds=None, **FOR_EVER)
    run = Run([busy], one_by_one(4, max_in_flight_bytes=600, retry=Retry(attempts=1)))
    keys = ["a"] * 4 + ["b"] * 4 + ["a"] * 4
    results = run.send(rows_frame(12, key=keys), window_rows=4, partition_key="key")
    assert statuses(results) == ["unsent"] * 4 + ["stored"] * 4 + ["unsent"] * 4
    assert [reasons(results)[row] for row in range(8, 12)] == ["HeldBehindDestination"] * 4


def test_with_order_none_nothing_is_held():
    busy = local.faults.throttled(containing='"row":0,', retry_after_seconds=None, **FOR_EVER)
    run = Run([busy], one_by_one(1, order="none", retry=Retry(attempts=1)))
    results = run.send(rows_frame(3, key=["a"] * 3), partition_key="key")
    assert statuses(results) == ["unsent", "stored", "stored"]


def test_a_row_stored_after_a_later_one_of_its_own_request_is_listed():
    faults = [local.faults.RecordErrors(places=(0, 2), message="Busy", code=-11)]
    run = Run(faults, one_by_one(4))
    keys = ["a", "a", "b", "b"]
    results = run.send(rows_frame(4, key=keys), partition_key="key")
    assert statuses(results) == ["stored"] * 4
    assert run.delivery.reordering.find_rows([]) == [0, 2]
    assert results.maybe_duplicate.tolist() == [True, False, True, False]
    assert_in_order(run, keys, excused=(0, 2))


def test_a_row_that_was_reordered_is_listed_when_it_is_found_late():
    busy = local.faults.RecordErrors(places=(0, 2), message="Busy", code=-11)
    run = Run([busy], one_by_one(4, retry=Retry(attempts=1)))
    results = run.send(rows_frame(4, key=["a", "a", "b", "c"]), partition_key="key")
    assert statuses(results)[1] == "stored"
    later = results.sequence_number[1]
    for number, listed in ((later + 1, [0]), (later - 1, [])):
        late = [Copy(row, shard_id=0, sequence_number=number) for row in (0, 2)]
        assert run.delivery.reordering.find_rows(late) == listed


@pytest.mark.parametrize(("key", "listed"), [("a", [0]), (None, [])])
def test_a_row_that_comes_late_is_listed_if_it_has_a_place_in_an_order(key, listed):
    refused = local.faults.RecordErrors(containing='"row":0', message="InvalidArgumentException")
    policy = one_by_one(1, delivery="exactly_once", max_in_flight_bytes=300)  # one row at a time
    run = Run([local.faults.Disconnect(containing='"row":0'), refused], policy)
    results = run.send(rows_frame(2, key=[key, key]), window_rows=1, partition_key="key")
    assert statuses(results) == ["rejected", "stored"]
    late = [Copy(0, shard_id=0, sequence_number=results.sequence_number[1] + 1)]
    assert run.delivery.reordering.find_rows(late) == listed


def test_rows_that_are_not_reordered_are_not_listed():
    faults = [local.faults.RecordErrors(places=(1, 3), message="Busy", code=-11)]
    run = Run(faults, one_by_one(4))
    keys = ["a", "a", "b", "c"]
    results = run.send(rows_frame(4, key=keys), partition_key="key")
    assert statuses(results) == ["stored"] * 4
    assert run.delivery.reordering.find_rows([]) == []
    assert_in_order(run, keys)


SOME_FAULTS = [
    local.faults.throttled(nth=3, every=7, times=None, retry_after_seconds=None),
    local.faults.lost_answer(nth=2, every=5, times=None),
    local.faults.Disconnect(when="in_body", nth=4, every=6, times=None),
    local.faults.unavailable(nth=5, every=11, times=None, stored="even_shards"),
    local.faults.Answer(status=413, min_records=40, times=None),
]


def skewed(count, keys, seed):
    """Draw keys as unevenly as flights have tail numbers, and some nulls."""
    rng = random.Random(seed)
    return [
        None if rng.random() < 0.01 else f"N{min(int(rng.paretovariate(0.6)), keys)}"
        for _ in range(count)
    ]


@pytest.mark.parametrize("max_in_flight", [1, 8, 32])
def test_every_key_keeps_its_order_at_any_parallelism(max_in_flight):
    keys = skewed(3_000, 200, seed=max_in_flight)
    rng = random.Random(5)
    policy = DeliveryOptions(max_in_flight=max_in_flight, limits=Limits(max_records=50))
    run = Run(SOME_FAULTS, policy, delay=lambda: rng.uniform(0.001, 0.2))
    results = run.send(rows_frame(3_000, key=keys), partition_key="key")
    assert statuses(results) == ["stored"] * 3_000
    assert_true(run, results)
    given = [key if key is not None else object() for key in keys]
    assert_in_order(run, given, excused=run.delivery.reordering.find_rows([]))
    assert min(16, max_in_flight) <= run.network.peak_in_flight <= max_in_flight
    twice = {row for row, places in run.stored.items() if len(places) > 1}
    assert twice <= set(results.index[results.maybe_duplicate])


def test_requests_under_way_never_share_a_key():
    keys = skewed(4_000, 300, seed=1)
    under_way = []

    def look(_number, run):
        batches = run.delivery._in_flight.values()
        seen = [set(batch.entries.destination.tolist()) - {0} for batch in batches]
        under_way.append(len(seen))
        assert sum(map(len, seen)) == len(set().union(*seen))

    run = Run(policy=DeliveryOptions(limits=Limits(max_records=100)), at_round=look)
    run.send(rows_frame(4_000, key=keys), partition_key="key")
    assert max(under_way) == 8


@pytest.mark.parametrize("max_in_flight", [8, 32])
def test_lanes_stay_full_on_skewed_keys(max_in_flight):
    keys = skewed(40_000, 4_000, seed=2)  # the commonest key has a third of all rows
    rng = random.Random(3)
    policy = DeliveryOptions(max_in_flight=max_in_flight, limits=Limits(max_records=50))
    run = Run(policy=policy, delay=lambda: rng.uniform(0.02, 0.08))
    run.send(rows_frame(40_000, key=flatten(keys)), window_rows=4_000, partition_key="key")
    middle = run.in_flight[len(run.in_flight) // 10 : len(run.in_flight) // 2]
    assert sum(middle) / len(middle) > 0.95 * (max_in_flight - 1)


def flatten(keys):
    """Spread the commonest keys over more, so that none alone fills more than a lane."""
    return [None if key is None else f"{key}-{row % 40}" for row, key in enumerate(keys)]


@pytest.mark.parametrize("budget", [20_000, 100_000])
def test_encoded_bytes_held_at_once_stay_in_their_budget(budget):
    policy = DeliveryOptions(max_in_flight_bytes=budget, limits=Limits(max_records=50))
    run = Run(policy=policy)
    results = run.send(rows_frame(5_000, text=["x" * 50] * 5_000), window_rows=50)
    assert statuses(results) == ["stored"] * 5_000
    assert run.peak_bytes <= budget
    assert run.network.peak_in_flight > 1


def test_a_row_larger_than_the_budget_is_rejected_and_blocks_nothing():
    run = Run(policy=DeliveryOptions(max_in_flight_bytes=500, limits=Limits(max_records=2)))
    results = run.send(rows_frame(4, text=["", "x" * 600, "", ""]), window_rows=1)
    assert statuses(results) == ["stored", "rejected", "stored", "stored"]
    assert reasons(results) == {1: "DataTooLarge"}

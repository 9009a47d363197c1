"""Whole runs on a simulated network: how full requests are, and what is sent again.

The decisions, the loop and the local platform are real; time and connections are not.
"""

import pandas as pd
import pytest

from tests.delivery.examples import (
    FOR_EVER,
    STREAM,
    Run,
    assert_in_order,
    assert_true,
    one_by_one,
    reasons,
    records_of,
    rows_frame,
    statuses,
)
from tests.internals import DeliveryOptions
from v3io_frames_put import local
from v3io_frames_put.config import Limits, Retry

# -- without faults ----------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "sizes"), [(1, [1]), (4, [4]), (5, [4, 1]), (9, [4, 4, 1])])
def test_requests_are_as_full_as_they_may_be(rows, sizes):
    run = Run(policy=one_by_one(4))
    results = run.send(rows_frame(rows))
    assert run.sizes == sizes
    assert statuses(results) == ["stored"] * rows
    assert results.attempts.tolist() == [1] * rows
    assert_true(run, results)


def test_an_empty_input_sends_nothing():
    run = Run()
    assert len(run.send(rows_frame(0))) == 0
    assert run.network.sent == []


# -- too large, and invalid --------------------------------------------------------------


def test_a_413_halves_and_the_limit_is_remembered():
    faults = [local.faults.Answer(status=413, min_records=3, **FOR_EVER)]
    run = Run(faults, one_by_one(8))
    results = run.send(rows_frame(20, text=[f"{row:02}" for row in range(20)]), columns=["text"])
    assert statuses(results) == ["stored"] * 20
    # 8 are refused, then its first 4 and its second 4; nothing gathered later is above 2.
    assert run.sizes == [8, 4, 2, 2, 4, 2, 2] + [2] * 6
    assert len(run.platform.records(STREAM)) == 20
    assert not results.maybe_duplicate.any()


@pytest.mark.parametrize("max_in_flight", [1, 8])
def test_a_learned_limit_never_keeps_a_single_row_back(max_in_flight):
    faults = [local.faults.Answer(status=413, min_records=2, times=1)]
    policy = DeliveryOptions(max_in_flight=max_in_flight, limits=Limits(max_records=2))
    run = Run(faults, policy)
    results = run.send(rows_frame(5, text=["", "", "x" * 5_000, "", "y" * 900]))
    assert statuses(results) == ["stored"] * 5
    assert all(len(places) == 1 for places in run.stored.values())


def test_one_row_that_is_too_large_alone_is_rejected_and_all_others_are_stored():
    faults = [local.faults.Answer(status=413, containing='"row":5}', **FOR_EVER)]
    run = Run(faults, one_by_one(8))
    results = run.send(rows_frame(8))
    assert statuses(results) == ["stored"] * 5 + ["rejected"] + ["stored"] * 2
    assert reasons(results) == {5: "DataTooLarge"}
    assert_true(run, results)


def test_the_halves_of_a_destination_go_one_after_the_other():
    faults = [local.faults.Answer(status=413, min_records=3, **FOR_EVER)]
    run = Run(faults, DeliveryOptions(max_in_flight=8, limits=Limits(max_records=8)))
    keys = ["a"] * 16 + ["b"] * 3
    results = run.send(rows_frame(19, key=keys), partition_key="key")
    assert statuses(results) == ["stored"] * 19
    assert_in_order(run, keys)


INVALID = {"status": 400, "code": -201326592, "message": "InvalidArgumentException"}


@pytest.mark.parametrize("bad", [0, 1, 6, 7])
@pytest.mark.parametrize("max_in_flight", [1, 8])
def test_an_invalid_request_is_bisected_down_to_the_one_bad_row(bad, max_in_flight):
    faults = [local.faults.refused(**INVALID, containing=f'"row":{bad}}}', **FOR_EVER)]
    run = Run(faults, DeliveryOptions(max_in_flight=max_in_flight, limits=Limits(max_records=8)))
    results = run.send(rows_frame(8))
    assert statuses(results) == ["rejected" if row == bad else "stored" for row in range(8)]
    assert reasons(results) == {bad: "InvalidArgumentException"}
    assert results.error_code[bad] == -201326592
    assert len(run.network.sent) == 7  # 8, then three times two halves
    assert_true(run, results)
    assert sorted(run.stored) == [row for row in range(8) if row != bad]


def test_bisecting_does_not_make_later_requests_smaller():
    faults = [local.faults.refused(**INVALID, containing='"row":0}', **FOR_EVER)]
    run = Run(faults, one_by_one(8))
    run.send(rows_frame(16))
    assert run.sizes == [8, 4, 2, 1, 1, 2, 4, 8]


def test_bisecting_finds_several_bad_rows():
    faults = [
        local.faults.refused(**INVALID, containing=f'"row":{bad}}}', **FOR_EVER)
        for bad in (2, 3, 9)
    ]
    run = Run(faults, one_by_one(16))
    results = run.send(rows_frame(16))
    assert sorted(reasons(results)) == [2, 3, 9]
    assert sorted(run.stored) == [r for r in range(16) if r not in (2, 3, 9)]


def test_a_bad_row_of_a_key_does_not_hold_the_rows_behind_it():
    faults = [local.faults.refused(**INVALID, containing='"row":1,', **FOR_EVER)]
    run = Run(faults, one_by_one(2))
    results = run.send(rows_frame(6, key=["a"] * 6), partition_key="key")
    assert statuses(results) == ["stored", "rejected"] + ["stored"] * 4
    assert_in_order(run, ["a"] * 6)


def test_a_refusal_inside_an_answer_rejects_that_row_alone():
    faults = [local.faults.RecordErrors(containing='"row":2}', **FOR_EVER)]
    run = Run(faults, one_by_one(8))
    results = run.send(rows_frame(4))
    assert statuses(results) == ["stored", "stored", "rejected", "stored"]
    assert len(run.network.sent) == 1


# -- cut off ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "sizes"), [(1, [8, 8]), (2, [8, 8, 4, 4]), (3, [8, 8, 4, 2, 2, 4])]
)
def test_the_second_reset_while_the_body_was_leaving_halves(times, sizes):
    run = Run([local.faults.Disconnect(when="in_body", times=times)], one_by_one(8))
    results = run.send(rows_frame(8))
    assert run.sizes == sizes
    assert statuses(results) == ["stored"] * 8
    assert results.maybe_duplicate.all()  # nobody can know that nothing of it was stored
    assert_true(run, results)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_reset_after_the_whole_body_does_not_halve(times):
    run = Run([local.faults.Disconnect(when="after_body", times=times)], one_by_one(8))
    run.send(rows_frame(8))
    assert run.sizes == [8] * (times + 1)


def test_a_single_row_that_is_cut_off_again_and_again_is_still_sent():
    run = Run([local.faults.Disconnect(when="in_body", times=5)], one_by_one(8))
    assert statuses(run.send(rows_frame(1))) == ["stored"]


def test_what_is_sent_again_is_the_same_bytes():
    run = Run([local.faults.lost_answer(times=2)], one_by_one(4))
    results = run.send(rows_frame(4, key=list('a"b\n')), partition_key="key")
    bodies = {bytes(request.body) for request in run.network.sent}
    assert (len(run.network.sent), len(bodies)) == (3, 1)
    assert results.attempts.tolist() == [3] * 4
    assert results.maybe_duplicate.tolist() == [True] * 4
    assert [len(places) for places in run.stored.values()] == [3] * 4


def test_at_most_once_never_sends_what_may_be_stored():
    run = Run([local.faults.lost_answer(nth=2)], one_by_one(2, delivery="at_most_once"))
    results = run.send(rows_frame(6))
    assert statuses(results) == ["stored"] * 2 + ["unknown"] * 2 + ["stored"] * 2
    assert set(reasons(results).values()) == {"NoAnswer"}
    assert run.sizes == [2, 2, 2]


def test_at_most_once_sends_again_what_is_known_not_to_be_stored():
    run = Run([local.faults.throttled(times=2)], one_by_one(2, delivery="at_most_once"))
    results = run.send(rows_frame(2))
    assert statuses(results) == ["stored"] * 2
    assert not results.maybe_duplicate.any()


def test_a_row_that_may_be_stored_never_ends_unsent():
    faults = [
        local.faults.lost_answer(times=1),
        local.faults.throttled(**FOR_EVER, retry_after_seconds=None),
    ]
    run = Run(faults, one_by_one(2, retry=Retry(deadline_seconds=20)))
    results = run.send(rows_frame(4))
    assert statuses(results)[:2] == ["unknown", "unknown"]
    assert statuses(results)[2:] == ["unsent", "unsent"]
    assert set(reasons(results).values()) == {"RetriesExhausted"}


# -- what goes over the wire -----------------------------------------------------------------


def test_a_shard_wins_over_a_key_row_by_row():
    run = Run(policy=one_by_one(4))
    frame = rows_frame(3, key=["a", "a", None], place=pd.array([2, None, 1], "Int32"))
    results = run.send(frame, partition_key="key", shard="place", columns=["row"])
    sent = [set(record) - {"Data"} for record in records_of(run.network.sent[0])]
    assert [fields & {"ShardId"} for fields in sent] == [{"ShardId"}, set(), {"ShardId"}]
    assert results.shard_id[[0, 2]].tolist() == [2, 1]

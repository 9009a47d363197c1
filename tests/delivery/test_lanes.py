"""Whatever comes, in whatever order batches settle: each destination keeps its order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.examples import make_entries
from tests.internals import Lanes, build_body
from v3io_frames_put.config import Limits

LIMITS = Limits(max_records=3, max_body_bytes=1_000)


def rows_of(gathered):
    entries, _ = gathered
    return entries.rows.tolist()


ANY_WINDOW = st.lists(st.integers(0, 9), max_size=12)
ANY_STEP = st.one_of(
    st.tuples(st.just("add"), ANY_WINDOW),
    st.tuples(st.just("gather"), st.booleans()),
    st.tuples(st.just("settle"), st.integers(0, 7)),
)


class Model:
    """Lanes, and batches under way, moved by steps; the laws are asserted on the way."""

    def __init__(self, count, limits, row_count):
        self.lanes = Lanes(count)
        self.limits, self.row_count = limits, row_count
        self.added, self.sent, self.under_way = [], [], []

    def step(self, what, value):
        getattr(self, what)(value)

    def add(self, destinations):
        first = len(self.added)
        self.added += destinations
        first_row = first * self.row_count
        self.lanes.add(make_entries(destinations, first_row=first_row, row_count=self.row_count))

    def gather(self, partial):
        gathered = self.lanes.gather(self.limits, partial=partial)
        if gathered is None:
            return False
        entries, lanes = gathered
        assert 1 <= len(entries) <= self.limits.max_records
        assert len(build_body(entries)) <= self.limits.max_body_bytes or len(entries) == 1
        here = set(entries.destination.tolist()) - {0}
        for others, _ in self.under_way:
            assert not here & others
        self.under_way.append((here, lanes))
        self.sent += (entries.rows[:: self.row_count] // self.row_count).tolist()
        return True

    def settle(self, which):
        if self.under_way:
            _, lanes = self.under_way.pop(which % len(self.under_way))
            self.lanes.release(lanes)

    def drain(self):
        while self.gather(True) or self.under_way:
            self.settle(0)


@given(
    steps=st.lists(ANY_STEP, max_size=30),
    count=st.sampled_from([1, 2, 4, 32]),
    max_records=st.sampled_from([1, 2, 5, 1_000]),
    max_body_bytes=st.sampled_from([1, 33, 80, 10_000]),
    row_count=st.sampled_from([1, 3]),
)
def test_every_record_comes_out_once_and_each_destination_in_order(
    steps, count, max_records, max_body_bytes, row_count
):
    limits = Limits(max_records=max_records, max_body_bytes=max_body_bytes)
    model = Model(count, limits, row_count)
    for step in steps:
        model.step(*step)
    model.drain()
    assert sorted(model.sent) == list(range(len(model.added)))
    for destination in set(model.added) - {0}:
        theirs = [row for row in model.sent if model.added[row] == destination]
        assert theirs == sorted(theirs)
    assert (model.lanes.records, model.lanes.nbytes) == (0, 0)


def test_nothing_comes_from_empty_lanes():
    assert Lanes(4).gather(LIMITS, partial=True) is None


def test_a_batch_waits_until_it_is_full_unless_nothing_more_comes():
    lanes = Lanes(4)
    lanes.add(make_entries([0, 0]))
    assert lanes.gather(LIMITS, partial=False) is None
    lanes.add(make_entries([0], first_row=2))
    assert rows_of(lanes.gather(LIMITS, partial=False)) == [0, 1, 2]
    lanes.add(make_entries([0], first_row=3))
    assert rows_of(lanes.gather(LIMITS, partial=True)) == [3]


def test_a_batch_is_full_by_bytes_as_well():
    lanes = Lanes(4)
    lanes.add(make_entries([0, 0], size=500))
    assert rows_of(lanes.gather(LIMITS, partial=False)) == [0]


def test_a_destination_under_way_holds_its_later_records_back():
    lanes = Lanes(1)
    lanes.add(make_entries([7, 7, 7, 7, 7]))
    _, held = lanes.gather(LIMITS, partial=True)
    assert lanes.gather(LIMITS, partial=True) is None
    assert lanes.idle_records == 0
    assert lanes.records == 2
    lanes.release(held)
    assert rows_of(lanes.gather(LIMITS, partial=True)) == [3, 4]


def test_a_batch_leaves_lanes_to_others_unless_nothing_more_comes():
    lanes = Lanes(16)
    lanes.add(make_entries([1, 2, 3, 4, 5, 6, 7, 8]))
    limits = Limits(max_records=8)
    assert lanes.gather(limits, partial=False) is None
    lanes.add(make_entries([1, 2, 3, 4], first_row=8))
    assert rows_of(lanes.gather(limits, partial=False)) == [0, 8, 1, 9, 2, 10, 3, 11]
    assert rows_of(lanes.gather(limits, partial=True)) == [4, 5, 6, 7]


def test_records_without_a_destination_never_wait_for_one_another():
    lanes = Lanes(1)
    lanes.add(make_entries([0] * 7))
    batches = [rows_of(lanes.gather(LIMITS, partial=True)) for _ in range(3)]
    assert batches == [[0, 1, 2], [3, 4, 5], [6]]


def test_different_destinations_go_side_by_side():
    lanes = Lanes(8)
    lanes.add(make_entries([1, 1, 1, 2, 2, 2, 3, 3, 3]))
    batches = [rows_of(lanes.gather(LIMITS, partial=True)) for _ in range(3)]
    assert sorted(batches) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_the_longest_lane_goes_first_so_that_a_hot_key_does_not_come_last():
    lanes = Lanes(8)
    lanes.add(make_entries([1, 2, 2, 2, 2, 3]))
    assert rows_of(lanes.gather(LIMITS, partial=True)) == [1, 2, 3]


def test_what_too_many_have_passed_goes_first_however_short_its_lane():
    lanes = Lanes(4)
    lanes.add(make_entries([7, 0, 8, 8, 8]))
    assert rows_of(lanes.gather(LIMITS, partial=True)) == [2, 3, 4]
    lanes.add(make_entries([9, 9, 9], first_row=100_000))
    assert rows_of(lanes.gather(LIMITS, partial=True)) == [0, 1, 100_000]


def test_free_records_fill_a_batch_up():
    lanes = Lanes(8)
    lanes.add(make_entries([0, 5, 0, 5]))
    assert rows_of(lanes.gather(LIMITS, partial=True)) == [1, 3, 0]


def test_a_single_record_over_a_learned_limit_goes_alone():
    lanes = Lanes(4)
    lanes.add(make_entries([0, 0], size=2_000))
    assert rows_of(lanes.gather(LIMITS, partial=True)) == [0]
    assert rows_of(lanes.gather(LIMITS, partial=True)) == [1]


@pytest.mark.parametrize(("max_body_bytes", "together"), [(52, 1), (53, 2), (54, 2)])
def test_a_batch_is_cut_at_the_byte(max_body_bytes, together):
    lanes = Lanes(4)
    lanes.add(make_entries([0, 0, 0], size=20))  # two entries make a body of 53 bytes
    limits = Limits(max_body_bytes=max_body_bytes)
    assert len(rows_of(lanes.gather(limits, partial=True))) == together


def test_drop_removes_some_destinations_and_leaves_the_others_in_order():
    lanes = Lanes(1)
    lanes.add(make_entries([1, 2, 1, 3, 2]))
    dropped = lanes.drop(np.array([2], np.uint64))
    assert [part.rows.tolist() for part in dropped] == [[1, 4]]
    assert (lanes.records, lanes.nbytes) == (3, 60)
    assert rows_of(lanes.gather(LIMITS, partial=True)) == [0, 2, 3]


def test_clear_returns_all_that_waits():
    lanes = Lanes(4)
    lanes.add(make_entries([0, 1, 2]))
    assert sorted(row for part in lanes.clear() for row in part.rows.tolist()) == [0, 1, 2]
    assert (lanes.records, lanes.nbytes) == (0, 0)


def test_few_destinations_share_no_lane():
    lanes = Lanes(32)
    lanes.add(make_entries([1 << 40 | n for n in range(32)] * 3))
    batches = [rows_of(lanes.gather(LIMITS, partial=True)) for _ in range(32)]
    assert sorted(batches) == [[n, n + 32, n + 64] for n in range(32)]

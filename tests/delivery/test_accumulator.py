"""Whatever comes, in whatever order batches end: each destination keeps its order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.examples import make_entries
from tests.internals import Accumulator, build_body
from v3io_frames_put.config import Limits

LIMITS = Limits(max_records=3, max_body_bytes=1_000)


def next_batch(accumulator, limits=LIMITS, *, partial=True):
    return accumulator.next_batch(0.0, limits, partial=partial)


def next_rows(accumulator, limits=LIMITS, *, partial=True):
    return next_batch(accumulator, limits, partial=partial).entries.rows.tolist()


ANY_WINDOW = st.lists(st.integers(0, 9), max_size=12)
ANY_STEP = st.one_of(
    st.tuples(st.just("add"), ANY_WINDOW),
    st.tuples(st.just("gather"), st.booleans()),
    st.tuples(st.just("settle"), st.integers(0, 7)),
)


class Model:
    """Lanes, and batches under way, moved by steps; the laws are asserted on the way."""

    def __init__(self, count, limits, row_count):
        self.lanes = Accumulator(count)
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
        batch = next_batch(self.lanes, self.limits, partial=partial)
        if batch is None:
            return False
        entries = batch.entries
        assert 1 <= len(entries) <= self.limits.max_records
        assert len(build_body(entries)) <= self.limits.max_body_bytes or len(entries) == 1
        here = set(entries.destination.tolist()) - {0}
        for others, _ in self.under_way:
            assert not here & others
        self.under_way.append((here, batch))
        self.sent += (entries.rows[:: self.row_count] // self.row_count).tolist()
        return True

    def settle(self, which):
        if self.under_way:
            _, batch = self.under_way.pop(which % len(self.under_way))
            self.lanes.advance(batch)

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
    assert next_batch(Accumulator(4)) is None


def test_a_batch_waits_until_it_is_full_unless_nothing_more_comes():
    lanes = Accumulator(4)
    lanes.add(make_entries([0, 0]))
    assert next_batch(lanes, partial=False) is None
    lanes.add(make_entries([0], first_row=2))
    assert next_rows(lanes, partial=False) == [0, 1, 2]
    lanes.add(make_entries([0], first_row=3))
    assert next_rows(lanes) == [3]


def test_a_batch_is_full_by_bytes_as_well():
    lanes = Accumulator(4)
    lanes.add(make_entries([0, 0], size=500))
    assert next_rows(lanes, partial=False) == [0]


def test_a_destination_under_way_holds_its_later_records_back():
    lanes = Accumulator(1)
    lanes.add(make_entries([7, 7, 7, 7, 7]))
    batch = next_batch(lanes)
    assert next_batch(lanes) is None
    assert lanes.idle_records == 0
    assert lanes.records == 2
    lanes.advance(batch)
    assert next_rows(lanes) == [3, 4]


def test_a_batch_leaves_lanes_to_others_unless_nothing_more_comes():
    lanes = Accumulator(16)
    lanes.add(make_entries([1, 2, 3, 4, 5, 6, 7, 8]))
    limits = Limits(max_records=8)
    assert next_batch(lanes, limits, partial=False) is None
    lanes.add(make_entries([1, 2, 3, 4], first_row=8))
    assert next_rows(lanes, limits, partial=False) == [0, 8, 1, 9, 2, 10, 3, 11]
    assert next_rows(lanes, limits) == [4, 5, 6, 7]


def test_records_without_a_destination_never_wait_for_one_another():
    lanes = Accumulator(1)
    lanes.add(make_entries([0] * 7))
    batches = [next_rows(lanes) for _ in range(3)]
    assert batches == [[0, 1, 2], [3, 4, 5], [6]]


def test_different_destinations_go_side_by_side():
    lanes = Accumulator(8)
    lanes.add(make_entries([1, 1, 1, 2, 2, 2, 3, 3, 3]))
    batches = [next_rows(lanes) for _ in range(3)]
    assert sorted(batches) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_the_longest_lane_goes_first_so_that_a_hot_key_does_not_come_last():
    lanes = Accumulator(8)
    lanes.add(make_entries([1, 2, 2, 2, 2, 3]))
    assert next_rows(lanes) == [1, 2, 3]


def test_what_too_many_have_passed_goes_first_however_short_its_lane():
    lanes = Accumulator(4)
    lanes.add(make_entries([7, 0, 8, 8, 8]))
    assert next_rows(lanes) == [2, 3, 4]
    lanes.add(make_entries([9, 9, 9], first_row=100_000))
    assert next_rows(lanes) == [0, 1, 100_000]


def test_free_records_fill_a_batch_up():
    lanes = Accumulator(8)
    lanes.add(make_entries([0, 5, 0, 5]))
    assert next_rows(lanes) == [1, 3, 0]


def test_a_single_record_over_a_learned_limit_goes_alone():
    lanes = Accumulator(4)
    lanes.add(make_entries([0, 0], size=2_000))
    assert next_rows(lanes) == [0]
    assert next_rows(lanes) == [1]


@pytest.mark.parametrize(("max_body_bytes", "together"), [(52, 1), (53, 2), (54, 2)])
def test_a_batch_is_cut_at_the_byte(max_body_bytes, together):
    lanes = Accumulator(4)
    lanes.add(make_entries([0, 0, 0], size=20))  # two entries make a body of 53 bytes
    limits = Limits(max_body_bytes=max_body_bytes)
    assert len(next_rows(lanes, limits)) == together


def test_what_comes_after_a_destination_that_is_given_up_is_dropped_and_the_others_stay():
    lanes = Accumulator(1)
    lanes.add(make_entries([2, 1, 2, 1, 3, 2]))
    batch = next_batch(lanes, Limits(max_records=1))
    queued, split = lanes.give_up(batch)
    assert [part.rows.tolist() for part in queued] == [[2, 5]]
    assert split == []
    assert (lanes.records, lanes.nbytes, lanes.idle_records) == (3, 60, 0)
    lanes.advance(batch)
    assert lanes.idle_records == 3
    assert next_rows(lanes) == [1, 3, 4]


def test_later_records_of_a_destination_that_was_given_up_are_not_queued():
    lanes = Accumulator(4)
    lanes.add(make_entries([2]))
    batch = next_batch(lanes)
    lanes.give_up(batch)
    lanes.advance(batch)
    held = lanes.add(make_entries([2, 0, 5, 2], first_row=1))
    assert held.tolist() == [1, 4]
    assert next_rows(lanes) == [3, 2]


def test_clear_returns_all_that_waits():
    lanes = Accumulator(4)
    lanes.add(make_entries([0, 1, 2]))
    queued, paused = lanes.clear()
    assert sorted(row for part in queued for row in part.rows.tolist()) == [0, 1, 2]
    assert paused == []
    assert (lanes.records, lanes.nbytes, lanes.idle_records) == (0, 0, 0)


def test_counters_hold_for_any_lanes_under_way():
    lanes = Accumulator(2)
    lanes.add(make_entries([1, 1, 1, 1, 2, 0], size=10))
    assert (lanes.records, lanes.idle_records, lanes.nbytes) == (6, 6, 60)
    batch = next_batch(lanes)  # three of lane 1, which is busy then
    assert (lanes.records, lanes.idle_records, lanes.nbytes) == (3, 2, 30)
    lanes.add(make_entries([1, 2], size=10, first_row=6))
    assert (lanes.records, lanes.idle_records, lanes.nbytes) == (5, 3, 50)
    lanes.pause(batch, 5.0)
    assert (lanes.records, lanes.idle_records, lanes.nbytes) == (5, 3, 80)
    assert lanes.next_batch(5.0, LIMITS, partial=True) is batch
    lanes.advance(batch)
    assert (lanes.records, lanes.idle_records, lanes.nbytes) == (5, 5, 50)


def test_a_lane_that_waits_long_does_not_hold_whole_windows_in_memory():
    lanes = Accumulator(2)
    lanes.add(make_entries([1, 2]))
    paused = next_batch(lanes, Limits(max_records=1))  # lane 1 is busy from now on
    for number in range(20):
        lanes.add(make_entries([1] + [2] * 9, size=1_000, first_row=2 + 10 * number))
        lanes.advance(next_batch(lanes, Limits()))
    lanes.advance(paused)
    held = [part.entries.nbytes for part in lanes._lanes[1].ranges]
    assert held == [1_000] * 18 + [10_000] * 2
    rows = next_rows(lanes, Limits())
    assert rows == [2 + 10 * number for number in range(20)]


def test_few_destinations_share_no_lane():
    lanes = Accumulator(32)
    lanes.add(make_entries([1 << 40 | n for n in range(32)] * 3))
    batches = [next_rows(lanes) for _ in range(32)]
    assert sorted(batches) == [[n, n + 32, n + 64] for n in range(32)]

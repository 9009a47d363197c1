"""How many requests may be under way at once: what raises the number, and what lowers it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.internals import AdaptiveLimit, Answer, ConcurrencyLimit, Fault

STORED = Answer(200, {}, b"")
REFUSED = Answer(429, {}, b"")
UNAVAILABLE = Answer(503, {}, b"")
TIMEOUT = Fault("timeout", "waiting", "no answer")
RESET = Fault("reset", "sending", "broken")


class Driver:
    """Sends as many requests as may be, and ends them all; that is a generation."""

    def __init__(self):
        self.ceiling = AdaptiveLimit()
        self.now = 0.0
        self.tickets = itertools.count()

    @property
    def requests(self):
        return self.ceiling.requests

    def send(self, count=None, *, nbytes=1_000):
        count = self.requests if count is None else count
        sent = list(itertools.islice(self.tickets, count))
        for ticket in sent:
            self.ceiling.note_sent(ticket, now=self.now, nbytes=nbytes)
        return sent

    def end(self, tickets, attempt=STORED, *, seconds=0.1):
        self.now += seconds
        for ticket in tickets:
            self.ceiling.note_ended(ticket, attempt, now=self.now)

    def generation(self, attempt=STORED, *, seconds=0.1, **sent):
        self.end(self.send(**sent), attempt, seconds=seconds)

    def lower(self):
        """End the doubling."""
        self.generation(REFUSED)


@pytest.fixture
def driver():
    return Driver()


def test_it_begins_with_the_default_and_doubles_until_there_is_a_queue(driver):
    seen = [driver.requests]
    for seconds in (0.1, 0.1, 0.15):
        driver.generation(seconds=seconds)
        seen.append(driver.requests)
    assert seen == [8, 16, 32, 32]


def test_then_it_grows_by_about_one_for_each_generation(driver):
    driver.lower()
    under_way = driver.send()
    assert len(under_way) == 6
    for _ in range(sum(range(6, 20))):  # answers that 14 generations of 6, 7, ... 19 have
        driver.end([under_way.pop(0)], seconds=0.0)
        under_way += driver.send(driver.requests - len(under_way))
    assert 18 <= driver.requests <= 20


def test_it_ends_at_64(driver):
    for _ in range(10):
        driver.generation()
    assert driver.requests == 64


@pytest.mark.parametrize("doubles", [True, False])
def test_what_is_not_used_does_not_grow(driver, doubles):
    if not doubles:
        driver.lower()
    before = driver.requests
    for _ in range(20):
        driver.generation(count=before - 1)
    assert driver.requests == before


@pytest.mark.parametrize(
    ("attempt", "left"),
    [(REFUSED, 12), (UNAVAILABLE, 8), (Answer(504, {}, b""), 8), (Answer(408, {}, b""), 8),
     (TIMEOUT, 8), (RESET, 16), (Answer(500, {}, b""), 16), (Answer(413, {}, b""), 16)],
)  # fmt: skip
def test_a_refusal_takes_a_fifth_and_a_timeout_half(driver, attempt, left):
    driver.generation()
    driver.end(driver.send()[:1], attempt)
    assert driver.requests == left  # of 16


def test_a_burst_of_refusals_counts_once(driver):
    driver.generation()
    under_way = driver.send()
    driver.end(under_way[:1], REFUSED)
    assert driver.requests == 12
    driver.end(under_way[1:], REFUSED)
    assert driver.requests == 12
    driver.end(driver.send(), REFUSED)
    assert driver.requests == 10


def test_it_never_sinks_below_one(driver):
    for _ in range(20):
        driver.generation(TIMEOUT)
    assert driver.requests == 1


def test_two_slow_rounds_lower_it_to_less_than_what_goes_without_a_queue(driver):
    driver.generation()
    driver.generation(seconds=0.5)
    assert driver.requests == 16
    driver.generation(seconds=0.5)
    assert driver.requests == 2  # a fifth of 16 fills the link; nine tenths of that


def test_one_slow_round_is_no_queue(driver):
    driver.lower()
    for seconds in [0.1] * 10:
        driver.generation(seconds=seconds)
    before = driver.requests
    for seconds in (0.9, 0.1, 0.1):
        driver.generation(seconds=seconds)
    assert driver.requests >= before


def test_a_few_slow_answers_are_no_queue(driver):
    driver.generation()
    for _ in range(4):
        under_way = driver.send()
        most = driver.requests * 3 // 4
        driver.end(under_way[:most], seconds=0.1)
        driver.end(under_way[most:], seconds=5.0)
    assert driver.requests == 64


def test_larger_bodies_may_take_longer(driver):
    driver.generation(nbytes=1_000)
    for _ in range(4):
        driver.generation(seconds=1.0, nbytes=10_000)
    assert driver.requests == 64


def test_smaller_bodies_that_take_as_long_are_slow_only_if_small_ones_were_faster(driver):
    for _ in range(3):
        driver.generation(seconds=1.0, nbytes=10_000)
    assert driver.requests == 64
    for _ in range(3):
        driver.generation(seconds=1.0, nbytes=1_000)
    assert driver.requests == 64


def test_a_link_that_has_become_slower_is_believed_in_the_end(driver):
    for _ in range(60):
        driver.generation(seconds=0.1)
    seen = []
    for _ in range(300):
        driver.generation(seconds=0.5)
        seen.append(driver.requests)
    assert min(seen) < 16
    assert seen[-1] == 64


def test_what_only_reads_says_nothing_of_times(driver):
    for seconds in (0.001, 0.1, 0.1, 0.1):
        driver.generation(seconds=seconds, nbytes=0)
    assert driver.requests == 8
    driver.generation()
    assert driver.requests == 16


def test_what_only_reads_is_refused_like_the_others(driver):
    driver.generation(REFUSED, nbytes=0)
    assert driver.requests == 6


ANY_END = st.sampled_from([STORED, STORED, STORED, REFUSED, UNAVAILABLE, TIMEOUT, RESET])
ANY_STEP = st.tuples(st.integers(0, 80), ANY_END, st.floats(0, 100), st.integers(0, 10_000_000))


@given(st.lists(ANY_STEP, max_size=60), st.randoms(use_true_random=False))
def test_whatever_comes_it_stays_between_1_and_64(steps, chance):
    driver, under_way = Driver(), []
    for count, attempt, seconds, nbytes in steps:
        under_way += driver.send(min(count, driver.requests), nbytes=nbytes)
        chance.shuffle(under_way)
        ended, under_way = under_way[: count or 1], under_way[count or 1 :]
        driver.end(ended, attempt, seconds=seconds)
        assert 1 <= driver.requests <= 64


def test_a_number_that_was_chosen_stays():
    limit = ConcurrencyLimit(5)
    for ticket in range(20):
        limit.note_sent(ticket, now=0.0, nbytes=1_000)
        limit.note_ended(ticket, TIMEOUT if ticket % 2 else STORED, now=60.0)
    assert limit.requests == 5

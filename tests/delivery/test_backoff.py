"""Pauses: full jitter within bounds, and what Retry-After asks for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.internals import next_delay, parse_retry_after
from v3io_frames_put.config import Retry

RETRY = Retry(base_seconds=0.1, cap_seconds=10)
SENT = "Sun, 22 Nov 2026 20:00:00 GMT"


@pytest.mark.parametrize(
    ("failures", "bound"),
    [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.8), (7, 6.4), (8, 10), (9, 10), (1_000, 10)],
)
def test_the_bound_doubles_up_to_the_cap(failures, bound):
    assert next_delay(RETRY, failures=failures, draw=1.0) == pytest.approx(bound)


@pytest.mark.parametrize(("draw", "seconds"), [(0.0, 0.0), (0.25, 0.1), (0.5, 0.2)])
def test_the_pause_is_drawn_from_zero_to_the_bound(draw, seconds):
    assert next_delay(RETRY, failures=3, draw=draw) == pytest.approx(seconds)


@pytest.mark.parametrize("failures", [63, 64, 1_024, 1_025, 1_100, 10**9])
@pytest.mark.parametrize("cap", [10.0, 1e300])
def test_no_number_of_failures_overflows(failures, cap):
    retry = Retry(base_seconds=0.1, cap_seconds=cap)
    assert 0 < next_delay(retry, failures=failures, draw=0.999) <= cap


@given(st.integers(1, 5_000), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_never_negative_and_never_above_the_cap(failures, draw):
    assert 0 <= next_delay(RETRY, failures=failures, draw=draw) <= 10


def test_without_a_base_there_is_no_pause():
    assert next_delay(Retry(base_seconds=0), failures=50, draw=0.9) == 0


@pytest.mark.parametrize(
    ("asked", "seconds"), [("0", 0), ("1", 1), ("120", 120), (" 7 ", 7), ("007", 7)]
)
def test_retry_after_in_seconds(asked, seconds):
    assert parse_retry_after({"retry-after": asked}) == seconds


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("Sun, 22 Nov 2026 20:00:07 GMT", 7),
        ("Sun, 22 Nov 2026 20:00:00 GMT", 0),
        ("Sun, 22 Nov 2026 19:59:00 GMT", 0),
        ("Mon, 23 Nov 2026 20:00:00 GMT", 86_400),
        ("Sun, 22 Nov 2026 22:00:07 +0200", 7),
        ("Sun, 22 Nov 2026 20:00:07 -0000", 7),
        ("Sunday, 22-Nov-26 20:00:07 GMT", 7),
        ("Sun Nov 22 20:00:07 2026", 7),
    ],
)
def test_retry_after_as_a_date_counts_from_the_answers_own_date(asked, seconds):
    assert parse_retry_after({"retry-after": asked, "date": SENT}) == seconds


@pytest.mark.parametrize(
    "asked",
    ["", " ", "soon", "-1", "1.5", "1e3", "+5", "٣", "0x10", "inf", "nan", "5 s", "Sun, 99 Foo",
     "Sun, 22 Nov 2026 25:61:00 GMT", "Sun, 22 Nov 99999 20:00:00 GMT", "\x00",
     f"Sun, 22 Nov {10**12} 20:00:00 GMT", f"Sun, 22 Nov 2026 20:00:00 +{10**19}", "," * 1_000],
)  # fmt: skip
def test_what_cannot_be_read_asks_for_nothing(asked):
    assert parse_retry_after({"retry-after": asked, "date": SENT}) is None


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_a_date_without_the_answers_own_date_asks_for_nothing(date):
    headers = {"retry-after": "Sun, 22 Nov 2026 20:00:07 GMT"}
    if date is not None:
        headers["date"] = date
    assert parse_retry_after(headers) is None


def test_no_header_asks_for_nothing():
    assert parse_retry_after({"date": SENT}) is None


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_breaks_the_reading(asked, date):
    told = parse_retry_after({"retry-after": asked, "date": date})
    assert told is None or told >= 0


@pytest.mark.parametrize("digits", [30, 400, 5_000])
def test_an_absurd_number_of_seconds_is_a_pause_without_end(digits):
    told = parse_retry_after({"retry-after": "9" * digits})
    assert told > 1e29
    assert not math.isnan(told)

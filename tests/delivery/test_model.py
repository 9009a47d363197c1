"""For any data, delivery, fault script, other writers, stop and kill: results are true.

``cases.py`` generates, ``bench.py`` plays, ``laws.py`` judges. A failure is shrunk to a
case whose ``repr`` makes it again; those that were found are kept in ``found.py``.
"""

from __future__ import annotations

import logging

import pytest
from hypothesis import event, given, settings

from tests.delivery.bench import play
from tests.delivery.cases import Case, cases
from tests.delivery.found import CHOSEN, FOUND
from tests.delivery.laws import check

# Per delivery: 300 in all with `make test`, 30 with `make test-fast`, 10,200 with `make test-long`.
SCHEDULES = {10: 10, 1_000: 3_400}.get(settings().max_examples, 100)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep no log of thousands of runs."""
    caplog.set_level(logging.CRITICAL, "v3io_frames_put")


@pytest.mark.parametrize("delivery", ["at_least_once", "at_most_once", "exactly_once"])
def test_any_schedule(delivery: str) -> None:
    """The laws hold for any schedule."""

    @settings(max_examples=SCHEDULES)
    @given(cases(delivery))
    def law(case: Case) -> None:
        ran = play(case)
        check(case, ran)
        event(f"came to its end: {ran.is_whole}")
        event(f"ends: {[end.how for end in case.ends]}")
        for status in ran.results.status.unique():
            event(f"status: {status}")

    law()


@pytest.mark.parametrize("case", FOUND.values(), ids=FOUND)
def test_what_was_found_once(case: Case) -> None:
    """The laws hold for what broke them once."""
    check(case, play(case))


def test_a_request_that_was_answered_for_some_rows_counts_once_after_a_kill() -> None:
    """Its rows in doubt are on record as a request of their own; both would count."""
    results = play(FOUND["a request that was answered for some rows, and a kill"]).results
    assert results.attempts.max() == 1
    assert not results.maybe_duplicate.any()


@pytest.mark.parametrize("case", CHOSEN.values(), ids=CHOSEN)
def test_what_chance_would_seldom_draw(case: Case) -> None:
    """The laws hold where everything comes together."""
    check(case, play(case))

"""``max_in_flight="auto"``: fills any link, gives way at overload, shares with others.

Each law is for several links, and each link is given time for so many requests.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.delivery.link import LINKS, Link, Traffic

REQUESTS = 2_000
LATE = [pytest.param(0.0, id="together"), pytest.param(0.2, id="one after the other")]


@pytest.fixture(params=LINKS)
def link(request) -> Link:
    return LINKS[request.param]


def seconds_for(requests: int, link: Link) -> float:
    return requests / link.capacity


def test_one_uploader_fills_nine_tenths_of_the_link(link):
    end = seconds_for(REQUESTS, link)
    traffic = Traffic(link)
    uploader = traffic.add("auto")
    traffic.run(end)
    assert uploader.rate(end / 4, end) >= 0.9 * link.capacity
    assert uploader.delivery.requests <= 1.1 * len(uploader.stored)


@pytest.mark.parametrize("late", LATE)
@pytest.mark.parametrize("name", ["near", "far", "one", "strict"])
def test_two_uploaders_get_two_to_three_fifths_each(name, late):
    link = LINKS[name]
    end = seconds_for(2 * REQUESTS, link)
    traffic = Traffic(link)
    first, second = traffic.add("auto"), traffic.add("auto", after=late * end)
    traffic.run(end)
    rates = [each.rate(end / 2, end) for each in (first, second)]
    assert sum(rates) >= 0.9 * link.capacity
    assert min(rates) >= 0.4 * sum(rates)


def test_four_times_too_much_does_not_make_a_platform_collapse():
    link = LINKS["strict"]
    end = seconds_for(400, link)
    stored = {}
    for max_in_flight in ("auto", 32):
        traffic = Traffic(link)
        uploaders = [traffic.add(max_in_flight) for _ in range(4)]
        traffic.run(end)
        stored[max_in_flight] = sum(each.rate(end / 4, end) for each in uploaders)
    assert stored["auto"] >= 0.9 * link.capacity
    assert stored[32] < 0.5 * link.capacity  # the same link does collapse under a fixed number


@pytest.mark.parametrize("times", [4, 0.25])
def test_a_link_that_becomes_slower_or_faster_is_filled_again(times):
    before = LINKS["strict"]
    after = replace(before, seconds=before.seconds * times)
    change, end = seconds_for(1_000, before), seconds_for(1_000, before) + seconds_for(2_000, after)
    traffic = Traffic(before)
    uploader = traffic.add("auto")
    traffic.change(after, after=change)
    traffic.run(end)
    assert uploader.rate((change + end) / 2, end) >= 0.9 * after.capacity

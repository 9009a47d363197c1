"""Queries wait, send one request at a time, and send it again after passing trouble."""

import pytest

from tests.delivery.examples import PLACE
from tests.delivery.talk import Talk
from tests.internals import (
    Answer,
    Fault,
    QueryScheduler,
    QueryStep,
    Request,
    RetryContext,
    ShardPosition,
    find_shard_position,
)
from v3io_frames_put.config import Retry

OK = Answer(200, {}, b"{}")


@pytest.fixture
def talk():
    talk = Talk()
    yield talk
    talk.platform.close()


class Queued:
    """One query in a scheduler, sent and answered by hand."""

    def __init__(self, talk, **retry):
        self.queue = QueryScheduler(Retry(**retry))
        self.talk, self.found = talk, []
        self.queue.add(find_shard_position(PLACE, 0), self.found.append)

    def ask(self, now):
        asked = self.queue.next_query(now)
        self.query, self.request = asked or (None, None)
        return asked is not None

    def end(self, attempt=None, *, now=0.0, retry_after=0.0):
        attempt = attempt or self.talk.answer(self.request)
        return self.queue.complete(self.query, attempt, RetryContext(now, 0.5, retry_after))


def test_a_query_that_is_over_hands_its_result_on(talk):
    talk.write(4)
    queued = Queued(talk)
    assert queued.ask(0.0)
    assert not queued.ask(0.0)  # one request at a time
    queued = Queued(talk)
    queued.ask(0.0)
    assert queued.end() is None
    assert queued.found == [ShardPosition(4)]
    assert not queued.queue


@pytest.mark.parametrize(
    "trouble",
    [
        Answer(503, {}, b""),
        Answer(429, {}, b""),
        Answer(200, {}, b"<html>"),
        Fault("reset", "waiting", ""),
        Fault("connect", "connecting", ""),
    ],
    ids=lambda trouble: getattr(trouble, "kind", None) or str(trouble.status),
)
def test_passing_trouble_sends_the_same_again_after_a_pause(talk, trouble):
    talk.write(4)
    queued = Queued(talk, base_seconds=2)
    queued.ask(10.0)
    first = queued.request
    assert queued.end(trouble, now=10.0) is None
    assert not queued.ask(10.9)
    assert queued.queue.wake_at() == 11.0
    assert queued.ask(11.0)
    assert queued.request == first
    queued.end(now=11.0)
    assert queued.found == [ShardPosition(4)]


def test_a_retry_after_is_the_floor_of_the_pause(talk):
    queued = Queued(talk)
    queued.ask(0.0)
    queued.end(Answer(429, {}, b""), now=0.0, retry_after=7.0)
    assert queued.queue.wake_at() == 7.0


def test_retries_end_with_the_deadline(talk):
    queued = Queued(talk, deadline_seconds=30)
    now, ended = 0.0, None
    while ended is None:
        assert queued.ask(now)
        ended = queued.end(Answer(503, {}, b""), now=now)
        now = queued.queue.wake_at() or now
        assert now <= 30
    assert ended == "unavailable"


def test_a_refusal_for_good_stops(talk):
    queued = Queued(talk)
    queued.ask(0.0)
    assert queued.end(Answer(403, {}, b"")) == "permission"


def test_what_comes_for_a_cleared_query_is_ignored(talk):
    queued = Queued(talk)
    queued.ask(0.0)
    queued.queue.clear()
    assert queued.end(OK) is None
    assert queued.found == []


class Endless:
    """A query that goes on for ever, a page with next to nothing each time."""

    def __init__(self):
        self.pages = 0

    def steps(self):
        while True:
            yield QueryStep(Request("GET", "/"), lambda answer: answer, follows_little=True)
            self.pages += 1


def test_a_query_without_progress_ends_with_the_deadline():
    endless, queue = Endless(), QueryScheduler(Retry(deadline_seconds=30))
    queue.add(endless.steps(), lambda _: None)
    now, cause = 0.0, None
    while cause is None:
        query, _ = queue.next_query(now)
        cause = queue.complete(query, OK, RetryContext(now, 0.5))
        now += 1.0
    assert cause == "unavailable"
    assert endless.pages == 31

"""The producer by hand: when it wants records and wakes, what it says and counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.delivery.examples import PLACE, make_entries
from tests.internals import (
    ENVELOPE_BYTES,
    Answer,
    Copy,
    DeliveryOptions,
    EncodedRecords,
    Fault,
    Outcomes,
    Producer,
    Reconciler,
    Rejections,
)
from v3io_frames_put.config import Limits, Retry

BUSY = Answer(503, {}, b"")
REFUSED = Fault("connect", "connecting", "refused")
CUT_OFF = Fault("reset", "waiting", "cut off")
SIZE = 20  # of an entry
SHORT_PAUSES = Retry(base_seconds=2)  # the first one is a second long, for it draws a half


def make_producer(*, reconciler=None, **options):
    return Producer(
        DeliveryOptions(**options), stream=PLACE, outcomes=Outcomes(), reconciler=reconciler
    )


def one_record(**options):
    """Make a producer that sends one record a request, two requests at once."""
    return make_producer(max_in_flight=2, limits=Limits(max_records=1), **options)


def offer(producer, destinations, **columns):
    entries = make_entries(destinations, first_row=producer.outcomes.num_rows, size=SIZE)
    entries = replace(entries, **columns)
    nothing = Rejections(np.zeros(0, np.int64), [], [])
    producer.offer(EncodedRecords(len(destinations), entries, nothing))


def send(producer, now=0.0):
    ticket, _ = producer.next_request(now)
    return ticket


def fail(producer, attempt, *, now=0.0):
    """Send a request, and let it end so."""
    producer.complete(send(producer, now), attempt, now=now, draw=0.5)


# -- records in ------------------------------------------------------------------------------


@pytest.mark.parametrize(("short", "wants"), [(0, True), (1, False)])
def test_a_window_is_taken_as_soon_as_it_fits(short, wants):
    window = 4 * SIZE
    # One that waits, what is kept of it when it is sent, and the next one twice.
    producer = make_producer(max_in_flight_bytes=4 * window - short)
    offer(producer, [0] * 4)
    assert producer.wants_records is wants


@pytest.mark.parametrize(("short", "counts"), [(0, "unsent"), (1, "rejected")])
def test_a_record_that_fits_to_the_byte_is_not_too_large(short, counts):
    producer = make_producer(limits=Limits(max_body_bytes=ENVELOPE_BYTES + SIZE - short))
    offer(producer, [0])
    producer.stop()
    assert producer.outcomes.counts[counts] == 1


def test_records_with_a_shard_and_those_without_a_destination_are_counted():
    producer = make_producer()
    offer(producer, [5, 5, 7, 0], shard=np.array([1, 1, -1, -1], np.int32))
    assert (producer.sharded_records, producer.free_records) == (2, 1)


# -- when it wakes, and what it waits for ----------------------------------------------------


def test_it_wakes_when_a_pause_is_over_and_says_so():
    producer = one_record(retry=SHORT_PAUSES)
    offer(producer, [0])
    assert (producer.wake_at(0.0), producer.waiting(0.0)) == (None, None)
    fail(producer, BUSY)
    assert producer.wake_at(0.0) == 1.0
    assert producer.waiting(0.5) == "the platform answered 503: HTTP 503; trying again in 0.5 s"
    assert producer.next_request(0.9) is None
    assert producer.next_request(1.0) is not None


def test_it_says_nothing_of_a_pause_while_others_are_under_way():
    producer = one_record()
    offer(producer, [0, 0])
    other = send(producer)
    fail(producer, BUSY)
    assert producer.waiting(0.0) is None
    producer.complete(other, BUSY, now=0.0, draw=0.5)
    assert producer.waiting(0.0) is not None


def test_it_says_that_the_platform_asked_for_a_pause_until_that_is_over():
    producer = one_record()
    offer(producer, [0])
    fail(producer, Answer(429, {"retry-after": "7"}, b""))
    assert producer.waiting(6.9) == "the platform asked for a pause of 0.1 s"
    assert producer.next_request(6.9) is None
    assert producer.waiting(7.0) == "the platform answered 429: HTTP 429; trying again in 0.0 s"
    assert producer.next_request(7.0) is not None


def test_it_does_not_wake_when_no_more_may_be_under_way_or_it_is_stopped():
    producer = one_record(retry=SHORT_PAUSES)
    offer(producer, [0, 0, 0])
    fail(producer, BUSY)
    send(producer)
    assert producer.wake_at(0.0) == 1.0
    send(producer)
    assert producer.wake_at(0.0) is None
    producer = one_record()
    offer(producer, [0])
    fail(producer, BUSY)
    producer.stop()
    assert producer.wake_at(0.0) is None


def test_it_wakes_for_a_look_up_as_for_a_pause():
    retry = replace(SHORT_PAUSES, settle_seconds=9.0)
    reconciler = Reconciler(PLACE, b"8 bytes.", retry)
    producer = one_record(reconciler=reconciler, delivery="exactly_once", retry=retry)
    assert producer.wake_at(0.0) == 0.0  # the stream is looked at before anything is sent
    reconciler.clear()
    offer(producer, [0, 0])
    fail(producer, CUT_OFF)
    assert producer.wake_at(0.0) == 9.0
    fail(producer, Answer(429, {}, b""))
    assert producer.wake_at(0.0) == 1.0


# -- what it counts --------------------------------------------------------------------------


def test_what_a_refused_connection_carried_is_not_counted_as_sent():
    producer = one_record(retry=SHORT_PAUSES)
    offer(producer, [0])
    fail(producer, REFUSED)
    assert (producer.bytes_sent, producer.retried_rows) == (0, 0)
    fail(producer, BUSY, now=1.0)
    assert (producer.bytes_sent, producer.retried_rows) == (SIZE + ENVELOPE_BYTES, 0)
    fail(producer, BUSY, now=9.0)
    assert (producer.bytes_sent, producer.retried_rows) == (2 * (SIZE + ENVELOPE_BYTES), 1)


@pytest.mark.parametrize(("delivery", "left"), [("at_least_once", 3), ("at_most_once", 1)])
def test_what_is_left_is_what_the_same_call_would_send(delivery, left):
    producer = one_record(delivery=delivery)
    offer(producer, [0, 0, 0])
    send(producer)
    send(producer)
    producer.abandon()
    producer.stop()
    counts = producer.outcomes.counts
    assert (counts["unknown"], counts["unsent"]) == (2, 1)
    assert producer.count_left([]) == left


def test_what_was_found_late_is_not_left():
    reconciler = Reconciler(PLACE, b"8 bytes.", Retry())
    reconciler.clear()
    producer = one_record(reconciler=reconciler, delivery="exactly_once")
    offer(producer, [0, 0])
    send(producer)
    send(producer)
    producer.abandon()
    late = [Copy(0, shard_id=0, sequence_number=9)]
    assert producer.count_left(late) == 1
    assert producer.count_left([]) == 2

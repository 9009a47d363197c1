"""The producer by hand: when it wants records and wakes, what it says and counts."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from tests.delivery.examples import PLACE, STREAM, make_entries
from tests.delivery.talk import Talk
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
    RunLog,
)
from v3io_frames_put.config import Limits, Retry

BUSY = Answer(503, {}, b"")
THROTTLED = Answer(429, {}, b"")
INVALID = Answer(400, {}, b'{"ErrorCode": -201326592, "ErrorMessage": "InvalidArgumentException"}')
REFUSED = Fault("connect", "connecting", "refused")
CUT_OFF = Fault("reset", "waiting", "cut off")
RUN_ID = b"8 bytes."
SIZE = 20  # of an entry
NOTHING = Rejections(np.zeros(0, np.int64), [], [])
SHORT_PAUSES = Retry(base_seconds=2)  # the first one is a second long, for it draws a half


def make_producer(*, reconciler=None, run_log=None, **options):
    return Producer(
        DeliveryOptions(**options),
        stream=PLACE,
        outcomes=Outcomes(),
        reconciler=reconciler,
        run_log=run_log,
    )


def one_record(**options):
    """Make a producer that sends one record a request, two requests at once."""
    return make_producer(max_in_flight=2, limits=Limits(max_records=1), **options)


def offer(producer, destinations, **columns):
    entries = make_entries(destinations, first_row=producer.outcomes.num_rows, size=SIZE)
    entries = replace(entries, **columns)
    producer.offer(EncodedRecords(len(destinations), entries, NOTHING))


def send(producer, now=0.0):
    ticket, _ = producer.next_request(now)
    return ticket


def exchange(producer, attempt, *, now=0.0):
    """Send a request, and let it end so."""
    producer.complete(send(producer, now), attempt, now=now, draw=0.5)


# -- records in ------------------------------------------------------------------------------


@pytest.mark.parametrize(("short", "wants"), [(0, True), (1, False)])
def test_a_window_is_taken_as_soon_as_it_fits(short, wants):
    window = 4 * SIZE
    # One that waits, as much that stays when it is sent, and what the next one takes: three.
    producer = make_producer(max_in_flight_bytes=5 * window - short)
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
    offer(producer, [5, 5, 5, 0], shard=np.array([1, 1, 1, -1], np.int32))
    assert (producer.sharded_records, producer.free_records) == (3, 1)


def test_no_records_are_wanted_before_the_stream_was_looked_at():
    reconciler = Reconciler(PLACE, RUN_ID, Retry())
    producer = make_producer(reconciler=reconciler, delivery="exactly_once")
    assert not producer.wants_records
    reconciler.clear()
    assert producer.wants_records


# -- when it wakes, and what it waits for ----------------------------------------------------


def test_it_wakes_when_a_pause_is_over_and_says_so():
    producer = one_record(retry=SHORT_PAUSES)
    offer(producer, [0])
    assert (producer.wake_at(0.0), producer.waiting(0.0)) == (None, None)
    exchange(producer, BUSY)
    assert producer.wake_at(0.0) == 1.0
    assert producer.waiting(0.5) == "the platform answered 503: HTTP 503; trying again in 0.5 s"
    assert producer.next_request(0.9) is None
    assert producer.next_request(1.0) is not None


def test_it_says_nothing_of_a_pause_while_others_are_under_way():
    producer = one_record()
    offer(producer, [0, 0])
    other = send(producer)
    exchange(producer, BUSY)
    assert producer.waiting(0.0) is None
    producer.complete(other, BUSY, now=0.0, draw=0.5)
    assert producer.waiting(0.0) is not None


def test_it_says_that_the_platform_asked_for_a_pause_until_that_is_over():
    producer = one_record()
    offer(producer, [0, 0])
    exchange(producer, Answer(429, {"retry-after": "7"}, b""))
    assert producer.waiting(6.9) == "the platform asked for a pause of 0.1 s"
    assert producer.next_request(6.9) is None
    assert producer.waiting(7.0) == "the platform answered 429: HTTP 429; trying again in 0.0 s"
    assert producer.next_request(7.0) is not None


def test_it_does_not_wake_when_no_more_may_be_under_way_or_it_is_stopped():
    producer = one_record(retry=SHORT_PAUSES)
    offer(producer, [0, 0, 0])
    exchange(producer, BUSY)
    send(producer)
    assert producer.wake_at(0.0) == 1.0
    send(producer)
    assert producer.wake_at(0.0) is None
    producer = one_record()
    offer(producer, [0])
    exchange(producer, BUSY)
    producer.stop()
    assert producer.wake_at(0.0) is None


def test_it_wakes_for_a_look_up_as_for_a_pause():
    retry = replace(SHORT_PAUSES, settle_seconds=9.0)
    reconciler = Reconciler(PLACE, RUN_ID, retry)
    producer = one_record(reconciler=reconciler, delivery="exactly_once", retry=retry)
    assert producer.wake_at(0.0) == 0.0  # the stream is looked at before anything is sent
    reconciler.clear()
    offer(producer, [0, 0])
    exchange(producer, CUT_OFF)
    assert producer.wake_at(0.0) == 9.0
    exchange(producer, THROTTLED)
    assert producer.wake_at(0.0) == 1.0


# -- look-ups --------------------------------------------------------------------------------


def look_at_the_stream(producer, talk):
    """Answer what is asked before any records are wanted."""
    while not producer.wants_records:
        ticket, request = producer.next_request(0.0)
        producer.complete(ticket, talk.answer(request), now=0.0, draw=0.5)


def answer_queries(producer, talk):
    """Answer what is asked until a PutRecords request leaves; return its ticket."""
    while True:
        ticket, request = producer.next_request(0.0)
        if request.headers.get("X-v3io-function") == "PutRecords":
            return ticket
        producer.complete(ticket, talk.answer(request), now=0.0, draw=0.5)


def with_look_ups(**options):
    retry = Retry(settle_seconds=0, base_seconds=0, **options)
    reconciler = Reconciler(PLACE, RUN_ID, retry)
    return one_record(reconciler=reconciler, delivery="exactly_once", retry=retry)


def test_the_last_scan_waits_until_all_is_sent():
    producer, talk = with_look_ups(), Talk()
    look_at_the_stream(producer, talk)
    offer(producer, [0, 0])
    producer.close()
    producer.complete(answer_queries(producer, talk), CUT_OFF, now=0.0, draw=0.5)
    for _ in range(2):  # the one that is looked up and not found, and the other
        producer.complete(answer_queries(producer, talk), INVALID, now=0.0, draw=0.5)
    counts = producer.outcomes.counts
    assert (counts["rejected"], counts["unknown"]) == (2, 0)  # nothing is stored, it was proven
    assert not producer.is_done
    _, request = producer.next_request(0.0)
    assert request.headers["X-v3io-function"] == "DescribeStream"


def test_a_row_whose_look_up_is_given_up_is_unknown():
    producer, talk = with_look_ups(deadline_seconds=1), Talk()
    look_at_the_stream(producer, talk)
    offer(producer, [0])
    producer.close()
    producer.complete(answer_queries(producer, talk), CUT_OFF, now=0.0, draw=0.5)
    for now in (0.0, 1.0):
        exchange(producer, BUSY, now=now)
    assert producer.outcomes.counts["unknown"] == 1


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (Answer(403, {}, b""), "permission"),
        (Answer(401, {}, b""), "authentication"),
        (BUSY, "unavailable"),
    ],
)
def test_a_look_up_that_cannot_go_on_stops_the_run(answer, cause):
    producer = with_look_ups(deadline_seconds=1)
    now = 0.0
    while not producer.stopped:
        exchange(producer, answer, now=now)
        now += 0.5
    assert producer.stopped.cause == cause


def test_a_look_up_on_no_stream_stops_the_run():
    producer, talk = with_look_ups(), Talk()
    talk.platform.delete_stream(STREAM)
    while not producer.stopped:
        ticket, request = producer.next_request(0.0)
        producer.complete(ticket, talk.answer(request), now=0.0, draw=0.5)
    assert producer.stopped.cause == "missing"


# -- what it writes to the run log -----------------------------------------------------------


class NotedRunLog(RunLog):
    """Keeps the order of its calls."""

    def __init__(self):
        self.noted = []

    def begin(self, low_watermark):
        self.noted.append("begin")

    def note_request(self, batch):
        self.noted.append("request")

    def note_answered(self, ticket):
        self.noted.append("answered")

    def note_refused(self, ticket):
        self.noted.append("refused")

    def note_in_doubt(self, batch):
        self.noted.append("in doubt")


def test_the_run_log_begins_with_the_first_request_of_exactly_once():
    log, reconciler = NotedRunLog(), Reconciler(PLACE, RUN_ID, Retry())
    reconciler.clear()
    producer = one_record(run_log=log, reconciler=reconciler, delivery="exactly_once")
    offer(producer, [0, 0])
    send(producer)
    send(producer)
    assert log.noted == ["begin", "request", "request"]
    log.noted.clear()
    producer = one_record(run_log=log)
    offer(producer, [0])
    send(producer)
    assert log.noted == ["request"]


@pytest.mark.parametrize(
    ("attempt", "noted"), [(THROTTLED, "refused"), (BUSY, "in doubt"), (CUT_OFF, "in doubt")]
)
def test_the_run_log_notes_whether_a_request_may_be_stored(attempt, noted):
    log = NotedRunLog()
    producer = one_record(run_log=log)
    offer(producer, [0])
    exchange(producer, attempt)
    assert log.noted == ["request", noted]


# -- answers ---------------------------------------------------------------------------------


def answer(*records):
    failed = sum("ErrorCode" in record for record in records)
    body = {"FailedRecordCount": failed, "Records": records}
    return Answer(200, {}, msgspec.json.encode(body))


def test_rows_of_a_pack_are_all_stored_where_their_record_is():
    producer = make_producer()
    entries = make_entries([0, 0], row_count=2)
    producer.offer(EncodedRecords(4, entries, NOTHING))
    producer.close()
    stored = answer({"ShardId": 1, "SequenceNumber": 7}, {"ShardId": 2, "SequenceNumber": 9})
    exchange(producer, stored)
    [page] = producer.outcomes.finish()
    assert page["sequence_number"].to_pylist() == [7, 7, 9, 9]
    assert page["shard_id"].to_pylist() == [1, 1, 2, 2]


def test_records_that_are_stored_or_refused_for_different_reasons_are_counted_once():
    producer = make_producer()
    offer(producer, [0, 0, 0])
    producer.close()
    names = ("InvalidArgumentException", "ShardIDOutOfRangeException")
    refused = [{"ErrorCode": -1, "ErrorMessage": name} for name in names]
    exchange(producer, answer({"ShardId": 1, "SequenceNumber": 7}, *refused))
    counts = producer.outcomes.counts
    assert (counts["stored"], counts["rejected"]) == (1, 2)


# -- what it counts --------------------------------------------------------------------------


def test_what_a_refused_connection_carried_is_not_counted_as_sent():
    producer = one_record(retry=SHORT_PAUSES)
    offer(producer, [0])
    exchange(producer, REFUSED)
    assert (producer.bytes_sent, producer.retried_rows) == (0, 0)
    exchange(producer, BUSY, now=1.0)
    assert (producer.bytes_sent, producer.retried_rows) == (SIZE + ENVELOPE_BYTES, 0)
    exchange(producer, BUSY, now=9.0)
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
    reconciler = Reconciler(PLACE, RUN_ID, Retry())
    reconciler.clear()
    producer = one_record(reconciler=reconciler, delivery="exactly_once")
    offer(producer, [0, 0])
    send(producer)
    send(producer)
    producer.abandon()
    late = [Copy(0, shard_id=0, sequence_number=9)]
    assert producer.count_left(late) == 1
    assert producer.count_left([]) == 2

"""How far encoding runs ahead of the requests."""

from __future__ import annotations

import numpy as np
import pytest

from tests.delivery.examples import PLACE, make_entries
from tests.internals import DeliveryOptions, EncodedRecords, Outcomes, Producer, Rejections
from v3io_frames_put.config import Limits

NOTHING = Rejections(np.zeros(0, np.int64), [], [])


def offer(delivery, count):
    delivery.offer(EncodedRecords(count, make_entries([0] * count), NOTHING))


@pytest.mark.parametrize(("waiting", "wants"), [(9, True), (10, False), (11, False)])
def test_no_more_is_encoded_than_a_batch_and_one_for_every_two_requests(waiting, wants):
    policy = DeliveryOptions(max_in_flight=3, limits=Limits(max_records=4))
    delivery = Producer(policy, stream=PLACE, outcomes=Outcomes())
    offer(delivery, waiting)
    assert delivery.wants_records is wants


def test_what_is_sent_makes_room_for_more():
    policy = DeliveryOptions(max_in_flight=3, limits=Limits(max_records=4))
    delivery = Producer(policy, stream=PLACE, outcomes=Outcomes())
    offer(delivery, 10)
    assert delivery.next_request(0.0) is not None
    assert delivery.wants_records


def test_a_full_batch_waits_before_reading_stops():
    policy = DeliveryOptions(max_in_flight=1, limits=Limits(max_records=4))
    delivery = Producer(policy, stream=PLACE, outcomes=Outcomes())
    offer(delivery, 3)
    assert delivery.next_request(0.0) is None
    offer(delivery, 3)
    assert delivery.next_request(0.0) is not None
    assert delivery.rows_in_flight == 4

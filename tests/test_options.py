"""Options as values: what they refuse when they are made, and what follows from them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.internals import DeliveryOptions, RowOptions
from v3io_frames_put import ConfigError, Limits, Retry, plan_records

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": "yes"}, "index='yes': expected True or False"),
        ({"columns": "a"}, r"columns='a': expected a list of names. Type columns=\['a'\]"),
        ({"columns": 5}, "columns=5: expected a list of names. Correct it"),
        ({"format": "xml"}, "format='xml': expected one of 'json', 'arrow', 'raw'"),
        ({"format": np.array(["json", "raw"])}, "expected one of 'json', 'arrow', 'raw'"),
        ({"rows_per_record": 0}, "rows_per_record=0: expected a whole number from 1"),
        ({"rows_per_record": True}, "rows_per_record=True: expected a whole number"),
        ({"rows_per_record": "auto"}, "'auto' is for format='arrow'"),
        ({"rows_per_record": 2, "format": "raw"}, "format='raw' sends one row in a record"),
        ({"encoding": "null"}, "encoding: expected Encoding"),
    ],
)
def test_row_options_are_checked_when_they_are_made(options, message):
    with pytest.raises(ConfigError, match=message):
        RowOptions(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delivery": "twice"}, "delivery='twice': expected one of 'at_least_once'"),
        ({"order": "time"}, "order='time': expected one of 'key', 'none'"),
        ({"max_in_flight": 0}, 'max_in_flight=0: expected a whole number from 1, or "auto"'),
        ({"max_in_flight_bytes": 1.5}, "max_in_flight_bytes=1.5: expected a whole number"),
        (
            {"delivery": "exactly_once", "limits": Limits(max_client_info_bytes=15)},
            "writes tags of 16 bytes",
        ),
    ],
)
def test_delivery_options_are_checked_when_they_are_made(options, message):
    with pytest.raises(ConfigError, match=message):
        DeliveryOptions(**options)


def test_client_info_leaves_no_room_for_tags():
    frame = pd.DataFrame({"a": [1]})
    with pytest.raises(ConfigError, match="writes its tags there"):
        plan_records(frame, "users/s", delivery="exactly_once", client_info=b"x")


def test_options_do_not_change():
    with pytest.raises(AttributeError):
        RowOptions().index = True
    with pytest.raises(AttributeError):
        DeliveryOptions().order = "none"


@pytest.mark.parametrize(
    ("retry", "seconds"),
    [
        (Retry(), 10),
        (Retry(deadline_seconds=3), 3),
        (Retry(first_contact_seconds=60), 60),
        (Retry(first_contact_seconds=0.5), 0.5),
    ],
)
def test_where_a_person_waits_the_first_contact_is_awaited_ten_seconds(retry, seconds):
    assert retry.where_a_person_waits().first_contact_seconds == seconds
    assert retry.where_a_person_waits().deadline_seconds == retry.deadline_seconds


@pytest.mark.parametrize("seconds", [0, -1, "10", float("inf"), True])
def test_the_time_for_the_first_contact_is_a_number_above_zero(seconds):
    with pytest.raises(ConfigError, match="first_contact_seconds="):
        Retry(first_contact_seconds=seconds)


def test_numbers_that_no_float_holds_are_refused():
    with pytest.raises(ConfigError, match="deadline_seconds="):
        Retry(deadline_seconds=10**400)


def test_whole_numbers_of_numpy_become_int():
    three = np.int64(3)
    rows = RowOptions(rows_per_record=three)
    delivery = DeliveryOptions(max_in_flight=three, max_in_flight_bytes=three)
    options = [
        rows.rows_per_record,
        delivery.max_in_flight,
        delivery.max_in_flight_bytes,
        Retry(attempts=three).attempts,
        Limits(max_records=three).max_records,
    ]
    assert options == [3] * 5
    assert {type(option) for option in options} == {int}


def test_lanes_are_no_more_than_destinations_can_be_told_apart():
    assert DeliveryOptions(max_in_flight=5).lanes == 20
    assert DeliveryOptions(max_in_flight=10**12).lanes == 65_536

"""Whatever bytes come as an answer, a parser returns a checked value or raises its one error."""

import json
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.delivery.examples import make_entries
from tests.internals import (
    Answer,
    UnbelievableAnswerError,
    parse_error,
    parse_put_answer,
    parse_record_page,
    parse_retry_after,
    responses,
)
from v3io_frames_put.errors import ProtocolError

PARSERS = {
    "DescribeStream": responses.parse_description,
    "Seek": responses.parse_location,
    "GetItem": responses.parse_last_sequence_number,
    "listing": responses.parse_listing,
    "GetRecords": parse_record_page,
}
NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from([0, -1, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 10**400, 1e300, float("nan")]),
    st.floats(),
    st.booleans(),
)
NAMES = st.sampled_from([
    "ShardCount", "RetentionPeriodHours", "Location", "Item", "__last_sequence_num", "N",
    "Records", "NextLocation", "RecordsBehindLatest", "ArrivalTimeSec", "ArrivalTimeNSec",
    "SequenceNumber", "Data", "PartitionKey", "ClientInfo", "FailedRecordCount", "ShardId",
    "ErrorCode", "ErrorMessage",
])  # fmt: skip
TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(["YQ==", "9" * 5_000, "-1", "\ud800", ""]))
ANY_JSON = st.recursive(
    st.one_of(st.none(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=6)),
    max_leaves=25,
)
RECORD = st.fixed_dictionaries(
    {
        "SequenceNumber": NUMBERS,
        "ArrivalTimeSec": NUMBERS,
        "ArrivalTimeNSec": NUMBERS,
        "Data": st.one_of(TEXTS, ANY_JSON),
    },
    optional={"PartitionKey": st.one_of(TEXTS, ANY_JSON), "ClientInfo": TEXTS},
)
PAGE = st.fixed_dictionaries(
    {
        "Records": st.lists(RECORD, max_size=4),
        "NextLocation": TEXTS,
        "RecordsBehindLatest": NUMBERS,
    }
)
PUT_ENTRY = st.one_of(
    st.fixed_dictionaries({"ShardId": NUMBERS, "SequenceNumber": NUMBERS}),
    st.fixed_dictionaries({"ErrorCode": NUMBERS, "ErrorMessage": ANY_JSON}),
)
PUT_ANSWER = st.fixed_dictionaries(
    {"FailedRecordCount": st.one_of(st.integers(0, 4), NUMBERS), "Records": st.lists(PUT_ENTRY)}
)


def as_json(value):
    return json.dumps(value).encode("utf-8", "surrogatepass")


GARBAGE = st.one_of(
    st.binary(max_size=200),
    ANY_JSON.map(as_json),
    PAGE.map(as_json),
    PUT_ANSWER.map(as_json),
    st.sampled_from([b"[" * 100_000, b'{"Item":' * 100_000, b"<a>" * 100_000, b"9" * 100_000]),
)


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@given(body=GARBAGE, cut=st.integers(0, 300))
@example(body=b"[" * 3_000 + b"]" * 3_000, cut=0)
@example(body=b'{"Records":' * 3_000 + b"1" + b"}" * 3_000, cut=0)
def test_a_reading_answer_is_parsed_or_a_protocol_error(parse, body, cut):
    with suppress(ProtocolError):
        parse(Answer(200, {}, body[: len(body) - cut] if cut < len(body) else body))


@given(body=GARBAGE, status=st.integers(0, 999))
def test_an_error_answer_always_has_a_name_and_a_short_text(body, status):
    error = parse_error(Answer(status, {}, body))
    assert 0 < len(error.name) <= 80
    assert 0 < len(error.text) <= 200
    assert error.code is None or type(error.code) is int


@given(body=st.one_of(GARBAGE, PUT_ANSWER.map(as_json)), count=st.integers(1, 4))
def test_a_put_answer_is_believed_whole_or_not_at_all(body, count):
    try:
        answer = parse_put_answer(body, make_entries([0] * count))
    except UnbelievableAnswerError:
        return
    assert len(answer.stored) == count
    assert answer.stored.sum() + len(answer.errors) == count
    assert (answer.shard_id[answer.stored] >= 0).all()
    assert (answer.sequence_number[answer.stored] >= 0).all()
    assert all(type(name) is str for _, _, name in answer.errors)


@given(page=PAGE)
def test_a_believed_page_has_ascending_numbers_and_whole_columns(page):
    try:
        parsed = parse_record_page(Answer(200, {}, as_json(page)))
    except ProtocolError:
        return
    parsed.records.validate(full=True)
    numbers = parsed.records.column("sequence_number").to_numpy()
    assert (np.diff(numbers) > 0).all()
    assert parsed.records.schema.field("data").type == pa.large_binary()


@given(headers=st.fixed_dictionaries({}, optional={"retry-after": TEXTS, "date": TEXTS}))
@example(headers={"retry-after": "9" * 5_000})
@example(headers={"retry-after": "Sun, 22 Nov 99999 10:00:00 GMT", "date": "now"})
def test_a_retry_after_is_a_number_of_seconds_or_nothing(headers):
    seconds = parse_retry_after(headers)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize("shards", [-1, 0, 65_537, 2_000_000_000, 10**30])
def test_an_absurd_number_of_shards_is_a_protocol_error(shards):
    body = as_json({"ShardCount": shards, "RetentionPeriodHours": 24})
    with pytest.raises(ProtocolError):
        responses.parse_description(Answer(200, {}, body))


def test_many_shards_are_believed():
    body = as_json({"ShardCount": 65_536, "RetentionPeriodHours": 24})
    assert responses.parse_description(Answer(200, {}, body)).shards == 65_536

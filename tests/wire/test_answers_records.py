"""GetRecords answers become columns."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.internals import Answer, parse_record_page
from v3io_frames_put.errors import ProtocolError

RECORD = {"ArrivalTimeSec": 1, "ArrivalTimeNSec": 2, "SequenceNumber": 3, "Data": "ZGF0YQ0K"}

DEEP = b"[" * 900 + b"]" * 900  # as deep as is still read


def page(*records, **fields):
    answer = {
        "NextLocation": "AQ==", "MSecBehindLatest": 0, "RecordsBehindLatest": 4,
        "Records": list(records),
    }  # fmt: skip
    return Answer(200, {}, json.dumps(answer | fields).encode())


def test_records_are_read_column_by_column():
    full = RECORD | {"SequenceNumber": 4, "ClientInfo": "MTIzNA0K", "PartitionKey": "k"}
    read = parse_record_page(page(RECORD, full))
    assert (read.next_location, read.records_behind) == ("AQ==", 4)
    assert read.records.drop_columns("arrival_time").to_pylist() == [
        {"sequence_number": 3, "partition_key": None, "client_info": None, "data": b"data\r\n"},
        {
            "sequence_number": 4,
            "partition_key": "k",
            "client_info": b"1234\r\n",
            "data": b"data\r\n",
        },
    ]
    assert read.records.column("arrival_time").cast("int64").to_pylist() == [1_000_000_002] * 2


def test_a_page_without_records_has_columns_all_the_same():
    assert parse_record_page(page()).records.num_rows == 0


@pytest.mark.parametrize(
    "answer",
    [
        page(RECORD | {"Data": "ZGF0YQ0"}),
        page(RECORD | {"Data": "Z=F0"}),
        page(RECORD | {"Data": "===="}),
        page(RECORD | {"Data": "ZGF0", "ClientInfo": "ä==="}),
        page(RECORD | {"Data": None}),
        page(RECORD | {"Data": 5}),
        page(RECORD | {"SequenceNumber": "3"}),
        page(RECORD | {"SequenceNumber": 2**70}),
        page({"Data": ""}),
        page({**RECORD, "PartitionKey": 5}),
        page(5),
        page(Records=None),
        page(NextLocation=""),
        page(RecordsBehindLatest=None),
        Answer(200, {}, b'{"Records": ['),
        Answer(200, {}, b'{"Records": ' + b"[" * 3_000 + b"]" * 3_000 + b"}"),
        Answer(200, {}, page(RECORD | {"PartitionKey": "~"}).body.replace(b'"~"', DEEP)),
    ],
)
def test_a_malformed_answer_is_an_error(answer):
    with pytest.raises(ProtocolError, match="GetRecords"):
        parse_record_page(answer)


@given(st.lists(st.binary(max_size=40)))
def test_what_was_encoded_is_decoded(values):
    texts = [base64.b64encode(value).decode() for value in values]
    records = [RECORD | {"SequenceNumber": n, "Data": text} for n, text in enumerate(texts)]
    assert parse_record_page(page(*records)).records.column("data").to_pylist() == values


@pytest.mark.parametrize("numbers", [(3, 3), (4, 3)])
def test_numbers_that_do_not_ascend_are_an_error(numbers):
    records = [RECORD | {"SequenceNumber": number} for number in numbers]
    with pytest.raises(ProtocolError, match="do not ascend"):
        parse_record_page(page(*records))

"""PutRecords: which shard, which number, which records are refused alone."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v3io_frames_put.local import Platform, Rules

STREAM = "/projects/s"


@pytest.fixture
def stream(call):
    call("CreateStream", STREAM, {"ShardCount": 3})
    return STREAM


def shards(answer):
    return [entry.get("ShardId") for entry in answer.json()["Records"]]


def numbers(answer):
    return [entry.get("SequenceNumber") for entry in answer.json()["Records"]]


def test_records_without_key_and_shard_take_turns_across_requests(call, stream, make_record):
    assert shards(call.put(stream, *[make_record()] * 4)) == [0, 1, 2, 0]
    assert shards(call.put(stream, *[make_record()] * 2)) == [1, 2]


def test_explicit_shards_do_not_advance_the_turn(call, stream, make_record):
    mixed = [make_record(ShardId=1), make_record(ShardId=1), make_record(ShardId=10)]
    answer = call.put(stream, *mixed, make_record(ShardId=2), make_record())
    assert answer.status == 200
    assert answer.json()["FailedRecordCount"] == 1
    assert shards(answer) == [1, 1, None, 2, 0]
    assert numbers(answer) == [1, 2, None, 1, 1]
    assert answer.json()["Records"][2] == {
        "ErrorCode": -201326594,
        "ErrorMessage": "ShardIDOutOfRangeException",
    }


def test_equal_keys_share_a_shard_and_the_shard_given_wins(call, stream, make_record):
    keyed = call.put(stream, *[make_record(PartitionKey=f"k{i % 7}") for i in range(70)])
    assert shards(keyed)[:7] == shards(keyed)[63:]
    assert set(shards(keyed)) == {0, 1, 2}
    both = call.put(stream, make_record(PartitionKey="k1", ShardId=2))
    assert shards(both) == [2]


def test_added_shards_move_a_key_only_to_new_ones(call, stream, make_record):
    keys = [make_record(PartitionKey=f"k{i}") for i in range(300)]
    before = shards(call.put(stream, *keys))
    call("UpdateStream", stream, {"ShardCount": 5})
    after = shards(call.put(stream, *keys))
    moved = {new for old, new in zip(before, after, strict=True) if new != old}
    assert moved == {3, 4}


def test_nulls_count_as_left_out(call, stream, make_record):
    answer = call.put(stream, make_record(ShardId=None, PartitionKey=None, ClientInfo=None))
    assert shards(answer) == [0]
    assert set(call.read(f"{stream}/0")["Records"][0]) == {
        "ArrivalTimeSec",
        "ArrivalTimeNSec",
        "SequenceNumber",
        "Data",
    }


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"Data": None},
        {"Data": 7},
        {"Data": "no base64!"},
        {"Data": "QQ="},
        {"Data": "QQ==QQ=="},
        {"Data": "QQ==", "ShardId": "1"},
        {"Data": "QQ==", "ShardId": 1.0},
        {"Data": "QQ==", "ShardId": True},
        {"Data": "QQ==", "PartitionKey": 7},
        {"Data": "QQ==", "ClientInfo": "?"},
        "text",
    ],
)
def test_a_malformed_record_refuses_the_whole_request(call, stream, make_record, bad):
    answer = call.put(stream, make_record(), bad)
    assert (answer.status, answer.json()["ErrorMessage"]) == (400, "InvalidArgumentException")
    assert call.platform.records("projects/s") == []


@pytest.mark.parametrize("count", [0, 1001])
def test_no_record_and_a_thousand_and_one_are_refused(call, stream, make_record, count):
    assert call.put(stream, *[make_record()] * count).status == 400
    assert call.put(stream, *[make_record()] * 1000).status == 200


def limited(rules):
    platform = Platform(rules=rules)
    platform.create_stream("projects/s")
    return platform


@pytest.mark.parametrize(
    ("rules", "field", "fits", "too_long"),
    [
        (Rules(max_data_bytes=9), "Data", "QUFBQUFBQUFB", "QUFBQUFBQUFBQQ=="),
        (Rules(), "PartitionKey", "k" * 256, "k" * 257),
        (Rules(), "PartitionKey", "é" * 128, "é" * 128 + "k"),
        (Rules(), "ClientInfo", b64encode(b"x" * 16).decode(), b64encode(b"x" * 17).decode()),
    ],
)  # fmt: skip
def test_a_record_beyond_a_limit_fails_alone(make_caller, rules, field, fits, too_long):
    call = make_caller(limited(rules))
    answer = call.put(STREAM, *[{"Data": "QQ==", field: text} for text in (fits, too_long)])
    assert answer.status == 200
    assert [sorted(entry) for entry in answer.json()["Records"]] == [
        ["SequenceNumber", "ShardId"],
        ["ErrorCode", "ErrorMessage"],
    ]
    call.platform.close()


def test_the_front_end_refuses_a_long_body_with_a_page(make_caller):
    call = make_caller(limited(Rules(max_body_bytes=40)))
    body = b'{"Records":[{"Data":"QUFBQUFBQUFBQUFB"}]}'
    assert len(body) == 41
    answer = call("PutRecords", STREAM, body)
    assert (answer.status, answer.headers["Content-Type"]) == (413, "text/html")
    assert (
        call("PutRecords", STREAM, body.replace(b"QUFBQUFBQUFBQUFB", b"QUFBQUFBQUFB")).status == 200
    )
    call.platform.close()


RECORDS = st.lists(
    st.fixed_dictionaries(
        {"data": st.binary(max_size=40)},
        optional={
            "ShardId": st.integers(-1, 5),
            "PartitionKey": st.text(max_size=8),
            "ClientInfo": st.binary(max_size=16),
        },
    ),
    min_size=1,
    max_size=20,
)


@given(requests=st.lists(RECORDS, min_size=1, max_size=4))
def test_whatever_is_acknowledged_stands_there_once_and_in_order(make_caller, requests):
    with_platform = Platform()
    with_platform.create_stream("projects/s", shards=4)
    call = make_caller(with_platform)
    expected = {}
    for request in requests:
        wire = [
            {
                **{k: v for k, v in r.items() if k in {"ShardId", "PartitionKey"}},
                "Data": b64encode(r["data"]).decode(),
                **(
                    {"ClientInfo": b64encode(r["ClientInfo"]).decode()} if "ClientInfo" in r else {}
                ),
            }
            for r in request
        ]
        answer = call.put(STREAM, *wire).json()
        for sent, entry in zip(request, answer["Records"], strict=True):
            if "SequenceNumber" in entry:
                expected[entry["ShardId"], entry["SequenceNumber"]] = (
                    sent["data"],
                    sent.get("PartitionKey"),
                    sent.get("ClientInfo"),
                )
    stored = with_platform.records("projects/s")
    found = {
        (r.shard_id, r.sequence_number): (r.data, r.partition_key, r.client_info) for r in stored
    }
    with_platform.close()
    assert found == expected
    assert list(found) == sorted(found)

"""Seek and GetRecords: places, pages, what retention takes away."""

from __future__ import annotations

from base64 import b64decode

import pytest

from v3io_frames_put.local import Rules

SHARD = "/projects/s/0"
HOUR = 3_600


@pytest.fixture
def shard(call):
    call("CreateStream", "/projects/s", {"ShardCount": 2, "RetentionPeriodHours": 1})
    return SHARD


def fill(call, make_record, *texts):
    for text in texts:
        assert call.put("/projects/s", make_record(text, ShardId=0)).status == 200


def texts(answer):
    return [b64decode(record["Data"]) for record in answer["Records"]]


@pytest.mark.parametrize(("statuses", "status"), [("current", 404), ("2.10", 400)])
@pytest.mark.parametrize("function", ["Seek", "SeekShard", "GetRecords"])
def test_a_shard_is_not_there_before_its_first_record(
    make_platform, make_caller, statuses, status, function
):
    call = make_caller(make_platform(rules=Rules(statuses=statuses)))
    call("CreateStream", "/projects/s", {})
    body = {"Type": "EARLIEST", "Location": "AQAAAAAAAAAAAAAAAAAAAA=="}
    answer = call(function, SHARD, body)
    assert (answer.status, answer.json()["ErrorMessage"]) == (status, "ResourceNotFoundException")


def test_a_shard_beyond_the_count_is_out_of_range(call, shard):
    answer = call("Seek", "/projects/s/2", {"Type": "EARLIEST"})
    assert (answer.status, answer.json()["ErrorMessage"]) == (400, "ShardIDOutOfRangeException")


def test_the_start_of_a_fresh_shard_is_the_token_that_was_seen(call, shard, make_record):
    fill(call, make_record, b"a")
    assert call.seek(shard) == "AQAAAAAAAAAAAAAAAAAAAA=="


def test_pages_follow_each_other_to_the_end(call, shard, make_record):
    fill(call, make_record, b"a", b"b", b"c")
    first = call.read(shard, Limit=2)
    assert texts(first) == [b"a", b"b"]
    assert first["RecordsBehindLatest"] == 1
    second = call.read(shard, first["NextLocation"])
    assert texts(second) == [b"c"]
    assert second["RecordsBehindLatest"] == 0
    end = call.read(shard, second["NextLocation"])
    assert (end["Records"], end["NextLocation"]) == ([], second["NextLocation"])
    fill(call, make_record, b"d")
    assert texts(call.read(shard, end["NextLocation"])) == [b"d"]


def test_a_page_may_end_inside_of_what_one_request_brought(call, shard, make_record):
    call.put("/projects/s", *[make_record(b"%d" % i, ShardId=0) for i in range(5)])
    first = call.read(shard, Limit=2)
    assert texts(call.read(shard, first["NextLocation"], Limit=2)) == [b"2", b"3"]


def test_records_tell_their_time_and_what_was_given(call, clock, shard):
    clock.now = 1_511_260_205.5
    given = {"Data": "QQ==", "ClientInfo": "Qg==", "PartitionKey": "MyKey", "ShardId": 0}
    call.put("/projects/s", given)
    assert call.read(shard)["Records"] == [
        {
            "ArrivalTimeSec": 1_511_260_205,
            "ArrivalTimeNSec": 500_000_000,
            "SequenceNumber": 1,
            "Data": "QQ==",
            "ClientInfo": "Qg==",
            "PartitionKey": "MyKey",
        }
    ]


def test_how_far_behind_is_told_in_time_and_records(call, clock, shard, make_record):
    fill(call, make_record, b"a")
    clock.tick(2.5)
    fill(call, make_record, b"b", b"c")
    page = call.read(shard, Limit=1)
    assert (page["MSecBehindLatest"], page["RecordsBehindLatest"]) == (2500, 2)


def test_arrival_times_never_turn_back(call, clock, shard, make_record):
    fill(call, make_record, b"a")
    clock.tick(-100)
    fill(call, make_record, b"b")
    first, second = call.read(shard)["Records"]
    assert second["ArrivalTimeSec"] == first["ArrivalTimeSec"]


def test_an_answer_stops_at_its_size_but_one_record_always_fits(
    make_platform, make_caller, make_record
):
    call = make_caller(make_platform(rules=Rules(max_answer_bytes=1_000)))
    call("CreateStream", "/projects/s", {})
    fill(call, make_record, b"x" * 3_000, b"y" * 300, b"z" * 300)
    first = call.read(SHARD)
    assert texts(first) == [b"x" * 3_000]
    second = call.read(SHARD, first["NextLocation"])
    assert texts(second) == [b"y" * 300]
    assert second["RecordsBehindLatest"] == 1


def test_seek_finds_the_end_a_number_and_a_time(call, clock, shard, make_record):
    for text in (b"a", b"b", b"c"):
        fill(call, make_record, text)
        clock.tick(10)
    assert texts(call.read(shard, call.seek(shard, "LATEST"))) == []
    assert texts(call.read(shard, call.seek(shard, "SEQUENCE", StartingSequenceNumber=2))) == [
        b"b",
        b"c",
    ]
    at = {"TimestampSec": 1_700_000_010, "TimestampNSec": 0}
    assert texts(call.read(shard, call.seek(shard, "TIME", **at))) == [b"b", b"c"]
    later = {"TimestampSec": 1_700_000_010, "TimestampNSec": 1}
    assert texts(call.read(shard, call.seek(shard, "TIME", **later))) == [b"c"]
    past = {"TimestampSec": 1_800_000_000, "TimestampNSec": 0}
    assert call.seek(shard, "TIME", **past) == call.seek(shard, "LATEST")


def test_the_number_after_the_last_is_found_and_no_other(call, shard, make_record):
    fill(call, make_record, b"a")
    after = call.seek(shard, "SEQUENCE", StartingSequenceNumber=2)
    assert after == call.seek(shard, "LATEST")
    for number in (0, 3):
        body = {"Type": "SEQUENCE", "StartingSequenceNumber": number}
        assert call("Seek", shard, body).status == 400


@pytest.mark.parametrize(
    "body", [{}, {"Type": "MIDDLE"}, {"Type": "TIME", "TimestampSec": 5}, {"Type": "SEQUENCE"}]
)
def test_an_incomplete_seek_is_refused(call, shard, make_record, body):
    fill(call, make_record, b"a")
    assert call("Seek", shard, body).status == 400


@pytest.mark.parametrize(
    ("path", "place"),
    [("/projects/s/", {"ShardId": 0}), ("/projects/", {"StreamName": "s", "ShardId": 0})],
)
def test_stream_and_shard_may_stand_in_the_body(call, shard, make_record, path, place):
    fill(call, make_record, b"a")
    location = call("SeekShard", path, {"Type": "EARLIEST", **place}).json()["Location"]
    answer = call("GetRecords", path, {"Location": location, **place}).json()
    assert texts(answer) == [b"a"]


@pytest.mark.parametrize("limit", [0, -1, "5", 1.5])
def test_a_limit_is_a_positive_whole_number(call, shard, make_record, limit):
    fill(call, make_record, b"a")
    body = {"Location": call.seek(shard), "Limit": limit}
    assert call("GetRecords", shard, body).status == 400


@pytest.mark.parametrize("location", ["", "AQAAAA==", "AgAAAAAAAAAAAAAAAAAAAA==", "no base64"])
def test_a_token_we_never_gave_is_illegal(call, shard, make_record, location):
    fill(call, make_record, b"a")
    answer = call("GetRecords", shard, {"Location": location})
    assert (answer.status, answer.json()["ErrorMessage"]) == (400, "IllegalLocationException")


def test_old_records_go_when_new_ones_come_and_not_before(call, clock, shard, make_record):
    fill(call, make_record, b"a", b"b")
    start = call.seek(shard)
    clock.tick(HOUR + 1)
    assert texts(call.read(shard, start)) == [b"a", b"b"]
    fill(call, make_record, b"c")
    assert texts(call.read(shard)) == [b"c"]
    answer = call("GetRecords", shard, {"Location": start})
    assert (answer.status, answer.json()["ErrorMessage"]) == (400, "IllegalLocationException")
    body = {"Type": "SEQUENCE", "StartingSequenceNumber": 2}
    assert call("Seek", shard, body).status == 400
    assert call.read(shard)["Records"][0]["SequenceNumber"] == 3


def test_retention_may_cut_inside_of_a_batch(call, shard, make_record):
    call.put("/projects/s", *[make_record(b"%d" % i, ShardId=0) for i in range(5)])
    call.platform.drop_records("projects/s", keep_last=2)
    assert texts(call.read(shard)) == [b"3", b"4"]
    assert [r.data for r in call.platform.records("projects/s")] == [b"3", b"4"]
    call.platform.drop_records("projects/s")
    assert call.read(shard)["Records"] == []
    fill(call, make_record, b"new")
    assert call.read(shard)["Records"][0]["SequenceNumber"] == 6


def test_tokens_of_a_deleted_stream_do_not_fit_its_successor(call, shard, make_record):
    fill(call, make_record, b"a", b"b")
    token = call.read(shard, Limit=1)["NextLocation"]
    call.platform.delete_stream("projects/s")
    call("CreateStream", "/projects/s", {"ShardCount": 2})
    fill(call, make_record, b"c", b"d")
    assert call("GetRecords", shard, {"Location": token}).status == 400

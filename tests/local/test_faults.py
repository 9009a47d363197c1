"""Which request a fault takes, what is stored, and what the client is to see: no sockets."""

from __future__ import annotations

from base64 import b64encode
from itertools import islice

import orjson
import pytest

from v3io_frames_put.local import (
    EmptyAnswer,
    Front,
    HtmlError,
    LateGhost,
    LostAnswer,
    PermutedAnswer,
    RecordErrors,
    RecordsDropped,
    Redirected,
    Refused,
    Request,
    Reset,
    Restart,
    ShardsAdded,
    SlowAnswer,
    StalledAnswer,
    StreamRemade,
    StreamRemoved,
    Throttled,
    TooLarge,
    TruncatedAnswer,
    Unavailable,
    WrongCounts,
)

STREAM = "projects/s"


def request(*texts, function="PutRecords", path="/projects/s", **fields):
    records = [{"Data": b64encode(text).decode(), **fields} for text in texts]
    body = orjson.dumps({"Records": records}) if records else b""
    return Request("POST", path, "", {"X-v3io-function": function}, body)


ABC = request(b"a", b"b", b"c")


@pytest.fixture
def front(platform):
    platform.create_stream(STREAM, shards=4)
    return Front(platform)


def stored(front):
    return sorted(record.data for record in front.platform.records(STREAM))


def statuses(front, count, made=ABC):
    return [front.exchange(made).response.status for _ in range(count)]


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ({}, [429, 200, 200, 200, 200, 200]),
        ({"nth": 3}, [200, 200, 429, 200, 200, 200]),
        ({"nth": 2, "times": 2}, [200, 429, 429, 200, 200, 200]),
        ({"nth": 2, "every": 2, "times": None}, [200, 429, 200, 429, 200, 429]),
        ({"every": 3, "times": 2}, [429, 200, 200, 429, 200, 200]),
    ],
)
def test_turns_are_counted_over_matching_requests(front, turns, expected):
    front.faults = [Throttled(**turns)]
    assert statuses(front, 6) == expected


def test_requests_that_do_not_match_are_not_counted(front):
    front.faults = [Throttled(nth=2)]
    describe = request(function="DescribeStream")
    made = [ABC, describe, describe, ABC, ABC]
    assert [front.exchange(r).response.status for r in made] == [200, 200, 200, 429, 200]


def test_a_fault_that_comes_second_is_not_used_up(front):
    front.faults = [Throttled(), HtmlError()]
    assert statuses(front, 3) == [429, 502, 200]


def test_setting_the_script_starts_its_counts(front):
    for _ in range(2):
        front.faults = [Throttled()]
        assert statuses(front, 2) == [429, 200]


@pytest.mark.parametrize(
    ("matcher", "meant", "other"),
    [
        ({"stream": "projects/s"}, ABC, request(b"a", path="/projects/t")),
        ({"stream": "/projects/s/"}, request(b"a", path="//projects//s/"), request(path="/")),
        ({"shard": 2}, request(b"a", ShardId=2), request(b"a", ShardId=1)),
        ({"shard": 0}, request(b"a", ShardId=0), request(b"a", ShardId=1)),
        ({"containing": "poison"}, request(b"a", b"some poison"), ABC),
        ({"min_records": 3}, ABC, request(b"a", b"b")),
        ({"min_body_bytes": 60}, request(b"x" * 60), request(b"x")),
        ({"function": "*"}, request(function="Seek"), None),
        ({"function": "Seek", "shard": 3}, request(function="SeekShard", path="/projects/s/3"),
         request(function="Seek", path="/projects/s/2")),
        ({"function": "Seek", "stream": "projects/s"},
         request(function="Seek", path="/projects/s/3/"),
         request(function="Seek", path="/projects/s")),
    ],
)  # fmt: skip
def test_a_fault_takes_what_it_means(matcher, meant, other):
    fault = Throttled(**matcher)
    assert fault.matches(meant)
    assert other is None or not fault.matches(other)


def test_a_fault_before_the_body_cannot_ask_for_what_is_in_it():
    for early in (Reset, TooLarge):
        when = {"when": "in_body"} if early is Reset else {"closes_early": True}
        with pytest.raises(ValueError, match="before the body is read"):
            early(containing="poison", **when)
        assert early(nth=2, stream="projects/s", min_body_bytes=9, **when).is_early


@pytest.mark.parametrize("turns", [{"nth": 0}, {"every": 0}, {"times": 0}])
def test_turns_count_from_one(turns):
    with pytest.raises(ValueError, match="expected 1 or more"):
        Throttled(**turns)


@pytest.mark.parametrize(
    ("fault", "status", "left"),
    [
        (Throttled(), 429, 0),
        (Unavailable(), 503, 0),
        (Unavailable(stored="all"), 503, 3),
        (Unavailable(stored="even_shards"), 503, 2),
        (Unavailable(stored="odd_shards"), 503, 1),
        (Unavailable(stored=(1, 2)), 503, 2),
        (HtmlError(status=504, stored="all"), 504, 3),
        (Refused(), 401, 0),
        (Refused(status=403, code=-13, message="Permission denied"), 403, 0),
        (Redirected(), 308, 0),
        (TooLarge(), 413, 0),
        (TooLarge(closes_early=True), 413, 0),
        (EmptyAnswer(), 200, 3),
        (TruncatedAnswer(), 200, 3),
        (WrongCounts(), 200, 3),
        (PermutedAnswer(), 200, 3),
        (SlowAnswer(), 200, 3),
        (StalledAnswer(seconds=5), 200, 3),
    ],
)
def test_what_is_stored_and_what_is_said(front, fault, status, left):
    front.faults = [fault]
    assert front.exchange(ABC).response.status == status
    assert len(stored(front)) == left


@pytest.mark.parametrize(
    ("fault", "seen", "left"),
    [
        (Reset(when="before_body"), {"body_read": 0.0, "ending": "reset"}, 0),
        (Reset(when="in_body"), {"body_read": 0.5, "ending": "reset"}, 0),
        (Reset(), {"body_read": 1.0, "ending": "reset"}, 0),
        (LostAnswer(), {"ending": "reset"}, 3),
        (LostAnswer(ending="close", stored=(0,)), {"ending": "close"}, 1),
        (StalledAnswer(stored="none"), {"wait_seconds": None, "ending": "keep"}, 0),
        (Restart(stored="all", down_seconds=2), {"down_seconds": 2, "ending": "reset"}, 3),
    ],
)
def test_no_answer_at_all(front, fault, seen, left):
    front.faults = [fault]
    exchange = front.exchange(ABC)
    assert exchange.response is None
    assert {name: getattr(exchange, name) for name in seen} == seen
    assert len(stored(front)) == left


def test_answers_that_come_late_or_in_drops(front):
    front.faults = [StalledAnswer(seconds=7), StalledAnswer(), SlowAnswer(seconds=3)]
    exchanges = [front.exchange(ABC) for _ in range(3)]
    assert [e.wait_seconds for e in exchanges] == [7, None, 0]
    assert [e.drip_seconds for e in exchanges] == [0, 0, 3]
    assert len(stored(front)) == 9


def test_a_ghost_is_stored_when_its_time_comes(front):
    front.faults = [LateGhost(after_seconds=4)]
    exchange = front.exchange(ABC)
    assert (exchange.response, exchange.ending, stored(front)) == (None, "reset", [])
    assert exchange.ghosts[0].after_seconds == 4
    front.haunt(exchange.ghosts[0])
    assert stored(front) == [b"a", b"b", b"c"]


def test_retry_after_comes_in_both_spellings(front):
    front.faults = [
        Throttled(retry_after_seconds=90),
        Throttled(retry_after_seconds=90, as_date=True),
        Throttled(retry_after_seconds=None),
        Unavailable(retry_after_seconds=2),
    ]
    headers = [front.exchange(ABC).response.headers for _ in range(4)]
    assert [h.get("Retry-After") for h in headers] == [
        "90",
        "Tue, 14 Nov 2023 22:14:50 GMT",
        None,
        "2",
    ]
    assert headers[1]["Date"] == "Tue, 14 Nov 2023 22:13:20 GMT"


def test_the_unavailable_one_speaks_as_it_was_captured(front):
    front.faults = [Unavailable()]
    assert front.exchange(ABC).response.json() == {
        "ErrorCode": -117440512,
        "ErrorMessage": "Failed to send a control message request",
    }


def test_pages_and_reasons_are_those_of_nginx(front):
    front.faults = [HtmlError(status=status) for status in (502, 503, 504)] + [TooLarge()]
    answers = [front.exchange(ABC).response for _ in range(4)]
    assert [answer.reason for answer in answers] == [
        "Bad Gateway",
        "Service Temporarily Unavailable",
        "Gateway Time-out",
        "Request Entity Too Large",
    ]
    assert b"<title>504 Gateway Time-out</title>" in answers[2].body


def test_a_truncated_answer_is_no_json_or_ends_early(front):
    front.faults = [TruncatedAnswer(share=0.5), TruncatedAnswer(share=0.25, breaks=True)]
    short, broken = front.exchange(ABC), front.exchange(ABC)
    with pytest.raises(orjson.JSONDecodeError):
        short.response.json()
    assert (broken.body_sent, broken.ending) == (0.25, "reset")
    assert len(broken.response.json()["Records"]) == 3


@pytest.mark.parametrize(
    ("fault", "entries", "failed"),
    [
        (WrongCounts(), 2, 0),
        (WrongCounts(entries=-3), 0, 0),
        (WrongCounts(entries=2), 5, 0),
        (WrongCounts(entries=0, failed=1), 3, 1),
    ],
)
def test_counts_are_off(front, fault, entries, failed):
    front.faults = [fault]
    body = front.exchange(ABC).response.json()
    assert (len(body["Records"]), body["FailedRecordCount"]) == (entries, failed)


@pytest.mark.parametrize(
    ("order", "shards"),
    [("reversed", [2, 1, 0]), ("rotated", [1, 2, 0]), ("swapped", [1, 0, 2])],
)
def test_entries_come_in_another_order(front, order, shards):
    front.faults = [PermutedAnswer(order=order)]
    body = front.exchange(ABC).response.json()
    assert [entry["ShardId"] for entry in body["Records"]] == shards


def test_chosen_records_fail_once(front):
    front.faults = [RecordErrors(places=(0, 2), code=-99, message="Busy")]
    body = front.exchange(ABC).response.json()
    failed = {"ErrorCode": -99, "ErrorMessage": "Busy"}
    assert body == {
        "FailedRecordCount": 2,
        "Records": [failed, {"SequenceNumber": 1, "ShardId": 0}, failed],
    }
    assert stored(front) == [b"b"]
    assert front.exchange(ABC).response.json()["FailedRecordCount"] == 0


def test_a_poisoned_record_fails_wherever_it_stands(front):
    front.faults = [RecordErrors(containing="poison", times=None)]
    for texts in ((b"a", b"poison"), (b"poison", b"b"), (b"poison",)):
        body = front.exchange(request(*texts)).response.json()
        assert body["FailedRecordCount"] == 1
        assert "ErrorCode" in body["Records"][texts.index(b"poison")]
    assert stored(front) == [b"a", b"b"]


def test_a_record_may_fail_and_be_stored(front):
    front.faults = [RecordErrors(places=(1,), is_stored=True)]
    body = front.exchange(ABC).response.json()
    assert ["ErrorCode" in entry for entry in body["Records"]] == [False, True, False]
    assert stored(front) == [b"a", b"b", b"c"]


def test_errors_of_the_platform_stay_beside_those_of_the_fault(front):
    front.faults = [RecordErrors(places=(0,))]
    body = front.exchange(request(b"a", b"b", ShardId=9)).response.json()
    assert body["FailedRecordCount"] == 2
    assert body["Records"][1]["ErrorMessage"] == "ShardIDOutOfRangeException"


def test_changes_happen_and_the_request_goes_on(front):
    front.faults = [ShardsAdded(nth=2, shards=9), Throttled(nth=2)]
    assert statuses(front, 3) == [200, 429, 200]
    assert front.platform.describe_stream(STREAM).shard_count == 9


def test_retention_in_mid_run(front):
    front.faults = [RecordsDropped(nth=2)]
    assert statuses(front, 2) == [200, 200]
    assert len(stored(front)) == 3


def test_a_stream_may_go_and_come_back(front):
    front.faults = [StreamRemade(nth=2), StreamRemoved(nth=3)]
    first, second = front.exchange(ABC).response.json(), front.exchange(ABC).response.json()
    assert [e["SequenceNumber"] for e in second["Records"]] == [1, 1, 1]
    assert first["FailedRecordCount"] == 0
    assert front.platform.describe_stream(STREAM).shard_count == 4
    assert statuses(front, 1) == [404]


def test_a_change_may_mean_another_stream(front):
    front.platform.create_stream("projects/other")
    front.faults = [StreamRemoved(target="projects/other")]
    assert statuses(front, 1) == [200]
    with pytest.raises(LookupError, match="projects/other"):
        front.platform.describe_stream("projects/other")


def test_a_restart_forgets_turns_and_keeps_records(front):
    front.faults = [Restart(nth=2, stored="all")]
    list(islice(iter(lambda: front.exchange(ABC), None), 2))
    front.restart()
    assert len(stored(front)) == 6
    entries = front.exchange(ABC).response.json()["Records"]
    assert [e["ShardId"] for e in entries] == [0, 1, 2]

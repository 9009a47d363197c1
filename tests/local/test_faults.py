"""Which request a fault takes, what is stored, and what the client is to see: no sockets."""

from __future__ import annotations

from base64 import b64encode
from itertools import islice

import msgspec
import pytest

from v3io_frames_put.local import FaultProxy, Request, faults

STREAM = "projects/s"


def request(*texts, function="PutRecords", path="/projects/s", **fields):
    records = [{"Data": b64encode(text).decode(), **fields} for text in texts]
    body = msgspec.json.encode({"Records": records}) if records else b""
    return Request("POST", path, "", {"X-v3io-function": function}, body)


ABC = request(b"a", b"b", b"c")


@pytest.fixture
def proxy(platform):
    platform.create_stream(STREAM, shards=4)
    return FaultProxy(platform)


def stored(proxy):
    return sorted(record.data for record in proxy.platform.records(STREAM))


def statuses(proxy, count, made=ABC):
    return [proxy.exchange(made).response.status for _ in range(count)]


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
def test_turns_are_counted_over_matching_requests(proxy, turns, expected):
    proxy.faults = [faults.throttled(**turns)]
    assert statuses(proxy, 6) == expected


def test_requests_that_do_not_match_are_not_counted(proxy):
    proxy.faults = [faults.throttled(nth=2)]
    describe = request(function="DescribeStream")
    made = [ABC, describe, describe, ABC, ABC]
    assert [proxy.exchange(r).response.status for r in made] == [200, 200, 200, 429, 200]


def test_a_fault_that_comes_second_is_not_used_up(proxy):
    proxy.faults = [faults.throttled(), faults.Answer(status=502)]
    assert statuses(proxy, 3) == [429, 502, 200]


def test_setting_the_script_starts_its_counts(proxy):
    for _ in range(2):
        proxy.faults = [faults.throttled()]
        assert statuses(proxy, 2) == [429, 200]


@pytest.mark.parametrize(
    ("matcher", "meant", "other"),
    [
        ({"stream": "projects/s"}, ABC, request(b"a", path="/projects/t")),
        ({"stream": "/projects/s/"}, request(b"a", path="//projects//s/"), request(path="/")),
        ({"containing": "poison"}, request(b"a", b"some poison"), ABC),
        ({"min_records": 3}, ABC, request(b"a", b"b")),
        ({"function": "*"}, request(function="Seek"), None),
        ({"function": "Seek"}, request(function="SeekShard", path="/projects/s/3"), ABC),
        ({"function": "Seek", "stream": "projects/s"},
         request(function="Seek", path="/projects/s/3/"),
         request(function="Seek", path="/projects/s")),
    ],
)  # fmt: skip
def test_a_fault_takes_what_it_means(matcher, meant, other):
    fault = faults.throttled(**matcher)
    assert fault.matches(meant)
    assert other is None or not fault.matches(other)


def test_a_fault_before_the_body_cannot_ask_for_what_is_in_it():
    for early, when in (
        (faults.Disconnect, {"when": "in_body"}),
        (faults.Answer, {"status": 413, "when": "before_body"}),
    ):
        with pytest.raises(ValueError, match="before the body is read"):
            early(containing="poison", **when)
        assert early(nth=2, stream="projects/s", **when).is_early


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (faults.Answer, {"stored": "none"}, "expected a status"),
        (faults.Answer, {"when": "before_body"}, "before the body is read"),
        (faults.Answer, {"when": "in_body", "status": 200}, "before the body is read"),
        (faults.Disconnect, {"when": "in_body", "stored": "all"}, "before the body is read"),
        (faults.RecordErrors, {"when": "in_body"}, "before the body is read"),
        (
            faults.Answer,
            {"when": "in_body", "status": 413, "min_records": 1},
            "before the body is read",
        ),
        (faults.Change, {"action": "resize"}, "expected shards"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(kind, values, said):
    with pytest.raises(ValueError, match=said):
        kind(**values)


def test_what_is_stored_follows_the_status_unless_it_is_given(proxy):
    proxy.faults = [
        faults.Answer(status=201),
        faults.Answer(status=429, stored="all"),
        faults.Answer(status=500),
    ]
    assert statuses(proxy, 3) == [201, 429, 500]
    assert len(stored(proxy)) == 6


def test_an_answer_is_made_of_status_headers_and_body(proxy):
    proxy.faults = [faults.Answer(status=418, headers={"X-Pot": "tea"}, body="short")]
    answer = proxy.exchange(ABC).response
    assert (answer.status, answer.headers["X-Pot"], answer.body) == (418, "tea", b"short")
    assert answer.headers["Server"] == "nginx"


@pytest.mark.parametrize("fault", [faults.WrongEntries(entries=-1), faults.RecordErrors()])
@pytest.mark.parametrize("body", [b"", b"{half", b"[]", b'{"Records": 7}', b'{"Records": []}'])
def test_a_request_that_is_not_valid_stays_refused(proxy, fault, body):
    proxy.faults = [fault]
    made = Request("POST", "/projects/s", "", {"X-v3io-function": "PutRecords"}, body)
    assert statuses(proxy, 1, made) == [400]


@pytest.mark.parametrize("turns", [{"nth": 0}, {"every": 0}, {"times": 0}])
def test_turns_count_from_one(turns):
    with pytest.raises(ValueError, match="expected 1 or more"):
        faults.throttled(**turns)


@pytest.mark.parametrize(
    ("fault", "status", "left"),
    [
        (faults.throttled(), 429, 0),
        (faults.unavailable(), 503, 0),
        (faults.unavailable(stored="all"), 503, 3),
        (faults.unavailable(stored="even_shards"), 503, 2),
        (faults.unavailable(stored="odd_shards"), 503, 1),
        (faults.Answer(status=504, stored="all"), 504, 3),
        (faults.refused(), 401, 0),
        (faults.refused(status=403, code=-13, message="Permission denied"), 403, 0),
        (faults.redirected(), 308, 0),
        (faults.Answer(status=413), 413, 0),
        (faults.Answer(status=413, when="before_body"), 413, 0),
        (faults.Answer(status=200, body=""), 200, 3),
        (faults.Answer(body_share=0.5), 200, 3),
        (faults.WrongEntries(entries=-1), 200, 3),
        (faults.WrongEntries(order="reversed"), 200, 3),
        (faults.Answer(drip_seconds=1), 200, 3),
        (faults.stalled_answer(seconds=5), 200, 3),
    ],
)
def test_what_is_stored_and_what_is_said(proxy, fault, status, left):
    proxy.faults = [fault]
    assert proxy.exchange(ABC).response.status == status
    assert len(stored(proxy)) == left


@pytest.mark.parametrize(
    ("fault", "seen", "left"),
    [
        (faults.Disconnect(when="before_body"), {"body_read": 0.0, "ending": "reset"}, 0),
        (faults.Disconnect(when="in_body"), {"body_read": 0.5, "ending": "reset"}, 0),
        (faults.Disconnect(), {"body_read": 1.0, "ending": "reset"}, 0),
        (faults.lost_answer(), {"ending": "reset"}, 3),
        (faults.lost_answer(ending="close", stored="odd_shards"), {"ending": "close"}, 1),
        (faults.stalled_answer(stored="none"), {"wait_seconds": None, "ending": "keep"}, 0),
        (faults.restart(stored="all", down_seconds=2), {"down_seconds": 2, "ending": "reset"}, 3),
    ],
)
def test_no_answer_at_all(proxy, fault, seen, left):
    proxy.faults = [fault]
    exchange = proxy.exchange(ABC)
    assert exchange.response is None
    assert {name: getattr(exchange, name) for name in seen} == seen
    assert len(stored(proxy)) == left


def test_answers_that_come_late_or_in_drops(proxy):
    proxy.faults = [
        faults.stalled_answer(seconds=7),
        faults.stalled_answer(),
        faults.Answer(drip_seconds=3),
    ]
    exchanges = [proxy.exchange(ABC) for _ in range(3)]
    assert [e.wait_seconds for e in exchanges] == [7, None, 0]
    assert [e.drip_seconds for e in exchanges] == [0, 0, 3]
    assert len(stored(proxy)) == 9


def test_a_delayed_write_is_stored_when_its_time_comes(proxy):
    proxy.faults = [faults.delayed_write(after_seconds=4)]
    exchange = proxy.exchange(ABC)
    assert (exchange.response, exchange.ending, stored(proxy)) == (None, "reset", [])
    assert exchange.delayed_writes[0].after_seconds == 4
    proxy.apply_delayed_write(exchange.delayed_writes[0])
    assert stored(proxy) == [b"a", b"b", b"c"]


def test_retry_after_is_sent_when_it_is_asked_for(proxy):
    proxy.faults = [
        faults.throttled(retry_after_seconds=90),
        faults.throttled(retry_after_seconds=None),
    ]
    headers = [proxy.exchange(ABC).response.headers for _ in range(2)]
    assert [h.get("Retry-After") for h in headers] == ["90", None]


def test_the_unavailable_one_speaks_as_it_was_captured(proxy):
    proxy.faults = [faults.unavailable()]
    assert proxy.exchange(ABC).response.json() == {
        "ErrorCode": -117440512,
        "ErrorMessage": "Failed to send a control message request",
    }


def test_an_error_page_names_its_status(proxy):
    proxy.faults = [faults.Answer(status=504)]
    assert b"<title>504 Gateway Timeout</title>" in proxy.exchange(ABC).response.body


def test_a_truncated_answer_is_no_json_or_ends_early(proxy):
    proxy.faults = [
        faults.Answer(body_share=0.5),
        faults.Answer(body_share=0.25, ending="reset"),
    ]
    short, broken = proxy.exchange(ABC), proxy.exchange(ABC)
    with pytest.raises(ValueError, match="truncated"):
        short.response.json()
    assert (broken.body_sent, broken.ending) == (0.25, "reset")
    assert len(broken.response.json()["Records"]) == 3


@pytest.mark.parametrize(
    ("fault", "entries", "failed"),
    [
        (faults.WrongEntries(entries=-1), 2, 0),
        (faults.WrongEntries(entries=-3), 0, 0),
        (faults.WrongEntries(entries=2), 5, 0),
        (faults.WrongEntries(entries=0, failed=1), 3, 1),
    ],
)
def test_counts_are_off(proxy, fault, entries, failed):
    proxy.faults = [fault]
    body = proxy.exchange(ABC).response.json()
    assert (len(body["Records"]), body["FailedRecordCount"]) == (entries, failed)


@pytest.mark.parametrize(
    ("order", "shards"),
    [("reversed", [2, 1, 0]), ("rotated", [1, 2, 0]), ("swapped", [1, 0, 2])],
)
def test_entries_come_in_another_order(proxy, order, shards):
    proxy.faults = [faults.WrongEntries(order=order)]
    body = proxy.exchange(ABC).response.json()
    assert [entry["ShardId"] for entry in body["Records"]] == shards


def test_chosen_records_fail_once(proxy):
    proxy.faults = [faults.RecordErrors(places=(0, 2), code=-99, message="Busy")]
    body = proxy.exchange(ABC).response.json()
    failed = {"ErrorCode": -99, "ErrorMessage": "Busy"}
    assert body == {
        "FailedRecordCount": 2,
        "Records": [failed, {"SequenceNumber": 1, "ShardId": 1}, failed],
    }
    assert stored(proxy) == [b"b"]
    assert proxy.exchange(ABC).response.json()["FailedRecordCount"] == 0


def test_a_poisoned_record_fails_wherever_it_stands(proxy):
    proxy.faults = [faults.RecordErrors(containing="poison", times=None)]
    for texts in ((b"a", b"poison"), (b"poison", b"b"), (b"poison",)):
        body = proxy.exchange(request(*texts)).response.json()
        assert body["FailedRecordCount"] == 1
        assert "ErrorCode" in body["Records"][texts.index(b"poison")]
    assert stored(proxy) == [b"a", b"b"]


def test_a_record_may_fail_and_be_stored(proxy):
    proxy.faults = [faults.RecordErrors(places=(1,), is_stored=True)]
    body = proxy.exchange(ABC).response.json()
    assert ["ErrorCode" in entry for entry in body["Records"]] == [False, True, False]
    assert stored(proxy) == [b"a", b"b", b"c"]


def test_errors_of_the_platform_stay_beside_those_of_the_fault(proxy):
    proxy.faults = [faults.RecordErrors(places=(0,))]
    body = proxy.exchange(request(b"a", b"b", ShardId=9)).response.json()
    assert body["FailedRecordCount"] == 2
    assert body["Records"][1]["ErrorMessage"] == "ShardIDOutOfRangeException"


def test_changes_happen_and_the_request_goes_on(proxy):
    proxy.faults = [faults.Change(action="resize", nth=2, shards=9), faults.throttled(nth=2)]
    assert statuses(proxy, 3) == [200, 429, 200]
    assert proxy.platform.describe_stream(STREAM).shard_count == 9


def test_retention_in_mid_run(proxy):
    proxy.faults = [faults.Change(action="drop_records", nth=2)]
    assert statuses(proxy, 2) == [200, 200]
    assert len(stored(proxy)) == 3


def test_a_stream_may_go_and_come_back(proxy):
    proxy.faults = [faults.Change(action="recreate", nth=2), faults.Change(action="delete", nth=3)]
    first, second = proxy.exchange(ABC).response.json(), proxy.exchange(ABC).response.json()
    assert [e["SequenceNumber"] for e in second["Records"]] == [1, 1, 1]
    assert first["FailedRecordCount"] == 0
    assert proxy.platform.describe_stream(STREAM).shard_count == 4
    assert statuses(proxy, 1) == [404]


def test_a_change_may_mean_another_stream(proxy):
    proxy.platform.create_stream("projects/other")
    proxy.faults = [faults.Change(action="delete", target="projects/other")]
    assert statuses(proxy, 1) == [200]
    with pytest.raises(LookupError, match="projects/other"):
        proxy.platform.describe_stream("projects/other")


def test_a_restart_forgets_turns_and_keeps_records(proxy):
    proxy.faults = [faults.restart(nth=2, stored="all")]
    list(islice(iter(lambda: proxy.exchange(ABC), None), 2))
    proxy.platform.restart()
    assert len(stored(proxy)) == 6
    entries = proxy.exchange(ABC).response.json()["Records"]
    assert [e["ShardId"] for e in entries] == [0, 1, 2]

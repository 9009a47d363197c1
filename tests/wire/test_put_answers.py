"""A 200 to PutRecords is believed only if it cannot be wrong in any way that shows."""

import json
from itertools import permutations

import numpy as np
import pyarrow as pa
import pytest

from tests.internals import (
    NO_SHARD,
    Entries,
    UnbelievableAnswerError,
    parse_put_answer,
)


def sent(count=3, *, shard=None, destination=None):
    """Make what was sent; an answer is held against shards and destinations alone."""
    return Entries(
        text=pa.array([b'{"Data":""},'] * count, pa.binary()),
        rows=np.arange(count),
        row_counts=None,
        destination=np.array(destination or [0] * count, np.uint64),
        shard=np.array([NO_SHARD if s is None else s for s in shard or [None] * count], np.int32),
    )


def stored(shard, number):
    return {"ShardId": shard, "SequenceNumber": number}


def refused(code=-201326592, message="InvalidArgumentException"):
    return {"ErrorCode": code, "ErrorMessage": message}


def body(*records, failed=0):
    return json.dumps({"FailedRecordCount": failed, "Records": list(records)}).encode()


def doubt(answer, entries):
    """Return why an answer is not believed."""
    with pytest.raises(UnbelievableAnswerError) as caught:
        parse_put_answer(answer, entries)
    return str(caught.value)


def test_stored_records_have_shard_and_number_in_request_order():
    reported = parse_put_answer(body(stored(1, 4), stored(0, 9), stored(1, 5)), sent())
    assert reported.stored.tolist() == [True, True, True]
    assert reported.shard_id.tolist() == [1, 0, 1]
    assert reported.sequence_number.tolist() == [4, 9, 5]
    assert reported.errors == []


def test_refused_records_keep_their_place_code_and_name():
    reported = parse_put_answer(
        body(stored(0, 1), refused(), stored(0, 2), refused(-5, "Busy"), failed=2), sent(4)
    )
    assert reported.stored.tolist() == [True, False, True, False]
    assert reported.shard_id.tolist() == [0, -1, 0, -1]
    assert reported.sequence_number.tolist() == [1, -1, 2, -1]
    assert reported.errors == [(1, -201326592, "InvalidArgumentException"), (3, -5, "Busy")]


def test_all_records_may_be_refused():
    reported = parse_put_answer(body(refused(), refused(), failed=2), sent(2))
    assert reported.stored.tolist() == [False, False]


@pytest.mark.parametrize("message", [None, "", 5, ["Busy"]])
def test_a_refusal_without_a_name_is_still_a_refusal(message):
    reported = parse_put_answer(body(refused(-7, message), failed=1), sent(1))
    assert reported.errors == [(0, -7, "unnamed")]


def test_an_error_has_one_name_in_every_spelling():
    reported = parse_put_answer(body(refused(-5, "ShardIDOutOfRange"), failed=1), sent(1))
    assert [name for *_, name in reported.errors] == ["ShardIDOutOfRangeException"]


def test_numbers_may_have_gaps_and_begin_anywhere():
    reported = parse_put_answer(body(stored(0, 5), stored(0, 900), stored(7, 1)), sent())
    assert reported.sequence_number.tolist() == [5, 900, 1]


def test_the_largest_number_is_exact():
    reported = parse_put_answer(body(stored(0, 2**63 - 1)), sent(1))
    assert reported.sequence_number.tolist() == [9_223_372_036_854_775_807]


GOOD = body(stored(0, 1), stored(0, 2), stored(0, 3))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html><h1>200 OK</h1></html>", id="a page"),
        pytest.param(GOOD[: len(GOOD) // 2], id="half"),
        pytest.param(GOOD[:-1], id="all but a byte"),
        pytest.param(GOOD + b"}", id="a byte too many"),
        pytest.param(GOOD + GOOD, id="twice"),
        pytest.param(GOOD.replace(b"Records", b"\xff"), id="no UTF-8"),
        pytest.param(body(refused(message="~"), failed=1).replace(b"~", b"\xff"), id="a name"),
    ],
)
def test_what_is_not_json_is_not_believed(answer):
    assert "the answer is not JSON" in doubt(answer, sent())


@pytest.mark.parametrize("field", ["ErrorMessage", "Other"])
def test_what_is_nested_deep_is_not_believed(field):
    deep = b"[" * 1_000_000 + b"]" * 1_000_000  # Python 3.14 skips 100,000
    answer = body({"ErrorCode": -1, field: "~"}, failed=1).replace(b'"~"', deep)
    assert doubt(answer, sent(1)).startswith("the answer is JSON that is nested too deep")


def test_at_any_depth_an_answer_is_read_or_not_believed():
    for depth in [*range(800, 1_100), 3_000, 10_000]:  # how deep a Python reads differs
        deep = b"[" * depth + b"]" * depth
        answer = body({"ErrorCode": -1, "ErrorMessage": "~"}, failed=1).replace(b'"~"', deep)
        try:
            names = [name for *_, name in parse_put_answer(answer, sent(1)).errors]
        except UnbelievableAnswerError:
            continue
        assert names == ["unnamed"]


def test_every_beginning_of_an_answer_is_not_believed():
    for cut in range(len(GOOD)):
        doubt(GOOD[:cut], sent())


@pytest.mark.parametrize(
    "value",
    [
        None, [], 5, "Records", {}, {"FailedRecordCount": 0},
        {"FailedRecordCount": 0, "Records": None},
        {"FailedRecordCount": 0, "Records": {"0": stored(0, 1)}},
        {"FailedRecordCount": 0, "Records": [stored(0, 1), None, stored(0, 2)]},
        {"FailedRecordCount": 0, "Records": [[0, 1], [0, 2], [0, 3]]},
        {"FailedRecordCount": 0, "records": [stored(0, 1), stored(0, 2), stored(0, 3)]},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_an_answer_without_a_list_of_records_is_not_believed(value):
    assert "the answer has another form" in doubt(json.dumps(value).encode(), sent())


@pytest.mark.parametrize("count", [0, 1, 2, 4, 6])
def test_too_few_or_too_many_records_are_not_believed(count):
    answer = body(*[stored(0, number) for number in range(1, count + 1)])
    assert doubt(answer, sent()) == f"the answer has {count} Records for 3 sent"


@pytest.mark.parametrize("failed", [None, "0", 0.0, False, [], {}, "absent"])
def test_a_failed_count_that_is_not_a_number_is_not_believed(failed):
    fields = {"FailedRecordCount": failed, "Records": [stored(0, 1)]}
    if failed == "absent":
        del fields["FailedRecordCount"]
    assert "FailedRecordCount" in doubt(json.dumps(fields).encode(), sent(1))


@pytest.mark.parametrize(
    ("records", "failed"),
    [
        ([stored(0, 1), stored(0, 2)], 1),
        ([stored(0, 1), stored(0, 2)], -1),
        ([stored(0, 1), refused()], 0),
        ([stored(0, 1), refused()], 2),
        ([refused(), refused()], 1),
    ],
)
def test_a_failed_count_that_disagrees_is_not_believed(records, failed):
    doubt(body(*records, failed=failed), sent(2))


@pytest.mark.parametrize("field", ["ShardId", "SequenceNumber"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "Expected `int`, got `null`"),
        (True, "Expected `int`, got `bool`"),
        (False, "Expected `int`, got `bool`"),
        (1.0, "Expected `int`, got `float`"),
        ("1", "Expected `int`, got `str`"),
        ([1], "Expected `int`, got `array`"),
        (-1, "negative"),
        (-(2**40), "negative"),
        (5 - 2**32, "negative"),  # 5 in 32 bits
        (2**63, "out of range"),
    ],
)
def test_a_place_that_is_not_a_whole_number_is_not_believed(field, value, reason):
    answer = body(stored(0, 1) | {field: value})
    why = doubt(answer, sent(1))
    assert field in why
    assert reason in why


@pytest.mark.parametrize("field", ["ShardId", "SequenceNumber"])
def test_a_stored_record_without_its_place_is_not_believed(field):
    record = stored(0, 1)
    del record[field]
    assert field in doubt(body(record), sent(1))


@pytest.mark.parametrize("shard", [2**31, 2**40])
def test_a_shard_beyond_32_bits_is_not_believed(shard):
    assert "out of range" in doubt(body(stored(shard, 1)), sent(1))


@pytest.mark.parametrize("code", [None, "5", 1.5, True, 2**64])
def test_an_error_code_that_is_not_a_number_is_not_believed(code):
    doubt(body(refused(code), failed=1), sent(1))


@pytest.mark.parametrize("order", [p for p in permutations(range(3)) if p != (0, 1, 2)])
def test_records_of_a_shard_in_another_order_are_not_believed(order):
    answer = body(*[stored(4, 11 + at) for at in order])
    assert doubt(answer, sent()) == "sequence numbers do not ascend within a shard"


def test_the_same_number_twice_is_not_believed():
    assert "do not ascend" in doubt(body(stored(0, 1), stored(0, 1)), sent(2))


def test_refused_records_between_do_not_hide_a_wrong_order():
    answer = body(stored(0, 5), refused(), stored(1, 1), stored(0, 4), failed=1)
    assert "do not ascend" in doubt(answer, sent(4))


def test_numbers_of_different_shards_are_not_compared():
    reported = parse_put_answer(body(stored(2, 9), stored(0, 1), stored(1, 5)), sent())
    assert reported.stored.all()


@pytest.mark.parametrize("asked", [[1], [0]])
def test_a_record_in_another_shard_than_asked_is_not_believed(asked):
    assert "another shard than it asked for" in doubt(body(stored(2, 1)), sent(1, shard=asked))


def test_a_refused_record_need_not_be_in_the_shard_it_asked_for():
    reported = parse_put_answer(
        body(refused(-1, "ShardIDOutOfRangeException"), stored(3, 1), failed=1),
        sent(2, shard=[9, 3]),
    )
    assert reported.stored.tolist() == [False, True]


def test_equal_keys_in_two_shards_are_not_believed():
    entries = sent(3, destination=[7, 8, 7])
    assert "in two shards" in doubt(body(stored(0, 1), stored(1, 1), stored(2, 1)), entries)


def test_equal_keys_in_one_shard_are_believed():
    entries = sent(4, destination=[7, 8, 7, 0])
    answer = body(stored(0, 1), stored(1, 1), stored(0, 2), stored(2, 1))
    assert parse_put_answer(answer, entries).stored.all()


def test_records_without_a_key_may_go_anywhere():
    assert parse_put_answer(body(stored(0, 1), stored(5, 1)), sent(2)).stored.all()


def test_a_key_beside_a_shard_does_not_count_as_a_key():
    entries = sent(2, shard=[0, 1], destination=[7, 7])
    assert parse_put_answer(body(stored(0, 1), stored(1, 1)), entries).stored.all()


def test_an_error_code_in_a_record_that_is_not_counted_is_not_believed():
    odd = stored(0, 1) | refused()
    assert "FailedRecordCount" in doubt(body(odd, stored(0, 2), stored(0, 3)), sent())
    fine = stored(0, 1) | {"ErrorCode": 0}
    assert parse_put_answer(body(fine), sent(1)).stored.tolist() == [True]

"""The table of contract section 3, written out from its words, not from the code.

"Not stored: DNS, connect, proxy CONNECT and TLS-handshake failures, 3xx, 400, 401, 403,
404, 409, 413, 429. Everything else after the body began to leave is unknown: timeout,
reset, EOF, TLS error, 408, every 5xx including 503, any status not named here."
"""

import json
from typing import get_args

import pytest

from tests.internals import (
    Answer,
    Fault,
    FaultKind,
    Stage,
    classify_query_response,
    classify_response,
    describe_failure,
)

NAMED = {
    200: ("parse", None),
    400: ("bisect", None),
    401: ("stop", "authentication"),
    403: ("stop", "permission"),
    404: ("stop", "missing"),
    409: ("retry", None),
    413: ("split", None),
    429: ("retry", None),
}
MOVED = ("stop", "moved")
NOT_STORED = ("retry", None)
UNKNOWN = ("unknown", None)


def fields(classified):
    return (classified.step, classified.cause)


def answer(status, message=None, code=-1):
    fields = {"ErrorCode": code, "ErrorMessage": message}
    return Answer(status, {}, b"" if message is None else json.dumps(fields).encode())


def expected(status):
    """Look the contract's sentence up for a status."""
    return MOVED if 300 <= status <= 399 else NAMED.get(status, UNKNOWN)


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_its_class(status):
    assert fields(classify_response(answer(status))) == expected(status)


@pytest.mark.parametrize("status", [0, 99, 600, 999])
def test_a_number_that_is_no_status_is_unknown(status):
    assert fields(classify_response(answer(status))) == UNKNOWN


@pytest.mark.parametrize("status", [201, 202, 204, 206, 408, 418, 425, 500, 502, 503, 504, 507])
def test_these_are_unknown_however_final_they_sound(status):
    assert fields(classify_response(answer(status, "ResourceNotFoundException"))) == UNKNOWN


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("InvalidArgumentException", ("bisect", None)),
        ("ShardIDOutOfRangeException", ("bisect", None)),
        ("Permission denied", ("stop", "permission")),
        ("ResourceNotFoundException", ("stop", "missing")),
        ("No such file or directory", ("stop", "missing")),
        ("ResourceIsnotStream", ("stop", "not a stream")),
        ("ResourceNotStreamException", ("stop", "not a stream")),
        ("something that nobody documented", ("bisect", None)),
        ("", ("bisect", None)),
        (None, ("bisect", None)),
    ],
)
def test_a_400_is_classified_by_its_name(message, expected):
    assert fields(classify_response(answer(400, message))) == expected


def test_a_400_is_not_classified_by_words_in_its_text():
    sentence = "the ResourceNotFoundException is what this is not"
    assert fields(classify_response(answer(400, sentence))) == ("bisect", None)


def test_a_page_with_status_400_is_bisected():
    page = Answer(400, {}, b"<html><title>400 Bad Request</title></html>")
    assert fields(classify_response(page)) == ("bisect", None)


FAULTS = {
    #               connecting  sending  waiting
    "dns":         (NOT_STORED, UNKNOWN, UNKNOWN),
    "connect":     (NOT_STORED, UNKNOWN, UNKNOWN),
    "proxy":       (NOT_STORED, UNKNOWN, UNKNOWN),
    "tls":         (NOT_STORED, UNKNOWN, UNKNOWN),
    "certificate": (("stop", "certificate"), UNKNOWN, UNKNOWN),
    "scheme":      (("stop", "scheme"), UNKNOWN, UNKNOWN),
    "timeout":     (NOT_STORED, UNKNOWN, UNKNOWN),
    "reset":       (NOT_STORED, UNKNOWN, UNKNOWN),
    "closed":      (NOT_STORED, UNKNOWN, UNKNOWN),
    "garbled":     (NOT_STORED, UNKNOWN, UNKNOWN),
    "stopped":     (NOT_STORED, UNKNOWN, UNKNOWN),
}  # fmt: skip
STAGES = ("connecting", "sending", "waiting")
EVERY_FAULT = [
    (kind, stage, expected)
    for kind, by_stage in FAULTS.items()
    for stage, expected in zip(STAGES, by_stage, strict=True)
]


def test_the_table_of_faults_is_complete():
    assert set(FAULTS) == set(get_args(FaultKind))
    assert set(STAGES) == set(get_args(Stage))


@pytest.mark.parametrize(("kind", "stage", "expected"), EVERY_FAULT)
def test_every_fault_has_its_class(kind, stage, expected):
    assert fields(classify_response(Fault(kind, stage, ""))) == expected


@pytest.mark.parametrize(
    ("status", "step"),
    [
        (200, "parse"),
        (204, "parse"),
        (301, "stop"),
        (308, "stop"),
        (400, "parse"),
        (401, "stop"),
        (403, "stop"),
        (404, "parse"),
        (408, "retry"),
        (409, "retry"),
        (413, "retry"),
        (416, "parse"),
        (429, "retry"),
        (500, "retry"),
        (502, "retry"),
        (503, "retry"),
        (599, "retry"),
    ],
)
def test_a_question_is_asked_again_unless_it_is_answered_or_refused_for_good(status, step):
    assert classify_query_response(answer(status)).step == step


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Permission denied", ("stop", "permission")),
        ("ResourceIsnotStream", ("stop", "not a stream")),
        ("ResourceNotFoundException", ("parse", None)),
        ("ShardIDOutOfRangeException", ("parse", None)),
        ("InvalidArgumentException", ("parse", None)),
        ("IllegalLocationException", ("parse", None)),
    ],
)
def test_a_question_is_refused_by_the_name_in_a_400_too(name, expected):
    classified = classify_query_response(answer(400, name))
    assert (classified.step, classified.cause) == expected


@pytest.mark.parametrize("stage", ["connecting", "sending", "waiting"])
@pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind not in ("certificate", "scheme")])
def test_a_question_that_got_no_answer_is_asked_again(kind, stage):
    assert classify_query_response(Fault(kind, stage, "")).step in ("retry", "unknown")


def test_an_answer_is_described_by_its_name_and_number():
    failure = describe_failure(answer(400, "InvalidArgumentException", -201326592))
    assert (failure.message, failure.code) == ("InvalidArgumentException", -201326592)
    assert failure.detail == "the platform answered 400: InvalidArgumentException"


def test_a_page_is_described_by_its_status_and_title():
    page = Answer(502, {}, b"<html><head><title>502 Bad Gateway</title></head></html>")
    failure = describe_failure(page)
    assert (failure.message, failure.code) == ("HTTP 502", None)
    assert failure.detail == "the platform answered 502: Bad Gateway"


def test_a_fault_is_described_as_no_answer():
    failure = describe_failure(Fault("timeout", "waiting", "read timed out"))
    assert (failure.message, failure.code) == ("NoAnswer", None)
    assert failure.detail == "timeout while waiting: read timed out"

"""Each answer that no retry can change has its error, with status, number and advice."""

import json

import pytest

from tests.delivery.examples import PLACE
from tests.internals import (
    Answer,
    Failure,
    Fault,
    describe_cause,
    is_missing,
    request_errors,
)
from v3io_frames_put.errors import (
    AuthenticationError,
    NotAStream,
    PermissionDenied,
    PlatformUnavailable,
    RequestError,
    StreamNotFound,
)


def answer(status, message=None, code=-5, **headers):
    fields = {} if message is None else {"ErrorCode": code, "ErrorMessage": message}
    return Answer(status, headers, json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (answer(401), AuthenticationError),
        (answer(403), PermissionDenied),
        (answer(400, "Permission denied"), PermissionDenied),
        (answer(400, "ResourceIsnotStream"), NotAStream),
        (answer(404), StreamNotFound),
        (answer(400, "ResourceNotFoundException"), StreamNotFound),
        (answer(301), RequestError),
        (answer(400, "Odd"), RequestError),
    ],
)
def test_an_answer_has_its_error(given, kind):
    error = request_errors.request_error(given, doing="put", stream=PLACE, where="http://p")
    assert type(error) is kind
    assert error.status == given.status
    assert str(PLACE) in str(error)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer(404), True),
        (answer(404, "Odd"), True),
        (answer(400, "ResourceNotFoundException"), True),
        (answer(400, "Odd"), False),
    ],
)
def test_what_is_missing_is_named_so_by_status_or_name(given, expected):
    assert is_missing(given) is expected


def test_any_other_answer_is_repeated_with_its_number():
    error = request_errors.request_error(
        answer(400, "Odd"), doing="put", stream=PLACE, where="http://p"
    )
    assert "the platform answered 400 Odd, ErrorCode -5." in str(error)
    assert error.error_code == -5


def test_an_answer_without_a_number_has_none():
    error = request_errors.request_error(
        Answer(400, {}, b""), doing="put", stream=PLACE, where="http://p"
    )
    assert "the platform answered 400 HTTP 400." in str(error)


def test_a_missing_stream_is_described_by_the_answer_if_there_is_one():
    missing = request_errors.stream_not_found(PLACE)
    assert "nothing is there at http://simulated;" in str(missing)
    assert missing.status is None
    error = request_errors.request_error(
        answer(404, "ResourceNotFoundException"), doing="put", stream=PLACE, where="http://p"
    )
    assert (
        "nothing is there at http://simulated (404 ResourceNotFoundException, ErrorCode -5);"
        in str(error)
    )


def test_a_redirect_names_the_host_alone():
    headers = {"location": "https://user:secret@other:8443/projects/a"}
    moved = request_errors.moved(Answer(308, headers, b""), doing="put", where="http://p")
    assert "it has moved to https://other:8443. Set endpoint=" in str(moved)
    nowhere = request_errors.moved(Answer(308, {}, b""), doing="put", where="http://p")
    assert "which no v3io web API does" in str(nowhere)


def test_a_platform_without_a_useful_answer_is_unavailable():
    options = {"doing": "look", "where": "http://p", "seconds": 3.0, "tries": 2}
    busy = request_errors.unavailable(answer(503, "busy"), **options)
    assert type(busy) is PlatformUnavailable
    assert (busy.status, busy.error_code) == (503, -5)
    assert "the platform answered 503 busy, ErrorCode -5" in str(busy)
    silent = request_errors.unavailable(Fault("timeout", "waiting", "read timed out"), **options)
    assert (silent.status, silent.error_code) == (None, None)
    assert "timeout (read timed out)" in str(silent)
    unreached = request_errors.unavailable(Fault("dns", "connecting", "no such host"), **options)
    assert "the last: no such host." in str(unreached)


def test_a_change_that_may_have_been_made_is_undecided():
    options = {"doing": "create", "where": "http://p"}
    busy = request_errors.undecided(answer(503, "busy"), **options)
    assert type(busy) is PlatformUnavailable
    assert (busy.status, busy.error_code) == (503, -5)
    assert "it is not known whether it was done" in str(busy)
    silent = request_errors.undecided(Fault("timeout", "waiting", "read timed out"), **options)
    assert (silent.status, silent.error_code) == (None, None)


def test_a_wrong_scheme_and_a_foreign_certificate_have_advice_of_their_own():
    scheme = Fault("scheme", "connecting", "the port speaks no TLS")
    error = request_errors.fault_error(scheme, doing="put")
    assert str(error) == (
        "put: the port speaks no TLS. Correct the scheme of endpoint= or V3IO_API."
    )
    certificate = Fault("certificate", "connecting", "self-signed")
    error = request_errors.fault_error(certificate, doing="put")
    assert "certificate is not trusted (self-signed). Give verify= the file" in str(error)


def test_a_cause_for_people_is_the_detail_or_else_the_name():
    assert describe_cause(Failure("NoAnswer", "refused")) == "refused"
    assert describe_cause(Failure("NoAnswer")) == "NoAnswer"

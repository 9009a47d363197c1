"""Every exception of the libraries that open a connection has a row in the table."""

import http.client
import socket
import ssl

import pytest
import urllib3.exceptions

from tests.internals import (
    KINDS,
    NETWORK_ERRORS,
    ClosedError,
    CutError,
    GarbledAnswerError,
    fault_detail,
    fault_kind,
)

LIBRARIES = (urllib3.exceptions, http.client, ssl, socket)


# Theirs, and nothing that a request ends with: notes of a parser, private signals.
NEVER_RAISED = {"MessageDefect", "_GiveupOnSendfile"}


def exceptions_of(library):
    values = [value for value in vars(library).values() if isinstance(value, type)]
    return [
        value
        for value in values
        if issubclass(value, Exception) and not issubclass(value, Warning)
        if value.__name__ not in NEVER_RAISED
    ]


EVERY = sorted({error for library in LIBRARIES for error in exceptions_of(library)}, key=str)
KIND_OF = {  # written out from what each of them means, not from the table under test
    "timeout": """
        TimeoutError ConnectTimeoutError ReadTimeoutError
    """,
    "dns": "gaierror NameResolutionError LocationParseError",
    "connect": "NewConnectionError",
    "proxy": "ProxyError ProxySchemeUnsupported",
    "certificate": "SSLCertVerificationError",
    "tls": """
        SSLError SSLEOFError SSLSyscallError SSLWantReadError SSLWantWriteError SSLZeroReturnError
    """,
    "reset": "OSError herror RemoteDisconnected",
}
EXPECTED = {name: kind for kind, names in KIND_OF.items() for name in names.split()}


@pytest.mark.parametrize("kind_of_error", EVERY, ids=str)
def test_every_exception_is_caught_and_has_its_kind(kind_of_error):
    expected = EXPECTED.get(kind_of_error.__name__, "garbled")
    assert issubclass(kind_of_error, NETWORK_ERRORS)
    assert fault_kind(kind_of_error.__new__(kind_of_error)) == expected


def test_no_row_comes_after_one_that_takes_all_it_could_take():
    kinds = [kind_of_error for kind_of_error, _ in KINDS]
    hidden = [
        (late.__qualname__, early.__qualname__)
        for place, late in enumerate(kinds)
        for early in kinds[:place]
        if issubclass(late, early) and dict(KINDS)[late] != dict(KINDS)[early]
    ]
    assert hidden == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CutError("stopped"), "stopped"),
        (socket.gaierror(-2, "no such name"), "dns"),
        (ConnectionRefusedError(111, "refused"), "connect"),
        (TimeoutError("timed out"), "timeout"),
        (ConnectionResetError(104, "reset"), "reset"),
        (BrokenPipeError(32, "broken"), "reset"),
        (OSError(113, "no route"), "reset"),
        (ClosedError("closed"), "closed"),
        (GarbledAnswerError("x"), "garbled"),
        (ssl.SSLError(1, "bad record"), "tls"),
        (ssl.SSLCertVerificationError(1, "unknown"), "certificate"),
    ],
)
def test_a_kind_is_found_however_deep_its_cause_lies(error, kind):
    wrapped = urllib3.exceptions.ProtocolError("Connection aborted.", error)
    within = urllib3.exceptions.MaxRetryError(None, "/", wrapped)
    assert fault_kind(error) == fault_kind(wrapped) == fault_kind(within) == kind
    detail = fault_detail(within, kind, "http://host")
    assert type(error).__name__ in detail or detail == "connection refused by host"


def test_what_is_a_mistake_of_ours_is_raised():
    with pytest.raises(ZeroDivisionError):
        fault_kind(ZeroDivisionError())

"""Every exception of the libraries below us has a row in the table."""

import http.client
import socket
import ssl

import pytest
import requests
import urllib3.exceptions

from tests.internals import KINDS, NETWORK_ERRORS, CutError, fault_kind, fault_text

LIBRARIES = (requests.exceptions, urllib3.exceptions, http.client, ssl, socket)


# Theirs, and nothing that a request ends with: notes of a parser, private signals.
NEVER_RAISED = {"MessageDefect", "_GiveupOnSendfile"}


def exceptions_of(library):
    values = [value for value in vars(library).values() if isinstance(value, type)]
    return [
        value
        for value in values
        if issubclass(value, Exception) and not issubclass(value, Warning)
        if value.__name__ not in NEVER_RAISED and value.__module__ != "json.decoder"
    ]


EVERY = sorted({error for library in LIBRARIES for error in exceptions_of(library)}, key=str)
KIND_OF = {  # written out from what each of them means, not from the table under test
    "timeout": """
        builtins.TimeoutError
        requests.exceptions.ConnectTimeout requests.exceptions.ReadTimeout
        requests.exceptions.Timeout
        urllib3.exceptions.ConnectTimeoutError urllib3.exceptions.ReadTimeoutError
        urllib3.exceptions.TimeoutError
    """,
    "dns": """
        socket.gaierror urllib3.exceptions.NameResolutionError
        urllib3.exceptions.LocationParseError
    """,
    "connect": "urllib3.exceptions.NewConnectionError",
    "proxy": """
        requests.exceptions.ProxyError urllib3.exceptions.ProxyError
        urllib3.exceptions.ProxySchemeUnsupported
    """,
    "certificate": "ssl.SSLCertVerificationError",
    "tls": """
        ssl.SSLError ssl.SSLEOFError ssl.SSLSyscallError ssl.SSLWantReadError
        ssl.SSLWantWriteError ssl.SSLZeroReturnError
        requests.exceptions.SSLError urllib3.exceptions.SSLError
    """,
    "closed": """
        http.client.RemoteDisconnected http.client.IncompleteRead
        urllib3.exceptions.IncompleteRead
    """,
    "reset": """
        builtins.OSError socket.herror
        requests.exceptions.RequestException requests.exceptions.ConnectionError
        requests.exceptions.HTTPError requests.exceptions.InvalidHeader
        requests.exceptions.InvalidJSONError requests.exceptions.InvalidProxyURL
        requests.exceptions.InvalidSchema requests.exceptions.InvalidURL
        requests.exceptions.JSONDecodeError requests.exceptions.MissingSchema
        requests.exceptions.RetryError requests.exceptions.StreamConsumedError
        requests.exceptions.TooManyRedirects requests.exceptions.URLRequired
        requests.exceptions.UnrewindableBodyError
    """,
    "garbled": """
        http.client.HTTPException http.client.BadStatusLine http.client.CannotSendHeader
        http.client.CannotSendRequest http.client.ImproperConnectionState
        http.client.InvalidURL http.client.LineTooLong http.client.NotConnected
        http.client.ResponseNotReady http.client.UnimplementedFileMode
        http.client.UnknownProtocol http.client.UnknownTransferEncoding
        requests.exceptions.ChunkedEncodingError requests.exceptions.ContentDecodingError
        urllib3.exceptions.HTTPError urllib3.exceptions.BodyNotHttplibCompatible
        urllib3.exceptions.ClosedPoolError urllib3.exceptions.DecodeError
        urllib3.exceptions.EmptyPoolError urllib3.exceptions.FullPoolError
        urllib3.exceptions.HeaderParsingError urllib3.exceptions.HostChangedError
        urllib3.exceptions.InvalidChunkLength urllib3.exceptions.InvalidHeader
        urllib3.exceptions.LocationValueError urllib3.exceptions.MaxRetryError
        urllib3.exceptions.PoolError urllib3.exceptions.ProtocolError
        urllib3.exceptions.ProxySchemeUnknown urllib3.exceptions.RequestError
        urllib3.exceptions.ResponseError urllib3.exceptions.ResponseNotChunked
        urllib3.exceptions.TimeoutStateError urllib3.exceptions.URLSchemeUnknown
        urllib3.exceptions.UnrewindableBodyError
    """,
}
EXPECTED = {name: kind for kind, names in KIND_OF.items() for name in names.split()}


def name_of(kind_of_error):
    return f"{kind_of_error.__module__}.{kind_of_error.__qualname__}"


@pytest.mark.parametrize("kind_of_error", EVERY, ids=name_of)
def test_every_exception_is_caught_and_has_its_kind(kind_of_error):
    assert issubclass(kind_of_error, NETWORK_ERRORS)
    assert fault_kind(kind_of_error.__new__(kind_of_error)) == EXPECTED[name_of(kind_of_error)]


def test_no_row_stands_behind_one_that_takes_all_it_could_take():
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
        (http.client.RemoteDisconnected("closed"), "closed"),
        (http.client.IncompleteRead(b""), "closed"),
        (http.client.BadStatusLine("x"), "garbled"),
        (ssl.SSLError(1, "bad record"), "tls"),
        (ssl.SSLCertVerificationError(1, "unknown"), "certificate"),
    ],
)
def test_a_kind_is_found_however_deep_its_cause_lies(error, kind):
    wrapped = urllib3.exceptions.ProtocolError("Connection aborted.", error)
    within = requests.ConnectionError(wrapped)
    assert fault_kind(error) == fault_kind(wrapped) == fault_kind(within) == kind
    assert type(error).__name__ in fault_text(within)


def test_what_is_a_mistake_of_ours_is_raised():
    with pytest.raises(ZeroDivisionError):
        fault_kind(ZeroDivisionError())

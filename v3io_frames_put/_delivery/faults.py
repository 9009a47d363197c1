"""Every exception that a request can end with -> what went wrong.

The table is the rule: its first row that fits wins, so the narrower class stands
first. What fits no row is a mistake of ours and is not caught.
"""

from __future__ import annotations

import socket
import ssl
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from typing import TYPE_CHECKING, Final

import requests
import urllib3.exceptions as u3

from v3io_frames_put._delivery.connection import CutError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from v3io_frames_put._wire.exchange import FaultKind

NETWORK_ERRORS: Final = (
    OSError,
    HTTPException,
    UnicodeError,  # a host name that no name look-up takes
    u3.HTTPError,
    u3.ProxySchemeUnsupported,
    requests.RequestException,
)

KINDS: Final[tuple[tuple[type[BaseException], FaultKind], ...]] = (
    (CutError, "stopped"),
    (ssl.SSLCertVerificationError, "certificate"),
    (u3.ProxyError, "proxy"),
    (u3.ProxySchemeUnsupported, "proxy"),
    (requests.exceptions.ProxyError, "proxy"),
    (socket.gaierror, "dns"),
    (u3.NameResolutionError, "dns"),
    (UnicodeError, "dns"),
    (u3.LocationParseError, "dns"),
    (ssl.SSLError, "tls"),
    (u3.SSLError, "tls"),
    (requests.exceptions.SSLError, "tls"),
    (u3.NewConnectionError, "connect"),
    (ConnectionRefusedError, "connect"),
    (TimeoutError, "timeout"),
    (u3.TimeoutError, "timeout"),
    (requests.Timeout, "timeout"),
    (RemoteDisconnected, "closed"),
    (u3.InvalidChunkLength, "garbled"),  # narrower than the next
    (IncompleteRead, "closed"),
    (ConnectionError, "reset"),
    (HTTPException, "garbled"),
    (u3.DecodeError, "garbled"),
    (u3.HeaderParsingError, "garbled"),
    (requests.exceptions.ContentDecodingError, "garbled"),
    (requests.exceptions.ChunkedEncodingError, "garbled"),
    (requests.exceptions.ConnectionError, "reset"),
    (OSError, "reset"),
    (u3.HTTPError, "garbled"),
)

_MAX_TEXT: Final = 200


def fault_kind(error: BaseException) -> FaultKind:
    """Say what went wrong, by the error and what lies within it."""
    errors = list(_layers(error))
    for kind_of_error, kind in KINDS:
        if any(isinstance(layer, kind_of_error) for layer in errors):
            return kind
    raise error


def fault_text(error: BaseException) -> str:
    """Describe an error for people, in the words of its innermost layer."""
    inner = list(_layers(error))[-1]
    return " ".join(f"{type(inner).__name__}: {inner}".split())[:_MAX_TEXT]


def _layers(error: BaseException) -> Iterator[BaseException]:
    """Unwrap an error: urllib3 and requests put the cause in many places."""
    seen: set[int] = set()
    layer: BaseException | None = error
    while layer is not None and id(layer) not in seen:
        seen.add(id(layer))
        yield layer
        layer = _within(layer)


def _within(error: BaseException) -> BaseException | None:
    candidates = (getattr(error, "reason", None), error.__cause__, *error.args[::-1])
    return next((inner for inner in candidates if isinstance(inner, BaseException)), None)

"""Answers and faults that end a call -> the errors that users see.

PURE. Each says what was asked and where, what came, and what to do. No header and no
whole body goes into a text.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from v3io_frames_put._wire import protocol
from v3io_frames_put._wire.exchange import Answer
from v3io_frames_put.errors import (
    AuthenticationError,
    NotAStream,
    PermissionDenied,
    PlatformUnavailable,
    RequestError,
    StreamNotFound,
)

if TYPE_CHECKING:
    from v3io_frames_put._wire.exchange import Attempt, Fault
    from v3io_frames_put._wire.paths import StreamPath
    from v3io_frames_put._wire.protocol import PlatformError

_Error = TypeVar("_Error", bound=RequestError)

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404


def refusal(answer: Answer, *, doing: str, stream: StreamPath, where: str) -> RequestError:
    """Make the error for an answer that no retry can better."""
    error = protocol.parse_error(answer)
    if answer.status == _UNAUTHORIZED:
        return _make(AuthenticationError, f"{doing} {stream} at {where}: {_BAD_KEY}", error)
    if answer.status == _FORBIDDEN or error.name == protocol.PERMISSION_DENIED:
        return _make(PermissionDenied, f"{doing} {stream} at {where}: {_NO_PERMISSION}", error)
    if error.name == protocol.NOT_A_STREAM:
        return not_a_stream(stream, error)
    if is_missing(answer):
        return stream_not_found(stream, error)
    if answer.status // 100 == 3:  # noqa: PLR2004  # any redirect
        return moved(answer, doing=f"{doing} {stream}", where=where)
    text = f"{doing} {stream} at {where}: the platform answered {_told(error)}."
    return _make(RequestError, text, error)


_BAD_KEY: Final = (
    "the platform did not accept who we are. Check access_key= or V3IO_ACCESS_KEY, "
    "or username= and password=."
)
_NO_PERMISSION: Final = (
    "the platform knows us and does not permit it. Ask for access to the container and path."
)


def is_missing(answer: Answer) -> bool:
    """Say whether an answer means that nothing is there, in any of its forms."""
    name = protocol.parse_error(answer).name
    return answer.status == _NOT_FOUND or name == protocol.RESOURCE_NOT_FOUND


def stream_not_found(stream: StreamPath, error: PlatformError | None = None) -> StreamNotFound:
    """Make the error for a path where nothing is."""
    told = f" ({_told(error)})" if error else ""
    text = (
        f"stream {str(stream)!r}: nothing is there{told}; expected an existing stream. Correct the "
        f"path, or create it: client.create_stream({str(stream)!r}, shards=8)"
    )
    return _make(StreamNotFound, text, error)


def container_not_found(stream: StreamPath, answer: Answer) -> RequestError:
    """Make the error for a stream that cannot be created, for its container is not there."""
    error = protocol.parse_error(answer)
    text = (
        f"create stream {str(stream)!r}: the container {stream.container!r} is not there "
        f"({_told(error)}); expected an existing one, such as 'projects'. Correct the path."
    )
    return _make(RequestError, text, error)


def not_a_stream(
    stream: StreamPath, error: PlatformError | None = None, *, found: str = "something else"
) -> NotAStream:
    """Make the error for a path that holds something else."""
    text = f"stream {str(stream)!r}: {found} is there; expected a stream. Correct the path."
    return _make(NotAStream, text, error)


def moved(answer: Answer, *, doing: str, where: str) -> RequestError:
    """Make the error for a redirect, which is never followed with our key in hand."""
    what = "which no v3io web API does. Check endpoint= or V3IO_API."
    with suppress(ValueError):  # the platform says where, or nonsense
        to = urlsplit(answer.headers.get("location", ""))
        if to.netloc:  # only scheme and host: the rest is the platform's business
            host = f"{to.scheme}://{to.netloc.rpartition('@')[2]}"
            what = f"it has moved to {host}. Set endpoint= or V3IO_API to that address."
    return RequestError(
        f"{doing} at {where}: the platform answered {answer.status}, {what}", status=answer.status
    )


def untrusted(fault: Fault, *, doing: str) -> RequestError:
    """Make the error for a certificate that is not trusted."""
    return RequestError(
        f"{doing}: the platform's certificate is not trusted ({fault.detail}). Give verify= the "
        f"file of the authority that signed it; verify=False trusts anyone."
    )


def unavailable(
    last: Attempt, *, doing: str, where: str, seconds: float, tries: int
) -> PlatformUnavailable:
    """Make the error for a platform that did not answer usefully in time."""
    text = (
        f"{doing} at {where}: no usable answer in {tries} tries within {seconds:.0f} s; the last: "
        f"{tell(last)}. Check the endpoint and the network, or try again later."
    )
    return _unavailable(text, last)


def undecided(last: Attempt, *, doing: str, where: str) -> PlatformUnavailable:
    """Make the error for a change of which nobody knows whether it was made."""
    text = (
        f"{doing} at {where}: {tell(last)}, so it is not known whether it was done. "
        f"Look with describe_stream, then decide."
    )
    return _unavailable(text, last)


def _unavailable(text: str, last: Attempt) -> PlatformUnavailable:
    if not isinstance(last, Answer):
        return PlatformUnavailable(text)
    code = protocol.parse_error(last).code
    return PlatformUnavailable(text, status=last.status, error_code=code)


def tell(last: Attempt) -> str:
    """Say in a few words what came of a try."""
    if isinstance(last, Answer):
        return f"the platform answered {_told(protocol.parse_error(last))}"
    return f"{last.kind} ({last.detail})"


def _told(error: PlatformError) -> str:
    """Repeat an error: status, name, number."""
    number = "" if error.code is None else f", ErrorCode {error.code}"
    return f"{error.status} {error.text}{number}"


def _make(kind: type[_Error], text: str, error: PlatformError | None) -> _Error:
    if error is None:
        return kind(text)
    return kind(text, status=error.status, error_code=error.code)

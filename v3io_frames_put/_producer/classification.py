"""Answers and faults -> what is known of the records, what to do next, which error to raise.

The docs page "Delivery guarantees" has the tables. Status codes and names decide, never wording.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

from .._wire import api
from .._wire.api import Answer, Attempt, Fault, PlatformError, parse_error
from ..errors import (
    AuthenticationError,
    NotAStream,
    PermissionDenied,
    PlatformUnavailable,
    RequestError,
    StreamNotFound,
)
from .values import Failure

if TYPE_CHECKING:
    from .._wire.paths import StreamPath

Knowledge: TypeAlias = Literal["not stored", "unknown", "parse"]
"""Of the records of a request: none is stored; it is not known; the answer says it of each."""

Step: TypeAlias = Literal["parse", "retry", "split", "bisect", "stop"]
"""Parse the answer record by record; send again after a pause; send the halves one
after the other; the same down to the one record at fault; stop the whole run."""

Cause: TypeAlias = Literal[
    "authentication",
    "permission",
    "missing",
    "not a stream",
    "moved",
    "certificate",
    "scheme",
    "unavailable",
    "stopped",
]
"""Why a run stops: what no retry can change and every row shares, silence, or the user."""


@dataclass(frozen=True, slots=True)
class Classification:
    """What a request's end means for its records."""

    knowledge: Knowledge
    step: Step  # what to do next, where delivery allows to send again
    cause: Cause | None = None  # why the run stops, where it does


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run ended early: what no retry can change, silence for the deadline, or the user."""

    cause: Cause
    attempt: Attempt | None = None  # what the platform said, where it did
    seconds: float = 0.0  # how long it was silent, where that is the cause
    had_contact: bool = True  # it had accepted a connection before


_RETRY: Final = Classification("not stored", "retry")
_UNKNOWN: Final = Classification("unknown", "retry")
_BISECT: Final = Classification("not stored", "bisect")

_DENIED: Final = Classification("not stored", "stop", "permission")
_MISSING: Final = Classification("not stored", "stop", "missing")
CONNECTING_STOPS: Final[dict[str, Classification]] = {
    "certificate": Classification("not stored", "stop", "certificate"),
    "scheme": Classification("not stored", "stop", "scheme"),
}
"""By kind of a fault while connecting."""

STATUS_CLASSES: Final[dict[int, Classification]] = {
    200: Classification("parse", "parse"),
    **dict.fromkeys(range(300, 400), Classification("not stored", "stop", "moved")),
    400: _BISECT,
    401: Classification("not stored", "stop", "authentication"),
    403: _DENIED,
    404: _MISSING,
    409: _RETRY,
    413: Classification("not stored", "split"),
    429: _RETRY,
}
"""By HTTP status. A status that is not here is unknown: 408, every 5xx, all others."""

NAMED_400_CLASSES: Final[dict[str, Classification]] = {
    "InvalidArgumentException": _BISECT,
    "ShardIDOutOfRangeException": _BISECT,
    "Permission denied": _DENIED,
    "ResourceNotFoundException": _MISSING,
    "ResourceIsnotStream": Classification("not stored", "stop", "not a stream"),
}
"""By the platform's error name in a 400."""

REJECTING_NAMES: Final = frozenset(NAMED_400_CLASSES)
"""Names that refuse one record inside a believed 200; any other is unknown for it."""


def classify_response(attempt: Attempt) -> Classification:
    if not isinstance(attempt, Answer):
        return _classify_fault(attempt)
    if attempt.status == 400:  # noqa: PLR2004  # the one status whose name matters
        return NAMED_400_CLASSES.get(parse_error(attempt).name or "", _BISECT)
    return STATUS_CLASSES.get(attempt.status, _UNKNOWN)


def _classify_fault(fault: Fault) -> Classification:
    if fault.stage != "connecting":
        return _UNKNOWN
    return CONNECTING_STOPS.get(fault.kind, _RETRY)


def describe_failure(attempt: Attempt) -> Failure:
    """Return the error columns of a request that failed."""
    if isinstance(attempt, Answer):
        error = parse_error(attempt)
        detail = f"the platform answered {error.status}: {error.text}"
        return Failure(error.name, detail, error.code)
    if attempt.stage == "connecting":
        return Failure("NoAnswer", attempt.detail)  # which says that there is no connection
    return Failure("NoAnswer", f"{attempt.kind} while {attempt.stage}: {attempt.detail}")


def describe_cause(failure: Failure) -> str:
    """Return why a request failed, for people: a name such as NoAnswer says nothing of it."""
    return failure.detail or failure.message


QUERY_STOPS: Final[dict[int, Classification]] = {
    status: classification
    for status, classification in STATUS_CLASSES.items()
    if classification.step == "stop" and classification.cause != "missing"
}
"""By HTTP status of a request that only reads; 404 is an answer there."""

_PASSING: Final = frozenset({408, 429})
_FIRST_SERVER_ERROR: Final = 500
# To a change these are an answer: it exists already, it is not empty, it is too large.
_NO_ANSWER_TO_A_QUERY: Final = frozenset({409, 413})


def is_passing(answer: Answer) -> bool:
    """Return whether the same request may be answered otherwise when it is sent again."""
    return answer.status in _PASSING or answer.status >= _FIRST_SERVER_ERROR


def classify_query_response(attempt: Attempt) -> Classification:
    """Classify how a request that only reads ended: parse it, retry, or stop."""
    if not isinstance(attempt, Answer):
        return _classify_fault(attempt)
    if is_passing(attempt) or attempt.status in _NO_ANSWER_TO_A_QUERY:
        return _RETRY
    return QUERY_STOPS.get(attempt.status, STATUS_CLASSES[200])


_Error = TypeVar("_Error", bound=RequestError)

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404


def request_error(answer: Answer, *, doing: str, stream: StreamPath, where: str) -> RequestError:
    """Return the error for an answer that no retry can change."""
    error = api.parse_error(answer)
    if answer.status == _UNAUTHORIZED:
        return _make(AuthenticationError, f"{doing} {stream} at {where}: {_BAD_KEY}", error)
    if answer.status == _FORBIDDEN or error.name == api.PERMISSION_DENIED:
        return _make(PermissionDenied, f"{doing} {stream} at {where}: {_NO_PERMISSION}", error)
    if error.name == api.NOT_A_STREAM:
        return not_a_stream(stream, error)
    if is_missing(answer):
        return stream_not_found(stream, error)
    if answer.status // 100 == 3:  # noqa: PLR2004  # any redirect
        return moved(answer, doing=f"{doing} {stream}", where=where)
    text = f"{doing} {stream} at {where}: the platform answered {_format_error(error)}."
    return _make(RequestError, text, error)


_BAD_KEY: Final = (
    "the platform did not accept who we are. Check access_key= or V3IO_ACCESS_KEY, "
    "or username= and password=."
)
_NO_PERMISSION: Final = (
    "the platform knows us and does not permit it. Ask for access to the container and path."
)


def is_missing(answer: Answer) -> bool:
    """Return whether an answer means that nothing is there, in any of its forms."""
    name = api.parse_error(answer).name
    return answer.status == _NOT_FOUND or name == api.RESOURCE_NOT_FOUND


def stream_not_found(stream: StreamPath, error: PlatformError | None = None) -> StreamNotFound:
    """Return the error for a path where nothing is."""
    detail = f" ({_format_error(error)})" if error else ""
    text = (
        f"stream {str(stream)!r}: nothing is there{detail}; expected an existing stream. Correct "
        f"the path, or create it: client.create_stream({str(stream)!r}, shards=8)"
    )
    return _make(StreamNotFound, text, error)


def container_not_found(stream: StreamPath, answer: Answer) -> RequestError:
    """Return the error for a stream that cannot be created, for its container is not there."""
    error = api.parse_error(answer)
    text = (
        f"create stream {str(stream)!r}: the container {stream.container!r} is not there "
        f"({_format_error(error)}); expected an existing one, such as 'projects'. Correct the path."
    )
    return _make(RequestError, text, error)


def not_a_stream(
    stream: StreamPath, error: PlatformError | None = None, *, found: str = "something else"
) -> NotAStream:
    """Return the error for a path that holds something else."""
    text = f"stream {str(stream)!r}: {found} is there; expected a stream. Correct the path."
    return _make(NotAStream, text, error)


def moved(answer: Answer, *, doing: str, where: str) -> RequestError:
    """Return the error for a redirect, which is never followed with our key in hand."""
    what = "which no v3io web API does. Check endpoint= or V3IO_API."
    with suppress(ValueError):  # the header may hold anything
        to = urlsplit(answer.headers.get("location", ""))
        if to.netloc:  # only scheme and host: the rest is the platform's business
            host = f"{to.scheme}://{to.netloc.rpartition('@')[2]}"
            what = f"it has moved to {host}. Set endpoint= or V3IO_API to that address."
    return RequestError(
        f"{doing} at {where}: the platform answered {answer.status}, {what}", status=answer.status
    )


def fault_error(fault: Fault, *, doing: str) -> RequestError:
    """Return the error for a fault that no retry can cure."""
    if fault.kind == "scheme":
        advice = f"{fault.detail}. Correct the scheme of endpoint= or V3IO_API."
        return RequestError(f"{doing}: {advice}")
    return RequestError(
        f"{doing}: the platform's certificate is not trusted ({fault.detail}). Give verify= the "
        f"file of the authority that signed it; verify=False trusts anyone."
    )


def unavailable(
    last: Attempt, *, doing: str, where: str, seconds: float, tries: int
) -> PlatformUnavailable:
    """Return the error for a platform that did not answer usefully in time."""
    text = (
        f"{doing} at {where}: no usable answer in {tries} tries within {seconds:.0f} s; the last: "
        f"{describe_last(last)}. Check the endpoint and the network, or try again later."
    )
    error = api.parse_error(last) if isinstance(last, Answer) else None
    return _make(PlatformUnavailable, text, error)


def undecided(last: Attempt, *, doing: str, where: str) -> PlatformUnavailable:
    """Return the error for a change that may have been made, or not."""
    text = (
        f"{doing} at {where}: {describe_last(last)}, so it is not known whether it was done. "
        f"Look with describe_stream, then decide."
    )
    error = api.parse_error(last) if isinstance(last, Answer) else None
    return _make(PlatformUnavailable, text, error)


def describe_last(last: Attempt) -> str:
    """Return in a few words how a request ended."""
    if isinstance(last, Answer):
        return f"the platform answered {_format_error(api.parse_error(last))}"
    return last.detail if last.stage == "connecting" else f"{last.kind} ({last.detail})"


def _format_error(error: PlatformError) -> str:
    number = "" if error.code is None else f", ErrorCode {error.code}"
    return f"{error.status} {error.text}{number}"


def _make(kind: type[_Error], text: str, error: PlatformError | None) -> _Error:
    if error is None:
        return kind(text)
    return kind(text, status=error.status, error_code=error.code)

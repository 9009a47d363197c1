"""The exceptions for requests that failed, and for runs that ended early: what to do about it."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from .. import errors
from .._producer.classification import is_missing
from .._wire import api
from .._wire.api import Answer, Attempt, Fault, PlatformError, parse_error
from ..errors import Interrupted, PlatformUnavailable, RequestError
from ..progress import is_notebook

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._producer.classification import Stop
    from .._wire.paths import StreamPath

_Error = TypeVar("_Error", bound=RequestError)

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403


def request_error(answer: Answer, *, doing: str, stream: StreamPath, where: str) -> RequestError:
    """Return the error for an answer that no retry can change."""
    error = parse_error(answer)
    if answer.status == _UNAUTHORIZED:
        return _make(errors.AuthenticationError, f"{doing} {stream} at {where}: {_BAD_KEY}", error)
    if answer.status == _FORBIDDEN or error.name == api.PERMISSION_DENIED:
        return _make(
            errors.PermissionDenied, f"{doing} {stream} at {where}: {_NO_PERMISSION}", error
        )
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
    "or username= and password=; Client(endpoint=...) does not read the variables."
)
_NO_PERMISSION: Final = (
    "the platform knows us and does not permit it. Ask for access to the container and path."
)


def stream_not_found(
    stream: StreamPath, error: PlatformError | None = None
) -> errors.StreamNotFound:
    """Return the error for a path where nothing is."""
    detail = f" ({_format_error(error)})" if error else ""
    text = (
        f"stream {str(stream)!r}: nothing is there at {stream.endpoint}{detail}; expected an "
        f"existing stream. Correct the path, or create it: "
        f"client.create_stream({str(stream)!r}, shards=8)"
    )
    return _make(errors.StreamNotFound, text, error)


def container_not_found(stream: StreamPath, answer: Answer) -> RequestError:
    """Return the error for a stream that cannot be created, for its container is not there."""
    error = parse_error(answer)
    text = (
        f"create stream {str(stream)!r}: the container {stream.container!r} is not there at "
        f"{stream.endpoint} ({_format_error(error)}); expected an existing one. Correct the path."
    )
    return _make(RequestError, text, error)


def not_a_stream(
    stream: StreamPath, error: PlatformError | None = None, *, found: str = "something else"
) -> errors.NotAStream:
    """Return the error for a path that holds something else."""
    text = f"stream {str(stream)!r}: {found} is there; expected a stream. Correct the path."
    return _make(errors.NotAStream, text, error)


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
        f"{doing} at {where}: no usable answer in {tries} {'try' if tries == 1 else 'tries'} "
        f"within {seconds:.0f} s; the last: {describe_last(last)}. Check the endpoint and the "
        f"network, or try again later."
    )
    error = parse_error(last) if isinstance(last, Answer) else None
    return _make(PlatformUnavailable, text, error)


def undecided(last: Attempt, *, doing: str, where: str) -> PlatformUnavailable:
    """Return the error for a change that may have been made, or not."""
    text = (
        f"{doing} at {where}: {describe_last(last)}, so it is not known whether it was done. "
        f"Look with describe_stream, then decide."
    )
    error = parse_error(last) if isinstance(last, Answer) else None
    return _make(PlatformUnavailable, text, error)


def describe_last(last: Attempt) -> str:
    """Return in a few words how a request ended."""
    if isinstance(last, Answer) and last.status < 300:  # noqa: PLR2004  # a success
        return f"the platform's answer of status {last.status} cannot be read"
    if isinstance(last, Answer):
        return f"the platform answered {_format_error(parse_error(last))}"
    return last.detail if last.stage == "connecting" else f"{last.kind} ({last.detail})"


def _format_error(error: PlatformError) -> str:
    number = "" if error.code is None else f", ErrorCode {error.code}"
    return f"{error.status} {error.text}{number}"


def _make(kind: type[_Error], text: str, error: PlatformError | None) -> _Error:
    if error is None:
        return kind(text)
    return kind(text, status=error.status, error_code=error.code)


def stop_error(
    stop: Stop,
    stream: StreamPath,
    diagnose: Callable[[], RequestError],
    *,
    advice: str | None = None,
) -> RequestError | Interrupted:
    """Return the exception for a run that ended early; the caller adds the results.

    ``diagnose`` returns the one for a stream that is missing. ``advice`` says how to send the
    rest; None: by the results that the exception carries.
    """
    attempt, where = stop.attempt, str(stream.endpoint)
    if attempt is None:
        return _interrupted(stream, advice)
    if stop.cause == "missing":
        try:
            return diagnose()
        except KeyboardInterrupt:
            return _interrupted(stream, advice)
    if stop.cause != "unavailable":
        if isinstance(attempt, Fault):
            return fault_error(attempt, doing=f"put records on {stream} at {where}")
        return request_error(attempt, doing="put records on", stream=stream, where=where)
    results, hint = _name_results()
    rest = advice or f"{results} says what to send again.{hint}"
    return PlatformUnavailable(
        f"put records on {stream} at {where}: "
        f"{'no usable answer came' if stop.had_contact else 'no connection was accepted'} for "
        f"{stop.seconds:g} s; the last: {describe_last(attempt)}. "
        f"Check the endpoint and the network; {rest}"
    )


def _interrupted(stream: StreamPath, advice: str | None) -> Interrupted:
    results, hint = _name_results()
    rest = advice or (
        f"{results} says what became of every row; put_records(..., resume={results}) sends the "
        f"rest.{hint}"
    )
    return Interrupted(f"stopped while sending to {stream}: {rest}")


def _name_results() -> tuple[str, str]:
    """Return how to reach the results, and a hint.

    An exception that ends a notebook's cell has no name; Python keeps the last one in sys.
    """
    if is_notebook() and threading.current_thread() is threading.main_thread():
        return "sys.last_value.results", " (Type import sys first.)"
    return "error.results", ""

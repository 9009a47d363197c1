"""The exception for a run that ended early, with what to do about the rows that are left."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ._producer import classification
from ._wire.api import Answer, Fault
from .errors import Interrupted, PlatformUnavailable
from .progress import is_notebook

if TYPE_CHECKING:
    from ._producer.classification import Stop
    from ._wire.paths import StreamPath
    from .client import Client
    from .errors import RequestError


def stop_error(
    stop: Stop, *, client: Client, stream: StreamPath, advice: str | None = None
) -> RequestError | Interrupted:
    """Make the exception for a run that ended early; the caller adds the results.

    ``advice`` says how to send the rest. None: by the results that the exception carries.
    """
    attempt = stop.attempt
    if attempt is None:
        return _interrupted(stream, advice)
    if stop.cause == "missing":
        try:
            return client.diagnose_missing_stream(stream)
        except KeyboardInterrupt:
            return _interrupted(stream, advice)
    where = str(stream.endpoint)
    if isinstance(attempt, Fault) and stop.cause != "unavailable":
        return classification.fault_error(attempt, doing=f"put records on {stream} at {where}")
    if isinstance(attempt, Answer) and stop.cause != "unavailable":
        return classification.request_error(
            attempt, doing="put records on", stream=stream, where=where
        )
    results, hint = _name_results()
    rest = advice or f"{results} says what to send again.{hint}"
    return PlatformUnavailable(
        f"put records on {stream} at {where}: "
        f"{'no request was answered' if stop.had_contact else 'no connection was accepted'} for "
        f"{stop.seconds:g} s; the last: {classification.describe_last(attempt)}. "
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

"""Why a run ended early -> the exception that says so."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from v3io_frames_put._delivery import refusals
from v3io_frames_put._wire.exchange import Answer, Fault
from v3io_frames_put.errors import Interrupted, PlatformUnavailable
from v3io_frames_put.progress import has_cells

if TYPE_CHECKING:
    from v3io_frames_put._delivery.verdicts import Stop
    from v3io_frames_put._wire.paths import StreamPath
    from v3io_frames_put.client import Client
    from v3io_frames_put.errors import RequestError

_DOING = "put records on"


def stop_error(
    stop: Stop, *, client: Client, stream: StreamPath, advice: str | None = None
) -> RequestError | Interrupted:
    """Make the exception for a run that ended early; its results are the caller's to add.

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
    if isinstance(attempt, Fault) and stop.cause == "certificate":
        return refusals.untrusted(attempt, doing=f"{_DOING} {stream} at {where}")
    if isinstance(attempt, Answer) and stop.cause != "unavailable":
        return refusals.refusal(attempt, doing=_DOING, stream=stream, where=where)
    results, hint = _name_results()
    rest = advice or f"{results} tells what to send again.{hint}"
    return PlatformUnavailable(
        f"{_DOING} {stream} at {where}: no request was answered for "
        f"{client.retry.deadline_seconds:g} s; the last: {refusals.tell(attempt)}. Check the "
        f"endpoint and the network; {rest}"
    )


def _interrupted(stream: StreamPath, advice: str | None) -> Interrupted:
    results, hint = _name_results()
    rest = advice or (
        f"{results} tells what became of every row; put_records(..., resume={results}) sends the "
        f"rest.{hint}"
    )
    return Interrupted(f"stopped while sending to {stream}: {rest}")


def _name_results() -> tuple[str, str]:
    """Say how to reach the results, and what that takes.

    An exception that ends a notebook's cell has no name; Python keeps the last one in sys.
    """
    if has_cells() and threading.current_thread() is threading.main_thread():
        return "sys.last_value.results", " (Type import sys first.)"
    return "error.results", ""

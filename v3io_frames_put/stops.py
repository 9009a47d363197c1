"""Why a run ended early -> the exception that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from v3io_frames_put._delivery import refusals
from v3io_frames_put._wire.exchange import Answer, Fault
from v3io_frames_put.errors import Interrupted, PlatformUnavailable

if TYPE_CHECKING:
    from v3io_frames_put._delivery.verdicts import Stop
    from v3io_frames_put._wire.paths import StreamPath
    from v3io_frames_put.client import Client
    from v3io_frames_put.errors import RequestError

_DOING = "put records on"


def stop_error(stop: Stop, *, client: Client, stream: StreamPath) -> RequestError | Interrupted:
    """Make the exception for a run that ended early; its results are the caller's to add."""
    attempt = stop.attempt
    if attempt is None:
        return Interrupted(
            f"stopped while sending to {stream}. error.results tells what became of every row; "
            f"put_records(..., resume=error.results) sends the rest."
        )
    if stop.cause == "missing":
        return client.diagnose_missing_stream(stream)
    where = str(stream.endpoint)
    if isinstance(attempt, Fault) and stop.cause == "certificate":
        return refusals.untrusted(attempt, doing=f"{_DOING} {stream} at {where}")
    if isinstance(attempt, Answer) and stop.cause != "unavailable":
        return refusals.refusal(attempt, doing=_DOING, stream=stream, where=where)
    return PlatformUnavailable(
        f"{_DOING} {stream} at {where}: no request was answered for "
        f"{client.retry.deadline_seconds:g} s; the last: {refusals.tell(attempt)}. Check the "
        f"endpoint and the network; error.results tells what to send again."
    )

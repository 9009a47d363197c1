"""What happened to a request -> what is known of its records, and what comes next.

The decisions are the two tables below; contract section 3 is their source. Answers
are told apart by status and by the platform's error name, never by free text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from v3io_frames_put._delivery.outcome_pages import Failure
from v3io_frames_put._wire.exchange import Answer
from v3io_frames_put._wire.protocol import parse_error

if TYPE_CHECKING:
    from v3io_frames_put._wire.exchange import Attempt, Fault

Knowledge: TypeAlias = Literal["not stored", "unknown", "read"]
"""Of the records of a request: none is stored; nobody knows; the answer says so."""

Step: TypeAlias = Literal["read", "again", "halve", "bisect", "stop"]
"""Read the answer record by record; send again after a pause; send the halves one
after the other; the same down to the one record at fault; stop the whole run."""

Cause: TypeAlias = Literal[
    "authentication",
    "permission",
    "missing",
    "not a stream",
    "moved",
    "certificate",
    "unavailable",
    "stopped",
]
"""Why a run stops: what no retry cures and every row shares, silence, or the user."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a request's end means for its records.

    Attributes
    ----------
    knowledge : Knowledge
        What is known of the records.
    step : Step
        What to do next, where delivery allows to send again.
    cause : Cause or None
        Why the run stops, where it does.
    """

    knowledge: Knowledge
    step: Step
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run ended early.

    Attributes
    ----------
    cause : Cause
        What no retry cures, silence for the deadline, or the user.
    attempt : Answer, Fault or None
        What the platform said, where it did.
    """

    cause: Cause
    attempt: Attempt | None = None


_AGAIN: Final = Verdict("not stored", "again")
_UNKNOWN: Final = Verdict("unknown", "again")
_BISECT: Final = Verdict("not stored", "bisect")
GAVE_UP: Final = _AGAIN
"""The patience with a question ended."""

_DENIED: Final = Verdict("not stored", "stop", "permission")
_MISSING: Final = Verdict("not stored", "stop", "missing")
_UNTRUSTED: Final = Verdict("not stored", "stop", "certificate")

STATUS_VERDICTS: Final[dict[int, Verdict]] = {
    200: Verdict("read", "read"),
    **dict.fromkeys(range(300, 400), Verdict("not stored", "stop", "moved")),
    400: _BISECT,
    401: Verdict("not stored", "stop", "authentication"),
    403: _DENIED,
    404: _MISSING,
    409: _AGAIN,
    413: Verdict("not stored", "halve"),
    429: _AGAIN,
}
"""By HTTP status. A status that is not here is unknown: 408, every 5xx, all others."""

NAMED_400_VERDICTS: Final[dict[str, Verdict]] = {
    "InvalidArgumentException": _BISECT,
    "ShardIDOutOfRangeException": _BISECT,
    "Permission denied": _DENIED,
    "ResourceNotFoundException": _MISSING,
    "ResourceIsnotStream": Verdict("not stored", "stop", "not a stream"),
}
"""By the platform's error name in a 400."""

RECORD_REFUSALS: Final = frozenset(NAMED_400_VERDICTS)
"""Names that refuse one record inside a believed 200; any other is unknown for it."""


def judge(attempt: Attempt) -> Verdict:
    """Judge how a PutRecords request ended."""
    if isinstance(attempt, Answer):
        return _judge_answer(attempt)
    return _judge_fault(attempt)


def _judge_answer(answer: Answer) -> Verdict:
    if answer.status == 400:  # noqa: PLR2004  # the one status whose name matters
        return NAMED_400_VERDICTS.get(parse_error(answer).name or "", _BISECT)
    return STATUS_VERDICTS.get(answer.status, _UNKNOWN)


def _judge_fault(fault: Fault) -> Verdict:
    if fault.stage != "connecting":
        return _UNKNOWN
    return _UNTRUSTED if fault.kind == "certificate" else _AGAIN


def describe(attempt: Attempt) -> Failure:
    """Say in the terms of the error columns how a request failed."""
    if isinstance(attempt, Answer):
        said = parse_error(attempt)
        return Failure(said.name, f"the platform answered {said.status}: {said.text}", said.code)
    return Failure("NoAnswer", f"{attempt.kind} while {attempt.stage}: {attempt.detail}")


READING_STOPS: Final[dict[int, Verdict]] = {
    status: verdict
    for status, verdict in STATUS_VERDICTS.items()
    if verdict.step == "stop" and verdict.cause != "missing"
}
"""By HTTP status of a request that only reads; what is missing is an answer there."""

_READ_AGAIN: Final = frozenset({408, 409, 413, 429})
_FIRST_SERVER_ERROR: Final = 500


def judge_reading(attempt: Attempt) -> Verdict:
    """Judge how a request that only reads ended: read it, ask again, or stop."""
    if not isinstance(attempt, Answer):
        return _judge_fault(attempt)
    if attempt.status in _READ_AGAIN or attempt.status >= _FIRST_SERVER_ERROR:
        return _AGAIN
    return READING_STOPS.get(attempt.status, STATUS_VERDICTS[200])

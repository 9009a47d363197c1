"""Answers and faults -> what is known of the records, and what to do next.

The docs page "Delivery guarantees" has the tables. Status codes and names decide, never wording.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from .._wire import api
from .._wire.api import Answer, Attempt, Fault, parse_error
from .values import Failure

Step: TypeAlias = Literal["parse", "unknown", "retry", "split", "bisect", "stop"]
"""Parse the answer, which says of each record whether it is stored; go on with records of which
that is not known, as delivery says. With all others no record is stored: send again after a
pause; send the halves one after the other; the same down to the one record at fault; stop the
whole run."""

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

    step: Step
    cause: Cause | None = None  # why the run stops, where it does


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run ended early: what no retry can change, silence for the deadline, or the user."""

    cause: Cause
    attempt: Attempt | None = None  # what the platform said, where it did
    seconds: float = 0.0  # how long it was silent, where that is the cause
    had_contact: bool = True  # it had accepted a connection before


_RETRY: Final = Classification("retry")
_UNKNOWN: Final = Classification("unknown")
_BISECT: Final = Classification("bisect")

_DENIED: Final = Classification("stop", "permission")
_MISSING: Final = Classification("stop", "missing")
CONNECTING_STOPS: Final[dict[str, Classification]] = {
    "certificate": Classification("stop", "certificate"),
    "scheme": Classification("stop", "scheme"),
}
"""By kind of a fault while connecting."""

STATUS_CLASSES: Final[dict[int, Classification]] = {
    200: Classification("parse"),
    **dict.fromkeys(range(300, 400), Classification("stop", "moved")),
    400: _BISECT,
    401: Classification("stop", "authentication"),
    403: _DENIED,
    404: _MISSING,
    409: _RETRY,
    413: Classification("split"),
    429: _RETRY,
}
"""By HTTP status. A status that is not here is unknown: 408, every 5xx, all others."""

NAMED_400_CLASSES: Final[dict[str, Classification]] = {
    api.INVALID_ARGUMENT: _BISECT,
    api.SHARD_OUT_OF_RANGE: _BISECT,
    api.PERMISSION_DENIED: _DENIED,
    api.RESOURCE_NOT_FOUND: _MISSING,
    api.NOT_A_STREAM: Classification("stop", "not a stream"),
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


_PASSING: Final = frozenset({408, 429})
_FIRST_SERVER_ERROR: Final = 500
# To a change these are an answer: it exists already, it is not empty, it is too large.
_NO_ANSWER_TO_A_QUERY: Final = frozenset({409, 413})


def is_passing(answer: Answer) -> bool:
    """Return whether the same request may be answered otherwise when it is sent again."""
    return answer.status in _PASSING or answer.status >= _FIRST_SERVER_ERROR


def classify_query_response(attempt: Attempt) -> Classification:
    """Classify how a request that only reads ended: parse it, retry, or stop."""
    if not isinstance(attempt, Answer) or is_refused(attempt):
        return classify_response(attempt)
    if is_passing(attempt) or attempt.status in _NO_ANSWER_TO_A_QUERY:
        return _RETRY
    return STATUS_CLASSES[200]


def is_refused(answer: Answer) -> bool:
    """Return whether a request that only reads may not be made; what is not there is an answer."""
    classification = classify_response(answer)
    return classification.step == "stop" and classification.cause != "missing"


_NOT_FOUND: Final = 404


def is_missing(answer: Answer) -> bool:
    """Return whether an answer means that nothing is there, in any of its forms."""
    return answer.status == _NOT_FOUND or parse_error(answer).name == api.RESOURCE_NOT_FOUND

"""How long to wait before trying again.

Full jitter, as AWS describes it: the pause is drawn evenly from zero to a bound
that doubles with each try, so that many uploaders do not come back together.
"""

from __future__ import annotations

from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from v3io_frames_put.config import Retry

_MAX_DOUBLINGS: Final = 62  # beyond it 2**n leaves what a float holds exactly; any cap is passed


def next_delay(retry: Retry, *, failures: int, draw: float) -> float:
    """Say how many seconds to wait after a failure.

    Parameters
    ----------
    retry : Retry
        Base and cap.
    failures : int
        Failed tries so far, from 1.
    draw : float
        An even draw from [0, 1).
    """
    doublings = min(max(failures - 1, 0), _MAX_DOUBLINGS)
    return draw * min(retry.cap_seconds, retry.base_seconds * 2.0**doublings)


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Read the pause that an answer asks for, in seconds.

    A date is read against the answer's own Date header, so that no two clocks are
    compared. None: nothing was asked for, or nothing that can be read.
    """
    asked = headers.get("retry-after", "").strip()
    if not asked:
        return None  # as nearly always: no date is worth reading
    if asked.isascii() and asked.isdigit():
        return float(asked)
    until, sent = _parse_date(asked), _parse_date(headers.get("date", ""))
    if until is None or sent is None:
        return None
    return max(0.0, (until - sent).total_seconds())


def _parse_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)

"""Exit codes: one table, and what leads to which. The first that applies is taken."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from v3io_frames_put.errors import PutRecordsError, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


class Exit(enum.IntEnum):
    """Codes of `v3io-put`, in the order in which they are looked at."""

    INTERRUPTED = 130
    TERMINATED = 143
    STOPPED_ON_PLATFORM = 4
    IN_DOUBT = 3
    NOT_ALL_STORED = 1
    NOTHING_SENT = 2
    OK = 0


def judge_results(results: pd.DataFrame) -> Exit:
    """Find the code for a run that came to its end."""
    return judge_counts(results["status"].value_counts(), results.attrs.get("v3io", {}))


def judge_counts(counts: Mapping[str, int] | pd.Series[int], receipt: Mapping[str, Any]) -> Exit:
    """Find the code for a run by its rows of each status, and what its receipt says."""
    if counts.get("unknown", 0) or receipt.get("duplicates", {}).get("count", 0):
        return Exit.IN_DOUBT
    if counts.get("rejected", 0) or counts.get("unsent", 0):
        return Exit.NOT_ALL_STORED
    return Exit.OK


def judge_error(error: PutRecordsError) -> Exit:
    """Find the code for a run that an error ended."""
    if isinstance(error, RequestError):
        return Exit.STOPPED_ON_PLATFORM
    if error.results is None:
        return Exit.NOTHING_SENT
    return max(judge_results(error.results), Exit.NOT_ALL_STORED)

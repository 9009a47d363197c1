"""Where a reader wants to begin -> one place per shard. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

import numpy as np
import pandas as pd

from v3io_frames_put._delivery.checks import check_whole
from v3io_frames_put.errors import ConfigError

StartLike: TypeAlias = "str | datetime | np.datetime64 | pd.Timestamp | Mapping[int, int]"
"""``"earliest"``, ``"latest"``, a time (naive: UTC), or a sequence number per shard."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin in a shard.

    Attributes
    ----------
    kind : {"earliest", "latest", "time", "sequence"}
    number : int
        Nanoseconds since the epoch, or a sequence number.
    """

    kind: Literal["earliest", "latest", "time", "sequence"]
    number: int = 0


EARLIEST: Final = Start("earliest")
LATEST: Final = Start("latest")
_EXPECTED: Final = (
    "expected 'earliest', 'latest', a timestamp, or {shard: sequence_number}. Correct it."
)


def parse_starts(start: StartLike, shards: int) -> dict[int, Start]:
    """Say where to begin in each shard; a mapping leaves out shards it does not name."""
    if not isinstance(start, Mapping):
        return dict.fromkeys(range(shards), parse_start(start))
    return {
        check_whole("start: a shard", shard, least=0, most=shards - 1): Start(
            "sequence", check_whole(f"start: the number for shard {shard}", number, least=1)
        )
        for shard, number in start.items()
    }


def parse_start(start: object) -> Start:
    """Read a start that is the same for every shard, or is of one shard."""
    if isinstance(start, str) and start in ("earliest", "latest"):
        return EARLIEST if start == "earliest" else LATEST
    if isinstance(start, (str, datetime, np.datetime64)):
        return Start("time", _nanoseconds(start))
    if isinstance(start, (int, np.integer)) and not isinstance(start, bool):
        raise ConfigError(f"start={start!r}: a number alone does not say of what; {_EXPECTED}")
    raise ConfigError(f"start={start!r}: {_EXPECTED}")


def _nanoseconds(start: str | datetime | np.datetime64) -> int:
    """Count from the epoch; a time without a zone is UTC."""
    try:
        # "now" and "today" would else be those of the local zone.
        moment = pd.Timestamp(start, tz="UTC") if isinstance(start, str) else pd.Timestamp(start)
        utc = moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
        number = int(utc.as_unit("ns").value)
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigError(f"start={start!r}: not a time; {_EXPECTED}") from error
    if number < 0:
        raise ConfigError(f"start={start!r}: before 1970, or no time at all; {_EXPECTED}")
    return number

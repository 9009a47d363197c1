"""Settings as frozen values, checked when they are made."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, TypeVar

from v3io_frames_put.errors import ConfigError


def check_whole(what: str, value: object, *, least: int, most: int | None = None) -> int:
    """Take a whole number within bounds; anything else is a ``ConfigError``."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        number = int(value)
        if least <= number and (most is None or number <= most):
            return number
    bound = f"{least:,} or more" if most is None else f"{least:,} to {most:,}"
    raise ConfigError(f"{what}: expected a whole number, {bound}; got {value!r}. Correct it.")


MAX_SHARDS: Final = 4_096  # per stream: platform specifications, "shards per stream"


def _check_numbers(value: object, *, zero_is_fine: frozenset[str] = frozenset()) -> None:
    """Refuse what is not a number above zero; None passes (the field allows it or not)."""
    for field in fields(value):  # type: ignore[arg-type]  # always one of the dataclasses below
        number: Any = getattr(value, field.name)
        if number is None and "None" in str(field.type):
            continue
        where = f"{type(value).__name__}({field.name}={number!r})"
        whole = "float" not in str(field.type)
        kinds: Any = (int,) if whole else (int, float)
        if isinstance(number, bool) or not isinstance(number, kinds) or not math.isfinite(number):
            expected = "a whole number" if whole else "a number"
            raise ConfigError(f"{where}: expected {expected}. Correct the value.")
        if number < 0 or (number == 0 and field.name not in zero_is_fine):
            bound = "0 or more" if field.name in zero_is_fine else "more than 0"
            raise ConfigError(f"{where}: expected {bound}. Correct the value.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long one request may take.

    Parameters
    ----------
    connect_seconds : float
        Until the connection stands.
    read_seconds : float
        From the end of the request to the end of the whole answer.
    """

    connect_seconds: float = 10
    read_seconds: float = 60

    def __post_init__(self) -> None:
        _check_numbers(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When to try again, and when to give up.

    The pause before try *n* is drawn evenly from
    ``[0, min(cap_seconds, base_seconds * 2**(n - 1))]``; a ``Retry-After`` of the
    platform is its floor. While nobody can be reached, all requests pause together, by
    the same rule; the first answer ends that.

    Parameters
    ----------
    deadline_seconds : float
        A batch is given up this long after its first failure.
    attempts : int, optional
        An extra bound on the requests that carry one row. None: no bound.
    base_seconds, cap_seconds : float
        The first and the longest pause's upper end.
    settle_seconds : float
        How long a request whose connection is closed may still be on its way
        into the stream. A look-up (``exactly_once``) begins after it.
    """

    deadline_seconds: float = 300
    attempts: int | None = None
    base_seconds: float = 0.1
    cap_seconds: float = 10
    settle_seconds: float = 5

    def __post_init__(self) -> None:
        _check_numbers(self, zero_is_fine=frozenset({"base_seconds", "settle_seconds"}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the platform takes in one request and one record.

    The documents leave open whether a megabyte is 10**6 or 2**20 bytes, and give
    1 MB and 2 MB for a record; the defaults are safe under every reading.

    Parameters
    ----------
    max_records : int
        Records per request.
    max_body_bytes : int
        Bytes of a request's body: envelope, Base64 and commas included.
    max_data_bytes : int
        Bytes of a record's data, before Base64.
    max_partition_key_bytes : int
        Bytes (not characters) of a partition key in UTF-8.
    max_client_info_bytes : int
        Bytes of a record's client info, before Base64.

    References
    ----------
    Iguazio web API, *PutRecords*; platform specifications.
    """

    max_records: int = 1_000
    max_body_bytes: int = 10_000_000
    max_data_bytes: int = 1_000_000
    max_partition_key_bytes: int = 256
    max_client_info_bytes: int = 16

    def __post_init__(self) -> None:
        _check_numbers(self)


ArrowCompression = Literal["zstd", "lz4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """The few choices that the encodings leave.

    Parameters
    ----------
    infinity : {"refuse", "null", "string"}
        What an infinite float becomes. JSON has none: ``"refuse"`` rejects its
        row, ``"null"`` writes null, ``"string"`` writes ``"Infinity"`` or
        ``"-Infinity"``.
    arrow_compression : {"zstd", "lz4"}, optional
        How the buffers of ``format="arrow"`` are compressed. None: not at all. Any
        reader of Arrow IPC reads them; packs of few rows hardly get smaller.
    """

    infinity: Literal["refuse", "null", "string"] = "refuse"
    arrow_compression: ArrowCompression | None = None

    def __post_init__(self) -> None:
        if self.infinity not in ("refuse", "null", "string"):
            raise ConfigError(
                f"Encoding(infinity={self.infinity!r}): expected 'refuse', 'null' or 'string'."
            )
        if self.arrow_compression not in (None, "zstd", "lz4"):
            raise ConfigError(
                f"Encoding(arrow_compression={self.arrow_compression!r}): expected 'zstd', 'lz4' "
                f"or None."
            )


_T = TypeVar("_T")


def or_default(name: str, value: object, default: _T) -> _T:
    """Take what an option was given, which has to be of the default's kind; None: the default."""
    if value is None:
        return default
    if not isinstance(value, type(default)):
        kind = type(default).__name__
        raise ConfigError(f"{name}: expected {kind}(...); got {value!r}. Correct the value.")
    return value

"""Settings as frozen values, checked when they are made."""

from __future__ import annotations

import numbers
import sys
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeGuard, TypeVar, get_args

import numpy as np
import pandas as pd

from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Format: TypeAlias = Literal["json", "arrow", "raw"]
RowsPerRecord: TypeAlias = int | Literal["auto"]
DeliveryMode: TypeAlias = Literal["at_least_once", "at_most_once", "exactly_once"]
Order: TypeAlias = Literal["key", "none"]
MaxInFlight: TypeAlias = int | Literal["auto"]
Infinity: TypeAlias = Literal["refuse", "null", "string"]
ArrowCompression: TypeAlias = Literal["zstd", "lz4"]

MAX_SHARDS: Final = 4_096  # per stream: platform specifications, "shards per stream"
TAG_BYTES: Final = 16  # client info of an exactly_once record: run id, first row, row count
MOST_REQUESTS: Final = 64  # of "auto": with 1,000 small records each, they fill 64 MiB
FIRST_REQUESTS: Final = 8  # of "auto": as by default, so that a short run loses nothing
LANES_PER_BATCH: Final = 4  # at most, but for the last ones: the rest is left to other batches
MOST_LANES: Final = 1 << 16  # destinations hash to so many; more lanes would stay empty
WINDOW_BYTES: Final = 4 << 20
_WINDOWS_HELD: Final = 6  # three at once, each larger when it is encoded
_FIRST_CONTACT_SECONDS: Final = 10

_T = TypeVar("_T")


def _is_whole(value: object) -> TypeGuard[numbers.Integral]:
    """Return whether a value is a whole number, be it Python's or NumPy's."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_whole(what: str, value: object, *, least: int, most: int | None = None) -> int:
    """Return a whole number within bounds; raise ConfigError for anything else."""
    if _is_whole(value):
        number = int(value)
        if least <= number and (most is None or number <= most):
            return number
    bound = f"{least:,} or more" if most is None else f"{least:,} to {most:,}"
    raise ConfigError(f"{what}: expected a whole number, {bound}; got {value!r}. Correct it.")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not one of the words an option takes. Raises ConfigError."""
    if not isinstance(value, str) or value not in choices:
        shown = ", ".join(map(repr, choices))
        raise ConfigError(f"{name}={value!r}: expected one of {shown}.")


def _check_numbers(value: object, *, zero_is_fine: frozenset[str] = frozenset()) -> None:
    """Refuse what is not a number above zero; None passes (the field allows it or not)."""
    for setting in fields(value):  # type: ignore[arg-type]  # always one of the dataclasses below
        number: Any = getattr(value, setting.name)
        if number is None and "None" in str(setting.type):
            continue
        where = f"{type(value).__name__}({setting.name}={number!r})"
        whole = "float" not in str(setting.type)
        is_number = _is_whole(number) or (isinstance(number, float) and not whole)
        if not is_number or not abs(number) <= sys.float_info.max:  # nor is NaN
            expected = "a whole number" if whole else "a number"
            raise ConfigError(f"{where}: expected {expected}. Correct the value.")
        if number < 0 or (number == 0 and setting.name not in zero_is_fine):
            bound = "0 or more" if setting.name in zero_is_fine else "more than 0"
            raise ConfigError(f"{where}: expected {bound}. Correct the value.")
        if whole:
            object.__setattr__(value, setting.name, int(number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long one request may take.

    Parameters
    ----------
    connect_seconds : float
        Until the connection is open.
    read_seconds : float
        From the end of the request to the end of the whole answer.
    """

    connect_seconds: float = 10
    read_seconds: float = 60

    def __post_init__(self) -> None:
        _check_numbers(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When a request is tried again, and when it is given up.

    The pause after *n* failures is drawn evenly from
    ``[0, min(cap_seconds, base_seconds * 2**(n - 1))]``; it is at least what a
    ``Retry-After`` of the platform asks for. While the platform cannot be reached, all
    requests share one pause, by the same rule; the first response ends it.

    Parameters
    ----------
    deadline_seconds : float
        A batch is given up this long after its first failure.
    attempts : int, optional
        An extra limit on the requests that carry one row. None: no limit.
    base_seconds, cap_seconds : float
        The upper end of the first pause, and of the longest.
    settle_seconds : float
        How long the platform may still store a request after its connection is closed.
        A look-up (``exactly_once``) begins after it.
    first_contact_seconds : float, optional
        A call is given up when the platform has accepted no connection within this time.
        None: 10 s where a person waits (``put_records`` without ``journal`` or ``resume``,
        the client's verbs, the widget), else ``deadline_seconds``.
    """

    deadline_seconds: float = 300
    attempts: int | None = None
    base_seconds: float = 0.1
    cap_seconds: float = 10
    settle_seconds: float = 5
    first_contact_seconds: float | None = None

    def __post_init__(self) -> None:
        _check_numbers(self, zero_is_fine=frozenset({"base_seconds", "settle_seconds"}))

    def where_a_person_waits(self) -> Retry:
        """Return this with a short time for the first contact, unless one was chosen."""
        if self.first_contact_seconds is not None:
            return self
        seconds = min(_FIRST_CONTACT_SECONDS, self.deadline_seconds)
        return replace(self, first_contact_seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The largest request and record that the platform accepts.

    Its documents do not say whether a megabyte is 10**6 or 2**20 bytes, and name both 1 MB
    and 2 MB for a record. The defaults are the smaller values.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How infinite numbers and Arrow buffers are encoded.

    Parameters
    ----------
    infinity : {"refuse", "null", "string"}
        What an infinite float becomes. JSON has none: ``"refuse"`` rejects its
        row, ``"null"`` writes null, ``"string"`` writes ``"Infinity"`` or
        ``"-Infinity"``.
    arrow_compression : {"zstd", "lz4"}, optional
        How the buffers of ``format="arrow"`` are compressed. None: not at all. Packs of
        few rows hardly get smaller.
    """

    infinity: Infinity = "refuse"
    arrow_compression: ArrowCompression | None = None

    def __post_init__(self) -> None:
        check_choice("infinity", self.infinity, get_args(Infinity))
        if self.arrow_compression is not None:
            check_choice("arrow_compression", self.arrow_compression, get_args(ArrowCompression))


_ENCODING: Final = Encoding()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # arrays do not compare as values
class RowOptions:
    """What becomes of which column; see ``put_records`` for each option.

    Checked when it is made, as far as no data is needed for it.
    """

    columns: Sequence[Any] | None = None
    index: bool = False
    format: Format = "json"
    rows_per_record: RowsPerRecord = 1
    partition_key: Any = None
    shard: Any = None
    client_info: Any = None
    encoding: Any = None  # an Encoding; None becomes the default one

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoding", or_default("encoding", self.encoding, _ENCODING))
        if not isinstance(self.index, (bool, np.bool_)):
            raise ConfigError(f"index={self.index!r}: expected True or False. Correct it.")
        if self.columns is not None and not pd.api.types.is_list_like(self.columns):
            help_ = f"Type columns=[{self.columns!r}]" * isinstance(self.columns, str)
            raise ConfigError(
                f"columns={self.columns!r}: expected a list of names. {help_ or 'Correct it'}."
            )
        check_choice("format", self.format, get_args(Format))
        rows, where = self.rows_per_record, f"rows_per_record={self.rows_per_record!r}"
        if rows == "auto":
            if self.format != "arrow":
                raise ConfigError(f"{where} is for format='arrow'; expected a number of rows.")
            return
        if not _is_whole(rows) or rows < 1:
            raise ConfigError(f"{where}: expected a whole number from 1, or 'auto'.")
        if self.format == "raw" and rows != 1:
            raise ConfigError(f"{where}: format='raw' sends one row in a record. Leave it out.")
        object.__setattr__(self, "rows_per_record", int(rows))

    @property
    def is_packed(self) -> bool:
        """Whether a record holds several rows."""
        return self.rows_per_record != 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOptions:
    """How records are delivered; see ``put_records`` for the first four options.

    Checked when it is made. ``retry`` and ``limits`` are the client's.
    """

    delivery: DeliveryMode = "at_least_once"
    order: Order = "key"
    max_in_flight: MaxInFlight = 8
    max_in_flight_bytes: int = 64 << 20
    retry: Retry = field(default_factory=Retry)
    limits: Limits = field(default_factory=Limits)
    # What follows from them:
    first_in_flight: int = field(init=False)  # requests in flight at once when the run begins
    most_in_flight: int = field(init=False)  # and ever
    lanes: int = field(init=False)  # of records that wait; one request at a time needs one
    most_body_bytes: int = field(init=False)  # of the largest body that may be sent
    window_bytes: int = field(init=False)  # that are read and encoded at once

    def __post_init__(self) -> None:
        check_choice("delivery", self.delivery, get_args(DeliveryMode))
        check_choice("order", self.order, get_args(Order))
        if self.delivery == "exactly_once" and self.limits.max_client_info_bytes < TAG_BYTES:
            raise ConfigError(
                f"delivery='exactly_once' writes tags of {TAG_BYTES} bytes, and "
                f"Limits(max_client_info_bytes={self.limits.max_client_info_bytes}) takes no more. "
                f"Raise the limit, or choose another delivery."
            )
        for name in ("max_in_flight", "max_in_flight_bytes"):
            value, or_auto = getattr(self, name), ', or "auto"' * (name == "max_in_flight")
            if value == "auto" and or_auto:
                continue
            if not _is_whole(value) or value < 1:
                raise ConfigError(f"{name}={value!r}: expected a whole number from 1{or_auto}.")
            object.__setattr__(self, name, int(value))
        first, most = FIRST_REQUESTS, MOST_REQUESTS
        if self.max_in_flight != "auto":
            first = most = self.max_in_flight
        for name, value in (
            ("first_in_flight", first),
            ("most_in_flight", most),
            ("lanes", 1 if most == 1 else min(LANES_PER_BATCH * most, MOST_LANES)),
            ("most_body_bytes", min(self.limits.max_body_bytes, self.max_in_flight_bytes)),
            ("window_bytes", min(WINDOW_BYTES, max(1, self.max_in_flight_bytes // _WINDOWS_HELD))),
        ):
            object.__setattr__(self, name, value)


def take_options(kind: type[_T], given: Mapping[str, Any]) -> _T:
    """Make ``RowOptions`` and the like from the options of a call; others are left out."""
    own: Any = fields(kind)  # type: ignore[arg-type]
    return kind(**{one.name: given[one.name] for one in own if one.name in given})


def or_default(name: str, value: object, default: _T) -> _T:
    """Return an option's value, or the default where it is None; refuse another type."""
    if value is None:
        return default
    if not isinstance(value, type(default)):
        kind = type(default).__name__
        raise ConfigError(f"{name}: expected {kind}(...); got {value!r}. Correct the value.")
    return value

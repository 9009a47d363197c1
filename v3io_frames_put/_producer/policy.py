"""What a run was asked for, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, cast, get_args

from v3io_frames_put._encode.plan import WINDOW_BYTES
from v3io_frames_put._producer.accumulator import LANES_PER_BATCH
from v3io_frames_put._producer.flow_control import FIRST_REQUESTS, MOST_REQUESTS
from v3io_frames_put._wire.bodies import TAG_BYTES
from v3io_frames_put.config import Limits, Retry
from v3io_frames_put.errors import ConfigError

_WINDOWS_HELD: Final = 4
_BATCHES_AHEAD: Final = 0.5  # for each request that may be under way, and one

DeliveryMode: TypeAlias = Literal["at_least_once", "at_most_once", "exactly_once"]
Order: TypeAlias = Literal["key", "none"]
MaxInFlight: TypeAlias = int | Literal["auto"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How records are to be delivered; see ``put_records`` for each."""

    delivery: DeliveryMode = "at_least_once"
    order: Order = "key"
    max_in_flight: MaxInFlight = 8
    max_in_flight_bytes: int = 64 << 20
    retry: Retry = field(default_factory=Retry)
    limits: Limits = field(default_factory=Limits)

    @property
    def most_body_bytes(self) -> int:
        """Bytes of the largest body that may be sent."""
        return min(self.limits.max_body_bytes, self.max_in_flight_bytes)

    @property
    def most_in_flight(self) -> int:
        """Requests that can ever be under way at once."""
        return MOST_REQUESTS if self.max_in_flight == "auto" else self.max_in_flight

    @property
    def first_in_flight(self) -> int:
        """Requests that are under way at once when the run begins."""
        return FIRST_REQUESTS if self.max_in_flight == "auto" else self.max_in_flight

    @property
    def lanes(self) -> int:
        """Lanes of records that wait; one request at a time needs no more than one."""
        return 1 if self.most_in_flight == 1 else LANES_PER_BATCH * self.most_in_flight

    def records_ahead(self, requests: int) -> float:
        """Return how many records are to wait while so many requests may be under way."""
        return (1 + _BATCHES_AHEAD * requests) * self.limits.max_records

    @property
    def window_bytes(self) -> int:
        """How much is encoded at once: a part of what is held at once."""
        return min(WINDOW_BYTES, max(1, self.max_in_flight_bytes // _WINDOWS_HELD))


def check_policy(  # one argument an option
    *,
    delivery: object,
    order: object,
    max_in_flight: object,
    max_in_flight_bytes: object,
    client_info: object,
    retry: Retry,
    limits: Limits,
) -> Policy:
    """Check what a user asked for; nothing was sent when it raises."""
    check_choice("delivery", delivery, get_args(DeliveryMode))
    check_choice("order", order, get_args(Order))
    if client_info is not None and delivery == "exactly_once":
        raise ConfigError(
            "client_info: delivery='exactly_once' writes its tags there. Leave one of them out."
        )
    if delivery == "exactly_once" and limits.max_client_info_bytes < TAG_BYTES:
        raise ConfigError(
            f"delivery='exactly_once' writes tags of {TAG_BYTES} bytes, and "
            f"Limits(max_client_info_bytes={limits.max_client_info_bytes}) takes no more. "
            f"Raise the limit, or choose another delivery."
        )
    if max_in_flight != "auto":
        _check_count("max_in_flight", max_in_flight, 'a whole number from 1, or "auto"')
    _check_count("max_in_flight_bytes", max_in_flight_bytes)
    return Policy(
        delivery=cast("DeliveryMode", delivery),
        order=cast("Order", order),
        max_in_flight=cast("MaxInFlight", max_in_flight),
        max_in_flight_bytes=cast("int", max_in_flight_bytes),
        retry=retry,
        limits=limits,
    )


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse what is not one of the words an option may be."""
    if value not in choices:
        shown = ", ".join(map(repr, choices))
        raise ConfigError(f"{name}={value!r}: expected one of {shown}.")


def _check_count(name: str, value: object, expected: str = "a whole number from 1") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name}={value!r}: expected {expected}.")

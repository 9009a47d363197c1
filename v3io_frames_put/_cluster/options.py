"""The options of ``put_records`` as a run on many machines takes them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from v3io_frames_put._delivery.policy import check_choice, check_policy
from v3io_frames_put.client import Client, pick_client
from v3io_frames_put.errors import ConfigError
from v3io_frames_put.put import put_records

if TYPE_CHECKING:
    from collections.abc import Mapping

    from v3io_frames_put._delivery.policy import Policy

_KNOWN: Final = {
    name: parameter.default
    for name, parameter in inspect.signature(put_records).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
}
_REFUSED: Final = {
    "resume": "a cluster's results are read where they were written, and not sent along",
    "journal": "tasks run anywhere and share no file that locks",
    "cancel": "an event does not reach other machines",
}
_ROUTES: Final = ("partition_key", "shard", "client_info")
_ABOUT_ROWS: Final = ("columns", "index", "format", "rows_per_record", *_ROUTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """Checked options.

    Attributes
    ----------
    client : Client
        The platform.
    policy : Policy
        Delivery, order and bounds, of each task.
    rows : dict
        What becomes of which column: the options of ``plan_rows``.
    encoding : Encoding or None
    on_error : {"raise", "return"}
    """

    client: Client
    policy: Policy
    rows: Mapping[str, Any]
    encoding: Any
    on_error: str

    def share_among(self, tasks: int) -> ClusterOptions:
        """Cut ``max_in_flight`` into a share for each of so many tasks at once.

        With ``"auto"`` each finds its own, which is a fair one.
        """
        whole = self.policy.max_in_flight
        share = whole if whole == "auto" else max(1, whole // max(1, tasks))
        return replace(self, policy=replace(self.policy, max_in_flight=share))


def check_options(given: Mapping[str, Any]) -> ClusterOptions:
    """Check the options of ``put_records`` that a user gave.

    Raises
    ------
    ConfigError
        One of them is wrong, or has no meaning on a cluster. Nothing was sent.
    TypeError
        There is no such option.
    """
    unknown = given.keys() - _KNOWN.keys()
    if unknown:
        raise TypeError(f"put_records() got an unexpected keyword argument {min(unknown)!r}")
    options = {**_KNOWN, "on_error": "raise", **given}
    for name, why in _REFUSED.items():
        if options[name] is not None:
            raise ConfigError(f"{name}: not on a cluster, since {why}. Leave it out.")
    for name, value in options.items():
        if callable(value):
            raise ConfigError(f"{name}: a callable does not reach other machines. Leave it out.")
    for name in _ROUTES:
        if not isinstance(options[name], (str, int, bytes, type(None))):
            raise ConfigError(
                f"{name} is a {type(options[name]).__name__}; expected the name of a column. An "
                f"array cannot be cut like the data: make it a column of it."
            )
    check_choice("on_error", options["on_error"], ("return", "raise"))
    client = pick_client(options["client"])
    policy = check_policy(
        delivery=options["delivery"],
        order=options["order"],
        max_in_flight=options["max_in_flight"],
        max_in_flight_bytes=options["max_in_flight_bytes"],
        client_info=options["client_info"],
        retry=client.retry,
        limits=client.limits,
    )
    return ClusterOptions(
        client=client,
        policy=policy,
        rows={name: options[name] for name in _ABOUT_ROWS},
        encoding=options["encoding"],
        on_error=options["on_error"],
    )

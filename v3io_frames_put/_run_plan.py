"""One run as a value: what to send, where and how, all checked and nothing sent yet."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from v3io_frames_put._encode.plan import plan_rows
from v3io_frames_put._producer.policy import check_policy
from v3io_frames_put._producer.values import PAGE_ROWS
from v3io_frames_put.config import Encoding
from v3io_frames_put.errors import ConfigError
from v3io_frames_put.progress import check_progress
from v3io_frames_put.results import count_and_first

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    from v3io_frames_put._encode.blocks import Blocks
    from v3io_frames_put._encode.plan import RowPlan
    from v3io_frames_put._producer.policy import Policy
    from v3io_frames_put._producer.prior_run import PriorInDoubt, PriorRun
    from v3io_frames_put._producer.run_log import RunLog
    from v3io_frames_put._producer.values import Copy
    from v3io_frames_put._wire.paths import StreamPath
    from v3io_frames_put.client import Client
    from v3io_frames_put.progress import ProgressOption


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What to send, where and how: all checked, nothing sent yet.

    Attributes
    ----------
    plan : RowPlan
        Rows and how they are encoded.
    client : Client
        The platform.
    stream : StreamPath
        The stream on it.
    policy : Policy
        Delivery, order, bounds.
    packed : bool
        Whether a record holds several rows.
    progress : bool, callable or None
        See ``put_records``.
    cancel : threading.Event or None
        Stops the run when set.
    run_id : str
        16 hexadecimal digits.
    mapping : str
        A digest of what becomes of which column; a resumed run must have the same.
    prior_run : PriorRun or None
        What earlier processes of the run left, where this one goes on with it.
    past : Past or None
        What of it has to be looked up before anything is sent (``exactly_once``).
    duplicates : sequence of Copy
        Further copies of rows that earlier processes found.
    out_of_order : mapping
        Rows that they listed as standing behind later ones, as in a receipt.
    complete_rows : int or None
        Rows of a run that is over: they are told of again, and nothing is sent.
    gives_shards : bool
        Whether rows may be given a shard.
    run_log : RunLog or None
        Keeps the run's journal.
    blocks : Blocks or None
        Checks the data where it is read again, for the journal.
    page_rows : int
        Rows whose outcomes are kept, and leave, together; the same for all processes of a run.
    """

    plan: RowPlan
    client: Client
    stream: StreamPath
    policy: Policy
    packed: bool = False
    progress: ProgressOption = None
    cancel: threading.Event | None = None
    run_id: str = field(default_factory=lambda: secrets.token_hex(8))
    mapping: str = ""
    prior_run: PriorRun | None = None
    past: PriorInDoubt | None = None
    duplicates: Sequence[Copy] = ()
    out_of_order: Mapping[str, Any] = field(default_factory=lambda: count_and_first([]))
    complete_rows: int | None = None
    gives_shards: bool = False
    run_log: RunLog | None = None
    blocks: Blocks | None = None
    page_rows: int = PAGE_ROWS


def plan_run(  # noqa: PLR0913  # what every face passes on
    data: Any,
    stream: str,
    *,
    client: Client,
    mapping: Mapping[str, Any],
    delivery: str,
    order: str,
    max_in_flight: int | str,
    max_in_flight_bytes: int,
    encoding: Encoding | None,
    progress: ProgressOption,
    cancel: threading.Event | None,
    refused: str | None = None,
    reading: Mapping[str, Any] | None = None,
) -> RunPlan:
    """Check the options of ``put_records`` and plan its way up to the first request.

    Parameters
    ----------
    mapping : mapping
        The options that say what becomes of which column, by name.
    refused : str, optional
        See ``plan_rows``.
    reading : mapping, optional
        What else decides which rows the data has: a resumed run must have the same.

    Raises
    ------
    ConfigError, DataError
        An option or a column is wrong.
    """
    check_progress(progress)
    check_event("cancel", cancel)
    policy = check_policy(
        delivery=delivery,
        order=order,
        max_in_flight=max_in_flight,
        max_in_flight_bytes=max_in_flight_bytes,
        client_info=mapping["client_info"],
        retry=client.retry,
        limits=client.limits,
    )
    plan = plan_rows(
        data,
        **mapping,
        encoding=encoding,
        limits=client.limits,
        refused=refused,
        window_bytes=policy.window_bytes,
        held_bytes=policy.max_in_flight_bytes,
    )
    return RunPlan(
        plan=plan,
        client=client,
        stream=client.locate(stream),
        policy=policy,
        packed=mapping["rows_per_record"] != 1,
        gives_shards=mapping["shard"] is not None,
        progress=progress,
        cancel=cancel,
        mapping=digest_mapping(
            plan, **mapping, encoding=str(encoding or Encoding()), **(reading or {})
        ),
    )


def check_event(name: str, told: object) -> None:
    """Refuse what is no event. Raises ConfigError."""
    if told is not None and not callable(getattr(told, "is_set", None)):
        raise ConfigError(f"{name}: expected a threading.Event; got {told!r}. Correct it.")


def digest_mapping(plan: RowPlan, **options: Any) -> str:
    """Digest what becomes of which column: 16 hexadecimal digits.

    Labels count by their text, arrays only by being given, and the columns as they are in
    the plan, however they were asked for.
    """
    columns = [(column.name, str(column.type)) for column in plan.columns]
    told = {name: _describe_option(value) for name, value in options.items() if name != "columns"}
    text = json.dumps([columns, told], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _describe_option(value: object) -> object:
    if isinstance(value, np.integer):
        return int(value)
    return value if value is None or isinstance(value, (str, bytes, int, float)) else "array"

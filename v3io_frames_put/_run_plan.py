"""One run as a value: what to send, where and how, all checked and nothing sent yet."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from v3io_frames_put._encode.plan import plan_rows
from v3io_frames_put._producer.values import PAGE_ROWS
from v3io_frames_put.errors import ConfigError
from v3io_frames_put.progress import check_progress

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from v3io_frames_put._encode.plan import RowPlan
    from v3io_frames_put._wire.paths import StreamPath
    from v3io_frames_put.client import Client
    from v3io_frames_put.config import DeliveryOptions, RowOptions
    from v3io_frames_put.progress import ProgressOption


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What to send, where and how: all checked, nothing sent yet.

    Attributes
    ----------
    rows : RowPlan
        Rows and how they are encoded.
    client : Client
        The platform.
    stream : StreamPath
        The stream on it.
    options : DeliveryOptions
        Delivery, order, bounds.
    is_packed : bool
        Whether a record holds several rows.
    gives_shards : bool
        Whether rows may be given a shard.
    progress : bool, callable or None
        See ``put_records``.
    cancel : threading.Event or None
        Stops the run when set.
    run_id : str
        16 hexadecimal digits; a run that goes on has that of its prior run.
    mapping : str
        A digest of what becomes of which column; a resumed run must have the same.
    page_rows : int
        Rows whose outcomes are kept, and leave, together; the same for all processes of a run.
    """

    rows: RowPlan
    client: Client
    stream: StreamPath
    options: DeliveryOptions
    is_packed: bool = False
    gives_shards: bool = False
    progress: ProgressOption = None
    cancel: threading.Event | None = None
    run_id: str = field(default_factory=lambda: secrets.token_hex(8))
    mapping: str = ""
    page_rows: int = PAGE_ROWS


def plan_run(  # noqa: PLR0913  # what every face passes on
    data: Any,
    stream: str | StreamPath,
    *,
    client: Client,
    rows: RowOptions,
    delivery: DeliveryOptions,
    progress: ProgressOption,
    cancel: threading.Event | None,
    run_id: str | None = None,
    reading: Mapping[str, Any] | None = None,
) -> RunPlan:
    """Check the data against the options, and plan the way up to the first request.

    Parameters
    ----------
    run_id : str, optional
        None: a new one.
    reading : mapping, optional
        What else decides which rows the data has: a resumed run must have the same.

    Raises
    ------
    ConfigError, DataError
        An option or a column is wrong.
    """
    check_progress(progress)
    check_event("cancel", cancel)
    planned = plan_data(data, rows, delivery)
    return RunPlan(
        rows=planned,
        client=client,
        stream=client.locate(stream),
        options=delivery,
        is_packed=rows.is_packed,
        gives_shards=rows.shard is not None,
        progress=progress,
        cancel=cancel,
        run_id=run_id or secrets.token_hex(8),
        mapping=digest_mapping(planned, rows, **(reading or {})),
    )


def plan_data(data: Any, rows: RowOptions, delivery: DeliveryOptions) -> RowPlan:
    """Plan how rows are encoded for a delivery."""
    delivery.check_client_info(rows.client_info)
    return plan_rows(
        data,
        rows,
        limits=delivery.limits,
        window_bytes=delivery.window_bytes,
        held_bytes=delivery.max_in_flight_bytes,
    )


def check_event(name: str, value: object) -> None:
    """Refuse what is not an event. Raises ConfigError."""
    if value is not None and not callable(getattr(value, "is_set", None)):
        raise ConfigError(f"{name}: expected a threading.Event; got {value!r}. Correct it.")


def digest_mapping(plan: RowPlan, rows: RowOptions, **reading: Any) -> str:
    """Return a digest of what becomes of which column: 16 hexadecimal digits.

    Labels count by their text, arrays only by being given, and the columns as they are in
    the plan, however they were asked for.
    """
    columns = [(column.name, str(column.type)) for column in plan.columns]
    options = {option.name: getattr(rows, option.name) for option in fields(rows)}
    options |= {"encoding": str(rows.encoding), **reading}
    del options["columns"]
    described = {name: _describe_option(value) for name, value in options.items()}
    text = json.dumps([columns, described], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _describe_option(value: object) -> object:
    if isinstance(value, np.integer):
        return int(value)
    return value if value is None or isinstance(value, (str, bytes, int, float)) else "array"

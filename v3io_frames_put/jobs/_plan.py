"""``plan``: what ``publish`` would send, found out without sending anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from v3io_frames_put.config import DeliveryOptions, Encoding, Limits, RowOptions, or_default
from v3io_frames_put.jobs._files import find_files
from v3io_frames_put.jobs._pruning import choose_files
from v3io_frames_put.jobs._table import REASON, FileTable, name_columns
from v3io_frames_put.jobs._types import read_types
from v3io_frames_put.plan.planner import plan_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from v3io_frames_put.client import Client
    from v3io_frames_put.config import DeliveryMode, MaxInFlight, Order
    from v3io_frames_put.jobs._files import Inputs
    from v3io_frames_put.plan import RecordsPlan


def plan(  # noqa: PLR0913 - the options of publish that say what is sent
    files: Inputs,
    stream: str,
    *,
    columns: Sequence[str] | None = None,
    where: str | None = None,
    types: Mapping[str, Any] | None = None,
    format: Literal["json", "arrow", "raw"] = "json",  # noqa: A002 - the contract's name
    rows_per_record: int | Literal["auto"] = 1,
    partition_key: str | None = None,
    shard: int | str | None = None,
    client_info: str | bytes | None = None,
    delivery: DeliveryMode = "at_least_once",
    order: Order = "key",
    max_in_flight: MaxInFlight = 8,
    max_in_flight_bytes: int = 64 << 20,
    encoding: Encoding | None = None,
    client: Client | None = None,
) -> RecordsPlan:
    """Find out what ``publish`` would send, without sending anything.

    Reads and encodes every row on the very way a job goes. The files may be larger than
    memory; nothing is written, and the stream need not exist.

    Parameters
    ----------
    files, stream, columns, where, types
        As in ``publish``.
    format, rows_per_record, partition_key, shard, client_info
        As in ``publish``.
    delivery, order, max_in_flight, max_in_flight_bytes, encoding
        As in ``publish``.
    client : Client, optional
        Its limits count; it is not connected. None: the platform's usual limits.

    Returns
    -------
    RecordsPlan
        As of ``plan_records``.

    Raises
    ------
    ConfigError, DataError
        An option, a file or a column is wrong, or a file cannot be read to its end.

    Examples
    --------
    >>> from v3io_frames_put import jobs
    >>> jobs.plan("clicks/*.parquet", "users/demo/clicks", partition_key="user")
    """
    given_types = read_types(types)
    chosen, others = choose_files(find_files(files), where, given_types)
    named = name_columns(columns, partition_key, shard, client_info)
    table = FileTable(chosen, given_types, where, named=named, others=others)
    return plan_source(
        table.source(),
        stream,
        rows=RowOptions(
            columns=table.schema.names if columns is None else columns,
            format=format,
            rows_per_record=rows_per_record,
            partition_key=partition_key,
            shard=shard,
            client_info=client_info,
            encoding=or_default("encoding", encoding, Encoding()),
        ),
        delivery=DeliveryOptions(
            delivery=delivery,
            order=order,
            max_in_flight=max_in_flight,
            max_in_flight_bytes=max_in_flight_bytes,
            limits=client.limits if client else Limits(),
        ),
        refused=REASON,
    )

"""``plan_records``: the way of an upload up to the socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from v3io_frames_put._delivery.outcomes import Outcomes
from v3io_frames_put._delivery.policy import check_policy
from v3io_frames_put._rows.plan import plan_rows
from v3io_frames_put._wire.batches import encode_window
from v3io_frames_put._wire.paths import parse_stream_path
from v3io_frames_put._wire.tags import RUN_BYTES
from v3io_frames_put.config import Encoding, Limits, Retry
from v3io_frames_put.plan import advice
from v3io_frames_put.plan.records_plan import RecordsPlan
from v3io_frames_put.plan.rehearsal import Rehearsal
from v3io_frames_put.plan.tally import (
    Keys,
    Refusals,
    Sizes,
    keep_sent,
    preview_records,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from v3io_frames_put._delivery.policy import DeliveryMode, MaxInFlight, Order, Policy
    from v3io_frames_put._rows.plan import RowPlan
    from v3io_frames_put._rows.records import Records
    from v3io_frames_put.client import Client
    from v3io_frames_put.plan.records_plan import PlannedRecord

PREVIEW_RECORDS: Final = 5


def plan_records(  # noqa: PLR0913  # the options of put_records
    data: Any,
    stream: str,
    *,
    columns: Sequence[Any] | None = None,
    index: bool = False,
    format: Literal["json", "arrow", "raw"] = "json",  # noqa: A002  # the contract's name
    rows_per_record: int | Literal["auto"] = 1,
    partition_key: Any = None,
    shard: Any = None,
    client_info: Any = None,
    delivery: DeliveryMode = "at_least_once",
    order: Order = "key",
    max_in_flight: MaxInFlight = 8,
    max_in_flight_bytes: int = 64 << 20,
    encoding: Encoding | None = None,
    client: Client | None = None,
) -> RecordsPlan:
    """Find out what ``put_records`` would send, without sending anything.

    Reads and encodes every row on the very way an upload goes, so it takes about as
    long as an upload to a platform that answers at once. A stream of batches is used
    up by it.

    Parameters
    ----------
    data, stream
        As in ``put_records``; the stream need not exist.
    columns, index, format, rows_per_record, partition_key, shard, client_info
        As in ``put_records``.
    delivery, order, max_in_flight, max_in_flight_bytes, encoding
        As in ``put_records``.
    client : Client, optional
        Its limits count; it is not connected. None: the platform's usual limits.

    Returns
    -------
    RecordsPlan
        Counts, sizes, refused rows, the first records, and advice.

    Raises
    ------
    ConfigError, DataError
        An option or a column is wrong, as ``put_records`` would say it.

    Examples
    --------
    >>> df = pd.DataFrame({"sensor": ["attic", "cellar"], "celsius": [31.5, 12.0]})
    >>> plan = plan_records(df, "projects/house/readings", partition_key="sensor")
    >>> plan.records, plan.min_requests, plan.preview[0].data
    (2, 1, b'{"sensor":"attic","celsius":31.5}')
    """
    encoding = encoding or Encoding()
    policy = check_policy(
        delivery=delivery,
        order=order,
        max_in_flight=max_in_flight,
        max_in_flight_bytes=max_in_flight_bytes,
        client_info=client_info,
        retry=client.retry if client else Retry(),
        limits=client.limits if client else Limits(),
    )
    rows = plan_rows(
        data,
        columns=columns,
        index=index,
        format=format,
        rows_per_record=rows_per_record,
        partition_key=partition_key,
        shard=shard,
        client_info=client_info,
        encoding=encoding,
        limits=policy.limits,
        window_bytes=policy.window_bytes,
    )
    seen = _Survey(rows, policy)
    return seen.close(
        str(parse_stream_path(stream)),
        is_keyed=partition_key is not None or shard is not None,
        on_columns=advice.advise_on_columns(data, rows.columns, format, encoding),
    )


class _Survey:
    """One reading of all rows."""

    def __init__(self, rows: RowPlan, policy: Policy) -> None:
        self._index = rows.index
        self._policy = policy
        self._outcomes = Outcomes()
        self._rehearsal = Rehearsal(policy, self._outcomes)
        self._sizes, self._keys, self._refusals = Sizes(), Keys(), Refusals()
        self._preview: list[PlannedRecord] = []
        self._row = 0
        run_id = bytes(RUN_BYTES) if policy.delivery == "exactly_once" else None
        for records in rows.records():
            self._take(records, run_id)
        self._rehearsal.close()
        self._note_refused(self._outcomes.finish())

    def _take(self, records: Records, run_id: bytes | None) -> None:
        window = encode_window(records, run_id)
        entries = self._rehearsal.offer(window)
        refused = window.rejections
        self._outcomes.reject(refused.rows, refused.names, refused.details)
        self._outcomes.settle(entries.rows, "stored")
        sent = keep_sent(records, entries)
        self._sizes.add(sent.data)
        self._keys.add(sent)
        self._preview += preview_records(sent, PREVIEW_RECORDS - len(self._preview))
        self._note_refused(self._outcomes.drain())

    def _note_refused(self, batches: Iterator[pa.RecordBatch]) -> None:
        for batch in batches:
            self._refusals.add(batch, self._row)
            self._row += batch.num_rows

    def close(self, stream: str, *, is_keyed: bool, on_columns: Iterator[str]) -> RecordsPlan:
        """Return what was seen."""
        sends, keys = self._rehearsal, self._keys.close()
        most = self._policy.most_in_flight
        return RecordsPlan(
            stream=stream,
            rows=self._row,
            records=self._sizes.count,
            min_requests=sends.requests,
            requests_vary=sends.requests_vary,
            body_bytes=sends.body_bytes,
            data_bytes=self._sizes.total,
            sizes=self._sizes.quantiles(),
            refused_rows=self._outcomes.counts["rejected"],
            refused=self._refusals.frame(self._index),
            refused_by_reason=dict(self._refusals.by_reason.most_common()),
            keys=keys,
            parallel_requests=sends.parallel_requests,
            preview=tuple(self._preview),
            advice=(
                *on_columns,
                *advice.advise_on_keys(keys, self._sizes.count, is_keyed=is_keyed),
                *advice.advise_on_lanes(sends.parallel_requests, most, sends.requests),
            ),
        )

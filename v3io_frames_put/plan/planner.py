"""``plan_records``: the way of an upload up to the socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from v3io_frames_put._producer.completion import find_too_large, fits_in_body
from v3io_frames_put._public import public
from v3io_frames_put._run_plan import plan_data
from v3io_frames_put._wire.bodies import RUN_BYTES, encode_window
from v3io_frames_put._wire.paths import parse_stream_path
from v3io_frames_put.config import DeliveryOptions, Encoding, Limits, RowOptions, or_default
from v3io_frames_put.plan import advice
from v3io_frames_put.plan.records_plan import RecordsPlan
from v3io_frames_put.plan.tally import (
    Keys,
    Refusals,
    Requests,
    Sizes,
    keep_sent,
    preview_records,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from v3io_frames_put._encode.plan import RowPlan
    from v3io_frames_put._wire.bodies import EncodedWindow
    from v3io_frames_put.client import Client
    from v3io_frames_put.config import DeliveryMode, Format, MaxInFlight, Order, RowsPerRecord
    from v3io_frames_put.plan.records_plan import PlannedRecord

PREVIEW_RECORDS: Final = 5


@public
def plan_records(  # noqa: PLR0913  # the options of put_records
    data: Any,
    stream: str,
    *,
    columns: Sequence[Any] | None = None,
    index: bool = False,
    format: Format = "json",  # noqa: A002  # the contract's name
    rows_per_record: RowsPerRecord = 1,
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
        Counts, sizes, rejected rows, the first records, and advice.

    Raises
    ------
    ConfigError, DataError
        An option or a column is wrong, as ``put_records`` would say it.

    Examples
    --------
    >>> df = pd.DataFrame({"sensor": ["attic", "cellar"], "celsius": [31.5, 12.0]})
    >>> plan = plan_records(df, "projects/house/readings", partition_key="sensor")
    >>> plan.records, plan.requests, plan.preview[0].data
    (2, 1, b'{"sensor":"attic","celsius":31.5}')
    """
    return plan_source(
        data,
        stream,
        rows=RowOptions(
            columns=columns,
            index=index,
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
    )


def plan_source(
    data: Any,
    stream: str,
    *,
    rows: RowOptions,
    delivery: DeliveryOptions,
) -> RecordsPlan:
    """Return what an upload would send, by reading all rows once."""
    place = parse_stream_path(stream)
    planned = plan_data(data, rows, delivery)
    survey = _Survey(planned, delivery)
    requests = survey.requests
    records, keys = survey.sizes.count, survey.keys.close()
    return RecordsPlan(
        stream=str(place),
        rows=survey.num_rows,
        records=records,
        requests=requests.count,
        requests_vary=requests.vary,
        body_bytes=requests.body_bytes,
        data_bytes=survey.sizes.total,
        sizes=survey.sizes.quantiles(),
        rejected_rows=survey.refusals.by_reason.total(),
        rejected=survey.refusals.frame(planned.index),
        rejected_by_reason=dict(survey.refusals.by_reason.most_common()),
        keys=keys,
        parallel_requests=requests.parallel,
        preview=tuple(survey.preview),
        advice=(
            *advice.advise_on_index(data, index=rows.index),
            *advice.advise_on_columns(data, planned.columns, rows.format, rows.encoding),
            *advice.advise_on_keys(keys, records, is_keyed=rows.is_routed),
            *advice.advise_on_lanes(requests.parallel, delivery.first_in_flight),
            *advice.advise_on_packs(
                survey.num_rows - survey.refusals.by_reason.total(), records, rows.rows_per_record
            ),
        ),
    )


class _Survey:
    """What there is to see on one reading of all rows."""

    def __init__(self, rows: RowPlan, policy: DeliveryOptions) -> None:
        self.sizes, self.keys, self.refusals = Sizes(), Keys(), Refusals()
        self.preview: list[PlannedRecord] = []
        self.num_rows = 0
        self.requests = Requests(policy)
        self.requests.count_all(self._look_at(rows, policy))

    def _look_at(self, rows: RowPlan, policy: DeliveryOptions) -> Iterator[EncodedWindow]:
        run_id = bytes(RUN_BYTES) if policy.delivery == "exactly_once" else None
        for records in rows.records():
            window = encode_window(records, run_id)
            self.num_rows += window.num_rows
            most_bytes = policy.most_body_bytes
            sent = keep_sent(records, fits_in_body(window.entries, most_bytes))
            self.sizes.add(sent.data)
            self.keys.add(sent)
            self.preview += preview_records(sent, PREVIEW_RECORDS - len(self.preview))
            self.refusals.add(window.rejections, find_too_large(window.entries, most_bytes))
            yield window

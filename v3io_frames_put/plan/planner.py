"""``plan_records``: an upload up to the first request."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from v3io_frames_put._producer.accumulator import Accumulator
from v3io_frames_put._producer.completion import find_too_large, fits_in_body
from v3io_frames_put._public import public
from v3io_frames_put._run import plan_data
from v3io_frames_put._wire.bodies import ENVELOPE_BYTES, RUN_BYTES, encode_window
from v3io_frames_put._wire.paths import parse_stream_path
from v3io_frames_put.config import DeliveryOptions, Encoding, Limits, RowOptions, or_default
from v3io_frames_put.plan import advice
from v3io_frames_put.plan.records_plan import KeyCounts, PlannedRecord, RecordsPlan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from v3io_frames_put._encode.plan import RowPlan
    from v3io_frames_put._encode.values import Records, Rejections
    from v3io_frames_put._producer.accumulator import Batch
    from v3io_frames_put._producer.values import Failure
    from v3io_frames_put._wire.bodies import EncodedWindow
    from v3io_frames_put.client import Client
    from v3io_frames_put.config import DeliveryMode, Format, MaxInFlight, Order, RowsPerRecord

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
    """Return what ``put_records`` would send, without sending anything.

    It reads and encodes every row as an upload does, so it takes about as long as an
    upload to a platform that answers at once. A reader or iterator is used up by it.

    Parameters
    ----------
    data, stream
        As in ``put_records``; the stream need not exist.
    columns, index, format, rows_per_record, partition_key, shard, client_info
        As in ``put_records``.
    delivery, order, max_in_flight, max_in_flight_bytes, encoding
        As in ``put_records``.
    client : Client, optional
        Its limits are used; it is not connected. None: the platform's usual limits.

    Returns
    -------
    RecordsPlan
        Counts, sizes, rejected rows, the first records, and advice.

    Raises
    ------
    ConfigError, DataError
        An option or a column is wrong, as in ``put_records``.

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
    """Reads all rows once and collects what a plan says."""

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


MAX_REFUSED: Final = 1_000
_MERGE_FROM: Final = 1_000_000  # keys counted; and never before they have doubled
_COMMONEST: Final = 20
_KEY_COUNTS: Final = pa.schema([("key", pa.string()), ("records", pa.int64())])


class Sizes:
    """Bytes of the payloads."""

    def __init__(self) -> None:
        self._parts: list[NDArray[Any]] = []

    def add(self, data: pa.BinaryArray) -> None:
        """Count the payloads of a window."""
        self._parts.append(pc.binary_length(data).to_numpy(zero_copy_only=False))

    @property
    def total(self) -> int:
        """Bytes of all."""
        return sum(int(part.sum(dtype=np.int64)) for part in self._parts)

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(map(len, self._parts))

    def quantiles(self) -> dict[str, int]:
        """Return the smallest, the median, the 95th of 100, and the largest."""
        if not self.count:
            return {}
        sizes = np.concatenate(self._parts)
        median, p95 = np.quantile(sizes, [0.5, 0.95], method="higher").tolist()
        found = {"min": sizes.min(), "median": median, "p95": p95, "max": sizes.max()}
        return {name: int(size) for name, size in found.items()}


class Requests:
    """Bodies, cut as an upload cuts them.

    The records of all windows go through an upload's own ``Accumulator``. What nobody can know
    is when answers come: here each comes as soon as no more rows are wanted, one after the
    other, the oldest request's first.

    Parameters
    ----------
    policy : DeliveryOptions
        Of the upload.

    Attributes
    ----------
    count, body_bytes : int
        Requests, and bytes of all their bodies.
    """

    def __init__(self, policy: DeliveryOptions) -> None:
        self.count = self.body_bytes = 0
        self._policy = policy
        self._accumulator = Accumulator(policy.lanes)
        self._under_way: deque[Batch] = deque()
        self._records = 0  # that wait
        self._largest_body = self._largest_window = 0
        self._queues: set[int] = set()
        self._waits = self._sent_in_waits = 0

    def count_all(self, windows: Iterator[EncodedWindow]) -> None:
        """Cut the records of all windows; what reading them raises is raised."""
        is_closed = False
        while True:
            while self._send(is_closed=is_closed):
                pass
            if self._wants_window and not is_closed:
                window = next(windows, None)
                is_closed = window is None
                if window is not None:
                    self._add(window)
            elif self._under_way:
                self._answer()
            else:
                return

    @property
    def _wants_window(self) -> bool:
        """Whether more records are of use, and fit the budget: as ``Delivery`` decides."""
        policy = self._policy
        if self._accumulator.idle_records >= policy.records_ahead(policy.most_in_flight):
            return False
        held = self._accumulator.nbytes + sum(batch.nbytes for batch in self._under_way)
        return not held or held + self._largest_window <= policy.max_in_flight_bytes

    def _send(self, *, is_closed: bool) -> bool:
        """Cut a body, if one more may be under way and may leave now."""
        if len(self._under_way) >= self._policy.most_in_flight:
            return False
        is_last = is_closed or not self._wants_window
        batch = self._accumulator.next_batch(0.0, self._policy.limits, partial=is_last)
        if batch is None:
            return False
        body_bytes = batch.nbytes + ENVELOPE_BYTES
        self.count += 1
        self.body_bytes += body_bytes
        self._largest_body = max(self._largest_body, body_bytes)
        self._records -= len(batch)
        self._under_way.append(batch)
        return True

    def _add(self, window: EncodedWindow) -> None:
        entries, policy = window.entries, self._policy
        self._largest_window = max(self._largest_window, entries.nbytes)
        entries = entries.take(np.flatnonzero(fits_in_body(entries, policy.most_body_bytes)))
        if policy.order == "none":
            entries = replace(entries, destination=np.zeros_like(entries.destination))
        self._accumulator.add(entries)
        self._records += len(entries)
        if len(self._queues) < 2:  # noqa: PLR2004  # from two on they compete
            queue = entries.destination if policy.lanes > 1 else entries.destination != 0
            self._queues |= set(np.unique(queue).tolist())

    def _answer(self) -> None:
        """End the oldest request."""
        limits = self._policy.limits
        if self._records >= limits.max_records or self._accumulator.nbytes >= limits.max_body_bytes:
            self._waits += 1
            self._sent_in_waits += len(self._under_way)
        self._accumulator.advance(self._under_way.popleft())

    @property
    def vary(self) -> bool:
        """Whether their number depends on when answers come.

        It does where records of several queues wait for each other, and where answers
        that are late fill the memory, so that requests leave before they are full.
        """
        if self.count <= 1:
            return False
        if len(self._queues) > 1:
            return True
        under_way = self._largest_body * self._policy.most_in_flight
        held = under_way + self._largest_body + 2 * self._largest_window
        return held > self._policy.max_in_flight_bytes

    @property
    def parallel(self) -> float:
        """How many are under way at once, on average, while a full one waits.

        Fewer than the policy allows: its rows wait for rows that are under way.
        """
        if not self._waits:
            return float(self._policy.most_in_flight)
        return self._sent_in_waits / self._waits


class Refusals:
    """Rows that would be rejected: all counted, the first ones kept."""

    def __init__(self) -> None:
        self.by_reason: Counter[str] = Counter()
        self._first: list[tuple[int, str, str]] = []

    def add(self, refused: Rejections, too_large: Iterable[tuple[NDArray[Any], Failure]]) -> None:
        """Count those of a window: refused on the way, and too large for any body."""
        rejected = list(zip(refused.rows.tolist(), refused.names, refused.details, strict=True))
        rejected += [
            (row, why.message, why.detail) for rows, why in too_large for row in rows.tolist()
        ]
        self.by_reason.update(name for _, name, _ in sorted(rejected))
        self._first += sorted(rejected)[: MAX_REFUSED - len(self._first)]

    def frame(self, index: pd.Index[Any] | None) -> pd.DataFrame:
        """Return the first ones by row number."""
        columns = ["row", "error_message", "error_detail"]
        frame = pd.DataFrame(self._first, columns=columns, dtype=object).set_index("row")
        frame.index = frame.index.astype("int64")
        labels = frame.index if index is None else index[frame.index]
        frame.insert(0, "label", pd.Series(list(labels), frame.index, dtype=object))
        return frame


class Keys:
    """Records by partition key and by shard.

    Parameters
    ----------
    merge_from : int
        How many counts of keys to gather before equal ones are added up.
    """

    def __init__(self, merge_from: int = _MERGE_FROM) -> None:
        self._counts: list[pa.Table] = []
        self._shards: Counter[int] = Counter()
        self._free = 0
        self._counted, self._merge_at = 0, merge_from

    def add(self, records: Records) -> None:
        """Count the records of a window."""
        keyed = sharded = 0
        if records.partition_key is not None:
            counted = pc.value_counts(records.partition_key.drop_null())
            table = pa.table(list(counted.flatten()), schema=_KEY_COUNTS)
            self._counts.append(table)
            self._counted += len(table)
            keyed = len(records.data) - records.partition_key.null_count
        if records.shard is not None:
            given = records.shard.drop_null().to_numpy()
            shards, counts = np.unique(given, return_counts=True)
            self._shards.update(dict(zip(shards.tolist(), counts.tolist(), strict=True)))
            sharded = len(given)
        self._free += len(records.data) - keyed - sharded
        if self._counted > self._merge_at:
            self._counts = [self._merge()]
            self._counted = len(self._counts[0])
            self._merge_at = max(self._merge_at, 2 * self._counted)

    def _merge(self) -> pa.Table:
        whole = pa.concat_tables([_KEY_COUNTS.empty_table(), *self._counts])
        merged = whole.group_by("key").aggregate([("records", "sum")])
        return merged.rename_columns({"records_sum": "records"}).select(["key", "records"])

    def close(self) -> KeyCounts:
        """Return the counts of all windows."""
        merged = self._merge()
        order = [("records", "descending"), ("key", "ascending")]
        largest = merged.sort_by(order).slice(0, _COMMONEST).to_pylist()
        return KeyCounts(
            keys=len(merged),
            largest={row["key"]: row["records"] for row in largest},
            shards=dict(sorted(self._shards.items())),
            free=self._free,
        )


def keep_sent(records: Records, fits: NDArray[np.bool_]) -> Records:
    """Leave out the records that no body can carry."""
    if fits.all():
        return records
    mask = pa.array(fits)

    def keep(column: pa.Array | None) -> pa.Array | None:
        return None if column is None else column.filter(mask)

    counts = records.row_counts
    return replace(
        records,
        data=keep(records.data),
        partition_key=keep(records.partition_key),
        shard=keep(records.shard),
        client_info=keep(records.client_info),
        rows=records.rows[fits if counts is None else np.repeat(fits, counts)],
        row_counts=None if counts is None else counts[fits],
    )


def preview_records(records: Records, count: int) -> list[PlannedRecord]:
    """Show the first records of a window."""
    return [
        PlannedRecord(
            rows=1 if records.row_counts is None else int(records.row_counts[place]),
            data=records.data[place].as_py(),
            partition_key=_cell(records.partition_key, place),
            shard=_cell(records.shard, place),
            client_info=_cell(records.client_info, place),
        )
        for place in range(min(count, len(records.data)))
    ]


def _cell(column: pa.Array | None, place: int) -> Any:
    return None if column is None else column[place].as_py()

"""Windows of encoded records -> counts, sizes, requests and the first records.

Holds a few bytes a record and one text a key, never the payloads.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from v3io_frames_put._producer.accumulator import Accumulator
from v3io_frames_put._producer.completion import fits_in_body
from v3io_frames_put._wire.bodies import ENVELOPE_BYTES
from v3io_frames_put.plan.records_plan import KeyCounts, PlannedRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from v3io_frames_put._encode.records import Records, Rejections
    from v3io_frames_put._producer.batch import Batch
    from v3io_frames_put._producer.values import Failure
    from v3io_frames_put._wire.bodies import EncodedWindow
    from v3io_frames_put.config import DeliveryOptions

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
        told = list(zip(refused.rows.tolist(), refused.names, refused.details, strict=True))
        told += [(row, why.message, why.detail) for rows, why in too_large for row in rows.tolist()]
        self.by_reason.update(name for _, name, _ in sorted(told))
        self._first += sorted(told)[: MAX_REFUSED - len(self._first)]

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

"""Windows of encoded records -> counts, sizes and the first records.

Holds a few bytes a record and one text a key, never the payloads.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from v3io_frames_put.plan.records_plan import KeyCounts, PlannedRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from v3io_frames_put._rows.records import Records

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


class Refusals:
    """Rows that would be rejected: all counted, the first ones kept."""

    def __init__(self) -> None:
        self.by_reason: Counter[str] = Counter()
        self._first: list[tuple[int, str, str]] = []

    def add(self, outcomes: pa.RecordBatch, first_row: int) -> None:
        """Count the rejected among the next outcomes."""
        rejected = pc.equal(outcomes.column("status").cast(pa.string()), "rejected")
        if not rejected.true_count:
            return
        names = outcomes.column("error_message").filter(rejected)
        for counted in pc.value_counts(names).to_pylist():
            self.by_reason[counted["values"]] += counted["counts"]
        room = MAX_REFUSED - len(self._first)
        rows = np.flatnonzero(rejected.to_numpy(zero_copy_only=False))[:room] + first_row
        details = outcomes.column("error_detail").filter(rejected)
        told = (names[:room].to_pylist(), details[:room].to_pylist())
        self._first += zip(rows.tolist(), *told, strict=True)

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

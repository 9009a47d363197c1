"""Outcome batches -> the results DataFrame with its receipt."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from v3io_frames_put._producer.values import RECORD_ROW, SCHEMA, STATUSES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from v3io_frames_put._producer.values import Copy, Status

Order: TypeAlias = Literal["key", "shard", "unknown", "none"]

_FIRST: Final = 100  # row numbers named in full; the rest is a count


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a run did.

    Attributes
    ----------
    run_id : str
        16 hexadecimal digits; the first half of every tag (``exactly_once``).
    stream, endpoint : str
        Where the records went.
    counts : dict of str to int
        Rows by status.
    requests, retried, bytes : int
        PutRecords requests of this call, rows it sent again, bytes of all its bodies.
    seconds : float
        Of this call, from the first window to the last outcome.
    rows_per_second : int or None
        Rows that this call stored in a second. None: it stored none.
    resumed_rows : int
        Rows that earlier calls of the run had finished.
    order : {"key", "shard", "unknown", "none"}
        What is stored in data order: the records of a key, of a key or shard, or nothing;
        unknown: of a key, and of those without one, that had a shard, but not all had.
    mapping : str
        A digest of what became of which column; a resumed run must have the same.
    starts : dict of str to int
        Per shard, its last number before the run (``exactly_once``, where small).
    stopped : str or None
        Why the run ended early. None: it did not.
    already_complete : bool
        Whether the journal had every outcome already, so that nothing was sent.
    out_of_order, duplicates : dict
        ``count``, and the first 100 as ``first``.
    """

    run_id: str
    stream: str
    endpoint: str
    delivery: str
    order: Order
    mapping: str
    counts: Mapping[Status, int]
    requests: int
    retried: int
    bytes: int
    seconds: float
    rows_per_second: int | None = None
    resumed_rows: int = 0
    starts: Mapping[str, int] = field(default_factory=dict)
    stopped: str | None = None
    already_complete: bool = False
    out_of_order: dict[str, Any] | None = field(default_factory=lambda: count_and_first([]))
    duplicates: dict[str, Any] = field(default_factory=lambda: count_and_first([]))

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON types."""
        return asdict(self)


def count_and_first(items: list[Any], *, more: int = 0) -> dict[str, Any]:
    """Return the number of items, and of ``more`` that have no name, with the first of them."""
    return {"count": len(items) + more, "first": items[:_FIRST]}


ATTRS_KEY: Final = "v3io"
"""Where a results frame keeps its receipt: ``results.attrs["v3io"]``."""

_STATUS: Final = pd.CategoricalDtype(list(STATUSES))
_TEXT: Final = pd.StringDtype("pyarrow")
_INTEGERS: Final = {
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
}


def collect_results(
    batches: Sequence[pa.RecordBatch],
    *,
    index: pd.Index[Any] | None,
    packed: bool,
) -> pd.DataFrame:
    """Put outcome batches together as the results of a run.

    Parameters
    ----------
    batches : sequence of RecordBatch
        In input order, as ``Outcomes`` hands them out.
    index : Index, optional
        The data's. None: positions from 0.
    packed : bool
        Whether there is a column ``record_row``.
    """
    schema = SCHEMA.append(RECORD_ROW) if packed else SCHEMA
    table = pa.Table.from_batches(batches, schema)
    columns = {name: _to_pandas(table.column(name)) for name in schema.names}
    frame = pd.DataFrame(columns, index=pd.RangeIndex(len(table)), copy=False)
    if index is not None:
        frame.index = index[: len(table)]  # a stopped stream of unknown length may be shorter
    return frame


def attach_receipt(results: pd.DataFrame, receipt: Receipt) -> None:
    """Keep a run's receipt with its results, in ``attrs["v3io"]``."""
    counts = results["status"].value_counts()  # amended rows count as what they became
    by_status = {status: int(counts.get(status, 0)) for status in STATUSES}
    results.attrs[ATTRS_KEY] = replace(receipt, counts=by_status).to_json()


def _to_pandas(column: pa.ChunkedArray) -> Any:
    array = column.combine_chunks()
    if pa.types.is_dictionary(array.type):
        return pd.Categorical.from_codes(np.array(array.indices), dtype=_STATUS)
    if pa.types.is_boolean(array.type):
        return np.asarray(array.to_numpy(zero_copy_only=False), np.bool_)
    if array.type in _INTEGERS:
        dtype: Any = _INTEGERS[array.type]
        return dtype.__from_arrow__(array)
    text: Any = _TEXT
    return text.__from_arrow__(array)


def amend_results(
    results: pd.DataFrame, *, late: Sequence[Copy], duplicates: Sequence[Copy]
) -> None:
    """Write into results what a last scan saw after their rows had been settled.

    Parameters
    ----------
    results : DataFrame
        Changed in place.
    late : sequence of Copy
        Rows that are stored after all, and where.
    duplicates : sequence of Copy
        Further copies of rows that are stored; they are marked.
    """
    rows = [copy.row for copy in late]
    values: dict[str, Any] = {
        "status": "stored",
        "shard_id": [copy.shard_id for copy in late],
        "sequence_number": [copy.sequence_number for copy in late],
        **dict.fromkeys(("error_code", "error_message", "error_detail"), pd.NA),
    }
    places: Any = results.iloc
    for name, value in values.items():
        if rows:
            places[rows, results.columns.get_loc(name)] = value
    marked = sorted({copy.row for copy in duplicates})
    if marked:
        places[marked, results.columns.get_loc("maybe_duplicate")] = True

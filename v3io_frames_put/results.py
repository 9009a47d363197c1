"""Outcomes as Arrow batches -> the results DataFrame."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from v3io_frames_put._delivery.outcome_pages import RECORD_ROW, SCHEMA, STATUSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from v3io_frames_put._delivery.suspects import Copy
    from v3io_frames_put.receipt import Receipt

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
    told = {status: int(counts.get(status, 0)) for status in STATUSES}
    results.attrs[ATTRS_KEY] = replace(receipt, counts=told).to_json()


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

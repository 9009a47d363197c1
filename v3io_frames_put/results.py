"""Outcome batches -> the results DataFrame with its receipt."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from ._producer.values import LOST, RECORD_ROW, SCHEMA, STATUSES, Copy, Status
from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray


StoredOrder: TypeAlias = Literal["key", "shard", "unknown", "none"]

ANSWER_COLUMNS: Final = (
    "status",
    "shard_id",
    "sequence_number",
    "error_code",
    "error_message",
    "error_detail",
)  # what became of a row, and where it is
_FIRST: Final = 100  # row numbers named in full; the rest is a count


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a run did; ``attrs["v3io"]`` of its results has it as plain JSON types."""

    run_id: str  # 16 hexadecimal digits; the first half of every tag (``exactly_once``)
    stream: str
    endpoint: str
    delivery: str
    # What is stored in data order: the records of a key, of a key or shard, or nothing;
    # unknown: of a key, and of those without one, that had a shard, but not all had.
    order: StoredOrder
    mapping: str  # a digest of what becomes of which column; a resumed run has the same
    counts: Mapping[Status, int]  # rows by status
    requests: int  # PutRecords requests of this call
    retried: int  # rows that it sent again
    bytes: int  # of all its bodies
    seconds: float  # of this call, from the first window to the last outcome
    rows_per_second: int | None = None  # that this call stored; None: it stored none
    resumed_rows: int = 0  # that earlier calls of the run had finished
    # Per shard, its last number before the run (``exactly_once``, where small).
    starts: Mapping[str, int] = field(default_factory=dict)
    stopped: str | None = None  # why the run ended early
    already_complete: bool = False  # the journal had every outcome, so that nothing was sent
    # Of these two, ``count``, and the first 100 as ``first``. None: not known.
    out_of_order: dict[str, Any] | None = field(default_factory=lambda: count_and_first([]))
    duplicates: dict[str, Any] = field(default_factory=lambda: count_and_first([]))


def count_and_first(items: list[Any]) -> dict[str, Any]:
    """Return the number of items, and the first of them."""
    return {"count": len(items), "first": items[:_FIRST]}


ATTRS_KEY: Final = "v3io"
"""Where a results frame keeps its receipt: ``results.attrs["v3io"]``."""

_STATUS: Final = pd.CategoricalDtype(list(STATUSES))
_TEXT: Final = pd.StringDtype("pyarrow")
_BLOCK_ROWS: Final = 1 << 20  # where nobody knows how many there will be
_NUMPY: Final = {
    SCHEMA.field("status").type: np.int8,
    pa.int16(): np.int16,
    pa.int32(): np.int32,
    pa.int64(): np.int64,
    pa.bool_(): np.bool_,
}


def collect_results(
    batches: Iterable[pa.RecordBatch], *, index: pd.Index[Any] | None, packed: bool
) -> pd.DataFrame:
    """Put outcome batches together as the results of a run, with the index of its data."""
    results = Results(None, packed=packed)
    for batch in batches:
        results.add(batch)
    return results.to_frame(index)


def restore_types(results: Any, names: Sequence[str]) -> pd.DataFrame:
    """Return results whose columns ``names`` have their own types again: a file may change them.

    Raises ConfigError.
    """
    columns = results.columns if isinstance(results, pd.DataFrame) else ()
    absent = [name for name in names if name not in columns]
    if absent:
        raise ConfigError(
            f"results: expected the frame that put_records returned; it has no column "
            f"{', '.join(absent)}."
        )
    if not results["status"].isin(STATUSES).all():
        raise ConfigError(f"results: expected the status of each row: {', '.join(STATUSES)}.")
    types = collect_results([], index=None, packed=True).dtypes
    changed = {name: types[name] for name in names if results[name].dtype != types[name]}
    frame: pd.DataFrame = results
    try:
        if changed.pop("maybe_duplicate", None):  # bool("False") is true
            frame = frame.astype({"maybe_duplicate": "boolean"}).astype({"maybe_duplicate": bool})
        frame = frame.astype(changed) if changed else frame
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"results: {error}; expected the values and types of the frame that put_records "
            f"returned. Correct the column."
        ) from error
    return frame


class Results:
    """The results of a run while it goes on: each batch becomes a part of every column.

    With a known number of rows a column is one array from the start, of which the operating
    system gives only what is written; so nothing is copied at the end.
    """

    def __init__(self, num_rows: int | None, *, packed: bool) -> None:
        self._schema = SCHEMA.append(RECORD_ROW) if packed else SCHEMA
        self._cells: dict[str, _Cells] = {}
        self._is_missing: dict[str, _Cells] = {}  # of the integers
        self._texts: dict[str, list[pa.Array]] = {}
        self._text_type = pa.array(pd.array([], dtype=_TEXT)).type  # what pandas keeps it in
        self._nulls = pa.nulls(0, self._text_type)  # shared by all parts that have no text
        block_rows = num_rows or _BLOCK_ROWS
        for name, dtype in zip(self._schema.names, self._schema.types, strict=True):
            if pa.types.is_string(dtype):
                self._texts[name] = []
                continue
            self._cells[name] = _Cells(_NUMPY[dtype], block_rows)
            if pa.types.is_integer(dtype):
                self._is_missing[name] = _Cells(np.bool_, block_rows)

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the outcomes of the next rows."""
        for name, column in zip(self._schema.names, batch.columns, strict=True):
            if name in self._texts:
                if column.null_count < len(column):
                    self._texts[name].append(column.cast(self._text_type))
                    continue
                if len(self._nulls) < len(column):
                    self._nulls = pa.nulls(len(column), self._text_type)
                self._texts[name].append(self._nulls[: len(column)])
                continue
            values = column.indices if name == "status" else column
            if name in self._is_missing:
                is_missing = column.is_null().to_numpy(zero_copy_only=False)
                self._is_missing[name].append(is_missing)
                values = column.fill_null(1) if column.null_count else column
            self._cells[name].append(values.to_numpy(zero_copy_only=False))

    def to_frame(self, index: pd.Index[Any] | None) -> pd.DataFrame:
        """Return the results; the columns are given away, one after the other."""
        columns: dict[str, Any] = {}
        text: Any = _TEXT
        for name in self._schema.names:
            if name in self._texts:
                parts = pa.chunked_array(self._texts.pop(name), self._text_type)
                columns[name] = text.__from_arrow__(parts)
                continue
            values = self._cells.pop(name).to_array()
            if name == "status":
                values = pd.Categorical.from_codes(values, dtype=_STATUS, validate=False)
            elif name in self._is_missing:
                is_missing = self._is_missing.pop(name).to_array()
                values = pd.arrays.IntegerArray(values, is_missing)
            columns[name] = values
        num_rows = len(columns["status"])
        frame = pd.DataFrame(columns, index=pd.RangeIndex(num_rows), copy=False)
        if index is not None:
            frame.index = index[:num_rows]  # a stopped stream of unknown length may be shorter
        return frame


@dataclass(slots=True)
class _Cells:
    """A column of numbers, written part by part into large blocks."""

    _dtype: Any
    _block_rows: int
    _blocks: list[NDArray[Any]] = field(default_factory=list)
    _count: int = 0

    def append(self, part: NDArray[Any]) -> None:
        """Add cells at the end."""
        while len(part):
            number, within = divmod(self._count, self._block_rows)
            if number == len(self._blocks):
                self._blocks.append(np.empty(self._block_rows, self._dtype))
            fitting = part[: self._block_rows - within]
            self._blocks[number][within : within + len(fitting)] = fitting
            self._count += len(fitting)
            part = part[len(fitting) :]

    def to_array(self) -> Any:
        """Return all cells: of one block without a copy."""
        if len(self._blocks) == 1:
            return self._blocks[0][: self._count]
        return np.concatenate([np.zeros(0, self._dtype), *self._blocks])[: self._count]


def attach_receipt(results: pd.DataFrame, receipt: Receipt) -> None:
    """Keep a run's receipt with its results, in ``attrs["v3io"]``."""
    counts: Any = results["status"].value_counts(sort=False)  # with amended rows as they are now
    results.attrs[ATTRS_KEY] = asdict(replace(receipt, counts=counts.to_dict()))


def amend_results(
    results: pd.DataFrame, *, late: Sequence[Copy], duplicates: Sequence[Copy]
) -> None:
    """Write into results what a last scan saw: rows stored late, lost rows, further copies."""
    places: Any = results.iloc
    if late:
        rows, cells = [copy.row for copy in late], [_amended_cells(copy) for copy in late]
        names = [*ANSWER_COLUMNS, *results.columns.intersection([RECORD_ROW.name])]
        for name, *values in zip(names, *cells, strict=False):
            places[rows, results.columns.get_loc(name)] = values
    if duplicates:
        marked = sorted({copy.row for copy in duplicates})
        places[marked, results.columns.get_loc("maybe_duplicate")] = True


def _amended_cells(copy: Copy) -> tuple[Any, ...]:
    if copy.is_lost:
        return "unknown", pd.NA, pd.NA, pd.NA, LOST.message, LOST.detail, pd.NA
    return "stored", copy.shard_id, copy.sequence_number, pd.NA, pd.NA, pd.NA, copy.record_row

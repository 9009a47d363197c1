"""What became of each row: pages of outcomes, and the Arrow batches made of them in input order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from v3io_frames_put._producer.prior_run import PriorOutcomes
    from v3io_frames_put._producer.run_log import RunLog
    from v3io_frames_put._wire.bodies import Entries

Status: TypeAlias = Literal["stored", "rejected", "unsent", "unknown"]
STATUSES: Final[tuple[Status, ...]] = ("stored", "rejected", "unsent", "unknown")

PAGE_ROWS: Final = 1 << 16
OPEN: Final = -1  # in the status column: no outcome yet
DOUBTED: Final = -2  # likewise, and perhaps stored by an earlier run
NOT_GIVEN: Final = -1  # in shard, sequence number, name and detail: not given
NO_CODE: Final = np.iinfo(np.int64).min  # the platform's codes are negative

PAGE: Final = np.dtype(
    [
        ("status", np.int8),
        ("maybe_duplicate", np.bool_),
        ("attempts", np.int16),
        ("shard_id", np.int32),
        ("sequence_number", np.int64),
        ("error_code", np.int64),
        ("error_message", np.int32),
        ("error_detail", np.int32),
        ("record_row", np.int32),
    ]
)
BLANK: Final = np.array(
    (OPEN, False, 0, NOT_GIVEN, NOT_GIVEN, NO_CODE, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN), PAGE
)

_TEXTS: Final = ("error_message", "error_detail")

SCHEMA: Final = pa.schema(
    [
        ("status", pa.dictionary(pa.int8(), pa.string())),
        ("shard_id", pa.int32()),
        ("sequence_number", pa.int64()),
        ("error_code", pa.int64()),
        ("error_message", pa.string()),
        ("error_detail", pa.string()),
        ("attempts", pa.int16()),
        ("maybe_duplicate", pa.bool_()),
    ]
)
"""Columns of the results, in order (contract section 2)."""

RECORD_ROW: Final = pa.field("record_row", pa.int32())
"""The last column, where records hold several rows."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why rows are not stored, as the error columns tell it."""

    message: str
    detail: str = ""
    code: int | None = None


class Texts:
    """Each distinct text once, found by number."""

    def __init__(self) -> None:
        self._number_of: dict[str, int] = {}
        self._values: list[str] = []

    def number(self, text: str) -> int:
        """Find the number of a text; the empty one means not given."""
        if not text:
            return NOT_GIVEN
        if text not in self._number_of:
            self._number_of[text] = len(self._values)
            self._values.append(text)
        return self._number_of[text]

    def column(self, numbers: NDArray[np.int32]) -> pa.StringArray:
        """Turn numbers into an Arrow column of texts."""
        used, positions = np.unique(numbers, return_inverse=True)
        texts = pa.array([self._values[n] if n != NOT_GIVEN else None for n in used], pa.string())
        return texts.take(pa.array(positions))

    def numbers(self, column: pa.Array) -> NDArray[np.int32]:
        """Turn an Arrow column of texts into numbers."""
        encoded = column.dictionary_encode()
        known = [self.number(text) for text in encoded.dictionary.to_pylist()]
        places = np.asarray(encoded.indices.fill_null(len(known)))
        numbers: NDArray[np.int32] = np.array([*known, NOT_GIVEN], np.int32)[places]
        return numbers


def to_arrow(page: NDArray[Any], texts: Texts, *, packed: bool) -> pa.RecordBatch:
    """Tell of the rows of a page as the results do."""
    code = page["error_code"]
    columns = [
        pa.DictionaryArray.from_arrays(pa.array(page["status"]), pa.array(STATUSES)),
        _nullable(page["shard_id"], NOT_GIVEN),
        _nullable(page["sequence_number"], NOT_GIVEN),
        _nullable(code, NO_CODE),
        texts.column(page["error_message"]),
        texts.column(page["error_detail"]),
        pa.array(page["attempts"]),
        pa.array(page["maybe_duplicate"]),
    ]
    if not packed:
        return pa.record_batch(columns, schema=SCHEMA)
    columns.append(_nullable(page["record_row"], NOT_GIVEN))
    return pa.record_batch(columns, schema=SCHEMA.append(RECORD_ROW))


def to_table(columns: Mapping[str, NDArray[Any]], texts: Texts) -> pa.RecordBatch:
    """Write columns of a page as they are; texts in place of their numbers."""
    arrays = [
        texts.column(values) if name in _TEXTS else pa.array(values)
        for name, values in columns.items()
    ]
    return pa.record_batch(arrays, list(columns))


def from_table(table: pa.RecordBatch, texts: Texts) -> NDArray[Any]:
    """Make a page of columns as they were written; what is not among them is blank."""
    page = np.full(table.num_rows, BLANK)
    for name in set(table.schema.names) & set(PAGE.names or ()):
        column = table.column(name)
        is_text = pa.types.is_string(column.type)
        values = texts.numbers(column) if is_text else column.to_numpy(zero_copy_only=False)
        page[name] = values
    return page


def from_arrow(batch: pa.RecordBatch, texts: Texts) -> NDArray[Any]:
    """Make a page of what the results tell of its rows."""
    page = np.full(batch.num_rows, BLANK)
    for name in batch.schema.names:
        column = batch.column(name)
        if name == "status":
            page[name] = np.asarray(column.indices)
        elif pa.types.is_string(column.type):
            page[name] = texts.numbers(column)
        elif pa.types.is_boolean(column.type):
            page[name] = column.to_numpy(zero_copy_only=False)
        else:
            page[name] = np.asarray(column.fill_null(int(BLANK[name])))
    return page


def _nullable(values: NDArray[Any], missing: int) -> pa.Array:
    return pa.array(values, mask=values == missing)


_FOUND: Final = ("maybe_duplicate", "shard_id", "sequence_number")  # what a look-up says of a row


class Outcomes:
    """The outcome of every row of a run.

    Parameters
    ----------
    packed : bool
        Whether records hold several rows; adds the column ``record_row``.
    earlier : PriorOutcomes, optional
        What earlier processes of the run left.
    run_log : RunLog, optional
        Is told of every outcome.
    page_rows : int
        Rows of a page; ``earlier`` has as many.
    """

    def __init__(
        self,
        *,
        packed: bool = False,
        earlier: PriorOutcomes | None = None,
        run_log: RunLog | None = None,
        page_rows: int = PAGE_ROWS,
    ) -> None:
        self.page_rows = page_rows
        self.counts: dict[Status, int] = dict.fromkeys(STATUSES, 0)
        self.is_packed = packed
        self._pages: dict[int, NDArray[Any]] = {}
        self._open: dict[int, int] = {}
        self._emitted = 0  # pages
        self._rows = 0
        self._earlier = earlier
        self._run_log = run_log
        self._texts = earlier.texts if earlier else Texts()

    @property
    def num_rows(self) -> int:
        """Rows seen so far."""
        return self._rows

    def open(self, num_rows: int) -> None:
        """Add rows at the end, without an outcome yet."""
        first = start = self._rows
        self._rows += num_rows
        while start < self._rows:
            page, within = divmod(start, self.page_rows)
            if page not in self._pages:
                self._pages[page] = np.full(self.page_rows, BLANK)
                self._open[page] = 0
            fresh = min(self.page_rows - within, self._rows - start)
            self._open[page] += fresh
            start += fresh
        if self._earlier is not None:
            self._recall(self._earlier, first)

    def _recall(self, earlier: PriorOutcomes, first: int) -> None:
        """Give the rows from ``first`` on what earlier processes left of them."""
        while first < self._rows:
            page, within = divmod(first, self.page_rows)
            count = min(self.page_rows - within, self._rows - first)
            known = earlier.recall(first, count)
            self._pages[page][within : within + count] = known
            codes = known["status"][known["status"] >= 0]
            self._open[page] -= len(codes)
            for code, kept in enumerate(np.bincount(codes, minlength=len(STATUSES)).tolist()):
                self.counts[STATUSES[code]] += kept
            found = earlier.found(first, count)
            told = {name: self._read(name, found) for name in _FOUND}
            self._record(found, status=STATUSES.index("stored"), **told)
            first += count

    def _by_page(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, slice | NDArray[Any]]]:
        """Split row numbers by page: the page, and which of the rows lie in it."""
        if not len(rows):
            return
        first, last = int(rows.min()) // self.page_rows, int(rows.max()) // self.page_rows
        if first == last:
            yield first, slice(None)
            return
        pages = rows // self.page_rows
        for page in np.unique(pages):
            yield int(page), np.flatnonzero(pages == page)

    def write(self, rows: NDArray[np.int64], **columns: Any) -> None:
        """Set columns of rows; a value serves all rows, an array one each."""
        for page, which in self._by_page(rows):
            within = rows[which] - page * self.page_rows
            for name, value in columns.items():
                part = value[which] if isinstance(value, np.ndarray) else value
                self._pages[page][name][within] = part

    def settle(
        self, rows: NDArray[np.int64], status: Status, *, attempts: int = 0, **columns: Any
    ) -> None:
        """Give rows their outcome: once, for it counts them.

        Parameters
        ----------
        rows : ndarray of int64
            Which.
        status : Status
            Their outcome; rows in doubt since an earlier run can only be stored,
            perhaps twice, or unknown.
        attempts : int
            Requests of this run that carried them.
        **columns
            The other columns: a value for all, or an array with one each.
        """
        if attempts:
            self._add_attempts(rows, attempts)
        if self._earlier is None:
            self._settle(rows, status, columns)
            return
        doubt = self._read("status", rows) == DOUBTED
        for is_doubtful in (False, True):
            of_kind = doubt == is_doubtful
            chosen = {
                name: value[of_kind] if isinstance(value, np.ndarray) else value
                for name, value in columns.items()
            }
            if is_doubtful:
                before = self._read("maybe_duplicate", rows[of_kind])
                now = chosen.get("maybe_duplicate", False)
                chosen["maybe_duplicate"] = before | now | (attempts > 0)
            in_the_end = "unknown" if is_doubtful and status != "stored" else status
            self._settle(rows[of_kind], in_the_end, chosen)

    def _add_attempts(self, rows: NDArray[np.int64], attempts: int) -> None:
        for page, which in self._by_page(rows):
            self._pages[page]["attempts"][rows[which] - page * self.page_rows] += attempts

    def _settle(self, rows: NDArray[np.int64], status: Status, columns: dict[str, Any]) -> None:
        self.write(rows, status=STATUSES.index(status), **columns)
        self.counts[status] += len(rows)
        if self._earlier is not None and status == "stored":
            self._earlier.note_stored(rows)
        for page, which in self._by_page(rows):
            self._open[page] -= len(rows[which])
        if status != "unsent":  # that is what a row without a word is
            self._record(rows, status=STATUSES.index(status), **columns)

    def _record(self, rows: NDArray[np.int64], **columns: Any) -> None:
        """Tell the recorder what became of rows: the columns that say something."""
        if self._run_log is None or not len(rows):
            return
        for name in ("attempts", "record_row") if self.is_packed else ("attempts",):
            columns[name] = self._read(name, rows)
        told = {
            name: value if isinstance(value, np.ndarray) else np.full(len(rows), value, PAGE[name])
            for name, value in columns.items()
        }
        self._run_log.settle(rows, told, self._texts)

    def fail(
        self, rows: NDArray[np.int64], status: Status, failure: Failure, **columns: Any
    ) -> None:
        """Give rows an outcome other than stored, with its reason."""
        self.settle(
            rows,
            status,
            error_code=NO_CODE if failure.code is None else failure.code,
            error_message=self._texts.number(failure.message),
            error_detail=self._texts.number(failure.detail),
            **columns,
        )

    def reject(self, rows: NDArray[np.int64], names: Sequence[str], details: Sequence[str]) -> None:
        """Reject rows, each for a reason of its own."""
        self.settle(
            rows,
            "rejected",
            error_message=np.array([self._texts.number(name) for name in names], np.int32),
            error_detail=np.array([self._texts.number(detail) for detail in details], np.int32),
        )

    def without_outcome(self, first: int) -> NDArray[np.int64]:
        """List the rows from ``first`` on that are open: earlier runs may have settled some."""
        rows = np.arange(first, self._rows)
        return rows[self._read("status", rows) < 0]

    def _read(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Get a column of rows."""
        column = np.empty(len(rows), PAGE[name])
        for page, which in self._by_page(rows):
            column[which] = self._pages[page][name][rows[which] - page * self.page_rows]
        return column

    def number_rows(self, entries: Entries) -> None:
        """Note each row's place in its record, where records hold several."""
        counts = entries.row_counts
        if counts is not None:
            before = np.repeat(np.cumsum(counts) - counts, counts)
            self.write(entries.rows, record_row=np.arange(len(entries.rows)) - before)

    def drain(self) -> Iterator[pa.RecordBatch]:
        """Hand out the batches of rows that are settled, in input order, and forget them."""
        while self._emitted in self._pages and self._is_complete(self._emitted):
            page = self._pages.pop(self._emitted)
            del self._open[self._emitted]
            batch = to_arrow(page, self._texts, packed=self.is_packed)
            if self._run_log is not None:
                self._run_log.complete(self._emitted, batch)
            self._emitted += 1
            yield batch

    def _is_complete(self, page: int) -> bool:
        return not self._open[page] and self._rows >= (page + 1) * self.page_rows

    def finish(self) -> Iterator[pa.RecordBatch]:
        """Hand out all that is left; the last page may be short."""
        yield from self.drain()
        for page in sorted(self._pages):
            last = self._pages.pop(page)[: self._rows - page * self.page_rows]
            yield to_arrow(last, self._texts, packed=self.is_packed)

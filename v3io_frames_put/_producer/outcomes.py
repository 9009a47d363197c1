"""The outcome of each row: recorded in any order, emitted as Arrow batches in input order.

Rows are kept in pages, each a set of columns. A page leaves memory as soon as each of its rows,
and of all pages before it, has an outcome.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .accumulator import NOT_REORDERED, Batch
from .values import (
    BLANK,
    IN_DOUBT,
    NO_CODE,
    PAGE,
    PAGE_ROWS,
    STATUSES,
    TEXTS,
    Texts,
    to_results_batch,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from .._encode.records import Blocks
    from .._wire.bodies import Entries
    from .prior_run import PriorOutcomes
    from .values import Copy, Failure, Status

_NAMES: Final = PAGE.names or ()
_CODES: Final = {status: code for code, status in enumerate(STATUSES)}
_MOST_ATTEMPTS: Final = np.iinfo(np.int16).max  # of a column of 16 bits: more are not counted
_FOUND: Final = ("maybe_duplicate", "shard_id", "sequence_number")  # what a look-up learns


class RunLog:
    """Takes what happens to requests and rows; this one keeps nothing, a journal writes it.

    A request is taken before it leaves, and again when its end is known. Records that it
    leaves in doubt stay recorded until their rows have an outcome.
    """

    blocks: Blocks | None = None  # checks the data where it is read again

    def begin(self, low_watermark: NDArray[np.int64]) -> None:
        """Take the last number of each shard, before the first record (``exactly_once``)."""

    def note_request(self, batch: Batch) -> None:
        """Take the records of the next request; its ticket is ``batch.ticket``."""

    def note_answered(self, ticket: int) -> None:
        """Take that a request got an answer for each of its records."""

    def note_refused(self, ticket: int) -> None:
        """Take that nothing of a request is stored."""

    def note_in_doubt(self, batch: Batch) -> None:
        """Take that some records of the request of a batch may be stored, or may not."""

    def record(self, rows: NDArray[np.int64], columns: Mapping[str, NDArray[Any]]) -> None:
        """Take the outcome of rows: columns of a page, the others are blank; texts as objects."""

    def complete_page(self, number: int, batch: pa.RecordBatch) -> None:
        """Take a page of which every row has its outcome."""

    def commit(self) -> None:
        """Make durable what was taken; raises a PutRecordsError where that fails."""

    def conclude(
        self,
        *,
        num_rows: int,
        is_finished: bool,
        late: Sequence[Copy],
        duplicates: Sequence[Copy],
    ) -> None:
        """Take how the run ended, and what scans saw: late or lost rows, and further copies."""


class _Page:
    """Outcomes of consecutive rows, in the columns of ``PAGE``.

    Each is an array of its own, which is faster to write than a record array. ``num_open``
    counts the rows that are read and have no outcome yet. ``texts`` are those of its rows alone:
    rejected rows may have a detail each, which would else stay for the whole run.
    """

    __slots__ = ("columns", "first_row", "num_open", "texts")

    def __init__(self, first_row: int, num_rows: int) -> None:
        self.first_row, self.num_open, self.texts = first_row, 0, Texts()
        self.columns = {name: BLANK[name].repeat(num_rows) for name in _NAMES}


class Outcomes:
    """The outcome of every row of a run.

    Where records hold several rows, ``packed`` adds the column ``record_row``. ``prior_outcomes``
    are what earlier processes of the run recorded; their pages are as large.
    """

    def __init__(
        self,
        *,
        packed: bool = False,
        prior_outcomes: PriorOutcomes | None = None,
        run_log: RunLog | None = None,
        page_rows: int = PAGE_ROWS,
    ) -> None:
        self.page_rows = page_rows
        self.counts: dict[Status, int] = dict.fromkeys(STATUSES, 0)  # rows by status
        self.num_rows = 0  # read so far
        self.is_packed = packed
        self._pages: dict[int, _Page] = {}
        self._emitted = 0  # pages
        self._prior = prior_outcomes
        self._run_log = run_log

    # -- rows in ----------------------------------------------------------------------

    def open(self, num_rows: int) -> None:
        """Add rows at the end, without an outcome yet."""
        first = self.num_rows
        self.num_rows += num_rows
        while first < self.num_rows:
            number, within = divmod(first, self.page_rows)
            count = min(self.page_rows - within, self.num_rows - first)
            if number not in self._pages:
                self._pages[number] = _Page(number * self.page_rows, self.page_rows)
            page = self._pages[number]
            page.num_open += count
            if self._prior is not None:
                self._recall(self._prior, page, first, count)
            first += count

    def _recall(self, prior: PriorOutcomes, page: _Page, first: int, count: int) -> None:
        """Give rows of a page what earlier processes left; log those that a look-up found."""
        known = prior.recall(first, count)
        within = first - page.first_row
        for name, column in page.columns.items():
            values = known[name]
            if name in TEXTS:
                values = page.texts.numbers(prior.texts.column(values))
            column[within : within + count] = values
        final = known["status"][known["status"] >= 0]
        page.num_open -= len(final)
        for code, rows in enumerate(np.bincount(final, minlength=len(STATUSES)).tolist()):
            self.counts[STATUSES[code]] += rows
        found = prior.found_among(first, count)
        if len(found):
            columns = {name: self._read(name, found) for name in _FOUND}
            self._log(found, "stored", columns)

    def number_rows(self, rows: NDArray[np.int64], row_counts: NDArray[np.int32]) -> None:
        """Write each row's place in its record, given how many rows each record holds."""
        before = np.repeat(np.cumsum(row_counts) - row_counts, row_counts)
        places = np.arange(len(rows)) - before
        for page, which, within in self._by_page(rows):
            page.columns["record_row"][within] = places[which]

    # -- outcomes in ------------------------------------------------------------------

    def record(
        self, rows: NDArray[np.int64], status: Status, *, attempts: int = 0, **columns: Any
    ) -> None:
        """Record the outcome of rows: once, for it counts them.

        Rows in doubt since an earlier process can only be stored, perhaps twice, or unknown.
        ``attempts`` are the requests of this process that carried the rows. The other columns
        have a value for all rows, or an array with one for each; texts are not numbered yet.
        """
        if not len(rows):
            return
        if self._prior is None:
            self._write(rows, status, attempts, columns)
            return
        was_in_doubt = self._read("status", rows) == IN_DOUBT
        for in_doubt in (False, True):
            of_kind = was_in_doubt == in_doubt
            chosen = {
                name: value[of_kind] if isinstance(value, np.ndarray) else value
                for name, value in columns.items()
            }
            if in_doubt:
                before = self._read("maybe_duplicate", rows[of_kind])
                now = chosen.get("maybe_duplicate", False)
                chosen["maybe_duplicate"] = before | now | (attempts > 0)
            final = "unknown" if in_doubt and status != "stored" else status
            self._write(rows[of_kind], final, attempts, chosen)

    def record_failure(
        self, rows: NDArray[np.int64], status: Status, failure: Failure, **columns: Any
    ) -> None:
        self.record(
            rows,
            status,
            error_code=NO_CODE if failure.code is None else failure.code,
            error_message=failure.message,
            error_detail=failure.detail,
            **columns,
        )

    def record_rejections(
        self, rows: NDArray[np.int64], names: Sequence[str], details: Sequence[str]
    ) -> None:
        self.record(
            rows,
            "rejected",
            error_message=np.array(names, object),
            error_detail=np.array(details, object),
        )

    def _write(
        self, rows: NDArray[np.int64], status: Status, attempts: int, columns: dict[str, Any]
    ) -> None:
        attempts = min(attempts, _MOST_ATTEMPTS)
        for page, which, within in self._by_page(rows):
            written = page.columns
            written["status"][within] = _CODES[status]
            before = np.minimum(written["attempts"][within], _MOST_ATTEMPTS - attempts)
            written["attempts"][within] = before + attempts
            for name, value in columns.items():
                values = value[which] if isinstance(value, np.ndarray) else value
                written[name][within] = page.texts.intern(values) if name in TEXTS else values
            page.num_open -= len(rows[which])
        self.counts[status] += len(rows)
        if status != "unsent":  # that is what a row without an outcome is
            self._log(rows, status, columns)

    def _by_page(
        self, rows: NDArray[np.int64]
    ) -> Iterator[tuple[_Page, slice | NDArray[Any], slice | NDArray[Any]]]:
        """Split rows by page: the page, which of the rows are in it, and their places there."""
        if not len(rows):
            return
        lowest, highest = int(rows[0]), int(rows[-1])
        if highest - lowest == len(rows) - 1 and (rows[1:] > rows[:-1]).all():
            numbers = range(lowest // self.page_rows, highest // self.page_rows + 1)
            for number in numbers:  # consecutive rows: slices, which copy nothing
                page = self._pages[number]
                start = max(lowest, page.first_row)
                stop = min(highest + 1, page.first_row + self.page_rows)
                yield (
                    page,
                    slice(start - lowest, stop - lowest),
                    slice(start - page.first_row, stop - page.first_row),
                )
            return
        lowest, highest = int(rows.min()), int(rows.max())
        if lowest // self.page_rows == highest // self.page_rows:
            page = self._pages[lowest // self.page_rows]
            yield page, slice(None), rows - page.first_row
            return
        numbers_of = rows // self.page_rows
        for number in np.unique(numbers_of).tolist():
            page = self._pages[number]
            which = np.flatnonzero(numbers_of == number)
            yield page, which, rows[which] - page.first_row

    def _log(self, rows: NDArray[np.int64], status: Status, columns: dict[str, Any]) -> None:
        if self._run_log is None or not len(rows):
            return
        written = {"status": _CODES[status], **columns, "attempts": self._read("attempts", rows)}
        if self.is_packed:
            written["record_row"] = self._read("record_row", rows)
        arrays = {
            name: value
            if isinstance(value, np.ndarray)
            else np.full(len(rows), value, object if name in TEXTS else PAGE[name])
            for name, value in written.items()
        }
        self._run_log.record(rows, arrays)

    # -- out --------------------------------------------------------------------------

    def open_rows(self, first: int = 0) -> NDArray[np.int64]:
        """Return the rows from ``first`` on that are read and have no outcome."""
        first = max(first, self._emitted * self.page_rows)  # what was handed out has outcomes
        rows = np.arange(first, self.num_rows)
        return rows[self._read("status", rows) < 0]

    def _read(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        column = np.empty(len(rows), PAGE[name])
        for page, which, within in self._by_page(rows):
            column[which] = page.columns[name][within]
        return column

    def drain(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches of rows that have their outcome, in input order, and forget them."""
        while self.num_rows >= (self._emitted + 1) * self.page_rows:
            if self._pages[self._emitted].num_open:
                return
            page = self._pages.pop(self._emitted)
            batch = to_results_batch(page.columns, page.texts, packed=self.is_packed)
            if self._run_log is not None:
                self._run_log.complete_page(self._emitted, batch)
            self._emitted += 1
            yield batch

    def finish(self) -> Iterator[pa.RecordBatch]:
        """Yield all that is left; the last page may be short."""
        yield from self.drain()
        for number in sorted(self._pages):
            page = self._pages.pop(number)
            num_rows = self.num_rows - page.first_row
            last = {name: column[:num_rows] for name, column in page.columns.items()}
            yield to_results_batch(last, page.texts, packed=self.is_packed)


@dataclass(slots=True)
class Reordering:
    """Rows that are stored after later ones of their destination.

    It happens inside one request, when the platform refuses a record for a passing reason and
    stores a later one of its destination. Of records a, a, b, a sent together:

        answer   a Busy    a 0:17    b 2:5     a 0:18     (shard:number)
        open     row 0, reordered_at 17: the next stored record of its destination
        then     row 0 is stored as 0:19, after 17: it is out of order
        or       a look-up finds row 0 as 0:16, from a request cut off before: it is in order

    It also happens when a row ends unknown or rejected while a dead connection may still store
    it: later rows of its destination are sent, and it may come after them.

    Attributes
    ----------
    rows : list of int
        Rows that are out of order.
    """

    rows: list[int] = field(default_factory=list)
    _reordered_at: dict[int, int] = field(default_factory=dict)
    _may_come_late: dict[int, list[int]] = field(default_factory=dict)  # destination: rows in doubt

    def note_open(
        self, batch: Batch, is_stored: NDArray[np.bool_], sequence_number: NDArray[np.int64]
    ) -> None:
        """Note which open records of a batch have a later one of their destination stored."""
        least = find_reordered(batch.entries, is_stored, sequence_number)
        np.minimum(batch.state["reordered_at"], least, out=least)
        batch.state["reordered_at"] = least
        reordered = np.flatnonzero(least != NOT_REORDERED)
        rows = batch.entries.rows_of(reordered)
        numbers = batch.entries.spread(least, reordered)
        self._reordered_at.update(zip(rows.tolist(), numbers.tolist(), strict=True))

    def note_stored(
        self, batch: Batch, stored: NDArray[np.intp], sequence_number: NDArray[np.int64]
    ) -> None:
        """Note which stored records of a batch are stored after later ones, or before late ones."""
        if batch.attempts > 1:
            is_late = sequence_number[stored] > batch.state["reordered_at"][stored]
            self.rows += batch.entries.rows_of(stored[is_late]).tolist()
        if self._may_come_late:
            late = np.fromiter(self._may_come_late, np.uint64)
            for at in stored[np.isin(batch.entries.destination[stored], late)].tolist():
                for row in self._may_come_late.pop(int(batch.entries.destination[at]), ()):
                    self._reordered_at.setdefault(row, int(sequence_number[at]))

    def note_settled(self, batch: Batch) -> None:
        """Note records that have their outcome, and that a dead connection may still store."""
        in_doubt = np.flatnonzero(batch.state["was_in_doubt"] & (batch.entries.destination != 0))
        for at in in_doubt.tolist():
            rows = self._may_come_late.setdefault(int(batch.entries.destination[at]), [])
            rows += batch.entries.rows_of(np.array([at])).tolist()

    def find_rows(self, late: Iterable[Copy]) -> list[int]:
        """Return the rows that are out of order, those of late copies among them."""
        least = self._reordered_at
        found = {
            copy.row
            for copy in late
            if copy.row in least and copy.sequence_number > least[copy.row]
        }
        return sorted({*self.rows, *found})


def find_reordered(
    entries: Entries, is_stored: NDArray[np.bool_], sequence_number: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return for each open record the number of the next stored one of its destination.

    Numbers ascend in the order of a request, so that the next one is the least of those after
    it. Sorted by destination, last record first, it is the last stored one passed:

        destination     a     a     a     b
        record          3     1     0     2
        is stored       yes   yes   no    yes
        last stored     0     1     1     3      (position in this order, running maximum)
        result of record 0: the number of record 1
    """
    order = np.argsort(entries.destination, kind="stable")[::-1]
    destination, stored = entries.destination[order], is_stored[order]
    begins = np.flatnonzero(np.r_[True, destination[1:] != destination[:-1]])
    first = np.repeat(begins, np.diff(np.r_[begins, len(order)]))
    last_stored = np.maximum.accumulate(np.where(stored, np.arange(len(order)), -1))
    is_reordered = (last_stored >= first) & ~stored & (destination != 0)
    least = np.full(len(order), NOT_REORDERED)
    least[order[is_reordered]] = sequence_number[order[last_stored[is_reordered]]]
    return least

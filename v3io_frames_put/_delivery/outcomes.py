"""What became of each row, and the Arrow batches that tell it in input order.

Rows get their outcome in any order. They are kept in pages; a page leaves as an
Arrow batch once all its rows and all earlier pages are settled, so a job that
writes batches to a file holds only the pages that are still open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from v3io_frames_put._delivery.outcome_pages import (
    BLANK,
    DOUBTED,
    NO_CODE,
    PAGE,
    PAGE_ROWS,
    STATUSES,
    Failure,
    Status,
    Texts,
    to_arrow,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from v3io_frames_put._delivery.earlier import Earlier
    from v3io_frames_put._delivery.recorder import Recorder
    from v3io_frames_put._wire.batches import Entries

_FOUND: Final = ("maybe_duplicate", "shard_id", "sequence_number")  # what a look-up says of a row


class Outcomes:
    """The outcome of every row of a run.

    Parameters
    ----------
    packed : bool
        Whether records hold several rows; adds the column ``record_row``.
    earlier : Earlier, optional
        What earlier processes of the run left.
    recorder : Recorder, optional
        Is told of every outcome.
    page_rows : int
        Rows of a page; ``earlier`` has as many.
    """

    def __init__(
        self,
        *,
        packed: bool = False,
        earlier: Earlier | None = None,
        recorder: Recorder | None = None,
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
        self._recorder = recorder
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

    def _recall(self, earlier: Earlier, first: int) -> None:
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
        if self._recorder is None or not len(rows):
            return
        for name in ("attempts", "record_row") if self.is_packed else ("attempts",):
            columns[name] = self._read(name, rows)
        told = {
            name: value if isinstance(value, np.ndarray) else np.full(len(rows), value, PAGE[name])
            for name, value in columns.items()
        }
        self._recorder.settle(rows, told, self._texts)

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
            if self._recorder is not None:
                self._recorder.complete(self._emitted, batch)
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

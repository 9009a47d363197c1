"""What earlier processes of a run left of each row: what is to keep, and what to doubt."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from v3io_frames_put._delivery.outcome_pages import (
    BLANK,
    DOUBTED,
    NOT_GIVEN,
    OPEN,
    PAGE_ROWS,
    STATUSES,
    Failure,
    Texts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

    from v3io_frames_put._delivery.outcome_pages import Status

_UNKNOWN: Final = STATUSES.index("unknown")
_STORED: Final = STATUSES.index("stored")


class Earlier:
    """What earlier processes of a run left.

    Parameters
    ----------
    status : ndarray of int8
        Per row, a place in ``STATUSES``, or ``OPEN``; rows behind its end are open.
    load : callable
        Given its number, returns a page: one entry a row, perhaps fewer than a page has.
    texts : Texts
        The texts of the numbers in pages.
    final : collection of Status
        Rows of these statuses keep their outcome: they are not sent again.
    doubts : bool
        Whether unknown rows are sent again as they are: then they can only end stored,
        perhaps twice, or unknown.
    overtaken : ndarray of int64, shape (n, 2), optional
        Rows that had a stored one of their destination behind them, and the least number of
        such; 0: it is not known.
    page_rows : int
        Rows of a page.
    """

    def __init__(  # noqa: PLR0913  # what a run leaves
        self,
        status: NDArray[np.int8],
        load: Callable[[int], NDArray[Any]],
        *,
        texts: Texts,
        final: Collection[Status],
        doubts: bool,
        overtaken: NDArray[np.int64] | None = None,
        page_rows: int = PAGE_ROWS,
    ) -> None:
        self._page_rows = page_rows
        self.status = status
        self.texts = texts
        self.overtaken = np.zeros((0, 2), np.int64) if overtaken is None else overtaken
        self._load = load
        self._stored_now: list[NDArray[np.int64]] = []
        self._found: list[NDArray[np.int64]] = []
        self._changed: dict[int, NDArray[Any]] = {}
        self._is_final = np.array([name in final for name in STATUSES])
        self._doubts = doubts
        self._loss: Failure | None = None  # why no open row may be sent

    @cached_property
    def last_stored(self) -> int:
        """The last row that was stored before this process, once all are found; -1: none."""
        return int(np.flatnonzero(self.status == _STORED).max(initial=-1))

    def note_stored(self, rows: NDArray[np.int64]) -> None:
        """Take rows that this process stored."""
        self._stored_now.append(rows[rows < self.last_stored])

    def stored_now(self) -> NDArray[np.int64]:
        """Return the rows that this process stored in front of one stored before."""
        return np.concatenate([np.zeros(0, np.int64), *self._stored_now])

    def is_stored(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which rows were stored before this process."""
        if not len(self.status):
            return np.zeros(len(rows), np.bool_)
        status = self.status[np.minimum(rows, len(self.status) - 1)]
        stored: NDArray[np.bool_] = (rows < len(self.status)) & (status == _STORED)
        return stored

    def keeps(self, first_row: int, num_rows: int) -> NDArray[np.bool_]:
        """Tell which of some rows keep their outcome."""
        if self._loss is not None:
            return np.ones(num_rows, np.bool_)
        status = self.status[first_row : first_row + num_rows]
        kept = np.zeros(num_rows, np.bool_)
        kept[: len(status)] = (status >= 0) & self._is_final[status]
        return kept

    def recall(self, first_row: int, num_rows: int) -> NDArray[Any]:
        """Return the page entries of some rows of one page: kept, doubted or open."""
        number, within = divmod(first_row, self._page_rows)
        known = self._page(number)[within : within + num_rows]
        told = np.full(num_rows, BLANK)
        told[: len(known)] = known
        status = self.status[first_row : first_row + num_rows]
        told["status"][: len(status)] = status
        if self._loss is not None:
            lost = told["status"] == OPEN
            told["status"][lost] = _UNKNOWN
            told["error_message"][lost] = self.texts.number(self._loss.message)
            told["error_detail"][lost] = self.texts.number(self._loss.detail)
        again = ~self.keeps(first_row, num_rows)
        doubted = again & (told["status"] == _UNKNOWN) & self._doubts
        left = told[again]
        told[again] = BLANK
        told["attempts"][again] = left["attempts"]
        told["maybe_duplicate"][again] = left["maybe_duplicate"]
        told["status"][doubted] = DOUBTED
        return told

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the shard and the sequence number of rows; NOT_GIVEN: they are not stored."""
        places = np.full((len(rows), 2), NOT_GIVEN, np.int64)
        stored = np.flatnonzero(self.is_stored(rows))
        numbers = rows[stored] // self._page_rows
        for number in np.unique(numbers).tolist():
            here = stored[numbers == number]
            entries = self._page(number)[rows[here] % self._page_rows]
            places[here] = np.stack([entries["shard_id"], entries["sequence_number"]], axis=1)
        return places

    def find(self, rows: NDArray[np.int64], **columns: Any) -> None:
        """Give rows the outcome ``stored``: they were found on the stream."""
        missing = int(rows.max(initial=-1)) + 1 - len(self.status)
        if missing > 0:
            self.status = np.concatenate([self.status, np.full(missing, OPEN, np.int8)])
        self.status[rows] = _STORED
        self._found.append(rows)
        for number in np.unique(rows // self._page_rows).tolist():
            if number not in self._changed:
                self._changed[number] = self._load_whole(number)
            page = self._changed[number]
            which = rows // self._page_rows == number
            within = rows[which] - number * self._page_rows
            found = np.full(len(within), BLANK)
            found["attempts"] = page["attempts"][within]
            found["maybe_duplicate"] = page["maybe_duplicate"][within]
            for name, value in columns.items():
                found[name] = value[which] if isinstance(value, np.ndarray) else value
            page[within] = found

    def found(self, first_row: int, num_rows: int) -> NDArray[np.int64]:
        """Return which of some rows were found on the stream."""
        begin, end = np.searchsorted(self._all_found, [first_row, first_row + num_rows])
        return self._all_found[begin:end]

    @cached_property
    def _all_found(self) -> NDArray[np.int64]:
        return np.unique(np.concatenate([np.zeros(0, np.int64), *self._found]))

    def prove(self) -> None:
        """Say that what was not found is not stored: it can be sent."""
        self._doubts = False

    def lose(self, why: Failure, *, everything: bool) -> None:
        """Say that nobody can prove what was not found absent: it is not sent again.

        Parameters
        ----------
        why : Failure
            For rows without an outcome.
        everything : bool
            Whether that holds for every row without an outcome, or for unknown ones only.
        """
        self._is_final[_UNKNOWN] = True
        self._loss = why if everything else None

    def _page(self, number: int) -> NDArray[Any]:
        changed = self._changed.get(number)
        return self._load(number) if changed is None else changed

    def _load_whole(self, number: int) -> NDArray[Any]:
        """Copy a page, as long as pages are."""
        page, whole = self._load(number), np.full(self._page_rows, BLANK)
        whole[: len(page)] = page
        return whole

"""What earlier processes of a run left: outcomes that are kept, and rows that are in doubt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .._wire.responses import NOWHERE
from .._wire.tags import Tag, split_tags
from ..config import MAX_SHARDS
from .in_doubt import InDoubt, first_positions, make_positions
from .values import (
    BLANK,
    IN_DOUBT,
    LOST,
    OPEN,
    PAGE_ROWS,
    STATUSES,
    Copy,
    Failure,
    Texts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from .._encode.plan import RowPlan
    from ..config import DeliveryMode
    from .values import Status

_STORED: Final = STATUSES.index("stored")
_REJECTED: Final = STATUSES.index("rejected")
_UNKNOWN: Final = STATUSES.index("unknown")
# By place in STATUSES: a row that is not stored, and that so many requests carried, may have
# been in one without an answer. The last one of a rejected row had an answer.
_LEAST_ATTEMPTS: Final = np.array([np.iinfo(np.int16).max, 2, 1, 0])


class PriorOutcomes:
    """The outcomes that earlier processes of a run left.

    Parameters
    ----------
    status : ndarray of int8
        Per row, a place in ``STATUSES``, or ``OPEN``; rows after its end are open.
    load : callable
        Given its number, returns a page: one entry a row, perhaps fewer than a page has.
    texts : Texts
        The texts of the numbers in pages.
    final : collection of Status
        Rows of these statuses keep their outcome: they are not sent again.
    doubts : bool
        Whether unknown rows are sent again as they are: then they can only end stored,
        perhaps twice, or unknown.
    """

    def __init__(
        self,
        status: NDArray[np.int8],
        load: Callable[[int], NDArray[Any]],
        *,
        texts: Texts,
        final: Collection[Status],
        doubts: bool,
        page_rows: int = PAGE_ROWS,
    ) -> None:
        self._page_rows = page_rows
        self.status = status
        self.texts = texts
        self._load = load
        self._found: list[NDArray[np.int64]] = []
        self._changed: dict[int, NDArray[Any]] = {}
        self._is_final = np.array([name in final for name in STATUSES])
        self._doubts = doubts
        self._loss: Failure | None = None  # why no open row may be sent

    def is_final(self, status: Status) -> bool:
        return bool(self._is_final[STATUSES.index(status)])

    def is_stored(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which rows were stored before this process."""
        if not len(self.status):
            return np.zeros(len(rows), np.bool_)
        status = self.status[np.minimum(rows, len(self.status) - 1)]
        stored: NDArray[np.bool_] = (rows < len(self.status)) & (status == _STORED)
        return stored

    def count_final(self) -> int:
        known = self.status[self.status >= 0]
        return int(self._is_final[known].sum())

    def count_stored(self) -> int:
        return int(np.count_nonzero(self.status == _STORED))

    def skip_mask(self, first_row: int, num_rows: int) -> NDArray[np.bool_]:
        """Return which of some rows keep their outcome: they are not sent."""
        if self._loss is not None:
            return np.ones(num_rows, np.bool_)
        status = self.status[first_row : first_row + num_rows]
        kept = np.zeros(num_rows, np.bool_)
        kept[: len(status)] = (status >= 0) & self._is_final[status]
        return kept

    def recall(self, first_row: int, num_rows: int) -> NDArray[Any]:
        """Return the page entries of some rows of one page: kept, in doubt or open."""
        number, within = divmod(first_row, self._page_rows)
        known = self._page(number)[within : within + num_rows]
        entries = np.full(num_rows, BLANK)
        entries[: len(known)] = known
        status = self.status[first_row : first_row + num_rows]
        entries["status"][: len(status)] = status
        if self._loss is not None:
            lost = entries["status"] == OPEN
            entries["status"][lost] = _UNKNOWN
            entries["error_message"][lost] = self.texts.number(self._loss.message)
            entries["error_detail"][lost] = self.texts.number(self._loss.detail)
        again = ~self.skip_mask(first_row, num_rows)
        in_doubt = again & (entries["status"] == _UNKNOWN) & self._doubts
        left = entries[again]
        entries[again] = BLANK
        entries["attempts"][again] = left["attempts"]
        entries["maybe_duplicate"][again] = left["maybe_duplicate"]
        entries["status"][in_doubt] = IN_DOUBT
        return entries

    def late_rows(self) -> NDArray[np.int64]:
        """Return rows that are not stored, and that a request may still store."""
        parts = [np.zeros(0, np.int64)]
        for first in range(0, len(self.status), self._page_rows):
            status = self.status[first : first + self._page_rows]
            if not ((status >= 0) & (status != _STORED)).any():
                continue  # most pages, which need not be loaded
            attempts, known = np.zeros(len(status), np.int16), self._page(first // self._page_rows)
            attempts[: len(known)] = known["attempts"][: len(status)]
            is_late = (status >= 0) & (attempts >= _LEAST_ATTEMPTS[status])
            parts.append(first + np.flatnonzero(is_late))
        return np.concatenate(parts)

    def positions(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return where rows are stored, in the columns of POSITION; NOWHERE: they are not."""
        positions = make_positions(rows)
        stored = np.flatnonzero(self.is_stored(rows))
        numbers = rows[stored] // self._page_rows
        for number in np.unique(numbers).tolist():
            here = stored[numbers == number]
            entries = self._page(number)[rows[here] % self._page_rows]
            for name in ("shard_id", "sequence_number"):
                positions[name][here] = entries[name]
        return positions

    def record_found(self, rows: NDArray[np.int64], **columns: Any) -> None:
        """Record rows as stored: they were found on the stream."""
        missing = int(rows.max(initial=-1)) + 1 - len(self.status)
        if missing > 0:
            self.status = np.concatenate([self.status, np.full(missing, OPEN, np.int8)])
        self.status[rows] = _STORED
        self._found.append(rows)
        for number in np.unique(rows // self._page_rows).tolist():
            if number not in self._changed:
                loaded, whole = self._load(number), np.full(self._page_rows, BLANK)
                whole[: len(loaded)] = loaded
                self._changed[number] = whole
            page = self._changed[number]
            which = rows // self._page_rows == number
            within = rows[which] - number * self._page_rows
            found = np.full(len(within), BLANK)
            found["attempts"] = page["attempts"][within]
            found["maybe_duplicate"] = page["maybe_duplicate"][within]
            for name, value in columns.items():
                found[name] = value[which] if isinstance(value, np.ndarray) else value
            page[within] = found

    def found_among(self, first_row: int, num_rows: int) -> NDArray[np.int64]:
        """Return which of some rows were found on the stream."""
        begin, end = np.searchsorted(self._all_found, [first_row, first_row + num_rows])
        return self._all_found[begin:end]

    @cached_property
    def _all_found(self) -> NDArray[np.int64]:
        return np.unique(np.concatenate([np.zeros(0, np.int64), *self._found]))

    def trust_absence(self) -> None:
        """Mark rows that the scan did not find as safe to send again."""
        self._doubts = False

    def mark_lost(self, why: Failure, *, everything: bool) -> None:
        """Mark rows that no scan found as unknown: their absence is not proven.

        ``everything``: every row without an outcome, not only those that are unknown.
        """
        self._is_final[_UNKNOWN] = True
        self._loss = why if everything else None

    def _page(self, number: int) -> NDArray[Any]:
        changed = self._changed.get(number)
        return self._load(number) if changed is None else changed


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorRun:
    """What earlier processes of a run left."""

    outcomes: PriorOutcomes
    run_id: str
    in_doubt: PriorInDoubt | None = None  # looked up before anything is sent (``exactly_once``)
    duplicates: Sequence[Copy] = ()  # further copies of rows that they found
    complete_rows: int | None = None  # of a run that is complete: nothing is sent

    @property
    def is_complete(self) -> bool:
        return self.complete_rows is not None


class PriorInDoubt(InDoubt):
    """What earlier processes may have stored.

    Its keys are rows, as in their results: nothing says in which records an earlier process sent
    a row, and a row may have been in several.

    Parameters
    ----------
    outcomes : PriorOutcomes
        What they left; what is found is written into it.
    rows_of : callable
        Finds the rows of the record with a tag.
    low_watermark : ndarray of int64
        Per shard, the number after which everything is stored that is in doubt.
    starts : mapping of str to int
        Per shard, the last number before the run, as in a receipt.
    may_miss_requests : bool
        Whether rows without an outcome may have been sent, and nothing says so: the last that
        a journal was given is gone when the power fails.
    needs_last_scan : bool
        Whether requests of earlier processes may still bring copies when all is sent.
    """

    def __init__(
        self,
        outcomes: PriorOutcomes,
        rows_of: Callable[[Tag], NDArray[np.int64]],
        *,
        low_watermark: NDArray[np.int64],
        starts: Mapping[str, int],
        may_miss_requests: bool,
        needs_last_scan: bool,
    ) -> None:
        super().__init__()
        self.low_watermark = low_watermark
        self.starts = starts
        self._outcomes = outcomes
        self._rows_of = rows_of
        self._may_miss_requests = may_miss_requests
        # Rows that an earlier request may still store, are rejected, and are not sent again.
        self.kept_rejected = np.zeros(0, np.int64)
        self.needs_last_scan = needs_last_scan

    def take(self, found: NDArray[Any], *, proves_absence: bool) -> None:
        """Take where the run's tags are stored, and whether what was not found is not stored."""
        positions = self._spread(found)
        # A row may be in several records.
        positions = positions[np.argsort(positions["key"], kind="stable")]
        rows = positions["key"].astype(np.int64)
        known = self._outcomes.positions(rows)
        is_fresh = known["shard_id"] == NOWHERE
        known[is_fresh] = first_positions(positions, positions["key"][is_fresh])
        self._add_copies(positions, known)
        firsts = np.unique(rows, return_index=True)[1]
        chosen = firsts[is_fresh[firsts]]
        del positions  # as large as the pages that are copied next
        self._outcomes.record_found(
            rows[chosen],
            shard_id=known["shard_id"][chosen],
            sequence_number=known["sequence_number"][chosen],
            record_row=known["record_row"][chosen],
        )
        if proves_absence:
            self._outcomes.trust_absence()
            left = self._outcomes.late_rows()
            self._known = make_positions(left)
            if self._outcomes.is_final("rejected"):
                self.kept_rejected = left[self._outcomes.status[left] == _REJECTED]
        else:
            self.give_up(LOST)

    def give_up(self, why: Failure) -> None:
        """Take that nothing was proven of rows that were not found."""
        self._outcomes.mark_lost(why, everything=self._may_miss_requests)

    def _spread(self, found: NDArray[Any]) -> NDArray[Any]:
        """Return the positions of records for each of their rows."""
        of, rows = self._rows_of_tags(found["key"])
        within = np.arange(len(of)) - np.searchsorted(of, of)
        return make_positions(rows, found["shard_id"][of], found["sequence_number"][of], within)

    def _rows_of_tags(self, tags: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Return the rows of records, and of each row the record's place among the tags."""
        firsts, counts = split_tags(tags)
        if (counts == 1).all():
            return np.arange(len(tags)), firsts
        parts = [
            self._rows_of(Tag(*pair)) for pair in zip(firsts.tolist(), counts.tolist(), strict=True)
        ]
        return np.repeat(np.arange(len(tags)), list(map(len, parts))), np.concatenate(parts)

    @property
    def is_over(self) -> bool:
        """Whether no request of an earlier process can bring another copy."""
        return not len(self._known)

    def expects(self, tags: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return of which tags an earlier request may still store rows."""
        of, rows = self._rows_of_tags(tags)
        expected = np.zeros(len(tags), np.bool_)
        expected[of[self._outcomes.is_stored(rows) | self.contains(rows)]] = True
        return expected

    def note_copies(self, found: NDArray[Any]) -> None:
        """Take where expected tags are stored at the end of the run."""
        positions = self._spread(found)
        known = self._outcomes.positions(positions["key"].astype(np.int64))
        is_known = self.contains(positions["key"]) | (known["shard_id"] != NOWHERE)
        self._add_copies(positions[is_known], known[is_known])

    def _rows(self, keys: NDArray[np.uint64]) -> Mapping[int, Sequence[int]]:
        return {row: [row] for row in keys.tolist()}


def keep_unknown(final: list[Status], delivery: DeliveryMode) -> list[Status]:
    """Add "unknown" to the statuses that rows keep, where ``delivery`` never resends such rows."""
    return [*final, "unknown"] if delivery == "at_most_once" else final


def find_tagged_rows(replan: Callable[[], RowPlan]) -> Callable[[Tag], NDArray[np.int64]]:
    """Return a function that finds the rows of a tag: so many of one destination, in order.

    For records of several rows it needs every row's destination: at the first such tag it
    reads all of the data, by a plan that nothing else reads.
    """

    @cache
    def find_places() -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.intp]]:
        encodable, destination = replan().destinations()
        order = np.argsort(destination, kind="stable")
        place = np.empty(len(order), np.intp)
        place[order] = np.arange(len(order))
        return encodable, order, place

    def rows_of(tag: Tag) -> NDArray[np.int64]:
        if tag.row_count == 1:
            return np.array([tag.first_row])
        encodable, order, place = find_places()
        at = place[np.searchsorted(encodable, tag.first_row)]
        return encodable[order[at : at + tag.row_count]]

    return rows_of


def read_starts(starts: Mapping[str, int]) -> NDArray[np.int64]:
    """Return the start position of every shard; shards that are not listed begin at 0."""
    watermark = np.zeros(MAX_SHARDS, np.int64)
    for shard, number in starts.items():
        watermark[int(shard)] = number
    return watermark

"""Reads from a journal what an unfinished run has left."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .._producer.in_doubt import lowest_watermark
from .._producer.prior_run import PriorOutcomes, read_starts
from .._producer.values import BLANK, OPEN, STATUSES, Texts, to_page
from ..config import MAX_SHARDS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import NDArray

    from .._producer.values import Status
    from .store import Store

_STORED = STATUSES.index("stored")
_UNKNOWN = STATUSES.index("unknown")
_SETTLED = (_STORED, STATUSES.index("rejected"))
_CUT_OFF = ("NoAnswer", "the run was killed before an answer came")


class Recovery:
    """What a run left in its journal: the pages, then all that came after them.

    Attributes
    ----------
    starts : dict of str to int, or None
        Each shard's last number before the run. None: nothing was sent with
        ``exactly_once``.
    moment : int
        The last one on record.
    """

    def __init__(self, store: Store, *, page_rows: int) -> None:
        (starts,) = next(store.read("select starts from run"))
        self.starts: dict[str, int] | None = None if starts is None else json.loads(starts)
        self.moment = 0
        self._store, self._page_rows = store, page_rows
        self._texts = Texts()
        self._status = np.zeros(0, np.int8)
        self._acknowledged = read_starts(self.starts or {})  # per shard, the highest number
        # Low watermark of requests in doubt.
        self._requests_watermark: NDArray[np.int64] | None = None
        self._page_moments: dict[int, int] = {}
        self._newer: dict[int, NDArray[Any]] = {}  # pages, with what came after them
        self._load_page = lru_cache(maxsize=2)(self._read_page)
        self._read_pages()
        self._replay_events()

    def outcomes(self, final: Collection[Status]) -> PriorOutcomes:
        """Return the outcomes; rows whose status is in ``final`` keep it."""
        return PriorOutcomes(
            self._status,
            self._load,
            texts=self._texts,
            final=final,
            doubts="unknown" not in final,
            page_rows=self._page_rows,
        )

    @property
    def has_requests_in_doubt(self) -> bool:
        """Whether requests of ``exactly_once`` are on record that got no answer."""
        return self._requests_watermark is not None

    @property
    def low_watermark(self) -> NDArray[np.int64]:
        """Per shard, a number after which all records in doubt are stored."""
        return lowest_watermark([self._acknowledged, self._requests_watermark])

    def _load(self, number: int) -> NDArray[Any]:
        """Return a page; rows without a record are blank."""
        newer = self._newer.get(number)
        return self._load_page(number) if newer is None else newer

    def _read_pages(self) -> None:
        for number, moment in self._store.read("select number, moment from pages order by number"):
            self._page_moments[number] = moment
            self.moment = max(self.moment, moment)
            page, first_row = self._read_page(number), number * self._page_rows
            self._note_stored(page)
            self._extend(first_row + self._page_rows)
            self._status[first_row : first_row + len(page)] = page["status"]

    def _replay_events(self) -> None:
        """Apply requests and outcomes to their rows' entries, in the order they were written."""
        events = [*self._read_requests(), *self._read_outcomes()]
        for moment, rows, entries, is_refused in sorted(events, key=lambda event: event[0]):
            self.moment = max(self.moment, moment)
            self._extend(int(rows.max(initial=-1)) + 1)
            for number, which in self._split(rows, moment):
                within = rows[which] - number * self._page_rows
                page = self._open_page(number)
                if entries is None:
                    self._add_request(page, within, is_refused=is_refused)
                else:
                    page[within] = _keep_known(entries[which], page[within])
                self._status[rows[which]] = page["status"][within]

    def _read_requests(self) -> Iterator[tuple[int, NDArray[np.int64], None, bool]]:
        query = "select moment, rows, floor, is_refused from requests"
        for moment, rows, watermark, is_refused in self._store.read(query):
            if watermark is not None and not is_refused:
                numbers = np.asarray(self._store.load(watermark).column(0), np.int64)
                self._requests_watermark = lowest_watermark([self._requests_watermark, numbers])
            row = np.asarray(self._store.load(rows).column("row"), np.int64)
            yield moment, row, None, bool(is_refused)

    def _read_outcomes(self) -> Iterator[tuple[int, NDArray[np.int64], NDArray[Any], bool]]:
        for moment, blob in self._store.read("select moment, outcomes from outcomes"):
            batch = self._store.load(blob)
            entries = to_page(batch, self._texts)
            self._note_stored(entries)
            yield moment, np.asarray(batch.column("row"), np.int64), entries, False

    def _add_request(
        self, page: NDArray[Any], within: NDArray[np.int64], *, is_refused: bool
    ) -> None:
        """Count a request, and what it left unknown, in its rows' entries."""
        page["attempts"][within] += 1
        if is_refused:
            return
        within = within[~np.isin(page["status"][within], _SETTLED)]
        if self.starts is None:  # sent again although an earlier request may have stored it
            page["maybe_duplicate"][within[page["status"][within] == _UNKNOWN]] = True
        page["status"][within] = _UNKNOWN
        page["error_message"][within] = self._texts.number(_CUT_OFF[0])
        page["error_detail"][within] = self._texts.number(_CUT_OFF[1])

    def _split(
        self, rows: NDArray[np.int64], moment: int
    ) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Split rows by page; leave out pages that were complete at a later moment."""
        numbers = rows // self._page_rows
        for number in np.unique(numbers).tolist():
            if self._page_moments.get(number, -1) < moment:
                yield number, numbers == number

    def _open_page(self, number: int) -> NDArray[Any]:
        if number not in self._newer:
            page = np.full(self._page_rows, BLANK)
            known = self._read_page(number)
            page[: len(known)] = known
            self._newer[number] = page
        return self._newer[number]

    def _read_page(self, number: int) -> NDArray[Any]:
        query = "select outcomes from pages where number = ?"
        found = next(self._store.read(query, number), None)
        if found is None:
            return np.full(0, BLANK)
        return to_page(self._store.load(found[0]), self._texts)

    def _note_stored(self, entries: NDArray[Any]) -> None:
        stored = entries[(entries["status"] == _STORED) & (entries["shard_id"] < MAX_SHARDS)]
        np.maximum.at(self._acknowledged, stored["shard_id"], stored["sequence_number"])

    def _extend(self, num_rows: int) -> None:
        missing = num_rows - len(self._status)
        if missing > 0:
            self._status = np.concatenate([self._status, np.full(missing, OPEN, np.int8)])


def _keep_known(entries: NDArray[Any], known: NDArray[Any]) -> NDArray[Any]:
    """Keep attempts where outcomes have none: a scan finds places, not how rows came there."""
    unknown = entries["attempts"] == 0
    for name in ("attempts", "maybe_duplicate"):
        entries[name][unknown] = known[name][unknown]
    return entries


def may_be_stored(store: Store) -> bool:
    """Return whether a run on record may have stored rows, as far as its journal is durable.

    With ``exactly_once`` the start positions are on the disk before the first request; the
    other deliveries promise nothing after a loss of power, and have each request on record.
    """
    run = next(store.read("select delivery, starts, is_finished from run"), None)
    if run is None:
        return False
    delivery, starts, is_finished = run
    if is_finished or delivery == "exactly_once":
        return bool(is_finished) or starts is not None
    if next(store.read("select 1 from requests where not is_refused limit 1"), None):
        return True
    for (blob,) in store.read("select outcomes from pages union all select outcomes from outcomes"):
        if np.isin(to_page(store.load(blob), Texts())["status"], (_STORED, _UNKNOWN)).any():
            return True
    return False

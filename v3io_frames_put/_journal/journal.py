"""A run and its journal: begun, resumed, or found complete."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pyarrow as pa

from .._encode.records import Block, Blocks
from .._producer.outcomes import RunLog
from .._producer.prior_run import PriorInDoubt, PriorRun, find_tagged_rows, keep_unknown
from .._producer.values import (
    BLANK,
    LOST,
    PAGE,
    PAGE_ROWS,
    STATUSES,
    TEXTS,
    Copy,
    to_journal_batch,
)
from ..errors import ConfigError, DataError
from .recovery import Recovery, may_be_stored
from .store import Store, narrow, set_aside, to_blob

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .._encode.plan import RowPlan
    from .._producer.accumulator import Batch
    from .._run import RunPlan

_LOG: Final = logging.getLogger("v3io_frames_put")

FileStamp: TypeAlias = "tuple[str, int | None, int | None]"
"""A file to publish: name, size, and when it was changed in nanoseconds."""

_SHOWN_FILES: Final = 3


def identify(plan: RunPlan, stamps: str | None) -> dict[str, Any]:
    """Return the columns of ``run`` that identify a call; ``stamps`` are those of its files."""
    return {
        "stream": f"{plan.stream.endpoint}/{plan.stream}",
        "delivery": plan.delivery_options.delivery,
        "mapping": plan.options_digest,
        "files": stamps,
        **({} if plan.row_plan.num_rows is None else {"num_rows": plan.row_plan.num_rows}),
    }


def find_differences(run: Mapping[str, Any], plan: RunPlan, stamps: str | None) -> list[str]:
    """Name what of a call is not as it was in the journal's run."""
    call = identify(plan, stamps)
    if not run["is_finished"]:
        if run["files"] is not None and stamps is not None:
            del call["files"]  # they were picked by those of the run; one may have been mended
        if run["num_rows"] is None:  # nobody knew
            call.pop("num_rows", None)
    return [name for name, value in call.items() if run[name] != value]


def warn_of_files_sent_again(
    run: Mapping[str, Any], plan: RunPlan, files: Sequence[FileStamp], aside: Path
) -> None:
    """Warn of files that a finished run, set aside now, put on the same stream."""
    before = {name for name, *_ in json.loads(run["files"] or "[]")}
    again = [name for name, *_ in files if name in before]
    if again and run["num_rows"] and run["stream"] == identify(plan, None)["stream"]:
        _LOG.warning(
            "%d files of a finished run are sent once more, since files or options differ from "
            "that run's: %s (its journal is now %s)",
            len(again),
            ", ".join(again[:_SHOWN_FILES]) + ", ..." * (len(again) > _SHOWN_FILES),
            aside,
        )


_ANSWERS_AT_ONCE: Final = 4  # a kill leaves at most so many more requests in doubt
_RUN: Final = ("run_id", "stream", "delivery", "mapping", "files", "num_rows", "is_finished")


class Journal(RunLog):
    """The journal of a run."""

    def __init__(self, path: Path) -> None:
        self._store = Store(path)
        if self._read_run() is not None and not self.may_be_stored():
            # Nothing of it was sent: any call may begin, whatever that one was of.
            with self._store.transaction():
                self._store.clear()
        self.blocks: Blocks = Blocks()
        self._page_rows = PAGE_ROWS
        self._moment = 0
        self._moments: dict[int, int] = {}  # by ticket, of requests whose end is not known
        self._has_starts = False
        self._starts: NDArray[np.int64] | None = None
        self._stamps: str | None = None  # of files that a mended one may be among
        self._sent: list[tuple[Any, ...]] = []
        self._checked: list[Block] = []
        self._forget_outcomes()

    def close(self) -> None:
        """Close the file, and let others open it."""
        self._store.close()

    def may_be_stored(self) -> bool:
        """Return whether rows of the run may be stored."""
        return may_be_stored(self._store)

    # -- which run it is --------------------------------------------------------------

    @property
    def pinned(self) -> list[FileStamp] | None:
        """The files of an unfinished run. None: there is none, or it has no files.

        One that could not be read to its end has neither size nor time: it may be mended.
        """
        run = self._read_run()
        if run is None or run["is_finished"] or run["files"] is None:
            return None
        return [tuple(stamp) for stamp in json.loads(run["files"])]

    def resume(
        self,
        plan: RunPlan,
        *,
        files: Sequence[FileStamp] | None = None,
    ) -> PriorRun | None:
        """Begin a run, or go on with the one that is in the journal.

        Parameters
        ----------
        files : sequence of FileStamp, optional
            The files that it reads; of an unfinished run, those that are ``pinned``.

        Returns
        -------
        PriorRun or None
            What the run in the journal left. None: it begins now.

        Raises
        ------
        ConfigError
            An unfinished run had other data, options or another stream. Nothing was sent.
        """
        stamps = None if files is None else json.dumps(files)
        self._page_rows = plan.page_rows
        run = self._read_run()
        if run is None:
            self._begin(plan, stamps)
            return None
        differing = find_differences(run, plan, stamps)
        if not run["is_finished"]:
            if differing:
                raise ConfigError(
                    f"journal: {self._store.path} belongs to an unfinished run whose "
                    f"{' and '.join(differing)} differed. Repeat that call unchanged to finish it, "
                    f"or choose another path."
                )
            self._stamps = stamps
            return self._recover(plan, run)
        if not differing and (stamps is not None or self._holds(plan.row_plan, run["num_rows"])):
            return self._recover(plan, run)
        path = self._store.path
        self._store.close()
        aside = set_aside(path)
        self._store = Store(path)
        _LOG.info("the finished run of another call was set aside: %s", aside)
        warn_of_files_sent_again(run, plan, files or (), aside)
        self._begin(plan, stamps)
        return None

    def _read_run(self) -> dict[str, Any] | None:
        found = next(self._store.read(f"select {', '.join(_RUN)} from run"), None)  # noqa: S608  # fixed names
        return None if found is None else dict(zip(_RUN, found, strict=True))

    def _begin(self, plan: RunPlan, stamps: str | None) -> None:
        row = {"num_rows": None, **identify(plan, stamps)}
        began = datetime.now(timezone.utc).isoformat(timespec="seconds")
        known = (row[name] for name in ("stream", "delivery", "mapping", "files", "num_rows"))
        with self._store.transaction():
            self._store.insert("run", [(plan.run_id, *known, began, None, 0)])

    def _recover(self, plan: RunPlan, run: dict[str, Any]) -> PriorRun:
        """Return what an unfinished run left, or the outcomes of a finished one."""
        delivery = plan.delivery_options.delivery
        recovery = Recovery(self._store, page_rows=plan.page_rows)
        final = STATUSES if run["is_finished"] else keep_unknown(["stored", "rejected"], delivery)
        outcomes, in_doubt = recovery.outcomes(final), None
        if not run["is_finished"]:
            self._moment, self._has_starts = recovery.moment, recovery.starts is not None
            self.blocks = self._read_blocks()
            if delivery == "exactly_once" and recovery.starts is not None:
                in_doubt = PriorInDoubt(
                    outcomes,
                    find_tagged_rows(plan.replan),
                    low_watermark=recovery.low_watermark,
                    starts=recovery.starts,
                    may_miss_requests=True,
                    needs_last_scan=recovery.has_requests_in_doubt,
                )
                # What the look-up finds is on record later than what is sent then: where this
                # process is killed, too, the next one looks from the same watermark on.
                self._note_sent(np.zeros(0, np.int64), recovery.low_watermark)
        run_id, what = run["run_id"], "already complete" if run["is_finished"] else "goes on"
        fields = {"event": what.replace(" ", "_"), "run_id": run_id}
        _LOG.info("run %s: %s; its journal is %s", run_id, what, self._store.path,
                  extra={"fields": fields})  # fmt: skip
        return PriorRun(
            outcomes=outcomes,
            run_id=run_id,
            in_doubt=in_doubt,
            duplicates=self._read_copies(),
            complete_rows=run["num_rows"] if run["is_finished"] else None,
        )

    def _read_blocks(self) -> Blocks:
        rows = self._store.read("select * from blocks order by first_row")
        return Blocks([Block(*row) for row in rows])

    def _read_copies(self) -> list[Copy]:
        return [Copy(*row) for row in self._store.read("select * from copies order by row")]

    def _holds(self, plan: RowPlan, num_rows: int) -> bool:
        """Return whether the data is that of the finished run; reads it."""
        try:
            records = plan.records(None, self._read_blocks())
            is_same = num_rows == sum(window.num_rows for window in records)
        except DataError:
            is_same = False
        if not is_same and plan.num_rows is None:
            raise ConfigError(
                f"journal: {self._store.path} belongs to a finished run of other data, and this "
                f"data, a stream, has been read now. Give it once more, with another path."
            )
        return is_same

    def unpin(self, file: str) -> None:
        """Record a file that could not be read to its end: it may be mended, then go on."""
        if self.pinned is None:  # the run is finished: its files are as they were
            return
        stamps = [
            (name, None, None) if name == file else (name, *rest) for name, *rest in self.pinned
        ]
        with self._store.transaction():
            self._store.update("run", {"files": json.dumps(stamps)})

    # -- what happens -----------------------------------------------------------------

    def begin(self, low_watermark: NDArray[np.int64]) -> None:
        """Note where each shard ends, before the first record."""
        if not self._has_starts:
            self._starts = low_watermark

    def note_request(self, batch: Batch) -> None:
        """Note the records that the next request carries."""
        moment = self._note_sent(batch.entries.rows, batch.low_watermark)
        self._moments[batch.ticket] = moment

    def _note_sent(self, rows: NDArray[np.int64], low_watermark: NDArray[np.int64] | None) -> int:
        watermark = None
        if low_watermark is not None:
            watermark = _to_cell("sequence_number", np.trim_zeros(low_watermark, "b"))
        self._moment += 1
        cell = _to_cell("row", rows)
        self._sent.append((self._moment, int(rows.max(initial=-1)), cell, watermark, 0))
        return self._moment

    def note_answered(self, ticket: int) -> None:
        """Note that a request got an answer for each of its records."""
        self._answered.append(self._moments.pop(ticket))

    def note_refused(self, ticket: int) -> None:
        """Note that nothing of a request is stored."""
        self._refused.append(self._moments.pop(ticket))

    def note_in_doubt(self, batch: Batch) -> None:
        """Note that records of a request may be stored, or may not."""
        if self._moments.pop(batch.ticket, None) is None:  # it was answered for the others
            self._note_sent(batch.entries.rows, batch.low_watermark)
            self._is_divided = True

    def record(self, rows: NDArray[np.int64], columns: Mapping[str, NDArray[Any]]) -> None:
        """Note the outcome of rows."""
        self._settled.append({"row": rows, **columns})

    def complete_page(self, number: int, batch: pa.RecordBatch) -> None:
        """Note a page of which every row has its outcome."""
        self._pages.append((number, batch))

    # -- made durable -----------------------------------------------------------------

    def commit(self) -> None:
        """Make durable what was noted: requests at once, as they wait for it.

        Answers do not: several of them share one write.
        """
        answers = len(self._answered) + len(self._refused)
        is_due = not self._sent or answers >= _ANSWERS_AT_ONCE
        self._save(with_outcomes=is_due or self._is_divided)

    def _save(self, *, with_outcomes: bool) -> None:
        fresh = self.blocks.fresh  # another thread may be adding to it
        self._checked += [fresh.popleft() for _ in range(len(fresh))]
        if not (self._sent or self._answered or self._refused or self._settled or self._pages):
            return
        with self._store.transaction():
            self._write_requests()
            if with_outcomes:
                self._write_outcomes()
        has_starts = self._starts is not None
        self._sent, self._checked, self._starts = [], [], None
        if with_outcomes:
            self._forget_outcomes()
        if has_starts:
            self._store.sync()

    def conclude(
        self,
        *,
        num_rows: int,
        is_finished: bool,
        late: Sequence[Copy],
        duplicates: Sequence[Copy],
    ) -> None:
        """Note how the run ended."""
        self._save(with_outcomes=True)
        if late:
            rows, *places = np.array(late, np.int64).T
            is_lost = np.array([copy.is_lost for copy in late])
            columns = dict(zip(("shard_id", "sequence_number", "record_row"), places, strict=True))
            codes = STATUSES.index("unknown"), STATUSES.index("stored")
            columns["status"] = np.where(is_lost, *codes).astype(PAGE["status"])
            for name, text in (("error_message", LOST.message), ("error_detail", LOST.detail)):
                columns[name] = np.where(is_lost, text, "").astype(object)
            self.record(rows, columns)
            self._save(with_outcomes=True)
        with self._store.transaction():
            fresh = sorted({*duplicates} - {*self._read_copies()})
            self._store.insert("copies", [copy[:3] for copy in fresh])
            if is_finished:
                # A file that was mended counts as it is only now: all of it was checked.
                files = {} if self._stamps is None else {"files": self._stamps}
                self._store.update("run", {"is_finished": 1, "num_rows": num_rows, **files})

    def _forget_outcomes(self) -> None:
        # Some records of an answered request are in doubt: they are on record as one of their own,
        # so that both would count if the other stayed.
        self._is_divided = False
        self._answered: list[int] = []  # moments of requests, as in the next
        self._refused: list[int] = []
        self._settled: list[Mapping[str, NDArray[Any]]] = []
        self._pages: list[tuple[int, pa.RecordBatch]] = []

    def _write_requests(self) -> None:
        store = self._store
        if self._starts is not None:
            known = np.flatnonzero(self._starts)
            starts = dict(zip(known.tolist(), self._starts[known].tolist(), strict=True))
            store.update("run", {"starts": json.dumps(starts)})
        store.insert("blocks", self._checked)
        store.insert("requests", self._sent)

    def _write_outcomes(self) -> None:
        store = self._store
        if self._answered:
            store.delete("requests", f"moment in ({', '.join(map(str, self._answered))})")
        if self._refused:
            which = f"moment in ({', '.join(map(str, self._refused))})"
            store.update("requests", {"is_refused": 1}, which)
        if self._settled:
            self._moment += 1
            columns = _concatenate(self._settled)
            cell = to_blob(to_journal_batch(columns))
            store.insert("outcomes", [(self._moment, int(columns["row"].max()), cell)])
        for number, batch in self._pages:
            end = (number + 1) * self._page_rows
            store.delete("pages", "number = ?", number)
            store.insert("pages", [(number, self._moment, to_blob(batch, "lz4"))])
            store.delete("outcomes", "last_row < ?", end)
            # exactly_once looks for further copies from each low watermark to the run's end.
            store.delete("requests", "last_row < ? and (is_refused or floor is null)", end)


def _to_cell(name: str, numbers: NDArray[np.int64]) -> bytes:
    return to_blob(pa.record_batch([pa.array(narrow(numbers))], [name]))


def _concatenate(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Return columns of outcomes one after another; blank where a part has no such column."""
    names = dict.fromkeys(name for part in parts for name in part)
    blank = {name: BLANK[name] for name in PAGE.names or ()}
    blank |= dict.fromkeys(TEXTS, np.array("", object))
    return {
        name: narrow(
            np.concatenate(
                [
                    part[name] if name in part else blank[name].repeat(len(part["row"]))
                    for part in parts
                ]
            )
        )
        for name in names
    }

"""A run and its journal: begun, resumed, or found complete."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pyarrow as pa

from v3io_frames_put._encode.blocks import Blocks
from v3io_frames_put._journal.recovery import may_be_stored, read_blocks, read_copies, read_left
from v3io_frames_put._journal.store import Store, narrow, set_aside, to_blob
from v3io_frames_put._producer.outcomes import RunLog
from v3io_frames_put._producer.prior_run import PriorInDoubt, PriorRun
from v3io_frames_put._producer.values import PAGE_ROWS, STATUSES, Texts, to_table
from v3io_frames_put.errors import ConfigError, DataError, PutRecordsError
from v3io_frames_put.resume import find_tagged_rows, keep_unknown

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from v3io_frames_put._encode.plan import RowPlan
    from v3io_frames_put._producer.accumulator import Batch
    from v3io_frames_put._producer.values import Copy
    from v3io_frames_put._run import RunPlan

_LOG: Final = logging.getLogger("v3io_frames_put")

FileStamp: TypeAlias = "tuple[str, int | None, int | None]"
"""A file to publish: name, size, and when it was changed in nanoseconds."""

_SHOWN_FILES: Final = 3


def identify(plan: RunPlan, stamps: str | None) -> dict[str, Any]:
    """Tell a call by the columns of the journal's run; ``stamps`` are those of its files."""
    return {
        "stream": f"{plan.stream.endpoint}/{plan.stream}",
        "delivery": plan.options.delivery,
        "mapping": plan.mapping,
        "files": stamps,
        **({} if plan.rows.num_rows is None else {"num_rows": plan.rows.num_rows}),
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


_RUN: Final = ("run_id", "stream", "delivery", "mapping", "files", "num_rows", "is_finished")


class Journal(RunLog):
    """The journal of a run.

    Parameters
    ----------
    path : Path
        Its path.
    """

    def __init__(self, path: Path) -> None:
        self._store = Store(path)
        if self._read_run() is not None and not self.may_be_stored():
            # Nothing of it was sent: any call may begin, whatever that one was of.
            with self._store.transaction():
                self._store.clear()
        self.blocks: Blocks = Blocks()
        self._texts: Texts | None = None
        self._packed = False
        self._page_rows = PAGE_ROWS
        self._moment = 0
        self._moments: dict[int, int] = {}  # of requests whose end is not known
        self._has_starts = False
        self._starts: NDArray[np.int64] | None = None
        self._stamps: str | None = None  # of files that a mended one may be among
        self._forget()

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()

    def may_be_stored(self) -> bool:
        """Tell whether rows of the run may be stored."""
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

    def agree(
        self, files: Sequence[FileStamp], plan: Callable[[pa.Schema], RunPlan]
    ) -> pa.Schema | None:
        """Return what the columns of files are read as, where its run has settled that.

        It has where it broke off at a file: rows before that are sent, so the file brings no
        column or type of its own when it is mended.

        Parameters
        ----------
        files : sequence of FileStamp
            The files.
        plan : callable
            Plans the call by a schema: only the call of a finished run is read by its schema.
        """
        found = next(self._store.read("select schema from input"), None)
        run = self._read_run()
        if found is None or run is None:
            return None
        schema = pa.ipc.read_schema(pa.py_buffer(found[0]))
        try:
            is_ours = not run["is_finished"] or not find_differences(
                run, plan(schema), json.dumps(files)
            )
        except PutRecordsError:  # it cannot be planned so: neither was the run
            is_ours = False
        return schema if is_ours else None

    def resume(
        self,
        plan: RunPlan,
        *,
        files: Sequence[FileStamp] | None = None,
        replan: Callable[[], RowPlan],
    ) -> PriorRun | None:
        """Begin a run, or go on with the one that is in the journal.

        Parameters
        ----------
        plan : RunPlan
            What to send, where and how.
        files : sequence of FileStamp, optional
            The files that it reads; of an unfinished run, those that are ``pinned``.
        replan : callable
            Makes another plan of the same data, to be followed by nobody else.

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
            return self._go_on(plan, run, replan)
        if not differing and (stamps is not None or self._holds(plan.rows, run["num_rows"])):
            return self._repeat(plan, run)
        aside = self._set_aside()
        _LOG.info("the finished run of another call was set aside: %s", aside)
        warn_of_files_sent_again(run, plan, files or (), aside)
        self._begin(plan, stamps)
        return None

    def _read_run(self) -> dict[str, Any] | None:
        found = next(self._store.read(f"select {', '.join(_RUN)} from run"), None)  # noqa: S608  # fixed names
        return None if found is None else dict(zip(_RUN, found, strict=True))

    def _begin(self, plan: RunPlan, stamps: str | None) -> None:
        row = {"run_id": plan.run_id, "began": _now(), **identify(plan, stamps)}
        with self._store.transaction():
            self._store.write(
                f"insert into run ({', '.join(row)}) values ({', '.join('?' * len(row))})",  # noqa: S608  # fixed names
                [tuple(row.values())],
            )
        self._packed = plan.is_packed

    def _go_on(self, plan: RunPlan, run: dict[str, Any], replan: Callable[[], RowPlan]) -> PriorRun:
        delivery = plan.options.delivery
        left = read_left(
            self._store,
            final=keep_unknown(["stored", "rejected"], delivery),
            page_rows=plan.page_rows,
        )
        self._moment, self._packed = left.moment, plan.is_packed
        self._has_starts = left.starts is not None
        self.blocks = Blocks(read_blocks(self._store))
        in_doubt = None
        if delivery == "exactly_once" and left.starts is not None:
            in_doubt = PriorInDoubt(
                left.earlier,
                find_tagged_rows(replan),
                low_watermark=left.floor,
                starts=left.starts,
                knows_requests=False,
            )
        _LOG.info("run %s: goes on; its journal is %s", run["run_id"], self._store.path)
        return PriorRun(
            outcomes=left.earlier,
            run_id=run["run_id"],
            in_doubt=in_doubt,
            duplicates=read_copies(self._store),
        )

    def _repeat(self, plan: RunPlan, run: dict[str, Any]) -> PriorRun:
        """Return the outcomes of a finished run, to be replayed."""
        left = read_left(self._store, final=STATUSES, page_rows=plan.page_rows)
        _LOG.info("run %s: already complete; its journal is %s", run["run_id"], self._store.path)
        return PriorRun(
            outcomes=left.earlier,
            run_id=run["run_id"],
            duplicates=read_copies(self._store),
            complete_rows=run["num_rows"],
        )

    def _holds(self, plan: RowPlan, num_rows: int) -> bool:
        """Whether the data is that of the finished run; reads it."""
        blocks = Blocks(read_blocks(self._store))
        try:
            is_same = num_rows == sum(records.num_rows for records in plan.records(None, blocks))
        except DataError:
            is_same = False
        if not is_same and plan.num_rows is None:
            raise ConfigError(
                f"journal: {self._store.path} belongs to a finished run of other data, and this "
                f"data, a stream, has been read now. Give it once more, with another path."
            )
        return is_same

    def _set_aside(self) -> Path:
        path = self._store.path
        self._store.close()
        aside = set_aside(path)
        self._store = Store(path)
        return aside

    def unpin(self, files: Sequence[str], schema: pa.Schema) -> None:
        """Take that files could not be read to their end: they may be mended, then go on."""
        pinned = self.pinned
        if not files or pinned is None:  # the run is finished: its files are as they were
            return
        stamps = [
            (name, None, None) if name in files else (name, *stamp) for name, *stamp in pinned
        ]
        with self._store.transaction():
            self._store.write("update run set files = ?", [(json.dumps(stamps),)])
            self._store.write("delete from input", [()])
            self._store.write("insert into input values (?)", [(schema.serialize().to_pybytes(),)])

    # -- what happens -----------------------------------------------------------------

    def begin(self, low_watermark: NDArray[np.int64]) -> None:
        """Take where each shard ends, before the first record."""
        if not self._has_starts:
            self._starts = low_watermark

    def send(self, batch: Batch) -> None:
        """Take the records that the next request carries."""
        self._moments[batch.request] = self._note_request(batch)

    def _note_request(self, batch: Batch) -> int:
        moment, rows, floor = self._next_moment(), batch.entries.rows, None
        if batch.low_watermark is not None:
            floor = _column("sequence_number", np.trim_zeros(batch.low_watermark, "b"))
        self._sent.append((moment, int(rows.max()), _column("row", rows), floor))
        return moment

    def acked(self, request: int) -> None:
        """Take that a request got an answer for each of its records."""
        self._answered.append((self._moments.pop(request),))

    def rejected(self, request: int) -> None:
        """Take that nothing of a request is stored."""
        self._refused.append((self._moments.pop(request),))

    def in_doubt(self, batch: Batch) -> None:
        """Take that nobody knows of some records of a request whether they are stored."""
        if self._moments.pop(batch.request, None) is None:  # it was answered for the others
            self._note_request(batch)

    def record(
        self, rows: NDArray[np.int64], columns: Mapping[str, NDArray[Any]], texts: Texts
    ) -> None:
        """Take the outcome of rows."""
        self._settled[tuple(columns)].append({"row": rows, **columns})
        self._texts = texts

    def complete_page(self, number: int, batch: pa.RecordBatch) -> None:
        """Take a page of which every row has its outcome."""
        self._pages.append((number, batch))

    # -- made durable -----------------------------------------------------------------

    def commit(self) -> None:
        """Make durable what was taken."""
        self._collect()
        if not self._has_news():
            return
        with self._store.transaction():
            self._write()
        if self._starts is not None:
            self._store.sync()
            self._starts = None
        self._forget()

    def conclude(
        self,
        *,
        num_rows: int,
        is_finished: bool,
        late: Sequence[Copy],
        record_rows: NDArray[np.int32],
        duplicates: Sequence[Copy],
    ) -> None:
        """Take how the run ended."""
        self.commit()
        if late:
            rows, shards, numbers = np.array(late, np.int64).T
            stored = np.full(len(rows), STATUSES.index("stored"), np.int8)
            columns = {"status": stored, "shard_id": shards, "sequence_number": numbers}
            self.record(rows, {**columns, "record_row": record_rows}, Texts())
            self.commit()
        with self._store.transaction():
            self._store.write("insert or ignore into copies values (?, ?, ?)", duplicates)
            if is_finished:
                # A file that was mended counts as it is only now: all of it was checked.
                self._store.write(
                    "update run set is_finished = 1, num_rows = ?, files = coalesce(?, files)",
                    [(num_rows, self._stamps)],
                )

    def _forget(self) -> None:
        self._sent: list[tuple[int, int, bytes, bytes | None]] = []
        self._answered: list[tuple[int]] = []
        self._refused: list[tuple[int]] = []
        self._settled: dict[tuple[str, ...], list[dict[str, NDArray[Any]]]] = defaultdict(list)
        self._pages: list[tuple[int, pa.RecordBatch]] = []
        self._checked: list[tuple[int, int, int]] = []

    def _collect(self) -> None:
        """Fetch what the thread that reads the data found out."""
        _empty(self.blocks.fresh, self._checked)

    def _has_news(self) -> bool:
        return bool(self._sent or self._answered or self._refused or self._settled or self._pages)

    def _write(self) -> None:
        write = self._store.write
        if self._starts is not None:
            known = np.flatnonzero(self._starts)
            starts = dict(zip(known.tolist(), self._starts[known].tolist(), strict=True))
            write("update run set starts = ?", [(json.dumps(starts),)])
        write("insert into blocks values (?, ?, ?)", self._checked)
        write(
            "insert into requests (moment, last_row, rows, floor) values (?, ?, ?, ?)", self._sent
        )
        write("delete from requests where moment = ?", self._answered)
        write("update requests set is_refused = 1 where moment = ?", self._refused)
        write("insert into outcomes values (?, ?, ?)", map(self._outcomes, self._settled.values()))
        for number, batch in self._pages:
            self._write_page(number, batch)

    def _outcomes(self, parts: list[dict[str, NDArray[Any]]]) -> tuple[int, int, bytes]:
        """Put together what became of rows since the last commit."""
        assert self._texts is not None  # noqa: S101  # it came with them
        columns = {
            name: narrow(np.concatenate([part[name] for part in parts])) for name in parts[0]
        }
        last_row = int(columns["row"].max())
        return self._next_moment(), last_row, to_blob(to_table(columns, self._texts))

    def _write_page(self, number: int, batch: pa.RecordBatch) -> None:
        write, end = self._store.write, (number + 1) * self._page_rows
        write(
            "insert or replace into pages values (?, ?, ?)",
            [(number, self._moment, to_blob(batch, "lz4"))],
        )
        write("delete from outcomes where last_row < ?", [(end,)])
        # exactly_once looks for further copies after each floor, to the end of the run.
        write("delete from requests where last_row < ? and (is_refused or floor is null)", [(end,)])

    def _next_moment(self) -> int:
        self._moment += 1
        return self._moment


def _column(name: str, numbers: NDArray[np.int64]) -> bytes:
    return to_blob(pa.record_batch([pa.array(narrow(numbers))], [name]))


def _empty(source: deque[Any], into: list[Any]) -> None:
    """Move what is there now; another thread may be adding to it."""
    into.extend(source.popleft() for _ in range(len(source)))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")

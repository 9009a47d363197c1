"""One job: its results, its run, the rows that failed, its progress."""

from __future__ import annotations

import logging
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from .._io.request_errors import stop_error
from .._producer.values import STATUSES
from .._run import Run, RunPlan, RunReport
from ..errors import DataError, PutRecordsError
from ..progress import Progress, open_progress
from ..summary import REASON, Summary, add_reasons, describe_unstored, list_reasons
from ._outputs import Sink, write_failed_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .._producer.outcomes import RunLog
    from .._producer.prior_run import PriorRun
    from ._reader import FileTable

_LOG: Final = logging.getLogger("v3io_frames_put")


# -- its results --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class JobResults(Summary):
    """What became of the rows of a job: the summary of its results, and its files.

    Attributes
    ----------
    counts, shards, errors, maybe_duplicates, receipt
        As in `Summary`; if not ``complete``, ``counts`` may lack rows that were never read.
    reasons : list of dict
        Why rows are not stored, the most frequent first: ``status``, ``error_message``,
        ``error_code``, ``rows``, and of one of them ``detail``, ``file`` and ``file_row``.
    files : int
        Number of input files.
    complete : bool
        Whether every file was read to its end.
    results : Path or None
        The outcome of each row; ``pandas.read_parquet`` returns what ``put_records`` would.
        None: not asked for, or it could not be written.
    failed : Path or None
        The rows that are left to send, and why; likewise.
    failed_rows : int or None
        Rows in ``failed``.
    """

    files: int
    complete: bool
    results: Path | None = None
    failed: Path | None = None
    failed_rows: int | None = None

    @property
    def reasons(self) -> list[dict[str, Any]]:
        reasons = list_reasons(add_reasons(self.errors, REASON[:3]))
        for reason in reasons:
            file, _, row = "".join(reason.pop("labels")[:1]).rpartition(":")
            reason |= {"file": file or None, "file_row": int(row) if row else None}
        return reasons

    def unstored_message(self) -> str:
        """Say in one paragraph how many rows are not stored, and why."""
        where = f"{self.failed_rows:,} of them are in {self.failed}." if self.failed else ""
        return describe_unstored(self.counts, self.reasons, where=where)

    def __repr__(self) -> str:
        lines = [Summary.__repr__(self), "", f"Files read: {self.files:,}"]
        for name, path in (("Results", self.results), ("Failed rows", self.failed)):
            lines += [f"{name}: {path}"] if path is not None else []
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Turn it into plain JSON types: the summary of a job."""
        return {
            **{name: value for name, value in self.receipt.items() if name != "counts"},
            "rows": self.rows,
            "counts": dict(self.counts),
            "reasons": self.reasons[:20],
            "files": self.files,
            "complete": self.complete,
            "results": None if self.results is None else str(self.results),
            "failed": None if self.failed is None else str(self.failed),
            "failed_rows": self.failed_rows,
        }


# -- the run --------------------------------------------------------------------------------


def run_job(
    job: RunPlan,
    table: FileTable,
    *,
    results: Path | None,
    failed: Path | None,
    prior: PriorRun | None,
    run_log: RunLog | None,
) -> JobResults:
    """Send the rows of a table, and write what was asked for.

    What is raised, because the run ended early or a file could not be written, has ``.results``.
    """
    failed_rows: int | None = None
    with closing(Sink(table, packed=job.is_packed, results=results, failed=failed)) as sink:
        run, report = _send(job, table, sink, prior, run_log)
        trouble: Exception | None = sink.failure
        try:
            if failed is not None and trouble is None:
                with_unknown = job.delivery_options.delivery == "at_least_once"
                failed_rows = write_failed_rows(table, sink, failed, with_unknown=with_unknown)
        except KeyboardInterrupt:  # it reads files again, which may take long
            report.stop_by_user()
        except (OSError, DataError) as error:
            trouble = error
    summary = sink.summary
    outcome = JobResults(
        **{own.name: getattr(summary, own.name) for own in fields(Summary)},
        files=len(table.files),
        complete=table.is_read and report.stop is None,
        results=sink.results,
        failed=None if failed_rows is None else failed,
        failed_rows=failed_rows,
    )
    if outcome.rows == 0 and outcome.complete:
        why = "no row matches where" if table.where else "there are none"
        _LOG.warning("0 rows were sent: %s", why)
    _raise_if_ended_early(run, table, report, outcome, failed=failed, trouble=trouble)
    return outcome


def _send(
    job: RunPlan, table: FileTable, sink: Sink, prior: PriorRun | None, run_log: RunLog | None
) -> tuple[Run, RunReport]:
    """Send the rows of a table, and write their results."""
    with show_progress(job, table, prior) as show:

        def take(batch: pa.RecordBatch) -> None:
            if not sink.take(batch):
                run.producer.stop()  # what is sent from here on would not be known

        run = Run(replace(job, progress=show), prior=prior, run_log=run_log)
        # A Ctrl-C must not cost the results, unless the journal has them all.
        kept: Any = run.switch.on_interrupt(lambda: None)
        if prior is not None and prior.is_complete:
            sink.skim, kept = table.skim(), nullcontext()
        with kept:
            report = run.to_end(take)
            sink.finish(report)
        if run.switch.presses:
            report.stop_by_user()
    return run, report


def _raise_if_ended_early(
    run: Run,
    table: FileTable,
    report: RunReport,
    results: JobResults,
    *,
    failed: Path | None,
    trouble: Exception | None,
) -> None:
    """Raise why a run ended early, or why its results are incomplete."""
    error: Any
    with_journal = "the same call again continues where its journal ends."
    cause = report.broken or table.broken or trouble
    stopped_by_us = report.broken not in (None, table.broken) or isinstance(trouble, OSError)
    if report.stop is not None and not stopped_by_us:
        advice = with_journal if run.run_log else "with a journal, the same call would continue."
        if failed is not None:
            where = "not written" if results.failed is None else f"in {failed}"
            advice = f"what is left is {where}; {advice}"
        admin = run.plan.client._admin(run.plan.stream)  # noqa: SLF001  # no verb of the public
        error = stop_error(report.stop, run.plan.stream, admin.diagnose, advice=advice)
    elif isinstance(cause, DataError) and not results.rows:
        raise cause  # nothing was sent
    elif cause is not None:
        stored = results.counts["stored"]
        left = f"{results.rows - stored:,} are left"
        if not results.complete and table.num_rows is None:
            left = f"{left} of those that were read, and all after them"
        text = f"{str(cause).rstrip('.')}. Until then {stored:,} rows were stored; {left}."
        if results.failed is not None:
            text = f"{text} {results.failed_rows:,} rows to send are in {results.failed}."
        if run.run_log and table.broken:
            text = f"{text} Once it can be read, {with_journal}"
        error = PutRecordsError(text)
    else:
        return
    error.results = results
    raise error from cause


# -- progress ------------------------------------------------------------------------------


@contextmanager
def show_progress(
    job: RunPlan, table: FileTable, prior: PriorRun | None
) -> Iterator[Callable[[Progress], None]]:
    """Open what shows progress: a bar where a person looks on, else log lines.

    A bar is given an estimate of the table's rows, a callable exact numbers only. A run that
    goes on begins with what its journal knows, and says what it looks up before it sends.
    """
    known = dict.fromkeys(STATUSES, 0)
    if prior is not None and not prior.is_complete:
        status = prior.outcomes.status
        known = {name: int((status == code).sum()) for code, name in enumerate(STATUSES)}
    in_doubt = known["unknown"] if job.delivery_options.delivery == "exactly_once" else 0
    with open_progress(job.progress, or_log=True) as show:

        def update(snapshot: Progress) -> None:
            # Otherwise the free memory inside the pool grows as long as the job runs.
            pa.default_memory_pool().release_unused()
            total = table.num_rows if callable(job.progress) else estimate_rows(table)
            least = {s: max(getattr(snapshot, s), known[s]) for s in ("stored", "rejected")}
            waiting = snapshot.waiting
            if waiting is None and in_doubt and not (snapshot.bytes_sent or snapshot.in_flight):
                waiting = f"looking up {in_doubt:,} rows that may be stored"
            if show is not None:
                show(replace(snapshot, total=total, waiting=waiting, **least))

        yield update


def estimate_rows(table: FileTable) -> int | None:
    """Return the rows of all files: counted, or estimated by the share of bytes read."""
    if table.num_rows is not None or table.is_read:
        return table.rows_read if table.num_rows is None else table.num_rows
    if not table.num_bytes or not table.bytes_read:
        return None
    return round(table.rows_read * max(1.0, table.num_bytes / table.bytes_read))

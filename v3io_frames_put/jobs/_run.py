"""A planned job -> what became of its rows: sent, reported, and the rest written down."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import pandas as pd
import pyarrow as pa

from v3io_frames_put._producer.values import STATUSES
from v3io_frames_put._run import Run, stop_error
from v3io_frames_put.errors import (
    ConfigError,
    DataError,
    PartialFailure,
    PutRecordsError,
    UnstoredRowsWarning,
)
from v3io_frames_put.jobs._failed_rows import Outcomes, write_failed_rows
from v3io_frames_put.jobs._job_results import JobResults
from v3io_frames_put.jobs._progress import show_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from v3io_frames_put._producer.prior_run import PriorRun
    from v3io_frames_put._producer.run_log import RunLog
    from v3io_frames_put._run import RunReport
    from v3io_frames_put._run_plan import RunPlan
    from v3io_frames_put.jobs._outputs import Outputs
    from v3io_frames_put.jobs._reader import FileTable
    from v3io_frames_put.jobs._sink import Sink
    from v3io_frames_put.progress import Progress

_LOG: Final = logging.getLogger("v3io_frames_put")

_WITH_JOURNAL: Final = "the same call again goes on where its journal ends."
_WITH_FAILED: Final = "with failed= (--failed), what is left stands in a file; "
_WITHOUT_JOURNAL: Final = "with a journal, the same call would go on."


def run_job(  # what a job is made of
    job: RunPlan,
    table: FileTable,
    sink: Sink,
    outputs: Outputs,
    *,
    prior: PriorRun | None,
    run_log: RunLog | None,
) -> JobResults:
    """Send the rows of a table, and write what was asked for.

    Raises
    ------
    PutRecordsError, RequestError, Interrupted
        The run did not come to its end, or could not be told of; ``.results`` tells.
    """
    looks_up = job.options.delivery == "exactly_once"
    with show_progress(job.progress, table, _known_counts(prior), looks_up=looks_up) as show:

        def look_on(snapshot: Progress) -> None:
            # Else what is free inside the pool grows as long as the job runs.
            pa.default_memory_pool().release_unused()
            show(snapshot)

        if prior is None or not prior.is_complete:
            table.tell_left_out()
        else:
            table.skim()
        run = Run(replace(job, progress=look_on), prior=prior, run_log=run_log)
        ending = _send(run, table, sink)
    failed_rows, trouble = None, None
    try:
        failed_rows, trouble = _write_failed(job, table, sink)
    except KeyboardInterrupt:  # it reads files again, which may take long
        ending.stop_by_user()
    told = _tell(table, sink, ending, outputs.failed, failed_rows)
    _raise_if_ended_early(run, table, outputs, ending, told, trouble)
    return told


def _known_counts(prior: PriorRun | None) -> dict[str, int] | None:
    """Count the rows whose status a journal knows; None: the run begins."""
    if prior is None or prior.complete_rows is not None:
        return None
    status = prior.outcomes.status
    return {name: int((status == code).sum()) for code, name in enumerate(STATUSES)}


def _send(run: Run, table: FileTable, sink: Sink) -> RunReport:
    """Send the rows, and write what became of them: no Ctrl-C costs that."""
    with run.switch.on_interrupt(lambda: None):
        ending = run.to_end(sink.take)
        if table.num_rows is not None:
            sink.add_unread(table.num_rows - sink.tally.num_rows)
        sink.finish(ending.receipt, late=ending.late, duplicates=ending.duplicates)
    if run.switch.presses:
        ending.stop_by_user()
    return ending


def _write_failed(
    job: RunPlan, table: FileTable, sink: Sink
) -> tuple[int | None, Exception | None]:
    """Write the rows left to send; return their number, and what came in the way."""
    if sink.failure is not None or sink.failed is None or sink.path is None:
        return None, sink.failure
    try:
        with Outcomes(sink.path) as outcomes:
            count = write_failed_rows(
                table,
                outcomes,
                sink.failed,
                failing=sink.failing,
                with_unknown=job.options.delivery == "at_least_once",
            )
        sink.place_failed()
    except (OSError, DataError, ConfigError) as error:
        return None, error
    return count, None


def _tell(
    table: FileTable, sink: Sink, ending: RunReport, failed: Path | None, failed_rows: int | None
) -> JobResults:
    told = JobResults(
        counts=dict(sink.tally.counts),
        reasons=sink.tally.reasons(),
        files=len(table.files),
        complete=table.is_read and ending.stop is None,
        receipt=ending.receipt.to_json(),
        results=sink.path if sink.is_asked_for else None,
        failed=None if failed_rows is None else failed,
        failed_rows=failed_rows,
    )
    if told.rows == 0 and told.complete:
        why = "no row matches where" if table.where else "there are none"
        _LOG.warning("0 rows were sent: %s", why)
    return told


def _raise_if_ended_early(
    run: Run,
    table: FileTable,
    outputs: Outputs,
    ending: RunReport,
    told: JobResults,
    trouble: Exception | None,
) -> None:
    """Raise why a run ended early or could not be told of, with its results."""
    error: Any
    cause = ending.broken or table.broken or trouble
    is_ours = ending.broken is not None and ending.broken is not table.broken
    stopped_by_us = is_ours or isinstance(trouble, OSError)
    if ending.stop is not None and not stopped_by_us:
        advice = _WITH_JOURNAL if run.writes_journal else _WITHOUT_JOURNAL
        if told.failed is not None:
            advice = f"what is left stands in {told.failed}; {advice}"
        elif outputs.failed is not None:
            advice = f"{outputs.failed} is not written; {advice}"
        elif not run.writes_journal:
            advice = _WITH_FAILED + advice
        error = stop_error(
            ending.stop, client=run.plan.client, stream=run.plan.stream, advice=advice
        )
    elif isinstance(cause, DataError) and not told.rows:
        raise cause  # nothing was sent
    elif cause is not None:
        advice = (
            f" Once it can be read, {_WITH_JOURNAL}" if run.writes_journal and table.broken else ""
        )
        error = PutRecordsError(f"{str(cause).rstrip('.')}. {_tell_left(table, told)}{advice}")
    else:
        return
    error.results = told
    raise error from cause


def _tell_left(table: FileTable, told: JobResults) -> str:
    """Say what is stored of a job that broke off, and what is not."""
    left = f"{told.rows - told.counts['stored']:,} are left"
    if not told.complete and table.num_rows is None:
        left = f"{left} of those that were read, and all behind them"
    kept = (
        "" if told.failed is None else f" {told.failed_rows:,} rows to send stand in {told.failed}."
    )
    return f"Until then {told.counts['stored']:,} rows were stored; {left}.{kept}"


def tell_unstored(told: JobResults, on_error: str) -> None:
    """Tell of rows that are not stored, by a warning or an exception."""
    if told.counts["stored"] == told.rows:
        return
    if on_error == "raise":
        error: Any = PartialFailure(told.unstored_message())
        error.results = told
        raise error
    warnings.warn(told.unstored_message(), UnstoredRowsWarning, stacklevel=3)


# -- the framework that runs a job --------------------------------------------------------

_METHODS: Final = ("log_result", "log_dataset")
_APART: Final = frozenset({"rows", "counts", "complete", "results", "failed", "failed_rows"})


class JobContext(Protocol):
    """What a job needs of a context, such as MLRun's."""

    def log_result(self, key: str, value: Any) -> object:
        """Keep a value of the run."""

    def log_dataset(self, key: str, df: pd.DataFrame) -> object:
        """Keep a table of the run."""


@contextmanager
def log_to(context: JobContext | None) -> Iterator[Callable[[JobResults], JobResults]]:
    """Give what logs a job's results; those of an error that ends the block are logged, too.

    Raises
    ------
    ConfigError
        The context has other methods. Nothing was sent.
    """
    missing = [name for name in _METHODS if not callable(getattr(context, name, None))]
    if context is not None and missing:
        raise ConfigError(
            f"context is a {type(context).__name__} without {missing[0]}(); expected log_result() "
            f"and log_dataset(), as MLRun's context has them."
        )

    def log(told: JobResults) -> JobResults:
        if context is not None:
            _log_results(context, told)
        return told

    try:
        yield log
    except BaseException as error:
        told = getattr(error, "results", None)
        if isinstance(told, JobResults):
            log(told)
        raise


def _log_results(context: JobContext, told: JobResults) -> None:
    """Log results; a context that fails must not hide what became of the rows."""
    summary = told.to_json()
    values = {
        "rows": told.rows,
        **told.counts,
        "complete": told.complete,
        "receipt": {name: value for name, value in summary.items() if name not in _APART},
        "results_path": summary["results"],
        "failed_path": summary["failed"],
        "failed_rows": told.failed_rows,
    }
    try:
        for name, value in values.items():
            if value is not None:
                context.log_result(name, value)
        if told.reasons:
            context.log_dataset("not_stored", df=pd.DataFrame(list(told.reasons)))
    except Exception:  # noqa: BLE001  # whatever a framework raises
        _LOG.warning("the job's context failed; its results are %s", told.counts, exc_info=True)

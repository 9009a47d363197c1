"""Run a planned job: send its rows, write the failed ones, return the results."""

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

_WITH_JOURNAL: Final = "the same call again continues where its journal ends."
_WITH_FAILED: Final = "with failed= (--failed), what is left is written to a file; "
_WITHOUT_JOURNAL: Final = "with a journal, the same call would continue."


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
        The run ended early, or its results could not be written. ``.results`` has what is known.
    """
    looks_up = job.options.delivery == "exactly_once"
    with show_progress(job.progress, table, _known_counts(prior), looks_up=looks_up) as show:

        def look_on(snapshot: Progress) -> None:
            # Otherwise the free memory inside the pool grows as long as the job runs.
            pa.default_memory_pool().release_unused()
            show(snapshot)

        if prior is None or not prior.is_complete:
            table.log_left_out()
        else:
            table.skim()
        run = Run(replace(job, progress=look_on), prior=prior, run_log=run_log)
        ending = _send(run, table, sink)
    failed_rows, trouble = None, None
    try:
        failed_rows, trouble = _write_failed(job, table, sink)
    except KeyboardInterrupt:  # it reads files again, which may take long
        ending.stop_by_user()
    results = _make_results(table, sink, ending, outputs.failed, failed_rows)
    _raise_if_ended_early(run, table, outputs, ending, results, trouble)
    return results


def _known_counts(prior: PriorRun | None) -> dict[str, int] | None:
    """Count the rows whose status a journal knows; None: the run begins."""
    if prior is None or prior.complete_rows is not None:
        return None
    status = prior.outcomes.status
    return {name: int((status == code).sum()) for code, name in enumerate(STATUSES)}


def _send(run: Run, table: FileTable, sink: Sink) -> RunReport:
    """Send the rows and write their outcomes; Ctrl-C does not lose them."""
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
    """Write the failed rows; return their number, and the error that prevented it."""
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


def _make_results(
    table: FileTable, sink: Sink, ending: RunReport, failed: Path | None, failed_rows: int | None
) -> JobResults:
    results = JobResults(
        counts=dict(sink.tally.counts),
        reasons=sink.tally.reasons(),
        files=len(table.files),
        complete=table.is_read and ending.stop is None,
        receipt=ending.receipt.to_json(),
        results=sink.path if sink.is_asked_for else None,
        failed=None if failed_rows is None else failed,
        failed_rows=failed_rows,
    )
    if results.rows == 0 and results.complete:
        why = "no row matches where" if table.where else "there are none"
        _LOG.warning("0 rows were sent: %s", why)
    return results


def _raise_if_ended_early(
    run: Run,
    table: FileTable,
    outputs: Outputs,
    ending: RunReport,
    results: JobResults,
    trouble: Exception | None,
) -> None:
    """Raise why a run ended early, or why its results are incomplete."""
    error: Any
    cause = ending.broken or table.broken or trouble
    is_ours = ending.broken is not None and ending.broken is not table.broken
    stopped_by_us = is_ours or isinstance(trouble, OSError)
    if ending.stop is not None and not stopped_by_us:
        advice = _WITH_JOURNAL if run.writes_journal else _WITHOUT_JOURNAL
        if results.failed is not None:
            advice = f"what is left is in {results.failed}; {advice}"
        elif outputs.failed is not None:
            advice = f"{outputs.failed} is not written; {advice}"
        elif not run.writes_journal:
            advice = _WITH_FAILED + advice
        error = stop_error(
            ending.stop, client=run.plan.client, stream=run.plan.stream, advice=advice
        )
    elif isinstance(cause, DataError) and not results.rows:
        raise cause  # nothing was sent
    elif cause is not None:
        advice = (
            f" Once it can be read, {_WITH_JOURNAL}" if run.writes_journal and table.broken else ""
        )
        error = PutRecordsError(
            f"{str(cause).rstrip('.')}. {_describe_left(table, results)}{advice}"
        )
    else:
        return
    error.results = results
    raise error from cause


def _describe_left(table: FileTable, results: JobResults) -> str:
    """Describe what is stored of a job that ended early, and what is not."""
    left = f"{results.rows - results.counts['stored']:,} are left"
    if not results.complete and table.num_rows is None:
        left = f"{left} of those that were read, and all after them"
    kept = (
        ""
        if results.failed is None
        else f" {results.failed_rows:,} rows to send are in {results.failed}."
    )
    return f"Until then {results.counts['stored']:,} rows were stored; {left}.{kept}"


def report_unstored(results: JobResults, on_error: str) -> None:
    """Report rows that are not stored, by a warning or an exception."""
    if results.counts["stored"] == results.rows:
        return
    if on_error == "raise":
        error: Any = PartialFailure(results.unstored_message())
        error.results = results
        raise error
    warnings.warn(results.unstored_message(), UnstoredRowsWarning, stacklevel=3)


# -- the framework that runs a job --------------------------------------------------------

_METHODS: Final = ("log_result", "log_dataset")
_APART: Final = frozenset({"rows", "counts", "complete", "results", "failed", "failed_rows"})


class JobContext(Protocol):
    """The methods that a job calls on a context, such as MLRun's."""

    def log_result(self, key: str, value: Any) -> object:
        """Keep a value of the run."""

    def log_dataset(self, key: str, df: pd.DataFrame) -> object:
        """Keep a table of the run."""


@contextmanager
def log_to(context: JobContext | None) -> Iterator[Callable[[JobResults], JobResults]]:
    """Yield a function that logs the results of a job; also log the results of an error.

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

    def log(results: JobResults) -> JobResults:
        if context is not None:
            _log_results(context, results)
        return results

    try:
        yield log
    except BaseException as error:
        results = getattr(error, "results", None)
        if isinstance(results, JobResults):
            log(results)
        raise


def _log_results(context: JobContext, results: JobResults) -> None:
    """Log results; a context that fails must not hide the results."""
    summary = results.to_json()
    values = {
        "rows": results.rows,
        **results.counts,
        "complete": results.complete,
        "receipt": {name: value for name, value in summary.items() if name not in _APART},
        "results_path": summary["results"],
        "failed_path": summary["failed"],
        "failed_rows": results.failed_rows,
    }
    try:
        for name, value in values.items():
            if value is not None:
                context.log_result(name, value)
        if results.reasons:
            context.log_dataset("not_stored", df=pd.DataFrame(list(results.reasons)))
    except Exception:  # noqa: BLE001  # whatever a framework raises
        _LOG.warning("the job's context failed; its results are %s", results.counts, exc_info=True)

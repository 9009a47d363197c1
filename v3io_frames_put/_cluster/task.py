"""One attempt of one task: a partition's rows -> its results.

A task that is run again knows only that there may have been an earlier attempt. So it
takes every row as `unknown` and resumes: the rows are sent again, or not, or looked up,
as ``delivery`` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from v3io_frames_put._producer.outcomes import Outcomes
from v3io_frames_put._producer.values import Failure
from v3io_frames_put._run import Run
from v3io_frames_put.errors import PutRecordsError
from v3io_frames_put.put import run_to_results, stop_error
from v3io_frames_put.results import ATTRS_KEY, collect_results
from v3io_frames_put.resume import read_prior_run
from v3io_frames_put.summary import summarize

if TYPE_CHECKING:
    import threading

    import pandas as pd

    from v3io_frames_put._cluster.run import ClusterRun
    from v3io_frames_put._run import RunPlan

_CUT_OFF: Final = Failure(
    "NoAnswer", "an earlier attempt of this task was cut off, and may have stored the row"
)
_MAX_REASONS: Final = 20


def send_partition(
    run: ClusterRun,
    partition: int,
    data: Any,
    *,
    is_first: bool,
    earlier: pd.DataFrame | None = None,
    cancel: threading.Event | None = None,
) -> pd.DataFrame:
    """Send a partition's rows, or what an earlier attempt left of them.

    Parameters
    ----------
    data : DataFrame or Table
        The rows: the same, in the same order, in every attempt with ``exactly_once``.
    is_first : bool
        Whether no earlier attempt can have sent anything.
    earlier : DataFrame, optional
        The results of an attempt that came to its end, and left rows open.
    cancel : threading.Event, optional
        Stops it when set.

    Returns
    -------
    DataFrame
        The partition's results. ``attrs["v3io"]`` is the task's receipt, with
        ``partition``, ``run_again``, ``reasons`` and ``error`` (why it ended early).

    Raises
    ------
    PutRecordsError
        The data could not be read.
    """
    plan, prior = run.plan_task(partition, data, cancel), None
    run_again = not is_first or (earlier is not None and receipt_of(earlier)["run_again"])
    if earlier is None and not is_first:
        earlier = _all_in_doubt(plan, run)
    if earlier is not None:
        prior = read_prior_run(plan, earlier)
    results, report = run_to_results(Run(plan, prior=prior))
    if report.broken is not None:
        # No engine expects a task to raise what is not an Exception: a panic of native code.
        kind = type(report.broken).__name__
        what = "could not be read to its end" if report.is_source_broken else "failed"
        raise PutRecordsError(
            f"partition {partition} {what}: {kind}: {report.broken}"
        ) from report.broken
    error = None
    if report.stop is not None and report.stop.attempt is not None:
        cause = stop_error(report.stop, client=plan.client, stream=plan.stream)
        error = {"type": type(cause).__name__, "message": str(cause)}
        plan.client.close()
    results.attrs[ATTRS_KEY] = {
        **receipt_of(results),
        "partition": partition,
        "run_again": run_again,
        "reasons": _reasons(results),
        "maybe_duplicates": int(results["maybe_duplicate"].sum()),
        "error": error,
    }
    return results


def all_unknown(num_rows: int, failure: Failure, *, index: Any, packed: bool) -> pd.DataFrame:
    """Make the results of rows of which nothing is known."""
    outcomes = Outcomes(packed=packed)
    outcomes.open(num_rows)
    outcomes.record_failure(np.arange(num_rows), "unknown", failure)
    return collect_results(list(outcomes.finish()), index=index, packed=packed)


def _all_in_doubt(plan: RunPlan, run: ClusterRun) -> pd.DataFrame:
    """Make the results of an attempt that left none."""
    rows = plan.rows
    results = all_unknown(rows.num_rows or 0, _CUT_OFF, index=rows.index, packed=plan.is_packed)
    results.attrs[ATTRS_KEY] = {
        "run_id": plan.run_id,
        "endpoint": plan.stream.endpoint,
        "stream": str(plan.stream),
        "delivery": plan.options.delivery,
        "mapping": plan.mapping,
        "starts": dict(run.starts),
    }
    return results


def receipt_of(results: pd.DataFrame) -> dict[str, Any]:
    """Return the receipt that results carry."""
    receipt: dict[str, Any] = results.attrs[ATTRS_KEY]
    return receipt


def _reasons(results: pd.DataFrame) -> list[dict[str, Any]]:
    """Return why rows are not stored, in plain JSON types."""
    errors = summarize(results).errors.head(_MAX_REASONS)
    plain = errors.astype(object).where(errors.notna(), None)
    return [dict(zip(plain.columns, row, strict=True)) for row in plain.itertuples(index=False)]

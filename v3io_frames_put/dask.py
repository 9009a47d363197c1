"""``ddf.v3io.put_records``: a Dask DataFrame onto a stream, one task a partition.

Importing this module registers the accessor. A worker that dies takes its tasks along,
and Dask runs them again, also those that were done: so each leaves its results as a
file, which a later attempt finds, and a mark before its first record.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from types import MethodType
from typing import TYPE_CHECKING, Any

from ._cluster.folder import OPEN, ResultsFolder, StopFlag, check_index
from ._cluster.receipt import find_copies, merge_receipts, report_unstored, with_results
from ._cluster.run import begin_run, make_run, receipt_of, send_partition
from ._public import public
from ._run import plan_data
from .errors import ConfigError, Interrupted, MissingExtra, PutRecordsError, UnsupportedType
from .results import collect_results

try:
    import dask
    import dask.dataframe as dd
    import dask.local
    import dask.system
    from dask.delayed import delayed
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("dask", "distributed", "fsspec"):
        raise
    raise MissingExtra(package=error.name or "dask", extra="dask") from error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike

    import pandas as pd

    from ._cluster.run import ClusterRun

__all__ = ["put_records"]


@public
def put_records(
    ddf: Any,
    stream: str,
    *,
    results_path: str | PathLike[str],
    compute: bool = True,
    **options: Any,
) -> Any:
    """Put every row of a Dask DataFrame on a stream; the results say what became of each.

    Each partition is one task. Rows of one partition key keep their order within a
    partition: shuffle by the key first if order matters. When a worker dies, Dask runs
    its tasks again. Rows with a known outcome are not sent again; ``delivery`` decides
    about the others.

    Parameters
    ----------
    ddf : dask.dataframe.DataFrame
        The rows.
    stream : str
        Where to, as in `v3io_frames_put.put_records`. The stream must exist.
    results_path : str or PathLike
        A folder for the results, which all machines share: a path, or a URL that fsspec
        knows. It must be empty. With ``exactly_once`` the rows are kept there while the
        run is under way.
    compute : bool
        False: return a Delayed. Its run id is fixed now, so that computing it again goes
        on where it ended.
    **options
        Those of `v3io_frames_put.put_records`. ``on_error`` is "raise" unless given;
        ``max_in_flight`` is shared by the tasks that can run at once; ``resume``,
        ``journal``, ``cancel`` and callables are a ConfigError.

    Returns
    -------
    dask.dataframe.DataFrame or Delayed
        Reads the results: partitions and index as ``ddf`` has them, columns as in
        `v3io_frames_put.put_records`. The run's receipt is ``_receipt.json`` among them.

    Raises
    ------
    ConfigError, DataError
        An option or a column is wrong. Nothing was sent.
    PutRecordsError
        As in `v3io_frames_put.put_records`; ``.results`` reads what was written.
    """
    if not isinstance(ddf, dd.DataFrame):
        raise ConfigError(
            f"ddf is a {type(ddf).__name__}; expected a Dask DataFrame. Make one with "
            f"dask.dataframe.from_pandas(df, npartitions=8), or use v3io_frames_put.put_records."
        )
    run = make_run(stream, options).share_among(_tasks_at_once(ddf.npartitions))
    meta = ddf._meta  # noqa: SLF001  # columns and types, as every extension of Dask takes them
    _check_objects(meta, run)
    folder = ResultsFolder(results_path)
    run = begin_run(run, meta)
    folder.make(run.run_id)
    job = _DaskRun(run, folder, meta, ddf.divisions)
    ended = job.graph(ddf)
    if not compute:
        return delayed(job.finish)(ended, dask_key_name=f"v3io-put-{run.run_id}-results")
    try:
        receipt = ended.compute()
    except (Exception, KeyboardInterrupt) as cause:  # noqa: BLE001  # whatever Dask ran into
        error = job.explain(cause)
        raise error from (None if error is cause else cause)
    return job.finish(receipt)


@dd.extensions.register_dataframe_accessor("v3io")
class V3ioAccessor:
    """Put a Dask DataFrame on Iguazio v3io streams."""

    def __init__(self, ddf: Any) -> None:
        self._ddf = ddf

    @property
    def put_records(self) -> Callable[..., Any]:
        """Put every row on a stream; see `v3io_frames_put.dask.put_records`."""
        return MethodType(put_records, self._ddf)


class _DaskRun:
    """A run whose tasks are Dask's; results have the divisions of the data."""

    def __init__(
        self, run: ClusterRun, folder: ResultsFolder, meta: pd.DataFrame, divisions: tuple[Any, ...]
    ) -> None:
        self._run, self._folder, self._divisions = run, folder, divisions
        self._meta = collect_results([], index=meta.index[:0], packed=run.is_packed)

    def graph(self, ddf: Any) -> Any:
        """Make the tasks. Their keys hold the run id and nothing of the options."""
        run, folder, name = self._run, self._folder, f"v3io-put-{self._run.run_id}"
        begun = delayed(_begin)(folder, dask_key_name=f"{name}-begin")
        receipts = []
        for number, part in enumerate(ddf.to_delayed()):
            rows = part
            if run.delivery == "exactly_once":
                key = f"{name}-input-{number}"
                rows = delayed(folder.keep_input)(number, part, dask_key_name=key)
            task = delayed(_put_partition)(
                run, folder, number, rows, begun, dask_key_name=f"{name}-{number}"
            )
            receipts.append(task)
        return delayed(_conclude)(run, folder, receipts, begun, dask_key_name=f"{name}-receipt")

    def finish(self, receipt: dict[str, Any]) -> Any:
        """Return what reads the results; report rows that are not stored."""
        results = self._read(range(receipt["tasks"]))
        report_unstored(receipt, results, on_error=self._run.on_error)
        return results

    def explain(self, cause: BaseException) -> BaseException:
        """Make the exception for a run that Dask did not bring to its end."""
        self._folder.raise_flag()
        count = len(self._divisions) - 1
        there = [number for number in range(count) if self._folder.has_results(number)]
        if isinstance(cause, PutRecordsError) and not there:
            return cause  # an option or a column is wrong
        kind = Interrupted if isinstance(cause, KeyboardInterrupt) else PutRecordsError
        done = f"{len(there):,} of {count:,} partitions are done"
        if there:
            done = f"{done}: error.results reads their results from {self._folder.path}"
        text = (
            f"Dask did not bring the run to its end ({type(cause).__name__}: {cause}). {done}; of "
            f"the others nothing is known, and rows of them may be stored. Make the run with "
            f"compute=False to be able to go on."
        )
        error: BaseException = with_results(kind(text), self._read(there) if there else None)
        return error

    def _read(self, partitions: Sequence[int]) -> Any:
        whole = len(partitions) == len(self._divisions) - 1
        return dd.from_map(
            _read_results,
            list(partitions),
            folder=self._folder,
            meta=self._meta,
            divisions=self._divisions if whole else None,
            label="v3io-results",
        )


def _begin(folder: ResultsFolder) -> float:
    """Begin, perhaps anew; return when."""
    folder.lower_flag()
    return _wall_seconds()


def _put_partition(
    run: ClusterRun, folder: ResultsFolder, partition: int, rows: Any, _begun: float
) -> dict[str, Any]:
    """Send a partition, or what an earlier attempt left of it; return its receipt."""
    folder.check_is_shared(run.run_id)
    earlier = None
    if folder.has_results(partition):
        earlier = folder.read_results(partition)
        if not earlier["status"].isin(OPEN).any():
            return receipt_of(earlier)
    frame = folder.read_input(partition) if rows is None else rows
    check_index(frame, partition)
    run.plan_task(partition, frame)  # what it refuses has not begun
    is_first = folder.begin(partition)
    results = send_partition(
        run,
        partition,
        frame,
        is_first=is_first,
        earlier=earlier,
        cancel=StopFlag(folder),
    )
    if is_first and earlier is None and folder.has_results(partition):
        # Dask took this attempt for dead: another one ended, and has marked the rows of both.
        return receipt_of(folder.read_results(partition))
    folder.write_results(partition, results)
    receipt = receipt_of(results)
    if receipt["error"] is not None:
        folder.raise_flag()  # what no retry cures, the others would only meet as well
    return receipt


def _conclude(
    run: ClusterRun, folder: ResultsFolder, receipts: list[dict[str, Any]], begun: float
) -> dict[str, Any]:
    """Put the receipts together, after a last look at what was cut off."""
    copies = find_copies(run, receipts, folder.read_results)
    receipt = merge_receipts(run, receipts, copies=copies, seconds=_wall_seconds() - begun)
    folder.conclude(receipt)
    return receipt


def _read_results(partition: int, folder: ResultsFolder) -> pd.DataFrame:
    results = folder.read_results(partition)
    results.attrs = {}  # of one task alone
    return results


def _wall_seconds() -> float:
    return datetime.now(timezone.utc).timestamp()  # the begin may have been on another machine


def _tasks_at_once(partitions: int) -> int:
    """Return how many tasks can run at once, here and now."""
    scheduler = dask.base.get_scheduler(cls=dd.DataFrame)
    client: Any = getattr(scheduler, "__self__", None)
    threads: int
    if hasattr(client, "nthreads"):
        threads = sum(client.nthreads().values())
    elif scheduler is dask.local.get_sync:
        threads = 1
    else:
        threads = dask.config.get("num_workers", None) or dask.system.CPU_COUNT
    return max(1, min(partitions, threads))


def _check_objects(meta: pd.DataFrame, run: ClusterRun) -> None:
    """Refuse Python objects for Arrow: their type is decided over the whole column."""
    if run.row_options.format != "arrow":
        return
    as_json = replace(run.row_options, format="json", rows_per_record=1)
    for column in plan_data(meta, as_json, run.delivery_options).columns:
        if column.type is None:
            advice = (
                "whose Arrow type is decided over the whole column, and no task sees that. "
                "Give it a type: ddf.astype(...)"
            )
            raise UnsupportedType(column=column.name, dtype="object", advice=advice)

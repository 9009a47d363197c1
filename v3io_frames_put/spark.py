"""``put_records`` for Spark: a Spark DataFrame onto a stream, one task a partition.

Spark runs a task again when it failed, a stage again when a shuffle file is lost, and
informs a task only of the former. So the input is checkpointed first, whatever
``delivery``: what sends is one stage without a shuffle, in which each attempt sees the
same rows and knows whether it is the first.
"""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from ._cluster.folder import check_path, no_folder, not_empty
from ._cluster.receipt import find_copies, merge_receipts, report_unstored, with_results
from ._cluster.run import ClusterRun, all_unknown, begin_run, make_run, send_partition, spool
from ._io.stream_admin import Clock
from ._producer.values import RECORD_ROW, SCHEMA, Failure
from ._public import public
from .errors import (
    ColumnNotFound,
    ConfigError,
    Interrupted,
    MissingExtra,
    PlatformUnavailable,
    PutRecordsError,
)
from .results import ATTRS_KEY

try:
    from pyspark import TaskContext
    from pyspark.sql import types as spark_types
except ModuleNotFoundError as error:
    if error.name not in ("pyspark", "py4j"):
        raise
    raise MissingExtra(package="pyspark", extra="spark") from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from os import PathLike
    from typing import TypeAlias

    import pandas as pd

    _Work: TypeAlias = Callable[[ClusterRun, int, pa.Table], pd.DataFrame]

__all__ = ["put_records"]

_LOG: Final = logging.getLogger("v3io_frames_put")
_ROWS_AT_ONCE: Final = 10_000  # of a batch that goes back to Spark
_RECEIPT: Final = "task_receipt"
_GAVE_UP: Final = Failure(
    "NoAnswer", "Spark gave the job up, and what its tasks stored until then is not known"
)
_TYPES: Final = {
    pa.int16(): spark_types.ShortType(),
    pa.int32(): spark_types.IntegerType(),
    pa.int64(): spark_types.LongType(),
    pa.bool_(): spark_types.BooleanType(),
    pa.string(): spark_types.StringType(),
}


@public
def put_records(
    sdf: Any,
    stream: str,
    *,
    results_path: str | PathLike[str],
    index_col: str | Sequence[str] = (),
    **options: Any,
) -> Any:
    """Put every row of a Spark DataFrame on a stream; the results say what became of each.

    Each partition is one task. Rows of one partition key keep their order within a
    partition: repartition by the key and sort within partitions first if order
    matters. When Spark runs a task again, ``delivery`` decides about the rows that its
    earlier attempt may have stored.

    Parameters
    ----------
    sdf : pyspark.sql.DataFrame
        The rows. They are written under ``results_path`` while the run is under way.
    stream : str
        Where to, as in `v3io_frames_put.put_records`. The stream must exist.
    results_path : str or PathLike
        A folder for the results, as Spark writes to it. It must be empty.
    index_col : str or sequence of str
        Columns that say which row a result is about; they come first in the results.
    **options
        Those of `v3io_frames_put.put_records`. ``on_error`` is "raise" unless given;
        ``max_in_flight`` is shared by the tasks that can run at once; ``resume``,
        ``journal``, ``cancel`` and callables are a ConfigError.

    Returns
    -------
    pyspark.sql.DataFrame
        Reads the results: ``index_col``, ``partition_id``, ``row`` (in its partition),
        and the columns of `v3io_frames_put.put_records`. The run's receipt is
        ``_receipt.json`` among them.

    Raises
    ------
    ConfigError, DataError
        An option or a column is wrong, or Spark may run tasks twice at the same time
        (``spark.speculation``) and ``delivery`` forbids it. Nothing was sent.
    PutRecordsError
        As in `v3io_frames_put.put_records`; ``.results`` reads what is known.
    """
    if not hasattr(sdf, "sparkSession"):
        raise ConfigError(
            f"sdf is a {type(sdf).__name__}; expected a Spark DataFrame. Make one with "
            f"spark.createDataFrame(df), or use v3io_frames_put.put_records."
        )
    run = make_run(stream, options)
    session = sdf.sparkSession
    speculates = session.conf.get("spark.speculation", "false").lower() == "true"
    if speculates and run.delivery != "at_least_once":
        raise ConfigError(
            f"delivery={run.delivery!r}: spark.speculation is on, so that two attempts of a task "
            f"may send at the same time. Turn it off, or use delivery='at_least_once'."
        )
    if not isinstance(index_col, (str, list, tuple)):
        raise ConfigError(f"index_col={index_col!r}: expected the name of a column, or a list.")
    named = [index_col] if isinstance(index_col, str) else list(index_col)
    schema = _results_schema(sdf, named, packed=run.is_packed)
    folder = _HadoopFolder(session, results_path)
    run = begin_run(run, sdf.limit(0).toArrow())
    folder.make()
    try:
        rows = _keep_input(sdf, folder)
        run = run.share_among(_tasks_at_once(session, rows.rdd.getNumPartitions()))
        began = Clock().now()
        job = _SparkRun(run, folder, schema, named)
        job.send(rows, partial(_send, is_alone=not speculates))
        receipt = job.conclude(began)
    finally:
        folder.delete("_input")
    results = job.read_results()
    report_unstored(receipt, results, on_error=run.on_error)
    return results


class _SparkRun:
    """A run whose tasks are Spark's; ``schema`` is that of the results."""

    def __init__(
        self, run: ClusterRun, folder: _HadoopFolder, schema: Any, index_col: list[str]
    ) -> None:
        self._run, self._folder, self._schema, self._index_col = run, folder, schema, index_col

    def send(self, rows: Any, work: _Work) -> None:
        """Run the tasks; where Spark gives them up, every row is unknown."""
        try:
            self._write(rows, work)
        except (Exception, KeyboardInterrupt) as cause:
            text = (
                f"Spark gave the job up ({type(cause).__name__}: {_gist(cause)}). What its tasks "
                f"stored until then is not known"
            )
            try:
                self._write(rows, _report_unknown)
            except Exception:  # noqa: BLE001  # Spark itself is gone, or the folder is
                raise _ended_by(cause, f"{text}, and no results could be written.") from cause
            text = f"{text}: error.results has every row as unknown, unless more is known of it."
            raise _ended_by(cause, text, self.read_results()) from cause

    def _write(self, rows: Any, work: _Work) -> None:
        run, index_col = self._run, self._index_col

        # What Spark shows of it is its name.
        def put_partition(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            partition = TaskContext.get().partitionId()
            with spool(batches) as table:
                if table is not None:
                    results = work(run, partition, table)
                    yield from _to_batches(table.select(index_col), partition, results)

        results = rows.mapInArrow(put_partition, self._schema)
        results.write.mode("append").parquet(self._folder.path)

    def read_results(self) -> Any:
        """Return what reads the results."""
        return self._read().drop(_RECEIPT)

    def _read(self) -> Any:
        return self._folder.session.read.schema(self._schema).parquet(self._folder.path)

    def conclude(self, began: float) -> dict[str, Any]:
        """Put the receipts together, after a last look at what was cut off."""
        try:
            read = self._read().select(_RECEIPT).where(f"{_RECEIPT} is not null").collect()
            tasks = sorted((json.loads(row[0]) for row in read), key=lambda task: task["partition"])
            copies = find_copies(self._run, tasks, self._read_places)
            seconds = Clock().now() - began
            receipt = merge_receipts(self._run, tasks, copies=copies, seconds=seconds)
            self._folder.write("_receipt.json", json.dumps(receipt, indent=1))
        except (Exception, KeyboardInterrupt) as cause:
            text = (
                f"Spark sent the rows, but could not sum up what its tasks did "
                f"({type(cause).__name__}: {_gist(cause)}). error.results has what became of each "
                f"row."
            )
            raise _ended_by(cause, text, self.read_results()) from cause
        return receipt

    def _read_places(self, partition: int) -> pd.DataFrame:
        of_one = self._read().where(f"partition_id = {partition}").orderBy("row")
        results = of_one.select("status", "shard_id", "sequence_number").toArrow()
        frame: pd.DataFrame = results.to_pandas()
        return frame


def _ended_by(cause: BaseException, text: str, results: Any = None) -> Any:
    """Make the exception for a run that an error or Ctrl-C ended after sending began."""
    kind = Interrupted if isinstance(cause, KeyboardInterrupt) else PutRecordsError
    return with_results(kind(text), results)


def _send(run: ClusterRun, partition: int, rows: pa.Table, *, is_alone: bool) -> pd.DataFrame:
    """Send the rows of a task, of which no other attempt may be under way if it ``is_alone``."""
    is_first = is_alone and TaskContext.get().attemptNumber() == 0
    results = send_partition(run, partition, rows, is_first=is_first)
    error = results.attrs[ATTRS_KEY]["error"]
    if error is not None and error["type"] == PlatformUnavailable.__name__:
        # Perhaps another machine reaches it: Spark runs the task again.
        raise PlatformUnavailable(error["message"])
    return results


def _report_unknown(run: ClusterRun, _partition: int, rows: pa.Table) -> pd.DataFrame:
    """Report every row of a task as unknown."""
    return all_unknown(rows.num_rows, _GAVE_UP, index=None, packed=run.is_packed)


def _to_batches(index: pa.Table, partition: int, results: pd.DataFrame) -> Iterator[pa.RecordBatch]:
    """Put a partition's results in the columns that Spark expects."""
    count = len(results)
    packed = RECORD_ROW.name in results
    table = pa.Table.from_pandas(
        results, SCHEMA.append(RECORD_ROW) if packed else SCHEMA, preserve_index=False
    )
    receipt = results.attrs.get(ATTRS_KEY)
    columns = [
        *index.columns,
        pa.repeat(pa.scalar(partition, pa.int32()), count),
        pa.array(np.arange(count)),
        table.column("status").cast(pa.string()),
        *table.columns[1:],
        pa.array([receipt and json.dumps(receipt), *[None] * (count - 1)], pa.string()),
    ]
    names = [*index.column_names, "partition_id", "row", *table.column_names, _RECEIPT]
    yield from pa.table(columns, names).to_batches(_ROWS_AT_ONCE)


def _results_schema(sdf: Any, index_col: list[str], *, packed: bool) -> Any:
    """Return the columns of the results; refuse an index that is not there, or is taken."""
    results = spark_types.StructType()
    results.add("partition_id", spark_types.IntegerType()).add("row", spark_types.LongType())
    for field in SCHEMA.append(RECORD_ROW) if packed else SCHEMA:
        results.add(field.name, _TYPES.get(field.type, spark_types.StringType()))
    results.add(_RECEIPT, spark_types.StringType())
    for name in index_col:
        if name not in sdf.columns:
            raise ColumnNotFound(name, option="index_col", available=sdf.columns)
        if name in results.names:
            raise ConfigError(f"index_col={name!r}: results have a column of that name. Rename it.")
    return spark_types.StructType([*(sdf.schema[name] for name in index_col), *results.fields])


def _keep_input(sdf: Any, folder: _HadoopFolder) -> Any:
    """Write the rows of every partition down, and return what reads them."""
    context = folder.session.sparkContext
    before = context.getCheckpointDir()
    context.setCheckpointDir(f"{folder.path}/_input")
    try:
        return sdf.checkpoint()
    finally:
        context.setCheckpointDir(before)  # also None: there was none


def _tasks_at_once(session: Any, partitions: int) -> int:
    """Return how many tasks can run at once on what Spark has now."""
    cores: int = session.sparkContext.defaultParallelism
    return max(1, min(partitions, cores // int(session.conf.get("spark.task.cpus", "1"))))


def _gist(cause: BaseException) -> str:
    """Return what a task of this package raised, or else the first line."""
    lines = str(cause).strip().splitlines() or [""]
    raised = (line for line in lines if line.startswith(f"{PutRecordsError.__module__}."))
    return next(raised, lines[0])


class _HadoopFolder:
    """A folder wherever Spark can write."""

    def __init__(self, session: Any, path: str | PathLike[str]) -> None:
        self.session, self.path = session, check_path(path).rstrip("/")
        context = session.sparkContext
        jvm, settings = context._jvm, context._jsc.hadoopConfiguration()  # noqa: SLF001  # the one way
        self._path_of = jvm.org.apache.hadoop.fs.Path
        try:
            self._root = self._path_of(self.path)
            self._fs = self._root.getFileSystem(settings)
        except Exception as error:  # no scheme that Hadoop knows, or no path at all
            raise no_folder(self.path, getattr(error, "java_exception", error)) from error

    def make(self) -> None:
        """Refuse a folder that holds anything."""
        if self._fs.exists(self._root) and self._fs.listStatus(self._root):
            raise not_empty(self.path)

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        out = self._fs.create(self._path_of(self._root, name))
        try:
            out.write(bytearray(text.encode()))
        finally:
            out.close()

    def delete(self, name: str) -> None:
        """Delete a folder below, if it is there; a run keeps its results where that fails."""
        try:
            self._fs.delete(self._path_of(self._root, name), True)  # noqa: FBT003  # Hadoop's signature
        except Exception as error:  # noqa: BLE001  # Spark itself may be gone
            _LOG.warning("%s/%s could not be deleted: %s", self.path, name, _gist(error))

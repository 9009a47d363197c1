"""``publish``: files of any size onto a stream, the whole way on one screen.

files -> choose_files -> FileTable -> plan_upload -> (journal)
      -> run_job: upload -> Sink (counts, results file); rows that are left, read once more
                  -> failed file
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from v3io_frames_put._journal import open_journal
from v3io_frames_put._run_plan import check_event, plan_run
from v3io_frames_put.client import Client, pick_client
from v3io_frames_put.config import (
    DeliveryOptions,
    Encoding,
    RowOptions,
    check_choice,
    or_default,
)
from v3io_frames_put.jobs._context import log_to
from v3io_frames_put.jobs._files import find_files
from v3io_frames_put.jobs._leftovers import check_columns
from v3io_frames_put.jobs._outputs import Outputs
from v3io_frames_put.jobs._pruning import choose_files
from v3io_frames_put.jobs._run import run_job, tell_unstored
from v3io_frames_put.jobs._sink import Brake, Sink
from v3io_frames_put.jobs._table import REASON, FileTable, name_columns
from v3io_frames_put.jobs._types import read_types

if TYPE_CHECKING:
    import os
    import threading
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from v3io_frames_put._run_plan import RunPlan
    from v3io_frames_put.config import DeliveryMode, MaxInFlight, Order
    from v3io_frames_put.jobs._context import JobContext
    from v3io_frames_put.jobs._files import Inputs
    from v3io_frames_put.jobs._job_results import JobResults
    from v3io_frames_put.progress import ProgressOption


def publish(  # noqa: PLR0913 - one keyword for each thing a job can be told
    files: Inputs,
    stream: str,
    *,
    columns: Sequence[str] | None = None,
    where: str | None = None,
    types: Mapping[str, Any] | None = None,
    format: Literal["json", "arrow", "raw"] = "json",  # noqa: A002 - the contract's name
    rows_per_record: int | Literal["auto"] = 1,
    partition_key: str | None = None,
    shard: int | str | None = None,
    client_info: str | bytes | None = None,
    delivery: DeliveryMode = "at_least_once",
    order: Order = "key",
    on_error: Literal["return", "raise"] = "raise",
    max_in_flight: MaxInFlight = 8,
    max_in_flight_bytes: int = 64 << 20,
    progress: ProgressOption = None,
    cancel: threading.Event | None = None,
    encoding: Encoding | None = None,
    journal: str | os.PathLike[str] | None = None,
    client: Client | None = None,
    create: bool = False,
    shards: int = 1,
    retention_hours: int = 24,
    results: str | os.PathLike[str] | None = None,
    failed: str | os.PathLike[str] | None = None,
    context: JobContext | None = None,
) -> JobResults:
    """Put every row of files on a stream; they may be larger than memory.

    Files are read, encoded and sent as one stream of Arrow batches, in the order in which
    they are named. What is wrong with one row rejects that row alone; what is wrong with a
    file's names or types raises before anything is sent. A file that turns out to be broken
    ends the run there: the rows before it are stored and told of.

    Parameters
    ----------
    files : path, or sequence of paths
        Parquet, CSV, JSON Lines and Arrow IPC: files, folders, globs and, with the extra
        ``fsspec``, URLs. Folders such as ``day=2026-11-22`` become columns.
    stream : str
        Where to, as in ``put_records``.
    columns : sequence of str, optional
        Columns that go into the record, in this order. Only what is needed is read.
    where : str, optional
        Which rows, for example ``"amount > 5 and day >= '2026-11-01'"``. Parts of files
        whose statistics exclude every row are not read.
    types : dict of str to str or DataType, optional
        Types of columns, in place of those that were found. A cell that does not fit
        rejects its row.
    format, rows_per_record, partition_key, shard, client_info, delivery, order
        As in ``put_records``; columns by name.
    on_error : {"raise", "return"}
        Whether rows that are not stored raise `PartialFailure`.
    max_in_flight, max_in_flight_bytes, cancel, encoding, client
        As in ``put_records``.
    journal : path, optional
        A file that makes the run survive a kill: the same call again finishes it, with the
        files that it began with. A finished run is told of again, and nothing is sent.
    progress : bool or callable, optional
        None: a bar on a terminal, else a log line every ten seconds.
    create : bool
        Make the stream, if there is none, with ``shards`` and ``retention_hours``.
    shards, retention_hours : int
        Of a stream that is made.
    results : path, optional
        A Parquet file to write: the results of ``put_records``, a row for each row.
    failed : path, optional
        A Parquet file to write: the rows left to send, in columns as they were read, with
        ``__v3io_status``, ``__v3io_error`` and ``__v3io_detail``, which are never sent. It
        can be published again. Unknown rows are among them with ``at_least_once`` only.
    context : object, optional
        Has ``log_result`` and ``log_dataset``, as the context of an MLRun function: counts,
        receipt and paths are logged there, also where something is raised.

    Returns
    -------
    JobResults
        Counts, reasons, and where the files are.

    Raises
    ------
    ConfigError, DataError
        An option, a file or a column is wrong. Nothing was sent.
    PartialFailure
        Rows are not stored.
    PutRecordsError
        A file could not be read to its end, or the results not be written.
    RequestError, Interrupted
        As in ``put_records``. ``.results`` of whatever is raised once rows were sent is a
        `JobResults`.

    Examples
    --------
    >>> from v3io_frames_put import jobs
    >>> jobs.publish("clicks/*.parquet", "users/demo/clicks", partition_key="user")
    """
    check_choice("on_error", on_error, ("return", "raise"))
    check_event("cancel", cancel)
    client = pick_client(client)
    named = name_columns(columns, partition_key, shard, client_info)
    found, given_types = find_files(files), read_types(types)
    outputs = Outputs.check(
        found, is_whole=where is None, results=results, failed=failed, journal=journal
    )
    with open_journal(journal) as kept, log_to(context) as log:
        chosen, others = choose_files(found, where, given_types, kept.pinned if kept else None)
        stamps = [file.stamp for file in chosen]

        rows = RowOptions(
            columns=columns,
            format=format,
            rows_per_record=rows_per_record,
            partition_key=partition_key,
            shard=shard,
            client_info=client_info,
            encoding=or_default("encoding", encoding, Encoding()),
        )

        def plan(
            agreed: pa.Schema | None, *, ends_where_broken: bool = False
        ) -> tuple[FileTable, RunPlan]:
            table = FileTable(chosen, given_types, where, named=named, others=others, agreed=agreed)
            return table, plan_run(
                table.source(ends_where_broken=ends_where_broken),
                stream,
                client=client,
                rows=rows if columns is not None else replace(rows, columns=table.schema.names),
                delivery=DeliveryOptions(
                    delivery=delivery,
                    order=order,
                    max_in_flight=max_in_flight,
                    max_in_flight_bytes=max_in_flight_bytes,
                    retry=client.retry,
                    limits=client.limits,
                ),
                progress=progress,
                cancel=Brake(cancel),
                refused=REASON,
                reading={"where": where, "types": str(types)},
            )

        agreed = kept.agree(stamps, lambda schema: plan(schema)[1]) if kept else None
        table, job = plan(agreed)
        if outputs.failed is not None:
            check_columns(table.schema)
        with Sink(
            table, outputs.results, outputs.failed, packed=job.is_packed, brake=job.cancel
        ) as sink:
            prior = None
            if kept is not None:
                prior = kept.resume(
                    job,
                    files=stamps,
                    replan=lambda: plan(agreed, ends_where_broken=True)[1].rows,
                )
            if create:
                client.create_stream(
                    stream, shards=shards, retention_hours=retention_hours, exist_ok=True
                )
            try:
                told = log(run_job(job, table, sink, outputs, prior=prior, run_log=kept))
            finally:
                if kept is not None:
                    kept.unpin(table.broken_files, table.schema)
    tell_unstored(told, on_error)
    return told

"""Jobs: publish files larger than memory, and know what became of every row.

files -> find_files -> select_files -> FileTable -> plan_upload -> (journal)
      -> run_job: upload -> Sink (counts, results file) -> failed file
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal

from v3io_frames_put._journal import open_journal
from v3io_frames_put._run_plan import check_event, plan_run
from v3io_frames_put.client import Client, pick_client
from v3io_frames_put.config import (
    DeliveryOptions,
    Encoding,
    Limits,
    RowOptions,
    check_choice,
    or_default,
)
from v3io_frames_put.errors import ConfigError
from v3io_frames_put.jobs._cast import read_types
from v3io_frames_put.jobs._csv import Dialect
from v3io_frames_put.jobs._failed_rows import check_columns
from v3io_frames_put.jobs._files import STDIN, find_files, pick_files, select_files
from v3io_frames_put.jobs._job_results import JobResults
from v3io_frames_put.jobs._outputs import Outputs
from v3io_frames_put.jobs._progress import estimate_rows
from v3io_frames_put.jobs._reader import FileTable
from v3io_frames_put.jobs._run import log_to, report_unstored, run_job
from v3io_frames_put.jobs._sink import Brake, Sink
from v3io_frames_put.plan.planner import plan_source

if TYPE_CHECKING:
    import os
    import threading
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from v3io_frames_put._run_plan import RunPlan
    from v3io_frames_put.config import DeliveryMode, MaxInFlight, Order
    from v3io_frames_put.jobs._files import InputFile, Inputs
    from v3io_frames_put.jobs._run import JobContext
    from v3io_frames_put.plan import RecordsPlan
    from v3io_frames_put.progress import ProgressOption

__all__ = ["JobResults", "plan", "publish"]

_LOG: Final = logging.getLogger("v3io_frames_put")


def publish(  # noqa: PLR0913 - one keyword for each option of a job
    files: Inputs,
    stream: str,
    *,
    input_format: str | None = None,
    columns: Sequence[str] | None = None,
    index: bool = False,
    where: str | None = None,
    types: Mapping[str, Any] | None = None,
    delimiter: str | None = None,
    quote: str = '"',
    csv_encoding: str = "utf-8",
    header: bool = True,
    skip_lines: int = 0,
    decimal_point: str = ".",
    all_text: bool = False,
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
    ends the run there: the rows before it are stored and reported.

    Parameters
    ----------
    files : path, or sequence of paths
        Parquet, CSV, JSON Lines and Arrow IPC: files, folders, globs and URLs (S3, GCS and
        Azure by pyarrow, others by the extra ``fsspec``); ``-`` is standard input, which is
        read to its end first. Folders such as ``day=2026-11-22`` become columns.
    stream : str
        Where to, as in ``put_records``.
    input_format : str, optional
        What all files hold, whatever their names: parquet, csv, tsv, jsonl, arrow.
    columns : sequence of str, optional
        Columns that go into the record, in this order. Only what is needed is read. Without
        it, JSON Lines are sent as they are with ``format="json"``.
    index : bool
        Also send the columns that are the index of a pandas frame.
    where : str, optional
        Which rows, for example ``"amount > 5 and day >= '2026-11-01'"``. Parts of files
        whose statistics exclude every row are not read.
    types : dict of str to str or DataType, optional
        Types of columns, in place of those that were found. A cell that does not fit
        rejects its row.
    delimiter, quote, csv_encoding, header, skip_lines, decimal_point, all_text
        How CSV is written: see `Dialect`. None as ``delimiter``: a comma, in .tsv a tab.
    format, rows_per_record, partition_key, shard, client_info, delivery, order
        As in ``put_records``; columns by name.
    on_error : {"raise", "return"}
        Whether rows that are not stored raise `PartialFailure`.
    max_in_flight, max_in_flight_bytes, cancel, encoding, client
        As in ``put_records``.
    journal : path, optional
        A file that makes the run survive a kill: the same call again finishes it, with the
        files that it began with. A finished run returns its results again.
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
    dialect = Dialect(
        delimiter=delimiter,
        quote=quote,
        csv_encoding=csv_encoding,
        header=header,
        skip_lines=skip_lines,
        decimal_point=decimal_point,
        all_text=all_text,
    )
    found = find_files(files, input_format)
    if journal is not None and any(file.name == STDIN for file in found):
        raise ConfigError("journal: standard input cannot be read again. Publish a file.")
    outputs = Outputs.check(found, results=results, failed=failed, journal=journal)
    rows = RowOptions(
        columns=columns,
        format=format,
        rows_per_record=rows_per_record,
        partition_key=partition_key,
        shard=shard,
        client_info=client_info,
        encoding=or_default("encoding", encoding, Encoding()),
    )
    with open_journal(journal) as kept, log_to(context) as log:
        pinned = None if kept is None else kept.pinned
        picked, later = (found, []) if pinned is None else pick_files(found, pinned)
        if pinned is None:  # if all are left out, one shows which columns there are
            picked = select_files(found, where, read_types(types)) or found[:1]
        elif later := select_files(later, where, read_types(types)):
            names = ", ".join(file.name for file in later)
            _LOG.info("files that came later are left to the next run: %s", names)
        stamps = [file.stamp for file in picked]

        def plan(
            agreed: pa.Schema | None, *, ends_where_broken: bool = False
        ) -> tuple[FileTable, RunPlan]:
            table, own = _open_table(picked, types, where, dialect, rows, index, agreed)
            return table, plan_run(
                table.source(ends_where_broken=ends_where_broken),
                stream,
                client=client,
                rows=own,
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
                reading={"where": where, "types": str(types), "dialect": str(dialect)},
            )

        agreed = kept.agree(stamps, lambda schema: plan(schema)[1]) if kept else None
        table, job = plan(agreed)
        for note in _notes(table, rows, index=index):
            _LOG.info("%s", note)
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
                published = log(run_job(job, table, sink, outputs, prior=prior, run_log=kept))
            finally:
                if kept is not None:
                    kept.unpin(table.broken_files, table.schema)
    report_unstored(published, on_error)
    return published


def plan(  # noqa: PLR0913 - the options of publish that say what is sent
    files: Inputs,
    stream: str,
    *,
    input_format: str | None = None,
    columns: Sequence[str] | None = None,
    index: bool = False,
    where: str | None = None,
    types: Mapping[str, Any] | None = None,
    delimiter: str | None = None,
    quote: str = '"',
    csv_encoding: str = "utf-8",
    header: bool = True,
    skip_lines: int = 0,
    decimal_point: str = ".",
    all_text: bool = False,
    format: Literal["json", "arrow", "raw"] = "json",  # noqa: A002 - the contract's name
    rows_per_record: int | Literal["auto"] = 1,
    partition_key: str | None = None,
    shard: int | str | None = None,
    client_info: str | bytes | None = None,
    delivery: DeliveryMode = "at_least_once",
    order: Order = "key",
    max_in_flight: MaxInFlight = 8,
    max_in_flight_bytes: int = 64 << 20,
    encoding: Encoding | None = None,
    client: Client | None = None,
    progress: Callable[[int, int | None], object] | None = None,
) -> RecordsPlan:
    """Find out what ``publish`` would send, without sending anything.

    Reads and encodes every row as a job does. The files may be larger than memory; nothing is
    written, and the stream need not exist. All options are those of ``publish``.

    Parameters
    ----------
    client : Client, optional
        Its limits count; it is not connected. None: the platform's usual limits.
    progress : callable, optional
        Called with the rows read so far, and those of all files as far as that is known.

    Returns
    -------
    RecordsPlan
        As of ``plan_records``; its advice begins with what reading the files changes.

    Raises
    ------
    ConfigError, DataError
        An option, a file or a column is wrong, or a file cannot be read to its end.

    Examples
    --------
    >>> from v3io_frames_put import jobs
    >>> jobs.plan("clicks/*.parquet", "users/demo/clicks", partition_key="user")
    """
    dialect = Dialect(
        delimiter=delimiter,
        quote=quote,
        csv_encoding=csv_encoding,
        header=header,
        skip_lines=skip_lines,
        decimal_point=decimal_point,
        all_text=all_text,
    )
    rows = RowOptions(
        columns=columns,
        format=format,
        rows_per_record=rows_per_record,
        partition_key=partition_key,
        shard=shard,
        client_info=client_info,
        encoding=or_default("encoding", encoding, Encoding()),
    )
    found = find_files(files, input_format)
    picked = select_files(found, where, read_types(types)) or found[:1]
    table, own = _open_table(picked, types, where, dialect, rows, index, None)
    if progress is not None:
        table.on_read = lambda: progress(table.rows_read, estimate_rows(table))
    planned = plan_source(
        table.source(),
        stream,
        rows=own,
        delivery=DeliveryOptions(
            delivery=delivery,
            order=order,
            max_in_flight=max_in_flight,
            max_in_flight_bytes=max_in_flight_bytes,
            limits=client.limits if client else Limits(),
        ),
    )
    return replace(planned, advice=(*_notes(table, rows, index=index), *planned.advice))


def _open_table(
    files: Sequence[InputFile],
    types: Mapping[str, Any] | None,
    where: str | None,
    dialect: Dialect,
    rows: RowOptions,
    index: bool,  # noqa: FBT001 - passed on
    agreed: pa.Schema | None,
) -> tuple[FileTable, RowOptions]:
    """Open files as a table; settle which columns are sent."""
    table = FileTable(
        files,
        read_types(types),
        where,
        dialect=dialect,
        as_lines=rows.format == "json",
        agreed=agreed,
    )
    columns = rows.columns
    named = dict.fromkeys([] if columns is None or isinstance(columns, str) else columns, "columns")
    named |= dict.fromkeys(table.where.columns if table.where else (), "where")
    for option in ("partition_key", "shard", "client_info"):
        if isinstance(name := getattr(rows, option), str):
            named[name] = option
    table.check_members(named)
    return table, replace(rows, columns=table.data_columns(columns, index=index))


def _notes(table: FileTable, rows: RowOptions, *, index: bool) -> list[str]:
    """Say what reading the files changes on the way."""
    notes = list(table.notes)
    if table.index and not index and rows.columns is None:
        names = ", ".join(map(repr, table.index))
        notes.append(f"The index of the pandas frame is not sent: {names}. index=True sends it.")
    if table.is_lines and rows.columns is None and len(table.schema) > 1:
        names = ", ".join(repr(name) for name in table.schema.names[1:])
        notes.append(f"Lines are sent as they are, without what their folders say: {names}.")
    if table.is_inferred:
        types = ", ".join(f"{field.name}={field.type}" for field in table.schema)
        notes.insert(0, f"Types, from the first megabyte of each file: {types}.")
    return notes

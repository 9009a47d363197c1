"""Jobs: publish files larger than memory, and know what became of every row.

files -> find_files -> select_files -> FileTable -> plan_run -> (journal)
      -> run_job: Run -> Sink -> counts, results file -> failed rows
"""

from __future__ import annotations

import inspect
import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from .._journal import open_journal
from .._public import callers_level, find_unknown, public
from .._run import RunPlan, plan_run
from ..client import Client, pick_client, with_retry
from ..config import (
    DeliveryMode,
    DeliveryOptions,
    Encoding,
    Limits,
    MaxInFlight,
    Order,
    check_choice,
    take_options,
)
from ..errors import ConfigError, PartialFailure, UnstoredRowsWarning
from ..plan import RecordsPlan, plan_source
from ._files import STDIN, Inputs, find_files, pick_files
from ._outputs import check_outputs, failed_schema
from ._reader import FileTable, ReadOptions
from ._run import JobResults, estimate_rows, run_job
from ._where import select_files

if TYPE_CHECKING:
    import os
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from ..progress import ProgressOption
    from ._files import FileStamp, InputFile

__all__ = ["JobResults", "plan", "publish"]

_LOG: Final = logging.getLogger("v3io_frames_put")


@public
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
) -> JobResults:
    """Put every row of files on a stream; they may be larger than memory.

    Files are read, encoded and sent in batches, in the order in which they are named. A
    problem with one row rejects that row only. A file that cannot be opened, or a problem with
    its columns or types, raises before anything is sent. A file that breaks off ends the run
    there: the rows before are stored and reported.

    Parameters
    ----------
    files : path, or sequence of paths
        Parquet, CSV, JSON Lines and Arrow IPC: files, folders, globs, and URLs (S3, GCS and
        Azure by pyarrow, others by the extra ``fsspec``). ``-`` is standard input, which is
        read to its end first. Folders such as ``day=2026-11-22`` become columns.
    stream : str
        As in ``put_records``.
    input_format : {"parquet", "csv", "tsv", "jsonl", "arrow"}, optional
        Format of all files, whatever their names.
    columns : sequence of str, optional
        Columns to send, in this order; no others are read. None: all, and JSON Lines as they
        are with ``format="json"``.
    index : bool
        Also send the columns that are the index of a pandas frame.
    where : str, optional
        Which rows to send, as in ``"amount > 5 and day >= '2026-11-01'"``. Parts of files
        that cannot match are not read.
    types : dict of str to str or DataType, optional
        Types of columns, in place of those in the files. A cell that does not fit rejects
        its row.
    delimiter, quote, csv_encoding, header, skip_lines, decimal_point, all_text
        How CSV files are written. ``delimiter=None``: a comma, and a tab in ``.tsv``.
    format, rows_per_record, partition_key, shard, client_info, delivery, order
        As in ``put_records``; columns by name.
    on_error : {"raise", "return"}
        What happens when rows are not stored: `PartialFailure`, or a warning.
    max_in_flight, max_in_flight_bytes, cancel, encoding, client
        As in ``put_records``.
    journal : path, optional
        A file with which the run survives a kill: the same call again finishes it, with the
        files that it began with. A finished run returns its results again.
    progress : bool or callable, optional
        None: a bar on a terminal, else a log line every ten seconds.
    create, shards, retention_hours : bool, int, int
        Whether to create the stream if it does not exist, and how.
    results : path, optional
        A Parquet file for the outcome of each row, as ``put_records`` returns it.
    failed : path, optional
        A Parquet file for the rows that are left to send: the columns of the input, and the
        reasons in ``__v3io_status``, ``__v3io_error`` and ``__v3io_detail``, which are never
        sent. It can be published again. It has unknown rows with ``at_least_once`` only.

    Returns
    -------
    JobResults
        Counts, reasons, and the paths of the files.

    Raises
    ------
    ConfigError, DataError
        An option, a file or a column is wrong. Nothing was sent.
    PartialFailure
        Rows are not stored.
    PutRecordsError
        A file could not be read to its end, or the results could not be written.
    RequestError, Interrupted
        As in ``put_records``. What is raised after rows were sent has ``.results``, a
        `JobResults`.

    Examples
    --------
    >>> from v3io_frames_put import jobs
    >>> jobs.publish("clicks/*.parquet", "users/demo/clicks", partition_key="user")
    """
    given = dict(locals())
    check_choice("on_error", on_error, ("return", "raise"))
    published = _publish(**{**given, "client": pick_client(client)})
    if published.counts["stored"] < published.rows:
        message = published.unstored_message()
        if on_error == "raise":
            failure = PartialFailure(message)
            failure.results = published  # type: ignore[assignment]
            raise failure
        warnings.warn(message, UnstoredRowsWarning, stacklevel=callers_level())
    return published


def _publish(files: Inputs, stream: str, *, client: Client, **given: Any) -> JobResults:
    """Publish files; ``given`` are the options of ``publish``."""
    reading = ReadOptions.take(given)
    of_client = {"retry": client.retry, "limits": client.limits}
    delivery = take_options(DeliveryOptions, {**given, **of_client})
    found = find_files(files, given["input_format"])
    if given["journal"] is not None and any(file.name == STDIN for file in found):
        raise ConfigError("journal: standard input cannot be read again. Publish a file.")
    outputs = {name: given[name] for name in ("results", "failed")}
    check_outputs(found, **outputs, journal=given["journal"])
    results, failed = (None if path is None else Path(path) for path in outputs.values())
    published = None
    try:
        with open_journal(given["journal"]) as journal:
            picked = _pick(found, reading, None if journal is None else journal.pinned)
            stamps = [file.stamp for file in picked]

            def plan_job(*, ends_where_broken: bool = False) -> tuple[FileTable, RunPlan]:
                table = FileTable(picked, reading)
                return table, plan_run(
                    table.source(ends_where_broken=ends_where_broken),
                    stream,
                    client=client,
                    row_options=table.row_options,
                    delivery_options=delivery,
                    progress=given["progress"],
                    cancel=given["cancel"],
                    reading={
                        "where": reading.where,
                        "types": str(reading.types),
                        "dialect": str(reading.dialect),
                    },
                )

            table, job = plan_job()
            for note in table.notes:
                _LOG.info("%s", note)
            if failed is not None:
                failed_schema(failed, table)
            prior = None
            if journal is not None:
                job = replace(job, replan=lambda: plan_job(ends_where_broken=True)[1].row_plan)
                prior = journal.resume(job, files=stamps)
            if given["create"]:
                _create_stream(client, stream, given["shards"], given["retention_hours"])
            try:
                published = run_job(
                    job, table, results=results, failed=failed, prior=prior, run_log=journal
                )
            finally:
                if journal is not None and table.broken_file:
                    journal.unpin(table.broken_file)
    except BaseException as error:
        if published is not None:  # a Ctrl-C while the journal is closed
            error.results = published  # type: ignore[attr-defined]
        raise
    return published


def _create_stream(client: Client, stream: str, shards: int, retention_hours: int) -> None:
    """Create the stream if it does not exist; a job waits for its platform as for any answer."""
    retry = client.retry
    seconds = retry.first_contact_seconds or retry.deadline_seconds
    with with_retry(client, replace(retry, first_contact_seconds=seconds)) as patient:
        patient.create_stream(stream, shards=shards, retention_hours=retention_hours, exist_ok=True)


def _pick(
    found: Sequence[InputFile], reading: ReadOptions, pinned: Sequence[FileStamp] | None
) -> list[InputFile]:
    """Return the files of a run: those that it began with, else all that ``where`` may match."""
    later: Sequence[InputFile] = ()
    if pinned is None:
        picked = select_files(found, reading.where, reading.types)
    else:
        picked, later = pick_files(found, pinned)
    if names := ", ".join(one.name for one in select_files(later, reading.where, reading.types)):
        _LOG.info("files that came later are left to the next run: %s", names)
    return picked or [*found[:1]]  # if all are left out, one shows which columns there are


_DEFAULTS: Final = {
    option.name: option.default
    for option in inspect.signature(publish).parameters.values()
    if option.kind is option.KEYWORD_ONLY
}


@public
def plan(
    files: Inputs,
    stream: str,
    *,
    client: Client | None = None,
    progress: Callable[[int, int | None], object] | None = None,
    **options: Any,
) -> RecordsPlan:
    """Find out what ``publish`` would send, without sending anything.

    Reads and encodes every row as a job does. The files may be larger than memory; nothing is
    written, and the stream need not exist.

    Parameters
    ----------
    files, stream
        As in ``publish``.
    client : Client, optional
        Its limits count; it is not connected. None: the platform's usual limits.
    progress : callable, optional
        Called with the rows read so far, and those of all files as far as that is known.
    **options
        Those of ``publish``. Options that do not change what is sent, such as ``results``, are
        ignored.

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
    if unknown := find_unknown(options, _DEFAULTS):
        raise TypeError(f"plan() {unknown}")
    given = {**_DEFAULTS, **options}
    limits = client.limits if client else Limits()
    reading = ReadOptions.take(given)
    delivery = take_options(DeliveryOptions, {**given, "limits": limits})
    table = FileTable(_pick(find_files(files, given["input_format"]), reading, None), reading)
    if progress is not None:
        table.on_read = lambda: progress(table.rows_read, estimate_rows(table))
    planned = plan_source(
        table.source(), stream, row_options=table.row_options, delivery_options=delivery
    )
    return replace(planned, advice=(*table.notes, *planned.advice))

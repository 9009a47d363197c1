"""``put_records``: from a table to the results, the whole way on one screen.

data -> plan_upload -> (journal) -> Run: windows of records, lanes, requests, answers
-> outcome batches -> collect_results -> the results DataFrame
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any, Literal

from v3io_frames_put._journal import open_journal
from v3io_frames_put._producer.policy import check_choice
from v3io_frames_put._run import Run, stop_error
from v3io_frames_put._run_plan import plan_run
from v3io_frames_put.client import Client, pick_client
from v3io_frames_put.errors import (
    ConfigError,
    PartialFailure,
    PutRecordsError,
    UnstoredRowsWarning,
)
from v3io_frames_put.results import amend_results, attach_receipt, collect_results
from v3io_frames_put.resume import resume_run
from v3io_frames_put.summary import summarize

if TYPE_CHECKING:
    import os
    import threading
    from collections.abc import Sequence

    import pandas as pd
    import pyarrow as pa

    from v3io_frames_put._producer.policy import DeliveryMode, MaxInFlight, Order
    from v3io_frames_put._run import RunReport
    from v3io_frames_put._run_plan import RunPlan
    from v3io_frames_put.config import Encoding
    from v3io_frames_put.progress import ProgressOption


def put_records(  # noqa: PLR0913  # the one public verb: contract section 1
    data: Any,
    stream: str,
    *,
    columns: Sequence[Any] | None = None,
    index: bool = False,
    format: Literal["json", "arrow", "raw"] = "json",  # noqa: A002  # the contract's name
    rows_per_record: int | Literal["auto"] = 1,
    partition_key: Any = None,
    shard: Any = None,
    client_info: Any = None,
    delivery: DeliveryMode = "at_least_once",
    order: Order = "key",
    on_error: Literal["return", "raise"] = "return",
    max_in_flight: MaxInFlight = 8,
    max_in_flight_bytes: int = 64 << 20,
    progress: ProgressOption = None,
    resume: pd.DataFrame | None = None,
    journal: str | os.PathLike[str] | None = None,
    cancel: threading.Event | None = None,
    encoding: Encoding | None = None,
    client: Client | None = None,
) -> pd.DataFrame:
    """Put every row of a table on a stream, and tell what became of it.

    Rows are encoded a column at a time, packed into requests as full as the
    platform allows, and sent side by side; rows of one partition key (or shard) keep
    their order. What is wrong with one row rejects that row alone; what is wrong with
    a column or an option raises before anything is sent.

    Parameters
    ----------
    data : DataFrame or anything tabular
        A pandas DataFrame, a pyarrow Table, RecordBatch, RecordBatchReader or
        Dataset, or any object with ``__arrow_c_stream__``. It is not changed.
    stream : str
        ``"container/path/to/stream"``, ``"v3io:///container/path"`` or
        ``"v3io://host:8081/container/path"``. The stream must exist.
    columns : sequence of labels, optional
        Columns that go into the record, in this order. None: all.
    index : bool
        Also send the index levels, named as ``reset_index`` names them.
    format : {"json", "arrow", "raw"}
        One JSON object, one self-contained Arrow IPC stream, or the bytes or text of
        the one column in ``columns`` as they are.
    rows_per_record : int or "auto"
        Rows packed in one record. Rows of a pack share their destination. JSON packs
        are JSON Lines; ``"auto"`` is for Arrow.
    partition_key, shard, client_info : label or array, optional
        A column or index level, or one value a row; a Series must have the data's
        index. An int ``shard`` and ``bytes`` as ``client_info`` serve every row. A
        null means not given; ``shard`` wins over ``partition_key`` row by row.
    delivery : {"at_least_once", "at_most_once", "exactly_once"}
        What becomes of a row when nobody knows if it was stored: it is sent again, it
        ends ``unknown``, or it is looked up on the stream (by a tag in ClientInfo) and
        sent again only if it is provably not there.
    order : {"key", "none"}
        Whether rows of one partition key or shard keep their order.
    on_error : {"return", "raise"}
        Whether rows that are not stored are told by a warning and the results, or
        raise `PartialFailure`.
    max_in_flight : int or "auto"
        Requests under way at once. ``"auto"``: as many as the link and the platform
        can carry, up to 64.
    max_in_flight_bytes : int
        Encoded bytes held at once: built, queued and unanswered together.
    progress : bool or callable, optional
        A callable takes `Progress` snapshots in this thread, at most ten a second and
        one at the end. None: a bar where somebody looks on.
    resume : DataFrame, optional
        Results of an earlier call on the same data: what is not ``stored`` is sent,
        under the same run id, and the merged table returned.
    journal : path, optional
        A file that makes the run survive a kill: the same call again sends the rows that
        are ``unsent``, treats the unknown ones as ``delivery`` says, and its results tell
        of all rows. A finished run is told of again, and nothing is sent.
    cancel : threading.Event, optional
        Stops the run, as Ctrl-C does, when it is set.
    encoding : Encoding, optional
        The few choices that JSON leaves.
    client : Client, optional
        The platform. None: as the environment says (``V3IO_API``, ...).

    Returns
    -------
    DataFrame
        One row per input row, in input order and on its index: ``status`` (category:
        stored, rejected, unsent, unknown), ``shard_id``, ``sequence_number``,
        ``error_code``, ``error_message``, ``error_detail``, ``attempts`` and
        ``maybe_duplicate``; with packs also ``record_row``. ``attrs["v3io"]`` holds the
        run's receipt.

    Raises
    ------
    ConfigError, DataError
        An option or a column is wrong. Nothing was sent.
    RequestError
        The platform refused all rows for one reason (no such stream, wrong key), or
        answered nothing for ``Retry.deadline_seconds``. ``.results`` tells of every row.
    PartialFailure
        Rows are not stored and ``on_error="raise"``. ``.results`` tells of every row.
    Interrupted
        Ctrl-C or ``cancel``. ``.results`` tells of every row.

    References
    ----------
    Iguazio web API, *PutRecords*.

    Examples
    --------
    >>> results = put_records(df, "users/demo/clicks", partition_key="user")
    >>> results.status.value_counts()
    """
    check_choice("on_error", on_error, ("return", "raise"))
    if resume is not None and journal is not None:
        raise ConfigError("resume and journal both say where a run goes on. Give one of them.")
    job = plan_run(
        data,
        stream,
        client=pick_client(client),
        mapping={
            "columns": columns,
            "index": index,
            "format": format,
            "rows_per_record": rows_per_record,
            "partition_key": partition_key,
            "shard": shard,
            "client_info": client_info,
        },
        delivery=delivery,
        order=order,
        max_in_flight=max_in_flight,
        max_in_flight_bytes=max_in_flight_bytes,
        encoding=encoding,
        progress=progress,
        cancel=cancel,
    )
    with open_journal(journal) as kept:
        if kept is not None:
            job = kept.resume(job, replan=lambda: job.plan)
        elif resume is not None:
            job = resume_run(job, resume)
        results, ending = send_rows(Run(job))
    _raise_if_ended_early(job, ending, results)
    _report_unstored(results, on_error)
    return results


def send_rows(run: Run) -> tuple[pd.DataFrame, RunReport]:
    """Let a run go to its end, and collect its results and its receipt."""
    job, switch = run.job, run.switch
    batches: list[pa.RecordBatch] = []
    with switch.on_interrupt(lambda: None):  # no Ctrl-C behind the run costs its results
        ending = run.to_end(batches.append)
        results = collect_results(batches, index=job.plan.index, packed=job.packed)
        amend_results(results, late=ending.late, duplicates=ending.duplicates)
        attach_receipt(results, ending.receipt)
    return results, ending.as_stopped() if switch.presses else ending


def _raise_if_ended_early(job: RunPlan, ending: RunReport, results: pd.DataFrame) -> None:
    """Raise why a run ended early, with the results of every row."""
    error: Any
    if isinstance(ending.broken, PutRecordsError):  # it says itself what was wrong
        error = ending.broken
        error.results = results
        raise error
    if ending.broken is not None:
        error = PutRecordsError(
            f"the data could not be read to its end: "
            f"{type(ending.broken).__name__}: {ending.broken}. "
            f"error.results tells what became of the rows before."
        )
    elif ending.stop is not None:
        error = stop_error(ending.stop, client=job.client, stream=job.stream)
    else:
        return
    error.results = results
    raise error from ending.broken


def _report_unstored(results: pd.DataFrame, on_error: str) -> None:
    """Tell of rows that are not stored, by a warning or an exception."""
    if (results["status"] == "stored").all():
        return
    message = summarize(results).unstored_message()
    if on_error == "raise":
        error = PartialFailure(message)
        error.results = results
        raise error
    warnings.warn(message, UnstoredRowsWarning, stacklevel=callers_level())


def callers_level() -> int:
    """Count the frames up to the line that called us, by whichever face."""
    package = __name__.partition(".")[0]
    frame, level = sys._getframe(1), 1  # noqa: SLF001  # inspect.stack() reads every source file
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    return level

"""``put_records``: from a table to the results, the whole way.

data, options -> plan_run -> (journal) -> Run: windows of records, requests, responses
-> outcome batches -> Results -> the results DataFrame
"""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any, Final, Literal

from ._io.request_errors import stop_error
from ._journal import open_journal
from ._public import callers_level, public
from ._run import Run, RunPlan, RunReport, plan_run
from .client import Client, pick_client, with_retry
from .config import DeliveryOptions, Retry, RowOptions, Timeouts, check_choice, take_options
from .errors import ConfigError, PartialFailure, PutRecordsError, UnstoredRowsWarning
from .progress import ProgressOption, someone_looks_on
from .results import ATTRS_KEY, Results, amend_results, attach_receipt
from .resume import check_resumable, read_prior_run
from .summary import summarize

if TYPE_CHECKING:
    import os
    import threading
    from collections.abc import Sequence

    import pandas as pd

    from .config import DeliveryMode, Encoding, Format, MaxInFlight, Order, RowsPerRecord

_LOG: Final = logging.getLogger("v3io_frames_put")


@public
def put_records(  # noqa: PLR0913  # the one public verb
    data: Any,
    stream: str,
    *,
    columns: Sequence[Any] | None = None,
    index: bool = False,
    format: Format = "json",  # noqa: A002  # the contract's name
    rows_per_record: RowsPerRecord = 1,
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
    """Put every row of a table on a stream; the results say what became of each row.

    Many requests are in flight at once. Rows of one partition key, or of one shard, keep
    their order. A problem with one row rejects that row only. A problem with a column or
    an option raises before anything is sent. Whatever is raised later has ``.results``,
    the full table.

    Parameters
    ----------
    data : DataFrame or another table
        A pandas DataFrame; a pyarrow Table, RecordBatch, RecordBatchReader, Dataset or
        Scanner; a polars DataFrame or LazyFrame; a deltalake DeltaTable; a pyiceberg Table
        or scan; a Dataset of Hugging Face; any other object with ``__arrow_c_stream__``;
        or an iterable of such frames, of which the first sets columns and types. It is
        not changed.
    stream : str
        ``"container/path/to/stream"``, ``"v3io:///container/path"`` or
        ``"v3io://host:8081/container/path"``. The stream must exist.
    columns : sequence of labels, optional
        Columns that go into the record, in this order. None: all.
    index : bool
        Also send the index levels, named as ``reset_index`` names them.
    format : {"json", "arrow", "raw"}
        What a record holds: one JSON object; one Arrow IPC stream; or the bytes or text
        of the only column in ``columns``.
    rows_per_record : int or "auto"
        How many rows share a record. They have the same destination. JSON packs are JSON
        Lines; ``"auto"`` is for Arrow.
    partition_key, shard, client_info : label or array, optional
        A column, an index level, or an array with one value for each row. A Series must
        have the data's index. An int ``shard`` and ``bytes`` as ``client_info`` are used
        for every row. Null means not given. ``shard`` wins over ``partition_key``.
    delivery : {"at_least_once", "at_most_once", "exactly_once"}
        What happens to a row when no answer says whether it was stored. The first sends
        it again. The second does not: its status is ``unknown``. The third looks for it
        on the stream, by a tag in ClientInfo, and sends it again if it is not there.
    order : {"key", "none"}
        Whether rows of one partition key or shard keep their order.
    on_error : {"return", "raise"}
        What happens when rows are not stored: a warning, or `PartialFailure`.
    max_in_flight : int or "auto"
        Requests in flight at once. ``"auto"``: as many as the network and the platform
        can carry, up to 64.
    max_in_flight_bytes : int
        Encoded bytes held at once: built, queued and unanswered together. Packs by key
        are gathered from as many bytes of rows again.
    progress : bool or callable, optional
        None: a bar in a terminal or a notebook. A callable gets `Progress` snapshots in
        this thread, at most ten a second and one at the end.
    resume : DataFrame, optional
        The results of an earlier call on the same data. Rows that are not ``stored`` are
        sent, under the same run id. The results cover all rows.
    journal : path, optional
        A file with which the run survives a kill: the same call again sends what is
        left. The results cover all rows. When nothing is left, nothing is sent.
    cancel : threading.Event, optional
        Stops the run when it is set, as Ctrl-C does.
    encoding : Encoding, optional
        How infinite numbers are written in JSON, and Arrow compression.
    client : Client, optional
        The platform. None: from the environment (``V3IO_API``, ...).

    Returns
    -------
    DataFrame
        One row for each input row, in the same order and with the same index. Columns:
        ``status`` (stored, rejected, unsent or unknown), ``shard_id``,
        ``sequence_number``, ``error_code``, ``error_message``, ``error_detail``,
        ``attempts`` and ``maybe_duplicate``; with packs also ``record_row``.
        ``attrs["v3io"]`` is the run's receipt.

    Raises
    ------
    ConfigError, DataError
        An option or a column is wrong. Nothing was sent.
    RequestError
        The platform refused all rows for one reason (no such stream, wrong key), or did
        not answer for ``Retry.deadline_seconds``.
    PartialFailure
        Rows are not stored, and ``on_error="raise"``.
    Interrupted
        Ctrl-C or ``cancel``.

    References
    ----------
    Iguazio web API, *PutRecords*.

    Examples
    --------
    >>> results = put_records(df, "users/demo/clicks", partition_key="user")
    >>> results.status.value_counts()
    """
    given = dict(locals())
    check_choice("on_error", on_error, ("return", "raise"))
    if resume is not None and journal is not None:
        raise ConfigError("resume and journal both say where a run goes on. Give one of them.")
    client = pick_client(client)
    is_resumable = journal is not None or resume is not None
    retry = client.retry if is_resumable else client.interactive_retry
    plan = plan_run(
        data,
        stream,
        client=client,
        progress=progress,
        cancel=cancel,
        row_options=take_options(RowOptions, given),
        delivery_options=take_options(
            DeliveryOptions, {**given, "retry": retry, "limits": client.limits}
        ),
    )
    if is_resumable:
        check_resumable(plan)
    results = None
    try:
        with open_journal(journal) as log:
            prior = None
            if log is not None:
                prior = log.resume(plan)
            elif resume is not None:
                prior = read_prior_run(plan, resume)
            run = Run(plan, prior=prior, run_log=log)
            # A Ctrl-C after the run must not cost its results.
            with run.switch.on_interrupt(lambda: None):
                results, report = run_to_results(run)
        if run.switch.presses:
            report.stop_by_user()
        raise_if_ended_early(plan, report)
        if someone_looks_on():
            _note_shards(results, client, stream)
        _report_unstored(results, on_error)
    except BaseException as error:
        if results is not None:
            error.results = results  # type: ignore[attr-defined]  # ours have it, others get it
        raise
    return results


def run_to_results(run: Run) -> tuple[pd.DataFrame, RunReport]:
    """Let a run go to its end, and collect its results with their receipt."""
    plan = run.plan
    table = Results(plan.row_plan.num_rows, packed=plan.is_packed)
    report = run.to_end(table.add)
    results = table.to_frame(plan.row_plan.index)
    amend_results(results, late=report.late, duplicates=report.duplicates)
    attach_receipt(results, report.receipt)
    return results, report


def raise_if_ended_early(plan: RunPlan, report: RunReport) -> None:
    """Raise why a run ended early, if it did."""
    if isinstance(report.broken, PutRecordsError):  # its text says what was wrong
        raise report.broken
    if report.broken is not None:
        what = (
            "the data could not be read to its end" if report.is_source_broken else "the run failed"
        )
        raise PutRecordsError(
            f"{what}: {type(report.broken).__name__}: {report.broken}. "
            f"error.results says what became of the rows before."
        ) from report.broken
    if report.stop is not None:
        admin = plan.client._admin(plan.stream)  # noqa: SLF001  # no verb of the public
        raise stop_error(report.stop, plan.stream, admin.diagnose)


_NOTE_TIMEOUTS: Final = Timeouts(connect_seconds=2, read_seconds=5)


def _note_shards(results: pd.DataFrame, client: Client, stream: str) -> None:
    """Ask how many shards the stream has: the summary shows those without rows, too."""
    receipt = results.attrs[ATTRS_KEY]
    if not receipt["counts"]["stored"] or receipt["already_complete"]:
        return
    try:  # once, and briefly: whoever waits has the results already
        with with_retry(client, Retry(attempts=1), _NOTE_TIMEOUTS) as once:
            receipt["shards"] = once.describe_stream(stream).shards
    except PutRecordsError as error:  # the rows are stored all the same
        _LOG.info("how many shards %s has is not known: %s", stream, error)


def _report_unstored(results: pd.DataFrame, on_error: str) -> None:
    """Report rows that are not stored, by a warning or an exception."""
    if (results["status"] == "stored").all():
        return
    message = summarize(results).unstored_message()
    if on_error == "raise":
        raise PartialFailure(message)
    warnings.warn(message, UnstoredRowsWarning, stacklevel=callers_level())

"""One run on many machines: what the driver decides, and what each task does.

A task that is run again knows only that there may have been an earlier attempt. So it
takes every row as `unknown` and resumes: the rows are sent again, or not, or looked up,
as ``delivery`` says.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import secrets
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from .._io.reader import find_ends
from .._io.request_errors import stop_error
from .._producer.outcomes import Outcomes
from .._producer.values import Failure
from .._public import find_unknown
from .._run import Run, RunPlan, plan_run
from ..client import Client, pick_client
from ..config import DeliveryOptions, RowOptions, check_choice, take_options
from ..errors import ConfigError, PutRecordsError
from ..put import put_records, run_to_results
from ..results import ATTRS_KEY, collect_results, count_and_first
from ..resume import read_prior_run
from ..summary import list_reasons, summarize

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator, Mapping

    import pandas as pd

    from .._io.stream_admin import StreamAdmin
    from .._wire.paths import StreamPath

_CUT_OFF: Final = Failure(
    "NoAnswer", "an earlier attempt of this task was cut off, and may have stored the row"
)
MAX_REASONS: Final = 20
_DEFAULTS: Final = {
    name: parameter.default
    for name, parameter in inspect.signature(put_records).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
}
_REFUSED: Final = {
    "resume": "a cluster's results are read where they were written, and not sent along",
    "journal": "tasks run anywhere and share no file that locks",
    "cancel": "an event does not reach other machines",
}
_ROUTES: Final = ("partition_key", "shard", "client_info")


@contextmanager
def spool(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table | None]:
    """Write batches to a file of this machine, and map it; None: there are none."""
    folder = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0] or None
    with tempfile.TemporaryDirectory(dir=folder, prefix="v3io-put-") as place:
        path = str(Path(place) / "rows.arrow")
        all_batches = iter(batches)
        first = next(all_batches, None)
        if first is None:
            yield None
            return
        with pa.ipc.new_file(path, first.schema) as writer:
            for batch in chain([first], all_batches):
                writer.write_batch(batch)
        with pa.memory_map(path) as source:
            table = pa.ipc.open_file(source).read_all()
            yield table if table.num_rows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRun:
    """What every task of a run gets.

    It pickles without a secret: a `Client` takes those from the environment where it
    is loaded.

    Attributes
    ----------
    delivery_options : DeliveryOptions
        Those of each task.
    starts : dict of str to int
        Per shard, its last number before the run (``exactly_once``); a shard that is
        not there was empty.
    has_credentials : bool
        Whether the driver has a key or a password; then each task needs one.
    """

    run_id: str
    stream: StreamPath
    client: Client
    row_options: RowOptions
    delivery_options: DeliveryOptions
    on_error: str
    has_credentials: bool
    starts: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_packed(self) -> bool:
        """Whether a record holds several rows."""
        return self.row_options.is_packed

    @property
    def delivery(self) -> str:
        """The delivery of every task."""
        return self.delivery_options.delivery

    def share_among(self, tasks: int) -> ClusterRun:
        """Cut ``max_in_flight`` into a share for each of so many tasks at once.

        With ``"auto"`` each finds its own share, which is a fair one.
        """
        whole = self.delivery_options.max_in_flight
        share = whole if whole == "auto" else max(1, whole // max(1, tasks))
        delivery_options = replace(self.delivery_options, max_in_flight=share)
        return replace(self, delivery_options=delivery_options)

    def task_id(self, partition: int) -> str:
        """Make the run id of the task that sends a partition: the same in each attempt."""
        return hashlib.sha256(f"{self.run_id}:{partition}".encode()).hexdigest()[:16]

    def plan_task(
        self, partition: int, data: Any, cancel: threading.Event | None = None
    ) -> RunPlan:
        """Plan the upload of a partition; nothing is sent."""
        if self.has_credentials and not _has_credentials(self.client):
            raise ConfigError(
                "this worker does not know who we are: a Client travels without its secrets, and "
                "V3IO_ACCESS_KEY is not set here. Set it in the environment of every worker."
            )
        plan = plan_run(
            data,
            self.stream,
            client=self.client,
            row_options=self.row_options,
            delivery_options=self.delivery_options,
            progress=False,
            cancel=cancel,
        )
        return replace(plan, run_id=self.task_id(partition))


def make_run(stream: str, given: Mapping[str, Any]) -> ClusterRun:
    """Make a run of the options of ``put_records`` that a user gave; they are checked.

    Raises
    ------
    ConfigError
        One of them is wrong, or has no meaning on a cluster. Nothing was sent.
    TypeError
        There is no such option.
    """
    unknown = find_unknown(given, _DEFAULTS)
    if unknown is not None:
        raise TypeError(f"put_records() {unknown}")
    options = {**_DEFAULTS, "on_error": "raise", **given}
    for name, why in _REFUSED.items():
        if options[name] is not None:
            raise ConfigError(f"{name}: not on a cluster, since {why}. Leave it out.")
    for name, value in options.items():
        if callable(value):
            raise ConfigError(f"{name}: a callable does not reach other machines. Leave it out.")
    for name in _ROUTES:
        if not isinstance(options[name], (str, int, bytes, type(None))):
            raise ConfigError(
                f"{name} is a {type(options[name]).__name__}; expected the name of a column. An "
                f"array cannot be cut like the data: make it a column of it."
            )
    check_choice("on_error", options["on_error"], ("return", "raise"))
    client = pick_client(options["client"])
    rows = take_options(RowOptions, options)
    delivery = take_options(
        DeliveryOptions, {**options, "retry": client.retry, "limits": client.limits}
    )
    return ClusterRun(
        run_id=secrets.token_hex(8),
        stream=client.locate(stream),
        client=client,
        row_options=rows,
        delivery_options=delivery,
        on_error=options["on_error"],
        has_credentials=_has_credentials(client),
    )


def begin_run(run: ClusterRun, empty: Any) -> ClusterRun:
    """Check what can be checked before any task, and note where the shards end.

    ``empty`` has the data's columns and types, without rows.
    """
    run.plan_task(0, empty)
    shards = run.client.describe_stream(run.stream).shards
    if run.delivery != "exactly_once":
        return run
    ends = find_ends(remote_stream(run), range(shards))
    return replace(run, starts={str(shard): number for shard, number in ends.items()})


def remote_stream(run: ClusterRun) -> StreamAdmin:
    """Return the run's stream, to be read."""
    return run.client._admin(run.stream)  # noqa: SLF001  # no verb of the public


def _has_credentials(client: Client) -> bool:
    return bool(client._endpoint.auth_headers())  # noqa: SLF001  # nobody else asks


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
        Whether no earlier attempt can have sent anything that is not in ``earlier``.
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
    if not is_first:
        earlier = _all_in_doubt(plan, run) if earlier is None else _rest_in_doubt(earlier)
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
        admin = plan.client._admin(plan.stream)  # noqa: SLF001  # no verb of the public
        cause = stop_error(report.stop, plan.stream, admin.diagnose)
        error = {"type": type(cause).__name__, "message": str(cause)}
        plan.client.close()
    results.attrs[ATTRS_KEY] = {
        **receipt_of(results),
        "partition": partition,
        "run_again": run_again,
        "reasons": list_reasons(summarize(results).errors.head(MAX_REASONS)),
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
    rows = plan.row_plan
    results = all_unknown(rows.num_rows or 0, _CUT_OFF, index=rows.index, packed=plan.is_packed)
    results.attrs[ATTRS_KEY] = {
        "run_id": plan.run_id,
        "endpoint": plan.stream.endpoint,
        "stream": str(plan.stream),
        "delivery": plan.delivery_options.delivery,
        "mapping": plan.options_digest,
        "starts": dict(run.starts),
        "duplicates": count_and_first([]),
    }
    return results


def _rest_in_doubt(earlier: pd.DataFrame) -> pd.DataFrame:
    """Mark the rows that are not stored as unknown: a later attempt may have stored them."""
    results = earlier.copy()
    rest = results["status"] != "stored"
    reason = ["unknown", None, _CUT_OFF.message, _CUT_OFF.detail]
    results.loc[rest, ["status", "error_code", "error_message", "error_detail"]] = reason
    return results


def receipt_of(results: pd.DataFrame) -> dict[str, Any]:
    """Return the receipt that results carry."""
    receipt: dict[str, Any] = results.attrs[ATTRS_KEY]
    return receipt

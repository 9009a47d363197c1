"""One run on many machines: its options, and what the driver decides and every task is given."""

from __future__ import annotations

import hashlib
import inspect
import os
import secrets
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from v3io_frames_put._io.reader import find_ends
from v3io_frames_put._public import find_unknown
from v3io_frames_put._run import plan_run
from v3io_frames_put.client import Client, pick_client
from v3io_frames_put.config import (
    DeliveryOptions,
    Encoding,
    RowOptions,
    check_choice,
    or_default,
)
from v3io_frames_put.errors import ConfigError
from v3io_frames_put.put import put_records

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator, Mapping

    from v3io_frames_put._io.stream_admin import StreamAdmin
    from v3io_frames_put._run import RunPlan
    from v3io_frames_put._wire.paths import StreamPath

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
_DELIVERY: Final = ("delivery", "order", "max_in_flight", "max_in_flight_bytes")
_ROUTES: Final = ("partition_key", "shard", "client_info")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """Checked options; ``delivery`` is that of each task."""

    client: Client
    rows: RowOptions
    delivery: DeliveryOptions
    on_error: str

    def share_among(self, tasks: int) -> ClusterOptions:
        """Cut ``max_in_flight`` into a share for each of so many tasks at once.

        With ``"auto"`` each finds its own share, which is a fair one.
        """
        whole = self.delivery.max_in_flight
        share = whole if whole == "auto" else max(1, whole // max(1, tasks))
        return replace(self, delivery=replace(self.delivery, max_in_flight=share))


def check_options(given: Mapping[str, Any]) -> ClusterOptions:
    """Check the options of ``put_records`` that a user gave.

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
    options["encoding"] = or_default("encoding", options["encoding"], Encoding())
    rows = RowOptions(**{option.name: options[option.name] for option in fields(RowOptions)})
    given_delivery = {name: options[name] for name in _DELIVERY}
    delivery = DeliveryOptions(**given_delivery, retry=client.retry, limits=client.limits)
    delivery.check_client_info(rows.client_info)
    return ClusterOptions(client=client, rows=rows, delivery=delivery, on_error=options["on_error"])


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
    starts : dict of str to int
        Per shard, its last number before the run (``exactly_once``); a shard that is
        not there was empty.
    has_credentials : bool
        Whether the driver has a key or a password; then each task needs one.
    """

    run_id: str
    stream: StreamPath
    options: ClusterOptions
    starts: Mapping[str, int]
    has_credentials: bool

    @property
    def is_packed(self) -> bool:
        """Whether a record holds several rows."""
        return self.options.rows.is_packed

    @property
    def delivery(self) -> str:
        """The delivery of every task."""
        return self.options.delivery.delivery

    def task_id(self, partition: int) -> str:
        """Make the run id of the task that sends a partition: the same in each attempt."""
        return hashlib.sha256(f"{self.run_id}:{partition}".encode()).hexdigest()[:16]

    def plan_task(
        self, partition: int, data: Any, cancel: threading.Event | None = None
    ) -> RunPlan:
        """Plan the upload of a partition; nothing is sent."""
        client = self.options.client
        if self.has_credentials and not _has_credentials(client):
            raise ConfigError(
                "this worker does not know who we are: a Client travels without its secrets, and "
                "V3IO_ACCESS_KEY is not set here. Set it in the environment of every worker."
            )
        return plan_run(
            data,
            self.stream,
            client=client,
            rows=self.options.rows,
            delivery=self.options.delivery,
            progress=False,
            cancel=cancel,
            run_id=self.task_id(partition),
        )


def begin_run(stream: str, options: ClusterOptions, empty: Any) -> ClusterRun:
    """Check what can be checked before any task, and note where the shards end.

    ``empty`` has the data's columns and types, without rows.
    """
    client = options.client
    run = ClusterRun(
        run_id=secrets.token_hex(8),
        stream=client.locate(stream),
        options=options,
        starts={},
        has_credentials=_has_credentials(client),
    )
    run.plan_task(0, empty)
    shards = client.describe_stream(run.stream).shards
    if run.delivery != "exactly_once":
        return run
    ends = find_ends(remote_stream(run), range(shards))
    return replace(run, starts={str(shard): number for shard, number in ends.items()})


def remote_stream(run: ClusterRun) -> StreamAdmin:
    """Return the run's stream, to be read."""
    return run.options.client._admin(run.stream)  # noqa: SLF001  # no verb of the public


def _has_credentials(client: Client) -> bool:
    return bool(client._endpoint.auth_headers())  # noqa: SLF001  # nobody else asks

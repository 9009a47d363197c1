"""One run on many machines: what the driver decides and every task is told."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from v3io_frames_put._delivery.reading import find_ends
from v3io_frames_put._rows.plan import plan_rows
from v3io_frames_put.errors import ConfigError
from v3io_frames_put.job import Upload, digest_mapping

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from v3io_frames_put._cluster.options import ClusterOptions
    from v3io_frames_put._delivery.remote import RemoteStream
    from v3io_frames_put._wire.paths import StreamPath
    from v3io_frames_put.client import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRun:
    """What every task of a run is told.

    It pickles without a secret: a `Client` takes those from the environment where it
    is loaded.

    Attributes
    ----------
    run_id : str
        16 hexadecimal digits.
    stream : StreamPath
        Where the records go.
    options : ClusterOptions
        How, and by which client.
    starts : dict of str to int
        Per shard, its last number before the run (``exactly_once``); a shard that is
        not there was empty.
    has_credentials : bool
        Whether the driver knows who we are; then a task has to, too.
    """

    run_id: str
    stream: StreamPath
    options: ClusterOptions
    starts: Mapping[str, int]
    has_credentials: bool

    @property
    def is_packed(self) -> bool:
        """Whether a record holds several rows."""
        return bool(self.options.rows["rows_per_record"] != 1)

    @property
    def delivery(self) -> str:
        """What becomes of rows when nobody knows if they were stored."""
        return self.options.policy.delivery

    def task_id(self, partition: int) -> str:
        """Make the run id of the task that sends a partition: the same in each attempt."""
        return hashlib.sha256(f"{self.run_id}:{partition}".encode()).hexdigest()[:16]

    def plan_task(self, partition: int, data: Any, cancel: threading.Event | None = None) -> Upload:
        """Plan the upload of a partition; nothing is sent."""
        client = self.options.client
        if self.has_credentials and not _has_credentials(client):
            raise ConfigError(
                "this worker does not know who we are: a Client travels without its secrets, and "
                "V3IO_ACCESS_KEY is not set here. Set it in the environment of every worker."
            )
        options, policy = self.options.rows, self.options.policy
        plan = plan_rows(
            data,
            **options,
            encoding=self.options.encoding,
            limits=client.limits,
            window_bytes=policy.window_bytes,
        )
        return Upload(
            plan=plan,
            client=client,
            stream=self.stream,
            policy=policy,
            packed=self.is_packed,
            progress=False,
            cancel=cancel,
            run_id=self.task_id(partition),
            mapping=digest_mapping(plan, **options),
        )


def begin_run(stream: str, options: ClusterOptions, empty: Any) -> ClusterRun:
    """Check what can be checked before any task, and note where the shards end.

    Parameters
    ----------
    stream : str
        As the user wrote it.
    options : ClusterOptions
        Checked.
    empty : DataFrame or Table
        The data's columns and types, without rows.

    Raises
    ------
    ConfigError, DataError
        An option or a column is wrong.
    RequestError
        There is no such stream, or we may not read it. Nothing was sent.
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
    if options.policy.delivery != "exactly_once":
        return run
    ends = find_ends(remote_stream(run), range(shards))
    return replace(run, starts={str(shard): number for shard, number in ends.items()})


def remote_stream(run: ClusterRun) -> RemoteStream:
    """Return the run's stream, to be read."""
    return run.options.client._access.remote(run.stream)  # noqa: SLF001  # no verb of the public


def _has_credentials(client: Client) -> bool:
    return bool(client._access.endpoint.auth_headers())  # noqa: SLF001  # nobody else asks

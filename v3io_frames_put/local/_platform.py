"""``Platform``: the web API without sockets. A request goes in, an answer comes out.

It takes the clock as a callable, so that a server and a simulation with a virtual clock
run the same code. It may be called from several threads.
"""

from __future__ import annotations

import math
import time
from base64 import b64decode
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from ._http import (
    SECOND,
    Errors,
    RefusedError,
    Request,
    Response,
    html_response,
    http_date,
    parse_number,
)
from ._objects import Objects, containers_response
from ._rules import AccessKey, Rules, access_keys, check_access
from ._store import Store, Stream
from ._streams import Body, Record, RecordFilter, Streams, parse_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


_DATABASE: Final = "local-platform.sqlite"
_MAX_NAME_BYTES, _MAX_PATH_BYTES = 255, 4_096  # as documented


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record of a shard, decoded."""

    shard_id: int
    sequence_number: int
    arrival_time: float  #: Seconds since 1970.
    data: bytes
    partition_key: str | None = None
    client_info: bytes | None = None


class Platform:
    """The platform's web API over one store: ``handle`` answers requests.

    The other methods read and change the store directly, for tests and faults.

    Parameters
    ----------
    data_dir : path, optional
        Directory of the database, made if missing. None keeps everything in memory.
    access_key : str, AccessKey or several AccessKey, optional
        Who may do what. None: anybody anything.
    rules : Rules, optional
        Versions and limits.
    clock : callable
        Seconds since 1970. Arrival times, retention and the ``Date`` header follow it.
    """

    def __init__(
        self,
        data_dir: str | Path | None = None,
        *,
        access_key: str | AccessKey | Iterable[AccessKey] | None = None,
        rules: Rules | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.rules, self.clock = rules or Rules(), clock
        self._keys = access_keys(access_key)
        if data_dir is not None:
            Path(data_dir).mkdir(parents=True, exist_ok=True)
        self._store = Store(None if data_dir is None else Path(data_dir) / _DATABASE)
        self._streams = Streams(self._store, self.rules, self._now)
        self._objects = Objects(self._store, self.rules, self._now)

    def _now(self) -> int:
        """Return the clock's time in nanoseconds."""
        fraction, seconds = math.modf(self.clock())  # apart: the product has too few digits
        return int(seconds) * SECOND + int(fraction * SECOND)

    # requests

    def handle(self, request: Request, *, is_kept: RecordFilter | None = None) -> Response:
        """Answer one request; what is not valid is refused as the platform does.

        ``is_kept`` returns False for records of PutRecords that are lost without a word in the
        answer: a write that reached some servers.
        """
        try:
            with self._store.transaction():
                response = self._answer(request, is_kept)
        except RefusedError as refused:
            response = refused.error.response()
        return self.sign(response)

    def refuse_size(self, head: Request, body_bytes: int) -> Response | None:
        """Return the 413 of a request whose body is too long, else None."""
        is_function = head.header("X-v3io-function") is not None
        limit = self.rules.max_body_bytes if is_function else self.rules.max_object_bytes
        return self.sign(html_response(413)) if body_bytes > limit else None

    def sign(self, response: Response) -> Response:
        """Add the headers of the front end."""
        front = {"Server": "nginx", "Date": http_date(self._now())}
        return replace(response, headers={**front, **response.headers})

    def _answer(self, request: Request, is_kept: RecordFilter | None) -> Response:
        """Answer a request or raise RefusedError; the order of checks is the front end's."""
        too_long = self.refuse_size(request, len(request.body))
        if too_long is not None:
            return too_long
        check_access(request, self._keys)
        is_function = request.header("X-v3io-function") is not None
        parts = request.parts
        if not parts:
            if is_function or request.method.upper() not in {"GET", "HEAD"}:
                raise RefusedError(Errors.BAD_METHOD)
            return containers_response(self.rules.containers)
        ids = {str(number): name for name, number in self.rules.containers.items()}
        container = ids.get(parts[0], parts[0])
        if container not in self.rules.containers:
            raise RefusedError(Errors.NO_CONTAINER)
        path = "/".join([container, *parts[1:]])
        _check_path(path)
        if is_function:
            return self._call(request, path, is_kept)
        return self._objects.answer(request, path)

    def _call(self, request: Request, path: str, is_kept: RecordFilter | None) -> Response:
        """Call the function that a request names."""
        streams, objects, body = self._streams, self._objects, parse_body(request.body)
        path = _join(path, body.stream_name)
        match request.function:
            case "CreateStream":
                response = streams.create(path, body)
            case "DescribeStream":
                response = streams.describe(path)
            case "UpdateStream":
                response = streams.update(path, body)
            case "PutRecords":
                response = streams.put(path, body.records, is_kept)
            case "Seek":
                response = streams.seek(*_split_shard(path, body), body)
            case "GetRecords":
                response = streams.get(*_split_shard(path, body), body)
            case "GetItem":
                response = objects.get_item(request, path, body)
            case "GetItems":
                response = objects.get_items(path, body)
            case "PutItem":
                response = objects.put_item(path, body)
            case _:
                raise RefusedError(Errors.INVALID_ARGUMENT)
        return response

    # without a request

    def _path(self, stream: str) -> str:
        """Return ``container/path`` without slashes around it, or raise ValueError."""
        container, _, path = stream.strip("/").partition("/")
        if container not in self.rules.containers or not path:
            raise ValueError(
                f"{stream!r} is not a stream path; expected container/path, the container one of"
                f" {', '.join(self.rules.containers)}."
            )
        return f"{container}/{path}"

    @contextmanager
    def _open(self, stream: str) -> Iterator[Stream]:
        """Give the stream at ``container/path``, in a transaction."""
        with self._store.transaction():
            found = self._store.find_stream(self._path(stream))
            if found is None:
                raise LookupError(f"No stream at {stream!r}. Make it with create_stream.")
            yield found

    def create_stream(self, stream: str, shards: int = 1, retention_hours: int = 24) -> None:
        """Make a stream."""
        body = {"ShardCount": shards, "RetentionPeriodHours": retention_hours}
        with self._store.transaction():
            self._streams.create(self._path(stream), msgspec.convert(body, Body))

    def describe_stream(self, stream: str) -> Stream:
        """Return a stream's shard count and retention."""
        with self._open(stream) as found:
            return found

    def resize_stream(self, stream: str, shards: int) -> None:
        """Give a stream another shard count, larger or not."""
        with self._open(stream) as found:
            self._store.resize_stream(found, shards)

    def delete_stream(self, stream: str) -> None:
        """Remove a stream with its records."""
        with self._open(stream) as found:
            self._store.remove_stream(found)
            self._store.remove_file(found.path, is_directory=True)

    def drop_records(self, stream: str, *, keep_last: int = 0) -> None:
        """Drop each shard's records but the last few, as retention does."""
        with self._open(stream) as found:
            for shard in self._store.shards(found):
                self._store.drop(found, shard, shard.last + 1 - keep_last)

    def add_records(
        self,
        stream: str,
        data: Iterable[bytes],
        *,
        shard: int | None = None,
        key: str | None = None,
    ) -> None:
        """Put records as another writer would, whatever the limits of a request."""
        with self._open(stream) as found:
            for value in data:
                record = Record(data=value, partition_key=key, shard_id=shard)
                self._streams.put(found.path, [record])

    def records(self, stream: str) -> list[StoredRecord]:
        """Return the records of a stream, shard after shard, in stored order."""
        with self._open(stream) as found:
            return [
                StoredRecord(
                    shard.number,
                    number,
                    batch.arrival / SECOND,
                    b64decode(record["Data"]),
                    record.get("PartitionKey"),
                    b64decode(record["ClientInfo"]) if "ClientInfo" in record else None,
                )
                for shard in self._store.shards(found)
                for batch in self._store.batches(found, shard.number, shard.first)
                for number, record in enumerate(batch.records, batch.first)
                if number >= shard.first
            ]

    def restart(self) -> None:
        """Forget what a killed server forgets: its round robins, and what is not on disk."""
        self._store.reopen()
        self._streams.reset_turns()

    def clear(self) -> None:
        """Remove every stream and file."""
        with self._store.transaction():
            self._store.clear()
        self._streams.reset_turns()

    def close(self) -> None:
        """Close the store."""
        self._store.close()


def _check_path(path: str) -> None:
    """Refuse a path that no file system of Linux could hold."""
    longest = max(len(name.encode()) for name in path.split("/"))
    if "\0" in path or longest > _MAX_NAME_BYTES or len(path.encode()) > _MAX_PATH_BYTES:
        raise RefusedError(Errors.INVALID_ARGUMENT)


def _join(path: str, name: str | None) -> str:
    """Append the stream name of a body, if it has one, to the path; it is one name."""
    if name is None:
        return path
    if "/" in name:
        raise RefusedError(Errors.INVALID_ARGUMENT)
    joined = f"{path}/{name}".strip("/")
    _check_path(joined)
    return joined


def _split_shard(path: str, body: Body) -> tuple[str, int]:
    """Return stream path and shard of a function on a shard; the body's shard comes first."""
    if body.shard_id is not None:
        return path, body.shard_id
    above, _, name = path.rpartition("/")
    number = parse_number(name)
    if number is None:
        raise RefusedError(Errors.INVALID_ARGUMENT)
    return above, number

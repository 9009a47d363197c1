"""CreateStream, DescribeStream, UpdateStream, and finding a stream or shard for the others.

Status codes and names follow the documentation and what the platform's own clients
accept. A non-stream directory is "not found" to PutRecords: a known bug of the real one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from v3io_frames_put.local._messages import (
    INVALID_ARGUMENT,
    INVALID_SHARD_COUNT,
    RESOURCE_IN_USE,
    RESOURCE_IS_NOT_STREAM,
    RESOURCE_NOT_FOUND,
    RESOURCE_NOT_STREAM,
    SHARD_OUT_OF_RANGE,
    ErrorAnswer,
    RefusedError,
    Response,
    json_response,
)
from v3io_frames_put.local._rules import MAX_RETENTION_HOURS, MAX_SHARDS, Rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from v3io_frames_put.local._files import Files
    from v3io_frames_put.local._store import Shard, Store, Stream

NANOSECONDS: Final = 1_000_000_000


class Streams:
    """Streams of one store.

    Parameters
    ----------
    store : Store
        Where streams and records are.
    files : Files
        Where directories and plain objects are.
    rules : Rules
        What is left open by the documentation.
    now : callable
        Nanoseconds since 1970.
    """

    def __init__(self, store: Store, files: Files, rules: Rules, now: Callable[[], int]) -> None:
        self.store, self.rules, self.now = store, rules, now
        self._files = files

    def create(self, container: str, path: str, body: dict[str, Any]) -> Response:
        """CreateStream: 204, or 409 when something is there."""
        shard_count = whole_number(body, "ShardCount", 1, 1, MAX_SHARDS)
        hours = whole_number(body, "RetentionPeriodHours", 24, 1, MAX_RETENTION_HOURS)
        if not path:
            raise RefusedError(INVALID_ARGUMENT)
        if self._files.has_directory(container, path):
            raise RefusedError(self._by_version(RESOURCE_IN_USE))
        with self.store.transaction():
            self._files.add_directory(container, path, self.now())
            self.store.add_stream(container, path, shard_count, hours)
        return Response(204)

    def describe(self, container: str, path: str) -> Response:
        """DescribeStream."""
        stream = self.find(container, path)
        hours = stream.retention_hours
        return json_response({"ShardCount": stream.shard_count, "RetentionPeriodHours": hours})

    def update(self, container: str, path: str, body: dict[str, Any]) -> Response:
        """UpdateStream: only growth, at once."""
        if self.store.find_stream(container, path) is None and self._files.exists(container, path):
            raise RefusedError(RESOURCE_NOT_STREAM)
        stream = self.find(container, path)
        shard_count = whole_number(body, "ShardCount", None, 1, MAX_SHARDS)
        if shard_count <= stream.shard_count:
            raise RefusedError(INVALID_SHARD_COUNT)
        self.store.resize_stream(stream, shard_count)
        return Response(204)

    def find(self, container: str, path: str) -> Stream:
        """Return the stream at a path or refuse the request."""
        stream = self.store.find_stream(container, path)
        if stream is not None:
            return stream
        is_object = self._files.has_object(container, path)
        if is_object and not self._files.has_directory(container, path):
            raise RefusedError(RESOURCE_IS_NOT_STREAM)
        raise RefusedError(RESOURCE_NOT_FOUND)

    def find_shard(self, container: str, path: str, number: int) -> tuple[Stream, Shard]:
        """Return a written shard or refuse the request."""
        stream = self.find(container, path)
        if not 0 <= number < stream.shard_count:
            raise RefusedError(SHARD_OUT_OF_RANGE)
        shard = self.store.find_shard(stream, number)
        if shard is None:
            raise RefusedError(self._by_version(RESOURCE_NOT_FOUND))
        return stream, shard

    def _by_version(self, error: ErrorAnswer) -> ErrorAnswer:
        """Give an error the status it had in the version that the rules name."""
        if self.rules.statuses == "current":
            return error
        return ErrorAnswer(400, error.code, error.message)


def whole_number(body: dict[str, Any], name: str, default: int | None, low: int, high: int) -> int:
    """Return a whole number of the body, or refuse the request."""
    value = body.get(name, default)
    if type(value) is not int or not low <= value <= high:
        raise RefusedError(INVALID_ARGUMENT)
    return value

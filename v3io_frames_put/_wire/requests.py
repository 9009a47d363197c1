"""What we ask of the web API -> requests, byte for byte.

Who we are is no part of a request here: the transport adds it.
Shapes: the vendor's *Streaming Web API* pages.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import orjson

from v3io_frames_put._wire import protocol
from v3io_frames_put._wire.exchange import Request
from v3io_frames_put._wire.paths import resource_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from v3io_frames_put._wire.paths import StreamPath

LISTING_PAGE_ENTRIES: Final = 1_000

_FUNCTIONS: Final = (
    protocol.CREATE_STREAM,
    protocol.DESCRIBE_STREAM,
    protocol.UPDATE_STREAM,
    protocol.PUT_RECORDS,
    protocol.SEEK,
    protocol.GET_RECORDS,
    protocol.GET_ITEM,
)
# One read-only mapping per function, shared by all its requests.
_HEADERS: Final[Mapping[str, Mapping[str, str]]] = {
    function: MappingProxyType(
        {"Content-Type": "application/json", protocol.FUNCTION_HEADER: function}
    )
    for function in _FUNCTIONS
}


def put_records_request(stream: StreamPath, body: bytes | memoryview) -> Request:
    """Ask to store the records of a body that is ready to send."""
    return Request("POST", stream.resource, _HEADERS[protocol.PUT_RECORDS], body)


def create_stream_request(stream: StreamPath, *, shards: int, retention_hours: int) -> Request:
    """Ask to create a stream; directories above it are made as needed."""
    fields = {"ShardCount": shards, "RetentionPeriodHours": retention_hours}
    return _call(protocol.CREATE_STREAM, "POST", stream.resource, fields)


def describe_stream_request(stream: StreamPath) -> Request:
    """Ask for a stream's shard count and retention."""
    return _call(protocol.DESCRIBE_STREAM, "PUT", stream.resource, {})


def update_stream_request(stream: StreamPath, *, shards: int) -> Request:
    """Ask for more shards."""
    return _call(protocol.UPDATE_STREAM, "POST", stream.resource, {"ShardCount": shards})


def seek_earliest_request(stream: StreamPath, shard: int) -> Request:
    """Ask where a shard begins."""
    return _seek(stream, shard, {"Type": "EARLIEST"})


def seek_latest_request(stream: StreamPath, shard: int) -> Request:
    """Ask where a shard ends: behind its newest record."""
    return _seek(stream, shard, {"Type": "LATEST"})


def seek_time_request(stream: StreamPath, shard: int, *, nanoseconds: int) -> Request:
    """Ask for the first record that arrived at or after a time since the epoch."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    # Both fields are required: the platform has no default for the nanoseconds.
    return _seek(stream, shard, {"Type": "TIME", "TimestampSec": seconds, "TimestampNSec": rest})


def seek_sequence_request(stream: StreamPath, shard: int, *, sequence_number: int) -> Request:
    """Ask where the record of that number is."""
    fields = {"Type": "SEQUENCE", "StartingSequenceNumber": sequence_number}
    return _seek(stream, shard, fields)


def get_records_request(stream: StreamPath, shard: int, *, location: str, limit: int) -> Request:
    """Ask for at most so many records from a location."""
    fields = {"Location": location, "Limit": limit}
    return _call(protocol.GET_RECORDS, "PUT", stream.shard_resource(shard), fields)


def last_sequence_number_request(stream: StreamPath, shard: int) -> Request:
    """Ask for the number of a shard's newest record, an attribute of the shard object."""
    fields = {"AttributesToGet": protocol.LAST_SEQUENCE_NUMBER}
    return _call(protocol.GET_ITEM, "PUT", stream.shard_resource(shard), fields)


def list_request(
    container: str, path: str, *, marker: str | None = None, max_keys: int = LISTING_PAGE_ENTRIES
) -> Request:
    """Ask for a page of what is in a directory, from behind the marker."""
    query = {"prefix": f"{path}/", "max-keys": str(max_keys)}
    if marker is not None:
        query["marker"] = marker
    where = f"/{quote(container, safe='')}?{urlencode(query, quote_via=quote)}"
    return Request("GET", where)


def head_object_request(container: str, path: str) -> Request:
    """Ask whether there is an object at a path."""
    return Request("HEAD", resource_path(container, path))


def delete_object_request(container: str, key: str) -> Request:
    """Ask to delete one object."""
    return Request("DELETE", resource_path(container, key))


def delete_directory_request(stream: StreamPath) -> Request:
    """Ask to delete the stream's own directory, which must be empty."""
    return Request("DELETE", stream.resource)


def _seek(stream: StreamPath, shard: int, fields: dict[str, Any]) -> Request:
    return _call(protocol.SEEK, "PUT", stream.shard_resource(shard), fields)


def _call(function: str, method: str, resource: str, fields: dict[str, Any]) -> Request:
    """Call a function of the data service; PUT and POST mean the same to it."""
    body = orjson.dumps(fields) if fields else b""
    return Request(method, resource, _HEADERS[function], body)

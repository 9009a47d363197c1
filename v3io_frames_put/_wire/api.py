"""Names, requests and error bodies of the web API. Pure.

The only module that knows what the platform calls things.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import quote, urlencode

import msgspec

from .paths import StreamPath, resource_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


FUNCTION_HEADER: Final = "X-v3io-function"
SESSION_KEY_HEADER: Final = "X-v3io-session-key"

CREATE_STREAM: Final = "CreateStream"
DESCRIBE_STREAM: Final = "DescribeStream"
UPDATE_STREAM: Final = "UpdateStream"
PUT_RECORDS: Final = "PutRecords"
SEEK: Final = "Seek"
GET_RECORDS: Final = "GetRecords"
GET_ITEM: Final = "GetItem"

LAST_SEQUENCE_NUMBER: Final = "__last_sequence_num"

INVALID_ARGUMENT: Final = "InvalidArgumentException"
SHARD_OUT_OF_RANGE: Final = "ShardIDOutOfRangeException"
PERMISSION_DENIED: Final = "Permission denied"
RESOURCE_NOT_FOUND: Final = "ResourceNotFoundException"
RESOURCE_IN_USE: Final = "ResourceInUseException"
NOT_A_STREAM: Final = "ResourceIsnotStream"
ILLEGAL_LOCATION: Final = "IllegalLocationException"

# The same error under the names that other functions and releases give it.
_ALIASES: Final = {
    "ResourceNotFound": RESOURCE_NOT_FOUND,
    "No such file or directory": RESOURCE_NOT_FOUND,
    "ResourceInUse": RESOURCE_IN_USE,
    "ResourceNotStreamException": NOT_A_STREAM,
    "ResourceNotStream": NOT_A_STREAM,
    "ResourceIsNotStream": NOT_A_STREAM,
    "IllegalLocation": ILLEGAL_LOCATION,
    "ShardIDOutOfRange": SHARD_OUT_OF_RANGE,
    "InvalidArgument": INVALID_ARGUMENT,
}
_MAX_NAME: Final = 80
_MAX_TEXT: Final = 200
_INT64_END: Final = 2**63


class UnreadableJsonError(Exception):
    """Why a body cannot be read as JSON; internal. Its text follows "the answer"."""


def parse_json(body: bytes, decode: Callable[[bytes], Any] = msgspec.json.decode) -> Any:
    """Parse the JSON of an answer: every answer of the platform is parsed here.

    Raises
    ------
    UnreadableJsonError
        It is not JSON, or nested deeper than the parser goes.
    """
    try:
        return decode(body)
    except RecursionError as error:
        raise UnreadableJsonError("is JSON that is nested too deep") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise UnreadableJsonError("is not JSON") from error


@dataclass(frozen=True, slots=True)
class PlatformError:
    """The error of an answer that is not a success.

    ``name`` groups: the platform's symbolic name, under one spelling, else its message, else
    ``"HTTP 502"``.
    """

    status: int
    code: int | None  # the platform's number
    name: str
    text: str  # the message as it came, at most 200 characters, for people


def parse_error(answer: Answer) -> PlatformError:
    """Parse an error in any shape: symbolic JSON, prose JSON, an HTML page, nothing."""
    fields = _json_object(answer.body)
    message = fields.get("ErrorMessage")
    code = fields.get("ErrorCode")
    number = code if type(code) is int and abs(code) < _INT64_END else None
    if isinstance(message, str) and message.strip():
        text = " ".join(message.split())
        return PlatformError(answer.status, number, canonical_name(text), text[:_MAX_TEXT])
    name = f"HTTP {answer.status}"
    words = "" if fields else _page_text(answer.body)  # a JSON answer may hold anything
    words = words.removeprefix(f"{answer.status} ")  # as titles begin
    return PlatformError(answer.status, number, name, words or name)


def canonical_name(message: str) -> str:
    """Return the one name of an error, whatever release it comes from."""
    return _ALIASES.get(message, message[:_MAX_NAME])


def _json_object(body: bytes) -> dict[str, object]:
    """Parse a JSON object; anything else is an empty one."""
    try:
        value = parse_json(body)
    except UnreadableJsonError:
        return {}  # proxies answer in HTML: the caller falls back on the status
    return value if isinstance(value, dict) else {}


def _page_text(body: bytes) -> str:
    """Return the title, or else the first words, of a page that is not JSON."""
    page = body[:4_096].decode("utf-8", "replace")
    title = re.search(r"<title[^>]*>(.*?)</title>", page, re.IGNORECASE | re.DOTALL)
    words = title.group(1) if title else re.sub(r"<[^>]*>", " ", page)
    return " ".join(words.split())[:_MAX_TEXT]


Stage: TypeAlias = Literal["connecting", "sending", "waiting"]
"""How far a request had come: no byte of the body had left, the body was leaving,
or all of it had left."""

FaultKind: TypeAlias = Literal[
    "dns",
    "connect",
    "proxy",
    "tls",
    "certificate",
    "scheme",
    "timeout",
    "reset",
    "closed",
    "garbled",
    "stopped",
]
"""What went wrong: name look-up, connect, proxy's CONNECT, TLS, a certificate
we do not trust (always while connecting), TLS spoken to a plain port or the reverse,
a timeout, a reset or broken pipe, an end of file, bytes that are not an HTTP answer,
or our own shutting down."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the web API; the transport adds the credentials."""

    method: str
    path: str  # percent-encoded, begins with "/", with its query
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | memoryview = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """No whole answer came."""

    kind: FaultKind
    stage: Stage
    detail: str  # for people; holds no secret


Attempt: TypeAlias = Answer | Fault


LISTING_PAGE_ENTRIES: Final = 1_000

# One read-only mapping per function, shared by all its requests.
_HEADERS: Final[Mapping[str, Mapping[str, str]]] = {
    function: MappingProxyType({"Content-Type": "application/json", FUNCTION_HEADER: function})
    for function in (
        CREATE_STREAM,
        DESCRIBE_STREAM,
        UPDATE_STREAM,
        PUT_RECORDS,
        SEEK,
        GET_RECORDS,
        GET_ITEM,
    )
}


def put_records_request(stream: StreamPath, body: bytes | memoryview) -> Request:
    """Return the request that stores the records of a body."""
    return Request("POST", stream.resource, _HEADERS[PUT_RECORDS], body)


def create_stream_request(stream: StreamPath, *, shards: int, retention_hours: int) -> Request:
    """Return the request that creates a stream, and the directories above it as needed."""
    fields = {"ShardCount": shards, "RetentionPeriodHours": retention_hours}
    return _call(CREATE_STREAM, "POST", stream.resource, fields)


def describe_stream_request(stream: StreamPath) -> Request:
    """Return the request for a stream's shard count and retention."""
    return _call(DESCRIBE_STREAM, "PUT", stream.resource, {})


def update_stream_request(stream: StreamPath, *, shards: int) -> Request:
    """Return the request for more shards."""
    return _call(UPDATE_STREAM, "POST", stream.resource, {"ShardCount": shards})


def seek_request(
    stream: StreamPath,
    shard: int,
    kind: Literal["earliest", "latest", "time", "sequence"],
    number: int = 0,
) -> Request:
    """Return the request for a location: a shard's begin or end, a time, or a record's number.

    ``number`` is the nanoseconds since the epoch, or the record's number.
    """
    fields: dict[str, Any] = {"Type": kind.upper()}
    if kind == "time":
        seconds, rest = divmod(number, 1_000_000_000)
        # Both fields are required: the platform has no default for the nanoseconds.
        fields |= {"TimestampSec": seconds, "TimestampNSec": rest}
    elif kind == "sequence":
        fields["StartingSequenceNumber"] = number
    return _call(SEEK, "PUT", stream.shard_resource(shard), fields)


def get_records_request(stream: StreamPath, shard: int, *, location: str, limit: int) -> Request:
    """Return the request for at most ``limit`` records from a location."""
    fields = {"Location": location, "Limit": limit}
    return _call(GET_RECORDS, "PUT", stream.shard_resource(shard), fields)


def last_sequence_number_request(stream: StreamPath, shard: int) -> Request:
    """Return the request for the number of a shard's newest record, an attribute of its object."""
    fields = {"AttributesToGet": LAST_SEQUENCE_NUMBER}
    return _call(GET_ITEM, "PUT", stream.shard_resource(shard), fields)


def list_request(
    container: str, path: str, *, marker: str | None = None, max_keys: int = LISTING_PAGE_ENTRIES
) -> Request:
    """Return the request for a page of a directory, after the marker."""
    query = {"prefix": f"{path}/", "max-keys": str(max_keys)}
    if marker is not None:
        query["marker"] = marker
    where = f"/{quote(container, safe='')}?{urlencode(query, quote_via=quote)}"
    return Request("GET", where)


def head_object_request(container: str, path: str) -> Request:
    """Return the request that checks whether there is an object at a path."""
    return Request("HEAD", resource_path(container, path))


def delete_object_request(container: str, key: str) -> Request:
    """Return the request that deletes one object."""
    return Request("DELETE", resource_path(container, key))


def delete_directory_request(stream: StreamPath) -> Request:
    """Return the request that deletes the stream's own directory, which must be empty."""
    return Request("DELETE", stream.resource)


def _call(function: str, method: str, resource: str, fields: dict[str, Any]) -> Request:
    """Call a function of the data service; PUT and POST mean the same to it."""
    body = msgspec.json.encode(fields) if fields else b""
    return Request(method, resource, _HEADERS[function], body)

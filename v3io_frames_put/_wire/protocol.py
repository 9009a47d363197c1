"""Names of the web API, and what its errors say.

Error numbers are documented for a few errors only, so errors are told apart by
HTTP status and by the symbolic names that the platform puts into ``ErrorMessage``,
never by prose.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

    from v3io_frames_put._wire.exchange import Answer

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
INVALID_SHARD_COUNT: Final = "InvalidShardCountException"

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


class UnreadableJsonError(Exception):
    """Why a body cannot be read as JSON; internal. Its text follows "the answer"."""


def parse_json(body: bytes, decode: Callable[[bytes], Any] = orjson.loads) -> Any:
    """Read the JSON of an answer: every answer of the platform is read here.

    Raises
    ------
    UnreadableJsonError
        It is not JSON, or nested deeper than the parser goes.
    """
    try:
        return decode(body)
    except RecursionError as error:  # msgspec; orjson says that it is not JSON
        raise UnreadableJsonError("is JSON that is nested too deep") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise UnreadableJsonError("is not JSON") from error


@dataclass(frozen=True, slots=True)
class PlatformError:
    """What an answer that is no success says.

    Attributes
    ----------
    status : int
        The HTTP status.
    code : int or None
        The platform's number. None: the answer had none.
    name : str
        A name that groups: the platform's symbolic name, under one spelling, else its
        message, else ``"HTTP 502"``.
    text : str
        The message as it came, at most 200 characters, for people.
    """

    status: int
    code: int | None
    name: str
    text: str


def parse_error(answer: Answer) -> PlatformError:
    """Read an error in any shape: symbolic JSON, prose JSON, an HTML page, nothing."""
    fields = _json_object(answer.body)
    message = fields.get("ErrorMessage")
    code = fields.get("ErrorCode")
    number = code if isinstance(code, int) and not isinstance(code, bool) else None
    if isinstance(message, str) and message.strip():
        text = " ".join(message.split())
        return PlatformError(answer.status, number, canonical_name(text), text[:_MAX_TEXT])
    name = f"HTTP {answer.status}"
    words = "" if fields else _page_text(answer.body)  # a JSON answer may hold anything
    return PlatformError(answer.status, number, name, words or name)


def canonical_name(message: str) -> str:
    """Give an error message its one spelling."""
    return _ALIASES.get(message, message[:_MAX_NAME])


def _json_object(body: bytes) -> dict[str, object]:
    """Read a JSON object; anything else is an empty one."""
    try:
        value = parse_json(body)
    except UnreadableJsonError:
        return {}  # proxies answer in HTML: the caller falls back on the status
    return value if isinstance(value, dict) else {}


def _page_text(body: bytes) -> str:
    """Draw the title, or else the first words, from a page that is no JSON."""
    page = body[:4_096].decode("utf-8", "replace")
    title = re.search(r"<title[^>]*>(.*?)</title>", page, re.IGNORECASE | re.DOTALL)
    words = title.group(1) if title else re.sub(r"<[^>]*>", " ", page)
    return " ".join(words.split())[:_MAX_TEXT]

"""One HTTP request and its answer as plain values, and the errors the platform documents.

Nothing here opens a socket: the same values pass through a server and through a simulation.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON_TYPE: Final = "application/json"

#: Names that mean the same function; the documentation says Seek, the clients SeekShard.
_ALIASES: Final = {"SeekShard": "Seek"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it stands on the wire.

    Parameters
    ----------
    method : str
        The HTTP verb.
    path : str
        The path of the request line, percent-encoded or not, any slashes.
    query : str
        What follows the question mark, as sent.
    headers : mapping of str to str
        Names in any case.
    body : bytes
        The whole body.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return a header's value, whatever the case of its name."""
        wanted = name.lower()
        return next((v for k, v in self.headers.items() if k.lower() == wanted), None)

    @property
    def parts(self) -> list[str]:
        """The path's names, whatever its slashes; a proxy's absolute form has a path, too."""
        path = self.path if self.path.startswith("/") else urlsplit(self.path).path
        return [unquote(part) for part in path.split("/") if part]

    @property
    def function(self) -> str:
        """The ``X-v3io-function``, or the verb of a request that names none."""
        name = self.header("X-v3io-function") or self.method.upper()
        return _ALIASES.get(name, name)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer as it stands on the wire; ``headers`` leave out the connection's own."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def reason(self) -> str:
        """The words behind the status."""
        return _REASONS.get(self.status) or _PHRASES.get(self.status, "Unknown")

    def json(self) -> Any:
        """Parse the body as JSON."""
        return orjson.loads(self.body)


def json_response(value: object, headers: Mapping[str, str] | None = None) -> Response:
    """Answer 200 with a JSON body."""
    return Response(200, {"Content-Type": JSON_TYPE, **(headers or {})}, orjson.dumps(value))


_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
_PAGE: Final = (
    "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
    "<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n"
    "</body>\r\n</html>\r\n"
)
#: What nginx calls a status where Python's names differ, or differ between its versions.
_REASONS: Final = {
    413: "Request Entity Too Large",
    416: "Requested Range Not Satisfiable",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
}


def html_response(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a page of the front end, which knows no JSON."""
    answer = Response(status, {"Content-Type": "text/html", **(headers or {})})
    return replace(answer, body=_PAGE.format(title=f"{status} {answer.reason}").encode())


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """What the platform says when it refuses a request or a record.

    Parameters
    ----------
    status : int
        HTTP status, when the whole request is refused.
    code : int
        ``ErrorCode``.
    message : str
        ``ErrorMessage``.
    """

    status: int
    code: int
    message: str

    def entry(self) -> dict[str, object]:
        """Return the error as a failed record's entry."""
        return {"ErrorCode": self.code, "ErrorMessage": self.message}

    def response(self) -> Response:
        """Return the error as a whole answer, spelled the way the platform spells it."""
        headers = {"Content-Type": JSON_TYPE}
        return Response(self.status, headers, error_body(self.code, self.message))


class RefusedError(Exception):
    """A request is refused with ``error``."""

    def __init__(self, error: ErrorAnswer) -> None:
        super().__init__(error)
        self.error = error


def error_body(code: int, message: str) -> bytes:
    """Spell an error: tabs from the streaming functions, one line from the file layer.

    Both spellings were captured from the real platform; errno codes come from its files.
    """
    name = orjson.dumps(message).decode()
    if code > -(1 << 24):
        return f'{{ "ErrorCode": {code}, "ErrorMessage": {name} }}'.encode()
    return f'{{\n\t"ErrorCode": {code},\n\t"ErrorMessage": {name}\n}}'.encode()


_STREAM: Final = 12 << 24  # the module of streaming errors; the low bits number them

# Documented numbers: InvalidArgument, ShardIDOutOfRange, Permission denied, No such file and the
# unavailable one. The names of the others are documented, their numbers nowhere: ours are made up.
INVALID_ARGUMENT: Final = ErrorAnswer(400, -_STREAM, "InvalidArgumentException")
RESOURCE_NOT_FOUND: Final = ErrorAnswer(404, -(_STREAM | 1), "ResourceNotFoundException")
SHARD_OUT_OF_RANGE: Final = ErrorAnswer(400, -(_STREAM | 2), "ShardIDOutOfRangeException")
RESOURCE_IN_USE: Final = ErrorAnswer(409, -(_STREAM | 3), "ResourceInUseException")
RESOURCE_IS_NOT_STREAM: Final = ErrorAnswer(400, -(_STREAM | 4), "ResourceIsnotStream")
RESOURCE_NOT_STREAM: Final = ErrorAnswer(400, -(_STREAM | 5), "ResourceNotStreamException")
INVALID_SHARD_COUNT: Final = ErrorAnswer(400, -(_STREAM | 6), "InvalidShardCountException")
ILLEGAL_LOCATION: Final = ErrorAnswer(400, -(_STREAM | 7), "IllegalLocationException")
PERMISSION_DENIED: Final = ErrorAnswer(403, -13, "Permission denied")
UNAUTHORIZED: Final = ErrorAnswer(401, -1, "Unauthorized")
NO_SUCH_FILE: Final = ErrorAnswer(404, -2, "No such file or directory")
NO_CONTAINER: Final = ErrorAnswer(404, -2, "Container not found")
NOT_EMPTY: Final = ErrorAnswer(409, -39, "Directory not empty")
UNAVAILABLE: Final = ErrorAnswer(503, -(7 << 24), "Failed to send a control message request")

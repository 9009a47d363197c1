"""HTTP requests and answers as plain values, and the errors that the platform documents.

Nothing here opens a socket: a server and a simulation pass the same values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http.client import responses
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import unquote

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON_TYPE: Final = "application/json"
SECOND: Final = 1_000_000_000  # nanoseconds

#: Names of the same function; the documentation says Seek, the clients send SeekShard.
_ALIASES: Final = {"SeekShard": "Seek"}

encode_json: Final = msgspec.json.Encoder().encode


def parse_json(body: bytes) -> Any:
    """Parse JSON; raise ValueError for what is not valid or is nested too deeply."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def parse_number(text: str) -> int | None:
    """Return the digits of a text as a number; None where SQLite could not store it."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it was sent."""

    method: str  #: The HTTP verb.
    path: str  # of the request line, percent-encoded or not, any slashes
    query: str = ""  #: What follows the question mark.
    headers: Mapping[str, str] = field(default_factory=dict)  #: Names in any case.
    body: bytes = b""  #: The whole body.

    def header(self, name: str) -> str | None:
        """Return a header's value, whatever the case of its name."""
        wanted = name.lower()
        return next((v for k, v in self.headers.items() if k.lower() == wanted), None)

    @property
    def parts(self) -> list[str]:
        """The decoded names of the path; empty ones are left out."""
        names = (clean_text(unquote(part)) for part in self.path.split("/"))
        return [name for name in names if name]

    @property
    def is_directory(self) -> bool:
        """Whether the path ends in a slash, which means the directory, not the object."""
        return self.path.endswith("/")

    @property
    def function(self) -> str:
        """The ``X-v3io-function``, or the verb of a request that names none."""
        name = self.header("X-v3io-function") or self.method.upper()
        return _ALIASES.get(name, name)


def clean_text(text: str) -> str:
    """Replace surrogates, which neither SQLite nor UTF-8 can hold."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; ``headers`` do not include those of the connection."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def reason(self) -> str:
        """The phrase after the status."""
        return responses.get(self.status, "Unknown")

    def json(self) -> Any:
        """Parse the body as JSON."""
        return parse_json(self.body)


Ending = Literal["keep", "close", "reset"]


@dataclass(frozen=True, slots=True)
class DelayedWrite:
    """A request that is handled after its connection has ended."""

    after_seconds: float
    request: Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Everything a client sees of one request, in the order in which it happens.

    What is stored at once is stored before this value is made.
    """

    response: Response | None  #: The answer. None: not a byte of one.
    #: Share of the request's body that is read. Below 1 the rest never is: the client writes
    #: into a connection that ends.
    body_read: float = 1.0
    wait_seconds: float | None = 0.0  #: Time before the answer begins. None: for ever.
    drip_seconds: float = 0.0  #: Time over which the answer's body is spread.
    body_sent: float = 1.0  #: Share of the answer's body that is sent before ``ending``.
    ending: Ending = "keep"  #: What happens to the connection then.
    #: What is handled later, counted from the end of the connection.
    delayed_writes: tuple[DelayedWrite, ...] = ()
    #: The whole server is killed: every connection is reset, nothing listens for so long, and
    #: what was not on disk is forgotten. None: it stays up.
    down_seconds: float | None = None


def json_response(value: object) -> Response:
    """Answer 200 with a JSON body."""
    return Response(200, {"Content-Type": JSON_TYPE}, encode_json(value))


_PAGE: Final = (
    "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
    "<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n"
    "</body>\r\n</html>\r\n"
)


def html_response(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with an error page of the front end, which knows no JSON."""
    answer = Response(status, {"Content-Type": "text/html", **(headers or {})})
    return replace(answer, body=_PAGE.format(title=f"{status} {answer.reason}").encode())


def http_date(nanoseconds: int) -> str:
    """Format a time for an HTTP header."""
    return formatdate(nanoseconds // SECOND, usegmt=True)


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error of the platform, for a whole request or, without the status, for a record."""

    status: int
    code: int
    message: str

    def entry(self) -> dict[str, object]:
        """Return the error as a failed record's entry."""
        return {"ErrorCode": self.code, "ErrorMessage": self.message}

    def body(self) -> str:
        """Format the error as a body, with the white space of the real platform.

        Both forms were captured: tabs from the streaming functions, one line from the
        file layer, whose codes are errno numbers.
        """
        name = encode_json(self.message).decode()
        if self.code > -(1 << 24):
            return f'{{ "ErrorCode": {self.code}, "ErrorMessage": {name} }}'
        return f'{{\n\t"ErrorCode": {self.code},\n\t"ErrorMessage": {name}\n}}'

    def response(self) -> Response:
        """Return the error as a whole answer."""
        return Response(self.status, {"Content-Type": JSON_TYPE}, self.body().encode())


class RefusedError(Exception):
    """A request is refused with ``error``."""

    def __init__(self, error: ErrorAnswer) -> None:
        super().__init__(error)
        self.error = error


_STREAM: Final = 12 << 24  # the module of streaming errors; the low bits number them


class Errors:
    """The errors of the platform; the numbers 1 and 3 to 7 are not documented, but invented."""

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
    BAD_METHOD: Final = ErrorAnswer(405, -22, "Method not allowed")
    NOT_EMPTY: Final = ErrorAnswer(409, -39, "Directory not empty")
    UNAVAILABLE: Final = ErrorAnswer(503, -(7 << 24), "Failed to send a control message request")

"""The forms of a stream path -> one value.

No name here is looked up and no request made; a path that cannot be one is a
``ConfigError`` before anything is sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from ..errors import ConfigError

MAX_NAME_BYTES: Final = 255  # of one component: platform specifications, "names"
MAX_PATH_BYTES: Final = 4_096  # of the path inside its container
_SCHEMES: Final = {"v3io": "http", "v3ios": "https"}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_EXPECTED: Final = (
    "expected 'container/path/to/stream', 'v3io:///container/path' or "
    "'v3io://host:port/container/path'"
)


@dataclass(frozen=True, slots=True)
class StreamPath:
    """A stream's place; container and path are not percent-encoded, without slashes around."""

    container: str
    path: str
    endpoint: str | None = None  # the API host, where the path names one
    # The percent-encoded URL path, which is a directory's: it is in every request.
    resource: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "resource", f"{resource_path(self.container, self.path)}/")

    def __str__(self) -> str:
        return f"{self.container}/{self.path}"

    def shard_resource(self, shard: int) -> str:
        """Return the percent-encoded URL path of one shard."""
        return f"{self.resource}{shard}"


def resource_path(container: str, path: str) -> str:
    """Percent-encode a place in a container; slashes between names stay."""
    return f"/{quote(container, safe='')}/{quote(path, safe='/')}"


def parse_stream_path(text: str) -> StreamPath:
    """Parse a stream path in any of the forms of the contract.

    Raises
    ------
    ConfigError
        It is none of them. The message says what is wrong and what to write.
    """
    if not isinstance(text, str):
        raise _malformed(text, f"a {type(text).__name__} is not a stream path")
    endpoint, rest = _split_endpoint(text)
    names = list(filter(None, rest.split("/")))
    if len(names) < 2:  # noqa: PLR2004  # a container and at least one name in it
        raise _malformed(text, "a stream path has a container and a path inside it")
    if _SURROGATE.search(text):
        raise _malformed(ascii(text), "it is not Unicode text")
    for name in names:  # that no file system has, or that a proxy would normalize away
        if name in (".", "..") or "\0" in name:
            raise _malformed(text, f"{name!r} is not a name")
        if len(name.encode()) > MAX_NAME_BYTES:
            raise _malformed(text, f"{name[:20]!r}... is longer than {MAX_NAME_BYTES} bytes")
    if len("/".join(names[1:]).encode()) > MAX_PATH_BYTES:
        raise _malformed(text, f"it is longer than {MAX_PATH_BYTES:,} bytes")
    return StreamPath(names[0], "/".join(names[1:]), endpoint)


def _split_endpoint(text: str) -> tuple[str | None, str]:
    """Split off the API host, where the path names one."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return None, text
    if scheme.lower() not in _SCHEMES:
        raise _malformed(_without_userinfo(text), f"its scheme is {scheme!r}")
    authority, _, path = rest.partition("/")
    if "@" in authority:
        raise _malformed(
            _without_userinfo(text), "it holds credentials; give them to the Client instead"
        )
    # MLRun writes the API host here, Spark and the documents the container. A container
    # is not a host name: it has neither a dot nor a port.
    if "." in authority or ":" in authority:
        return f"{_SCHEMES[scheme.lower()]}://{authority}", path
    return None, rest


def _without_userinfo(text: str) -> str:
    """Return a text without what is before an ``@``: it may be a password."""
    return f"...@{text.rpartition('@')[2]}" if "@" in text else text


def _malformed(text: object, why: str) -> ConfigError:
    """Return the error for a stream path: what is wrong, and what to write."""
    shown = repr(text)
    if len(shown) > 200:  # noqa: PLR2004  # a line of a message, not a page
        shown = f"{shown[:200]}..."
    return ConfigError(f"stream path {shown}: {why}; {_EXPECTED}. Correct the path.")

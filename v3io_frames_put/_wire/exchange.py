"""One request, and what came of it, as values.

An attempt ends in an ``Answer`` (a whole one: status, headers and body to its
end) or in a ``Fault``. A fault says how far the request had come, for that alone
decides whether its records may be stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Stage: TypeAlias = Literal["connecting", "sending", "waiting"]
"""How far a request had come: no byte of the body had left, the body was leaving,
or all of it had left."""

FaultKind: TypeAlias = Literal[
    "dns",
    "connect",
    "proxy",
    "tls",
    "certificate",
    "timeout",
    "reset",
    "closed",
    "garbled",
    "stopped",
]
"""What went wrong: name look-up, connect, proxy's CONNECT, TLS, a certificate
we do not trust (always while connecting), a timeout, a reset or
broken pipe, an end of file, bytes that are no HTTP answer, or our own shutting down."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the web API; who we are is added by the transport."""

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

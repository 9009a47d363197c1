"""Faults that refuse a request: too often, too large, not now, not here, not you."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from v3io_frames_put.local._exchange import Exchange
from v3io_frames_put.local._faults import Fault
from v3io_frames_put.local._listing import http_date
from v3io_frames_put.local._messages import (
    UNAVAILABLE,
    ErrorAnswer,
    Request,
    Response,
    html_response,
)

if TYPE_CHECKING:
    from v3io_frames_put.local._api import Platform

#: What of a request is stored though its answer tells something else. A tuple names shards.
Stored = Literal["none", "all", "even_shards", "odd_shards"] | tuple[int, ...]


def store(platform: Platform, request: Request, stored: Stored) -> Response | None:
    """Handle as much of a request as is to be stored."""
    if stored == "none":
        return None
    if stored == "all":
        return platform.handle(request)
    if isinstance(stored, tuple):
        return platform.handle(request, keep_shard=lambda shard: shard in stored)
    parity = 0 if stored == "even_shards" else 1
    return platform.handle(request, keep_shard=lambda shard: shard % 2 == parity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled(Fault):
    """429, nothing stored.

    Parameters
    ----------
    retry_after_seconds : float, optional
        The ``Retry-After`` header; None leaves it out.
    as_date : bool
        Spell it as an HTTP date, counted from the answer's ``Date``.
    """

    retry_after_seconds: int | None = 1
    as_date: bool = False

    def play(self, platform: Platform, request: Request) -> Exchange:  # noqa: ARG002
        """Refuse for now."""
        answer = html_response(429, retry_after(platform, self.retry_after_seconds, self.as_date))
        return Exchange(response=platform.sign(answer))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable(Fault):
    """503 with the platform's own error body.

    Parameters
    ----------
    stored : {"none", "all", "even_shards", "odd_shards"} or tuple of int
        What is stored nonetheless.
    retry_after_seconds : int, optional
        The ``Retry-After`` header; None leaves it out, as the platform does.
    as_date : bool
        Spell it as an HTTP date.
    """

    stored: Stored = "none"
    retry_after_seconds: int | None = None
    as_date: bool = False

    def play(self, platform: Platform, request: Request) -> Exchange:
        """Store what is to be stored, and say it failed."""
        store(platform, request, self.stored)
        headers = retry_after(platform, self.retry_after_seconds, self.as_date)
        answer = UNAVAILABLE.response()
        answer = replace(answer, headers={**answer.headers, **headers})
        return Exchange(response=platform.sign(answer))


@dataclass(frozen=True, slots=True, kw_only=True)
class HtmlError(Fault):
    """A page of the front end in place of JSON: 502, 504, or any other status.

    Parameters
    ----------
    status : int
        The status.
    stored : {"none", "all", "even_shards", "odd_shards"} or tuple of int
        What the platform behind the front end stored.
    """

    status: int = 502
    stored: Stored = "none"

    def play(self, platform: Platform, request: Request) -> Exchange:
        """Answer with a page."""
        store(platform, request, self.stored)
        return Exchange(response=platform.sign(html_response(self.status)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Fault):
    """An error of the platform's, nothing stored: 401 in mid-run, 403, 404, 400.

    Parameters
    ----------
    status, code : int
        HTTP status and ``ErrorCode``.
    message : str
        ``ErrorMessage``.
    """

    status: int = 401
    code: int = -1
    message: str = "Unauthorized"

    def play(self, platform: Platform, request: Request) -> Exchange:  # noqa: ARG002
        """Refuse the request."""
        answer = ErrorAnswer(self.status, self.code, self.message).response()
        return Exchange(response=platform.sign(answer))


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirected(Fault):
    """308 to another place, as the ingress answers plain http.

    Parameters
    ----------
    location : str
        The ``Location`` header.
    """

    location: str = "https://platform.example:8443/"

    def play(self, platform: Platform, request: Request) -> Exchange:  # noqa: ARG002
        """Point elsewhere."""
        return Exchange(response=platform.sign(html_response(308, {"Location": self.location})))


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLarge(Fault):
    """413 from the front end, nothing stored.

    Parameters
    ----------
    closes_early : bool
        Answer before the body is read, and close the connection while it is being sent.
    """

    closes_early: bool = False

    @property
    def is_early(self) -> bool:
        """Whether it acts before the request's body is read."""
        return self.closes_early

    def play(self, platform: Platform, request: Request) -> Exchange:  # noqa: ARG002
        """Refuse the size."""
        answer = platform.sign(html_response(413))
        if self.closes_early:
            return Exchange(response=answer, body_read=0, ending="close")
        return Exchange(response=answer)


def retry_after(platform: Platform, seconds: int | None, as_date: bool) -> dict[str, str]:  # noqa: FBT001
    """Spell a ``Retry-After`` header, or none."""
    if seconds is None:
        return {}
    moment = round((platform.clock() + seconds) * 1_000_000_000)
    return {"Retry-After": http_date(moment) if as_date else str(seconds)}

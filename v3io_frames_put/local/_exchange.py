"""What one request gets, connection and all, as a value.

A server plays it on a socket; a simulation plays it on a virtual clock. When the value is
made, everything that is stored at once is stored already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from v3io_frames_put.local._messages import Request, Response

Ending = Literal["keep", "close", "reset"]


@dataclass(frozen=True, slots=True)
class Ghost:
    """A request that will be handled though its connection is gone."""

    after_seconds: float
    request: Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What a client sees of one request, in the order in which it happens.

    Parameters
    ----------
    body_read : float
        Share of the request's body that is taken. Below 1 the rest never is: the
        client writes into a connection that ends.
    wait_seconds : float, optional
        Before the first byte of the answer. None: for ever.
    response : Response, optional
        The answer. None: not a byte of one.
    drip_seconds : float
        Time over which the answer's body is spread.
    body_sent : float
        Share of the answer's body that is sent before ``ending``.
    ending : {"keep", "close", "reset"}
        What becomes of the connection then: it stays open, ends in order, or is reset.
    ghosts : tuple of Ghost
        What is handled later, counted from the end of the connection.
    down_seconds : float, optional
        The whole server is killed after this: every connection is reset, nothing listens
        for so long, and what was not on disk is forgotten. None: it lives on.
    """

    response: Response | None
    body_read: float = 1.0
    wait_seconds: float | None = 0.0
    drip_seconds: float = 0.0
    body_sent: float = 1.0
    ending: Ending = "keep"
    ghosts: tuple[Ghost, ...] = ()
    down_seconds: float | None = None

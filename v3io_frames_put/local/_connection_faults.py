"""Faults of the connection, and of time: lost, late, slow, or answered by a dead server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from v3io_frames_put.local._exchange import Exchange, Ghost
from v3io_frames_put.local._faults import Fault
from v3io_frames_put.local._refusal_faults import Stored, store

if TYPE_CHECKING:
    from v3io_frames_put.local._api import Platform
    from v3io_frames_put.local._messages import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(Fault):
    """The connection is reset and nothing is stored.

    Parameters
    ----------
    when : {"before_body", "in_body", "after_body"}
        Before a byte of the body is read, in the middle of it, or when it is complete.
    """

    when: Literal["before_body", "in_body", "after_body"] = "after_body"

    @property
    def is_early(self) -> bool:
        """Whether it acts before the request's body is read."""
        return self.when != "after_body"

    def play(self, platform: Platform, request: Request) -> Exchange:  # noqa: ARG002
        """Reset the connection."""
        share = {"before_body": 0.0, "in_body": 0.5, "after_body": 1.0}[self.when]
        return Exchange(response=None, body_read=share, ending="reset")


@dataclass(frozen=True, slots=True, kw_only=True)
class LostAnswer(Fault):
    """The request is stored and its connection ends without a byte of the answer.

    Parameters
    ----------
    stored : {"none", "all", "even_shards", "odd_shards"} or tuple of int
        What is stored.
    ending : {"reset", "close"}
        How the connection ends.
    """

    stored: Stored = "all"
    ending: Literal["reset", "close"] = "reset"

    def play(self, platform: Platform, request: Request) -> Exchange:
        """Store and hang up."""
        store(platform, request, self.stored)
        return Exchange(response=None, ending=self.ending)


@dataclass(frozen=True, slots=True, kw_only=True)
class LateGhost(Fault):
    """The connection is reset, and the records are stored some time after that.

    Parameters
    ----------
    after_seconds : float
        From the reset to the storing.
    """

    after_seconds: float = 3.0

    def play(self, platform: Platform, request: Request) -> Exchange:  # noqa: ARG002
        """Hang up and leave the request behind."""
        ghosts = (Ghost(self.after_seconds, request),)
        return Exchange(response=None, ending="reset", ghosts=ghosts)


@dataclass(frozen=True, slots=True, kw_only=True)
class StalledAnswer(Fault):
    """The request is stored and its answer takes its time.

    Parameters
    ----------
    seconds : float, optional
        Until the answer comes. None: it never does, and the connection stays open.
    stored : {"none", "all", "even_shards", "odd_shards"} or tuple of int
        What is stored, at once. With anything but "all" no answer ever comes.
    """

    seconds: float | None = None
    stored: Stored = "all"

    def play(self, platform: Platform, request: Request) -> Exchange:
        """Store and be silent."""
        answer = store(platform, request, self.stored)
        seconds = self.seconds if self.stored == "all" else None
        return Exchange(response=answer, wait_seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowAnswer(Fault):
    """The request is stored and the body of its answer drips.

    Parameters
    ----------
    seconds : float
        From the first byte of the body to the last.
    """

    seconds: float = 1.0

    def play(self, platform: Platform, request: Request) -> Exchange:
        """Store and drip."""
        return Exchange(response=platform.handle(request), drip_seconds=self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart(Fault):
    """The platform is killed and comes back on the same address.

    All connections are reset. With a data directory, what it had acknowledged is there
    again; in memory, records stay as well, so that only the connections feel it.

    Parameters
    ----------
    stored : {"none", "all", "even_shards", "odd_shards"} or tuple of int
        What of the request at hand is stored before it dies.
    down_seconds : float
        How long connections are refused.
    """

    stored: Stored = "none"
    down_seconds: float = 0.0

    def play(self, platform: Platform, request: Request) -> Exchange:
        """Die."""
        store(platform, request, self.stored)
        return Exchange(response=None, ending="reset", down_seconds=self.down_seconds)

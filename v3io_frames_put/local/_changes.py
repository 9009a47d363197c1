"""Changes to a stream in the middle of a run; the request that meets one goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from v3io_frames_put.local._faults import Fault, stream_of

if TYPE_CHECKING:
    from v3io_frames_put.local._api import Platform
    from v3io_frames_put.local._messages import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Fault):
    """What every change has besides a fault's values.

    Parameters
    ----------
    target : str, optional
        The stream that changes. None: the one the request names.
    """

    target: str | None = None

    def play(self, platform: Platform, request: Request) -> None:
        """Change the stream and let the request go on."""
        self.apply(platform, self.target or stream_of(request))

    def apply(self, platform: Platform, stream: str) -> None:
        """Change a stream."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardsAdded(Change):
    """Somebody calls UpdateStream.

    Parameters
    ----------
    shards : int
        The new shard count.
    """

    shards: int

    def apply(self, platform: Platform, stream: str) -> None:
        """Grow the stream."""
        platform.resize_stream(stream, self.shards)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsDropped(Change):
    """Retention drops records, whatever their age.

    Parameters
    ----------
    keep_last : int
        How many records each shard keeps.
    """

    keep_last: int = 0

    def apply(self, platform: Platform, stream: str) -> None:
        """Drop records."""
        platform.drop_records(stream, keep_last=self.keep_last)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRemoved(Change):
    """Somebody deletes the stream."""

    def apply(self, platform: Platform, stream: str) -> None:
        """Delete the stream."""
        platform.delete_stream(stream)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRemade(Change):
    """Somebody deletes the stream and makes it anew, empty and with as many shards."""

    def apply(self, platform: Platform, stream: str) -> None:
        """Delete and create the stream."""
        found = platform.describe_stream(stream)
        platform.delete_stream(stream)
        platform.create_stream(stream, found.shard_count, found.retention_hours)

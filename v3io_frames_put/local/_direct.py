"""Looking at the platform and changing it without a request: for tests and for faults.

Access keys are not asked for here, and what is wrong raises, since it is the caller's own
mistake.
"""

from __future__ import annotations

import math
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Final

from v3io_frames_put.local._files import Files
from v3io_frames_put.local._records import Record
from v3io_frames_put.local._rules import Rules
from v3io_frames_put.local._store import Store, Stream
from v3io_frames_put.local._streams import NANOSECONDS, Streams
from v3io_frames_put.local._writing import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_DATABASE: Final = "platform.sqlite"


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as it stands in a shard, decoded.

    Attributes
    ----------
    shard_id, sequence_number : int
        Its place in the stream.
    arrival_time : float
        Seconds since 1970.
    data : bytes
        What was put.
    partition_key : str or None
        As given.
    client_info : bytes or None
        As given.
    """

    shard_id: int
    sequence_number: int
    arrival_time: float
    data: bytes
    partition_key: str | None = None
    client_info: bytes | None = None


class DirectAccess:
    """A store with everything in it, reached without HTTP.

    Parameters
    ----------
    data_dir : path, optional
        Directory of the database, made if missing. None keeps everything in memory.
    rules : Rules, optional
        Versions and limits.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self, data_dir: str | Path | None, rules: Rules | None, clock: Callable[[], float]
    ) -> None:
        self.rules, self.clock = rules or Rules(), clock
        self._lock = RLock()
        if data_dir is not None:
            Path(data_dir).mkdir(parents=True, exist_ok=True)
        self._store = Store(None if data_dir is None else Path(data_dir) / _DATABASE)
        self._files = Files(self._store)
        self._streams = Streams(self._store, self._files, self.rules, self._now)
        self._writer = Writer(self._streams)

    def _now(self) -> int:
        """Return the clock's time in nanoseconds."""
        fraction, seconds = math.modf(self.clock())  # apart: the product has too few digits
        return int(seconds) * NANOSECONDS + int(fraction * NANOSECONDS)

    def _find(self, stream: str) -> Stream:
        """Return the stream at ``container/path``."""
        container, path = split_stream(stream, self.rules.containers)
        found = self._store.find_stream(container, path)
        if found is None:
            raise LookupError(f"No stream at {stream!r}. Make it with create_stream.")
        return found

    def create_stream(self, stream: str, shards: int = 1, retention_hours: int = 24) -> None:
        """Make a stream."""
        container, path = split_stream(stream, self.rules.containers)
        body = {"ShardCount": shards, "RetentionPeriodHours": retention_hours}
        with self._lock:
            self._streams.create(container, path, body)

    def describe_stream(self, stream: str) -> Stream:
        """Return a stream's shard count and retention."""
        with self._lock:
            return self._find(stream)

    def resize_stream(self, stream: str, shards: int) -> None:
        """Give a stream another shard count, larger or not."""
        with self._lock:
            self._store.resize_stream(self._find(stream), shards)

    def delete_stream(self, stream: str) -> None:
        """Remove a stream with its records."""
        with self._lock, self._store.transaction():
            found = self._find(stream)
            self._store.remove_stream(found)
            self._files.remove(found.container, found.path, is_directory=True)

    def drop_records(self, stream: str, *, keep_last: int = 0) -> None:
        """Drop each shard's records but the last few, as retention does."""
        with self._lock, self._store.transaction():
            found = self._find(stream)
            for shard in self._store.shards(found):
                self._store.forget(found, shard, shard.last + 1 - keep_last)

    def add_records(
        self,
        stream: str,
        data: Iterable[bytes],
        *,
        shard: int | None = None,
        key: str | None = None,
    ) -> None:
        """Put records as another writer would, past every limit of a request."""
        with self._lock:
            found = self._find(stream)
            for value in data:
                record = Record(data=value, partition_key=key, shard_id=shard)
                self._writer.put(found.container, found.path, [record])

    def records(self, stream: str) -> list[StoredRecord]:
        """Return what stands in a stream, shard after shard, in stored order."""
        with self._lock:
            return list(self._records(self._find(stream)))

    def _records(self, stream: Stream) -> Iterator[StoredRecord]:
        for shard in self._store.shards(stream):
            for batch in self._store.batches(stream, shard.number, shard.first):
                for number, record in enumerate(batch.records, batch.first):
                    if number >= shard.first:
                        yield _decode(shard.number, number, batch.arrival, record)

    def restart(self) -> None:
        """Forget what a killed server forgets: its turns, and what is not on disk."""
        with self._lock:
            self._store.reopen()
            self._writer.forget_turns()

    def clear(self) -> None:
        """Remove every stream and file."""
        with self._lock:
            self._store.clear()
            self._writer.forget_turns()

    def close(self) -> None:
        """Close the store."""
        with self._lock:
            self._store.close()


def split_stream(stream: str, containers: Iterable[str]) -> tuple[str, str]:
    """Split ``container/path``."""
    container, _, path = stream.strip("/").partition("/")
    if container not in containers or not path:
        raise ValueError(
            f"{stream!r} is no stream path; expected container/path, the container one of"
            f" {', '.join(containers)}."
        )
    return container, path


def _decode(shard: int, number: int, arrival: int, record: dict[str, str]) -> StoredRecord:
    """Turn a record of the store into what was put."""
    info = record.get("ClientInfo")
    return StoredRecord(
        shard,
        number,
        arrival / NANOSECONDS,
        b64decode(record["Data"]),
        record.get("PartitionKey"),
        None if info is None else b64decode(info),
    )

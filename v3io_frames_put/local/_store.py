"""Streams, shards and records in SQLite; no HTTP, no clock, no rules of the API.

Records that one request brings to one shard are one row: their wire JSON. So a thousand
records cost a handful of inserts, and reading them back converts nothing. A store on
disk keeps what was committed when its process is killed (write-ahead log, no sync per commit:
a power cut may take the last commits, never the file).
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS streams (
    id INTEGER PRIMARY KEY AUTOINCREMENT, container TEXT NOT NULL, path TEXT NOT NULL,
    shard_count INTEGER NOT NULL, retention_hours INTEGER NOT NULL, UNIQUE (container, path));
CREATE TABLE IF NOT EXISTS shards (
    stream INTEGER NOT NULL, shard INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, bytes INTEGER NOT NULL, mtime INTEGER NOT NULL,
    PRIMARY KEY (stream, shard)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    stream INTEGER NOT NULL, shard INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, arrival INTEGER NOT NULL, records BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS batch_order ON batches (stream, shard, first);
CREATE TABLE IF NOT EXISTS files (
    container TEXT NOT NULL, path TEXT NOT NULL, is_directory INTEGER NOT NULL,
    body BLOB NOT NULL, mtime INTEGER NOT NULL, PRIMARY KEY (container, path, is_directory));
"""


class StoreError(Exception):
    """The data directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream's row; ``id`` is never used again, not even for the same path."""

    id: int
    container: str
    path: str
    shard_count: int
    retention_hours: int


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard that was written: the numbers it still holds are ``first`` to ``last``."""

    number: int
    first: int
    last: int
    bytes: int
    mtime: int  # nanoseconds; the arrival of its newest record


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that came together to one shard: wire JSON without ``ShardId``."""

    first: int
    last: int
    arrival: int
    records: list[dict[str, Any]]


class Store:
    """One SQLite database.

    Parameters
    ----------
    path : Path, optional
        The file. None keeps everything in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._database = self._open()

    def _open(self) -> sqlite3.Connection:
        # The caller serializes; the connection only crosses threads.
        target = ":memory:" if self._path is None else str(self._path)
        database = sqlite3.connect(
            target, check_same_thread=False, isolation_level=None, timeout=0.2
        )
        try:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            database.close()
            raise StoreError(
                f"{target} cannot be opened ({error}). One local platform at a time may use a"
                " data directory: stop the other, or choose another directory."
            ) from error
        return database

    def reopen(self) -> None:
        """Forget what is not on disk; a store in memory keeps its content."""
        if self._path is not None:
            self._database.close()
            self._database = self._open()

    def close(self) -> None:
        """Close the database; closing twice is fine."""
        self._database.close()

    def clear(self) -> None:
        """Remove everything."""
        with self.transaction():
            for table in ("streams", "shards", "batches", "files"):
                self.run(f"DELETE FROM {table}")  # noqa: S608  # the names stand above

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Store all of what follows or nothing; transactions may nest."""
        if self._database.in_transaction:
            yield
            return
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def run(self, statement: str, *values: object) -> sqlite3.Cursor:
        """Run one statement."""
        return self._database.execute(statement, values)

    # streams

    def find_stream(self, container: str, path: str) -> Stream | None:
        """Return the stream at a path, or None."""
        columns = "id, container, path, shard_count, retention_hours"
        row = self.run(
            f"SELECT {columns} FROM streams WHERE container = ? AND path = ?",  # noqa: S608
            container,
            path,
        ).fetchone()
        return None if row is None else Stream(*row)

    def add_stream(self, container: str, path: str, shard_count: int, retention_hours: int) -> None:
        """Make a stream; its shards come with their first record."""
        self.run(
            "INSERT INTO streams (container, path, shard_count, retention_hours)"
            " VALUES (?, ?, ?, ?)",
            container,
            path,
            shard_count,
            retention_hours,
        )

    def resize_stream(self, stream: Stream, shard_count: int) -> None:
        """Change how many shards a stream may have."""
        self.run("UPDATE streams SET shard_count = ? WHERE id = ?", shard_count, stream.id)

    def remove_stream(self, stream: Stream) -> None:
        """Remove a stream with all its shards."""
        self.run("DELETE FROM streams WHERE id = ?", stream.id)
        self.run("DELETE FROM shards WHERE stream = ?", stream.id)
        self.run("DELETE FROM batches WHERE stream = ?", stream.id)

    # shards

    def find_shard(self, stream: Stream, number: int) -> Shard | None:
        """Return a shard, or None before its first record."""
        row = self.run(
            "SELECT shard, first, last, bytes, mtime FROM shards WHERE stream = ? AND shard = ?",
            stream.id,
            number,
        ).fetchone()
        return None if row is None else Shard(*row)

    def shards(self, stream: Stream) -> list[Shard]:
        """Return the shards that were written, by number."""
        rows = self.run(
            "SELECT shard, first, last, bytes, mtime FROM shards WHERE stream = ? ORDER BY shard",
            stream.id,
        )
        return [Shard(*row) for row in rows]

    def remove_shard(self, stream: Stream, number: int) -> None:
        """Remove one shard; its next record is number 1 again."""
        self.run("DELETE FROM shards WHERE stream = ? AND shard = ?", stream.id, number)
        self.run("DELETE FROM batches WHERE stream = ? AND shard = ?", stream.id, number)

    # records

    def append(self, stream: Stream, number: int, records: bytes, *, count: int, now: int) -> int:
        """Put records, a JSON array, at the end of a shard and return the first one's number."""
        shard = self.find_shard(stream, number) or Shard(number, 1, 0, 0, now)
        first, last = shard.last + 1, shard.last + count
        arrival = max(now, shard.mtime)  # a clock set back does not turn a shard's order
        self.run(
            "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)",
            stream.id, number, first, last, arrival, records,
        )  # fmt: skip
        self.run(
            "REPLACE INTO shards VALUES (?, ?, ?, ?, ?, ?)",
            stream.id, number, shard.first, last, shard.bytes + len(records), arrival,
        )  # fmt: skip
        return first

    def batches(self, stream: Stream, number: int, sequence: int) -> Iterator[Batch]:
        """Yield a shard's batches from the one that holds a sequence number on."""
        rows = self.run(
            "SELECT first, last, arrival, records FROM batches"
            " WHERE stream = ? AND shard = ? AND first >= coalesce((SELECT max(first) FROM batches"
            " WHERE stream = ? AND shard = ? AND first <= ?), 0) ORDER BY first",
            stream.id, number, stream.id, number, sequence,
        )  # fmt: skip
        for first, last, arrival, records in rows:
            yield Batch(first, last, arrival, orjson.loads(records))

    def first_at(self, stream: Stream, number: int, arrival: int) -> int | None:
        """Return the number of the earliest record that came at this time or later."""
        row = self.run(
            "SELECT min(first) FROM batches WHERE stream = ? AND shard = ? AND arrival >= ?",
            stream.id,
            number,
            arrival,
        ).fetchone()
        return row[0] if row else None

    def arrival_of(self, stream: Stream, number: int, sequence: int) -> int | None:
        """Return when a record came, or None where there is none."""
        row = self.run(
            "SELECT arrival FROM batches WHERE stream = ? AND shard = ? AND first <= ?"
            " AND last >= ?",
            stream.id, number, sequence, sequence,
        ).fetchone()  # fmt: skip
        return row[0] if row else None

    def expire(self, stream: Stream, number: int, before: int) -> None:
        """Drop a shard's records that came before a time."""
        kept = self.first_at(stream, number, before)
        shard = self.find_shard(stream, number)
        if shard is not None:
            self.forget(stream, shard, kept or shard.last + 1)

    def forget(self, stream: Stream, shard: Shard, first: int) -> None:
        """Drop a shard's records below a sequence number."""
        if first <= shard.first:
            return
        self.run(
            "UPDATE shards SET first = ? WHERE stream = ? AND shard = ?",
            first, stream.id, shard.number,
        )  # fmt: skip
        self.run(
            "DELETE FROM batches WHERE stream = ? AND shard = ? AND last < ?",
            stream.id, shard.number, first,
        )  # fmt: skip

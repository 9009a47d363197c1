"""Streams, shards, records, objects and directories in SQLite; no HTTP and no clock.

Paths begin with their container, which is a directory that always exists. The records
that one request brings to one shard are one row: their JSON as GetRecords
sends it. So a thousand records cost a handful of inserts, and reading them converts
nothing. A store on disk keeps what was committed when its process is killed (write-ahead
log, no sync per commit: a power cut may take the last commits, but never the file).
"""

from __future__ import annotations

import sqlite3
import weakref
from contextlib import contextmanager
from itertools import starmap
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

from ._http import encode_json, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS streams (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE,
    shard_count INTEGER NOT NULL, retention_hours INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS shards (
    stream INTEGER NOT NULL, shard INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, bytes INTEGER NOT NULL, mtime INTEGER NOT NULL,
    PRIMARY KEY (stream, shard)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    stream INTEGER NOT NULL, shard INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, arrival INTEGER NOT NULL, records BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS batch_order ON batches (stream, shard, first);
CREATE TABLE IF NOT EXISTS files (
    path TEXT NOT NULL, is_directory INTEGER NOT NULL, body BLOB NOT NULL,
    mtime INTEGER NOT NULL, PRIMARY KEY (path, is_directory));
CREATE TABLE IF NOT EXISTS items (path TEXT PRIMARY KEY, attributes BLOB NOT NULL);
"""
_SHARDS = "SELECT shard, first, last, bytes, mtime FROM shards WHERE stream = ?"
_FILES = "SELECT path, is_directory, length(body), mtime FROM files"


class StoreError(Exception):
    """The data directory cannot be used; the message says why and what to do."""


class Stream(NamedTuple):
    """A stream; ``id`` is never used again, not even for the same path."""

    id: int
    path: str
    shard_count: int
    retention_hours: int


class Shard(NamedTuple):
    """A shard that was written; it holds the sequence numbers ``first`` to ``last``."""

    number: int
    first: int
    last: int
    bytes: int
    mtime: int  # nanoseconds; the arrival of its newest record


class Batch(NamedTuple):
    """Records of one request and one shard, as JSON values without ``ShardId``."""

    first: int
    arrival: int
    records: list[dict[str, Any]]


class File(NamedTuple):
    """An object or a directory; a written shard is an object of its stream's directory."""

    path: str
    is_directory: bool  # 0 or 1, as SQLite has it
    size: int
    mtime: int  # nanoseconds
    last_sequence: int | None = None  # of a shard

    @property
    def key(self) -> str:
        """The path without its container, as listings have it."""
        return self.path.partition("/")[2]

    @property
    def mode(self) -> int:
        """File type and permissions, which are constants here."""
        return 0o40755 if self.is_directory else 0o100644


class Store:
    """One SQLite database: a file, or for None in memory.

    What reads and changes it is called in a block of ``transaction``.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path, self._lock = path, RLock()
        self._database = self._open()
        weakref.finalize(self, self._database.close)  # a store that is dropped closes its file

    def _open(self) -> sqlite3.Connection:
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
            with self._lock:
                self._database.close()
                self._database = self._open()

    def close(self) -> None:
        """Close the database; closing twice is allowed."""
        with self._lock:
            self._database.close()

    def clear(self) -> None:
        """Remove everything."""
        for table in ("streams", "shards", "batches", "files", "items"):
            self._run(f"DELETE FROM {table}")  # noqa: S608  # one of the names above

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Store all of the block or nothing; one thread at a time is in such a block."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self._database.execute(statement, values)

    # streams

    def find_stream(self, path: str) -> Stream | None:
        """Return the stream at a path, or None."""
        rows = self._run(
            "SELECT id, path, shard_count, retention_hours FROM streams WHERE path = ?", path
        )
        return next(map(Stream._make, rows), None)

    def add_stream(self, path: str, shard_count: int, retention_hours: int) -> None:
        """Make a stream; a shard is made by its first record."""
        self._run(
            "INSERT INTO streams (path, shard_count, retention_hours) VALUES (?, ?, ?)",
            path, shard_count, retention_hours,
        )  # fmt: skip

    def resize_stream(self, stream: Stream, shard_count: int) -> None:
        """Change how many shards a stream may have."""
        self._run("UPDATE streams SET shard_count = ? WHERE id = ?", shard_count, stream.id)

    def remove_stream(self, stream: Stream) -> None:
        """Remove a stream with all its shards."""
        self._run("DELETE FROM streams WHERE id = ?", stream.id)
        self._run("DELETE FROM shards WHERE stream = ?", stream.id)
        self._run("DELETE FROM batches WHERE stream = ?", stream.id)

    # shards

    def find_shard(self, stream: Stream, number: int) -> Shard | None:
        """Return a shard, or None before its first record."""
        return next(
            map(Shard._make, self._run(f"{_SHARDS} AND shard = ?", stream.id, number)), None
        )

    def shards(self, stream: Stream) -> list[Shard]:
        """Return the shards that were written, by number."""
        return [*map(Shard._make, self._run(f"{_SHARDS} ORDER BY shard", stream.id))]

    def remove_shard(self, stream: Stream, number: int) -> None:
        """Remove one shard; its next record has number 1 again."""
        self._run("DELETE FROM shards WHERE stream = ? AND shard = ?", stream.id, number)
        self._run("DELETE FROM batches WHERE stream = ? AND shard = ?", stream.id, number)

    # records

    def append(self, stream: Stream, number: int, records: bytes, *, count: int, now: int) -> int:
        """Append records, a JSON array, to a shard and return the number of the first."""
        shard = self.find_shard(stream, number) or Shard(number, 1, 0, 0, now)
        first, last = shard.last + 1, shard.last + count
        arrival = max(now, shard.mtime)  # a clock set back does not change a shard's order
        batch = (stream.id, number, first, last, arrival, records)
        self._run("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)", *batch)
        size = shard.bytes + len(records)
        changed = (stream.id, number, shard.first, last, size, arrival)
        self._run("REPLACE INTO shards VALUES (?, ?, ?, ?, ?, ?)", *changed)
        return first

    def batches(self, stream: Stream, number: int, sequence: int) -> Iterator[Batch]:
        """Yield a shard's batches, beginning with the one that holds a sequence number."""
        rows = self._run(
            "SELECT first, arrival, records FROM batches"
            " WHERE stream = ? AND shard = ? AND first >= coalesce((SELECT max(first) FROM batches"
            " WHERE stream = ? AND shard = ? AND first <= ?), 0) ORDER BY first",
            stream.id, number, stream.id, number, sequence,
        )  # fmt: skip
        for first, arrival, records in rows:
            yield Batch(first, arrival, parse_json(records))

    def first_at(self, stream: Stream, number: int, arrival: int) -> int | None:
        """Return the number of the earliest record that arrived at this time or later."""
        row = self._run(
            "SELECT min(first) FROM batches WHERE stream = ? AND shard = ? AND arrival >= ?",
            stream.id, number, arrival,
        ).fetchone()  # fmt: skip
        return row[0] if row else None

    def expire(self, stream: Stream, number: int, before: int) -> None:
        """Drop a shard's records that arrived before a time."""
        kept = self.first_at(stream, number, before)
        shard = self.find_shard(stream, number)
        if shard is not None:
            self.drop(stream, shard, kept or shard.last + 1)

    def drop(self, stream: Stream, shard: Shard, first: int) -> None:
        """Drop a shard's records below a sequence number."""
        if first <= shard.first:
            return
        where = "WHERE stream = ? AND shard = ?"
        self._run(f"UPDATE shards SET first = ? {where}", first, stream.id, shard.number)  # noqa: S608
        self._run(f"DELETE FROM batches {where} AND last < ?", stream.id, shard.number, first)  # noqa: S608

    # objects and directories: they may share a name, as on the platform

    def has_directory(self, path: str) -> bool:
        """Return whether a directory exists; a container always does."""
        return "/" not in path or self.find_file(path, is_directory=True) is not None

    def find_file(self, path: str, *, is_directory: bool = False) -> File | None:
        """Return an object or a directory, or None."""
        rows = self._run(f"{_FILES} WHERE path = ? AND is_directory = ?", path, is_directory)
        return next(starmap(File, rows), None)

    def read_object(self, path: str) -> bytes:
        """Return the content of an object that exists."""
        statement = "SELECT body FROM files WHERE path = ? AND is_directory = 0"
        return bytes(self._run(statement, path).fetchone()[0])

    def write_object(self, path: str, body: bytes, now: int) -> None:
        """Make or replace an object, and the directories above it."""
        self.add_directory(path.rpartition("/")[0], now)
        self._run("REPLACE INTO files VALUES (?, 0, ?, ?)", path, body, now)

    def add_directory(self, path: str, now: int) -> None:
        """Make a directory and those above it; an existing one stays as it is."""
        parts = path.split("/")
        for depth in range(2, len(parts) + 1):
            above = "/".join(parts[:depth])
            self._run("INSERT OR IGNORE INTO files VALUES (?, 1, x'', ?)", above, now)

    def remove_file(self, path: str, *, is_directory: bool = False) -> None:
        """Remove an object with its attributes, or an empty directory."""
        self._run("DELETE FROM files WHERE path = ? AND is_directory = ?", path, is_directory)
        if not is_directory:
            self._run("DELETE FROM items WHERE path = ?", path)

    def children(self, path: str) -> list[File]:
        """Return the direct entries of a directory, by name."""
        # "0" is the character after "/": a range that the index serves, unlike LIKE.
        rows = self._run(
            f"{_FILES} WHERE path >= ? AND path < ? ORDER BY path, is_directory",
            f"{path}/", f"{path}0",
        )  # fmt: skip
        return [file for file in starmap(File, rows) if "/" not in file.path[len(path) + 1 :]]

    def attributes(self, path: str) -> dict[str, Any]:
        """Return the attributes that PutItem gave an object: name -> {type: value}."""
        row = self._run("SELECT attributes FROM items WHERE path = ?", path).fetchone()
        attributes: dict[str, Any] = parse_json(row[0]) if row else {}
        return attributes

    def set_attributes(self, path: str, attributes: dict[str, Any]) -> None:
        """Replace the attributes of an object."""
        self._run("REPLACE INTO items VALUES (?, ?)", path, encode_json(attributes))

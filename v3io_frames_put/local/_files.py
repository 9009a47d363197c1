"""Directories and plain objects; streams are directories, too.

A file and a directory may share a name, as on the platform. Directories above a new
entry come into being with it, and stay when it goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from v3io_frames_put.local._store import Store


@dataclass(frozen=True, slots=True)
class File:
    """A plain object or a directory; ``path`` is relative to its container."""

    path: str
    is_directory: bool
    size: int
    mtime: int  # nanoseconds


class Files:
    """The tree of directories and objects in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def has_directory(self, container: str, path: str) -> bool:
        """Tell whether a directory is there; a container's root always is."""
        return not path or self._find(container, path, is_directory=True) is not None

    def has_object(self, container: str, path: str) -> bool:
        """Tell whether a plain object is there."""
        return self._find(container, path, is_directory=False) is not None

    def exists(self, container: str, path: str) -> bool:
        """Tell whether anything is there."""
        return self.has_directory(container, path) or self.has_object(container, path)

    def find(self, container: str, path: str) -> File | None:
        """Return what is at a path, an object before a directory of the same name."""
        return self.find_object(container, path) or self._find(container, path, is_directory=True)

    def find_object(self, container: str, path: str) -> File | None:
        """Return an object, or None."""
        return self._find(container, path, is_directory=False)

    def _find(self, container: str, path: str, *, is_directory: bool) -> File | None:
        row = self._store.run(
            "SELECT path, is_directory, length(body), mtime FROM files"
            " WHERE container = ? AND path = ? AND is_directory = ?",
            container,
            path,
            is_directory,
        ).fetchone()
        return None if row is None else File(row[0], bool(row[1]), row[2], row[3])

    def read(self, container: str, path: str) -> bytes:
        """Return an object's content."""
        row = self._store.run(
            "SELECT body FROM files WHERE container = ? AND path = ? AND is_directory = 0",
            container,
            path,
        ).fetchone()
        return bytes(row[0])

    def write(self, container: str, path: str, body: bytes, now: int) -> None:
        """Make or replace an object."""
        with self._store.transaction():
            self.add_directory(container, path.rpartition("/")[0], now)
            self._store.run("REPLACE INTO files VALUES (?, ?, 0, ?, ?)", container, path, body, now)

    def add_directory(self, container: str, path: str, now: int) -> None:
        """Make a directory and those above it; one that is there stays as it is."""
        parts = path.split("/") if path else []
        for depth in range(1, len(parts) + 1):
            self._store.run(
                "INSERT OR IGNORE INTO files VALUES (?, ?, 1, x'', ?)",
                container,
                "/".join(parts[:depth]),
                now,
            )

    def remove(self, container: str, path: str, *, is_directory: bool) -> None:
        """Remove one entry; a directory has to be empty."""
        self._store.run(
            "DELETE FROM files WHERE container = ? AND path = ? AND is_directory = ?",
            container,
            path,
            is_directory,
        )

    def children(self, container: str, path: str) -> list[File]:
        """Return what lies directly in a directory, by name."""
        prefix = f"{path}/" if path else ""
        # "0" is the character after "/": a range the index serves, unlike LIKE.
        rows = self._store.run(
            "SELECT path, is_directory, length(body), mtime FROM files WHERE container = ?"
            " AND path >= ? AND (? = '' OR path < ?) ORDER BY path, is_directory",
            container,
            prefix,
            prefix,
            f"{path}0",
        )
        files = [File(row[0], bool(row[1]), row[2], row[3]) for row in rows]
        return [file for file in files if file.path and "/" not in file.path[len(prefix) :]]

"""Plain objects and directories: PUT, GET, HEAD, DELETE and append.

A path that ends in a slash means the directory, any other the object. Shards are
objects of their stream's directory; deleting them all lets the directory go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from v3io_frames_put.local._listing import Listing, http_date
from v3io_frames_put.local._messages import (
    NO_SUCH_FILE,
    NOT_EMPTY,
    ErrorAnswer,
    RefusedError,
    Request,
    Response,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from v3io_frames_put.local._files import Files
    from v3io_frames_put.local._store import Store, Stream

_RANGE: Final = re.compile(r"(?:bytes=)?(\d*)-(\d*)$")
_APPEND: Final = "-1"
_BAD_METHOD: Final = ErrorAnswer(405, -22, "Method not allowed")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request points, below a container."""

    container: str
    path: str
    is_directory: bool


class Objects:
    """The verbs of plain HTTP over a store's files."""

    def __init__(
        self, store: Store, files: Files, listing: Listing, now: Callable[[], int]
    ) -> None:
        self._store, self._files, self._listing, self._now = store, files, listing, now

    def answer(self, request: Request, place: Place) -> Response:
        """Answer a request that names no function."""
        verbs = {
            "GET": self._get,
            "HEAD": self._head,
            "PUT": self._put,
            "POST": self._put,
            "DELETE": self._delete,
        }
        verb = verbs.get(request.method.upper())
        if verb is None:
            raise RefusedError(_BAD_METHOD)
        return verb(request, place)

    def _get(self, request: Request, place: Place) -> Response:
        """Return an object or a part of it; a directory is listed."""
        if place.is_directory or not place.path:
            return self._listing.answer(place.container, place.path, request.query)
        file = self._files.find_object(place.container, place.path)
        if file is None:
            raise RefusedError(NO_SUCH_FILE)
        body = self._files.read(place.container, place.path)
        headers = {"Last-Modified": http_date(file.mtime), "Accept-Ranges": "bytes"}
        return _cut(body, request.header("Range"), headers)

    def _head(self, _request: Request, place: Place) -> Response:
        """Tell an object's size and time."""
        if place.is_directory and self._files.has_directory(place.container, place.path):
            return Response(200, {"Content-Length": "0"})
        file = self._files.find_object(place.container, place.path)
        if file is None:
            raise RefusedError(NO_SUCH_FILE)
        times = {"Last-Modified": http_date(file.mtime), "Accept-Ranges": "bytes"}
        return Response(200, {"Content-Length": str(file.size), **times})

    def _put(self, request: Request, place: Place) -> Response:
        """Make, replace or append to an object; make a directory."""
        if place.is_directory:
            with self._store.transaction():
                self._files.add_directory(place.container, place.path, self._now())
            return Response(200)
        body = request.body
        is_append = request.header("Range") == _APPEND
        if is_append and self._files.has_object(place.container, place.path):
            body = self._files.read(place.container, place.path) + body
        self._files.write(place.container, place.path, body, self._now())
        return Response(200)

    def _delete(self, _request: Request, place: Place) -> Response:
        """Remove an object, a shard, or an empty directory."""
        with self._store.transaction():
            if place.is_directory and place.path:
                self._remove_directory(place)
            elif not self._remove_object(place):
                raise RefusedError(NO_SUCH_FILE)
        return Response(204)

    def _remove_directory(self, place: Place) -> None:
        """Remove a directory, which has to be empty, and the stream that it is."""
        if self._listing.entries(place.container, place.path):
            raise RefusedError(NOT_EMPTY)
        stream = self._store.find_stream(place.container, place.path)
        if stream is not None:
            self._store.remove_stream(stream)
        self._files.remove(place.container, place.path, is_directory=True)

    def _remove_object(self, place: Place) -> bool:
        """Remove an object or a shard, and tell whether it was there."""
        if self._files.has_object(place.container, place.path):
            self._files.remove(place.container, place.path, is_directory=False)
            return True
        stream, number = self._shard(place)
        if stream is None or self._store.find_shard(stream, number) is None:
            return False
        self._store.remove_shard(stream, number)
        return True

    def _shard(self, place: Place) -> tuple[Stream | None, int]:
        """Return the stream above a path and the number that the path ends in."""
        above, _, name = place.path.rpartition("/")
        if not name.isdecimal():
            return None, 0
        return self._store.find_stream(place.container, above), int(name)


def _cut(body: bytes, wanted: str | None, headers: dict[str, str]) -> Response:
    """Answer a range of an object; a range we cannot read means all of it, as HTTP has it."""
    headers = {**headers, "Content-Type": "application/octet-stream"}
    found = _RANGE.match(wanted) if wanted else None
    if found is None or not any(found.groups()):
        return Response(200, headers, body)
    first, last = found.groups()
    start = int(first) if first else max(0, len(body) - int(last))
    stop = min(int(last) + 1, len(body)) if first and last else len(body)
    if start >= stop:
        return Response(416, {**headers, "Content-Range": f"bytes */{len(body)}"})
    span = f"bytes {start}-{stop - 1}/{len(body)}"
    return Response(206, {**headers, "Content-Range": span}, body[start:stop])

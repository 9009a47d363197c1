"""The platform without sockets: a request goes in, an answer comes out.

``Platform.handle`` is synchronous and takes the clock as a callable, so a server and a
simulation with a virtual clock run the same code. It may be called from several threads.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from v3io_frames_put.local._access import check_access
from v3io_frames_put.local._direct import DirectAccess
from v3io_frames_put.local._items import Items
from v3io_frames_put.local._listing import Listing, containers_answer, http_date
from v3io_frames_put.local._messages import (
    INVALID_ARGUMENT,
    NO_CONTAINER,
    RefusedError,
    Request,
    Response,
    html_response,
)
from v3io_frames_put.local._objects import Objects, Place
from v3io_frames_put.local._reading import Reader
from v3io_frames_put.local._records import parse_put_records
from v3io_frames_put.local._rules import AccessKey, Rules, access_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from v3io_frames_put.local._writing import ShardChoice

_ON_SHARDS: Final = frozenset({"Seek", "GetRecords"})


class Platform(DirectAccess):
    """The platform's web API over one store.

    Parameters
    ----------
    data_dir : path, optional
        Directory of the database, made if missing. None keeps everything in memory.
    access_key : str, AccessKey or several AccessKey, optional
        Who may do what. None: anybody anything.
    rules : Rules, optional
        Versions and limits.
    clock : callable
        Seconds since 1970. Arrival times, retention and the ``Date`` header follow it.
    """

    def __init__(
        self,
        data_dir: str | Path | None = None,
        *,
        access_key: str | AccessKey | Iterable[AccessKey] | None = None,
        rules: Rules | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(data_dir, rules, clock)
        self._keys = access_keys(access_key)
        listing = Listing(self._store, self._files, self.rules)
        self._objects = Objects(self._store, self._files, listing, self._now)
        self._items, self._reader = Items(listing), Reader(self._streams)

    def handle(self, request: Request, *, keep_shard: ShardChoice | None = None) -> Response:
        """Answer one request, whole.

        Parameters
        ----------
        request : Request
            Any request; what cannot be understood is refused as the platform does.
        keep_shard : callable, optional
            Asked for each shard of a PutRecords; False loses that shard's records, which
            the answer does not tell. For faults: a write that reached some servers.
        """
        with self._lock:
            try:
                response = self._answer(request, keep_shard)
            except RefusedError as refused:
                response = refused.error.response()
            return self.sign(response)

    def sign(self, response: Response) -> Response:
        """Add the headers of the front end."""
        front = {"Server": "nginx", "Date": http_date(self._now())}
        return replace(response, headers={**front, **response.headers})

    def _answer(self, request: Request, keep_shard: ShardChoice | None) -> Response:
        """Answer a request or raise why not; the order of checks is the front end's."""
        is_function = request.header("X-v3io-function") is not None
        if is_function and len(request.body) > self.rules.max_body_bytes:
            return html_response(413)
        check_access(request, self._keys)
        parts = request.parts
        if not parts:
            return containers_answer(self.rules.containers)
        container, path = self._container(parts[0]), "/".join(parts[1:])
        if is_function:
            return self._call(request, container, path, keep_shard)
        is_directory = request.path.endswith("/")
        return self._objects.answer(request, Place(container, path, is_directory))

    def _container(self, name: str) -> str:
        """Return the name of the container that a path names or numbers."""
        for known, number in self.rules.containers.items():
            if name in {known, str(number)}:
                return known
        raise RefusedError(NO_CONTAINER)

    def _call(
        self, request: Request, container: str, path: str, keep_shard: ShardChoice | None
    ) -> Response:
        """Call the function that a request names."""
        if request.function == "PutRecords":
            put = parse_put_records(request.body)
            path = _join(path, put.stream_name)
            return self._writer.put(container, path, put.records, keep_shard)
        body = _parse(request.body)
        path = _join(path, body.get("StreamName"))
        if request.function in _ON_SHARDS:
            path, number = _split_shard(path, body)
            call = self._reader.seek if request.function == "Seek" else self._reader.get
            return call(container, path, number, body)
        calls: dict[str, Callable[[], Response]] = {
            "CreateStream": lambda: self._streams.create(container, path, body),
            "DescribeStream": lambda: self._streams.describe(container, path),
            "UpdateStream": lambda: self._streams.update(container, path, body),
            "GetItem": lambda: self._items.get(container, path, body),
            "GetItems": lambda: self._items.get_all(container, path, body),
        }
        if request.function not in calls:
            raise RefusedError(INVALID_ARGUMENT)
        return calls[request.function]()


def _parse(body: bytes) -> dict[str, Any]:
    """Parse a function's body; none is an empty one."""
    if not body:
        return {}
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedError(INVALID_ARGUMENT) from error
    if not isinstance(parsed, dict):
        raise RefusedError(INVALID_ARGUMENT)
    return parsed


def _join(path: str, name: object) -> str:
    """Put the stream name of a body, if it has one, behind the path; it is one name."""
    if name is None:
        return path
    if not isinstance(name, str) or "/" in name:
        raise RefusedError(INVALID_ARGUMENT)
    return f"{path}/{name}".strip("/")


def _split_shard(path: str, body: dict[str, Any]) -> tuple[str, int]:
    """Return stream path and shard of a function on a shard; the body's shard goes first."""
    given = body.get("ShardId")
    if type(given) is int:
        return path, given
    above, _, name = path.rpartition("/")
    if given is not None or not name.isdecimal():
        raise RefusedError(INVALID_ARGUMENT)
    return above, int(name)

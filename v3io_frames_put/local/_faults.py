"""Which fault happens to which request: matching and counting, no socket and no clock.

A script is a list of faults. Each says which requests it means and which of those it takes;
the kinds of faults say what then happens. The first fault in the list that is due takes the
request. Changes to the platform (shards added, records dropped, ...) take nothing: they
happen, and the request goes on to the faults behind them.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from v3io_frames_put.local._api import Platform
    from v3io_frames_put.local._exchange import Exchange
    from v3io_frames_put.local._messages import Request

_ON_SHARDS: Final = frozenset({"Seek", "GetRecords"})


#: What only the body can tell, and the value that does not ask for it.
_IN_BODY: Final = {"shard": None, "containing": None, "min_records": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What every kind of fault has: which requests it means, and which of them it takes.

    Parameters
    ----------
    function : str
        ``X-v3io-function``, the verb of requests without one, or ``"*"`` for all.
    stream : str, optional
        ``"container/path"`` as the request names it.
    shard : int, optional
        Requests to this shard, or with a record that asks for it.
    containing : str, optional
        Requests with a record whose Data contains this text.
    min_records : int
        Requests with at least so many records.
    min_body_bytes : int
        Requests with at least so long a body.
    nth : int
        The first matching request to take, from 1.
    every : int
        From there, each so-manieth one.
    times : int, optional
        How many requests to take. None: no end.
    """

    function: str = "PutRecords"
    stream: str | None = None
    shard: int | None = None
    containing: str | None = None
    min_records: int = 0
    min_body_bytes: int = 0
    nth: int = 1
    every: int = 1
    times: int | None = 1

    def __post_init__(self) -> None:
        for name, low in (("nth", 1), ("every", 1), ("times", 1)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise ValueError(f"{type(self).__name__}({name}={value}): expected {low} or more.")
        asked = self._asked_of_body()
        if self.is_early and asked:
            raise ValueError(
                f"{type(self).__name__} acts before the body is read and cannot ask for"
                f" {asked[0]!r}, which stands in it. Match by stream, nth and every."
            )

    @property
    def is_early(self) -> bool:
        """Whether it acts before the request's body is read."""
        return False

    def play(self, platform: Platform, request: Request) -> Exchange | None:
        """Make it happen; None lets the request go on."""
        raise NotImplementedError

    def matches(self, request: Request) -> bool:
        """Tell whether a request is one that this fault means."""
        if self.function not in {"*", request.function}:
            return False
        if self.stream is not None and stream_of(request) != self.stream.strip("/"):
            return False
        if body_bytes(request) < self.min_body_bytes:
            return False
        return self._matches_body(request)

    def _asked_of_body(self) -> list[str]:
        """Return the names of what it wants to know of the body."""
        return [name for name, absent in _IN_BODY.items() if getattr(self, name) != absent]

    def _matches_body(self, request: Request) -> bool:
        """Tell whether what the body has to say agrees; it is parsed only if asked."""
        if not self._asked_of_body():
            return True
        records = records_of(request)
        if len(records) < self.min_records:
            return False
        if self.shard is not None and not self._is_shard(request):
            return False
        return self.containing is None or any(contains(r, self.containing) for r in records)

    def _is_shard(self, request: Request) -> bool:
        """Tell whether a request is about the shard."""
        if request.function in _ON_SHARDS:
            named = body_of(request).get("ShardId", request.parts[-1] if request.parts else "")
            return str(named) == str(self.shard)
        return any(record.get("ShardId") == self.shard for record in records_of(request))


class Script:
    """Faults with their counts."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.faults = tuple(faults)
        self._seen = [0] * len(self.faults)
        self._taken = [0] * len(self.faults)

    def due(self, request: Request, *, is_early: bool) -> Iterator[Fault]:
        """Yield the faults whose turn it is; only those that are taken are used up."""
        waiting = []
        for place, fault in enumerate(self.faults):
            if fault.is_early == is_early and fault.matches(request):
                self._seen[place] += 1
                waiting.append(place)
        for place in waiting:
            fault, turn = self.faults[place], self._seen[place] - self.faults[place].nth
            is_left = fault.times is None or self._taken[place] < fault.times
            if is_left and turn >= 0 and turn % fault.every == 0:
                self._taken[place] += 1
                yield fault


def body_of(request: Request) -> dict[str, Any]:
    """Return a request's body as JSON, empty when it is none."""
    try:
        parsed = orjson.loads(request.body or b"{}")
    except orjson.JSONDecodeError:
        return {}  # the platform will refuse it; no fault asks for more
    return parsed if isinstance(parsed, dict) else {}


def records_of(request: Request) -> list[dict[str, Any]]:
    """Return the records of a PutRecords, none for what has none."""
    records = body_of(request).get("Records") if request.function == "PutRecords" else None
    return [r for r in records if isinstance(r, dict)] if isinstance(records, list) else []


def contains(record: dict[str, Any], text: str) -> bool:
    """Tell whether a record's Data contains a text."""
    try:
        return text.encode() in b64decode(record.get("Data") or "")
    except ValueError:
        return False  # no Base64: the platform will refuse it


def body_bytes(request: Request) -> int:
    """Return how long a body is, or is going to be."""
    announced = request.header("Content-Length")
    return len(request.body) or (int(announced) if announced else 0)


def stream_of(request: Request) -> str:
    """Return the stream that a request names, in its path or its body."""
    parts, body = request.parts, body_of(request)
    named = body.get("StreamName")
    if isinstance(named, str) and named:
        parts = [*parts, named]
    elif request.function in _ON_SHARDS and "ShardId" not in body:
        parts = parts[:-1]
    return "/".join(parts)

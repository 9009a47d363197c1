"""Faults of the answer: it says 200, and is not what it should be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import orjson

from v3io_frames_put.local._exchange import Exchange
from v3io_frames_put.local._faults import Fault, body_of, contains, records_of
from v3io_frames_put.local._messages import Request, Response, json_response

if TYPE_CHECKING:
    from v3io_frames_put.local._api import Platform

from v3io_frames_put.local._refusal_faults import Stored, store


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyAnswer(Fault):
    """A status without a body.

    Parameters
    ----------
    status : int
        The status.
    stored : {"none", "all", "even_shards", "odd_shards"} or tuple of int
        What is stored.
    """

    status: int = 200
    stored: Stored = "all"

    def play(self, platform: Platform, request: Request) -> Exchange:
        """Answer with nothing."""
        store(platform, request, self.stored)
        return Exchange(response=platform.sign(Response(self.status)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TruncatedAnswer(Fault):
    """Everything stored, and an answer whose JSON ends in the middle.

    Parameters
    ----------
    share : float
        How much of the body comes, from 0 to 1.
    breaks : bool
        True: the connection is reset there, short of the announced length. False: the
        shorter body is announced, and only a parser notices.
    """

    share: float = 0.5
    breaks: bool = False

    def play(self, platform: Platform, request: Request) -> Exchange:
        """Cut the answer."""
        answer = platform.handle(request)
        if self.breaks:
            return Exchange(response=answer, body_sent=self.share, ending="reset")
        body = answer.body[: int(len(answer.body) * self.share)]
        return Exchange(response=replace(answer, body=body))


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongCounts(Fault):
    """Everything stored, and an answer that counts wrong.

    Parameters
    ----------
    entries : int
        How many entries too many (the last one again), or too few when negative.
    failed : int
        Added to ``FailedRecordCount``.
    """

    entries: int = -1
    failed: int = 0

    def play(self, platform: Platform, request: Request) -> Exchange:
        """Answer with other counts."""
        answer = platform.handle(request)
        body = answer.json()
        entries = body["Records"]
        entries = entries[: self.entries or None] if self.entries < 0 else entries
        entries = entries + entries[-1:] * max(0, self.entries)
        changed = {"FailedRecordCount": body["FailedRecordCount"] + self.failed, "Records": entries}
        return Exchange(response=replace(answer, body=orjson.dumps(changed)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PermutedAnswer(Fault):
    """Everything stored, and the entries of the answer in another order.

    Parameters
    ----------
    order : {"reversed", "rotated", "swapped"}
        Back to front; the first entry last; the first two exchanged.
    """

    order: Literal["reversed", "rotated", "swapped"] = "reversed"

    def play(self, platform: Platform, request: Request) -> Exchange:
        """Answer in another order."""
        answer = platform.handle(request)
        body = answer.json()
        entries = body["Records"]
        orders = {
            "reversed": entries[::-1],
            "rotated": entries[1:] + entries[:1],
            "swapped": entries[1:2] + entries[:1] + entries[2:],
        }
        changed = {**body, "Records": orders[self.order]}
        return Exchange(response=replace(answer, body=orjson.dumps(changed)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordErrors(Fault):
    """Some records of a request fail in an answer of status 200.

    The default passes: the same records are stored when they come again. With
    ``containing`` and ``times=None`` the error belongs to the records and is permanent.

    Parameters
    ----------
    places : tuple of int
        Positions in the request, from 0. With neither places nor ``containing`` all fail.
    code : int
        ``ErrorCode``; any number, documented or not.
    message : str
        ``ErrorMessage``.
    is_stored : bool
        Whether the records are stored although the answer says they failed.
    """

    places: tuple[int, ...] = ()
    code: int = -201326592
    message: str = "InvalidArgumentException"
    is_stored: bool = False

    def play(self, platform: Platform, request: Request) -> Exchange:
        """Fail some records."""
        records = records_of(request)
        hit = {place for place, record in enumerate(records) if self._hits(place, record)}
        kept = [r for place, r in enumerate(records) if self.is_stored or place not in hit]
        answer = _put(platform, request, kept)
        if answer.status != 200:  # noqa: PLR2004
            return Exchange(response=answer)
        given = iter(answer.json()["Records"])
        entries: list[dict[str, Any]] = []
        for place in range(len(records)):
            entry = next(given) if self.is_stored or place not in hit else {}
            failed = {"ErrorCode": self.code, "ErrorMessage": self.message}
            entries.append(failed if place in hit else entry)
        count = sum("ErrorCode" in entry for entry in entries)
        changed = {"FailedRecordCount": count, "Records": entries}
        return Exchange(response=replace(answer, body=orjson.dumps(changed)))

    def _hits(self, place: int, record: dict[str, Any]) -> bool:
        """Tell whether a record fails."""
        if not self.places and self.containing is None:
            return True
        is_named = self.containing is not None and contains(record, self.containing)
        return place in self.places or is_named


def _put(platform: Platform, request: Request, records: list[dict[str, Any]]) -> Response:
    """Put only some records of a request; none at all is no error here."""
    if not records:
        return platform.sign(json_response({"FailedRecordCount": 0, "Records": []}))
    body = orjson.dumps({**body_of(request), "Records": records})
    return platform.handle(replace(request, body=body))

"""Faults: what goes wrong, and for which requests.

There are five kinds of faults. Each is a value that says which requests it takes, and what
happens to them:

================  =====================================================================
``Answer``        another answer, or the platform's own one late, slowly or cut off
``Disconnect``    no answer: the connection ends before, in or after the request's body
``WrongEntries``  all is stored; the answer to PutRecords counts or orders it wrongly
``RecordErrors``  some records fail in an answer of status 200
``Change``        somebody changes the stream; the request goes on
================  =====================================================================

The functions of this module are presets of the first two. Their further arguments are those
of the class, above all which requests are meant (see ``Fault``)::

    >>> from v3io_frames_put.local import faults
    >>> faults.throttled(retry_after_seconds=5, times=2)
    Answer(times=2, status=429, headers={'Retry-After': '5'})
    >>> faults.lost_answer(nth=3)
    Disconnect(nth=3, stored='all')

The first fault of a list that is due takes the request; a ``Change`` lets the next have it.

In a TOML file each fault is a ``[[fault]]`` table: ``kind`` is ``"answer"``,
``"disconnect"``, ``"wrong_entries"``, ``"record_errors"`` or ``"change"``, the other keys
are those of the class. ``times = "forever"`` and ``wait_seconds = "never"`` mean None.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from ._http import (
    JSON_TYPE,
    DelayedWrite,
    Ending,
    ErrorAnswer,
    Errors,
    Exchange,
    RefusedError,
    Request,
    Response,
    encode_json,
    html_response,
)
from ._streams import Body, parse_body

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._platform import Platform
    from ._streams import Record

_OK: Final = 200
_FIRST_ERROR: Final = 300
_BODY_READ: Final = {"before_body": 0.0, "in_body": 0.5, "after_body": 1.0}
_ON_SHARDS: Final = frozenset({"Seek", "GetRecords"})

#: What of a request is stored, whatever the answer says.
Stored = Literal["none", "all", "even_shards", "odd_shards"]


class Fault(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    repr_omit_defaults=True,
    tag_field="kind",
):
    """What every kind of fault has: which requests it means, and which of them it takes."""

    #: ``X-v3io-function``, the verb of requests without one, or ``"*"`` for all.
    function: str = "PutRecords"
    stream: str | None = None  #: ``"container/path"`` as the request names it.
    containing: str | None = None  #: Requests with a record whose Data contains this text.
    min_records: int = 0  #: Requests with at least so many records.
    nth: int = 1  #: The first matching request to take, from 1.
    every: int = 1  #: Then every n-th matching request.
    times: int | None = 1  #: How many requests to take. None: no end.
    #: Before a byte of the request's body is read, in the middle of it, or when it is complete.
    when: Literal["before_body", "in_body", "after_body"] = "after_body"

    def __post_init__(self) -> None:
        kind = type(self).__name__
        for name in ("nth", "every", "times"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{kind}({name}={value}): expected 1 or more.")
        if self.is_early and (self._asks_body() or self._needs_body):
            raise ValueError(
                f"{kind}(when={self.when!r}): it happens before the body is read; expected nothing"
                " that needs the body. Match by stream, nth and every; store nothing."
            )

    @property
    def is_early(self) -> bool:
        """Whether it happens before the request's body is read."""
        return self.when != "after_body"

    @property
    def _needs_body(self) -> bool:
        """Whether it stores something of the request."""
        return True

    def apply(self, platform: Platform, request: Request) -> Exchange | None:
        """Make it happen; None lets the request go on."""
        raise NotImplementedError

    def matches(self, request: Request) -> bool:
        """Return whether this fault means a request."""
        return (
            self.function in {"*", request.function}
            and (self.stream is None or _stream_of(request) == self.stream.strip("/"))
            and (not self._asks_body() or self._matches_body(request))
        )

    def _asks_body(self) -> bool:
        """Return whether a condition needs the body."""
        return self.containing is not None or self.min_records > 0

    def _matches_body(self, request: Request) -> bool:
        records = _body_of(request).records or []
        return len(records) >= self.min_records and (
            self.containing is None or any(_contains(r, self.containing) for r in records)
        )


class Answer(Fault, frozen=True, kw_only=True, tag="answer"):
    """Another answer than the platform's, or its own one late, slowly or cut off."""

    status: int | None = None  #: The HTTP status. None: the platform's own answer.
    headers: dict[str, str] = {}  #: Headers of the answer.
    body: str | None = None  #: Body of the answer. None: an error page of the front end.
    #: What is stored, at once. None: all with a status below 300 or the platform's own answer,
    #: else none.
    stored: Stored | None = None
    wait_seconds: float | None = 0.0  #: Time until the answer begins. None: never.
    drip_seconds: float = 0.0  #: Time from the first byte of the body to the last.
    #: How much of the body is sent. With ``ending="keep"`` the shorter length is announced, and
    #: only a parser notices; else the connection ends there.
    body_share: float = 1.0
    #: What happens to the connection after the answer; before the body is read, it is closed.
    ending: Ending = "keep"

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        if self.status is None and self._stored != "all" and self.wait_seconds is not None:
            raise ValueError(
                f"Answer(stored={self.stored!r}): expected a status, since the platform's own"
                " answer would say that all is stored."
            )

    @property
    def _needs_body(self) -> bool:
        return self._stored != "none"

    @property
    def _stored(self) -> Stored:
        """What is stored, by default according to the status."""
        if self.stored is not None:
            return self.stored
        return "all" if self.status is None or self.status < _FIRST_ERROR else "none"

    def apply(self, platform: Platform, request: Request) -> Exchange:
        """Store what is to be stored, and answer."""
        own = _store(platform, request, self._stored)
        response = own if self.status is None else self._response(platform, self.status)
        sent = self.body_share
        if response is not None and self.ending == "keep":
            body = response.body[: int(len(response.body) * sent)]
            response, sent = replace(response, body=body), 1.0
        return Exchange(
            response=response,
            body_read=_BODY_READ[self.when],
            wait_seconds=self.wait_seconds,
            drip_seconds=self.drip_seconds,
            body_sent=sent,
            ending="close" if self.is_early and self.ending == "keep" else self.ending,
        )

    def _response(self, platform: Platform, status: int) -> Response:
        if self.body is None:
            return platform.sign(html_response(status, self.headers))
        return platform.sign(Response(status, self.headers, self.body.encode()))


class Disconnect(Fault, frozen=True, kw_only=True, tag="disconnect"):
    """The connection ends without a byte of an answer."""

    stored: Stored = "none"  #: What is stored before the connection ends.
    #: The whole request is stored so long after the connection ended.
    stored_after_seconds: float | None = None
    ending: Literal["reset", "close"] = "reset"  #: How the connection ends.
    #: The platform is killed: all connections are reset and refused for so long, then it comes
    #: back on the same address. What it had acknowledged is there again; in memory, too.
    down_seconds: float | None = None

    @property
    def _needs_body(self) -> bool:
        return self.stored != "none" or self.stored_after_seconds is not None

    def apply(self, platform: Platform, request: Request) -> Exchange:
        """Store what is to be stored, and end the connection."""
        _store(platform, request, self.stored)
        later = self.stored_after_seconds
        return Exchange(
            response=None,
            body_read=_BODY_READ[self.when],
            ending=self.ending,
            delayed_writes=() if later is None else (DelayedWrite(later, request),),
            down_seconds=self.down_seconds,
        )


class WrongEntries(Fault, frozen=True, kw_only=True, tag="wrong_entries"):
    """All is stored, and the entries of the answer to PutRecords are wrong."""

    entries: int = 0  #: How many too many (the last one again), or too few when negative.
    failed: int = 0  #: Added to ``FailedRecordCount``.
    #: As they should be; back to front; the first entry last; the first two exchanged.
    order: Literal["kept", "reversed", "rotated", "swapped"] = "kept"

    def apply(self, platform: Platform, request: Request) -> Exchange:
        """Store everything, and answer with other entries."""
        answer = platform.handle(request)
        if request.function != "PutRecords" or answer.status != _OK:
            return Exchange(response=answer)
        body = answer.json()
        entries = body["Records"]
        entries = {
            "kept": entries,
            "reversed": entries[::-1],
            "rotated": entries[1:] + entries[:1],
            "swapped": entries[1:2] + entries[:1] + entries[2:],
        }[self.order]
        entries = entries[: self.entries or None] if self.entries < 0 else entries
        entries = entries + entries[-1:] * max(0, self.entries)
        changed = {"FailedRecordCount": body["FailedRecordCount"] + self.failed, "Records": entries}
        return Exchange(response=replace(answer, body=encode_json(changed)))


class RecordErrors(Fault, frozen=True, kw_only=True, tag="record_errors"):
    """Some records of a request fail in an answer of status 200.

    By default the error passes: the same records are stored when they come again. With
    ``containing`` and ``times=None`` the error belongs to the records and is permanent.
    """

    #: Positions in the request, from 0. With neither places nor ``containing`` all fail.
    places: tuple[int, ...] = ()
    code: int = -201326592  #: ``ErrorCode``; any number, documented or not.
    message: str = "InvalidArgumentException"  #: ``ErrorMessage``.
    is_stored: bool = False  #: Whether they are stored although the answer says they failed.

    def apply(self, platform: Platform, request: Request) -> Exchange:
        """Fail some records and store the others."""
        fails_all = not self.places and self.containing is None
        failing = {
            place
            for place, record in enumerate(_body_of(request).records or [])
            if fails_all or place in self.places or _contains(record, self.containing)
        }

        def is_kept(place: int, _shard: int) -> bool:
            return self.is_stored or place not in failing

        answer = platform.handle(request, is_kept=is_kept)
        if request.function != "PutRecords" or answer.status != _OK:
            return Exchange(response=answer)
        entries = answer.json()["Records"]
        for place in failing:
            entries[place] = {"ErrorCode": self.code, "ErrorMessage": self.message}
        count = sum("ErrorCode" in entry for entry in entries)
        changed = {"FailedRecordCount": count, "Records": entries}
        return Exchange(response=replace(answer, body=encode_json(changed)))


class Change(Fault, frozen=True, kw_only=True, tag="change"):
    """Somebody changes the stream before the request is handled."""

    #: Change the shard count, drop records as retention does, delete the stream, or delete it
    #: and make it anew with as many shards.
    action: Literal["resize", "drop_records", "delete", "recreate"]
    target: str | None = None  #: The stream that changes. None: the one the request names.
    shards: int | None = None  #: Of ``"resize"``: the new shard count.
    keep_last: int = 0  #: Of ``"drop_records"``: how many records each shard keeps.

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        if self.action == "resize" and self.shards is None:
            raise ValueError("Change(action='resize'): expected shards, the new shard count.")

    @property
    def _needs_body(self) -> bool:
        return False

    def apply(self, platform: Platform, request: Request) -> None:
        """Change the stream and let the request go on."""
        stream = self.target or _stream_of(request)
        if self.action == "resize":
            platform.resize_stream(stream, self.shards or 1)
        elif self.action == "drop_records":
            platform.drop_records(stream, keep_last=self.keep_last)
        else:
            before = platform.describe_stream(stream)
            platform.delete_stream(stream)
            if self.action == "recreate":
                platform.create_stream(stream, before.shard_count, before.retention_hours)


def throttled(retry_after_seconds: int | None = 1, **values: Any) -> Answer:
    """Answer 429 with ``Retry-After``, or without it for None; nothing is stored."""
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    return Answer(status=429, headers=headers, **values)


def unavailable(**values: Any) -> Answer:
    """Answer 503 with the platform's own error; nothing is stored, or what ``stored`` says."""
    return _error(Errors.UNAVAILABLE, values)


def refused(
    status: int = 401, *, code: int = -1, message: str = "Unauthorized", **values: Any
) -> Answer:
    """Answer with an error of the platform, nothing stored: 401 in mid-run, 403, 404, 400."""
    return _error(ErrorAnswer(status, code, message), values)


def _error(error: ErrorAnswer, values: dict[str, Any]) -> Answer:
    headers = {"Content-Type": JSON_TYPE}
    return Answer(status=error.status, headers=headers, body=error.body(), **values)


def redirected(location: str = "https://platform.example:8443/", **values: Any) -> Answer:
    """Answer 308 with ``Location``, as the ingress answers plain HTTP."""
    return Answer(status=308, headers={"Location": location}, **values)


def stalled_answer(seconds: float | None = None, **values: Any) -> Answer:
    """Store everything, and answer after some time, or never for None."""
    return Answer(wait_seconds=seconds, **values)


def lost_answer(stored: Stored = "all", **values: Any) -> Disconnect:
    """Store, and end the connection without an answer."""
    return Disconnect(stored=stored, **values)


def delayed_write(after_seconds: float = 3.0, **values: Any) -> Disconnect:
    """Reset the connection, and store everything some time after that."""
    return Disconnect(stored_after_seconds=after_seconds, **values)


def restart(stored: Stored = "none", *, down_seconds: float = 0.0, **values: Any) -> Disconnect:
    """Kill the platform, which comes back on the same address."""
    return Disconnect(stored=stored, down_seconds=down_seconds, **values)


@dataclass(slots=True)
class Arrival:
    """One request that reached the platform."""

    number: int  #: Counted from 1.
    function: str  #: The function, or the verb of a request that names none.
    path: str  # as sent
    in_flight: int  #: Requests of the same function in flight when it came, itself included.
    body_bytes: int = 0  #: Bytes of its body that were read.
    status: int | None = None  #: Status of the answer; None for no answer, or none yet.
    fault: Fault | None = None  #: The last fault that happened to it.


class FaultProxy:
    """A platform behind its faults: what each request gets, decided without a socket.

    A server and a simulation both ask here, and enact the answer on their own clock.
    Delayed writes come back through ``apply_delayed_write`` when their time has come, and
    restarts through ``Platform.restart``.
    """

    def __init__(self, platform: Platform, faults: Iterable[Fault] = ()) -> None:
        self.platform = platform
        self.faults = tuple(faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults; setting them restarts their counts."""
        return self._faults

    @faults.setter
    def faults(self, faults: Iterable[Fault]) -> None:
        self._faults = tuple(faults)
        self._seen = [0] * len(self._faults)
        self._taken = [0] * len(self._faults)

    def exchange(self, request: Request) -> Exchange:
        """Return what a request gets; what is stored at once is stored on return."""
        return self.before_body(request) or self.after_body(request)

    def before_body(self, head: Request, arrival: Arrival | None = None) -> Exchange | None:
        """Return what a request gets before its body is read, if anything."""
        return self._apply(head, arrival, is_early=True)

    def after_body(self, request: Request, arrival: Arrival | None = None) -> Exchange:
        """Return what a complete request gets."""
        taken = self._apply(request, arrival, is_early=False)
        return taken or Exchange(response=self.platform.handle(request))

    def apply_delayed_write(self, write: DelayedWrite) -> None:
        """Handle a request whose connection has ended; nobody reads the answer."""
        self.platform.handle(write.request)

    def _apply(
        self, request: Request, arrival: Arrival | None, *, is_early: bool
    ) -> Exchange | None:
        """Apply the faults that are due until one takes the request; the others stay unused."""
        due = []
        for place, fault in enumerate(self._faults):
            if fault.is_early == is_early and fault.matches(request):
                turn = self._seen[place] - fault.nth + 1
                self._seen[place] += 1
                is_left = fault.times is None or self._taken[place] < fault.times
                if is_left and turn >= 0 and turn % fault.every == 0:
                    due.append(place)
        for place in due:
            self._taken[place] += 1
            if arrival is not None:
                arrival.fault = self._faults[place]
            exchange = self._faults[place].apply(self.platform, request)
            if exchange is not None:
                return exchange
        return None


def _store(platform: Platform, request: Request, stored: Stored) -> Response | None:
    """Handle as much of a request as is to be stored."""
    if stored == "none":
        return None
    if stored == "all":
        return platform.handle(request)

    def is_kept(_place: int, shard: int) -> bool:
        return shard % 2 == (0 if stored == "even_shards" else 1)

    return platform.handle(request, is_kept=is_kept)


def _body_of(request: Request) -> Body:
    """Return the body of a function; an empty one where the platform will refuse it."""
    try:
        return parse_body(request.body)
    except RefusedError:
        return Body()


def _contains(record: Record, text: str | None) -> bool:
    """Return whether a record's Data contains a text."""
    return text is not None and text.encode() in record.data


def _stream_of(request: Request) -> str:
    """Return the stream that a request names, in its path or its body."""
    parts, body = request.parts, _body_of(request)
    if body.stream_name:
        parts = [*parts, body.stream_name]
    elif request.function in _ON_SHARDS and body.shard_id is None:
        parts = parts[:-1]
    return "/".join(parts)


_NULLS: Final = {"times": "forever", "wait_seconds": "never"}


class _File(msgspec.Struct, forbid_unknown_fields=True):
    fault: list[Answer | Disconnect | WrongEntries | RecordErrors | Change] = []


def load_faults(path: str | Path) -> list[Fault]:
    """Read faults from a TOML file.

    Parameters
    ----------
    path : path
        A file with one ``[[fault]]`` table for each fault, in the order in which they are
        asked.

    Raises
    ------
    ValueError
        The file is not valid TOML, or has a kind, a name or a value that does not exist.
    """
    try:
        content = msgspec.toml.decode(Path(path).read_text(encoding="utf-8"))
        tables = content.get("fault")
        for table in tables if isinstance(tables, list) else []:
            for name, word in _NULLS.items():
                if isinstance(table, dict) and table.get(name) == word:
                    table[name] = None
        return list(msgspec.convert(content, _File).fault)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}. Correct the file.") from error

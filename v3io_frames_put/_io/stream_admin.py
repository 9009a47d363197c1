"""Requests that are not PutRecords: a stream's life and shape, retried until answered."""

from __future__ import annotations

import logging
import math
import os
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from v3io_frames_put._io.clock import Clock
from v3io_frames_put._io.endpoint import Endpoint
from v3io_frames_put._producer import classification
from v3io_frames_put._producer.flow_control import Moment, next_pause, parse_retry_after
from v3io_frames_put._wire import api, responses
from v3io_frames_put._wire.api import Answer, Fault
from v3io_frames_put._wire.paths import StreamPath, parse_stream_path
from v3io_frames_put.config import MAX_SHARDS, check_whole
from v3io_frames_put.errors import ConfigError, ProtocolError, RequestError, StreamNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from v3io_frames_put._io.transport import Transport
    from v3io_frames_put._wire.api import Attempt, Request
    from v3io_frames_put._wire.responses import ListingPage, StreamDescription
    from v3io_frames_put.config import Retry, Timeouts

if TYPE_CHECKING:

    class Carrier(Protocol):
        """What a question needs of a transport."""

        def attempt(self, request: Request) -> Attempt: ...
        def close(self) -> None: ...
        def shutdown(self) -> None: ...


_log = logging.getLogger("v3io_frames_put")
_TOO_MANY: Final = 429


class RetryingRequests:
    """Asks one platform, from any thread.

    Parameters
    ----------
    open_transport : callable
        Makes a transport; called once per thread.
    retry : Retry
        How long and how often to ask.
    where : str
        The platform's address, for messages.
    """

    def __init__(
        self,
        open_transport: Callable[[], Carrier],
        retry: Retry,
        *,
        where: str,
        clock: Clock | None = None,
    ) -> None:
        self.where = where
        self._open_transport, self._retry = open_transport, retry
        self._clock = clock or Clock()
        self._lock = threading.Lock()
        self._transports: dict[tuple[int, int], Carrier] = {}
        self._had_contact = False  # a connection was accepted

    def ask(self, request: Request, *, doing: str, is_repeatable: bool = True) -> Answer:
        """Ask until there is an answer that another try would not better.

        Parameters
        ----------
        request : Request
            What is asked.
        doing : str
            The same in words, for messages.
        is_repeatable : bool
            Whether asking twice does no more than asking once. If not, it is asked
            again only while it is sure that nothing was done.

        Raises
        ------
        PlatformUnavailable
            No such answer within ``Retry``, or nobody knows whether it was done.
        RequestError
            The platform's certificate is not trusted, or the scheme is not that of its port.
        """
        failures, first_failure, began = 0, 0.0, self._clock.now()
        while True:
            attempt = self._transport().attempt(request)
            self._had_contact |= isinstance(attempt, Answer) or attempt.stage != "connecting"
            if isinstance(attempt, Answer) and not classification.is_passing(attempt):
                return attempt
            self._check(attempt, doing=doing, is_repeatable=is_repeatable)
            now = self._clock.now()
            failures += 1
            first_failure = first_failure if failures > 1 else now
            pause = self._pause(attempt, failures, now - first_failure, now - began)
            if pause is None:
                seconds = now - (first_failure if self._had_contact else began)
                raise classification.unavailable(
                    attempt, doing=doing, where=self.where, seconds=seconds, tries=failures
                )
            why = classification.describe_last(attempt)
            _log.warning("%s: %s; trying again in %.1f s", doing, why, pause)
            self._clock.sleep(pause)

    def refusal(self, answer: Answer, *, doing: str, stream: StreamPath) -> RequestError:
        """Return the error for an answer without success."""
        return classification.request_error(answer, doing=doing, stream=stream, where=self.where)

    def close(self) -> None:
        """Close every connection; the next question opens a new one."""
        with self._lock:
            transports, self._transports = self._transports, {}
        here = (os.getpid(), threading.get_ident())
        for owner, transport in transports.items():
            if owner[0] == here[0] and owner != here:
                transport.shutdown()  # its thread may be using it, and then asks by another
            else:
                transport.close()

    def _check(self, attempt: Attempt, *, doing: str, is_repeatable: bool) -> None:
        """Raise where asking again would be useless, or could do a thing twice."""
        if isinstance(attempt, Fault) and attempt.kind in classification.CONNECTING_STOPS:
            raise classification.fault_error(attempt, doing=doing)
        if not (is_repeatable or _is_surely_not_done(attempt)):
            raise classification.undecided(attempt, doing=doing, where=self.where)

    def _pause(
        self, attempt: Attempt, failures: int, failing_seconds: float, seconds: float
    ) -> float | None:
        """Return how long to wait before the next try; None: give up."""
        if self._retry.attempts is not None and failures >= self._retry.attempts:
            return None
        longest = math.inf
        if not self._had_contact and self._retry.first_contact_seconds is not None:
            longest = self._retry.first_contact_seconds - seconds
            if longest <= 0:
                return None
        retry_after = parse_retry_after(attempt.headers) if isinstance(attempt, Answer) else None
        moment = Moment(self._clock.now(), self._clock.draw(), retry_after or 0.0, longest)
        return next_pause(
            self._retry, failures=failures, failing_seconds=failing_seconds, moment=moment
        )

    def _transport(self) -> Carrier:
        """Return this thread's transport; a forked child does not share its parent's."""
        owner = (os.getpid(), threading.get_ident())
        transport = self._transports.get(owner)
        if transport is None:
            transport = self._open_transport()
            with self._lock:
                self._transports[owner] = transport
        return transport


def _is_surely_not_done(attempt: Attempt) -> bool:
    if isinstance(attempt, Answer):
        return attempt.status == _TOO_MANY
    return attempt.stage == "connecting"


_SUCCESS: Final = frozenset({200, 201, 204})
_CONFLICT: Final = 409
_NOT_FOUND: Final = 404
_SWEEPS: Final = 3  # a producer that still writes may add a shard's file meanwhile


@dataclass(frozen=True, slots=True)
class StreamAdmin:
    """A stream, and the platform that is asked about it."""

    asker: RetryingRequests
    path: StreamPath

    def describe(self) -> StreamDescription:
        """Ask for shard count and retention."""
        request = api.describe_stream_request(self.path)
        return responses.parse_description(self.expect(request, "describe stream"))

    def create(self, *, shards: int, retention_hours: int, exist_ok: bool) -> StreamDescription:
        """Create the stream; one that exists is left as it is."""
        shards = check_whole("shards", shards, least=1, most=MAX_SHARDS)
        retention_hours = check_whole("retention_hours", retention_hours, least=1)
        request = api.create_stream_request(
            self.path, shards=shards, retention_hours=retention_hours
        )
        # Asked twice, the second answer would call our own stream somebody else's.
        answer = self.asker.ask(request, doing=f"create stream {self.path}", is_repeatable=exist_ok)
        if answer.status in _SUCCESS:
            return responses.StreamDescription(shards, retention_hours)
        if classification.is_missing(answer):
            raise classification.container_not_found(self.path, answer)
        if not _is_in_use(answer):
            raise self.refusal(answer, "create stream")
        return self._adopt(answer, shards, exist_ok=exist_ok)

    def _adopt(self, answer: Answer, shards: int, *, exist_ok: bool) -> StreamDescription:
        """Take the stream that is there already, or say that it is."""
        found = self.describe()
        if not exist_ok:
            raise RequestError(
                f"stream {str(self.path)!r}: it exists already, with {found.shards} shards; "
                f"expected a free path. Choose another, or use it as it is with exist_ok=True.",
                status=answer.status,
                error_code=api.parse_error(answer).code,
            )
        if found.shards != shards:
            _log.warning(
                "stream %s exists with %d shards, not %d; it was left as it is",
                self.path, found.shards, shards,
            )  # fmt: skip
        return found

    def update(self, *, shards: int) -> StreamDescription:
        """Grow the stream to a shard count; one that has it is left as it is."""
        shards = check_whole("shards", shards, least=1, most=MAX_SHARDS)
        found = self.describe()
        if shards < found.shards:
            raise ConfigError(
                f"shards={shards}: stream {str(self.path)!r} has {found.shards} and can only grow. "
                f"Give a larger number."
            )
        if shards == found.shards:
            return found
        request = api.update_stream_request(self.path, shards=shards)
        answer = self.asker.ask(request, doing=f"update stream {self.path}")
        # A try whose answer was lost may have done it: then the next one is refused.
        if answer.status not in _SUCCESS and self.describe().shards != shards:
            raise self.refusal(answer, "update stream")
        return responses.StreamDescription(shards, found.retention_hours)

    def delete(self) -> None:
        """Delete the stream and every record in it, and nothing else.

        All is looked at before anything is deleted.
        """
        self.describe()
        for _ in range(_SWEEPS):
            for key in self._own_keys():
                self._delete(api.delete_object_request(self.path.container, key))
            answer = self._delete(api.delete_directory_request(self.path))
            if answer.status != _CONFLICT:
                return
        raise RequestError(
            f"delete stream {self.path}: its records are deleted, and new ones keep coming; "
            f"expected an empty directory. Stop its producers, then delete again.",
            status=_CONFLICT,
        )

    def _own_keys(self) -> list[str]:
        """List the stream's files, unless something lies there that is none of its own."""
        try:
            pages = list(self.pages())
        except StreamNotFound:
            return []  # a stream that was never written to may have nothing to list
        directories = [name for page in pages for name in page.directories]
        if directories:
            raise RequestError(
                f"delete stream {self.path}: it holds the directory {directories[0]!r}; expected "
                f"only a stream's files. Nothing was deleted; look into it first."
            )
        keys = [entry.key for page in pages for entry in page.objects]
        below = f"{self.path.path}/"
        stray = [key for key in keys if not key.startswith(below) or "/" in key[len(below) :]]
        if stray:
            raise ProtocolError(
                f"delete stream {self.path}: the listing names {stray[0]!r}, which is not below "
                f"it. Nothing was deleted; report this to the platform's administrator."
            )
        return keys

    def _delete(self, request: Request) -> Answer:
        """Delete one thing; one that is gone already is fine."""
        answer = self.asker.ask(request, doing=f"delete stream {self.path}")
        if answer.status in _SUCCESS or answer.status in (_NOT_FOUND, _CONFLICT):
            return answer
        raise self.refusal(answer, "delete stream")

    def pages(self) -> Iterator[ListingPage]:
        """List the stream's directory, page by page."""
        marker: str | None = None
        while True:
            request = api.list_request(self.path.container, self.path.path, marker=marker)
            page = responses.parse_listing(self.expect(request, "list stream"))
            yield page
            if page.next_marker is None:
                return
            if page.next_marker == marker:
                raise ProtocolError(f"list stream {self.path}: its pages repeat themselves.")
            marker = page.next_marker

    def diagnose(self) -> RequestError:
        """Make the error for a stream that the platform says is not there. Never raises.

        Nothing is there, or something else is: the platform's own word is the same.
        """
        try:
            found = self._find_fault()
        except RequestError as error:
            _log.warning("%s", error)
            return classification.stream_not_found(self.path)
        return found or RequestError(
            f"stream {str(self.path)!r}: the platform said that it is not there, and now it is; "
            f"expected it to stay. Look for who deleted it and made it anew."
        )

    def _find_fault(self) -> RequestError | None:
        """Look at what is there. None: the stream."""
        answer = self.asker.ask(
            api.describe_stream_request(self.path), doing=f"describe stream {self.path}"
        )
        if answer.status in _SUCCESS:
            return None
        if not classification.is_missing(answer):
            return self.refusal(answer, "describe stream")
        error = api.parse_error(answer)
        if self._is_there(api.list_request(self.path.container, self.path.path, max_keys=1)):
            return classification.not_a_stream(self.path, error, found="a directory")
        if self._is_there(api.head_object_request(self.path.container, self.path.path)):
            return classification.not_a_stream(self.path, error, found="a file")
        return classification.stream_not_found(self.path, error)

    def _is_there(self, request: Request) -> bool:
        return self.asker.ask(request, doing=f"look at {self.path}").status in _SUCCESS

    def expect(self, request: Request, doing: str) -> Answer:
        """Ask, and accept nothing but success."""
        answer = self.asker.ask(request, doing=f"{doing} {self.path}")
        if answer.status not in _SUCCESS:
            raise self.refusal(answer, doing)
        return answer

    def refusal(self, answer: Answer, doing: str) -> RequestError:
        """Make the error for an answer about this stream."""
        if classification.is_missing(answer):
            return self._look_closer(answer, doing)
        return self.asker.refusal(answer, doing=doing, stream=self.path)

    def _look_closer(self, answer: Answer, doing: str) -> RequestError:
        """Tell a missing stream from something else at its path."""
        return self._find_fault() or self.asker.refusal(answer, doing=doing, stream=self.path)


def _is_in_use(answer: Answer) -> bool:
    """Say whether the path is taken: 409, or in some releases 400 and a name."""
    return answer.status == _CONFLICT or api.parse_error(answer).name == api.RESOURCE_IN_USE


class Session:
    """Where the platform is, who we are, how patient we are; safe to share."""

    def __init__(self, endpoint: Endpoint, timeouts: Timeouts, retry: Retry) -> None:
        self.endpoint, self.timeouts, self.retry = endpoint, timeouts, retry
        self._start()

    def pass_proxies_by(self) -> None:
        """Reach the platform directly, whatever the environment says of proxies."""
        self.endpoint = replace(self.endpoint, is_direct=True)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._askers: dict[str, RetryingRequests] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out connections, and secrets: pickles travel and lie about."""
        endpoint = self.endpoint.without_secrets()
        return {"endpoint": endpoint, "timeouts": self.timeouts, "retry": self.retry}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.endpoint = self.endpoint.with_secrets_of(Endpoint.from_env())
        self._start()

    def locate(self, stream: str | StreamPath) -> StreamPath:
        """Read a stream path, and fill in its API host."""
        place = stream if isinstance(stream, StreamPath) else parse_stream_path(stream)
        url = self.endpoint.at(place.endpoint).url
        if url is None:
            raise ConfigError(
                f"stream {str(place)!r}: no endpoint is known; expected one. "
                f"Set V3IO_API, or give Client(endpoint=...)."
            )
        return StreamPath(place.container, place.path, url)

    def transport(
        self, place: StreamPath | None = None, *, first_contact_seconds: float | None = None
    ) -> Transport:
        """Make a transport to the API host of a place, or to the session's own."""
        from v3io_frames_put._io.transport import Transport

        return Transport(
            self.endpoint.at(place.endpoint if place else None),
            self.timeouts,
            clock=Clock().now,
            first_contact_seconds=first_contact_seconds,
        )

    def remote(self, stream: str | StreamPath) -> StreamAdmin:
        """Return a stream that can be asked about."""
        place = self.locate(stream)
        return StreamAdmin(self._asker(place), place)

    def close(self) -> None:
        """Close every connection; what is asked later opens new ones."""
        with self._lock:
            askers, self._askers = self._askers, {}
        for asker in askers.values():
            asker.close()

    def _asker(self, place: StreamPath) -> RetryingRequests:
        """Return who asks that host; its connections are kept between calls."""
        url = str(place.endpoint)
        with self._lock:
            if url not in self._askers:
                retry = self.retry.where_a_person_waits()
                seconds = retry.first_contact_seconds
                self._askers[url] = RetryingRequests(
                    lambda: self.transport(place, first_contact_seconds=seconds), retry, where=url
                )
            return self._askers[url]

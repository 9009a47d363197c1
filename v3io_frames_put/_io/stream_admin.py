"""Requests that are not PutRecords: a stream's life and shape, retried until answered."""

from __future__ import annotations

import logging
import math
import os
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from .._producer import classification
from .._producer.flow_control import RetryContext, next_pause, parse_retry_after
from .._wire import api, responses
from .._wire.api import Answer, Attempt, Fault, Request
from ..config import MAX_SHARDS, Retry, check_whole
from ..errors import ConfigError, ProtocolError, RequestError
from ..progress import someone_looks_on
from . import request_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._wire.paths import StreamPath
    from .._wire.responses import ListingPage, StreamDescription
    from .transport import Transport

_log = logging.getLogger("v3io_frames_put")
_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance: the real ones, unless others are given."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    draw: Callable[[], float] = random.random  # from [0, 1)


class RetryingRequests:
    """Sends requests to one platform, from any thread, until they are answered.

    Each thread has a transport of its own; ``where`` is the platform's address, for messages.
    """

    def __init__(
        self,
        open_transport: Callable[[], Transport],
        retry: Retry,
        *,
        where: str,
        clock: Clock | None = None,
    ) -> None:
        self.where = where
        self._open_transport, self._retry = open_transport, retry
        self._clock = clock or Clock()
        self._lock = threading.Lock()
        self._transports: dict[tuple[int, int], Transport] = {}
        self._had_contact = False  # a connection was accepted

    def send(self, request: Request, *, doing: str, is_repeatable: bool = True) -> Answer:
        """Send a request until there is an answer that another try would not better.

        ``doing`` is the request in words, for messages. Where sending it twice does more than
        once, it is sent again only while it is sure that nothing was done.

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
            if isinstance(attempt, Fault) and attempt.kind in classification.CONNECTING_STOPS:
                raise request_errors.fault_error(attempt, doing=doing)
            is_not_done = classification.classify_response(attempt).step == "retry"
            if not (is_repeatable or is_not_done):
                raise request_errors.undecided(attempt, doing=doing, where=self.where)
            now = self._clock.now()
            failures += 1
            first_failure = first_failure if failures > 1 else now
            pause = self._pause(attempt, failures, now - first_failure, now - began)
            if pause is None:
                seconds = now - (first_failure if self._had_contact else began)
                raise request_errors.unavailable(
                    attempt, doing=doing, where=self.where, seconds=seconds, tries=failures
                )
            if failures == 1 or someone_looks_on():  # where a line can be rewritten
                _log.warning(
                    "%s: %s; trying again in %.1f s",
                    doing, request_errors.describe_last(attempt), pause,
                    extra={"fields": {"tries": failures}},
                )  # fmt: skip
            self._clock.sleep(pause)

    def close(self) -> None:
        """Close every connection; the next request opens a new one."""
        with self._lock:
            transports, self._transports = self._transports, {}
        here = (os.getpid(), threading.get_ident())
        for owner, transport in transports.items():
            if owner[0] == here[0] and owner != here:
                transport.shutdown()  # its thread may be using it, and then opens another
            else:
                transport.close()

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
        context = RetryContext(self._clock.now(), self._clock.draw(), retry_after or 0.0, longest)
        return next_pause(
            self._retry, failures=failures, failing_seconds=failing_seconds, context=context
        )

    def _transport(self) -> Transport:
        """Return this thread's transport; a forked child does not share its parent's."""
        owner = (os.getpid(), threading.get_ident())
        transport = self._transports.get(owner)
        if transport is None:
            transport = self._open_transport()
            with self._lock:
                self._transports[owner] = transport
        return transport


_SUCCESS: Final = frozenset({200, 201, 204})
_CONFLICT: Final = 409
_NOT_FOUND: Final = 404
_SWEEPS: Final = 3  # a producer that still writes may add a shard's file meanwhile


@dataclass(frozen=True, slots=True)
class StreamAdmin:
    """The stream at a path, and the requests to its platform."""

    requests: RetryingRequests
    path: StreamPath

    def describe(self) -> StreamDescription:
        """Return shard count and retention."""
        doing = f"describe stream {self.path}"
        answer = self.requests.send(api.describe_stream_request(self.path), doing=doing)
        if answer.status not in _SUCCESS:
            raise self.error(answer, "describe stream")
        return self.parse(answer, responses.parse_description)

    def create(self, *, shards: int, retention_hours: int, exist_ok: bool) -> StreamDescription:
        """Create the stream; one that exists is left as it is."""
        shards = check_whole("shards", shards, least=1, most=MAX_SHARDS)
        retention_hours = check_whole("retention_hours", retention_hours, least=1)
        request = api.create_stream_request(
            self.path, shards=shards, retention_hours=retention_hours
        )
        # The answer to a second request would call this stream somebody else's.
        doing = f"create stream {self.path}"
        answer = self.requests.send(request, doing=doing, is_repeatable=exist_ok)
        if answer.status in _SUCCESS:
            made = responses.StreamDescription(shards, retention_hours)
            return self.describe() if answer.body else made  # the web API has no words for it
        if classification.is_missing(answer):
            raise request_errors.container_not_found(self.path, answer)
        error = api.parse_error(answer)
        if answer.status != _CONFLICT and error.name != api.RESOURCE_IN_USE:
            raise self.error(answer, "create stream")
        found = self.describe()
        if not exist_ok:
            raise RequestError(
                f"stream {str(self.path)!r}: it exists already, with {found.shards} shards; "
                f"expected a free path. Choose another, or use it as it is with exist_ok=True.",
                status=answer.status,
                error_code=error.code,
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
        answer = self.requests.send(request, doing=f"update stream {self.path}")
        # A try whose answer was lost may have done it: then the next one is refused.
        if answer.status not in _SUCCESS and self.describe().shards != shards:
            raise self.error(answer, "update stream")
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
        """List the stream's files; raise where anything else is among them."""
        pages = list(self.pages())
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
        answer = self.requests.send(request, doing=f"delete stream {self.path}")
        if answer.status in _SUCCESS or answer.status in (_NOT_FOUND, _CONFLICT):
            return answer
        raise self.error(answer, "delete stream")

    def pages(self) -> Iterator[ListingPage]:
        """List the stream's directory, page by page."""
        marker: str | None = None
        while True:
            request = api.list_request(self.path.container, self.path.path, marker=marker)
            answer = self.requests.send(request, doing=f"list stream {self.path}")
            if classification.is_missing(answer):
                return  # a stream that was never written to may have nothing to list
            if answer.status not in _SUCCESS:
                raise self.error(answer, "list stream")
            page = self.parse(answer, responses.parse_listing)
            yield page
            if page.next_marker is None:
                return
            if page.next_marker == marker:
                raise ProtocolError(f"list stream {self.path}: its pages repeat themselves.")
            marker = page.next_marker

    def parse(self, answer: Answer, parse: Callable[[Answer], _Parsed]) -> _Parsed:
        """Parse an answer about this stream; an error says which stream, and where."""
        try:
            return parse(answer)
        except ProtocolError as error:
            where = f"stream {str(self.path)!r} at {self.requests.where}"
            raise ProtocolError(f"{where}: {error}", status=error.status) from error

    def error(self, answer: Answer, doing: str) -> RequestError:
        """Make the error for an answer about this stream."""
        if classification.is_missing(answer):
            return self._find_missing()
        return request_errors.request_error(
            answer, doing=doing, stream=self.path, where=self.requests.where
        )

    def diagnose(self) -> RequestError:
        """Make the error for a stream that the platform says is not there. Never raises.

        The platform's answer is the same where nothing is there and where something else is.
        """
        try:
            return self._find_missing()
        except RequestError as failure:
            _log.warning("%s", failure)
            return request_errors.stream_not_found(self.path)

    def _find_missing(self) -> RequestError:
        """Look at what is at the path of a stream that was not there."""
        doing = f"describe stream {self.path}"
        answer = self.requests.send(api.describe_stream_request(self.path), doing=doing)
        if answer.status in _SUCCESS:
            return RequestError(
                f"stream {str(self.path)!r}: the platform said that it is not there, and now it "
                f"is; expected it to stay. Look for who deleted it and made it anew."
            )
        if not classification.is_missing(answer):
            return self.error(answer, "describe stream")
        error = api.parse_error(answer)
        container, path = self.path.container, self.path.path
        for found, request in (
            ("a directory", api.list_request(container, path, max_keys=1)),
            ("a file", api.head_object_request(container, path)),
        ):
            if self.requests.send(request, doing=f"look at {self.path}").status in _SUCCESS:
                return request_errors.not_a_stream(self.path, error, found=found)
        return request_errors.stream_not_found(self.path, error)

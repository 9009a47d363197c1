"""Questions to the platform that are not PutRecords: asked again until answered.

One connection per thread, opened when it is needed. This is the one owner of these
requests' retries; the uploader owns those of records.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Final

from v3io_frames_put._delivery import refusals
from v3io_frames_put._delivery.clock import Clock
from v3io_frames_put._delivery.pace import next_delay, parse_retry_after
from v3io_frames_put._wire.exchange import Answer, Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from v3io_frames_put._wire.exchange import Attempt, Request
    from v3io_frames_put._wire.paths import StreamPath
    from v3io_frames_put.config import Retry
    from v3io_frames_put.errors import RequestError

    class Carrier(Protocol):
        """What a question needs of a transport."""

        def attempt(self, request: Request) -> Attempt: ...
        def close(self) -> None: ...
        def shutdown(self) -> None: ...


_log = logging.getLogger("v3io_frames_put")
_TOO_MANY: Final = 429
# What another try may cure: the request took too long, came too often, or met a failure.
_PASSING: Final = frozenset({408, _TOO_MANY, *range(500, 600)})


class Asker:
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
            The platform's certificate is not trusted.
        """
        failures, first_failure = 0, 0.0
        while True:
            attempt = self._transport().attempt(request)
            if isinstance(attempt, Answer) and attempt.status not in _PASSING:
                return attempt
            self._check(attempt, doing=doing, is_repeatable=is_repeatable)
            failures += 1
            first_failure = first_failure if failures > 1 else self._clock.now()
            delay = self._delay(attempt, failures, self._clock.now() - first_failure)
            if delay is None:
                seconds = self._clock.now() - first_failure
                raise refusals.unavailable(
                    attempt, doing=doing, where=self.where, seconds=seconds, tries=failures
                )
            _log.warning("%s: %s; trying again in %.1f s", doing, refusals.tell(attempt), delay)
            self._clock.sleep(delay)

    def refusal(self, answer: Answer, *, doing: str, stream: StreamPath) -> RequestError:
        """Make the error for an answer that is no success."""
        return refusals.refusal(answer, doing=doing, stream=stream, where=self.where)

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
        if isinstance(attempt, Fault) and attempt.kind == "certificate":
            raise refusals.untrusted(attempt, doing=doing)
        if not (is_repeatable or _is_surely_not_done(attempt)):
            raise refusals.undecided(attempt, doing=doing, where=self.where)

    def _delay(self, attempt: Attempt, failures: int, elapsed: float) -> float | None:
        """Say how long to wait, or None when it is time to give up."""
        if self._retry.attempts is not None and failures >= self._retry.attempts:
            return None
        floor = parse_retry_after(attempt.headers) if isinstance(attempt, Answer) else None
        drawn = next_delay(self._retry, failures=failures, draw=self._clock.draw())
        delay = max(floor or 0.0, drawn)
        return delay if elapsed + delay <= self._retry.deadline_seconds else None

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

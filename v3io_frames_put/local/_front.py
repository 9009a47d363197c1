"""The platform behind its script of faults: what each request gets, decided without a socket.

Both the server and a simulation ask here. A simulation calls ``exchange`` and plays the
value it gets on its own clock; ghosts and restarts it hands back through ``haunt`` and
``restart`` when their time has come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from v3io_frames_put.local._exchange import Exchange, Ghost
from v3io_frames_put.local._faults import Fault, Script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from v3io_frames_put.local._api import Platform
    from v3io_frames_put.local._log import Arrival
    from v3io_frames_put.local._messages import Request


class Front:
    """A platform with faults.

    Parameters
    ----------
    platform : Platform
        Answers what no fault takes.
    faults : iterable of Fault
        The script.

    Examples
    --------
    >>> from v3io_frames_put.local import Front, LateGhost, Platform, Request
    >>> now = 0.0
    >>> front = Front(Platform(clock=lambda: now), [LateGhost(after_seconds=4)])
    >>> front.platform.create_stream("projects/s")
    >>> body = b'{"Records": [{"Data": "QQ=="}]}'
    >>> put = Request("POST", "/projects/s", "", {"X-v3io-function": "PutRecords"}, body)
    >>> exchange = front.exchange(put)
    >>> exchange.response, exchange.ending
    (None, 'reset')
    >>> now = 4.0
    >>> front.haunt(exchange.ghosts[0])
    >>> [record.data for record in front.platform.records("projects/s")]
    [b'A']
    """

    def __init__(self, platform: Platform, faults: Iterable[Fault] = ()) -> None:
        self.platform = platform
        self._script = Script(faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The script; setting it starts its counts anew."""
        return self._script.faults

    @faults.setter
    def faults(self, faults: Iterable[Fault]) -> None:
        self._script = Script(faults)

    def exchange(self, request: Request) -> Exchange:
        """Return what a request gets; what is stored at once is stored on return."""
        return self.begin(request) or self.finish(request)

    def begin(self, head: Request, arrival: Arrival | None = None) -> Exchange | None:
        """Return what a request gets before its body is read, if anything."""
        return self._apply(head, arrival, is_early=True)

    def finish(self, request: Request, arrival: Arrival | None = None) -> Exchange:
        """Return what a whole request gets."""
        taken = self._apply(request, arrival, is_early=False)
        return taken or Exchange(response=self.platform.handle(request))

    def haunt(self, ghost: Ghost) -> None:
        """Handle what a dead connection left behind; nobody reads the answer."""
        self.platform.handle(ghost.request)

    def restart(self) -> None:
        """Forget what is not on disk."""
        self.platform.restart()

    def _apply(
        self, request: Request, arrival: Arrival | None, *, is_early: bool
    ) -> Exchange | None:
        """Let the faults that are due happen until one takes the request."""
        for fault in self._script.due(request, is_early=is_early):
            if arrival is not None:
                arrival.fault = type(fault).__name__
            exchange = fault.play(self.platform, request)
            if exchange is not None:
                return exchange
        return None

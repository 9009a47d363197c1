"""The loop of a run: between its decisions, the network and the clock."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from v3io_frames_put._delivery.couriers import Broke, Ended
from v3io_frames_put._wire.exchange import Fault
from v3io_frames_put.errors import PutRecordsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from v3io_frames_put._delivery.couriers import Event
    from v3io_frames_put._delivery.delivery import Delivery
    from v3io_frames_put._delivery.recorder import Recorder
    from v3io_frames_put._wire.exchange import Request

GRACE_SECONDS: Final = 5.0  # a stopped run waits this long for answers under way
_UNRECORDED: Final = Fault("stopped", "connecting", "its journal could not be written")
_TICK_SECONDS: Final = 0.1  # how often progress, ``cancel`` and the grace are looked at


class Network(Protocol):
    """What a run needs of its couriers; tests pass a simulated network."""

    def send(self, ticket: int, request: Request) -> None:
        """Carry a request."""

    def feed(self) -> None:
        """Encode the next window."""

    def collect(self, timeout: float) -> list[Event]:
        """Wait for events."""

    def wake(self) -> None:
        """End a ``collect`` that waits; called by a signal handler."""

    def shutdown(self) -> None:
        """Let no byte leave any more."""

    def close(self) -> None:
        """Free all that was opened; the run is over."""


class StopSwitch:
    """Whether the user wants the run to stop, and how soon.

    Parameters
    ----------
    cancel : threading.Event, optional
        Stops the run when it is set.
    """

    def __init__(self, cancel: threading.Event | None = None) -> None:
        self._cancel = cancel
        self._ignores_ctrl_c = False
        self.presses = 0

    @property
    def is_on(self) -> bool:
        """Whether to send nothing new."""
        return self.presses > 0 or (self._cancel is not None and self._cancel.is_set())

    @property
    def is_urgent(self) -> bool:
        """Whether not even to wait for answers under way: the second Ctrl-C."""
        return self.presses > 1

    @contextmanager
    def on_interrupt(self, wake: Callable[[], None]) -> Iterator[None]:
        """Take Ctrl-C as a press of the switch while the block runs.

        As an exception it could strike between an answer and its outcome. Python
        lets only the main thread handle signals; elsewhere nothing changes. A shell has
        its background jobs ignore Ctrl-C; what is handed on from another signal, as the
        command does with SIGTERM, counts there, too.
        """
        before = signal.getsignal(signal.SIGINT)
        in_main = threading.current_thread() is threading.main_thread()
        if not in_main or before is None:
            yield
            return
        self._ignores_ctrl_c |= before is signal.SIG_IGN

        def press(number: int, _frame: FrameType | None) -> None:
            if number == signal.SIGINT and self._ignores_ctrl_c:
                return
            self.presses += 1
            wake()

        signal.signal(signal.SIGINT, press)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


class Loop:
    """Delivers until every row has its outcome, or the run is stopped.

    Parameters
    ----------
    delivery : Delivery
        Decides.
    network : Network
        Sends requests, and encodes windows.
    switch : StopSwitch
        The user's wish to stop.
    recorder : Recorder, optional
        Makes durable what it was told, before requests leave; where it cannot, the run stops.
    clock, random : callable
        Monotonic seconds; an even draw from [0, 1).

    Attributes
    ----------
    broken : BaseException or None
        What a thread ran into that is no network trouble: it stopped the run, or ended
        its data, and the outcomes are true all the same. None: nothing.
    """

    def __init__(  # what a run is made of
        self,
        delivery: Delivery,
        network: Network,
        *,
        switch: StopSwitch,
        recorder: Recorder | None,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.broken: BaseException | None = None
        self._delivery, self._network = delivery, network
        self._switch, self._recorder = switch, recorder
        self._clock, self._random = clock, random
        self._patience: float | None = None

    def step(self) -> bool:
        """Go round once; return False, without doing anything, when the run is over."""
        delivery = self._delivery
        if delivery.is_done:
            return False
        now = self._clock()
        if self._switch.is_on:
            delivery.stop()
        if delivery.stopped:
            self._patience = self._patience or now + GRACE_SECONDS
            if now >= self._patience or self._switch.is_urgent:
                self._network.shutdown()
                delivery.abandon()
                return False
        reason = self._go_round()
        self.broken = self.broken or reason
        return True

    def _go_round(self) -> BaseException | None:
        """Send what may be sent, wait for what happens, and take it in."""
        now, delivery = self._clock(), self._delivery
        jobs = list(iter(partial(delivery.next_request, now), None))
        try:
            if self._recorder is not None:
                self._recorder.commit()
        except PutRecordsError as error:
            for ticket, _ in jobs:
                delivery.finish(ticket, _UNRECORDED, now=now, draw=self._random())
            delivery.stop()
            return error
        for job in jobs:
            self._network.send(*job)
        if delivery.wants_records:
            self._network.feed()
        wake_at, broken = delivery.wake_at(now), None
        pause = _TICK_SECONDS if wake_at is None else min(_TICK_SECONDS, wake_at - now)
        for event in self._network.collect(pause):
            reason = self._take_in(event, self._clock(), self._random())
            broken = broken or reason
        return broken

    def _take_in(self, event: Event, now: float, draw: float) -> BaseException | None:
        """Take in what happened; return what a thread ran into."""
        delivery = self._delivery
        if isinstance(event, Ended):
            delivery.finish(event.ticket, event.attempt, now=now, draw=draw)
        elif isinstance(event, Broke):
            if event.is_of_data:  # what was read before is sent
                delivery.close()
            else:
                delivery.stop()
            return event.error
        elif event.window is None:
            delivery.close()
        else:
            delivery.offer(event.window)
        return None

"""Runs a delivery: the loop between its decisions, the couriers and the clock."""

from __future__ import annotations

import random
import signal
import threading
import time
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


class Carrier(Protocol):
    """What the loop needs of the couriers; tests pass a simulated network."""

    def send(self, ticket: int, request: Request) -> None:
        """Carry a request."""

    def feed(self) -> None:
        """Encode the next window."""

    def collect(self, timeout: float) -> list[Event]:
        """Wait for events."""

    def shutdown(self) -> None:
        """Let no byte leave any more."""


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


def run(  # noqa: PLR0913  # tests bring a clock and a network of their own
    delivery: Delivery,
    couriers: Carrier,
    *,
    switch: StopSwitch,
    report: Callable[[float], None],
    recorder: Recorder | None = None,
    clock: Callable[[], float] = time.monotonic,
    draw: Callable[[], float] = random.random,
) -> BaseException | None:
    """Deliver until every row has its outcome, or the run is stopped.

    Parameters
    ----------
    delivery : Delivery
        Decides.
    couriers : Carrier
        Does.
    switch : StopSwitch
        The user's wish to stop.
    report : callable
        Called with the time after each round.
    recorder : Recorder, optional
        Makes durable what it was told, before requests leave; where it cannot, the run stops.
    clock, draw : callable
        Monotonic seconds; an even draw from [0, 1).

    Returns
    -------
    BaseException or None
        What a thread ran into that is no network trouble: it stopped the run, or ended
        its data, and the outcomes are true all the same. None: nothing.
    """
    broken: BaseException | None = None
    patience: float | None = None
    while not delivery.is_done:
        now = clock()
        if switch.is_on:
            delivery.stop()
        if delivery.stopped:
            patience = patience or now + GRACE_SECONDS
            if now >= patience or switch.is_urgent:
                couriers.shutdown()
                delivery.abandon()
                break
        reason = _round(delivery, couriers, recorder, clock, draw)
        broken = broken or reason
        report(clock())
    return broken


def _round(
    delivery: Delivery,
    couriers: Carrier,
    recorder: Recorder | None,
    clock: Callable[[], float],
    draw: Callable[[], float],
) -> BaseException | None:
    """Send what may be sent, wait for what happens, and take it in."""
    now = clock()
    jobs = list(iter(partial(delivery.next_request, now), None))
    try:
        if recorder is not None:
            recorder.commit()
    except PutRecordsError as error:
        for ticket, _ in jobs:
            delivery.finish(ticket, _UNRECORDED, now=now, draw=draw())
        delivery.stop()
        return error
    for job in jobs:
        couriers.send(*job)
    if delivery.wants_records:
        couriers.feed()
    broken = None
    for event in couriers.collect(_pause(delivery, now)):
        reason = _handle(delivery, event, clock(), draw())
        broken = broken or reason
    return broken


def _pause(delivery: Delivery, now: float) -> float:
    wake_at = delivery.wake_at(now)
    return _TICK_SECONDS if wake_at is None else min(_TICK_SECONDS, wake_at - now)


def _handle(delivery: Delivery, event: Event, now: float, draw: float) -> BaseException | None:
    """Take in what happened; return what a thread ran into."""
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

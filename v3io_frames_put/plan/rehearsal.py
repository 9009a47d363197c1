"""A whole run on a platform that is only pretended.

The decisions are the upload's own, made by ``Delivery`` in the upload's own loop, so a
plan cannot disagree with them. What nobody can know is when answers come. This platform
answers one request after the other, each as soon as no more rows are wanted.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from v3io_frames_put._delivery.couriers import Ended, Fed
from v3io_frames_put._delivery.delivery import Delivery
from v3io_frames_put._delivery.uploader import StopSwitch, run
from v3io_frames_put._wire.batches import ENVELOPE_BYTES
from v3io_frames_put._wire.exchange import Answer
from v3io_frames_put._wire.put_answers import write_put_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from v3io_frames_put._delivery.couriers import Event
    from v3io_frames_put._delivery.outcomes import Outcomes
    from v3io_frames_put._delivery.policy import Policy
    from v3io_frames_put._wire.batches import Window
    from v3io_frames_put._wire.exchange import Request
    from v3io_frames_put._wire.paths import StreamPath


def rehearse(
    windows: Iterator[Window],
    policy: Policy,
    *,
    stream: StreamPath,
    outcomes: Outcomes,
    report: Callable[[float], None],
) -> Rehearsal:
    """Run an upload to its end without a platform, a clock or a thread.

    Parameters
    ----------
    windows : iterator of Window
        What to send; what it raises is raised.
    policy : Policy
        Of the upload.
    stream : StreamPath
        Where the records would go.
    outcomes : Outcomes
        Where outcomes are written.
    report : callable
        Called after each round, as in an upload.
    """
    rehearsal = Rehearsal(windows, policy)
    delivery = Delivery(policy, stream=stream, outcomes=outcomes)
    run(
        delivery,
        rehearsal,
        switch=StopSwitch(),
        report=report,
        clock=lambda: 0.0,  # nothing takes time here
        draw=lambda: 0.0,  # and nothing is sent again
    )
    return rehearsal


class Rehearsal:
    """Carries windows and requests in place of the couriers, and counts them.

    Attributes
    ----------
    requests, body_bytes : int
        Requests, and bytes of all their bodies.
    """

    def __init__(self, windows: Iterator[Window], policy: Policy) -> None:
        self.requests = self.body_bytes = 0
        self._windows, self._policy = windows, policy
        self._answers: deque[Event] = deque()
        self._is_hungry = False
        self._numbers = self._under_way = self._rounds = 0
        self._waiting_records = self._waiting_bytes = 0
        self._largest_body = self._largest_window = 0
        self._queues: set[int] = set()

    def send(self, ticket: int, request: Request) -> None:
        """Store all that a request carries."""
        self.requests += 1
        self.body_bytes += len(request.body)
        self._largest_body = max(self._largest_body, len(request.body))
        before = self._numbers
        answer, self._numbers = write_put_answer(request.body, before)
        self._waiting_records -= self._numbers - before
        self._waiting_bytes -= len(request.body) - ENVELOPE_BYTES
        self._answers.append(Ended(ticket, Answer(200, {}, answer)))

    def feed(self) -> None:
        """Note that more rows are wanted."""
        self._is_hungry = True

    def collect(self, timeout: float) -> list[Event]:  # noqa: ARG002  # nothing to wait for
        """Hand out the next window if one is wanted, else the oldest answer."""
        if self._is_hungry:
            self._is_hungry = False
            return [Fed(self._next_window())]
        if self._is_full_request_waiting:
            self._rounds += 1
            self._under_way += len(self._answers)
        return [self._answers.popleft()]

    @property
    def _is_full_request_waiting(self) -> bool:
        limits = self._policy.limits
        return (
            self._waiting_records >= limits.max_records
            or self._waiting_bytes >= limits.max_body_bytes
        )

    def shutdown(self) -> None:
        """Cut no connection: there is none."""

    def _next_window(self) -> Window | None:
        window = next(self._windows, None)
        if window is not None:
            self._largest_window = max(self._largest_window, window.entries.nbytes)
            self._waiting_records += len(window.entries)
            self._waiting_bytes += window.entries.nbytes
            if len(self._queues) < 2:  # noqa: PLR2004  # from two on they compete
                self._queues |= self._queues_of(window)
        return window

    def _queues_of(self, window: Window) -> set[int]:
        """Find the queues whose records are never in one order with the others'."""
        destination = window.entries.destination
        if self._policy.order == "none":
            destination = np.zeros_like(destination)
        elif self._policy.max_in_flight == 1:
            destination = destination != 0  # one lane holds them all
        return set(np.unique(destination).tolist())

    @property
    def requests_vary(self) -> bool:
        """Whether the number of requests depends on when answers come.

        It does where records of several queues wait for each other, and where answers
        that are late fill the memory, so that requests leave before they are full.
        """
        if self.requests <= 1:
            return False
        if len(self._queues) > 1:
            return True
        under_way = self._largest_body * self._policy.most_in_flight
        held = under_way + self._largest_body + 2 * self._largest_window
        return held > self._policy.max_in_flight_bytes

    @property
    def parallel_requests(self) -> float:
        """How many requests are under way at once, on average, while a full one waits.

        Fewer than the policy allows: its rows wait for rows that are under way.
        """
        if not self._rounds:
            return float(self._policy.most_in_flight)
        return self._under_way / self._rounds

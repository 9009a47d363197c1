"""The upload's own queues and batches, emptied by a platform that answers at once.

What timing cannot change is exact: which records there are, and their bytes. How many
requests carry them is the fewest; answers that take time leave lanes busy, and a batch
then leaves with less.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from v3io_frames_put._delivery import settling
from v3io_frames_put._delivery.backlog import Backlog
from v3io_frames_put._wire.batches import ENVELOPE_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from v3io_frames_put._delivery.outcomes import Outcomes
    from v3io_frames_put._delivery.policy import Policy
    from v3io_frames_put._wire.batches import Entries, Window


class Rehearsal:
    """Gathers every batch of an upload and counts it.

    Parameters
    ----------
    policy : Policy
        Of the upload.
    outcomes : Outcomes
        Takes the rows that no body can carry.
    """

    def __init__(self, policy: Policy, outcomes: Outcomes) -> None:
        self.requests = self.body_bytes = 0
        self._outcomes = outcomes
        self._policy = policy
        self._backlog = Backlog(1)  # all lanes are always idle, so one is as good as many
        self._window_bytes = 0
        self._largest_body = 0
        self._is_keyed = False
        self._waits = Waits(policy)

    def offer(self, window: Window) -> Entries:
        """Take the next window; return the entries that can be sent."""
        self._outcomes.open(window.num_rows)
        most = min(self._policy.limits.max_body_bytes, self._policy.max_in_flight_bytes)
        entries = settling.reject_too_large(self._outcomes, window.entries, most)
        if self._policy.order == "none":
            entries = replace(entries, destination=np.zeros_like(entries.destination))
        self._is_keyed = self._is_keyed or bool(entries.destination.any())
        self._window_bytes = max(self._window_bytes, entries.nbytes)
        self._waits.add(entries)
        self._backlog.add(entries)
        self._send(partial=False)
        self._send(partial=not self._wants_records)
        return entries

    def close(self) -> None:
        """Send what is left."""
        self._send(partial=True)
        self._waits.close()

    @property
    def _wants_records(self) -> bool:
        """The rule of ``Delivery.wants_records``, with nothing under way."""
        held = self._backlog.nbytes
        return not held or held + self._window_bytes <= self._policy.max_in_flight_bytes

    def _send(self, *, partial: bool) -> None:
        limits = self._policy.limits
        while (batch := self._backlog.next_batch(0.0, limits, partial=partial)) is not None:
            body_bytes = batch.entries.nbytes + ENVELOPE_BYTES
            self.requests += 1
            self.body_bytes += body_bytes
            self._largest_body = max(self._largest_body, body_bytes)
            self._backlog.advance(batch)

    @property
    def requests_vary(self) -> bool:
        """Whether an upload without trouble may send more requests."""
        if self.requests <= 1:
            return False
        if self._is_keyed and self._policy.max_in_flight > 1:
            return True
        under_way = self._largest_body * self._policy.max_in_flight
        held = under_way + self._largest_body + 2 * self._window_bytes
        return held > self._policy.max_in_flight_bytes

    @property
    def parallel_requests(self) -> float:
        """About how many requests can be under way at once."""
        return self._waits.parallel_requests


class Waits:
    """How far rows of one destination hold each other up.

    An upload sees ``max_in_flight_bytes`` of records at once. Among these, those of one
    destination go one request after another; the others fill requests beside them.
    """

    def __init__(self, policy: Policy) -> None:
        self._max_in_flight = policy.max_in_flight
        self._max_records = policy.limits.max_records
        self._horizon_bytes = policy.max_in_flight_bytes
        self._counts: list[tuple[NDArray[Any], NDArray[Any]]] = []
        self._records = self._bytes = 0
        self._work = self._span = 0.0

    def add(self, entries: Entries) -> None:
        """Take the next records."""
        self._counts.append(np.unique(entries.destination, return_counts=True))
        self._records += len(entries)
        self._bytes += entries.nbytes
        if self._bytes >= self._horizon_bytes:
            self.close()

    def close(self) -> None:
        """Weigh the records seen since the last horizon."""
        if self._records:
            needed = max(1.0, self._records / self._max_records)
            alone = self._largest() / self._max_records
            self._work += needed
            self._span += max(needed / self._max_in_flight, alone)
        self._counts, self._records, self._bytes = [], 0, 0

    def _largest(self) -> int:
        destinations = np.concatenate([found for found, _ in self._counts])
        counts = np.concatenate([counted for _, counted in self._counts])
        _, places = np.unique(destinations, return_inverse=True)
        totals = np.bincount(places, weights=counts * (destinations != 0))
        return int(totals.max())

    @property
    def parallel_requests(self) -> float:
        """Work over the longest chain of requests that wait for each other."""
        return self._work / self._span if self._span else float(self._max_in_flight)

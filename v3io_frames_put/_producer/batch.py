"""A batch: the records of one request and what happened to them so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from v3io_frames_put._producer.outcomes import Failure
    from v3io_frames_put._wire.bodies import Entries

NOT_REORDERED: Final = np.int64(np.iinfo(np.int64).max)
_PER_RECORD = ("maybe_stored", "sent_twice", "reordered_at", "is_in_doubt", "why")


@dataclass(slots=True)
class Batch:
    """Records that travel together until each has its outcome.

    Attributes
    ----------
    entries : Entries
        The records that have no outcome yet.
    lanes : frozenset of int
        Lanes that wait for this batch and its ``rest``.
    maybe_stored : ndarray of bool
        Per record: an earlier request may have stored it, and nobody has looked.
    sent_twice : ndarray of bool
        Per record: it was sent again although it may have been stored.
    reordered_at : ndarray of int64
        Per record: the least number that a later record of its destination is stored under.
        NOT_REORDERED: none is known to be.
    is_in_doubt : ndarray of bool
        Per record: a request that carried it ended unknown, though it may be resolved.
    why : ndarray of Failure
        Per record: what its last request failed with. None: it did not fail.
    request : int
        The number of the last request that carried them.
    attempts : int
        Requests that carried these records.
    failures : int
        Those of them that ended without an outcome.
    resets : int
        Those of them that were cut off while the body was leaving.
    floor : ndarray of int64 or None
        The highest number of each shard before the first request (``exactly_once``).
    first_failure : float
        When the first of them failed; the deadline counts from it. Infinity: none did.
    rest : Batch or None
        The other half of a batch that was split: to be sent after this one.
    """

    entries: Entries
    lanes: frozenset[int]
    maybe_stored: NDArray[np.bool_] = field(init=False)
    sent_twice: NDArray[np.bool_] = field(init=False)
    reordered_at: NDArray[np.int64] = field(init=False)
    is_in_doubt: NDArray[np.bool_] = field(init=False)
    why: NDArray[Any] = field(init=False)
    floor: NDArray[np.int64] | None = None
    request: int = -1
    attempts: int = 0
    failures: int = 0
    resets: int = 0
    first_failure: float = math.inf
    rest: Batch | None = None

    def __post_init__(self) -> None:
        count = len(self.entries)
        self.maybe_stored = np.zeros(count, np.bool_)
        self.sent_twice = np.zeros(count, np.bool_)
        self.reordered_at = np.full(count, NOT_REORDERED)
        self.is_in_doubt = np.zeros(count, np.bool_)
        self.why = np.full(count, None, object)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def nbytes(self) -> int:
        """Encoded bytes of these records and of those that wait behind them."""
        return sum(link.entries.nbytes for link in links(self))

    def pick(self, positions: NDArray[np.intp]) -> Batch:
        """Leave only some of the records, with their story."""
        picked = replace(self, entries=self.entries.take(positions))
        for name in _PER_RECORD:
            setattr(picked, name, getattr(self, name)[positions])
        return picked

    def halves(self) -> Batch:
        """Split in two; the second half waits behind the first, which is returned."""
        middle = len(self) // 2
        second = self.pick(np.arange(middle, len(self)))
        first = self.pick(np.arange(middle))
        first.rest = second
        return first

    def fail_at(self, now: float) -> None:
        """Note that a request of all records ended without an outcome."""
        self.failures += 1
        self.first_failure = min(self.first_failure, now)

    def blame(self, failure: Failure) -> None:
        """Note what the last request of all records failed with."""
        self.why[:] = failure


def links(batch: Batch | None) -> Iterator[Batch]:
    """Go through a batch and the halves that wait behind it, in order."""
    while batch is not None:
        yield batch
        batch = batch.rest

"""A batch: the records of one request, and what happened to each of them so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from v3io_frames_put._producer.values import Failure
    from v3io_frames_put._wire.bodies import Entries

NOT_REORDERED: Final = np.int64(np.iinfo(np.int64).max)

RECORD_STATE: Final = np.dtype(
    [
        # An earlier request may have stored it, and no look-up has resolved that yet.
        ("maybe_stored", np.bool_),
        # It was sent again although it may have been stored.
        ("sent_twice", np.bool_),
        # A request that carried it ended unknown; stays set when that is resolved.
        ("in_doubt", np.bool_),
        # The least number that a later record of its destination is stored under.
        ("reordered_at", np.int64),
        # The ``Failure`` of its last request. None: that did not fail.
        ("why", object),
    ]
)
_NEW: Final = np.array([(False, False, False, NOT_REORDERED, None)], RECORD_STATE)


@dataclass(slots=True)
class Batch:
    """Records that travel together until each has its outcome.

    A batch is sent, and sent again, with the same entries. Records that get an outcome leave
    it; when it is split, the second half waits in ``rest`` until the first is over, because
    both may hold rows of one destination:

        [1 2 3 4 5 6 7 8]  -413->  [1 2 3 4] rest [5 6 7 8]
                           -413->  [1 2] rest [3 4] rest [5 6 7 8]

    Attributes
    ----------
    entries : Entries
        The records that have no outcome yet.
    lanes : tuple of int
        Lanes that wait for this batch and its ``rest``.
    state : ndarray of RECORD_STATE
        What happened to each record.
    request : int
        The number of the last request that carried them.
    attempts : int
        Requests that carried these records.
    has_arrived : bool
        Whether one of them reached the platform: its connection was made.
    failures : int
        Those of them that ended without an outcome.
    resets : int
        Those of them that were cut off while the body was leaving.
    low_watermark : ndarray of int64 or None
        The highest number of each shard before the first request (``exactly_once``).
    first_failure : float
        When the first of them failed; the deadline counts from it. Infinity: none did.
    rest : Batch or None
        The other half of a batch that was split: to be sent after this one.
    """

    entries: Entries
    lanes: tuple[int, ...]
    state: NDArray[Any] = field(init=False)
    low_watermark: NDArray[np.int64] | None = None
    request: int = -1
    attempts: int = 0
    has_arrived: bool = False
    failures: int = 0
    resets: int = 0
    first_failure: float = math.inf
    rest: Batch | None = None

    def __post_init__(self) -> None:
        self.state = _NEW.repeat(len(self.entries.shard))

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def nbytes(self) -> int:
        """Encoded bytes of these records and of those in ``rest``."""
        if self.rest is None:
            return self.entries.nbytes
        return sum(part.entries.nbytes for part in iterate_parts(self))

    def pick(self, positions: NDArray[np.intp]) -> Batch:
        """Return a batch of only some of the records, with their state."""
        picked = replace(self, entries=self.entries.take(positions))
        picked.state = self.state[positions]
        return picked

    def split(self) -> Batch:
        """Return the first half of the records; the second half waits in its ``rest``."""
        middle = len(self) // 2
        second = self.pick(np.arange(middle, len(self)))
        first = self.pick(np.arange(middle))
        first.rest = second
        return first

    def note_failure(self, now: float) -> None:
        """Count a request of all records that ended without an outcome."""
        self.failures += 1
        self.first_failure = min(self.first_failure, now)

    def set_reason(self, failure: Failure) -> None:
        """Set what the last request of all records failed with."""
        self.state["why"][:] = failure


def iterate_parts(batch: Batch | None) -> Iterator[Batch]:
    """Yield a batch and the halves in its ``rest``, in the order in which they are sent."""
    while batch is not None:
        yield batch
        batch = batch.rest

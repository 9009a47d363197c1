"""What the end of a request means for its records: outcomes, and what is left open.

Each function takes a batch, or what was learned about it, writes the outcomes of the rows
that are settled by it, and returns what is still open.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from v3io_frames_put._producer.accumulator import NOT_REORDERED
from v3io_frames_put._producer.classification import REJECTING_NAMES
from v3io_frames_put._producer.reconciler import NOWHERE
from v3io_frames_put._producer.values import Failure
from v3io_frames_put._wire.bodies import ENVELOPE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from v3io_frames_put._producer.accumulator import Batch
    from v3io_frames_put._producer.outcomes import Outcomes
    from v3io_frames_put._producer.reconciler import Lookup
    from v3io_frames_put._producer.values import Copy, Status
    from v3io_frames_put._wire.bodies import Entries
    from v3io_frames_put._wire.responses import PutAnswer

HELD: Final = Failure(
    "HeldBehindDestination",
    "an earlier row of its shard or partition key was given up; sending it would break the order",
)
STOPPED: Final = Failure("Stopped", "the run ended before this row was sent")
_NOT_PROVEN: Final = (
    "it was looked for and not found, but records are missing there, so its absence is not proven"
)


def record_status(outcomes: Outcomes, batch: Batch, status: Status) -> None:
    """Record one status for all records of a batch, each with its own reason.

    A record that an earlier request may have stored ends unknown, whatever its
    last answer said (contract section 2).
    """
    for maybe in (False, True):
        of_kind = batch.state["maybe_stored"] == maybe
        for why in dict.fromkeys(batch.state["why"][of_kind]):
            chosen = np.flatnonzero(of_kind & (batch.state["why"] == why))
            outcomes.record_failure(
                batch.entries.rows_of(chosen),
                "unknown" if maybe else status,
                why,
                attempts=batch.attempts,
                maybe_duplicate=batch.entries.spread(batch.state["sent_twice"], chosen),
            )


def record_stored(
    outcomes: Outcomes,
    batch: Batch,
    stored: NDArray[np.intp] | None,
    shard_id: NDArray[np.int32],
    sequence_number: NDArray[np.int64],
) -> None:
    """Record the stored records of a batch, given their positions in it; None: all are stored."""
    entries, rows = batch.entries, batch.entries.rows
    sent_twice: Any = batch.state["sent_twice"] if batch.attempts > 1 else False
    if stored is not None or entries.row_counts is not None:
        stored = np.arange(len(entries)) if stored is None else stored
        rows = entries.rows_of(stored)
        shard_id = entries.spread(shard_id, stored)
        sequence_number = entries.spread(sequence_number, stored)
        sent_twice = entries.spread(batch.state["sent_twice"], stored)
    outcomes.record(
        rows,
        "stored",
        attempts=batch.attempts,
        shard_id=shard_id,
        sequence_number=sequence_number,
        maybe_duplicate=sent_twice,
    )


def record_rejected(
    outcomes: Outcomes, batch: Batch, answer: PutAnswer
) -> tuple[Batch | None, Batch | None]:
    """Record what an answer rejects; return that, and the records that it leaves open."""
    rejected: list[int] = []
    still_open: list[int] = []
    errors = answer.errors
    for position, code, name in zip(errors.positions, errors.codes, errors.names, strict=True):
        failure = Failure(name, "the platform's answer for this record", code)
        batch.state["why"][position] = failure
        (rejected if name in REJECTING_NAMES else still_open).append(position)
    refused = batch.pick(np.array(rejected)) if rejected else None
    if refused is not None:
        record_status(outcomes, refused, "rejected")
    return refused, batch.pick(np.array(still_open)) if still_open else None


def record_lookup(outcomes: Outcomes, lookup: Lookup) -> Batch | None:
    """Record what a look-up found, and what it cannot prove; return what is not stored."""
    batch, positions = lookup.batch, lookup.positions
    is_found = positions["shard_id"] != NOWHERE
    found = np.flatnonzero(is_found)
    if len(found):
        record_stored(outcomes, batch, found, positions["shard_id"], positions["sequence_number"])
    unproven = np.flatnonzero(~is_found & ~lookup.is_proven)
    if len(unproven):
        unresolved = batch.pick(unproven)
        for at, why in enumerate(unresolved.state["why"]):
            failure = replace(why, detail=f"{why.detail}; {_NOT_PROVEN}")
            unresolved.state["why"][at] = failure
        record_status(outcomes, unresolved, "unknown")
    absent = np.flatnonzero(~is_found & lookup.is_proven)
    if not len(absent):
        return None
    left = batch.pick(absent)
    left.state["maybe_stored"] = False
    return left


def find_too_large(
    entries: Entries, max_bytes: int
) -> tuple[NDArray[np.bool_], list[tuple[NDArray[np.int64], Failure]]]:
    """Return which records fit in a body, and the rows of each that does not, with the reason."""
    sizes = entries.sizes + ENVELOPE_BYTES
    fits: NDArray[np.bool_] = sizes <= max_bytes
    too_large = []
    for position in np.flatnonzero(~fits):
        detail = (
            f"as a request of its own it takes {sizes[position]:,} bytes; max_body_bytes "
            f"and max_in_flight_bytes allow {max_bytes:,}. Shorten it or raise them."
        )
        failure = Failure("DataTooLarge", detail)
        too_large.append((entries.rows_of(np.array([position])), failure))
    return fits, too_large


class Reordering:
    """Rows that are stored after later ones of their destination.

    It happens inside one request: the platform refuses a record for a passing reason and
    stores a later one of its destination. Of records a, a, b, a sent together:

        answer   a Busy    a 0:17    b 2:5     a 0:18     (shard:number)
        open     row 0, reordered_at 17: the next stored record of its destination
        then     row 0 is stored as 0:19, after 17: it is out of order
        or       a look-up finds row 0 as 0:16, from a request cut off before: it is in order

    Attributes
    ----------
    rows : list of int
        Rows that are out of order.
    """

    def __init__(self) -> None:
        self.rows: list[int] = []
        self._reordered_at: dict[int, int] = {}

    def note_open(
        self, batch: Batch, is_stored: NDArray[np.bool_], sequence_number: NDArray[np.int64]
    ) -> None:
        """Note which open records of a batch have a later one of their destination stored."""
        least = find_reordered(batch.entries, is_stored, sequence_number)
        np.minimum(batch.state["reordered_at"], least, out=least)
        batch.state["reordered_at"] = least
        reordered = np.flatnonzero(least != NOT_REORDERED)
        rows = batch.entries.rows_of(reordered)
        numbers = batch.entries.spread(least, reordered)
        self._reordered_at.update(zip(rows.tolist(), numbers.tolist(), strict=True))

    def note_stored(
        self, batch: Batch, stored: NDArray[np.intp], sequence_number: NDArray[np.int64]
    ) -> None:
        """Note which stored records of a batch are stored after later ones."""
        is_late = sequence_number[stored] > batch.state["reordered_at"][stored]
        if is_late.any():
            self.rows += batch.entries.rows_of(stored[is_late]).tolist()

    def late_rows(self, late: Iterable[Copy]) -> list[int]:
        """Return those of the rows found late that are stored after later ones."""
        least = self._reordered_at
        return sorted(
            {
                copy.row
                for copy in late
                if copy.row in least and copy.sequence_number > least[copy.row]
            }
        )


def find_reordered(
    entries: Entries, is_stored: NDArray[np.bool_], sequence_number: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return for each open record the number of the next stored one of its destination.

    Numbers ascend in the order of a request, so that the next one is the least of those after
    it. Sorted by destination, last record first, it is the last stored one passed:

        destination     a     a     a     b
        record          3     1     0     2
        is stored       yes   yes   no    yes
        last stored     0     1     1     3      (position in this order, running maximum)
        result of record 0: the number of record 1
    """
    order = np.argsort(entries.destination, kind="stable")[::-1]
    destination, stored = entries.destination[order], is_stored[order]
    begins = np.flatnonzero(np.r_[True, destination[1:] != destination[:-1]])
    first = np.repeat(begins, np.diff(np.r_[begins, len(order)]))
    last_stored = np.maximum.accumulate(np.where(stored, np.arange(len(order)), -1))
    is_reordered = (last_stored >= first) & ~stored & (destination != 0)
    least = np.full(len(order), NOT_REORDERED)
    least[order[is_reordered]] = sequence_number[order[last_stored[is_reordered]]]
    return least

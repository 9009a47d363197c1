"""Batches that came to an end -> outcomes of their rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from v3io_frames_put._delivery.batch import NOT_OVERTAKEN
from v3io_frames_put._delivery.outcome_pages import PAGE_ROWS, Failure
from v3io_frames_put._delivery.scan import NOWHERE
from v3io_frames_put._delivery.verdicts import RECORD_REFUSALS
from v3io_frames_put._wire.batches import ENVELOPE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from v3io_frames_put._delivery.batch import Batch
    from v3io_frames_put._delivery.outcome_pages import Status
    from v3io_frames_put._delivery.outcomes import Outcomes
    from v3io_frames_put._delivery.suspects import Lookup
    from v3io_frames_put._wire.batches import Entries
    from v3io_frames_put._wire.put_answers import PutAnswer

HELD: Final = Failure(
    "HeldBehindDestination",
    "an earlier row of its shard or partition key was given up; sending it would break the order",
)
_IN_DOUBT: Final = (
    "it was looked for and not found, but records are missing there, so its absence is not proven"
)
STOPPED: Final = Failure("Stopped", "the run ended before this row was sent")


def settle(outcomes: Outcomes, batch: Batch, status: Status) -> None:
    """Give all records of a batch one status, each with its own reason.

    A record that an earlier request may have stored ends unknown, whatever its
    last answer said (contract section 2).
    """
    for maybe in (False, True):
        of_kind = batch.maybe_stored == maybe
        for why in dict.fromkeys(batch.why[of_kind]):
            chosen = np.flatnonzero(of_kind & (batch.why == why))
            outcomes.fail(
                batch.entries.rows_of(chosen),
                "unknown" if maybe else status,
                why,
                attempts=batch.attempts,
                maybe_duplicate=batch.entries.spread(batch.sent_twice, chosen),
            )


def settle_stored(outcomes: Outcomes, batch: Batch, told: PutAnswer) -> list[int]:
    """Settle the stored records of an answer; return the rows that stand out of order."""
    stored = np.flatnonzero(told.stored)
    entries = batch.entries
    outcomes.settle(
        entries.rows_of(stored),
        "stored",
        shard_id=entries.spread(told.shard_id, stored),
        sequence_number=entries.spread(told.sequence_number, stored),
        attempts=batch.attempts,
        maybe_duplicate=entries.spread(batch.sent_twice, stored),
    )
    return _late_rows(batch, stored, told.sequence_number)


def _late_rows(batch: Batch, stored: NDArray[np.intp], number: NDArray[np.int64]) -> list[int]:
    """List rows of stored records that stand behind later ones of their destination."""
    late = stored[number[stored] > batch.overtaken[stored]]
    return batch.entries.rows_of(late).tolist() if len(late) else []


def settle_refused(
    outcomes: Outcomes, batch: Batch, told: PutAnswer
) -> tuple[Batch | None, Batch | None]:
    """Reject what an answer refused; return that, and the records that it leaves open."""
    errors = told.errors
    refused: list[int] = []
    left: list[int] = []
    for position, code, name in zip(errors.positions, errors.codes, errors.names, strict=True):
        batch.why[position] = Failure(name, "the platform's answer for this record", code)
        (refused if name in RECORD_REFUSALS else left).append(position)
    rejected = batch.pick(np.array(refused)) if refused else None
    if rejected is not None:
        settle(outcomes, rejected, "rejected")
    if not left:
        return rejected, None
    least = _overtaken(batch.entries, told.stored, told.sequence_number)
    batch.overtaken = np.minimum(batch.overtaken, least)
    return rejected, batch.pick(np.array(left))


def _overtaken(
    entries: Entries, stored: NDArray[np.bool_], number: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Find the number of the next stored record of each open one's destination.

    It is the least of those behind: numbers ascend in the order of a request.
    """
    order = np.argsort(entries.destination, kind="stable")[::-1]  # last record first
    destination, is_stored = entries.destination[order], stored[order]
    begins = np.flatnonzero(np.r_[True, destination[1:] != destination[:-1]])
    first = np.repeat(begins, np.diff(np.r_[begins, len(order)]))
    last_stored = np.maximum.accumulate(np.where(is_stored, np.arange(len(order)), -1))
    is_overtaken = (last_stored >= first) & ~is_stored & (destination != 0)
    least = np.full(len(order), NOT_OVERTAKEN)
    least[order[is_overtaken]] = number[order[last_stored[is_overtaken]]]
    return least


def settle_lookup(outcomes: Outcomes, lookup: Lookup) -> tuple[Batch | None, list[int]]:
    """Settle what a look-up found, and what it cannot tell.

    Returns what is not there, and the found rows that stand out of order.
    """
    batch = lookup.batch
    shards, numbers = lookup.places["shard_id"], lookup.places["sequence_number"]
    is_found = shards != NOWHERE
    found = np.flatnonzero(is_found)
    out_of_order = _late_rows(batch, found, numbers)
    least = _overtaken(batch.entries, is_found, numbers)
    batch.overtaken = np.minimum(batch.overtaken, least)
    if len(found):
        outcomes.settle(
            batch.entries.rows_of(found),
            "stored",
            shard_id=batch.entries.spread(shards, found),
            sequence_number=batch.entries.spread(numbers, found),
            attempts=batch.attempts,
            maybe_duplicate=batch.entries.spread(batch.sent_twice, found),
        )
    in_doubt = np.flatnonzero(~is_found & ~lookup.is_proven)
    if len(in_doubt):
        doubtful = batch.pick(in_doubt)
        for at, why in enumerate(doubtful.why):
            doubtful.why[at] = replace(why, detail=f"{why.detail}; {_IN_DOUBT}")
        settle(outcomes, doubtful, "unknown")
    absent = np.flatnonzero(~is_found & lookup.is_proven)
    if not len(absent):
        return None, out_of_order
    left = batch.pick(absent)
    left.maybe_stored[:] = False
    return left, out_of_order


def fit_a_body(entries: Entries, most_bytes: int) -> NDArray[np.bool_]:
    """Mark the records that can be a request of their own."""
    fits: NDArray[np.bool_] = entries.sizes + ENVELOPE_BYTES <= most_bytes
    return fits


def find_too_large(
    entries: Entries, most_bytes: int
) -> Iterator[tuple[NDArray[np.int64], Failure]]:
    """Yield the rows of each record that no body can carry, and why."""
    sizes = entries.sizes + ENVELOPE_BYTES
    for position in np.flatnonzero(~fit_a_body(entries, most_bytes)):
        detail = (
            f"as a request of its own it takes {sizes[position]:,} bytes; max_body_bytes "
            f"and max_in_flight_bytes allow {most_bytes:,}. Shorten it or raise them."
        )
        yield entries.rows_of(np.array([position])), Failure("DataTooLarge", detail)


def reject_too_large(outcomes: Outcomes, entries: Entries, most_bytes: int) -> Entries:
    """Reject records that no body can carry, whatever the other limits say."""
    fits = fit_a_body(entries, most_bytes)
    if fits.all():
        return entries
    for rows, why in find_too_large(entries, most_bytes):
        outcomes.fail(rows, "rejected", why)
    return entries.take(np.flatnonzero(fits))


def exhausted(batch: Batch, seconds: float) -> None:
    """Note that a batch's retries ended, keeping what the platform said last."""
    for last in dict.fromkeys(batch.why):
        detail = (
            f"given up after {batch.attempts} requests in {seconds:.0f} s; the last one: "
            f"{last.message}, {last.detail}. Send the row again with resume=results."
        )
        batch.why[batch.why == last] = Failure("RetriesExhausted", detail, last.code)


def hold(outcomes: Outcomes, entries: Entries) -> None:
    """Leave unsent what stands behind a destination that was given up."""
    if len(entries):
        outcomes.fail(entries.rows, "unsent", HELD)


def leave_unsent(outcomes: Outcomes, num_rows: int) -> None:
    """Leave unsent the rows of the data, so many in all, that were never offered.

    A page at a time: what is written to rows of many pages is sorted out for each.
    """
    for first in range(outcomes.num_rows, num_rows, PAGE_ROWS):
        outcomes.open(min(PAGE_ROWS, num_rows - first))
        outcomes.fail(outcomes.without_outcome(first), "unsent", STOPPED)

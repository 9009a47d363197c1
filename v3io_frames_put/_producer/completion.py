"""What the end of a request means for its batch: outcomes, a retry, a split, a look-up. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from v3io_frames_put._producer.batch import NOT_REORDERED
from v3io_frames_put._producer.classification import (
    REJECTING_NAMES,
    Stop,
    classify_response,
    describe_failure,
)
from v3io_frames_put._producer.flow_control import next_delay
from v3io_frames_put._producer.outcomes import PAGE_ROWS, Failure
from v3io_frames_put._producer.reconciler import NOWHERE
from v3io_frames_put._wire.api import Answer, Fault
from v3io_frames_put._wire.bodies import ENVELOPE_BYTES
from v3io_frames_put._wire.responses import UnbelievableAnswerError, parse_put_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from v3io_frames_put._producer.accumulator import Accumulator
    from v3io_frames_put._producer.batch import Batch
    from v3io_frames_put._producer.classification import Classification
    from v3io_frames_put._producer.outcomes import Outcomes, Status
    from v3io_frames_put._producer.policy import Policy
    from v3io_frames_put._producer.reconciler import Lookup, Reconciler
    from v3io_frames_put._producer.run_log import RunLog
    from v3io_frames_put._wire.api import Attempt
    from v3io_frames_put._wire.bodies import Entries
    from v3io_frames_put._wire.responses import PutAnswer

HELD: Final = Failure(
    "HeldBehindDestination",
    "an earlier row of its shard or partition key was given up; sending it would break the order",
)
_IN_DOUBT: Final = (
    "it was looked for and not found, but records are missing there, so its absence is not proven"
)
STOPPED: Final = Failure("Stopped", "the run ended before this row was sent")


def record_status(outcomes: Outcomes, batch: Batch, status: Status) -> None:
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


def record_stored(outcomes: Outcomes, batch: Batch, told: PutAnswer) -> list[int]:
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
    late = stored[number[stored] > batch.reordered_at[stored]]
    return batch.entries.rows_of(late).tolist() if len(late) else []


def record_rejected(
    outcomes: Outcomes, batch: Batch, told: PutAnswer
) -> tuple[Batch | None, Batch | None]:
    """Reject what an answer refused; return that, and the records that it leaves open."""
    errors = told.errors
    refused: list[int] = []
    left: list[int] = []
    for position, code, name in zip(errors.positions, errors.codes, errors.names, strict=True):
        batch.why[position] = Failure(name, "the platform's answer for this record", code)
        (refused if name in REJECTING_NAMES else left).append(position)
    rejected = batch.pick(np.array(refused)) if refused else None
    if rejected is not None:
        record_status(outcomes, rejected, "rejected")
    if not left:
        return rejected, None
    least = _reordered(batch.entries, told.stored, told.sequence_number)
    batch.reordered_at = np.minimum(batch.reordered_at, least)
    return rejected, batch.pick(np.array(left))


def _reordered(
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
    least = np.full(len(order), NOT_REORDERED)
    least[order[is_overtaken]] = number[order[last_stored[is_overtaken]]]
    return least


def record_lookup(outcomes: Outcomes, lookup: Lookup) -> tuple[Batch | None, list[int]]:
    """Settle what a look-up found, and what it cannot tell.

    Returns what is not there, and the found rows that stand out of order.
    """
    batch = lookup.batch
    shards, numbers = lookup.places["shard_id"], lookup.places["sequence_number"]
    is_found = shards != NOWHERE
    found = np.flatnonzero(is_found)
    out_of_order = _late_rows(batch, found, numbers)
    least = _reordered(batch.entries, is_found, numbers)
    batch.reordered_at = np.minimum(batch.reordered_at, least)
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
        record_status(outcomes, doubtful, "unknown")
    absent = np.flatnonzero(~is_found & lookup.is_proven)
    if not len(absent):
        return None, out_of_order
    left = batch.pick(absent)
    left.maybe_stored[:] = False
    return left, out_of_order


def fits_in_body(entries: Entries, most_bytes: int) -> NDArray[np.bool_]:
    """Mark the records that can be a request of their own."""
    fits: NDArray[np.bool_] = entries.sizes + ENVELOPE_BYTES <= most_bytes
    return fits


def find_too_large(
    entries: Entries, most_bytes: int
) -> Iterator[tuple[NDArray[np.int64], Failure]]:
    """Yield the rows of each record that no body can carry, and why."""
    sizes = entries.sizes + ENVELOPE_BYTES
    for position in np.flatnonzero(~fits_in_body(entries, most_bytes)):
        detail = (
            f"as a request of its own it takes {sizes[position]:,} bytes; max_body_bytes "
            f"and max_in_flight_bytes allow {most_bytes:,}. Shorten it or raise them."
        )
        yield entries.rows_of(np.array([position])), Failure("DataTooLarge", detail)


def reject_too_large(outcomes: Outcomes, entries: Entries, most_bytes: int) -> Entries:
    """Reject records that no body can carry, whatever the other limits say."""
    fits = fits_in_body(entries, most_bytes)
    if fits.all():
        return entries
    for rows, why in find_too_large(entries, most_bytes):
        outcomes.fail(rows, "rejected", why)
    return entries.take(np.flatnonzero(fits))


def note_retries_exhausted(batch: Batch, seconds: float) -> None:
    """Note that a batch's retries ended, keeping what the platform said last."""
    for last in dict.fromkeys(batch.why):
        detail = (
            f"given up after {batch.attempts} requests in {seconds:.0f} s; the last one: "
            f"{last.message}, {last.detail}. Send the row again with resume=results."
        )
        batch.why[batch.why == last] = Failure("RetriesExhausted", detail, last.code)


def hold_back(outcomes: Outcomes, entries: Entries) -> None:
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


_RESETS_BEFORE_HALVING: Final = 2  # contract section 3, Retry


@dataclass(frozen=True, slots=True)
class Moment:
    """When a request ended, and what its pause is drawn from.

    Attributes
    ----------
    now : float
        The clock.
    draw : float
        An even draw from [0, 1).
    floor : float
        The pause a Retry-After asked for.
    """

    now: float
    draw: float
    floor: float = 0.0


class Retried(NamedTuple):
    """Rows that are tried again: looked up, or sent once more."""

    num_rows: int
    why: Failure  # what the last request of the first of them failed with


class Completion:
    """Carries out what the ends of requests mean.

    Parameters
    ----------
    policy : Policy
        What the run was asked for.
    outcomes : Outcomes
        Where outcomes are written.
    accumulator : Accumulator
        Where batches wait that are not over.
    reconciler : Reconciler or None
        Looks up what nobody knows, where the run wants that.
    run_log : RunLog
        Is told what is known of each request.

    Attributes
    ----------
    limits : Limits
        The policy's; the body limit sinks when the platform says 413.
    out_of_order : list of int
        Rows that stand behind later ones of their destination.
    reordered_at : dict of int to int
        Rows that were open when a later one of their destination was stored: the least
        number of such.
    retried : list of Retried
        What is tried again; who tells of it takes it out.
    """

    def __init__(
        self,
        policy: Policy,
        outcomes: Outcomes,
        accumulator: Accumulator,
        reconciler: Reconciler | None,
        run_log: RunLog,
    ) -> None:
        self.limits = policy.limits
        self.out_of_order: list[int] = []
        self.reordered_at: dict[int, int] = {}
        self.retried: list[Retried] = []
        self._policy, self._outcomes = policy, outcomes
        self._accumulator, self._reconciler = accumulator, reconciler
        self._run_log = run_log

    def complete(self, batch: Batch, attempt: Attempt, moment: Moment) -> Stop | None:
        """Take in how the request of a batch ended.

        Returns
        -------
        Stop or None
            Why the whole run has to stop. None: it goes on.
        """
        verdict = classify_response(attempt)
        if isinstance(attempt, Answer) and verdict.step == "read":
            self._read(batch, attempt, moment)
            return None
        batch.blame(describe_failure(attempt))
        return self._follow(batch, verdict, attempt, moment)

    def complete_lookup(self, lookup: Lookup, moment: Moment) -> None:
        """Take in what was found out about a batch whose request got no answer."""
        absent, out_of_order = record_lookup(self._outcomes, lookup)
        self.out_of_order += out_of_order
        self._note_reordered(lookup.batch)
        if absent is None:
            self._accumulator.advance(lookup.batch)
            return
        self._retry_later(absent, moment)

    def _note_reordered(self, batch: Batch) -> None:
        """Put on record which rows of a batch have a stored one behind them."""
        reordered_at = np.flatnonzero(batch.reordered_at != NOT_REORDERED)
        rows = batch.entries.rows_of(reordered_at)
        least = batch.entries.spread(batch.reordered_at, reordered_at)
        self.reordered_at.update(zip(rows.tolist(), least.tolist(), strict=True))
        self._run_log.reordered(rows, least)

    def _read(self, batch: Batch, answer: Answer, moment: Moment) -> None:
        """Take in a 200: stored, refused and open records."""
        try:
            told = parse_put_answer(answer.body, batch.entries)
        except UnbelievableAnswerError as error:
            batch.blame(Failure("NoAnswer", f"not believed: {error}"))
            self._retry_in_doubt(batch, moment)
            return
        self._run_log.acked(batch.request)
        self.out_of_order += record_stored(self._outcomes, batch, told)
        if self._reconciler:
            self._reconciler.note_stored(batch, np.flatnonzero(told.stored), told)
        rejected, still_open = record_rejected(self._outcomes, batch, told)
        if self._reconciler and rejected is not None:
            self._reconciler.note_rejected(rejected)
        if still_open is None:
            self._accumulator.advance(batch)
            return
        self._note_reordered(still_open)
        self._retry_in_doubt(still_open, moment)

    def _follow(
        self, batch: Batch, verdict: Classification, attempt: Attempt, moment: Moment
    ) -> Stop | None:
        """Follow the verdict on a whole batch."""
        if verdict.knowledge == "not stored":
            self._run_log.refuse(batch.request)
        if verdict.cause is not None:
            record_status(self._outcomes, batch, "unsent")
            self._accumulator.advance(batch)
            return Stop(verdict.cause, attempt)
        if verdict.knowledge == "unknown":
            cut_off = isinstance(attempt, Fault) and attempt.stage == "sending"
            batch.resets += cut_off
            self._retry_in_doubt(batch, moment)
        elif verdict.step == "again":
            batch.fail_at(moment.now)
            self._retry_later(batch, moment)
        else:
            self._split(batch, verdict)
        return None

    def _split(self, batch: Batch, verdict: Classification) -> None:
        """Send the halves one after the other, down to the one record at fault."""
        size = batch.entries.nbytes + ENVELOPE_BYTES
        if len(batch) > 1:
            half = batch.entries.nbytes // 2 + ENVELOPE_BYTES
            if verdict.step == "halve" and half < self.limits.max_body_bytes:
                self.limits = replace(self.limits, max_body_bytes=half)
            self._note_retry(batch)
            self._accumulator.pause(batch.halves(), 0.0)
            return
        if verdict.step == "halve":
            detail = f"the platform refused this record alone, a request of {size:,} bytes"
            batch.blame(Failure("DataTooLarge", f"{detail}. Shorten it."))
        record_status(self._outcomes, batch, "rejected")
        if self._reconciler:
            self._reconciler.note_rejected(batch)
        self._accumulator.advance(batch)

    def _retry_in_doubt(self, batch: Batch, moment: Moment) -> None:
        """Go on with records that may be stored, or may not."""
        self._run_log.doubt(batch)
        batch.maybe_stored[:] = True
        if self._policy.delivery == "at_most_once":
            record_status(self._outcomes, batch, "unknown")
            self._accumulator.advance(batch)
        elif self._reconciler:
            batch.fail_at(moment.now)
            self._note_retry(batch)
            self._reconciler.look_up(batch, moment.now)
        else:
            batch.fail_at(moment.now)
            self._retry_later(batch, moment)

    def _retry_later(self, batch: Batch, moment: Moment) -> None:
        """Send a batch again after a pause, or give it up."""
        retry = self._policy.retry
        failing_seconds = moment.now - batch.first_failure
        left = retry.deadline_seconds - failing_seconds
        if left <= 0 or moment.floor > left or batch.attempts == retry.attempts:
            self._give_up(batch, failing_seconds)
            return
        self._note_retry(batch)
        delay = min(left, next_delay(retry, failures=batch.failures, draw=moment.draw))
        if batch.resets >= _RESETS_BEFORE_HALVING and len(batch) > 1:
            batch = batch.halves()
        self._accumulator.pause(batch, moment.now + max(moment.floor, delay))

    def _note_retry(self, batch: Batch) -> None:
        self.retried.append(Retried(batch.entries.num_rows, batch.why[0]))

    def _give_up(self, batch: Batch, failing_seconds: float) -> None:
        note_retries_exhausted(batch, failing_seconds)
        record_status(self._outcomes, batch, "unsent")
        queued, split = self._accumulator.give_up(batch)
        for entries in queued:
            hold_back(self._outcomes, entries)
        for behind in split:
            behind.blame(HELD)
            record_status(self._outcomes, behind, "unsent")
        self._accumulator.advance(batch)

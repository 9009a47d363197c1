"""What the end of a request means for its batch: outcomes, a pause, halves, a look-up.

Pure. The verdict comes from the table in ``verdicts``; here it is carried out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from v3io_frames_put._delivery import settling
from v3io_frames_put._delivery.batch import NOT_OVERTAKEN
from v3io_frames_put._delivery.outcome_pages import Failure
from v3io_frames_put._delivery.pace import next_delay
from v3io_frames_put._delivery.verdicts import Stop, describe, judge
from v3io_frames_put._wire.batches import ENVELOPE_BYTES
from v3io_frames_put._wire.exchange import Answer, Fault
from v3io_frames_put._wire.put_answers import UnbelievableAnswerError, parse_put_answer

if TYPE_CHECKING:
    from v3io_frames_put._delivery.backlog import Backlog
    from v3io_frames_put._delivery.batch import Batch
    from v3io_frames_put._delivery.outcomes import Outcomes
    from v3io_frames_put._delivery.policy import Policy
    from v3io_frames_put._delivery.reconcile import Reconciler
    from v3io_frames_put._delivery.recorder import Recorder
    from v3io_frames_put._delivery.suspects import Lookup
    from v3io_frames_put._delivery.verdicts import Verdict
    from v3io_frames_put._wire.exchange import Attempt

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


class Endings:
    """Carries out what the ends of requests mean.

    Parameters
    ----------
    policy : Policy
        What the run was asked for.
    outcomes : Outcomes
        Where outcomes are written.
    backlog : Backlog
        Where batches wait that are not over.
    reconciler : Reconciler or None
        Looks up what nobody knows, where the run wants that.
    recorder : Recorder
        Is told what is known of each request.

    Attributes
    ----------
    limits : Limits
        The policy's; the body limit sinks when the platform says 413.
    out_of_order : list of int
        Rows that stand behind later ones of their destination.
    overtaken : dict of int to int
        Rows that were open when a later one of their destination was stored: the least
        number of such.
    retried : list of Retried
        What is tried again; who tells of it takes it out.
    """

    def __init__(
        self,
        policy: Policy,
        outcomes: Outcomes,
        backlog: Backlog,
        reconciler: Reconciler | None,
        recorder: Recorder,
    ) -> None:
        self.limits = policy.limits
        self.out_of_order: list[int] = []
        self.overtaken: dict[int, int] = {}
        self.retried: list[Retried] = []
        self._policy, self._outcomes = policy, outcomes
        self._backlog, self._reconciler = backlog, reconciler
        self._recorder = recorder

    def take_in(self, batch: Batch, attempt: Attempt, moment: Moment) -> Stop | None:
        """Take in how the request of a batch ended.

        Returns
        -------
        Stop or None
            Why the whole run has to stop. None: it goes on.
        """
        verdict = judge(attempt)
        if isinstance(attempt, Answer) and verdict.step == "read":
            self._read(batch, attempt, moment)
            return None
        batch.blame(describe(attempt))
        return self._follow(batch, verdict, attempt, moment)

    def take_in_lookup(self, lookup: Lookup, moment: Moment) -> None:
        """Take in what was found out about a batch whose request got no answer."""
        absent, out_of_order = settling.settle_lookup(self._outcomes, lookup)
        self.out_of_order += out_of_order
        self._note_overtaken(lookup.batch)
        if absent is None:
            self._backlog.advance(lookup.batch)
            return
        self._again(absent, moment)

    def _note_overtaken(self, batch: Batch) -> None:
        """Put on record which rows of a batch have a stored one behind them."""
        overtaken = np.flatnonzero(batch.overtaken != NOT_OVERTAKEN)
        rows = batch.entries.rows_of(overtaken)
        least = batch.entries.spread(batch.overtaken, overtaken)
        self.overtaken.update(zip(rows.tolist(), least.tolist(), strict=True))
        self._recorder.overtake(rows, least)

    def _read(self, batch: Batch, answer: Answer, moment: Moment) -> None:
        """Take in a 200: stored, refused and open records."""
        try:
            told = parse_put_answer(answer.body, batch.entries)
        except UnbelievableAnswerError as error:
            batch.blame(Failure("NoAnswer", f"not believed: {error}"))
            self._go_on_unknown(batch, moment)
            return
        self._recorder.believe(batch.request)
        self.out_of_order += settling.settle_stored(self._outcomes, batch, told)
        if self._reconciler:
            self._reconciler.note_stored(batch, np.flatnonzero(told.stored), told)
        rejected, still_open = settling.settle_refused(self._outcomes, batch, told)
        if self._reconciler and rejected is not None:
            self._reconciler.note_rejected(rejected)
        if still_open is None:
            self._backlog.advance(batch)
            return
        self._note_overtaken(still_open)
        self._go_on_unknown(still_open, moment)

    def _follow(
        self, batch: Batch, verdict: Verdict, attempt: Attempt, moment: Moment
    ) -> Stop | None:
        """Follow the verdict on a whole batch."""
        if verdict.knowledge == "not stored":
            self._recorder.refuse(batch.request)
        if verdict.cause is not None:
            settling.settle(self._outcomes, batch, "unsent")
            self._backlog.advance(batch)
            return Stop(verdict.cause, attempt)
        if verdict.knowledge == "unknown":
            cut_off = isinstance(attempt, Fault) and attempt.stage == "sending"
            batch.resets += cut_off
            self._go_on_unknown(batch, moment)
        elif verdict.step == "again":
            batch.fail_at(moment.now)
            self._again(batch, moment)
        else:
            self._split(batch, verdict)
        return None

    def _split(self, batch: Batch, verdict: Verdict) -> None:
        """Send the halves one after the other, down to the one record at fault."""
        size = batch.entries.nbytes + ENVELOPE_BYTES
        if len(batch) > 1:
            half = batch.entries.nbytes // 2 + ENVELOPE_BYTES
            if verdict.step == "halve" and half < self.limits.max_body_bytes:
                self.limits = replace(self.limits, max_body_bytes=half)
            self._note_retry(batch)
            self._backlog.pause(batch.halves(), 0.0)
            return
        if verdict.step == "halve":
            detail = f"the platform refused this record alone, a request of {size:,} bytes"
            batch.blame(Failure("DataTooLarge", f"{detail}. Shorten it."))
        settling.settle(self._outcomes, batch, "rejected")
        if self._reconciler:
            self._reconciler.note_rejected(batch)
        self._backlog.advance(batch)

    def _go_on_unknown(self, batch: Batch, moment: Moment) -> None:
        """Go on with records that may be stored, or may not."""
        self._recorder.doubt(batch)
        batch.maybe_stored[:] = True
        if self._policy.delivery == "at_most_once":
            settling.settle(self._outcomes, batch, "unknown")
            self._backlog.advance(batch)
        elif self._reconciler:
            batch.fail_at(moment.now)
            self._note_retry(batch)
            self._reconciler.look_up(batch, moment.now)
        else:
            batch.fail_at(moment.now)
            self._again(batch, moment)

    def _again(self, batch: Batch, moment: Moment) -> None:
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
        self._backlog.pause(batch, moment.now + max(moment.floor, delay))

    def _note_retry(self, batch: Batch) -> None:
        self.retried.append(Retried(batch.entries.num_rows, batch.why[0]))

    def _give_up(self, batch: Batch, failing_seconds: float) -> None:
        settling.exhausted(batch, failing_seconds)
        settling.settle(self._outcomes, batch, "unsent")
        queued, split = self._backlog.give_up(batch)
        for entries in queued:
            settling.hold(self._outcomes, entries)
        for behind in split:
            behind.blame(settling.HELD)
            settling.settle(self._outcomes, behind, "unsent")
        self._backlog.advance(batch)

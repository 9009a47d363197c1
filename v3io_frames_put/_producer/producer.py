"""The state machine of a run: what is sent when, and what each answer means.

Records wait in the accumulator; a batch of them is one request. What becomes of a batch:

    offer -> accumulator -> next_request -> in flight -> complete
                 ^                                          |
                 |  200, believed ...... stored, rejected   |
                 |  413, 400 ........... split: the halves go one after the other
                 |<- not stored ........ pause, then the same bytes again
                 |   unknown:
                 |<-   at_least_once ... pause, then the same bytes again: maybe_duplicate
                 |     at_most_once .... unknown
                 |<-   exactly_once .... look-up: found is stored, absent is sent again
                     401, 403, 404 ..... the run stops, what waits is unsent
                     deadline .......... given up; later rows of its destinations are held

Nothing here waits or does I/O: ``next_request`` returns what to send now, ``complete`` takes
how it ended, ``wake_at`` returns when to call again.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from .._wire.api import Answer, Attempt, Fault, Request, put_records_request
from .._wire.bodies import ENVELOPE_BYTES, NO_SHARD, EncodedRecords, Entries, build_body
from .._wire.responses import UnbelievableAnswerError, parse_put_answer
from .accumulator import Accumulator, Batch, iterate_parts
from .classification import (
    REJECTING_NAMES,
    Stop,
    classify_response,
    describe_cause,
    describe_failure,
)
from .flow_control import AdaptiveLimit, Availability, ConcurrencyLimit, RetryContext, next_pause
from .outcomes import Outcomes, Reordering, RunLog
from .values import PAGE_ROWS, Copy, Failure, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .._wire.paths import StreamPath
    from ..config import DeliveryOptions
    from .classification import Cause, Classification
    from .queries import PendingQuery
    from .reconciler import Lookup, Reconciler

HELD: Final = Failure(
    "HeldBehindDestination",
    "an earlier row of its shard or partition key was given up; sending it would break the order",
)
STOPPED: Final = Failure("Stopped", "the run ended before this row was sent")
_NOT_PROVEN: Final = (
    "it was looked for and not found, but records are missing there, so its absence is not proven"
)
_BATCHES_AHEAD: Final = 0.5  # for each request that may be in flight, and one
_RESETS_BEFORE_SPLIT: Final = 2  # the second: the first may be chance


class Retried(NamedTuple):
    """Rows that are tried again: looked up, or sent once more."""

    num_rows: int
    why: Failure  # what the last request of the first of them failed with


class Producer:
    """Delivers the records of one run, and writes every row's outcome.

    The reconciler, for ``exactly_once``, looks up what became of records whose request got no
    answer. The run log records every request before it leaves, and what is known of it.
    """

    def __init__(
        self,
        options: DeliveryOptions,
        *,
        stream: StreamPath,
        outcomes: Outcomes,
        reconciler: Reconciler | None = None,
        run_log: RunLog | None = None,
    ) -> None:
        self.outcomes = outcomes
        self.stopped: Stop | None = None  # why the run ended early
        self.requests = 0  # PutRecords requests that were sent, or tried to
        self.retried_rows = self.bytes_sent = 0  # of requests that ended, and had arrived
        self.sharded_records = 0  # that were given a shard
        self.free_records = 0  # that have neither shard nor key
        self._options, self._stream = options, stream
        self._limits = options.limits  # the body limit sinks after a 413
        requests = options.max_in_flight
        self._concurrency = AdaptiveLimit() if requests == "auto" else ConcurrencyLimit(requests)
        self._availability = Availability(options.retry)
        self._accumulator = Accumulator(options.lanes)
        self._reconciler = reconciler
        self._run_log = run_log or RunLog()
        self.reordering = Reordering()
        self._retried: list[Retried] = []
        self._in_flight: dict[int, Batch] = {}
        self._bytes_in_flight = self.rows_in_flight = 0
        self._queries: dict[int, PendingQuery] = {}
        self._tickets = itertools.count()
        self._closed = False
        self._window_bytes = 0

    # -- records in -------------------------------------------------------------------

    @property
    def held_bytes(self) -> int:
        """Encoded bytes of records that wait, or are under way."""
        held = self._accumulator.nbytes + self._bytes_in_flight
        if self._reconciler is not None:
            held += sum(batch.nbytes for batch in self._reconciler.batches)
        return held

    @property
    def wants_records(self) -> bool:
        """Whether another window of records is of use, and fits the budget."""
        if self._closed or self.stopped:
            return False
        if self._reconciler is not None and not self._reconciler.is_ready:
            return False
        ahead = (1 + _BATCHES_AHEAD * self._concurrency.requests) * self._options.limits.max_records
        if self._accumulator.idle_records >= ahead:
            return False  # more would take memory and make nothing faster
        # The window, its copy in the order of lanes and the next one, which is encoded ahead,
        # exist side by side for a moment.
        room = self._options.max_in_flight_bytes - self._accumulator.shared_bytes
        return not self.held_bytes or self.held_bytes + 3 * self._window_bytes <= room

    def offer(self, records: EncodedRecords) -> None:
        """Take the records of the next rows; they follow the last ones."""
        outcomes, entries, rejected = self.outcomes, records.entries, records.rejections
        self._window_bytes = max(self._window_bytes, entries.nbytes)
        outcomes.open(records.num_rows)
        outcomes.record_rejections(rejected.rows, rejected.names, rejected.details)
        fits, too_large = find_too_large(entries, self._options.most_body_bytes)
        for rows, failure in too_large:
            outcomes.record_failure(rows, "rejected", failure)
        if too_large:
            entries = entries.take(np.flatnonzero(fits))
        self.sharded_records += int(np.count_nonzero(entries.shard != NO_SHARD))
        self.free_records += int(np.count_nonzero(entries.destination == 0))
        if self._options.order == "none":
            entries = replace(entries, destination=np.zeros_like(entries.destination))
        if entries.row_counts is not None:
            outcomes.number_rows(entries.rows, entries.row_counts)
        held = self._accumulator.add(entries)
        if len(held):
            outcomes.record_failure(held, "unsent", HELD)
        if self.stopped:
            self._drop_waiting()

    def close(self) -> None:
        """Note that no more records come."""
        self._closed = True

    # -- requests out -----------------------------------------------------------------

    @property
    def is_done(self) -> bool:
        """Whether every row offered has its outcome, and no more rows come."""
        if not (self._closed or self.stopped) or self.in_flight or self._accumulator:
            return False
        return self.stopped is not None or not (self._reconciler and self._reconciler.has_work)

    @property
    def in_flight(self) -> int:
        return len(self._in_flight) + len(self._queries)

    def next_request(self, now: float) -> tuple[int, Request] | None:
        """Return what to send now, and its ticket for ``complete``; None: nothing."""
        if self.stopped or now < self._availability.opens_at:
            return None
        if self.in_flight >= self._concurrency.requests:
            return None
        if self._reconciler is not None:
            query = self._next_query(self._reconciler, now)
            if query is not None or not self._reconciler.is_ready:
                return query
        batch = self._accumulator.next_batch(now, self._limits, partial=not self.wants_records)
        if batch is None:
            return None
        batch.ticket = next(self._tickets)
        if self._reconciler is not None:
            self._reconciler.prepare(batch)
        if not self.requests and batch.low_watermark is not None:
            self._run_log.begin(batch.low_watermark)
        self._run_log.note_request(batch)
        body = build_body(batch.entries)
        batch.attempts += 1
        batch.state["sent_twice"] |= batch.state["maybe_stored"]
        self.requests += 1
        self._in_flight[batch.ticket] = batch
        self._bytes_in_flight += batch.nbytes
        self.rows_in_flight += batch.entries.num_rows
        self._availability.begin(now)
        self._concurrency.note_sent(batch.ticket, now=now, nbytes=len(body))
        return batch.ticket, put_records_request(self._stream, body)

    def _next_query(self, reconciler: Reconciler, now: float) -> tuple[int, Request] | None:
        if self._closed and not (self._in_flight or self._accumulator):
            reconciler.begin_last_scan()
        query = reconciler.next_query(now)
        if query is None:
            return None
        ticket = next(self._tickets)
        self._queries[ticket] = query[0]
        self._availability.begin(now)
        self._concurrency.note_sent(ticket, now=now, nbytes=0)
        return ticket, query[1]

    def wake_at(self, now: float) -> float | None:
        """Return when ``next_request`` may have something new; None: only after an event."""
        if self.stopped or self.in_flight >= self._concurrency.requests:
            return None
        opens_at = self._availability.opens_at
        wake_at = self._accumulator.wake_at(now, opens_at)
        if self._reconciler is not None and (query_at := self._reconciler.wake_at()) is not None:
            query_at = max(query_at, opens_at)
            wake_at = query_at if wake_at is None else min(wake_at, query_at)
        return wake_at

    def waiting(self, now: float) -> str | None:
        """Return why nothing is sent; None: something is under way, or nothing waits."""
        if now < self._availability.throttled_until:
            seconds = self._availability.throttled_until - now
            return f"the platform asked for a pause of {seconds:.1f} s"
        pause = self._accumulator.first_pause()
        if pause is None or self._in_flight:
            return None
        until, batch = pause
        why = next((why for why in batch.state["why"] if why is not None), None)
        cause = f"{describe_cause(why)}; " if why else ""
        seconds = max(0.0, until - now, self._availability.reconnect_at - now)
        return f"{cause}trying again in {seconds:.1f} s"

    # -- answers in -------------------------------------------------------------------

    def complete(self, ticket: int, attempt: Attempt, *, now: float, draw: float) -> None:
        """Take how a request ended; ``draw``, from [0, 1), is for the jitter of its pause."""
        self._concurrency.note_ended(ticket, attempt, now=now)
        retry_after = self._availability.note(
            attempt, now=now, draw=draw, requests=self._concurrency.requests
        )
        context = RetryContext(now, draw, retry_after, self._availability.seconds_left(now))
        if ticket in self._queries:
            self._complete_query(self._queries.pop(ticket), attempt, context)
        else:
            batch = self._in_flight.pop(ticket)
            self._bytes_in_flight -= batch.nbytes
            self.rows_in_flight -= batch.entries.num_rows
            # A connection that was refused carried nothing.
            if isinstance(attempt, Answer) or attempt.stage != "connecting":
                self.bytes_sent += batch.entries.nbytes + ENVELOPE_BYTES
                self.retried_rows += batch.entries.num_rows if batch.has_arrived else 0
                batch.has_arrived = True
            self._complete_batch(batch, attempt, context)
        if context.longest <= 0:
            self._stop_unavailable(attempt)
        if self.stopped:
            self._drop_waiting()

    def _complete_query(self, query: PendingQuery, attempt: Attempt, context: RetryContext) -> None:
        """Take an answer to a look-up, and what it resolves."""
        assert self._reconciler is not None  # noqa: S101  # the query is one of its
        cause = self._reconciler.complete(query, attempt, context)
        if cause == "unavailable":
            self._stop_unavailable(attempt)
        elif cause is not None:
            self._stop(cause, attempt)
        elif self._reconciler.is_stream_missing:
            self._stop("missing", attempt)
        for lookup in self._reconciler.take_lookups():
            self._complete_lookup(lookup, context)

    def _complete_batch(self, batch: Batch, attempt: Attempt, context: RetryContext) -> None:
        classification = classify_response(attempt)
        if isinstance(attempt, Answer) and classification.step == "parse":
            self._parse(batch, attempt, context)
            return
        batch.set_reason(describe_failure(attempt))
        if classification.step == "unknown":
            batch.resets += isinstance(attempt, Fault) and attempt.stage == "sending"
            self._retry_in_doubt(batch, context)
            return
        self._run_log.note_refused(batch.ticket)
        if classification.cause is not None:
            self._finish(batch, "unsent")
            self._stop(classification.cause, attempt)
        elif classification.step == "retry":
            batch.note_failure(context.now)
            self._retry_later(batch, context)
        else:
            self._split(batch, classification)

    def _parse(self, batch: Batch, answer: Answer, context: RetryContext) -> None:
        """Take a 200: stored, rejected and open records."""
        try:
            parsed = parse_put_answer(answer.body, batch.entries)
        except UnbelievableAnswerError as error:
            batch.set_reason(Failure("NoAnswer", f"not believed: {error}"))
            self._retry_in_doubt(batch, context)
            return
        self._run_log.note_answered(batch.ticket)
        shards, numbers = parsed.shard_id, parsed.sequence_number
        stored = np.flatnonzero(parsed.stored) if parsed.errors else None
        self._record_stored(batch, stored, shards, numbers)
        at = np.flatnonzero(parsed.stored)
        self.reordering.note_stored(batch, at, numbers)
        if self._reconciler:
            self._reconciler.note_stored(batch, at, parsed)
        if stored is None:
            self._accumulator.advance(batch)
            return
        self.reordering.note_open(batch, parsed.stored, numbers)
        still_open = self._record_rejected(batch, parsed.errors)
        if still_open is None:
            self._accumulator.advance(batch)
        else:
            self._retry_in_doubt(still_open, context)

    def _record_stored(
        self,
        batch: Batch,
        stored: NDArray[np.intp] | None,
        shard_id: NDArray[np.int32],
        sequence_number: NDArray[np.int64],
    ) -> None:
        """Record the stored records of a batch, by their positions; None: all are stored."""
        entries, rows = batch.entries, batch.entries.rows
        sent_twice: Any = batch.state["sent_twice"] if batch.attempts > 1 else False
        if stored is not None or entries.row_counts is not None:
            stored = np.arange(len(entries)) if stored is None else stored
            rows = entries.rows_of(stored)
            shard_id = entries.spread(shard_id, stored)
            sequence_number = entries.spread(sequence_number, stored)
            sent_twice = entries.spread(batch.state["sent_twice"], stored)
        self.outcomes.record(
            rows,
            "stored",
            attempts=batch.attempts,
            shard_id=shard_id,
            sequence_number=sequence_number,
            maybe_duplicate=sent_twice,
        )

    def _record_rejected(self, batch: Batch, errors: list[tuple[int, int, str]]) -> Batch | None:
        """Record what an answer rejects; return the records that it leaves open."""
        rejected: list[int] = []
        still_open: list[int] = []
        for position, code, name in errors:
            failure = Failure(name, "the platform's answer for this record", code)
            batch.state["why"][position] = failure
            (rejected if name in REJECTING_NAMES else still_open).append(position)
        if rejected:
            refused = batch.pick(np.array(rejected))
            self._record_status(refused, "rejected")
            if self._reconciler:
                self._reconciler.note_rejected(refused)
        return batch.pick(np.array(still_open)) if still_open else None

    def _complete_lookup(self, lookup: Lookup, context: RetryContext) -> None:
        """Record what was found of a batch whose request got no answer; send the rest again."""
        batch, is_found = lookup.batch, lookup.is_found
        found, numbers = np.flatnonzero(is_found), lookup.positions["sequence_number"]
        self.reordering.note_stored(batch, found, numbers)
        self.reordering.note_open(batch, is_found, numbers)
        if len(found):
            self._record_stored(batch, found, lookup.positions["shard_id"], numbers)
        unproven = np.flatnonzero(~is_found & ~lookup.is_proven)
        if len(unproven):
            unresolved = batch.pick(unproven)
            for at, why in enumerate(unresolved.state["why"]):
                failure = replace(why, detail=f"{why.detail}; {_NOT_PROVEN}")
                unresolved.state["why"][at] = failure
            self._record_status(unresolved, "unknown")
        absent = np.flatnonzero(~is_found & lookup.is_proven)
        if len(absent):
            left = batch.pick(absent)
            left.state["maybe_stored"] = False
            self._retry_later(left, context)
        else:
            self._accumulator.advance(batch)

    def _split(self, batch: Batch, classification: Classification) -> None:
        """Send the halves one after the other, down to the one record at fault."""
        size = batch.entries.nbytes + ENVELOPE_BYTES
        if len(batch) > 1:
            half = batch.entries.nbytes // 2 + ENVELOPE_BYTES
            if classification.step == "split" and half < self._limits.max_body_bytes:
                self._limits = replace(self._limits, max_body_bytes=half)
            self._note_retry(batch)
            self._accumulator.pause(batch.split(), 0.0)
            return
        if classification.step == "split":
            detail = f"the platform refused this record alone, a request of {size:,} bytes"
            batch.set_reason(Failure("DataTooLarge", f"{detail}. Shorten it."))
        if self._reconciler:
            self._reconciler.note_rejected(batch)
        self._finish(batch, "rejected")

    def _retry_in_doubt(self, batch: Batch, context: RetryContext) -> None:
        """Go on with records that may be stored, or may not."""
        self._run_log.note_in_doubt(batch)
        batch.state["maybe_stored"] = True
        if self._options.delivery == "at_most_once":
            self._finish(batch, "unknown")
            return
        batch.note_failure(context.now)
        if self._reconciler:
            self._note_retry(batch)
            self._reconciler.look_up(batch, context.now)
        else:
            self._retry_later(batch, context)

    def _retry_later(self, batch: Batch, context: RetryContext) -> None:
        """Send a batch again after a pause, or give it up."""
        retry = self._options.retry
        failing_seconds = context.now - batch.first_failure
        pause = next_pause(
            retry, failures=batch.failures, failing_seconds=failing_seconds, context=context
        )
        if pause is None or batch.attempts >= (retry.attempts or math.inf):
            self._give_up(batch, failing_seconds)
            return
        self._note_retry(batch)
        if batch.resets >= _RESETS_BEFORE_SPLIT and len(batch) > 1:
            batch = batch.split()
        self._accumulator.pause(batch, context.now + pause)

    def _note_retry(self, batch: Batch) -> None:
        self._retried.append(Retried(batch.entries.num_rows, batch.state["why"][0]))

    def take_retried(self) -> list[Retried]:
        retried, self._retried = self._retried, []
        return retried

    def _give_up(self, batch: Batch, failing_seconds: float) -> None:
        """End the retries of a batch; what comes after it in its destinations is not sent."""
        reasons = batch.state["why"]
        for last in dict.fromkeys(reasons):
            detail = (
                f"given up after {batch.attempts} requests in {failing_seconds:.0f} s; the last "
                f"one: {last.message}, {last.detail}. Send the row again with resume=results."
            )
            reasons[reasons == last] = Failure("RetriesExhausted", detail, last.code)
        queued, split = self._accumulator.give_up(batch)
        for entries in queued:
            self.outcomes.record_failure(entries.rows, "unsent", HELD)
        for part in split:
            part.set_reason(HELD)
            self._record_status(part, "unsent")
        self._finish(batch, "unsent")

    def _finish(self, batch: Batch, status: Literal["rejected", "unsent", "unknown"]) -> None:
        """Record a batch that is over, and let what comes after it go."""
        self._record_status(batch, status)
        self._accumulator.advance(batch)

    def _record_status(self, batch: Batch, status: Status) -> None:
        """Record one status for all records of a batch, each with its own reason.

        A record that an earlier request may have stored ends unknown, whatever its
        last answer said.
        """
        self.reordering.note_settled(batch)
        for maybe in (False, True):
            of_kind = batch.state["maybe_stored"] == maybe
            for why in dict.fromkeys(batch.state["why"][of_kind]):
                chosen = np.flatnonzero(of_kind & (batch.state["why"] == why))
                self.outcomes.record_failure(
                    batch.entries.rows_of(chosen),
                    "unknown" if maybe else status,
                    why,
                    attempts=batch.attempts,
                    maybe_duplicate=batch.entries.spread(batch.state["sent_twice"], chosen),
                )

    # -- the end ----------------------------------------------------------------------

    def _stop(self, cause: Cause, attempt: Attempt | None = None) -> None:
        self.stopped = self.stopped or Stop(cause, attempt)

    def _stop_unavailable(self, attempt: Attempt) -> None:
        had_contact, seconds = self._availability.had_contact, self._availability.longest_silence
        self.stopped = self.stopped or Stop("unavailable", attempt, seconds, had_contact)
        self._drop_waiting()

    def stop(self) -> None:
        """Send nothing new. What is under way still gets its outcome by ``complete``."""
        self._stop("stopped")
        self._drop_waiting()

    def abandon(self) -> None:
        """Record every request still under way as cut off: its records are unknown."""
        cut_off = Fault("stopped", "waiting", "the run was stopped before an answer came")
        for batch in self._in_flight.values():
            batch.state["maybe_stored"] = True
            batch.set_reason(describe_failure(cut_off))
            self._drop(batch)
        self._in_flight.clear()
        self._queries.clear()
        self._bytes_in_flight = self.rows_in_flight = 0

    def _drop_waiting(self) -> None:
        """Record all that waits as it is: unsent, or unknown if it may be stored."""
        queued, paused = self._accumulator.clear()
        for entries in queued:
            self.outcomes.record_failure(entries.rows, "unsent", STOPPED)
        looked_up = self._reconciler.clear() if self._reconciler else []
        for batch in (*paused, *looked_up):
            self._drop(batch)

    def _drop(self, batch: Batch) -> None:
        for part in iterate_parts(batch):
            reasons = part.state["why"]
            reasons[reasons == None] = STOPPED  # noqa: E711  # element by element
            self._record_status(part, "unsent")

    def finish_rows(self, num_rows: int) -> None:
        """Record as unsent the rows of the data, so many in all, that never came in a record.

        Packs of a window come in pieces, so that rows may be open whose pack never came. A page
        at a time: what is written to rows of many pages is sorted out for each.
        """
        outcomes = self.outcomes
        outcomes.record_failure(outcomes.open_rows(), "unsent", STOPPED)
        for first in range(outcomes.num_rows, num_rows, PAGE_ROWS):
            outcomes.open(min(PAGE_ROWS, num_rows - first))
            outcomes.record_failure(outcomes.open_rows(first), "unsent", STOPPED)

    def count_left(self, late: Sequence[Copy]) -> int:
        """Return how many rows the same call again has to deal with, given those found late."""
        counts, is_sent_again = self.outcomes.counts, self._options.delivery != "at_most_once"
        left = counts["unsent"] + is_sent_again * counts["unknown"]
        if self._reconciler is None:
            return left
        # A rejected row that is found late, or lost, was not among those left.
        found = sum(not copy.is_lost for copy in late)
        return left - found + self._reconciler.count_rejected(copy.row for copy in late)


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

"""The run as a state machine."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from v3io_frames_put._producer import completion
from v3io_frames_put._producer.accumulator import Accumulator
from v3io_frames_put._producer.batch import NOT_REORDERED, links
from v3io_frames_put._producer.classification import Stop, describe_failure
from v3io_frames_put._producer.completion import Completion, Moment
from v3io_frames_put._producer.flow_control import next_delay, open_limit, parse_retry_after
from v3io_frames_put._producer.run_log import RunLog
from v3io_frames_put._wire.api import Fault, put_records_request
from v3io_frames_put._wire.bodies import NO_SHARD, build_body

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from v3io_frames_put._producer.batch import Batch
    from v3io_frames_put._producer.completion import Retried
    from v3io_frames_put._producer.outcomes import Outcomes
    from v3io_frames_put._producer.policy import Policy
    from v3io_frames_put._producer.queries import PendingQuery
    from v3io_frames_put._producer.reconciler import Copy, Reconciler
    from v3io_frames_put._wire.api import Attempt, Request
    from v3io_frames_put._wire.bodies import EncodedWindow
    from v3io_frames_put._wire.paths import StreamPath


class Producer:
    """Delivers the records of one run.

    Parameters
    ----------
    policy : Policy
        What the run was asked for.
    stream : StreamPath
        Where the records go.
    outcomes : Outcomes
        Where every row's outcome is written.
    reconciler : Reconciler, optional
        Looks up what became of records whose request got no answer; what
        ``exactly_once`` needs. None: nothing is looked up.
    run_log : RunLog, optional
        Is told of every request before it leaves, and of what is known of it.

    Attributes
    ----------
    sharded_records, free_records : int
        Records offered to which a shard was given, and to which neither shard nor key was.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        stream: StreamPath,
        outcomes: Outcomes,
        reconciler: Reconciler | None = None,
        run_log: RunLog | None = None,
    ) -> None:
        self.outcomes = outcomes
        self.stopped: Stop | None = None
        self.requests = self.retried_rows = self.bytes_sent = 0
        self.sharded_records = self.free_records = 0
        self._policy = policy
        self._stream = stream
        self._limit = open_limit(policy.max_in_flight)
        self._accumulator = Accumulator(policy.lanes)
        self._reconciler = reconciler
        self._run_log = run_log or RunLog()
        self._completion = Completion(
            policy, outcomes, self._accumulator, reconciler, self._run_log
        )
        self._in_flight: dict[int, Batch] = {}
        self._readings: dict[int, PendingQuery] = {}
        self._tickets = itertools.count()
        self._throttled_until = 0.0  # no request before it: a Retry-After holds for all
        self._silent_since: float | None = None
        self._unreached = 0  # connections since then that were not made
        self._reconnect_at = 0.0  # no request before it either, while nobody can be reached
        self._closed = False
        self._window_bytes = 0

    # -- records in -------------------------------------------------------------------

    @property
    def held_bytes(self) -> int:
        """Encoded bytes of records that wait, or are under way."""
        looked_up = self._reconciler.batches if self._reconciler else ()
        batches = [*self._in_flight.values(), *looked_up]
        total: int = self._accumulator.nbytes + sum(batch.nbytes for batch in batches)
        return total

    @property
    def wants_records(self) -> bool:
        """Whether another window of records is of use, and fits the budget."""
        if self._closed or self.stopped or (self._reconciler and not self._reconciler.is_ready):
            return False
        if self._accumulator.idle_records >= self._policy.records_ahead(self._limit.requests):
            return False  # more would take memory and make nothing faster
        held = self.held_bytes
        return not held or held + self._window_bytes <= self._policy.max_in_flight_bytes

    def offer(self, window: EncodedWindow) -> None:
        """Take the next window of rows; they follow the last window's."""
        self.outcomes.open(window.num_rows)
        refused = window.rejections
        self.outcomes.reject(refused.rows, refused.names, refused.details)
        most_bytes = self._policy.most_body_bytes
        entries = completion.reject_too_large(self.outcomes, window.entries, most_bytes)
        self.sharded_records += int(np.count_nonzero(entries.shard != NO_SHARD))
        self.free_records += int(np.count_nonzero(entries.destination == 0))
        if self._policy.order == "none":
            entries = replace(entries, destination=np.zeros_like(entries.destination))
        self._window_bytes = max(self._window_bytes, window.entries.nbytes)
        self.outcomes.number_rows(entries)
        completion.hold_back(self.outcomes, self._accumulator.add(entries))
        if self.stopped:
            self._drop_waiting()

    def close(self) -> None:
        """Say that no more records come."""
        self._closed = True

    # -- requests out -----------------------------------------------------------------

    @property
    def is_done(self) -> bool:
        """Whether every row offered has its outcome, and no more rows come."""
        over = self._closed or self.stopped is not None
        return over and not (self.in_flight or self._accumulator or self._must_read)

    @property
    def _must_read(self) -> bool:
        return self._reconciler is not None and not self.stopped and self._reconciler.has_work

    @property
    def out_of_order(self) -> list[int]:
        """Rows that stand behind later ones of their destination."""
        return self._completion.out_of_order

    def late_out_of_order(self, late: Iterable[Copy]) -> list[int]:
        """List those of the rows found late that stand behind later ones of their destination."""
        least = self._completion.reordered_at
        behind = (
            copy for copy in late if copy.sequence_number > least.get(copy.row, NOT_REORDERED)
        )
        return sorted({copy.row for copy in behind})

    def count_left(self, late: Sequence[Copy]) -> int:
        """Count the rows that the same call again has to deal with, given those found late."""
        counts, is_again = self.outcomes.counts, self._policy.delivery != "at_most_once"
        left = counts["unsent"] + is_again * counts["unknown"]
        if self._reconciler is None or not late:
            return left
        # A rejected row that is found late was not among those left.
        return left - len(late) + self._reconciler.count_rejected(copy.row for copy in late)

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return len(self._in_flight) + len(self._readings)

    @property
    def rows_in_flight(self) -> int:
        """Rows of requests under way."""
        return sum(batch.entries.num_rows for batch in self._in_flight.values())

    @property
    def _opens_at(self) -> float:
        return max(self._throttled_until, self._reconnect_at)

    def next_request(self, now: float) -> tuple[int, Request] | None:
        """Decide what to send now.

        Returns
        -------
        ticket, request : int and Request
            The ticket goes back to ``finish``. None: nothing can be sent now.
        """
        if self.stopped or now < self._opens_at or self.in_flight >= self._limit.requests:
            return None
        reading = self._next_reading(now)
        if reading is not None or (self._reconciler and not self._reconciler.is_ready):
            return reading
        batch = self._accumulator.next_batch(
            now, self._completion.limits, partial=not self.wants_records
        )
        if batch is None:
            return None
        batch.request = next(self._tickets)
        if self._reconciler:
            self._reconciler.prepare(batch)
        if not self.requests and batch.floor is not None:
            self._run_log.begin(batch.floor)
        self._run_log.send(batch)
        body = build_body(batch.entries)
        batch.attempts += 1
        batch.sent_twice |= batch.maybe_stored
        self.requests += 1
        self.bytes_sent += len(body)
        self.retried_rows += batch.entries.num_rows if batch.attempts > 1 else 0
        self._in_flight[batch.request] = batch
        self._limit.note_sent(batch.request, now=now, nbytes=len(body))
        return batch.request, put_records_request(self._stream, body)

    def _next_reading(self, now: float) -> tuple[int, Request] | None:
        """Decide what to look up now."""
        if self._reconciler is None:
            return None
        if self._closed and not (self._in_flight or self._accumulator):
            self._reconciler.finish_up()
        asked = self._reconciler.next_query(now)
        if asked is None:
            return None
        ticket = next(self._tickets)
        self._readings[ticket] = asked[0]
        self._limit.note_sent(ticket, now=now, nbytes=0)
        return ticket, asked[1]

    def wake_at(self, now: float) -> float | None:
        """Say when ``next_request`` may have something new; None: only after an event."""
        if self.stopped or self.in_flight >= self._limit.requests:
            return None
        times = [self._accumulator.wake_at(now, self._opens_at)]
        if self._reconciler:
            times.append(self._reconciler.wake_at())
        return min((max(time, self._opens_at) for time in times if time is not None), default=None)

    def waiting(self, now: float) -> str | None:
        """Say why nothing is sent; None: something is under way, or nothing waits."""
        if now < self._throttled_until:
            return f"the platform asked for a pause of {self._throttled_until - now:.1f} s"
        pause = self._accumulator.first_pause()
        if pause is None or self._in_flight:
            return None
        until, batch = pause
        why = next((why for why in batch.why if why is not None), None)
        reason = f" after {why.message}" if why else ""
        return f"trying again in {max(0.0, until - now, self._reconnect_at - now):.1f} s{reason}"

    # -- ends of requests in ----------------------------------------------------------

    def finish(self, ticket: int, attempt: Attempt, *, now: float, draw: float) -> None:
        """Take in how a request ended.

        Parameters
        ----------
        ticket : int
            From ``next_request``.
        attempt : Answer or Fault
            How it ended.
        now, draw : float
            The clock, and an even draw from [0, 1) for the pause.
        """
        self._limit.note_ended(ticket, attempt, now=now)
        moment = Moment(now, draw, self._note_answer(attempt, now, draw))
        if ticket in self._readings:
            self._finish_reading(self._readings.pop(ticket), attempt, moment)
        else:
            stop = self._completion.complete(self._in_flight.pop(ticket), attempt, moment)
            self.stopped = self.stopped or stop
        silent_since = now if self._silent_since is None else self._silent_since
        if now - silent_since >= self._policy.retry.deadline_seconds:
            self.stopped = self.stopped or Stop("unavailable", attempt)
        if self.stopped:
            self._drop_waiting()

    def _finish_reading(self, job: PendingQuery, attempt: Attempt, moment: Moment) -> None:
        """Take in an answer to a look-up, and what it resolves."""
        assert self._reconciler is not None  # noqa: S101  # it asked
        pause = (moment.floor, moment.draw)
        verdict = self._reconciler.finish(job, attempt, now=moment.now, pause=pause)
        if verdict is not None:
            self.stopped = self.stopped or Stop(verdict.cause or "unavailable", attempt)
        elif self._reconciler.is_stream_missing:
            self.stopped = self.stopped or Stop("missing", attempt)
        lookups, self._reconciler.lookups = self._reconciler.lookups, []
        for lookup in lookups:
            self._completion.complete_lookup(lookup, moment)

    def _note_answer(self, attempt: Attempt, now: float, draw: float) -> float:
        """Note whether anybody is there, and what pause is asked for: it holds for all.

        Returns the seconds of a Retry-After.
        """
        if isinstance(attempt, Fault):
            self._silent_since = now if self._silent_since is None else self._silent_since
            self._unreached += attempt.stage == "connecting"
            self._reconnect_at = self._space_reconnects(self._silent_since, now, draw)
            return 0.0
        self._silent_since, self._unreached, self._reconnect_at = None, 0, 0.0
        floor = parse_retry_after(attempt.headers) or 0.0
        pause = min(floor, self._policy.retry.deadline_seconds)
        self._throttled_until = max(self._throttled_until, now + pause)
        return floor

    def _space_reconnects(self, silent_since: float, now: float, draw: float) -> float:
        """Say when to try again to reach a platform that no request under way could reach.

        Each batch pauses by itself; hundreds of them together would knock without a pause.
        As many failures as requests may be under way are one try, and the first of them
        draws the pause: the longest of many draws would have no jitter.
        """
        tries = self._unreached // self._limit.requests
        if not tries or now < self._reconnect_at:
            return self._reconnect_at
        pause = next_delay(self._policy.retry, failures=tries, draw=draw)
        return min(now + pause, silent_since + self._policy.retry.deadline_seconds)

    def take_retried(self) -> list[Retried]:
        """Hand out what is tried again since the last call."""
        retried, self._completion.retried = self._completion.retried, []
        return retried

    # -- the end ----------------------------------------------------------------------

    def stop(self) -> None:
        """Send nothing new. What is under way still gets its outcome by ``finish``."""
        self.stopped = self.stopped or Stop("stopped")
        self._drop_waiting()

    def _drop_waiting(self) -> None:
        queued, paused = self._accumulator.clear()
        for entries in queued:
            self.outcomes.fail(entries.rows, "unsent", completion.STOPPED)
        looked_up = self._reconciler.clear() if self._reconciler else []
        for batch in [*paused, *looked_up]:
            for link in links(batch):
                self._drop(link)

    def abandon(self) -> None:
        """Take every request still under way as cut off: nobody knows of its records."""
        cut_off = Fault("stopped", "waiting", "the run was stopped before an answer came")
        for batch in self._in_flight.values():
            batch.maybe_stored[:] = True
            batch.blame(describe_failure(cut_off))
            for link in links(batch):
                self._drop(link)
        self._in_flight.clear()
        self._readings.clear()

    def _drop(self, batch: Batch) -> None:
        """Leave a batch that waits as it is."""
        batch.why[batch.why == None] = completion.STOPPED  # noqa: E711  # element by element
        completion.record_status(self.outcomes, batch, "unsent")

    def finish_rows(self, num_rows: int) -> None:
        """Leave unsent the rows of the data that were never offered."""
        completion.leave_unsent(self.outcomes, num_rows)

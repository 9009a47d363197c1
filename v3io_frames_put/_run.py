"""One run: planned rows -> the stream -> outcome batches and a receipt."""

from __future__ import annotations

import logging
import random
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from v3io_frames_put._io.senders import RequestDone, Senders, ThreadFailed
from v3io_frames_put._producer import classification
from v3io_frames_put._producer.classification import Stop
from v3io_frames_put._producer.outcomes import Outcomes
from v3io_frames_put._producer.producer import Producer
from v3io_frames_put._producer.reconciler import Reconciler
from v3io_frames_put._producer.values import PAGE_ROWS
from v3io_frames_put._wire.api import Answer, Fault
from v3io_frames_put._wire.bodies import encode_window
from v3io_frames_put.errors import Interrupted, PlatformUnavailable, PutRecordsError
from v3io_frames_put.progress import Progress, RetryLog, Throttle, has_cells, open_progress
from v3io_frames_put.results import Order, Receipt, count_and_first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    import pyarrow as pa

    from v3io_frames_put._io.senders import Event
    from v3io_frames_put._producer.run_log import RunLog
    from v3io_frames_put._producer.values import Copy
    from v3io_frames_put._run_plan import RunPlan
    from v3io_frames_put._wire.api import Request
    from v3io_frames_put._wire.bodies import EncodedWindow
    from v3io_frames_put._wire.paths import StreamPath
    from v3io_frames_put.client import Client
    from v3io_frames_put.errors import RequestError

GRACE_SECONDS: Final = 5.0  # a stopped run waits this long for answers under way
_UNRECORDED: Final = Fault("stopped", "connecting", "its journal could not be written")
_TICK_SECONDS: Final = 0.1  # how often progress, ``cancel`` and the grace are looked at


class Network(Protocol):
    """What a run needs of its couriers; tests pass a simulated network."""

    def send(self, ticket: int, request: Request) -> None:
        """Carry a request."""

    def request_window(self) -> None:
        """Encode the next window."""

    def collect(self, timeout: float) -> list[Event]:
        """Wait for events."""

    def wake(self) -> None:
        """End a ``collect`` that waits; called by a signal handler."""

    def shutdown(self) -> None:
        """Let no byte leave any more."""

    def close(self) -> None:
        """Free all that was opened; the run is over."""


class StopSwitch:
    """Whether the user wants the run to stop, and how soon.

    Parameters
    ----------
    cancel : threading.Event, optional
        Stops the run when it is set.
    """

    def __init__(self, cancel: threading.Event | None = None) -> None:
        self._cancel = cancel
        self._ignores_ctrl_c = False
        self.presses = 0

    @property
    def is_on(self) -> bool:
        """Whether to send nothing new."""
        return self.presses > 0 or (self._cancel is not None and self._cancel.is_set())

    @property
    def is_urgent(self) -> bool:
        """Whether not even to wait for answers under way: the second Ctrl-C."""
        return self.presses > 1

    @contextmanager
    def on_interrupt(self, wake: Callable[[], None]) -> Iterator[None]:
        """Take Ctrl-C as a press of the switch while the block runs.

        As an exception it could strike between an answer and its outcome. Python
        lets only the main thread handle signals; elsewhere nothing changes. A shell has
        its background jobs ignore Ctrl-C; what is handed on from another signal, as the
        command does with SIGTERM, counts there, too.
        """
        before = signal.getsignal(signal.SIGINT)
        in_main = threading.current_thread() is threading.main_thread()
        if not in_main or before is None:
            yield
            return
        self._ignores_ctrl_c |= before is signal.SIG_IGN

        def press(number: int, _frame: FrameType | None) -> None:
            if number == signal.SIGINT and self._ignores_ctrl_c:
                return
            self.presses += 1
            wake()

        signal.signal(signal.SIGINT, press)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


class Loop:
    """Delivers until every row has its outcome, or the run is stopped.

    Parameters
    ----------
    delivery : Producer
        Decides.
    network : Network
        Sends requests, and encodes windows.
    switch : StopSwitch
        The user's wish to stop.
    run_log : RunLog, optional
        Makes durable what it was told, before requests leave; where it cannot, the run stops.
    clock, random : callable
        Monotonic seconds; an even draw from [0, 1).

    Attributes
    ----------
    broken : BaseException or None
        What a thread ran into that is no network trouble: it stopped the run, or ended
        its data, and the outcomes are true all the same. None: nothing.
    """

    def __init__(  # what a run is made of
        self,
        delivery: Producer,
        network: Network,
        *,
        switch: StopSwitch,
        run_log: RunLog | None,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.broken: BaseException | None = None
        self._delivery, self._network = delivery, network
        self._switch, self._run_log = switch, run_log
        self._clock, self._random = clock, random
        self._patience: float | None = None

    def step(self) -> bool:
        """Go round once; return False, without doing anything, when the run is over."""
        delivery = self._delivery
        if delivery.is_done:
            return False
        now = self._clock()
        if self._switch.is_on:
            delivery.stop()
        if delivery.stopped:
            self._patience = self._patience or now + GRACE_SECONDS
            if now >= self._patience or self._switch.is_urgent:
                self._network.shutdown()
                delivery.abandon()
                return False
        reason = self._go_round()
        self.broken = self.broken or reason
        return True

    def _go_round(self) -> BaseException | None:
        """Send what may be sent, wait for what happens, and take it in."""
        now, delivery = self._clock(), self._delivery
        jobs = list(iter(partial(delivery.next_request, now), None))
        try:
            if self._run_log is not None:
                self._run_log.commit()
        except PutRecordsError as error:
            for ticket, _ in jobs:
                delivery.complete(ticket, _UNRECORDED, now=now, draw=self._random())
            delivery.stop()
            return error
        for job in jobs:
            self._network.send(*job)
        if delivery.wants_records:
            self._network.request_window()
        wake_at, broken = delivery.wake_at(now), None
        pause = _TICK_SECONDS if wake_at is None else min(_TICK_SECONDS, wake_at - now)
        for event in self._network.collect(pause):
            reason = self._take_in(event, self._clock(), self._random())
            broken = broken or reason
        return broken

    def _take_in(self, event: Event, now: float, draw: float) -> BaseException | None:
        """Take in what happened; return what a thread ran into."""
        delivery = self._delivery
        if isinstance(event, RequestDone):
            delivery.complete(event.ticket, event.attempt, now=now, draw=draw)
        elif isinstance(event, ThreadFailed):
            if event.is_from_source:  # what was read before is sent
                delivery.close()
            else:
                delivery.stop()
            return event.error
        elif event.window is None:
            delivery.close()
        else:
            delivery.offer(event.window)
        return None


_DOING = "put records on"


def stop_error(
    stop: Stop, *, client: Client, stream: StreamPath, advice: str | None = None
) -> RequestError | Interrupted:
    """Make the exception for a run that ended early; its results are the caller's to add.

    ``advice`` says how to send the rest. None: by the results that the exception carries.
    """
    attempt = stop.attempt
    if attempt is None:
        return _interrupted(stream, advice)
    if stop.cause == "missing":
        try:
            return client.diagnose_missing_stream(stream)
        except KeyboardInterrupt:
            return _interrupted(stream, advice)
    where = str(stream.endpoint)
    if isinstance(attempt, Fault) and stop.cause == "certificate":
        return classification.untrusted(attempt, doing=f"{_DOING} {stream} at {where}")
    if isinstance(attempt, Answer) and stop.cause != "unavailable":
        return classification.request_error(attempt, doing=_DOING, stream=stream, where=where)
    results, hint = _name_results()
    rest = advice or f"{results} tells what to send again.{hint}"
    return PlatformUnavailable(
        f"{_DOING} {stream} at {where}: no request was answered for "
        f"{client.retry.deadline_seconds:g} s; the last: {classification.describe_last(attempt)}. "
        f"Check the endpoint and the network; {rest}"
    )


def _interrupted(stream: StreamPath, advice: str | None) -> Interrupted:
    results, hint = _name_results()
    rest = advice or (
        f"{results} tells what became of every row; put_records(..., resume={results}) sends the "
        f"rest.{hint}"
    )
    return Interrupted(f"stopped while sending to {stream}: {rest}")


def _name_results() -> tuple[str, str]:
    """Say how to reach the results, and what that takes.

    An exception that ends a notebook's cell has no name; Python keeps the last one in sys.
    """
    if has_cells() and threading.current_thread() is threading.main_thread():
        return "sys.last_value.results", " (Type import sys first.)"
    return "error.results", ""


_LOG: Final = logging.getLogger("v3io_frames_put")


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a run ended.

    Attributes
    ----------
    receipt : Receipt
        What it did.
    stop : Stop or None
        Why it ended early. None: it came to its end.
    broken : BaseException or None
        What reading or encoding the data ran into. None: nothing.
    out_of_order : list of int
        Rows that stand behind later ones of their destination.
    late : list of Copy
        Rows that stand on the stream after all, seen when they had been settled.
    duplicates : list of Copy
        Further copies of rows that are stored.
    """

    receipt: Receipt
    stop: Stop | None
    broken: BaseException | None = None
    out_of_order: list[int] = field(default_factory=list)
    late: list[Copy] = field(default_factory=list)
    duplicates: list[Copy] = field(default_factory=list)

    def as_stopped(self) -> RunReport:
        """Return the same run, ended by the user if by nothing else."""
        return self if self.stop else replace(self, stop=Stop("stopped"))


def open_senders(job: RunPlan, windows: Iterator[EncodedWindow]) -> Network:
    """Make the threads that encode the windows of a run and send its requests."""
    return Senders(lambda: job.client.transport(job.stream), windows)


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a run needs of the world: the real one, unless tests pass another.

    Attributes
    ----------
    open_network : callable
        Given what to send and the windows to encode, opens the network.
    clock : callable
        Returns monotonic seconds.
    random : callable
        Returns an even draw from [0, 1).
    """

    open_network: Callable[[RunPlan, Iterator[EncodedWindow]], Network] = open_senders
    clock: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random


class Run:
    """One run of an upload.

    Parameters
    ----------
    job : RunPlan
        What to do.
    switch : StopSwitch, optional
        Stops the run; who holds it is told of a Ctrl-C also before and after the run.
    runtime : Runtime, optional
        Network, clock and random source.

    Attributes
    ----------
    job : RunPlan
        What to do.
    switch : StopSwitch
        Stops the run.
    delivery : Producer
        Decides what is sent when, and holds the outcomes.
    """

    def __init__(
        self, job: RunPlan, *, switch: StopSwitch | None = None, runtime: Runtime | None = None
    ) -> None:
        self.job, self.switch = job, switch or StopSwitch(job.cancel)
        self._runtime = runtime or Runtime()
        self._reconciler = _make_reconciler(job)
        earlier = job.prior_run.earlier if job.prior_run else None
        self.delivery = Producer(
            job.policy,
            stream=job.stream,
            outcomes=Outcomes(
                packed=job.packed,
                earlier=earlier,
                run_log=job.run_log,
                page_rows=job.page_rows,
            ),
            reconciler=self._reconciler,
            run_log=job.run_log,
        )
        tag = bytes.fromhex(job.run_id) if job.policy.delivery == "exactly_once" else None
        # Nothing is read before the past is looked up, which may add to what is final.
        records = job.plan.records(job.prior_run, job.blocks)
        # map holds on to no window that was handed out, as a generator's variable would.
        windows = map(partial(encode_window, run_id=tag), records)
        self._network = self._runtime.open_network(job, windows)
        self._loop = Loop(
            self.delivery,
            self._network,
            switch=self.switch,
            run_log=job.run_log,
            clock=self._runtime.clock,
            random=self._runtime.random,
        )
        self._retries, self._throttle = RetryLog(job.run_id, self.delivery), Throttle()
        self._began = self._runtime.clock()

    def to_end(self, take: Callable[[pa.RecordBatch], Any]) -> RunReport:
        """Run to the end.

        Parameters
        ----------
        take : callable
            Takes outcome batches, in input order, while the run goes on.

        Returns
        -------
        RunReport
            Its receipt, and why it stopped if it did. Network trouble is never raised.
        """
        job, delivery, reconciler = self.job, self.delivery, self._reconciler
        if job.complete_rows is not None:
            _recall(delivery.outcomes, job.complete_rows, take)
        elif job.plan.num_rows != 0:
            _LOG.info("run %s: sending to %s", job.run_id, job.stream)
            self._deliver(take)
        for batch in delivery.outcomes.finish():
            take(batch)
        duplicates = sorted({*job.duplicates, *(reconciler.duplicates() if reconciler else ())})
        late = reconciler.late() if reconciler else []
        broken = self._conclude(late, duplicates)
        resumed = job.prior_run.out_of_order() if job.prior_run else ()
        listed = job.out_of_order["first"]
        seen = delivery.late_out_of_order(late)
        out_of_order = sorted({*listed, *delivery.out_of_order, *seen, *resumed})
        receipt = replace(
            _make_receipt(job, delivery, self._runtime.clock() - self._began),
            starts=reconciler.starts if reconciler else {},
            out_of_order=count_and_first(
                out_of_order, more=job.out_of_order["count"] - len(listed)
            ),
            duplicates=count_and_first([list(copy) for copy in duplicates]),
        )
        how = "ended early; of the rows that were read" if delivery.stopped or broken else "ended"
        _LOG.info("run %s: %s, %s", job.run_id, how, receipt.counts)
        return RunReport(receipt, delivery.stopped, broken, out_of_order, late, duplicates)

    def _deliver(self, take: Callable[[pa.RecordBatch], Any]) -> None:
        """Go round until the run is over, and settle what was never read."""
        job, delivery = self.job, self.delivery

        def show_all(now: float) -> None:
            show(_snapshot(delivery, job.plan.num_rows, self._began, now))

        with open_progress(job.progress) as show, self.switch.on_interrupt(self._network.wake):
            try:
                while (now := self.step(take)) is not None:
                    if self._throttle.is_due(now):
                        show_all(now)
            finally:
                self._network.close()
            # Also when every row has its outcome: who pressed wants to stop.
            if self.switch.presses:
                delivery.stop()
            known = len(job.prior_run.earlier.status) if job.prior_run else 0
            delivery.finish_rows(max(job.plan.num_rows or 0, known))
            show_all(self._runtime.clock())

    def step(self, take: Callable[[pa.RecordBatch], Any]) -> float | None:
        """Go once round the loop: send, wait for what happens, hand out what is settled.

        Returns
        -------
        float or None
            The time afterwards. None: nothing was done, the run is over.
        """
        if not self._loop.step():
            return None
        now = self._runtime.clock()
        for batch in self.delivery.outcomes.drain():
            take(batch)
        self._retries.tell(now)
        return now

    def _conclude(self, late: Sequence[Copy], duplicates: Sequence[Copy]) -> BaseException | None:
        """Close the journal's account; return what came in the way of the run, or of this."""
        job, delivery, broken = self.job, self.delivery, self._loop.broken
        if job.run_log is None:
            return broken
        try:
            job.run_log.conclude(
                num_rows=delivery.outcomes.num_rows,
                is_finished=not (delivery.count_left(late) or broken or delivery.stopped),
                late=late,
                duplicates=duplicates,
            )
        except PutRecordsError as error:
            return broken or error
        return broken


def _make_reconciler(job: RunPlan) -> Reconciler | None:
    if job.policy.delivery != "exactly_once":
        return None
    return Reconciler(job.stream, bytes.fromhex(job.run_id), job.policy.retry, past=job.past)


def _recall(outcomes: Outcomes, num_rows: int, take: Callable[[pa.RecordBatch], Any]) -> None:
    """Tell of the rows of a run that is over."""
    for first_row in range(0, num_rows, PAGE_ROWS):
        outcomes.open(min(PAGE_ROWS, num_rows - first_row))
        for batch in outcomes.drain():
            take(batch)


def _snapshot(delivery: Producer, total: int | None, began: float, now: float) -> Progress:
    return Progress(
        total=total,
        **delivery.outcomes.counts,
        retried=delivery.retried_rows,
        in_flight=delivery.rows_in_flight,
        bytes_sent=delivery.bytes_sent,
        seconds=now - began,
        waiting=delivery.waiting(now),
    )


def _order(job: RunPlan, delivery: Producer) -> Order:
    """Say which of the records without a key had a shard: the stream does not tell."""
    if job.policy.order == "none":
        return "none"
    if not job.gives_shards:
        return "key"
    is_resumed = job.prior_run is not None  # what was sent before is not offered again
    if is_resumed or (delivery.sharded_records and delivery.free_records):
        return "unknown"
    return "key" if delivery.free_records else "shard"


def _make_receipt(job: RunPlan, delivery: Producer, seconds: float) -> Receipt:
    stop = delivery.stopped
    return Receipt(
        run_id=job.run_id,
        stream=str(job.stream),
        endpoint=str(job.stream.endpoint),
        delivery=job.policy.delivery,
        order=_order(job, delivery),
        mapping=job.mapping,
        counts=dict(delivery.outcomes.counts),
        requests=delivery.requests,
        retried=delivery.retried_rows,
        bytes=delivery.bytes_sent,
        seconds=round(seconds, 3),
        stopped=None if stop is None else stop.cause,
        already_complete=job.complete_rows is not None,
    )

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
from v3io_frames_put._producer.values import PAGE_ROWS, Failure
from v3io_frames_put._wire.api import Answer, Fault
from v3io_frames_put._wire.bodies import encode_window
from v3io_frames_put.errors import Interrupted, PlatformUnavailable, PutRecordsError
from v3io_frames_put.progress import Progress, RetryLog, Throttle, has_cells, open_progress
from v3io_frames_put.results import Order, Receipt, count_and_first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from v3io_frames_put._io.senders import Event
    from v3io_frames_put._producer.prior_run import PriorRun
    from v3io_frames_put._producer.run_log import RunLog
    from v3io_frames_put._producer.values import Copy
    from v3io_frames_put._run_plan import RunPlan
    from v3io_frames_put._wire.api import Request
    from v3io_frames_put._wire.bodies import EncodedWindow
    from v3io_frames_put._wire.paths import StreamPath
    from v3io_frames_put.client import Client
    from v3io_frames_put.errors import RequestError

GRACE_SECONDS: Final = 5.0  # a stopped run waits this long for answers under way
_TICK_SECONDS: Final = 0.1  # how often progress, ``cancel`` and the grace period are checked
_UNRECORDED: Final = Fault("stopped", "connecting", "its journal could not be written")
_NOT_SENT: Final = Fault("stopped", "connecting", "no thread could be started to send it")
_FAILED: Final = Failure("NoAnswer", "the run failed before the outcome of this row was noted")
_LOG: Final = logging.getLogger("v3io_frames_put")


class Network(Protocol):
    """What a run needs of its threads; tests pass a simulated network."""

    def send(self, ticket: int, request: Request) -> None:
        """Send a request."""

    def request_window(self) -> None:
        """Encode the next window."""

    def collect(self, timeout: float) -> list[Event]:
        """Wait for events."""

    def wake(self) -> None:
        """End a ``collect`` that waits; a signal handler calls it."""

    def shutdown(self) -> None:
        """Send no byte any more."""

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
        """Whether not to wait for answers in flight either: the second Ctrl-C."""
        return self.presses > 1

    @contextmanager
    def on_interrupt(self, wake: Callable[[], None]) -> Iterator[None]:
        """Count Ctrl-C as a press of the switch while the block runs.

        An exception could come between an answer and its outcome. Python handles signals
        in the main thread only; in other threads nothing changes. A shell makes its
        background jobs ignore Ctrl-C; another signal that is handed on to this handler,
        as the command does with SIGTERM, still counts there.
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
    """Sends records until every row has its outcome, or the run is stopped.

    Parameters
    ----------
    producer : Producer
        Decides.
    network : Network
        Sends requests, and encodes windows.
    switch : StopSwitch
        The user's wish to stop.
    run_log : RunLog, optional
        Is made durable before requests leave; where that fails, the run stops.
    clock, random : callable
        Monotonic seconds; an even draw from [0, 1).

    Attributes
    ----------
    broken : BaseException or None
        The first error that is not network trouble: it stopped the run, or ended its data,
        and the outcomes are true all the same. None: there was none.
    is_source_broken : bool
        Whether that error came from reading or encoding the data.
    """

    def __init__(
        self,
        producer: Producer,
        network: Network,
        *,
        switch: StopSwitch,
        run_log: RunLog | None,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.broken: BaseException | None = None
        self.is_source_broken = False
        self._producer, self._network = producer, network
        self._switch, self._run_log = switch, run_log
        self._clock, self._random = clock, random
        self._patience: float | None = None

    def step(self) -> bool:
        """Do one round; return False, without doing anything, when the run is over."""
        producer = self._producer
        if producer.is_done:
            return False
        now = self._clock()
        if self._switch.is_on:
            producer.stop()
        if producer.stopped:
            self._patience = self._patience or now + GRACE_SECONDS
            if now >= self._patience or self._switch.is_urgent:
                self._network.shutdown()
                producer.abandon()
                return False
        self._send()
        wake_at = producer.wake_at(now)
        pause = _TICK_SECONDS if wake_at is None else min(_TICK_SECONDS, wake_at - now)
        for event in self._network.collect(pause):
            self._handle(event, self._clock(), self._random())
        return True

    def _send(self) -> None:
        """Send what may be sent now, once it is on record, and ask for records."""
        now, producer = self._clock(), self._producer
        requests = list(iter(partial(producer.next_request, now), None))
        try:
            if self._run_log is not None:
                self._run_log.commit()
            while requests:
                self._network.send(*requests[0])
                del requests[0]
            if producer.wants_records:
                self._network.request_window()
        except (PutRecordsError, OSError, RuntimeError, MemoryError) as error:
            # A journal that cannot be written, or no thread that can start: nothing of the
            # requests that are left has been sent.
            cause = _UNRECORDED if isinstance(error, PutRecordsError) else _NOT_SENT
            for ticket, _ in requests:
                producer.complete(ticket, cause, now=now, draw=self._random())
            producer.stop()
            self._break(error)

    def _handle(self, event: Event, now: float, draw: float) -> None:
        """Handle an event: a request ended, a window is there, or a thread failed."""
        producer = self._producer
        if isinstance(event, RequestDone):
            producer.complete(event.ticket, event.attempt, now=now, draw=draw)
        elif isinstance(event, ThreadFailed):
            self._break(event.error, is_from_source=event.is_from_source)
            if event.is_from_source:  # what was read before is sent
                producer.close()
            else:
                producer.stop()
        elif event.window is None:
            producer.close()
        else:
            producer.offer(event.window)

    def _break(self, error: BaseException, *, is_from_source: bool = False) -> None:
        if self.broken is None:
            self.broken, self.is_source_broken = error, is_from_source

    def salvage(self, error: BaseException) -> None:
        """End a run whose own code failed: no byte leaves any more.

        Rows that wait get the status unsent and rows in flight unknown, as far as the
        producer still can do it; every other row that was offered is then unknown.
        """
        self._break(error)
        self._network.shutdown()
        for end in (self._producer.stop, self._producer.abandon):
            try:
                end()
            except Exception:  # noqa: BLE001, PERF203  # logged; the first error is raised
                _LOG.warning("the run failed while it was ended", exc_info=True)
        outcomes = self._producer.outcomes
        outcomes.record_failure(outcomes.open_rows(0), "unknown", _FAILED)


_DOING = "put records on"


def stop_error(
    stop: Stop, *, client: Client, stream: StreamPath, advice: str | None = None
) -> RequestError | Interrupted:
    """Make the exception for a run that ended early; the caller adds the results.

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
    if isinstance(attempt, Fault) and stop.cause != "unavailable":
        return classification.fault_error(attempt, doing=f"{_DOING} {stream} at {where}")
    if isinstance(attempt, Answer) and stop.cause != "unavailable":
        return classification.request_error(attempt, doing=_DOING, stream=stream, where=where)
    results, hint = _name_results()
    rest = advice or f"{results} says what to send again.{hint}"
    return PlatformUnavailable(
        f"{_DOING} {stream} at {where}: "
        f"{'no request was answered' if stop.had_contact else 'no connection was accepted'} for "
        f"{stop.seconds:g} s; the last: {classification.describe_last(attempt)}. "
        f"Check the endpoint and the network; {rest}"
    )


def _interrupted(stream: StreamPath, advice: str | None) -> Interrupted:
    results, hint = _name_results()
    rest = advice or (
        f"{results} says what became of every row; put_records(..., resume={results}) sends the "
        f"rest.{hint}"
    )
    return Interrupted(f"stopped while sending to {stream}: {rest}")


def _name_results() -> tuple[str, str]:
    """Return how to reach the results, and a hint.

    An exception that ends a notebook's cell has no name; Python keeps the last one in sys.
    """
    if has_cells() and threading.current_thread() is threading.main_thread():
        return "sys.last_value.results", " (Type import sys first.)"
    return "error.results", ""


@dataclass(slots=True)
class RunReport:
    """How a run ended; its parts write into it.

    Attributes
    ----------
    receipt : Receipt
        What it did.
    stop : Stop or None
        Why it ended early. None: it came to its end.
    broken : BaseException or None
        The error that ended it, if that was neither the platform nor the user.
    is_source_broken : bool
        Whether that error came from reading or encoding the data.
    out_of_order : list of int or None
        Rows that are stored after later ones of their destination. None: the run was resumed,
        and ``verify_results`` finds them.
    late : list of Copy
        Rows that a last scan found stored after they had got another outcome.
    duplicates : list of Copy
        Further copies of rows that are stored.
    """

    receipt: Receipt
    stop: Stop | None
    broken: BaseException | None = None
    is_source_broken: bool = False
    out_of_order: list[int] | None = None
    late: list[Copy] = field(default_factory=list)
    duplicates: list[Copy] = field(default_factory=list)

    def stop_by_user(self) -> None:
        """Note that the user stopped the run, if nothing else did."""
        self.stop = self.stop or Stop("stopped")


def open_senders(plan: RunPlan, windows: Iterator[EncodedWindow]) -> Network:
    """Make the threads that encode the windows of a run and send its requests."""
    return Senders(
        lambda: plan.client.transport(plan.stream), windows, stop_reading=plan.rows.stop_reading
    )


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
    """One run: sends planned rows to the stream.

    Parameters
    ----------
    plan : RunPlan
        What to send, where and how.
    prior : PriorRun, optional
        What earlier processes of the run left. None: this is the first.
    run_log : RunLog, optional
        Writes the run's journal.
    switch : StopSwitch, optional
        Stops the run; its holder sees a Ctrl-C also before and after the run.
    runtime : Runtime, optional
        Network, clock and random source.

    Attributes
    ----------
    plan, prior, switch
        As given.
    run_id : str
        The prior run's, or the plan's.
    producer : Producer
        Decides what is sent when, and holds the outcomes.
    """

    def __init__(
        self,
        plan: RunPlan,
        *,
        prior: PriorRun | None = None,
        run_log: RunLog | None = None,
        switch: StopSwitch | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self.plan, self.prior, self.switch = plan, prior, switch or StopSwitch(plan.cancel)
        self.run_id = prior.run_id if prior else plan.run_id
        self._run_log = None if prior and prior.is_complete else run_log
        self._resumed_rows = prior.outcomes.count_final() if prior else 0
        self._runtime = runtime or Runtime()
        self._reconciler: Reconciler | None = None
        tag = None
        if plan.options.delivery == "exactly_once":
            tag = bytes.fromhex(self.run_id)
            in_doubt = prior.in_doubt if prior else None
            self._reconciler = Reconciler(plan.stream, tag, plan.options.retry, past=in_doubt)
        self.producer = Producer(
            plan.options,
            stream=plan.stream,
            outcomes=Outcomes(
                packed=plan.is_packed,
                earlier=prior.outcomes if prior else None,
                run_log=self._run_log,
                page_rows=plan.page_rows,
            ),
            reconciler=self._reconciler,
            run_log=self._run_log,
        )
        # Read at the first request for a window: until then a look-up may find more rows that
        # are stored already.
        records = plan.rows.records(prior, self._run_log.blocks if self._run_log else None)
        # map keeps no window that was handed out, as a generator's variable would.
        windows = map(partial(encode_window, run_id=tag), records)
        self._network = self._runtime.open_network(plan, windows)
        self._loop = Loop(
            self.producer,
            self._network,
            switch=self.switch,
            run_log=self._run_log,
            clock=self._runtime.clock,
            random=self._runtime.random,
        )
        self._retries, self._throttle = RetryLog(self.run_id, self.producer), Throttle()
        self._began = self._runtime.clock()

    @property
    def writes_journal(self) -> bool:
        """Whether the run can go on in another process."""
        return self._run_log is not None

    def to_end(self, take: Callable[[pa.RecordBatch], Any]) -> RunReport:
        """Run to the end.

        Parameters
        ----------
        take : callable
            Takes outcome batches, in input order, while the run goes on.

        Returns
        -------
        RunReport
            Its receipt, and why it stopped if it did. What it ran into is never raised.
        """
        plan, prior, outcomes = self.plan, self.prior, self.producer.outcomes
        if prior is not None and prior.complete_rows is not None:
            _replay(outcomes, prior.complete_rows, take)
        elif plan.rows.num_rows != 0:
            known: dict[str, Any] = {"event": "started", "run_id": self.run_id}
            _LOG.info("run %s: sending to %s", self.run_id, plan.stream, extra={"fields": known})
            self._send_all(take)
        late = self._reconciler.late() if self._reconciler else []
        record_rows = outcomes.record_rows([copy.row for copy in late])
        for batch in outcomes.finish():
            take(batch)
        report = self._report(late)
        self._conclude_log(report, record_rows)
        early = self.producer.stopped or report.broken
        how = "ended early; of the rows that were read" if early else "ended"
        known = {"event": "ended", "run_id": self.run_id, **report.receipt.to_json()["counts"]}
        counts = report.receipt.counts
        _LOG.info("run %s: %s, %s", self.run_id, how, counts, extra={"fields": known})
        return report

    def _send_all(self, take: Callable[[pa.RecordBatch], Any]) -> None:
        """Do rounds until the run is over; rows that were never read are unsent."""
        plan, producer = self.plan, self.producer

        def show_all(now: float) -> None:
            show(_snapshot(producer, plan.rows.num_rows, self._began, now))

        with open_progress(plan.progress) as show, self.switch.on_interrupt(self._network.wake):
            try:
                while (now := self.step(take)) is not None:
                    if self._throttle.is_due(now):
                        show_all(now)
            except Exception as error:  # noqa: BLE001  # raised by the face, with the results
                self._loop.salvage(error)
            finally:
                self._network.close()
            # Also when every row has its outcome: who pressed wants to stop.
            if self.switch.presses:
                producer.stop()
            known = len(self.prior.outcomes.status) if self.prior else 0
            producer.finish_rows(max(plan.rows.num_rows or 0, known))
            show_all(self._runtime.clock())

    def step(self, take: Callable[[pa.RecordBatch], Any]) -> float | None:
        """Do one round: send, wait for events, hand out the outcomes that are final.

        Returns
        -------
        float or None
            The time afterwards. None: nothing was done, the run is over.
        """
        if not self._loop.step():
            return None
        now = self._runtime.clock()
        for batch in self.producer.outcomes.drain():
            take(batch)
        self._retries.tell(now)
        return now

    def _report(self, late: list[Copy]) -> RunReport:
        """Collect what the parts of the run have seen."""
        producer, reconciler, prior = self.producer, self._reconciler, self.prior
        report = RunReport(
            self._make_receipt(),
            producer.stopped,
            self._loop.broken,
            self._loop.is_source_broken,
            late=late,
        )
        copies = {*(reconciler.duplicates() if reconciler else ())}
        if prior is not None:
            copies |= {*prior.duplicates}
        else:
            report.out_of_order = producer.out_of_order(report.late)
        report.duplicates = sorted(copies)
        report.receipt = replace(
            report.receipt,
            starts=reconciler.starts if reconciler else {},
            out_of_order=None
            if report.out_of_order is None
            else count_and_first(report.out_of_order),
            duplicates=count_and_first([list(copy) for copy in report.duplicates]),
        )
        return report

    def _conclude_log(self, report: RunReport, record_rows: NDArray[np.int32]) -> None:
        """Write into the journal how the run ended."""
        if self._run_log is None:
            return
        left = self.producer.count_left(report.late)
        try:
            self._run_log.conclude(
                num_rows=self.producer.outcomes.num_rows,
                is_finished=not (left or report.broken or self.producer.stopped),
                late=report.late,
                record_rows=record_rows,
                duplicates=report.duplicates,
            )
        except PutRecordsError as error:
            report.broken = report.broken or error

    def _make_receipt(self) -> Receipt:
        plan, producer = self.plan, self.producer
        stop, counts = producer.stopped, producer.outcomes.counts
        seconds = self._runtime.clock() - self._began
        stored = counts["stored"] - (self.prior.outcomes.count_stored() if self.prior else 0)
        return Receipt(
            run_id=self.run_id,
            stream=str(plan.stream),
            endpoint=str(plan.stream.endpoint),
            delivery=plan.options.delivery,
            order=self._find_order(),
            mapping=plan.mapping,
            counts=dict(counts),
            requests=producer.requests,
            retried=producer.retried_rows,
            bytes=producer.bytes_sent,
            seconds=round(seconds, 3),
            rows_per_second=round(stored / seconds) if stored > 0 and seconds else None,
            resumed_rows=self._resumed_rows,
            stopped=None if stop is None else stop.cause,
            already_complete=self.prior is not None and self.prior.is_complete,
        )

    def _find_order(self) -> Order:
        """Return which records are in order; the stream itself does not say who had a shard."""
        plan, producer = self.plan, self.producer
        if plan.options.order == "none":
            return "none"
        if not plan.gives_shards:
            return "key"
        # The rows that an earlier process sent are not offered again, so not counted here.
        if self.prior is not None or (producer.sharded_records and producer.free_records):
            return "unknown"
        return "key" if producer.free_records else "shard"


def _replay(outcomes: Outcomes, num_rows: int, take: Callable[[pa.RecordBatch], Any]) -> None:
    """Replay the recorded outcomes of a finished run."""
    for first_row in range(0, num_rows, PAGE_ROWS):
        outcomes.open(min(PAGE_ROWS, num_rows - first_row))
        for batch in outcomes.drain():
            take(batch)


def _snapshot(producer: Producer, total: int | None, began: float, now: float) -> Progress:
    return Progress(
        total=total,
        **producer.outcomes.counts,
        retried=producer.retried_rows,
        in_flight=producer.rows_in_flight,
        bytes_sent=producer.bytes_sent,
        seconds=now - began,
        waiting=producer.waiting(now),
    )

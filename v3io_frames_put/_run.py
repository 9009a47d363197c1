"""One run: options -> RunPlan; RunPlan -> the stream -> outcome batches and a receipt."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import secrets
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ._encode.plan import RowPlan, plan_rows
from ._io.senders import Event, RequestDone, Senders, ThreadFailed
from ._producer.classification import Stop
from ._producer.outcomes import Outcomes, RunLog
from ._producer.producer import Producer
from ._producer.reconciler import Reconciler
from ._producer.values import PAGE_ROWS, Copy, Failure
from ._wire.api import Fault
from ._wire.bodies import EncodedRecords, encode_records
from .errors import ConfigError, PutRecordsError
from .progress import Progress, ProgressOption, RetryLog, Throttle, open_progress
from .results import Receipt, StoredOrder, count_and_first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

    import pyarrow as pa

    from ._producer.prior_run import PriorRun
    from ._wire.paths import StreamPath
    from .client import Client
    from .config import DeliveryOptions, RowOptions

GRACE_SECONDS: Final = 5.0  # a stopped run waits this long for answers under way
_LAST_SECONDS: Final = 0.2  # then for the threads whose connections were cut
_TICK_SECONDS: Final = 0.1  # how often progress, ``cancel`` and the grace period are checked
_RUN_FAILED: Final = Failure("NoAnswer", "the run failed before the outcome of this row was noted")
_LOG: Final = logging.getLogger("v3io_frames_put")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What to send, where and how: all checked, nothing sent yet."""

    row_plan: RowPlan  # which rows, and how they are encoded
    client: Client
    stream: StreamPath
    delivery_options: DeliveryOptions
    replan: Callable[[], RowPlan]  # plans the rows anew, for a look-up beside the encoder
    is_packed: bool = False  # a record holds several rows
    gives_shards: bool = False  # rows may be given a shard
    progress: ProgressOption = None
    cancel: threading.Event | None = None  # stops the run when set
    run_id: str = field(default_factory=partial(secrets.token_hex, 8))  # a prior run's wins
    options_digest: str = ""  # a digest of what becomes of which column; a resumed run has the same
    page_rows: int = PAGE_ROWS  # rows whose outcomes are kept, and leave, together


def plan_run(  # what every face passes on
    data: Any,
    stream: str | StreamPath,
    *,
    client: Client,
    row_options: RowOptions,
    delivery_options: DeliveryOptions,
    progress: ProgressOption,
    cancel: threading.Event | None,
    reading: Mapping[str, Any] | None = None,
) -> RunPlan:
    """Check the data against the options, and plan the way up to the first request.

    ``reading`` is what else decides which rows the data has: a resumed run must have the same.
    Raises ConfigError or DataError.
    """
    if progress is not None and not isinstance(progress, bool) and not callable(progress):
        raise ConfigError(
            f"progress={progress!r}: expected True, False or a callable that takes a snapshot."
        )
    check_event("cancel", cancel)
    row_plan = plan_data(data, row_options, delivery_options)
    return RunPlan(
        row_plan=row_plan,
        client=client,
        stream=client.locate(stream),
        delivery_options=delivery_options,
        replan=partial(plan_data, data, row_options, delivery_options),
        is_packed=row_options.is_packed,
        gives_shards=row_options.shard is not None,
        progress=progress,
        cancel=cancel,
        options_digest=digest_options(row_plan, row_options, **(reading or {})),
    )


def plan_data(data: Any, row_options: RowOptions, delivery_options: DeliveryOptions) -> RowPlan:
    """Plan how the rows of a table become records. Raises ConfigError or DataError."""
    if row_options.client_info is not None and delivery_options.delivery == "exactly_once":
        raise ConfigError(
            "client_info: delivery='exactly_once' writes its tags there. Leave one of them out."
        )
    return plan_rows(
        data,
        row_options,
        limits=delivery_options.limits,
        window_bytes=delivery_options.window_bytes,
        held_bytes=delivery_options.max_in_flight_bytes,
    )


def check_event(name: str, value: object) -> None:
    """Refuse what is not an event. Raises ConfigError."""
    if value is not None and not callable(getattr(value, "is_set", None)):
        raise ConfigError(f"{name}: expected a threading.Event; got {value!r}. Correct it.")


def digest_options(row_plan: RowPlan, row_options: RowOptions, **reading: Any) -> str:
    """Return a digest of what becomes of which column: 16 hexadecimal digits.

    Labels count by their text, arrays only by being given, and the columns as they are in
    the row plan, however they were asked for.
    """
    columns = [(column.name, str(column.type)) for column in row_plan.columns]
    options: dict[str, Any] = {"encoding": str(row_options.encoding), **reading}
    for option in fields(row_options):
        options.setdefault(option.name, getattr(row_options, option.name))
    del options["columns"]
    for name, value in options.items():
        if isinstance(value, np.integer):
            options[name] = int(value)
        elif value is not None and not isinstance(value, (str, bytes, int, float)):
            options[name] = "array"
    text = json.dumps([columns, options], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class StopSwitch:
    """Whether the user wants the run to stop, and how soon: by Ctrl-C, or by ``cancel``."""

    _cancel: threading.Event | None = None
    _ignores_ctrl_c: bool = False
    presses: int = 0

    @property
    def is_on(self) -> bool:
        return self.presses > 0 or (self._cancel is not None and self._cancel.is_set())

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


@dataclass(slots=True)
class RunReport:
    receipt: Receipt
    stop: Stop | None  # why it ended early; None: it came to its end
    broken: BaseException | None  # the error that ended it: neither the platform nor the user
    is_source_broken: bool  # that error came from reading or encoding the data
    # Rows that are stored after later ones of their destination. None: the run was resumed, and
    # verify_results finds them.
    out_of_order: list[int] | None
    late: list[Copy]  # rows that a last scan found, or lost, after they had got another outcome
    duplicates: list[Copy]  # further copies of rows that are stored

    def stop_by_user(self) -> None:
        self.stop = self.stop or Stop("stopped")


def open_senders(plan: RunPlan, records: Iterator[EncodedRecords]) -> Senders:
    """Make the threads that encode the records of a run and send its requests."""
    return Senders(
        partial(
            plan.client.transport,
            plan.stream,
            first_contact_seconds=plan.delivery_options.retry.first_contact_seconds,
        ),
        records,
        stop_reading=plan.row_plan.source.stop_reading,
    )


@dataclass(frozen=True, slots=True)
class Runtime:
    """Network, clock and random source of a run: the real ones, unless tests pass others."""

    open_network: Callable[[RunPlan, Iterator[EncodedRecords]], Senders] = open_senders
    clock: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random


class Run:
    """One run: sends planned rows to the stream until each has its outcome, or it is stopped.

    ``prior`` is what earlier processes of the run left. ``run_log``, the journal, is made durable
    before requests leave. Who holds the ``switch`` sees a Ctrl-C also before and after the run.
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
        self.run_log = run_log = None if prior and prior.is_complete else run_log
        earlier = prior.outcomes if prior else None
        self._resumed_rows = earlier.count_final() if earlier else 0
        tag, self._reconciler = None, None
        options = plan.delivery_options
        if options.delivery == "exactly_once":
            tag, in_doubt = bytes.fromhex(self.run_id), prior.in_doubt if prior else None
            self._reconciler = Reconciler(plan.stream, tag, options.retry, prior_in_doubt=in_doubt)
        self.producer = Producer(
            options,
            stream=plan.stream,
            outcomes=Outcomes(
                packed=plan.is_packed,
                prior_outcomes=earlier,
                run_log=run_log,
                page_rows=plan.page_rows,
            ),
            reconciler=self._reconciler,
            run_log=run_log,
        )
        # Rows are read at the first request for records: until then a look-up may find more that
        # are stored already. map keeps nothing that was handed out, as the variable of a
        # generator would.
        records = plan.row_plan.records(earlier, run_log.blocks if run_log else None)
        encoded = map(partial(encode_records, run_id=tag), records)
        self._runtime = runtime or Runtime()
        self._network = self._runtime.open_network(plan, encoded)
        self._retries, self._throttle = RetryLog(self.run_id, self.producer), Throttle()
        self._began = self._runtime.clock()
        self._grace_ends: float | None = None  # until then, a stopped run waits for answers
        # The first error that is not network trouble: the outcomes are true all the same.
        self._broken: BaseException | None = None
        self._is_source_broken = False

    def to_end(self, write: Callable[[pa.RecordBatch], Any]) -> RunReport:
        """Run to the end; what the run runs into is in its report, never raised.

        ``write`` takes outcome batches, in input order, while the run goes on.
        """
        prior, outcomes = self.prior, self.producer.outcomes
        complete_rows = prior.complete_rows if prior else None
        if complete_rows is None and self.plan.row_plan.num_rows != 0:
            self._log("started", f"sending to {self.plan.stream}")
            self._send_all(write)
        else:  # nothing is sent
            num_rows = complete_rows or 0
            for first_row in range(0, num_rows, PAGE_ROWS):
                outcomes.open(min(PAGE_ROWS, num_rows - first_row))
                for batch in outcomes.drain():
                    write(batch)
            with open_progress(self.plan.progress) as show:
                if show is not None:
                    show(self._snapshot())
        late = self._reconciler.late() if self._reconciler else []
        for batch in outcomes.finish():
            write(batch)
        report = self._report(late)
        if self.run_log is not None:
            left = self.producer.count_left(late)
            try:
                self.run_log.conclude(
                    num_rows=outcomes.num_rows,
                    is_finished=not (left or report.broken or report.stop),
                    late=late,
                    duplicates=report.duplicates,
                )
            except PutRecordsError as error:
                report.broken = report.broken or error
        early = report.stop or report.broken
        how = "ended early; of the rows that were read" if early else "ended"
        counts = report.receipt.counts
        if late:
            how = f"{how}, before a last scan changed {len(late):,} rows"
        shown = ", ".join([f"{rows:,} {status}" for status, rows in counts.items()])
        self._log("ended", f"{how}: {shown}", counts)
        return report

    def _log(self, event: str, text: str, counts: Mapping[Any, int] | None = None) -> None:
        known = {"event": event, "run_id": self.run_id, **(counts or {})}
        _LOG.info("run %s: %s", self.run_id, text, extra={"fields": known})

    def _send_all(self, write: Callable[[pa.RecordBatch], Any]) -> None:
        """Do rounds until the run is over; rows that were never read are unsent."""
        plan, producer, clock = self.plan, self.producer, self._runtime.clock
        with open_progress(plan.progress) as show, self.switch.on_interrupt(self._network.wake):
            try:
                while self.step(write):
                    if show is not None and self._throttle.is_due(clock()):
                        show(self._snapshot())
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001  # raised by the face, with the results
                self._salvage(error)
            finally:
                self._network.close()
            # Also when every row has its outcome: who pressed wants to stop.
            if self.switch.presses:
                producer.stop()
            known = len(self.prior.outcomes.status) if self.prior else 0
            producer.finish_rows(max(plan.row_plan.num_rows or 0, known))
            if show is not None:
                show(self._snapshot())

    def step(self, write: Callable[[pa.RecordBatch], Any]) -> bool:
        """Do one round: send, wait for events, hand out the outcomes that are final.

        Returns False, without doing anything, when the run is over.
        """
        producer = self.producer
        if producer.is_done:
            return False
        now = self._runtime.clock()
        if self.switch.is_on:
            producer.stop()
        if producer.stopped:
            self._grace_ends = self._grace_ends or now + GRACE_SECONDS
            if now >= self._grace_ends or self.switch.presses > 1:  # the second Ctrl-C
                self._cut_off()
                return False
        self._send()
        wake_at = producer.wake_at(now)
        pause = _TICK_SECONDS if wake_at is None else min(_TICK_SECONDS, wake_at - now)
        for event in self._network.collect(pause):
            self._handle(event)
        for batch in producer.outcomes.drain():
            write(batch)
        self._retries.log(self._runtime.clock())
        return True

    def _cut_off(self) -> None:
        """Let no byte leave any more; threads then report the requests that they have."""
        self._network.shutdown()
        until = self._runtime.clock() + _LAST_SECONDS
        while self.producer.in_flight and (left := until - self._runtime.clock()) > 0:
            for event in self._network.collect(left):
                self._handle(event)
        self.producer.abandon()

    def _send(self) -> None:
        """Send what may be sent now, once it is on record, and ask for records."""
        now, producer = self._runtime.clock(), self.producer
        requests = list(iter(partial(producer.next_request, now), None))
        try:
            if self.run_log is not None:
                self.run_log.commit()
            while requests:
                self._network.send(*requests[0])
                del requests[0]
            if producer.wants_records:
                self._network.request_records()
        except (PutRecordsError, OSError, RuntimeError, MemoryError) as error:
            # A journal that cannot be written, or no thread that can start: nothing of the
            # requests that are left has been sent.
            cause = Fault("stopped", "connecting", f"{type(error).__name__}: {error}")
            for ticket, _ in requests:
                producer.complete(ticket, cause, now=now, draw=self._runtime.random())
            producer.stop()
            self._break(error)

    def _handle(self, event: Event) -> None:
        producer, now, draw = self.producer, self._runtime.clock(), self._runtime.random()
        if isinstance(event, RequestDone):
            producer.complete(event.ticket, event.attempt, now=now, draw=draw)
        elif isinstance(event, ThreadFailed):
            self._break(event.error, is_from_source=event.is_from_source)
            if event.is_from_source:  # what was read before is sent
                producer.close()
            else:
                producer.stop()
        elif event.records is None:
            producer.close()
        else:
            producer.offer(event.records)

    def _break(self, error: BaseException, *, is_from_source: bool = False) -> None:
        if self._broken is None:
            self._broken, self._is_source_broken = error, is_from_source

    def _salvage(self, error: BaseException) -> None:
        """End a run whose own code failed: no byte leaves any more.

        Rows that wait get the status unsent and rows in flight unknown, as far as the
        producer still can do it; every other row that was offered is then unknown.
        """
        self._break(error)
        self._network.shutdown()
        for end in (self.producer.stop, self.producer.abandon):
            try:
                end()
            except Exception:  # noqa: BLE001, PERF203  # logged; the first error is raised
                _LOG.warning("the run failed while it was ended", exc_info=True)
        outcomes = self.producer.outcomes
        outcomes.record_failure(outcomes.open_rows(0), "unknown", _RUN_FAILED)

    def _snapshot(self) -> Progress:
        producer, now = self.producer, self._runtime.clock()
        return Progress(
            total=self.plan.row_plan.num_rows,
            **producer.outcomes.counts,
            retried=producer.retried_rows,
            in_flight=producer.rows_in_flight,
            bytes_sent=producer.bytes_sent,
            seconds=now - self._began,
            waiting=producer.waiting(now),
        )

    def _report(self, late: list[Copy]) -> RunReport:
        plan, prior, producer, reconciler = self.plan, self.prior, self.producer, self._reconciler
        stop, counts = producer.stopped, producer.outcomes.counts
        seconds = self._runtime.clock() - self._began
        stored = counts["stored"] - (prior.outcomes.count_stored() if prior else 0)
        out_of_order = producer.reordering.find_rows(late) if prior is None else None
        copies = {*(reconciler.duplicates() if reconciler else ())}
        duplicates = sorted(copies | {*(prior.duplicates if prior else ())})
        receipt = Receipt(
            run_id=self.run_id,
            stream=str(plan.stream),
            endpoint=str(plan.stream.endpoint),
            delivery=plan.delivery_options.delivery,
            order=self._find_order(),
            mapping=plan.options_digest,
            counts=dict(counts),
            requests=producer.requests,
            retried=producer.retried_rows,
            bytes=producer.bytes_sent,
            seconds=round(seconds, 3),
            rows_per_second=round(stored / seconds) if stored > 0 and seconds else None,
            resumed_rows=self._resumed_rows,
            starts=reconciler.starts if reconciler else {},
            stopped=None if stop is None else stop.cause,
            already_complete=prior is not None and prior.is_complete,
            out_of_order=None if out_of_order is None else count_and_first(out_of_order),
            duplicates=count_and_first([[*copy[:3]] for copy in duplicates]),
        )
        return RunReport(
            receipt, stop, self._broken, self._is_source_broken, out_of_order, late, duplicates
        )

    def _find_order(self) -> StoredOrder:
        """Return which records are in order; the stream itself does not say who had a shard."""
        plan, producer = self.plan, self.producer
        if plan.delivery_options.order == "none":
            return "none"
        if not plan.gives_shards:
            return "key"
        # The rows that an earlier process sent are not offered again, so not counted here.
        if self.prior is not None or (producer.sharded_records and producer.free_records):
            return "unknown"
        return "key" if producer.free_records else "shard"

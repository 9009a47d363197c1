"""One run, composed: planned rows -> the stream -> outcome batches and a receipt.

``put_records`` collects the batches in memory; a job writes them to a file.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from v3io_frames_put._delivery.couriers import Couriers
from v3io_frames_put._delivery.delivery import Delivery
from v3io_frames_put._delivery.outcome_pages import PAGE_ROWS
from v3io_frames_put._delivery.outcomes import Outcomes
from v3io_frames_put._delivery.reconcile import Reconciler
from v3io_frames_put._delivery.uploader import Loop, StopSwitch
from v3io_frames_put._delivery.verdicts import Stop
from v3io_frames_put._wire.batches import encode_window
from v3io_frames_put.errors import PutRecordsError
from v3io_frames_put.progress import Progress, Throttle, open_progress
from v3io_frames_put.receipt import Order, Receipt, count_and_first
from v3io_frames_put.retry_log import RetryLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from v3io_frames_put._delivery.suspects import Copy
    from v3io_frames_put._delivery.uploader import Network
    from v3io_frames_put._wire.batches import Window
    from v3io_frames_put.job import Upload

_LOG: Final = logging.getLogger("v3io_frames_put")


@dataclass(frozen=True, slots=True)
class Ending:
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

    def as_stopped(self) -> Ending:
        """Return the same run, ended by the user if by nothing else."""
        return self if self.stop else replace(self, stop=Stop("stopped"))


def open_couriers(job: Upload, windows: Iterator[Window]) -> Network:
    """Make the threads that encode the windows of a run and send its requests."""
    return Couriers(lambda: job.client.transport(job.stream), windows)


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

    open_network: Callable[[Upload, Iterator[Window]], Network] = open_couriers
    clock: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random


class Run:
    """One run of an upload.

    Parameters
    ----------
    job : Upload
        What to do.
    switch : StopSwitch, optional
        Stops the run; who holds it is told of a Ctrl-C also before and after the run.
    runtime : Runtime, optional
        Network, clock and random source.

    Attributes
    ----------
    job : Upload
        What to do.
    switch : StopSwitch
        Stops the run.
    delivery : Delivery
        Decides what is sent when, and holds the outcomes.
    """

    def __init__(
        self, job: Upload, *, switch: StopSwitch | None = None, runtime: Runtime | None = None
    ) -> None:
        self.job, self.switch = job, switch or StopSwitch(job.cancel)
        self._runtime = runtime or Runtime()
        self._reconciler = _make_reconciler(job)
        earlier = job.resumption.earlier if job.resumption else None
        self.delivery = Delivery(
            job.policy,
            stream=job.stream,
            outcomes=Outcomes(
                packed=job.packed,
                earlier=earlier,
                recorder=job.recorder,
                page_rows=job.page_rows,
            ),
            reconciler=self._reconciler,
            recorder=job.recorder,
        )
        tag = bytes.fromhex(job.run_id) if job.policy.delivery == "exactly_once" else None
        # Nothing is read before the past is looked up, which may add to what is final.
        records = job.plan.records(job.resumption, job.blocks)
        # map holds on to no window that was handed out, as a generator's variable would.
        windows = map(partial(encode_window, run_id=tag), records)
        self._network = self._runtime.open_network(job, windows)
        self._loop = Loop(
            self.delivery,
            self._network,
            switch=self.switch,
            recorder=job.recorder,
            clock=self._runtime.clock,
            random=self._runtime.random,
        )
        self._retries, self._throttle = RetryLog(job.run_id, self.delivery), Throttle()
        self._began = self._runtime.clock()

    def to_end(self, take: Callable[[pa.RecordBatch], Any]) -> Ending:
        """Run to the end.

        Parameters
        ----------
        take : callable
            Takes outcome batches, in input order, while the run goes on.

        Returns
        -------
        Ending
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
        resumed = job.resumption.out_of_order() if job.resumption else ()
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
        return Ending(receipt, delivery.stopped, broken, out_of_order, late, duplicates)

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
            known = len(job.resumption.earlier.status) if job.resumption else 0
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
        if job.recorder is None:
            return broken
        try:
            job.recorder.conclude(
                num_rows=delivery.outcomes.num_rows,
                is_finished=not (delivery.count_left(late) or broken or delivery.stopped),
                late=late,
                duplicates=duplicates,
            )
        except PutRecordsError as error:
            return broken or error
        return broken


def _make_reconciler(job: Upload) -> Reconciler | None:
    if job.policy.delivery != "exactly_once":
        return None
    return Reconciler(job.stream, bytes.fromhex(job.run_id), job.policy.retry, past=job.past)


def _recall(outcomes: Outcomes, num_rows: int, take: Callable[[pa.RecordBatch], Any]) -> None:
    """Tell of the rows of a run that is over."""
    for first_row in range(0, num_rows, PAGE_ROWS):
        outcomes.open(min(PAGE_ROWS, num_rows - first_row))
        for batch in outcomes.drain():
            take(batch)


def _snapshot(delivery: Delivery, total: int | None, began: float, now: float) -> Progress:
    return Progress(
        total=total,
        **delivery.outcomes.counts,
        retried=delivery.retried_rows,
        in_flight=delivery.rows_in_flight,
        bytes_sent=delivery.bytes_sent,
        seconds=now - began,
        waiting=delivery.waiting(now),
    )


def _order(job: Upload, delivery: Delivery) -> Order:
    """Say which of the records without a key had a shard: the stream does not tell."""
    if job.policy.order == "none":
        return "none"
    if not job.gives_shards:
        return "key"
    is_resumed = job.resumption is not None  # what was sent before is not offered again
    if is_resumed or (delivery.sharded_records and delivery.free_records):
        return "unknown"
    return "key" if delivery.free_records else "shard"


def _make_receipt(job: Upload, delivery: Delivery, seconds: float) -> Receipt:
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

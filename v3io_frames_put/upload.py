"""One run: planned rows -> the stream -> outcome batches and a receipt.

``put_records`` collects the batches in memory; a job writes them to a file.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from v3io_frames_put._delivery.couriers import Couriers
from v3io_frames_put._delivery.delivery import Delivery
from v3io_frames_put._delivery.outcome_pages import PAGE_ROWS
from v3io_frames_put._delivery.outcomes import Outcomes
from v3io_frames_put._delivery.reconcile import Reconciler
from v3io_frames_put._delivery.uploader import StopSwitch, run
from v3io_frames_put._delivery.verdicts import Stop
from v3io_frames_put._wire.batches import encode_window
from v3io_frames_put.errors import PutRecordsError
from v3io_frames_put.progress import Progress, Throttle, open_progress
from v3io_frames_put.receipt import Order, Receipt, count_and_first
from v3io_frames_put.retry_log import RetryLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from v3io_frames_put._delivery.suspects import Copy
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


def upload(
    job: Upload, take: Callable[[pa.RecordBatch], Any], switch: StopSwitch | None = None
) -> Ending:
    """Run an upload to its end.

    Parameters
    ----------
    job : Upload
        What to do.
    take : callable
        Takes outcome batches, in input order, while the run goes on.
    switch : StopSwitch, optional
        Who holds it is told of a Ctrl-C also before and after the run.

    Returns
    -------
    Ending
        Its receipt, and why it stopped if it did. Network trouble is never raised.
    """
    began = time.monotonic()
    earlier = job.resumption.earlier if job.resumption else None
    outcomes = Outcomes(packed=job.packed, earlier=earlier, recorder=job.recorder)
    reconciler = _make_reconciler(job)
    delivery = Delivery(
        job.policy,
        stream=job.stream,
        outcomes=outcomes,
        reconciler=reconciler,
        recorder=job.recorder,
    )
    broken = None
    if job.complete_rows is not None:
        recall(outcomes, job.complete_rows, take)
    elif job.plan.num_rows != 0:
        fields: dict[str, Any] = {"event": "started", "run_id": job.run_id}
        _LOG.info("run %s: sending to %s", job.run_id, job.stream, extra={"fields": fields})
        broken = _deliver(job, delivery, take, switch or StopSwitch(job.cancel))
    for batch in outcomes.finish():
        take(batch)
    duplicates = sorted({*job.duplicates, *(reconciler.duplicates() if reconciler else ())})
    late = reconciler.late() if reconciler else []
    broken = conclude(job, delivery, late=late, duplicates=duplicates, broken=broken)
    resumed = job.resumption.out_of_order() if job.resumption else ()
    listed = job.out_of_order["first"]
    seen = delivery.late_out_of_order(late)
    out_of_order = sorted({*listed, *delivery.out_of_order, *seen, *resumed})
    receipt = replace(
        _make_receipt(job, delivery, time.monotonic() - began),
        starts=reconciler.starts if reconciler else {},
        out_of_order=count_and_first(out_of_order, more=job.out_of_order["count"] - len(listed)),
        duplicates=count_and_first([list(copy) for copy in duplicates]),
    )
    how = "ended early; of the rows that were read" if delivery.stopped or broken else "ended"
    fields = {"event": "ended", "run_id": job.run_id, **receipt.to_json()["counts"]}
    _LOG.info("run %s: %s, %s", job.run_id, how, receipt.counts, extra={"fields": fields})
    return Ending(receipt, delivery.stopped, broken, out_of_order, late, duplicates)


def _make_reconciler(job: Upload) -> Reconciler | None:
    if job.policy.delivery != "exactly_once":
        return None
    return Reconciler(job.stream, bytes.fromhex(job.run_id), job.policy.retry, past=job.past)


def recall(outcomes: Outcomes, num_rows: int, take: Callable[[pa.RecordBatch], Any]) -> None:
    """Tell of the rows of a run that is over."""
    for first_row in range(0, num_rows, PAGE_ROWS):
        outcomes.open(min(PAGE_ROWS, num_rows - first_row))
        for batch in outcomes.drain():
            take(batch)


def conclude(
    job: Upload,
    delivery: Delivery,
    *,
    late: Sequence[Copy],
    duplicates: Sequence[Copy],
    broken: BaseException | None,
) -> BaseException | None:
    """Close the journal's account; return what came in the way of the run, or of this."""
    if job.recorder is None:
        return broken
    counts = delivery.outcomes.counts
    left = counts["unsent"] + (job.policy.delivery != "at_most_once") * counts["unknown"]
    left -= len(late)
    try:
        job.recorder.conclude(
            num_rows=delivery.outcomes.num_rows,
            is_finished=not (left or broken or delivery.stopped),
            late=late,
            duplicates=duplicates,
        )
    except PutRecordsError as error:
        return broken or error
    return broken


def _deliver(
    job: Upload,
    delivery: Delivery,
    take: Callable[[pa.RecordBatch], Any],
    switch: StopSwitch,
) -> BaseException | None:
    began = time.monotonic()
    tag = bytes.fromhex(job.run_id) if job.policy.delivery == "exactly_once" else None
    # Nothing is read before the past is looked up, which may add to what is final.
    records = job.plan.records(job.resumption, job.blocks)
    # map holds on to no window that was handed out, as a generator's variable would.
    windows = map(partial(encode_window, run_id=tag), records)
    couriers = Couriers(lambda: job.client.transport(job.stream), windows)
    with open_progress(job.progress) as show, switch.on_interrupt(couriers.wake):
        throttle = Throttle()
        retries = RetryLog(job.run_id, delivery)

        def report(now: float) -> None:
            for batch in delivery.outcomes.drain():
                take(batch)
            retries.tell(now)
            if throttle.is_due(now):
                show(_snapshot(delivery, job.plan.num_rows, began, now))

        try:
            broken = run(delivery, couriers, switch=switch, report=report, recorder=job.recorder)
        finally:
            couriers.close()
        if switch.presses:  # also when every row has its outcome: who pressed wants to stop
            delivery.stop()
        known = len(job.resumption.earlier.status) if job.resumption else 0
        delivery.finish_rows(max(job.plan.num_rows or 0, known))
        show(_snapshot(delivery, job.plan.num_rows, began, time.monotonic()))
    return broken


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

"""One run: planned rows -> the stream -> outcome batches and a receipt.

``put_records`` collects the batches in memory; a job writes them to a file.
"""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from v3io_frames_put._delivery.couriers import Couriers
from v3io_frames_put._delivery.delivery import Delivery
from v3io_frames_put._delivery.outcomes import Outcomes
from v3io_frames_put._delivery.reconcile import Reconciler
from v3io_frames_put._delivery.uploader import StopSwitch, run
from v3io_frames_put._wire.batches import encode_window
from v3io_frames_put.progress import Progress, Throttle, open_progress
from v3io_frames_put.receipt import Receipt, count_and_first

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from v3io_frames_put._delivery.outcome_pages import Earlier
    from v3io_frames_put._delivery.policy import Policy
    from v3io_frames_put._delivery.suspects import Copy, Past
    from v3io_frames_put._delivery.verdicts import Stop
    from v3io_frames_put._rows.plan import RowPlan
    from v3io_frames_put._wire.batches import Window
    from v3io_frames_put._wire.paths import StreamPath
    from v3io_frames_put.client import Client
    from v3io_frames_put.progress import ProgressOption

_LOG: Final = logging.getLogger("v3io_frames_put")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What to send, where and how: all checked, nothing sent yet.

    Attributes
    ----------
    plan : RowPlan
        Rows and how they are encoded.
    client : Client
        The platform.
    stream : StreamPath
        The stream on it.
    policy : Policy
        Delivery, order, bounds.
    packed : bool
        Whether a record holds several rows.
    progress : bool, callable or None
        See ``put_records``.
    cancel : threading.Event or None
        Stops the run when set.
    run_id : str
        16 hexadecimal digits.
    earlier : Earlier or None
        What earlier runs under that id left, where this one resumes them.
    past : Past or None
        What of it has to be looked up before anything is sent (``exactly_once``).
    mapping : str
        A digest of what becomes of which column; a resumed run must have the same.
    """

    plan: RowPlan
    client: Client
    stream: StreamPath
    policy: Policy
    packed: bool = False
    progress: ProgressOption = None
    cancel: threading.Event | None = None
    run_id: str = field(default_factory=lambda: secrets.token_hex(8))
    earlier: Earlier | None = None
    past: Past | None = None
    mapping: str = ""


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


def upload(job: Upload, take: Callable[[pa.RecordBatch], Any]) -> Ending:
    """Run an upload to its end.

    Parameters
    ----------
    job : Upload
        What to do.
    take : callable
        Takes outcome batches, in input order, while the run goes on.

    Returns
    -------
    Ending
        Its receipt, and why it stopped if it did. Network trouble is never raised.
    """
    outcomes = Outcomes(packed=job.packed, earlier=job.earlier)
    tag = bytes.fromhex(job.run_id) if job.policy.delivery == "exactly_once" else None
    reconciler = None
    if tag is not None:
        reconciler = Reconciler(job.stream, tag, job.policy.retry, past=job.past)
    delivery = Delivery(job.policy, stream=job.stream, outcomes=outcomes, reconciler=reconciler)
    began = time.monotonic()
    _LOG.info("run %s: sending to %s", job.run_id, job.stream)
    broken = None
    if job.plan.num_rows != 0:
        # Not read before the past is looked up, which may add to what is final.
        skip = job.earlier.is_final if job.earlier else None
        # map holds on to no window that was handed out, as a generator's variable would.
        windows = map(partial(encode_window, run_id=tag), job.plan.records(skip))
        broken = _deliver(job, delivery, windows, take)
    for batch in outcomes.finish():
        take(batch)
    copies = reconciler.suspects.duplicates() if reconciler else []
    receipt = _make_receipt(job, delivery, time.monotonic() - began)
    if reconciler is not None:
        told = [list(copy) for copy in copies]
        receipt = replace(receipt, starts=reconciler.starts, duplicates=count_and_first(told))
    _LOG.info("run %s: ended, %s", job.run_id, receipt.counts)
    late = reconciler.suspects.late() if reconciler else []
    return Ending(receipt, delivery.stopped, broken, delivery.out_of_order, late, copies)


def _deliver(
    job: Upload,
    delivery: Delivery,
    windows: Iterator[Window],
    take: Callable[[pa.RecordBatch], Any],
) -> BaseException | None:
    began = time.monotonic()
    couriers = Couriers(lambda: job.client.transport(job.stream), windows)
    switch = StopSwitch(job.cancel)
    with open_progress(job.progress) as show, switch.on_interrupt(couriers.wake):
        throttle = Throttle()

        def report(now: float) -> None:
            for batch in delivery.outcomes.drain():
                take(batch)
            if throttle.is_due(now):
                show(_snapshot(delivery, job.plan.num_rows, began, now))

        try:
            broken = run(delivery, couriers, switch=switch, report=report)
        finally:
            couriers.close()
        delivery.finish_rows(job.plan.num_rows or 0)
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


def _make_receipt(job: Upload, delivery: Delivery, seconds: float) -> Receipt:
    stop = delivery.stopped
    return Receipt(
        run_id=job.run_id,
        stream=str(job.stream),
        endpoint=str(job.client.endpoint),
        delivery=job.policy.delivery,
        mapping=job.mapping,
        counts=dict(delivery.outcomes.counts),
        requests=delivery.requests,
        retried=delivery.retried_rows,
        bytes=delivery.bytes_sent,
        seconds=round(seconds, 3),
        stopped=None if stop is None else stop.cause,
        out_of_order=count_and_first(sorted(delivery.out_of_order)),
    )

"""Looking up on streams of any size: side by side, and no more than needed."""

from __future__ import annotations

from collections import Counter

from tests.delivery.examples import PLACE, STREAM, rows_frame
from tests.delivery.simulation import Clock, SimulatedNetwork
from v3io_frames_put import local
from v3io_frames_put._delivery.delivery import Delivery
from v3io_frames_put._delivery.outcomes import Outcomes
from v3io_frames_put._delivery.policy import Policy
from v3io_frames_put._delivery.reconcile import Reconciler
from v3io_frames_put._delivery.uploader import StopSwitch, run
from v3io_frames_put._rows.plan import plan_rows
from v3io_frames_put._wire.batches import encode_window

RUN_ID = b"8 bytes."


class Sent:
    """A run with ``exactly_once`` on a stream whose shards all hold a record."""

    def __init__(self, *, shards, lists_numbers, faults=()):
        clock = Clock()
        self.platform = local.Platform(
            clock=clock, rules=local.Rules(list_last_sequence_id=lists_numbers)
        )
        self.platform.create_stream(STREAM, shards=shards)
        for shard in range(shards):
            self.platform.add_records(STREAM, [b"older"], shard=shard)
        policy = Policy(delivery="exactly_once", max_in_flight=8)
        windows = (encode_window(r, RUN_ID) for r in plan_rows(rows_frame(10)).records())
        front = local.Front(self.platform, faults)
        self.network = SimulatedNetwork(front, clock, windows, lambda: 0.01)
        outcomes = Outcomes()
        reconciler = Reconciler(PLACE, RUN_ID, policy.retry)
        delivery = Delivery(policy, stream=PLACE, outcomes=outcomes, reconciler=reconciler)
        began = clock.now
        run(
            delivery,
            self.network,
            switch=StopSwitch(),
            report=lambda _: None,
            clock=clock,
            draw=lambda: 0.5,
        )
        self.seconds = clock.now - began
        self.stored = outcomes.counts["stored"]

    def asked(self):
        return Counter(request.headers["X-v3io-function"] for request in self.network.sent
                       if "X-v3io-function" in request.headers)  # fmt: skip


def test_starts_that_the_listing_does_not_tell_are_asked_side_by_side():
    sent = Sent(shards=400, lists_numbers=False)
    assert sent.stored == 10
    assert sent.asked()["GetItem"] == 400
    assert sent.network.peak_in_flight == 8
    # On the clock of the simulation: 20 ms there and back, eight at once, and the few
    # questions of every run.
    assert sent.seconds < 0.02 * (400 / 8 + 8)


def test_starts_that_the_listing_tells_are_not_asked_for():
    sent = Sent(shards=100, lists_numbers=True)
    assert sent.stored == 10
    assert sent.asked()["GetItem"] == 0


def test_a_look_up_reads_only_shards_that_grew():
    sent = Sent(shards=100, lists_numbers=True, faults=[local.LostAnswer()])
    assert sent.stored == 10
    grown = {record.shard_id for record in sent.platform.records(STREAM) if record.data != b"older"}
    # One is read to see that we may; a look-up, and the last scan over the same shards.
    assert sent.asked()["Seek"] == 1 + 2 * len(grown)
    assert len(grown) == 10

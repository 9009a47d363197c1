"""Looking up on streams of any size: side by side, and no more than needed."""

from __future__ import annotations

from collections import Counter

from tests.delivery.examples import STREAM, Run, rows_frame, statuses
from v3io_frames_put import local
from v3io_frames_put._delivery.policy import Policy


class Sent(Run):
    """A run of ten rows with ``exactly_once`` on a stream whose shards all hold a record."""

    def __init__(self, *, shards, lists_numbers, faults=()):
        rules = local.Rules(list_last_sequence_id=lists_numbers)
        super().__init__(faults, Policy(delivery="exactly_once"), shards, rules)
        for shard in range(shards):
            self.platform.add_records(STREAM, [b"older"], shard=shard)
        assert statuses(self.send(rows_frame(10))) == ["stored"] * 10

    def asked(self):
        return Counter(request.headers["X-v3io-function"] for request in self.network.sent
                       if "X-v3io-function" in request.headers)  # fmt: skip


def test_starts_that_the_listing_does_not_tell_are_asked_side_by_side():
    sent = Sent(shards=400, lists_numbers=False)
    assert sent.asked()["GetItem"] == 400
    assert sent.network.peak_in_flight == 8
    # On the clock of the simulation: 20 ms there and back, eight at once, and the few
    # questions of every run.
    assert sent.seconds < 0.02 * (400 / 8 + 8)


def test_starts_that_the_listing_tells_are_not_asked_for():
    sent = Sent(shards=100, lists_numbers=True)
    assert sent.asked()["GetItem"] == 0


def test_a_look_up_reads_only_shards_that_grew():
    sent = Sent(shards=100, lists_numbers=True, faults=[local.LostAnswer()])
    grown = {record.shard_id for record in sent.platform.records(STREAM) if record.data != b"older"}
    # One is read to see that we may; a look-up, and the last scan over the same shards.
    assert sent.asked()["Seek"] == 1 + 2 * len(grown)
    assert len(grown) == 10

"""Looking up on streams of any size: side by side, and no more than needed."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from itertools import count

import numpy as np
import pandas as pd
import pytest

from tests.delivery.examples import PLACE, STREAM, Run, rows_frame, statuses
from tests.delivery.simulation import Clock
from tests.internals import (
    BLANK,
    PAGE_ROWS,
    STATUSES,
    Answer,
    Batch,
    DeliveryOptions,
    Moment,
    PriorInDoubt,
    PriorOutcomes,
    Reconciler,
    Texts,
    build_body,
    encode_window,
    make_positions,
    number_tags,
    plan_rows,
    put_records_request,
)
from v3io_frames_put import local
from v3io_frames_put.config import MAX_SHARDS, Retry

RUN_ID = b"8 bytes."


class Sent(Run):
    """A run of ten rows with ``exactly_once`` on a stream whose shards all hold a record."""

    def __init__(self, *, shards, lists_numbers, faults=()):
        rules = local.Rules(list_last_sequence_id=lists_numbers)
        super().__init__(faults, DeliveryOptions(delivery="exactly_once"), shards, rules)
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
    sent = Sent(shards=100, lists_numbers=True, faults=[local.faults.lost_answer()])
    grown = {record.shard_id for record in sent.platform.records(STREAM) if record.data != b"older"}
    # One is read to see that we may; a look-up, and the last scan over the same shards.
    assert sent.asked()["Seek"] == 1 + 2 * len(grown)
    assert len(grown) == 10


class InDoubt:
    """Records that all stand on a stream of as many shards as there may be, all in doubt."""

    def __init__(self, *, records, per_batch, rows_per_record=1, alternating=False):
        platform = local.Platform(clock=Clock())
        platform.create_stream(STREAM, shards=MAX_SHARDS)
        platform.add_records(STREAM, [b"older"], shard=MAX_SHARDS - 1)
        self.proxy = local.FaultProxy(platform, ())
        self.reconciler = Reconciler(PLACE, RUN_ID, Retry())
        self.clock = count(0.0, 10.0)
        self.read()  # where the shards end
        frame = pd.DataFrame({"row": range(records * rows_per_record)})
        shard = frame["row"] // (1 if alternating else per_batch * rows_per_record) % 8
        plan = plan_rows(frame, shard=shard, rows_per_record=rows_per_record)
        self.batches = []
        for window in (encode_window(records, RUN_ID) for records in plan.records()):
            for first in range(0, len(window.entries), per_batch):
                entries = window.entries.slice(first, first + per_batch)
                self.batches.append(Batch(entries, ()))
                self.exchange(put_records_request(PLACE, build_body(entries)))

    def exchange(self, request):
        """Do on the platform what a request asks for."""
        path, _, query = request.path.partition("?")
        asked = local.Request(
            request.method, path, query, dict(request.headers), bytes(request.body)
        )
        response = self.proxy.exchange(asked).response
        return Answer(response.status, response.headers, response.body)

    def read(self):
        """Read what the reconciler wants to."""
        while asked := self.reconciler.next_query(next(self.clock)):
            query, request = asked
            answer = self.exchange(request)
            self.reconciler.complete(query, answer, Moment(next(self.clock), 0.5))

    def resolve(self):
        """Look all of them up, then see whether any came late."""
        for batch in self.batches:
            self.reconciler.prepare(batch)
            self.reconciler.look_up(batch, next(self.clock))
        self.read()
        self.reconciler.begin_last_scan()
        self.read()


@pytest.mark.parametrize(("records", "per_batch"), [(60_000, 1_000), (20_000, 20)])
def test_a_record_in_doubt_costs_at_most_200_bytes(records, per_batch):
    doubt = InDoubt(records=records, per_batch=per_batch)
    tracemalloc.start()
    doubt.resolve()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    found = sum(int(one.is_found.sum()) for one in doubt.reconciler.take_lookups())
    assert found == records
    assert doubt.reconciler.late() == doubt.reconciler.duplicates() == []
    assert peak_bytes <= 200 * records + 3_000_000  # what reading a page takes


@pytest.mark.parametrize("alternating", [False, True])
@pytest.mark.parametrize(
    ("records", "per_batch", "rows"), [(2_000, 1, 1), (10_000, 1_000, 10), (3_000, 1_000, 100)]
)
def test_what_is_kept_of_a_pack_or_a_small_batch_is_at_most_200_bytes(
    records, per_batch, rows, alternating
):
    doubt = InDoubt(
        records=records, per_batch=per_batch, rows_per_record=rows, alternating=alternating
    )
    tracemalloc.start()
    doubt.resolve()
    doubt.batches.clear()
    found = sum(int(one.is_found.sum()) for one in doubt.reconciler.take_lookups())
    kept_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found >= records
    assert kept_bytes <= 200 * found


def test_batches_of_one_record_that_wait_take_at_most_200_bytes_each():
    doubt = InDoubt(records=4_000, per_batch=1)
    tracemalloc.start()
    for batch in doubt.batches:
        doubt.reconciler.prepare(batch)
        doubt.reconciler.look_up(batch, next(doubt.clock))
    waiting_bytes, _ = tracemalloc.get_traced_memory()
    doubt.read()
    looked_up_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(len(one.batch) for one in doubt.reconciler.take_lookups()) == 4_000
    assert max(waiting_bytes, looked_up_bytes) <= 200 * 4_000


def test_a_row_in_doubt_since_an_earlier_process_costs_at_most_200_bytes():
    rows = 200_000
    page = np.full(PAGE_ROWS, BLANK)
    status = np.full(rows, STATUSES.index("unknown"), np.int8)
    earlier = PriorOutcomes(status, lambda _: page, texts=Texts(), final=["stored"], doubts=True)
    past = PriorInDoubt(
        earlier, lambda _: np.zeros(0), low_watermark=np.zeros(1), starts={}, knows_requests=True
    )
    tracemalloc.start()
    found = make_positions(number_tags(np.arange(rows), None), 3, np.arange(rows))
    past.take(found, proves_absence=True)
    past.take_last(found)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert earlier.positions(np.array([0, rows - 1])).tolist() == [[3, 0], [3, rows - 1]]
    assert past.is_over
    assert past.duplicates() == past.late() == []
    assert peak_bytes <= 200 * rows

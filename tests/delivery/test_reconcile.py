"""Looking up on streams of any size: side by side, and no more than needed."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from dataclasses import replace
from itertools import count

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.delivery.examples import PLACE, STREAM, Run, make_entries, rows_frame, statuses
from tests.delivery.simulation import Clock
from tests.delivery.talk import Talk
from tests.internals import (
    BLANK,
    OPEN,
    PAGE_ROWS,
    POSITION,
    STATUSES,
    Answer,
    Batch,
    Copy,
    DeliveryOptions,
    PriorInDoubt,
    PriorOutcomes,
    PutAnswer,
    Reconciler,
    RecordPage,
    RecordsInDoubt,
    RetryContext,
    Scan,
    ShardPosition,
    StreamSurvey,
    Texts,
    build_body,
    encode_records,
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
        for window in (encode_records(records, RUN_ID) for records in plan.records()):
            places = np.arange(len(window.entries))
            for first in range(0, len(window.entries), per_batch):
                entries = window.entries.take(places[first : first + per_batch])
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
            self.reconciler.complete(query, answer, RetryContext(next(self.clock), 0.5))

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


def prior_outcomes(status):
    """What an earlier process left of rows, of which it had stored none."""
    page = np.full(PAGE_ROWS, BLANK)
    return PriorOutcomes(status, lambda _: page, texts=Texts(), final=["stored"], doubts=True)


def prior_in_doubt(earlier, *, may_miss_requests=False):
    """Rows that an earlier process left, of which no tag is found."""
    return PriorInDoubt(
        earlier,
        lambda _: np.zeros(0),
        low_watermark=np.zeros(1),
        starts={},
        may_miss_requests=may_miss_requests,
        needs_last_scan=True,
    )


def test_a_row_in_doubt_since_an_earlier_process_costs_at_most_200_bytes():
    rows = 200_000
    earlier = prior_outcomes(np.full(rows, STATUSES.index("unknown"), np.int8))
    past = prior_in_doubt(earlier)
    tracemalloc.start()
    found = make_positions(number_tags(np.arange(rows), None), 3, np.arange(rows))
    past.take(found, proves_absence=True)
    past.note_copies(found)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    known = earlier.positions(np.array([0, rows - 1]))
    assert known["shard_id"].tolist() == [3, 3]
    assert known["sequence_number"].tolist() == [0, rows - 1]
    assert past.is_over
    assert past.duplicates() == past.late() == []
    assert peak_bytes <= 200 * rows


# -- where a scan starts, and what it proves -------------------------------------------------------


def make_batch(shards=(-1,), *, rows=None, row_counts=None):
    """Make a batch of records for some shards; record 0 holds the first of the rows."""
    entries = make_entries([0] * len(shards))
    batch = Batch(
        replace(
            entries,
            rows=np.arange(len(shards)) if rows is None else np.array(rows),
            row_counts=None if row_counts is None else np.array(row_counts, np.int32),
            shard=np.array(shards, np.int32),
        ),
        (),
    )
    batch.low_watermark = np.zeros(0, np.int64)
    return batch


def make_scan(*watermark, shards=(-1,)):
    return Scan(RUN_ID, np.array(watermark, np.int64), [make_batch(shards)])


@pytest.mark.parametrize(
    ("watermark", "listed", "location", "start"),
    [
        (5, {0: 5}, None, None),
        (5, {0: 7}, None, ShardPosition(5, is_written=True)),
        (5, {0: 3}, None, ShardPosition(5, is_written=True)),  # the stream was created anew
        (5, {}, None, ShardPosition(5)),  # likewise
        (5, {0: None}, None, ShardPosition(5, is_written=True)),
        (5, {0: 7}, "here", ShardPosition(5, is_written=True)),
        (0, {}, None, None),
        (0, {0: 7}, None, ShardPosition(0, is_written=True)),
        (0, {0: None}, None, ShardPosition(0, is_written=True)),
        (0, {0: None}, "here", ShardPosition(0, "here", is_written=True)),
        (0, {0: 0}, "here", ShardPosition(0, "here")),
        (0, {}, "here", ShardPosition(0, "here")),
    ],
)
def test_a_shard_is_read_from_its_watermark_unless_it_certainly_did_not_grow(
    watermark, listed, location, start
):
    scan = make_scan(watermark)
    locations = {} if location is None else {0: location}
    starts = dict(scan.start_positions(StreamSurvey(1, listed), locations))
    assert starts == ({} if start is None else {0: start})
    assert scan.unread == set(starts)
    assert scan.proves_absence == (start is None)  # what is not read yet proves nothing


def test_where_nothing_lists_the_shards_each_is_read_and_may_be_unwritten():
    survey = StreamSurvey(2, {0: None, 1: None}, is_listed=False)
    starts = dict(make_scan(5).start_positions(survey, {}))
    assert starts == {0: ShardPosition(5), 1: ShardPosition(0)}


def test_shards_beyond_the_watermark_are_read_from_their_beginning():
    starts = dict(make_scan(5).start_positions(StreamSurvey(3, {0: 5, 1: 2}), {}))
    assert starts == {1: ShardPosition(0, is_written=True)}


@pytest.mark.parametrize(
    ("shards", "read"),
    [((1,), [1]), ((2, 1, 2), [1, 2]), ((-1,), [0, 1, 2]), ((-1, 7), [0, 1, 2, 7]), ((7,), [7])],
)
def test_records_are_looked_for_in_the_shards_they_may_be_in(shards, read):
    scan = make_scan(1, 1, 1, 1, 1, 1, 1, 1, shards=shards)
    assert [shard for shard, _ in scan.start_positions(StreamSurvey(3, {}), {})] == read


def test_without_batches_all_shards_are_read():
    scan = Scan(RUN_ID, np.ones(3, np.int64))
    assert [shard for shard, _ in scan.start_positions(StreamSurvey(3, {}), {})] == [0, 1, 2]


@pytest.mark.parametrize(
    ("gapless", "proven"),
    [
        ({}, [False, False, False, False]),
        ({0: True}, [True, False, False, True]),
        ({0: True, 1: True}, [True, True, False, True]),
        ({0: True, 1: False}, [True, False, False, False]),
        ({0: False, 1: False}, [False, False, False, False]),
    ],
)
def test_absence_is_proven_where_every_shard_a_record_may_be_in_was_read_without_a_gap(
    gapless, proven
):
    scan = make_scan(shards=(0, 1, 2, -1))
    scan.gapless = gapless
    [lookup] = scan.lookups(make_positions(np.zeros(0, np.uint64)))
    assert lookup.is_proven.tolist() == proven
    assert scan.proves_absence == proven[-1]
    assert not lookup.is_found.any()


def make_page(*records):
    """Make a page of records: the sequence number and the client info of each."""
    numbers, infos = zip(*records, strict=True)
    columns = {"sequence_number": pa.array(numbers), "client_info": pa.array(infos, pa.binary())}
    return RecordPage(pa.record_batch(columns), None, 0)


@pytest.mark.parametrize(
    ("wants", "seen"),
    [(None, [(1, 4), (2, 6)]), (number_tags(np.array([2]), None), [(2, 6)])],
)
def test_a_scan_collects_the_tags_of_its_run_that_it_wants(wants, seen):
    tags = number_tags(np.array([1, 2]), None)
    first, second = (RUN_ID + int(tag).to_bytes(8, "big") for tag in tags)
    scan = make_scan()
    scan.wants = None if wants is None else lambda tags: np.isin(tags, wants)
    scan.take_page(
        3, make_page((4, first), (5, None), (6, second), (7, b"foreign!" + first[8:]), (8, b""))
    )
    found = np.frombuffer(scan.seen, POSITION)
    assert found["sequence_number"].tolist() == [number for _, number in seen]
    assert found["key"].tolist() == [int(tags[row - 1]) for row, _ in seen]
    assert found["shard_id"].tolist() == [3] * len(seen)


# -- records in doubt ------------------------------------------------------------------------------


def stored_at(*positions):
    """Make an answer that stores records at some (shard, number)."""
    shards, numbers = zip(*positions, strict=True)
    errors = []
    is_stored = np.ones(len(positions), np.bool_)
    return PutAnswer(is_stored, np.array(shards, np.int32), np.array(numbers, np.int64), errors)


def test_a_copy_elsewhere_is_a_duplicate_of_a_stored_record_and_late_for_any_other():
    doubt, batch = RecordsInDoubt(), make_batch((-1, -1, -1))
    doubt.add(batch)
    assert batch.state["was_in_doubt"].all()
    doubt.note_stored(batch, np.array([0, 1]), stored_at((0, 7), (1, 4), (0, 0)))
    tags = batch.entries.tags
    doubt.note_copies(make_positions(tags[[0, 0, 1, 2]], [0, 2, 1, 3], [7, 1, 4, 9]))
    assert doubt.duplicates() == [Copy(0, 2, 1), Copy(2, 3, 9)]
    assert doubt.late() == [Copy(2, 3, 9)]


def test_of_several_late_copies_the_first_is_the_row_and_the_others_are_duplicates():
    reconciler, batch = Reconciler(PLACE, RUN_ID, Retry()), make_batch()
    reconciler.in_doubt.add(batch)
    reconciler.in_doubt.note_copies(make_positions(batch.entries.tags.repeat(2), [2, 0], [1, 7]))
    assert reconciler.late() == [Copy(0, 0, 7)]
    assert reconciler.duplicates() == [Copy(0, 2, 1)]


def test_where_a_record_that_was_never_in_doubt_is_stored_is_not_noted():
    doubt, batch, other = RecordsInDoubt(), make_batch(), make_batch()
    doubt.note_stored(other, np.array([0]), stored_at((0, 7)))
    doubt.add(batch)
    doubt.note_stored(other, np.array([0]), stored_at((0, 7)))
    doubt.note_copies(make_positions(batch.entries.tags, 0, 7))
    assert doubt.late() == [Copy(0, 0, 7)]


@pytest.mark.parametrize(
    "rows",
    [[0, 1, 2, 3, 4, 5], [0, 1, 2, 6, 7, 8], [0, 2, 9, 1, 3, 4], [0, 1, 70_000, 300, 600, 601]],
)
def test_a_copy_of_a_pack_is_one_of_each_of_its_rows(rows):
    doubt, batch = RecordsInDoubt(), make_batch((-1, -1), rows=rows, row_counts=[3, 3])
    doubt.add(batch)
    doubt.add(batch)  # its second request was cut off as well
    doubt.note_copies(make_positions(batch.entries.tags[1:], 2, 9))
    assert doubt.late() == [Copy(row, 2, 9, place) for place, row in enumerate(rows[3:])]


def test_many_batches_in_doubt_are_all_known():
    doubt = RecordsInDoubt()
    for first in range(0, 40, 4):
        doubt.add(make_batch((-1,) * 4, rows=range(first, first + 4)))
    tags = number_tags(np.arange(41), None)
    assert doubt.contains(tags).tolist() == [True] * 40 + [False]


def test_the_lowest_watermark_of_all_batches_in_doubt_is_kept():
    doubt = RecordsInDoubt()
    for row, watermark in enumerate(([5, 3, 1], [4, 6], [7, 7, 7])):
        batch = make_batch(rows=[row])
        batch.low_watermark = np.array(watermark)
        doubt.add(batch)
    assert doubt.low_watermark.tolist() == [4, 3]


def test_rejected_records_are_counted_that_were_in_doubt():
    reconciler, batch = Reconciler(PLACE, RUN_ID, Retry()), make_batch((-1, -1, -1))
    reconciler.note_rejected(batch)
    assert reconciler.count_rejected(range(3)) == 0
    batch.state["was_in_doubt"][1:] = True
    reconciler.note_rejected(batch)
    assert reconciler.count_rejected(range(3)) == 2
    assert reconciler.count_rejected([0, 2, 5]) == 1


# -- starts ----------------------------------------------------------------------------------------


def drive(reconciler, talk):
    """Answer what a reconciler asks, until it asks nothing."""
    clock = iter(range(0, 10_000, 10))  # it comes to an end
    while asked := reconciler.next_query(next(clock)):
        query, request = asked
        reconciler.complete(query, talk.answer(request), RetryContext(next(clock), 0.5))
    return reconciler


def test_a_run_on_no_stream_says_so():
    talk = Talk()
    assert not drive(Reconciler(PLACE, RUN_ID, Retry()), talk).is_stream_missing
    talk.platform.delete_stream(STREAM)
    assert drive(Reconciler(PLACE, RUN_ID, Retry()), talk).is_stream_missing


def test_a_stream_that_is_gone_when_a_look_up_begins_is_missing():
    talk = Talk()
    reconciler = drive(Reconciler(PLACE, RUN_ID, Retry()), talk)
    reconciler.look_up(make_batch(), -100.0)  # it had its time to settle
    talk.platform.delete_stream(STREAM)
    assert drive(reconciler, talk).is_stream_missing


def test_the_starts_of_512_written_shards_are_kept():
    talk = Talk(shards=514)
    for shard in range(514):
        talk.write(shard % 3, shard=shard)
    starts = drive(Reconciler(PLACE, RUN_ID, Retry()), talk).starts
    assert starts == {str(shard): shard % 3 for shard in range(514) if shard % 3}
    for shard in range(0, 514, 3):
        talk.write(1, shard=shard)
    assert len(drive(Reconciler(PLACE, RUN_ID, Retry()), talk).starts) == 512


class ListsBeyond(Talk):
    """Lists shard 1 as the first one beyond the documented shards."""

    def answer(self, request):
        answer = super().answer(request)
        body = answer.body.replace(b"stream/1<", b"stream/%d<" % MAX_SHARDS)
        return Answer(answer.status, answer.headers, body)


def test_the_start_of_a_shard_beyond_the_documented_ones_is_not_kept():
    talk = ListsBeyond()
    talk.write(3, shard=0)
    talk.write(5, shard=1)
    reconciler = drive(Reconciler(PLACE, RUN_ID, Retry()), talk)
    assert reconciler.starts == {"0": 3}
    assert reconciler.is_ready


def test_a_look_up_begins_at_the_location_noted_at_the_start():
    talk = Talk(lists_numbers=False)
    talk.write(3)
    talk.refused = {"GetItem"}
    reconciler = drive(Reconciler(PLACE, RUN_ID, Retry()), talk)
    batch = make_batch()
    batch.low_watermark = None
    reconciler.prepare(batch)
    talk.asked.clear()
    reconciler.look_up(batch, -100.0)  # it had its time to settle
    drive(reconciler, talk)
    assert talk.asked.count("Seek") == 0
    [lookup] = reconciler.take_lookups()
    assert lookup.is_proven.tolist() == [True]


def test_a_record_in_a_shard_beyond_the_documented_ones_is_noted_all_the_same():
    reconciler, batch = Reconciler(PLACE, RUN_ID, Retry()), make_batch((-1, -1))
    answer = stored_at((MAX_SHARDS, 3), (1, 4))
    reconciler.note_stored(batch, np.array([0, 1]), answer)
    later = make_batch()
    later.low_watermark = None
    reconciler.prepare(later)
    assert later.low_watermark.tolist() == [0, 4]


@pytest.mark.parametrize("may_miss_requests", [True, False])
def test_a_run_that_ends_before_its_look_up_knows_nothing_of_rows_that_may_be_stored(
    may_miss_requests,
):
    unknown = STATUSES.index("unknown")
    earlier = prior_outcomes(np.array([unknown, OPEN], np.int8))
    prior = prior_in_doubt(earlier, may_miss_requests=may_miss_requests)
    Reconciler(PLACE, RUN_ID, Retry(), prior_in_doubt=prior).clear()
    status = earlier.recall(0, 2)["status"].tolist()
    assert status == [unknown, unknown if may_miss_requests else OPEN]


def test_a_run_that_ends_after_its_look_up_keeps_what_that_has_proven():
    unknown, talk = STATUSES.index("unknown"), Talk()
    earlier = prior_outcomes(np.array([unknown, OPEN], np.int8))
    prior = prior_in_doubt(earlier, may_miss_requests=True)
    reconciler = Reconciler(PLACE, RUN_ID, Retry(settle_seconds=0), prior_in_doubt=prior)
    drive(reconciler, talk)
    assert reconciler.is_ready
    reconciler.clear()
    assert unknown not in earlier.recall(0, 2)["status"].tolist()


# -- while records are sent ------------------------------------------------------------------------


def test_what_an_earlier_process_left_in_doubt_is_looked_up_before_anything_is_sent():
    talk = Talk()
    [records] = plan_rows(rows_frame(3)).records()
    entries = encode_records(records, RUN_ID).entries
    earlier = prior_outcomes(np.full(2, STATUSES.index("unknown"), np.int8))
    prior = prior_in_doubt(earlier)
    talk.answer(put_records_request(PLACE, build_body(entries.take(np.array([0])))))
    reconciler = Reconciler(PLACE, RUN_ID, Retry(settle_seconds=0), prior_in_doubt=prior)
    assert not reconciler.is_ready
    drive(reconciler, talk)
    assert reconciler.is_ready
    assert earlier.is_stored(np.arange(2)).tolist() == [True, False]
    # What this process leaves in doubt is looked up as ever.
    batch = Batch(entries.take(np.array([2])), ())
    reconciler.prepare(batch)
    talk.answer(put_records_request(PLACE, build_body(batch.entries)))
    reconciler.look_up(batch, -100.0)
    drive(reconciler, talk)
    [lookup] = reconciler.take_lookups()
    assert lookup.is_found.tolist() == [True]


def test_a_look_up_begins_once_it_has_settled():
    talk = Talk()
    reconciler = drive(Reconciler(PLACE, RUN_ID, Retry(settle_seconds=2.0)), talk)
    assert reconciler.is_ready
    assert not reconciler.has_work
    assert reconciler.wake_at() is None
    first, second = make_batch(rows=[0]), make_batch(rows=[1])
    reconciler.look_up(first, 10.0)
    reconciler.look_up(second, 11.0)
    assert reconciler.wake_at() == 12.0
    assert reconciler.next_query(11.9) is None
    assert reconciler.next_query(12.0) is not None
    assert reconciler.is_ready
    assert reconciler.batches == [second, first]
    assert reconciler.clear() == [second, first]
    assert reconciler.batches == []
    assert not reconciler.has_work
    assert reconciler.late() == []  # nothing is lost where no last scan missed it


def test_one_last_scan_follows_the_look_ups():
    talk = Talk()
    reconciler = drive(Reconciler(PLACE, RUN_ID, Retry()), talk)
    reconciler.begin_last_scan()
    assert reconciler.next_query(0.0) is None  # nothing was in doubt
    reconciler.look_up(make_batch(), -100.0)
    reconciler.begin_last_scan()  # too early
    drive(reconciler, talk)
    assert len(list(reconciler.take_lookups())) == 1
    assert reconciler.has_work
    talk.asked.clear()
    reconciler.begin_last_scan()
    drive(reconciler, talk)
    assert talk.asked
    assert not reconciler.has_work
    assert list(reconciler.take_lookups()) == []


def test_a_look_up_that_is_given_up_proves_nothing():
    talk = Talk()
    reconciler = drive(Reconciler(PLACE, RUN_ID, Retry(deadline_seconds=30.0)), talk)
    reconciler.look_up(make_batch(), -100.0)
    clock = count(0.0, 40.0)
    while asked := reconciler.next_query(next(clock)):
        refused = Answer(503, {}, b"")
        assert reconciler.complete(asked[0], refused, RetryContext(next(clock), 0.5)) is None
    [lookup] = reconciler.take_lookups()
    assert not lookup.is_found.any()
    assert not lookup.is_proven.any()
    assert reconciler.late() == []  # the last scan may still find them


def test_batches_share_a_watermark_that_outweighs_them_and_keep_their_first():
    reconciler, (first, second, third) = (
        Reconciler(PLACE, RUN_ID, Retry()),
        (make_batch(rows=[row]) for row in range(3)),
    )
    for batch in (first, second, third):
        batch.low_watermark = None
    reconciler.note_stored(first, np.array([0]), stored_at((9, 5)))  # ten shards: 80 bytes
    reconciler.prepare(first)
    reconciler.note_stored(first, np.array([0]), stored_at((9, 8)))
    reconciler.prepare(first)
    reconciler.prepare(second)
    reconciler.prepare(third)
    assert [int(batch.low_watermark[9]) for batch in (first, second, third)] == [5, 5, 8]

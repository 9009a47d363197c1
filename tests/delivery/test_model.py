"""For any data, delivery, fault script and stop: what the results say is what happened.

Laws (issue "Trust"): rows in = rows out; ``stored`` rows are in the platform's log with
that shard, number and bytes; ``rejected`` and ``unsent`` rows are not; each delivery
keeps its promise; a destination's rows stand in data order; memory stays in its budget.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
import pandas as pd
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.delivery.simulation import Clock, SimulatedNetwork
from v3io_frames_put import local
from v3io_frames_put._delivery.delivery import Delivery
from v3io_frames_put._delivery.outcome_pages import Earlier
from v3io_frames_put._delivery.outcomes import Outcomes
from v3io_frames_put._delivery.policy import Policy
from v3io_frames_put._delivery.reconcile import Reconciler
from v3io_frames_put._delivery.uploader import StopSwitch, run
from v3io_frames_put._rows.plan import RowPlan, plan_rows
from v3io_frames_put._wire.batches import encode_window
from v3io_frames_put._wire.paths import StreamPath
from v3io_frames_put.config import Limits, Retry
from v3io_frames_put.results import amend_results, collect_results
from v3io_frames_put.resume import find_overtaken, find_tagged_rows, look_back, read_earlier

RUN_ID = "0123456789abcdef"
STREAM = StreamPath("projects", "model/stream", "http://simulated")
SETTLE_SECONDS = 5.0
# Per delivery: 300 in all with `make test`, over 10,000 with `make test-long`.
SCHEDULES = 3_400 if settings().max_examples >= 1_000 else 100


@dataclass
class Case:
    """One generated run."""

    rows: list[tuple[str | None, int | None]]  # key, shard
    policy: Policy
    faults: list[local.Fault]
    rows_per_record: int
    seed: int
    stop_after: int | None  # rounds
    resumes: bool
    lists_numbers: bool


@dataclass
class Ran:
    """What a case left behind."""

    results: pd.DataFrame
    stands: dict[int, list[tuple[int, int]]]  # row -> places on the stream
    stopped: bool
    out_of_order: set[int]
    duplicates: set[int]
    peak_bytes: int
    ghosts_late: bool


class Watched(local.Front):
    """Remembers every record that ever stood on the stream: retention forgets."""

    def __init__(self, platform: local.Platform, faults: list[local.Fault]) -> None:
        super().__init__(platform, faults)
        self.log: set[tuple[tuple[int, int], bytes]] = set()

    def exchange(self, request: local.Request) -> local.Exchange:
        """Return what a request gets, and look."""
        exchange = super().exchange(request)
        self._look()
        return exchange

    def haunt(self, ghost: local.Ghost) -> None:
        """Handle a ghost, and look."""
        super().haunt(ghost)
        self._look()

    def _look(self) -> None:
        for record in self.platform.records("projects/model/stream"):
            self.log.add(((record.shard_id, record.sequence_number), record.data))


class Bench:
    """A platform, a network and a clock that outlive the runs of a case."""

    def __init__(self, case: Case) -> None:
        self.case, self.clock, self.random = case, Clock(), random.Random(case.seed)
        rules = local.Rules(list_last_sequence_id=case.lists_numbers)
        self.platform = local.Platform(clock=self.clock, rules=rules)
        self.platform.create_stream("projects/model/stream", shards=3)
        self.platform.add_records("projects/model/stream", [b"older"] * 7, shard=1)
        self.front = Watched(self.platform, case.faults)
        self.networks: list[SimulatedNetwork] = []
        self.out_of_order: set[int] = set()
        self.duplicates: set[int] = set()
        self.starts: dict[str, int] = {}
        self.stopped, self.peak_bytes = False, 0
        self.plan = _plan(case)

    def run(self, *, stop_after: int | None, earlier: Earlier | None) -> pd.DataFrame:
        """Run once, as ``upload`` does."""
        outcomes = Outcomes(packed=self.case.rows_per_record != 1, earlier=earlier)
        reconciler = self._reconciler(earlier)
        delivery = Delivery(
            self.case.policy, stream=STREAM, outcomes=outcomes, reconciler=reconciler
        )
        self._run(delivery, stop_after, earlier)
        delivery.finish_rows(len(self.case.rows))
        self.stopped = delivery.stopped is not None
        self.out_of_order |= set(delivery.out_of_order)
        results = collect_results(list(outcomes.finish()), index=None, packed=outcomes.is_packed)
        if reconciler is not None:
            copies = reconciler.suspects.duplicates()
            self.starts = reconciler.starts
            self.duplicates |= {copy.row for copy in copies}
            amend_results(results, late=reconciler.suspects.late(), duplicates=copies)
        if earlier is not None:
            is_stored = (results.status == "stored").to_numpy()
            self.out_of_order |= set(find_overtaken(self.plan, earlier, is_stored).tolist())
        return results

    @property
    def _tag(self) -> bytes | None:
        is_tagged = self.case.policy.delivery == "exactly_once"
        return bytes.fromhex(RUN_ID) if is_tagged else None

    def _reconciler(self, earlier: Earlier | None) -> Reconciler | None:
        if self._tag is None:
            return None
        past = None
        if earlier is not None:
            past = look_back(earlier, {"starts": self.starts}, find_tagged_rows(self.plan))
        return Reconciler(STREAM, self._tag, self.case.policy.retry, past=past)

    def _run(self, delivery: Delivery, stop_after: int | None, earlier: Earlier | None) -> None:
        skip = earlier.is_final if earlier else None
        windows = (encode_window(records, self._tag) for records in self.plan.records(skip))
        delay = partial(self.random.uniform, 0.001, 0.05)
        before = self.networks[-1] if self.networks else None
        network = SimulatedNetwork(self.front, self.clock, windows, delay, before=before)
        self.networks.append(network)
        switch, rounds = StopSwitch(), itertools.count(1)

        def report(_now: float) -> None:
            self.peak_bytes = max(self.peak_bytes, delivery.held_bytes)
            if next(rounds) == stop_after:
                switch.presses = 1

        draw = self.random.random
        broken = run(delivery, network, switch=switch, report=report, clock=self.clock, draw=draw)
        assert broken is None

    def stands(self) -> dict[int, list[tuple[int, int]]]:
        """Let everything arrive that is on its way; then find every row on the stream."""
        for network in self.networks:
            network.settle()
        found: dict[int, list[tuple[int, int]]] = {}
        for place, data in sorted(self.front.log):
            for line in data.splitlines() if data != b"older" else ():
                found.setdefault(orjson.loads(line)["row"], []).append(place)
        return found


def _plan(case: Case) -> RowPlan:
    frame = pd.DataFrame(
        {
            "row": range(len(case.rows)),
            "key": pd.Series([key for key, _ in case.rows], dtype="object"),
            "shard": pd.array([shard for _, shard in case.rows], dtype="Int64"),
        }
    )
    return plan_rows(
        frame,
        columns=["row", "key"],
        rows_per_record=case.rows_per_record,
        partition_key="key",
        shard="shard",
        limits=case.policy.limits,
        window_bytes=400,
    )


def run_case(case: Case) -> Ran:
    """Run a case to its end: a stopped run is resumed."""
    bench = Bench(case)
    results = bench.run(stop_after=case.stop_after, earlier=None)
    if case.stop_after is not None and case.resumes and len(case.rows):
        earlier = read_earlier(results, case.policy.delivery)
        results = bench.run(stop_after=None, earlier=earlier)
    stands = bench.stands()
    bench.platform.close()
    late = any(
        isinstance(fault, local.LateGhost) and fault.after_seconds > SETTLE_SECONDS
        for fault in case.faults
    )
    return Ran(
        results,
        stands,
        bench.stopped,
        bench.out_of_order,
        bench.duplicates,
        bench.peak_bytes,
        late,
    )


def check_truth(case: Case, ran: Ran) -> None:
    """Hold the results against what stands on the stream."""
    results = ran.results
    assert len(results) == len(case.rows)
    assert results.status.notna().all()
    for row, result in enumerate(results.itertuples()):
        places = ran.stands.get(row, [])
        if result.status == "stored":
            assert (result.shard_id, result.sequence_number) in places, (row, places, result)
        if result.status in ("rejected", "unsent"):
            # What is stored after the last scan nobody sees.
            assert not places or ran.ghosts_late, (row, places, result)
        if len(places) > 1:
            assert case.policy.delivery != "at_most_once", (row, places)
            assert result.maybe_duplicate or ran.ghosts_late, (row, places, result)


def check_exactly_once(ran: Ran) -> None:
    """Each row stands at most once, but for late ghosts; those are listed."""
    twice = {row for row, places in ran.stands.items() if len(places) > 1}
    if not ran.ghosts_late:
        assert not twice, twice
        assert not ran.duplicates
    else:
        assert ran.duplicates <= twice, (ran.duplicates, twice)


def check_order(case: Case, ran: Ran) -> None:
    """First copies of a destination's rows stand in data order, but for those listed."""
    if case.policy.order == "none":
        return
    excused = ran.out_of_order | ran.duplicates
    excused |= set(ran.results.index[ran.results.status == "unknown"])
    last: dict[Any, tuple[int, int, int]] = {}
    for row, (key, shard) in enumerate(case.rows):
        destination = ("shard", shard) if shard is not None else ("key", key)
        if destination == ("key", None) or row in excused or row not in ran.stands:
            continue
        shard_id, number = min(ran.stands[row], key=lambda place: place[1])
        before = last.get(destination)
        if before is not None and before[1] == shard_id:
            assert before[2] < number or _same_pack(case, before[2], number), (row, before, number)
        last[destination] = (row, shard_id, number)


def _same_pack(case: Case, before: int, number: int) -> bool:
    return case.rows_per_record > 1 and before == number


keys = st.sampled_from([None, "a", "b", "c", 'ä"\\'])
shards = st.sampled_from([None, None, None, 0, 1, 2, 9])
stored = st.sampled_from(["none", "all", "even_shards", "odd_shards"])
which = {
    "nth": st.sampled_from([1, 1, 2, 3, 5]),
    "every": st.sampled_from([1, 1, 2, 3]),
    "times": st.sampled_from([1, 1, 2, 4]),
}


def faults(*, late: bool) -> st.SearchStrategy[list[local.Fault]]:
    """Generate scripts of faults."""
    seconds = st.sampled_from([0.5, 3.0, 4.5, 9.0, 40.0] if late else [0.5, 3.0, 4.5])
    kinds = [
        st.builds(local.Throttled, retry_after_seconds=st.sampled_from([None, 1, 7]), **which),
        st.builds(local.Unavailable, stored=stored, **which),
        st.builds(local.HtmlError, status=st.sampled_from([502, 504]), **which),
        st.builds(local.TooLarge, min_records=st.integers(2, 4), **which),
        st.builds(local.EmptyAnswer, stored=stored, **which),
        st.builds(local.TruncatedAnswer, breaks=st.booleans(), **which),
        st.builds(local.WrongCounts, entries=st.sampled_from([-1, 1]), **which),
        st.builds(local.WrongCounts, entries=st.just(0), failed=st.just(1), **which),
        st.builds(
            local.RecordErrors,
            places=st.sampled_from([(0,), (1, 2), ()]),
            message=st.sampled_from(["InvalidArgumentException", "Busy", "Odd"]),
            **which,
        ),
        st.builds(local.Reset, when=st.sampled_from(["before_body", "in_body"]), **which),
        st.builds(local.Reset, **which),
        st.builds(local.LostAnswer, stored=stored, **which),
        st.builds(local.LateGhost, after_seconds=seconds, **which),
        st.builds(local.StalledAnswer, seconds=st.sampled_from([None, 5.0]), **which),
        st.builds(local.Restart, stored=stored, down_seconds=st.sampled_from([0.0, 9.0]), **which),
        st.builds(local.ShardsAdded, shards=st.just(5), **which),
        st.builds(local.RecordsDropped, keep_last=st.sampled_from([0, 1, 5]), **which),
        st.builds(local.Refused, status=st.just(401), nth=st.integers(2, 9)),
        st.builds(
            local.Unavailable, function=st.just("GetRecords"), stored=st.just("none"), **which
        ),
        st.builds(local.Throttled, function=st.just("Seek"), **which),
    ]
    ambiguous = st.one_of(*kinds[1:3], *kinds[4:8], *kinds[11:16])
    return st.lists(st.one_of(ambiguous, *kinds), max_size=4)


def _rows(count: int) -> st.SearchStrategy[list[tuple[str | None, int | None]]]:
    return st.lists(st.tuples(keys, shards), min_size=count, max_size=count)


@st.composite
def cases(draw: st.DrawFn, delivery: str) -> Case:
    """Generate whole runs."""
    policy = Policy(
        delivery=delivery,
        order=draw(st.sampled_from(["key", "key", "none"])),
        max_in_flight=draw(st.sampled_from([1, 2, 8, "auto"])),
        max_in_flight_bytes=draw(st.sampled_from([2_000, 64 << 20])),
        retry=Retry(
            deadline_seconds=draw(st.sampled_from([3, 300])),
            attempts=draw(st.sampled_from([None, None, 2])),
            settle_seconds=SETTLE_SECONDS,
        ),
        limits=Limits(max_records=draw(st.sampled_from([2, 3, 7]))),
    )
    return Case(
        rows=draw(st.integers(0, 40).flatmap(_rows)),
        policy=policy,
        faults=draw(faults(late=draw(st.booleans()))),
        rows_per_record=draw(st.sampled_from([1, 1, 3])),
        seed=draw(st.integers(0, 1 << 32)),
        stop_after=draw(st.sampled_from([None, None, None, 1, 5, 20])),
        resumes=draw(st.booleans()),
        lists_numbers=draw(st.booleans()),
    )


@pytest.mark.parametrize("delivery", ["at_least_once", "at_most_once", "exactly_once"])
def test_any_schedule(delivery: str) -> None:
    """The laws hold for any schedule."""

    @settings(max_examples=SCHEDULES)
    @given(cases(delivery))
    def law(case: Case) -> None:
        ran = run_case(case)
        check_truth(case, ran)
        check_order(case, ran)
        if delivery == "exactly_once":
            check_exactly_once(ran)
        event(f"stopped: {ran.stopped}")

    law()

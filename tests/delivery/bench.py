"""Plays a case: a platform, its network, and the processes of a run, one after the other.

Nothing here knows what ought to come out; that is in ``laws.py``.
"""

from __future__ import annotations

import random
import sqlite3
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pandas as pd
import pyarrow as pa

from tests.delivery.cases import OTHERS, RUN_ID, STREAM_PATH, Case, End
from tests.delivery.simulation import Clock, SimulatedNetwork
from v3io_frames_put import local
from v3io_frames_put._delivery.delivery import Delivery
from v3io_frames_put._delivery.outcomes import Outcomes
from v3io_frames_put._delivery.reconcile import Reconciler
from v3io_frames_put._delivery.recorder import Recorder
from v3io_frames_put._delivery.suspects import Copy
from v3io_frames_put._delivery.uploader import StopSwitch, run
from v3io_frames_put._journal import open_journal
from v3io_frames_put._rows.plan import RowPlan, plan_rows
from v3io_frames_put._wire.batches import Window, encode_window
from v3io_frames_put._wire.paths import StreamPath
from v3io_frames_put.job import Upload
from v3io_frames_put.results import amend_results, collect_results
from v3io_frames_put.resume import take_up
from v3io_frames_put.upload import conclude, recall

STREAM = StreamPath("projects", "model/stream", "http://simulated")
OLDER = b"older"


class Place(NamedTuple):
    """Where a record stood: in which life of the stream, too."""

    life: int
    shard: int
    number: int


@dataclass(frozen=True, slots=True)
class Stood:
    """A record that stood on the stream once."""

    data: bytes
    key: str | None
    since: float


@dataclass
class Ran:
    """What a case left behind.

    Attributes
    ----------
    again : DataFrame or None
        What the same call tells once more, after a run with a journal was complete.
    stands : dict of int to list of (Place, int)
        Per row, where it ever stood, and its place in the record there.
    log : dict of Place to Stood
        Every record that ever stood.
    life : int
        The stream's last.
    put_last, asked_last : float
        When a process sent records, and looked at the stream, for the last time.
    deceived : set of int
        Rows of which an answer lied in a way that nobody can see.
    is_whole : bool
        Whether the last process came to its end.
    is_finished : bool or None
        What the journal says of the run after it. None: there is no journal.
    windows : list of list of int
        Bytes of every window of every process.
    """

    results: pd.DataFrame
    again: pd.DataFrame | None
    stands: dict[int, list[tuple[Place, int]]]
    log: dict[Place, Stood]
    life: int
    put_last: float
    asked_last: float
    deceived: set[int]
    is_whole: bool
    is_finished: bool | None = None
    out_of_order: set[int] = field(default_factory=set)
    duplicates: set[Copy] = field(default_factory=set)
    peak_bytes: int = 0
    windows: list[list[int]] = field(default_factory=list)


class KilledError(BaseException):
    """The process is gone."""


class Watched(local.Front):
    """Remembers every record that ever stood on the stream, and every lie about one."""

    def __init__(self, platform: local.Platform, case: Case, clock: Clock) -> None:
        super().__init__(platform, case.faults)
        self.log: dict[Place, Stood] = {}
        self.life, self.put_last, self.asked_last = 0, 0.0, 0.0
        self.deceived: set[int] = set()
        self._case, self._clock = case, clock

    def exchange(self, request: local.Request) -> local.Exchange:
        """Return what a request gets, and look."""
        exchange = super().exchange(request)
        self.look()
        if request.function == "DescribeStream":
            self.asked_last = self._clock.now
        elif request.function == "PutRecords":
            self.put_last = self._clock.now
            if exchange.response is not None:
                self._compare(orjson.loads(request.body)["Records"], exchange.response)
        return exchange

    def haunt(self, ghost: local.Ghost) -> None:
        """Handle a ghost, and look."""
        super().haunt(ghost)
        self.look()

    def look(self) -> None:
        """See what stands there."""
        self.life = self.platform.describe_stream(STREAM_PATH).id
        for record in self.platform.records(STREAM_PATH):
            place = Place(self.life, record.shard_id, record.sequence_number)
            stood = Stood(record.data, record.partition_key, self._clock.now)
            self.log.setdefault(place, stood)

    def _compare(self, records: list[dict[str, Any]], answer: local.Response) -> None:
        """Note an answer that looks right and is not."""
        if answer.status != 200 or not answer.body:
            return
        try:
            told = answer.json()
        except orjson.JSONDecodeError:
            return
        if not looks_right(records, told, by_key=self._case.policy.order == "key"):
            return
        sent = [b64decode(record["Data"]) for record in records]
        for data, entry in zip(sent, told["Records"], strict=True):
            place = Place(self.life, entry.get("ShardId"), entry.get("SequenceNumber"))
            if "ErrorCode" not in entry and self.log[place].data != data:
                lied_about = [row for each in sent for row in parse_rows(each, self._case.format)]
                self.deceived.update(row["row"] for row in lied_about)


def looks_right(records: list[dict[str, Any]], told: dict[str, Any], *, by_key: bool) -> bool:
    """Say whether an answer breaks none of the rules of contract section 3."""
    entries = told["Records"]
    failed = sum("ErrorCode" in entry for entry in entries)
    if len(entries) != len(records) or failed != told["FailedRecordCount"]:
        return False
    last: dict[int, int] = {}
    shard_of: dict[str, int] = {}
    for record, entry in zip(records, entries, strict=True):
        if "ErrorCode" in entry:
            continue
        shard, number = entry["ShardId"], entry["SequenceNumber"]
        if number <= last.get(shard, 0) or record.get("ShardId", shard) != shard:
            return False
        last[shard] = number
        key = record.get("PartitionKey")
        if by_key and key and "ShardId" not in record and shard_of.setdefault(key, shard) != shard:
            return False
    return True


def parse_rows(data: bytes, format: str) -> list[dict[str, Any]]:  # noqa: A002  # the contract's name
    """Read the rows of a record."""
    if data in (OLDER, OTHERS):
        return []
    if format == "arrow":
        return pa.ipc.open_stream(data).read_all().to_pylist()  # type: ignore[no-any-return]
    return [orjson.loads(line) for line in data.splitlines()]


class Network(SimulatedNetwork):
    """Counts events, so that a process can end at any of them."""

    tick: Any = staticmethod(lambda: None)

    def send(self, ticket: int, request: Any) -> None:
        """Put a request on its way."""
        self.tick()
        super().send(ticket, request)
        self.tick()

    def collect(self, timeout: float) -> list[Any]:
        """Let time pass until something happens."""
        self.tick()
        return super().collect(timeout)


class Bench:
    """A platform, a network and a clock that outlive the processes of a run."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.folder = folder
        self.case, self.clock, self.random = case, Clock(), random.Random(case.seed)
        rules = local.Rules(list_last_sequence_id=case.lists_numbers)
        self.platform = local.Platform(clock=self.clock, rules=rules)
        self.platform.create_stream(STREAM_PATH, shards=3)
        self.platform.add_records(STREAM_PATH, [OLDER] * 7, shard=1)
        self.front = Watched(self.platform, case, self.clock)
        self.networks: list[Network] = []
        self.out_of_order: set[int] = set()
        self.duplicates: set[Copy] = set()
        self.windows: list[list[int]] = []
        self.is_whole, self.peak_bytes = False, 0
        self.is_finished: bool | None = None

    def run(self, *, end: End | None, earlier: pd.DataFrame | None) -> pd.DataFrame | None:
        """Play one process, as ``upload`` is one; None: it was killed, and left a journal."""
        job = Upload(
            plan=_plan(self.case),
            client=None,  # type: ignore[arg-type]  # the network is simulated
            stream=STREAM,
            policy=self.case.policy,
            packed=self.case.rows_per_record != 1,
            run_id=RUN_ID,
        )
        if earlier is not None:
            return self._run(take_up(job, earlier), end)
        if not self.case.keeps_journal:
            return self._run(job, end)
        path = self.folder / "run.v3io"
        with open_journal(path) as journal:
            assert journal is not None
            results = self._run(journal.take_up(job, replan=lambda: _plan(self.case)), end)
        with closing(sqlite3.connect(path)) as file:
            (self.is_finished,) = map(bool, file.execute("select is_finished from run").fetchone())
        return results

    def _run(self, job: Upload, end: End | None) -> pd.DataFrame | None:
        resumption = job.resumption
        earlier = resumption.earlier if resumption else None
        outcomes = Outcomes(packed=job.packed, earlier=earlier, recorder=job.recorder)
        reconciler = None
        if self._tag is not None:
            reconciler = Reconciler(STREAM, self._tag, job.policy.retry, past=job.past)
        delivery = Delivery(
            job.policy,
            stream=STREAM,
            outcomes=outcomes,
            reconciler=reconciler,
            recorder=job.recorder,
        )
        batches: list[pa.RecordBatch] = []
        if job.complete_rows is not None:
            recall(outcomes, job.complete_rows, batches.append)
        elif self._play(job, delivery, end):
            return None
        delivery.finish_rows(len(self.case.rows))
        self.is_whole = delivery.stopped is None
        duplicates = {*job.duplicates, *(reconciler.duplicates() if reconciler else ())}
        late = reconciler.late() if reconciler else []
        told = {"late": late, "duplicates": sorted(duplicates), "broken": None}
        assert conclude(job, delivery, **told) is None
        if self.case.keeps_journal:  # which remembers
            self.out_of_order, self.duplicates = set(), set()
        self.out_of_order |= {
            *delivery.out_of_order,
            *delivery.late_out_of_order(late),
            *(resumption.out_of_order() if resumption else ()),
        }
        self.duplicates |= duplicates
        results = collect_results([*batches, *outcomes.finish()], index=None, packed=job.packed)
        late = reconciler.late() if reconciler else []
        amend_results(results, late=late, duplicates=sorted(duplicates))
        results.attrs["v3io"] = {
            "run_id": RUN_ID,
            "endpoint": STREAM.endpoint,
            "stream": str(STREAM),
            "delivery": job.policy.delivery,
            "mapping": "",
            "starts": reconciler.starts if reconciler else {},
        }
        return results

    @property
    def _tag(self) -> bytes | None:
        is_tagged = self.case.policy.delivery == "exactly_once"
        return bytes.fromhex(RUN_ID) if is_tagged else None

    def _play(self, job: Upload, delivery: Delivery, end: End | None) -> bool:
        """Run the loop; say whether it was killed."""
        delay = partial(self.random.uniform, 0.001, 0.05)
        before = self.networks[-1] if self.networks else None
        network = Network(self.front, self.clock, self._windows(job), delay, before=before)
        self.networks.append(network)
        switch, events = StopSwitch(), 0

        def tick() -> None:
            nonlocal events
            events += 1
            self.peak_bytes = max(self.peak_bytes, delivery.held_bytes)
            if end is not None and events == end.after:
                if end.how == "kill":
                    raise KilledError
                switch.presses = {"stop": 1, "leave": 2}[end.how]

        def draw() -> float:
            tick()  # between two answers that came at once
            return self.random.random()

        class Committing(Recorder):
            """The process can end with requests decided on, and not on record."""

            def commit(self) -> None:
                tick()
                if job.recorder is not None:
                    job.recorder.commit()

        network.tick = tick
        try:
            broken = run(
                delivery,
                network,
                switch=switch,
                report=lambda _now: tick(),
                recorder=Committing(),
                clock=self.clock,
                draw=draw,
            )
        except KilledError:
            return True
        assert broken is None
        return False

    def _windows(self, job: Upload) -> Iterator[Window]:
        self.windows.append([])
        for records in job.plan.records(job.resumption, job.blocks):
            window = encode_window(records, self._tag)
            self.windows[-1].append(window.entries.nbytes)
            yield window


def _plan(case: Case) -> RowPlan:
    frame = pd.DataFrame(
        {
            "row": range(len(case.rows)),
            "text": ["x" * size for _, _, size in case.rows],
            "key": pd.Series([key for key, _, _ in case.rows], dtype="str"),
            "shard": pd.array([shard for _, shard, _ in case.rows], dtype="Int64"),
        }
    )
    return plan_rows(
        frame,
        columns=["row", "text"],
        format=case.format,
        rows_per_record=case.rows_per_record,
        partition_key="key",
        shard="shard",
        limits=case.policy.limits,
        window_bytes=min(400, case.policy.window_bytes),
    )


def play(case: Case) -> Ran:
    """Play a case: each process but the last is ended, and the next one goes on."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(case, Path(folder))
        results = None
        for end in [*case.ends, None] if case.goes_on else case.ends:
            earlier = None if case.keeps_journal or not case.rows else results
            results = bench.run(end=end, earlier=earlier)
        assert results is not None
        again, is_finished = None, bench.is_finished
        if is_finished and bench.is_whole:
            again = bench.run(end=None, earlier=None)
    for network in bench.networks:
        network.settle()
    bench.platform.close()
    stands: dict[int, list[tuple[Place, int]]] = {}
    for place, stood in sorted(bench.front.log.items()):
        for at, row in enumerate(parse_rows(stood.data, case.format)):
            assert row == {"row": row["row"], "text": "x" * case.rows[row["row"]][2]}
            stands.setdefault(row["row"], []).append((place, at))
    return Ran(
        results=results,
        again=again,
        stands=stands,
        log=bench.front.log,
        life=bench.front.life,
        put_last=bench.front.put_last,
        asked_last=bench.front.asked_last,
        deceived=bench.front.deceived,
        is_whole=bench.is_whole,
        is_finished=is_finished,
        out_of_order=bench.out_of_order,
        duplicates=bench.duplicates,
        peak_bytes=bench.peak_bytes,
        windows=bench.windows,
    )

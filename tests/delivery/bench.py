"""Plays a case: a platform, its network, and the processes of a run, one after the other.

Nothing here knows what ought to come out; that is in ``laws.py``.
"""

from __future__ import annotations

import random
import sqlite3
import tempfile
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pandas as pd
import pyarrow as pa

from tests.delivery.cases import OTHERS, RUN_ID, STREAM_PATH, Case, End
from tests.delivery.simulation import Clock, SimulatedNetwork, WatchedSwitch
from tests.internals import (
    Copy,
    EncodedRecords,
    PriorRun,
    RowPlan,
    Run,
    RunLog,
    RunPlan,
    RunReport,
    Runtime,
    StreamPath,
    open_journal,
    plan_rows,
    read_prior_run,
    run_to_results,
)
from v3io_frames_put import local

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


@dataclass(frozen=True, slots=True)
class Told:
    """What a process tells that was not killed."""

    results: pd.DataFrame
    ending: RunReport


@dataclass(frozen=True, slots=True)
class Ran:
    """What a case left behind.

    Attributes
    ----------
    told : list of Told
        What each process told that was not killed; the last one is of the whole case.
    is_finished : bool or None
        What the journal says of the run. None: there is no journal.
    again : Told or None
        What the same call tells once more, after a run with a journal was complete.
    stands : dict of int to list of (Place, int)
        Per row, where it ever stood, and its place in the record there.
    log : dict of Place to Stood
        Every record that ever stood.
    standing : set of Place
        Records that stand there at the end: others may have come and gone between two looks.
    life : int
        The stream's last.
    put_last, asked_last : float
        When a process sent records, and looked at the stream, for the last time.
    deceived : set of int
        Rows of which an answer lied in a way that nobody can see.
    peak_bytes : int
        The most that a process held at once.
    windows : list of list of int
        Bytes of every window of every process.
    out_of_order : set of int
        Rows that a process knew to be stored after later ones. Where several processes took
        part, those that it still held open then, too.
    sent_by : dict of int to list of int
        Per row, the process of each request that carried it.
    processes : int
        How many there were, without ``again``.
    """

    told: list[Told]
    is_finished: bool | None
    again: Told | None
    stands: dict[int, list[tuple[Place, int]]]
    log: dict[Place, Stood]
    standing: set[Place]
    life: int
    put_last: float
    asked_last: float
    deceived: set[int]
    peak_bytes: int
    windows: list[list[int]]
    out_of_order: set[int]
    sent_by: dict[int, list[int]]
    processes: int

    @property
    def results(self) -> pd.DataFrame:
        """What the last process told."""
        return self.told[-1].results

    @property
    def is_whole(self) -> bool:
        """Whether the last process came to its end."""
        return self.told[-1].ending.stop is None

    @property
    def duplicates(self) -> set[Copy]:
        """Further copies that the last process listed."""
        return set(self.told[-1].ending.duplicates)


class KilledError(SystemExit):
    """The process is gone."""


class Watched(local.FaultProxy):
    """Remembers every record that ever stood on the stream, and every lie about one."""

    def __init__(self, platform: local.Platform, case: Case, clock: Clock) -> None:
        super().__init__(platform, case.faults)
        self.log: dict[Place, Stood] = {}
        self.standing: set[Place] = set()
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
                self._compare(msgspec.json.decode(request.body)["Records"], exchange.response)
        return exchange

    def apply_delayed_write(self, write: local.DelayedWrite) -> None:
        """Handle a delayed write, and look."""
        super().apply_delayed_write(write)
        self.look()

    def look(self) -> None:
        """See what stands there."""
        self.life = self.platform.describe_stream(STREAM_PATH).id
        self.standing.clear()
        for record in self.platform.records(STREAM_PATH):
            place = Place(self.life, record.shard_id, record.sequence_number)
            stood = Stood(record.data, record.partition_key, self._clock.now)
            self.log.setdefault(place, stood)
            self.standing.add(place)

    def _compare(self, records: list[dict[str, Any]], answer: local.Response) -> None:
        """Note an answer that looks right and is not."""
        if answer.status != 200 or not answer.body:
            return
        try:
            told = answer.json()
        except ValueError:
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
    return [msgspec.json.decode(line) for line in data.splitlines()]


class Network(SimulatedNetwork):
    """Counts events, so that a process can end at any of them."""

    tick: Callable[[], None]

    def send(self, ticket: int, request: Any) -> None:
        """Put a request on its way."""
        self.tick()
        super().send(ticket, request)
        self.tick()

    def collect(self, timeout: float) -> list[Any]:
        """Let time pass until something happens."""
        self.tick()
        return super().collect(timeout)

    def close(self) -> None:
        """Let the run go: every row has its outcome, and nothing tells of the last ones yet."""
        self.tick()


class Committing:
    """A journal; the process can end with requests decided on, and not on record."""

    def __init__(self, journal: RunLog, tick: Callable[[], None]) -> None:
        self._journal, self._tick = journal, tick

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def commit(self) -> None:
        """Make durable what was taken."""
        self._tick()
        self._journal.commit()


class Process:
    """A process of a run, which can end at any of its events.

    Attributes
    ----------
    peak_bytes : int
        The most that was held at once.
    """

    def __init__(
        self,
        bench: Bench,
        plan: RunPlan,
        end: End | None,
        prior: PriorRun | None,
        journal: RunLog | None,
    ) -> None:
        self._bench, self._end = bench, end
        self._events = -1  # the first look at the switch comes before anything happened
        self.peak_bytes = 0
        self.run = Run(
            plan,
            prior=prior,
            run_log=None if journal is None else Committing(journal, self._tick),
            switch=WatchedSwitch(self._tick),
            runtime=Runtime(self._open_network, bench.clock, self._draw),
        )

    def _open_network(self, _run_plan: RunPlan, records: Iterator[EncodedRecords]) -> Network:
        bench = self._bench
        network = Network(
            bench.proxy,
            bench.clock,
            self._noted(records),
            partial(bench.random.uniform, 0.001, 0.05),
            before=bench.networks[-1] if bench.networks else None,
        )
        network.tick = self._tick
        bench.networks.append(network)
        return network

    def _noted(self, records: Iterator[EncodedRecords]) -> Iterator[EncodedRecords]:
        sizes: list[int] = []
        self._bench.windows.append(sizes)
        for encoded in records:
            sizes.append(encoded.entries.nbytes)
            yield encoded

    def _draw(self) -> float:
        self._tick()  # between two answers that came at once
        return self._bench.random.random()

    def _tick(self) -> None:
        self._events += 1
        self.peak_bytes = max(self.peak_bytes, self.run.producer.held_bytes)
        if self._end is not None and self._events == self._end.after:
            if self._end.how == "kill":
                raise KilledError
            self.run.switch.presses = {"stop": 1, "leave": 2}[self._end.how]


class Bench:
    """A platform, a network and a clock that outlive the processes of a run."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.clock, self.random = case, Clock(), random.Random(case.seed)
        self.journal = folder / "run.v3io" if case.keeps_journal else None
        rules = local.Rules(list_last_sequence_id=case.lists_numbers)
        self.platform = local.Platform(clock=self.clock, rules=rules)
        self.platform.create_stream(STREAM_PATH, shards=3)
        self.platform.add_records(STREAM_PATH, [OLDER] * 7, shard=1)
        self.proxy = Watched(self.platform, case, self.clock)
        self.networks: list[Network] = []
        self.processes: list[Process] = []
        self.windows: list[list[int]] = []
        self.peak_bytes = 0

    def run(self, *, end: End | None, earlier: pd.DataFrame | None) -> Told | None:
        """Play one process, as ``put_records`` is one; None: it was killed."""
        plan = RunPlan(
            row_plan=_plan(self.case),
            client=None,  # the network is simulated
            stream=STREAM,
            delivery_options=self.case.policy,
            replan=partial(_plan, self.case),
            is_packed=self.case.rows_per_record != 1,
            progress=False,
            run_id=RUN_ID,
            page_rows=self.case.page_rows,
        )
        with open_journal(self.journal) as kept:
            prior = None
            if kept is not None:
                prior = kept.resume(plan)
            elif earlier is not None:
                prior = read_prior_run(plan, earlier)
            process = Process(self, plan, end, prior, kept)
            self.processes.append(process)
            try:
                results, ending = run_to_results(process.run)
            except KilledError:
                return None
            finally:
                self.peak_bytes = max(self.peak_bytes, process.peak_bytes)
        return Told(results, ending)

    def is_finished(self) -> bool | None:
        """Whether the journal says that the run is finished; None: there is no journal."""
        if self.journal is None or not self.journal.exists():  # nothing was sent
            return None
        with closing(sqlite3.connect(self.journal)) as file:
            return bool(file.execute("select is_finished from run").fetchone()[0])


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
        told: list[Told] = []
        for end in [*case.ends, None] if case.goes_on else case.ends:
            earlier = told[-1].results if told and case.rows else None
            one = bench.run(end=end, earlier=earlier)
            told += [one] if one is not None else []
        is_finished = bench.is_finished()
        is_over = is_finished and told[-1].ending.stop is None
        again = bench.run(end=None, earlier=None) if is_over else None
    for network in bench.networks:
        network.settle()
    bench.platform.close()
    stands: dict[int, list[tuple[Place, int]]] = {}
    for place, stood in sorted(bench.proxy.log.items()):
        for at, row in enumerate(parse_rows(stood.data, case.format)):
            assert row == {"row": row["row"], "text": "x" * case.rows[row["row"]][2]}
            stands.setdefault(row["row"], []).append((place, at))
    return Ran(
        told=told,
        is_finished=is_finished,
        again=again,
        stands=stands,
        log=bench.proxy.log,
        standing=bench.proxy.standing,
        life=bench.proxy.life,
        put_last=bench.proxy.put_last,
        asked_last=bench.proxy.asked_last,
        deceived=bench.proxy.deceived,
        peak_bytes=bench.peak_bytes,
        windows=bench.windows,
        out_of_order=_find_out_of_order(bench),
        sent_by=_find_senders(bench),
        processes=len(bench.processes) - (again is not None),
    )


def _find_out_of_order(bench: Bench) -> set[int]:
    rows: set[int] = set()
    is_alone = not bench.case.ends or (len(bench.case.ends) == 1 and not bench.case.goes_on)
    for process in bench.processes:
        reordering = process.run.producer.reordering
        rows |= {*reordering.rows}
        if not is_alone:
            rows |= reordering._reordered_at.keys()
    last = bench.processes[0].run
    if is_alone and last._reconciler is not None:
        rows |= {*last.producer.reordering.find_rows(last._reconciler.late())}
    return rows


def _find_senders(bench: Bench) -> dict[int, list[int]]:
    """Find out which process put which row on its way, request by request."""
    sent_by: dict[int, list[int]] = {}
    for number, network in enumerate(bench.networks):
        for request in network.sent:
            if request.headers.get("X-v3io-function") == "PutRecords":
                for record in msgspec.json.decode(request.body)["Records"]:
                    for row in parse_rows(b64decode(record["Data"]), bench.case.format):
                        sent_by.setdefault(row["row"], []).append(number)
    return sent_by

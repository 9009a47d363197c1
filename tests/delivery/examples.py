"""Entries by hand, and whole runs on the simulated network, for the tests of delivery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

from tests.delivery.simulation import Clock, SimulatedNetwork, WatchedSwitch
from tests.internals import (
    DeliveryOptions,
    EncodedRecords,
    Entries,
    Request,
    RunPlan,
    StreamPath,
    plan_rows,
    run_to_results,
)
from v3io_frames_put import _run, local
from v3io_frames_put.config import Limits

STREAM = "projects/model/stream"
FOR_EVER = {"times": None}
PLACE = StreamPath("projects", "model/stream", "http://simulated")


def make_entries(
    destinations: Sequence[int], *, first_row: int = 0, size: int = 20, row_count: int = 1
) -> Entries:
    """Make one entry of a size for each destination; 0 is none."""
    count = len(destinations)
    packed = row_count > 1
    return Entries(
        text=pa.array([b"x" * (size - 1) + b","] * count, pa.binary()),
        rows=np.arange(first_row, first_row + count * row_count),
        row_counts=np.full(count, row_count, np.int32) if packed else None,
        destination=np.array(destinations, np.uint64),
        shard=np.full(count, -1, np.int32),
    )


@dataclass
class Run:
    """A run on the simulated network, and what it left behind.

    Attributes
    ----------
    waits : list of str
        Every reason to wait that it gave.
    in_flight : list of int
        Requests under way after each round.
    """

    faults: Sequence[local.Fault] = ()
    policy: DeliveryOptions = field(default_factory=DeliveryOptions)
    shards: int = 3
    rules: local.Rules = field(default_factory=local.Rules)
    delay: Callable[[], float] = lambda: 0.01
    draw: Callable[[], float] = lambda: 0.5
    at_round: Callable[[int, Run], None] = lambda _number, _run: None
    clock: Clock = field(default_factory=Clock)
    waits: list[str] = field(default_factory=list)
    in_flight: list[int] = field(default_factory=list)
    peak_bytes: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.platform = local.Platform(clock=self.clock, rules=self.rules)
        self.platform.create_stream(STREAM, shards=self.shards)
        self.switch = WatchedSwitch(self._note)

    def send(
        self, frame: pd.DataFrame, *, window_rows: int = 16_384, **mapping: Any
    ) -> pd.DataFrame:
        """Send a frame to its end, as ``put_records`` does, and return the results."""
        row_bytes = sum(len(str(name)) + 24 for name in frame.columns)  # as the plan counts them
        plan = plan_rows(
            frame,
            format="json",
            limits=self.policy.limits,
            window_bytes=window_rows * row_bytes,
            **mapping,
        )
        job = RunPlan(
            row_plan=plan,
            replan=lambda: plan,
            client=None,
            stream=PLACE,
            delivery_options=self.policy,
            progress=False,
        )
        runtime = _run.Runtime(self._open_network, self.clock, self.draw)
        run = _run.Run(job, switch=self.switch, runtime=runtime)
        self.delivery = run.producer
        self._rounds, began = -1, self.clock.now
        results, ending = run_to_results(run)
        assert ending.broken is None
        self._note()  # the last round
        self.seconds = self.clock.now - began
        self.network.settle()
        return results

    def _open_network(self, _job: RunPlan, records: Iterator[EncodedRecords]) -> SimulatedNetwork:
        proxy = local.FaultProxy(self.platform, self.faults)
        self.network = SimulatedNetwork(proxy, self.clock, records, self.delay)
        return self.network

    def _note(self) -> None:
        """Look at the run before each round, and when it is over."""
        self._rounds += 1
        if not self._rounds:
            return  # nothing has happened yet
        self.in_flight.append(self.delivery.in_flight)
        self.peak_bytes = max(self.peak_bytes, self.delivery.held_bytes)
        why = self.delivery.waiting(self.clock.now)
        if why is not None and why not in self.waits:
            self.waits.append(why)
        self.at_round(self._rounds, self)

    @property
    def sizes(self) -> list[int]:
        """Records of each PutRecords request, in the order they were sent."""
        return [len(records_of(request)) for request in self.network.sent]

    @property
    def stored(self) -> dict[int, list[tuple[int, int]]]:
        """Where each row of the column ``row`` stands."""
        places: dict[int, list[tuple[int, int]]] = {}
        for record in self.platform.records(STREAM):
            place = (record.shard_id, record.sequence_number)
            places.setdefault(msgspec.json.decode(record.data)["row"], []).append(place)
        return places


def records_of(request: Request) -> list[dict[str, Any]]:
    """Return the records of a PutRecords request."""
    records: list[dict[str, Any]] = msgspec.json.decode(request.body)["Records"]
    return records


def rows_frame(count: int, **columns: Any) -> pd.DataFrame:
    """Make a frame of numbered rows."""
    return pd.DataFrame({"row": range(count), **columns})


def one_by_one(max_records: int, **options: Any) -> DeliveryOptions:
    """Make a policy with one request under way at a time, so that requests have an order."""
    return DeliveryOptions(max_in_flight=1, limits=Limits(max_records=max_records), **options)


def statuses(results: pd.DataFrame) -> list[str]:
    """Tell the status of each row."""
    return results.status.tolist()


def reasons(results: pd.DataFrame) -> dict[int, str]:
    """Tell the name of each error, by row."""
    return results.error_message.dropna().to_dict()


def assert_true(run: Run, results: pd.DataFrame) -> None:
    """Hold every status against what stands on the stream."""
    stands = run.stored
    for row, (status, shard, number) in enumerate(
        zip(results.status, results.shard_id, results.sequence_number, strict=True)
    ):
        places = stands.get(row, [])
        if status == "stored":
            assert (shard, number) in places, row
        elif status in ("unsent", "rejected"):
            assert places == [], row


def assert_in_order(run: Run, keys: Sequence[Any], excused: Sequence[int] = ()) -> None:
    """First copies of each key's rows stand in data order, in one shard."""
    last, stands = {}, run.stored
    for row, key in enumerate(keys):
        places = stands.get(row)
        if places and row not in excused:
            shard, number = min(places, key=lambda place: place[1])
            before = last.get(key)
            assert before is None or (before[0] == shard and before[1] < number), row
            last[key] = (shard, number)

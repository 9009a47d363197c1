"""What is measured: each section yields rows of the table."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from tests.bench import peers
from tests.bench.measure import Comparison
from tests.bench.ours import PACKAGE, connect, encode, put
from tests.bench.shapes import SHAPES, Shape, narrow, read_flights
from tests.bench.sink import read_recording, run_sink
from tests.bench.table import Row

KEYED = {"partition_key": "tailnum"}
PACKED = {"format": "arrow", "rows_per_record": "auto"}
PEER_ROWS = 20_000  # of the v3io package: its time grows with the rows alone
IN_FLIGHT = 8
RECORDS = 1_000
NOISE = 0.5  # part of a figure that a busy shared machine leaves


@dataclass(frozen=True)
class Section:
    """A part of the table.

    Attributes
    ----------
    name : str
        What ``--only`` looks for.
    measure : callable
        Takes the number of rounds, yields rows.
    is_headline : bool
        Whether it belongs to ``make bench``.
    """

    name: str
    measure: Callable[[int], Iterator[Row]]
    is_headline: bool = True


def rate(value: float) -> str:
    """Write rows a second."""
    return f"{value:,.0f} rows/s"


def _record(frame: pd.DataFrame, **options: Any) -> list[bytes]:
    """Return the requests that put a frame."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests"
        with run_sink(recording=path) as sink, connect(sink.endpoint) as client:
            put(frame, client, **options)
        return read_recording(path)


def encoding(rounds: int) -> Iterator[Row]:
    """Compare encoding alone, one thread."""
    flights = read_flights()
    sample = flights[:PEER_ROWS]
    both = Comparison(
        {
            "ours": (len(flights), partial(encode, flights, **KEYED)),
            "v3io": (len(sample), partial(peers.encode_with_v3io, sample, "tailnum")),
        },
        rounds,
    )
    yield Row(
        "encoding, JSON keyed, a second of processor time, one thread",
        rate(both.cpu_rate("ours")),
        f"v3io package: {rate(both.cpu_rate('v3io'))}",
        both.cpu_ratio("v3io", "ours"),
        goal="P1",
        at_least=20,
        bound=14,
        details=both.as_dict(),
    )


def flights_json(rounds: int) -> Iterator[Row]:
    """Compare flights by key, end to end."""
    flights = read_flights()
    sample = flights[:PEER_ROWS]
    requests = _record(flights, **KEYED)
    with run_sink() as sink, connect(sink.endpoint) as client:
        contestants = {
            "ours": (len(flights), partial(put, flights, client, **KEYED)),
            "v3io": (len(sample), partial(peers.send_with_v3io, sample, sink, "tailnum")),
            "replay": (len(flights), partial(peers.replay, requests, sink)),
        }
        if peers.HAS_QUESTDB:
            for name, protocol in {"questdb": 1, "questdb, binary": 2}.items():
                columns = {"symbols": ["tailnum"], "at": "time_hour", "protocol": protocol}
                send = partial(peers.send_with_questdb, flights, sink, **columns)
                contestants[name] = (len(flights), send)
        runs = Comparison(contestants, rounds)
    ours, details = rate(runs.rate("ours")), runs.as_dict()
    what = "flights, JSON keyed, 8 in flight"
    yield Row(
        what,
        ours,
        f"v3io package, 8 threads: {rate(runs.rate('v3io'))}",
        runs.ratio("ours", "v3io"),
        goal="P3",
        at_least=14,
        bound=5,
        details=details,
    )
    yield Row(
        what,
        ours,
        f"replay of the same bodies: {rate(runs.rate('replay'))}",
        runs.ratio("ours", "replay"),
    )
    if not peers.HAS_QUESTDB:
        return
    yield Row(
        what,
        ours,
        f"QuestDB's client: {rate(runs.rate('questdb'))}",
        runs.ratio("ours", "questdb"),
        goal="P3q",
        at_least=0.8,
        bound=0.2,
    )
    yield Row(
        f"{what}: processor time",
        f"{runs.cpu_seconds('ours'):.2f} s",
        f"QuestDB's client: {runs.cpu_seconds('questdb'):.2f} s",
        runs.cpu_ratio("ours", "questdb"),
        goal="P3c",
        at_most=1.8,
        bound=8,
    )
    binary = f"QuestDB's client, floats as bytes: {rate(runs.rate('questdb, binary'))}"
    yield Row(what, ours, binary, runs.ratio("ours", "questdb, binary"))
    yield Row(
        f"{what}: processor time",
        f"{runs.cpu_seconds('ours'):.2f} s",
        f"QuestDB's client, floats as bytes: {runs.cpu_seconds('questdb, binary'):.2f} s",
        runs.cpu_ratio("ours", "questdb, binary"),
    )
    yield Row(
        "the sink itself: replay beside the fastest client",
        rate(runs.rate("replay")),
        f"QuestDB's client: {rate(runs.rate('questdb'))}",
        runs.ratio("replay", "questdb"),
        bound=2,
    )


def flights_arrow(rounds: int) -> Iterator[Row]:
    """Compare Arrow packs, not keyed, with the replay of their bodies."""
    flights = read_flights()
    requests = _record(flights, **PACKED)
    with run_sink() as sink, connect(sink.endpoint) as client:
        runs = Comparison(
            {
                "ours": (len(flights), partial(put, flights, client, **PACKED)),
                "replay": (len(flights), partial(peers.replay, requests, sink)),
            },
            rounds,
        )
    yield Row(
        f"flights, Arrow packed ({runs.cpu_seconds('ours'):.2f} s of processor time)",
        rate(runs.rate("ours")),
        f"replay of the same bodies: {rate(runs.rate('replay'))}",
        runs.ratio("ours", "replay"),
        goal="P5",
        at_least=0.25,
        bound=0.05,
        details=runs.as_dict(),
    )


def flights_arrow_keyed(rounds: int) -> Iterator[Row]:
    """Compare Arrow packs by key with JSON by key."""
    flights = read_flights()
    ways = {"arrow": {**PACKED, **KEYED}, "json": KEYED}
    sizes = {}
    with run_sink() as sink, connect(sink.endpoint) as client:

        def send(way: str) -> None:
            sink.reset()
            put(flights, client, **ways[way])
            sizes[way] = sink.stats()

        runs = Comparison({way: (len(flights), partial(send, way)) for way in ways}, min(rounds, 2))
    records = sizes["arrow"]["records"]
    yield Row(
        f"flights, Arrow packed and keyed ({len(flights) / records:.1f} rows a pack)",
        rate(runs.rate("arrow")),
        f"JSON keyed: {rate(runs.rate('json'))}",
        runs.ratio("arrow", "json"),
        goal="P5k",
        at_least=1.5,
        bound=0.02,
        details={**runs.as_dict(), "sizes": sizes},
    )
    yield Row(
        "flights, Arrow packed and keyed: bytes",
        f"{sizes['arrow']['bytes'] / 1e6:,.0f} MB",
        f"JSON keyed: {sizes['json']['bytes'] / 1e6:,.0f} MB",
        sizes["arrow"]["bytes"] / sizes["json"]["bytes"],
        goal="P5k",
        at_most=1,
        bound=5,
    )


def latency(rounds: int) -> Iterator[Row]:
    """Compare with what a server that takes 50 ms an answer can take at most."""
    delay = 0.05
    full = IN_FLIGHT * RECORDS / delay
    frames: dict[str, tuple[pd.DataFrame, dict[str, Any], float]] = {
        "narrow, not keyed": (narrow(400_000), {}, 0.95),
        "flights, keyed": (read_flights(), KEYED, 0.9),
    }
    with run_sink(delay_ms=round(delay * 1_000)) as sink, connect(sink.endpoint) as client:
        for name, (frame, options, goal) in frames.items():
            work = partial(put, frame, client, **options)
            runs = Comparison({"ours": (len(frame), work)}, max(1, rounds - 2))
            yield Row(
                f"{name}, answers in 50 ms, 8 in flight",
                rate(runs.rate("ours")),
                f"8 x 1,000 rows / 50 ms: {rate(full)}",
                runs.rate("ours") / full,
                goal="P6",
                at_least=goal,
                bound=goal * NOISE,
                details=runs.as_dict(),
            )


def delivery(rounds: int) -> Iterator[Row]:
    """Compare exactly_once, and a journal, with neither."""
    flights = read_flights()
    with (
        run_sink(delay_ms=20) as sink,
        connect(sink.endpoint) as client,
        tempfile.TemporaryDirectory() as folder,
    ):
        path = Path(folder) / "run.v3io"

        def put_with_journal() -> None:
            path.unlink(missing_ok=True)
            put(flights, client, journal=path, **KEYED)

        once = partial(put, flights, client, delivery="exactly_once", **KEYED)
        runs = Comparison(
            {
                "plain": (len(flights), partial(put, flights, client, **KEYED)),
                "exactly_once": (len(flights), once),
                "journal": (len(flights), put_with_journal),
            },
            rounds,
        )
    for way in ("exactly_once", "journal"):
        yield Row(
            f"flights keyed, answers in 20 ms: {way}",
            rate(runs.rate(way)),
            f"plain: {rate(runs.rate('plain'))}",
            runs.ratio(way, "plain"),
            goal="P7",
            at_least=0.95,
            bound=0.8,
            details=runs.as_dict(),
        )


def ten_million(_rounds: int) -> Iterator[Row]:
    """Put ten million rows: memory, rate, first answer."""
    yield from _large(10_000_000, goals=True)


def one_million(_rounds: int) -> Iterator[Row]:
    """Put a million rows."""
    yield from _large(1_000_000, goals=False)


def _large(rows: int, *, goals: bool) -> Iterator[Row]:
    with run_sink() as sink:
        command = [sys.executable, "-m", "tests.bench.large", sink.endpoint, "300000", str(rows)]
        told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    allowed = told["results_bytes"] * 1.3 + 250e6
    what = f"flights keyed, {rows / 1e6:.0f} M rows"
    yield Row(
        f"{what}: peak above the frame",
        f"{told['peak_bytes'] / 1e6:,.0f} MB",
        f"results x 1.3 + 250 MB: {allowed / 1e6:,.0f} MB",
        told["peak_bytes"] / allowed,
        goal="P8",
        at_most=1 if goals else None,
        bound=1.5 if goals else None,
        details=told,
    )
    yield Row(
        f"{what}: rate",
        rate(told["rate"]),
        f"0.3 M rows: {rate(told['small_rate'])}",
        told["rate"] / told["small_rate"],
        goal="P9",
        at_least=0.9 if goals else None,
        bound=0.9 * NOISE if goals else None,
    )
    yield Row(
        f"{what}: rate, a second of processor time",
        rate(told["cpu_rate"]),
        f"0.3 M rows: {rate(told['small_cpu_rate'])}",
        told["cpu_rate"] / told["small_cpu_rate"],
    )
    yield Row(
        f"{what}: first acknowledgement",
        f"{told['first_seconds']:.3f} s",
        "0.1 s",
        told["first_seconds"] / 0.1,
        goal="P10",
        at_most=1 if goals else None,
        bound=10 if goals else None,
    )


def importing(rounds: int) -> Iterator[Row]:
    """Compare the import with that of pandas and pyarrow."""
    # Processor time: reading files swings on a machine that others use.
    code = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"
    seconds: dict[str, list[float]] = {PACKAGE: [], "pandas, pyarrow": []}
    for _ in range(2 * rounds + 1):
        for name, measured in seconds.items():
            command = [sys.executable, "-c", code.format(name)]
            told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            measured.append(float(told))
    ours, theirs = (statistics.median(measured[1:]) for measured in seconds.values())
    pairs = zip(*seconds.values(), strict=True)
    yield Row(
        "import, processor time",
        f"{ours:.3f} s",
        f"pandas and pyarrow: {theirs:.3f} s",
        statistics.median(ours / theirs for ours, theirs in list(pairs)[1:]),
        goal="P11",
        at_most=1.05,
        bound=1.7,
        details=seconds,
    )


def compare_shape(name: str, shape: Shape, rounds: int) -> Iterator[Row]:
    """Compare a table with its peers, as JSON and as Arrow packs."""
    frame = shape.make(shape.rows)
    sample, packed = frame[: shape.peer_rows], frame[: shape.arrow_rows]
    options = shape.options()
    with run_sink() as sink, connect(sink.endpoint) as client:
        send = partial(
            peers.send_with_v3io, sample, sink, shape.key, max_records=shape.peer_records
        )
        contestants = {
            "json": (len(frame), partial(put, frame, client, **options)),
            "v3io": (len(sample), send),
            "arrow": (len(packed), partial(put, packed, client, **PACKED, **options)),
        }
        if shape.questdb and peers.HAS_QUESTDB:
            send = partial(peers.send_with_questdb, frame, sink)
            contestants["questdb"] = (len(frame), send)
        runs = Comparison(contestants, max(1, rounds - 2))
    yield Row(
        f"{name}, JSON",
        rate(runs.rate("json")),
        f"v3io package, 8 threads: {rate(runs.rate('v3io'))}",
        runs.ratio("json", "v3io"),
        goal="P12",
        at_least=shape.goal,
        bound=shape.goal / 4,
        details=runs.as_dict(),
    )
    if "questdb" in runs.runs:
        yield Row(
            f"{name}, JSON",
            rate(runs.rate("json")),
            f"QuestDB's client: {rate(runs.rate('questdb'))}",
            runs.ratio("json", "questdb"),
        )
    yield Row(
        f"{name}, Arrow packed",
        rate(runs.rate("arrow")),
        f"JSON: {rate(runs.rate('json'))}",
        runs.ratio("arrow", "json"),
    )


SECTIONS = [
    Section("encoding", encoding),
    Section("flights json", flights_json),
    Section("flights arrow", flights_arrow),
    Section("flights arrow keyed", flights_arrow_keyed),
    Section("latency", latency),
    Section("delivery", delivery),
    Section("ten million", ten_million),
    Section("import", importing),
    Section("one million", one_million, is_headline=False),
    *(
        Section(f"shape: {name}", partial(compare_shape, name, shape), is_headline=False)
        for name, shape in SHAPES.items()
    ),
]

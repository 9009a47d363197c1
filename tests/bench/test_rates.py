"""Rates as ratios within one run: shared machines swing by a third from run to run."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from v3io_frames_put import Client, put_records

pytestmark = pytest.mark.bench

HERE = Path(__file__).parent
SERVER = """
import sys
from v3io_frames_put.local import LocalPlatform, faults
script = [faults.stalled_answer(float(s), times=None) for s in sys.argv[1:]]
with LocalPlatform(faults=script) as platform:
    print(platform.endpoint, flush=True)
    input()
"""
WAYS = {
    "plain": lambda _: {},
    "exactly_once": lambda _: {"delivery": "exactly_once"},
    "journal": lambda path: {"journal": path},
}


@pytest.fixture(scope="module")
def encoding():
    spec = importlib.util.spec_from_file_location("encode", HERE / "encode.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def connect():
    """Reach a local platform in a process of its own: it takes no time of ours."""
    with ExitStack() as stack:

        def connect(*seconds):
            command = [sys.executable, "-c", SERVER, *map(str, seconds)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            server = stack.enter_context(subprocess.Popen(command, text=True, **pipes))
            stack.callback(server.communicate, "\n")
            client = stack.enter_context(Client(server.stdout.readline().strip()))
            client.create_stream("projects/bench/flights", shards=8)
            return client

        yield connect


def test_bodies_are_encoded_fifteen_times_as_fast_as_by_the_v3io_package(encoding, capsys):
    ours, theirs = encoding.measure()
    with capsys.disabled():
        print(f"\nencoded: {ours:,.0f} rows/s, v3io {theirs:,.0f}: {ours / theirs:.1f} times")
    assert ours / theirs >= 15


def measure(flights, client, folder, rounds=5):
    """Send the flights in all ways, in turns; return each one's best rows a second."""
    best = dict.fromkeys(WAYS, 0.0)
    for number in range(rounds):
        for way, options in WAYS.items():
            start = time.perf_counter()
            results = put_records(
                flights,
                "projects/bench/flights",
                partition_key="tailnum",
                client=client,
                progress=False,
                **options(folder / f"{number}.v3io"),
            )
            best[way] = max(best[way], len(flights) / (time.perf_counter() - start))
            assert (results["status"] == "stored").all()
    return best


def tell(what, rates):
    plain = rates["plain"]
    told = ", ".join(f"{way} {rate:,.0f} ({rate / plain:.2f})" for way, rate in rates.items())
    print(f"\n{what}, rows/s: {told}")


def test_exactly_once_and_a_journal_cost_little(encoding, connect, tmp_path, capsys):
    # A platform that answers a thousand records in 50 ms is what holds a run up.
    rates = measure(encoding.read_flights(), connect(0.05), tmp_path, rounds=3)
    with capsys.disabled():
        tell("answers in 50 ms", rates)
    assert rates["exactly_once"] / rates["plain"] >= 0.95
    assert rates["journal"] / rates["plain"] >= 0.95


def test_exactly_once_and_a_journal_where_nothing_else_takes_time(
    encoding, connect, tmp_path, capsys
):
    # The platform shares two cores with us: all that a journal computes is lost to the rate.
    rates = measure(encoding.read_flights(), connect(), tmp_path)
    with capsys.disabled():
        tell("end to end", rates)
    assert rates["exactly_once"] / rates["plain"] >= 0.90
    assert rates["journal"] / rates["plain"] >= 0.85

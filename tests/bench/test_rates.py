"""Rates as ratios within one run: shared machines swing by a third from run to run."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from v3io_frames_put import Client, put_records

pytestmark = pytest.mark.bench

HERE = Path(__file__).parent
SERVER = """
from v3io_frames_put.local import LocalPlatform
with LocalPlatform() as platform:
    print(platform.endpoint, flush=True)
    input()
"""


@pytest.fixture(scope="module")
def encoding():
    spec = importlib.util.spec_from_file_location("encode", HERE / "encode.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def client():
    """Reach a local platform in a process of its own: it takes no time of ours."""
    command = [sys.executable, "-c", SERVER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=dict(os.environ), **pipes) as server:
        with Client(server.stdout.readline().strip()) as client:
            yield client
        server.communicate("\n")


def test_bodies_are_encoded_fifteen_times_as_fast_as_by_the_v3io_package(encoding, capsys):
    ours, theirs = encoding.measure()
    with capsys.disabled():
        print(f"\nencoded: {ours:,.0f} rows/s, v3io {theirs:,.0f}: {ours / theirs:.1f} times")
    assert ours / theirs >= 15


def test_exactly_once_costs_little(encoding, client, capsys):
    flights = encoding.read_flights()
    client.create_stream("projects/bench/flights", shards=8)
    rates = {"at_least_once": 0.0, "exactly_once": 0.0}
    for _ in range(4):
        for delivery, best in rates.items():
            start = time.perf_counter()
            results = put_records(
                flights,
                "projects/bench/flights",
                partition_key="tailnum",
                delivery=delivery,
                client=client,
                progress=False,
            )
            rates[delivery] = max(best, len(flights) / (time.perf_counter() - start))
            assert (results["status"] == "stored").all()
    ratio = rates["exactly_once"] / rates["at_least_once"]
    with capsys.disabled():
        told = ", ".join(f"{delivery} {rate:,.0f} rows/s" for delivery, rate in rates.items())
        print(f"\nend to end: {told}: {ratio:.2f}")
    assert ratio >= 0.85

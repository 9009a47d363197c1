"""What one call enters, and how many Python functions one request costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pandas as pd

from tests.bench.ours import PACKAGE, PACKAGE_FOLDER, STREAM, connect, put
from tests.bench.shapes import read_flights

PLATFORM = f"""
import sys
from {PACKAGE}.local import LocalPlatform
with LocalPlatform() as platform:
    print(platform.endpoint, flush=True)
    sys.stdin.read()
"""
REQUESTS = (100, 200)
ROWS_PER_REQUEST = 1_000


@contextmanager
def run_platform() -> Iterator[str]:
    """Run a local platform in a process of its own, so that none of its functions count."""
    with subprocess.Popen(
        [sys.executable, "-c", PLATFORM], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def count_calls(work: Callable[[], Any]) -> Counter[CodeType]:
    """Count the calls of each Python function in all threads that start while ``work`` runs.

    A generator that goes on is no call, though the interpreter tells it as one: of a
    generator, only what enters it at its first line is counted.
    """
    per_thread: list[Counter[tuple[CodeType, int]]] = []
    own = threading.local()

    def count(frame: FrameType, event: str, _: object) -> None:
        if event != "call":
            return
        if not hasattr(own, "calls"):
            own.calls = Counter()
            per_thread.append(own.calls)
        code = frame.f_code
        at = frame.f_lasti if code.co_flags & inspect.CO_GENERATOR else 0
        own.calls[code, at] += 1

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    entered = sum(per_thread, Counter[tuple[CodeType, int]]())
    first: dict[CodeType, int] = {}
    for code, at in entered:
        first[code] = min(at, first.get(code, at))
    return Counter({code: count for (code, at), count in entered.items() if at == first[code]})


def is_ours(code: CodeType) -> bool:
    """Say whether a function is one of the package."""
    return Path(code.co_filename).is_relative_to(PACKAGE_FOLDER)


def entered_by_three_rows() -> dict[str, list[str]]:
    """Return the functions that ``df.v3io.put_records`` enters, by files of the package."""
    frame = pd.DataFrame({"city": ["Oslo", "Rome", "Lima"], "celsius": [4.5, 21.0, 18.5]})
    with run_platform() as endpoint, connect(endpoint) as client:
        client.create_stream(STREAM)
        calls = count_calls(lambda: frame.v3io.put_records(STREAM, client=client))
    entered: dict[str, list[str]] = {}
    for code in sorted(calls, key=lambda code: (code.co_filename, code.co_firstlineno)):
        if is_ours(code):
            file = str(Path(code.co_filename).relative_to(PACKAGE_FOLDER))
            times = f"  {calls[code]} times" if calls[code] > 1 else ""
            entered.setdefault(file, []).append(f"{code.co_firstlineno:>5}  {_name(code)}{times}")
    return entered


def _name(code: CodeType) -> str:
    """Return a function's name with that of its class, which Python has from 3.11 on."""
    return getattr(code, "co_qualname", code.co_name)


def calls_per_request() -> tuple[float, Counter[str]]:
    """Count the Python calls of one request of 1,000 flights keyed by ``tailnum``.

    Of all threads and packages. It is what a run of 200 requests costs more than one of 100,
    so that what a run costs once is left out.

    Returns
    -------
    calls, by_function : float and Counter
        Of one request; the second per function.
    """
    flights = read_flights()
    runs, requests = [], []
    with run_platform() as endpoint, connect(endpoint) as client:
        client.create_stream(STREAM, shards=8)
        put(flights[:ROWS_PER_REQUEST], client)  # loads what is loaded at first use
        for count in REQUESTS:
            rows = flights[: count * ROWS_PER_REQUEST]
            results: list[pd.DataFrame] = []
            runs.append(
                count_calls(lambda rows=rows, results=results: results.append(
                    put(rows, client, partition_key="tailnum")
                ))
            )  # fmt: skip
            requests.append(results[0].attrs["v3io"]["requests"])
    fewer, more = runs
    more.subtract(fewer)
    per_request = requests[1] - requests[0]
    by_function: Counter[str] = Counter()
    for code, count in more.items():
        name = f"{Path(code.co_filename).name}:{code.co_name}"
        by_function[name] += count
    for name in by_function:
        by_function[name] /= per_request
    return sum(more.values()) / per_request, by_function

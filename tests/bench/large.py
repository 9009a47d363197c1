"""Put a large frame in a process of its own: peak memory, rate, and the first answer.

``python -m tests.bench.large ENDPOINT SMALL_ROWS ROWS`` prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import threading
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import psutil

from tests.bench.measure import Comparison, time_run
from tests.bench.ours import Client, connect, put
from tests.bench.shapes import repeat_flights
from tests.bench.sink import Sink

SAMPLE_SECONDS = 0.02
SMALL_RUNS = 5
OPTIONS = {"partition_key": "tailnum"}


class PeakMemory:
    """Samples the memory of this process while the block runs."""

    def __enter__(self):
        self._process, self._end = psutil.Process(), threading.Event()
        self.start_bytes = self.bytes = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._end.wait(SAMPLE_SECONDS):
            self.bytes = max(self.bytes, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def put_large(rows: int, sink: Sink, client: Client) -> dict[str, Any]:
    """Put one large frame."""
    frame = repeat_flights(rows)
    results: list[pd.DataFrame] = []
    sink.reset()
    with PeakMemory() as peak:
        run = time_run(rows, lambda: results.append(put(frame, client, **OPTIONS)))
    return {
        "rows": rows,
        "rate": run.rate,
        "cpu_rate": run.cpu_rate,
        "first_seconds": sink.stats()["first_seconds"],
        "results_bytes": int(results[0].memory_usage(index=False, deep=True).sum()),
        "peak_bytes": peak.bytes - peak.start_bytes,
    }


def main(endpoint: str, small_rows: int, rows: int) -> dict[str, Any]:
    """Measure.

    The large frame goes first, as a user's would: what is loaded at first use counts, and
    memory that was freed once is not all given back.
    """
    sink, client = Sink(urlsplit(endpoint).port or 0), connect(endpoint)
    figures = put_large(rows, sink, client)
    work = partial(put, repeat_flights(small_rows), client, **OPTIONS)
    small = Comparison({"small": (small_rows, work)}, SMALL_RUNS)
    return {
        **figures,
        "small_rate": small.rate("small"),
        "small_cpu_rate": small.cpu_rate("small"),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))

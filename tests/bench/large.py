"""Put a large frame in a process of its own: peak memory, rate, and the first answer.

``python -m tests.bench.large ENDPOINT SMALL_ROWS ROWS`` prints one JSON object.
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import psutil

from tests.bench.ours import connect, put
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


def main(endpoint: str, small_rows: int, rows: int) -> dict[str, Any]:
    """Measure.

    The large frame goes first, as a user's would: what is loaded at first use counts, and
    memory that was freed once is not all given back.
    """
    sink, client = Sink(urlsplit(endpoint).port or 0), connect(endpoint)
    frame = repeat_flights(rows)
    sink.reset()
    start = time.perf_counter()
    with PeakMemory() as peak:
        results = put(frame, client, **OPTIONS)
    seconds = time.perf_counter() - start
    first = sink.stats()["first_seconds"]
    results_bytes = int(results.memory_usage(index=False, deep=True).sum())
    del frame, results
    small, rates = repeat_flights(small_rows), []
    for _ in range(SMALL_RUNS):
        start = time.perf_counter()
        put(small, client, **OPTIONS)
        rates.append(small_rows / (time.perf_counter() - start))
    return {
        "rows": rows,
        "rate": rows / seconds,
        "small_rate": statistics.median(rates),
        "first_seconds": first,
        "results_bytes": results_bytes,
        "peak_bytes": peak.bytes - peak.start_bytes,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))

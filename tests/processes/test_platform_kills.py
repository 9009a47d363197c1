"""``kill -9`` of the platform under a real upload: it goes on, and what it says is true.

The points are drawn in batches of data: the reader of the data kills the platform when
its turn comes, with requests under way, and starts it anew without waiting for it.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import warnings

import pyarrow as pa
import pytest

from tests.processes.harness import DELIVERIES, ROOT, draws, hold_against, seeds
from tests.processes.uploader import STREAM, make_client, make_frame
from v3io_frames_put import UnstoredRowsWarning, put_records
from v3io_frames_put.local import Platform

BATCHES, BATCH_ROWS = 60, 50


class Killed:
    """``v3io-put serve --data-dir``, as often as it takes."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.process, self.kills = folder, None, 0

    def start(self):
        command = ["-m", "v3io_frames_put", "serve", "--port", self.port]
        self.process = subprocess.Popen(
            [sys.executable, *map(str, command), "--data-dir", str(self.folder)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )

    def kill(self):
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL
        self.process.stdout.close()
        self.kills += 1


@pytest.fixture
def platform(tmp_path):
    killed = Killed(tmp_path / "platform")
    killed.start()
    assert killed.process.stdout.readline().strip() == f"http://127.0.0.1:{killed.port}"
    yield killed
    killed.kill()


# 10 rounds of 3 kills each.
@pytest.mark.parametrize("seed", seeds(10, at_once=3))
def test_an_upload_outlives_its_platform(platform, seed):
    chance, delivery = draws("platform kills", seed), DELIVERIES[seed % 3]
    points = set(chance.sample(range(1, BATCHES), 3))
    frame = make_frame(BATCHES * BATCH_ROWS)
    client = make_client(f"http://127.0.0.1:{platform.port}")
    client.create_stream(STREAM, shards=3)

    def batches():
        for number in range(BATCHES):
            if number in points:
                platform.kill()
                platform.start()
            rows = frame.iloc[number * BATCH_ROWS : (number + 1) * BATCH_ROWS]
            yield pa.RecordBatch.from_pandas(rows, schema, preserve_index=False)

    schema = pa.schema([("row", pa.int64()), ("key", pa.string())])
    before = set(threading.enumerate())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnstoredRowsWarning)
        results = put_records(
            pa.RecordBatchReader.from_batches(schema, batches()),
            STREAM,
            partition_key="key",
            delivery=delivery,
            max_in_flight=4,
            max_in_flight_bytes=20_000,
            progress=False,
            client=client,
        )
    client.close()
    assert [thread for thread in threading.enumerate() if thread not in before] == []
    platform.kill()
    assert platform.kills == 4
    found = Platform(platform.folder)
    counts = hold_against(results, found.records(STREAM), delivery)
    found.close()
    platform.start()
    assert len(results) == len(frame)
    missing = {"unknown"} if delivery == "at_most_once" else set()
    assert set(results.status) <= {"stored"} | missing
    assert delivery == "at_most_once" or set(counts) == set(range(len(frame)))

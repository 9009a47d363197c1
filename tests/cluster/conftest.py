"""A stream that tasks on other processes send to, and who reads it back."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter

import pandas as pd
import psutil
import pytest

from v3io_frames_put import Retry

STREAM = "users/cluster/clicks"


@pytest.fixture
def client(local_platform):
    """A client whose look-ups do not wait long."""
    local_platform.create_stream(STREAM, shards=3)
    with local_platform.client(retry=Retry(settle_seconds=0.2)) as client:
        yield client


@pytest.fixture
def clicks():
    """Make rows numbered through, of seven users."""

    def clicks(rows):
        return pd.DataFrame({"n": range(rows), "user": [f"u{n % 7}" for n in range(rows)]})

    return clicks


@pytest.fixture
def read_numbers(require_module, local_platform):
    """Count how often each row is stored on the stream, as the platform's own client reads it."""
    module = require_module("v3io.dataplane")

    def read_numbers():
        theirs = module.Client(
            endpoint=local_platform.endpoint, access_key="any", max_connections=1
        )
        found = Counter()
        for shard in range(3):
            place = theirs.stream.seek(
                "users", "cluster/clicks", shard, "EARLIEST", raise_for_status=[200, 404]
            )
            if place.status_code == 404:
                continue
            location, behind = place.output.location, 1
            while behind:
                page = theirs.stream.get_records(
                    "users", "cluster/clicks", shard, location, limit=10_000
                ).output
                found.update(json.loads(record.data)["n"] for record in page.records)
                location, behind = page.next_location, page.records_behind_latest
        theirs.close()
        return found

    return read_numbers


@pytest.fixture
def wait_for_sender(local_platform):
    """Wait until exactly one of some processes has a connection to the platform."""
    port = int(local_platform.endpoint.rpartition(":")[2])

    def is_sender(pid):
        try:
            connections = psutil.Process(pid).net_connections("tcp")
        except psutil.NoSuchProcess:
            return False
        return any(c.raddr and c.raddr.port == port for c in connections)

    def wait_for_sender(find_pids, timeout_seconds=60):
        until = time.monotonic() + timeout_seconds
        while len(senders := [pid for pid in find_pids() if is_sender(pid)]) != 1:
            assert time.monotonic() < until, f"these have a connection: {senders}"
            threading.Event().wait(0.05)  # no event of ours tells when a connection closes
        return senders[0]

    return wait_for_sender

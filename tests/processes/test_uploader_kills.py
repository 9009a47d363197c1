"""``kill -9`` of an upload with a journal: the same call again goes on, and all holds."""

from __future__ import annotations

import json
import signal
from collections import Counter

import pandas as pd
import pytest

from tests.processes.harness import (
    DELIVERIES,
    PATIENCE_SECONDS,
    draws,
    hold_against,
    seeds,
    uploading,
)
from tests.processes.uploader import STREAM, Spec
from tests.readers import read_shard
from v3io_frames_put.local import faults

ROWS = 4_000  # 400 requests
SHARDS = 3
LONG_FROM = 3


@pytest.fixture
def platform(local_platform):
    local_platform.create_stream(STREAM, shards=SHARDS)
    return local_platform


@pytest.fixture
def count_by_row(require_module, platform):
    """Count how often each row stands, as the platform's own client reads it."""
    module = require_module("v3io.dataplane")
    client = module.Client(endpoint=platform.endpoint, access_key="any", max_connections=2)
    container, _, stream = STREAM.partition("/")

    def count_by_row():
        shards = [read_shard(client, container, stream, shard) for shard in range(SHARDS)]
        return Counter(json.loads(record.data)["row"] for found in shards for record in found)

    yield count_by_row
    client.close()


def puts(platform):
    return sum(arrival.function == "PutRecords" for arrival in platform.requests)


# 3 rounds of 2 kills each, and with `make test-long` 19 more of 5: 101 in all.
@pytest.mark.parametrize("seed", seeds(22, at_once=LONG_FROM))
def test_the_same_call_again_goes_on(platform, count_by_row, tmp_path, seed):
    chance, delivery = draws("uploader kills", seed), DELIVERIES[seed % 3]
    if chance.random() < 0.5:
        platform.faults = [
            faults.lost_answer(nth=chance.randrange(1, 50), every=40, times=3),
            faults.unavailable(
                nth=chance.randrange(1, 50), every=60, times=3, stored="even_shards"
            ),
            faults.throttled(nth=chance.randrange(1, 50), every=50, times=3),
        ]
    journal = str(tmp_path / "run.v3io")
    options = {"delivery": delivery, "max_in_flight": 4, "journal": journal}
    spec = Spec(platform.endpoint, str(tmp_path / "results"), ROWS, options=options)
    for _ in range(2 if seed < LONG_FROM else 5):
        point = len(platform.requests) + chance.choice([1, 2, 5, *range(10, 60)])
        with uploading(spec, tmp_path) as process:
            platform.wait_until(lambda p, point=point: len(p.requests) >= point, PATIENCE_SECONDS)
            process.kill()
            _, errors = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == -signal.SIGKILL, errors
    results = finish(spec, tmp_path)
    counts = count_by_row()
    assert counts == hold_against(results, platform.records(STREAM), delivery)
    missing = {"unknown"} if delivery == "at_most_once" else set()
    assert set(results.status) <= {"stored"} | missing
    if delivery == "exactly_once":
        assert counts == dict.fromkeys(range(ROWS), 1)
    sent = puts(platform)
    again = finish(spec, tmp_path)
    assert puts(platform) == sent
    pd.testing.assert_frame_equal(again, results)


def finish(spec, folder):
    with uploading(spec, folder) as process:
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors
    results = pd.read_pickle(spec.results)
    assert len(results) == spec.rows
    return results

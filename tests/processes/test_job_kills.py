"""``kill -9`` of ``v3io-put publish`` in mid-run, again and again: the journal finishes it."""

from __future__ import annotations

import json
import os
import signal

import pandas as pd
import pytest
import v3io.dataplane

from tests.processes.harness import PATIENCE_SECONDS, draws, hold_against, running, seeds
from tests.processes.uploader import STREAM, make_frame
from tests.readers import read_shard
from v3io_frames_put.local import LocalPlatform

ROWS, FILES = 200_000, 4  # 200 requests: ten kills, after at most 8 each, do not use them up
KILLS = {0: 2, 1: 10}  # by seed


@pytest.fixture
def platform():
    with LocalPlatform() as platform:
        platform.create_stream(STREAM, shards=4)
        yield platform


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "nightly"
    folder.mkdir()
    frame = make_frame(ROWS)
    for number in range(FILES):
        part = frame[number * ROWS // FILES : (number + 1) * ROWS // FILES]
        part.to_parquet(folder / f"{number}.parquet", index=False)
    return folder


def puts(platform):
    return sum(arrival.function == "PutRecords" for arrival in platform.requests)


@pytest.mark.parametrize("seed", seeds(2, at_once=1))
def test_a_job_that_is_killed_again_and_again_puts_each_row_once(platform, folder, tmp_path, seed):
    chance = draws("job kills", seed)
    results, journal = tmp_path / "r.parquet", tmp_path / "run.v3io"
    command = [
        "-m", "v3io_frames_put", "publish", folder, STREAM, "--partition-key", "key",
        "--delivery", "exactly_once", "--journal", journal, "--results", results,
        "--max-in-flight", "2",
    ]  # fmt: skip
    environment = {**os.environ, "V3IO_API": platform.endpoint}
    for _ in range(KILLS[seed]):
        point = puts(platform) + chance.randint(1, 8)
        with running(*command, env=environment) as job:
            platform.wait_until(
                lambda p, n=point: puts(p) >= n or job.poll() is not None, PATIENCE_SECONDS
            )
            assert job.poll() is None, job.stderr.read()
            job.kill()
            assert job.wait() == -signal.SIGKILL
    assert not results.exists()
    with running(*command, env=environment) as job:
        _, said = job.communicate(timeout=PATIENCE_SECONDS)
    assert job.returncode == 0, said
    told = pd.read_parquet(results)
    assert (told.status == "stored").all()
    assert set(hold_against(told, platform.records(STREAM), "exactly_once").values()) == {1}
    assert sorted(rows_by_v3io(platform)) == list(range(ROWS))


def rows_by_v3io(platform):
    """Read all rows with the platform's own client."""
    client = v3io.dataplane.Client(endpoint=platform.endpoint, access_key="key")
    container, _, stream = STREAM.partition("/")
    records = [r for shard in range(4) for r in read_shard(client, container, stream, shard)]
    client.close()
    return [json.loads(record.data)["row"] for record in records]

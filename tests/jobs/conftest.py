"""A stream to publish to, and files to publish."""

from __future__ import annotations

import json
from operator import itemgetter

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from v3io_frames_put import jobs

STREAM = "projects/house/readings"


@pytest.fixture
def client(local_platform):
    local_platform.create_stream(STREAM, shards=2)
    with local_platform.client() as client:
        yield client


@pytest.fixture
def publish(client):
    def publish(*files, **options):
        return jobs.publish(files, STREAM, **{"client": client, "progress": False, **options})

    return publish


@pytest.fixture
def sent(local_platform):
    """What stands on the stream, as Python objects, in the order of their numbers."""

    def sent(by=None):
        values = [json.loads(record.data) for record in local_platform.records(STREAM)]
        by = by and (by if callable(by) else itemgetter(by))
        return sorted(values, key=by) if by else values

    return sent


@pytest.fixture
def folder(tmp_path):
    """Three Parquet files of ten rows each, numbered through."""
    path = tmp_path / "readings"
    path.mkdir()
    for number in range(3):
        rows = range(10 * number, 10 * number + 10)
        write_parquet(path / f"{number}.parquet", n=list(rows), room=[f"r{n % 4}" for n in rows])
    return path


def write_parquet(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def write_text(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read_table(path):
    return pd.read_parquet(path)

"""A stream to publish to, and files to publish."""

from __future__ import annotations

import codecs
import json
from dataclasses import replace
from operator import itemgetter
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from tests.internals import DETAIL, FILE_ROW, INVALID, Dialect, read_types
from v3io_frames_put import jobs
from v3io_frames_put.config import RowOptions
from v3io_frames_put.jobs._files import find_files
from v3io_frames_put.jobs._reader import INTERNAL_FIELDS, FileTable, ReadOptions

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


def find_by(paths, block_bytes):
    """Find files whose text is read in blocks of another size."""
    size = max(block_bytes, len(codecs.BOM_UTF8))
    return [replace(file, block_bytes=size) for file in find_files(paths)]


def read_rows(*paths, types=None, where=None, as_lines=False, block_bytes=1 << 20, **dialect):
    """Read files as a job does."""
    table = FileTable(
        find_by(paths, block_bytes),
        ReadOptions(
            types=read_types(types),
            where=where,
            dialect=Dialect(**dialect),
            rows=RowOptions(format="json" if as_lines else "arrow"),
        ),
    )
    names = [*table.schema.names, INVALID, FILE_ROW, DETAIL]
    every = [*table.schema.names, *(field.name for field in INTERNAL_FIELDS)]
    batches = list(table._batches([every.index(name) for name in names]))
    rows = [row for batch in batches for row in batch.to_pylist()]
    return Found(
        [{name: row[name] for name in table.schema.names} for row in rows],
        [row[FILE_ROW] for row in rows],
        {place: dict(row[INVALID]) for place, row in enumerate(rows) if row[INVALID]},
        {place: row[DETAIL] for place, row in enumerate(rows) if row[INVALID]},
        {field.name: str(field.type) for field in table.schema},
        table,
    )


class Found(NamedTuple):
    """Rows of files: values, where each stands, cells that did not fit and what is said of them."""

    rows: list[dict[str, Any]]
    places: list[int]
    invalid: dict[int, dict[str, str]]
    details: dict[int, str]
    types: dict[str, str]
    table: FileTable

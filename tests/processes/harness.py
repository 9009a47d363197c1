"""What the campaigns share: processes to end, and results held against the platform's log."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.processes.uploader import KEYS, Spec
from v3io_frames_put.local import StoredRecord

ROOT = Path(__file__).parents[2]
DELIVERIES = ("at_least_once", "at_most_once", "exactly_once")
PATIENCE_SECONDS = 100


def seeds(count: int, *, at_once: int) -> list[Any]:
    """Number the rounds of a campaign: all in ``make test-long``, some in ``make test``."""
    long = [pytest.param(seed, marks=pytest.mark.long) for seed in range(at_once, count)]
    return [*range(at_once), *long]


def draws(campaign: str, seed: int) -> random.Random:
    """Make the chance of a round; its id shows the seed."""
    return random.Random(f"{campaign} {seed}")


@contextmanager
def running(*arguments: object, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run Python with arguments; what still runs at the end is killed."""
    command = [sys.executable, *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def uploading(spec: Spec, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run an upload in a process of its own."""
    path = folder / "spec.json"
    path.write_text(json.dumps(asdict(spec)), encoding="utf-8")
    with running("-m", "tests.processes.uploader", path) as process:
        yield process


def is_over(process: subprocess.Popen[str]) -> bool:
    """Return whether a process ends within half a second."""
    try:
        process.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        return False
    return True


def hold_against(
    results: pd.DataFrame, records: Iterable[StoredRecord], delivery: str
) -> dict[int, int]:
    """Hold results against what stands on the stream; count how often each row does."""
    stands: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for record in records:
        row = json.loads(record.data)["row"]
        stands[row].append((record.shard_id, record.sequence_number))
    for row, told in enumerate(results.itertuples(index=False)):
        places = stands.get(row, [])
        if told.status == "stored":
            assert (told.shard_id, told.sequence_number) in places, (row, told, places)
        elif told.status in ("unsent", "rejected"):
            assert not places, (row, told, places)
        if delivery == "at_least_once":
            assert len(places) <= 1 or told.maybe_duplicate, (row, told, places)
        else:
            assert len(places) <= 1, (row, told, places)
    listed = results.attrs["v3io"]["out_of_order"]  # None: the run was resumed
    _hold_order(stands, listed or {"count": 0, "first": []})
    return {row: len(places) for row, places in stands.items()}


def _hold_order(stands: dict[int, list[tuple[int, int]]], listed: dict[str, Any]) -> None:
    """First copies of a key's rows stand in data order, but for those listed."""
    assert listed["count"] == len(listed["first"]), "more rows than the receipt lists"
    last: dict[int, tuple[int, int]] = {}
    for row in sorted(stands.keys() - set(listed["first"])):
        place = min(stands[row])
        assert last.get(row % KEYS, (place[0], 0)) < place, (row, place, last[row % KEYS])
        last[row % KEYS] = place

"""The sink answers as the platform does, or the figures would be of something else."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.bench.ours import connect, put
from tests.bench.peers import replay, send_with_v3io
from tests.bench.sink import NoCompilerError, build_sink, read_recording, run_sink

FRAME = pd.DataFrame(
    {
        "row": range(3_000),
        "key": ['say "a"', "\\", "ü", "", None, "z"] * 500,
        "shard": pd.array([None, None, None, None, 2] * 600, dtype="Int64"),
    }
)


@pytest.fixture(scope="module", autouse=True)
def _sink_program(require):
    try:
        build_sink()
    except NoCompilerError as error:
        require("A C compiler", present=False, hint=str(error))


@pytest.mark.parametrize("options", [{}, {"delivery": "exactly_once"}])
def test_what_is_put_twice_gets_numbers_of_its_own_in_the_shard_of_its_key(options):
    with run_sink(shards=5) as sink, connect(sink.endpoint) as client:
        parts = [  # the second finds numbers there before its first record
            put(FRAME, client, partition_key="key", shard="shard", **options) for _ in range(2)
        ]
        assert sink.stats()["records"] == 6_000
    results = pd.concat(parts, ignore_index=True)
    rows = pd.concat([FRAME, FRAME], ignore_index=True)
    has_shard = rows["shard"].notna()
    assert set(results["shard_id"][has_shard]) == {2}
    by_key = results[~has_shard].groupby(rows["key"])
    assert by_key["shard_id"].nunique().to_dict() == dict.fromkeys(rows["key"].dropna(), 1)
    assert not results.duplicated(["shard_id", "sequence_number"]).any()


def test_what_it_recorded_can_be_replayed(tmp_path):
    path = tmp_path / "requests"
    with run_sink(recording=path) as sink, connect(sink.endpoint) as client:
        put(FRAME, client)
        stats = sink.stats()
    requests = read_recording(path)
    assert len(requests) == stats["requests"]
    with run_sink() as sink:
        replay(requests, sink)
        replayed = sink.stats()
    assert {**stats, "first_seconds": 0} == {**replayed, "first_seconds": 0}


def test_the_v3io_package_sends_to_it(require_module):
    require_module("v3io.dataplane")
    with run_sink() as sink:
        send_with_v3io(FRAME[["row", "key"]], sink, "key")
        assert sink.stats()["records"] == 3_000

"""What we put, the platform's own clients read, and the other way round, byte for byte."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tests.readers import read_shard
from v3io_frames_put import put_records

STREAM = "users/peers/readings"
FRAME = pd.DataFrame(
    {
        "row": range(300),
        "sensor": ['tëxt "\u2028\\ \U0001f600', "plain", None] * 100,
        "celsius": [0.1 + 0.2, 1e20, None] * 100,
    }
)


@pytest.fixture
def v3io_client(require_module, local_platform):
    module = require_module("v3io.dataplane")
    local_platform.create_stream(STREAM, shards=3)
    client = module.Client(endpoint=local_platform.endpoint, access_key="any", max_connections=2)
    yield client
    client.close()


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("format", ["json", "arrow"])
def test_what_we_put_v3io_reads(v3io_client, local_platform, format, delivery):  # noqa: A002
    client = local_platform.client()
    results = put_records(
        FRAME, STREAM, partition_key="sensor", format=format, delivery=delivery, client=client
    )
    theirs = {
        (shard, record.sequence_number): record
        for shard in range(3)
        for record in read_shard(v3io_client, "users", "peers/readings", shard)
    }
    assert len(theirs) == 300
    records = client.read_records(STREAM)
    for record in records.itertuples():
        peer = theirs[record.shard_id, record.sequence_number]
        assert (record.data, record.client_info) == (peer.data, peer.client_info)
        assert peer.partition_key == (
            None if pd.isna(record.partition_key) else record.partition_key
        )
    decoded = client.decode_records(records, format=format, schema=FRAME)
    places = pd.MultiIndex.from_frame(results[["shard_id", "sequence_number"]])
    told = decoded.loc[places].reset_index(drop=True)
    pd.testing.assert_frame_equal(told, FRAME)
    if format == "json":
        first = theirs[results.shard_id[0], results.sequence_number[0]]
        assert json.loads(first.data) == {
            "row": 0,
            "sensor": 'tëxt "\u2028\\ \U0001f600',
            "celsius": 0.30000000000000004,
        }


def test_what_v3io_puts_we_read(v3io_client, local_platform):
    blobs = [bytes([number]) * number for number in range(20)]
    sent = [{"data": blob, "shard_id": 1, "client_info": b"\x01" * 16} for blob in blobs]
    v3io_client.stream.put_records("users", "peers/readings", sent)
    records = local_platform.client().read_records(STREAM)
    assert records.data.tolist() == blobs
    assert records.shard_id.tolist() == [1] * 20
    assert records.client_info.tolist() == [b"\x01" * 16] * 20


@pytest.mark.filterwarnings("default")  # storey's own
def test_what_storey_writes_we_read_and_decode(require_module, local_platform):
    storey = require_module("storey")
    drivers = require_module("storey.drivers")
    target = storey.StreamTarget(
        drivers.V3ioDriver(webapi=local_platform.endpoint, access_key="any"),
        STREAM,
        sharding_func=lambda event: event.body["n"],
        shards=3,
        columns=["n", "text"],
    )
    flow = storey.build_flow([storey.SyncEmitSource(), target]).run()
    for number in range(30):
        flow.emit({"n": number, "text": f"tëxt {number}"})
    flow.terminate()
    flow.await_termination()
    client = local_platform.client()
    decoded = client.decode_records(client.read_records(STREAM), format="json")
    assert sorted(decoded.n) == list(range(30))
    assert decoded.text.tolist() == [f"tëxt {number}" for number in decoded.n]

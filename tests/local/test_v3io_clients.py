"""The platform's own clients, unmodified, find nothing amiss."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from urllib.request import Request, urlopen

import pytest

ODD = [b"\x00\xff bytes", "tëxt \u2028 and \U0001f600".encode(), b"", b'{"a": 1}']


@pytest.fixture
def v3io_client(require_module, local_platform):
    module = require_module("v3io.dataplane")
    client = module.Client(endpoint=local_platform.endpoint, access_key="any", max_connections=2)
    yield client
    client.close()


def put_plainly(platform, path, records):
    body = json.dumps({"Records": records}).encode()
    request = Request(  # noqa: S310  # our own endpoint
        f"{platform.endpoint}/{path}", body, {"X-v3io-function": "PutRecords"}
    )
    with urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def read_shard(client, shard, path="dir/s"):
    location = client.stream.seek("users", path, shard, "EARLIEST").output.location
    found = []
    while True:
        page = client.stream.get_records("users", path, shard, location, limit=3).output
        found += [(r.sequence_number, r.data, r.partition_key, r.client_info) for r in page.records]
        location = page.next_location
        if page.records_behind_latest == 0:
            return found


def test_a_stream_lives_its_whole_life(v3io_client, local_platform):
    stream = v3io_client.stream
    assert stream.create("users", "dir/s", shard_count=2).status_code == 204
    again = stream.create("users", "dir/s", shard_count=2, raise_for_status=[409])
    assert again.status_code == 409
    described = stream.describe("users", "dir/s").output
    assert (described.shard_count, described.retention_period_hours) == (2, 24)
    assert stream.update("users", "dir/s", 3).status_code == 204
    records = [{"data": data, "shard_id": i % 3} for i, data in enumerate(ODD)]
    records[1] |= {"client_info": b"\x01" * 16, "partition_key": "k\u00e9y"}
    output = stream.put_records("users", "dir/s", records).output
    assert output.failed_record_count == 0
    assert [(r.shard_id, r.sequence_number) for r in output.records] == [
        (0, 1),
        (1, 1),
        (2, 1),
        (0, 2),
    ]
    assert read_shard(v3io_client, 0) == [(1, ODD[0], None, None), (2, ODD[3], None, None)]
    assert read_shard(v3io_client, 1) == [(1, ODD[1], "k\u00e9y", b"\x01" * 16)]
    assert stream.delete("users", "dir/s").status_code == 204
    assert stream.describe("users", "dir/s", raise_for_status=[404]).status_code == 404
    local_platform.check()


def test_what_we_put_they_read_and_what_they_put_we_read(v3io_client, local_platform):
    local_platform.create_stream("users/dir/s")
    blobs = [bytes([i]) * i for i in range(7)]
    put_plainly(
        local_platform, "users/dir/s", [{"Data": b64encode(blob).decode()} for blob in blobs]
    )
    assert [data for _, data, _, _ in read_shard(v3io_client, 0)] == blobs
    v3io_client.stream.put_records("users", "dir/s", [{"data": blob} for blob in blobs])
    assert [record.data for record in local_platform.records("users/dir/s")] == blobs * 2


def test_one_bad_record_fails_alone(v3io_client):
    v3io_client.stream.create("users", "s", shard_count=3)
    records = [{"data": "x", "shard_id": shard} for shard in (1, 1, 10, 2)] + [{"data": "x"}]
    output = v3io_client.stream.put_records("users", "s", records).output
    assert output.failed_record_count == 1
    assert [r.error_code is None for r in output.records] == [True, True, False, True, True]
    assert sum(r.shard_id == 1 for r in output.records) == 2


def test_a_batch_of_requests_is_answered(v3io_client, local_platform):
    v3io_client.stream.create("users", "s", shard_count=1)
    for number in range(10):
        v3io_client.batch.stream.put_records("users", "s", [{"data": str(number)}])
    assert [response.status_code for response in v3io_client.batch.wait()] == [200] * 10
    stored = sorted(int(r.data) for r in local_platform.records("users/s"))
    assert stored == list(range(10))


def test_every_kind_of_seek(v3io_client):
    stream = v3io_client.stream
    stream.create("users", "s", shard_count=1)
    stream.put_records("users", "s", [{"data": str(i)} for i in range(3)])
    second = stream.seek("users", "s", 0, "SEQUENCE", starting_sequence_number=2).output.location
    records = stream.get_records("users", "s", 0, second).output.records
    assert [r.data for r in records] == [b"1", b"2"]
    time = {"timestamp_sec": records[0].arrival_time_sec, "timestamp_nsec": 0}
    at = stream.seek("users", "s", 0, "TIME", **time).output.location
    assert len(stream.get_records("users", "s", 0, at).output.records) == 3
    end = stream.seek("users", "s", 0, "LATEST").output.location
    assert stream.get_records("users", "s", 0, end).output.records == []


def test_a_shard_without_records_is_not_there(v3io_client):
    v3io_client.stream.create("users", "s", shard_count=1)
    answer = v3io_client.stream.seek("users", "s", 0, "EARLIEST", raise_for_status=[404])
    assert answer.status_code == 404


def test_listings_objects_and_attributes(v3io_client):
    v3io_client.stream.create("users", "d/s", shard_count=2)
    v3io_client.stream.put_records("users", "d/s", [{"data": "x", "shard_id": 1}] * 5)
    v3io_client.object.put("users", "d/o", body=b"one")
    v3io_client.object.put("users", "d/o", body=b"two", append=True)
    assert v3io_client.object.get("users", "d/o", offset=2, num_bytes=2).body == b"et"
    listed = v3io_client.container.list("users", "d/", get_all_attributes=True).output
    assert [c.key for c in listed.contents] == ["d/o"]
    assert [p.prefix for p in listed.common_prefixes] == ["d/s/"]
    assert listed.contents[0].size == 6
    item = v3io_client.kv.get("users", "d/s", "1", attribute_names=["__last_sequence_num"])
    assert item.output.item == {"__last_sequence_num": 5}
    named = {c.name: c.identifier for c in v3io_client.get_containers().output.containers}
    assert named == {"bigdata": 1, "users": 2, "projects": 3}


def test_the_asynchronous_client_works_too(require_module, local_platform):
    module = require_module("v3io.aio.dataplane")

    async def live():
        client = module.Client(endpoint=local_platform.endpoint, access_key="any")
        try:
            assert (await client.stream.create("users", "dir/s", 2)).status_code == 204
            assert (await client.stream.describe("users", "dir/s")).output.shard_count == 2
            records = [{"data": data, "shard_id": 1} for data in ODD]
            output = (await client.stream.put_records("users", "dir/s", records)).output
            assert output.failed_record_count == 0
            place = (await client.stream.seek("users", "dir/s", 1, "EARLIEST")).output.location
            page = (await client.stream.get_records("users", "dir/s", 1, place)).output
            assert [r.data for r in page.records] == ODD
            assert (await client.stream.delete("users", "dir/s")).status_code == 204
        finally:
            await client.close()

    asyncio.run(live())
    local_platform.check()


@pytest.mark.filterwarnings("default")  # storey's own
def test_storey_writes_events_that_everybody_reads(require_module, local_platform):
    storey = require_module("storey")
    drivers = require_module("storey.drivers")
    target = storey.StreamTarget(
        drivers.V3ioDriver(webapi=local_platform.endpoint, access_key="any"),
        "users/dir/s",
        sharding_func=lambda event: event.body["n"],
        shards=3,
        columns=["n", "text"],
    )
    flow = storey.build_flow([storey.SyncEmitSource(), target]).run()
    for number in range(30):
        flow.emit({"n": number, "text": f"t\u00e9xt {number}"})
    flow.terminate()
    flow.await_termination()
    found = local_platform.records("users/dir/s")
    assert [json.loads(r.data)["n"] for r in found if r.shard_id == 1] == list(range(1, 30, 3))
    assert len(found) == 30
    local_platform.check()

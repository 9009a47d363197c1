"""What the integration tests of v3io-py and storey do to a real platform works on this one.

Those suites are not part of the packages; these tests make the same calls in the same order.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode

import pytest

CONTAINER = "bigdata"


@pytest.fixture
def never(require_module):
    return require_module("v3io.dataplane").RaiseForStatus.never


@pytest.fixture
def client(require_module, local_platform):
    module = require_module("v3io.dataplane")
    client = module.Client(endpoint=local_platform.endpoint, access_key="any")
    yield client
    client.close()
    local_platform.check()


def delete_directory(client, path, never):
    """Delete a directory as v3io-py's tests do before and after each."""
    listed = client.container.list(CONTAINER, path, raise_for_status=never)
    if listed.status_code == 404:
        return
    assert listed.status_code == 200
    for content in listed.output.contents:
        client.object.delete(CONTAINER, content.key)
    for prefix in listed.output.common_prefixes:
        client.object.delete(CONTAINER, prefix.prefix)


class TestV3ioContainers:
    def test_a_path_that_does_not_exist(self, client, never):
        answer = client.container.list(CONTAINER, "/no-such-path", raise_for_status=never)
        assert answer.status_code == 404
        assert "No such file" in str(answer.body)

    def test_a_container_that_does_not_exist(self, client, never):
        answer = client.container.list("no-such-container", "/", raise_for_status=never)
        assert answer.status_code == 404
        assert "Container not found" in str(answer.body)

    def test_objects_and_directories_are_listed_apart(self, client, never):
        for number in range(5):
            client.object.put(CONTAINER, f"top/object-{number}.txt", body="a body")
            client.object.put(CONTAINER, f"top/dir-{number}/")
        only = {"get_all_attributes": True, "directories_only": True}
        listed = client.container.list(CONTAINER, "top", **only).output
        assert (len(listed.contents), len(listed.common_prefixes)) == (0, 5)
        listed = client.container.list(CONTAINER, "top", get_all_attributes=True).output
        assert (len(listed.contents), len(listed.common_prefixes)) == (5, 5)
        assert listed.contents[0].mode == "0100644"
        delete_directory(client, "top", never)
        assert client.container.list(CONTAINER, "top").output.contents == []


class TestV3ioStreams:
    def exists(self, client, never):
        found = client.stream.describe(CONTAINER, "top/stream", raise_for_status=never)
        return found.status_code == 200

    def test_deleting_a_stream_deletes_the_states_of_its_consumer_groups(self, client, never):
        client.stream.delete(CONTAINER, "top/stream", raise_for_status=[200, 204, 404])
        assert not self.exists(client, never)
        client.stream.create(CONTAINER, "top/stream", shard_count=8)
        for shard in range(8):
            records = [{"shard_id": shard, "data": f"data for shard {shard}"}]
            client.stream.put_records(CONTAINER, "top/stream", records)
        for group in range(3):
            client.object.put(CONTAINER, f"top/stream/cg{group}-state.json")
        assert self.exists(client, never)
        client.stream.delete(CONTAINER, "top/stream")
        assert not self.exists(client, never)

    def test_a_shard_becomes_valid_when_the_stream_has_grown(self, client):
        client.stream.create(CONTAINER, "top/stream", shard_count=8)
        records = [
            {"shard_id": 1, "data": "first shard record #1"},
            {"shard_id": 1, "data": "first shard record #2", "client_info": bytearray(b"info")},
            {"shard_id": 10, "data": "invalid shard record #1"},
            {"shard_id": 2, "data": "second shard record #1"},
            {"data": "some shard record #1"},
        ]
        output = client.stream.put_records(CONTAINER, "top/stream", records).output
        assert output.failed_record_count == 1
        assert [r.error_code is not None for r in output.records] == [False] * 2 + [True] + [
            False
        ] * 2
        start = client.stream.seek(CONTAINER, "top/stream", 1, "EARLIEST").output.location
        page = client.stream.get_records(CONTAINER, "top/stream", 1, start).output
        assert [r.data.decode() for r in page.records] == [r["data"] for r in records[:2]]
        assert page.records[1].client_info == b"info"
        client.stream.update(CONTAINER, "top/stream", shard_count=16)
        grown = client.stream.put_records(CONTAINER, "top/stream", [records[2]]).output
        assert grown.failed_record_count == 0
        client.stream.delete(CONTAINER, "top/stream")


class TestV3ioObjects:
    PATH = "top/obj ect.txt"

    def test_an_object_lives_its_whole_life(self, client, never):
        assert client.object.get(CONTAINER, self.PATH, raise_for_status=never).status_code == 404
        client.object.put(CONTAINER, self.PATH, body="some contents")
        assert client.object.get(CONTAINER, self.PATH).body == b"some contents"
        head = client.object.head(CONTAINER, self.PATH)
        assert ("Content-Length", "13") in head.headers.items()
        head = client.object.head(CONTAINER, "top")  # without a slash
        assert ("Content-Length", "0") in head.headers.items()
        client.object.delete(CONTAINER, self.PATH)
        assert client.object.get(CONTAINER, self.PATH, raise_for_status=never).status_code == 404

    def test_parts_are_appended(self, client):
        for part in ("First part", "Second part", "Third part"):
            client.object.put(CONTAINER, self.PATH, body=part, append=True)
        assert client.object.get(CONTAINER, self.PATH).body == b"First partSecond partThird part"

    def test_an_offset_without_a_length_reads_to_the_end(self, client):
        client.object.put(CONTAINER, self.PATH, body="1234567890")
        assert client.object.get(CONTAINER, self.PATH, offset=4).body == b"567890"
        assert client.object.get(CONTAINER, self.PATH, offset=4, num_bytes=3).body == b"567"

    def test_a_batch_is_answered_in_its_order(self, client):
        for number in range(16):
            client.batch.object.put(CONTAINER, f"top/object{number}", body=f"object-{number}")
        assert [answer.status_code for answer in client.batch.wait()] == [200] * 16
        for number in range(16):
            client.batch.object.get(CONTAINER, f"top/object{number}")
        bodies = [answer.body.decode() for answer in client.batch.wait()]
        assert bodies == [f"object-{number}" for number in range(16)]


class TestV3ioItems:
    def test_a_batch_of_items(self, client):
        for number in range(16):
            attributes = {"age": number, "feature": "wig", "alive": True, "raw": b"\x00\xff"}
            client.batch.kv.put(CONTAINER, "top/table", f"item{number}", attributes)
        assert [answer.status_code for answer in client.batch.wait()] == [200] * 16
        for number in range(16):
            names = ["__size", "age"]
            client.batch.kv.get(CONTAINER, "top/table", f"item{number}", attribute_names=names)
        items = [answer.output.item for answer in client.batch.wait()]
        assert items == [{"__size": 0, "age": number} for number in range(16)]

    def test_attributes_come_back_as_they_were_put(self, client):
        given = {"age": 42, "height": 1.5, "feature": "mustache", "alive": False, "list": [1, 2]}
        client.kv.put(CONTAINER, "top/table", "bob", given)
        assert client.kv.get(CONTAINER, "top/table", "bob").output.item == given
        client.kv.update(CONTAINER, "top/table", "bob", attributes={"age": 43, "new": "x"})
        item = client.kv.get(CONTAINER, "top/table", "bob").output.item
        assert item == {**given, "age": 43, "new": "x"}
        client.kv.put(CONTAINER, "top/table", "bob", {"age": 1})
        assert client.kv.get(CONTAINER, "top/table", "bob").output.item == {"age": 1}

    def test_a_cursor_reads_all_pages_of_a_table(self, client):
        for name in ("bob", "linda", "louise", "tina"):
            client.kv.put(CONTAINER, "top/table", name, {"name": name})
        cursor = client.kv.new_cursor(CONTAINER, "top/table/")
        assert [item["name"] for item in cursor.all()] == ["bob", "linda", "louise", "tina"]
        cursor = client.kv.new_cursor(CONTAINER, "top/table/", limit=3)
        assert len(cursor.all()) == 3
        page = client.kv.scan(CONTAINER, "top/table/", limit=3).output
        rest = client.kv.scan(CONTAINER, "top/table/", marker=page.next_marker).output
        assert [item["name"] for item in rest.items] == ["tina"]

    def test_a_condition_is_refused_and_not_ignored(self, client, never):
        options = {"condition": "age > 3", "raise_for_status": never}
        assert client.kv.put(CONTAINER, "t", "a", {"b": 1}, **options).status_code == 400
        expression = {"expression": "age = age + 1", "raise_for_status": never}
        assert client.kv.update(CONTAINER, "t", "a", **expression).status_code == 400


class TestV3ioErrors:
    def test_an_error_status_is_raised_with_its_body(self, client, require_module):
        response = require_module("v3io.dataplane.response")
        with pytest.raises(response.HttpResponseError) as caught:
            client.object.get(CONTAINER, "no/such/object")
        assert caught.value.status_code == 404

    def test_connections_are_used_again_after_errors(self, client, never, local_platform):
        for _ in range(20):
            assert client.object.get(CONTAINER, "none", raise_for_status=never).status_code == 404
        assert len(local_platform.requests) == 20


class TestV3iofs:
    """The file system over the same API: a listing has to have what it reads."""

    @pytest.fixture
    def files(self, require_module, local_platform):
        fs = require_module("v3iofs").V3ioFS(
            v3io_api=local_platform.endpoint, v3io_access_key="any",
            skip_instance_cache=True,
        )  # fmt: skip
        yield fs
        local_platform.check()

    def test_files_are_written_listed_described_and_read(self, files):
        with files.open("/bigdata/top/data.csv", "wb") as out:
            out.write(b"a,b\n" * 3)
        entry = files.info("/bigdata/top/data.csv")
        assert (entry["type"], entry["size"], entry["mode"]) == ("file", 12, 0o100644)
        assert files.info("/bigdata/top")["type"] == "directory"
        assert files.ls("/bigdata/top", detail=False) == ["/bigdata/top/data.csv"]
        (listed,) = files.ls("/bigdata/top")
        assert (listed["type"], listed["size"], listed["mode"]) == ("file", 12, 0o100644)
        assert (listed["gid"], listed["uid"]) == (0, 0)
        assert files.cat("/bigdata/top/data.csv") == b"a,b\n" * 3
        with files.open("/bigdata/top/data.csv", "ab") as out:
            out.write(b"c,d\n")
        assert files.cat_file("/bigdata/top/data.csv", start=12) == b"c,d\n"
        assert files.find("/bigdata/top") == ["/bigdata/top/data.csv"]
        files.rm("/bigdata/top/data.csv")
        assert not files.exists("/bigdata/top/data.csv")
        with pytest.raises(FileNotFoundError):
            files.info("/bigdata/nowhere")

    def test_a_listing_longer_than_a_page(self, files, local_platform, require_module):
        for number in range(1_005):
            local_platform.platform.handle(
                require_module("v3io_frames_put.local").Request("PUT", f"/bigdata/many/{number}")
            )
        assert len(files.ls("/bigdata/many", detail=False)) == 1_005


# -- storey ---------------------------------------------------------------------------------------


async def setup_stream(session, url, path):
    body = json.dumps({"ShardCount": 2, "RetentionPeriodHours": 1})
    headers = {"X-v3io-function": "CreateStream", "X-v3io-session-key": "any"}
    async with session.post(f"{url}/{path}/", headers=headers, data=body) as answer:
        assert answer.status == 204


async def read_shard(session, url, path, shard):
    """Read a shard from its start, as storey's tests check what was written."""
    headers = {"X-v3io-function": "Seek", "X-v3io-session-key": "any"}
    place = f"{url}/{path}/{shard}"
    async with session.put(place, headers=headers, json={"Type": "EARLIEST"}) as answer:
        if answer.status == 404:
            return []
        location = (await answer.json())["Location"]
    found = []
    while True:
        headers["X-v3io-function"] = "GetRecords"
        async with session.put(place, headers=headers, json={"Location": location}) as answer:
            assert answer.status == 200
            page = await answer.json()
        found += page["Records"]
        location = page["NextLocation"]
        if page["RecordsBehindLatest"] == 0:
            return found


async def delete_recursively(session, url, path):
    """Delete a stream by GetItems, for as long as there is a NextMarker."""
    marker, has_more, pages = "", True, 0
    while has_more:
        body = json.dumps({"AttributesToGet": "__name", "Marker": marker, "Limit": 1})
        headers = {"X-v3io-function": "GetItems", "X-v3io-session-key": "any"}
        async with session.put(f"{url}/{path}/", headers=headers, data=body) as answer:
            if answer.status == 404:
                break
            assert answer.status == 200
            page = json.loads(await answer.text())
        for item in page["Items"]:
            async with session.delete(f"{url}/{path}/{item['__name']['S']}") as answer:
                assert answer.status in {204, 404, 409}
        has_more, pages = "NextMarker" in page, pages + 1
        marker = page.get("NextMarker")
    async with session.delete(f"{url}/{path}/") as answer:
        assert answer.status == 204
    return pages


@pytest.fixture
def stream_target(require_module, local_platform):
    storey = require_module("storey")
    drivers = require_module("storey.drivers")

    def make(**options):
        driver = drivers.V3ioDriver(webapi=local_platform.endpoint, access_key="any")
        return storey.StreamTarget(driver, "bigdata/stream_test/abc", **options)

    return make


@pytest.fixture
def run(require_module):
    storey = require_module("storey")

    def run(target, bodies, **options):
        flow = storey.build_flow([storey.SyncEmitSource(), target]).run()
        for body in bodies:
            flow.emit(body, **options)
        flow.terminate()
        flow.await_termination()

    return run


@pytest.fixture
def shards(require_module, local_platform):
    """Read both shards with storey's requests, then delete the stream with them."""
    aiohttp = require_module("aiohttp")

    async def read():
        async with aiohttp.ClientSession() as session:
            url, path = local_platform.endpoint, "bigdata/stream_test/abc"
            found = [await read_shard(session, url, path, shard) for shard in (0, 1)]
            assert await delete_recursively(session, url, path) >= 1
            headers = {"X-v3io-function": "DescribeStream"}
            async with session.put(f"{url}/{path}/", headers=headers) as answer:
                assert answer.status == 404
            return found

    return lambda: asyncio.run(read())


@pytest.mark.filterwarnings("default")  # storey's own
class TestStorey:
    def texts(self, records):
        return [json.loads(b64decode(record["Data"])) for record in records]

    def test_a_stream_that_exists_is_written_by_a_function(
        self, stream_target, run, shards, local_platform, require_module
    ):
        aiohttp = require_module("aiohttp")

        async def create():
            async with aiohttp.ClientSession() as session:
                await setup_stream(session, local_platform.endpoint, "bigdata/stream_test/abc")

        asyncio.run(create())
        target = stream_target(sharding_func=lambda event: int(event.body) % 2)
        run(target, [str(number).encode() for number in range(10)])
        even, odd = shards()
        assert (self.texts(even), self.texts(odd)) == ([0, 2, 4, 6, 8], [1, 3, 5, 7, 9])

    def test_columns_are_inferred(self, stream_target, run, shards):
        target = stream_target(
            sharding_func=lambda event: event.body["x"] % 2, infer_columns_from_data=True, shards=2
        )
        run(target, [{"x": number, "y": "z"} for number in range(6)])
        even, odd = shards()
        assert self.texts(even) == [{"x": number, "y": "z"} for number in (0, 2, 4)]
        assert len(odd) == 3

    def test_an_unbalanced_stream(self, stream_target, run, shards):
        run(stream_target(sharding_func=0, shards=2), [{"n": n} for n in range(200)])
        first, second = shards()
        assert [body["n"] for body in self.texts(first)] == list(range(200))
        assert second == []

    def test_without_a_function_storey_chooses_the_shards(self, stream_target, run, shards):
        run(stream_target(shards=2), [{"n": n} for n in range(20)])
        first, second = shards()
        assert sorted(body["n"] for body in self.texts(first + second)) == list(range(20))

    def test_a_record_above_the_limit_is_an_error_of_the_flow(
        self, stream_target, run, shards, require_module
    ):
        too_large = {"big": "x" * (3 * 1024 * 1024)}
        with pytest.raises(require_module("storey").flow.V3ioError, match="FailedRecordCount"):
            run(stream_target(sharding_func=0, shards=2), [{"n": 0}, too_large])
        first, _ = shards()
        assert self.texts(first) in ([{"n": 0}], [])

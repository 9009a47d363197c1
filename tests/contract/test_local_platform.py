"""The vendor's own examples, sent to the local platform as they are printed."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from v3io_frames_put.local import FaultProxy, Platform, Request, Rules, faults

PAGES = Path(__file__).parent / "pages"
STREAM = "mycontainer/MyDirectory/MyStream"
KEY = "e8bd4ca2-537b-4175-bf01-8c74963e90bf"


def read_request(name):
    """Read a request file: request line, headers, an empty line, the body."""
    head, _, body = (PAGES / f"{name}.request.http").read_text(encoding="utf-8").partition("\n\n")
    first, *lines = head.splitlines()
    method, path, _ = first.split()
    headers = dict(line.split(": ", 1) for line in lines)
    return Request(method, path, "", headers, body.strip().encode())


def read_response(name):
    """Read a response file: its status and its JSON."""
    head, _, body = (PAGES / f"{name}.response.http").read_text(encoding="utf-8").partition("\n\n")
    return int(head.split()[1]), json.loads(body)


def shape(value):
    """Return names and types of a JSON value, without the values."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    return [shape(member) for member in value] if isinstance(value, list) else type(value)


@pytest.fixture
def platform():
    platform = Platform(
        access_key=KEY,
        rules=Rules(containers={"mycontainer": 7, "bigdata": 1}),
        clock=lambda: 1485685671.160186781,
    )
    yield platform
    platform.close()


def test_create_and_describe(platform):
    assert platform.handle(read_request("createstream")).status == 204
    answer = platform.handle(read_request("describestream"))
    assert (answer.status, answer.json()) == read_response("describestream")


def test_update(platform):
    platform.create_stream("mycontainer/MyStream", shards=100)
    assert platform.handle(read_request("updatestream")).status == 204
    assert platform.describe_stream("mycontainer/MyStream").shard_count == 200


def test_put(platform):
    platform.create_stream(STREAM, shards=200)
    answer = platform.handle(read_request("putrecords"))
    status, page = read_response("putrecords")
    assert (answer.status, shape(answer.json())) == (status, shape(page))
    (stored,) = platform.records(STREAM)
    assert (stored.data, stored.client_info) == (b"data\r\n", b"1234\r\n")


def test_seek(platform):
    platform.create_stream(STREAM, shards=200)
    platform.add_records(STREAM, [b"x"], shard=199)
    answer = platform.handle(read_request("seek"))
    assert (answer.status, answer.json()) == read_response("seek")


def test_get(platform):
    platform.create_stream(STREAM, shards=200)
    platform.add_records(STREAM, [b"data\r\n"], shard=199, key="MyKey")
    answer = platform.handle(read_request("getrecords"))
    status, page = read_response("getrecords")
    assert (answer.status, shape(answer.json())) == (status, shape(page))
    (record,) = answer.json()["Records"]
    assert list(record) == list(page["Records"][0])
    assert record["ArrivalTimeSec"] == page["Records"][0]["ArrivalTimeSec"]
    assert (record["PartitionKey"], record["Data"]) == ("MyKey", "ZGF0YQ0K")


def test_get_from_a_shard_out_of_range(platform):
    platform.create_stream(STREAM, shards=199)
    answer = platform.handle(read_request("getrecords"))
    assert (answer.status, answer.json()) == read_response("getrecords_out_of_range")


def test_listing(platform):
    for name in ("mydata", "naipi_files", "tmp"):
        made = Request("PUT", f"/bigdata/{name}/", "", {"X-v3io-session-key": KEY})
        assert platform.handle(made).status == 200
    answer = platform.handle(Request("GET", "/bigdata", "", {"X-v3io-session-key": KEY}))
    page = (PAGES / "listing.response.xml").read_text(encoding="utf-8")
    assert ET.canonicalize(answer.body.decode(), strip_text=True) == ET.canonicalize(
        page, strip_text=True
    )


def test_errors_are_spelled_as_they_were_captured(platform):
    front = FaultProxy(platform, [faults.unavailable()])
    busy = front.exchange(read_request("putrecords")).response
    assert (busy.status, busy.body) == (503, (PAGES / "unavailable.error.json").read_bytes())
    gone = Request("GET", "/bigdata/nothing", "", {"X-v3io-session-key": KEY})
    missing = front.exchange(gone).response
    assert (missing.status, missing.body) == (404, (PAGES / "no_such_file.error.json").read_bytes())

"""Listings, objects, attributes, and deleting a stream the way clients do."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from v3io_frames_put.local import Rules


def listing(call, prefix, container="projects", **options):
    query = "&".join(f"{name}={value}" for name, value in {"prefix": prefix, **options}.items())
    answer = call(None, f"/{container}", method="GET", query=query)
    assert answer.status == 200, answer
    return ET.fromstring(answer.body)  # noqa: S314  # our own bytes


def keys(root):
    return [node.findtext("Key") for node in root.findall("Contents")]


def prefixes(root):
    return [node.findtext("Prefix") for node in root.findall("CommonPrefixes")]


@pytest.fixture
def stream(call, make_record):
    call("CreateStream", "/projects/dir/s", {"ShardCount": 12})
    call.put("/projects/dir/s", *[make_record(ShardId=i) for i in (0, 2, 2, 10)])
    return "/projects/dir/s"


def test_written_shards_are_listed_with_their_last_number(call, stream):
    root = listing(call, "dir/s/")
    assert keys(root) == ["dir/s/0", "dir/s/10", "dir/s/2"]
    assert [n.findtext("LastSequenceId") for n in root.findall("Contents")] == ["1", "1", "2"]
    assert keys(listing(call, "dir/s")) == ["dir/s/0", "dir/s/10", "dir/s/2"]


def test_last_numbers_may_be_missing(make_platform, make_caller, make_record):
    call = make_caller(make_platform(rules=Rules(list_last_sequence_id=False)))
    call("CreateStream", "/projects/s", {})
    call.put("/projects/s", make_record())
    assert listing(call, "s/").find("Contents/LastSequenceId") is None


def test_directories_end_in_a_slash(call, stream):
    call(None, "/projects/file", b"12345", method="PUT")
    root = listing(call, "")
    assert prefixes(root) == ["dir/"]
    assert keys(root) == ["file"]
    assert root.findtext("Contents/Size") == "5"
    assert keys(listing(call, "", **{"prefix-only": 1})) == []


def test_streams_tell_their_shape_when_asked(call, stream):
    node = listing(call, "dir", **{"prefix-info": 1}).find("CommonPrefixes")
    told = [node.findtext(n) for n in ("ShardCount", "RetentionPeriodHours", "RetentionPeriodSec")]
    assert told == ["12", "24", "86400"]


def test_pages_of_a_listing_follow_their_markers(call, stream):
    first = listing(call, "dir/s/", **{"max-keys": 2})
    assert (keys(first), first.findtext("IsTruncated")) == (["dir/s/0", "dir/s/10"], "true")
    second = listing(call, "dir/s/", marker=first.findtext("NextMarker"))
    assert (keys(second), second.findtext("IsTruncated")) == (["dir/s/2"], "false")


def test_a_thousand_entries_fill_a_page(call, make_record):
    call("CreateStream", "/projects/s", {"ShardCount": 1200})
    call.put("/projects/s", *[make_record() for _ in range(1000)])
    call.put("/projects/s", *[make_record() for _ in range(200)])
    first = listing(call, "s/")
    rest = listing(call, "s/", marker=first.findtext("NextMarker"))
    assert (len(keys(first)), len(keys(rest))) == (1000, 200)


def test_a_missing_directory_is_no_such_file(call):
    answer = call(None, "/projects", method="GET", query="prefix=nowhere/")
    assert (answer.status, answer.json()["ErrorMessage"]) == (404, "No such file or directory")


def test_containers_are_listed(call):
    root = ET.fromstring(call(None, "/", method="GET").body)  # noqa: S314  # our own bytes
    named = {node.findtext("Name"): node.findtext("Id") for node in root.find("Buckets")}
    assert named == {"bigdata": "1", "users": "2", "projects": "3"}


def test_a_stream_goes_when_its_shards_are_gone(call, stream):
    assert call(None, stream + "/", method="DELETE").status == 409
    for key in keys(listing(call, "dir/s/")):
        assert call(None, f"/projects/{key}", method="DELETE").status == 204
    assert call(None, "/projects/dir/s/0", method="DELETE").status == 404
    assert call(None, stream + "/", method="DELETE").status == 204
    assert call(None, stream + "/", method="DELETE").status == 404
    assert call("DescribeStream", stream).status == 404
    assert call("CreateStream", stream, {"ShardCount": 1}).status == 204


def test_a_deleted_shard_begins_anew(call, stream, make_record):
    call(None, stream + "/2", method="DELETE")
    answer = call.put(stream, make_record(ShardId=2))
    assert answer.json()["Records"] == [{"SequenceNumber": 1, "ShardId": 2}]


def test_objects_are_written_read_and_appended_to(call):
    path = "/projects/deep/er/o"
    assert call(None, path, b"abc", method="PUT").status == 200
    call(None, path, b"def", method="PUT", headers={"Range": "-1"})
    assert call(None, path, method="GET").body == b"abcdef"
    head = call(None, path, method="HEAD")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, "6", b"")
    assert call(None, path, method="DELETE").status == 204
    assert call(None, path, method="GET").status == 404
    assert call(None, path, method="HEAD").status == 404
    assert call(None, path, method="PATCH").status == 405


@pytest.mark.parametrize(
    ("wanted", "status", "body"),
    [
        ("bytes=1-3", 206, b"bcd"),
        ("bytes=4-", 206, b"ef"),
        ("bytes=4-99", 206, b"ef"),
        ("bytes=6-", 416, b""),
        ("lines=1-2", 200, b"abcdef"),
    ],
)
def test_a_range_gives_a_part(call, wanted, status, body):
    call(None, "/projects/o", b"abcdef", method="PUT")
    answer = call(None, "/projects/o", method="GET", headers={"Range": wanted})
    assert (answer.status, answer.body) == (status, body)


def test_a_file_and_a_directory_may_share_a_name(call):
    call(None, "/projects/x", b"file", method="PUT")
    call(None, "/projects/x/", b"", method="PUT")
    assert call(None, "/projects/x/", method="DELETE").status == 204
    assert call(None, "/projects/x", method="GET").body == b"file"


def test_a_shard_tells_its_last_number(call, stream):
    body = {"AttributesToGet": "__last_sequence_num,__obj_type,nothing"}
    item = call("GetItem", stream + "/2", body).json()["Item"]
    assert item == {"__last_sequence_num": {"N": "2"}, "__obj_type": {"N": "3"}}
    assert call("GetItem", stream + "/1", body).status == 404


def test_items_come_in_pages(call, stream):
    body = {"AttributesToGet": "__name,__last_sequence_num", "Limit": 2}
    first = call("GetItems", stream + "/", body).json()
    assert [item["__name"]["S"] for item in first["Items"]] == ["0", "10"]
    assert first["LastItemIncluded"] == "FALSE"
    rest = call("GetItems", stream + "/", {**body, "Marker": first["NextMarker"]}).json()
    assert rest["Items"] == [{"__name": {"S": "2"}, "__last_sequence_num": {"N": "2"}}]
    assert rest["LastItemIncluded"] == "TRUE"


def test_a_filter_is_refused_and_not_ignored(call, stream):
    assert call("GetItems", stream + "/", {"FilterExpression": "a > 1"}).status == 400

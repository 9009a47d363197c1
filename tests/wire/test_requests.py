"""Requests, byte for byte as the vendor's pages show them."""

import pytest

from tests.internals import StreamPath, api

STREAM = StreamPath("mycontainer", "MyDirectory/MyStream")
ROOT = "/mycontainer/MyDirectory/MyStream/"


@pytest.mark.parametrize(
    ("request_", "function", "line", "body"),
    [
        (
            api.put_records_request(STREAM, b'{"Records":[]}'),
            "PutRecords", ("POST", ROOT), b'{"Records":[]}',
        ),
        (
            api.create_stream_request(STREAM, shards=8, retention_hours=24),
            "CreateStream", ("POST", ROOT), b'{"ShardCount":8,"RetentionPeriodHours":24}',
        ),
        (api.describe_stream_request(STREAM), "DescribeStream", ("PUT", ROOT), b""),
        (
            api.update_stream_request(STREAM, shards=9),
            "UpdateStream", ("POST", ROOT), b'{"ShardCount":9}',
        ),
        (
            api.seek_request(STREAM, 3, "earliest"),
            "Seek", ("PUT", f"{ROOT}3"), b'{"Type":"EARLIEST"}',
        ),
        (
            api.seek_request(STREAM, 0, "latest"),
            "Seek", ("PUT", f"{ROOT}0"), b'{"Type":"LATEST"}',
        ),
        (
            api.seek_request(STREAM, 3, "time", 1_532_269_440_000_000_001),
            "Seek", ("PUT", f"{ROOT}3"),
            b'{"Type":"TIME","TimestampSec":1532269440,"TimestampNSec":1}',
        ),
        (
            api.seek_request(STREAM, 3, "sequence", 7),
            "Seek", ("PUT", f"{ROOT}3"), b'{"Type":"SEQUENCE","StartingSequenceNumber":7}',
        ),
        (
            api.get_records_request(STREAM, 3, location="AQ==", limit=10),
            "GetRecords", ("PUT", f"{ROOT}3"), b'{"Location":"AQ==","Limit":10}',
        ),
        (
            api.last_sequence_number_request(STREAM, 3),
            "GetItem", ("PUT", f"{ROOT}3"), b'{"AttributesToGet":"__last_sequence_num"}',
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_function_is_called(request_, function, line, body):
    assert (request_.method, request_.path) == line
    assert request_.headers == {"Content-Type": "application/json", "X-v3io-function": function}
    assert request_.body == body


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (
            api.list_request("bigdata", "a b/s"),
            ("GET", "/bigdata?prefix=a%20b%2Fs%2F&max-keys=1000"),
        ),
        (
            api.list_request("bigdata", "s", marker="s/9&0", max_keys=1),
            ("GET", "/bigdata?prefix=s%2F&max-keys=1&marker=s%2F9%260"),
        ),
        (api.head_object_request("bigdata", "a/b"), ("HEAD", "/bigdata/a/b")),
        (api.delete_object_request("bigdata", "s/0"), ("DELETE", "/bigdata/s/0")),
        (api.delete_directory_request(STREAM), ("DELETE", ROOT)),
    ],
)
def test_an_object_is_asked_for_without_a_function(request_, line):
    assert (request_.method, request_.path) == line
    assert (dict(request_.headers), request_.body) == ({}, b"")


def test_shared_headers_cannot_be_changed():
    with pytest.raises(TypeError):
        api.describe_stream_request(STREAM).headers["X"] = "y"

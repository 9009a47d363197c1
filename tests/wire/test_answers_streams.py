"""Answers about streams and directories."""

import pytest

from tests.internals import Answer, responses
from v3io_frames_put.errors import ProtocolError


def ok(body):
    return Answer(200, {}, body)


def test_a_description_is_read():
    found = responses.parse_description(ok(b'{"ShardCount": 200, "RetentionPeriodHours": 1}'))
    assert (found.shards, found.retention_hours) == (200, 1)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"[]", b"{}", b'{"ShardCount": "2", "RetentionPeriodHours": 1}',
        b'{"ShardCount": 2.5, "RetentionPeriodHours": 1}',
        b'{"ShardCount": -1, "RetentionPeriodHours": 1}', b'{"ShardCount": 2',
        b'{"ShardCount": ' + b"[" * 3_000 + b"]" * 3_000 + b"}",
    ],
)  # fmt: skip
def test_another_body_is_not_a_description(body):
    with pytest.raises(ProtocolError, match="DescribeStream"):
        responses.parse_description(ok(body))


def test_a_location_is_read():
    assert responses.parse_location(ok(b'{"Location": "AQAAAA=="}')) == "AQAAAA=="


@pytest.mark.parametrize("body", [b"{}", b'{"Location": ""}', b'{"Location": 7}'])
def test_another_body_is_not_a_location(body):
    with pytest.raises(ProtocolError, match="Seek"):
        responses.parse_location(ok(body))


@pytest.mark.parametrize(
    ("body", "number"),
    [
        (b'{"Item": {"__last_sequence_num": {"N": "10"}}}', 10),
        (b'{"Item": {}}', None),
        (b"{}", None),
        (b'{"Item": {"__last_sequence_num": {"S": "x"}}}', None),
        (b'{"Item": {"__last_sequence_num": {"N": "-1"}}}', None),
        (b'{"Item": {"__last_sequence_num": {"N": "1%s"}}}' % (b"0" * 30), None),
        (b'{"Item": {"__last_sequence_num": {"N": "1%s"}}}' % (b"0" * 5_000), None),
    ],
)
def test_a_last_sequence_number_is_read(body, number):
    assert responses.parse_last_sequence_number(ok(body)) == number


LISTING = b"""<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<ListBucketResult%s><Name>bigdata</Name><Prefix>s/</Prefix><Marker/><Delimiter>/</Delimiter>
<NextMarker>s/sub</NextMarker><MaxKeys>1000</MaxKeys><IsTruncated>%s</IsTruncated>
<Contents><Key>s/0</Key><Size>5</Size><LastSequenceId>17</LastSequenceId></Contents>
<Contents><Key>s/1</Key><LastSequenceID>18</LastSequenceID></Contents>
<Contents><Key>s/g-state.json</Key></Contents>
<CommonPrefixes><Prefix>s/sub/</Prefix></CommonPrefixes></ListBucketResult>"""


@pytest.mark.parametrize("namespace", [b"", b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'])
def test_a_listing_is_read(namespace):
    page = responses.parse_listing(ok(LISTING % (namespace, b"false")))
    assert [(e.key, e.last_sequence_number) for e in page.objects] == [
        ("s/0", 17), ("s/1", 18), ("s/g-state.json", None),
    ]  # fmt: skip
    assert page.directories == ("s/sub/",)
    assert page.next_marker is None  # filled, although this is the last page


def test_a_cut_listing_says_where_to_go_on():
    assert responses.parse_listing(ok(LISTING % (b"", b"true"))).next_marker == "s/sub"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"<a>", b"<a><Contents/></a>",
        b"<a><IsTruncated>true</IsTruncated><NextMarker/></a>",
        b'<?xml version="1.0" encoding="foo-99"?><a/>',
    ],
)  # fmt: skip
def test_another_body_is_not_a_listing(body):
    with pytest.raises(ProtocolError, match="the listing"):
        responses.parse_listing(ok(body))


def test_no_body_is_shown_in_a_message():
    with pytest.raises(ProtocolError) as caught:
        responses.parse_location(ok(b'"private words"'))
    assert "private" not in str(caught.value)

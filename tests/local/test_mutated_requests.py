"""No request makes the platform fail: thousands of mutated ones are answered or refused."""

from __future__ import annotations

import itertools
import json
import socket
from base64 import b64encode
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v3io_frames_put.local import FaultProxy, Platform, Request, faults

QUICK, THOROUGH = 50, 20  # times the examples of the profile: 2,000 and 20,000 requests

LOCATION = "AQAAAAAAAAAAAAAAAAAAAA=="
#: function, path and body of requests that are valid: each mutation begins with one of them.
VALID = [
    ("CreateStream", "/projects/d/t", {"ShardCount": 2, "RetentionPeriodHours": 1}),
    ("DescribeStream", "/projects/s/", {}),
    ("UpdateStream", "/projects/s/", {"ShardCount": 9}),
    ("PutRecords", "/projects/s", {"Records": [{"Data": "QQ==", "ShardId": 0,
                                                "PartitionKey": "k", "ClientInfo": "QQ=="}]}),
    ("PutRecords", "/projects/", {"StreamName": "s", "Records": [{"Data": "QQ=="}]}),
    ("Seek", "/projects/s/0", {"Type": "EARLIEST"}),
    ("Seek", "/projects/s/0", {"Type": "SEQUENCE", "StartingSequenceNumber": 1}),
    ("SeekShard", "/projects/s", {"Type": "TIME", "TimestampSec": 1, "TimestampNSec": 1,
                                  "ShardId": 0}),
    ("GetRecords", "/projects/s/0", {"Location": LOCATION, "Limit": 5}),
    ("GetItem", "/projects/s/0", {"AttributesToGet": "**"}),
    ("GetItems", "/projects/d/", {"AttributesToGet": "__name,a", "Limit": 1, "Marker": "d/o"}),
    ("PutItem", "/projects/d/o", {"Item": {"a": {"N": "1"}, "b": {"BOOL": True}},
                                  "UpdateMode": "CreateOrReplaceAttributes"}),
    (None, "/projects/d/o", {}),
    (None, "/projects/d/o", {}),
    (None, "/projects/s/0", {}),
    (None, "/projects/d/", {}),
    (None, "/", {}),
]  # fmt: skip

NUMBERS = [0, -1, 1, 2**31, 10**10, 2**62, 2**63 - 1, 2**63, 2**64, 10**30, -(2**63) - 1, 0.5]
TEXTS = ["", "/", "..", "\0", "a/b", "s", "\ufffe", "\U0001f600", "é" * 200, "9" * 17, "9" * 19,
         "9" * 5_000, "x" * 300, "=", "QQ=", "-1", "٣", "*", "**", "a,b", "\ud800", "\udcff",
         "%00", "<&>\x01"]  # fmt: skip
ODD = [*NUMBERS, *TEXTS, None, True, [], {}, [[]], {"a": 1}, {"a": {"N": 1}}, {"__a": {"N": "1"}}]
numbers, odd_texts = st.sampled_from(NUMBERS), st.sampled_from(TEXTS)
texts = st.one_of(odd_texts, odd_texts, st.text(max_size=8))
values = st.one_of(
    numbers,
    texts,
    st.recursive(
        st.one_of(st.none(), numbers, texts),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)
        ),
        max_leaves=5,
    ),
)
NAMES = sorted(
    {name for _, _, body in VALID for name in body} | {"FilterExpression", "ConditionExpression"}
)
BODIES = [b"", b"[]", b"null", b"[" * 200_000, b'{"a":' * 200_000, b"\xff", b'"\\ud800"',
          b'{"Records": [{"Data": "QQ==", "x": ' + b"[" * 200_000]  # fmt: skip
bodies = st.one_of(st.binary(max_size=30), st.sampled_from(BODIES))
paths = st.one_of(
    st.lists(texts, max_size=4).map("/".join),
    st.sampled_from(
        ["", "*", "//", "http://[x/s", "http://x", "/%00", "/projects/%ff%fe", "/3/s/0",
         "/projects/s/" + "9" * 5_000, "/projects/" + "a/" * 3_000, "/projects/s/%31?x", "/1",
         "/projects/\udcff"]
    ),
)  # fmt: skip
OPTIONS = ["prefix", "prefix-info", "prefix-only", "max-keys", "marker"]
queries = st.one_of(
    texts,
    st.builds(
        "{}={}&{}={}".format,
        *[st.sampled_from(["prefix", "prefix-info", "prefix-only", "max-keys", "marker"]), texts]
        * 2,
    ),
)
HEADERS = ["Range", "Authorization", "X-v3io-session-key", "Content-Length", "Expect"]
HEADER_VALUES = [
    *TEXTS, "bytes=0-", "bytes=-5", "bytes=4", "bytes=9-1", "bytes=" + "9" * 5_000,
    "bytes=0-" + "9" * 5_000, "Basic ==", "Basic " + b64encode(b"\xff").decode(),
]  # fmt: skip
header_values = st.one_of(texts, st.sampled_from(HEADER_VALUES))
headers = st.dictionaries(
    st.sampled_from(HEADERS),
    header_values,
    max_size=2,
)


def change_field(draw, made):
    if made["json"]:
        made["json"][draw(st.sampled_from(sorted(made["json"])))] = draw(values)


def add_field(draw, made):
    made["json"][draw(st.sampled_from(NAMES))] = draw(values)


def change_records(draw, made):
    fields = st.sampled_from(["Data", "ShardId", "PartitionKey", "ClientInfo"])
    changed = st.dictionaries(fields, values, max_size=2)
    made["json"]["Records"] = [{"Data": "QQ==", **draw(changed)} for _ in range(2)]


def change_last_name(draw, made):
    made["path"] = f"{made['path'].rstrip('/').rpartition('/')[0]}/{draw(texts)}"


def replaced(name, strategy):
    def change(draw, made):
        made[name] = draw(strategy)

    return change


CHANGES = [
    change_field,
    change_field,
    add_field,
    change_records,
    change_last_name,
    replaced("path", paths),
    replaced("query", queries),
    replaced("headers", headers),
    replaced("headers", headers),
    replaced("body", bodies),
    replaced("function", st.sampled_from([None, "MakeCoffee", "GetItems", "PutItem", ""])),
    replaced("method", st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "BREW", "post"])),
]


@st.composite
def requests(draw):
    """Generate a valid request and change one to three of its parts: it still gets far."""
    function, path, body = draw(st.sampled_from(VALID))
    verbs = ["POST"] if function else ["GET", "GET", "HEAD", "PUT", "DELETE"]
    made = {
        "function": function,
        "method": draw(st.sampled_from(verbs)),
        "path": path,
        "query": "",
        "headers": {},
        "json": dict(body),
        "body": None,
    }
    for change in draw(st.lists(st.sampled_from(CHANGES), min_size=1, max_size=3)):
        change(draw, made)
    named = {} if made["function"] is None else {"X-v3io-function": made["function"]}
    body = json.dumps(made["json"]).encode() if made["body"] is None else made["body"]
    return Request(made["method"], made["path"], made["query"], {**named, **made["headers"]}, body)


@pytest.fixture
def filled():
    platform = Platform()
    platform.create_stream("projects/s", shards=2)
    platform.add_records("projects/s", [b"one", b"two"], shard=0)
    for name in ("o", "p%01"):
        platform.handle(Request("PUT", f"/projects/d/{name}", body=b"content"))
    yield platform
    platform.close()


def often():
    """Many more examples than other tests have: one takes a tenth of a millisecond."""
    profile = settings.default.max_examples
    return settings(max_examples=profile * (QUICK if profile < 1_000 else THOROUGH))


def check(platform, request):
    """Handle a request; an error has the form that clients parse, a listing is valid XML."""
    answer = platform.handle(request)
    assert 200 <= answer.status < 500, (request, answer)
    if answer.status >= 400 and answer.headers.get("Content-Type") == "application/json":
        assert set(answer.json()) == {"ErrorCode", "ErrorMessage"}
    if answer.headers.get("Content-Type") == "application/xml":
        ET.fromstring(answer.body)  # noqa: S314  # our own bytes


def odd_bodies(body):
    """Yield a valid body with each odd value in each of its places."""
    yield from BODIES
    for name, value in itertools.product(sorted({*body, *NAMES}), ODD):
        yield json.dumps({**body, name: value}).encode()
    for field, value in itertools.product(["Data", "ShardId", "PartitionKey"], ODD):
        if "Records" in body:
            record = {"Data": "QQ==", field: value}
            yield json.dumps({**body, "Records": [record]}).encode()


def single_changes():
    """Yield each valid request with each odd value in each of its places."""
    for function, path, body in VALID:
        named = {"X-v3io-function": function} if function else {}
        for changed in odd_bodies(body) if function else []:
            yield Request("POST", path, "", named, changed)
        encoded = json.dumps(body).encode()
        for verb in ["POST"] if function else ["GET", "HEAD", "PUT", "DELETE"]:
            for text in TEXTS:
                last = f"{path.rstrip('/').rpartition('/')[0]}/{text}"
                yield Request(verb, last, "", named, encoded)
            for name, value in itertools.product(HEADERS, HEADER_VALUES):
                yield Request(verb, path, "", {**named, name: value}, encoded)
            for name, text in itertools.product(OPTIONS, TEXTS):
                yield Request(verb, path, f"{name}={text}", named, encoded)


@pytest.mark.parametrize("key", [None, "k"])
def test_one_odd_value_in_any_place(filled, make_platform, key):
    platform = filled if key is None else make_platform(access_key=key)
    count = 0
    for request in single_changes():
        check(platform, request)
        count += 1
        if request.method == "DELETE":
            platform.handle(Request("PUT", "/projects/d/o", body=b"content"))
    assert count > 10_000


@pytest.mark.timeout(900)  # in the thorough profile, on a busy machine
@often()
@given(request=requests())
def test_every_request_is_answered_or_refused(filled, request):
    check(filled, request)


@given(requests=st.lists(requests(), min_size=1, max_size=20))
def test_after_them_the_platform_still_works(requests):
    platform = Platform()
    for request in requests:
        platform.handle(request)
    created = {"X-v3io-function": "CreateStream"}
    platform.handle(Request("POST", "/users/after", "", created, b"{}"))
    put = {"X-v3io-function": "PutRecords"}
    body = b'{"Records": [{"Data": "QQ=="}]}'
    assert platform.handle(Request("POST", "/users/after", "", put, body)).status == 200
    listed = platform.handle(Request("GET", "/users/", "prefix-info=1"))
    assert b"<Prefix>after/</Prefix>" in listed.body
    platform.close()


FAULTS = [
    faults.Answer(status=503, stored="even_shards", function="*", times=None),
    faults.WrongEntries(entries=1, order="reversed", function="*", times=None),
    faults.RecordErrors(places=(0,), function="*", times=None),
    faults.throttled(containing="x", min_records=1, stream="s", function="*", times=None),
]


@given(request=requests(), fault=st.sampled_from(FAULTS))
def test_faults_take_any_request(filled, request, fault):
    answer = FaultProxy(filled, [fault]).exchange(request).response
    assert answer.status == 503 or answer.status < 500


@st.composite
def wires(draw):
    """Generate the bytes of a request, and damage them."""
    request = draw(requests())
    lines = [f"{request.method} {request.path}?{request.query} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    lines += [f"Content-Length: {len(request.body)}", "Connection: close", "", ""]
    wire = "\r\n".join(lines).encode("utf-8", "replace") + request.body[:5_000]
    for place, byte in draw(
        st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=2)), max_size=2)
    ):
        wire = wire[:place] + byte + wire[place + 1 :]
    return wire


@given(wire=wires())
def test_bytes_that_are_hardly_http_are_no_error_of_the_platform(local_platform, wire):
    host, _, port = local_platform.endpoint.partition("://")[2].partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        try:
            raw.sendall(wire)
            raw.shutdown(socket.SHUT_WR)
            answer = raw.recv(15)
        except (ConnectionResetError, BrokenPipeError):
            answer = b""  # refused before it was read
    assert not answer.startswith(b"HTTP/1.1 5"), answer
    local_platform.check()

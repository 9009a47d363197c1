"""A platform without sockets, on a clock that only tests move."""

from __future__ import annotations

from base64 import b64encode

import msgspec
import pytest

from v3io_frames_put.local import Platform, Request


class Clock:
    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now

    def tick(self, seconds):
        self.now += seconds


class Caller:
    """Sends requests to a platform as a client would spell them."""

    def __init__(self, platform):
        self.platform = platform

    def __call__(self, function, path, body=None, *, method="POST", query="", headers=()):
        named = {"X-v3io-function": function} if function else {}
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        )
        return self.platform.handle(Request(method, path, query, {**named, **dict(headers)}, raw))

    def put(self, path, *records):
        return self("PutRecords", path, {"Records": list(records)})

    def seek(self, shard_path, kind="EARLIEST", **fields):
        answer = self("Seek", shard_path, {"Type": kind, **fields})
        assert answer.status == 200, answer
        return answer.json()["Location"]

    def read(self, shard_path, location=None, **fields):
        location = location or self.seek(shard_path)
        answer = self("GetRecords", shard_path, {"Location": location, **fields})
        assert answer.status == 200, answer
        return answer.json()


def record(data=b"data", **fields):
    return {"Data": b64encode(data).decode(), **fields}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_platform(clock):
    made = []

    def make(*args, **options):
        made.append(Platform(*args, **{"clock": clock, **options}))
        return made[-1]

    yield make
    for platform in made:
        platform.close()


@pytest.fixture
def make_record():
    return record


@pytest.fixture
def platform(make_platform):
    return make_platform()


@pytest.fixture
def call(platform):
    return Caller(platform)


@pytest.fixture
def make_caller():
    return Caller

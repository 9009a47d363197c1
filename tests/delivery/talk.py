"""Queries answered by a local platform, without a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.delivery.examples import PLACE, STREAM
from tests.delivery.simulation import Clock
from tests.internals import Answer, Query, Request, ShardPosition, scan_shard
from v3io_frames_put import local

ABSENT = local.Response(400, {}, b'{"ErrorCode": -5, "ErrorMessage": "no such attribute"}')


class Talk:
    """Drives a query to its end, each request answered by a local platform.

    Attributes
    ----------
    asked : list of str
        The function of every request so far.
    refused : set of str
        Functions that are answered with 400.
    after : dict of int to callable
        What happens once so many requests are answered.
    """

    def __init__(
        self, *, shards: int = 2, lists_numbers: bool = True, answer_bytes: int = 10 * 2**20
    ) -> None:
        rules = local.Rules(list_last_sequence_id=lists_numbers, max_answer_bytes=answer_bytes)
        self.platform = local.Platform(clock=Clock(), rules=rules)
        self.platform.create_stream(STREAM, shards=shards)
        self.asked: list[str] = []
        self.refused: set[str] = set()
        self.after: dict[int, Callable[[], None]] = {}

    def write(self, count: int, *, shard: int = 0) -> None:
        """Write records as another writer would."""
        self.platform.add_records(STREAM, [b"x"] * count, shard=shard)

    def drop(self, keep_last: int = 0) -> None:
        """Drop records as retention does."""
        self.platform.drop_records(STREAM, keep_last=keep_last)

    def remake(self) -> None:
        """Delete the stream and make it anew."""
        self.platform.delete_stream(STREAM)
        self.platform.create_stream(STREAM, shards=2)

    def lead(self, query: Query[Any]) -> Any:
        """Return the result of a query."""
        value = None
        while True:
            try:
                ask = query.send(value)
            except StopIteration as over:
                return over.value
            value = ask.parse(self.answer(ask.request))

    def answer(self, request: Request) -> Answer:
        """Answer as the platform does, and let happen what is to happen after it."""
        path, _, query = request.path.partition("?")
        headers, body = dict(request.headers), bytes(request.body)
        arriving = local.Request(request.method, path, query, headers, body)
        self.asked.append(arriving.function)
        told = ABSENT if arriving.function in self.refused else self.platform.handle(arriving)
        self.after.pop(len(self.asked), lambda: None)()
        return Answer(told.status, {k.lower(): v for k, v in told.headers.items()}, told.body)

    def scan(self, start: ShardPosition, *, shard: int = 0) -> tuple[list[int], bool]:
        """Scan a shard: the numbers that were read, and whether nothing was missed."""
        numbers: list[int] = []

        def take(_shard: int, page: Any) -> None:
            numbers.extend(page.records.column("sequence_number").to_pylist())

        return numbers, self.lead(scan_shard(PLACE, shard, start, take))

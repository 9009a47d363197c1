"""PutRecords: every record to its shard, all of a request's shards in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from v3io_frames_put.local._messages import (
    INVALID_ARGUMENT,
    SHARD_OUT_OF_RANGE,
    ErrorAnswer,
    RefusedError,
    Response,
    json_response,
)
from v3io_frames_put.local._records import check_record, shard_of_key
from v3io_frames_put.local._streams import NANOSECONDS, Streams

if TYPE_CHECKING:
    from v3io_frames_put.local._store import Stream

_HOUR: Final = 3_600 * NANOSECONDS

ShardChoice = Callable[[int], bool]
_Checked = tuple[dict[str, Any], int | None, ErrorAnswer | None]


class Writer:
    """PutRecords on some streams."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._turns: Counter[tuple[int, int]] = Counter()
        self._requests = 0

    def forget_turns(self) -> None:
        """Start every round robin anew, as a restarted server does."""
        self._turns.clear()
        self._requests = 0

    def put(
        self, container: str, path: str, body: dict[str, Any], keep_shard: ShardChoice | None = None
    ) -> Response:
        """PutRecords; the records of shards that ``keep_shard`` refuses are lost on the way."""
        stream = self._streams.find(container, path)
        records = body.get("Records")
        if not isinstance(records, list) or not 0 < len(records) <= self._streams.rules.max_records:
            raise RefusedError(INVALID_ARGUMENT)
        checked = [self._check(stream, record) for record in records]
        entries = [error.entry() if error else {} for _, _, error in checked]
        shares = self._share_out(stream, checked)
        with self._streams.store.transaction():
            for shard, places in shares.items():
                if keep_shard is None or keep_shard(shard):
                    batch = [checked[place][0] for place in places]
                    first = self._append(stream, shard, batch)
                    for sequence, place in enumerate(places, first):
                        entries[place] = {"SequenceNumber": sequence, "ShardId": shard}
        failed = len(records) - sum(map(len, shares.values()))
        return json_response({"FailedRecordCount": failed, "Records": entries})

    def _check(self, stream: Stream, record: object) -> _Checked:
        """Return the record as stored, the shard it asks for, and why it is refused alone."""
        stored, shard, fits = check_record(record, self._streams.rules)
        if not fits and self._streams.rules.oversized_record == "request":
            raise RefusedError(INVALID_ARGUMENT)
        if not fits:
            return stored, shard, INVALID_ARGUMENT
        if shard is not None and not 0 <= shard < stream.shard_count:
            return stored, shard, SHARD_OUT_OF_RANGE
        return stored, shard, None

    def _share_out(self, stream: Stream, checked: list[_Checked]) -> dict[int, list[int]]:
        """Return the places in the request of each shard's records."""
        worker = self._requests % self._streams.rules.web_workers
        self._requests += 1
        shares: dict[int, list[int]] = {}
        for place, (record, shard, error) in enumerate(checked):
            if error is None:
                if shard is None:
                    shard = self._choose(stream, record.get("PartitionKey"), worker)  # noqa: PLW2901
                shares.setdefault(shard, []).append(place)
        return shares

    def _choose(self, stream: Stream, key: str | None, worker: int) -> int:
        """Choose a shard by the key, or the next in turn."""
        if key is not None:
            return shard_of_key(key, stream.shard_count)
        turn = self._turns[stream.id, worker]
        self._turns[stream.id, worker] = turn + 1
        return turn % stream.shard_count

    def _append(self, stream: Stream, shard: int, batch: list[dict[str, Any]]) -> int:
        """Store records behind the shard's others; only now what is too old goes."""
        now = self._streams.now()
        self._streams.store.expire(stream, shard, now - stream.retention_hours * _HOUR)
        return self._streams.store.append(stream, shard, batch, now)

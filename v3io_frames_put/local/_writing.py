"""PutRecords: every record to its shard, all of a request's shards in one transaction."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from v3io_frames_put.local._messages import (
    INVALID_ARGUMENT,
    SHARD_OUT_OF_RANGE,
    ErrorAnswer,
    RefusedError,
    Response,
    json_response,
)
from v3io_frames_put.local._records import find_oversized, shard_of_key, write_records
from v3io_frames_put.local._streams import NANOSECONDS, Streams

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from v3io_frames_put.local._records import Record
    from v3io_frames_put.local._store import Stream

_HOUR: Final = 3_600 * NANOSECONDS

ShardChoice = Callable[[int], bool]


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
        self,
        container: str,
        path: str,
        records: Sequence[Record],
        keep_shard: ShardChoice | None = None,
    ) -> Response:
        """PutRecords; the records of shards that ``keep_shard`` refuses are lost on the way."""
        stream = self._streams.find(container, path)
        if not 0 < len(records) <= self._streams.rules.max_records:
            raise RefusedError(INVALID_ARGUMENT)
        refused = self._refuse(stream, records)
        entries = [
            refused[place].entry() if place in refused else {} for place in range(len(records))
        ]
        shares = self._share_out(stream, records, refused)
        with self._streams.store.transaction():
            for shard, places in shares.items():
                if keep_shard is None or keep_shard(shard):
                    first = self._append(stream, shard, [records[place] for place in places])
                    for sequence, place in enumerate(places, first):
                        entries[place] = {"SequenceNumber": sequence, "ShardId": shard}
        return json_response({"FailedRecordCount": len(refused), "Records": entries})

    def _refuse(self, stream: Stream, records: Sequence[Record]) -> dict[int, ErrorAnswer]:
        """Say which records are refused alone, by their places, and why."""
        oversized = find_oversized(records, self._streams.rules)
        if oversized and self._streams.rules.oversized_record == "request":
            raise RefusedError(INVALID_ARGUMENT)
        refused = {
            place: SHARD_OUT_OF_RANGE
            for place, record in enumerate(records)
            if record.shard_id is not None and not 0 <= record.shard_id < stream.shard_count
        }
        return {**refused, **dict.fromkeys(oversized, INVALID_ARGUMENT)}

    def _share_out(
        self, stream: Stream, records: Sequence[Record], refused: Container[int]
    ) -> dict[int, list[int]]:
        """Return the places in the request of each shard's records."""
        worker = self._requests % self._streams.rules.web_workers
        self._requests += 1
        shares: defaultdict[int, list[int]] = defaultdict(list)
        for place, record in enumerate(records):
            if place not in refused:
                shard = record.shard_id
                if shard is None:
                    shard = self._choose(stream, record.partition_key, worker)
                shares[shard].append(place)
        return shares

    def _choose(self, stream: Stream, key: str | None, worker: int) -> int:
        """Choose a shard by the key, or the next in turn."""
        if key is not None:
            return shard_of_key(key, stream.shard_count)
        turn = self._turns[stream.id, worker]
        self._turns[stream.id, worker] = turn + 1
        return turn % stream.shard_count

    def _append(self, stream: Stream, shard: int, batch: list[Record]) -> int:
        """Store records behind the shard's others; only now what is too old goes."""
        now = self._streams.now()
        self._streams.store.expire(stream, shard, now - stream.retention_hours * _HOUR)
        for record in batch:
            record.shard_id = None  # its place tells it
        blob = write_records(batch)
        return self._streams.store.append(stream, shard, blob, count=len(batch), now=now)

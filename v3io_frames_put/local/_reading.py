"""Seek and GetRecords: finding a place in a shard, and reading on from there."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final

from v3io_frames_put.local._messages import (
    ILLEGAL_LOCATION,
    INVALID_ARGUMENT,
    RefusedError,
    Response,
    json_response,
)
from v3io_frames_put.local._records import decode_location, encode_location
from v3io_frames_put.local._streams import NANOSECONDS, Streams, whole_number

if TYPE_CHECKING:
    from v3io_frames_put.local._store import Shard, Stream

_MAX: Final = 2**63 - 1
_RECORD_OVERHEAD: Final = 128  # bytes of field names and numbers around one record's texts


class Reader:
    """Seek and GetRecords on some streams."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def seek(self, container: str, path: str, number: int, body: dict[str, Any]) -> Response:
        """Seek, also spelled SeekShard."""
        stream, shard = self._streams.find_shard(container, path, number)
        before = self._records_before(stream, shard, body)
        location = encode_location(stream.id, before)
        return json_response({"Location": location}, _times(shard))

    def _records_before(self, stream: Stream, shard: Shard, body: dict[str, Any]) -> int:
        """Return how many records lie before the place that is asked for."""
        kind = body.get("Type")
        if kind == "EARLIEST":
            return shard.first - 1
        if kind == "LATEST":
            return shard.last
        if kind == "TIME":
            found = self._streams.store.first_at(stream, shard.number, _time(body))
            return shard.last if found is None else max(found, shard.first) - 1
        if kind != "SEQUENCE":
            raise RefusedError(INVALID_ARGUMENT)
        # Consumer groups seek the number after the last one, so that one has to be found.
        return whole_number(body, "StartingSequenceNumber", None, shard.first, shard.last + 1) - 1

    def get(self, container: str, path: str, number: int, body: dict[str, Any]) -> Response:
        """GetRecords."""
        stream, shard = self._streams.find_shard(container, path, number)
        limit = whole_number(body, "Limit", 1_000, 1, _MAX)
        before = decode_location(body.get("Location"), stream.id)
        if not shard.first - 1 <= before <= shard.last:
            raise RefusedError(ILLEGAL_LOCATION)
        records = self._read(stream, shard, before + 1, limit)
        last = before + len(records)
        arrival = self._streams.store.arrival_of(stream, number, last)
        behind = shard.last - last
        lag = shard.mtime - arrival if behind and arrival else 0
        answer = {
            "NextLocation": encode_location(stream.id, last),
            "MSecBehindLatest": lag // 1_000_000,
            "RecordsBehindLatest": behind,
            "Records": records,
        }
        return json_response(answer, _times(shard))

    def _read(
        self, stream: Stream, shard: Shard, sequence: int, limit: int
    ) -> list[dict[str, Any]]:
        """Return records from a sequence number on, as many as one answer takes."""
        records: list[dict[str, Any]] = []
        room = self._streams.rules.max_answer_bytes
        for batch in self._streams.store.batches(stream, shard.number, sequence):
            sec, nsec = divmod(batch.arrival, NANOSECONDS)
            for number, record in enumerate(batch.records, batch.first):
                if number < sequence:
                    continue
                room -= sum(map(len, record.values())) + _RECORD_OVERHEAD
                if len(records) == limit or (records and room < 0):
                    return records
                times = {"ArrivalTimeSec": sec, "ArrivalTimeNSec": nsec}
                records.append({**times, "SequenceNumber": number, **record})
        return records


def _time(body: dict[str, Any]) -> int:
    """Return the time to seek; old samples spell its names with a capital S."""
    old = "TimeStampSec" in body
    names = ("TimeStampSec", "TimeStampNSec") if old else ("TimestampSec", "TimestampNSec")
    sec, nsec = (whole_number(body, name, None, 0, _MAX) for name in names)
    return sec * NANOSECONDS + nsec


def _times(shard: Shard) -> dict[str, str]:
    """Return the headers that tell when a shard changed."""
    sec, nsec = divmod(shard.mtime, NANOSECONDS)
    return {
        "Last-Modified": formatdate(sec, usegmt=True),
        "X-v3io-transaction-verifier": f"__mtime_secs=={sec} and __mtime_nsecs=={nsec}",
    }

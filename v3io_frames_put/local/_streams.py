"""The stream functions: CreateStream, DescribeStream, UpdateStream, PutRecords, Seek, GetRecords.

Status codes and names follow the documentation and what the platform's own clients
accept. To PutRecords a directory that is not a stream is "not found": a known bug of the
real platform.
"""

from __future__ import annotations

import hashlib
import struct
from base64 import b64decode, b64encode
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from ._http import (
    SECOND,
    ErrorAnswer,
    Errors,
    RefusedError,
    Response,
    encode_json,
    json_response,
)
from ._rules import MAX_RETENTION_HOURS, MAX_SHARDS, Rules

if TYPE_CHECKING:
    from ._store import Shard, Store, Stream

_HOUR: Final = 3_600 * SECOND
_MAX: Final = 2**63 - 1  # SQLite's widest whole number
_RECORD_OVERHEAD: Final = 128  # bytes of field names and numbers around one record's texts
_LOCATION: Final = struct.Struct("<IIQ")
_LOCATION_VERSION: Final = 1

#: Whether a record is kept, by its place in the request and its shard.
RecordFilter = Callable[[int, int], bool]


class Record(msgspec.Struct, rename="pascal", kw_only=True, omit_defaults=True, gc=False):
    """A record of a request, its fields in the order of GetRecords' answer.

    A null counts as a field left out: what the platform does with it is unknown.
    """

    client_info: bytes | None = None
    partition_key: str | None = None
    data: bytes
    shard_id: int | None = None


_Time = Annotated[int, msgspec.Meta(ge=0)]
_Attribute = Annotated[
    dict[Literal["N", "S", "B", "BOOL", "TS"], str | bool],
    msgspec.Meta(min_length=1, max_length=1),
]
_UserName = Annotated[str, msgspec.Meta(pattern="^(?!__)")]  # of an attribute


class Body(msgspec.Struct, rename="pascal", kw_only=True):
    """The body of a function: what any of them takes. A null counts as a field left out."""

    stream_name: str | None = None
    shard_id: int | None = None
    # CreateStream, UpdateStream
    shard_count: Annotated[int, msgspec.Meta(ge=1, le=MAX_SHARDS)] | None = None
    retention_period_hours: Annotated[int, msgspec.Meta(ge=1, le=MAX_RETENTION_HOURS)] | None = None
    # PutRecords
    records: list[Record] | None = None
    # Seek
    type: Literal["EARLIEST", "LATEST", "TIME", "SEQUENCE"] | None = None
    starting_sequence_number: int | None = None
    timestamp_sec: _Time | None = None
    timestamp_n_sec: _Time | None = None
    # GetRecords, GetItems
    location: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    # GetItem, GetItems, PutItem
    attributes_to_get: str | None = None
    marker: str | None = None
    item: dict[_UserName, _Attribute] | None = None
    update_mode: str | None = None
    # What selects items. Nothing here evaluates it, and ignoring it would be wrong.
    condition_expression: str | None = None
    filter_expression: str | None = None
    sharding_key: str | None = None
    sort_key_range_start: str | None = None
    sort_key_range_end: str | None = None

    @property
    def selects_items(self) -> bool:
        """Whether it asks for items that meet a condition."""
        conditions = (self.condition_expression, self.filter_expression, self.sharding_key)
        return any((*conditions, self.sort_key_range_start, self.sort_key_range_end))


_BODY: Final = msgspec.json.Decoder(Body)


def parse_body(body: bytes) -> Body:
    """Parse a function's body, none at all as an empty object, or refuse the whole request."""
    try:
        if not body.isascii():
            body.decode()  # msgspec does not check the text of fields that it leaves out
        return _BODY.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(Errors.INVALID_ARGUMENT) from error


class Streams:
    """The streams of one store; ``now`` returns nanoseconds since 1970."""

    def __init__(self, store: Store, rules: Rules, now: Callable[[], int]) -> None:
        self._store, self._rules, self._now = store, rules, now
        self._turns: Counter[int] = Counter()

    def create(self, path: str, body: Body) -> Response:
        """CreateStream: 204, or 409 when something is there."""
        if "/" not in path:
            raise RefusedError(Errors.INVALID_ARGUMENT)
        if self._store.has_directory(path):
            raise RefusedError(self._by_version(Errors.RESOURCE_IN_USE))
        self._store.add_directory(path, self._now())
        hours = body.retention_period_hours or 24
        self._store.add_stream(path, body.shard_count or 1, hours)
        return Response(204)

    def describe(self, path: str) -> Response:
        """DescribeStream."""
        stream = self._find(path)
        hours = stream.retention_hours
        return json_response({"ShardCount": stream.shard_count, "RetentionPeriodHours": hours})

    def update(self, path: str, body: Body) -> Response:
        """UpdateStream: shards can only be added, and are there at once."""
        if self._store.find_stream(path) is None and (
            self._store.has_directory(path) or self._store.find_file(path)
        ):
            raise RefusedError(Errors.RESOURCE_NOT_STREAM)
        stream = self._find(path)
        if body.shard_count is None:
            raise RefusedError(Errors.INVALID_ARGUMENT)
        if body.shard_count <= stream.shard_count:
            raise RefusedError(Errors.INVALID_SHARD_COUNT)
        self._store.resize_stream(stream, body.shard_count)
        return Response(204)

    def _find(self, path: str) -> Stream:
        """Return the stream at a path or refuse the request."""
        stream = self._store.find_stream(path)
        if stream is not None:
            return stream
        is_object = self._store.find_file(path) is not None
        if is_object and not self._store.has_directory(path):
            raise RefusedError(Errors.RESOURCE_IS_NOT_STREAM)
        raise RefusedError(Errors.RESOURCE_NOT_FOUND)

    def _find_shard(self, path: str, number: int) -> tuple[Stream, Shard]:
        """Return a written shard or refuse the request."""
        stream = self._find(path)
        if not 0 <= number < stream.shard_count:
            raise RefusedError(Errors.SHARD_OUT_OF_RANGE)
        shard = self._store.find_shard(stream, number)
        if shard is None:
            raise RefusedError(self._by_version(Errors.RESOURCE_NOT_FOUND))
        return stream, shard

    def _by_version(self, error: ErrorAnswer) -> ErrorAnswer:
        """Return an error with the status of the version that the rules name."""
        if self._rules.statuses == "current":
            return error
        return ErrorAnswer(400, error.code, error.message)

    # PutRecords

    def reset_turns(self) -> None:
        """Restart every round robin, as a restarted server does."""
        self._turns.clear()

    def put(
        self, path: str, records: Sequence[Record] | None, is_kept: RecordFilter | None = None
    ) -> Response:
        """PutRecords, in one transaction; records that ``is_kept`` refuses are lost."""
        stream = self._find(path)
        if not records or len(records) > self._rules.max_records:
            raise RefusedError(Errors.INVALID_ARGUMENT)
        refused = _refused_records(stream, records, self._rules)
        entries = [
            refused[place].entry() if place in refused else {} for place in range(len(records))
        ]
        for shard, places in self._by_shard(stream, records, refused).items():
            kept = [place for place in places if is_kept is None or is_kept(place, shard)]
            if kept:
                first = self._append(stream, shard, [records[place] for place in kept])
                for sequence, place in enumerate(kept, first):
                    entries[place] = {"SequenceNumber": sequence, "ShardId": shard}
        return json_response({"FailedRecordCount": len(refused), "Records": entries})

    def _by_shard(
        self, stream: Stream, records: Sequence[Record], refused: Container[int]
    ) -> dict[int, list[int]]:
        """Return the places in the request of each shard's records."""
        places: defaultdict[int, list[int]] = defaultdict(list)
        for place, record in enumerate(records):
            if place in refused:
                continue
            shard = record.shard_id
            if shard is None and record.partition_key is not None:
                shard = _shard_of_key(record.partition_key, stream.shard_count)
            elif shard is None:
                shard = self._turns[stream.id] % stream.shard_count
                self._turns[stream.id] += 1
            places[shard].append(place)
        return places

    def _append(self, stream: Stream, shard: int, batch: list[Record]) -> int:
        """Append records to a shard; as on the platform, old ones are dropped only now."""
        now = self._now()
        self._store.expire(stream, shard, now - stream.retention_hours * _HOUR)
        for record in batch:
            record.shard_id = None  # the row has it
        return self._store.append(stream, shard, encode_json(batch), count=len(batch), now=now)

    # Seek and GetRecords

    def seek(self, path: str, number: int, body: Body) -> Response:
        """Seek."""
        stream, shard = self._find_shard(path, number)
        location = _encode_location(stream.id, self._records_before(stream, shard, body))
        return json_response({"Location": location})

    def _records_before(self, stream: Stream, shard: Shard, body: Body) -> int:
        """Return how many records of the shard come before the wanted position."""
        if body.type == "EARLIEST":
            return shard.first - 1
        if body.type == "LATEST":
            return shard.last
        if body.type == "TIME":
            first = self._store.first_at(stream, shard.number, _time(body))
            return shard.last if first is None else max(first, shard.first) - 1
        number = body.starting_sequence_number
        # Consumer groups seek the number after the last one, so that one is valid as well.
        if body.type is None or number is None or not shard.first <= number <= shard.last + 1:
            raise RefusedError(Errors.INVALID_ARGUMENT)
        return number - 1

    def get(self, path: str, number: int, body: Body) -> Response:
        """GetRecords."""
        stream, shard = self._find_shard(path, number)
        before = _decode_location(body.location, stream.id)
        if not shard.first - 1 <= before <= shard.last:
            raise RefusedError(Errors.ILLEGAL_LOCATION)
        records = self._read(stream, shard, before + 1, body.limit or 1_000)
        last = before + len(records)
        left, lag = shard.last - last, 0
        if left:  # then at least one record was read
            newest = records[-1]
            lag = shard.mtime - newest["ArrivalTimeSec"] * SECOND - newest["ArrivalTimeNSec"]
        answer = {
            "NextLocation": _encode_location(stream.id, last),
            "MSecBehindLatest": lag // 1_000_000,
            "RecordsBehindLatest": left,
            "Records": records,
        }
        return json_response(answer)

    def _read(
        self, stream: Stream, shard: Shard, sequence: int, limit: int
    ) -> list[dict[str, Any]]:
        """Return records from a sequence number on, as many as fit into one answer."""
        records: list[dict[str, Any]] = []
        room = self._rules.max_answer_bytes
        for batch in self._store.batches(stream, shard.number, sequence):
            sec, nsec = divmod(batch.arrival, SECOND)
            for number, record in enumerate(batch.records, batch.first):
                if number < sequence:
                    continue
                room -= sum(map(len, record.values())) + _RECORD_OVERHEAD
                if len(records) == limit or (records and room < 0):
                    return records
                times = {"ArrivalTimeSec": sec, "ArrivalTimeNSec": nsec}
                records.append({**times, "SequenceNumber": number, **record})
        return records


def _refused_records(
    stream: Stream, records: Sequence[Record], rules: Rules
) -> dict[int, ErrorAnswer]:
    """Return the places of records that are refused alone, with their errors."""
    refused = {}
    for place, record in enumerate(records):
        if record.shard_id is not None and not 0 <= record.shard_id < stream.shard_count:
            refused[place] = Errors.SHARD_OUT_OF_RANGE
        if (
            len(record.data) > rules.max_data_bytes
            or len(record.client_info or b"") > rules.max_client_info_bytes
            or len((record.partition_key or "").encode()) > rules.max_partition_key_bytes
        ):
            refused[place] = Errors.INVALID_ARGUMENT
    return refused


@lru_cache(maxsize=65_536)
def _shard_of_key(key: str, shard_count: int) -> int:
    """Assign a partition key to a shard by jump consistent hashing.

    It is not the platform's function, which is not published, but it keeps the documented
    promise: when shards are added, a key stays or moves to one of the new ones.
    """
    state = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
    shard, jump = 0, 0
    while jump < shard_count:
        shard = jump
        state = (state * 2862933555777941757 + 1) % 2**64
        jump = int((shard + 1) * (2**31 / ((state >> 33) + 1)))
    return shard


def _time(body: Body) -> int:
    """Return the time to seek in nanoseconds."""
    sec, nsec = body.timestamp_sec, body.timestamp_n_sec
    if sec is None or nsec is None or sec * SECOND + nsec > _MAX:
        raise RefusedError(Errors.INVALID_ARGUMENT)
    return sec * SECOND + nsec


def _encode_location(stream_id: int, records_before: int) -> str:
    """Return the token for the position after so many records of a shard.

    The start of a fresh shard was captured as version 1 and zeros. Other tokens carry
    their stream, so that those of a deleted stream are not valid for its successor.
    """
    mark = stream_id % 2**32 if records_before else 0
    return b64encode(_LOCATION.pack(_LOCATION_VERSION, mark, records_before)).decode()


def _decode_location(text: str | None, stream_id: int) -> int:
    """Return how many records of the shard come before a token's position."""
    try:
        version, mark, records_before = _LOCATION.unpack(b64decode(text or "", validate=True))
    except (ValueError, struct.error) as error:
        raise RefusedError(Errors.ILLEGAL_LOCATION) from error
    expected = stream_id % 2**32 if records_before else 0
    if (version, mark) != (_LOCATION_VERSION, expected):
        raise RefusedError(Errors.ILLEGAL_LOCATION)
    return int(records_before)

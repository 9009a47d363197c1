"""The records of a request: well formed or not, within limits or not, and each one's shard.

Pure. A request's records are parsed in one go, into typed values: what is malformed
never comes to be.
"""

from __future__ import annotations

import hashlib
import struct
from base64 import b64decode, b64encode
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from v3io_frames_put.local._messages import ILLEGAL_LOCATION, INVALID_ARGUMENT, RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from v3io_frames_put.local._rules import Rules

_LOCATION: Final = struct.Struct("<IIQ")
_LOCATION_VERSION: Final = 1


class Record(msgspec.Struct, rename="pascal", kw_only=True, omit_defaults=True, gc=False):
    """A record as a request brings it; it is stored without its shard.

    Fields stand in the order of GetRecords' answer. A null counts as a field left out:
    what the platform does with it is unknown.
    """

    client_info: bytes | None = None
    partition_key: str | None = None
    data: bytes
    shard_id: int | None = None


class PutRecords(msgspec.Struct, rename="pascal"):
    """The body of a PutRecords request."""

    records: list[Record]
    stream_name: str | None = None


_PUT_RECORDS: Final = msgspec.json.Decoder(PutRecords)
write_records: Final = msgspec.json.Encoder().encode


def parse_put_records(body: bytes) -> PutRecords:
    """Parse a request; a record that is malformed refuses it whole."""
    try:
        if not body.isascii():
            body.decode()  # msgspec does not look at the text of fields that it leaves out
        return _PUT_RECORDS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError(INVALID_ARGUMENT) from error


def find_oversized(records: Sequence[Record], rules: Rules) -> set[int]:
    """Find the places of records that are beyond a limit."""
    most_data = rules.max_data_bytes
    if rules.data_counted == "encoded":
        most_data = most_data // 4 * 3  # so many bytes have a Base64 text of that length
    most_info, most_key = rules.max_client_info_bytes, rules.max_partition_key_bytes
    return {
        place
        for place, record in enumerate(records)
        if len(record.data) > most_data
        or len(record.client_info or b"") > most_info
        or len((record.partition_key or "").encode()) > most_key
    }


@lru_cache(maxsize=65_536)
def shard_of_key(key: str, shard_count: int) -> int:
    """Assign a partition key to a shard by jump consistent hashing.

    Not the platform's function, which nobody published. It keeps the documented
    promise: when shards are added, a key stays or moves to one of the new ones.
    """
    state = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
    shard, jump = 0, 0
    while jump < shard_count:
        shard = jump
        state = (state * 2862933555777941757 + 1) % 2**64
        jump = int((shard + 1) * (2**31 / ((state >> 33) + 1)))
    return shard


def encode_location(stream_id: int, records_before: int) -> str:
    """Make the token for the place after so many records of a shard.

    The start of a fresh shard was seen as version 1 and zeros. Other tokens carry
    their stream, so that those of a deleted one are not taken for its successor's.
    """
    mark = stream_id % 2**32 if records_before else 0
    return b64encode(_LOCATION.pack(_LOCATION_VERSION, mark, records_before)).decode()


def decode_location(text: object, stream_id: int) -> int:
    """Return how many records of the shard lie before a token's place."""
    if not isinstance(text, str):
        raise RefusedError(INVALID_ARGUMENT)
    try:
        version, mark, records_before = _LOCATION.unpack(b64decode(text, validate=True))
    except (ValueError, struct.error) as error:
        raise RefusedError(ILLEGAL_LOCATION) from error
    expected = stream_id % 2**32 if records_before else 0
    if (version, mark) != (_LOCATION_VERSION, expected):
        raise RefusedError(ILLEGAL_LOCATION)
    return int(records_before)

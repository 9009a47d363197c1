"""One record at a time: is it well formed, is it within limits, and which shard is its own.

Pure. Sizes and alphabets are checked on the Base64 text, which is stored as it came.
"""

from __future__ import annotations

import hashlib
import struct
from base64 import b64decode, b64encode
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import pybase64

from v3io_frames_put.local._messages import (
    ILLEGAL_LOCATION,
    INVALID_ARGUMENT,
    RefusedError,
)

if TYPE_CHECKING:
    from v3io_frames_put.local._rules import Rules

_LOCATION: Final = struct.Struct("<IIQ")
_LOCATION_VERSION: Final = 1


def decoded_bytes(text: object) -> int:
    """Return how many bytes a Base64 text stands for; refuse what is none."""
    try:
        return len(pybase64.b64decode(text, validate=True))  # type: ignore[arg-type]  # caught
    except (TypeError, ValueError) as error:
        raise RefusedError(INVALID_ARGUMENT) from error


def check_record(record: object, rules: Rules) -> tuple[dict[str, Any], int | None, bool]:
    """Return a record as it is stored, the shard it asks for, and whether it is within limits.

    A null counts as a field left out: what the platform does with it is unknown.
    """
    if type(record) is not dict:
        raise RefusedError(INVALID_ARGUMENT)
    get = record.get  # a thousand records a request: this is the platform's busiest function
    data: Any = get("Data")
    key, info, shard = get("PartitionKey"), get("ClientInfo"), get("ShardId")
    if shard is not None and type(shard) is not int:
        raise RefusedError(INVALID_ARGUMENT)
    size = decoded_bytes(data)
    fits = (size if rules.data_counted == "decoded" else len(data)) <= rules.max_data_bytes
    stored = {}  # in the order of GetRecords' answer
    if info is not None:
        stored["ClientInfo"] = info
        fits &= decoded_bytes(info) <= rules.max_client_info_bytes
    if key is not None:
        stored["PartitionKey"] = key
        fits &= _text_bytes(key) <= rules.max_partition_key_bytes
    stored["Data"] = data
    return stored, shard, fits


def _text_bytes(text: object) -> int:
    """Return the bytes of a text; refuse what is none."""
    if type(text) is not str:
        raise RefusedError(INVALID_ARGUMENT)
    return len(text.encode())


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

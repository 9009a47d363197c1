"""What differs between versions of the platform, or is not known of it, as switches.

Every number the documentation leaves open stands here once, with the reading we took.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Containers of a fresh system. The real ids differ from system to system.
DEFAULT_CONTAINERS: Final[Mapping[str, int]] = {"bigdata": 1, "users": 2, "projects": 3}

MAX_SHARDS: Final = 4_096
MAX_RETENTION_HOURS: Final = 366 * 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How the local platform reads what the documentation leaves open.

    Parameters
    ----------
    statuses : {"current", "2.10"}
        "2.10": an existing stream and an unwritten shard answer 400, not 409 and 404.
    list_last_sequence_id : bool
        Whether listings carry ``LastSequenceId`` for shards; real ones differ.
    max_records : int
        Records in one PutRecords; more refuse the whole request.
    max_body_bytes : int
        Bytes of one request body; more are answered 413 by the front end. The
        documentation says 10 MB; its authors' notes mean binary megabytes.
    max_data_bytes : int
        Bytes of one record's Data. One page says 1 MB, another 2 MB.
    data_counted : {"decoded", "encoded"}
        Whether Data is measured before or after Base64.
    max_partition_key_bytes, max_client_info_bytes : int
        Bytes of a partition key (UTF-8) and of decoded client info.
    oversized_record : {"record", "request"}
        Whether a record beyond its limits fails alone or with its request.
    max_answer_bytes : int
        Bytes of records in one GetRecords answer; one record always fits.
    web_workers : int
        Servers behind the front end, asked in turn. Each counts its own round
        robin, so records without key and shard spread less evenly.
    containers : mapping of str to int
        The containers that exist, with their ids.
    """

    statuses: Literal["current", "2.10"] = "current"
    list_last_sequence_id: bool = True
    max_records: int = 1_000
    max_body_bytes: int = 10 * 2**20
    max_data_bytes: int = 2 * 2**20
    data_counted: Literal["decoded", "encoded"] = "decoded"
    max_partition_key_bytes: int = 256
    max_client_info_bytes: int = 16
    oversized_record: Literal["record", "request"] = "record"
    max_answer_bytes: int = 10 * 2**20
    web_workers: int = 1
    containers: Mapping[str, int] = field(default_factory=lambda: DEFAULT_CONTAINERS)


#: The narrowest reading of the documentation, for senders that must fit everywhere.
STRICTEST: Final = Rules(
    max_body_bytes=10_000_000, max_data_bytes=1_000_000, data_counted="encoded"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A key the platform accepts, and what it allows.

    Parameters
    ----------
    key : str
        Sent as ``X-v3io-session-key`` or in an AWS ``Authorization``.
    username, password : str
        Sent as Basic ``Authorization``. Without a password the key is the
        password; without a user name any will do.
    may_read, may_write : bool
        What is answered otherwise is 403. DescribeStream needs neither.
    """

    key: str = field(repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    may_read: bool = True
    may_write: bool = True

    def __post_init__(self) -> None:
        if not self.key:
            raise ValueError("AccessKey(key=''): expected a text. None lets everybody in.")

    def accepts(self, username: str, password: str) -> bool:
        """Tell whether these Basic credentials are this key's."""
        return self.username in {"", username} and password == (self.password or self.key)


def access_keys(given: str | AccessKey | Iterable[AccessKey] | None) -> tuple[AccessKey, ...]:
    """Bring the ways to give access keys to one; empty means that anybody may do anything."""
    if given is None:
        return ()
    if isinstance(given, str):
        return (AccessKey(key=given),)
    return (given,) if isinstance(given, AccessKey) else tuple(given)

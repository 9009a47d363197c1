"""Versions and limits of the platform as options, and who may use it.

Every number that the documentation leaves open is here once, with the reading we chose.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from ._http import Errors, RefusedError, Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Containers of a fresh system. The real ids differ from system to system.
DEFAULT_CONTAINERS: Final[Mapping[str, int]] = {"bigdata": 1, "users": 2, "projects": 3}

MAX_SHARDS: Final = 4_096
MAX_RETENTION_HOURS: Final = 366 * 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The chosen reading of what the documentation leaves open."""

    #: "2.10": an existing stream and an unwritten shard answer 400, not 409 and 404.
    statuses: Literal["current", "2.10"] = "current"
    #: Whether listings carry ``LastSequenceId`` for shards; real ones differ.
    list_last_sequence_id: bool = True
    #: Records in one PutRecords; more refuse the whole request.
    max_records: int = 1_000
    #: Bytes of one function's body; more are answered 413 by the front end. The documentation
    #: says 10 MB; its authors' notes mean binary megabytes.
    max_body_bytes: int = 10 * 2**20
    #: Bytes of one record's Data, decoded. One page says 1 MB, another 2 MB.
    max_data_bytes: int = 2 * 2**20
    max_partition_key_bytes: int = 256  #: Bytes of a partition key as UTF-8.
    max_client_info_bytes: int = 16  #: Bytes of decoded client info.
    #: Bytes of records in one GetRecords answer; one record always fits.
    max_answer_bytes: int = 10 * 2**20
    #: Bytes of a plain object. The real limit is far higher; here objects are in memory.
    max_object_bytes: int = 256 * 2**20
    #: The containers that exist, with their ids.
    containers: Mapping[str, int] = field(default_factory=lambda: DEFAULT_CONTAINERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A key the platform accepts, and what it allows; what it does not is answered 403."""

    key: str = field(repr=False)  #: Sent as ``X-v3io-session-key``.
    username: str = ""  #: Of Basic ``Authorization``; empty: any.
    password: str = field(default="", repr=False)  #: Of Basic ``Authorization``; empty: the key.
    may_read: bool = True  #: Whether it may read; DescribeStream is always allowed.
    may_write: bool = True  #: Whether it may write.

    def __post_init__(self) -> None:
        if not self.key:
            raise ValueError(
                "AccessKey(key=''): expected a text. Without a key everybody may do everything."
            )

    def accepts(self, username: str, password: str) -> bool:
        """Return whether these Basic credentials belong to this key."""
        return self.username in {"", username} and password == (self.password or self.key)


def access_keys(given: str | AccessKey | Iterable[AccessKey] | None) -> tuple[AccessKey, ...]:
    """Return the access keys as a tuple; empty means that anybody may do anything."""
    if given is None:
        return ()
    if isinstance(given, str):
        return (AccessKey(key=given),)
    return (given,) if isinstance(given, AccessKey) else tuple(given)


_READING: Final = frozenset({"Seek", "GetRecords", "GetItem", "GetItems", "GET", "HEAD"})
#: Older versions of the platform answer DescribeStream to those without permission.
_OPEN: Final = frozenset({"DescribeStream"})


def check_access(request: Request, keys: tuple[AccessKey, ...]) -> None:
    """Refuse an unknown key (401) and what a key may not do (403); no keys, no checks.

    The key comes in the platform's own header, or as Basic credentials.
    """
    if not keys:
        return
    key = _find_key(request, keys)
    if key is None:
        raise RefusedError(Errors.UNAUTHORIZED)
    may = key.may_read if request.function in _READING else key.may_write
    if not may and request.function not in _OPEN:
        raise RefusedError(Errors.PERMISSION_DENIED)


def _find_key(request: Request, keys: Iterable[AccessKey]) -> AccessKey | None:
    """Return the key that a request carries."""
    session = request.header("X-v3io-session-key")
    if session:
        return next((key for key in keys if key.key == session), None)
    scheme, _, coded = (request.header("Authorization") or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        username, _, password = b64decode(coded, validate=True).decode().partition(":")
    except ValueError as error:
        raise RefusedError(Errors.UNAUTHORIZED) from error
    return next((key for key in keys if key.accepts(username, password)), None)

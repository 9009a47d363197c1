"""GetItem and GetItems: the attributes of what lies in a directory.

Only what readers of streams ask for: system attributes, ``__last_sequence_num`` among
them. Nothing here writes attributes, and a filter is refused, not ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from v3io_frames_put.local._messages import (
    INVALID_ARGUMENT,
    RefusedError,
    Response,
    json_response,
)

if TYPE_CHECKING:
    from v3io_frames_put.local._listing import Entry, Listing

_SECOND: Final = 1_000_000_000
_OBJECT, _DIRECTORY, _SHARD = 1, 2, 3  # __obj_type; 3 is known, the others are not


class Items:
    """Attributes of files, shards and directories."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    def get(self, container: str, path: str, body: dict[str, Any]) -> Response:
        """GetItem."""
        entry = self._listing.find(container, path)
        return json_response({"Item": _attributes(entry, _names(body))})

    def get_all(self, container: str, path: str, body: dict[str, Any]) -> Response:
        """GetItems: the files of a directory, by name."""
        marker, limit = body.get("Marker") or "", body.get("Limit") or 1_000
        if body.get("FilterExpression") or type(limit) is not int or limit < 1:
            raise RefusedError(INVALID_ARGUMENT)
        entries = self._listing.entries(container, path)
        files = [e for e in entries if not e.file.is_directory and e.file.path > marker]
        page, is_last = files[:limit], len(files) <= limit
        answer = {
            "LastItemIncluded": str(is_last).upper(),
            "NumItems": len(page),
            "NextMarker": "" if is_last else page[-1].file.path,
            "Items": [_attributes(entry, _names(body)) for entry in page],
        }
        return json_response(answer)


def _names(body: dict[str, Any]) -> list[str]:
    """Return the attributes that are asked for."""
    names = body.get("AttributesToGet", "*")
    if not isinstance(names, str):
        raise RefusedError(INVALID_ARGUMENT)
    return [name.strip() for name in names.split(",")]


def _attributes(entry: Entry, names: list[str]) -> dict[str, dict[str, str]]:
    """Return an entry's system attributes; two asterisks ask for all of them."""
    file = entry.file
    sec, nsec = divmod(file.mtime, _SECOND)
    kind = _DIRECTORY if file.is_directory else _OBJECT
    numbers = {
        "__size": file.size,
        "__mtime_secs": sec,
        "__mtime_nsecs": nsec,
        "__obj_type": kind if entry.last_sequence is None else _SHARD,
        "__last_sequence_num": entry.last_sequence,
    }
    known = {name: {"N": str(n)} for name, n in numbers.items() if n is not None}
    known["__name"] = {"S": file.path.rpartition("/")[2]}
    if "**" in names:
        return known
    return {name: known[name] for name in names if name in known}

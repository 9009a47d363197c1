"""What lies in a directory, and the XML that lists it.

A stream's written shards appear as files, named by their number. Elements that the
clients read without asking (Name, NextMarker, MaxKeys, IsTruncated) are always there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import formatdate
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from v3io_frames_put.local._files import File, Files
from v3io_frames_put.local._messages import (
    INVALID_ARGUMENT,
    NO_SUCH_FILE,
    RefusedError,
    Response,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from v3io_frames_put.local._rules import Rules
    from v3io_frames_put.local._store import Shard, Store, Stream

_SECOND: Final = 1_000_000_000
_MAX_KEYS: Final = 1_000
_DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a listing; ``last_sequence`` only for shards, ``stream`` only for streams."""

    file: File
    last_sequence: int | None = None
    stream: Stream | None = None


class Listing:
    """The directories of a store, as the API shows them."""

    def __init__(self, store: Store, files: Files, rules: Rules) -> None:
        self._store, self._files, self._rules = store, files, rules

    def entries(self, container: str, path: str) -> list[Entry]:
        """Return what lies in a directory, by name; refuse what is no directory."""
        if not self._files.has_directory(container, path):
            raise RefusedError(NO_SUCH_FILE)
        entries = [
            Entry(file, stream=self._store.find_stream(container, file.path))
            for file in self._files.children(container, path)
        ]
        stream = self._store.find_stream(container, path)
        entries += (
            [_shard_entry(path, shard) for shard in self._store.shards(stream)] if stream else []
        )
        return sorted(entries, key=lambda entry: (entry.file.path, entry.file.is_directory))

    def find(self, container: str, path: str) -> Entry:
        """Return what lies at a path, an object or a shard before a directory."""
        above, _, name = path.rpartition("/")
        stream = self._store.find_stream(container, above) if name.isdecimal() else None
        shard = self._store.find_shard(stream, int(name)) if stream else None
        if shard is not None:
            return _shard_entry(above, shard)
        file = self._files.find(container, path)
        if file is None:
            raise RefusedError(NO_SUCH_FILE)
        return Entry(file, stream=self._store.find_stream(container, path))

    def answer(self, container: str, path: str, query: str) -> Response:
        """List a directory; ``prefix`` of the query names one below ``path``."""
        options = {name: values[-1] for name, values in parse_qs(query).items()}
        prefix = "/".join(p for p in f"{path}/{options.get('prefix', '')}".split("/") if p)
        found = self.entries(container, prefix)
        if options.get("prefix-only") == "1":
            found = [entry for entry in found if entry.file.is_directory]
        found = [
            entry for entry in found if entry.file.path > options.get("marker", "").rstrip("/")
        ]
        page = found[: _max_keys(options)]
        body = self._xml(container, prefix, options, page, is_truncated=len(page) < len(found))
        return Response(200, {"Content-Type": "application/xml"}, body.encode())

    def _xml(
        self,
        container: str,
        prefix: str,
        options: Mapping[str, str],
        page: list[Entry],
        *,
        is_truncated: bool,
    ) -> str:
        """Spell one page."""
        full = options.get("prefix-info") == "1"
        head = {
            "Name": container,
            "Prefix": prefix,
            "Marker": options.get("marker", ""),
            "Delimiter": "/",
            "NextMarker": page[-1].file.path if page else "",
            "MaxKeys": _max_keys(options),
            "IsTruncated": str(is_truncated).lower(),
        }
        lines = [self._line(entry, full=full) for entry in page]
        return _DECLARATION + _element("ListBucketResult", _fields(head) + "".join(lines))

    def _line(self, entry: Entry, *, full: bool) -> str:
        """Spell one entry."""
        file = entry.file
        when = {"LastModified": _iso(file.mtime)}
        extra = _attributes(entry) if full else {}
        if file.is_directory:
            shown = {**when, **extra} if full else {}
            return _element("CommonPrefixes", _fields({"Prefix": f"{file.path}/", **shown}))
        sequence: dict[str, object] = {}
        if entry.last_sequence is not None and self._rules.list_last_sequence_id:
            sequence = {"LastSequenceId": entry.last_sequence}
        named = {"Key": file.path, "Size": file.size, **when, **sequence, **extra}
        return _element("Contents", _fields(named))


def containers_answer(containers: Mapping[str, int]) -> Response:
    """List the containers."""
    lines = [
        _element("Bucket", _fields({"Name": name, "CreationDate": _iso(0), "Id": number}))
        for name, number in containers.items()
    ]
    body = _DECLARATION + _element("ListAllMyBucketsResult", _element("Buckets", "".join(lines)))
    return Response(200, {"Content-Type": "application/xml"}, body.encode())


def _shard_entry(path: str, shard: Shard) -> Entry:
    """Show a shard as the file it is."""
    name = f"{path}/{shard.number}"
    file = File(name, is_directory=False, size=shard.bytes, mtime=shard.mtime)
    return Entry(file, last_sequence=shard.last)


def http_date(nanoseconds: int) -> str:
    """Spell a time as HTTP headers do."""
    return formatdate(nanoseconds // _SECOND, usegmt=True)


def _max_keys(options: Mapping[str, str]) -> int:
    """Return the page's size; the platform never sends more than a thousand."""
    given = options.get("max-keys", str(_MAX_KEYS))
    if not given.isdecimal() or int(given) < 1:
        raise RefusedError(INVALID_ARGUMENT)
    return min(int(given), _MAX_KEYS)


def _attributes(entry: Entry) -> dict[str, object]:
    """Return what ``prefix-info`` adds; owners and modes are constants here."""
    times = {"AccessTime": _iso(entry.file.mtime), "CreatingTime": _iso(entry.file.mtime)}
    mode = "040755" if entry.file.is_directory else "0100644"
    owned: dict[str, object] = {**times, "Mode": mode, "GID": "0", "UID": "0", "InodeNumber": 1}
    if entry.stream is None:
        return owned
    hours = entry.stream.retention_hours
    periods = {"RetentionPeriodHours": hours, "RetentionPeriodSec": hours * 3_600}
    return {**owned, "ShardCount": entry.stream.shard_count, **periods}


def _iso(nanoseconds: int) -> str:
    """Spell a time as listings do."""
    moment = datetime.fromtimestamp(nanoseconds // _SECOND, tz=timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds % _SECOND // 1_000_000:03d}Z"


def _fields(values: Mapping[str, object]) -> str:
    """Spell values as child elements."""
    return "".join(_element(name, escape(str(value))) for name, value in values.items())


def _element(name: str, content: str) -> str:
    """Spell one element around content that is spelled already."""
    return f"<{name}>{content}</{name}>"

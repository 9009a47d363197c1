"""Objects, directories, their listings as XML, and their attributes as items.

A path that ends in a slash means the directory, any other the object. The written shards
of a stream appear as objects of its directory, named by their number; when all of them
are deleted, the directory can be deleted as well.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from ._http import (
    SECOND,
    Errors,
    RefusedError,
    Request,
    Response,
    clean_text,
    html_response,
    http_date,
    json_response,
    parse_number,
)
from ._store import File, Shard, Store, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._rules import Rules
    from ._streams import Body

_MAX_KEYS: Final = 1_000
_DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NOT_XML: Final = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: "bytes=4-6", "bytes=4-", and "bytes=4" as v3io-py sends it.
_RANGE: Final = re.compile(r"bytes=([0-9]{1,18})-?([0-9]{0,18})")
_APPEND: Final = "-1"
_OBJECT, _DIRECTORY, _SHARD = 1, 2, 3  # __obj_type; only 3 is known from the platform


class Objects:
    """The verbs of plain HTTP, GetItem, GetItems and PutItem over a store."""

    def __init__(self, store: Store, rules: Rules, now: Callable[[], int]) -> None:
        self._store, self._rules, self._now = store, rules, now

    def answer(self, request: Request, path: str) -> Response:
        """Answer a request that names no function."""
        verbs = {"GET": self._get, "HEAD": self._head, "DELETE": self._delete}
        verbs |= {"PUT": self._put, "POST": self._put}
        verb = verbs.get(request.method.upper())
        if verb is None:
            raise RefusedError(Errors.BAD_METHOD)
        return verb(request, path)

    def _get(self, request: Request, path: str) -> Response:
        """Return an object or a part of it; list a directory."""
        if request.is_directory or "/" not in path:
            return self._list(path, request.query)
        file = self._store.find_file(path)
        if file is None:
            raise RefusedError(Errors.NO_SUCH_FILE)
        headers = {"Last-Modified": http_date(file.mtime), "Accept-Ranges": "bytes"}
        return _part(self._store.read_object(path), request.header("Range"), headers)

    def _head(self, request: Request, path: str) -> Response:
        """Return an object's size and time; a directory answers with or without its slash."""
        file = None if request.is_directory else self._store.find_file(path)
        if file is not None:
            times = {"Last-Modified": http_date(file.mtime), "Accept-Ranges": "bytes"}
            return Response(200, {"Content-Length": str(file.size), **times})
        if self._store.has_directory(path):
            return Response(200, {"Content-Length": "0"})
        raise RefusedError(Errors.NO_SUCH_FILE)

    def _put(self, request: Request, path: str) -> Response:
        """Make, replace or append to an object; make a directory."""
        if request.is_directory or "/" not in path:
            self._store.add_directory(path, self._now())
            return Response(200)
        body = request.body
        if request.header("Range") == _APPEND and self._store.find_file(path):
            body = self._store.read_object(path) + body
        if len(body) > self._rules.max_object_bytes:
            return html_response(413)
        self._store.write_object(path, body, self._now())
        return Response(200)

    def _delete(self, request: Request, path: str) -> Response:
        """Remove an object, a shard, or an empty directory."""
        if request.is_directory and "/" in path:
            if self._entries(path):
                raise RefusedError(Errors.NOT_EMPTY)
            stream = self._store.find_stream(path)
            if stream is not None:
                self._store.remove_stream(stream)
            self._store.remove_file(path, is_directory=True)
        elif self._store.find_file(path):
            self._store.remove_file(path)
        else:
            stream, shard = self._shard_at(path)
            self._store.remove_shard(stream, shard.number)
        return Response(204)

    def _shard_at(self, path: str) -> tuple[Stream, Shard]:
        """Return the written shard that a path names, or refuse the request."""
        above, _, name = path.rpartition("/")
        number = parse_number(name)
        stream = None if number is None else self._store.find_stream(above)
        shard = None if stream is None else self._store.find_shard(stream, number or 0)
        if stream is None or shard is None:
            raise RefusedError(Errors.NO_SUCH_FILE)
        return stream, shard

    # what is in a directory

    def _entries(self, path: str) -> list[File]:
        """Return the entries of a directory by name; refuse what is not a directory."""
        if not self._store.has_directory(path):
            raise RefusedError(Errors.NO_SUCH_FILE)
        entries = self._store.children(path)
        stream = self._store.find_stream(path)
        if stream is not None:
            entries += [_shard_file(stream, shard) for shard in self._store.shards(stream)]
        return sorted(entries, key=lambda entry: (entry.key, entry.is_directory))

    def _list(self, path: str, query: str) -> Response:
        """List a directory; ``prefix`` of the query names one below the path."""
        options = {name: clean_text(values[-1]) for name, values in parse_qs(query).items()}
        names = f"{path}/{options.get('prefix', '')}".split("/")
        path = "/".join(name for name in names if name)
        entries = self._entries(path)
        if options.get("prefix-only") == "1":
            entries = [entry for entry in entries if entry.is_directory]
        marker = options.get("marker", "").rstrip("/")
        entries = [entry for entry in entries if entry.key > marker]
        max_keys = parse_number(options.get("max-keys", str(_MAX_KEYS)))
        if max_keys is None:
            raise RefusedError(Errors.INVALID_ARGUMENT)
        max_keys = min(max_keys, _MAX_KEYS)  # the platform never sends more than a thousand
        page = entries[:max_keys]
        container, _, prefix = path.partition("/")
        # v3io-py reads Name, NextMarker, MaxKeys and IsTruncated without asking for them.
        head = {
            "Name": container,
            "Prefix": prefix,
            "Marker": options.get("marker", ""),
            "Delimiter": "/",
            "NextMarker": page[-1].key if page else "",
            "MaxKeys": max_keys,
            "IsTruncated": str(len(page) < len(entries)).lower(),
        }
        full = options.get("prefix-info") == "1"
        lines = [self._line(entry, full=full) for entry in page]
        return _xml("ListBucketResult", _fields(head) + "".join(lines))

    def _line(self, file: File, *, full: bool) -> str:
        """Format one entry of a listing; ``full`` adds what ``prefix-info`` asks for."""
        time = _iso(file.mtime)
        fields: dict[str, object] = {"Prefix": f"{file.key}/"}
        if not file.is_directory:
            fields = {"Key": file.key, "Size": file.size}
        if full or not file.is_directory:
            fields["LastModified"] = time
        if file.last_sequence is not None and self._rules.list_last_sequence_id:
            fields["LastSequenceId"] = file.last_sequence
        if full:
            fields |= {"AccessTime": time, "CreatingTime": time, "Mode": f"0{file.mode:o}"}
            fields |= {"GID": "0", "UID": "0", "InodeNumber": 1}
        stream = self._store.find_stream(file.path) if full and file.is_directory else None
        if stream is not None:
            hours = stream.retention_hours
            fields |= {"ShardCount": stream.shard_count, "RetentionPeriodHours": hours}
            fields["RetentionPeriodSec"] = hours * 3_600
        return _element("CommonPrefixes" if file.is_directory else "Contents", _fields(fields))

    # items

    def get_item(self, request: Request, path: str, body: Body) -> Response:
        """GetItem: attributes of an object or a shard, or of a directory by its slash."""
        file = self._store.find_file(path, is_directory=request.is_directory)
        if file is None and request.is_directory:
            raise RefusedError(Errors.NO_SUCH_FILE)
        file = file or _shard_file(*self._shard_at(path))
        return json_response({"Item": self._item(file, body)})

    def get_items(self, path: str, body: Body) -> Response:
        """GetItems: the objects and shards of a directory, by name, page by page."""
        if body.selects_items:
            raise RefusedError(Errors.INVALID_ARGUMENT)
        marker, limit = body.marker or "", body.limit or 1_000
        entries = self._entries(path)
        entries = [e for e in entries if not e.is_directory and e.key > marker]
        page, is_last = entries[:limit], len(entries) <= limit
        answer = {
            "LastItemIncluded": str(is_last).upper(),
            "NumItems": len(page),
            "Items": [self._item(entry, body) for entry in page],
        }
        if not is_last:  # storey reads on for as long as the key is there
            answer["NextMarker"] = page[-1].key
        return json_response(answer)

    def put_item(self, path: str, body: Body) -> Response:
        """PutItem: give an object attributes; ``UpdateMode`` keeps those it already has."""
        attributes = body.item
        if body.selects_items or attributes is None or "/" not in path:
            raise RefusedError(Errors.INVALID_ARGUMENT)
        if body.update_mode:
            attributes = {**self._store.attributes(path), **attributes}
        self._store.write_object(path, b"", self._now())
        self._store.set_attributes(path, attributes)
        return Response(200)

    def _item(self, file: File, body: Body) -> dict[str, Any]:
        """Return an entry's attributes: ``*`` asks for the user's, ``**`` for all."""
        names = [name.strip() for name in (body.attributes_to_get or "*").split(",")]
        sec, nsec = divmod(file.mtime, SECOND)
        kind = _DIRECTORY if file.is_directory else _OBJECT
        numbers = {
            "__size": file.size,
            "__mtime_secs": sec,
            "__mtime_nsecs": nsec,
            "__mode": file.mode,
            "__uid": 0,
            "__gid": 0,
            "__obj_type": kind if file.last_sequence is None else _SHARD,
            "__last_sequence_num": file.last_sequence,
        }
        system: dict[str, Any] = {n: {"N": str(v)} for n, v in numbers.items() if v is not None}
        system["__name"] = {"S": file.path.rpartition("/")[2]}
        own = {} if file.is_directory else self._store.attributes(file.path)
        if "**" in names:
            return {**system, **own}
        every = {**system, **own}
        asked = {name: every[name] for name in names if name in every}
        return {**own, **asked} if "*" in names else asked


def containers_response(containers: Mapping[str, int]) -> Response:
    """List the containers."""
    lines = [
        _element("Bucket", _fields({"Name": name, "CreationDate": _iso(0), "Id": number}))
        for name, number in containers.items()
    ]
    return _xml("ListAllMyBucketsResult", _element("Buckets", "".join(lines)))


def _part(body: bytes, wanted: str | None, headers: dict[str, str]) -> Response:
    """Answer a range of an object; one that is not valid means all of it, as in HTTP."""
    headers = {**headers, "Content-Type": "application/octet-stream"}
    match = _RANGE.fullmatch(wanted or "")
    if match is None:
        return Response(200, headers, body)
    start = int(match[1])
    stop = min(int(match[2]) + 1, len(body)) if match[2] else len(body)
    if start >= stop:
        return Response(416, {**headers, "Content-Range": f"bytes */{len(body)}"})
    span = f"bytes {start}-{stop - 1}/{len(body)}"
    return Response(206, {**headers, "Content-Range": span}, body[start:stop])


def _shard_file(stream: Stream, shard: Shard) -> File:
    """Return a shard as the object of its stream's directory."""
    path = f"{stream.path}/{shard.number}"
    return File(path, False, shard.bytes, shard.mtime, shard.last)  # noqa: FBT003  # as a row


def _iso(nanoseconds: int) -> str:
    """Format a time for a listing."""
    moment = datetime.fromtimestamp(nanoseconds // SECOND, tz=timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds % SECOND // 1_000_000:03d}Z"


def _xml(root: str, content: str) -> Response:
    body = _DECLARATION + _element(root, content)
    return Response(200, {"Content-Type": "application/xml"}, body.encode())


def _fields(values: Mapping[str, object]) -> str:
    """Format values as child elements; characters that XML cannot hold are replaced."""
    return "".join(
        _element(name, escape(_NOT_XML.sub("\ufffd", str(value)))) for name, value in values.items()
    )


def _element(name: str, content: str) -> str:
    """Format one element around escaped content."""
    return f"<{name}>{content}</{name}>"

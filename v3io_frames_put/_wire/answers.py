"""Answers of the web API -> values; PutRecords and GetRecords have files of their own.

Only a success is read here: the caller has looked at the status. What the protocol
does not allow is a ``ProtocolError``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

from v3io_frames_put._wire.protocol import (
    LAST_SEQUENCE_NUMBER,
    UnreadableJsonError,
    parse_json,
)
from v3io_frames_put.errors import ProtocolError

if TYPE_CHECKING:
    from v3io_frames_put._wire.exchange import Answer

_DIGITS: Final = 18  # of a number that 64 bits surely hold


@dataclass(frozen=True, slots=True)
class StreamDescription:
    """What a stream is made of.

    Attributes
    ----------
    shards : int
        Its shards are numbered from 0 to one less.
    retention_hours : int
        How long a record is surely kept.
    """

    shards: int
    retention_hours: int


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One object of a directory.

    Attributes
    ----------
    key : str
        Its path inside the container.
    last_sequence_number : int or None
        Of a shard, where the platform tells it.
    """

    key: str
    last_sequence_number: int | None


@dataclass(frozen=True, slots=True)
class ListingPage:
    """A page of a directory's content.

    Attributes
    ----------
    objects, directories : tuple
        What is in it; directories end in a slash.
    next_marker : str or None
        Where the next page begins. None: this is the last one.
    """

    objects: tuple[ListedObject, ...]
    directories: tuple[str, ...]
    next_marker: str | None


def parse_description(answer: Answer) -> StreamDescription:
    """Read the answer to DescribeStream."""
    fields = load_object(answer, "DescribeStream")
    return StreamDescription(
        shards=whole_number(fields, "ShardCount", "DescribeStream"),
        retention_hours=whole_number(fields, "RetentionPeriodHours", "DescribeStream"),
    )


def parse_location(answer: Answer) -> str:
    """Read the answer to Seek."""
    location = load_object(answer, "Seek").get("Location")
    if not isinstance(location, str) or not location:
        raise broken("Seek", "it has no Location", answer)
    return location


def parse_last_sequence_number(answer: Answer) -> int | None:
    """Read the answer to GetItem of a shard; None: the shard has no such attribute."""
    item = load_object(answer, "GetItem").get("Item")
    attribute = item.get(LAST_SEQUENCE_NUMBER) if isinstance(item, dict) else None
    number = attribute.get("N") if isinstance(attribute, dict) else None
    return _digits(number)


def parse_listing(answer: Answer) -> ListingPage:
    """Read a page of a directory listing."""
    try:
        # expat bounds entity expansion itself; the platform is who we sent our key to.
        root = ET.fromstring(answer.body)  # noqa: S314
    except (ET.ParseError, LookupError, ValueError) as error:  # the last two: of its encoding
        raise broken("the listing", f"it is not XML ({error})", answer) from error
    objects = tuple(_listed_object(node, answer) for node in _children(root, "Contents"))
    directories = tuple(_text(node, "Prefix") for node in _children(root, "CommonPrefixes"))
    # NextMarker is filled on the last page, too.
    is_cut = _text(root, "IsTruncated").lower() == "true"
    marker = _text(root, "NextMarker")
    if is_cut and not marker:
        raise broken("the listing", "it is cut, and has no NextMarker", answer)
    return ListingPage(objects, directories, marker if is_cut else None)


def load_object(answer: Answer, function: str) -> dict[str, Any]:
    """Read a body that has to be a JSON object."""
    try:
        fields = parse_json(answer.body)
    except UnreadableJsonError as error:
        raise broken(function, f"it {error}", answer) from error
    if not isinstance(fields, dict):
        raise broken(function, "it is not a JSON object", answer)
    return fields


def whole_number(fields: dict[str, Any], name: str, function: str) -> int:
    """Take a field that has to be a whole number."""
    value = fields.get(name)
    if type(value) is not int or value < 0:
        raise ProtocolError(
            f"the answer to {function} has no whole number {name}. "
            f"Check that the endpoint is a v3io web API."
        )
    return value


def broken(function: str, why: str, answer: Answer) -> ProtocolError:
    """Say what is wrong with an answer, without showing its body."""
    return ProtocolError(
        f"the answer to {function} ({len(answer.body):,} bytes) cannot be read: {why}. "
        f"Check that the endpoint is a v3io web API.",
        status=answer.status,
    )


def _listed_object(node: ET.Element, answer: Answer) -> ListedObject:
    key = _text(node, "Key")
    if not key:
        raise broken("the listing", "an entry has no Key", answer)
    # Two spellings are in use: v3io-go reads the first, v3io-py the second.
    number = _text(node, "LastSequenceId") or _text(node, "LastSequenceID")
    return ListedObject(key, _digits(number))


def _digits(text: object) -> int | None:
    """Read a number that is written as text; None: it is none, or none of a record."""
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        return None
    return int(text)


def _children(node: ET.Element, name: str) -> list[ET.Element]:
    """Find children by name, in whatever namespace the platform puts them."""
    return [child for child in node if child.tag.rpartition("}")[2] == name]


def _text(node: ET.Element, name: str) -> str:
    return next(((child.text or "") for child in _children(node, name)), "")

"""Records -> the exact bytes of PutRecords bodies, a column at a time. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .._encode.base64 import encode_base64, join_base64, value_offsets
from .tags import format_tags, number_tags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .._encode.records import Records
    from .._encode.rejections import Rejections

PREFIX: Final = b'{"Records":['
SUFFIX: Final = b"]}"
ENVELOPE_BYTES: Final = len(PREFIX) + len(SUFFIX) - 1  # the first entry's comma is left out
_HEAD: Final = ',{"Data":"'
_PREFIX: Final = pa.array([PREFIX[:-1]], pa.binary())
_SUFFIX: Final = pa.array([SUFFIX], pa.binary())

_NEEDS_ESCAPE: Final = r'["\\\x00-\x1f]'
_ESCAPED: Final = np.array([byte < ord(" ") or byte in b'"\\' for byte in range(256)])
NO_SHARD: Final = -1


@dataclass(frozen=True, slots=True)
class Entries:
    """Encoded records in data order, column by column.

    Attributes
    ----------
    text : BinaryArray
        The entry of each record, its comma first.
    rows : ndarray of int64
        Row numbers, record after record.
    row_counts : ndarray of int32 or None
        Rows of each record. None: one row each.
    destination : ndarray of uint64
        A hash of what must stay in order among itself: a shard or a key; 0: nothing.
    shard : ndarray of int32
        The shard that was asked for, or ``NO_SHARD``.
    body : memoryview or None
        The body that carries these records, once it is built; ``text`` shows a part of it.
    offsets : ndarray of int32
        Where each entry begins in the bytes of ``text``, and where the last one ends.
    nbytes : int
        Bytes of all entries.
    """

    text: pa.BinaryArray
    rows: NDArray[np.int64]
    row_counts: NDArray[np.int32] | None
    destination: NDArray[np.uint64]
    shard: NDArray[np.int32]
    body: memoryview | None = None
    offsets: NDArray[np.int32] = field(init=False, repr=False)
    nbytes: int = field(init=False)

    def __post_init__(self) -> None:
        offsets = value_offsets(self.text)
        object.__setattr__(self, "offsets", offsets)  # used again and again
        object.__setattr__(self, "nbytes", int(offsets[-1] - offsets[0]))

    def __len__(self) -> int:
        return len(self.shard)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each entry."""
        sizes: NDArray[np.int64] = np.diff(self.offsets).astype(np.int64)
        return sizes

    @property
    def num_rows(self) -> int:
        """Rows in all records."""
        return len(self.rows)

    @property
    def tags(self) -> NDArray[np.uint64]:
        """The number of each record's tag, which says which rows it holds."""
        return number_tags(first_rows(self.rows, self.row_counts), self.row_counts)

    def rows_of(self, which: NDArray[Any]) -> NDArray[np.int64]:
        """Return the row numbers of the records that a mask or positions choose."""
        places: NDArray[Any] = which
        if self.row_counts is not None:
            chosen = np.arange(len(self))[which]
            ends = np.cumsum(self.row_counts, dtype=np.int64)
            counts = self.row_counts[chosen]
            steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            places = np.repeat(ends[chosen] - counts, counts) + steps
        rows: NDArray[np.int64] = self.rows[places]
        return rows

    def rows_between(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the row numbers of the records ``start`` to ``stop``, without a copy."""
        if self.row_counts is None:
            return self.rows[start:stop]
        first = int(self.row_counts[:start].sum())
        return self.rows[first : first + int(self.row_counts[start:stop].sum())]

    def spread(self, values: NDArray[Any], which: NDArray[Any]) -> NDArray[Any]:
        """Return the record's value for every row of the chosen records."""
        chosen: NDArray[Any] = values[which]
        return chosen if self.row_counts is None else np.repeat(chosen, self.row_counts[which])

    def take(self, positions: NDArray[np.intp]) -> Entries:
        """Copy some records out, in the order of ``positions``."""
        return Entries(
            text=pc.take(self.text, pa.array(positions)),
            rows=self.rows_of(positions),
            row_counts=None if self.row_counts is None else self.row_counts[positions],
            destination=self.destination[positions],
            shard=self.shard[positions],
        )


class EntryRange:
    """The records ``start`` to ``stop`` of ``entries``: a reference, which costs no copy."""

    __slots__ = ("entries", "nbytes", "start", "stop")

    def __init__(self, entries: Entries, start: int, stop: int) -> None:
        self.entries, self.start, self.stop = entries, start, stop
        self.nbytes = int(entries.offsets[stop] - entries.offsets[start])

    @property
    def first_row(self) -> int:
        """The first row of the first record."""
        if self.entries.row_counts is None:
            return int(self.entries.rows[self.start])
        return int(self.entries.rows_between(self.start, self.stop)[0])

    def count_fitting(self, room: int, records: int) -> int:
        """Return how many of the leading entries fit ``room`` bytes; at most ``records``."""
        count = self.stop - self.start
        if count <= records and self.nbytes <= room:
            return count
        offsets, start = self.entries.offsets, self.start
        count = min(count, records)
        end = int(offsets[start]) + room
        if offsets[start + count] <= end:
            return count
        return int(offsets[start + 1 : start + count + 1].searchsorted(end, side="right"))

    def split(self, count: int) -> tuple[EntryRange, EntryRange | None]:
        """Return the first ``count`` records, and the others if there are any."""
        middle = self.start + count
        if middle == self.stop:
            return self, None
        return (
            EntryRange(self.entries, self.start, middle),
            EntryRange(self.entries, middle, self.stop),
        )

    def take(self, positions: NDArray[np.intp]) -> Entries:
        """Copy some of the records out; ``positions`` count from ``start``."""
        return self.entries.take(positions + self.start)

    def copy(self) -> EntryRange:
        """Return the same records in memory of their own."""
        count = self.stop - self.start
        return EntryRange(self.take(np.arange(count)), 0, count)


@dataclass(frozen=True, slots=True)
class EncodedRecords:
    """Consecutive rows, ready to send; each is in one of the entries or rejected."""

    num_rows: int
    entries: Entries
    rejections: Rejections


def encode_records(records: Records, run_id: bytes | None = None) -> EncodedRecords:
    """Encode the records of a window; ``run_id`` tags each record as of that run."""
    routes, shard, destination = records.routes, records.routes.shard, records.destination
    if run_id is not None:  # tags take the place of the records' own client info
        firsts = first_rows(records.rows, records.row_counts)
        info: pa.StringArray | None = format_tags(run_id, firsts, records.row_counts)
    else:
        info = None if routes.client_info is None else encode_base64(routes.client_info)
    pieces = [
        *_field('","ClientInfo":"', info),
        *_field('","PartitionKey":"', _escape(routes.partition_key)),
        '"',
        *_field(',"ShardId":', None if shard is None else shard.cast(pa.string())),
        "}",
    ]
    count = len(records.data)
    entries = Entries(
        text=join_base64(_HEAD, records.data, *pieces).view(pa.binary()),
        rows=records.rows,
        row_counts=records.row_counts,
        destination=np.zeros(count, np.uint64) if destination is None else destination,
        shard=np.full(count, NO_SHARD, np.int32)
        if shard is None
        else np.asarray(shard.fill_null(NO_SHARD), np.int32),
    )
    return EncodedRecords(records.num_rows, entries, records.rejections)


def first_rows(rows: NDArray[np.int64], row_counts: NDArray[np.int32] | None) -> NDArray[np.int64]:
    """Return each record's first row among the rows of all."""
    return rows if row_counts is None else rows[np.cumsum(row_counts) - row_counts]


def join_entries(ranges: Sequence[EntryRange]) -> Entries:
    """Join ranges of records, each at least one, in a body of their own."""
    texts: list[pa.BinaryArray] = []
    rows: list[NDArray[np.int64]] = []
    row_counts: list[NDArray[np.int32]] = []
    destinations: list[NDArray[np.uint64]] = []
    shards: list[NDArray[np.int32]] = []
    for part in ranges:
        entries, records = part.entries, slice(part.start, part.stop)
        texts.append(entries.text[records])
        rows.append(entries.rows_between(part.start, part.stop))
        destinations.append(entries.destination[records])
        shards.append(entries.shard[records])
        if entries.row_counts is not None:
            row_counts.append(entries.row_counts[records])
    text, body = _join_body(texts)
    return Entries(
        text=text,
        rows=np.concatenate(rows),
        row_counts=np.concatenate(row_counts) if row_counts else None,
        destination=np.concatenate(destinations),
        shard=np.concatenate(shards),
        body=body,
    )


def _join_body(texts: Sequence[pa.BinaryArray]) -> tuple[pa.BinaryArray, memoryview]:
    """Join entries in a body, and return them as a part of it, so that one copy is held.

    Each entry begins with a comma; the first one's is overwritten by the end of the prefix:

        {"Records":   ,{"Data":"YQ=="}   ,{"Data":"Yg=="}   ]}
        {"Records":   [{"Data":"YQ=="}   ,{"Data":"Yg=="}   ]}
    """
    whole = pa.concat_arrays([_PREFIX, *texts, _SUFFIX])
    body = whole.buffers()[2]
    np.frombuffer(body, np.uint8)[len(PREFIX) - 1] = PREFIX[-1]
    return whole.slice(1, len(whole) - 2), memoryview(body).cast("B").toreadonly()


def _field(name: str, text: pa.StringArray | None) -> list[pa.StringArray | str]:
    """Return the pieces of a field, which ends the one before; none where it is null."""
    if text is None:
        return []
    if not text.null_count:
        return [name, text]
    return [pc.if_else(text.is_valid(), name, ""), text.fill_null("")]


def _escape(keys: pa.StringArray | None) -> pa.StringArray | None:
    """Escape keys as JSON; only those that need it cost more than a look."""
    if keys is None or (values := keys.buffers()[2]) is None:
        return keys
    offsets = value_offsets(keys)
    if not _ESCAPED[np.frombuffer(values, np.uint8)[offsets[0] : offsets[-1]]].any():
        return keys
    odd = pc.fill_null(pc.match_substring_regex(keys, _NEEDS_ESCAPE), False)  # noqa: FBT003
    texts = [msgspec.json.encode(key)[1:-1].decode() for key in keys.filter(odd).to_pylist()]
    return pc.replace_with_mask(keys, odd, pa.array(texts, pa.string()))


def build_body(entries: Entries) -> memoryview:
    """Return the body that carries the entries, at least one."""
    return _join_body([entries.text])[1] if entries.body is None else entries.body

"""What a dead connection may still store, and where scans saw it."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .._wire.responses import NOWHERE
from .._wire.tags import split_tags
from .values import Copy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from .._wire.responses import PutAnswer
    from .accumulator import Batch

POSITION: Final = np.dtype(
    [
        ("key", np.uint64),
        ("sequence_number", np.int64),
        ("shard_id", np.int32),
        ("record_row", np.int32),
    ]
)
"""Where a record (its key is its tag) or a row is stored: 24 bytes, for there may be millions."""


def make_positions(
    keys: NDArray[Any],
    shard_id: Any = NOWHERE,
    sequence_number: Any = NOWHERE,
    record_row: Any = 0,
) -> NDArray[Any]:
    """Return an array of positions; a value serves all, an array has one each."""
    positions = np.empty(len(keys), POSITION)
    positions["key"], positions["shard_id"] = keys, shard_id
    positions["sequence_number"], positions["record_row"] = sequence_number, record_row
    return positions


def is_elsewhere(found: NDArray[Any], known: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which positions are not the known ones of the same keys."""
    is_other: NDArray[np.bool_] = found["shard_id"] != known["shard_id"]
    is_other |= found["sequence_number"] != known["sequence_number"]
    return is_other


def sort_positions(*parts: NDArray[Any]) -> NDArray[Any]:
    """Return the distinct positions by key, the first one of a key first."""
    positions = np.concatenate(parts)
    positions = positions[
        np.lexsort((positions["sequence_number"], positions["shard_id"], positions["key"]))
    ]
    is_new: NDArray[np.bool_] = np.r_[True, positions[1:] != positions[:-1]][: len(positions)]
    return positions[is_new]


def first_positions(positions: NDArray[Any], keys: NDArray[Any]) -> NDArray[Any]:
    """Return the first position of each key among sorted ones; NOWHERE: there is none."""
    at, is_there = find_keys(positions, keys)
    first = make_positions(keys)
    first[is_there] = positions[at[is_there]]
    return first


def find_keys(
    positions: NDArray[Any], keys: NDArray[Any]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return where the first position of each key is among sorted ones, and whether it is there."""
    keys = keys.astype(np.uint64, copy=False)  # else both would be compared as floats
    at = np.searchsorted(positions["key"], keys)
    if not len(positions):
        return at, np.zeros(len(keys), np.bool_)
    is_there: NDArray[np.bool_] = positions["key"][np.minimum(at, len(positions) - 1)] == keys
    return at, is_there


def lowest_watermark(watermarks: Iterable[NDArray[np.int64] | None]) -> NDArray[np.int64]:
    """Return the lowest watermark of each shard; beyond its end, a watermark is 0.

    None: there is no watermark, so it lowers nothing.
    """
    given = [watermark for watermark in watermarks if watermark is not None]
    shards = min(map(len, given))
    return reduce(np.minimum, (watermark[:shards] for watermark in given))


class InDoubt:
    """What requests without an answer may still store, by keys, and the copies that scans saw.

    Subclasses say what a key is: a record's tag, or a row.
    """

    def __init__(self) -> None:
        self._known = np.empty(0, POSITION)  # where each is known to be stored, by key
        self._copies = np.empty(0, POSITION)  # that scans saw elsewhere

    def contains(self, keys: NDArray[Any]) -> NDArray[np.bool_]:
        return find_keys(self._known, keys)[1]

    def note_positions(self, positions: NDArray[Any]) -> None:
        """Note where keys in doubt are stored, one position for each; others are left out."""
        at, is_there = find_keys(self._known, positions["key"])
        self._known[at[is_there]] = positions[is_there]

    def _positions(self, keys: NDArray[Any]) -> NDArray[Any]:
        """Return where keys in doubt are known to be stored; NOWHERE: it is not known."""
        return first_positions(self._known, keys)

    def _add_copies(self, found: NDArray[Any], known: NDArray[Any]) -> None:
        """Note the positions that are not the known ones."""
        self._copies = sort_positions(self._copies, found[is_elsewhere(found, known)])

    def duplicates(self) -> list[Copy]:
        """Return copies that are stored besides the position that is known."""
        known = self._positions(self._copies["key"])
        copies = self._to_copies(self._copies[is_elsewhere(self._copies, known)])
        return [copy._replace(record_row=0) for copy in copies]

    def late(self) -> list[Copy]:
        """Return copies of rows that had been recorded as not, or maybe, stored."""
        keys = self._copies["key"]
        is_nowhere = self._positions(keys)["shard_id"] == NOWHERE
        return self._to_copies(self._copies[self.contains(keys) & is_nowhere])

    def unseen_rows(self) -> list[int]:
        """Return the rows that are not known to be stored."""
        rows_of = self._rows(self._known["key"][self._known["shard_id"] == NOWHERE])
        return [row for rows in rows_of.values() for row in rows]

    def _to_copies(self, positions: NDArray[Any]) -> list[Copy]:
        """Return the positions of keys for each of their rows."""
        rows_of = self._rows(positions["key"])
        return [
            Copy(row, shard, number, record_row)
            for key, number, shard, first in positions.tolist()
            for record_row, row in enumerate(rows_of[key], first)
        ]

    def _rows(self, keys: NDArray[np.uint64]) -> Mapping[int, Sequence[int]]:
        """Return the rows of each key."""
        raise NotImplementedError


class RecordsInDoubt(InDoubt):
    """All records of this process that a dead connection may still deliver.

    They go by tags, a few bytes each, however many rows a record has.
    """

    def __init__(self) -> None:
        super().__init__()
        # Per shard, the number after which all of them are stored. None: there are none.
        self.low_watermark: NDArray[np.int64] | None = None
        # Tags whose rows do not follow each other, and how far each row is after the one before:
        # as small numbers, for a pack may hold thousands.
        self._spread_packs: list[tuple[NDArray[np.uint64], NDArray[Any]]] = []

    def add(self, batch: Batch) -> None:
        batch.state["was_in_doubt"] = True
        self.low_watermark = lowest_watermark([self.low_watermark, batch.low_watermark])
        tags = batch.entries.tags
        is_new = ~self.contains(tags)
        new = make_positions(np.sort(tags[is_new]))
        at = np.searchsorted(self._known["key"], new["key"])
        self._known = np.insert(self._known, at, new)
        if batch.entries.row_counts is not None:
            tags, rows = tags[is_new], batch.entries.rows_of(is_new)
            counts = split_tags(tags)[1]
            steps = np.diff(rows, prepend=rows[:1])
            steps[np.cumsum(counts) - counts] = 0  # the tag has the first row of each
            if steps.max(initial=0) > 1:
                smallest = np.min_scalar_type(steps.max())
                self._spread_packs.append((tags, steps.astype(smallest)))

    def note_stored(self, batch: Batch, stored: NDArray[np.intp], answer: PutAnswer) -> None:
        """Note where an answer says that records in doubt are stored."""
        at = stored[batch.state["was_in_doubt"][stored]]
        if len(at):
            shards, numbers = answer.shard_id[at], answer.sequence_number[at]
            self.note_positions(make_positions(batch.entries.tags[at], shards, numbers))

    def note_copies(self, found: NDArray[Any]) -> None:
        """Note wherever a scan saw records in doubt."""
        found = found[self.contains(found["key"])]
        self._add_copies(found, self._positions(found["key"]))

    def _rows(self, tags: NDArray[np.uint64]) -> dict[int, Sequence[int]]:
        """Return the rows of each record by its tag."""
        columns = (column.tolist() for column in (tags, *split_tags(tags)))
        rows: dict[int, Sequence[int]] = {
            tag: range(first, first + count) for tag, first, count in zip(*columns, strict=True)
        }
        for held, steps in self._spread_packs:
            firsts, counts = split_tags(held)
            ends = np.cumsum(counts)
            for at in np.flatnonzero(np.isin(held, tags)).tolist():
                after_first = np.cumsum(steps[ends[at] - counts[at] : ends[at]], dtype=np.int64)
                rows[int(held[at])] = (firsts[at] + after_first).tolist()
        return rows

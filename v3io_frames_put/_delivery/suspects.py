"""Records whose outcome was unknown once: what is known of them, and where copies stand.

Values, and one collection of them; reading the stream is ``scan``'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from v3io_frames_put._delivery.scan import (
    NOWHERE,
    PLACE,
    find_tags,
    lower_floor,
    make_places,
    sort_places,
)
from v3io_frames_put._wire.tags import split_tags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from v3io_frames_put._delivery.batch import Batch
    from v3io_frames_put._wire.put_answers import PutAnswer


class Copy(NamedTuple):
    """Where a row stands, too."""

    row: int
    shard_id: int
    sequence_number: int


@dataclass(slots=True)
class Lookup:
    """What a scan found out about a batch.

    Attributes
    ----------
    batch : Batch
        What was looked for.
    places : ndarray of PLACE
        Per record, where it stands, or ``NOWHERE``.
    is_proven : ndarray of bool
        Per record: if it was not found, it is not there.
    """

    batch: Batch
    places: NDArray[Any]
    is_proven: NDArray[np.bool_]


class Suspects:
    """All records of a run that a dead connection may still deliver.

    Attributes
    ----------
    floor : ndarray of int64 or None
        Per shard, the number behind which all of them stand. None: there are none.
    """

    def __init__(self) -> None:
        self.floor: NDArray[np.int64] | None = None
        # Where each is known to stand, by tag. Each part is at least twice as long as the
        # next, so that the many that are added, some at a time, are seldom sorted again.
        self._parts: list[NDArray[Any]] = []
        self._packs: list[tuple[NDArray[np.uint64], NDArray[np.int64]]] = []  # tags, their rows
        self._copies = np.empty(0, PLACE)  # that scans saw elsewhere

    def add(self, batch: Batch) -> None:
        """Suspect the records of a batch whose request ended unknown."""
        batch.is_suspect[:] = True
        assert batch.floor is not None  # noqa: S101  # it was sent
        self.floor = batch.floor if self.floor is None else lower_floor(self.floor, batch.floor)
        tags = batch.entries.tags
        is_new = ~self.among(tags)
        part = make_places(np.sort(tags[is_new]))
        while self._parts and len(self._parts[-1]) < 2 * len(part):
            part = sort_places(self._parts.pop(), part)
        self._parts.append(part)
        if batch.entries.row_counts is not None:
            self._packs.append((tags[is_new], batch.entries.rows_of(is_new)))

    def among(self, tags: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Tell which tags are of suspects."""
        suspected = np.zeros(len(tags), np.bool_)
        for _, _, is_there in self._find(tags):
            suspected |= is_there
        return suspected

    def _find(
        self, tags: NDArray[np.uint64]
    ) -> Iterator[tuple[NDArray[Any], NDArray[np.intp], NDArray[np.bool_]]]:
        """Go through the parts: where in each its tags are, and which of ``tags`` these are."""
        for part in self._parts:
            at, is_there = find_tags(part, tags)
            yield part, at[is_there], is_there

    def note_stored(self, batch: Batch, stored: NDArray[np.intp], told: PutAnswer) -> None:
        """Note where an answer says that suspects stand."""
        at = stored[batch.is_suspect[stored]]
        if len(at):
            shards, numbers = told.shard_id[at], told.sequence_number[at]
            self.note_places(make_places(batch.entries.tags[at], shards, numbers))

    def note_places(self, places: NDArray[Any]) -> None:
        """Note where suspects are known to stand, one place for each."""
        for part, at, is_there in self._find(places["tag"]):
            part[at] = places[is_there]

    def _places(self, tags: NDArray[np.uint64]) -> NDArray[Any]:
        """Return where suspects are known to stand."""
        places = make_places(tags)
        for part, at, is_there in self._find(tags):
            places[is_there] = part[at]
        return places

    def note_copies(self, found: NDArray[Any]) -> None:
        """Note wherever a scan saw suspects."""
        is_elsewhere = np.zeros(len(found), np.bool_)
        for part, at, is_there in self._find(found["tag"]):
            for name in ("shard_id", "sequence_number"):
                is_elsewhere[is_there] |= part[name][at] != found[name][is_there]
        self._copies = sort_places(self._copies, found[is_elsewhere])

    def duplicates(self) -> list[Copy]:
        """List copies that stand besides the place where a record is known to stand."""
        return self._spread(self._copies[self._copies != self._places(self._copies["tag"])])

    def late(self) -> list[Copy]:
        """List copies of records that had been settled as not, or maybe, stored."""
        return self._spread(self._copies[self._places(self._copies["tag"])["shard_id"] == NOWHERE])

    def _spread(self, places: NDArray[Any]) -> list[Copy]:
        """Give the rows of records their records' places."""
        rows_of = dict(self._rows(places["tag"]))
        told = (places[name].tolist() for name in ("tag", "shard_id", "sequence_number"))
        return [
            Copy(row, shard, number)
            for tag, shard, number in zip(*told, strict=True)
            for row in rows_of[tag]
        ]

    def _rows(self, tags: NDArray[np.uint64]) -> Iterator[tuple[int, list[int]]]:
        """Tell which rows records hold."""
        if not self._packs:
            yield from zip(tags.tolist(), split_tags(tags)[0][:, None].tolist(), strict=True)
        for held, rows in self._packs:
            counts = split_tags(held)[1]
            ends = np.cumsum(counts)
            for at in np.flatnonzero(np.isin(held, tags)).tolist():
                yield int(held[at]), rows[ends[at] - counts[at] : ends[at]].tolist()

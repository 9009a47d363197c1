"""Records whose outcome was unknown once: what is known of them, and where copies stand.

Values, and one collection of them; reading the stream is ``scan``'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from v3io_frames_put._delivery.scan import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from v3io_frames_put._delivery.batch import Batch
    from v3io_frames_put._wire.put_answers import PutAnswer
    from v3io_frames_put._wire.tags import Tag


class Copy(NamedTuple):
    """Where a row stands, too."""

    row: int
    shard_id: int
    sequence_number: int


@dataclass(slots=True)
class Suspect:
    """A record that a dead connection may still deliver.

    Attributes
    ----------
    rows : ndarray of int64
        Its rows.
    floor : ndarray of int64
        The highest number of each shard before it was first sent.
    place : Place or None
        Where it is known to stand. None: it ended unknown.
    copies : set of Place
        Wherever scans saw it.
    """

    rows: NDArray[np.int64]
    floor: NDArray[np.int64]
    place: Place | None = None
    copies: set[Place] = field(default_factory=set)


@dataclass(slots=True)
class Lookup:
    """What a scan found out about a batch.

    Attributes
    ----------
    batch : Batch
        What was looked for.
    places : list of (Place or None)
        Per record, where it stands.
    is_proven : ndarray of bool
        Per record: if it was not found, it is not there.
    """

    batch: Batch
    places: list[Place | None]
    is_proven: NDArray[np.bool_]


class Suspects:
    """All records of a run that a dead connection may still deliver."""

    def __init__(self) -> None:
        self._of: dict[Tag, Suspect] = {}

    def add(self, batch: Batch) -> None:
        """Suspect the records of a batch whose request ended unknown."""
        batch.is_suspect[:] = True
        assert batch.floor is not None  # noqa: S101  # it was sent
        for at, tag in enumerate(batch.entries.tags):
            rows = batch.entries.rows_of(np.array([at]))
            self._of.setdefault(tag, Suspect(rows, batch.floor))

    def __contains__(self, tag: Tag) -> bool:
        return tag in self._of

    def floors(self) -> list[NDArray[np.int64]]:
        """Per suspect, the number in each shard behind which it stands."""
        return [one.floor for one in self._of.values()]

    def note_stored(self, batch: Batch, stored: NDArray[np.intp], told: PutAnswer) -> None:
        """Note where an answer says that suspects stand."""
        if not batch.is_suspect.any():
            return
        tags = batch.entries.tags
        for at in stored[batch.is_suspect[stored]]:
            place = Place(int(told.shard_id[at]), int(told.sequence_number[at]))
            self._of[tags[at]].place = place

    def note_place(self, tag: Tag, place: Place | None) -> None:
        """Note where a look-up found a suspect; None: nowhere."""
        self._of[tag].place = place

    def note_copies(self, found: Mapping[Tag, Iterable[Place]]) -> None:
        """Note wherever a scan saw suspects."""
        for tag in found.keys() & self._of.keys():
            self._of[tag].copies.update(found[tag])

    def duplicates(self) -> list[Copy]:
        """List copies that stand besides the place where a record is known to stand."""
        return [
            Copy(int(row), *place)
            for suspect in self._of.values()
            for place in sorted(suspect.copies - {suspect.place})
            for row in suspect.rows
        ]

    def late(self) -> list[Copy]:
        """List rows that scans saw after they had been settled as not, or maybe, stored."""
        return [
            Copy(int(row), *min(suspect.copies))
            for suspect in self._of.values()
            if suspect.place is None and suspect.copies
            for row in suspect.rows
        ]

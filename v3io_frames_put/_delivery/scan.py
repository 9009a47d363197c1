"""One reading of a stream's shards: which tags stand where, and what is proven absent.

Pure. A scan knows what it looks for and from where; what it reads is handed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from v3io_frames_put._delivery.errands import Start, scan_shard
from v3io_frames_put._wire.batches import NO_SHARD
from v3io_frames_put._wire.tags import read_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from v3io_frames_put._delivery.batch import Batch
    from v3io_frames_put._delivery.errands import Errand, Survey
    from v3io_frames_put._wire.paths import StreamPath
    from v3io_frames_put._wire.record_pages import RecordPage


NOWHERE: Final = -1  # the shard of a record that is known to stand in none
PLACE: Final = np.dtype(
    [("tag", np.uint64), ("sequence_number", np.int64), ("shard_id", np.int32)], align=True
)
"""Where a record stands: 24 bytes, for there may be millions in doubt at once."""


def make_places(
    tags: NDArray[np.uint64], shard_id: Any = NOWHERE, sequence_number: Any = NOWHERE
) -> NDArray[Any]:
    """Put together where records stand; a value serves all, an array has one each."""
    places = np.empty(len(tags), PLACE)
    places["tag"], places["shard_id"] = tags, shard_id
    places["sequence_number"] = sequence_number
    return places


def sort_places(*parts: NDArray[Any]) -> NDArray[Any]:
    """Join places, each once; those of a tag follow one another, the first one first."""
    places = np.concatenate(parts) if len(parts) > 1 else parts[0]
    places = places[np.lexsort((places["sequence_number"], places["shard_id"], places["tag"]))]
    is_new: NDArray[np.bool_] = np.r_[True, places[1:] != places[:-1]][: len(places)]
    return places[is_new]


def find_tags(
    places: NDArray[Any], tags: NDArray[np.uint64]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Find where the first place of each tag is among sorted ones, and whether it is."""
    at = np.searchsorted(places["tag"], tags)
    if not len(places):
        return at, np.zeros(len(tags), np.bool_)
    is_there: NDArray[np.bool_] = places["tag"][np.minimum(at, len(places) - 1)] == tags
    return at, is_there


def first_places(places: NDArray[Any], tags: NDArray[np.uint64]) -> NDArray[Any]:
    """Return the first place of each tag among sorted ones, or none."""
    at, is_there = find_tags(places, tags)
    first = make_places(tags)
    first[is_there] = places[at[is_there]]
    return first


def lower_floor(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the lower one of two floors in each shard; behind its end, a floor is 0."""
    shards = min(len(one), len(other))
    lower: NDArray[np.int64] = np.minimum(one[:shards], other[:shards])
    return lower


@dataclass(slots=True)
class Scan:
    """One reading of all shards that may hold what is looked for.

    Attributes
    ----------
    run_id : bytes
        Whose tags.
    floor : ndarray of int64
        Per shard, the number behind which to begin; behind its end, 0.
    batches : list of Batch
        What is looked for.
    wants : callable, optional
        Tells of which tags to note where they stand. None: every tag of the run.
    gapless : dict of int to bool
        Per shard that was to be read, whether nothing in it was missed.
    """

    run_id: bytes
    floor: NDArray[np.int64]
    batches: list[Batch] = field(default_factory=list)
    wants: Callable[[NDArray[np.uint64]], NDArray[np.bool_]] | None = None
    gapless: dict[int, bool] = field(default_factory=dict)
    _open: set[int] = field(default_factory=set)
    _seen: bytearray = field(default_factory=bytearray)  # places, as they were read

    @property
    def is_over(self) -> bool:
        """Whether every shard has been read."""
        return not self._open

    def errands(
        self, stream: StreamPath, survey: Survey, locations: Mapping[int, str]
    ) -> Iterator[tuple[Errand[bool], Callable[[bool], None]]]:
        """Begin: what to read, and who takes the end of it.

        Parameters
        ----------
        stream : StreamPath
            Of which.
        survey : Survey
            How it stands now; shards that did not grow are not read.
        locations : mapping of int to str
            Where to begin in shards whose number was not told.
        """
        for shard in self._shards(survey):
            number = int(self.floor[shard]) if shard < len(self.floor) else 0
            start = Start(number, None if number else locations.get(shard))
            self.gapless[shard] = not _has_grown(survey, shard, start)
            if not self.gapless[shard]:
                self._open.add(shard)
                yield (
                    scan_shard(stream, shard, start, self._take),
                    partial(self._end_shard, shard),
                )

    def _shards(self, survey: Survey) -> list[int]:
        """List the shards that may hold what is looked for."""
        asked = [batch.entries.shard for batch in self.batches]
        named = set(np.concatenate(asked).tolist()) if asked else {NO_SHARD}
        if NO_SHARD in named:
            # A shard that is named may be none of the stream's: then it holds nothing.
            named = named - {NO_SHARD} | set(range(survey.shards))
        return sorted(named)

    def _take(self, shard: int, page: RecordPage) -> None:
        """Note the tags of this run on a page."""
        at, tags = read_tags(page.records.column("client_info"), self.run_id)
        numbers = np.asarray(page.records.column("sequence_number"))[at]
        places = make_places(tags, shard, numbers)
        self._seen += (places if self.wants is None else places[self.wants(tags)]).tobytes()

    def _end_shard(self, shard: int, is_gapless: bool) -> None:  # noqa: FBT001  # an errand's end
        self.gapless[shard] = is_gapless
        self._open.discard(shard)

    def found(self) -> NDArray[Any]:
        """Hand out where the tags stand, sorted; all shards have been read."""
        seen, self._seen = self._seen, bytearray()
        return sort_places(np.frombuffer(seen, PLACE))

    @property
    def proves_absence(self) -> bool:
        """Whether what was not found anywhere is nowhere."""
        return bool(self.gapless) and all(self.gapless.values())

    def proven(self, batch: Batch) -> NDArray[np.bool_]:
        """Tell for each record whether every shard it may be in was read without a gap."""
        everywhere = self.proves_absence
        return np.array(
            [
                everywhere if shard == NO_SHARD else self.gapless.get(int(shard), False)
                for shard in batch.entries.shard
            ]
        )


def _has_grown(survey: Survey, shard: int, start: Start) -> bool:
    """Whether a shard can hold anything behind a start."""
    if start.location is not None:
        return True
    if shard not in survey.written:
        return start.number > 0  # it was written once: somebody made the stream anew
    return survey.written[shard] != start.number

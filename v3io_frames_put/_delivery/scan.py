"""One reading of a stream's shards: which tags stand where, and what is proven absent.

Pure. A scan knows what it looks for and from where; what it reads is handed in.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from v3io_frames_put._delivery.errands import Start, scan_shard
from v3io_frames_put._wire.batches import NO_SHARD
from v3io_frames_put._wire.tags import Tag, parse_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from v3io_frames_put._delivery.batch import Batch
    from v3io_frames_put._delivery.errands import Errand, Survey
    from v3io_frames_put._wire.paths import StreamPath
    from v3io_frames_put._wire.record_pages import RecordPage


class Place(NamedTuple):
    """Where a record stands."""

    shard_id: int
    sequence_number: int


@dataclass(slots=True)
class Scan:
    """One reading of all shards that may hold what is looked for.

    Attributes
    ----------
    run_id : bytes
        Whose tags.
    floor : ndarray of int64
        Per shard, the number behind which to begin.
    batches : list of Batch
        What is looked for.
    wants : callable, optional
        Whether to note where a tag stands. None: every tag of the run.
    found : dict of Tag to list of Place
        Where each tag stands.
    gapless : dict of int to bool
        Per shard that was to be read, whether nothing in it was missed.
    """

    run_id: bytes
    floor: NDArray[np.int64]
    batches: list[Batch] = field(default_factory=list)
    wants: Callable[[Tag], bool] | None = None
    found: defaultdict[Tag, list[Place]] = field(default_factory=lambda: defaultdict(list))
    gapless: dict[int, bool] = field(default_factory=dict)
    _open: set[int] = field(default_factory=set)

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
        infos = page.records.column("client_info").to_pylist()
        numbers = page.records.column("sequence_number").to_pylist()
        for info, number in zip(infos, numbers, strict=True):
            tag = parse_tag(info, self.run_id)
            if tag is not None and (self.wants is None or self.wants(tag)):
                self.found[tag].append(Place(shard, number))

    def _end_shard(self, shard: int, is_gapless: bool) -> None:  # noqa: FBT001  # an errand's end
        self.gapless[shard] = is_gapless
        self._open.discard(shard)

    def place(self, tag: Tag) -> Place | None:
        """Find the first copy of a tag."""
        return min(self.found.get(tag, ()), default=None)

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

"""What attempts that were cut off stored besides: the driver reads the stream once more.

Only where a task was run again, and only behind where the shards ended before the run.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from v3io_frames_put._cluster.run import remote_stream
from v3io_frames_put._delivery.reading import find_ends, read_shard
from v3io_frames_put._delivery.starts import EARLIEST, Start
from v3io_frames_put._wire.tags import RUN_BYTES, TAG_BYTES, parse_tag

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from v3io_frames_put._cluster.run import ClusterRun

_NOWHERE = -1


class TaskCopy(NamedTuple):
    """A record that stands on the stream, and of which the results do not tell."""

    partition: int
    row: int
    shard_id: int
    sequence_number: int


def places_of(results: pd.DataFrame) -> NDArray[np.int64]:
    """Return where the results say that each row stands: shard and number, or -1."""
    places = results[["shard_id", "sequence_number"]].fillna(_NOWHERE).to_numpy(np.int64)
    return np.where((results["status"] == "stored").to_numpy()[:, None], places, _NOWHERE)


def find_copies(run: ClusterRun, told: Mapping[int, NDArray[np.int64]]) -> list[TaskCopy]:
    """Find what tasks stored besides what their results tell of.

    Parameters
    ----------
    run : ClusterRun
        An ``exactly_once`` run.
    told : mapping of int to ndarray
        `places_of` the results of each partition to look at. None: nothing is read.
    """
    if not told:
        return []
    partition_of = {bytes.fromhex(run.task_id(number)): number for number in told}
    copies = []
    for shard, number, info in _tags(run):
        partition = partition_of.get(info[:RUN_BYTES])
        tag = parse_tag(info, info[:RUN_BYTES])
        if partition is None or tag is None:
            continue
        if tuple(told[partition][tag.first_row]) != (shard, number):
            copies.append(TaskCopy(partition, tag.first_row, shard, number))
    return copies


def _tags(run: ClusterRun) -> Iterator[tuple[int, int, Any]]:
    """Read every tag behind the start of a run, and where it stands."""
    stream = remote_stream(run)
    ends = find_ends(stream, range(stream.describe().shards))
    for shard, end in ends.items():
        start = run.starts.get(str(shard))
        place = EARLIEST if start is None else Start("sequence", start + 1)
        for batch in read_shard(stream, shard, place, end=end, limit=sys.maxsize):
            numbers = batch.column("sequence_number").to_pylist()
            infos = batch.column("client_info").to_pylist()
            for number, info in zip(numbers, infos, strict=True):
                if info is not None and len(info) == TAG_BYTES:
                    yield shard, number, info

"""Receipts of tasks -> the receipt of their run; copies that cut-off attempts stored."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from .. import errors
from .._io.reader import EARLIEST, StartPosition, find_ends, read_shard
from .._producer.reconciler import STARTS_KEPT
from .._producer.values import STATUSES
from .._public import callers_level
from .._wire.responses import NOWHERE
from .._wire.tags import read_tags, split_tags
from ..errors import PartialFailure, UnstoredRowsWarning
from ..results import count_and_first
from ..summary import REASON, add_reasons, describe_unstored, list_reasons
from .run import MAX_REASONS, ClusterRun, remote_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray


def find_copies(
    run: ClusterRun,
    tasks: Sequence[Mapping[str, Any]],
    read_results: Callable[[int], pd.DataFrame],
) -> list[list[int]]:
    """Find what tasks of an ``exactly_once`` run stored besides what is in their results.

    Returns partition, first row, shard and number of each record.

    ``tasks`` are their receipts. Of those that were run again ``read_results`` is asked for
    the results, by partition.
    """
    again = [task["partition"] for task in tasks if task["run_again"]]
    if run.delivery != "exactly_once" or not again:
        return []
    places = {number: _places_of(read_results(number)) for number in again}
    run_ids = {number: bytes.fromhex(run.task_id(number)) for number in again}
    copies = []
    stream = remote_stream(run)
    for shard, end in find_ends(stream, range(stream.describe().shards)).items():
        start = run.starts.get(str(shard))
        place = EARLIEST if start is None else StartPosition("sequence", start + 1)
        for batch in read_shard(stream, shard, place, end=end, limit=sys.maxsize):
            numbers = batch.column("sequence_number").to_pylist()
            for partition, run_id in run_ids.items():
                at, tags = read_tags(batch.column("client_info"), run_id)
                rows = split_tags(tags)[0].tolist()
                for row, number in zip(rows, (numbers[one] for one in at), strict=True):
                    if tuple(places[partition][row]) != (shard, number):
                        copies.append([partition, row, shard, number])
    return copies


def _places_of(results: pd.DataFrame) -> NDArray[np.int64]:
    """Return where each row is stored by the results: shard and number, or -1."""
    places = results[["shard_id", "sequence_number"]].fillna(NOWHERE).to_numpy(np.int64)
    return np.where((results["status"] == "stored").to_numpy()[:, None], places, NOWHERE)


_SUMMED: Final = ("requests", "retried", "bytes", "resumed_rows", "maybe_duplicates")


def merge_receipts(
    run: ClusterRun,
    tasks: Sequence[Mapping[str, Any]],
    *,
    copies: Sequence[list[int]],
    seconds: float,
) -> dict[str, Any]:
    """Merge the receipts of a run's tasks: plain JSON types, at most 20 kB.

    ``copies`` are what the last scan found of tasks that were run again.
    """
    duplicates = _merge_places([task for task in tasks if not task["run_again"]], "duplicates")
    reordered_known = all(task["out_of_order"] is not None for task in tasks)  # not if resumed
    counts = {status: sum(task["counts"][status] for task in tasks) for status in STATUSES}
    stored = counts["stored"]
    failed = [task["error"] for task in tasks if task["error"]]
    return {
        "run_id": run.run_id,
        "stream": str(run.stream),
        "endpoint": str(run.stream.endpoint),
        "delivery": run.delivery,
        "tasks": len(tasks),
        "run_again": count_and_first([t["partition"] for t in tasks if t["run_again"]]),
        "counts": counts,
        **{name: sum(task[name] for task in tasks) for name in _SUMMED},
        "seconds": round(seconds, 3),
        "rows_per_second": round(stored / seconds) if stored and seconds else None,
        "starts": dict(list(run.starts.items())[:STARTS_KEPT]),
        "error": failed[0] if failed else None,
        "reasons": _merge_reasons(tasks),
        "out_of_order": _merge_places(tasks, "out_of_order") if reordered_known else None,
        "duplicates": {
            **count_and_first([*duplicates["first"], *copies]),
            "count": duplicates["count"] + len(copies),
        },
    }


def _merge_reasons(tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    reasons = pd.DataFrame([reason for task in tasks for reason in task["reasons"]])
    if reasons.empty:
        return []
    merged = add_reasons(reasons.astype({"error_code": "Int64"}), REASON[:3])
    return list_reasons(merged.head(MAX_REASONS).drop(columns="labels"))


def _merge_places(tasks: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Merge counted lists of rows, each row after its partition."""
    first = [
        [task["partition"], *(place if isinstance(place, (list, tuple)) else [place])]
        for task in tasks
        for place in task[name]["first"]
    ]
    return {**count_and_first(first), "count": sum(task[name]["count"] for task in tasks)}


def report_unstored(receipt: Mapping[str, Any], results: Any, *, on_error: str) -> None:
    """Raise why a run ended early; raise, or warn of, rows that are not stored.

    ``results`` reads the results; it is ``.results`` of what is raised.
    """
    if receipt["error"] is not None:
        kind = getattr(errors, receipt["error"]["type"])
        raise with_results(kind(receipt["error"]["message"]), results)
    if receipt["counts"]["stored"] == sum(receipt["counts"].values()):
        return
    message = describe_unstored(receipt["counts"], receipt["reasons"])
    if on_error == "raise":
        raise with_results(PartialFailure(message), results)
    warnings.warn(message, UnstoredRowsWarning, stacklevel=callers_level())


def with_results(error: Any, results: Any) -> Any:
    """Give an error the table of what became of the rows."""
    error.results = results
    return error

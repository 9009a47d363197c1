"""The results of an earlier run -> what is left to do.

Checked before anything is sent: a run is resumed under its own run id, on the same
data, stream and mapping.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from v3io_frames_put._delivery.outcome_pages import (
    BLANK,
    NO_CODE,
    NOT_GIVEN,
    STATUSES,
    Earlier,
    Texts,
)
from v3io_frames_put._delivery.suspects import Copy, Past
from v3io_frames_put.config import MAX_SHARDS
from v3io_frames_put.errors import ConfigError
from v3io_frames_put.results import ATTRS_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from v3io_frames_put._delivery.policy import DeliveryMode
    from v3io_frames_put._delivery.scan import Place
    from v3io_frames_put._rows.plan import RowPlan
    from v3io_frames_put._wire.tags import Tag
    from v3io_frames_put.upload import Upload

_NUMBERS: Final = {
    "shard_id": -1,
    "sequence_number": -1,
    "error_code": NO_CODE,
    "attempts": 0,
    "record_row": -1,
}
_AGAIN: Final = "Give the frame that put_records returned, or that an error carried as .results."


def digest_mapping(plan: RowPlan, **options: Any) -> str:
    """Digest what becomes of which column: 16 hexadecimal digits.

    Labels count by their text, arrays only by being given.
    """
    columns = [(column.name, str(column.type)) for column in plan.columns]
    told = {name: value if _is_plain(value) else "array" for name, value in options.items()}
    text = json.dumps([columns, told], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (str, bytes, int, float))


def check_resume(
    results: object, *, plan: RowPlan, stream: str, delivery: str, mapping: str
) -> Mapping[str, Any]:
    """Check that results belong to the data, the stream and the options; return the receipt.

    Raises
    ------
    ConfigError
        They do not. Nothing was sent.
    """
    receipt = results.attrs.get(ATTRS_KEY) if isinstance(results, pd.DataFrame) else None
    if not isinstance(results, pd.DataFrame) or not isinstance(receipt, dict):
        raise ConfigError(f"resume: expected results with their receipt in attrs. {_AGAIN}")
    if plan.num_rows is None:
        raise ConfigError(
            "resume: the data is a stream of unknown length, which cannot be read twice. "
            "Give a table, a dataset or a DataFrame."
        )
    index = pd.RangeIndex(plan.num_rows) if plan.index is None else plan.index
    if len(results) != plan.num_rows or not results.index.equals(index):
        raise ConfigError(
            f"resume: the results tell of {len(results):,} rows, the data has "
            f"{plan.num_rows:,}, on another index. Give the data of that run, unchanged."
        )
    for name, now in (("stream", stream), ("delivery", delivery), ("mapping", mapping)):
        if receipt.get(name) != now:
            raise ConfigError(
                f"resume: the {name} is not the earlier run's ({receipt.get(name)}, now {now}). "
                f"Use the same stream and options, or start anew without resume."
            )
    return receipt


def read_earlier(results: pd.DataFrame, delivery: DeliveryMode) -> Earlier:
    """Read what is left to do from checked results.

    Stored rows are final. Unknown ones are final with ``at_most_once``, in doubt with
    ``at_least_once``, and with ``exactly_once`` until they are looked up.
    """
    texts = Texts()
    pages = np.full(len(results), BLANK)
    status = results["status"].cat.set_categories(list(STATUSES)).cat.codes.to_numpy()
    pages["status"] = status
    pages["maybe_duplicate"] = results["maybe_duplicate"].to_numpy(np.bool_)
    for name, missing in _NUMBERS.items():
        if name in results:
            pages[name] = results[name].fillna(missing).to_numpy(np.int64)
    for name in ("error_message", "error_detail"):
        codes, values = pd.factorize(results[name])
        numbers = np.array([texts.number(str(value)) for value in values] + [-1], np.int32)
        pages[name] = numbers[codes]
    is_unknown = status == STATUSES.index("unknown")
    is_stored = status == STATUSES.index("stored")
    return Earlier(
        pages=pages,
        texts=texts,
        is_final=is_stored | is_unknown if delivery == "at_most_once" else is_stored,
        in_doubt=is_unknown & (delivery != "at_most_once"),
    )


def look_back(
    earlier: Earlier, receipt: Mapping[str, Any], rows_of: Callable[[Tag], NDArray[np.int64]]
) -> Past:
    """Say what of an ``exactly_once`` run has to be looked up before it goes on.

    Parameters
    ----------
    earlier : Earlier
        What is left to do; what is found is written into it.
    receipt : mapping
        The run's; a shard whose start it does not tell is read from its beginning.
    rows_of : callable
        Finds the rows of the record with a tag.
    """
    floor = np.zeros(MAX_SHARDS, np.int64)
    starts: dict[str, int] = receipt.get("starts", {})
    for shard, number in starts.items():
        floor[int(shard)] = number
    unknown = earlier.pages["status"] == STATUSES.index("unknown")

    def take(found: Mapping[Tag, list[Place]], proves_absence: bool) -> bool:  # noqa: FBT001
        for tag, places in found.items():
            rows = rows_of(tag)
            places_in_record = np.arange(len(rows))
            still_open = ~earlier.is_final[rows]
            first = min(places)
            earlier.finish(
                rows[still_open],
                "stored",
                shard_id=first.shard_id,
                sequence_number=first.sequence_number,
                error_code=NO_CODE,
                error_message=-1,
                error_detail=-1,
                record_row=places_in_record[still_open],
            )
        if not proves_absence:
            # What cannot be proven absent is not sent again.
            earlier.is_final[unknown] = True
        earlier.in_doubt[:] = False
        return bool((unknown & ~earlier.is_final).any())

    return Past(floor, take, partial(_compare, earlier, rows_of), starts)


def _compare(
    earlier: Earlier,
    rows_of: Callable[[Tag], NDArray[np.int64]],
    found: Mapping[Tag, list[Place]],
) -> tuple[list[Copy], list[Copy]]:
    """List rows that stand where the results do not say; see ``Past``."""
    late, duplicates = [], []
    shards, numbers = earlier.pages["shard_id"], earlier.pages["sequence_number"]
    for tag, places in found.items():
        for row in rows_of(tag).tolist():
            told = (shards[row], numbers[row])
            if told[0] == NOT_GIVEN:
                late.append(Copy(row, *min(places)))
            else:
                duplicates += [Copy(row, *place) for place in places if place != told]
    return late, duplicates


def find_tagged_rows(plan: RowPlan) -> Callable[[Tag], NDArray[np.int64]]:
    """Make a function that finds the rows of a tag: so many of one destination, in order."""
    encodable, destination = plan.destinations()
    order = np.argsort(destination, kind="stable")
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))

    def rows_of(tag: Tag) -> NDArray[np.int64]:
        at = place[np.searchsorted(encodable, tag.first_row)]
        return encodable[order[at : at + tag.row_count]]

    return rows_of


def find_overtaken(
    plan: RowPlan, earlier: Earlier, is_stored: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Find the rows that stand behind later ones of their destination by being resumed.

    An earlier run stored rows of a destination behind one that it left open. Unless
    all that it stored stands before, this goes through the data once more, for the
    destinations.

    Parameters
    ----------
    plan, earlier
        Of the resumed run.
    is_stored : ndarray of bool
        Per row, whether it is stored now.
    """
    was_stored = earlier.is_final & (earlier.pages["status"] == STATUSES.index("stored"))
    before, now = np.flatnonzero(was_stored), np.flatnonzero(is_stored & ~was_stored)
    if not len(before) or not len(now) or before[-1] < now[0]:
        return np.zeros(0, np.int64)  # whatever the destinations are
    rows, destination = plan.destinations()
    _, group = np.unique(destination, return_inverse=True)
    last_before = np.full(len(rows), -1, np.int64)
    np.maximum.at(last_before, group[was_stored[rows]], rows[was_stored[rows]])
    came_late = is_stored[rows] & ~was_stored[rows] & (destination != 0)
    overtaken: NDArray[np.int64] = rows[came_late & (rows < last_before[group])]
    return overtaken


def take_up(job: Upload, results: pd.DataFrame) -> Upload:
    """Turn an upload into the resumption of the run that left these results.

    Raises
    ------
    ConfigError
        They belong to other data, another stream or other options. Nothing was sent.
    """
    delivery = job.policy.delivery
    receipt = check_resume(
        results,
        plan=job.plan,
        stream=str(job.stream),
        delivery=delivery,
        mapping=job.mapping,
    )
    earlier = read_earlier(results, delivery)
    past = None
    if delivery == "exactly_once":
        rows_of = find_tagged_rows(job.plan) if job.packed else _one_row
        past = look_back(earlier, receipt, rows_of)
    return replace(job, run_id=receipt["run_id"], earlier=earlier, past=past)


def _one_row(tag: Tag) -> NDArray[np.int64]:
    return np.array([tag.first_row])

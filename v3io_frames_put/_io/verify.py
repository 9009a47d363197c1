"""Results checked against the stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from .._wire.responses import RECORD_SCHEMA
from .._wire.tags import parse_tag
from ..errors import ConfigError
from ..results import restore_types
from .reader import StartPosition, read_shard

if TYPE_CHECKING:
    from collections.abc import Callable

    from .stream_admin import StreamAdmin

_FIRST: Final = 100  # rows named in full; the rest is a count
_NAMED: Final = 5  # of those, in the repr
_PLACE: Final = ["shard_id", "sequence_number"]
_READ: Final = ["sequence_number", "partition_key", "client_info"]
_ENDLESS: Final = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a stream says of the rows that results call stored.

    Rows are positions in those results, counted from 0.

    Attributes
    ----------
    stored : int
        Rows that the results call stored.
    missing : int
        Rows that are not stored where the results say: retention dropped them, the
        stream was made anew, or it is another one.
    mistaken : int
        Missing rows in whose place another record is stored: one of another row's tag
        (``exactly_once``), or that another row has, too.
    out_of_order : int
        Rows that are stored after a later row of their partition key or shard.
    uncompared : int
        Rows of which nobody knows whether they were given a shard, and so an order: they
        have no partition key, and not all that have none were given a shard.
    listed_out_of_order : int
        How many of these the run itself has listed; of a resumed run, which does not know: 0.
    first_missing, first_out_of_order : tuple of int
        The first 100 of each.
    """

    stored: int
    missing: int
    mistaken: int
    out_of_order: int
    listed_out_of_order: int
    uncompared: int
    first_missing: tuple[int, ...]
    first_out_of_order: tuple[int, ...]

    @property
    def is_proven(self) -> bool:
        """Whether every row is stored where the results say, in order unless listed."""
        return not self.missing and self.out_of_order <= self.listed_out_of_order

    def __repr__(self) -> str:
        present = self.stored - self.missing
        lines = [f"{present:,} of {self.stored:,} stored rows are where the results say."]
        if self.missing:
            lines.append(f"{self.missing:,} are missing: {_name(self.first_missing)}.")
        if self.mistaken:
            lines.append(f"{self.mistaken:,} of those have another record in their place.")
        if self.out_of_order:
            listed = self.listed_out_of_order  # of a resumed run it is not known
            whose = f" ({listed:,} the run has listed)" if listed else ""
            lines.append(
                f"{self.out_of_order:,} are after a later row of their partition key or shard"
                f"{whose}: {_name(self.first_out_of_order)}."
            )
        if self.uncompared:
            lines.append(
                f"The order of {self.uncompared:,} was not compared: they have no partition key, "
                f"and the run did not note which of those were given a shard."
            )
        return "\n".join(lines)


def _name(rows: tuple[int, ...]) -> str:
    shown = ", ".join(f"row {row:,}" for row in rows[:_NAMED])
    return f"{shown}, ..." if len(rows) > _NAMED else shown


def verify_results(
    results: pd.DataFrame, stream: StreamAdmin, progress: Callable[[int, int], object] | None = None
) -> Verification:
    """Read a stream again, and compare it with the rows that results call stored."""
    claims = _read_claims(results)
    if progress is not None and not callable(progress):
        raise ConfigError(f"progress={progress!r}: expected a callable. Correct it.")
    shards = stream.describe().shards  # says what is wrong with a path where no stream is
    held = claims.merge(
        _read_places(stream, claims, shards, progress),
        how="left",
        on=_PLACE,
        validate="many_to_one",
    )
    is_missing = held["is_there"].isna()
    is_shared = held.duplicated([*_PLACE, "within"], keep=False)
    is_mistaken = ~is_missing & (is_shared | ~_is_own(held, results))
    gone = held.loc[is_missing | is_mistaken, "row"]
    receipt = results.attrs.get("v3io", {})
    order = receipt.get("order", "key")
    late = held.loc[~is_missing & _is_late(held, order), "row"]
    listed = (receipt.get("out_of_order") or {}).get("count", 0)
    return Verification(
        stored=len(claims),
        missing=len(gone),
        mistaken=int(is_mistaken.sum()),
        out_of_order=len(late),
        listed_out_of_order=min(len(late), listed),
        uncompared=int(held["partition_key"].isna().sum()) if order == "unknown" else 0,
        first_missing=tuple(gone[:_FIRST].tolist()),
        first_out_of_order=tuple(late[:_FIRST].tolist()),
    )


def _read_claims(results: pd.DataFrame) -> pd.DataFrame:
    """Take out of results what they say of their stored rows."""
    results = restore_types(results, ["status", *_PLACE])
    rows = np.flatnonzero(results["status"] == "stored")
    stored = results.iloc[rows]
    if stored[_PLACE].isna().to_numpy().any():
        raise ConfigError(
            "results: a stored row has no shard_id or no sequence_number; expected the frame "
            "that put_records returned."
        )
    places = {name: stored[name].to_numpy(np.int64) for name in _PLACE}
    within: Any = 0
    if "record_row" in stored:
        within = stored["record_row"].to_numpy(np.int64, na_value=0)
    return pd.DataFrame({"row": rows, "within": within, **places})


def _read_places(
    stream: StreamAdmin,
    claims: pd.DataFrame,
    count: int,
    progress: Callable[[int, int], object] | None,
) -> pd.DataFrame:
    """Read the part of each shard in which the claims lie, without the data."""
    parts = [_to_frame(RECORD_SCHEMA.empty_table(), 0)]
    ranges = claims[claims["shard_id"] < count].groupby("shard_id")["sequence_number"]
    ends = ranges.agg(["min", "max"])
    total, done = int((ends["max"] - ends["min"] + 1).sum()), 0
    for shard, first, last in ends.itertuples():
        start = StartPosition("sequence", int(first))
        batches = read_shard(
            stream, int(shard), start, end=int(last), limit=_ENDLESS, may_be_missing=True
        )
        for batch in batches:
            parts.append(_to_frame(pa.Table.from_batches([batch]), int(shard)))
            done += batch.num_rows
            if progress is not None:
                progress(done, total)
    return pd.concat(parts, ignore_index=True)


def _to_frame(records: pa.Table, shard: int) -> pd.DataFrame:
    frame: pd.DataFrame = records.select(_READ).to_pandas()
    return frame.assign(shard_id=np.full(len(frame), shard), is_there=True)


def _is_own(held: pd.DataFrame, results: pd.DataFrame) -> pd.Series[bool]:
    """Return whether the record in a row's place is tagged as that row's."""
    receipt = results.attrs.get("v3io", {})
    # Tags name rows of the whole run: a selection of results has lost their numbers.
    is_whole = sum(receipt.get("counts", {}).values()) == len(results)
    if receipt.get("delivery") != "exactly_once" or not is_whole:
        return pd.Series(data=True, index=held.index)
    run_id = bytes.fromhex(receipt["run_id"])
    tags = [parse_tag(info, run_id) if isinstance(info, bytes) else None
            for info in held["client_info"]]  # fmt: skip
    first = pd.Series([-1 if tag is None else tag.first_row for tag in tags], index=held.index)
    is_earlier = (first >= 0) & (first < held["row"])  # a pack's first row is before its others
    return (first == held["row"]) | ((held["within"] > 0) & is_earlier)


def _is_late(held: pd.DataFrame, order: str) -> pd.Series[bool]:
    """Mark rows that are stored after a later row of the same key or shard."""
    numbers = held["sequence_number"]
    if order == "none":
        return pd.Series(data=False, index=held.index)
    ordered = held if order == "shard" else held[held["partition_key"].notna()]
    lowest_from_here = (
        ordered[::-1]
        .groupby(["partition_key", "shard_id"], dropna=False)["sequence_number"]
        .cummin()
    )
    return numbers > lowest_from_here.reindex(held.index).fillna(numbers)

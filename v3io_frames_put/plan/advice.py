"""What to know or mend before an upload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.types as pt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from v3io_frames_put._encode.sources import Column
    from v3io_frames_put.config import Encoding
    from v3io_frames_put.plan.records_plan import KeyCounts

_FEW_PACKS: Final = 10  # fewer say nothing of the average
_SMALL_AUTO_PACK: Final = 8  # rows; below half of it, Arrow's frame outweighs them
_SHOWN_VALUES: Final = 3
_GLANCE: Final = 10_000  # values: among so many, a column of fractions mostly has one
_SKEWED: Final = 0.5  # of all records under one key
_SHOWN_COLUMNS: Final = 10


def advise_on_index(data: Any, *, index: bool) -> Iterator[str]:
    """Look at an index that says something and is not sent."""
    if index or not isinstance(data, pd.DataFrame):
        return
    levels = [str(name) for name in data.index.names if name is not None]
    is_numbered = pd.api.types.is_integer_dtype(data.index.dtype)
    if levels:
        named = ", ".join(map(repr, levels))
        yield (
            f"The index ({named}) is not sent. Send it, too, with `index=True`, or make it "
            f"columns with `df.reset_index()`."
        )
    elif len(data) and not is_numbered:
        first = data.index[0]
        yield (
            f"The index (no name, {data.index.dtype}, first {str(first)!r}) is not sent. Send it, "
            f"too, with `index=True`."
        )


def advise_on_columns(
    data: Any, columns: Sequence[Column], data_format: str, encoding: Encoding
) -> Iterator[str]:
    """Look at float columns that JSON would show in a way that surprises."""
    if data_format != "json":
        return
    floats = list(_float_columns(data, {column.name for column in columns}))
    whole = {name: _first_value(values) for name, values in floats if _is_whole_with_nulls(values)}
    if whole:
        shown = list(whole)[:_SHOWN_COLUMNS]
        reads = ", ".join(f"{name!r} reads {whole[name]!r}" for name in shown[:_SHOWN_VALUES])
        chosen = "{" + ", ".join(f"{name!r}: 'Int64'" for name in shown) + "}"
        more = len(whole) - _SHOWN_COLUMNS
        yield (
            f"Whole numbers in float columns that have nulls are sent with a fraction: {reads}. "
            f"Spark reads that as null in an integer field. Send integers with "
            f"`df.astype({chosen})`" + (f", and {more:,} more." if more > 0 else ".")
        )
    if encoding.infinity == "null":
        lossy = {name: count for name, values in floats if (count := _count_infinite(values))}
        if lossy:
            counted = ", ".join(f"{count:,} in {name!r}" for name, count in lossy.items())
            yield f"Infinities become null, as missing values are: {counted}."


def advise_on_packs(rows: int, records: int, rows_per_record: int | str) -> Iterator[str]:
    """Look at packs that hold far fewer rows than they may."""
    if rows_per_record == 1 or records < _FEW_PACKS:
        return
    wanted = _SMALL_AUTO_PACK if rows_per_record == "auto" else int(rows_per_record)
    mean = rows / records
    if mean < wanted / 2:
        yield (
            f"Packs are small: {mean:,.1f} rows per record on average, rows_per_record is "
            f"{rows_per_record}. A pack holds rows of one key or shard, and few of them are close "
            f"together. Choose a key with fewer values, or sort by the key."
        )


def advise_on_keys(keys: KeyCounts, records: int, *, is_keyed: bool) -> Iterator[str]:
    """Look at how records spread over partition keys."""
    if is_keyed and keys.free:
        yield (
            f"Records without partition key or shard (null): {keys.free:,} of {records:,}. The "
            f"platform spreads them, and they keep no order."
        )
    empty = keys.largest.get("", 0)
    if empty:
        yield (
            f"{empty:,} of {records:,} records have an empty partition key (''): one shard takes "
            f"them all. A null is no key."
        )
    key, most = next(iter(keys.largest.items()), ("", 0))
    if key and records > 1 and most > records * _SKEWED and keys.keys > 1:
        yield (
            f"{most / records:.0%} of the records have the partition key {key!r}: one shard "
            f"takes them all."
        )


def advise_on_lanes(parallel_requests: float, max_in_flight: int) -> Iterator[str]:
    """Look at whether rows wait for each other so that requests do, too."""
    if parallel_requests < max_in_flight / 2:
        about = max(1, round(parallel_requests))
        yield (
            f"In this order of the rows, about {about} of {max_in_flight} requests can be under "
            f"way at once: rows of one key or shard that are close together wait for each "
            f"other. Shuffle the keys (`df.sort_values` of a time column), choose a key with more "
            f'values, or give `order="none"`.'
        )


def _float_columns(data: Any, names: set[str]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield float columns that can be looked at without using the data up."""
    if isinstance(data, pd.DataFrame):
        for place, name in enumerate(map(str, data.columns)):
            column = data.iloc[:, place]
            if name in names and pd.api.types.is_float_dtype(column.dtype):
                yield name, column.to_numpy(dtype=np.float64, na_value=np.nan)
    elif isinstance(data, (pa.Table, pa.RecordBatch)):
        for name, column in zip(data.schema.names, data.columns, strict=True):
            if name in names and pt.is_floating(column.type):
                yield name, column.to_numpy(zero_copy_only=False).astype(np.float64)


def _first_value(values: NDArray[Any]) -> float:
    return float(values[~np.isnan(values)][0])


def _is_whole_with_nulls(values: NDArray[Any]) -> bool:
    if not _is_whole(values[:_GLANCE]) or not _is_whole(values):
        return False
    missing = int(np.isnan(values).sum())
    return 0 < missing < len(values)


def _is_whole(values: NDArray[Any]) -> bool:
    return bool(np.all((values == np.trunc(values)) & np.isfinite(values) | np.isnan(values)))


def _count_infinite(values: NDArray[Any]) -> int:
    return int(np.isinf(values).sum())

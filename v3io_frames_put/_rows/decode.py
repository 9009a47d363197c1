"""Records back to rows: the other direction of this package."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa

from v3io_frames_put._rows.restore import name_columns, plan_targets
from v3io_frames_put.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from v3io_frames_put._rows.formats import Format
    from v3io_frames_put._rows.restore import Target

Decoded = tuple[dict[str, Any], np.ndarray]  # columns, and the rows of each record


def decode_records(
    records: pd.DataFrame,
    *,
    format: Format = "json",  # noqa: A002 - the option's public name
    schema: pa.Schema | pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Turn records back into rows: what ``Client.decode_records`` promises."""
    if format not in _DECODERS:
        raise ConfigError(f"format={format!r}: expected 'json', 'arrow' or 'raw'.")
    missing = {"shard_id", "sequence_number", "data"} - set(records)
    if missing:
        raise ConfigError(
            f"records has no column {min(missing)!r}; expected what read_records returns."
        )
    targets, names = plan_targets(schema), name_columns(schema)
    if format == "raw":
        targets = {name: targets[name] for name in names}
        if len(targets) > 1:
            raise ConfigError(f"schema has {len(names)} columns; format='raw' has one. Name it.")
    columns: dict[str, Any] = {name: targets[name].from_json([]) for name in names}
    counts = np.zeros(0, np.int64)
    if not records.empty:
        columns, counts = _DECODERS[format](records["data"].tolist(), targets)
    labels = records[["shard_id", "sequence_number"]]
    index = pd.MultiIndex.from_frame(labels.iloc[np.repeat(np.arange(len(records)), counts)])
    frame = pd.DataFrame(columns, columns=pd.Index(list(columns), dtype=_label_type(schema)))
    return frame.set_axis(index) if columns else pd.DataFrame(index=index)


def _label_type(schema: pa.Schema | pd.DataFrame | None) -> type | None:
    """Return the type of labels: pandas' own for text, but as the frame sent had them."""
    had_objects = isinstance(schema, pd.DataFrame) and schema.columns.dtype == object
    return object if had_objects else None


def _decode_json(data: Sequence[bytes], targets: dict[str, Target]) -> Decoded:
    """Parse each line, and give every column its type."""
    rows: list[dict[str, Any]] = []
    counts = np.zeros(len(data), np.int64)
    for number, text in enumerate(data):
        lines = text.splitlines() if b"\n" in text else [text]
        rows += (_parse(line, number) for line in lines)
        counts[number] = len(lines)
    columns = {}
    for name in _find_names(rows):
        values = [row.get(name) for row in rows]
        columns[name] = values
        if name in targets:
            with _told_of(name):
                columns[name] = targets[name].from_json(values)
    return columns, counts


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    """Say which column the values of the records do not fit."""
    try:
        yield
    except (pa.ArrowException, ValueError, TypeError, ArithmeticError) as error:
        raise DataError(
            f"column {name!r}: the records hold what its type in schema= cannot: {error}. "
            f"Give another type, or leave the column out of schema."
        ) from error


def _parse(line: bytes, number: int) -> dict[str, Any]:
    """Parse one line; it must be an object."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(f"record {number:,} is no JSON: {error}. See format=.") from None
    if not isinstance(row, dict):
        raise DataError(f"record {number:,} is a JSON {type(row).__name__}; expected an object.")
    return row


def _find_names(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return all names, in the order of the first rows that have them."""
    found: dict[str, None] = {}
    for row in rows:
        if row.keys() != found.keys():
            found.update(dict.fromkeys(row))
    return list(found)


def _decode_arrow(data: Sequence[bytes], targets: dict[str, Target]) -> Decoded:
    """Read each stream, and put them together."""
    tables = [_read_stream(stream, number) for number, stream in enumerate(data)]
    counts = np.array([table.num_rows for table in tables], np.int64)
    table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        with _told_of(name):
            columns[name] = (
                targets[name].from_arrow(column) if name in targets else column.to_pandas().array
            )
    return columns, counts


def _read_stream(stream: bytes, number: int) -> pa.Table:
    try:
        return pa.ipc.open_stream(stream).read_all()
    except pa.ArrowInvalid as error:
        raise DataError(f"record {number:,} is no Arrow stream: {error}. See format=.") from None


def _decode_raw(data: Sequence[bytes], targets: dict[str, Target]) -> Decoded:
    """Hand the bytes back, or what the one column of the schema says."""
    counts = np.ones(len(data), np.int64)
    for name, target in targets.items():
        with _told_of(name):
            return {name: target.from_bytes(data)}, counts
    values = np.empty(len(data), dtype=object)
    values[:] = data
    return {"data": values}, counts


_DECODERS: Final[dict[str, Callable[[Sequence[bytes], dict[str, Target]], Decoded]]] = {
    "json": _decode_json,
    "arrow": _decode_arrow,
    "raw": _decode_raw,
}

"""What may be put onto a stream: the door to the sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from v3io_frames_put._rows.frame import FrameSource
from v3io_frames_put._rows.source import StreamSource, TableSource
from v3io_frames_put.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from v3io_frames_put._rows.source import Source


def open_source(data: Any) -> Source:  # noqa: PLR0911 - one return a kind
    """Return the source for any table-like input; raise ConfigError for others."""
    if isinstance(data, pd.DataFrame):
        return FrameSource(data)
    if isinstance(data, StreamSource):
        return data
    if isinstance(data, pa.Table):
        return TableSource(data)
    if isinstance(data, pa.RecordBatch):
        return TableSource(pa.Table.from_batches([data]))
    if isinstance(data, pa.RecordBatchReader):
        return _open_reader(data)
    if _is_dataset(data):
        return _open_dataset(data)
    return _open_any(data)


def _open_any(data: Any) -> Source:
    """Open what tells of itself by Arrow's protocol."""
    cause = None
    try:
        if hasattr(data, "__arrow_c_stream__"):
            return _open_reader(pa.RecordBatchReader.from_stream(data))
        if hasattr(data, "__arrow_c_array__"):
            return TableSource(pa.Table.from_batches([pa.record_batch(data)]))
    except pa.ArrowInvalid as error:  # one column, such as a Series
        cause = error
    kind = f"{type(data).__module__}.{type(data).__qualname__}"
    raise ConfigError(
        f"data is a {kind}; expected a pandas DataFrame, a pyarrow Table, RecordBatch, "
        f"RecordBatchReader or Dataset, or an object with __arrow_c_stream__."
    ) from cause


def _open_reader(reader: pa.RecordBatchReader) -> StreamSource:
    def batches(positions: list[int]) -> Iterator[pa.RecordBatch]:
        return (batch.select(positions) for batch in reader)

    return StreamSource(reader.schema, batches)


def _is_dataset(data: object) -> bool:
    """Tell whether this is a pyarrow Dataset, without loading that module."""
    return any(
        kind.__module__.startswith("pyarrow") and kind.__name__ == "Dataset"
        for kind in type(data).__mro__
    )


def _open_dataset(dataset: Any) -> StreamSource:
    """Read only the columns that are opened, so that files skip the others."""

    def batches(positions: list[int]) -> Iterator[pa.RecordBatch]:
        names = [dataset.schema.names[position] for position in positions]
        return iter(dataset.scanner(columns=names).to_reader())

    return StreamSource(dataset.schema, batches)

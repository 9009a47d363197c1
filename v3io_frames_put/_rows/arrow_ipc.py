"""Rows to Arrow IPC: each record one self-contained stream, without metadata.

Rows are kept as one struct array, so that they are filtered, taken and cut like any
other column. What is written is always a fresh copy of its rows: a slice would bring
its neighbors' bits along, and the bytes would depend on how the rows were batched.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from v3io_frames_put._rows.arrow_template import RowTemplate, is_flat
from v3io_frames_put._rows.arrow_types import contains, own_copy
from v3io_frames_put._rows.encoded import CELL_BYTES, binary_sizes
from v3io_frames_put._rows.object_types import cells_to_arrow
from v3io_frames_put._rows.sizes import row_sizes
from v3io_frames_put.errors import UnsupportedType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from v3io_frames_put._rows.records import RejectionLog
    from v3io_frames_put._rows.source import Column, Window

_BUFFER_PADDING_BYTES = 16  # a validity byte and a value, each filled up to 8


class ArrowRows:
    """Brings windows to struct arrays of the columns it was planned for.

    Parameters
    ----------
    columns : sequence of Column
        What goes into each record; their types are known.
    max_data_bytes : int
        Rows that come near it are measured exactly.

    Raises
    ------
    UnsupportedType
        A column's type cannot be cut into rows (a union).
    """

    def __init__(self, columns: Sequence[Column], max_data_bytes: int) -> None:
        for column in columns:
            if column.type is None or contains(column.type, pt.is_union):
                advice = "which cannot be sent. Convert it, or leave the column out"
                raise UnsupportedType(column=column.name, dtype=column.type, advice=advice)
        self._columns = columns
        self._max_data_bytes = max_data_bytes
        self.schema = pa.schema([pa.field(column.name, column.type) for column in columns])
        arrays = [pa.nulls(0, column.type) for column in columns]
        empty = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        self.frame_bytes = len(write_stream([empty], self.schema))
        self.frame_bytes += 2 * _BUFFER_PADDING_BYTES * len(columns)

    @property
    def row_bytes(self) -> int:
        """About what a row's payload takes, long values aside."""
        return CELL_BYTES * len(self._columns)

    def encode(self, window: Window, log: RejectionLog) -> pa.StructArray:
        """Return the window's rows as structs."""
        arrays = [
            cells_to_arrow(window.columns[column.number], column, log) for column in self._columns
        ]
        return pa.StructArray.from_arrays(arrays, fields=list(self.schema))

    def measure(self, payload: pa.StructArray) -> np.ndarray:
        """Return about how many bytes each row adds; exact for rows near the limit."""
        sizes = row_sizes(payload) + _BUFFER_PADDING_BYTES * len(self._columns)
        for row in np.flatnonzero(sizes + self.frame_bytes > self._max_data_bytes):
            sizes[row] = len(self.write(payload, np.array([row])))
        return sizes

    def write(self, payload: pa.StructArray, rows: np.ndarray) -> bytes:
        """Return the stream of some rows."""
        taken = payload.take(pa.array(rows))
        batch = pa.RecordBatch.from_arrays(taken.flatten(), schema=self.schema)
        return write_stream([batch], self.schema)


class ArrowRecords(ArrowRows):
    """Brings windows to one stream a row."""

    @property
    def row_bytes(self) -> int:
        """About what a row's stream takes, long values aside."""
        return self.frame_bytes

    def encode(self, window: Window, log: RejectionLog) -> pa.BinaryArray:
        """Return the stream of each of the window's rows."""
        rows = super().encode(window, log)
        if not all(is_flat(column.type) for column in self._columns):
            streams = [self.write(rows, np.array([row])) for row in range(len(rows))]
            return pa.array(streams, pa.binary())
        template = RowTemplate(self.schema, self.write(rows, np.array([0])))
        return template.fill(rows.flatten())

    def measure(self, payload: pa.BinaryArray) -> np.ndarray:
        """Return the bytes of each stream."""
        return binary_sizes(payload)


class StreamJoiner:
    """Joins rows to one stream per pack."""

    row_bytes = 0

    def __init__(self, rows: ArrowRows, max_data_bytes: int) -> None:
        self.extra_bytes = rows.frame_bytes
        self._rows = rows
        self._max_data_bytes = max_data_bytes

    def join(
        self, payload: pa.StructArray, rows: np.ndarray, ends: np.ndarray
    ) -> tuple[pa.BinaryArray, np.ndarray]:
        """Return the stream of each pack; one that is too large is halved."""
        payload = own_copy(payload)
        streams: list[bytes] = []
        new_ends: list[int] = []
        spans = list(itertools.pairwise([0, *ends.tolist()]))[::-1]
        while spans:
            start, end = spans.pop()
            stream = self._rows.write(payload, rows[start:end])
            if len(stream) > self._max_data_bytes and end - start > 1:
                middle = (start + end) // 2
                spans += [(middle, end), (start, middle)]
                continue
            streams.append(stream)
            new_ends.append(end)
        return pa.array(streams, pa.binary()), np.array(new_ends, dtype=np.int64)


def write_stream(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> bytes:
    """Return a self-contained IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())

"""Rows -> Arrow IPC: each record one self-contained stream, without pandas metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from ..errors import UnsupportedType
from .columns import cells_to_arrow
from .layouts import clear_nulls, row_sizes
from .objects import build_array
from .records import CELL_BYTES, Encoder, binary_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config import ArrowCompression
    from .rejections import RejectionLog
    from .sources import Column, Window

_END_OF_STREAM: Final = b"\xff\xff\xff\xff\0\0\0\0"
_MOST_LEVELS: Final = 64
_SAMPLE_CELLS: Final = 32  # up to twice as many are measured; of fewer all
_BUFFER_BYTES: Final = 16  # a validity byte and a value, each filled up to 8


class ArrowRows(Encoder):
    """Brings windows to struct arrays of the columns it was planned for."""

    separator_bytes = 0

    def __init__(
        self,
        columns: Sequence[Column],
        max_data_bytes: int,
        max_bytes: int,
        compression: ArrowCompression | None = None,
    ) -> None:
        for column in columns:
            if column.type is not None and _count_levels(column.type) > _MOST_LEVELS:
                advice = (
                    f"which has over {_MOST_LEVELS} levels, the most of an Arrow stream. Flatten it"
                )
                raise UnsupportedType(column=column.name, dtype=column.type, advice=advice)
        self._columns = columns
        self._max_bytes = max_bytes  # about, of what is made of Python objects
        self._max_data_bytes = max_data_bytes  # rows that come near it are measured exactly
        self._schema = pa.schema([(column.name, column.type) for column in columns])
        self._head = self._schema.serialize().to_pybytes()
        self._options = pa.ipc.IpcWriteOptions(compression=compression)
        no_rows = pa.nulls(0, pa.struct(list(self._schema)))
        self.frame_bytes = int(binary_sizes(self.write_streams(no_rows, [0]))[0])
        self.frame_bytes += 2 * _BUFFER_BYTES * len(columns)
        self.row_bytes = CELL_BYTES * len(columns)
        self.payload_type = no_rows.type

    def encode(self, window: Window, log: RejectionLog) -> pa.Array:
        """Return the window's rows as structs, or as many as fit ``max_bytes``."""
        size = 0
        for column in self._columns:
            cells = window.columns[column.number]
            if isinstance(cells, np.ndarray):  # what lists and dicts take shows only as Arrow
                sample = cells[:: len(cells) // _SAMPLE_CELLS | 1]
                size += build_array(sample, column.type).nbytes * len(cells) // len(sample)
        if size > self._max_bytes:
            window = window.slice(0, max(1, window.num_rows * self._max_bytes // size))
        arrays = [
            clear_nulls(cells_to_arrow(window.columns[column.number], column, log))
            for column in self._columns
        ]
        return pa.StructArray.from_arrays(arrays, fields=list(self._schema))

    def measure(self, payload: pa.Array) -> np.ndarray:
        """Return about how many bytes each row adds; exact for rows near the limit."""
        sizes = row_sizes(payload) + 1 + len(self._columns) // 8
        # Validity bits inside lists are not counted: at most an eighth more.
        for row in np.flatnonzero(sizes + sizes // 8 + self.frame_bytes > self._max_data_bytes):
            sizes[row] = binary_sizes(self.write_streams(payload[row : row + 1], [1]))[0]
        return sizes

    def join(
        self, payload: pa.Array, ends: np.ndarray, rooms: np.ndarray
    ) -> tuple[pa.Array, np.ndarray]:
        """Return the stream of each pack; one that is too large is halved."""
        while True:
            data = self.write_streams(payload, ends.tolist())
            counts = np.diff(ends, prepend=0)
            is_large = (binary_sizes(data) > rooms) & (counts > 1)
            if not is_large.any():
                return data, ends
            middles = (ends - counts // 2)[is_large]
            rooms = np.insert(rooms, np.flatnonzero(is_large), rooms[is_large])
            ends = np.sort(np.concatenate([ends, middles]))

    def write_streams(self, payload: pa.StructArray, ends: Sequence[int]) -> pa.BinaryArray:
        """Return the stream of the rows up to each end, as one value each.

        One Arrow writer writes all batches into one buffer; the schema message, made once,
        is copied in front of each, and the end mark after it::

            writer:  schema batch_1       batch_2 ...
            buffer:  schema batch_1 end | schema batch_2 end | ...

        All of these are multiples of 8 bytes, so that alignment is kept.
        """
        sink = pa.BufferOutputStream()
        writer = pa.ipc.new_stream(sink, self._schema, options=self._options)
        offsets = np.zeros(len(ends) + 1, np.int32)
        start, nothing = 0, payload[:0]
        for number, end in enumerate(ends, 1):
            if number > 1:  # the writer itself begins with the first
                sink.write(self._head)
            # Of a slice Arrow writes buffers on to 64 bytes: values of other rows.
            rows = pa.concat_arrays([payload.slice(start, end - start), nothing])
            writer.write_batch(pa.RecordBatch.from_struct_array(rows))
            sink.write(_END_OF_STREAM)
            offsets[number] = sink.tell()
            start = end
        buffers = [None, pa.py_buffer(offsets), sink.getvalue()]
        return pa.Array.from_buffers(pa.binary(), len(ends), buffers)


def _count_levels(dtype: pa.DataType) -> int:
    below = [_count_levels(dtype.field(number).type) for number in range(dtype.num_fields)]
    return 1 + max(below, default=0)

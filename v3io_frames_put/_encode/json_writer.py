"""The native JSON writer, and how its rows and cells are found again."""

from __future__ import annotations

from io import SEEK_END, BytesIO
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from arro3.io import write_ndjson

from v3io_frames_put._encode.layouts import own_copy

if TYPE_CHECKING:
    from collections.abc import Sequence

_NEWLINE: Final = 10


class RowWriter:
    """Writes rows, window after window, into the same memory, which then rarely grows."""

    def __init__(self) -> None:
        self._file = BytesIO()

    def write(self, columns: Sequence[pa.Array], names: Sequence[str]) -> pa.BinaryArray:
        """Write one object per row, without its newline."""
        batch = pa.RecordBatch.from_arrays([own_copy(c) for c in columns], names=list(names))
        self._rewind()
        write_ndjson(batch, self._file, explicit_nulls=True)
        text = np.frombuffer(self._file.getbuffer(), np.uint8)[: self._file.tell()]
        return split_lines(text, batch.num_rows)

    def _rewind(self) -> None:
        try:
            self._file.truncate(self._file.seek(0, SEEK_END))  # changes nothing, but looks
        except BufferError:  # a profiler's hold on our frames is one on the last rows' memory, too
            self._file = BytesIO()
        self._file.seek(0)


def split_lines(text: np.ndarray, count: int) -> pa.BinaryArray:
    """Return the lines of a text that ends each with a newline, without their newlines."""
    offsets = np.zeros(count + 1, np.int32)
    offsets[1:] = np.flatnonzero(text == _NEWLINE) + 1  # inside values they are escaped
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text)]
    return pc.binary_slice(pa.Array.from_buffers(pa.binary(), count, buffers), 0, -1)


def write_cells(array: pa.Array) -> pa.StringArray:
    """Write each value alone: a column without name and braces, ``{"":`` and ``}``."""
    return pc.binary_slice(RowWriter().write([array], [""]), 4, -1).cast(pa.string())


def format_name(name: str) -> bytes:
    """Return a member's name as JSON, with its colon."""
    return msgspec.json.encode(name) + b":"

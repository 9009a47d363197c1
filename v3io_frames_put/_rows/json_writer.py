"""The native JSON writer, and how its rows and cells are found again.

``arro3.io.write_ndjson`` ends each row with a newline, and JSON escapes newlines
inside strings, so the newline bytes of its output are the row ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from arro3.io import write_ndjson

if TYPE_CHECKING:
    from collections.abc import Sequence

_NEWLINE: Final = 10


class _Sink:
    """Collects what the writer writes; joining once is cheaper than a growing buffer."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self.parts.append(part)
        return len(part)

    def flush(self) -> None:
        """Do nothing: the writer wants a file."""

    def seek(self, *_: int) -> int:
        """Do nothing: the writer asks whether it could."""
        return 0


def write_rows(columns: Sequence[pa.Array], names: Sequence[str]) -> pa.BinaryArray:
    """Write one object per row, without its newline."""
    batch = pa.RecordBatch.from_arrays(list(columns), names=list(names))
    sink = _Sink()
    write_ndjson(batch, sink, explicit_nulls=True)  # type: ignore[arg-type]  # a file as far as it looks
    text = np.frombuffer(b"".join(sink.parts), np.uint8)
    offsets = np.zeros(batch.num_rows + 1, np.int32)
    offsets[1:] = np.flatnonzero(text == _NEWLINE) + 1
    lines = pa.Array.from_buffers(
        pa.binary(), batch.num_rows, [None, pa.py_buffer(offsets), pa.py_buffer(text)]
    )
    return pc.binary_slice(lines, 0, -1)


def write_cells(array: pa.Array) -> pa.StringArray:
    """Write each value alone: a column without name and braces, ``{"":`` and ``}``."""
    return pc.binary_slice(write_rows([array], [""]), 4, -1).cast(pa.string())


def splice_rows(pieces: Sequence[pa.BinaryArray | bytes]) -> pa.BinaryArray:
    """Put pieces of text together, row by row."""
    return pc.binary_join_element_wise(*pieces, b"")


def strip_braces(rows: pa.BinaryArray) -> pa.BinaryArray:
    """Return the members of objects, to stand beside others."""
    return pc.binary_slice(rows, 1, -1)


def spell_name(name: str) -> bytes:
    """Return a member's name as JSON, with its colon."""
    return orjson.dumps(name) + b":"

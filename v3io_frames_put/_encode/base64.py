"""Base64 of a whole column in one call."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pybase64 import b64encode

from .layouts import make_plain, to_numpy

_EQUAL_SIGN: Final = ord("=")
_LONG: Final = 8_192  # bytes of a value from where on a call for each costs less than copies
_ZEROS: Final = pa.array([b"", b"\0", b"\0\0"], pa.binary())


def encode_base64(column: pa.Array) -> pa.StringArray:
    """Encode each value of a column of bytes or text, below 1.5 GB in all; nulls stay null."""
    return join_base64("", column, "")


def join_base64(before: str, column: pa.Array, *after: pa.StringArray | str) -> pa.StringArray:
    r"""Write ``before``, the Base64 of a value, and what comes after it, row by row.

    Null where the value is null; what comes after it never is. Values are filled up with
    zeros to a multiple of three bytes and encoded end to end; only the equal signs are
    missing then. For example::

        values      b"ab" b"abc"
        filled up   b"ab\0" b"abc"
        encoded     YWIA YWJj
        mended      YWI= YWJj

    The text is copied once, by the join, into memory of its own, and mended there.
    """
    if pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.large_binary())
    column = make_plain(column).cast(pa.binary())  # any layout to offsets of 32 bits
    if not column.null_count and column.nbytes > _LONG * len(column):
        return _join_long(before, column, *after)
    validity = None
    if column.null_count:
        validity = column.is_valid().buffers()[1]  # from bit 0 on, also of a slice
        column = pc.fill_null(column, b"")  # there may be bytes below a null
    lengths = np.diff(value_offsets(column))
    padding = -lengths % 3
    sizes = (lengths + padding) // 3 * 4
    ends = np.zeros(len(column) + 1, np.int32)
    np.cumsum(sizes, out=ends[1:])
    filled = pc.binary_join_element_wise(column, _ZEROS.take(pa.array(padding)), b"")
    encoded = b64encode(memoryview(filled.buffers()[2] or b"")[: ends[-1] // 4 * 3])
    buffers = [validity, pa.py_buffer(ends), pa.py_buffer(encoded)]
    raw = pa.Array.from_buffers(pa.string(), len(column), buffers)
    text = pc.binary_join_element_wise(before, raw, *after, "")
    if text.null_count:
        padding = np.where(to_numpy(text.is_null()), 0, padding)
    if padding.any():
        stops = value_offsets(text)[:-1] + (len(before.encode()) + sizes)
        characters = np.frombuffer(text.buffers()[2], np.uint8)
        characters[stops[padding > 0] - 1] = _EQUAL_SIGN
        characters[stops[padding == 2] - 2] = _EQUAL_SIGN  # noqa: PLR2004
    return text


def _join_long(before: str, column: pa.BinaryArray, *after: pa.StringArray | str) -> pa.StringArray:
    """Write the same where values are long: one by one, into memory of Arrow's.

    What Python allocates for as many bytes goes back to the system each time.
    """
    rests = pc.binary_join_element_wise(pa.repeat("", len(column)), *after, "")
    data, offsets = memoryview(column.buffers()[2]), value_offsets(column).tolist()
    sink, ends = pa.BufferOutputStream(), [0]
    for (start, stop), rest in zip(pairwise(offsets), rests.to_pylist(), strict=True):
        for piece in (before.encode(), b64encode(data[start:stop]), rest.encode()):
            sink.write(piece)
        ends.append(sink.tell())
    buffers = [None, pa.py_buffer(np.array(ends, np.int32)), sink.getvalue()]
    return pa.Array.from_buffers(pa.string(), len(column), buffers)


def value_offsets(column: pa.BinaryArray | pa.StringArray) -> np.ndarray:
    """Return where each value begins in the value buffer, and where the last one ends."""
    if len(column) == 0:
        return np.zeros(1, dtype=np.int32)
    offsets = np.frombuffer(column.buffers()[1], dtype=np.int32)
    return offsets[column.offset : column.offset + len(column) + 1]

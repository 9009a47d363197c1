"""Base64 of a whole column in one call.

Base64 turns three bytes into four characters. Padded to a multiple of three, the
values of a column can stand end to end: one call encodes them all, and what it
wrote for the padding is overwritten with ``=`` afterwards. The text is byte for
byte what encoding value by value gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pybase64 import b64decode_as_bytearray, b64encode

from v3io_frames_put._rows.arrow_types import to_numpy

if TYPE_CHECKING:
    from collections.abc import Iterable

_PADDING = pa.array([b"", b"\0\0", b"\0"], pa.binary())


def encode_base64(column: pa.Array) -> pa.StringArray:
    """Encode each value of a binary column.

    Parameters
    ----------
    column : Array
        Of any binary or string type, below 1.5 GB in all. Nulls stay null.

    Returns
    -------
    StringArray
        One text per value.
    """
    column = _as_binary(column)
    remainders = np.diff(_offsets(column)) % 3
    padded = pc.binary_join_element_wise(column, _PADDING.take(pa.array(remainders)), b"")
    offsets = _offsets(padded)
    text = bytearray(b64encode(memoryview(padded.buffers()[2])[offsets[0] : offsets[-1]]))
    ends = (offsets - offsets[0]) // 3 * 4
    _write_equal_signs(np.frombuffer(text, np.uint8), ends[1:], remainders, column)
    return pa.Array.from_buffers(
        pa.string(),
        len(column),
        [padded.buffers()[0], pa.py_buffer(ends), pa.py_buffer(text)],
    )


def decode_base64(texts: Iterable[str | bytes | None]) -> pa.BinaryArray:
    """Decode Base64 texts one by one; None stays null."""
    return pa.array(
        [None if text is None else bytes(b64decode_as_bytearray(text)) for text in texts],
        pa.binary(),
    )


def _as_binary(column: pa.Array) -> pa.BinaryArray:
    """Bring any binary or text layout to offsets of 32 bits, starting in this array."""
    if pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.large_binary())
    return column.cast(pa.binary())


def _offsets(column: pa.BinaryArray) -> np.ndarray:
    """Return the n + 1 offsets of a binary column without a copy."""
    if len(column) == 0:
        return np.zeros(1, dtype=np.int32)
    offsets = np.frombuffer(column.buffers()[1], dtype=np.int32)
    return offsets[column.offset : column.offset + len(column) + 1]


def _write_equal_signs(
    text: np.ndarray, ends: np.ndarray, remainders: np.ndarray, column: pa.BinaryArray
) -> None:
    """Overwrite what was written for padding: two signs after one byte, one after two."""
    if column.null_count:
        remainders = np.where(to_numpy(column.is_null()), 0, remainders)
    text[ends[remainders != 0] - 1] = ord("=")
    text[ends[remainders == 1] - 2] = ord("=")

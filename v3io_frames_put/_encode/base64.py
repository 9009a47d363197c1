"""Base64 of a whole column in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pybase64 import b64decode_as_bytearray, b64encode

from v3io_frames_put._encode.layouts import to_numpy

if TYPE_CHECKING:
    from collections.abc import Iterable

_INLINE_BYTES: Final = 12  # a binary view holds as many itself, and points to more
_EQUAL_SIGN: Final = ord("=")
# The last character of a value before its equal signs, by the value's last byte.
_AFTER_ONE_BYTE: Final = np.frombuffer(
    b64encode(bytes(b for last in range(256) for b in (last, 0, 0))), np.uint8
)[1::4]
_AFTER_TWO_BYTES: Final = np.frombuffer(
    b64encode(bytes(b for last in range(256) for b in (0, last, 0))), np.uint8
)[2::4]


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
    return join_base64("", column, "")


def join_base64(before: str, column: pa.Array, *after: pa.StringArray | str) -> pa.StringArray:
    """Write ``before``, the Base64 of a value, and what comes after it, row by row.

    Null where any of it is null. The text is copied once: by the join, into memory of
    its own, where the last characters of the values are mended before anybody sees it.
    """
    column = _as_binary(column)
    offsets = _offsets(column)
    lengths = np.diff(offsets)
    groups = (lengths + 2) // 3
    padding = groups * 3 - lengths
    ends = np.zeros(len(column) + 1, np.int32)
    np.cumsum(groups * 4, out=ends[1:])
    raw = pa.Array.from_buffers(
        pa.string(),
        len(column),
        [_validity(column), pa.py_buffer(ends), pa.py_buffer(_encode(column, groups * 3))],
    )
    text = pc.binary_join_element_wise(before, raw, *after, "")
    if text.null_count:
        padding = np.where(to_numpy(text.is_null()), 0, padding)
    if padding.any():
        ends_in_text = _offsets(text)[:-1] + (len(before.encode()) + groups * 4)
        last_bytes = np.frombuffer(column.buffers()[2], np.uint8), offsets[1:] - 1
        _mend(np.frombuffer(text.buffers()[2], np.uint8), ends_in_text, padding, *last_bytes)
    return text


def _encode(column: pa.BinaryArray, lengths: np.ndarray) -> bytes:
    """Encode values end to end, each read on to a length that is a multiple of three."""
    if len(column) == 0:
        return b""
    offsets = _offsets(column)
    lengths[-1] = offsets[-1] - offsets[-2]  # nothing need be there to read on into
    padded = _copy_pieces(column.buffers()[2] or pa.py_buffer(b""), offsets[:-1], lengths)
    return b64encode(memoryview(padded.buffers()[2] or b"")[: _offsets(padded)[-1]])


def _copy_pieces(data: pa.Buffer, starts: np.ndarray, lengths: np.ndarray) -> pa.BinaryArray:
    """Copy pieces of a buffer, which may overlap."""
    views = np.zeros((len(starts), 4), np.int32)  # length, first bytes, buffer, start
    views[:, 0] = lengths
    views[:, 3] = starts
    short = np.flatnonzero(lengths <= _INLINE_BYTES)
    if len(short) and data.size:
        places = starts[short, np.newaxis] + np.arange(_INLINE_BYTES)
        inline = np.frombuffer(data, np.uint8)[np.minimum(places, data.size - 1)]
        views[short, 1:] = inline.view(np.int32)
    pieces = pa.Array.from_buffers(pa.binary_view(), len(starts), [None, pa.py_buffer(views), data])
    return pieces.cast(pa.binary())


def decode_base64(texts: Iterable[str | bytes | None]) -> pa.BinaryArray:
    """Decode Base64 texts one by one; None stays null."""
    return pa.array(
        [None if text is None else bytes(b64decode_as_bytearray(text)) for text in texts],
        pa.binary(),
    )


def _as_binary(column: pa.Array) -> pa.BinaryArray:
    """Bring any binary or text layout to offsets of 32 bits."""
    if pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.large_binary())
    return column.cast(pa.binary())


def _offsets(column: pa.BinaryArray) -> np.ndarray:
    """Return the n + 1 offsets of a binary column without a copy."""
    if len(column) == 0:
        return np.zeros(1, dtype=np.int32)
    offsets = np.frombuffer(column.buffers()[1], dtype=np.int32)
    return offsets[column.offset : column.offset + len(column) + 1]


def _validity(column: pa.Array) -> pa.Buffer | None:
    """Return the validity bits of a column that may be a slice, from bit 0 on."""
    return column.is_valid().buffers()[1] if column.null_count else None


def _mend(
    text: np.ndarray, ends: np.ndarray, padding: np.ndarray, data: np.ndarray, last: np.ndarray
) -> None:
    """Write what Base64 wants at the end of values: equal signs, and a last character."""
    text[ends[padding > 0] - 1] = _EQUAL_SIGN
    after_one, after_two = np.flatnonzero(padding == 2), np.flatnonzero(padding == 1)  # noqa: PLR2004
    text[ends[after_one] - 2] = _EQUAL_SIGN
    text[ends[after_one] - 3] = _AFTER_ONE_BYTE[data[last[after_one]]]
    text[ends[after_two] - 2] = _AFTER_TWO_BYTES[data[last[after_two]]]

"""Arrow IPC streams of one row each, all rows of a window at once.

The streams of one schema's rows differ in few places: null counts, the offsets and
lengths of buffers, and the values. So Arrow writes one row, and its bytes become the
template of all others: NumPy fills the metadata in, and one join puts the values
behind it. For columns without children; what Arrow writes for others has more shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._rows.arrow_types import is_bytes, is_text, to_numpy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WORD: Final = 8  # Arrow starts every buffer at a multiple of it
_PREFIX_BYTES: Final = 8  # a continuation mark and the metadata's length
_PADDING: Final = pa.array([b"", *(b"\0" * (_WORD - rest) for rest in range(1, _WORD))])
_EMPTY: Final = pa.scalar(b"", pa.binary())


@dataclass(frozen=True, slots=True)
class _Buffer:
    """One buffer of one column, a value a row: its bytes, and its length unpadded."""

    pieces: list[pa.BinaryArray]
    lengths: np.ndarray


def is_flat(dtype: pa.DataType) -> bool:
    """Tell whether the template knows the type's buffers."""
    is_wide = pt.is_primitive(dtype) or pt.is_decimal(dtype) or pt.is_fixed_size_binary(dtype)
    is_interval = pt.is_interval(dtype)
    return (is_wide and not is_interval) or is_text(dtype) or is_bytes(dtype)


class RowTemplate:
    """Fills one-row streams in.

    Parameters
    ----------
    schema : Schema
        Of flat, plain types.
    stream : bytes
        What Arrow writes for one row of it.
    """

    def __init__(self, schema: pa.Schema, stream: bytes) -> None:
        head = len(schema.serialize())
        size = _read(stream, head + 4, 4)
        start = head + _PREFIX_BYTES
        self._head = pa.scalar(stream[:start], pa.binary())
        self._tail = pa.scalar(stream[-_WORD:], pa.binary())
        self._metadata = np.frombuffer(stream[start : start + size], np.uint8)
        self._places = _find_places(self._metadata.tobytes())

    def fill(self, columns: Sequence[pa.Array]) -> pa.BinaryArray:
        """Return the stream of each row."""
        num_rows = len(columns[0])
        ones, end = np.ones(num_rows, np.int64), np.zeros(num_rows, np.int64)
        nodes: list[np.ndarray] = []
        buffers: list[np.ndarray] = []
        pieces: list[pa.BinaryArray] = []
        for column in columns:
            nulls = to_numpy(column.is_null()).astype(np.int64)
            nodes += [ones, nulls]
            for buffer in _buffers(column, nulls):
                buffers += [end, buffer.lengths]
                pieces += buffer.pieces
                end = end + _padded(buffer.lengths)
        metadata = np.tile(self._metadata, (num_rows, 1))
        _write(metadata, self._places.body_length, [end])
        _write(metadata, self._places.nodes, nodes)
        _write(metadata, self._places.buffers, buffers)
        return pc.binary_join_element_wise(
            self._head, _as_binary(metadata), *pieces, self._tail, _EMPTY
        )


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the metadata of a record batch says what differs from row to row."""

    body_length: int
    nodes: int  # of each column: its length, its null count
    buffers: int  # of each buffer: its offset, its length


def _find_places(metadata: bytes) -> _Places:
    """Walk the flatbuffer to members by their numbers in Arrow's Message.fbs."""
    message = _read(metadata, 0, 4)
    batch = _follow(metadata, _member(metadata, message, 2))
    vector_head = 4  # the number of its items
    return _Places(
        body_length=_member(metadata, message, 3),
        nodes=_follow(metadata, _member(metadata, batch, 1)) + vector_head,
        buffers=_follow(metadata, _member(metadata, batch, 2)) + vector_head,
    )


def _read(data: bytes, place: int, size: int, *, signed: bool = False) -> int:
    return int.from_bytes(data[place : place + size], "little", signed=signed)


def _member(data: bytes, table: int, number: int) -> int:
    """Return the place of a table's member, by way of its vtable."""
    vtable = table - _read(data, table, 4, signed=True)
    return table + _read(data, vtable + 4 + 2 * number, 2)


def _follow(data: bytes, place: int) -> int:
    return place + _read(data, place, 4)


def _write(metadata: np.ndarray, place: int, columns: Sequence[np.ndarray]) -> None:
    """Write 64-bit numbers side by side into the metadata of each row."""
    words = np.ascontiguousarray(np.array(columns, dtype="<i8").T).view(np.uint8)
    metadata[:, place : place + words.shape[1]] = words


def _padded(lengths: np.ndarray) -> np.ndarray:
    padded: np.ndarray = -(-lengths // _WORD) * _WORD
    return padded


def _buffers(column: pa.Array, nulls: np.ndarray) -> Iterator[_Buffer]:
    """Yield the buffers Arrow writes for each value of a column."""
    # A value that is not null has no validity; a null's is one bit, not set.
    yield _Buffer([_zeros(nulls * _WORD)] if nulls.any() else [], nulls)
    if is_text(column.type) or (is_bytes(column.type) and not _is_fixed(column.type)):
        yield from _text_buffers(column)
    else:
        values = _fixed_bytes(column, nulls)
        lengths = np.full(len(column), values.shape[1], np.int64)
        padding = -values.shape[1] % _WORD
        yield _Buffer([_as_binary(np.pad(values, ((0, 0), (0, padding))))], lengths)


def _is_fixed(dtype: pa.DataType) -> bool:
    return bool(pt.is_fixed_size_binary(dtype))


def _text_buffers(column: pa.Array) -> Iterator[_Buffer]:
    """Yield offsets, from 0 to the length, and bytes."""
    is_large = pt.is_large_string(column.type) or pt.is_large_binary(column.type)
    values = pc.fill_null(column.cast(pa.large_binary()).cast(pa.binary()), b"")
    lengths = to_numpy(pc.binary_length(values)).astype(np.int64)
    width = 8 if is_large else 4
    offsets = np.zeros((len(column), 2), "<i8" if is_large else "<i4")
    offsets[:, 1] = lengths
    yield _Buffer([_as_binary(offsets.view(np.uint8))], np.full(len(column), 2 * width, np.int64))
    yield _Buffer([values, _PADDING.take(pa.array(lengths % _WORD))], lengths)


def _fixed_bytes(column: pa.Array, nulls: np.ndarray) -> np.ndarray:
    """Return the bytes of each value of a type of one width; zeros for null."""
    if pt.is_boolean(column.type):
        return to_numpy(pc.fill_null(column, False)).astype(np.uint8)[:, None]  # noqa: FBT003 - Arrow's signature
    width = column.type.bit_width // 8
    data = np.frombuffer(column.buffers()[1], np.uint8)
    values = data[column.offset * width : (column.offset + len(column)) * width]
    values = values.reshape(-1, width)
    return np.where(nulls[:, None] == 1, np.uint8(0), values) if nulls.any() else values


def _zeros(lengths: np.ndarray) -> pa.BinaryArray:
    """Return values of nothing but zeros."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    data = pa.py_buffer(bytes(int(offsets[-1])))
    return pa.Array.from_buffers(pa.binary(), len(lengths), [None, pa.py_buffer(offsets), data])


def _as_binary(rows: np.ndarray) -> pa.BinaryArray:
    """Return the bytes of each row of a matrix as one value."""
    rows = np.ascontiguousarray(rows)
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * np.int32(rows.shape[1])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(rows)]
    return pa.Array.from_buffers(pa.binary(), len(rows), buffers)

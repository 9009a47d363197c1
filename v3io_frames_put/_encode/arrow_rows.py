"""Rows -> Arrow IPC: each record one self-contained stream, without pandas metadata."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._encode.columns import cells_to_arrow
from v3io_frames_put._encode.layouts import (
    contains,
    is_bytes,
    is_text,
    own_copy,
    row_sizes,
    to_numpy,
)
from v3io_frames_put._encode.records import CELL_BYTES, binary_sizes
from v3io_frames_put.errors import UnsupportedType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from v3io_frames_put._encode.records import RejectionLog
    from v3io_frames_put._encode.sources import Column, Window

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

"""Parquet and Arrow IPC: files that know their types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from pyarrow import parquet as pq

from v3io_frames_put._encode.layouts import is_list, list_parents, map_as_list, to_numpy
from v3io_frames_put.jobs._fit import Piece
from v3io_frames_put.jobs._types import INTERNAL, read_as, told_type
from v3io_frames_put.jobs._where import OPEN, parse_where

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from v3io_frames_put.jobs._files import InputFile
    from v3io_frames_put.jobs._fit import Reading

_BATCH_ROWS: Final = 8_192
_BATCH_BYTES: Final = 8 << 20
_BUFFER_BYTES: Final = 1 << 18
_MAGIC: Final = b"ARROW1"  # of the file format; a stream begins with its schema
_ROUNDED: Final = INTERNAL + "rounded_"  # begins the name of a column of booleans


class ParquetFile:
    """A Parquet file, decoded a few thousand rows at a time, whatever its row groups.

    Parameters
    ----------
    file : InputFile
        The file.
    """

    def __init__(self, file: InputFile) -> None:
        self._file = file
        with self._open() as opened:
            self.stored = opened.schema_arrow
            self.schema = pa.schema([field.with_type(told_type(field)) for field in self.stored])
            self.num_rows = opened.metadata.num_rows
            self._int96 = self._find_int96(opened)
            self._batch_rows = _batch_rows(opened.metadata)

    def check_type(self, name: str, dtype: pa.DataType) -> None:
        """Raise ArrowInvalid or ArrowNotImplementedError for what it cannot be cast to."""
        _check_cast(self.stored, name, dtype)

    def pieces(self, names: Sequence[str], reading: Reading) -> Iterator[Piece]:
        """Yield columns, of row groups alone whose statistics do not exclude every row."""
        with self._open() as opened:
            groups = self._select_groups(reading)
            if groups is None:
                groups = list(range(opened.num_row_groups))
            # Without any column pyarrow would not tell how many rows there are.
            columns = list(names) or self.schema.names[:1]
            for batch in self._read(opened, groups, columns):
                piece = Piece(
                    {name: batch.column(name) for name in names}, batch.num_rows, self._file.name
                )
                for name in self._int96.intersection(names):
                    for row in np.flatnonzero(to_numpy(batch.column(_ROUNDED + name))).tolist():
                        piece.refuse(
                            row,
                            f"column {name!r} holds a time with nanoseconds as INT96, of which "
                            f"microseconds are read. Store it as another type, or round it.",
                        )
                yield piece

    def _find_int96(self, opened: pq.ParquetFile) -> set[str]:
        """Find the columns with timestamps of Parquet's old type, also inside other values."""
        leaves = map(opened.metadata.schema.column, range(opened.metadata.num_columns))
        if not any(leaf.physical_type == "INT96" for leaf in leaves):
            return set()
        with self._open("ns") as other:
            pairs = zip(opened.schema_arrow, other.schema_arrow, strict=True)
            return {one.name for one, two in pairs if one.type != two.type}

    def _read(
        self, opened: pq.ParquetFile, groups: list[int], columns: list[str]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the batches of row groups; at a damaged one, first all that stands before it."""
        rows = 0
        try:
            if groups:
                for batch in self._decode(opened, groups, columns):
                    yield batch
                    rows += batch.num_rows
        except (OSError, pa.ArrowException):  # one by one: a batch reaches from group to group
            for group in groups:
                size = opened.metadata.row_group(group).num_rows
                if rows >= size:
                    rows -= size
                    continue
                for batch in self._decode(opened, [group], columns):
                    yield batch.slice(min(rows, batch.num_rows))
                    rows = max(0, rows - batch.num_rows)

    def _decode(
        self, opened: pq.ParquetFile, groups: list[int], columns: list[str]
    ) -> Iterator[pa.RecordBatch]:
        """Yield batches; beside each column with INT96, one that tells where it was rounded."""
        old = [name for name in columns if name in self._int96]
        if not old:
            yield from self._iterate(opened, groups, columns)
            return
        with self._open("ns") as exact:
            fine = self._iterate(exact, groups, old)
            for batch, also in zip(self._iterate(opened, groups, columns), fine, strict=True):
                told = batch
                for name in old:
                    is_rounded = _find_rounded(batch.column(name), also.column(name))
                    told = told.append_column(_ROUNDED + name, pa.array(is_rounded))
                yield told

    def _iterate(
        self, opened: pq.ParquetFile, groups: list[int], columns: list[str]
    ) -> Iterator[pa.RecordBatch]:
        # In this thread: each of Arrow's own would keep memory that nobody can give back.
        batches: Iterator[pa.RecordBatch] = opened.iter_batches(
            self._batch_rows, groups, columns, use_threads=False
        )
        return batches

    def _open(self, int96_unit: str = "us") -> pq.ParquetFile:
        # Read ahead by small buffers: to buffer whole row groups would take what they take.
        # Of INT96, nanoseconds of 64 bits would turn the years before 1677 and after 2262 into
        # others without a word.
        return pq.ParquetFile(
            self._file.open(),
            buffer_size=_BUFFER_BYTES,
            pre_buffer=False,
            coerce_int96_timestamp_unit=int96_unit,
        )

    def _select_groups(self, reading: Reading) -> list[int] | None:
        """Find the row groups whose statistics leave a chance that the condition holds in them.

        They are about other values than the condition where the column is read as another
        type; and those of floating numbers tell neither of NaN nor of the sign of zero.
        """
        if reading.where is None:
            return None
        told = [
            field
            for field in self.stored
            if field.name in reading.where.columns
            and field.type == reading.schema.field(field.name).type
            and not pa.types.is_floating(field.type)
        ]
        if not told:
            return None
        import pyarrow.dataset as ds

        condition = parse_where(reading.where.text, pa.schema(told), is_open=True)
        fragment = ds.ParquetFileFormat().make_fragment(self._file.path, self._file.filesystem)
        schema = pa.schema([*told, (OPEN, pa.bool_())])
        return [group.id for group in fragment.subset(condition.expression, schema).row_groups]


def _find_rounded(column: pa.Array, exact: pa.Array) -> np.ndarray:
    """Return which values hold a time that has other nanoseconds; both are the same values."""
    rounded = np.zeros(len(column), np.bool_)
    if pa.types.is_struct(column.type):
        for child, exact_child in zip(column.flatten(), exact.flatten(), strict=True):
            rounded |= _find_rounded(child, exact_child)
    elif pa.types.is_map(column.type):
        rounded = _find_rounded(map_as_list(column), map_as_list(exact))
    elif is_list(column.type):
        inside = _find_rounded(column.flatten(), exact.flatten())
        rounded[list_parents(column)[inside]] = True
    elif column.type != exact.type:
        # Nanoseconds beyond 64 bits wrap around, and so do these products.
        ticks, fine = (to_numpy(a.view(pa.int64()).fill_null(0)) for a in (column, exact))
        rounded = ticks * 1_000 != fine
    return rounded


def _check_cast(schema: pa.Schema, name: str, dtype: pa.DataType) -> None:
    given = schema.field(name).type
    if not (given.equals(dtype) or pa.types.is_null(dtype)):
        pa.array([], read_as(given)).cast(dtype)


def _batch_rows(metadata: Any) -> int:
    """Return how many rows take a few megabytes."""
    size = sum(metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups))
    row_bytes = size / max(1, metadata.num_rows)
    return max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / max(1, row_bytes))))


class ArrowFile:
    """A file of Arrow record batches: the file format (Feather 2) or a stream.

    Parameters
    ----------
    file : InputFile
        The file.
    """

    num_rows = None

    def __init__(self, file: InputFile) -> None:
        self._file = file
        with file.open() as opened:
            self._is_stream = opened.read(len(_MAGIC)) != _MAGIC
            opened.seek(0)
            open_ipc = pa.ipc.open_stream if self._is_stream else pa.ipc.open_file
            self.schema = self.stored = open_ipc(opened).schema

    def check_type(self, name: str, dtype: pa.DataType) -> None:
        """Raise ArrowInvalid or ArrowNotImplementedError for what it cannot be cast to."""
        _check_cast(self.stored, name, dtype)

    def pieces(self, names: Sequence[str], _reading: Reading) -> Iterator[Piece]:
        """Yield columns of the batches, the large ones in slices."""
        with self._file.open() as opened:
            for batch in self._batches(opened):
                for start in range(0, batch.num_rows, _BATCH_ROWS):
                    part = batch.slice(start, _BATCH_ROWS)
                    yield Piece(
                        {name: part.column(name) for name in names}, part.num_rows, self._file.name
                    )

    def _batches(self, opened: Any) -> Iterator[pa.RecordBatch]:
        if self._is_stream:
            yield from pa.ipc.open_stream(opened)
            return
        reader = pa.ipc.open_file(opened)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)

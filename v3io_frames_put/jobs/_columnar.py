"""Parquet and Arrow IPC: files that know their types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from pyarrow import parquet as pq

from v3io_frames_put.jobs._fit import Piece
from v3io_frames_put.jobs._types import read_as, told_type
from v3io_frames_put.jobs._where import OPEN, parse_where

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from v3io_frames_put.jobs._files import InputFile
    from v3io_frames_put.jobs._fit import Reading

_BATCH_ROWS: Final = 8_192
_BATCH_BYTES: Final = 8 << 20
_BUFFER_BYTES: Final = 1 << 18
_MAGIC: Final = b"ARROW1"  # of the file format; a stream begins with its schema


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
                yield Piece(
                    {name: batch.column(name) for name in names}, batch.num_rows, self._file.name
                )

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
        # In this thread: each of Arrow's own would keep memory that nobody can give back.
        batches: Iterator[pa.RecordBatch] = opened.iter_batches(
            self._batch_rows, groups, columns, use_threads=False
        )
        return batches

    def _open(self) -> pq.ParquetFile:
        # Read ahead by small buffers: to buffer whole row groups would take what they take.
        return pq.ParquetFile(self._file.open(), buffer_size=_BUFFER_BYTES, pre_buffer=False)

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

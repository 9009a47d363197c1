"""Parquet and Arrow IPC: files that know their types."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from pyarrow import parquet as pq

from v3io_frames_put._encode.columns import INTERNAL
from v3io_frames_put._encode.json_lines import LINE
from v3io_frames_put._encode.layouts import (
    find_invalid,
    is_list,
    is_text,
    list_parents,
    map_as_list,
    to_numpy,
)
from v3io_frames_put.jobs._cast import Piece, cast_cells, show_bytes
from v3io_frames_put.jobs._json_lines import LINE_FIELD
from v3io_frames_put.jobs._where import parse_where

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from v3io_frames_put.jobs._files import InputFile

_BATCH_ROWS: Final = 8_192
_BATCH_BYTES: Final = 8 << 20
_BUFFER_BYTES: Final = 1 << 18
_MAGIC: Final = b"ARROW1"  # of the file format; a stream begins with its schema
_EXTENSION: Final = b"ARROW:extension:name"
_KNOWN_EXTENSIONS: Final = ("arrow.uuid", "arrow.json", "arrow.bool8")
INDEX: Final = {b"v3io_holds": b"index"}
"""Metadata of an index column, in a file of failed rows."""


class _TypedFile:
    """A file that knows its types."""

    is_text = False
    notes: tuple[str, ...] = ()
    position = 0
    schema: pa.Schema

    def _take_schema(self, stored: pa.Schema) -> None:
        """Name index columns of pandas as ``reset_index`` does."""
        self.stored = stored
        described = json.loads((stored.metadata or {}).get(b"pandas", b"{}")) or {}
        index = [name for name in described.get("index_columns", ()) if name in stored.names]
        unnamed = ["index"] if len(index) == 1 else [f"level_{n}" for n in range(len(index))]
        renamed = {
            old: new
            for old, new in zip(index, unnamed, strict=True)
            if old.startswith("__index_level_") and new not in stored.names
        }
        marked = [own.name for own in stored if own.metadata == INDEX]
        # A copy by another program has no metadata.
        data = [own for own in stored if not own.name.startswith(INTERNAL)]
        is_alone = [own.name for own in data] == [LINE] and len(data) < len(stored)
        self.is_lines = is_alone or any(own.metadata == LINE_FIELD.metadata for own in data)
        self.index = [*(renamed.get(name, name) for name in index), *marked]
        self.schema = pa.schema([own.with_name(renamed.get(own.name, own.name)) for own in stored])
        self._stored_names = dict(zip(self.schema.names, stored.names, strict=True))

    @staticmethod
    def cast(
        _name: str,
        cells: pa.Array,
        dtype: pa.DataType,
        *,
        is_asked: bool,  # noqa: ARG004 - of text
    ) -> tuple[pa.Array, pa.BooleanArray | None]:
        """Cast cells, and mark those that do not fit: text that is not UTF-8, too."""
        odd = find_invalid(cells)
        if not odd:
            return cast_cells(cells, dtype)
        mask = pa.array(np.isin(np.arange(len(cells)), list(odd)))
        cast, bad = cast_cells(
            cells.take(
                pa.array([None if row in odd else row for row in range(len(cells))], pa.int64())
            ),
            dtype,
        )
        return cast, mask if bad is None else pc.or_(mask, bad)

    @staticmethod
    def show(cell: pa.Scalar) -> str:
        """Return the text of a cell that does not fit."""
        if is_text(cell.type):
            return show_bytes(bytes(cell.as_buffer()))
        try:
            return str(cell.as_py())
        except UnicodeDecodeError:
            return "text that is not UTF-8"
        except ValueError:  # a date beyond Python's
            return str(cell)


class ParquetFile(_TypedFile):
    """A Parquet file, decoded a few thousand rows at a time, whatever its row groups."""

    def __init__(self, file: InputFile, where: str | None = None) -> None:
        self._file, self._where = file, where
        with self._open("us") as opened:
            self._take_schema(opened.schema_arrow)
            self.num_rows = opened.metadata.num_rows
            self._group_rows = [
                opened.metadata.row_group(n).num_rows for n in range(opened.num_row_groups)
            ]
            self._batch_rows = _batch_rows(opened.metadata)
            self._int96 = self._find_int96(opened)

    def pieces(self, names: Sequence[str], schema: pa.Schema) -> Iterator[Piece]:
        """Yield columns, of row groups alone whose statistics do not exclude every row."""
        stored = [self._stored_names[name] for name in names] or self.stored.names[:1]
        dated = [name for name in stored if name in self._int96]
        with self._open("us") as opened, self._open("ns") as exact:
            for groups, first in self._runs(schema):
                row = first
                fine = self._read(exact, groups, dated) if dated else None
                for batch in self._read(opened, groups, stored):
                    numbers = np.arange(row, row + batch.num_rows)
                    piece = Piece({n: batch.column(self._stored_names[n]) for n in names}, numbers)
                    if fine is not None:
                        self._check_dates(piece, next(fine), schema)
                    yield piece
                    row += batch.num_rows

    def _find_int96(self, opened: pq.ParquetFile) -> set[str]:
        """Find the columns with timestamps of Parquet's old type, also inside other values."""
        leaves = map(opened.schema.column, range(len(opened.schema)))
        if not any(leaf.physical_type == "INT96" for leaf in leaves):
            return set()
        with self._open("ns") as other:
            pairs = zip(opened.schema_arrow, other.schema_arrow, strict=True)
            return {one.name for one, two in pairs if one.type != two.type}

    def _check_dates(self, piece: Piece, exact: pa.RecordBatch, schema: pa.Schema) -> None:
        """Keep INT96 whole: microseconds hold any date, nanoseconds those of 1678 to 2261."""
        for name, coarse in list(piece.columns.items()):
            if self._stored_names[name] not in exact.schema.names:
                continue
            fine = exact.column(self._stored_names[name])
            bad, shown = _find_differing(coarse, fine, lambda us, ns: us * 1_000 != ns), fine
            if schema.field(name).type == fine.type:
                bad, shown = _find_differing(coarse, fine, lambda us, ns: us != ns // 1_000), coarse
                piece.columns[name] = fine
            if bad.any():
                piece.invalid[name] = pa.array(bad), shown

    def _runs(self, schema: pa.Schema) -> Iterator[tuple[list[int], int]]:
        """Yield row groups to read that follow each other, with their first row."""
        wanted = self._select_groups(schema)
        run: list[int] = []
        row, first = 1, 1
        for group, count in enumerate(self._group_rows):
            if wanted is None or group in wanted:
                first = first if run else row
                run.append(group)
            elif run:
                yield run, first
                run = []
            row += count
        if run:
            yield run, first

    def _select_groups(self, schema: pa.Schema) -> set[int] | None:
        """Find the row groups whose statistics leave a chance that the condition holds in them.

        They are about other values than the condition where a column is read as another
        type; and those of floating numbers show neither NaN nor the sign of zero.
        """
        if self._where is None:
            return None
        known = [
            own
            for own in self.stored
            if own.name in schema.names
            and own.name not in self._file.partitions
            and own.type == schema.field(own.name).type
            and not pt.is_floating(own.type)
        ]
        import pyarrow.dataset as ds

        condition = parse_where(self._where, pa.schema(known), others=True)
        fragment = ds.ParquetFileFormat().make_fragment(self._file.path, self._file.filesystem)
        schema = pa.unify_schemas([pa.schema(known), condition.schema])
        return {group.id for group in fragment.subset(condition.expression, schema).row_groups}

    def _read(
        self, opened: pq.ParquetFile, groups: list[int], columns: list[str]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the batches of row groups; at a damaged one, first all before it."""
        rows = 0
        try:
            for batch in self._decode(opened, groups, columns):
                yield batch
                rows += batch.num_rows
        except (OSError, pa.ArrowException):  # one by one: a batch reaches from group to group
            for group in groups:
                size = self._group_rows[group]
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

    def _open(self, unit: str) -> pq.ParquetFile:
        # Read ahead by small buffers: to buffer whole row groups would take what they take.
        return pq.ParquetFile(
            self._file.open(),
            buffer_size=_BUFFER_BYTES,
            pre_buffer=False,
            coerce_int96_timestamp_unit=unit,
        )


def _find_differing(column: pa.Array, exact: pa.Array, differ: Any) -> NDArray[np.bool_]:
    """Return which values hold a time that is another one in nanoseconds, at any depth.

    Nanoseconds beyond 64 bits wrap around, and so does a product with microseconds.
    """
    differing = np.zeros(len(column), np.bool_)
    if pt.is_struct(column.type):
        for child, exact_child in zip(column.flatten(), exact.flatten(), strict=True):
            differing |= _find_differing(child, exact_child, differ)
    elif pt.is_map(column.type):
        differing = _find_differing(map_as_list(column), map_as_list(exact), differ)
    elif is_list(column.type):
        inside = _find_differing(column.flatten(), exact.flatten(), differ)
        differing[list_parents(column)[inside]] = True
    elif column.type != exact.type:
        differing = differ(*(to_numpy(a.view(pa.int64()).fill_null(0)) for a in (column, exact)))
    return differing


def _batch_rows(metadata: Any) -> int:
    """Return how many rows take a few megabytes."""
    size = sum(metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups))
    row_bytes = size / max(1, metadata.num_rows)
    return max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / max(1, row_bytes))))


class ArrowFile(_TypedFile):
    """A file of Arrow record batches: the file format (Feather 2) or a stream."""

    num_rows = None

    def __init__(self, file: InputFile) -> None:
        self._file = file
        with file.open() as opened:
            self._is_stream = opened.read(len(_MAGIC)) != _MAGIC
            opened.seek(0)
            open_ipc = pa.ipc.open_stream if self._is_stream else pa.ipc.open_file
            self._take_schema(open_ipc(opened).schema)

    def pieces(self, names: Sequence[str], _schema: pa.Schema) -> Iterator[Piece]:
        """Yield columns of the batches, the large ones in slices."""
        row = 1
        with self._file.open() as opened:
            for batch in self._batches(opened):
                for start in range(0, batch.num_rows, _BATCH_ROWS):
                    part = batch.slice(start, _BATCH_ROWS)
                    columns = {name: part.column(self._stored_names[name]) for name in names}
                    yield Piece(columns, np.arange(row, row + part.num_rows))
                    row += part.num_rows

    def _batches(self, opened: Any) -> Iterator[pa.RecordBatch]:
        if self._is_stream:
            yield from pa.ipc.open_stream(opened)
            return
        reader = pa.ipc.open_file(opened)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def extension_of(own: pa.Field) -> str | None:
    """Return the name of an extension type that nothing can send, at any depth.

    It is known by the metadata of the file, whatever types this process has registered.
    """
    name = (own.metadata or {}).get(_EXTENSION, b"").decode()
    name = name or str(getattr(own.type, "extension_name", ""))
    if name:
        return None if name in _KNOWN_EXTENSIONS else name
    children = (own.type.field(n) for n in range(own.type.num_fields))
    return next(filter(None, map(extension_of, children)), None)

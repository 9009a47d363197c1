"""Files of any kind -> one table that is read from its first row to its last, never held.

Making it looks at every file's names and types, so that what is wrong with them is raised
before anything is sent. Reading it yields Arrow batches: the data, and four columns of ours.

    __v3io_invalid   map of column to text: the cells that did not fit, null in their columns
    __v3io_file      the file of the row, a dictionary
    __v3io_file_row  where the row stands in it, from 1; of text its first line
    __v3io_detail    what is wrong with a row that has invalid cells

A row with invalid cells is rejected by whoever sends it; none of the four is ever sent.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from pyarrow import parquet as pq

from v3io_frames_put._encode.columns import INTERNAL
from v3io_frames_put._encode.json_lines import FILE, FILE_ROW, LINE, LineSource
from v3io_frames_put._encode.layouts import (
    DETAIL,
    INVALID,
    find_invalid,
    is_list,
    is_text,
    list_parents,
    map_as_list,
    to_numpy,
)
from v3io_frames_put._encode.sources import StreamSource
from v3io_frames_put.errors import ColumnNotFound, ConfigError, DataError, UnsupportedType
from v3io_frames_put.jobs._cast import (
    BLOCK_BYTES,
    Piece,
    can_cast,
    cast_cells,
    merge_schemas,
    read_as,
    show_bytes,
)
from v3io_frames_put.jobs._csv import CsvFile, Dialect
from v3io_frames_put.jobs._files import (
    find_partition_types,
    hide_password,
    partition_value,
    public_cause,
)
from v3io_frames_put.jobs._json_lines import (
    LINE_FIELD,
    JsonColumnsFile,
    LinesFile,
    Members,
    clean_lines,
)
from v3io_frames_put.jobs._where import parse_where

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from v3io_frames_put._encode.sources import Reader as ColumnReader
    from v3io_frames_put.jobs._files import InputFile
    from v3io_frames_put.jobs._sink import Places
    from v3io_frames_put.jobs._where import Where

_LOG: Final = logging.getLogger("v3io_frames_put")

INTERNAL_FIELDS: Final = (
    pa.field(INVALID, pa.map_(pa.string(), pa.string())),
    pa.field(FILE, pa.dictionary(pa.int32(), pa.string())),
    pa.field(FILE_ROW, pa.int64()),
    pa.field(DETAIL, pa.string()),
)
_BATCH_ROWS: Final = 8_192
_BATCH_BYTES: Final = 8 << 20
_BUFFER_BYTES: Final = 1 << 18
_RELEASE_ROWS: Final = 8_192
_SHOWN: Final = 60  # characters of a cell
_MAGIC: Final = b"ARROW1"  # of the file format; a stream begins with its schema
_EXTENSION: Final = b"ARROW:extension:name"
_INDEX: Final = {b"v3io_holds": b"index"}  # of a column, in a file of failed rows
_KNOWN_EXTENSIONS: Final = ("arrow.uuid", "arrow.json", "arrow.bool8")
_UNREADABLE: Final = (OSError, EOFError, pa.ArrowException, DataError, ValueError)


class Reader(Protocol):
    """A file of one kind."""

    schema: pa.Schema
    num_rows: int | None
    is_text: bool  # its types are inferred from its first block
    is_lines: bool  # it holds lines of JSON that are sent as they are
    index: Sequence[str]  # columns that are the index of a pandas frame
    notes: Sequence[str]  # what inference changed
    position: int  # bytes of the file that were read

    def pieces(self, names: Sequence[str], schema: pa.Schema) -> Iterator[Piece]:
        """Yield columns; ``schema`` has the types that they will have."""

    def cast(
        self, name: str, cells: pa.Array, dtype: pa.DataType, *, is_asked: bool
    ) -> tuple[pa.Array, pa.BooleanArray | None]:
        """Cast cells, and tell which do not fit; ``is_asked``: to a type that the user gave."""

    def show(self, cell: pa.Scalar) -> str:
        """Return the text of a cell that does not fit."""


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
        marked = [own.name for own in stored if own.metadata == _INDEX]
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
        """Cast cells, and tell which do not fit: text that is not UTF-8, too."""
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
            leaves = [opened.schema.column(n) for n in range(len(opened.schema))]
            int96 = (leaf.path for leaf in leaves if leaf.physical_type == "INT96")
            self._int96 = {path.partition(".")[0] for path in int96}

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
        type; and those of floating numbers tell neither of NaN nor of the sign of zero.
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

        condition = parse_where(self._where, pa.schema(known), "open")
        fragment = ds.ParquetFileFormat().make_fragment(self._file.path, self._file.filesystem)
        schema = pa.unify_schemas([pa.schema(known), condition.schema])
        return {group.id for group in fragment.subset(condition.expression, schema).row_groups}

    def _read(
        self, opened: pq.ParquetFile, groups: list[int], columns: list[str]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the batches of row groups; at a damaged one, first all that stands before it."""
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


class FileTable:
    """All files as one table.

    Parameters
    ----------
    files : sequence of InputFile
        In order.
    types : dict of str to DataType
        Types that the user wants, by column.
    where : str, optional
        Which rows.
    dialect : Dialect, optional
        How CSV is written.
    as_lines : bool
        Whether JSON Lines are sent as they are.
    agreed : Schema, optional
        What the columns are read as, whatever the files say: of a run that has begun.
    block_bytes : int
        Text that is read at once.

    Attributes
    ----------
    schema : Schema
        Of all files together; no column of ours is among them.
    num_rows : int or None
        None: not known before the last row is read.
    num_bytes : int or None
        Bytes of all files, where all are text; see ``bytes_read``.
    rows_read : int
        How many rows were read.
    places : Places or None
        Takes note of where each row stands, as rows are read.
    starts, ends : list of int
        The first row of each file that was begun, and the row after the last of each that
        was read to its end.
    broken : DataError or None
        What the table broke off at, before its last file's end.
    is_lines : bool
        Whether it is lines of JSON that are sent as they are.
    is_inferred : bool
        Whether types are those of the first block of some files.
    index : list of str
        Columns that are the index of a pandas frame.
    notes : list of str
        What reading changed, as far as it is known beforehand.
    """

    def __init__(
        self,
        files: Sequence[InputFile],
        types: Mapping[str, pa.DataType],
        where: str | None = None,
        *,
        dialect: Dialect | None = None,
        as_lines: bool = False,
        agreed: pa.Schema | None = None,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self.files, self._types = list(files), types
        self._block_bytes = block_bytes
        self._dialect = dialect or Dialect()
        self._readers = [self._open(file, where, as_lines=as_lines) for file in self.files]
        if isinstance(self._readers[0], DataError):
            raise self._readers[0]
        self._folders = find_partition_types(files, types)
        opened = [
            (file, reader)
            for file, reader in zip(self.files, self._readers, strict=True)
            if not isinstance(reader, DataError)
        ]
        self.is_lines = as_lines and self._check_lines(opened)
        schemas = [(file.name, self._with_folders(reader.schema, file)) for file, reader in opened]
        self.schema = self._settle(schemas) if agreed is None else agreed
        self.index = [
            n
            for n in dict.fromkeys(n for _, r in opened for n in r.index)
            if n in self.schema.names
        ]
        self.schema = pa.schema(
            [own.with_metadata(_INDEX) if own.name in self.index else own for own in self.schema]
        )
        self.notes = [f"{file.name}: {note}" for file, reader in opened for note in reader.notes]
        self._unsupported: dict[str, str] = {}
        for file, reader in opened:
            self._check_types(file, reader)
        self.where: Where | None = None
        if where is not None:
            unknown: Any = "member" if self.is_lines else "refuse"
            self.where = parse_where(where, self._columns_beside(), unknown)
        self._members = Members(self.where.schema) if self.where and self.is_lines else None
        self.num_rows = self._count_rows()
        sizes = [file.size for file in self.files]
        is_text = all(reader.is_text for _, reader in opened)
        self.is_inferred = not self.is_lines and any(reader.is_text for _, reader in opened)
        self.num_bytes = sum(filter(None, sizes)) if is_text and None not in sizes else None
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.broken: DataError | None = None
        self.rows_read = self._unreleased = 0
        self.places: Places | None = None
        self.on_read: Callable[[], object] | None = None

    def _open(self, file: InputFile, where: str | None, *, as_lines: bool) -> Any:
        """Open a file, or return why it cannot be read."""
        try:
            if file.kind == "parquet":
                return ParquetFile(file, where)
            if file.kind == "arrow":
                return ArrowFile(file)
            if file.kind == "csv":
                return CsvFile(file, self._dialect, self._block_bytes)
            make = LinesFile if as_lines else JsonColumnsFile
            return make(file, self._block_bytes)
        except _UNREADABLE as error:
            wrapped = DataError(f"{file.name} cannot be read: {hide_password(str(error))}")
            wrapped.__cause__ = public_cause(error)
            return wrapped

    # -- names and types ------------------------------------------------------------------

    @staticmethod
    def _check_lines(opened: Sequence[tuple[InputFile, Reader]]) -> bool:
        """Tell whether all files are lines, or none."""
        lines = [reader.is_lines for _, reader in opened]
        if any(lines) and not all(lines):
            one, other = (opened[lines.index(is_line)][0].name for is_line in (True, False))
            raise DataError(
                f"{one} holds JSON Lines, which are sent as they are, and {other} does not. "
                f"Publish them apart."
            )
        return any(lines)

    def _with_folders(self, schema: pa.Schema, file: InputFile) -> pa.Schema:
        """Add the columns of a file's folders to its own; those of folders win."""
        for name in file.partitions:
            if name == LINE and self.is_lines:
                raise DataError(f"{file.name}: a folder gives the column {LINE!r}. Rename it.")
            column = pa.field(name, self._folders[name])
            place = schema.get_field_index(name)
            schema = schema.append(column) if place < 0 else schema.set(place, column)
        return schema

    def _settle(self, schemas: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
        """Bring the files' columns together; text without a value so far stays text."""
        if self.is_lines:
            for name in self._types:
                if name not in self._folders:
                    raise ConfigError(
                        f"types: {name!r}: JSON Lines are sent as they are with format='json', so "
                        f"types do not apply. Leave them out."
                    )
        schema = merge_schemas(schemas, self._types)
        is_text = any(getattr(reader, "is_text", False) for reader in self._readers)
        for name, dtype in self._types.items():
            if name not in schema.names and not self.is_lines:
                if not any(isinstance(reader, JsonColumnsFile) for reader in self._readers):
                    raise ConfigError(f"types: no file has a column {name!r}. Correct the name.")
                schema = schema.append(pa.field(name, read_as(dtype)))
        if self.is_lines:
            schema = schema.set(schema.get_field_index(LINE), LINE_FIELD)
        return pa.schema(
            [
                own.with_type(pa.string()) if pt.is_null(own.type) and is_text else own
                for own in schema
            ]
        )

    def _columns_beside(self) -> pa.Schema:
        """Return the columns that a condition compares by type."""
        return pa.schema([own for own in self.schema if not (self.is_lines and own.name == LINE)])

    def _check_types(self, file: InputFile, reader: Reader) -> None:
        """Refuse a type that a file's column can never have; note types that nothing sends."""
        for name in file.partitions:
            if name in self.schema.names:
                partition_value(file, name, self.schema.field(name).type)
        for own in reader.schema:
            if own.name in file.partitions or own.name not in self.schema.names:
                continue
            dtype = self.schema.field(own.name).type
            if kind := _extension_of(own):
                self._unsupported[own.name] = kind
            if isinstance(reader, JsonColumnsFile) and pt.is_nested(dtype):
                continue
            given = pa.string() if reader.is_text else own.type
            if not (pt.is_null(own.type) or given.equals(dtype) or can_cast(given, dtype)):
                raise DataError(
                    f"{file.name}: column {own.name!r} is {given}, which cannot become {dtype}. "
                    f"Correct types, or publish the file apart."
                )

    def _count_rows(self) -> int | None:
        counts = [None if isinstance(r, DataError) else r.num_rows for r in self._readers]
        known = [count for count in counts if count is not None]
        return None if self.where or len(known) < len(counts) else sum(known)

    def data_columns(self, columns: Sequence[str] | None, *, index: bool) -> Sequence[str] | None:
        """Return the columns that go into Data; None: lines as they are."""
        if columns is not None or self.is_lines:
            return columns
        own = [name for name in self.schema.names if name not in self.index]
        return [*self.index, *own] if index else own

    def check_members(self, named: Iterable[str]) -> None:
        """Refuse a member that no line has, as far as the first lines of all files tell.

        Raises
        ------
        ColumnNotFound
            No line has it.
        """
        left = {name for name in named if name not in self.schema.names}
        seen: set[str] = set()
        is_whole = True
        for reader in self._readers if left and self.is_lines else ():
            if not isinstance(reader, LinesFile):
                return  # failed rows: only reading all of them would tell
            names, is_all = reader.members()
            seen |= names
            is_whole = is_whole and is_all
            if left <= seen:
                return
        for name in sorted(left - seen) if self.is_lines else ():
            if is_whole:
                raise ColumnNotFound(name, option="a member", available=sorted(seen))
            _LOG.warning("no line of the first megabyte has the member %r", name)

    # -- reading --------------------------------------------------------------------------

    @property
    def is_read(self) -> bool:
        """Whether every file was read to its end."""
        return len(self.ends) == len(self.files)

    @property
    def bytes_read(self) -> int:
        """How many bytes of the files were read."""
        begun, ended = len(self.starts), len(self.ends)  # the reading thread moves them on
        done = sum(file.size or 0 for file in self.files[:ended])
        return done if begun <= ended else done + getattr(self._readers[ended], "position", 0)

    @property
    def broken_files(self) -> list[str]:
        """Names of the files that could not be read: the one that it broke off at, and others."""
        if self.broken is None:
            return []
        at = len(self.starts) - 1
        return [
            file.name
            for number, file in enumerate(self.files)
            if number == at or isinstance(self._readers[number], DataError)
        ]

    def source(self, *, ends_where_broken: bool = False) -> StreamSource:
        """Return the table as the input of a run; it can be read once.

        A file that cannot be read to its end is raised once all before it has been given,
        or ends the table there.
        """
        schema = pa.schema([*self.schema, *INTERNAL_FIELDS])
        batches = self._until_broken if ends_where_broken else self._batches
        if self.is_lines:
            return LineSource(schema, batches)
        return _TypedSource(schema, batches, self._unsupported)

    def tell_left_out(self) -> None:
        """Warn of columns that are not read, since the run did not have them when it began."""
        for file, reader in zip(self.files, self._readers, strict=True):
            names = [] if isinstance(reader, DataError) else reader.schema.names
            new = [n for n in names if n not in self.schema.names and not n.startswith(INTERNAL)]
            if new:
                _LOG.warning(
                    "%s: %s left out, which the run did not have when it began; publish the file "
                    "by a call of its own, too, if that is to be sent",
                    file.name,
                    ", ".join(map(repr, new)),
                )

    def skim(self) -> None:
        """Read the table as a run does, to learn where its files begin and end."""
        for _ in self._until_broken([]):
            pass

    def read_again(self, number: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a file again: all columns, and ours."""
        names = [*self.schema.names, *(own.name for own in INTERNAL_FIELDS)]
        return (batch for batch, _ in self._read_file(number, names))

    def _describe(self, number: int, file_row: int) -> str:
        what = "line" if self._readers[number].is_text else "row"
        return f"{self.files[number].name}, {what} {file_row:,}"

    def _batches(self, positions: list[int]) -> Iterator[pa.RecordBatch]:
        every = [*self.schema.names, *(own.name for own in INTERNAL_FIELDS)]
        names = [every[position] for position in positions]
        for number in range(len(self.files)):
            self.starts.append(self.rows_read)
            try:
                for batch, rows in self._read_file(number, names):
                    self.rows_read += len(rows)
                    if self.places is not None:
                        self.places.note(self._place(number, rows))
                    self._release(len(rows))
                    if self.on_read is not None:
                        self.on_read()
                    yield batch
            except DataError as error:
                self.broken = error
                raise
            self.ends.append(self.rows_read)

    def _until_broken(self, positions: list[int]) -> Iterator[pa.RecordBatch]:
        with suppress(DataError):  # it is kept
            yield from self._batches(positions)

    def _release(self, num_rows: int) -> None:
        """Give back what reading left free: a thread keeps memory of its own in the pool."""
        self._unreleased += num_rows
        if self._unreleased >= _RELEASE_ROWS:
            self._unreleased = 0
            pa.default_memory_pool().release_unused()

    def _place(self, number: int, rows: NDArray[np.int64]) -> pa.RecordBatch:
        columns = [self._internal(name, number, rows, {}, {}) for name in (FILE, FILE_ROW)]
        return pa.record_batch(columns, [FILE, FILE_ROW])

    def _read_file(
        self, number: int, names: Sequence[str]
    ) -> Iterator[tuple[pa.RecordBatch, NDArray[np.int64]]]:
        """Yield columns of a file as the table has them, and where the rows stand in it."""
        file, reader = self.files[number], self._readers[number]
        if isinstance(reader, DataError):
            raise reader
        asked = [] if self.where is None else self.where.columns
        wanted = [n for n in dict.fromkeys([*names, *asked]) if n in self.schema.names]
        if self._members is not None and LINE not in wanted:
            wanted.append(LINE)
        known = wanted if isinstance(reader, JsonColumnsFile) else reader.schema.names
        own = [name for name in wanted if name in known and name not in file.partitions]
        marks = [name for name in (INVALID, DETAIL) if INVALID in reader.schema.names]
        marks = [name for name in marks if name in reader.schema.names]
        try:
            for piece in reader.pieces([*own, *marks], self.schema):
                yield self._convert(number, piece, wanted, names)
        except _UNREADABLE as error:
            text = f"{file.name} cannot be read to its end: {hide_password(str(error))}"
            raise DataError(text) from public_cause(error)

    def _convert(
        self, number: int, piece: Piece, wanted: Sequence[str], names: Sequence[str]
    ) -> tuple[pa.RecordBatch, np.ndarray]:
        """Make a batch of a piece: columns cast, rows filtered, invalid cells named."""
        file, reader, rows = self.files[number], self._readers[number], piece.rows
        columns: dict[str, pa.Array] = {}
        invalid: dict[int, dict[str, str]] = {}
        details: dict[int, str] = {}
        for row, (text, reason) in piece.lost.items():
            place, shown = self._describe(number, int(rows[row])), _shorten(text)
            invalid[row] = {LINE: text}
            details[row] = f"{place}: {reason}: {shown}. Correct the line."
        for name in wanted:
            dtype = self.schema.field(name).type
            if name in file.partitions:
                columns[name] = pa.repeat(partition_value(file, name, dtype), len(rows))
                continue
            cells = piece.columns.get(name)
            if cells is None:
                columns[name] = pa.nulls(len(rows), dtype)
                continue
            if name == LINE and self.is_lines:
                columns[name] = clean_lines(cells)
                continue
            columns[name], bad = reader.cast(name, cells, dtype, is_asked=name in self._types)
            if name in piece.invalid:
                own, cells = piece.invalid[name]
                bad = own if bad is None else pc.or_(bad, own)
            if bad is None:
                continue
            columns[name] = pc.if_else(bad, None, columns[name])
            for row in pc.indices_nonzero(bad).to_pylist():
                text = reader.show(cells[row])
                invalid.setdefault(row, {})[name] = text
                details.setdefault(
                    row,
                    f"{self._describe(number, int(rows[row]))}: column {name!r} holds "
                    f"{_shorten(text)}, which is not {dtype}. Correct the cell, or give the column "
                    f"another type by types.",
                )
        _keep_marks(piece, invalid, details)
        if self.where is not None:
            keep = self._find_rows(piece, columns, invalid)
            if keep is not None:
                columns = {name: column.filter(keep) for name, column in columns.items()}
                kept = np.flatnonzero(keep.to_numpy(zero_copy_only=False))
                moved = {old: new for new, old in enumerate(kept.tolist())} if invalid else {}
                invalid = {moved[row]: cells for row, cells in invalid.items() if row in moved}
                details = {moved[row]: text for row, text in details.items() if row in moved}
                rows = rows[kept]
        for name in names:
            if name not in columns:
                columns[name] = self._internal(name, number, rows, invalid, details)
        return pa.record_batch([columns[name] for name in names], list(names)) if names else (
            pa.record_batch([pa.nulls(len(rows))], ["rows"])
        ), rows

    def _find_rows(
        self,
        piece: Piece,
        columns: Mapping[str, pa.Array],
        invalid: Mapping[int, Mapping[str, str]],
    ) -> pa.BooleanArray | None:
        """Find the rows to keep; one that is invalid stays where nobody can tell. None: all."""
        where: Any = self.where
        unsure = {
            row for row, cells in invalid.items() if row in piece.lost or where.columns & {*cells}
        }
        if self._members is not None:
            read, odd = self._members.read(columns[LINE])
            columns, unsure = {**columns, **read}, unsure | odd
        mask = where.evaluate(columns)
        if unsure:
            doubt = pa.array(np.isin(np.arange(len(mask)), list(unsure)))
            mask = pc.if_else(pc.and_(mask.is_null(), doubt), True, mask)  # noqa: FBT003 - a value
            if self._members is not None:  # what "is null" says of a line that is not an object
                mask = pc.or_kleene(mask, doubt)
        mask = pc.fill_null(mask, False)  # noqa: FBT003 - Arrow's signature
        return None if mask.true_count == len(mask) else mask

    def _internal(
        self,
        name: str,
        number: int,
        rows: np.ndarray,
        invalid: Mapping[int, Mapping[str, str]],
        details: Mapping[int, str],
    ) -> pa.Array:
        """Return a column of ours."""
        if name == FILE_ROW:
            return pa.array(rows, pa.int64())
        if name == FILE:
            return _file_column([self.files[number].name], 0, len(rows))
        if name == DETAIL:
            return (
                pa.array([details.get(row) for row in range(len(rows))], pa.string())
                if details
                else pa.nulls(len(rows), pa.string())
            )
        dtype = INTERNAL_FIELDS[0].type
        if not invalid:
            return pa.nulls(len(rows), dtype)
        cells = [list(invalid[row].items()) if row in invalid else None for row in range(len(rows))]
        return pa.array(cells, dtype)


class _TypedSource(StreamSource):
    """Columns of files; one of a type that nothing can send is refused when it is opened."""

    def __init__(self, schema: pa.Schema, batches: Any, unsupported: Mapping[str, str]) -> None:
        super().__init__(schema, batches)
        self._unsupported = unsupported

    def open(self, position: int) -> ColumnReader:
        """Return a reader of a column."""
        name = self.names[position]
        if name in self._unsupported:
            advice = "which has no encoding. Leave it out by columns, or store it as text"
            raise UnsupportedType(
                column=name, dtype=f"extension<{self._unsupported[name]}>", advice=advice
            )
        return super().open(position)


def _extension_of(own: pa.Field) -> str | None:
    """Return the name of an extension type that nothing can send, at any depth.

    It is known by the metadata of the file, whatever types this process has registered.
    """
    name = (own.metadata or {}).get(_EXTENSION, b"").decode()
    name = name or str(getattr(own.type, "extension_name", ""))
    if name:
        return None if name in _KNOWN_EXTENSIONS else name
    children = (own.type.field(n) for n in range(own.type.num_fields))
    return next(filter(None, map(_extension_of, children)), None)


def _file_column(names: list[str], code: int | None, count: int) -> pa.DictionaryArray:
    codes = pa.repeat(pa.scalar(code, pa.int32()), count)
    return pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string()))


def _keep_marks(piece: Piece, invalid: dict[int, dict[str, str]], details: dict[int, str]) -> None:
    """Add the marks that a file of failed rows has itself, until they are cleared."""
    marks = piece.columns.get(INVALID)
    if marks is None:
        return
    texts = piece.columns.get(DETAIL)
    for row in pc.indices_nonzero(marks.is_valid()).to_pylist():
        cells = dict(marks[row].as_py() or ())
        if cells:
            invalid[row] = {**cells, **invalid.get(row, {})}
            known = None if texts is None else texts[row].as_py()
            details.setdefault(row, known or f"cells that did not fit: {_shorten(str(cells))}.")


def _shorten(text: str) -> str:
    """Show a cell, however long it is."""
    shown = repr(text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."

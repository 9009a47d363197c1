"""Files of any kind -> one table that is read from its first row to its last, never held.

Making it looks at every file's names and types, so that what is wrong with them is raised
before anything is sent. Reading it yields Arrow batches: the data, and four columns of ours.

    __v3io_invalid   map of column to text: the cells that did not fit, null in their columns
    __v3io_file      the file of the row, a dictionary
    __v3io_file_row  where the row is in it, from 1; of text its first line
    __v3io_detail    what is wrong with a row that has invalid cells

A row with invalid cells is rejected by whoever sends it; none of the four is ever sent.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._encode.columns import INTERNAL
from v3io_frames_put._encode.json_lines import FILE, FILE_ROW, LINE, LineSource
from v3io_frames_put._encode.layouts import (
    DETAIL,
    INVALID,
    plain_type,
)
from v3io_frames_put._encode.sources import StreamSource
from v3io_frames_put.errors import ColumnNotFound, ConfigError, DataError, UnsupportedType
from v3io_frames_put.jobs._cast import (
    BLOCK_BYTES,
    Piece,
    can_cast,
    merge_schemas,
)
from v3io_frames_put.jobs._csv import CsvFile, Dialect
from v3io_frames_put.jobs._files import (
    find_partition_types,
    hide_password,
    partition_value,
    public_cause,
)
from v3io_frames_put.jobs._formats import INDEX, ArrowFile, ParquetFile, extension_of
from v3io_frames_put.jobs._json_lines import (
    LINE_FIELD,
    JsonColumnsFile,
    LinesFile,
    Members,
    clean_lines,
)
from v3io_frames_put.jobs._where import parse_where

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from v3io_frames_put._encode.sources import Reader as ColumnReader
    from v3io_frames_put.jobs._files import InputFile
    from v3io_frames_put.jobs._where import Where

_LOG: Final = logging.getLogger("v3io_frames_put")

_CELLS: Final = pa.field(INVALID, pa.map_(pa.string(), pa.string()))
_DETAIL: Final = pa.field(DETAIL, pa.string())
INTERNAL_FIELDS: Final = (
    _CELLS,
    pa.field(FILE, pa.dictionary(pa.int32(), pa.string())),
    pa.field(FILE_ROW, pa.int64()),
    _DETAIL,
)
_RELEASE_ROWS: Final = 8_192
_SHOWN: Final = 60  # characters of a cell
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
        """Cast cells, mark those that do not fit; ``is_asked``: to a type that the user gave."""

    def show(self, cell: pa.Scalar) -> str:
        """Return the text of a cell that does not fit."""


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
    places
        Its ``note`` is called with file and row of the rows that are read. None: nobody asks.
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
            [own.with_metadata(INDEX) if own.name in self.index else own for own in self.schema]
        )
        self.notes = [f"{file.name}: {note}" for file, reader in opened for note in reader.notes]
        self._unsupported: dict[str, str] = {}
        for file, reader in opened:
            self._check_types(file, reader)
        self.where: Where | None = None
        if where is not None:
            beside = [own for own in self.schema if not (self.is_lines and own.name == LINE)]
            self.where = parse_where(where, pa.schema(beside), others=self.is_lines)
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
        self.places: Any = None  # records where rows are
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
                schema = schema.append(pa.field(name, plain_type(dtype)))
        if self.is_lines:
            schema = schema.set(schema.get_field_index(LINE), LINE_FIELD)
        return pa.schema(
            [
                own.with_type(pa.string()) if pt.is_null(own.type) and is_text else own
                for own in schema
            ]
        )

    def _check_types(self, file: InputFile, reader: Reader) -> None:
        """Refuse a type that a file's column can never have; note types that nothing sends."""
        for name in file.partitions:
            if name in self.schema.names:
                partition_value(file, name, self.schema.field(name).type)
        for own in reader.schema:
            if own.name in file.partitions or own.name not in self.schema.names:
                continue
            dtype = self.schema.field(own.name).type
            if kind := extension_of(own):
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

    def check_members(self, named: Mapping[str, str]) -> None:
        """Refuse a member that no line has, as far as the first lines of all files show.

        ``named`` are members with the option that names each.

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
                return  # failed rows: only reading all of them would show
            names, is_all = reader.members()
            seen |= names
            is_whole = is_whole and is_all
            if left <= seen:
                return
        for name in sorted(left - seen) if self.is_lines else ():
            if is_whole:
                raise ColumnNotFound(name, option=named[name], available=sorted(seen))
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

    def log_left_out(self) -> None:
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

    def _batches(self, positions: list[int]) -> Iterator[pa.RecordBatch]:
        every = [*self.schema.names, *(own.name for own in INTERNAL_FIELDS)]
        names = [every[position] for position in positions]
        for number in range(len(self.files)):
            self.starts.append(self.rows_read)
            try:
                for batch, places in self._read_file(number, names):
                    self.rows_read += places.num_rows
                    if self.places is not None:
                        self.places.note(places)
                    self._release(places.num_rows)
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

    def _read_file(
        self, number: int, names: Sequence[str]
    ) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        """Yield columns of a file as the table has them, and where the rows are."""
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
    ) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Make a batch of a piece: columns cast, rows filtered, invalid cells named."""
        count, marks = len(piece.rows), _Marks()
        for row, (text, reason) in piece.lost.items():
            place = self._describe(number, piece, row)
            detail = f"{place}: {reason}: {_shorten(text)}. Correct the line."
            marks.add(row, {LINE: text}, detail)
        columns = {
            FILE: _repeat_file(self.files[number].name, count),
            FILE_ROW: pa.array(piece.rows, pa.int64()),
            **{name: self._take_column(number, piece, name, marks) for name in wanted},
        }
        marks.keep(piece)
        columns |= marks.to_columns(count)
        if self.where is None:
            batch = pa.record_batch(list(columns.values()), list(columns))
        else:
            keep = self._find_rows(piece, columns, marks)
            batch = pa.record_batch(list(columns.values()), list(columns)).filter(keep)
        return batch.select(list(names)), batch.select([FILE, FILE_ROW])

    def _take_column(self, number: int, piece: Piece, name: str, marks: _Marks) -> pa.Array:
        """Return a column in the table's type; mark the cells that do not fit."""
        file, reader, dtype = (
            self.files[number],
            self._readers[number],
            self.schema.field(name).type,
        )
        if name in file.partitions:
            return pa.repeat(partition_value(file, name, dtype), len(piece.rows))
        cells = piece.columns.get(name)
        if cells is None:
            return pa.nulls(len(piece.rows), dtype)
        if name == LINE and self.is_lines:
            return clean_lines(cells)
        column, bad = reader.cast(name, cells, dtype, is_asked=name in self._types)
        if name in piece.invalid:
            own, cells = piece.invalid[name]
            bad = own if bad is None else pc.or_(bad, own)
        if bad is None:
            return column
        for row in pc.indices_nonzero(bad).to_pylist():
            text = reader.show(cells[row])
            place, shown = self._describe(number, piece, row), _shorten(text)
            detail = f"{place}: column {name!r} holds {shown}, which is not {dtype}. Correct the"
            advice = f"{detail} cell, or give the column another type by types."
            marks.add(row, {name: text}, advice)
        return pc.if_else(bad, None, column)

    def _describe(self, number: int, piece: Piece, row: int) -> str:
        what = "line" if self._readers[number].is_text else "row"
        return f"{self.files[number].name}, {what} {piece.rows[row]:,}"

    def _find_rows(
        self, piece: Piece, columns: Mapping[str, pa.Array], marks: _Marks
    ) -> pa.BooleanArray:
        """Find the rows to keep; an invalid row stays if the condition cannot be decided."""
        where: Any = self.where
        unsure = {
            row
            for row, cells in marks.cells.items()
            if row in piece.lost or where.columns & {*cells}
        }
        odd: set[int] = set()
        if self._members is not None:
            read, odd = self._members.read(columns[LINE])
            columns = {**columns, **read}
        mask = where.evaluate(columns)
        if unsure:
            mask = pc.if_else(mask.is_null(), _mask(unsure, len(mask)), mask)
        if odd:  # lines that are not objects, whatever "is null" says of them
            mask = pc.or_kleene(mask, _mask(odd, len(mask)))
        return pc.fill_null(mask, False)  # noqa: FBT003 - Arrow's signature


@dataclass(slots=True)
class _Marks:
    """Rows with invalid cells, by their place in a piece."""

    cells: dict[int, dict[str, str]] = field(default_factory=dict)
    details: dict[int, str] = field(default_factory=dict)

    def add(self, row: int, cells: Mapping[str, str], detail: str) -> None:
        """Mark cells of a row; its first detail is kept."""
        self.cells[row] = {**self.cells.get(row, {}), **cells}
        self.details.setdefault(row, detail)

    def keep(self, piece: Piece) -> None:
        """Add the marks that a file of failed rows has itself, until they are cleared."""
        marks, texts = piece.columns.get(INVALID), piece.columns.get(DETAIL)
        if marks is None:
            return
        for row in pc.indices_nonzero(marks.is_valid()).to_pylist():
            cells = dict(marks[row].as_py())
            if cells:
                known = None if texts is None else texts[row].as_py()
                self.add(row, cells, known or f"cells that did not fit: {_shorten(str(cells))}.")

    def to_columns(self, count: int) -> dict[str, pa.Array]:
        """Return the columns that hold the marks."""
        if not self.cells:
            return {own.name: pa.nulls(count, own.type) for own in (_CELLS, _DETAIL)}
        cells = [
            list(self.cells[row].items()) if row in self.cells else None for row in range(count)
        ]
        details = [self.details.get(row) for row in range(count)]
        return {INVALID: pa.array(cells, _CELLS.type), DETAIL: pa.array(details, pa.string())}


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


def _repeat_file(name: str, count: int) -> pa.DictionaryArray:
    codes = pa.repeat(pa.scalar(0, pa.int32()), count)
    return pa.DictionaryArray.from_arrays(codes, pa.array([name], pa.string()))


def _mask(rows: set[int], count: int) -> pa.BooleanArray:
    return pa.array(np.isin(np.arange(count), list(rows)))


def _shorten(text: str) -> str:
    """Show a cell, however long it is."""
    shown = repr(text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."

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
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from .._encode.columns import INTERNAL
from .._encode.csv_text import Dialect
from .._encode.json_lines import FILE, FILE_ROW, LINE, LineSource
from .._encode.layouts import DETAIL, INVALID, plain_type
from .._encode.schemas import HOLDS, holds, merge_schemas, read_types
from .._encode.sources import StreamSource
from ..config import RowOptions, take_options
from ..errors import ColumnNotFound, ConfigError, DataError
from ._csv import CsvReader
from ._files import cast_partition, hide_password, public_cause
from ._formats import ArrowReader, JsonColumnsReader, LinesReader, ParquetReader, Reader
from ._where import Where

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from typing_extensions import Self

    from ._files import InputFile
    from ._formats import Piece

_LOG: Final = logging.getLogger("v3io_frames_put")

_CELLS: Final = pa.field(INVALID, pa.map_(pa.string(), pa.string()))
INTERNAL_FIELDS: Final = (
    _CELLS,
    pa.field(FILE, pa.dictionary(pa.int32(), pa.string())),
    pa.field(FILE_ROW, pa.int64()),
    pa.field(DETAIL, pa.string()),
)
_RELEASE_ROWS: Final = 32_768
_CLEARED: Final = (b"null", b"{}", b"[]")  # marks in JSON
_ESCAPED: Final = re.compile(r'[\x00-\x1f"\\]').search  # msgspec takes no such members
_UNREADABLE: Final = (OSError, EOFError, pa.ArrowException, DataError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How files become a table: which rows it has, and which columns are sent."""

    types: Mapping[str, pa.DataType] = field(default_factory=dict)
    where: str | None = None
    dialect: Dialect = field(default_factory=Dialect)
    rows: RowOptions = field(default_factory=RowOptions)

    @classmethod
    def take(cls, given: Mapping[str, Any]) -> Self:
        """Check those of the options of ``publish``."""
        return cls(
            types=read_types(given["types"]),
            where=given["where"],
            dialect=take_options(Dialect, given),
            rows=take_options(RowOptions, given),
        )


class FileTable:
    """All files as one table: lines of JSON as they are, or columns with types."""

    def __init__(self, files: Sequence[InputFile], options: ReadOptions) -> None:
        types, where, rows = options.types, options.where, options.rows
        self.files, self._types = list(files), types
        as_lines, is_whole = rows.format == "json", rows.columns is None
        csv_reader = partial(CsvReader, types=types, dialect=options.dialect)
        json_columns = partial(JsonColumnsReader, types=types, is_whole=is_whole)
        formats: dict[str, Callable[[InputFile], Reader]] = {
            "parquet": partial(ParquetReader, where=where),
            "arrow": ArrowReader,
            "csv": csv_reader,
            "tsv": csv_reader,
            "json": LinesReader if as_lines else json_columns,
        }
        self._readers = [_open(file, formats[file.kind]) for file in self.files]
        others = [r.file.name for r in self._readers if not (r.is_lines and as_lines)]
        self.is_lines = len(others) < len(self.files)
        if self.is_lines and others:
            raise DataError(
                f"{others[0]} does not hold JSON Lines, which are sent as they are, as other files "
                f"do. Publish them apart."
            )
        self.schema = self._merge()
        for reader in self._readers:
            self._check_types(reader)
        self.where: Where | None = None
        if where is not None:
            beside = [own for own in self.schema if not (self.is_lines and own.name == LINE)]
            if all(reader.is_text and reader.num_rows == 0 for reader in self._readers):
                # No cell shows a type.
                beside = [own if own.name in types else own.with_type(pa.null()) for own in beside]
            self.where = Where(where, pa.schema(beside), others=self.is_lines)
        self.index = [own.name for own in self.schema if holds(own) == b"index"]
        self.row_options = self._settle_columns(rows)
        self.notes = self._note_changes(rows)
        counts = [reader.num_rows for reader in self._readers]
        # None: not known before the last row is read.
        self.num_rows = None if where is not None or None in counts else sum(filter(None, counts))
        sizes = [file.size for file in self.files]
        is_text = all(reader.is_text for reader in self._readers)
        self.num_bytes = sum(filter(None, sizes)) if is_text and None not in sizes else None
        self.starts: list[int] = []  # the first row of each file that was begun
        self.ends: list[int] = []  # the row after the last of each that was read to its end
        self.broken: DataError | None = None  # what it broke off at, before the last file's end
        self.rows_read = 0
        self.places: deque[pa.RecordBatch] | None = None  # gets file and row of what is read
        self.on_read: Callable[[], object] | None = None

    # -- names and types ------------------------------------------------------------------

    def _merge(self) -> pa.Schema:
        """Bring the files' columns together; text without a value so far stays text."""
        schemas = []
        for reader in self._readers:  # columns of folders win
            folders = reader.file.partitions
            if self.is_lines and LINE in folders:
                raise DataError(f"a folder gives the column {LINE!r}. Rename it.")
            own = [one for one in reader.schema if one.name not in folders]
            own += [pa.field(name, pa.string()) for name in folders]
            schemas.append((reader.file.name, pa.schema(own)))
        schema = merge_schemas(schemas, self._types)
        if not self.is_lines and LINE in schema.names and holds(schema.field(LINE)) is None:
            line = schema.field(LINE)  # which, alone in failed rows, would be taken for JSON
            line = line.with_metadata({**(line.metadata or {}), HOLDS: b"cells"})
            schema = schema.set(schema.get_field_index(LINE), line)
        for name, dtype in self._types.items():
            if name not in schema.names:
                if not any(isinstance(reader, JsonColumnsReader) for reader in self._readers):
                    raise ConfigError(
                        f"types: no file has a column {name!r}, and JSON Lines that are sent as "
                        f"they are have none. Correct the name, or leave it out."
                    )
                schema = schema.append(pa.field(name, plain_type(dtype)))
        if any(reader.is_text for reader in self._readers):
            for place, own in enumerate(schema):
                if pt.is_null(own.type):
                    schema = schema.set(place, own.with_type(pa.string()))
        return schema

    def _check_types(self, reader: Reader) -> None:
        """Refuse a type that a file's column can never have."""
        for name in reader.file.partitions:
            cast_partition(reader.file, name, self.schema.field(name).type)
        names = set(reader.schema.names)
        if isinstance(reader, JsonColumnsReader):
            names |= self._types.keys()  # members that later lines may have
        for name in sorted(names - reader.file.partitions.keys()):
            if name.startswith(INTERNAL):
                continue
            dtype = self.schema.field(name).type
            given = pa.string() if reader.is_text else plain_type(reader.schema.field(name).type)
            cells = pa.nulls(1, pa.binary() if reader.is_text else given)
            try:
                reader.cast(name, cells, dtype)
            except (pa.ArrowException, ValueError):
                raise DataError(
                    f"{reader.file.name}: column {name!r} is {given}, which cannot become "
                    f"{dtype}. Correct types, or publish the file apart."
                ) from None

    def _settle_columns(self, rows: RowOptions) -> RowOptions:
        """Return the options with the columns that are sent; of whole lines, those asked for."""
        columns = rows.columns
        named = dict.fromkeys(columns or [], "columns")
        named |= dict.fromkeys(self.where.columns if self.where else (), "where")
        for option in ("partition_key", "shard", "client_info"):
            if isinstance(name := getattr(rows, option), str):
                named[name] = option
        if self.is_lines:
            self._check_members(named)
        elif columns is None:
            own = [name for name in self.schema.names if name not in self.index]
            columns = [*self.index, *own] if rows.index else own
        return replace(rows, columns=columns, index=False)

    def _note_changes(self, rows: RowOptions) -> list[str]:
        """Say what reading the files changes on the way."""
        notes = []
        if not self.is_lines and any(reader.is_text for reader in self._readers):
            types = ", ".join(f"{own.name}={own.type}" for own in self.schema)
            notes.append(f"Types, from the first megabyte of each file: {types}.")
        for reader in self._readers:
            notes += [f"{reader.file.name}: {note}" for note in reader.notes]
        if self.index and not rows.index and rows.columns is None:
            names = ", ".join(map(repr, self.index))
            notes.append(
                f"The index of the pandas frame is not sent: {names}. index=True sends it."
            )
        if self.is_lines and rows.columns is None and len(self.schema) > 1:
            names = ", ".join(map(repr, self.schema.names[1:]))
            notes.append(f"Lines are sent as they are, without what their folders say: {names}.")
        return notes

    def _check_members(self, named: Mapping[str, str]) -> None:
        """Refuse a member that no line has, as far as the first lines of all files show.

        ``named`` are members with the option that names each. Raises ColumnNotFound.
        """
        seen = beside = {*self.schema.names} - {LINE}
        is_whole = True
        for name in named.keys() - seen:
            if _ESCAPED(name):
                raise ConfigError(
                    f"{named[name]}: the member {name!r} cannot be read, since its name has a "
                    f"quote, a backslash or a control character. Rename it, or leave it out."
                )
        for reader in self._readers:
            if named.keys() <= seen or not isinstance(reader, LinesReader):
                return  # of failed rows, only reading all of them would show
            members, is_all = reader.members()
            seen, is_whole = seen | members, is_whole and is_all
        for name in sorted(named.keys() - seen):
            if is_whole and seen != beside:
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
        return done if begun <= ended else done + self._readers[ended].position

    @property
    def broken_file(self) -> str | None:
        """Name of the file that could not be read to its end."""
        return None if self.broken is None else self.files[len(self.starts) - 1].name

    def source(self, *, ends_where_broken: bool = False) -> StreamSource:
        """Return the table as the input of a run; it can be read once.

        A file that cannot be read to its end is raised once all before it has been given,
        or ends the table there.
        """
        batches = self._until_broken if ends_where_broken else self._batches
        schema = pa.schema([*self.schema, *INTERNAL_FIELDS])
        return (LineSource if self.is_lines else StreamSource)(schema, batches)

    def skim(self) -> Iterator[object]:
        """Read the table as a run does, to learn where its files begin and end."""
        return self._until_broken([])

    def read_again(self, number: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a file again: all columns, and ours."""
        return self._read_file(number, self.schema.names)

    def _batches(self, positions: list[int]) -> Iterator[pa.RecordBatch]:
        every = [*self.schema.names, *(own.name for own in INTERNAL_FIELDS)]
        names = [every[position] for position in positions]
        for number in range(len(self.files)):
            self.starts.append(self.rows_read)
            try:
                for batch in self._read_file(number, names):
                    self.rows_read += batch.num_rows
                    if self.places is not None:
                        self.places.append(batch.select([FILE, FILE_ROW]))
                    # Give back what reading left free: a thread keeps memory of its own. After
                    # each batch it would cost a tenth of the rate of JSON Lines.
                    if self.rows_read % _RELEASE_ROWS < batch.num_rows:
                        pa.default_memory_pool().release_unused()
                    if self.on_read is not None:
                        self.on_read()
                    yield batch.select(names)
            except DataError as error:
                self.broken = error
                raise
            self.ends.append(self.rows_read)

    def _until_broken(self, positions: list[int]) -> Iterator[pa.RecordBatch]:
        with suppress(DataError):  # it is kept
            yield from self._batches(positions)

    def _read_file(self, number: int, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield columns of a file as the table has them, and ours."""
        reader = self._readers[number]
        asked = [*names]
        if self.where is not None:
            asked += [*self.where.columns, *([LINE] if self.where.tests else [])]
        wanted = [name for name in dict.fromkeys(asked) if name in self.schema.names]
        marks = [INVALID] if INVALID in reader.schema.names else []
        try:
            for piece in reader.pieces([*wanted, *marks], self.schema):
                yield self._convert(reader, piece, wanted)
        except _UNREADABLE as error:
            text = f"{reader.file.name} cannot be read to its end: {hide_password(str(error))}"
            raise DataError(text) from public_cause(error)

    def _convert(self, reader: Reader, piece: Piece, wanted: Sequence[str]) -> pa.RecordBatch:
        """Make a batch of a piece: columns cast, invalid cells named, rows filtered."""
        count = len(piece.rows)
        if INVALID in piece.columns:  # a file of failed rows has marks, until they are cleared
            for row, cells in enumerate(piece.columns[INVALID].to_pylist()):
                if isinstance(cells, list) and cells:
                    piece.invalid[row] = dict(cells)
                elif cells and cells not in _CLEARED:
                    piece.invalid[row] = {INVALID: reader.show(piece.columns[INVALID][row])}
        columns = {name: self._take_column(reader, piece, name) for name in wanted}
        invalid, details = pa.nulls(count, _CELLS.type), pa.nulls(count, pa.string())
        if piece.invalid:
            marked = [piece.invalid.get(row) for row in range(count)]
            invalid = pa.array([one and list(one.items()) for one in marked], _CELLS.type)
            unit = f"{reader.file.name}, {'line' if reader.is_text else 'row'}"
            why = {
                row: f"{unit} {piece.rows[row]:,}: {text}" for row, text in piece.details.items()
            }
            details = pa.array([why.get(row) for row in range(count)], pa.string())
        file = pa.repeat(reader.file.name, count).dictionary_encode()
        columns |= {INVALID: invalid, DETAIL: details, FILE: file}
        columns[FILE_ROW] = pa.array(piece.rows, pa.int64())
        batch = pa.record_batch(list(columns.values()), list(columns))
        return batch if self.where is None else batch.filter(self._find_rows(piece, columns))

    def _take_column(self, reader: Reader, piece: Piece, name: str) -> pa.Array:
        """Return a column in the table's type; mark the cells that do not fit."""
        dtype, count = self.schema.field(name).type, len(piece.rows)
        if name in reader.file.partitions:
            return pa.repeat(cast_partition(reader.file, name, dtype), count)
        if name not in piece.columns:
            return pa.nulls(count, dtype)
        cells = piece.columns[name]
        column, bad = reader.cast(name, cells, dtype)
        for row in np.flatnonzero(bad).tolist():
            piece.reject_cell(row, name, reader.show(cells[row]), dtype)
        return column

    def _find_rows(self, piece: Piece, columns: Mapping[str, pa.Array]) -> pa.BooleanArray:
        """Find the rows to keep; an invalid row stays if the condition cannot be decided."""
        where: Any = self.where
        tested, unread = where.test_members(columns[LINE]) if where.tests else ({}, [])
        unsure = []  # an invalid cell is null to the condition, which its value may not be
        for row, cells in piece.invalid.items():
            if LINE in cells or any(map(where.columns.get, cells)):
                unread.append(row)
            elif not where.columns.keys().isdisjoint(cells):
                unsure.append(row)
        rows = np.arange(len(piece.rows))
        mask = where.evaluate({**columns, **tested})
        mask = pc.coalesce(mask, pa.array(np.isin(rows, unsure)))
        return pc.or_(mask, pa.array(np.isin(rows, unread)))


def _open(file: InputFile, make: Callable[[InputFile], Reader]) -> Reader:
    """Open a file, or raise DataError."""
    try:
        return make(file)
    except _UNREADABLE as error:
        text = f"{file.name} cannot be read: {hide_password(str(error))}"
        raise DataError(text) from public_cause(error)

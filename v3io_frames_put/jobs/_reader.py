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

import csv
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from .._encode.json_lines import FILE, FILE_ROW, LINE, LineSource
from .._encode.layouts import DETAIL, INVALID, is_text, plain_type
from .._encode.sources import StreamSource
from ..errors import ColumnNotFound, ConfigError, DataError
from ._cast import can_cast, merge_schemas
from ._csv import CsvReader, Dialect
from ._files import BLOCK_BYTES, cast_partition, find_partition_types, hide_password, public_cause
from ._formats import INDEX, LINE_FIELD, ArrowReader, ParquetReader, Piece, Reader
from ._json_lines import JsonColumnsReader, LinesReader
from ._where import Where

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ._files import InputFile

_LOG: Final = logging.getLogger("v3io_frames_put")

_CELLS: Final = pa.field(INVALID, pa.map_(pa.string(), pa.string()))
INTERNAL_FIELDS: Final = (
    _CELLS,
    pa.field(FILE, pa.dictionary(pa.int32(), pa.string())),
    pa.field(FILE_ROW, pa.int64()),
    pa.field(DETAIL, pa.string()),
)
_RELEASE_ROWS: Final = 8_192
_UNREADABLE: Final = (OSError, EOFError, pa.ArrowException, DataError, ValueError, csv.Error)


class FileTable:
    """All files as one table: lines of JSON as they are, or columns with types."""

    def __init__(
        self,
        files: Sequence[InputFile],
        types: Mapping[str, pa.DataType],
        where: str | None = None,
        *,
        dialect: Dialect | None = None,
        as_lines: bool = False,  # whether JSON Lines are sent as they are
        agreed: pa.Schema | None = None,  # of a run that has begun, whatever the files say
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self.files, self._types = list(files), types
        csv_reader = partial(CsvReader, dialect=dialect or Dialect(), block_bytes=block_bytes)
        formats: dict[str, Callable[[InputFile], Reader]] = {
            "parquet": partial(ParquetReader, where=where),
            "arrow": ArrowReader,
            "csv": csv_reader,
            "tsv": csv_reader,
            "json": partial(
                LinesReader if as_lines else JsonColumnsReader, block_bytes=block_bytes
            ),
        }
        self._readers = [_open(file, formats[file.kind]) for file in self.files]
        if isinstance(self._readers[0], DataError):
            raise self._readers[0]
        opened = [reader for reader in self._readers if isinstance(reader, Reader)]
        lines = [reader.is_lines and as_lines for reader in opened]
        self.is_lines = any(lines)
        if self.is_lines and not all(lines):
            one, other = (opened[lines.index(is_line)].file.name for is_line in (True, False))
            raise DataError(
                f"{one} holds JSON Lines, which are sent as they are, and {other} does not. "
                f"Publish them apart."
            )
        self.schema = self._merge(opened) if agreed is None else agreed
        index = dict.fromkeys(name for reader in opened for name in reader.index)
        self.index = [name for name in index if name in self.schema.names]
        self.schema = pa.schema(
            [own.with_metadata(INDEX) if own.name in index else own for own in self.schema]
        )
        for reader in opened:
            self._check_types(reader)
        self.notes = [f"{reader.file.name}: {note}" for reader in opened for note in reader.notes]
        self.where: Where | None = None
        if where is not None:
            beside = [own for own in self.schema if not (self.is_lines and own.name == LINE)]
            self.where = Where(where, pa.schema(beside), others=self.is_lines)
        counts = [reader.num_rows for reader in opened]
        is_counted = where is None and None not in counts and len(opened) == len(self.files)
        # None: not known before the last row is read.
        self.num_rows = sum(filter(None, counts)) if is_counted else None
        self.is_inferred = not self.is_lines and any(reader.is_text for reader in opened)
        sizes = [file.size for file in self.files]
        is_text = all(reader.is_text for reader in opened)
        self.num_bytes = sum(filter(None, sizes)) if is_text and None not in sizes else None
        self.starts: list[int] = []  # the first row of each file that was begun
        self.ends: list[int] = []  # the row after the last of each that was read to its end
        self.broken: DataError | None = None  # what it broke off at, before the last file's end
        self.rows_read = self._unreleased = 0
        self.places: deque[pa.RecordBatch] | None = None  # gets file and row of what is read
        self.on_read: Callable[[], object] | None = None

    # -- names and types ------------------------------------------------------------------

    def _merge(self, opened: Sequence[Reader]) -> pa.Schema:
        """Bring the files' columns together; text without a value so far stays text."""
        folders = find_partition_types(self.files, self._types)
        if self.is_lines and LINE in folders:
            raise DataError(f"a folder gives the column {LINE!r}. Rename it.")
        schemas = []
        for reader in opened:  # columns of folders win
            own = [field for field in reader.schema if field.name not in reader.file.partitions]
            own += [pa.field(name, folders[name]) for name in reader.file.partitions]
            schemas.append((reader.file.name, pa.schema(own)))
        schema = merge_schemas(schemas, self._types)
        for name, dtype in self._types.items():
            if self.is_lines and name not in folders:
                raise ConfigError(
                    f"types: {name!r}: JSON Lines are sent as they are with format='json', so "
                    f"types do not apply. Leave them out."
                )
            if name not in schema.names:
                if not any(isinstance(reader, JsonColumnsReader) for reader in opened):
                    raise ConfigError(f"types: no file has a column {name!r}. Correct the name.")
                schema = schema.append(pa.field(name, plain_type(dtype)))
        if self.is_lines:
            schema = schema.set(schema.get_field_index(LINE), LINE_FIELD)
        has_text = any(reader.is_text for reader in opened)
        return pa.schema(
            [
                own.with_type(pa.string()) if pt.is_null(own.type) and has_text else own
                for own in schema
            ]
        )

    def _check_types(self, reader: Reader) -> None:
        """Refuse a type that a file's column can never have."""
        for name in reader.file.partitions:
            if name in self.schema.names:
                cast_partition(reader.file, name, self.schema.field(name).type)
        for own in reader.schema:
            if own.name in reader.file.partitions or own.name not in self.schema.names:
                continue
            dtype = self.schema.field(own.name).type
            given = pa.string() if reader.is_text else own.type
            is_any = pt.is_null(own.type) or given.equals(dtype)
            is_json = isinstance(reader, JsonColumnsReader) and pt.is_nested(dtype)
            is_json = is_json or (self.is_lines and own.name == LINE)
            if not (is_any or is_json or can_cast(given, dtype)):
                raise DataError(
                    f"{reader.file.name}: column {own.name!r} is {given}, which cannot become "
                    f"{dtype}. Correct types, or publish the file apart."
                )

    def check_members(self, named: Mapping[str, str]) -> None:
        """Refuse a member that no line has, as far as the first lines of all files show.

        ``named`` are members with the option that names each. Raises ColumnNotFound.
        """
        left = {name for name in named if name not in self.schema.names}
        lines = [reader for reader in self._readers if isinstance(reader, LinesReader)]
        if not (left and self.is_lines) or len(lines) < len(self._readers):
            return  # failed rows: only reading all of them would show
        seen: set[str] = set()
        is_whole = True
        for reader in lines:
            names, is_all = reader.members()
            seen |= names
            is_whole = is_whole and is_all
            if left <= seen:
                return
        for name in sorted(left - seen):
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
        pairs = enumerate(zip(self.files, self._readers, strict=True))
        return [f.name for number, (f, r) in pairs if number == at or isinstance(r, DataError)]

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
                        self.places.append(places)
                    # Give back what reading left free: a thread keeps memory of its own.
                    self._unreleased += places.num_rows
                    if self._unreleased >= _RELEASE_ROWS:
                        self._unreleased = 0
                        pa.default_memory_pool().release_unused()
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

    def _read_file(
        self, number: int, names: Sequence[str]
    ) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        """Yield columns of a file as the table has them, and where the rows are."""
        reader = self._readers[number]
        if isinstance(reader, DataError):
            raise reader
        asked = self.where.columns if self.where else ()
        lines = [LINE] if self.where and self.where.tests else []
        wanted = [n for n in dict.fromkeys([*names, *asked, *lines]) if n in self.schema.names]
        known = self.schema.names if isinstance(reader, JsonColumnsReader) else reader.schema.names
        own = [n for n in wanted if n in known and n not in reader.file.partitions]
        marks = [n for n in (INVALID, DETAIL) if INVALID in reader.schema.names]
        own += [n for n in marks if n in reader.schema.names]
        try:
            for piece in reader.pieces(own, self.schema):
                batch = self._convert(reader, piece, wanted)
                yield batch.select(list(names)), batch.select([FILE, FILE_ROW])
        except _UNREADABLE as error:
            text = f"{reader.file.name} cannot be read to its end: {hide_password(str(error))}"
            raise DataError(text) from public_cause(error)

    def _convert(self, reader: Reader, piece: Piece, wanted: Sequence[str]) -> pa.RecordBatch:
        """Make a batch of a piece: columns cast, invalid cells named, rows filtered."""
        count = len(piece.rows)
        columns = {name: self._take_column(reader, piece, name) for name in wanted}
        _add_own_marks(piece)
        invalid, details = pa.nulls(count, _CELLS.type), pa.nulls(count, pa.string())
        if piece.invalid:
            cells = [piece.invalid.get(row) for row in range(count)]
            invalid = pa.array([one and list(one.items()) for one in cells], _CELLS.type)
            details = pa.array([piece.details.get(row) for row in range(count)], pa.string())
        file = pa.DictionaryArray.from_arrays(
            pa.repeat(pa.scalar(0, pa.int32()), count), pa.array([reader.file.name], pa.string())
        )
        columns |= {INVALID: invalid, DETAIL: details, FILE: file}
        columns[FILE_ROW] = pa.array(piece.rows, pa.int64())
        batch = pa.record_batch(list(columns.values()), list(columns))
        return batch if self.where is None else batch.filter(self._find_rows(piece, columns))

    def _take_column(self, reader: Reader, piece: Piece, name: str) -> pa.Array:
        """Return a column in the table's type; mark the cells that do not fit."""
        dtype, count = self.schema.field(name).type, len(piece.rows)
        if name in reader.file.partitions:
            return pa.repeat(cast_partition(reader.file, name, dtype), count)
        cells = piece.columns.get(name)
        if cells is None:
            return pa.nulls(count, dtype)
        if name == LINE and self.is_lines:
            if is_text(cells.type):  # of failed rows: whoever corrected one may have broken it
                cells = pc.replace_substring_regex(cells.cast(pa.string()), r"[\r\n]", " ")
            return cells.cast(pa.binary())
        column, bad = reader.cast(name, cells, dtype, is_asked=name in self._types)
        for row in np.flatnonzero(bad).tolist():
            piece.reject_cell(row, name, reader.show(cells[row]), dtype)
        rejected = [row for row, marked in piece.invalid.items() if name in marked]
        if rejected:
            bad[rejected] = True
            column = pc.if_else(pa.array(bad), None, column)
        return column

    def _find_rows(self, piece: Piece, columns: Mapping[str, pa.Array]) -> pa.BooleanArray:
        """Find the rows to keep; an invalid row stays if the condition cannot be decided."""
        where: Any = self.where
        unsure = [
            row for row, cells in piece.invalid.items() if LINE in cells or where.columns & {*cells}
        ]
        tested, odd = where.test_members(columns[LINE]) if where.tests else ({}, [])
        mask = where.evaluate({**columns, **tested})
        if unsure:
            mask = pc.coalesce(mask, _mask(unsure, len(mask)))
        if odd:  # lines that are not objects, whatever "is null" says of them
            mask = pc.or_kleene(mask, _mask(odd, len(mask)))
        return pc.fill_null(mask, False)  # noqa: FBT003 - Arrow's signature


def _open(file: InputFile, make: Callable[[InputFile], Reader]) -> Reader | DataError:
    """Open a file, or return why it cannot be read."""
    try:
        return make(file)
    except _UNREADABLE as error:
        wrapped = DataError(f"{file.name} cannot be read: {hide_password(str(error))}")
        wrapped.__cause__ = public_cause(error)
        return wrapped


def _add_own_marks(piece: Piece) -> None:
    """Add the marks that a file of failed rows has itself, until they are cleared."""
    marks, texts = piece.columns.get(INVALID), piece.columns.get(DETAIL)
    if marks is None:
        return
    for row in pc.indices_nonzero(marks.is_valid()).to_pylist():
        if cells := dict(marks[row].as_py()):
            known = None if texts is None else texts[row].as_py()
            piece.invalid[row] = {**piece.invalid.get(row, {}), **cells}
            piece.details.setdefault(row, known or f"cells that did not fit: {cells}")


def _mask(rows: Sequence[int], count: int) -> pa.BooleanArray:
    return pa.array(np.isin(np.arange(count), rows))

"""Files -> one table that is read from its first row to its last, never held.

Making it looks at every file's names and types, so that what is wrong with them is
said before anything is sent. At a file that cannot be opened the table breaks off.
"""

from __future__ import annotations

import csv
import logging
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from v3io_frames_put._encode.layouts import INVALID
from v3io_frames_put._encode.sources import StreamSource
from v3io_frames_put.errors import DataError
from v3io_frames_put.jobs._columnar import ArrowFile, ParquetFile
from v3io_frames_put.jobs._csv import CsvFile
from v3io_frames_put.jobs._fit import Piece, Reading, cast_column, make_mask, respell
from v3io_frames_put.jobs._json_lines import JsonLinesFile
from v3io_frames_put.jobs._partitions import (
    add_partitions,
    find_partition_types,
    partition_value,
)
from v3io_frames_put.jobs._passwords import hide_password, public_cause
from v3io_frames_put.jobs._types import INTERNAL, check_unique, is_kept_as_text, merge_schemas
from v3io_frames_put.jobs._where import parse_where

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from v3io_frames_put.jobs._files import InputFile
    from v3io_frames_put.jobs._sink import Places

_LOG: Final = logging.getLogger("v3io_frames_put")

_RELEASE_ROWS: Final = 8_192
REASON: Final = INTERNAL + "reason"
"""The column that tells why a row cannot be sent; null where it can."""

_UNREADABLE: Final = (OSError, EOFError, pa.ArrowException, csv.Error, DataError)


class Reader(Protocol):
    """A file of one kind."""

    schema: pa.Schema
    num_rows: int | None
    stored: pa.Schema | None  # None: it holds text

    def check_type(self, name: str, dtype: pa.DataType) -> None: ...
    def pieces(self, names: Sequence[str], reading: Reading) -> Iterator[Piece]: ...


_READERS: Final[dict[str, Any]] = {
    "parquet": ParquetFile,
    "arrow": ArrowFile,
    "csv": CsvFile,
    "json": JsonLinesFile,
}


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
    named : iterable of str
        Columns that must be there, if any file has them.
    others : sequence of InputFile
        Files that are not read: a column that is asked for, and that the others lack, is null
        with the type that it has there.
    agreed : Schema, optional
        What the columns are read as, whatever the files say: of a run that has begun.

    Attributes
    ----------
    schema : Schema
        Of all files together; no column of ours is among them.
    num_rows : int or None
        None: not known before the last row is read.
    starts, ends : list of int
        The first row of each file that was begun, and the row after the last of each that
        was read to its end.
    broken : DataError or None
        What the table broke off at, before its last file's end.
    unfit : set of str
        Columns with cells that did not fit their type, as far as it was read.
    """

    def __init__(
        self,
        files: Sequence[InputFile],
        types: Mapping[str, pa.DataType],
        where: str | None = None,
        *,
        named: Iterable[str] = (),
        others: Sequence[InputFile] = (),
        agreed: pa.Schema | None = None,
    ) -> None:
        self.files = list(files)
        self._readers = [open_reader(file) for file in self.files]
        first = self._readers[0]
        if isinstance(first, DataError):
            raise first
        own = find_partition_types(self.files)
        schemas = [
            (file.name, add_partitions(reader.schema, file, own))
            for file, reader in zip(self.files, self._readers, strict=True)
            if not isinstance(reader, DataError)
        ]
        asked = {*named, *types}
        if where is not None:
            asked |= parse_where(where, pa.schema([]), is_open=True).columns
        schemas += _look_up(asked.difference(*(schema.names for _, schema in schemas)), others)
        self.schema = self._settle(merge_schemas(schemas, types)) if agreed is None else agreed
        for file, schema in schemas:
            check_unique(file, schema)
        self._check_types()
        self.where = None if where is None else parse_where(where, self.schema)
        self.num_rows = self._count_rows()
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.unfit: set[str] = set()
        self._as_text = {name for name, dtype in types.items() if pa.types.is_string(dtype)}
        self.broken: DataError | None = None
        self.places: Places | None = None
        self._rows_read = self._unreleased = 0
        self._names: list[str] = []

    num_bytes: int | None = None
    bytes_read = 0

    @property
    def rows_read(self) -> int:
        """Rows that were read so far."""
        return self._rows_read

    @property
    def is_read(self) -> bool:
        """Whether every file was read to its end."""
        return len(self.ends) == len(self.files)

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
        schema = self.schema.append(pa.field(REASON, pa.string()))
        return StreamSource(schema, self._until_broken if ends_where_broken else self._batches)

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
        for _ in self._until_broken(list(range(len(self.schema)))):
            pass

    def _reading(self, texts: Collection[str] = ()) -> Reading:
        return Reading(self.schema, self.where, frozenset(self._as_text.union(texts)))

    @property
    def respelt(self) -> list[str]:
        """Columns that are text where rows are read again: unfit ones, if that keeps their type."""
        return [
            field.name
            for field in self.schema
            if field.name in self.unfit and is_kept_as_text(field.type)
        ]

    def look_over(self, number: int) -> None:
        """Note which columns of a file have cells that do not fit, if the run has not seen all."""
        is_seen = number < len(self.ends) and set(self._names) >= set(self.schema.names)
        if is_seen or self._surely_fits(number):
            return
        with suppress(DataError):  # met again by whoever reads the rows
            for piece in self._pieces(number, self.schema.names, self._reading()):
                self.unfit.update(piece.misfits)

    def _surely_fits(self, number: int) -> bool:
        reader = self._readers[number]
        if isinstance(reader, DataError) or reader.stored is None:
            return False
        return all(
            field.type == self.schema.field(field.name).type
            for field in reader.stored
            if field.name in self.schema.names
        )

    def reread(self, number: int) -> Iterator[Piece]:
        """Yield the rows of a file again: all columns, some of them as text.

        Misfits are then cells that cannot be given so either.
        """
        respelt, names = self.respelt, self.schema.names
        typed = self._pieces(number, names, self._reading())
        # All columns once more: where the file is damaged, both break off at the same row.
        spelt = self._pieces(number, names, self._reading(respelt)) if respelt else None
        for piece in typed:
            rows = None if self.where is None else self._find_rows(piece)
            if spelt is not None:
                text = next(spelt, None)
                if text is None or text.num_rows != piece.num_rows:
                    raise DataError(f"{self.files[number].name} is not read as it was at first.")
                for name in respelt:
                    _take_text(piece, text, name)
            yield piece if rows is None else _filter(piece, rows)

    def read_again(self, number: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a file again, with all columns and their invalid cells."""
        for piece in self._pieces(number, self.schema.names, self._reading()):
            yield _with_invalid(self._keep(piece), self.schema)

    def _batches(self, positions: list[int]) -> Iterator[pa.RecordBatch]:
        names = [self.schema.names[place] for place in positions if place < len(self.schema)]
        needed = self.where.columns if self.where else ()
        self._names = list(dict.fromkeys(chain(names, needed)))
        reading = self._reading()
        for number in range(len(self.files)):
            self.starts.append(self._rows_read)
            try:
                for piece in self._pieces(number, self._names, reading):
                    self.unfit.update(piece.misfits)
                    kept = self._keep(piece)
                    if self.places is not None:
                        self.places.note(_place(kept, self._rows_read - self.starts[-1]))
                    self._rows_read += kept.num_rows
                    self._release(kept.num_rows)
                    columns = [kept.columns[name] for name in names]
                    yield _to_batch(columns, names, kept.reasons(), positions, len(self.schema))
            except DataError as error:
                self.broken = error
                raise
            self.ends.append(self._rows_read)

    def _until_broken(self, positions: list[int]) -> Iterator[pa.RecordBatch]:
        with suppress(DataError):  # it is kept
            yield from self._batches(positions)

    def _release(self, num_rows: int) -> None:
        """Give back what reading left free: a thread keeps memory of its own in the pool."""
        self._unreleased += num_rows
        if self._unreleased >= _RELEASE_ROWS:
            self._unreleased = 0
            pa.default_memory_pool().release_unused()

    def _keep(self, piece: Piece) -> Piece:
        return piece if self.where is None else _filter(piece, self._find_rows(piece))

    def _find_rows(self, piece: Piece) -> pa.BooleanArray:
        """Find the rows to keep; one with cells that were refused stays where nobody can tell."""
        import pyarrow.dataset as ds

        where: Any = self.where
        table = pa.table({name: piece.columns[name] for name in where.columns})
        found = ds.dataset(table).scanner(columns={"keep": where.expression}).to_table()
        keep = found.column("keep").to_numpy(zero_copy_only=False)
        mask = pa.array(keep, pa.bool_(), from_pandas=True)
        if not piece.refusals:
            return pc.fill_null(mask, fill_value=False)
        refused = make_mask(piece.refused(where.columns), piece.num_rows)
        return pc.if_else(mask.is_null(), refused, mask)

    def _pieces(self, number: int, names: Sequence[str], reading: Reading) -> Iterator[Piece]:
        """Read a file; its columns as the table has them."""
        file, reader = self.files[number], self._readers[number]
        if isinstance(reader, DataError):
            raise reader
        own = reader.schema.names
        there = [name for name in (*names, INVALID) if name in own]
        try:
            for piece in reader.pieces(there, reading):
                if INVALID in piece.columns:
                    piece.refuse_invalid(piece.columns.pop(INVALID))
                piece.columns = {
                    name: _take_column(piece, name, file, reading.type_of(name)) for name in names
                }
                yield piece
        except _UNREADABLE as error:
            told = f"{file.name} cannot be read to its end: {hide_password(str(error))}"
            raise DataError(told) from public_cause(error)

    def _settle(self, schema: pa.Schema) -> pa.Schema:
        """Call a column text that has no value where the types of text were looked for."""
        for place, field in enumerate(schema):
            if pa.types.is_null(field.type) and any(
                not (isinstance(r, DataError) or r.stored is not None)
                and field.name in r.schema.names
                for r in self._readers
            ):
                schema = schema.set(place, pa.field(field.name, pa.string()))
        return schema

    def _count_rows(self) -> int | None:
        counts = [None if isinstance(r, DataError) else r.num_rows for r in self._readers]
        known = [count for count in counts if count is not None]
        return None if self.where or len(known) < len(counts) else sum(known)

    def _check_types(self) -> None:
        """Refuse a type that a file's column can never have; tell the types of text."""
        for file, reader in zip(self.files, self._readers, strict=True):
            if isinstance(reader, DataError):
                continue
            of_folders = set(file.partitions) - set(reader.schema.names)
            for name in of_folders & set(self.schema.names):
                dtype = self.schema.field(name).type
                try:
                    partition_value(file, name, dtype)
                except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
                    raise DataError(
                        f"{file.name}: its folder {name}={file.partitions[name]} is no {dtype}. "
                        f"Give another type by types, or rename the folder."
                    ) from error
            for name in set(reader.schema.names) & set(self.schema.names):
                dtype = self.schema.field(name).type
                try:
                    reader.check_type(name, dtype)
                except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
                    raise DataError(
                        f"{file.name}: column {name!r} cannot become {dtype}: {error}"
                    ) from error
        if not all(isinstance(r, DataError) or r.stored is not None for r in self._readers):
            told = ", ".join(f"{field.name}={field.type}" for field in self.schema)
            _LOG.info("types, from the beginning of each file: %s", told)


def name_columns(columns: Iterable[object] | None, *options: object) -> set[str]:
    """Return the columns that options of ``publish`` name."""
    listed = () if columns is None or isinstance(columns, str) else columns
    return {name for name in (*listed, *options) if isinstance(name, str)}


def open_reader(file: InputFile) -> Reader | DataError:
    """Open a file, or return why it cannot be read."""
    try:
        reader: Reader = _READERS[file.kind](file)
    except _UNREADABLE as error:
        wrapped = DataError(f"{file.name} cannot be read: {hide_password(str(error))}")
        wrapped.__cause__ = public_cause(error)
        return wrapped
    return reader


def _look_up(names: set[str], files: Sequence[InputFile]) -> Iterator[tuple[str, pa.Schema]]:
    """Yield the schemas of files, as far as they tell of columns; opens no more than it needs."""
    left = set(names)
    for file in files:
        if not left:
            return
        reader = open_reader(file)
        if isinstance(reader, DataError):
            continue
        schema = add_partitions(reader.schema, file, find_partition_types([file]))
        found = [field for field in schema if field.name in left]
        left -= {field.name for field in found}
        yield file.name, pa.schema(found)


def _take_column(piece: Piece, name: str, file: InputFile, dtype: pa.DataType) -> pa.Array:
    if name in piece.columns:
        return cast_column(piece, name, dtype)
    return pa.repeat(partition_value(file, name, dtype), piece.num_rows)


def _take_text(piece: Piece, text: Piece, name: str) -> None:
    """Give a column of a piece as text; its misfits are then those that text cannot tell."""
    typed = piece.columns[name]
    misfits = piece.misfits.get(name, set())
    piece.columns[name], would_fit = respell(text.columns[name], typed, misfits)
    is_text = pa.types.is_string(typed.type)  # where anything fits the second time
    piece.misfits[name] = text.misfits.get(name, set()) | (set() if is_text else would_fit)


def _filter(piece: Piece, mask: pa.BooleanArray) -> Piece:
    rows = pc.indices_nonzero(mask)
    if len(rows) == piece.num_rows:
        return piece
    moved = {old: new for new, old in enumerate(rows.to_pylist())} if piece.refusals else {}
    return Piece(
        {name: column.filter(mask) for name, column in piece.columns.items()},
        len(rows),
        piece.file,
        refusals={moved[row]: reason for row, reason in piece.refusals.items() if row in moved},
        lost={moved[row] for row in piece.lost if row in moved},
        invalid={moved[row]: cells for row, cells in piece.invalid.items() if row in moved},
        misfits={
            name: {moved[row] for row in misfits if row in moved}
            for name, misfits in piece.misfits.items()
        },
    )


def _place(piece: Piece, first: int) -> pa.RecordBatch:
    rows = pa.array(range(first + 1, first + 1 + piece.num_rows), pa.int64())
    file = pa.DictionaryArray.from_arrays(pa.array([0] * piece.num_rows, pa.int32()), [piece.file])
    return pa.record_batch([file, rows], [f"{INTERNAL}file", f"{INTERNAL}file_row"])


def _with_invalid(piece: Piece, schema: pa.Schema) -> pa.RecordBatch:
    invalid: list[list[tuple[str, str]] | None] = [None] * piece.num_rows
    for row, cells in piece.invalid.items():
        invalid[row] = list(cells.items())
    columns = [*(piece.columns[name] for name in schema.names)]
    cells_type = pa.map_(pa.string(), pa.string())
    return pa.record_batch(
        [*columns, pa.array(invalid, cells_type)], [*schema.names, f"{INTERNAL}invalid"]
    )


def _to_batch(
    columns: list[pa.Array], names: list[str], reasons: pa.Array, positions: list[int], width: int
) -> pa.RecordBatch:
    """Make a batch of the columns that were opened, in the order in which they were."""
    found = iter(zip(columns, names, strict=True))
    pairs = [next(found) if place < width else (reasons, REASON) for place in positions]
    return pa.record_batch([column for column, _ in pairs], [name for _, name in pairs])

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

from v3io_frames_put._rows.source import StreamSource
from v3io_frames_put.errors import DataError
from v3io_frames_put.jobs._columnar import ArrowFile, ParquetFile
from v3io_frames_put.jobs._csv import CsvFile
from v3io_frames_put.jobs._fit import Piece, Reading, cast_column, respell
from v3io_frames_put.jobs._json_lines import JsonLinesFile
from v3io_frames_put.jobs._partitions import (
    add_partitions,
    find_partition_types,
    partition_value,
)
from v3io_frames_put.jobs._passwords import hide_password, public_cause
from v3io_frames_put.jobs._types import INTERNAL, check_unique, merge_schemas
from v3io_frames_put.jobs._where import parse_where

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from v3io_frames_put.jobs._files import InputFile
    from v3io_frames_put.jobs._where import Where

_LOG: Final = logging.getLogger("v3io_frames_put")

_RELEASE_ROWS: Final = 8_192
REASON: Final = INTERNAL + "reason"
"""The column that tells why a row cannot be sent; null where it can."""

_UNREADABLE: Final = (OSError, EOFError, pa.ArrowException, csv.Error, DataError)


class Reader(Protocol):
    """A file of one kind."""

    schema: pa.Schema
    num_rows: int | None
    is_typed: bool

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
        if agreed is not None:
            _check_against(agreed, schemas)
        self._check_types()
        self.where = None if where is None else parse_where(where, self.schema)
        self.num_rows = self._count_rows()
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.unfit: set[str] = set()
        self._texts = {name for name, dtype in types.items() if pa.types.is_string(dtype)}
        self.broken: DataError | None = None
        self._rows_read = self._unreleased = 0
        self._names: list[str] = []

    @property
    def is_read(self) -> bool:
        """Whether every file was read to its end."""
        return len(self.ends) == len(self.files)

    @property
    def broken_file(self) -> InputFile | None:
        """The file that could not be read to its end."""
        return None if self.broken is None else self.files[len(self.starts) - 1]

    def source(self, *, ends_where_broken: bool = False) -> StreamSource:
        """Return the table as the input of a run; it can be read once.

        A file that cannot be read to its end is raised once all before it has been given,
        or ends the table there.
        """
        schema = self.schema.append(pa.field(REASON, pa.string()))
        return StreamSource(schema, self._until_broken if ends_where_broken else self._batches)

    def skim(self) -> None:
        """Read the table as a run does, to learn where its files begin and end."""
        for _ in self._until_broken(list(range(len(self.schema)))):
            pass

    def _reading(self, texts: Collection[str] = ()) -> Reading:
        return Reading(self.schema, self.where, frozenset(self._texts.union(texts)))

    def look_over(self, number: int) -> None:
        """Note which columns of a file have cells that do not fit, if the run has not seen all."""
        is_seen = number < len(self.ends) and set(self._names) >= set(self.schema.names)
        if is_seen or self._surely_fits(number):
            return
        with suppress(DataError):  # met again by whoever reads the rows
            for piece in self._pieces(number, self.schema.names, self._reading()):
                self.unfit |= piece.unfit

    def _surely_fits(self, number: int) -> bool:
        reader = self._readers[number]
        return (
            not isinstance(reader, DataError)
            and reader.is_typed
            and all(
                field.type == self.schema.field(field.name).type
                for field in reader.schema
                if field.name in self.schema.names
            )
        )

    def reread(self, number: int) -> Iterator[Piece]:
        """Yield the rows of a file again: all columns, unfit ones as text."""
        reading = self._reading(self.unfit)
        pieces = self._pieces(number, self.schema.names, reading)
        if self.where is None and not self.unfit:
            yield from pieces
            return
        # The condition, and what fits, are about columns as they were read at first.
        names = list({*self._names, *self.unfit})
        typed = self._pieces(number, names, self._reading())
        for piece, first in zip(pieces, typed, strict=True):
            if piece.num_rows != first.num_rows:
                raise DataError(f"{self.files[number].name} is not read as it was at first.")
            for name in self.unfit:
                piece.columns[name] = respell(
                    piece.columns[name], first.columns[name], first.refusals
                )
            yield piece if self.where is None else _filter(piece, _find_rows(self.where, first))

    def _batches(self, positions: list[int]) -> Iterator[pa.RecordBatch]:
        names = [self.schema.names[place] for place in positions if place < len(self.schema)]
        needed = self.where.columns if self.where else ()
        self._names = list(dict.fromkeys(chain(names, needed)))
        reading = self._reading()
        for number in range(len(self.files)):
            self.starts.append(self._rows_read)
            try:
                for piece in self._pieces(number, self._names, reading):
                    self.unfit |= piece.unfit
                    kept = self._keep(piece)
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
        return piece if self.where is None else _filter(piece, _find_rows(self.where, piece))

    def _pieces(self, number: int, names: Sequence[str], reading: Reading) -> Iterator[Piece]:
        """Read a file; its columns as the table has them."""
        file, reader = self.files[number], self._readers[number]
        if isinstance(reader, DataError):
            raise reader
        own = reader.schema.names
        there = [name for name in names if name in own]
        try:
            for piece in reader.pieces(there, reading):
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
                not (isinstance(r, DataError) or r.is_typed) and field.name in r.schema.names
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
            for name in set(file.partitions) - set(reader.schema.names):
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
        if not all(isinstance(r, DataError) or r.is_typed for r in self._readers):
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


def _check_against(agreed: pa.Schema, schemas: Iterable[tuple[str, pa.Schema]]) -> None:
    """Warn of columns that are not read, since the files of a run did not have them."""
    for file, schema in schemas:
        check_unique(file, schema)
        sent = [name for name in schema.names if not name.startswith(INTERNAL)]
        new = [name for name in sent if name not in agreed.names]
        if new:
            _LOG.warning(
                "%s: %s left out, which the run did not have when it began; publish the file by a "
                "call of its own, too, if that is to be sent",
                file,
                ", ".join(map(repr, new)),
            )


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


def _find_rows(where: Where, piece: Piece) -> pa.BooleanArray:
    """Find the rows to keep; one that is refused stays where nobody can tell."""
    import pyarrow.dataset as ds

    table = pa.table({name: piece.columns[name] for name in where.columns})
    found = ds.dataset(table).scanner(columns={"keep": where.expression}).to_table().column("keep")
    mask = pa.array(found.to_numpy(zero_copy_only=False), pa.bool_(), from_pandas=True)
    if not piece.refusals:
        return pc.fill_null(mask, fill_value=False)
    return pc.if_else(mask.is_null(), piece.reasons().is_valid(), mask)


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
    )


def _to_batch(
    columns: list[pa.Array], names: list[str], reasons: pa.Array, positions: list[int], width: int
) -> pa.RecordBatch:
    """Make a batch of the columns that were opened, in the order in which they were."""
    found = iter(zip(columns, names, strict=True))
    pairs = [next(found) if place < width else (reasons, REASON) for place in positions]
    return pa.record_batch([column for column, _ in pairs], [name for _, name in pairs])

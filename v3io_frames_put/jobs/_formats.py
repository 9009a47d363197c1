"""What a file gives: its columns and types, then pieces of rows. Parquet and Arrow IPC."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from pyarrow import parquet as pq

from .._encode.columns import INTERNAL
from .._encode.json_lines import LINE
from .._encode.layouts import find_invalid, is_list, is_text, list_parents, map_as_list, to_numpy
from .._encode.sources import split_index
from ._cast import cast_cells
from ._files import MAX_LINE_BYTES
from ._where import Where

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ._files import InputFile

_BATCH_ROWS: Final = 8_192
_BATCH_BYTES: Final = 8 << 20
_BUFFER_BYTES: Final = 1 << 18
_SHOWN: Final = 60  # characters of a cell
_MAGIC: Final = b"ARROW1"  # of the file format; a stream begins with its schema
_HOLDS: Final = b"v3io_holds"

INDEX: Final = {_HOLDS: b"index"}
"""Metadata of an index column, in a file of failed rows."""
LINE_FIELD: Final = pa.field(LINE, pa.binary(), metadata={_HOLDS: b"json-lines"})
"""The column of lines that are sent as they are, also in a file of failed rows."""


@dataclass(slots=True)
class Piece:
    """Consecutive rows of a file, as its reader found them."""

    unit: str  # what they are counted in: "a.csv, line"
    rows: NDArray[np.int64]  # where each is in the file, from 1; of text, its first line
    columns: dict[str, pa.Array] = field(default_factory=dict)  # one that is missing is null
    invalid: dict[int, dict[str, str]] = field(default_factory=dict)
    """Text of cells that do not fit, by row and column; of a whole row, as ``line``."""
    details: dict[int, str] = field(default_factory=dict)

    def reject_row(self, row: int, text: bytes, reason: str) -> None:
        """Mark a row of which no cell could be read."""
        shown = show_bytes(text)
        self.invalid[row] = {LINE: shown}
        self._describe(row, f"{reason}: {_shorten(shown)}. Correct the line.")

    def reject_cell(self, row: int, column: str, text: str, dtype: pa.DataType) -> None:
        """Mark a cell that does not fit its column's type."""
        self.invalid.setdefault(row, {})[column] = text
        reason = f"column {column!r} holds {_shorten(text)}, which is not {dtype}"
        advice = "Correct the cell, or give the column another type by types."
        self._describe(row, f"{reason}. {advice}")

    def _describe(self, row: int, problem: str) -> None:
        self.details.setdefault(row, f"{self.unit} {self.rows[row]:,}: {problem}")


def show_bytes(text: bytes) -> str:
    """Return bytes as text; those that are not UTF-8 as they are escaped in Python."""
    return text.decode("utf-8", "backslashreplace")


def _shorten(text: str) -> str:
    """Show a cell, however long it is."""
    shown = repr(text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


class Reader:
    """A file of some format."""

    is_text = False  # its types are those of its first block
    is_lines = False  # it holds lines of JSON that are sent as they are
    num_rows: int | None = None  # None: not known before the last row is read
    position = 0  # bytes of the file that were read

    def __init__(self, file: InputFile) -> None:
        self.file, self.schema = file, pa.schema([])
        self.index: list[str] = []  # columns that are the index of a pandas frame
        self.notes: list[str] = []  # what inference changed

    @property
    def unit(self) -> str:
        """What its rows are counted in."""
        return f"{self.file.name}, {'line' if self.is_text else 'row'}"

    def reject_line(self, line: int, start: bytes) -> Piece:
        """Return the one row of a text line that is too long, given how it starts."""
        piece = Piece(self.unit, np.array([line]))
        piece.reject_row(0, start, f"a line longer than {MAX_LINE_BYTES:,} bytes")
        return piece

    def pieces(self, names: Sequence[str], schema: pa.Schema) -> Iterator[Piece]:
        """Yield columns; ``schema`` has the types that they will have."""
        raise NotImplementedError

    def cast(
        self,
        name: str,  # noqa: ARG002 - others need it
        cells: pa.Array,
        dtype: pa.DataType,
        *,
        is_asked: bool,  # noqa: ARG002 - of text
    ) -> tuple[pa.Array, NDArray[np.bool_]]:
        """Cast cells, mark those that do not fit; ``is_asked``: to a type that the user gave."""
        bad = np.zeros(len(cells), bool)
        if odd := find_invalid(cells):  # text that is not UTF-8
            bad[list(odd)] = True
            cells = cells.take(pa.array(np.arange(len(cells)), mask=bad))
        cast, misfits = cast_cells(cells, dtype)
        return cast, bad | misfits

    def show(self, cell: pa.Scalar) -> str:
        """Return the text of a cell that does not fit."""
        if is_text(cell.type):
            return show_bytes(bytes(cell.as_buffer()))
        try:
            return str(cell.as_py())
        except UnicodeDecodeError:
            return "text that is not UTF-8"
        except ValueError:  # a date beyond Python's
            return str(cell)

    def _take_schema(self, stored: pa.Schema) -> None:
        """Name index columns of pandas as ``reset_index`` does."""
        names, self.index, places = split_index(stored)
        of_place = dict(zip(places, [*names, *self.index], strict=True))
        self.schema = pa.schema([own.with_name(of_place[n]) for n, own in enumerate(stored)])
        self._stored_names = dict(zip(self.schema.names, stored.names, strict=True))
        marks = {own.name: (own.metadata or {}).get(_HOLDS) for own in stored}
        self.index += [name for name, mark in marks.items() if mark == INDEX[_HOLDS]]
        # A copy of failed rows by another program has no metadata.
        data = [name for name in names if not name.startswith(INTERNAL)]
        is_alone = data == [LINE] and len(data) < len(names)
        self.is_lines = is_alone or b"json-lines" in marks.values()


class ParquetReader(Reader):
    """A Parquet file, decoded a few thousand rows at a time, whatever its row groups."""

    def __init__(self, file: InputFile, where: str | None = None) -> None:
        super().__init__(file)
        self._where = where
        with self._open("us") as opened:
            self._take_schema(opened.schema_arrow)
            self.num_rows = opened.metadata.num_rows
            groups = map(opened.metadata.row_group, range(opened.num_row_groups))
            self._group_rows, sizes = [], 1
            for group in groups:
                self._group_rows.append(group.num_rows)
                sizes += group.total_byte_size
            leaves = map(opened.schema.column, range(len(opened.schema)))
            has_int96 = any(leaf.physical_type == "INT96" for leaf in leaves)
            stored = opened.schema_arrow
        # Timestamps of Parquet's old type INT96, also inside other values.
        self._int96: set[str] = set()
        if has_int96:
            with self._open("ns") as opened:
                pairs = zip(stored, opened.schema_arrow, strict=True)
                self._int96 = {one.name for one, two in pairs if one.type != two.type}
        rows = _BATCH_BYTES * max(1, self.num_rows) // sizes
        self._batch_rows = max(1, min(_BATCH_ROWS, rows))

    def pieces(self, names: Sequence[str], schema: pa.Schema) -> Iterator[Piece]:
        """Yield columns, of row groups alone whose statistics do not exclude every row."""
        stored = [self._stored_names[name] for name in names] or self.schema.names[:1]
        dated = [name for name in names if self._stored_names[name] in self._int96]
        wanted, row = self._select_groups(schema), 1
        with self._open("us") as opened, self._open("ns") if dated else nullcontext() as exact:
            for group, count in enumerate(self._group_rows):
                batches = self._decode(opened, group, stored) if group in wanted else ()
                fine: Any = dated and self._decode(
                    exact, group, [self._stored_names[n] for n in dated]
                )
                first = row
                for batch in batches:
                    piece = Piece(self.unit, np.arange(first, first + batch.num_rows))
                    columns = {name: batch.column(self._stored_names[name]) for name in names}
                    piece.columns = columns
                    if dated:
                        self._check_dates(piece, next(fine), dated, schema)
                    yield piece
                    first += batch.num_rows
                row += count

    def _check_dates(
        self, piece: Piece, exact: pa.RecordBatch, dated: list[str], schema: pa.Schema
    ) -> None:
        """Keep INT96 whole: microseconds hold any date, nanoseconds those of 1678 to 2261."""
        for name, fine in zip(dated, exact.columns, strict=True):
            dtype, shown = schema.field(name).type, fine
            bad = _find_differing(piece.columns[name], fine, lambda us, ns: us * 1_000 != ns)
            if dtype == fine.type:
                shown, piece.columns[name] = piece.columns[name], fine
                bad = _find_differing(shown, fine, lambda us, ns: us != ns // 1_000)
            for row in np.flatnonzero(bad).tolist():
                piece.reject_cell(row, name, self.show(shown[row]), dtype)

    def _select_groups(self, schema: pa.Schema) -> set[int]:
        """Find the row groups whose statistics leave a chance that the condition holds in them.

        They are about other values than the condition where a column is read as another
        type; and those of floating numbers show neither NaN nor the sign of zero.
        """
        if self._where is None:
            return set(range(len(self._group_rows)))
        known = [
            own
            for own in self.schema
            if own.name in schema.names
            and self._stored_names[own.name] == own.name
            and own.name not in self.file.partitions
            and own.type == schema.field(own.name).type
            and not pt.is_floating(own.type)
        ]
        import pyarrow.dataset as ds

        where = Where(self._where, pa.schema(known), others=True)
        fragment = ds.ParquetFileFormat().make_fragment(self.file.path, self.file.filesystem)
        return {group.id for group in fragment.subset(where.expression, where.schema).row_groups}

    def _decode(
        self, opened: pq.ParquetFile, group: int, columns: list[str]
    ) -> Iterator[pa.RecordBatch]:
        # In this thread: each of Arrow's own would keep memory that nobody can give back. And
        # group by group, so that damage costs no row of those before it.
        batches: Iterator[pa.RecordBatch] = opened.iter_batches(
            self._batch_rows, [group], columns, use_threads=False
        )
        return batches

    def _open(self, unit: str) -> pq.ParquetFile:
        # Read ahead by small buffers: to buffer whole row groups would take what they take.
        return pq.ParquetFile(
            self.file.open(),
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


class ArrowReader(Reader):
    """A file of Arrow record batches: the file format (Feather 2) or a stream."""

    def __init__(self, file: InputFile) -> None:
        super().__init__(file)
        with file.open() as opened:
            self._is_stream = opened.read(len(_MAGIC)) != _MAGIC
            opened.seek(0)
            open_ipc = pa.ipc.open_stream if self._is_stream else pa.ipc.open_file
            self._take_schema(open_ipc(opened).schema)

    def pieces(self, names: Sequence[str], _schema: pa.Schema) -> Iterator[Piece]:
        """Yield columns of the batches, the large ones in slices."""
        row = 1
        with self.file.open() as opened:
            reader = (pa.ipc.open_stream if self._is_stream else pa.ipc.open_file)(opened)
            if not self._is_stream:
                reader = map(reader.get_batch, range(reader.num_record_batches))
            for batch in reader:
                for start in range(0, batch.num_rows, _BATCH_ROWS):
                    part = batch.slice(start, _BATCH_ROWS)
                    columns = {name: part.column(self._stored_names[name]) for name in names}
                    yield Piece(self.unit, np.arange(row, row + part.num_rows), columns)
                    row += part.num_rows

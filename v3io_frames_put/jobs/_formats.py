"""What a file gives: its columns and types, then pieces of rows.

Parquet, Arrow IPC and JSON Lines: lines as they are, or columns where a format needs those.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from pyarrow import parquet as pq

from .._encode import json_lines, layouts
from .._encode.casts import cast_cells
from .._encode.columns import INTERNAL
from .._encode.json_lines import LINE, MEMBERS, parse_lines
from .._encode.rejections import shorten
from .._encode.schemas import HOLDS, holds
from .._encode.sources import split_index
from ..errors import DataError
from ._files import MAX_LINE_BYTES
from ._where import Where

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ._files import InputFile

_BATCH_ROWS: Final = 8_192
_BATCH_BYTES: Final = 8 << 20
_BUFFER_BYTES: Final = 1 << 18
_INFERRED: Final = (pa.int64(), pa.uint64(), pa.float64(), pa.bool_())
_FEW: Final = 0.1  # of the cells of a column: those that make text of it are named
_MAGIC: Final = b"ARROW1"  # of the file format; a stream begins with its schema

LINE_FIELD: Final = pa.field(LINE, pa.binary(), metadata={HOLDS: b"json-lines"})
"""The column of lines that are sent as they are."""


@dataclass(slots=True)
class Piece:
    """Consecutive rows of a file, as its reader found them."""

    rows: NDArray[np.int64]  # where each is in the file, from 1; of text, its first line
    columns: dict[str, pa.Array] = field(default_factory=dict)  # one that is missing is null
    invalid: dict[int, dict[str, str]] = field(default_factory=dict)
    """Text of cells that do not fit, by row and column; of a whole row, as ``line``."""
    details: dict[int, str] = field(default_factory=dict)
    """What is wrong with a row that has such cells."""

    def reject_row(self, row: int, text: bytes, reason: str) -> None:
        """Mark a row of which no cell could be read."""
        shown = show_bytes(text)
        self.invalid.setdefault(row, {LINE: shown})
        self.details.setdefault(row, f"{reason}: {shorten(repr(shown))}. Correct the line.")

    def reject_cell(self, row: int, column: str, text: str, dtype: pa.DataType) -> None:
        """Mark a cell that does not fit its column's type."""
        self.invalid.setdefault(row, {})[column] = text
        reason = f"column {column!r} holds {shorten(repr(text))}, which is not {dtype}"
        advice = "Correct the cell, or give the column another type by types."
        self.details.setdefault(row, f"{reason}. {advice}")


def reject_line(line: int, start: bytes) -> Piece:
    """Return the one row of a text line that is too long, given how it starts."""
    piece = Piece(np.array([line]))
    piece.reject_row(0, start, f"a line longer than {MAX_LINE_BYTES:,} bytes")
    return piece


def show_bytes(text: bytes) -> str:
    """Return bytes as text; those that are not UTF-8 as they are escaped in Python."""
    return text.decode("utf-8", "backslashreplace")


class Reader:
    """A file of some format."""

    is_text = False  # its types are those of its first block
    is_lines = False  # it holds lines of JSON that are sent as they are
    num_rows: int | None = None  # None: not known before the last row is read
    position = 0  # bytes of the file that were read

    def __init__(self, file: InputFile) -> None:
        self.file, self.schema = file, pa.schema([])
        self.notes: list[str] = []  # what inference changed

    def pieces(self, names: Sequence[str], schema: pa.Schema) -> Iterator[Piece]:
        """Yield columns, those that it has; ``schema`` has the types that they will have."""
        raise NotImplementedError

    def cast(
        self, name: str, cells: pa.Array, dtype: pa.DataType
    ) -> tuple[pa.Array, NDArray[np.bool_]]:
        """Cast the cells of a column; mark those that do not fit, which become null."""
        if self.is_lines and name == LINE and layouts.is_text(cells.type):
            # Whoever corrected a failed row may have broken its line.
            cells = pc.replace_substring_regex(cells.cast(pa.string()), r"[\r\n]", " ")
            cells = cells.cast(pa.binary())
        bad = np.zeros(len(cells), bool)
        if odd := layouts.find_invalid(cells):  # text that is not UTF-8
            bad[list(odd)] = True
            cells = layouts.blank(cells, bad)
        cast, invalid = cast_cells(cells, dtype)
        return cast, bad | invalid

    def infer_type(self, name: str, cells: pa.BinaryArray) -> pa.DataType:
        """Return the type that every cell of text is written as, else text; null without cells."""
        given = cells.drop_null()
        if not len(given):
            return pa.null()
        whole = int(pc.sum(pc.match_substring_regex(given, r"^-?[0-9]+$")).as_py())
        odd = np.arange(len(given))  # the cells that make text of it
        for dtype in _INFERRED:
            _, invalid = self.cast(name, given, dtype)
            if invalid.any():
                odd = min(odd, np.flatnonzero(invalid), key=len)
            elif not pt.is_floating(dtype) or whole < len(given):
                if pt.is_floating(dtype) and whole:
                    self.notes.append(
                        f"column {name!r} is double: {whole:,} whole numbers are sent as 1.0"
                    )
                return dtype
        if len(odd) <= len(given) * _FEW:
            self.notes.append(
                f"column {name!r} is text: {len(odd):,} of {len(given):,} cells are not written "
                f"as numbers, the first is {self.show(given[int(odd[0])])!r}"
            )
        return pa.string()

    def show(self, cell: pa.Scalar) -> str:
        """Return the text of a cell that does not fit."""
        if layouts.is_text(cell.type) or layouts.is_bytes(cell.type):
            return show_bytes(bytes(cell.as_buffer()))
        try:
            return str(cell.as_py())
        except (ArithmeticError, LookupError, ValueError):  # no text, date or zone of Python's
            return "a value that Python cannot hold"


# -- Parquet and Arrow IPC -----------------------------------------------------------------


class _TypedReader(Reader):
    """A file whose columns have names and types of their own."""

    def _take_schema(self, stored: pa.Schema) -> None:
        """Name index columns of pandas as ``reset_index`` does, and mark them."""
        columns, levels, places = split_index(stored)
        names = dict(zip(places, [*columns, *levels], strict=True))
        fields = [own.with_name(names[place]) for place, own in enumerate(stored)]
        for place in places[len(columns) :]:
            fields[place] = fields[place].with_metadata({HOLDS: b"index"})
        self.schema = pa.schema(fields)
        self._stored_names = dict(zip(self.schema.names, stored.names, strict=True))
        self.is_lines = any(holds(own) == b"json-lines" for own in stored)
        data = [name for name in columns if not name.startswith(INTERNAL)]
        if data[:1] == [LINE] and len(data) < len(columns) and holds(stored.field(LINE)) is None:
            # A copy of failed rows by another program, which has no metadata.
            line = stored.field(LINE).type
            self.is_lines = layouts.is_bytes(line) or (layouts.is_text(line) and data == [LINE])
        if self.is_lines:
            self.schema = self.schema.set(self.schema.get_field_index(LINE), LINE_FIELD)

    def _take(self, first: int, batch: pa.RecordBatch, names: Sequence[str]) -> Piece:
        """Make a piece of stored rows."""
        columns = {name: batch.column(self._stored_names[name]) for name in names}
        return Piece(np.arange(first, first + batch.num_rows), columns)


class ParquetReader(_TypedReader):
    """A Parquet file, decoded a few thousand rows at a time, whatever its row groups."""

    def __init__(self, file: InputFile, where: str | None = None) -> None:
        super().__init__(file)
        self._where = where
        with self._open("us") as opened:
            stored, metadata = opened.schema_arrow, opened.metadata
            leaves = map(opened.schema.column, range(len(opened.schema)))
            paths = [f"{leaf.path}." for leaf in leaves if leaf.physical_type == "INT96"]
        self._take_schema(stored)
        self.num_rows = metadata.num_rows
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        self._group_rows = [group.num_rows for group in groups]
        rows = _BATCH_BYTES * self.num_rows // (1 + sum(group.total_byte_size for group in groups))
        self._batch_rows = max(1, min(_BATCH_ROWS, rows))
        # Columns with timestamps of Parquet's old type INT96, also inside other values.
        self._int96 = [
            name for name in stored.names if any(path.startswith(f"{name}.") for path in paths)
        ]

    def pieces(self, names: Sequence[str], schema: pa.Schema) -> Iterator[Piece]:
        """Yield columns, of row groups alone whose statistics do not exclude every row."""
        names = [name for name in names if name in self.schema.names]
        stored = [self._stored_names[name] for name in names]
        dated = [name for name in stored if name in self._int96]
        groups = self._select_groups(schema)
        exact = self._decode("ns", groups, dated) if dated else repeat((0, None))
        batches = self._decode("us", groups, stored or [*self._stored_names.values()][:1])
        for (row, batch), (_, fine) in zip(batches, exact, strict=False):
            piece = self._take(row, batch, names)
            if fine is not None:
                self._check_dates(piece, fine, schema)
            yield piece

    def _check_dates(self, piece: Piece, exact: pa.RecordBatch, schema: pa.Schema) -> None:
        """Keep INT96 whole: microseconds hold any date, nanoseconds those of 1678 to 2261.

        Nanoseconds beyond 64 bits wrap around, and so does an unsafe cast to them.
        """
        for name in piece.columns:
            if self._stored_names[name] not in exact.schema.names:
                continue
            fine = exact.column(self._stored_names[name])
            dtype, read, other = schema.field(name).type, piece.columns[name], fine
            if dtype == fine.type:
                read, other = other, read
            bad = _find_other_times(read.cast(other.type, safe=False), other)
            for row in np.flatnonzero(bad).tolist():
                piece.reject_cell(row, name, self.show(other[row]), dtype)
            piece.columns[name] = pc.if_else(pa.array(bad), None, read) if bad.any() else read

    def _select_groups(self, schema: pa.Schema) -> Sequence[int]:
        """Find the row groups whose statistics leave a chance that the condition holds in them.

        They are about other values than the condition where a column is read as another
        type; and those of floating numbers show neither NaN nor the sign of zero.
        """
        if self._where is None:
            return range(len(self._group_rows))
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
        return [group.id for group in fragment.subset(where.expression, where.schema).row_groups]

    def _decode(
        self, unit: str, groups: Sequence[int], columns: Sequence[str]
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the rows of some row groups, and the number of the first; ``unit`` is of INT96."""
        # In this thread: each of Arrow's own would keep memory that nobody can give back. And
        # group by group, so that damage costs no row of those before it.
        with self._open(unit) as opened:
            for group in groups:
                row = 1 + sum(self._group_rows[:group])
                for batch in opened.iter_batches(
                    self._batch_rows, [group], columns, use_threads=False
                ):
                    yield row, batch
                    row += batch.num_rows

    def _open(self, unit: str) -> pq.ParquetFile:
        # Read ahead by small buffers: to buffer whole row groups would take what they take.
        return pq.ParquetFile(
            self.file.open(),
            buffer_size=_BUFFER_BYTES,
            pre_buffer=False,
            coerce_int96_timestamp_unit=unit,
        )


def _find_other_times(one: pa.Array, other: pa.Array) -> NDArray[np.bool_]:
    """Return which values of two columns of one type differ in a time, at any depth."""
    if pt.is_timestamp(one.type):
        return layouts.to_numpy(pc.not_equal(one, other).fill_null(False))  # noqa: FBT003 - Arrow's signature
    differing: NDArray[np.bool_] = np.zeros(len(one), np.bool_)
    for below in zip(layouts.children(one), layouts.children(other), strict=True):
        differing |= layouts.find_holders(one, _find_other_times(*below))
    return differing


def _open_ipc(opened: pa.NativeFile) -> Any:
    """Open the file format, or else a stream."""
    is_stream = opened.read(len(_MAGIC)) != _MAGIC
    opened.seek(0)
    return (pa.ipc.open_stream if is_stream else pa.ipc.open_file)(opened)


class ArrowReader(_TypedReader):
    """A file of Arrow record batches: the file format (Feather 2) or a stream."""

    def __init__(self, file: InputFile) -> None:
        super().__init__(file)
        with file.open() as opened:
            self._take_schema(_open_ipc(opened).schema)

    def pieces(self, names: Sequence[str], _schema: pa.Schema) -> Iterator[Piece]:
        """Yield columns of the batches, the large ones in slices."""
        names = [name for name in names if name in self.schema.names]
        row = 1
        with self.file.open() as opened:
            reader = _open_ipc(opened)
            if isinstance(reader, pa.ipc.RecordBatchFileReader):
                reader = map(reader.get_batch, range(reader.num_record_batches))
            for batch in reader:
                for start in range(0, batch.num_rows, _BATCH_ROWS):
                    part = batch.slice(start, _BATCH_ROWS)
                    yield self._take(row, part, names)
                    row += part.num_rows


# -- JSON Lines ----------------------------------------------------------------------------


class LinesReader(Reader):
    """Lines that are sent as they are."""

    is_text = is_lines = True

    def __init__(self, file: InputFile) -> None:
        super().__init__(file)
        self.schema = pa.schema([LINE_FIELD])
        self._learn(self._read_sample()[0])

    def _learn(self, sample: pa.BinaryArray) -> None:
        first = sample[0].as_py() if len(sample) else b""
        has_objects = any(row is not None for row in parse_lines(MEMBERS, sample)[0])
        if first.startswith(b"[") and not (first.endswith(b"]") and has_objects):
            raise DataError(
                "a JSON array; expected one object a line. Convert it, for example by: jq -c '.[]'"
            )

    def _read_sample(self) -> tuple[pa.BinaryArray, bool]:
        """Return the lines of the first block, and whether they are all."""
        pieces = self._read()
        lines = (piece.columns[LINE] for piece in pieces if not piece.invalid)
        return next(lines, pa.array([], pa.binary())), next(pieces, None) is None

    def members(self) -> tuple[set[str], bool]:
        """Return the members of the first block's lines, and whether that is all."""
        sample, is_whole = self._read_sample()
        return {name for row in parse_lines(MEMBERS, sample)[0] for name in row or ()}, is_whole

    def pieces(self, _names: Sequence[str], _schema: pa.Schema) -> Iterator[Piece]:
        """Yield the lines that hold anything, without surrounding white space."""
        return self._read()

    def _read(self) -> Iterator[Piece]:
        first = 1
        for block in self.file.read_blocks():
            self.position = block.position
            if block.is_cut:
                piece = reject_line(first, block.text)
                piece.columns[LINE] = pa.array([block.text], pa.binary())
                yield piece
                first += 1
            else:
                lines = json_lines.split_lines(block.text)
                given = pc.indices_nonzero(pc.binary_length(lines))
                kept = lines if len(given) == len(lines) else lines.take(given)
                piece = Piece(first + given.to_numpy().astype(np.int64), {LINE: kept})
                if self.is_lines and INTERNAL.encode() in block.text:
                    _reject_marked(piece)
                yield piece
                first += len(lines)


def _reject_marked(piece: Piece) -> None:
    """Reject lines with members that are never sent."""
    for number, row in enumerate(parse_lines(MEMBERS, piece.columns[LINE])[0]):
        if marks := [name for name in row or () if name.startswith(INTERNAL)]:
            text = piece.columns[LINE][number].as_py()
            piece.reject_row(number, text, f"members {marks}, which are never sent")


class JsonColumnsReader(LinesReader):
    """Members as columns: their types are those that all values of the first block have.

    Columns of mixed values have the JSON text.
    """

    is_lines = False

    def __init__(
        self, file: InputFile, types: Mapping[str, pa.DataType], *, is_whole: bool
    ) -> None:
        self._is_whole = is_whole  # whether a member without a column may not be left out
        self._of_any_type = set(types)  # columns that take any value, if they are text
        super().__init__(file)

    def _learn(self, sample: pa.BinaryArray) -> None:
        super()._learn(sample)
        rows, _ = parse_lines(MEMBERS, sample)
        names = dict.fromkeys(name for row in rows for name in row or ())
        if len(sample) and not names:
            raise DataError("no line of the first block is a JSON object. Is it JSON Lines?")
        types = {}
        for name in names:
            cells = json_lines.take_member(rows, name)
            types[name] = json_lines.infer_nested(cells) or self.infer_type(name, cells)
            if not pc.all(pc.starts_with(cells, '"')).as_py():
                self._of_any_type.add(name)
        self.schema = pa.schema(list(types.items()))

    def pieces(self, names: Sequence[str], schema: pa.Schema) -> Iterator[Piece]:
        """Yield members as JSON text, in blocks."""
        known = {*self.schema.names, *schema.names}
        for piece in self._read():
            lines = piece.columns[LINE]
            rows, _ = parse_lines(MEMBERS, lines)
            for number, row in enumerate(rows):
                reason = "not a JSON object"
                if row is not None:
                    unknown = sorted(row.keys() - known)
                    if not (unknown and self._is_whole):
                        continue
                    reason = f"members {unknown}, which the first lines do not have: give their "
                    reason += "types by types"
                rows[number] = None
                piece.reject_row(number, lines[number].as_py(), reason)
            piece.columns = {name: json_lines.take_member(rows, name) for name in names}
            yield piece

    def cast(
        self, name: str, cells: pa.BinaryArray, dtype: pa.DataType
    ) -> tuple[pa.Array, NDArray[np.bool_]]:
        """Cast JSON text; a value of another JSON type does not fit."""
        return json_lines.cast_json(cells, dtype, is_any=name in self._of_any_type)

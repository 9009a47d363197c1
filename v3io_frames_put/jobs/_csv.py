"""CSV: types from the first block of the file, rows by pyarrow's reader.

A block with a cell that does not fit is read again, cell by cell, so that this cell
costs its own row only.
"""

from __future__ import annotations

import csv
import io
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from v3io_frames_put.errors import DataError
from v3io_frames_put.jobs._blocks import BYTE_ORDER_MARK, TextBlock, measure_header, read_blocks
from v3io_frames_put.jobs._fit import (
    Piece,
    find_rounded,
    fit_spellings,
    is_rounded,
    may_be_rounded,
    shorten,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from v3io_frames_put.jobs._files import InputFile
    from v3io_frames_put.jobs._fit import Reading

_NO_VALUES: Final = pa.array(arrow_csv.ConvertOptions().null_values, pa.string())


class CsvFile:
    """A file of comma-separated values with a header.

    Parameters
    ----------
    file : InputFile
        ``.tsv`` is separated by tabs.
    """

    num_rows = None
    stored = None

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._names: list[str] = []
        self.schema = self._infer()

    def check_type(self, _name: str, dtype: pa.DataType) -> None:
        """Raise ArrowInvalid or ArrowNotImplementedError for what text cannot be read as."""
        self._convert(dtype, [None])

    def pieces(self, names: Sequence[str], reading: Reading) -> Iterator[Piece]:
        """Yield columns of the file, in blocks."""
        if not self._names:
            return
        wanted = {name: reading.type_of(name) for name in names}
        with self._file.open_stream() as stream:
            has_header = False
            for block in read_blocks(stream, delimiter=self._file.delimiter):
                rows = block if has_header else self._cut_header(block)
                has_header = has_header or bool(block.text.strip())
                yield self._read(rows, wanted)

    def _cut_header(self, block: TextBlock) -> TextBlock:
        end = measure_header(block.text, self._file.delimiter)
        lines = len(block.text[:end].splitlines())
        return TextBlock(block.text[end:], block.first_line + lines)

    def _infer(self) -> pa.Schema:
        text, end = self._read_beginning()
        if not text.strip():
            return pa.schema([])
        try:
            text[:end].decode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"its header is no UTF-8: {error}. Convert the file to UTF-8."
            ) from error
        # A cell that is no UTF-8 costs its row, and makes no column bytes.
        text = text.decode("utf-8", "replace").encode()
        # The header is read apart: pyarrow makes up no names where two are the same.
        table = self._read_first(text)
        self._names = list(table.column_names)
        types = {field.name: field.type for field in table.schema}
        doubles = [name for name, dtype in types.items() if pa.types.is_floating(dtype)]
        if doubles and len(types) == len(self._names):
            # What is too long for int64 is inferred as double, which would change it.
            texts = self._read_first(text, dict.fromkeys(doubles, pa.string()))
            for name in doubles:
                types[name] = _type_of_numbers(_combine(texts.column(name)))
        return pa.schema([(name, types[name]) for name in self._names])

    def _read_beginning(self) -> tuple[bytes, int]:
        """Read so many blocks that a row is among them; return where the header ends, too."""
        text, end = b"", 0
        with self._file.open_stream() as stream:
            for block in read_blocks(stream, delimiter=self._file.delimiter):
                if block.is_open:
                    if not text.strip():
                        raise DataError("the quotes in its header are never closed. Close them.")
                    break
                text += block.text
                end = measure_header(text, self._file.delimiter)
                if text[end:].strip():
                    break
        return text, end

    def _read_first(self, block: bytes, types: Mapping[str, pa.DataType] | None = None) -> pa.Table:
        return arrow_csv.read_csv(
            pa.BufferReader(block + b"\n"),  # else a header alone is nothing
            read_options=_whole(block),
            parse_options=self._parsing(invalid_row_handler=lambda _row: "skip"),
            convert_options=arrow_csv.ConvertOptions(
                column_types=types, include_columns=types and list(types), strings_can_be_null=True
            ),
        )

    def _parsing(self, **options: Any) -> arrow_csv.ParseOptions:
        return arrow_csv.ParseOptions(
            delimiter=self._file.delimiter, newlines_in_values=True, **options
        )

    def _read(self, block: TextBlock, types: Mapping[str, pa.DataType]) -> Piece:
        if block.is_open:
            columns = {name: pa.nulls(1, dtype) for name, dtype in types.items()}
            piece = Piece(columns, 1, self._file.name, [block.first_line])
            piece.refuse(0, f"quotes that are never closed: {shorten(block.text)}. Close them.")
            return piece
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(_unmarked(block.text) or b"\n"),
                read_options=_whole(block.text, self._names),
                parse_options=self._parsing(),
                convert_options=arrow_csv.ConvertOptions(
                    column_types={name: _parsed_type(dtype) for name, dtype in types.items()},
                    include_columns=list(types),
                ),
            )
            columns = {
                name: _settle(_combine(table.column(name)), dtype) for name, dtype in types.items()
            }
        except pa.ArrowInvalid:
            return self._read_cells(block, types)
        large = [name for name, column in columns.items() if may_be_rounded(column)]
        if large and self._has_rounded(block, large):
            return self._read_cells(block, types)
        return Piece(columns, table.num_rows, self._file.name)

    def _has_rounded(self, block: TextBlock, names: list[str]) -> bool:
        texts = arrow_csv.read_csv(
            pa.BufferReader(_unmarked(block.text)),
            read_options=_whole(block.text, self._names),
            parse_options=self._parsing(),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=names
            ),
        )
        return any(find_rounded(_combine(column)) for column in texts.columns)

    def _read_cells(self, block: TextBlock, types: Mapping[str, pa.DataType]) -> Piece:
        numbered = [(number, line) for number, line in self._split(block) if line]
        lines = [line for _, line in numbered]
        piece = Piece({}, len(lines), self._file.name, [number for number, _ in numbered])
        ragged = {row for row, line in enumerate(lines) if len(line) != len(self._names)}
        for row in ragged:
            told = f"{len(lines[row])} cells, expected {len(self._names)}: {shorten(lines[row])}"
            piece.refuse(row, f"{told}. Correct the line.")
        for name, dtype in types.items():
            place = self._names.index(name)
            cells = [
                None if row in ragged or line[place] == "" else line[place]
                for row, line in enumerate(lines)
            ]
            is_double = pa.types.is_floating(dtype)
            rounded = {
                row: cell for row, cell in enumerate(cells) if is_double and is_rounded(cell or "")
            }
            cells = [None if row in rounded else cell for row, cell in enumerate(cells)]
            piece.columns[name], bad = fit_spellings(cells, dtype, partial(self._convert, dtype))
            piece.refuse_cells(name, dtype, {row: cells[row] for row in bad} | rounded)
        return piece

    def _split(self, block: TextBlock) -> Iterator[tuple[int, list[str]]]:
        """Yield the cells of each record, and the line it begins in."""
        # The one limit of the module, which no cell that Arrow read may reach.
        csv.field_size_limit(max(csv.field_size_limit(), len(block.text)))
        text = io.StringIO(block.text.decode("utf-8", "surrogateescape"), newline="")
        reader = csv.reader(text, delimiter=self._file.delimiter)
        number = block.first_line
        for line in reader:
            yield number, line
            number = block.first_line + reader.line_num

    @staticmethod
    def _convert(dtype: pa.DataType, cells: list[str | None]) -> pa.Array:
        """Convert cells by the reader itself, so that a cell means the same either way."""
        if pa.types.is_string(dtype):
            return pa.array(cells, pa.string())
        if pa.types.is_binary(dtype):
            return pa.array(
                [cell and cell.encode("utf-8", "surrogateescape") for cell in cells], dtype
            )
        written = io.BytesIO()
        # Beside a second column, since an empty line would be no row.
        cells_column = pa.array(cells, pa.string())
        arrow_csv.write_csv(
            pa.table({"c": cells_column, "n": pa.nulls(len(cells), pa.bool_())}),
            written,
            arrow_csv.WriteOptions(include_header=False),
        )
        text = written.getvalue()
        table = arrow_csv.read_csv(
            pa.BufferReader(text or b"\n"),
            read_options=_whole(text, ["c", "n"]),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types={"c": _parsed_type(dtype), "n": pa.null()}, include_columns=["c"]
            ),
        )
        return _settle(_combine(table.column("c")), dtype)


def _unmarked(block: bytes) -> bytes:
    """Keep Arrow from taking the beginning of a cell for that of a file."""
    return BYTE_ORDER_MARK + block if block.startswith(BYTE_ORDER_MARK) else block


def _whole(block: bytes, names: list[str] | None = None, **options: Any) -> arrow_csv.ReadOptions:
    """Read a block at once: it is small, and threads would let its rows go astray."""
    return arrow_csv.ReadOptions(
        use_threads=False,
        block_size=len(block) + len(BYTE_ORDER_MARK) + 1,
        column_names=names,
        **options,
    )


def _parsed_type(dtype: pa.DataType) -> pa.DataType:
    """Return what Arrow's reader reads a type as.

    Decimals are cast from text: the reader brings them to their scale and checks no digits
    then, so that they have too many, or are other numbers.
    """
    return pa.string() if pa.types.is_decimal(dtype) else dtype


def _settle(column: pa.Array, dtype: pa.DataType) -> pa.Array:
    """Bring a column to its type; raise ArrowInvalid where a decimal does not fit."""
    if not pa.types.is_decimal(dtype):
        return column
    text = pc.ascii_trim_whitespace(column)
    return pc.if_else(pc.is_in(text, _NO_VALUES), None, text).cast(dtype)


def _type_of_numbers(texts: pa.StringArray) -> pa.DataType:
    """Return the type of numbers that are not all int64: no whole number may change."""
    given = pc.ascii_trim_whitespace(texts.drop_null())
    if not pc.all(pc.match_substring_regex(given, r"^-?[0-9]+$")).as_py():
        return pa.float64()
    try:
        return given.cast(pa.uint64()).type
    except pa.ArrowInvalid:
        return pa.string()


def _combine(column: pa.ChunkedArray) -> pa.Array:
    """Return one array; an empty text is a missing one, as in every other type."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    is_text = pa.types.is_string(array.type) or pa.types.is_binary(array.type)
    if is_text and pc.any(pc.equal(pc.binary_length(array), 0)).as_py():
        return pc.if_else(pc.equal(pc.binary_length(array), 0), None, array)
    return array

"""CSV files: columns of text, types by one try-cast."""

from __future__ import annotations

import codecs
import re
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from .._encode.casts import cast_text, try_cast
from .._encode.csv_text import CsvText, Dialect, find_line_ends
from .._encode.layouts import is_bytes
from ._formats import Piece, Reader, reject_line, show_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ._files import Block, InputFile

_MARKED: Final = "v3io-marked"


def _mark(error: Any) -> tuple[str, int]:
    """Keep bytes that are not in the encoding as surrogates, which no text in UTF-8 has."""
    odd = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in odd), error.end


codecs.register_error(_MARKED, _mark)


class CsvReader(Reader):
    """A file of comma-separated values."""

    is_text = True
    _head_bytes = 0  # of the first block, before the data

    def __init__(self, file: InputFile, types: Mapping[str, pa.DataType], dialect: Dialect) -> None:
        super().__init__(file)
        self._types, self._dialect = types, dialect
        codec = codecs.lookup(dialect.csv_encoding).name
        self._encoding = None if codec in ("utf-8", "utf-8-sig") else codec
        self._text = CsvText(dialect, dialect.delimiter or ("\t" if file.kind == "tsv" else ","))
        first = next(self._read_blocks(), None)
        if first is not None and first.text.strip():
            self._head_bytes = self._text.read_header(b"" if first.is_cut else first.text)
        cells = next((piece.columns for piece in self._read() if piece.columns), {})
        self.num_rows = None if cells else 0
        inferred = {
            name: self.infer_type(name, column)
            for name, column in cells.items()
            if name not in types and not dialect.all_text
        }
        default = pa.string() if dialect.all_text else pa.null()  # another file may show it
        names = self._text.names
        self.schema = pa.schema([(name, inferred.get(name, default)) for name in names])

    def pieces(self, names: Sequence[str], _schema: pa.Schema) -> Iterator[Piece]:
        """Yield columns of the file as text, in blocks."""
        for piece in self._read():
            piece.columns = {name: piece.columns[name] for name in names if name in piece.columns}
            yield piece

    def _read_blocks(self) -> Iterator[Block]:
        return self.file.read_blocks(self._encoding, _MARKED)

    def _read(self) -> Iterator[Piece]:
        """Yield rows of all columns, in blocks; one that goes on in the next block is kept."""
        text, line, head = b"", 1, self._head_bytes
        for block in chain(self._read_blocks(), [None]):
            is_over = block is None or block.is_cut
            if block is not None:
                self.position = block.position
                text += b"" if block.is_cut else block.text
            line += len(find_line_ends(text[:head]))
            rows = self._text.parse(text[head:], is_over=is_over)
            piece = Piece(line + rows.lines, rows.columns)
            for row, (lost, reason) in rows.lost.items():
                piece.reject_row(row, lost, reason)
            text, line, head = text[head + rows.num_bytes :], line + rows.num_lines, 0
            if len(piece.rows):
                yield piece
            if block is not None and block.is_cut:
                yield reject_line(line, block.text)
                line += 1

    def cast(
        self, name: str, cells: pa.BinaryArray, dtype: pa.DataType
    ) -> tuple[pa.Array, NDArray[np.bool_]]:
        """Cast text; bytes that are not in the file's encoding do not fit."""
        if is_bytes(dtype):
            return cells.cast(dtype), np.zeros(len(cells), bool)
        text, odd = try_cast(cells, lambda part: part.cast(pa.string()))
        point = self._dialect.decimal_point
        cast, bad = cast_text(text, dtype, is_strict=name not in self._types, point=point)
        return cast, odd | bad

    def show(self, cell: pa.Scalar) -> str:
        """Return the text of a cell that does not fit."""
        try:
            marked = cell.as_py().decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return show_bytes(cell.as_py())
        return re.sub("[\udc00-\udcff]", lambda byte: f"\\x{ord(byte[0]) & 0xFF:02x}", marked)

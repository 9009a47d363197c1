"""CSV: rows and quotes by a small scanner, cells as text by pyarrow, types by one try-cast.

pyarrow alone lets a quote that is never closed swallow the rest of a file as one valid row,
fails a file for one line that is too long, and skips empty lines without counting them.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from pyarrow import csv as arrow_csv

from .._encode.layouts import is_bytes, to_numpy
from ..errors import ConfigError, DataError
from ._cast import cast_text, try_cast
from ._files import BLOCK_BYTES, BYTE_ORDER_MARK, MAX_LINE_BYTES, InputFile
from ._formats import Piece, Reader, show_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


_MAX_QUOTED_BYTES: Final = 8 << 20  # a row with quotes that are not closed until then is lost
_BROKEN: Final = "quotes that are not closed, or other cells than the header"
_LINE_BREAKS: Final = b"\r\n"
_OTHER_DELIMITERS: Final = ";\t|"
_INFERRED: Final = (pa.int64(), pa.uint64(), pa.float64(), pa.bool_())
_FEW: Final = 0.1  # of the cells of a column: those that make text of it are named
_MARKED: Final = "v3io-marked"


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Keep bytes that are not in the encoding as surrogates, which no text in UTF-8 has."""
    assert isinstance(error, UnicodeDecodeError)  # noqa: S101 - this handler decodes alone
    odd = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in odd), error.end


codecs.register_error(_MARKED, _mark)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How CSV is written; the options of ``publish``."""

    delimiter: str | None = None  # or "tab"; None: a comma, in .tsv a tab
    quote: str = '"'  # around cells that hold delimiters or line breaks; empty: no quotes
    csv_encoding: str = "utf-8"
    header: bool = True  # whether the first row names the columns; else they are f0, f1, ...
    skip_lines: int = 0  # before the header
    decimal_point: str = "."
    all_text: bool = False  # whether every column is text

    def __post_init__(self) -> None:
        if self.delimiter in ("tab", "\\t"):
            object.__setattr__(self, "delimiter", "\t")
        for name in ("delimiter", "quote", "decimal_point"):
            value = getattr(self, name)
            is_none = value is None if name == "delimiter" else name == "quote" and value == ""
            is_symbol = isinstance(value, str) and len(value) == 1 and value.isascii()
            if not is_none and not (is_symbol and value not in ("\r", "\n")):
                raise ConfigError(f"{name}={value!r}: expected one ASCII character. Correct it.")
        if type(self.skip_lines) is not int or self.skip_lines < 0:
            raise ConfigError(f"skip_lines={self.skip_lines!r}: expected a number from 0.")
        try:
            codecs.lookup(self.csv_encoding)
        except (LookupError, TypeError):
            raise ConfigError(
                f"csv_encoding={self.csv_encoding!r} is not an encoding; expected for example "
                f"utf-8, cp1252, latin-1 or utf-16."
            ) from None


class CsvReader(Reader):
    """A file of comma-separated values.

    Each line is a row, unless quotes are open at its end: then the lines up to where they are
    closed are one row, if its cells are as many as the header's, or else the line alone is
    lost. So a quote that is never closed costs no other row.
    """

    is_text = True

    def __init__(self, file: InputFile, dialect: Dialect, block_bytes: int = BLOCK_BYTES) -> None:
        super().__init__(file)
        self._dialect, self._block_bytes = dialect, block_bytes
        self._delimiter = dialect.delimiter or ("\t" if file.kind == "tsv" else ",")
        self._names: list[str] = []
        self._header = b""
        d, q = re.escape(self._delimiter), re.escape(dialect.quote)
        quoted = rf"{q}[^{q}]*(?:{q}{q}[^{q}]*)*" if q else ""
        self._cell = rf"(?:{quoted}{q}|[^{q}{d}\r\n][^{d}\r\n]*|)" if q else rf"[^{d}\r\n]*"
        self._more = rf"{d}{self._cell}"
        self._head = re.compile(
            rf"(?:[^\r\n]*(?:\r\n?|\n)){{{dialect.skip_lines}}}[\r\n]*"
            rf"(?=[^\r\n])({self._cell}(?:{self._more})*)(?:\r\n?|\n|\Z)".encode()
        )
        self._open = re.compile(rf"(?:{self._cell}{d})*{quoted}\Z".encode())
        self._row = self._head  # of as many cells as the header, once that is known
        first = next((piece for piece in self._read() if piece.columns), None)
        columns = {} if first is None else first.columns
        self.schema = pa.schema(
            [(name, self._infer(name, columns.get(name))) for name in self._names]
        )

    # -- rows -----------------------------------------------------------------------------

    def pieces(self, names: Sequence[str], _schema: pa.Schema) -> Iterator[Piece]:
        """Yield columns of the file as text, in blocks."""
        for piece in self._read():
            piece.columns = {name: piece.columns[name] for name in names if name in piece.columns}
            yield piece

    def _read(self) -> Iterator[Piece]:
        """Yield rows of all columns, in blocks; learns the names from the header."""
        codec = codecs.lookup(self._dialect.csv_encoding).name
        encoding = None if codec in ("utf-8", "utf-8-sig") else codec
        text, line, is_begun = b"", 1, False
        blocks = self.file.read_blocks(self._block_bytes, encoding, _MARKED)
        for block in chain(blocks, [None]):
            is_over = block is None or block.is_cut
            if block is not None:
                self.position = block.position
                text += b"" if block.is_cut else block.text
            if not is_begun:
                end = self._take_head(text, is_over=is_over)
                is_begun = end is not None
                line, text = line + _count_lines(text[: end or 0]), text[end or 0 :]
            if is_begun and text:
                piece, end = self._parse(text, line, is_over=is_over)
                yield piece
                line, text = line + _count_lines(text[:end]), text[end:]
            if block is not None and block.is_cut:
                piece = Piece(self.unit, np.array([line]))
                piece.reject_row(0, block.text, f"a line longer than {MAX_LINE_BYTES:,} bytes")
                yield piece
                line += 1

    def _parse(self, text: bytes, first_line: int, *, is_over: bool) -> tuple[Piece, int]:
        """Parse whole rows; return where they end, too."""
        data = np.frombuffer(text, np.uint8)
        ends = _find_line_ends(text, data)
        begins_row, lost = self._find_rows(text, data, ends, is_over=is_over)
        ends = ends[: len(begins_row)]
        size = int(ends[-1]) if len(ends) else 0
        starts = np.append(0, ends)[:-1][begins_row]
        is_given = ~np.isin(data[starts], list(_LINE_BREAKS))
        starts, stops = starts[is_given], np.append(starts[1:], size)[is_given]
        numbers, lost = np.flatnonzero(begins_row)[is_given], lost[begins_row][is_given]
        kept, reasons = np.flatnonzero(~lost), dict.fromkeys(np.flatnonzero(lost).tolist(), _BROKEN)
        whole = text[:size]
        if len(kept) < len(lost):
            whole = b"".join([text[starts[row] : stops[row]] for row in kept.tolist()])
        columns, widths = self._parse_cells(whole, len(kept))
        for place, width in widths.items():
            reasons[int(kept[place])] = f"{width} cells; expected {len(self._names)}"
        lost[list(reasons)] = True
        if reasons:
            places = pa.array(np.cumsum(~lost) - 1, mask=lost)
            columns = {name: column.take(places) for name, column in columns.items()}
        if len(columns) > 1 and self._header and self._header in whole:
            same = [pc.equal(column, name.encode()) for name, column in columns.items()]
            again = np.logical_and.reduce([to_numpy(pc.fill_null(one, False)) for one in same])  # noqa: FBT003 - Arrow's signature
            reasons |= dict.fromkeys(np.flatnonzero(again).tolist(), "the header once more")
        piece = Piece(self.unit, first_line + numbers, columns)
        for row, reason in reasons.items():
            piece.reject_row(row, text[starts[row] : stops[row]].rstrip(_LINE_BREAKS), reason)
        return piece, size

    def _find_rows(
        self, text: bytes, data: NDArray[np.uint8], ends: NDArray[np.intp], *, is_over: bool
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which lines begin a row, and which are lost; not those that need more text."""
        begins_row, lost = np.ones(len(ends), bool), np.zeros(len(ends), bool)
        next_line = 0
        for line in self._find_open_lines(text, data, ends):
            if line < next_line:
                continue
            start = int(ends[line - 1]) if line else 0
            if row := self._row.match(text, start):
                next_line = int(np.searchsorted(ends, row.end(), side="right")) + 1
                begins_row[line + 1 : next_line] = False
            elif (
                is_over
                or len(text) - start > _MAX_QUOTED_BYTES
                or not self._open.match(text, start)
            ):
                lost[line] = True
            else:
                return begins_row[:line], lost[:line]
        return begins_row, lost

    def _find_open_lines(
        self, text: bytes, data: NDArray[np.uint8], ends: NDArray[np.intp]
    ) -> list[int]:
        """Return the lines at whose end quotes are open, if none are at their beginning.

        As in Python's reader, a quote opens a cell only at its beginning, and two inside are
        one of its characters: so of quotes in a row an even number changes nothing. After one
        that cannot open a cell none are open, whether it closes one or is text. From there, or
        from the beginning of the line, quotes open and close by turns:

            a,"b ""c"" d",5" x,"e     open, close; then text; then open, at the end, too
        """
        quote = self._dialect.quote.encode()
        if not quote or quote not in text:
            return []
        quotes = np.flatnonzero(data == quote[0])
        firsts = np.flatnonzero(np.diff(quotes, prepend=-2) > 1)  # of quotes in a row
        is_odd = np.diff(np.append(firsts, len(quotes))) & 1 == 1
        quotes = quotes[firsts[is_odd]]
        up_to = np.searchsorted(quotes, ends)  # how many are before the end of each line
        first, last = np.append(0, up_to[:-1]), up_to - 1
        lines = np.flatnonzero(first <= last)
        first, last = first[lines], last[lines]
        may_open = data[quotes - 1] == ord(self._delimiter)
        may_open[first] |= quotes[first] == np.append(0, ends)[lines]
        none_open_after = np.where(may_open, -1, np.arange(len(quotes)))
        none_open_after[first] = np.where(may_open[first], first - 1, first)
        turns = last - np.maximum.accumulate(none_open_after)[last]
        found: list[int] = lines[turns & 1 == 1].tolist()
        return found

    def _parse_cells(
        self, text: bytes, count: int
    ) -> tuple[dict[str, pa.BinaryArray], dict[int, int]]:
        """Parse so many rows; return their cells, and the widths of rows of another width."""
        if not count:
            return {name: pa.array([], pa.binary()) for name in self._names}, {}
        numbered = [str(number) for number in range(len(self._names))]  # names may be anything
        widths: dict[int, int] = {}

        def skip(row: Any) -> str:
            widths[row.number - 1] = row.actual_columns
            return "skip"

        # pyarrow takes a byte-order mark at the beginning for one of the file.
        marked = BYTE_ORDER_MARK + text if text.startswith(BYTE_ORDER_MARK) else text
        table = arrow_csv.read_csv(
            pa.BufferReader(marked),
            read_options=arrow_csv.ReadOptions(
                use_threads=False, block_size=len(marked) + 1, column_names=numbered
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self._delimiter,
                quote_char=self._dialect.quote or False,
                newlines_in_values=True,
                invalid_row_handler=skip,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(numbered, pa.binary())
            ),
        )
        if table.num_rows + len(widths) != count:
            raise DataError(f"pyarrow finds {table.num_rows:,} rows where {count:,} are.")
        columns = {}
        for name, column in zip(self._names, table.columns, strict=True):
            cells = (
                pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.binary())
            )
            is_empty = pc.equal(pc.binary_length(cells), 0)  # null, in every type alike
            columns[name] = pc.if_else(is_empty, None, cells) if is_empty.true_count else cells
        return columns, widths

    # -- header and types -----------------------------------------------------------------

    def _take_head(self, text: bytes, *, is_over: bool) -> int | None:
        """Learn the names from the first row; return where the data begins. None: not yet."""
        head = self._head.match(text)
        if head is None:
            if text.strip() and (is_over or len(text) > _MAX_QUOTED_BYTES):
                raise DataError(
                    "its first row: quotes that are not closed, or nothing after skip_lines. "
                    "Correct it."
                )
            return None
        if not self._names:
            self._check_header(head[1])
            [names] = csv.reader(
                io.StringIO(head[1].decode(), newline=""),
                delimiter=self._delimiter,
                quotechar=self._dialect.quote or None,
                quoting=csv.QUOTE_MINIMAL if self._dialect.quote else csv.QUOTE_NONE,
            )
            self._names = names if self._dialect.header else [f"f{n}" for n in range(len(names))]
            row = rf"{self._cell}(?:{self._more}){{{len(names) - 1}}}(?=[\r\n]|\Z)"
            self._row = re.compile(row.encode())
        if not self._dialect.header:
            return head.start(1)
        self._header = head[1]
        return head.end()

    def _check_header(self, header: bytes) -> None:
        """Refuse a header that shows that the file is written in another way."""
        try:
            text = header.decode()
        except UnicodeDecodeError as error:
            guess = "utf-16" if header.startswith((b"\xff\xfe", b"\xfe\xff")) else "cp1252"
            raise DataError(
                f"its first row is not {self._dialect.csv_encoding}: {error.reason}. Say which "
                f"encoding it has, for example csv_encoding={guess!r} (--csv-encoding {guess})."
            ) from None
        other = max(_OTHER_DELIMITERS, key=text.count)
        if self._dialect.delimiter is not None or self._delimiter in text or other not in text:
            return
        # The first line of what Excel writes only names the delimiter.
        skip = ", skip_lines=1 (--skip-lines 1)" if text.startswith("sep=") else ""
        shown = "tab" if other == "\t" else repr(other)
        raise DataError(
            f"its first row is one cell: {text[:60]!r}. Read it with delimiter={other!r} "
            f"(--delimiter {shown}){skip}; if it is one column, with delimiter=',' (--delimiter ,)."
        )

    def _infer(self, name: str, cells: pa.BinaryArray | None) -> pa.DataType:
        """Return the type that every cell of the first block is written as, or text."""
        given = None if cells is None else cells.drop_null()
        if given is None or not len(given):
            return pa.null()  # another file may show it
        if self._dialect.all_text:
            return pa.string()
        least: NDArray[np.bool_] | None = None
        whole = int(pc.sum(pc.match_substring_regex(given, r"^-?[0-9]+$")).as_py())
        for dtype in _INFERRED:
            _, bad = self.cast(name, given, dtype, is_asked=False)
            if not bad.any() and not (pt.is_floating(dtype) and whole == len(given)):
                if pt.is_floating(dtype) and whole:
                    self.notes.append(
                        f"column {name!r} is double: {whole:,} whole numbers are sent as 1.0"
                    )
                return dtype
            if bad.any() and (least is None or bad.sum() < least.sum()):
                least = bad
        if least is not None and least.sum() <= len(given) * _FEW:
            first = show_bytes(given[int(np.argmax(least))].as_py())
            self.notes.append(
                f"column {name!r} is text: {least.sum():,} of {len(given):,} cells are not written "
                f"as numbers, the first is {first!r}"
            )
        return pa.string()

    def cast(
        self,
        name: str,  # noqa: ARG002 - others need it
        cells: pa.BinaryArray,
        dtype: pa.DataType,
        *,
        is_asked: bool,
    ) -> tuple[pa.Array, NDArray[np.bool_]]:
        """Cast text; bytes that are not in the file's encoding do not fit."""
        if is_bytes(dtype):
            return cells.cast(dtype), np.zeros(len(cells), bool)
        text, odd = try_cast(cells, lambda part: part.cast(pa.string()))
        point = self._dialect.decimal_point
        cast, bad = cast_text(text, dtype, is_strict=not is_asked, point=point)
        return cast, odd | bad

    def show(self, cell: pa.Scalar) -> str:
        """Return the text of a cell that does not fit."""
        try:
            marked = cell.as_py().decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return show_bytes(cell.as_py())
        return re.sub("[\udc00-\udcff]", lambda byte: f"\\x{ord(byte[0]) & 0xFF:02x}", marked)


def _find_line_ends(text: bytes, data: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return where the lines of a text end, whatever their line breaks are."""
    ends = np.flatnonzero(data == ord("\n")) + 1
    if b"\r" in text:
        returns = np.flatnonzero(data == ord("\r")) + 1
        ends = np.union1d(ends, returns[np.append(data, 0)[returns] != ord("\n")])
    return ends if len(ends) and ends[-1] == len(text) else np.append(ends, len(text))


def _count_lines(text: bytes) -> int:
    """Count line breaks of any kind."""
    count = text.count(b"\n")
    return count + text.count(b"\r") - text.count(b"\r\n") if b"\r" in text else count

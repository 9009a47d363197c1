"""CSV text as columns of text: rows and quotes by a small scanner, cells by pyarrow.

pyarrow alone lets a quote that is never closed swallow the rest of a file as one valid row, and
skips empty lines without counting them.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from ..errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


_MAX_QUOTED_BYTES: Final = 8 << 20  # a row with quotes that are not closed until then is lost
_BROKEN: Final = "quotes that are not closed, or other cells than the header"
_LINE_BREAKS: Final = b"\r\n"
_OTHER_DELIMITERS: Final = ";\t|"


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
        for name, nothing in (("delimiter", None), ("quote", ""), ("decimal_point", ".")):
            value = getattr(self, name)
            is_symbol = isinstance(value, str) and len(value) == 1 and value.isascii()
            if value != nothing and (not is_symbol or value in "\r\n"):
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


class CsvRows(NamedTuple):
    """Whole rows of a text."""

    lines: NDArray[np.intp]  # of the text where each row begins, from 0
    columns: dict[str, pa.BinaryArray]  # null in lost rows, and where a cell is empty
    lost: dict[int, tuple[bytes, str]]
    """Rows of which no cell could be read: their text, and why."""
    num_bytes: int  # of the text that the rows take
    num_lines: int


class CsvText:
    """Parses the text of a file, block by block.

    Each line is a row, unless quotes are open at its end: then the lines up to where they are
    closed are one row, if its cells are as many as the header's, or else the line alone is
    lost. So a quote that is never closed costs no other row.
    """

    def __init__(self, dialect: Dialect, delimiter: str) -> None:
        self.names: list[str] = []
        self._dialect, self._delimiter, self._header = dialect, delimiter, b""
        d, q = re.escape(delimiter), re.escape(dialect.quote or "\r")  # begins no cell
        quoted = rf"{q}[^{q}]*(?:{q}{q}[^{q}]*)*"
        self._cell, self._next_cell = rf"(?:{quoted}{q}|(?!{q})[^{d}\r\n]*)", d
        self._open = re.compile(rf"(?:{self._cell}{d})*{quoted}\Z".encode())
        self._row = re.compile(rf"{self._cell}(?=[\r\n]|\Z)".encode())

    # -- header ---------------------------------------------------------------------------

    def read_header(self, text: bytes) -> int:
        """Read the names of the columns; return where the data begins."""
        cell, d = self._cell, self._next_cell
        skipped = rf"(?:[^\r\n]*(?:\r\n?|\n)){{{self._dialect.skip_lines}}}[\r\n]*"
        pattern = rf"{skipped}(?=[^\r\n])({cell}(?:{d}{cell})*)(?:\r\n?|\n|\Z)".encode()
        head = re.match(pattern, text)
        if head is None:
            raise DataError(
                "its first row: quotes that are not closed, a line too long, or nothing after "
                "skip_lines. Correct it."
            )
        self._check_header(head[1])
        quote = self._dialect.quote
        self.names = [
            name[1:-1].replace(quote * 2, quote) if quote and name.startswith(quote) else name
            for name in re.findall(rf"(?:^|{d})({cell})", head[1].decode())
        ]
        row = rf"{cell}(?:{d}{cell}){{{len(self.names) - 1}}}(?=[\r\n]|\Z)"
        self._row = re.compile(row.encode())
        if not self._dialect.header:
            self.names = [f"f{number}" for number in range(len(self.names))]
            return head.start(1)
        self._header = head[1] if len(self.names) > 1 else b""  # of one, a cell may be the same
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

    # -- rows -----------------------------------------------------------------------------

    def parse(self, text: bytes, *, is_over: bool) -> CsvRows:
        """Parse whole rows; the last may need more text, unless ``is_over``."""
        bounds = np.append(0, find_line_ends(text))
        begins_row, broken = self._find_rows(text, bounds, is_over=is_over)
        num_lines = len(begins_row)
        size = int(bounds[num_lines])
        first = np.frombuffer(text, np.uint8)[bounds[:num_lines]]
        lines = np.flatnonzero(begins_row & (first != ord("\n")) & (first != ord("\r")))
        bounds = np.append(bounds[lines], size)

        def read_row(row: int) -> bytes:
            return text[bounds[row] : bounds[row + 1]].rstrip(_LINE_BREAKS)

        reasons = dict.fromkeys(np.searchsorted(lines, broken).tolist(), _BROKEN)
        if self._header and self._header in text:
            again = [row for row in range(len(lines)) if read_row(row) == self._header]
            reasons |= dict.fromkeys(again, "the header once more")
        if not _is_utf8(text[:size]):  # pyarrow reports only UTF-8 of other widths
            odd = [row for row in range(len(lines)) if not _is_utf8(read_row(row))]
            others = [row for row in odd if not self._row.match(read_row(row))]
            reasons = dict.fromkeys(others, _BROKEN) | reasons
        kept, whole = list(range(len(lines))), text[:size]
        if reasons:
            kept = [row for row in kept if row not in reasons]
            whole = b"\n".join(map(read_row, kept))
        columns, widths = self._parse_cells(whole, len(kept))
        for place, width in widths.items():
            reasons[kept[place]] = f"{width} cells; expected {len(self.names)}"
        if reasons:
            is_lost = np.isin(np.arange(len(lines)), list(reasons))
            places = pa.array(np.cumsum(~is_lost) - 1, mask=is_lost)
            columns = {name: column.take(places) for name, column in columns.items()}
        lost = {row: (read_row(row), reason) for row, reason in reasons.items()}
        return CsvRows(lines, columns, lost, size, num_lines)

    def _find_rows(
        self, text: bytes, bounds: NDArray[np.intp], *, is_over: bool
    ) -> tuple[NDArray[np.bool_], list[int]]:
        """Return which lines begin a row, up to one that needs more text, and the lost ones."""
        begins_row, lost = np.ones(len(bounds) - 1, bool), []
        next_line = 0
        for line in self._find_odd_lines(text, bounds):
            if line < next_line:
                continue
            start = int(bounds[line])
            if row := self._row.match(text, start):
                next_line = int(np.searchsorted(bounds[1:], row.end(), side="right")) + 1
                begins_row[line + 1 : next_line] = False
            elif (
                is_over
                or len(text) - start > _MAX_QUOTED_BYTES
                or not self._open.match(text, start)
            ):
                lost.append(line)
            else:
                return begins_row[:line], lost
        return begins_row, lost

    def _find_odd_lines(self, text: bytes, bounds: NDArray[np.intp]) -> list[int]:
        """Return the lines at whose end quotes may be open: all others are a row each.

        In a plain line quotes open and close by turns, and each that opens is at the beginning
        of a cell, or right after one that closed, as one of two that are a character:

            "a","b ""c"" d"     plain
            a,"b                odd: one is left
            a,5" x,"b           odd: the first opens nothing
        """
        quote = self._dialect.quote.encode()
        if not quote or quote not in text:
            return []
        data = np.frombuffer(text, np.uint8)
        quotes = np.flatnonzero(data == quote[0])
        firsts = np.searchsorted(quotes, bounds)  # the first at or after each line's beginning
        counts = np.diff(firsts)
        opens = np.arange(len(quotes)) % 2 == np.repeat(firsts[:-1] % 2, counts)
        may_open = np.zeros(256, bool)  # after this byte
        may_open[[quote[0], ord(self._delimiter), *_LINE_BREAKS]] = True
        wrong = quotes[opens & ~may_open[data[quotes - 1]]]
        is_odd = counts % 2 == 1
        is_odd[np.searchsorted(bounds, wrong, side="right") - 1] = True
        found: list[int] = np.flatnonzero(is_odd).tolist()
        return found

    def _parse_cells(
        self, text: bytes, count: int
    ) -> tuple[dict[str, pa.BinaryArray], dict[int, int]]:
        """Parse so many rows; return their cells, and the widths of rows of another width."""
        if not count:
            return {name: pa.array([], pa.binary()) for name in self.names}, {}
        widths: dict[int, int] = {}

        def skip(row: Any) -> str:
            widths[row.number - 1] = row.actual_columns
            return "skip"

        table = arrow_csv.read_csv(
            pa.BufferReader(codecs.BOM_UTF8 + text),  # pyarrow skips one, which may be of a cell
            read_options=arrow_csv.ReadOptions(
                use_threads=False, block_size=len(text) + 4, column_names=self.names
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self._delimiter,
                quote_char=self._dialect.quote or False,
                newlines_in_values=True,
                invalid_row_handler=skip,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(self.names, pa.binary()),
                null_values=[""],  # in every type alike
                strings_can_be_null=True,
            ),
        )
        if table.num_rows + len(widths) != count:
            raise DataError(f"pyarrow finds {table.num_rows:,} rows where {count:,} are.")
        cells = [column.combine_chunks() for column in table.columns]
        return dict(zip(self.names, cells, strict=True)), widths


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def find_line_ends(text: bytes) -> NDArray[np.intp]:
    """Return where the lines of a text end, whatever their line breaks are."""
    data = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(data == ord("\n")) + 1
    if b"\r" in text:
        returns = np.flatnonzero(data == ord("\r")) + 1
        ends = np.union1d(ends, returns[np.append(data, 0)[returns] != ord("\n")])
    return ends if not text or text.endswith((b"\n", b"\r")) else np.append(ends, len(text))

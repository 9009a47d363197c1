"""CSV: rows and quotes by a small scanner, cells as text by pyarrow, types by one try-cast.

pyarrow alone lets a quote that is never closed swallow the rest of a file as one valid row,
fails a file for one line that is too long, and skips empty lines without counting them.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from pyarrow import csv as arrow_csv

from v3io_frames_put._encode.layouts import is_bytes
from v3io_frames_put.errors import ConfigError, DataError
from v3io_frames_put.jobs._cast import (
    BLOCK_BYTES,
    BYTE_ORDER_MARK,
    MAX_LINE_BYTES,
    Piece,
    cast_text,
    show_bytes,
)
from v3io_frames_put.jobs._json_lines import lose_line, skip_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from v3io_frames_put.jobs._files import InputFile

_MAX_QUOTED_BYTES: Final = 8 << 20  # a row with quotes that are not closed until then is lost
_LEAST_BYTES: Final = 1 << 12  # looked at after a row that is lost
_LINE_BREAKS: Final = b"\r\n"
_OTHER_DELIMITERS: Final = ";\t|"
_SEP: Final = re.compile(rb"sep=(.)\r?\n?")  # the first line of what Excel writes
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
    """How CSV is written; the options of ``publish``.

    Attributes
    ----------
    delimiter : str or None
        Between cells, or "tab". None: a comma, in ``.tsv`` a tab.
    quote : str
        Around cells that hold delimiters or line breaks. Empty: no quotes.
    csv_encoding : str
        Of the text.
    header : bool
        Whether the first row names the columns; else they are f0, f1, ...
    skip_lines : int
        Lines before the header.
    decimal_point : str
        Of numbers.
    all_text : bool
        Whether every column is text.
    """

    delimiter: str | None = None
    quote: str = '"'
    csv_encoding: str = "utf-8"
    header: bool = True
    skip_lines: int = 0
    decimal_point: str = "."
    all_text: bool = False

    def __post_init__(self) -> None:
        if self.delimiter in ("tab", "\\t"):
            object.__setattr__(self, "delimiter", "\t")
        for name, least in (("delimiter", 1), ("quote", 0), ("decimal_point", 1)):
            value = getattr(self, name)
            is_symbol = isinstance(value, str) and least <= len(value) <= 1 and value.isascii()
            if not (is_symbol and value not in ("\r", "\n")) and not (
                name == "delimiter" and value is None
            ):
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

    @property
    def is_utf8(self) -> bool:
        """Whether the text is UTF-8 already."""
        return codecs.lookup(self.csv_encoding).name in ("utf-8", "utf-8-sig")


class _Decoded:
    """A stream of text in another encoding, as UTF-8."""

    def __init__(self, stream: Any, encoding: str) -> None:
        self._stream, self._decoder = stream, codecs.getincrementaldecoder(encoding)(_MARKED)
        self._is_over = False

    def read(self, size: int) -> bytes:
        """Read some bytes; none at the end alone."""
        text = ""
        while not (text or self._is_over):
            raw = self._stream.read(size)
            self._is_over = not raw
            text = self._decoder.decode(raw, final=self._is_over)
        return text.encode("utf-8", "surrogatepass")


class _Rows(NamedTuple):
    """Whole rows of a block: where each ends, and what is wrong with it."""

    ends: NDArray[np.intp]
    is_open: bool  # whether quotes are open at the end of the block
    cells: NDArray[np.intp]
    is_malformed: NDArray[np.bool_]  # text follows quotes that are closed
    breaks: NDArray[np.intp]  # where lines end

    def head(self, count: int) -> _Rows:
        """Return the first rows only."""
        ends, cells, is_malformed = self.ends[:count], self.cells[:count], self.is_malformed[:count]
        return self._replace(ends=ends, cells=cells, is_malformed=is_malformed, is_open=False)


class _Text:
    """Text on its way through the scanner: what was read, and not taken yet.

    Parameters
    ----------
    stream
        Text in UTF-8, read piece by piece.
    block_bytes : int
        How much is looked at, unless a row is longer.
    skip_lines : int
        Lines to leave out at the beginning.
    """

    def __init__(self, stream: Any, block_bytes: int, skip_lines: int) -> None:
        self.line = 1  # that the text begins in
        self._stream, self._block_bytes, self._to_skip = stream, block_bytes, skip_lines
        self._rest, self._room = b"", block_bytes
        self._is_begun = self._is_over = False
        self._failure: Exception | None = None

    def read(self) -> tuple[bytes, bool]:
        """Return the text to look at, and whether the last row ends with it."""
        while not self._is_over and (len(self._rest) < self._room or not self._is_begun):
            try:
                fresh = self._stream.read(self._block_bytes)
            except (OSError, EOFError) as error:  # what was read before it comes first
                fresh, self._failure = b"", error
            self._is_over, self._rest = not fresh, self._rest + fresh
            if not self._is_begun and (self._is_over or len(self._rest) >= len(BYTE_ORDER_MARK)):
                self._rest, self._is_begun = self._rest.removeprefix(BYTE_ORDER_MARK), True
        while self._to_skip and (end := _line_end(self._rest)):
            self._to_skip -= 1
            self.take(end)
        is_whole = self._is_over and self._failure is None and not self._to_skip
        return self._rest[: self._room], is_whole and len(self._rest) <= self._room

    def take(self, size: int) -> None:
        """Go past rows; look at more the next time."""
        self.line += _count_lines(self._rest[:size])
        self._rest = self._rest[size:]
        self._room = min(self._block_bytes, self._room * 2)

    def take_line(self) -> bytes | None:
        """Go past a line, and look at little the next time; None: it is too long to be held."""
        end = _line_end(self._rest)
        line = self._rest[: end or len(self._rest)]
        is_held = len(line) <= MAX_LINE_BYTES
        self._rest = self._rest[len(line) :] if end or is_held else skip_line(self._stream)
        self.line, self._room = self.line + 1, min(self._block_bytes, _LEAST_BYTES)
        return line if is_held else None

    def grow(self) -> bool:
        """Look at more the next time; False: there is no more. Raises what reading ran into."""
        if self._is_over and self._room >= len(self._rest):
            if self._failure is not None:
                raise self._failure
            return False
        self._room = min(self._room * 4, MAX_LINE_BYTES + 1)
        return True


class CsvFile:
    """A file of comma-separated values.

    Parameters
    ----------
    file : InputFile
        The file.
    dialect : Dialect
        How it is written.
    """

    num_rows = None
    is_text = True
    is_lines = False
    index: tuple[str, ...] = ()

    def __init__(self, file: InputFile, dialect: Dialect, block_bytes: int = BLOCK_BYTES) -> None:
        self._file, self._dialect, self._block_bytes = file, dialect, block_bytes
        self.position = 0
        self._delimiter = (dialect.delimiter or file.delimiter).encode()
        self._quote = dialect.quote.encode()
        self._names: list[str] = []
        self._header: bytes | None = None
        self.notes: list[str] = []
        first = next((piece for piece in self._read() if piece.columns), None)
        self.schema = pa.schema([])
        if first is not None:
            self.schema = pa.schema([(n, self._infer(n, first)) for n in self._names])

    # -- rows -----------------------------------------------------------------------------

    def pieces(self, names: Sequence[str], _schema: pa.Schema) -> Iterator[Piece]:
        """Yield columns of the file as text, in blocks."""
        for piece in self._read():
            piece.columns = {name: piece.columns[name] for name in names if name in piece.columns}
            yield piece

    def _read(self) -> Iterator[Piece]:
        """Yield rows of all columns, in blocks; learns the names from the header."""
        is_begun = False
        with self._file.open_text() as raw:
            stream = raw if self._dialect.is_utf8 else _Decoded(raw, self._dialect.csv_encoding)
            for found in self._scan(_Text(stream, self._block_bytes, self._dialect.skip_lines)):
                self.position = raw.position
                if isinstance(found, Piece):
                    if not is_begun:
                        raise DataError(f"its first row: {found.lost[0][1]}. Correct it.")
                    yield found
                elif is_begun:
                    yield self._parse(*found)
                else:
                    text, line, rows = found
                    skip = self._take_header(text, rows)
                    is_begun = bool(self._names)
                    text, line = text[skip:], line + _count_lines(text[:skip])
                    if is_begun and text:
                        yield self._parse(text, line, self._find_rows(text, is_whole=True))

    def _scan(self, text: _Text) -> Iterator[tuple[bytes, int, _Rows] | Piece]:
        """Yield blocks of whole rows with the line they begin in, and rows that are lost.

        A row over several lines that has another number of cells than the header, text after
        its closing quotes, or quotes that are never closed, is lost with its first line alone:
        reading goes on with the next line. So an unclosed quote costs no other row.
        """
        while True:
            part, is_whole = text.read()
            rows = self._find_rows(part, is_whole=is_whole)
            broken = self._find_broken(rows)
            end = int(rows.ends[broken - 1]) if broken else 0
            if end:
                yield part[:end], text.line, rows.head(broken)
                text.take(end)
            if broken < len(rows.ends) or (not end and _is_lost(rows, part, is_whole=is_whole)):
                number, line = text.line, text.take_line()
                if line is None:
                    yield lose_line(part, number)
                else:
                    reason = "quotes that are not closed, or other cells than the header"
                    yield _lose(line, number, reason)
            elif not end and not text.grow():
                return

    def _find_broken(self, rows: _Rows) -> int:
        """Return the first row over several lines that is not what it should be."""
        if not self._quote or not len(rows.ends):
            return len(rows.ends)
        starts = np.append(0, rows.ends[:-1])
        inside = np.searchsorted(rows.breaks, rows.ends - 1) - np.searchsorted(rows.breaks, starts)
        is_broken = rows.is_malformed | ((rows.cells != len(self._names)) & bool(self._names))
        broken = np.flatnonzero(is_broken & (inside > 0))
        return int(broken[0]) if len(broken) else len(rows.ends)

    def _find_rows(self, text: bytes, *, is_whole: bool) -> _Rows:
        """Find the rows of a text that begins with one.

        As in Python's reader, a quote begins a quoted part only where a cell begins, and two
        of them inside are one of its characters: so of quotes in a row an even number changes
        nothing.
        """
        data = np.frombuffer(text, np.uint8) if text else np.zeros(0, np.uint8)
        breaks = np.flatnonzero(data == ord("\n"))
        if b"\r" in text:
            returns = np.flatnonzero(data == ord("\r"))
            alone = returns[data[np.minimum(returns + 1, len(data) - 1)] != ord("\n")]
            if not is_whole:  # the next byte may be a line feed
                alone = alone[alone < len(data) - 1]
            breaks = np.union1d(breaks, alone)
        cells = np.flatnonzero(data == self._delimiter[0])
        ends, is_open, malformed = breaks, False, np.zeros(0, np.intp)
        if self._quote and self._quote in text:
            changes, is_quoted = self._find_quoted(text)
            state = np.append([False], is_quoted)
            ends = breaks[~state[np.searchsorted(changes, breaks, side="right")]]
            cells = cells[~state[np.searchsorted(changes, cells, side="right")]]
            is_open = bool(state[-1])
            closed = changes[~is_quoted & state[:-1]]
            closed = closed[closed < len(data)]
            malformed = closed[~_is_any(data[closed], self._delimiter + _LINE_BREAKS)]
        ends = ends + 1
        if is_whole and not is_open and (ends[-1] if len(ends) else 0) < len(text):
            ends = np.append(ends, len(text))
        counts = np.diff(np.searchsorted(cells, ends), prepend=0) + 1
        is_malformed = np.diff(np.searchsorted(malformed, ends), prepend=0) > 0
        return _Rows(ends, is_open, counts, is_malformed, breaks)

    def _find_quoted(self, text: bytes) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Return the ends of quotes that begin or end a quoted part, and whether one begins."""
        data = np.frombuffer(text, np.uint8)
        starts = np.flatnonzero(data == self._quote[0])
        ends = starts + 1
        is_first = np.append(True, starts[1:] > ends[:-1])
        starts, ends = starts[is_first], ends[np.append(is_first[1:], True)]
        is_odd = (ends - starts) & 1 == 1
        starts, ends = starts[is_odd], ends[is_odd]
        may_begin = (starts == 0) | _is_any(data[starts - 1], _LINE_BREAKS + self._delimiter)
        # They begin and end by turns, from each one on that cannot begin any.
        number = np.arange(len(starts))
        turns = number - np.maximum.accumulate(np.where(may_begin, -1, number))
        return ends, turns & 1 == 1

    # -- cells ----------------------------------------------------------------------------

    def _parse(self, text: bytes, line: int, rows: _Rows) -> Piece:
        """Parse whole rows; those with other cells than the header are lost."""
        starts = np.append(0, rows.ends[:-1])
        numbers = line + np.searchsorted(rows.breaks, starts)
        is_empty = np.zeros(len(starts), bool)
        for row in np.flatnonzero(rows.ends - starts <= len(_LINE_BREAKS)).tolist():
            is_empty[row] = not text[starts[row] : rows.ends[row]].strip(_LINE_BREAKS)
        is_lost = (rows.cells != len(self._names)) & ~is_empty
        lost = {
            row: f"{rows.cells[row]} cells; expected {len(self._names)}"
            for row in np.flatnonzero(is_lost).tolist()
        }
        if self._header is not None and len(self._names) > 1 and self._header in text:
            for row in np.flatnonzero(~is_lost).tolist():
                if text[starts[row] : rows.ends[row]].rstrip(_LINE_BREAKS) == self._header:
                    is_lost[row], lost[row] = True, "the header once more"
        kept = ~is_empty & ~is_lost
        if not kept.all():
            parts = zip(starts[kept].tolist(), rows.ends[kept].tolist(), strict=True)
            whole = b"".join(text[start:end] for start, end in parts)
        else:
            whole = text[: rows.ends[-1]]
        columns = self._parse_cells(whole, self._names, int(kept.sum()))
        given = np.flatnonzero(~is_empty)
        if is_lost.any():
            places = np.cumsum(kept) - 1
            taken = pa.array(np.where(is_lost, -1, places)[given], mask=is_lost[given])
            columns = {name: column.take(taken) for name, column in columns.items()}
        place_of = {row: place for place, row in enumerate(given.tolist())} if lost else {}
        return Piece(
            columns,
            numbers[given].astype(np.int64),
            {
                place_of[row]: (
                    show_bytes(text[starts[row] : rows.ends[row]].rstrip(_LINE_BREAKS)),
                    why,
                )
                for row, why in lost.items()
            },
        )

    def _parse_cells(self, text: bytes, names: list[str], count: int) -> dict[str, pa.Array]:
        if not count:
            return {name: pa.array([], pa.binary()) for name in names}
        marked = BYTE_ORDER_MARK + text if text.startswith(BYTE_ORDER_MARK) else text
        numbered = [str(number) for number in range(len(names))]  # names may be anything
        table = arrow_csv.read_csv(
            pa.BufferReader(marked),
            read_options=arrow_csv.ReadOptions(
                use_threads=False, block_size=len(marked) + 1, column_names=numbered
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self._delimiter.decode(),
                quote_char=self._quote.decode() or False,
                newlines_in_values=True,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(numbered, pa.binary())
            ),
        )
        if table.num_rows != count:
            raise DataError(f"pyarrow finds {table.num_rows:,} rows where {count:,} are.")
        columns = [pa.concat_arrays(column.chunks) for column in table.columns]
        return dict(zip(names, map(_without_empty, columns), strict=True))

    # -- header and types -----------------------------------------------------------------

    def _take_header(self, text: bytes, rows: _Rows) -> int:
        """Learn the names from the first row that is not empty; return where the data begins."""
        start = len(text) - len(text.lstrip(_LINE_BREAKS))
        row = int(np.searchsorted(rows.ends, start, side="right"))
        if row == len(rows.ends):
            return 0
        header = text[start : rows.ends[row]].rstrip(_LINE_BREAKS)
        if not self._names:
            self._check_header(header, int(rows.cells[row]))
            names = header.decode().split(self._delimiter.decode())
            if self._quote and self._quote in header:
                cells = self._parse_cells(
                    header + b"\n", [str(n) for n in range(rows.cells[row])], 1
                )
                names = [(cell[0].as_py() or b"").decode() for cell in cells.values()]
            self._names = names if self._dialect.header else [f"f{n}" for n in range(len(names))]
        if not self._dialect.header:
            return 0
        self._header = header
        return int(rows.ends[row])

    def _check_header(self, header: bytes, cells: int) -> None:
        """Refuse a header that shows that the file is written in another way."""
        try:
            text = header.decode()
        except UnicodeDecodeError as error:
            guess = "utf-16" if header.startswith((b"\xff\xfe", b"\xfe\xff")) else "cp1252"
            raise DataError(
                f"its first row is not {self._dialect.csv_encoding}: {error.reason}. Say which "
                f"encoding it has, for example csv_encoding={guess!r} (--csv-encoding {guess})."
            ) from None
        if self._dialect.delimiter is not None or cells > 1:
            return
        skip = ""
        if excel := _SEP.fullmatch(header):
            other = excel[1].decode()
            skip = ", skip_lines=1 (--skip-lines 1)"
        else:
            other = max(_OTHER_DELIMITERS, key=text.count)
            if other not in text:
                return
        shown = "'\\t'" if other == "\t" else repr(other)
        raise DataError(
            f"its first row is one cell: {text[:60]!r}. Read it with delimiter={shown} "
            f"(--delimiter {shown if other != chr(9) else 'tab'}){skip}; if it is one column, with "
            f"delimiter=',' (--delimiter ,)."
        )

    def _infer(self, name: str, piece: Piece) -> pa.DataType:
        """Return the type that every cell of the first block is written as, or text."""
        cells = piece.columns.get(name)
        given = None if cells is None else cells.drop_null()
        if given is None or not len(given):
            return pa.null()  # another file may show it
        if self._dialect.all_text:
            return pa.string()
        few: tuple[int, str] | None = None
        for dtype in _INFERRED:
            _, bad = self.cast(name, given, dtype, is_asked=False)
            if bad is None and not (pt.is_floating(dtype) and _count_whole(given) == len(given)):
                self._note_whole(name, given, dtype)
                return dtype
            if (
                bad is not None
                and bad.true_count <= len(given) * _FEW
                and (few is None or bad.true_count < few[0])
            ):
                few = bad.true_count, show_bytes(given.filter(bad)[0].as_py())
        if few is not None:
            self.notes.append(
                f"column {name!r} is text: {few[0]:,} of {len(given):,} cells are not written as "
                f"numbers, the first is {few[1]!r}"
            )
        return pa.string()

    def _note_whole(self, name: str, cells: pa.BinaryArray, dtype: pa.DataType) -> None:
        if pt.is_floating(dtype):
            whole = _count_whole(cells)
            if whole:
                self.notes.append(
                    f"column {name!r} is double: {whole:,} whole numbers are sent as 1.0"
                )

    def cast(
        self,
        name: str,  # noqa: ARG002 - others need it
        cells: pa.BinaryArray,
        dtype: pa.DataType,
        *,
        is_asked: bool,
    ) -> tuple[pa.Array, pa.BooleanArray | None]:
        """Cast text; bytes that are not in the file's encoding do not fit."""
        if is_bytes(dtype):
            return cells.cast(dtype), None
        odd = None
        try:
            text = cells.cast(pa.string())
        except pa.ArrowInvalid:
            odd = pa.array([cell is not None and not _is_utf8(cell) for cell in cells.to_pylist()])
            text = pc.if_else(odd, None, cells).cast(pa.string())
        point = self._dialect.decimal_point
        cast, bad = cast_text(text, dtype, is_strict=not is_asked, point=point)
        return cast, bad if odd is None else odd if bad is None else pc.or_(odd, bad)

    @staticmethod
    def show(cell: pa.Scalar) -> str:
        """Return the text of a cell that does not fit."""
        try:
            marked = cell.as_py().decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return show_bytes(cell.as_py())
        return re.sub("[\udc00-\udcff]", lambda byte: f"\\x{ord(byte[0]) & 0xFF:02x}", marked)


def _count_whole(cells: pa.BinaryArray) -> int:
    return int(pc.sum(pc.match_substring_regex(cells.cast(pa.string()), r"^-?[0-9]+$")).as_py())


def _is_lost(rows: _Rows, part: bytes, *, is_whole: bool) -> bool:
    """Tell whether the row that begins a block, and ends nowhere in it, is given up."""
    if rows.is_open:
        return is_whole or len(part) > _MAX_QUOTED_BYTES
    return len(part) > MAX_LINE_BYTES


def _is_utf8(cell: bytes) -> bool:
    try:
        cell.decode()
    except UnicodeDecodeError:
        return False
    return True


def _lose(text: bytes, line: int, reason: str) -> Piece:
    return Piece({}, np.array([line]), {0: (show_bytes(text.rstrip(_LINE_BREAKS)), reason)})


def _without_empty(column: pa.BinaryArray) -> pa.BinaryArray:
    """Make empty cells null, in every type alike."""
    is_empty = pc.equal(pc.binary_length(column), 0)
    return pc.if_else(is_empty, None, column) if is_empty.true_count else column


def _line_end(text: bytes) -> int:
    """Return where the first line ends; 0: nowhere."""
    feed = text.find(b"\n")
    carriage = text.find(b"\r", 0, feed if feed >= 0 else len(text))
    if carriage >= 0 and carriage + 1 != feed:
        return carriage + 1 if carriage + 1 < len(text) else 0
    return feed + 1


def _count_lines(text: bytes) -> int:
    """Count line breaks of any kind."""
    count = text.count(b"\n")
    return count + text.count(b"\r") - text.count(b"\r\n") if b"\r" in text else count


def _is_any(data: NDArray[np.uint8], characters: bytes) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = data == characters[0]
    for one in characters[1:]:
        found |= data == one
    return found

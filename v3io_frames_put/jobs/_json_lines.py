"""JSON Lines: lines as they are, or columns with types where a format needs those."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._encode.json_lines import LINE, decode_lines
from v3io_frames_put._encode.layouts import is_bytes, is_list, is_text
from v3io_frames_put.errors import DataError
from v3io_frames_put.jobs._cast import (
    BLOCK_BYTES,
    BYTE_ORDER_MARK,
    MAX_LINE_BYTES,
    Piece,
    cast_text,
    show_bytes,
)
from v3io_frames_put.jobs._where import MEMBER_TYPES, member_column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from v3io_frames_put.jobs._files import InputFile, TextStream

LINE_FIELD: Final = pa.field(LINE, pa.binary(), metadata={"v3io_holds": "json-lines"})
"""The column of lines that are sent as they are, also in a file of failed rows."""

_BLANKS: Final = " \t\r\n"  # white space of JSON
_NUMBERS: Final = (int, float)
_MOST: Final = 10**300
_KEPT_BYTES: Final = 1_000  # of a line that is too long
_INVALID: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])


def read_lines(stream: TextStream, block_bytes: int = BLOCK_BYTES) -> Iterator[Piece]:
    """Yield the lines of a file that hold anything, without surrounding white space."""
    rest, first = b"", 1
    is_first = True
    while True:
        fresh = stream.read(block_bytes)
        rest += fresh
        if is_first and fresh and len(rest) < len(BYTE_ORDER_MARK):
            continue
        if is_first:
            rest, is_first = rest.removeprefix(BYTE_ORDER_MARK), False
        end = rest.rfind(b"\n") + 1 if fresh else len(rest)
        if end:
            piece, count = _split_lines(rest[:end], first)
            first, rest = first + count, rest[end:]
            yield piece
        if not fresh:
            return
        if len(rest) > MAX_LINE_BYTES:
            yield lose_line(rest, first, LINE)
            rest, first = skip_line(stream), first + 1


def lose_line(text: bytes, number: int, column: str | None = None) -> Piece:
    """Return the one row of a line that is too long to be held."""
    columns = {} if column is None else {column: pa.array([text[:_KEPT_BYTES]], pa.binary())}
    lost = {0: (show_bytes(text[:_KEPT_BYTES]), f"a line longer than {MAX_LINE_BYTES:,} bytes")}
    return Piece(columns, np.array([number]), lost)


def skip_line(stream: TextStream) -> bytes:
    """Read past the end of a line; return what follows it."""
    while fresh := stream.read(BLOCK_BYTES):
        end = fresh.find(b"\n") + 1
        if end:
            return fresh[end:]
    return b""


def _split_lines(text: bytes, first: int) -> tuple[Piece, int]:
    """Return the lines of a block with their numbers, and how many lines it has."""
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1
    if not len(ends) or ends[-1] < len(text):
        ends = np.append(ends, len(text))
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    lines = pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(text))
    lines = pc.ascii_trim(lines, _BLANKS).view(pa.binary())
    numbers = np.arange(first, first + len(ends))
    is_given = pc.greater(pc.binary_length(lines), 0)
    if is_given.true_count < len(lines):
        lines, numbers = lines.filter(is_given), numbers[is_given.to_numpy(zero_copy_only=False)]
    return Piece({LINE: lines}, numbers), len(ends)


def clean_lines(lines: pa.Array) -> pa.BinaryArray:
    """Return lines without the line breaks that whoever mended one may have put in it."""
    if is_text(lines.type):  # of a file of failed rows
        lines = pc.replace_substring_regex(lines.cast(pa.string()), r"[\r\n]", " ")
    return lines.cast(pa.binary())


class _TextFile:
    """A file of JSON objects, one a line."""

    num_rows = None
    is_text = True
    is_lines = False
    index: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, file: InputFile, block_bytes: int = BLOCK_BYTES) -> None:
        self._file, self._block_bytes = file, block_bytes
        self.position = 0
        with file.open_text() as stream:
            found = (piece.columns[LINE] for piece in read_lines(stream) if not piece.lost)
            self._sample: pa.BinaryArray = next(found, _NO_LINES)
            self._is_whole = not stream.read(1)
        if len(self._sample) and self._sample[0].as_py()[:1] == b"[":
            raise DataError(
                "a JSON array; expected one object a line. Convert it, for example by: jq -c '.[]'"
            )

    def members(self) -> tuple[set[str], bool]:
        """Return the members of the first block's lines, and whether that is all."""
        rows = (_load(_OBJECT, line) or {} for line in self._sample.to_pylist())
        return {name for row in rows for name in row}, self._is_whole

    def _lines(self) -> Iterator[Piece]:
        with self._file.open_text() as stream:
            for piece in read_lines(stream, self._block_bytes):
                self.position = stream.position
                yield piece


_NO_LINES: Final = pa.array([], pa.binary())


class LinesFile(_TextFile):
    """Lines that are sent as they are."""

    schema = pa.schema([LINE_FIELD])
    is_lines = True

    def pieces(self, _names: Sequence[str], _schema: pa.Schema) -> Iterator[Piece]:
        """Yield the lines, in blocks."""
        return self._lines()


class JsonColumnsFile(_TextFile):
    """Members as columns: their types are those of the first block's lines."""

    def __init__(self, file: InputFile, block_bytes: int = BLOCK_BYTES) -> None:
        super().__init__(file, block_bytes)
        # Values without a common type are text, as the line has them.
        columns: dict[str, list[Any]] = {}
        for line in self._sample.to_pylist():
            for name, value in (_load(_OBJECT, line) or {}).items():
                columns.setdefault(name, []).append(value)
        if len(self._sample) and not columns:
            raise DataError("no line of the first block is a JSON object. Is it JSON Lines?")
        types = {name: _infer_type(values) for name, values in columns.items()}
        self._lenient = {name for name, dtype in types.items() if dtype is None}
        self.schema = pa.schema([(name, dtype or pa.string()) for name, dtype in types.items()])

    def pieces(self, names: Sequence[str], schema: pa.Schema) -> Iterator[Piece]:
        """Yield members as JSON text, in blocks."""
        known = {*self.schema.names, *schema.names}
        for piece in self._lines():
            lines = piece.columns[LINE].to_pylist()
            rows = [_load(_MEMBERS, line) for line in lines]
            for number, row in enumerate(rows):
                if row is None:
                    if number not in piece.lost:
                        piece.lost[number] = (show_bytes(lines[number]), "not a JSON object")
                    rows[number] = {}
                elif unknown := [name for name in row if name not in known]:
                    reason = f"the member {unknown[0]!r}, which the first lines do not have"
                    advice = f"give its type by types ({unknown[0]}=string)"
                    piece.lost[number] = (show_bytes(lines[number]), f"{reason}: {advice}")
                    rows[number] = {}
            piece.columns = {
                name: pa.array([_bytes(row.get(name)) for row in rows], pa.binary())
                for name in names
            }
            yield piece

    def cast(
        self, name: str, cells: pa.BinaryArray, dtype: pa.DataType, *, is_asked: bool
    ) -> tuple[pa.Array, pa.BooleanArray | None]:
        """Cast JSON text; a value of another JSON type does not fit."""
        texts = cells.to_pylist()
        values = [None if text is None else _MEMBER.decode(text) for text in texts]
        if pt.is_nested(dtype):
            return _cast_values(values, dtype)
        if is_text(dtype) and (is_asked or name in self._lenient):
            values = [
                value if isinstance(value, str) or text is None else text.decode()
                for value, text in zip(values, texts, strict=True)
            ]
            return pa.array(values, dtype), None
        if pt.is_boolean(dtype):
            return _cast_values(values, dtype)
        is_number = pt.is_integer(dtype) or pt.is_floating(dtype) or pt.is_decimal(dtype)
        kind = (int, float) if is_number else str
        fits = [isinstance(value, kind) and not isinstance(value, bool) for value in values]
        wanted: list[Any] = [
            (text.decode() if is_number else value) if is_fit else None
            for is_fit, text, value in zip(fits, texts, values, strict=True)
        ]
        cast, bad = cast_text(pa.array(wanted, pa.string()), dtype)
        odd = pa.array([not f and value is not None for f, value in zip(fits, values, strict=True)])
        if odd.true_count:
            bad = odd if bad is None else pc.or_(odd, bad)
        return cast, bad

    @staticmethod
    def show(cell: pa.Scalar) -> str:
        """Return the text of a cell that does not fit."""
        return show_bytes(cell.as_py())


_MEMBER: Final = msgspec.json.Decoder(Any)


def _bytes(value: msgspec.Raw | None) -> bytes | None:
    text = None if value is None else bytes(value)
    return None if text == b"null" else text


def _load(decoder: msgspec.json.Decoder[Any], line: bytes) -> Any:
    try:
        line.decode()
        return decoder.decode(line)
    except _INVALID:
        return None


def _infer_type(values: list[Any]) -> pa.DataType | None:
    """Return the type of the first value, with room for all of its kind; None: there is none."""
    values = [value for value in values if value is not None]
    if not values:
        return pa.null()
    kinds = _NUMBERS if type(values[0]) in _NUMBERS else (type(values[0]),)
    values = [value for value in values if type(value) in kinds]
    try:
        if all(type(value) is int for value in values) and max(values) >= 2**63:
            return pa.array(values, pa.uint64()).type
        return pa.infer_type(values)
    except (pa.ArrowException, OverflowError):
        return None


def _cast_values(values: list[Any], dtype: pa.DataType) -> tuple[pa.Array, pa.BooleanArray | None]:
    fits = [_fits(value, dtype) for value in values]
    try:
        found = pa.array([v if fit else None for v, fit in zip(values, fits, strict=True)], dtype)
    except (pa.ArrowException, OverflowError):  # a number that is too large: one by one
        fits = [_can_hold(value, dtype) for value in values]
        found = pa.array([v if fit else None for v, fit in zip(values, fits, strict=True)], dtype)
    return found, None if all(fits) else pa.array([not fit for fit in fits])


def _can_hold(value: Any, dtype: pa.DataType) -> bool:
    try:
        pa.scalar(value, dtype)
    except (pa.ArrowException, OverflowError):
        return False
    return _fits(value, dtype)


def _fits(value: Any, dtype: pa.DataType) -> bool:  # noqa: PLR0911 - one return a kind
    """Tell whether a JSON value has the shape of a type, and members that it does not lose."""
    if value is None:
        return True
    if pt.is_struct(dtype):
        types = {field.name: field.type for field in dtype}
        return isinstance(value, dict) and all(
            name in types and _fits(item, types[name]) for name, item in value.items()
        )
    if is_list(dtype):
        return isinstance(value, list) and all(_fits(item, dtype.value_type) for item in value)
    if is_text(dtype) or is_bytes(dtype):
        return isinstance(value, str)
    if pt.is_boolean(dtype):
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if isinstance(value, int) and pt.is_floating(dtype):
        return abs(value) < _MOST and float(value) == value
    return isinstance(value, int) or pt.is_floating(dtype)


class Members:
    """Reads the members that a condition compares, as a column for each JSON type.

    Parameters
    ----------
    schema : Schema
        What the condition reads.
    """

    def __init__(self, schema: pa.Schema) -> None:
        names = dict.fromkeys(name.rpartition("\n")[0] for name in schema.names if "\n" in name)
        fields = {f"m{number}": name for number, name in enumerate(names)}
        line = msgspec.defstruct("Line", [(field, Any, None) for field in fields], rename=fields)
        self._fields, self._names, self._missing = fields, set(schema.names), line()
        self._decoder = msgspec.json.Decoder(line)

    def read(self, lines: pa.BinaryArray) -> tuple[dict[str, pa.Array], set[int]]:
        """Return the columns, and the lines that are not objects."""
        try:
            rows = decode_lines(self._decoder, lines)
        except _INVALID:
            rows = None
        if rows is None:
            rows = [_load(self._decoder, line or b"") for line in lines.to_pylist()]
        invalid = {number for number, row in enumerate(rows) if row is None}
        columns = {}
        for field, name in self._fields.items():
            values = [getattr(row or self._missing, field) for row in rows]
            for kind, dtype in MEMBER_TYPES.items():
                column = member_column(name, kind)
                if column in self._names:
                    columns[column] = pa.array(map(_OF_KIND[kind], values), dtype)
        return columns, invalid


def _whole(value: Any) -> int | None:
    is_whole = type(value) is int and -(2**63) <= value < 2**63
    return value if is_whole else None


def _real(value: Any) -> float | None:
    if type(value) is float:
        return value
    is_long = type(value) is int and _whole(value) is None
    return math.copysign(math.inf if abs(value) > _MOST else abs(value), value) if is_long else None


_OF_KIND: Final[Mapping[str, Callable[[Any], Any]]] = {
    "bool": lambda value: value if type(value) is bool else None,
    "int": _whole,
    "float": _real,
    "text": lambda value: value if type(value) is str else None,
    "given": lambda value: value is not None,
}

"""Lines of JSON that are sent as they are.

A line is validated once and is the record's data; what routes it is read from its members.
With ``columns``, members are picked, their text unchanged. Where a member occurs twice, the
last counts. For what needs columns with types, members are cast from their text.
"""

from __future__ import annotations

from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from .casts import cast_text, try_cast
from .columns import INTERNAL, Selection
from .json_encoder import format_name, write_cells
from .layouts import blank, is_list, is_text, to_numpy
from .records import Encoder, binary_sizes
from .rejections import shorten
from .sources import Column, Reader, StreamSource, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from .rejections import RejectionLog

LINE: Final = "line"
"""The column that holds the lines, without surrounding white space."""

FILE: Final = INTERNAL + "file"
"""Column of what is read: the file of a row, as a dictionary."""
FILE_ROW: Final = INTERNAL + "file_row"
"""Column of what is read: a row's place in its file, from 1; of text, its first line."""

MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
"""Decodes a line to its members as they are written."""

_BLANKS: Final = " \t\r\n"  # white space of JSON
_SHOWN_BYTES: Final = 240  # that may be characters of a message
_INVALID: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class LineSource(StreamSource):
    """A stream of lines in the column ``LINE``, and columns beside it: ``FILE``, ``FILE_ROW``."""

    def __init__(
        self, schema: pa.Schema, batches: Callable[[list[int]], Iterator[pa.RecordBatch]]
    ) -> None:
        super().__init__(schema, batches)
        self._beside = [self.open(schema.names.index(name)) for name in (FILE, FILE_ROW)]

    def describe(self, row: int) -> str:
        """Name the file and line of a row that was read just now."""
        file, line = (place.read(row, row + 1, 1)[0].as_py() for place in self._beside)
        return f"{file}, line {line:,}"


class _Member(NamedTuple):
    """A member that an option names."""

    name: str
    option: str


class LineSelection(Selection):
    """The columns of lines: those beside them, else their members, which any name may be."""

    source: LineSource

    def __init__(self, source: Any) -> None:
        super().__init__(source)
        self.line = self.add_position(source.names.index(LINE))
        self.members: dict[int, _Member] = {}

    def add_name(self, name: str, option: str) -> Column:
        """Read the column, or else the member, of that name."""
        if name in self.source.names and name != LINE:
            return super().add_name(name, option)
        # Nulls, which the encoder replaces by what it parses.
        column = self.add(Reader(lambda start, stop: pa.nulls(stop - start), None), name)
        self.members[column.number] = _Member(name, option)
        return column

    def add_data(self, columns: Sequence[Any] | None, *, index: bool) -> list[Column]:
        """Read the members that go into Data, in order; by default the lines."""
        return [self.line] if columns is None else super().add_data(columns, index=index)


class LineEncoder(Encoder):
    """Hands on lines, or picks their members and columns beside them."""

    row_bytes = 64

    def __init__(self, selection: LineSelection, columns: Sequence[Column]) -> None:
        self._selection = selection
        self._picked = [] if columns == [selection.line] else list(columns)
        picked = {column.name for column in self._picked if column.number in selection.members}
        names = list(dict.fromkeys(member.name for member in selection.members.values()))
        self._fields = {name: f"m{number}" for number, name in enumerate(names)}
        # Raw members keep their text; an empty one is missing.
        fields = [
            (self._fields[name], msgspec.Raw, msgspec.Raw())
            if name in picked
            else (self._fields[name], Any, None)
            for name in names
        ]
        rename = {field: name for name, field in self._fields.items()}
        line = msgspec.defstruct("Line", fields, rename=rename, gc=False)
        self._missing = line()
        self._decoder = msgspec.json.Decoder(line)

    def encode(self, window: Window, log: RejectionLog) -> pa.BinaryArray:
        """Return the lines or what is picked of them; fill in the members that route them."""
        lines = window.columns[self._selection.line.number]
        rows = self._decode(lines, window.first_row, log)
        for number, member in self._selection.members.items():
            if member.option != "columns":
                values = list(map(attrgetter(self._fields[member.name]), rows))
                window.columns[number] = _as_column(values, member.option)
        return self._pick(window, rows) if self._picked else pc.fill_null(lines, b"")

    def _decode(self, lines: pa.BinaryArray, first_row: int, log: RejectionLog) -> list[Any]:
        """Parse each line; refuse those that are not one JSON object each."""
        rows, errors = parse_lines(self._decoder, lines)
        for row, error in errors.items():
            rows[row] = self._missing
            line = lines[row].as_py() or b""
            where = self._selection.source.describe(first_row + row)
            shown = shorten(repr(line[:_SHOWN_BYTES].decode("utf-8", "replace")))
            detail = f"{where}: not a JSON object ({error}): {shown}. Correct the line."
            log.add(row, "UnencodableValue", detail)
        return rows

    def _pick(self, window: Window, rows: list[Any]) -> pa.BinaryArray:
        """Make an object of some members of each row, in the order of ``columns``."""
        parts: list[tuple[bytes, list[bytes]]] = []
        for column in self._picked:
            if column.number in self._selection.members:
                field = self._fields[column.name]
                values = [bytes(getattr(row, field)) for row in rows]
            else:
                cells = write_cells(window.columns[column.number])
                values = cells.cast(pa.binary()).to_pylist()
            parts.append((format_name(column.name), values))
        texts = []
        for row in range(len(rows)):
            members = [name + values[row] for name, values in parts if values[row]]
            texts.append(b"{" + b",".join(members) + b"}")
        return pa.array(texts, pa.binary())


def split_lines(text: bytes) -> pa.BinaryArray:
    """Return the lines of a text without the white space around each."""
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1
    if not len(ends) or ends[-1] < len(text):
        ends = np.append(ends, len(text))
    offsets = np.append(0, ends).astype(np.int32)
    lines = pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(text))
    return pc.ascii_trim(lines, _BLANKS).view(pa.binary())


def parse_lines(
    decoder: msgspec.json.Decoder[Any], lines: pa.BinaryArray
) -> tuple[list[Any], dict[int, Exception]]:
    """Parse lines; None for each that is not one JSON object, with what is wrong with it."""
    try:
        rows = _parse_at_once(decoder, lines)
    except _INVALID:
        rows = None
    if rows is not None:
        return rows, {}
    rows = []
    errors: dict[int, Exception] = {}
    for number, line in enumerate(pc.fill_null(lines, b"").to_pylist()):
        try:
            line.decode()
            rows.append(decoder.decode(line))
        except _INVALID as error:  # noqa: PERF203 - every line is judged alone
            rows.append(None)
            errors[number] = error
    return rows, errors


def _parse_at_once(decoder: msgspec.json.Decoder[Any], lines: pa.BinaryArray) -> list[Any] | None:
    """Parse lines by one call; None where not every line is one object.

    The decoder sees one text in which objects may share a line or span some. But in valid
    JSON no object begins right after another inside of a third: if each line begins and ends
    with a brace, then objects end where lines do, and as many objects as lines are one each.
    """
    if lines.null_count or not len(lines):
        return None if len(lines) else []
    everything = pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines)
    text = pc.binary_join(everything, b"\n")[0].as_buffer()
    lengths = binary_sizes(lines)
    ends = np.cumsum(lengths + 1) - 1
    symbols = np.frombuffer(text, np.uint8)
    if not lengths.all() or (symbols[ends - lengths] != ord("{")).any():
        return None
    if (symbols[ends - 1] != ord("}")).any():
        return None
    str(text, "utf-8")  # the decoder looks at no text that it skips
    rows = decoder.decode_lines(text)
    return rows if len(rows) == len(lines) else None


def _as_column(values: list[Any], option: str) -> pa.Array | np.ndarray:
    """Return values as an Arrow column where their types allow it, else as objects."""
    types = set(map(type, values)) - {type(None)}
    if not types:
        return pa.nulls(len(values))
    if types == {str} and option != "shard":
        return pa.array(values, pa.string())
    if types == {int} and option != "client_info":
        try:
            return pa.array(values, pa.int64())
        except OverflowError:
            pass
    if msgspec.Raw in types:
        return _as_column([decode_member(value) for value in values], option)
    objects = np.empty(len(values), object)
    objects[:] = values
    return objects


def decode_member(raw: msgspec.Raw | None) -> Any:
    """Return the value of a member, or None; a number that no float holds is infinite."""
    text = bytes(raw or b"")
    try:
        return msgspec.json.decode(text) if text else None
    except msgspec.DecodeError:  # of a list or an object, somewhere in it
        return float(text) if text[0] in b"-0123456789" else [text]


# -- members as columns --------------------------------------------------------------------------

_JSON_TYPES: Final = (  # for a type: how the JSON text of its values begins, and their Python type
    (pt.is_integer, "[-0-9]", int),
    (pt.is_floating, "[-0-9]", int | float),
    (pt.is_decimal, '[-0-9"]', Decimal),  # text, too: many write them so
    (pt.is_boolean, "[tf]", bool),
    (is_text, '"', str),
)


def take_member(rows: Sequence[Any], name: str) -> pa.BinaryArray:
    """Return the JSON text of a member in each row; null where it is null or missing."""
    texts = (bytes(row[name]) if row and name in row else b"null" for row in rows)
    return pa.array([None if text == b"null" else text for text in texts], pa.binary())


def cast_json(
    cells: pa.BinaryArray, dtype: pa.DataType, *, is_any: bool = False
) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Cast JSON text, as ``casts.cast_cells``; a value of another JSON type does not fit.

    ``is_any``: as text, any value fits, as it is written.
    """
    if pt.is_nested(dtype):
        return _cast_nested(cells, dtype)
    begins = next((begins for is_kind, begins, _ in _JSON_TYPES if is_kind(dtype)), '"')
    if is_any and is_text(dtype):
        begins = ""
    fits = pc.match_substring_regex(cells, f"^{begins}")
    bad = to_numpy(pc.invert(fits).fill_null(False))  # noqa: FBT003 - Arrow's signature
    texts = blank(cells, bad)
    if not begins or '"' in begins:
        read = (
            msgspec.json.decode(text) if text and text.startswith(b'"') else text
            for text in texts.to_pylist()
        )
        texts = pa.array(read, pa.string())
    cast, invalid = cast_text(texts.cast(pa.string()), dtype)
    return cast, bad | invalid


def infer_nested(cells: pa.BinaryArray) -> pa.DataType | None:
    """Return the type that all lists or all objects have; None where there is none."""
    if not pc.all(pc.match_substring_regex(cells, r"^[\[{]")).as_py():
        return None
    try:
        values = msgspec.json.decode(b"[%b]" % b",".join(cells.drop_null().to_pylist()))
        dtype = pa.infer_type(values)
        _, bad = _cast_nested(cells, dtype)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):  # also names for msgspec
        return None
    return None if bad.any() else dtype


def _cast_nested(cells: pa.BinaryArray, dtype: pa.DataType) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Cast JSON text to lists and structs; what would lose a member does not fit."""
    decoder = msgspec.json.Decoder(list[_json_type(dtype)])  # type: ignore[misc]

    def decode(part: pa.BinaryArray) -> pa.Array:
        values = decoder.decode(b"[%b]" % b",".join(part.fill_null(b"null").to_pylist()))
        return pa.array(msgspec.to_builtins(values, builtin_types=(Decimal,)), dtype)

    return try_cast(cells, decode)


def _json_type(dtype: pa.DataType) -> Any:
    """Return the Python type of values that become those of an Arrow type, or null."""
    if is_list(dtype):
        return list[_json_type(dtype.value_type)] | None  # type: ignore[misc]
    if pt.is_struct(dtype):
        names = {f"m{number}": own.name for number, own in enumerate(dtype)}
        members = [(f"m{number}", _json_type(own.type), None) for number, own in enumerate(dtype)]
        return (
            msgspec.defstruct("Members", members, rename=names, forbid_unknown_fields=True) | None
        )
    return next((kind for is_kind, _, kind in _JSON_TYPES if is_kind(dtype)), type(None)) | None

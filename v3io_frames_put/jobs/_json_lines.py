"""JSON Lines: types from the first block of the file, rows by pyarrow's reader.

Text stays text, whatever it looks like. A block with a line that does not fit is read
again, line by line, so that this line costs its own row only; so is one with whole
numbers that a double may have changed.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
import orjson
import pyarrow as pa
from pyarrow import json as arrow_json

from v3io_frames_put.errors import DataError
from v3io_frames_put.jobs._blocks import TextBlock, read_blocks
from v3io_frames_put.jobs._fit import Piece, fit_spellings, may_be_rounded, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from v3io_frames_put.jobs._files import InputFile
    from v3io_frames_put.jobs._fit import Reading


_MAX_ODD_LINES: Final = 100  # left out before types are found in fewer lines
_IN_ROW: Final = re.compile(r"in row (\d+)")
_UINT64_END: Final = 2**64
_LONG_NUMBER: Final = re.compile(rb"\d{16}")  # orjson reads whole numbers beyond 64 bits as floats

Spelling: TypeAlias = bytes
"""A cell as the line has it: only so are all digits of a number there."""

Speller: TypeAlias = "Callable[[list[Spelling]], pa.Array]"
"""Makes text of cells."""

_NULL: Final = b"null"
# Whole numbers of any length, which int has a limit for.
_decode_exactly: Final = json.JSONDecoder(parse_int=Decimal).decode
_read_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class JsonLinesFile:
    """A file with one JSON object a line.

    Parameters
    ----------
    file : InputFile
        The file.
    """

    num_rows = None
    stored = None

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._spelt: set[str] = set()  # numbers that no type holds: text as they are spelt
        self.schema = self._infer()

    def check_type(self, _name: str, dtype: pa.DataType) -> None:
        """Raise ArrowInvalid or ArrowNotImplementedError for what JSON cannot be read as."""
        _convert(dtype, [_NULL])

    def pieces(self, names: Sequence[str], reading: Reading) -> Iterator[Piece]:
        """Yield columns of the file, in blocks; what was not text may be wanted as text."""
        if not self.schema.names:
            return
        types = {
            # It may have columns that the table has not.
            name: reading.type_of(name) if name in reading.schema.names else self._type_of(name)
            for name in self.schema.names
        }
        told = {name for name, dtype in types.items() if dtype != self._type_of(name)}
        told |= self._spelt | reading.text
        spelling = {
            name: _spell if pa.types.is_string(reading.schema.field(name).type) else _quote
            for name in names
            if name in told and pa.types.is_string(types[name])
        }
        with self._file.open_stream() as stream:
            for block in read_blocks(stream):
                yield self._read(block, names, types, spelling)

    def _type_of(self, name: str) -> pa.DataType:
        dtype = self.schema.field(name).type
        return pa.string() if pa.types.is_null(dtype) else dtype

    def _infer(self) -> pa.Schema:
        with self._file.open_stream() as stream:
            block = next(read_blocks(stream), TextBlock(b"", 1)).text
        if block.lstrip()[:1] == b"[":
            raise DataError(
                f"{self._file.name}: a JSON array; expected one object a line. Convert it, for "
                f"example by: jq -c '.[]'"
            )
        lines = [line for line in block.split(b"\n") if line.strip()]
        if not lines:
            return pa.schema([])
        lines = [line for line in lines if _parse_object(line) is not None]
        inferred = _infer_lines(lines)
        if inferred is None:
            raise DataError(f"{self._file.name}: no line is a JSON object. Is it JSON Lines?")
        doubles = {field.name for field in inferred if pa.types.is_floating(field.type)}
        whole = _find_whole(lines, doubles)
        self._spelt = {name for name, dtype in whole.items() if pa.types.is_string(dtype)}
        return pa.schema(
            [
                # Without a value it is open: another file may tell.
                f if pa.types.is_null(f.type) else (f.name, whole.get(f.name) or _settle(f.type))
                for f in inferred
            ]
        )

    def _read(
        self,
        block: TextBlock,
        names: Sequence[str],
        types: Mapping[str, pa.DataType],
        spelling: Mapping[str, Speller],
    ) -> Piece:
        if not any(speller is _quote for speller in spelling.values()):
            piece = self._read_at_once(block, names, types)
            if piece is not None:
                return piece
        return self._read_lines(block, names, types, spelling)

    def _read_at_once(
        self, block: TextBlock, names: Sequence[str], types: Mapping[str, pa.DataType]
    ) -> Piece | None:
        try:
            columns = _read_columns(block.text, types)
        except pa.ArrowInvalid:
            return None
        num_rows = len(next(iter(columns.values())))
        if not _has_lines(block.text, num_rows):  # two objects in one of them
            return None
        columns = {name: columns[name] for name in names}
        if any(map(may_be_rounded, columns.values())):
            return None
        return Piece(columns, num_rows, self._file.name)

    def _read_lines(
        self,
        block: TextBlock,
        names: Sequence[str],
        types: Mapping[str, pa.DataType],
        spelling: Mapping[str, Speller],
    ) -> Piece:
        every = enumerate(block.text.split(b"\n"), block.first_line)
        numbered = [(number, line) for number, line in every if line.strip()]
        piece = Piece({}, len(numbered), self._file.name, [number for number, _ in numbered])
        rows = [_load(line, row, piece, types) for row, (_, line) in enumerate(numbered)]
        for name in names:
            dtype = types[name]
            cells = [row.get(name, _NULL) for row in rows]
            rounded = {row for row, cell in enumerate(cells) if _is_rounded(cell, dtype)}
            fitting = [_NULL if row in rounded else cell for row, cell in enumerate(cells)]
            convert = spelling.get(name) or partial(_convert, dtype)
            piece.columns[name], bad = fit_spellings(fitting, dtype, convert)
            piece.refuse_cells(
                name, dtype, {row: _show(cells[row]) for row in sorted({*bad, *rounded})}
            )
        return piece


def _has_lines(text: bytes, count: int) -> bool:
    """Whether so many lines hold anything."""
    lines = text.count(b"\n") + (not text.endswith(b"\n"))
    if lines == count and b"}{" not in text:  # mostly; else an empty one may stand for another
        return True
    return sum(1 for line in text.split(b"\n") if line.strip()) == count


def _load(
    line: bytes, row: int, piece: Piece, types: Mapping[str, pa.DataType]
) -> dict[str, Spelling]:
    """Read a line's fields; none where it is lost."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        piece.refuse(row, f"no JSON ({error}): {shorten(line)}.")
        return {}
    if not isinstance(value, dict):
        piece.refuse(row, f"no JSON object: {shorten(line)}.")
        return {}
    unknown = [name for name in value if name not in types]
    if unknown:
        piece.refuse(
            row,
            f"the field {unknown[0]!r}, which the beginning of the file has not. Add it to the "
            f"first line, with null.",
        )
        return {}
    try:
        return {name: bytes(spelling) for name, spelling in _read_fields(line).items()}
    except RecursionError:
        piece.refuse(row, f"brackets in brackets, too deep to be read: {shorten(line)}.")
        return {}


def _parse(block: bytes, schema: pa.Schema | None = None) -> pa.Table:
    behavior = "infer" if schema is None else "error"
    return arrow_json.read_json(
        pa.BufferReader(block),
        read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(block) + 1),
        parse_options=arrow_json.ParseOptions(
            explicit_schema=schema, unexpected_field_behavior=behavior
        ),
    )


def _read_columns(text: bytes, types: Mapping[str, pa.DataType]) -> dict[str, pa.Array]:
    table = _parse(text, pa.schema([(name, _parsed_type(types[name])) for name in types]))
    columns = {name: _combine(table.column(name)) for name in types}
    changed = [name for name in types if columns[name].type != types[name]]
    return columns | {name: columns[name].cast(types[name]) for name in changed}


def _parsed_type(dtype: pa.DataType) -> pa.DataType:
    """Return what Arrow's reader reads a type as.

    It knows days as numbers alone. And it brings decimals to their scale and checks no digits
    then, so that they would have too many, or be other numbers: they need room.
    """
    if pa.types.is_decimal(dtype):
        return pa.decimal256(76, dtype.scale)
    return pa.string() if pa.types.is_date(dtype) else dtype


def _infer_lines(lines: list[bytes]) -> pa.Schema | None:
    """Infer the types of lines, but for a few that contradict the others."""
    lines = list(lines)
    for _ in range(_MAX_ODD_LINES):
        if not lines:
            return None
        try:
            return _parse(b"\n".join(lines)).schema
        except pa.ArrowInvalid as error:
            place = _IN_ROW.search(str(error))
            if place is None:
                break
            del lines[int(place[1])]
    return _infer_lines(lines[: len(lines) // 2])


def _find_whole(lines: list[bytes], names: set[str]) -> dict[str, pa.DataType]:
    """Find the fields that hold whole numbers alone, some too long for int64: their types.

    They are inferred as double, which would change them.
    """
    found = {name: pa.uint64() for name in names}
    for line in lines:
        if not found:
            break  # after the first line, mostly: it has fractions
        for name, value in (_parse_object(line) or {}).items():
            if isinstance(value, (float, str)):
                found.pop(name, None)
            elif name in found and isinstance(value, (int, Decimal)):
                fits = 0 <= value < _UINT64_END
                found[name] = found[name] if fits else pa.string()
    return found


def _parse_object(line: bytes) -> dict[str, Any] | None:
    """Read a line, long whole numbers as decimals; None where it is no object."""
    try:
        value = orjson.loads(line)
        if _LONG_NUMBER.search(line):
            value = _load_exactly(line)
    except (orjson.JSONDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _load_exactly(text: bytes) -> Any:
    return _decode_exactly(text.decode())


def _convert(dtype: pa.DataType, cells: list[Spelling]) -> pa.Array:
    """Convert cells by the reader itself, so that a cell means the same either way."""
    if not cells:
        return pa.array([], dtype)
    lines = b"\n".join(b'{"c":%b}' % cell for cell in cells)
    return _read_columns(lines, {"c": dtype})["c"]


def _spell(cells: list[Spelling]) -> pa.Array:
    """Return texts as they are, and anything else as the line has it."""
    return pa.array([orjson.loads(c) if c[:1] == b'"' else _as_text(c) for c in cells], pa.string())


def _quote(cells: list[Spelling]) -> pa.Array:
    """Return all as the line has it: text in its quotes, since a number may look the same."""
    return pa.array(map(_as_text, cells), pa.string())


def _as_text(cell: Spelling) -> str | None:
    return None if cell == _NULL else cell.decode()


def _show(cell: Spelling) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):  # more digits than int takes, or brackets
        return cell.decode()


def _is_rounded(cell: Spelling, dtype: pa.DataType) -> bool:
    """Whether a whole number in a cell would become another one."""
    is_open = pa.types.is_floating(dtype) or pa.types.is_nested(dtype)
    if not is_open or _LONG_NUMBER.search(cell) is None:
        return False
    try:
        return _has_rounded(_load_exactly(cell), dtype)
    except RecursionError:  # brackets too deep to look for a number in
        return True


def _has_rounded(value: Any, dtype: pa.DataType) -> bool:
    if isinstance(value, Decimal):
        return bool(pa.types.is_floating(dtype) and Decimal(float(value)) != value)
    if isinstance(value, dict) and pa.types.is_struct(dtype):
        return any(_has_rounded(value.get(field.name), field.type) for field in dtype)
    if isinstance(value, list) and pa.types.is_list(dtype):
        return any(_has_rounded(item, dtype.value_type) for item in value)
    return False


def _settle(dtype: pa.DataType) -> pa.DataType:
    """Return what a column of the inferred type may hold further down; times are text."""
    if pa.types.is_null(dtype) or pa.types.is_timestamp(dtype):
        return pa.string()
    if pa.types.is_list(dtype):
        return pa.list_(_settle(dtype.value_type))
    if pa.types.is_struct(dtype):
        return pa.struct([(field.name, _settle(field.type)) for field in dtype])
    return dtype


def _combine(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)

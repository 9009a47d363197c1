"""JSON Lines: lines as they are, or columns with types where a format needs those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from .._encode.json_lines import LINE, parse_lines
from .._encode.layouts import is_bytes, is_list, is_text, to_numpy
from ..errors import DataError
from ._cast import cast_text, try_cast
from ._files import BLOCK_BYTES, InputFile
from ._formats import LINE_FIELD, Piece, Reader, show_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


_BLANKS: Final = " \t\r\n"  # white space of JSON
_LARGEST: Final = 10**300  # whole number that is compared with a float
_STRINGS: Final = msgspec.json.Decoder(list[str | None])
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class LinesReader(Reader):
    """Lines that are sent as they are."""

    is_text = is_lines = True

    def __init__(self, file: InputFile, block_bytes: int = BLOCK_BYTES) -> None:
        super().__init__(file)
        self.schema = pa.schema([LINE_FIELD])
        self._block_bytes = block_bytes
        self._learn(self._read_sample()[0])

    def _learn(self, sample: pa.BinaryArray) -> None:
        if len(sample) and sample[0].as_py().startswith(b"["):
            raise DataError(
                "a JSON array; expected one object a line. Convert it, for example by: jq -c '.[]'"
            )

    def _read_sample(self) -> tuple[pa.BinaryArray, bool]:
        """Return the lines of the first block, and whether they are all."""
        pieces = self._read(BLOCK_BYTES)
        lines = (piece.columns[LINE] for piece in pieces if not piece.invalid)
        return next(lines, pa.array([], pa.binary())), next(pieces, None) is None

    def members(self) -> tuple[set[str], bool]:
        """Return the members of the first block's lines, and whether that is all."""
        sample, is_whole = self._read_sample()
        return {name for row in parse_lines(_OBJECT, sample)[0] for name in row or ()}, is_whole

    def pieces(self, _names: Sequence[str], _schema: pa.Schema) -> Iterator[Piece]:
        """Yield the lines that hold anything, without surrounding white space."""
        return self._read(self._block_bytes)

    def _read(self, block_bytes: int) -> Iterator[Piece]:
        first = 1
        for block in self.file.read_blocks(block_bytes):
            self.position = block.position
            if block.is_cut:
                piece = self.reject_line(first, block.text)
                piece.columns[LINE] = pa.array([block.text], pa.binary())
                yield piece
                first += 1
            else:
                lines = _split_lines(block.text)
                given = pc.indices_nonzero(pc.binary_length(lines))
                kept = lines if len(given) == len(lines) else lines.take(given)
                yield Piece(self.unit, first + given.to_numpy().astype(np.int64), {LINE: kept})
                first += len(lines)


def _split_lines(text: bytes) -> pa.BinaryArray:
    """Return the lines of a text without the white space around each."""
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1
    if not len(ends) or ends[-1] < len(text):
        ends = np.append(ends, len(text))
    offsets = np.append(0, ends).astype(np.int32)
    lines = pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(text))
    return pc.ascii_trim(lines, _BLANKS).view(pa.binary())


class JsonColumnsReader(LinesReader):
    """Members as columns: their types are those of the first block's lines."""

    is_lines = False

    def _learn(self, sample: pa.BinaryArray) -> None:
        super()._learn(sample)
        columns: dict[str, list[Any]] = {}
        for row in parse_lines(_OBJECT, sample)[0]:
            for name, value in (row or {}).items():
                columns.setdefault(name, []).append(value)
        if len(sample) and not columns:
            raise DataError("no line of the first block is a JSON object. Is it JSON Lines?")
        types = {name: _infer_type(values) for name, values in columns.items()}
        self._mixed = {name for name, dtype in types.items() if dtype is None}
        self.schema = pa.schema([(name, dtype or pa.string()) for name, dtype in types.items()])

    def pieces(self, names: Sequence[str], schema: pa.Schema) -> Iterator[Piece]:
        """Yield members as JSON text, in blocks."""
        known = {*self.schema.names, *schema.names}
        for piece in self._read(self._block_bytes):
            lines = piece.columns[LINE]
            rows, _ = parse_lines(_MEMBERS, lines)
            for number, row in enumerate(rows):
                if row is None:
                    reason = "not a JSON object"
                elif unknown := [name for name in row if name not in known]:
                    reason = f"the member {unknown[0]!r}, which the first lines do not have: give "
                    reason += f"its type by types ({unknown[0]}=string)"
                else:
                    continue
                rows[number] = {}
                if number not in piece.invalid:
                    piece.reject_row(number, lines[number].as_py(), reason)
            piece.columns = {
                name: pa.array([_text_of(row.get(name)) for row in rows], pa.binary())
                for name in names
            }
            yield piece

    def cast(
        self, name: str, cells: pa.BinaryArray, dtype: pa.DataType, *, is_asked: bool
    ) -> tuple[pa.Array, NDArray[np.bool_]]:
        """Cast JSON text; a value of another JSON type does not fit."""
        if pt.is_nested(dtype):
            values = [_decode(text) for text in cells.to_pylist()]
            fitting = [value if _fits(value, dtype) else None for value in values]
            cast, bad = try_cast(fitting, lambda part: pa.array(part, dtype))
        else:
            wanted = self._read_texts(name, cells, dtype, is_asked=is_asked)
            is_strict = pt.is_boolean(dtype)  # a number is not one
            cast, bad = cast_text(wanted, dtype, is_strict=is_strict)
        return cast, bad | to_numpy(pc.and_(cells.is_valid(), cast.is_null()))

    def _read_texts(
        self, name: str, cells: pa.BinaryArray, dtype: pa.DataType, *, is_asked: bool
    ) -> pa.StringArray:
        """Return strings for types that are written as such, else other values as written."""
        is_string = pc.starts_with(cells, '"')
        others = pc.if_else(is_string, None, cells).cast(pa.string())
        if not (is_text(dtype) or is_bytes(dtype) or pt.is_temporal(dtype)):
            return others
        quoted = pc.if_else(is_string, cells, b"null").fill_null(b"null").to_pylist()
        strings = pa.array(_STRINGS.decode(b"[%b]" % b",".join(quoted)), pa.string())
        is_any = is_text(dtype) and (is_asked or name in self._mixed)
        return pc.coalesce(strings, others) if is_any else strings

    def show(self, cell: pa.Scalar) -> str:
        """Return the text of a cell that does not fit."""
        return show_bytes(cell.as_py())


def _text_of(value: msgspec.Raw | None) -> bytes | None:
    text = None if value is None else bytes(value)
    return None if text == b"null" else text


def _infer_type(values: list[Any]) -> pa.DataType | None:
    """Return the type of the first value, with room for all of its kind; None: there is none."""
    values = [value for value in values if value is not None]
    if not values:
        return pa.null()
    kinds = (int, float) if type(values[0]) in (int, float) else (type(values[0]),)
    values = [value for value in values if type(value) in kinds]
    try:
        if all(type(value) is int for value in values) and max(values) >= 2**63:
            return pa.array(values, pa.uint64()).type
        return pa.infer_type(values)
    except (pa.ArrowException, OverflowError):
        return None


def _decode(text: bytes | None) -> Any:
    """Return the value of JSON text; None: it is null, or no number that Python holds."""
    try:
        return None if text is None else msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None


def _fits(value: Any, dtype: pa.DataType) -> bool:
    """Return whether a JSON value has the shape of a type, and members that it does not lose."""
    if value is None:
        return True
    if pt.is_struct(dtype):
        types = {field.name: field.type for field in dtype}
        return isinstance(value, dict) and all(
            name in types and _fits(item, types[name]) for name, item in value.items()
        )
    if is_list(dtype):
        return isinstance(value, list) and all(_fits(item, dtype.value_type) for item in value)
    if pt.is_floating(dtype) and type(value) is int:
        return abs(value) < _LARGEST and float(value) == value
    kinds = ((pt.is_integer, int), (pt.is_floating, float), (pt.is_boolean, bool), (is_text, str))
    return any(is_kind(dtype) and type(value) is kind for is_kind, kind in kinds)

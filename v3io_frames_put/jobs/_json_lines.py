"""JSON Lines: lines as they are, or columns with types where a format needs those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from .._encode.json_lines import LINE, parse_lines
from .._encode.layouts import is_bytes, is_list, is_text
from ..errors import DataError
from ._cast import cast_text, try_cast
from ._files import BLOCK_BYTES, MAX_LINE_BYTES, InputFile
from ._formats import LINE_FIELD, Piece, Reader, show_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


_BLANKS: Final = " \t\r\n"  # white space of JSON
_TOO_LONG: Final = f"a line longer than {MAX_LINE_BYTES:,} bytes"
_LARGEST: Final = 10**300  # whole number that is compared with a float
_VALUES: Final = msgspec.json.Decoder(list[Any])
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
                line = pa.array([block.text], pa.binary())
                piece = Piece(self.unit, np.array([first]), {LINE: line})
                piece.reject_row(0, block.text, _TOO_LONG)
                first += 1
            else:
                lines = _split_lines(block.text)
                numbers = np.arange(first, first + len(lines))
                first += len(lines)
                is_given = pc.greater(pc.binary_length(lines), 0)
                if is_given.true_count < len(lines):
                    lines = lines.filter(is_given)
                    numbers = numbers[is_given.to_numpy(zero_copy_only=False)]
                piece = Piece(self.unit, numbers, {LINE: lines})
            yield piece


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
        texts = cells.to_pylist()
        values = _VALUES.decode(b"[%b]" % b",".join(text or b"null" for text in texts))
        if is_text(dtype) and (is_asked or name in self._mixed):  # other values as they are written
            pairs = zip(texts, values, strict=True)
            values = [text and (v if isinstance(v, str) else text.decode()) for text, v in pairs]
            return pa.array(values, dtype), np.zeros(len(cells), bool)
        if not (pt.is_temporal(dtype) or pt.is_decimal(dtype) or is_bytes(dtype)):
            return _cast_values(values, dtype)
        if pt.is_decimal(dtype):  # from the digits
            pairs = zip(texts, values, strict=True)
            wanted = [text.decode() if type(v) in (int, float) else None for text, v in pairs]
        else:
            wanted = [value if isinstance(value, str) else None for value in values]
        cast, bad = cast_text(pa.array(wanted, pa.string()), dtype)
        pairs = zip(wanted, values, strict=True)
        return cast, bad | [text is None and value is not None for text, value in pairs]

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


def _cast_values(values: list[Any], dtype: pa.DataType) -> tuple[pa.Array, NDArray[np.bool_]]:
    kind = _kind_of(dtype)
    fits = [True] * len(values)
    if kind is None or not set(map(type, values)) <= {kind, type(None)}:
        fits = [_fits(value, dtype) for value in values]
        values = [value if is_fit else None for value, is_fit in zip(values, fits, strict=True)]
    cast, bad = try_cast(values, lambda part: pa.array(part, dtype))
    return cast, bad | ~np.array(fits, bool)


def _kind_of(dtype: pa.DataType) -> type | None:
    """Return what Python has for the JSON values of a type; None: they are nested."""
    kinds = ((pt.is_integer, int), (pt.is_floating, float), (pt.is_boolean, bool), (is_text, str))
    return next((kind for is_kind, kind in kinds if is_kind(dtype)), None)


def _fits(value: Any, dtype: pa.DataType) -> bool:
    """Return whether a JSON value has the shape of a type, and members that it does not lose."""
    kind = _kind_of(dtype)
    if value is None or type(value) is kind:
        return True
    if kind is float and type(value) is int:
        return abs(value) < _LARGEST and float(value) == value
    if pt.is_struct(dtype):
        types = {field.name: field.type for field in dtype}
        return isinstance(value, dict) and all(
            name in types and _fits(item, types[name]) for name, item in value.items()
        )
    if is_list(dtype):
        return isinstance(value, list) and all(_fits(item, dtype.value_type) for item in value)
    return False

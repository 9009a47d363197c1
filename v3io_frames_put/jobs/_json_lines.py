"""JSON Lines: lines as they are, or columns with types where a format needs those."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from .._encode.json_lines import LINE, parse_lines
from .._encode.layouts import is_bytes, is_list, is_text
from ..errors import DataError
from ._cast import cast_cells, try_cast
from ._formats import LINE_FIELD, Piece, Reader, reject_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ._files import InputFile


_BLANKS: Final = " \t\r\n"  # white space of JSON
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class LinesReader(Reader):
    """Lines that are sent as they are."""

    is_text = is_lines = True

    def __init__(self, file: InputFile) -> None:
        super().__init__(file)
        self.schema = pa.schema([LINE_FIELD])
        self._learn(self._read_sample()[0])

    def _learn(self, sample: pa.BinaryArray) -> None:
        if len(sample) and sample[0].as_py().startswith(b"["):
            raise DataError(
                "a JSON array; expected one object a line. Convert it, for example by: jq -c '.[]'"
            )

    def _read_sample(self) -> tuple[pa.BinaryArray, bool]:
        """Return the lines of the first block, and whether they are all."""
        pieces = self._read()
        lines = (piece.columns[LINE] for piece in pieces if not piece.invalid)
        return next(lines, pa.array([], pa.binary())), next(pieces, None) is None

    def members(self) -> tuple[set[str], bool]:
        """Return the members of the first block's lines, and whether that is all."""
        sample, is_whole = self._read_sample()
        return {name for row in parse_lines(_OBJECT, sample)[0] for name in row or ()}, is_whole

    def pieces(self, _names: Sequence[str], _schema: pa.Schema) -> Iterator[Piece]:
        """Yield the lines that hold anything, without surrounding white space."""
        return self._read()

    def _read(self) -> Iterator[Piece]:
        first = 1
        for block in self.file.read_blocks():
            self.position = block.position
            if block.is_cut:
                piece = reject_line(first, block.text)
                piece.columns[LINE] = pa.array([block.text], pa.binary())
                yield piece
                first += 1
            else:
                lines = _split_lines(block.text)
                given = pc.indices_nonzero(pc.binary_length(lines))
                kept = lines if len(given) == len(lines) else lines.take(given)
                yield Piece(first + given.to_numpy().astype(np.int64), {LINE: kept})
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
    """Members as columns: their types are those that all values of the first block have."""

    is_lines = False

    def __init__(self, file: InputFile, types: Mapping[str, pa.DataType]) -> None:
        self._of_any_type = set(types)  # columns that take any value, if they are text
        super().__init__(file)

    def _learn(self, sample: pa.BinaryArray) -> None:
        super()._learn(sample)
        columns: dict[str, list[Any]] = {}
        for row in parse_lines(_OBJECT, sample)[0]:
            for name, value in (row or {}).items():
                columns.setdefault(name, []).append(value)
        if len(sample) and not columns:
            raise DataError("no line of the first block is a JSON object. Is it JSON Lines?")
        types = {name: _infer_type(values) for name, values in columns.items()}
        self._of_any_type.update(name for name, dtype in types.items() if dtype is None)
        self.schema = pa.schema([(name, dtype or pa.string()) for name, dtype in types.items()])

    def pieces(self, names: Sequence[str], schema: pa.Schema) -> Iterator[Piece]:
        """Yield members as JSON text, in blocks."""
        known = {*self.schema.names, *schema.names}
        for piece in self._read():
            lines = piece.columns[LINE]
            rows, _ = parse_lines(_MEMBERS, lines)
            for number, row in enumerate(rows):
                unknown = row and row.keys() - known
                if row is not None and not unknown:
                    continue
                reason = "not a JSON object"
                if unknown:
                    reason = f"the first lines do not have {unknown}, whose types may be given"
                rows[number] = {}
                if number not in piece.invalid:
                    piece.reject_row(number, lines[number].as_py(), reason)
            piece.columns = {
                name: pa.array(
                    [bytes(row[name]) if name in row else None for row in rows], pa.binary()
                )
                for name in names
            }
            yield piece

    def cast(
        self, name: str, cells: pa.BinaryArray, dtype: pa.DataType
    ) -> tuple[pa.Array, NDArray[np.bool_]]:
        """Cast JSON text; a value of another JSON type does not fit."""
        cells = cells.fill_null(b"null")
        if is_text(dtype) and name in self._of_any_type:
            values = [_decode_string(text) for text in cells.to_pylist()]
            return pa.array(values, dtype), np.zeros(len(cells), bool)
        found = pa.string() if pt.is_temporal(dtype) else dtype
        decoder = msgspec.json.Decoder(list[_json_type(found)])  # type: ignore[misc]

        def decode(part: pa.BinaryArray) -> pa.Array:
            values = decoder.decode(b"[%b]" % b",".join(part.to_pylist()))
            return pa.array(msgspec.to_builtins(values, builtin_types=(Decimal,)), found)

        read, bad = try_cast(cells, decode)
        cast, misfits = cast_cells(read, dtype)
        return cast, bad | misfits


def _infer_type(values: list[Any]) -> pa.DataType | None:
    """Return the type that all values have; None: there is none, and their text is sent."""
    for dtype in (None, pa.uint64()):
        # ValueError: msgspec knows no members with quotes or control characters in their names.
        with suppress(pa.ArrowException, OverflowError, ValueError):
            found = pa.array(values, dtype).type
            _json_type(found)
            return found
    return None


def _decode_string(text: bytes) -> bytes | str | None:
    """Return the value of a JSON string, and any other value as it is written."""
    if text.startswith(b'"'):
        return msgspec.json.decode(text, type=str)
    return None if text == b"null" else text


def _json_type(dtype: pa.DataType) -> Any:
    """Return the Python type of values that become those of an Arrow type, or null.

    Decoding raises for any other value, and for a member that would be lost.
    """
    if is_list(dtype):
        return list[_json_type(dtype.value_type)] | None  # type: ignore[misc]
    if pt.is_struct(dtype):
        names = {f"m{number}": own.name for number, own in enumerate(dtype)}
        members = [(f"m{number}", _json_type(own.type), None) for number, own in enumerate(dtype)]
        return (
            msgspec.defstruct("Members", members, rename=names, forbid_unknown_fields=True) | None
        )
    kinds: tuple[tuple[Any, Any], ...] = (
        (pt.is_integer, int), (pt.is_floating, int | float), (pt.is_decimal, Decimal),
        (pt.is_boolean, bool), (is_text, str), (is_bytes, str),
    )  # fmt: skip
    return next((kind for is_kind, kind in kinds if is_kind(dtype)), type(None)) | None

"""One Arrow type for a column of Python objects, decided over the whole column.

JSON spells each cell by its own value; an Arrow column has one type. It is decided
before anything is sent, and a mix that would change a value is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from v3io_frames_put._rows.json_cells import Unencodable, encode_cell, is_missing
from v3io_frames_put.config import Encoding
from v3io_frames_put.errors import UnsupportedType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from v3io_frames_put._rows.records import RejectionLog
    from v3io_frames_put._rows.source import Column

_SPELL_ALL: Final = Encoding(infinity="string")
_FAMILIES: Final[tuple[tuple[str, tuple[type, ...]], ...]] = (
    ("text", (str,)),
    ("truth", (bool, np.bool_)),
    ("float", (float,)),
    ("duration", (np.timedelta64,)),  # NumPy counts it among the integers
    ("integer", (int, np.integer)),
    ("list", (list, tuple, np.ndarray)),
    ("dict", (dict,)),
    ("bytes", (bytes, bytearray, memoryview)),
)


def decide_type(pieces: Iterable[pa.Array | np.ndarray], name: str) -> pa.DataType:
    """Return the Arrow type that holds every cell of a column unchanged.

    Raises
    ------
    UnsupportedType
        No type does; the text names the first row that differs.
    """
    family, found, row = "", pa.null(), 0
    for piece in pieces:
        for kind, at in _families(piece):
            if family and kind != family:
                _refuse(name, row + at, f"holds a {kind} where rows before hold a {family}")
            family = kind
        found = _widen(found, _infer(piece, name, row), name, row)
        row += len(piece)
    return found


def cells_to_arrow(values: pa.Array | np.ndarray, column: Column, log: RejectionLog) -> pa.Array:
    """Bring a piece of a column to its type; refuse rows with text that is no UTF-8."""
    if not isinstance(values, np.ndarray):
        is_empty = values.null_count == len(values)
        return pa.nulls(len(values), column.type) if is_empty else values
    if not pa.types.is_string(column.type):
        cells = [None if is_missing(cell) else cell for cell in values]
        return pa.array(cells, column.type, from_pandas=True)
    texts = [_encode_text(value) for value in values]
    for row, (text, value) in enumerate(zip(texts, values, strict=True)):
        if text is None and isinstance(value, str):
            detail = f"column {column.name!r} (object) holds a lone surrogate; correct it."
            log.add(row, "UnencodableValue", detail)
    return pa.array(texts, pa.binary()).cast(pa.string())


def _encode_text(value: Any) -> bytes | None:
    try:
        return value.encode() if isinstance(value, str) else None
    except UnicodeEncodeError:
        return None


def _families(piece: pa.Array | np.ndarray) -> Iterator[tuple[str, int]]:
    """Yield each new family of a piece with its first place."""
    if not isinstance(piece, np.ndarray):
        if piece.null_count < len(piece):
            yield "text", 0
        return
    seen = ""
    for place, cell in enumerate(piece):
        if is_missing(cell):
            continue
        family = next((name for name, kinds in _FAMILIES if isinstance(cell, kinds)), "")
        family = family or type(cell).__name__
        if family != seen:
            seen = family
            yield family, place


def _infer(piece: pa.Array | np.ndarray, name: str, row: int) -> pa.DataType:
    """Return the type Arrow finds for a piece, if it keeps every value."""
    if not isinstance(piece, np.ndarray):
        return piece.type if piece.null_count < len(piece) else pa.null()
    cells = [None if is_missing(cell) else cell for cell in piece]
    if any(isinstance(cell, str) for cell in cells):
        return pa.string()
    try:
        array = pa.array(cells, from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        return _refuse(name, row, f"or one soon after cannot be told ({error})")
    for place, (cell, kept) in enumerate(zip(cells, array.to_pylist(), strict=True)):
        if isinstance(cell, (list, tuple, dict, np.ndarray)) and not _is_same(cell, kept):
            _refuse(name, row + place, "holds a value that one type for all rows would change")
    return array.type


def _is_same(cell: Any, kept: Any) -> bool:
    try:
        return encode_cell(cell, _SPELL_ALL) == encode_cell(kept, _SPELL_ALL)
    except Unencodable:
        return False


def _widen(known: pa.DataType, found: pa.DataType, name: str, row: int) -> pa.DataType:
    """Return the type for both; only widths, scales and null may differ."""
    try:
        schemas = [pa.schema([("", known)]), pa.schema([("", found)])]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowTypeError:
        return _refuse(name, row, f"or one soon after is {found} where rows before are {known}")


def _refuse(name: str, row: int, reason: str) -> Any:
    advice = f"and row {row:,} {reason}. Make the column one type"
    raise UnsupportedType(column=name, dtype="object", advice=advice)

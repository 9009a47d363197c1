"""A window of columns -> JSON text, one object a row."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from v3io_frames_put._encode.json_types import (
    AS_IT_IS,
    INFINITY,
    NoEncoding,
    Writing,
    plan_writing,
    write_infinities,
)
from v3io_frames_put._encode.json_writer import (
    RowWriter,
    format_name,
    split_lines,
    write_cells,
)
from v3io_frames_put._encode.objects import encode_cells
from v3io_frames_put._encode.records import CELL_BYTES, Encoder
from v3io_frames_put.errors import UnsupportedType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from v3io_frames_put._encode.rejections import RejectionLog
    from v3io_frames_put._encode.sources import Column, Window
    from v3io_frames_put.config import Encoding

_CELLS_AT_ONCE: Final = 256  # rows between two looks at how much text there is


@dataclass(frozen=True, slots=True)
class _Member:
    """One column of a window on its way into the objects."""

    name: str
    values: pa.Array
    is_text: bool  # JSON already; else written by the native writer


class JsonEncoder(Encoder):
    """Encodes windows of the columns it was planned for, up to ``max_bytes`` of objects each."""

    def __init__(self, columns: Sequence[Column], encoding: Encoding, max_bytes: int) -> None:
        self._columns = columns
        self._writings = [_plan_column(column, encoding) for column in columns]
        self._encoding = encoding
        self._max_bytes = max_bytes
        self._writer = RowWriter()
        self.row_bytes = sum(len(column.name) + CELL_BYTES for column in columns)

    def encode(self, window: Window, log: RejectionLog) -> pa.BinaryArray:
        """Return the text of the window's rows, or of as many as fit ``max_bytes``.

        The text of a row that ``log`` rejects has no meaning.
        """
        members = [
            self._prepare(column.name, window.columns[column.number], writing, log)
            for column, writing in zip(self._columns, self._writings, strict=True)
        ]
        if not any(member.is_text for member in members):
            return self._write(members)
        num_rows = min(len(member.values) for member in members)
        return self._splice(
            [_Member(member.name, member.values[:num_rows], member.is_text) for member in members]
        )

    def _write(self, members: Sequence[_Member]) -> pa.BinaryArray:
        columns = [member.values for member in members]
        return self._writer.write(columns, [member.name for member in members])

    def _splice(self, members: Sequence[_Member]) -> pa.BinaryArray:
        """Join texts and natively written runs of columns to whole objects."""
        pieces: list[pa.BinaryArray | bytes] = []
        for is_text, run in groupby(members, attrgetter("is_text")):
            if not is_text:
                pieces += [b",", pc.binary_slice(self._write(list(run)), 1, -1)]  # without braces
                continue
            for member in run:
                pieces += [b"," + format_name(member.name), member.values.cast(pa.binary())]
        pieces[0] = b"{" + bytes(pieces[0]).removeprefix(b",")
        return pc.binary_join_element_wise(*pieces, b"}", b"")

    def _prepare(
        self, name: str, values: pa.Array | np.ndarray, writing: Writing, log: RejectionLog
    ) -> _Member:
        """Convert one column of a window for the writer, or to text; reject its invalid cells."""
        if isinstance(values, np.ndarray):
            return _Member(name, self._encode_cells(name, values, log), is_text=True)
        infinite = None
        for mask, reason in writing.check(values) if writing.check else ():
            if reason == INFINITY and self._encoding.infinity == "string":
                infinite = mask if infinite is None else infinite | mask
                continue
            for row in np.flatnonzero(mask):
                log.add(row, "UnencodableValue", _describe(name, values.type, reason))
        converted = writing.convert(values) if writing.convert else values
        if infinite is not None:
            texts = write_infinities(values, write_cells(converted), infinite)
            return _Member(name, texts, is_text=True)
        if "\0" in name:  # Arrow hands names to the writer as C strings, which end there
            return _Member(name, write_cells(converted), is_text=True)
        return _Member(name, converted, is_text=False)

    def _encode_cells(self, name: str, cells: np.ndarray, log: RejectionLog) -> pa.BinaryArray:
        """Encode Python objects; stop early where their text grows too large."""
        texts, size, stop = [], 0, 0
        while stop < len(cells) and size <= self._max_bytes:
            start, stop = stop, min(stop + _CELLS_AT_ONCE, len(cells))

            def reject(place: int, reason: str, start: int = start) -> None:
                log.add(start + place, "UnencodableValue", _describe(name, "object", reason))

            texts.append(encode_cells(cells[start:stop].tolist(), self._encoding, reject))
            size += len(texts[-1])
        return split_lines(np.frombuffer(b"".join(texts), np.uint8), stop)


def _plan_column(column: Column, encoding: Encoding) -> Writing:
    """Choose how a column is written; Python objects show their types only cell by cell."""
    if column.type is None:
        return AS_IT_IS
    try:
        return plan_writing(column.type, encoding)
    except NoEncoding as error:
        raise UnsupportedType(column=column.name, dtype=column.type, advice=f"{error}") from None


def _describe(name: str, dtype: object, reason: str) -> str:
    return f"column {name!r} ({dtype}) holds {reason}."

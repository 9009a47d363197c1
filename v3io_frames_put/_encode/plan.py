"""The plan of a run: what is read, how it is encoded, where it goes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..config import WINDOW_BYTES, Limits, RowOptions
from ..errors import ConfigError, UnsupportedType
from .arrow_rows import ArrowRows
from .columns import Selection, decide_type
from .inputs import open_source
from .json_encoder import JsonEncoder
from .json_lines import LineEncoder, LineSelection, LineSource
from .layouts import DETAIL, INVALID
from .packs import Packer
from .records import CELL_BYTES, Blocks, Encoder, Records, RowEncoder, Skip
from .rejections import InvalidCells, RejectionLog
from .routing import Router, can_be_bytes, to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from .sources import Column, Source, Window


# More rows hardly make a pack smaller per row, but leave fewer records to send side by side.
_AUTO_ROWS: Final = 1_000


@dataclass(frozen=True)
class RowPlan:
    """How rows become records."""

    num_rows: int | None  # None: unknown until read (a stream of batches)
    index: pd.Index[Any] | None  # the input's labels, for the results; None: it has none
    columns: list[Column]  # what goes into Data
    _encoder: RowEncoder
    _packer: Packer | None
    source: Source

    def records(self, skip: Skip | None = None, blocks: Blocks | None = None) -> Iterator[Records]:
        """Yield the records, window by window, in data order.

        A stream of batches can be followed once; other inputs again and again. Rows that
        are skipped are in no record and in no rejections; ``blocks`` keeps checksums of all
        rows, and raises a DataError where one differs.
        """
        records = self._encoder.records(skip, blocks)
        return records if self._packer is None else self._packer.pack(records)

    def destinations(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows that can be encoded, and their destinations; reads all of the input."""
        rows, hashes = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
        for records in self._encoder.records(None):
            rows.append(records.rows)
            given = records.destination
            hashes.append(np.zeros(len(rows[-1]), np.uint64) if given is None else given)
        return np.concatenate(rows), np.concatenate(hashes)


def plan_rows(
    data: Any,
    options: RowOptions,
    *,
    limits: Limits,
    window_bytes: int = WINDOW_BYTES,
    held_bytes: int | None = None,
) -> RowPlan:
    """Plan how the rows of a table become records.

    Reads names and types only; with ``format="arrow"`` also the whole of columns of
    Python objects, which need one type.

    Parameters
    ----------
    window_bytes : int
        About how many bytes are read, and encoded, at once.
    held_bytes : int, optional
        The ``max_in_flight_bytes`` of the run: packs by destination are gathered from
        as many bytes of rows, and no body is larger. None: ``window_bytes``, and bodies
        are as large as the limits allow.
    """
    source = open_source(data)
    selection = LineSelection(source) if isinstance(source, LineSource) else Selection(source)
    chosen = selection.add_data(options.columns, index=options.index)
    router = Router(selection, limits, options)
    encoder = _plan_encoder(options, selection, chosen, limits, window_bytes)
    packer = None
    if options.is_packed or isinstance(encoder, ArrowRows):
        packed, gathered = limits, window_bytes
        max_rows = _AUTO_ROWS if options.rows_per_record == "auto" else options.rows_per_record
        if held_bytes is not None:
            packed = replace(limits, max_body_bytes=min(limits.max_body_bytes, held_bytes))
            is_gathered = router.is_given and options.is_packed
            gathered = max(window_bytes, held_bytes) if is_gathered else window_bytes
        packer = Packer(max_rows, packed, encoder, gathered, window_bytes)
    places: dict[str, int] = {}
    for name in (INVALID, DETAIL):
        if name in source.names:
            places[name] = selection.add_position(source.names.index(name)).number
    invalid = InvalidCells(places.get(INVALID), places.get(DETAIL), source.misfits)
    row_encoder = RowEncoder(selection, router, encoder, limits, window_bytes, invalid)
    return RowPlan(source.num_rows, source.index, chosen, row_encoder, packer, source)


def _plan_encoder(
    options: RowOptions,
    selection: Selection,
    columns: list[Column],
    limits: Limits,
    window_bytes: int,
) -> Encoder:
    """Return what encodes the rows."""
    if isinstance(selection, LineSelection):
        return LineEncoder(selection, columns)
    if options.format == "raw":
        return RawEncoder(columns)
    if options.format == "json":
        return JsonEncoder(columns, options.encoding, window_bytes)
    typed = [
        column if column.type is not None else replace(column, type=decide_type(column, selection))
        for column in columns
    ]
    return ArrowRows(typed, limits.max_data_bytes, window_bytes, options.encoding.arrow_compression)


class RawEncoder(Encoder):
    """Passes the values of one column on; a missing one rejects its row."""

    row_bytes = CELL_BYTES

    def __init__(self, columns: Sequence[Column]) -> None:
        if len(columns) != 1:
            raise ConfigError(
                f"format='raw' sends one column, and {len(columns)} are chosen. "
                f"Name it with columns=[...]."
            )
        self._column = columns[0]
        dtype = self._column.type
        if dtype is not None and not can_be_bytes(dtype):
            advice = "which format='raw' cannot send. Choose a column of bytes or text"
            raise UnsupportedType(column=self._column.name, dtype=dtype, advice=advice)

    def encode(self, window: Window, log: RejectionLog) -> pa.BinaryArray:
        """Return the bytes of each row."""
        name = self._column.name
        values = to_bytes(window.columns[self._column.number], name, log)
        if not values.null_count:
            return values
        for row in pc.indices_nonzero(values.is_null()).to_pylist():
            detail = f"column {name!r} holds neither bytes nor text here."
            log.add(row, "UnencodableValue", f"{detail} Fill it, or leave the row out.")
        return pc.fill_null(values, b"")

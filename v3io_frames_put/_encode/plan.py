"""The plan of a run: what is read, how it is encoded, where it goes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from v3io_frames_put._encode.columns import Selection
from v3io_frames_put._encode.formats import FormatPlan
from v3io_frames_put._encode.inputs import open_source
from v3io_frames_put._encode.json_lines import LineEncoder, LineSelection, LineSource
from v3io_frames_put._encode.layouts import DETAIL, INVALID, InvalidCells
from v3io_frames_put._encode.packs import LineJoiner
from v3io_frames_put._encode.records import RowEncoder
from v3io_frames_put._encode.routing import Mapping
from v3io_frames_put._encode.sources import Source, StreamSource
from v3io_frames_put.config import WINDOW_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from v3io_frames_put._encode.blocks import Blocks
    from v3io_frames_put._encode.packs import Packer
    from v3io_frames_put._encode.records import Encoder, Records, Skip
    from v3io_frames_put._encode.sources import Column
    from v3io_frames_put.config import Limits, RowOptions


@dataclass(frozen=True)
class RowPlan:
    """How rows become records.

    Attributes
    ----------
    num_rows : int or None
        Rows of the input. None: unknown until read (a stream of batches).
    index : Index or None
        The input's labels, for the results. None: it has none.
    columns : list of Column
        What goes into Data: name and Arrow type, None for Python objects.
    """

    num_rows: int | None
    index: pd.Index[Any] | None
    columns: list[Column]
    _rows: RowEncoder
    _packer: Packer | None
    _source: Source

    def records(self, skip: Skip | None = None, blocks: Blocks | None = None) -> Iterator[Records]:
        """Yield the records, window by window, in data order.

        A stream of batches can be followed once; other inputs again and again.

        Parameters
        ----------
        skip : Skip, optional
            Rows to leave out. They are in no record and in no rejections.
        blocks : Blocks, optional
            Keeps checksums of the rows; raises a DataError where one differs.
        """
        windows = self._rows.windows(skip, blocks)
        return windows if self._packer is None else self._packer.pack(windows)

    def stop_reading(self) -> None:
        """Read no further batch of a stream; from any thread."""
        if isinstance(self._source, StreamSource):
            self._source.stop_reading()

    def destinations(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each row's destination, by going through all of the input once.

        Returns
        -------
        rows, destination : ndarray of int64 and of uint64
            The rows that can be encoded, and what must stay in order among itself.
        """
        windows = [(w.rows, w.destination) for w in self._rows.windows(None)]
        rows = [some for some, _ in windows]
        hashes = [np.zeros(len(some), np.uint64) if of is None else of for some, of in windows]
        nothing = np.zeros(0, np.int64)
        return np.concatenate([nothing, *rows]), np.concatenate(
            [nothing.astype(np.uint64), *hashes]
        )


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
    data : DataFrame, Table, RecordBatch, RecordBatchReader, Dataset or Arrow stream
        The rows.
    options : RowOptions
        What becomes of which column.
    limits : Limits
        What a record may hold.
    window_bytes : int
        About how many bytes are read, and encoded, at once.
    held_bytes : int, optional
        The ``max_in_flight_bytes`` of the run: packs by destination are gathered from
        as many bytes of rows, and no body is larger. None: ``window_bytes``, and bodies
        are as large as the limits allow.

    Returns
    -------
    RowPlan

    Raises
    ------
    ConfigError, ColumnNotFound, UnsupportedType
        An option or a column cannot be used. Nothing was sent.
    """
    source = open_source(data)
    is_lines = isinstance(source, LineSource)
    selection = LineSelection(source) if is_lines else Selection(source)
    chosen = selection.add_data(options.columns, index=options.index)
    mapping = Mapping(
        selection,
        limits,
        partition_key=options.partition_key,
        shard=options.shard,
        client_info=options.client_info,
    )
    packed, gathered = limits, window_bytes
    if held_bytes is not None:
        packed = replace(limits, max_body_bytes=min(limits.max_body_bytes, held_bytes))
        gathered = max(window_bytes, held_bytes) if mapping.is_given else window_bytes
    formats = FormatPlan(options, packed, window_bytes, gathered)
    if isinstance(selection, LineSelection):
        encoder: Encoder = LineEncoder(selection, chosen)
        packer = formats.packer(LineJoiner())
    else:
        encoder, packer = formats.plan(chosen, selection)
    invalid = None
    if INVALID in source.names:
        number = selection.add_position(source.names.index(INVALID)).number
        types = {column.name: column.type for column in chosen}
        invalid = InvalidCells(number, selection.add_internal(DETAIL), types)
    rows = RowEncoder(selection, mapping, encoder, limits, window_bytes, invalid)
    return RowPlan(source.num_rows, source.index, chosen, rows, packer, source)

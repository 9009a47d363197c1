"""Checksums of fixed blocks of rows: whether data that is read again is unchanged."""

from __future__ import annotations

import zlib
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._encode.layouts import to_numpy
from v3io_frames_put.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from v3io_frames_put._encode.routing import Routes


class Block(NamedTuple):
    """Consecutive rows, and the CRC-32 of what they are encoded to."""

    first_row: int
    num_rows: int
    checksum: int


class Blocks:
    """The blocks of a run: those noted before are checked, further ones noted.

    For example, a run noted rows 0 - 999 as one block and was killed. The same call again
    reads them in windows that end at row 999, and compares one checksum before any of them
    is sent; rows from 1,000 on are noted window by window.

    Blocks that are not noted yet are in ``fresh``; whoever notes one takes it out.
    """

    def __init__(self, noted: Sequence[Block] = ()) -> None:
        self.fresh: deque[Block] = deque()
        self._noted = deque(noted)
        self._pieces: list[tuple[pa.Array, Routes]] = []

    def room(self, max_rows: int) -> int:
        """Return how many of the next rows may be read at once."""
        if not self._noted:
            return max_rows
        return min(max_rows, self._noted[0].num_rows - self._rows_read())

    def take(self, first_row: int, payload: pa.Array, routes: Routes) -> bool:
        """Add the next rows, and return whether a block ended with them.

        A DataError is raised where they are not what they were.
        """
        self._pieces.append((payload, routes))
        num_rows = self._rows_read()
        if self._noted and num_rows < self._noted[0].num_rows:
            return False
        stop = first_row + len(payload)
        block = Block(stop - num_rows, num_rows, self._checksum())
        self._pieces.clear()
        if not self._noted:
            self.fresh.append(block)
        elif self._noted.popleft() != block:
            raise DataError(
                f"rows {block.first_row:,} to {stop - 1:,} are not what they were when the run "
                f"began; none of them was sent by this process. Give the data of that run."
            )
        return True

    def finish(self, num_rows: int) -> None:
        """Raise a DataError where the data ends earlier than it did."""
        if self._noted:
            more = self._noted[-1].first_row + self._noted[-1].num_rows
            raise DataError(
                f"the data ends after {num_rows:,} rows; when the run began it had {more:,} at "
                f"least. Give the data of that run."
            )

    def _rows_read(self) -> int:
        return sum(len(payload) for payload, _ in self._pieces)

    def _checksum(self) -> int:
        payloads, routes = zip(*self._pieces, strict=True)
        columns = [payloads, *zip(*(part.columns for part in routes), strict=True)]
        checksum = 0
        for pieces in columns:
            if pieces[0] is not None:
                whole = pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)
                for part in _bytes_of(whole):
                    checksum = zlib.crc32(part, checksum)
        return checksum


def _bytes_of(column: pa.Array) -> list[memoryview]:
    """Return a column as bytes that do not depend on where it was cut."""
    if pt.is_binary(column.type) or pt.is_string(column.type):
        offsets = memoryview(column.buffers()[1]).cast("i")
        first, last = offsets[column.offset], offsets[column.offset + len(column)]
        values = column.buffers()[2]
        lengths = to_numpy(pc.fill_null(pc.binary_length(column), -1))
        return [lengths.data, memoryview(values if values is not None else b"")[first:last]]
    fresh = column.take(pa.array(np.arange(len(column))))
    return [memoryview(pa.record_batch([fresh], ["rows"]).serialize())]

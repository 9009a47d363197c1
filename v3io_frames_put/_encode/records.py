"""Rows -> encoded rows: read window by window, encoded, routed and checked."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from ..errors import DataError, PutRecordsError
from .layouts import blank, take, to_numpy
from .rejections import InvalidCells, RejectionLog, Rejections, reject_invalid
from .routing import Router, Routes, hash_destinations
from .sources import MAX_ROWS, Window, read_window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..config import Limits
    from .columns import Selection


CELL_BYTES: Final = 8  # a number as text, about
# Of long values fewer are read at once: encoding takes several times as much for a moment.
# Half as many would take 1.4 times as long: a window costs its calls.
_LONG_BYTES: Final = 2**20
_MOST_AT_FAULT: Final = 32


class Encoder(ABC):
    """Turns windows into one payload a row, and the payloads of packs into their data.

    As it is for text, of which a pack is lines without a newline at the end.
    """

    row_bytes: int  # about what a row's payload takes, long values aside
    payload_type: pa.DataType = pa.binary()
    frame_bytes = 0  # what a pack has beside its rows
    separator_bytes = 1  # what each row adds to a pack beside its payload

    @abstractmethod
    def encode(self, window: Window, log: RejectionLog) -> pa.Array:
        """Return the payloads of the window's rows, or of its first ones."""

    def measure(self, payload: pa.Array) -> np.ndarray:
        """Return the bytes that each payload adds to a record's data."""
        return binary_sizes(payload)

    def join(
        self,
        payload: pa.Array,
        ends: np.ndarray,
        rooms: np.ndarray,  # noqa: ARG002 - sizes of text are exact
    ) -> tuple[pa.Array, np.ndarray]:
        """Return the data of each pack, and the packs' ends.

        ``payload`` has the rows pack after pack; ``ends`` counts the rows up to the end
        of each pack; ``rooms`` says how many bytes each may have. A pack that is too
        large is cut, so that more ends may come back.
        """
        offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
        return pc.binary_join(pa.ListArray.from_arrays(offsets, payload), b"\n"), ends


class Skip(Protocol):
    """Rows that are read, but not sent."""

    def skip_mask(self, first_row: int, num_rows: int) -> np.ndarray:
        """Return the mask of the rows to leave out, of some that follow each other."""


@dataclass(frozen=True, slots=True)
class Records:
    """Encoded records of consecutive rows, in data order.

    Every row of the window is in exactly one record or in ``rejections``, except
    those that are skipped. Packs come in the order of their first rows; those of
    one window may come in several pieces, of which only the first has a ``num_rows``
    above 0 and rejections.
    """

    first_row: int
    num_rows: int  # of the window
    data: pa.Array  # what each record holds; of rows that are not packed yet, their payloads
    sizes: np.ndarray  # of each, in bytes
    routes: Routes  # the partition key, shard and client info of each
    destination: np.ndarray | None  # a hash of shard or key; 0: neither. None: no record has one
    rows: np.ndarray  # row numbers of all records, record after record
    rejections: Rejections  # rows of the window that are in no record
    row_counts: np.ndarray | None = None  # rows in each record; None: one each

    def each(self, change: Callable[[Any], Any]) -> Records:
        """Return the rows with every column of them changed alike."""
        return replace(
            self,
            data=change(self.data),
            sizes=change(self.sizes),
            routes=self.routes.each(change),
            destination=None if self.destination is None else change(self.destination),
            rows=change(self.rows),
        )


class _Payloads(NamedTuple):
    """The first rows of a window, encoded and routed; rejected ones are in the log."""

    payload: pa.Array
    sizes: np.ndarray
    routes: Routes
    log: RejectionLog


class RowsAtFault:
    """Rejects rows for what encoding them raised, up to 32 of them.

    Whatever an encoder raises that was not foreseen (a panic of a native library, too)
    does not end the run, since it may depend on how memory was sliced, or on one cell::

        rows 0 - 99 fail        copy them, and encode the copy
        the copy fails, too     encode 0 - 49 and 50 - 99, each copied, and so on
        row 37 fails alone      reject it, with the error's text

    33 rows at fault are a fault of the encoder, and raise a DataError.
    """

    _count = 0

    def reject(self, row: int, error: BaseException) -> tuple[str, str]:
        """Return the name and the detail of a row's rejection."""
        self._count += 1
        what = f"row {row:,} cannot be encoded ({type(error).__name__}: {error})"
        if self._count > _MOST_AT_FAULT:
            raise DataError(
                f"{what}, like {_MOST_AT_FAULT} rows before it; expected none. Convert the "
                f"columns they have in common, or leave them out with columns=."
            ) from error
        return "UnencodableValue", f"{what}. Convert its cells, or leave the row out."


def is_unforeseen(error: BaseException) -> bool:
    """Return whether what was raised while rows were encoded may be a fault of single rows."""
    if isinstance(error, (MemoryError, OSError, PutRecordsError)):
        return False
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


@dataclass
class RowEncoder:
    """Reads a source window by window and encodes its rows."""

    selection: Selection
    router: Router
    encoder: Encoder
    limits: Limits
    window_bytes: int
    invalid: InvalidCells

    def records(self, skip: Skip | None, blocks: Blocks | None = None) -> Iterator[Records]:
        """Yield all rows but the skipped, in order; every row is in one window."""
        selection, row_bytes = self.selection, self.encoder.row_bytes
        max_rows = max(1, min(MAX_ROWS, self.window_bytes // row_bytes))
        max_bytes = min(self.window_bytes, max(_LONG_BYTES, max_rows * row_bytes))
        row, faults = 0, RowsAtFault()
        held: list[Records] = []  # until the block of rows that they are of is checked
        while True:
            most = max_rows if row else max(1, max_rows // 2)  # so that requests leave sooner
            room = most if blocks is None else blocks.room(most)
            window = read_window(
                selection.source, selection.readers, row, room, max_bytes, self.window_bytes
            )
            if window is None:
                break
            is_checked = True
            for done in self._encode(window, faults):
                is_checked = blocks is None or blocks.take(row, done.payload, done.routes)
                held.append(self._to_records(row, done, skip))
                row += len(done.payload)
            del window, done  # their memory is the next window's
            if is_checked:
                yield from held
                held.clear()
        if blocks is not None:
            blocks.finish(row)

    def _encode(
        self, window: Window, faults: RowsAtFault, *, is_copy: bool = False
    ) -> Iterator[_Payloads]:
        """Encode a window, or its first rows; where that fails, a copy, then its halves."""
        try:
            yield self._encode_once(window)
        except BaseException as error:
            if not is_unforeseen(error):
                raise
            if is_copy and window.num_rows == 1:
                yield self._reject(faults.reject(window.first_row, error))
                return
        else:
            return
        middle = window.num_rows // 2 if is_copy else window.num_rows
        for part in (window.slice(0, middle), window.slice(middle, window.num_rows)):
            num_rows = 0
            for done in self._encode(part.copy(), faults, is_copy=True) if part.num_rows else ():
                num_rows += len(done.payload)
                yield done
            if num_rows < part.num_rows:
                return

    def _encode_once(self, window: Window) -> _Payloads:
        log = RejectionLog()
        columns = list(window.columns)
        for number, name in enumerate(self.selection.names):
            if isinstance(columns[number], pa.Array):
                columns[number] = reject_invalid(columns[number], name, log)
        window = Window(window.first_row, window.num_rows, columns)
        payload = self.encoder.encode(window, log)
        window = window.slice(0, len(payload))
        self.invalid.refuse(window, log)
        routes = self.router.apply(window, log)
        sizes = self.encoder.measure(payload)
        for row in np.flatnonzero(sizes > self.limits.max_data_bytes):
            detail = (
                f"row {window.first_row + row:,} encodes to {sizes[row]:,} bytes; a record may "
                f"hold at most {self.limits.max_data_bytes:,}. Leave out or shorten its largest "
                f"column."
            )
            log.add(row, "DataTooLarge", detail)
        return _Payloads(payload, sizes, routes, log)

    def _reject(self, reason: tuple[str, str]) -> _Payloads:
        """Return one row that is rejected."""
        payload, log = pa.nulls(1, self.encoder.payload_type), RejectionLog({0: reason})
        return _Payloads(payload, np.zeros(1, np.int64), self.router.blank(), log)

    def _to_records(self, first_row: int, done: _Payloads, skip: Skip | None) -> Records:
        """Return the rows of a window without those that are rejected or skipped."""
        num_rows = len(done.payload)
        keep, skipped = done.log.keep(num_rows), None
        if skip is not None:
            skipped = skip.skip_mask(first_row, num_rows)
            if skipped.any():
                keep = ~skipped if keep is None else keep & ~skipped
        records = Records(
            first_row=first_row,
            num_rows=num_rows,
            rows=np.arange(first_row, first_row + num_rows),
            data=done.payload,
            sizes=done.sizes,
            routes=done.routes,
            destination=hash_destinations(done.routes.partition_key, done.routes.shard),
            rejections=done.log.close(first_row, num_rows, skipped),
        )
        if keep is None:
            return records
        places = np.flatnonzero(keep)
        return records.each(lambda column: take(column, places))


def binary_sizes(payload: pa.Array) -> np.ndarray:
    """Return the bytes of each value of a binary column."""
    return to_numpy(pc.binary_length(payload)).astype(np.int64)


# -- checksums of fixed blocks of rows: whether data that is read again is unchanged ------------


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
        columns = [payloads, *zip(*routes, strict=True)]
        checksum = 0
        for pieces in columns:
            if pieces[0] is not None:
                whole = pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)
                for part in _bytes_of(whole):
                    checksum = zlib.crc32(part, checksum)
        return checksum


def _bytes_of(column: pa.Array) -> list[memoryview]:
    """Return a column as bytes that do not depend on where it was cut, or on what nulls hide."""
    if column.null_count:
        column = blank(column, to_numpy(column.is_null()))
    if pt.is_binary(column.type) or pt.is_string(column.type):
        offsets = memoryview(column.buffers()[1]).cast("i")
        first, last = offsets[column.offset], offsets[column.offset + len(column)]
        values = column.buffers()[2]
        lengths = to_numpy(pc.fill_null(pc.binary_length(column), -1))
        return [lengths.data, memoryview(values if values is not None else b"")[first:last]]
    fresh = column.take(pa.array(np.arange(len(column))))
    return [memoryview(pa.record_batch([fresh], ["rows"]).serialize())]

"""Rows -> encoded records: read, encoded, routed, checked, and cut into windows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol, SupportsInt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from v3io_frames_put._encode.layouts import refuse_invalid, to_numpy
from v3io_frames_put._encode.routing import Routes, hash_destinations
from v3io_frames_put._encode.sources import MAX_ROWS, read_window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from v3io_frames_put._encode.blocks import Blocks
    from v3io_frames_put._encode.columns import Selection
    from v3io_frames_put._encode.layouts import InvalidCells
    from v3io_frames_put._encode.routing import Mapping
    from v3io_frames_put._encode.sources import Window
    from v3io_frames_put.config import Limits


@dataclass(frozen=True, slots=True)
class Rejections:
    """Rows refused here, each alone.

    Attributes
    ----------
    rows : ndarray of int64
        Row numbers, ascending.
    names : list of str
        The results' ``error_message``: DataTooLarge, PartitionKeyTooLong,
        ClientInfoTooLong, ShardIdInvalid or UnencodableValue.
    details : list of str
        The results' ``error_detail``: column, size, what to do.
    """

    rows: np.ndarray
    names: list[str]
    details: list[str]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class Records:
    """Encoded records of one window of consecutive rows, in data order.

    Every row of the window is in exactly one record or in ``rejections``, except
    those the caller asked to skip. Packs stand in the order of their first rows.

    Attributes
    ----------
    first_row, num_rows : int
        The window.
    data : BinaryArray
        The payload of each record; no nulls.
    partition_key : StringArray or None
        Per record, null where it has none. None: no record has one.
    shard : Int32Array or None
        Likewise.
    client_info : BinaryArray or None
        Likewise.
    rows : ndarray of int64
        Row numbers of all records, record after record.
    row_counts : ndarray of int32 or None
        Rows in each record. None: one each.
    destination : ndarray of uint64 or None
        A stable hash of the shard if given, else of the key; 0 where a record has
        neither. None: no record has one.
    rejections : Rejections
        Rows of the window that are in no record.
    """

    first_row: int
    num_rows: int
    data: pa.BinaryArray
    partition_key: pa.StringArray | None
    shard: pa.Int32Array | None
    client_info: pa.BinaryArray | None
    rows: np.ndarray
    row_counts: np.ndarray | None
    destination: np.ndarray | None
    rejections: Rejections


@dataclass(slots=True)
class RejectionLog:
    """Collects refusals of one window; the first reason of a row stands."""

    reasons: dict[int, tuple[str, str]] = field(default_factory=dict)

    def add(self, row: SupportsInt, name: str, detail: str) -> None:
        """Refuse one row of the window, counted from the window's first."""
        self.reasons.setdefault(int(row), (name, detail))

    def keep(self, num_rows: int) -> np.ndarray | None:
        """Return the mask of rows that are not refused; None when all are fine."""
        if not self.reasons:
            return None
        mask = np.ones(num_rows, dtype=bool)
        mask[list(self.reasons)] = False
        return mask

    def close(self, first_row: int, num_rows: int, skip: np.ndarray | None) -> Rejections:
        """Return what was refused among the first ``num_rows`` rows, skipped ones left out."""
        rows = sorted(
            row for row in self.reasons if row < num_rows and not (skip is not None and skip[row])
        )
        return Rejections(
            rows=np.array(rows, dtype=np.int64) + first_row,
            names=[self.reasons[row][0] for row in rows],
            details=[self.reasons[row][1] for row in rows],
        )


CELL_BYTES: Final = 8  # a number as text, about
# Of long values fewer are read at once: encoding takes several times as much for a moment.
# Half as many would take 1.4 times as long: a window costs its calls.
_LONG_BYTES: Final = 2**20


class Encoder(Protocol):
    """Turns windows into one payload a row."""

    @property
    def row_bytes(self) -> int:
        """About what a row's payload takes, long values aside."""

    def encode(self, window: Window, log: RejectionLog) -> pa.Array:
        """Return the payloads of the window's rows, or of its first ones."""

    def measure(self, payload: pa.Array) -> np.ndarray:
        """Return the bytes that each payload adds to a record's data."""


class Skip(Protocol):
    """Rows that are read, but not sent."""

    def among(self, first_row: int, num_rows: int) -> np.ndarray:
        """Return the mask of the rows to leave out, of some that follow each other."""

    def note_destinations(self, first_row: int, destination: np.ndarray | None) -> None:
        """Take the destinations of rows, those to leave out among them; None: none have one."""


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Consecutive rows with their payloads; refused and skipped ones are left out.

    Attributes
    ----------
    first_row, num_rows : int
        The window they are from.
    rows : ndarray of int64
        Row numbers of the payloads.
    payload : Array
        What the encoder made, one a row.
    sizes : ndarray of int64
        Bytes of each payload.
    """

    first_row: int
    num_rows: int
    rows: np.ndarray
    payload: pa.Array
    sizes: np.ndarray
    routes: Routes
    destination: np.ndarray | None
    rejections: Rejections


@dataclass(frozen=True)
class RowEncoder:
    """Reads a source window by window and encodes its rows."""

    selection: Selection
    mapping: Mapping
    encoder: Encoder
    limits: Limits
    window_bytes: int
    invalid: InvalidCells | None = None

    def windows(self, skip: Skip | None, blocks: Blocks | None = None) -> Iterator[EncodedRows]:
        """Yield all rows but the skipped, in order; every row is in one window."""
        row = 0
        held: list[EncodedRows] = []
        while (window := self._read(row, blocks)) is not None:
            encoded, is_checked = self._encode(window, skip, blocks)
            row += encoded.num_rows
            held.append(encoded)
            if is_checked:
                yield from held
                held.clear()
            del window, encoded  # their memory is the next window's
        if blocks is not None:
            blocks.finish(row)

    def _read(self, row: int, blocks: Blocks | None) -> Window | None:
        selection, row_bytes = self.selection, self.encoder.row_bytes
        max_rows = max(1, min(MAX_ROWS, self.window_bytes // row_bytes))
        max_bytes = min(self.window_bytes, max(_LONG_BYTES, max_rows * row_bytes))
        if blocks is not None:
            max_rows = blocks.room(max_rows)
        return read_window(selection.source, selection.readers, row, max_rows, max_bytes)

    def _encode(
        self, window: Window, skip: Skip | None, blocks: Blocks | None
    ) -> tuple[EncodedRows, bool]:
        """Encode a window, or its first rows; tell whether they are checked."""
        log = RejectionLog()
        window = refuse_invalid(window, self.selection.names, log)
        payload = self.encoder.encode(window, log)
        window = window.head(len(payload))
        if self.invalid is not None:
            self.invalid.refuse(window, log)
        routes = self.mapping.apply(window, log)
        is_checked = blocks is None or blocks.take(window.first_row, payload, routes)
        skipped = None
        if skip is not None:
            skipped = skip.among(window.first_row, window.num_rows)
            skip.note_destinations(window.first_row, _hash(routes))
        sizes = self.encoder.measure(payload)
        _refuse_large(window.first_row, sizes, self.limits.max_data_bytes, log)
        rejections = log.close(window.first_row, window.num_rows, skipped)
        keep = _keep(log, window.num_rows, skipped)
        rows = np.arange(window.first_row, window.first_row + window.num_rows)
        if keep is not None:
            rows, sizes = rows[keep], sizes[keep]
            mask = pa.array(keep)
            payload = payload.filter(mask)
            routes = routes.each(lambda column: column.filter(mask))
        encoded = EncodedRows(
            first_row=window.first_row,
            num_rows=window.num_rows,
            rows=rows,
            payload=payload,
            sizes=sizes,
            routes=routes,
            destination=_hash(routes),
            rejections=rejections,
        )
        return encoded, is_checked


def _hash(routes: Routes) -> np.ndarray | None:
    return hash_destinations(routes.partition_key, routes.shard)


def binary_sizes(payload: pa.Array) -> np.ndarray:
    """Return the bytes of each value of a binary column."""
    return to_numpy(pc.binary_length(payload)).astype(np.int64)


def _keep(log: RejectionLog, num_rows: int, skipped: np.ndarray | None) -> np.ndarray | None:
    """Return the mask of rows to go on with; None for all."""
    keep = log.keep(num_rows)
    if skipped is None or not skipped.any():
        return keep
    return ~skipped if keep is None else keep & ~skipped


def _refuse_large(first_row: int, sizes: np.ndarray, max_bytes: int, log: RejectionLog) -> None:
    for row in np.flatnonzero(sizes > max_bytes):
        detail = (
            f"row {first_row + row:,} encodes to {sizes[row]:,} bytes; a record may hold at most "
            f"{max_bytes:,}. Leave out or shorten its largest column."
        )
        log.add(row, "DataTooLarge", detail)


_ROW_BYTES: Final = 64  # what a row costs beside its payload


def recut(windows: Iterable[EncodedRows], window_bytes: int) -> Iterator[EncodedRows]:
    """Yield windows that each end right after the row that fills ``window_bytes``.

    What ``windows`` raises comes after the rows that it gave before.
    """
    gathered: list[EncodedRows] = []
    room = window_bytes
    try:
        for window in windows:
            rest, filled = window, _fill(window)
            while len(filled) and filled[-1] >= room:
                head, rest = _split(rest, int(np.searchsorted(filled, room)) + 1)
                yield _concat([*gathered, head])
                gathered, room, filled = [], window_bytes, _fill(rest)
            if rest.num_rows:
                gathered.append(rest)
                room -= int(filled[-1]) if len(filled) else 0
    except Exception:
        if gathered:
            yield _concat(gathered)
        raise
    if gathered:
        yield _concat(gathered)


def _fill(window: EncodedRows) -> np.ndarray:
    """Return how many bytes the rows take up to each one."""
    filled: np.ndarray = np.cumsum(window.sizes + _ROW_BYTES)
    return filled


def _split(window: EncodedRows, count: int) -> tuple[EncodedRows, EncodedRows]:
    """Split a window after its first ``count`` payloads."""
    end = int(window.rows[count - 1]) + 1
    stop = window.first_row + window.num_rows
    return (
        _cut(window, slice(0, count), window.first_row, end),
        _cut(window, slice(count, None), end, stop),
    )


def _cut(window: EncodedRows, part: slice, start: int, stop: int) -> EncodedRows:
    """Return the rows from ``start`` to ``stop``, whose payloads are ``part``."""
    refused = window.rejections
    inside = slice(*np.searchsorted(refused.rows, [start, stop]).tolist())
    return replace(
        window,
        first_row=start,
        num_rows=stop - start,
        rows=window.rows[part],
        payload=window.payload[part],
        sizes=window.sizes[part],
        routes=window.routes.each(lambda column: column[part]),
        destination=None if window.destination is None else window.destination[part],
        rejections=Rejections(refused.rows[inside], refused.names[inside], refused.details[inside]),
    )


def _concat(windows: Sequence[EncodedRows]) -> EncodedRows:
    """Put windows that follow each other together."""
    first = windows[0]
    if len(windows) == 1:
        return first
    destination = None
    if first.destination is not None:
        destination = np.concatenate([window.destination for window in windows])
    return EncodedRows(
        first_row=first.first_row,
        num_rows=sum(window.num_rows for window in windows),
        rows=np.concatenate([window.rows for window in windows]),
        payload=pa.concat_arrays([window.payload for window in windows]),
        sizes=np.concatenate([window.sizes for window in windows]),
        routes=_concat_routes([window.routes for window in windows]),
        destination=destination,
        rejections=_concat_rejections([window.rejections for window in windows]),
    )


def _concat_routes(routes: Sequence[Routes]) -> Routes:
    columns = zip(*((r.partition_key, r.shard, r.client_info) for r in routes), strict=True)
    return Routes(*(None if c[0] is None else pa.concat_arrays(c) for c in columns))


def _concat_rejections(rejections: Sequence[Rejections]) -> Rejections:
    return Rejections(
        np.concatenate([refused.rows for refused in rejections]),
        [name for refused in rejections for name in refused.names],
        [detail for refused in rejections for detail in refused.details],
    )

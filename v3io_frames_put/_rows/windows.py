"""Windows of encoded rows cut anew, by the bytes of their rows alone.

What a window holds decides which rows can share a pack. The windows that come in
depend on how the input was batched; those that go out do not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from v3io_frames_put._rows.encoded import EncodedRows
from v3io_frames_put._rows.mapping import Routes
from v3io_frames_put._rows.records import Rejections

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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

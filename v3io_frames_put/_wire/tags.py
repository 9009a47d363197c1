"""Tags: 16 bytes of ClientInfo that say which rows of which run a record holds.

8 bytes run id, 5 bytes first row, 3 bytes row count, big-endian (contract section 3).
They make the same record known again wherever it is read, so that what a lost answer
would have told can be looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

RUN_BYTES: Final = 8
TAG_BYTES: Final = 16
_ROW_BYTES: Final = 5
_COUNT_BYTES: Final = 3
MAX_TAGGED_ROWS: Final = 1 << (8 * _ROW_BYTES)
MAX_TAGGED_COUNT: Final = (1 << (8 * _COUNT_BYTES)) - 1


class Tag(NamedTuple):
    """Which rows of a run a record holds: ``row_count`` of its destination, from one on."""

    first_row: int
    row_count: int


def encode_tags(
    run_id: bytes, first_rows: NDArray[np.int64], row_counts: NDArray[np.int32] | None
) -> pa.BinaryArray:
    """Write the tag of each record.

    Parameters
    ----------
    run_id : bytes
        8 bytes.
    first_rows : ndarray of int64
        Each record's first row.
    row_counts : ndarray of int32, optional
        Each record's number of rows. None: one.
    """
    count = len(first_rows)
    tags = np.empty((count, TAG_BYTES), np.uint8)
    tags[:, :RUN_BYTES] = np.frombuffer(run_id, np.uint8)
    low = 8 - _ROW_BYTES
    tags[:, RUN_BYTES : RUN_BYTES + _ROW_BYTES] = _big_endian(first_rows)[:, low:]
    counts = np.ones(count, np.int64) if row_counts is None else row_counts
    tags[:, RUN_BYTES + _ROW_BYTES :] = _big_endian(counts)[:, 8 - _COUNT_BYTES :]
    offsets = np.arange(0, TAG_BYTES * (count + 1), TAG_BYTES, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(tags)]
    return pa.BinaryArray.from_buffers(pa.binary(), count, buffers)


def _big_endian(numbers: NDArray[np.int64] | NDArray[np.int32]) -> NDArray[np.uint8]:
    return numbers.astype(">u8").view(np.uint8).reshape(-1, 8)


def parse_tag(client_info: bytes | None, run_id: bytes) -> Tag | None:
    """Read a record's tag; None: it is not of this run."""
    if client_info is None or len(client_info) != TAG_BYTES or client_info[:RUN_BYTES] != run_id:
        return None
    split = RUN_BYTES + _ROW_BYTES
    first_row = int.from_bytes(client_info[RUN_BYTES:split], "big")
    return Tag(first_row, int.from_bytes(client_info[split:], "big"))

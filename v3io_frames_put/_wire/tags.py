"""Tags: the client info of ``exactly_once``, which says the rows that a record holds.

8 bytes of run id, 5 of the first row and 3 of the row count; big endian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pybase64 import b64encode

from ..config import TAG_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

RUN_BYTES: Final = 8
_ROW_BYTES: Final = 5
_COUNT_BYTES: Final = 3
_COUNT_BITS: Final = np.uint64(8 * _COUNT_BYTES)
_COUNT_MASK: Final = np.uint64((1 << (8 * _COUNT_BYTES)) - 1)
_TEXT_BYTES: Final = 24  # of a tag in Base64


class Tag(NamedTuple):
    """Which rows of a run a record holds: ``row_count`` of its destination, from one on."""

    first_row: int
    row_count: int


def format_tags(
    run_id: bytes, first_rows: NDArray[np.int64], row_counts: NDArray[np.int32] | None
) -> pa.StringArray:
    """Encode the tag of each record as Base64; ``row_counts`` None: one row each."""
    count = len(first_rows)
    # Two bytes more make six groups of three; their characters are written over.
    tags = np.zeros((count, TAG_BYTES + 2), np.uint8)
    tags[:, :RUN_BYTES] = np.frombuffer(run_id, np.uint8)
    _write_numbers(tags[:, RUN_BYTES : RUN_BYTES + _ROW_BYTES], first_rows)
    counts = np.ones(count, np.int64) if row_counts is None else row_counts
    _write_numbers(tags[:, RUN_BYTES + _ROW_BYTES : TAG_BYTES], counts)
    text = np.frombuffer(bytearray(b64encode(tags.tobytes())), np.uint8).reshape(count, _TEXT_BYTES)
    text[:, -2:] = ord("=")
    offsets = np.arange(0, _TEXT_BYTES * (count + 1), _TEXT_BYTES, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text)]
    return pa.Array.from_buffers(pa.string(), count, buffers)


def _write_numbers(
    columns: NDArray[np.uint8], numbers: NDArray[np.int64] | NDArray[np.int32]
) -> None:
    """Write the low bytes of numbers, the highest first."""
    wide = numbers.astype(">u8").view(np.uint8).reshape(-1, 8)
    columns[:] = wide[:, -columns.shape[1] :]


def parse_tag(client_info: bytes | None, run_id: bytes) -> Tag | None:
    """Parse a record's tag; None: it is not of this run."""
    if client_info is None or len(client_info) != TAG_BYTES or client_info[:RUN_BYTES] != run_id:
        return None
    split = RUN_BYTES + _ROW_BYTES
    first_row = int.from_bytes(client_info[RUN_BYTES:split], "big")
    return Tag(first_row, int.from_bytes(client_info[split:], "big"))


def number_tags(
    first_rows: NDArray[np.int64], row_counts: NDArray[np.int32] | None
) -> NDArray[np.uint64]:
    """Return the number of each tag: the last 8 of its bytes."""
    counts = np.uint64(1) if row_counts is None else row_counts.astype(np.uint64)
    numbers: NDArray[np.uint64] = first_rows.astype(np.uint64) << _COUNT_BITS | counts
    return numbers


def read_tags(
    client_info: pa.BinaryArray, run_id: bytes
) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
    """Return the positions of the records with a tag of a run, and the numbers of their tags."""
    is_as_long = pc.fill_null(pc.equal(pc.binary_length(client_info), TAG_BYTES), False)  # noqa: FBT003
    tags = np.frombuffer(b"".join(client_info.filter(is_as_long).to_pylist()), ">u8").reshape(-1, 2)
    is_ours = tags[:, 0] == int.from_bytes(run_id, "big")
    return np.flatnonzero(np.asarray(is_as_long))[is_ours], tags[is_ours, 1].astype(np.uint64)


def split_tags(numbers: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first row and the row count of tags, given their numbers."""
    return (numbers >> _COUNT_BITS).astype(np.int64), (numbers & _COUNT_MASK).astype(np.int64)

"""How many bytes rows take: the measure that keeps windows small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put._rows.arrow_types import (
    is_bytes,
    is_list,
    is_text,
    list_offsets,
    list_values,
    map_as_list,
    to_numpy,
)

_OFFSET_BYTES: Final = 8  # at most, of what has no fixed width

if TYPE_CHECKING:
    from collections.abc import Iterable


def rows_within(column: pa.ChunkedArray, max_bytes: int) -> int:
    """Return a number of leading rows that fit ``max_bytes``, at least one.

    Found by halving, so that it is up to half of the most that would fit.
    """
    num_rows = len(column)
    while num_rows > 1 and measure(column.slice(0, num_rows).chunks) > max_bytes:
        num_rows = (num_rows + 1) // 2
    return num_rows


def measure(chunks: Iterable[pa.Array]) -> int:
    """Return about how many bytes arrays take in the plain layout."""
    return sum(_measure_plain(chunk) for chunk in chunks)


def _measure_plain(array: pa.Array) -> int:
    """Return about how many bytes the values take in the plain layout."""
    if pt.is_dictionary(array.type):
        return _measure_dictionary(array)
    if pt.is_run_end_encoded(array.type):
        return len(array) * _longest(array.values)
    if pt.is_string_view(array.type) or pt.is_binary_view(array.type):
        return int(_view_lengths(array).sum())
    try:
        return int(array.nbytes)
    except (pa.ArrowTypeError, pa.ArrowNotImplementedError):  # views inside lists or structs
        return int(array.get_total_buffer_size())


def _measure_dictionary(array: pa.DictionaryArray) -> int:
    longest = _longest(array.dictionary)
    if longest < 256:  # noqa: PLR2004 - short values need no exact count
        return len(array) * longest
    lengths = pc.binary_length(array.dictionary.cast(pa.large_binary()))
    return int(pc.sum(lengths.take(array.indices)).as_py() or 0)


def _longest(values: pa.Array) -> int:
    """Return the bytes of the longest value, at least 8."""
    if not (is_text(values.type) or is_bytes(values.type)) or len(values) == 0:
        return max(8, int(values.nbytes) // max(1, len(values)))
    longest: int | None = pc.max(pc.binary_length(values.cast(pa.large_binary()))).as_py()
    return max(8, longest or 0)


def _view_lengths(array: pa.Array) -> np.ndarray:
    """Return the lengths of string or binary views, from their 16-byte heads."""
    heads = np.frombuffer(array.buffers()[1], np.int32).reshape(-1, 4)
    lengths: np.ndarray = heads[array.offset : array.offset + len(array), 0]
    return lengths


def row_sizes(array: pa.Array) -> np.ndarray:
    """Return about how many bytes each value takes, whatever its neighbors are."""
    dtype = array.type
    if isinstance(dtype, pa.BaseExtensionType):
        return row_sizes(array.storage)
    if is_text(dtype) or (is_bytes(dtype) and not pt.is_fixed_size_binary(dtype)):
        lengths = pc.fill_null(pc.binary_length(array), 0)
        return to_numpy(lengths).astype(np.int64) + _OFFSET_BYTES
    if pt.is_struct(dtype):
        children = (row_sizes(child) for child in array.flatten())
        return sum(children, start=np.zeros(len(array), np.int64))
    if pt.is_map(dtype):
        array = map_as_list(array)
    if is_list(array.type):
        offsets = to_numpy(list_offsets(array, np.int64))
        total = np.concatenate([[0], np.cumsum(row_sizes(list_values(array)))])
        sizes: np.ndarray = np.diff(total[offsets]) + _OFFSET_BYTES
        return sizes
    width = 1 if pt.is_null(dtype) else -(-dtype.bit_width // 8)
    return np.full(len(array), width, np.int64)

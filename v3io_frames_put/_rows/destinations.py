"""A stable number for each record's destination, a column at a time.

A destination is the shard if given, else the key. The number only says which
records must stay in order; two destinations that share one would merely wait for
each other, so a fast hash is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from v3io_frames_put._rows.arrow_types import to_numpy

if TYPE_CHECKING:
    import pyarrow as pa

_SEED: Final = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio
_MIXERS: Final = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))  # MurmurHash3
_SHIFT: Final = np.uint64(33)


def hash_destinations(
    keys: pa.StringArray | None, shards: pa.Int32Array | None
) -> np.ndarray | None:
    """Return a 64-bit hash per record, 0 for none; None when there are no columns for it."""
    given = keys if keys is not None else shards
    if given is None:
        return None
    hashes = np.zeros(len(given), np.uint64)
    if keys is not None:
        encoded = keys.dictionary_encode()
        # Most keys repeat within a window: each is hashed once. The last stands for null.
        distinct = np.append(_hash_texts(encoded.dictionary), np.uint64(0))
        hashes = distinct[to_numpy(encoded.indices.fill_null(len(distinct) - 1))]
    if shards is not None:
        numbers = shards.fill_null(0).to_numpy().astype(np.uint64)
        hashes = np.where(_is_given(shards), _mix(numbers + _SEED) | np.uint64(1), hashes)
    return hashes


def _is_given(values: pa.Array) -> np.ndarray:
    return to_numpy(values.is_valid())


def _hash_texts(texts: pa.StringArray) -> np.ndarray:
    """Hash each text: its bytes by powers of an odd number, then mixed; never 0."""
    if len(texts) == 0:
        return np.zeros(0, np.uint64)
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset :][: len(texts) + 1]
    start, stop = int(offsets[0]), int(offsets[-1])
    lengths = np.diff(offsets)
    if start == stop:
        return _mix(lengths.astype(np.uint64)) | np.uint64(1)
    symbols = np.frombuffer(texts.buffers()[2], np.uint8)[start:stop].astype(np.uint64)
    places = np.arange(stop - start) - np.repeat(offsets[:-1] - start, lengths)
    weighed = (symbols + np.uint64(1)) * _powers(int(lengths.max()))[places]
    sums = np.zeros(stop - start + 1, np.uint64)
    np.cumsum(weighed, out=sums[1:])  # differences are exact: arithmetic is modulo 2**64
    return _mix(sums[offsets[1:] - start] - sums[offsets[:-1] - start]) | np.uint64(1)


def _powers(count: int) -> np.ndarray:
    powers: np.ndarray = np.cumprod(np.full(count, _SEED))
    return powers


def _mix(numbers: np.ndarray) -> np.ndarray:
    """Spread every input bit over all output bits (MurmurHash3's finalizer)."""
    for mixer in _MIXERS:
        numbers = (numbers ^ (numbers >> _SHIFT)) * mixer
    mixed: np.ndarray = numbers ^ (numbers >> _SHIFT)
    return mixed

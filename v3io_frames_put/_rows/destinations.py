"""A stable number for each record's destination, a column at a time.

A destination is the shard if given, else the key. The number only says which
records must stay in order; two destinations that share one would merely wait for
each other, so a fast hash is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from v3io_frames_put._rows.arrow_types import to_numpy

if TYPE_CHECKING:
    import pyarrow as pa

_SEED: Final = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio
_MIXERS: Final = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))  # MurmurHash3
_SHIFT: Final = np.uint64(33)
_WORD_BYTES: Final = 8
_MASKS: Final = np.array([2 ** (8 * size) - 1 for size in range(_WORD_BYTES + 1)], np.uint64)


def hash_destinations(
    keys: pa.StringArray | None, shards: pa.Int32Array | None
) -> np.ndarray | None:
    """Return a 64-bit hash per record, 0 for none; None when there are no columns for it."""
    given = keys if keys is not None else shards
    if given is None:
        return None
    hashes = np.zeros(len(given), np.uint64)
    if keys is not None:
        hashes = np.where(_is_given(keys), _hash_texts(keys), hashes)
    if shards is not None:
        numbers = shards.fill_null(0).to_numpy().astype(np.uint64)
        hashes = np.where(_is_given(shards), _mix(numbers + _SEED) | np.uint64(1), hashes)
    return hashes


def _is_given(values: pa.Array) -> np.ndarray:
    return to_numpy(values.is_valid())


def _hash_texts(texts: pa.StringArray) -> np.ndarray:
    """Hash each text by its length and its bytes, eight at a time; never 0."""
    offsets = np.zeros(1, np.int32)
    if len(texts):
        offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset :][: len(texts) + 1]
    left, places = np.diff(offsets), offsets[:-1] - offsets[0]
    hashes = left.astype(np.uint64) * _MIXERS[0]
    symbols = np.zeros(offsets[-1] - offsets[0] + _WORD_BYTES, np.uint8)
    if len(symbols) > _WORD_BYTES:
        symbols[:-_WORD_BYTES] = np.frombuffer(texts.buffers()[2], np.uint8)[
            offsets[0] : offsets[-1]
        ]
    # The word that begins at each byte.
    words = np.ndarray(len(symbols) - _WORD_BYTES + 1, "<u8", symbols, strides=(1,))
    rows: Any = slice(None)
    while len(left):
        word = words[places] & _MASKS[np.minimum(left, _WORD_BYTES)]
        mixed = (hashes[rows] ^ word) * _SEED
        hashes[rows] = mixed ^ (mixed >> _SHIFT)
        longer = np.flatnonzero(left > _WORD_BYTES)
        rows = np.arange(len(texts))[rows][longer]
        left, places = left[longer] - _WORD_BYTES, places[longer] + _WORD_BYTES
    return _mix(hashes) | np.uint64(1)


def _mix(numbers: np.ndarray) -> np.ndarray:
    """Spread every input bit over all output bits (MurmurHash3's finalizer)."""
    for mixer in _MIXERS:
        numbers = (numbers ^ (numbers >> _SHIFT)) * mixer
    mixed: np.ndarray = numbers ^ (numbers >> _SHIFT)
    return mixed

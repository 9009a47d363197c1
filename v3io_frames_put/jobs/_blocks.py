"""Lines of text, block by block, each block cut where a record ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from v3io_frames_put.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BLOCK_BYTES: Final = 1 << 20
_MAX_LINE_BYTES: Final = 64 << 20
_MAX_QUOTED_BYTES: Final = 8 << 20  # no record may be so long
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"  # of a file in UTF-8, where it has one
_LINE_FEED, _LINE_BREAKS = b"\n", b"\r\n"


class TextBlock(NamedTuple):
    """Some whole records of a file, and the line they begin in, counted from 1.

    ``is_open``: the end of the file, one record with quotes that are never closed.
    """

    text: bytes
    first_line: int
    is_open: bool = False


def read_blocks(stream: Any, *, delimiter: str | None = None) -> Iterator[TextBlock]:
    """Yield a stream's text in blocks of whole records.

    Parameters
    ----------
    stream : NativeFile
        From its beginning.
    delimiter : str, optional
        What stands between the cells of CSV, where a line break in a quoted cell does not
        end a record. None: each line is a record.
    """
    rest = stream.read(len(BYTE_ORDER_MARK)).removeprefix(BYTE_ORDER_MARK)
    line = 1
    for fresh, is_last in _read_ahead(stream):
        rest += fresh
        end, is_open = _measure_block(rest, delimiter)
        if is_last and not is_open:
            end = len(rest)
        if end:
            yield TextBlock(rest[:end], line)
            line += rest.count(_LINE_FEED, 0, end)
            rest = rest[end:]
        if is_last and rest:
            yield TextBlock(rest, line, is_open=True)
        elif is_open and len(rest) > _MAX_QUOTED_BYTES:
            raise DataError(
                f"the record that begins in line {line:,} has quotes that are not closed within "
                f"{_MAX_QUOTED_BYTES:,} bytes. Close them."
            )
        elif len(rest) > _MAX_LINE_BYTES:
            raise DataError(f"line {line:,} is longer than {_MAX_LINE_BYTES:,} bytes.")


def _read_ahead(stream: Any) -> Iterator[tuple[bytes, bool]]:
    """Yield the parts of a stream, and whether each is the last; at least one."""
    part = stream.read(BLOCK_BYTES)
    while True:
        try:
            ahead = stream.read(BLOCK_BYTES)
        except Exception:
            yield part, False  # what was read before the stream broke off
            raise
        yield part, not ahead
        if not ahead:
            return
        part = ahead


def _measure_block(text: bytes, delimiter: str | None) -> tuple[int, bool]:
    """Return where the last whole record ends, 0 where none does; and whether quotes are open."""
    if delimiter is None or b'"' not in text:
        return text.rfind(_LINE_FEED) + 1, False
    changes, is_quoted = _find_quoted(text, delimiter)
    breaks = _find_outside(text, _LINE_FEED, changes, is_quoted)
    return (int(breaks[-1]) + 1 if len(breaks) else 0), bool(is_quoted[-1:].any())


def measure_header(text: bytes, delimiter: str) -> int:
    """Return where the first record of CSV ends, and empty lines before it."""
    empty = len(text) - len(text.lstrip(_LINE_BREAKS))
    breaks = _find_outside(text, _LINE_BREAKS, *_find_quoted(text, delimiter))
    breaks = breaks[breaks >= empty]
    if not len(breaks):
        return len(text)
    end = int(breaks[0]) + 1
    return end + (text[end - 1 : end + 1] == _LINE_BREAKS)


def _find_quoted(text: bytes, delimiter: str) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the ends of quotes that begin or end a quoted part, and whether one begins.

    As readers of CSV do, Arrow's and Python's: a quote begins one only where a cell begins,
    and two of them inside are one of its characters. So of quotes in a row an even number
    changes nothing.
    """
    starts = _find(text, b'"')
    ends = starts + 1
    if b'""' in text:
        is_first = np.append(True, starts[1:] > ends[:-1])
        starts, ends = starts[is_first], ends[np.append(is_first[1:], True)]
        is_odd = (ends - starts) & 1 == 1
        starts, ends = starts[is_odd], ends[is_odd]
    before = np.frombuffer(text, np.uint8)[starts - 1]
    may_begin = (starts == 0) | _is_any(before, _LINE_BREAKS + delimiter.encode())
    # They begin and end by turns, from each one on that cannot begin any.
    number = np.arange(len(starts))
    turns = number - np.maximum.accumulate(np.where(may_begin, -1, number))
    return ends, turns & 1 == 1


def _find_outside(
    text: bytes, characters: bytes, changes: NDArray[np.intp], is_quoted: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return where characters stand outside of quotes."""
    places = _find(text, characters)
    last = np.searchsorted(changes, places, side="right")
    outside: NDArray[np.intp] = places[~np.append(False, is_quoted)[last]]
    return outside


def _find(text: bytes, characters: bytes) -> NDArray[np.intp]:
    return np.flatnonzero(_is_any(np.frombuffer(text, np.uint8), characters))


def _is_any(data: NDArray[np.uint8], characters: bytes) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = data == characters[0]
    for one in characters[1:]:
        found |= data == one
    return found

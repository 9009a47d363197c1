"""Lines of text, block by block, each block cut where a record ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from v3io_frames_put.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK_BYTES: Final = 1 << 20
_STRAY_QUOTE_BYTES: Final = 8 << 20  # no record is so long: the quotes do not come in pairs
_MAX_BLOCK_BYTES: Final = 64 << 20
_BOM: Final = b"\xef\xbb\xbf"


class TextBlock(NamedTuple):
    """Some whole records of a file, and the line they begin in, counted from 1."""

    text: bytes
    first_line: int


def read_blocks(stream: Any, *, has_quotes: bool) -> Iterator[TextBlock]:
    """Yield a stream's text in blocks of whole records.

    Parameters
    ----------
    stream : NativeFile
        From its beginning.
    has_quotes : bool
        Whether a line break between quotes does not end a record (CSV).
    """
    rest = stream.read(len(_BOM)).removeprefix(_BOM)
    line = 1
    while True:
        fresh = stream.read(BLOCK_BYTES)
        rest += fresh
        if not fresh:
            break
        is_paired = has_quotes and len(rest) < _STRAY_QUOTE_BYTES
        end = _last_record_end(rest, has_quotes=is_paired)
        if end:
            yield TextBlock(rest[:end], line)
            line += rest.count(b"\n", 0, end)
            rest = rest[end:]
        elif len(rest) > _MAX_BLOCK_BYTES:
            raise DataError(f"a line is longer than {_MAX_BLOCK_BYTES:,} bytes.")
    if rest:
        yield TextBlock(rest, line)


def _last_record_end(text: bytes, *, has_quotes: bool) -> int:
    """Return where the last whole record ends; 0 where none does."""
    end = text.rfind(b"\n") + 1
    if not has_quotes or not end:
        return end
    quotes = text.count(b'"', 0, end)
    while end and quotes % 2:  # this line break stands between quotes
        before = text.rfind(b"\n", 0, end - 1) + 1
        quotes -= text.count(b'"', before, end)
        end = before
    return end if 2 * end > len(text) else 0  # so early: the quote is still to be closed, or stray

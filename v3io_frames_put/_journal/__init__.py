"""Keeps a record of a run in a file, so that a run that was killed can go on."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, PutRecordsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .journal import Journal


@contextmanager
def open_journal(path: str | PathLike[str] | None) -> Iterator[Journal | None]:
    """Open the journal of a run, and keep others out of it while the block runs.

    A file that it made is removed again where nothing was sent. None: no journal is kept.

    Raises
    ------
    ConfigError
        It cannot be used; nothing was sent.
    """
    if path is None:
        yield None
        return
    if not isinstance(path, (str, PathLike)):
        raise ConfigError(f"journal={path!r}: expected a path. Correct it.")
    from .journal import Journal  # loads SQLite

    place = Path(path)
    try:
        is_new = not place.exists()
        journal = Journal(place)
    except ConfigError:
        raise
    except (ValueError, OSError) as error:  # a NUL, text that is not UTF-8, a name too long
        raise ConfigError(f"journal={str(path)!a}: {error}. Choose another path.") from error
    try:
        yield journal
    finally:
        with suppress(PutRecordsError, OSError):  # an error of the block goes first
            if is_new and not journal.may_be_stored():
                journal.close()
                place.resolve().unlink(missing_ok=True)
        journal.close()

"""Keeps a run's story in a file, so that a run that was killed can go on."""

from __future__ import annotations

from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from v3io_frames_put.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from v3io_frames_put._journal.journal import Journal


@contextmanager
def open_journal(path: str | PathLike[str] | None) -> Iterator[Journal | None]:
    """Open the journal of a run, and keep others out of it while the block runs.

    Parameters
    ----------
    path : path or None
        Where it stands; it is made if it is not there. None: no journal is kept.

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
    from v3io_frames_put._journal.journal import Journal  # loads SQLite

    journal = Journal(Path(path))
    try:
        yield journal
    finally:
        journal.close()

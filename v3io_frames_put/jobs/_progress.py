"""How a job shows where it is: a bar on a terminal, else a log line every so often."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final

from v3io_frames_put.progress import open_progress, someone_looks_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from v3io_frames_put.progress import Progress, ProgressOption

_LOG: Final = logging.getLogger("v3io_frames_put")
_EVERY_SECONDS: Final = 10.0


class LogLines:
    """Logs a snapshot every ten seconds."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, snapshot: Progress) -> None:
        """Log it, if it is time."""
        if snapshot.seconds - self._last < _EVERY_SECONDS:
            return
        self._last = snapshot.seconds
        total = "" if snapshot.total is None else f" of {snapshot.total:,}"
        waiting = "" if snapshot.waiting is None else f"; {snapshot.waiting}"
        _LOG.info(
            "%s%s rows: %s stored, %s rejected, %s unknown, %s unsent, %.0f rows a second%s",
            f"{snapshot.settled:,}",
            total,
            f"{snapshot.stored:,}",
            f"{snapshot.rejected:,}",
            f"{snapshot.unknown:,}",
            f"{snapshot.unsent:,}",
            snapshot.settled / snapshot.seconds,
            waiting,
            extra={"fields": {"event": "progress", **asdict(snapshot)}},
        )


@contextmanager
def show_progress(
    progress: ProgressOption, total: int | None
) -> Iterator[Callable[[Progress], None]]:
    """Open what shows progress.

    Parameters
    ----------
    progress : bool, callable or None
        None: a bar where a person looks on, else log lines.
    total : int, optional
        Rows of all files; snapshots are told of it.
    """
    shown = LogLines() if progress is None and not someone_looks_on() else progress
    with open_progress(shown) as show:
        yield lambda snapshot: show(replace(snapshot, total=total))

"""Snapshots of a run, and who gets to see them: a bar, a callable, nobody."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from v3io_frames_put.cell_output import has_cells
from v3io_frames_put.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOG: Final = logging.getLogger("v3io_frames_put")
_EVERY_SECONDS: Final = 0.1  # a notebook drops a flood of updates, the last one included


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is. All counts are rows.

    Attributes
    ----------
    total : int or None
        Rows of the data. None: not known before the end.
    stored, rejected, unknown, unsent : int
        Rows that have that outcome.
    retried : int
        Rows that were sent again; a row sent three times counts twice.
    in_flight : int
        Rows of requests under way.
    bytes_sent : int
        Bytes of all bodies sent.
    seconds : float
        Since the run began.
    waiting : str or None
        Why nothing is sent. None: it does not wait.
    """

    total: int | None
    stored: int
    rejected: int
    unknown: int
    unsent: int
    retried: int
    in_flight: int
    bytes_sent: int
    seconds: float
    waiting: str | None

    @property
    def settled(self) -> int:
        """Rows that have an outcome."""
        return self.stored + self.rejected + self.unknown + self.unsent


ProgressOption: TypeAlias = "bool | Callable[[Progress], Any] | None"


def check_progress(progress: object) -> None:
    """Refuse what is neither a switch nor a callable."""
    if progress is not None and not isinstance(progress, bool) and not callable(progress):
        raise ConfigError(
            f"progress={progress!r}: expected True, False or a callable that takes a snapshot."
        )


@contextmanager
def open_progress(progress: ProgressOption) -> Iterator[Callable[[Progress], None]]:
    """Open what shows progress, and close it whatever happens.

    Parameters
    ----------
    progress : bool or callable, optional
        None: a bar where a person looks on, a terminal or a notebook.
    """
    if callable(progress):
        yield _Guard(progress)
        return
    can_show = someone_looks_on() if progress is None else has_cells() or _can_write()
    if progress is False or not can_show:
        yield _ignore
        return
    from v3io_frames_put.progress_bar import open_bar

    try:
        bar = open_bar()  # which draws it
    except (OSError, ValueError):
        yield _ignore
        return
    try:
        yield _Guard(bar)  # what it is drawn on may be full
    finally:
        with suppress(OSError, ValueError):
            bar.close()


def _ignore(_snapshot: Progress) -> None:
    """Show nothing."""


class _Guard:
    """Calls what shows progress; what it raises is logged once and never stops a run."""

    def __init__(self, show: Callable[[Progress], Any]) -> None:
        self._show = show
        self._failed = False

    def __call__(self, snapshot: Progress) -> None:
        try:
            self._show(snapshot)
        except BaseException:  # noqa: BLE001  # nor may sys.exit() end a run; logged below
            if not self._failed:
                _LOG.warning("showing progress failed; more is not logged", exc_info=True)
            self._failed = True


class Throttle:
    """Lets an update through every so often."""

    def __init__(self, every_seconds: float = _EVERY_SECONDS) -> None:
        self._every_seconds = every_seconds
        self._last: float | None = None

    def is_due(self, now: float) -> bool:
        """Whether an update may be shown now; if so, the next has to wait."""
        if self._last is not None and now - self._last < self._every_seconds:
            return False
        self._last = now
        return True


def someone_looks_on() -> bool:
    """Whether there is a terminal or a notebook to show progress on."""
    return has_cells() or (_can_write() and sys.stderr.isatty())


def _can_write() -> bool:
    """Whether there is a stderr, and nobody closed it: a daemon has none."""
    return sys.stderr is not None and not getattr(sys.stderr, "closed", False)

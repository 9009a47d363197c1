"""Snapshots of a run -> a bar, or whatever a callable makes of them."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

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
    if progress is False or (progress is None and not someone_looks_on()):
        yield _ignore
        return
    bar = _Bar()
    try:
        yield bar
    finally:
        bar.close()


def _ignore(_snapshot: Progress) -> None:
    """Show nothing."""


class _Guard:
    """Calls a user's function; what it raises is logged once and never stops a run."""

    def __init__(self, function: Callable[[Progress], Any]) -> None:
        self._function = function
        self._failed = False

    def __call__(self, snapshot: Progress) -> None:
        try:
            self._function(snapshot)
        except Exception:  # noqa: BLE001  # a display must not end a run; logged below
            if not self._failed:
                _LOG.warning("the progress callable failed; more is not logged", exc_info=True)
            self._failed = True


class Throttle:
    """Lets at most ten updates a second through."""

    def __init__(self) -> None:
        self._last: float | None = None

    def is_due(self, now: float) -> bool:
        """Whether an update may be shown now; if so, the next has to wait."""
        if self._last is not None and now - self._last < _EVERY_SECONDS:
            return False
        self._last = now
        return True


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def someone_looks_on() -> bool:
    """Whether there is a terminal or a notebook to show progress on."""
    return _in_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def _tqdm() -> Any:
    """Load the bar that fits where we are."""
    if _in_notebook():
        from tqdm.notebook import tqdm_notebook

        return tqdm_notebook
    from tqdm import tqdm

    return tqdm


class _Bar:
    """A tqdm bar that moves with outcomes and shows what is not stored apart."""

    def __init__(self) -> None:
        self._bar: Any = _tqdm()(unit="rows", unit_scale=True, mininterval=0)

    def __call__(self, snapshot: Progress) -> None:
        if snapshot.total is not None:
            self._bar.total = snapshot.total
        self._bar.n = snapshot.settled
        self._bar.set_postfix_str(_postfix(snapshot), refresh=False)
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


def _postfix(snapshot: Progress) -> str:
    shown = [
        f"{count:,} {name}"
        for name in ("rejected", "unknown", "unsent", "retried")
        if (count := getattr(snapshot, name))
    ]
    if snapshot.waiting:
        shown.append(snapshot.waiting)
    return ", ".join(shown)

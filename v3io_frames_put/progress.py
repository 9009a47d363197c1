"""How far a run is, and who sees it: a bar, a callable, a log, nobody.

A bar fills with stored rows only. Rejected and unknown rows are shown apart, and rows that
were not sent leave it empty, so that a full bar means that every row is stored.
"""

from __future__ import annotations

import logging
import math
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias
from uuid import uuid4

from v3io_frames_put import _html
from v3io_frames_put._producer.classification import describe_cause
from v3io_frames_put.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from v3io_frames_put._producer.values import Failure

_LOG: Final = logging.getLogger("v3io_frames_put")
_EVERY_SECONDS: Final = 0.1  # a notebook drops a flood of updates, the last one included
_LOG_EVERY_SECONDS: Final = 1.0
_LOG_RARELY_SECONDS: Final = 60.0
_TERMINAL: Final = {"stored": "green", "rejected": "red", "unknown": "yellow", "unsent": "yellow"}


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

    @property
    def outcome(self) -> str:
        """The worst status that rows have; ``stored`` if all are stored."""
        return next((s for s in ("rejected", "unknown", "unsent") if getattr(self, s)), "stored")


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
    try:
        bar = CellBar() if has_cells() else TerminalBar()  # which draws it
    except (OSError, ValueError):
        yield _ignore
        return
    try:
        yield _Guard(bar)  # what it is drawn on may be full
    finally:
        with suppress(OSError, ValueError):  # stderr is full, or closed meanwhile
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
    """Limits how often updates are shown."""

    def __init__(self, every_seconds: float = _EVERY_SECONDS) -> None:
        self.every_seconds = every_seconds
        self._last: float | None = None

    def is_due(self, now: float) -> bool:
        """Whether an update may be shown now; if so, the next has to wait."""
        if self._last is not None and now - self._last < self.every_seconds:
            return False
        self._last = now
        return True


def someone_looks_on() -> bool:
    """Whether there is a terminal or a notebook to show progress on."""
    return has_cells() or (_can_write() and sys.stderr.isatty())


def _can_write() -> bool:
    """Whether there is a stderr that can be written to: a daemon may have closed it."""
    try:
        sys.stderr.write("")
    except (AttributeError, OSError, ValueError):  # None, not writable, closed
        return False
    return True


# -- outputs of a notebook -----------------------------------------------------------------


def has_cells() -> bool:
    """Whether this code runs in a kernel, so that outputs appear below a cell."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class CellOutput:
    """An output of a notebook's cell that is replaced as a whole, from any thread.

    It is plain HTML and text, so the state it had last stays in a saved notebook; of a
    widget, only its repr does.
    """

    def __init__(self) -> None:
        self._id = uuid4().hex
        self.is_shown = False

    def show(self, html: str, text: str) -> None:
        """Show it below the cell that runs now, or replace what is there."""
        import IPython.display as shown

        display: Any = shown.display
        data = {"text/html": html, "text/plain": text}
        display(data, raw=True, display_id=self._id, update=self.is_shown)
        self.is_shown = True


# -- bars ----------------------------------------------------------------------------------


class Pace:
    """Rows per second and the time left, by all that was seen since the first snapshot.

    A run that goes on with an earlier one begins with rows that have an outcome already;
    so only what came since counts.
    """

    def __init__(self) -> None:
        self._first: Progress | None = None

    def measure(self, snapshot: Progress) -> tuple[float | None, float | None]:
        """Return rows stored per second and seconds left; None: not known yet."""
        first = self._first or replace(
            snapshot, stored=0, rejected=0, unknown=0, unsent=0, seconds=0
        )
        self._first = self._first or snapshot
        seconds = snapshot.seconds - first.seconds
        if seconds <= 0:
            return None, None
        stored = snapshot.stored - first.stored
        left = None
        if snapshot.total is not None and stored > 0:  # what is rejected takes next to no time
            left = (snapshot.total - snapshot.settled) * seconds / stored
        return stored / seconds, left


class TerminalBar:
    """A bar on the terminal's last line."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._bar: Any = tqdm(mininterval=0, bar_format="{desc}", dynamic_ncols=True)
        self._pace = Pace()
        self._last: Progress | None = None

    def __call__(self, snapshot: Progress) -> None:
        """Show a snapshot."""
        self._last = snapshot
        self._draw(snapshot, is_ended=False)

    def close(self) -> None:
        """Leave the bar as it ended."""
        try:
            if self._last is not None:
                self._draw(self._last, is_ended=True)
        finally:
            self._bar.close()

    def _draw(self, snapshot: Progress, *, is_ended: bool) -> None:
        bar = self._bar
        if snapshot.total is not None:
            bar.total = max(snapshot.total, 1)
            percent = snapshot.stored * 100 // bar.total  # tqdm's own would round up to 100
            bar.bar_format = f"{percent:3}%|{{bar}}| {{desc}}"
        bar.n = snapshot.stored
        if sys.stderr.isatty():
            bar.colour = _TERMINAL[snapshot.outcome] if is_ended else "blue"
        words = progress_words(snapshot, self._pace, is_ended=is_ended, is_short=True)
        bar.set_description_str(" · ".join(words), refresh=False)
        bar.refresh()


class CellBar:
    """A bar below the cell, which a saved notebook keeps as it was last."""

    def __init__(self) -> None:
        self._output = CellOutput()
        self._pace = Pace()
        self._last: Progress | None = None

    def __call__(self, snapshot: Progress) -> None:
        """Show a snapshot."""
        self._last = snapshot
        self._draw(snapshot, is_ended=False)

    def close(self) -> None:
        """Leave the bar as it ended; its length is known by now."""
        last = self._last
        if last is not None:
            total = last.settled if last.total is None else last.total
            self._draw(replace(last, total=total), is_ended=True)

    def _draw(self, snapshot: Progress, *, is_ended: bool) -> None:
        words = progress_words(snapshot, self._pace, is_ended=is_ended)
        self._output.show(draw_progress(snapshot, words, is_ended=is_ended), " · ".join(words))


def draw_progress(snapshot: Progress, words: Sequence[str], *, is_ended: bool) -> str:
    """Draw a bar and the words below it."""
    shares = {s: getattr(snapshot, s) for s in ("stored", "rejected", "unknown", "unsent")}
    outcome = "unknown" if snapshot.outcome == "unsent" else snapshot.outcome  # amber: go on
    bar = _html.status_bar(shares, snapshot.total, stored=outcome if is_ended else "running")
    style = (
        "max-width:860px;font-size:13px;line-height:1.45;white-space:normal;"
        "font-variant-numeric:tabular-nums"
    )
    first, *others = words
    said = " · ".join([f"<b>{_html.text(first)}</b>", *map(_html.text, others)])
    return f'<div class="v3io-progress" style="{style}">{bar}<div>{said}</div></div>'


def progress_words(
    snapshot: Progress, pace: Pace, *, is_ended: bool, is_short: bool = False
) -> list[str]:
    """Say how far a run is, the most important first.

    Parameters
    ----------
    snapshot : Progress
        How far it is.
    pace : Pace
        Has seen every snapshot before.
    is_ended : bool
        Whether it is the last one.
    is_short : bool
        Whether the words have to fit beside a bar that shows percent.
    """
    total = snapshot.total
    of = f" of {total:,}" if total is not None else ""
    noun = "row" if (snapshot.stored if total is None else total) == 1 else "rows"
    words = [f"{snapshot.stored:,}{of} {noun} stored"]
    if total and snapshot.stored < total and not is_short:
        words.append(f"{snapshot.stored * 100 // total} %")
    if snapshot.waiting and not is_ended:
        words.append(snapshot.waiting)
    words += _not_stored(snapshot)
    rate, left = pace.measure(snapshot)
    if rate:
        words.append(f"{_html.short_number(rate)} rows/s")
    if snapshot.bytes_sent > 1e5 * snapshot.seconds > 0 and not is_short:  # 0.1 MB/s
        words.append(f"{snapshot.bytes_sent / snapshot.seconds / 1e6:,.1f} MB/s")
    if is_ended:
        words.append(about_seconds(snapshot.seconds))
    elif left is not None and not snapshot.waiting:
        words.append(f"{about_seconds(left)} left")
    return words


def _not_stored(snapshot: Progress) -> list[str]:
    counts = {
        "rejected": snapshot.rejected,
        "unknown": snapshot.unknown,
        "not sent": snapshot.unsent,
        "retried": snapshot.retried,
    }
    return [f"{count:,} {name}" for name, count in counts.items() if count]


def about_seconds(seconds: float) -> str:
    """Say a time in words: 0.4 s, 35 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:  # noqa: PLR2004  # below it, a fraction matters
        return f"{seconds:.1f} s"
    whole = math.ceil(seconds)
    if whole < 60:  # noqa: PLR2004  # a minute
        return f"{whole} s"
    if whole < 3600:  # noqa: PLR2004  # an hour
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


# -- the log -------------------------------------------------------------------------------


class _Retried(Protocol):
    @property
    def num_rows(self) -> int: ...
    @property
    def why(self) -> Failure: ...


class _Run(Protocol):
    def take_retried(self) -> Sequence[_Retried]: ...


class RetryLog:
    """Logs what is tried again: at once, two seconds later, then ever more rarely.

    Parameters
    ----------
    run_id : str
        Names the run in each line.
    run : object with take_retried
        The run.
    """

    def __init__(self, run_id: str, run: _Run) -> None:
        self._run_id, self._run = run_id, run
        self._throttle = Throttle(_LOG_EVERY_SECONDS)
        self._requests = self._rows = 0

    def tell(self, now: float) -> None:
        """Log what has been tried again since the last line, if it is time for one."""
        retried = self._run.take_retried()
        if not retried:
            return
        self._requests += len(retried)
        self._rows += sum(one.num_rows for one in retried)
        if not self._throttle.is_due(now):
            return
        self._throttle.every_seconds = min(2 * self._throttle.every_seconds, _LOG_RARELY_SECONDS)
        fields = {
            "event": "retried",
            "run_id": self._run_id,
            "requests": self._requests,
            "rows": self._rows,
        }
        why = retried[-1].why
        _LOG.warning(
            "run %s: requests tried again: %s (%s rows); the last: %s",
            self._run_id, f"{self._requests:,}", f"{self._rows:,}", describe_cause(why),
            extra={"fields": fields},
        )  # fmt: skip
        self._requests = self._rows = 0

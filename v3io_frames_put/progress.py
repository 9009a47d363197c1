"""How far a run is: on a bar, in a callable, in a log, or nowhere.

A bar fills with stored rows only. Rejected and unknown rows are shown apart, and rows that
were not sent leave it empty, so that a full bar means that every row is stored.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from . import _html
from ._producer.classification import describe_cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ._producer.producer import Producer

_LOG: Final = logging.getLogger("v3io_frames_put")
_EVERY_SECONDS: Final = 0.1  # a notebook drops a flood of updates, the last one included
_LOG_EVERY_SECONDS: Final = 1.0
_LOG_PROGRESS_SECONDS: Final = 10.0
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

    total: int | None = None
    stored: int = 0
    rejected: int = 0
    unknown: int = 0
    unsent: int = 0
    retried: int = 0
    in_flight: int = 0
    bytes_sent: int = 0
    seconds: float = 0.0
    waiting: str | None = None

    @property
    def settled(self) -> int:
        """Rows that have an outcome."""
        return self.stored + self.rejected + self.unknown + self.unsent

    @property
    def outcome(self) -> str:
        """The worst status that rows have; ``stored`` if all are stored."""
        return next((s for s in ("rejected", "unknown", "unsent") if getattr(self, s)), "stored")


ProgressOption: TypeAlias = "bool | Callable[[Progress], Any] | None"


@contextmanager
def open_progress(
    progress: ProgressOption, *, or_log: bool = False
) -> Iterator[Callable[[Progress], None] | None]:
    """Open what shows progress, and close it whatever happens; yield None: nothing shows it.

    The option None is a bar where a person looks on, a terminal or a notebook; elsewhere it is
    nothing, or a line in the log now and then.
    """
    show, bar = progress if callable(progress) else None, None
    if show is None and (progress or (progress is None and someone_looks_on())):
        with suppress(AttributeError, OSError, ValueError):  # no stderr, or one that is closed
            show = bar = HtmlBar(CellOutput().show) if is_notebook() else TerminalBar()
    elif progress is None and or_log:
        show = ProgressLog().log
    try:
        yield None if show is None else _Guard(show)  # what a bar is drawn on may be full
    finally:
        if bar is not None:
            with suppress(OSError, ValueError):  # stderr is full, or closed meanwhile
                bar.close()


class _Guard:
    """Calls what shows progress; what it raises is logged once and never stops a run."""

    def __init__(self, show: Callable[[Progress], Any]) -> None:
        self._show = show
        self._has_failed = False

    def __call__(self, snapshot: Progress) -> None:
        try:
            self._show(snapshot)
        except BaseException:  # noqa: BLE001  # nor may sys.exit() end a run; logged below
            if not self._has_failed:
                _LOG.warning("showing progress failed; more is not logged", exc_info=True)
            self._has_failed = True


@dataclass(slots=True)
class Throttle:
    """Limits how often updates are shown."""

    every_seconds: float = _EVERY_SECONDS
    _last: float | None = None

    def is_due(self, now: float) -> bool:
        """Whether an update may be shown now; if so, the next has to wait."""
        if self._last is not None and now - self._last < self.every_seconds:
            return False
        self._last = now
        return True


def someone_looks_on() -> bool:
    """Whether there is a terminal or a notebook to show progress on."""
    if is_notebook():
        return True
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # None, or closed: a daemon has no stderr
        return False


# -- outputs of a notebook -----------------------------------------------------------------


def is_notebook() -> bool:
    """Whether this code runs in a kernel, so that outputs appear below a cell."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class CellOutput:
    """An output of a notebook's cell that is replaced as a whole, from any thread.

    It is plain HTML and text, so the state it had last stays in a saved notebook; of a
    widget, only its repr does.
    """

    _handle: Any = None  # an IPython.display.DisplayHandle, once it is shown

    def show(self, html: str, text: str) -> None:
        """Show it below the cell that runs now, or replace what is there."""
        from IPython.display import display

        data = {"text/html": html, "text/plain": text}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(data, raw=True)


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
        self._first = first = self._first or snapshot
        seconds = snapshot.seconds - first.seconds
        if seconds <= 0:
            return None, None
        stored = snapshot.stored - first.stored
        left = None
        if snapshot.total is not None and stored > 0:  # what is rejected takes next to no time
            left = (snapshot.total - snapshot.settled) * seconds / stored
        return stored / seconds, left


class _Bar:
    """Shows each snapshot, and leaves the last one as the run ended."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._last: Progress | None = None

    def __call__(self, snapshot: Progress) -> None:
        self._last = snapshot
        self._draw(snapshot, is_ended=False)

    def close(self) -> None:
        """Leave the bar as it ended."""
        if self._last is not None:
            self._draw(self._last, is_ended=True)

    def _draw(self, snapshot: Progress, *, is_ended: bool) -> None:
        raise NotImplementedError


class TerminalBar(_Bar):
    """A bar on the terminal's last line."""

    def __init__(self) -> None:
        from tqdm import tqdm

        super().__init__()
        sys.stderr.write("")  # raises here if nothing can be written
        self._bar: Any = tqdm(mininterval=0, bar_format="{desc}", dynamic_ncols=True)

    def close(self) -> None:
        """Leave the bar as it ended."""
        try:
            super().close()
        finally:
            self._bar.close()

    def _draw(self, snapshot: Progress, *, is_ended: bool) -> None:
        bar = self._bar
        if snapshot.total is not None:
            bar.total = max(snapshot.total, 1)
            percent = snapshot.stored * 100 // bar.total  # tqdm's own would round up to 100
            bar.bar_format = f"{percent:3}%|{{bar}}| {{desc}}"
        bar.n = snapshot.stored
        if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
            bar.colour = _TERMINAL[snapshot.outcome] if is_ended else "blue"
        words = progress_words(snapshot, self._pace, is_ended=is_ended, is_short=True)
        bar.set_description_str(" · ".join(words), refresh=False)
        bar.refresh()


class HtmlBar(_Bar):
    """A bar as HTML; ``show`` takes it, and its words as text."""

    def __init__(self, show: Callable[[str, str], Any]) -> None:
        super().__init__()
        self._show = show

    def _draw(self, snapshot: Progress, *, is_ended: bool) -> None:
        if is_ended and snapshot.total is None:  # known by now
            snapshot = replace(snapshot, total=snapshot.settled)
        words = progress_words(snapshot, self._pace, is_ended=is_ended)
        self._show(draw_progress(snapshot, words, is_ended=is_ended), " · ".join(words))


def draw_progress(snapshot: Progress, words: Sequence[str], *, is_ended: bool) -> str:
    """Draw a bar and the words below it."""
    shares = {status: getattr(snapshot, status) for status in _html.SPOKEN}
    outcome = "unknown" if snapshot.outcome == "unsent" else snapshot.outcome  # amber: go on
    bar = _html.status_bar(shares, snapshot.total, stored=outcome if is_ended else "running")
    first, *others = words
    said = " · ".join([f"<b>{_html.text(first)}</b>", *map(_html.text, others)])
    return _html.block("progress", bar, f"<div>{said}</div>")


def progress_words(
    snapshot: Progress, pace: Pace, *, is_ended: bool, is_short: bool = False
) -> list[str]:
    """Write how far a run is, the most important first.

    ``pace`` has seen every snapshot before. Short words fit beside a bar that shows percent.
    """
    total, stored, seconds = snapshot.total, snapshot.stored, snapshot.seconds
    of = f" of {total:,}" if total is not None else ""
    noun = "row" if (stored if total is None else total) == 1 else "rows"
    words = [f"{stored:,}{of} {noun} stored"]
    if total and stored < total and not is_short:
        words.append(f"{stored * 100 // total} %")
    if snapshot.waiting and not is_ended:
        words.append(snapshot.waiting)
    counts = {name: getattr(snapshot, status) for status, name in _html.SPOKEN.items()}
    del counts["stored"]
    counts["retried"] = snapshot.retried
    words += [f"{count:,} {name}" for name, count in counts.items() if count]
    rate, left = pace.measure(snapshot)
    if rate:
        words.append(f"{_html.short_number(rate)} rows/s")
    if snapshot.bytes_sent > 1e5 * seconds > 0 and not is_short:  # 0.1 MB/s
        words.append(f"{snapshot.bytes_sent / seconds / 1e6:,.1f} MB/s")
    if is_ended:
        words.append(about_seconds(seconds))
    elif left is not None and not snapshot.waiting:
        words.append(f"{about_seconds(left)} left")
    return words


def about_seconds(seconds: float) -> str:
    """Write a time in words: 0.4 s, 35 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:  # noqa: PLR2004  # below it, a fraction matters
        return f"{seconds:.1f} s"
    minutes, whole = divmod(math.ceil(seconds), 60)
    if not minutes:
        return f"{whole} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole} s"


# -- the log -------------------------------------------------------------------------------


class ProgressLog:
    """Logs where a run is, every ten seconds."""

    def __init__(self) -> None:
        self._pace, self._throttle = Pace(), Throttle(_LOG_PROGRESS_SECONDS, 0)

    def log(self, snapshot: Progress) -> None:
        """Log a snapshot, if it is time."""
        words = progress_words(snapshot, self._pace, is_ended=False)  # the pace sees each snapshot
        if self._throttle.is_due(snapshot.seconds):
            fields = {"event": "progress", **asdict(snapshot)}
            _LOG.info("%s", ", ".join(words), extra={"fields": fields})


@dataclass(slots=True)
class RetryLog:
    """Logs retries: at once, two seconds later, then ever more rarely."""

    _run_id: str
    _producer: Producer
    _throttle: Throttle = field(default_factory=partial(Throttle, _LOG_EVERY_SECONDS))
    _requests: int = 0
    _rows: int = 0

    def log(self, now: float) -> None:
        """Log the retries since the last line, if it is time for one."""
        retried = self._producer.take_retried()
        if not retried:
            return
        self._requests += len(retried)
        self._rows += sum(one.num_rows for one in retried)
        if not self._throttle.is_due(now):
            return
        self._throttle.every_seconds = min(2 * self._throttle.every_seconds, _LOG_RARELY_SECONDS)
        fields = {"run_id": self._run_id, "requests": self._requests, "rows": self._rows}
        _LOG.warning(
            "run %s: requests tried again: %s (%s rows); the last: %s",
            self._run_id, f"{self._requests:,}", f"{self._rows:,}",
            describe_cause(retried[-1].why), extra={"fields": {"event": "retried", **fields}},
        )  # fmt: skip
        self._requests = self._rows = 0

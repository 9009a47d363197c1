"""Snapshots of a run, drawn: a bar in a terminal, a bar below a notebook's cell."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from v3io_frames_put import _html
from v3io_frames_put.cell_output import CellOutput, has_cells

if TYPE_CHECKING:
    from v3io_frames_put.progress import Progress

_COLOR: Final = "accent-color:var(--jp-brand-color1,#1976d2)"


class TerminalBar:
    """A tqdm bar that moves with outcomes and shows what is not stored apart."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._bar: Any = tqdm(unit="rows", unit_scale=True, mininterval=0)

    def __call__(self, snapshot: Progress) -> None:
        """Show a snapshot."""
        if snapshot.total is not None:
            self._bar.total = snapshot.total
        self._bar.n = snapshot.settled
        trouble = [*_not_stored(snapshot), *([snapshot.waiting] if snapshot.waiting else [])]
        self._bar.set_postfix_str(", ".join(trouble), refresh=False)
        self._bar.refresh()

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


class CellBar:
    """A bar below the cell, which a saved notebook keeps as it was last."""

    def __init__(self) -> None:
        self._output = CellOutput()
        self._last: Progress | None = None

    def __call__(self, snapshot: Progress) -> None:
        """Show a snapshot."""
        self._last = snapshot
        self._output.show(draw_progress(snapshot), " · ".join(progress_words(snapshot)))

    def close(self) -> None:
        """Let the bar come to rest, though nobody knew how long it had to be."""
        if self._last is not None and self._last.total is None:
            self(replace(self._last, total=self._last.settled))


def open_bar() -> TerminalBar | CellBar:
    """Make the bar that fits where we are."""
    return CellBar() if has_cells() else TerminalBar()


def draw_progress(snapshot: Progress) -> str:
    """Draw a bar and the numbers below it."""
    total = snapshot.total
    scale = "" if total is None else f'value="{snapshot.settled}" max="{max(total, 1)}"'
    return (
        f'<div><progress aria-label="rows that have an outcome" {scale} '
        f'style="width:100%;{_COLOR}"></progress>'
        f"<div>{_html.text(' · '.join(progress_words(snapshot)))}</div></div>"
    )


def progress_words(snapshot: Progress) -> list[str]:
    """Say how far a run is."""
    of = f" of {snapshot.total:,}" if snapshot.total is not None else ""
    words = [f"{snapshot.stored:,}{of} rows stored", *_not_stored(snapshot)]
    if snapshot.in_flight:
        words.append(f"{snapshot.in_flight:,} rows in flight")
    if snapshot.seconds:
        words.append(f"{snapshot.bytes_sent / snapshot.seconds / 1e6:,.1f} MB/s")
        words.append(_say_time(snapshot))
    if snapshot.waiting:
        words.append(f"waiting: {snapshot.waiting}")
    return words


def _not_stored(snapshot: Progress) -> list[str]:
    counts = {
        "rejected": snapshot.rejected,
        "unknown": snapshot.unknown,
        "unsent": snapshot.unsent,
        "sent again": snapshot.retried,
    }
    return [f"{count:,} {name}" for name, count in counts.items() if count]


def _say_time(snapshot: Progress) -> str:
    left = seconds_left(snapshot)
    return f"{about_seconds(left)} left" if left else about_seconds(snapshot.seconds)


def seconds_left(snapshot: Progress) -> float | None:
    """Guess the time to the end by the rate so far; None: nothing to go by."""
    if snapshot.total is None or not snapshot.settled:
        return None
    return (snapshot.total - snapshot.settled) * snapshot.seconds / snapshot.settled


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

"""How a job shows where it is: a bar on a terminal, else a log line every ten seconds."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final

from v3io_frames_put._producer.values import STATUSES
from v3io_frames_put.progress import Progress, Throttle, open_progress, someone_looks_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from v3io_frames_put.jobs._reader import FileTable
    from v3io_frames_put.progress import ProgressOption

_LOG: Final = logging.getLogger("v3io_frames_put")
_LOG_EVERY_SECONDS: Final = 10.0


@contextmanager
def show_progress(
    progress: ProgressOption,
    table: FileTable,
    known: Mapping[str, int] | None = None,
    *,
    looks_up: bool = False,
) -> Iterator[Callable[[Progress], None]]:
    """Open what shows progress: a bar where a person looks on, else log lines.

    A bar is given an estimate of the table's rows, a callable exact numbers only. ``known`` are
    the rows by status that a journal knows when the run goes on: progress begins there, and
    ``looks_up`` says that the unknown ones are looked up before anything is sent.
    """
    shown = log_every_ten_seconds() if progress is None and not someone_looks_on() else progress
    counts = {name: (known or {}).get(name, 0) for name in ("stored", "rejected")}
    in_doubt = (known or {}).get("unknown", 0) if looks_up else 0
    with open_progress(shown) as show:

        def update(snapshot: Progress) -> None:
            total = table.num_rows if callable(progress) else estimate_rows(table)
            least = {name: max(count, getattr(snapshot, name)) for name, count in counts.items()}
            waiting = snapshot.waiting
            if waiting is None and in_doubt and not (snapshot.bytes_sent or snapshot.in_flight):
                waiting = f"looking up {in_doubt:,} rows that may be stored"
            show(replace(snapshot, total=total, waiting=waiting, **least))

        if known is not None:
            update(Progress())
        yield update


def estimate_rows(table: FileTable) -> int | None:
    """Return the rows of all files: counted, or estimated by the share of bytes read."""
    if table.num_rows is not None or table.is_read:
        return table.rows_read if table.num_rows is None else table.num_rows
    if not table.num_bytes or not table.bytes_read:
        return None
    return round(table.rows_read * max(1.0, table.num_bytes / table.bytes_read))


def log_every_ten_seconds() -> Callable[[Progress], None]:
    """Return a function that logs a snapshot, if it is time."""
    throttle = Throttle(_LOG_EVERY_SECONDS)
    throttle.is_due(0)

    def log(snapshot: Progress) -> None:
        if not throttle.is_due(snapshot.seconds):
            return
        total = "" if snapshot.total is None else f" of {snapshot.total:,}"
        counts = [f"{getattr(snapshot, s):,} {s}" for s in STATUSES]
        waiting = "" if snapshot.waiting is None else f"; {snapshot.waiting}"
        _LOG.info(
            "%s%s rows: %s, %.0f rows a second%s",
            f"{snapshot.settled:,}", total, ", ".join(counts),
            snapshot.settled / snapshot.seconds, waiting,
            extra={"fields": {"event": "progress", **asdict(snapshot)}},
        )  # fmt: skip

    return log

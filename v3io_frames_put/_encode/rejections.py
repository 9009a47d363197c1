"""Rows that are rejected while they are encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, SupportsInt

import numpy as np
import pandas as pd
import pyarrow as pa

from .layouts import INVALID, find_invalid

if TYPE_CHECKING:
    from .sources import Window

_SHOWN_CHARACTERS: Final = 60


@dataclass(frozen=True, slots=True)
class Rejections:
    """Rows rejected before they were sent, each alone: three columns of the results."""

    rows: np.ndarray  # row numbers, ascending
    names: list[str]  # error_message: DataTooLarge, UnencodableValue, ...
    details: list[str]  # error_detail: column, size, what to do

    @staticmethod
    def concat(parts: Sequence[Rejections]) -> Rejections:
        """Return the rejections of windows that follow each other."""
        return Rejections(
            np.concatenate([part.rows for part in parts]),
            [name for part in parts for name in part.names],
            [detail for part in parts for detail in part.details],
        )


NO_REJECTIONS: Final = Rejections(np.zeros(0, np.int64), [], [])


@dataclass(slots=True)
class RejectionLog:
    """Collects the rejections of one window; the first reason of a row counts."""

    reasons: dict[int, tuple[str, str]] = field(default_factory=dict)

    def add(self, row: SupportsInt, name: str, detail: str) -> None:
        """Reject one row of the window, counted from the window's first."""
        self.reasons.setdefault(int(row), (name, detail))

    def keep(self, num_rows: int) -> np.ndarray | None:
        """Return the mask of the first rows that are not rejected; None when all are fine."""
        if not self.reasons:
            return None
        mask = np.ones(num_rows, dtype=bool)
        mask[[row for row in self.reasons if row < num_rows]] = False
        return mask

    def close(self, first_row: int, num_rows: int, skip: np.ndarray | None) -> Rejections:
        """Return the rejections among the first ``num_rows`` rows, skipped ones left out."""
        if not self.reasons:
            return NO_REJECTIONS
        rows = sorted(
            row for row in self.reasons if row < num_rows and not (skip is not None and skip[row])
        )
        return Rejections(
            rows=np.array(rows, dtype=np.int64) + first_row,
            names=[self.reasons[row][0] for row in rows],
            details=[self.reasons[row][1] for row in rows],
        )


def reject_invalid(column: pa.Array, name: str, log: RejectionLog) -> pa.Array:
    """Reject rows with text that is not UTF-8, or a date64 within a day; null these cells."""
    bad = find_invalid(column)
    for row, why in bad.items():
        log.add(row, "UnencodableValue", f"column {name!r} holds {why}. Correct it.")
    if not bad:
        return column
    return column.take(pa.array([None if r in bad else r for r in range(len(column))], pa.int64()))


@dataclass(frozen=True, slots=True)
class InvalidCells:
    """Rejects the rows that came with invalid cells: a null must not be sent in their place."""

    number: int | None  # the place of ``__v3io_invalid`` in a window, if there is one
    detail: int | None  # likewise of ``__v3io_detail``
    misfits: Mapping[int, str]  # of the source

    def refuse(self, window: Window, log: RejectionLog) -> None:
        """Reject the rows that have such cells, whatever else they hold."""
        for row, reason in self.misfits.items():
            if 0 <= row - window.first_row < window.num_rows:
                log.reasons[row - window.first_row] = ("UnencodableValue", reason)
        cells = [] if self.number is None else window.columns[self.number]
        if isinstance(cells, pa.Array):
            cells = [] if cells.null_count == len(cells) else cells.to_pylist()
        for row, cell in enumerate(cells):
            is_filled = len(cell) > 0 if isinstance(cell, Sized) else pd.notna(cell)
            if is_filled:
                known = None if self.detail is None else window.columns[self.detail][row]
                known = known.as_py() if isinstance(known, pa.Scalar) else known
                detail = known if isinstance(known, str) else _explain(str(cell))
                log.reasons[row] = ("UnencodableValue", detail)


def _explain(cells: str) -> str:
    return (
        f"column {INVALID!r} names cells that did not fit: {shorten(cells)}. Correct them where "
        f"they come from, or fill them in and remove their entries."
    )


def shorten(text: str) -> str:
    """Return what a message shows of a text of any length."""
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."

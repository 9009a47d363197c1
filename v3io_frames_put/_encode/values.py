"""Rows that are rejected while they are encoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, SupportsInt

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Rejections:
    """Rows rejected before they were sent, each alone.

    Attributes
    ----------
    rows : ndarray of int64
        Row numbers, ascending.
    names : list of str
        The results' ``error_message``: DataTooLarge, PartitionKeyTooLong,
        ClientInfoTooLong, ShardIdInvalid or UnencodableValue.
    details : list of str
        The results' ``error_detail``: column, size, what to do.
    """

    rows: np.ndarray
    names: list[str]
    details: list[str]

    def __len__(self) -> int:
        return len(self.names)

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
        """Return the mask of rows that are not rejected; None when all are fine."""
        if not self.reasons:
            return None
        mask = np.ones(num_rows, dtype=bool)
        mask[list(self.reasons)] = False
        return mask

    def close(self, first_row: int, num_rows: int, skip: np.ndarray | None) -> Rejections:
        """Return the rejections among the first ``num_rows`` rows, skipped ones left out."""
        rows = sorted(
            row for row in self.reasons if row < num_rows and not (skip is not None and skip[row])
        )
        return Rejections(
            rows=np.array(rows, dtype=np.int64) + first_row,
            names=[self.reasons[row][0] for row in rows],
            details=[self.reasons[row][1] for row in rows],
        )

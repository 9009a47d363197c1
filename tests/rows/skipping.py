"""What the tests of this folder share."""

from __future__ import annotations

import numpy as np


class LeaveOut:
    """Leaves out the rows of a mask."""

    def __init__(self, mask: list[bool] | np.ndarray) -> None:
        self.mask = np.asarray(mask, bool)

    def skip_mask(self, first_row: int, num_rows: int) -> np.ndarray:
        return self.mask[first_row : first_row + num_rows]

    def note_destinations(self, first_row: int, destination: np.ndarray | None) -> None:
        """What they are is of no interest here."""

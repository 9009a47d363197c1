"""A static copy of the last state, below the widget, that stays in a saved notebook.

A notebook saved without its widgets' state shows of a widget only its repr.
"""

from __future__ import annotations

from typing import Final

from v3io_frames_put.cell_output import CellOutput, has_cells

_NOTHING: Final = "Nothing uploaded yet."


class LastState:
    """An output of the cell, beside the widget."""

    def __init__(self) -> None:
        self._output = CellOutput()
        self._html = _NOTHING

    def show(self) -> None:
        """Make a place for it in the cell that runs now; outside of a kernel, none."""
        if has_cells():
            self._output = CellOutput()  # of a widget that is shown again, the newest place
            self._show()

    def replace(self, html: str = _NOTHING) -> None:
        """Replace it; from any thread."""
        self._html = html
        if self._output.is_shown:
            self._show()

    def _show(self) -> None:
        """Fold it away: beside the living widget it says nothing new."""
        summary = "<summary>Last state, kept with the notebook</summary>"
        folded = f"<details>{summary}{self._html}</details>"
        self._output.show(folded, "Last state of the uploader")

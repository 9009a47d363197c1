"""A static copy of the last state, below the widget, that stays in a saved notebook.

A notebook saved without its widgets' state shows of a widget only its repr.
"""

from __future__ import annotations

import sys
from typing import Any
from uuid import uuid4


class LastState:
    """An output of the cell that is replaced as a whole."""

    def __init__(self) -> None:
        self._id = uuid4().hex
        self._is_shown = False

    def show(self) -> None:
        """Make a place for it in the cell that runs now; outside of a kernel, none."""
        if _has_kernel():
            self._is_shown = True
            _display(_fold("Nothing uploaded yet."), display_id=self._id)

    def replace(self, html: str) -> None:
        """Replace it; from any thread."""
        if self._is_shown:
            _display(_fold(html), display_id=self._id, update=True)


def _fold(html: str) -> str:
    """Fold it away: beside the living widget it says nothing new."""
    return f"<details><summary>Last state, kept with the notebook</summary>{html}</details>"


def _has_kernel() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def _display(html: str, **where: Any) -> None:
    import IPython.display as shown

    display: Any = shown.display
    display({"text/html": html, "text/plain": "Last state of the uploader"}, raw=True, **where)

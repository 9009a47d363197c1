"""An output of a notebook's cell that is replaced as a whole, from any thread.

It is plain HTML and text, so the state it had last stays in a saved notebook; of a widget,
only its repr does.
"""

from __future__ import annotations

import sys
from typing import Any
from uuid import uuid4


def has_cells() -> bool:
    """Whether this code runs in a kernel, whose outputs stand below cells."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class CellOutput:
    """A place below the cell that showed it first."""

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

"""Measured rows -> a Markdown table, a JSON file, and what fell below its bound."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import distributions
from os import cpu_count
from typing import Any

PACKAGES = ("v3io-frames-put", "pandas", "pyarrow", "v3io", "questdb")


@dataclass(frozen=True)
class Row:
    """One figure beside its peer.

    Attributes
    ----------
    what : str
        What was measured.
    ours, peer : str
        Both, with their units.
    ratio : float
        Ours over the peer's; what the goal is about.
    goal : str
        The goal's name, as performance.md has it; empty: there is none.
    at_least, at_most : float or None
        The goal itself.
    bound : float or None
        What is asserted: reached with room for the noise of a shared machine. It is a
        lower bound where the goal is one, else an upper one.
    details : dict
        The runs behind it.
    """

    what: str
    ours: str
    peer: str
    ratio: float
    goal: str = ""
    at_least: float | None = None
    at_most: float | None = None
    bound: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is reached; None: there is none."""
        if self.at_least is not None:
            return self.ratio >= self.at_least
        return None if self.at_most is None else self.ratio <= self.at_most

    @property
    def is_broken(self) -> bool:
        """Whether the figure is worse than its bound."""
        if self.bound is None:
            return False
        return self.ratio > self.bound if self.at_most is not None else self.ratio < self.bound

    def cells(self) -> list[str]:
        """Return the row's cells in the table."""
        goal = ""
        if self.at_least is not None:
            goal = f"{self.goal}: at least {self.at_least:g}"
        elif self.at_most is not None:
            goal = f"{self.goal}: at most {self.at_most:g}"
        met = {True: "yes", False: "no", None: ""}[self.is_met]
        return [self.what, self.ours, self.peer, f"{self.ratio:.3g}", goal, met]


HEAD = ["what", "ours", "peer, in the same run", "ratio", "goal", "met"]


def markdown_line(cells: Iterable[str]) -> str:
    """Write a row of the table."""
    return f"| {' | '.join(cells)} |"


def markdown_head() -> str:
    """Write the first two lines of the table."""
    return f"{markdown_line(HEAD)}\n{'|---' * len(HEAD)}|"


def to_json(rows: list[Row]) -> dict[str, Any]:
    """Return everything that was measured, and on what."""
    return {
        "machine": {
            "python": platform.python_version(),
            "system": platform.system(),
            "processors": cpu_count(),
        },
        "versions": {
            package.name: package.version for package in distributions() if package.name in PACKAGES
        },
        "rows": [{**asdict(row), "is_met": row.is_met} for row in rows],
    }

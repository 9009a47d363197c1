"""Small pieces of static HTML: no script, no link, colors that follow the notebook's theme.

Everything a caller passes is escaped here. Where a page takes styles and drawings away
(GitHub), the tables still say it all; so a drawing holds no text but its description.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_CELL_CHARACTERS: Final = 300

# JupyterLab's variables where they are defined, readable on light and dark where not.
_BAR: Final = 'fill="#1976d2" style="fill:var(--jp-brand-color1,#1976d2)"'
_AXIS: Final = 'stroke="#888888" style="stroke:var(--jp-border-color1,#888888)"'
_RULE: Final = "border-bottom:1px solid var(--jp-border-color2,#88888855)"
_PROSE: Final = "white-space:normal;line-height:1.4"
_SHORT: Final = 24  # characters that are not broken over lines
_CELL: Final = "padding:2px 10px 2px 0"
_HEAD: Final = f"{_CELL};{_RULE};white-space:nowrap"
_WIDTH: Final = 480
_HEIGHT: Final = 80


def text(value: Any, limit: int = MAX_CELL_CHARACTERS) -> str:
    """Escape a value; what is longer than ``limit`` characters is cut, and says so."""
    shown = value if isinstance(value, str) else f"{value:,}" if _is_count(value) else str(value)
    if len(shown) > limit:
        shown = f"{shown[:limit]}… ({len(shown):,} characters)"
    return escape(shown)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def paragraph(*lines: str) -> str:
    """Put lines of text, one under the other."""
    shown = "<br>".join(text(line, 2_000) for line in lines)
    return f'<p style="margin:.5em 0;{_PROSE}">{shown}</p>'


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Draw a table; the first cell of a row heads it, numbers stand to the right."""
    drawn = list(rows)
    sides = [_side(cell) for cell in drawn[0]] if drawn else ["left"] * len(header)
    head = "".join(
        f'<th scope="col" style="{_HEAD};text-align:{side}">{text(name)}</th>'
        for name, side in zip(header, sides, strict=True)
    )
    head = f"<thead><tr>{head}</tr></thead>" if any(header) else ""
    return (
        f'<table style="margin:.5em 0;border-collapse:collapse;{_PROSE}">'
        f'<caption style="{_CELL};text-align:left;font-weight:bold;white-space:nowrap">'
        f"{text(caption)}</caption>"
        f"{head}<tbody>{''.join(map(_row, drawn))}</tbody></table>"
    )


def _row(cells: Sequence[Any]) -> str:
    first, *others = cells
    drawn = [f'<th scope="row" style="{_style(first)}">{text(first)}</th>']
    drawn += [f'<td style="{_style(cell)}">{text(cell)}</td>' for cell in others]
    return f"<tr>{''.join(drawn)}</tr>"


def _style(cell: object) -> str:
    is_short = len(str(cell)) <= _SHORT
    wrap = "white-space:nowrap" if is_short else "overflow-wrap:anywhere"
    side = _side(cell)
    return f"{_CELL};vertical-align:top;font-weight:normal;text-align:{side};{wrap}"


def _side(cell: object) -> str:
    return "right" if isinstance(cell, (int, float)) else "left"


def columns_chart(description: str, values: Sequence[float]) -> str:
    """Draw one column a value, from zero up; ``description`` says it in words."""
    highest = max(values, default=0) or 1
    step = _WIDTH / max(len(values), 1)
    width = max(0.5, min(step * 0.8, 40))
    bars = "".join(
        f'<rect x="{place * step + (step - width) / 2:.1f}" y="{_HEIGHT - height:.1f}" '
        f'width="{width:.1f}" height="{height:.1f}" {_BAR}></rect>'
        for place, value in enumerate(values)
        if (height := value / highest * (_HEIGHT - 2)) >= 0
    )
    return _drawing(description, bars)


def area_chart(description: str, points: Sequence[tuple[float, float]]) -> str:
    """Draw values over an axis that begins at 0; ``description`` says it in words."""
    last = max((x for x, _ in points), default=0) or 1
    highest = max((y for _, y in points), default=0) or 1
    corners = [
        f"{x / last * _WIDTH:.1f},{_HEIGHT - y / highest * (_HEIGHT - 2):.1f}" for x, y in points
    ]
    shape = " ".join([f"0,{_HEIGHT}", *corners, f"{_WIDTH},{_HEIGHT}"])
    return _drawing(description, f'<polygon points="{shape}" {_BAR}></polygon>')


def _drawing(description: str, shapes: str) -> str:
    said = text(description, 1_000)
    axis = f'<line x1="0" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}" {_AXIS}></line>'
    return (
        f'<svg role="img" aria-label="{said}" viewBox="0 0 {_WIDTH} {_HEIGHT + 1}" '
        f'width="{_WIDTH}" height="{_HEIGHT + 1}" style="max-width:100%;display:block">'
        f"{shapes}{axis}</svg>"
    )

"""Small pieces of static HTML: no script, no link, colors for light and dark pages.

Everything a caller passes is escaped here. GitHub takes styles away and JupyterLab the
drawings of a notebook that it does not trust: so all numbers are text in tables, and
bars are blocks whose width or height is their only style that matters.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_CELL_CHARACTERS: Final = 300
COLORS: Final = {
    "stored": "#2e7d32",
    "rejected": "#d32f2f",
    "unknown": "#f9a825",
    "unsent": "#9e9e9e",
    "running": "#1976d2",
}
SPOKEN: Final = {  # what people call each status, in the order in which they want to know
    "stored": "stored",
    "rejected": "rejected",
    "unknown": "unknown",
    "unsent": "not sent",
}

_TYPE: Final = (
    "max-width:860px;font-size:13px;line-height:1.45;white-space:normal;"
    "font-variant-numeric:tabular-nums"
)
_TRACK: Final = "rgba(128,128,128,0.25)"
_LINE: Final = "1px solid rgba(128,128,128,0.3)"
_FAINT: Final = "opacity:0.75"
_SHORT: Final = 24  # characters that are not broken over lines
# Notebooks give tables stripes, a font size and a side of their own.
_ROW: Final = "background:transparent"
_CELL: Final = "padding:3px 12px 3px 0;border:none;vertical-align:top;font-weight:normal"
_CODE: Final = (
    "font-family:monospace;font-size:12px;background:rgba(128,128,128,0.15);color:inherit;"
    "border-radius:3px;padding:1px 4px"
)
_MARKED: Final = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")
_A_LINE: Final = 8  # columns of a chart
_HEIGHT: Final = 60


class Html(str):
    """Text that is HTML already, so that it is not escaped again."""

    __slots__ = ()


def text(value: Any, limit: int = MAX_CELL_CHARACTERS) -> str:
    """Escape a value, and cut it after ``limit`` characters with a note of its length.

    Whole numbers are counts and get separators; a number that names something is passed
    as text.
    """
    if isinstance(value, Html):
        return value
    is_count = isinstance(value, int) and not isinstance(value, bool)
    shown = f"{value:,}" if is_count else str(value)
    if len(shown) > limit:
        shown = f"{shown[:limit]}… ({len(shown):,} characters)"
    return escape(shown)


def code(value: str) -> Html:
    """Draw a name, as code is drawn."""
    return Html(f'<code style="{_CODE}">{text(value)}</code>')


def prose(words: str) -> Html:
    """Escape words, and mark `code` and **bold** ones as in Markdown."""
    shown = text(words, 2_000)

    def draw(found: re.Match[str]) -> str:
        is_code, is_bold = found.groups()
        return f'<code style="{_CODE}">{is_code}</code>' if is_code else f"<b>{is_bold}</b>"

    return Html(_MARKED.sub(draw, shown))


def block(kind: str, *parts: str, style: str = "", role: str = "") -> str:
    """Put parts one below the other, in the type of a page."""
    named = f'class="v3io-{kind}"' + (f' role="{role}"' if role else "")
    return f'<div {named} style="{_TYPE};{style}">{"".join(parts)}</div>'


def card(*parts: str) -> str:
    """Put a page together."""
    style = f"border:{_LINE};border-radius:8px;padding:12px 18px;margin:4px 0;box-sizing:border-box"
    return block("card", *parts, style=style)


def headline(words: str, chips: str, beside: str) -> str:
    """Draw the most important line, and small words beside it."""
    return (
        '<div style="display:flex;flex-wrap:wrap;align-items:baseline;gap:4px 10px">'
        f'<b style="font-size:16px">{text(words)}</b> {chips} '
        f'<span style="margin-left:auto;{_FAINT}">{text(beside)}</span></div>'
    )


def chip(status: str, count: int, words: str) -> str:
    """Draw a count on the color of a status; of none, nothing."""
    if not count:
        return ""
    ink = "#212121" if status in ("unknown", "unsent") else "#ffffff"
    style = (
        f"background:{COLORS[status]};color:{ink};border-radius:10px;padding:1px 9px;"
        "font-size:12px;white-space:nowrap"
    )
    return f'<span style="{style}">{count:,} {text(words)}</span>'


def dot(status: str) -> str:
    """Draw the color of a status."""
    return (
        f'<span style="display:inline-block;width:9px;height:9px;border-radius:50%;'
        f'margin-right:6px;background:{COLORS[status]}"></span>'
    )


def status_bar(shares: Mapping[str, int], total: int | None, *, stored: str = "stored") -> str:
    """Draw a bar that stored rows fill from the left, others apart on the right.

    Rows that were not sent leave it empty; so does a total that is not known. ``stored`` is
    the status whose color the stored rows have.
    """
    drawn = ""
    for status, color in (("stored", stored), ("rejected", "rejected"), ("unknown", "unknown")):
        rows = shares[status]
        if total and rows:
            style = f"width:{rows / total:.4%};min-width:3px;background:{COLORS[color]}"
            drawn += f'<div class="v3io-{status}" title="{rows:,} {status}" style="{style}"></div>'
        if status == "stored":
            drawn += '<div style="flex:1"></div>'
    said = ", ".join(f"{shares[s]:,} {name}" for s, name in SPOKEN.items() if shares[s])
    style = (
        f"display:flex;height:8px;border-radius:4px;overflow:hidden;background:{_TRACK};"
        "margin:10px 0 8px"
    )
    return (
        f'<div class="v3io-bar" role="img" aria-label="{escape(said or "nothing yet")}" '
        f'style="{style}">{drawn}</div>'
    )


def figures(items: Sequence[tuple[str, str]]) -> str:
    """Draw large numbers, each above its label; the last one is at the right."""
    left = f"{_CELL};text-align:left;white-space:nowrap;width:1%;padding-right:26px"
    styles = [left] * (len(items) - 1) + [f"{_CELL};text-align:right;padding-right:0"]
    numbers = labels = ""
    for style, (number, label) in zip(styles, items, strict=True):
        numbers += f'<td style="{style};font-size:19px;padding-bottom:0"><b>{number}</b></td>'
        labels += f'<td style="{style};font-size:12px;padding-top:0;{_FAINT}">{label}</td>'
    return _draw_table([numbers, labels], "width:100%;table-layout:auto")


def notice(words: str, *, color: str = "unknown") -> str:
    """Draw a box for what must not be missed; words as in `prose`."""
    red, green, blue = (int(COLORS[color][at : at + 2], 16) for at in (1, 3, 5))
    style = (
        f"border-left:4px solid {COLORS[color]};background:rgba({red},{green},{blue},0.1);"
        "padding:6px 10px;border-radius:0 4px 4px 0;margin:8px 0"
    )
    return f'<div class="v3io-notice" style="{style}">{prose(words)}</div>'


def paragraph(words: str) -> str:
    """Draw a paragraph; words as in `prose`."""
    return f'<p style="margin:.5em 0;white-space:normal;line-height:1.45">{prose(words)}</p>'


def fold(heading: str, aside: str, inside: str, *, is_open: bool = False) -> str:
    """Draw a part that opens with a click; with nothing inside, nothing."""
    if not inside:
        return ""
    more = f' <span style="font-weight:normal;{_FAINT}">· {text(aside)}</span>' if aside else ""
    return (
        f'<details{" open" if is_open else ""} style="margin:10px 0 0">'
        f'<summary style="cursor:pointer;font-weight:bold">{text(heading)}{more}</summary>'
        f"{inside}</details>"
    )


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Draw a table; the first cell of a row is its header, numbers are right-aligned.

    Columns without any text are left out, and so is a header without any; of no rows, nothing is
    drawn.
    """
    columns = [c for c in zip(header, *rows, strict=True) if any(cell != "" for cell in c[1:])]
    if not columns:
        return ""
    names, *lines = zip(*columns, strict=True)
    drawn = []
    if any(names):
        style = f"{_CELL};border-bottom:{_LINE};white-space:nowrap;font-size:12px;{_FAINT}"
        heads = (
            f'<th scope="col" style="{style};text-align:{_side(cell)}">{text(name)}</th>'
            for name, cell in zip(names, lines[0], strict=True)
        )
        drawn.append("".join(heads))
    for name, *cells in lines:
        others = "".join(f'<td style="{_style(cell)}">{text(cell)}</td>' for cell in cells)
        drawn.append(f'<th scope="row" style="{_style(name)}">{text(name)}</th>{others}')
    return _draw_table(drawn, "table-layout:auto;white-space:normal;font-size:13px")


def _draw_table(rows: Iterable[str], style: str) -> str:
    drawn = "".join(f'<tr style="{_ROW}">{cells}</tr>' for cells in rows)
    style = f"margin:6px 0 0;border-collapse:collapse;border:none;{style}"
    return f'<table style="{style}"><tbody>{drawn}</tbody></table>'


def _style(cell: object) -> str:
    is_short = len(re.sub("<[^>]*>", "", str(cell))) <= _SHORT
    wrap = "white-space:nowrap" if is_short else "overflow-wrap:anywhere"
    return f"{_CELL};border-bottom:{_LINE};text-align:{_side(cell)};{wrap}"


def _side(cell: object) -> str:
    return "right" if isinstance(cell, (int, float)) else "left"


def shards_chart(rows: Mapping[Any, int]) -> str:
    """Draw one column a shard, eight in a line: its rows above, its number below."""
    highest, items = max([*rows.values(), 1]), list(rows.items())
    base = "padding:0 2px;border:none;text-align:center;font-size:12px;font-weight:normal"
    head = "padding:0 6px 0 0;border:none;text-align:left;vertical-align:top;font-size:12px"
    drawn = []
    for at in range(0, len(items), _A_LINE):
        line = items[at : at + _A_LINE]
        bars = names = ""
        for shard, count in line:
            bar = (
                f"height:{count / highest * _HEIGHT:.0f}px;background:{COLORS['running']};"
                "border-radius:2px 2px 0 0"
            )
            bars += (
                f'<td style="{base};vertical-align:bottom;border-bottom:{_LINE}">'
                f'{f"{count:,}" if count else "<b>0</b>"}<div style="{bar}"></div></td>'
            )
            names += f'<th scope="col" style="{base};{_FAINT}">{shard}</th>'
        empty = f'<td style="{base}"></td>' * (_A_LINE - len(line))
        drawn += [
            f'<th scope="row" style="{head};width:44px;{_FAINT}">{title}</th>{cells}{empty}'
            for title, cells in (("Rows", bars), ("Shard", names))
        ]
    return _draw_table(drawn, "width:100%;table-layout:fixed") if drawn else ""


def short_number(value: float) -> str:
    """Write a number in three digits: 950, 55.5k, 1.20M."""
    units = (("G", 1e9), ("M", 1e6), ("k", 1e3))
    unit, size = next((one for one in units if value >= one[1] * 0.9995), ("", 1))
    number = value / size
    return (f"{number:.3g}" if number < 999.5 else f"{number:,.0f}") + unit  # noqa: PLR2004


def size(count: float) -> str:
    """Write a number of bytes: 850 B, 29.1 MB."""
    shown = short_number(count)
    number, unit = (shown[:-1], shown[-1]) if shown[-1].isalpha() else (shown, "")
    return f"{number} {unit}B"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Write a count with its noun: 1 row, 2 rows."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"

"""What the uploader shows, as HTML: what happened last, the plan, how it went."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pandas as pd

from v3io_frames_put import _html
from v3io_frames_put.errors import PutRecordsError
from v3io_frames_put.plan.records_plan import draw_live_plan
from v3io_frames_put.progress import CellOutput, has_cells
from v3io_frames_put.summary import draw_summary, summarize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from v3io_frames_put.plan import RecordsPlan
    from v3io_frames_put.widget.background import Ended

SHOWN_ROWS: Final = 50
_NOTHING: Final = "Nothing uploaded yet."
_PROSE: Final = "white-space:normal;line-height:1.45;max-width:860px"
# What a message of the library says, and what it means in the form.
_IN_THE_FORM: Final = {
    r"Check access_key= or V3IO_ACCESS_KEY, or username= and password=": (
        "Correct the field Access key (or V3IO_ACCESS_KEY, if it is empty)"
    ),
    r"(Check|Set) endpoint= or V3IO_API( to that address)?": "Correct the field Endpoint",
    r"Check the endpoint and the network; error\.results says what to send again": (
        "Check the field Endpoint and the network"
    ),
    r"Name it with columns=\[\.\.\.\]": "Check one in the list Columns",
    r"Give verify= the file of the authority that signed it; verify=False trusts anyone": (
        "Make the uploader with client=Client(..., verify=file), the file of its authority"
    ),
    r"client_info: delivery='exactly_once' writes its tags there\. Leave one of them out": (
        "Delivery exactly_once writes its tags into the client info. Choose none in the field "
        "Client info, or another Delivery"
    ),
    r"(there are )?no columns to send; expected at least one\. See columns=": (
        "No column is checked; expected at least one in the list Columns"
    ),
}
_FIELDS: Final = {
    "columns": "Columns", "format": "Format", "rows_per_record": "Rows per record",
    "partition_key": "Partition key", "shard": "Shard", "client_info": "Client info",
    "delivery": "Delivery", "journal": "Journal", "endpoint": "Endpoint", "stream": "Stream",
    "access_key": "Access key",
}  # fmt: skip
_OPTION: Final = re.compile(rf"\b({'|'.join(_FIELDS)})(=|:)(?=['\" ])\s?")


def draw_message(message: str, *, is_alarm: bool = False) -> str:
    """Draw what happened last; screen readers say it. Nothing is drawn for nothing."""
    if not message:
        return ""
    color = _html.COLORS["rejected" if is_alarm else "running"]
    style = f"border-left:4px solid {color};padding:2px 0 2px 10px;margin:6px 0;{_PROSE}"
    kind = "alarm" if is_alarm else "calm"
    words = _html.text(message, 2_000)
    return f'<div role="status" class="v3io-{kind}" style="{style}">{words}</div>'


def in_form_words(error: BaseException) -> str:
    """Say what went wrong in the words of the form: fields and buttons, not parameters."""
    if not isinstance(error, PutRecordsError):
        return f"{type(error).__name__}: {error}"
    words = str(error)
    for ours, theirs in _IN_THE_FORM.items():
        words = re.sub(ours, theirs, words)
    return _OPTION.sub(lambda found: f"{_FIELDS[found[1]]}{':' * (found[2] == ':')} ", words)


def last_word(ended: Ended) -> str:
    """Say in a sentence or two how an upload ended; the page below says the numbers."""
    if ended.error is not None:
        return in_form_words(ended.error)
    if ended.results is None:
        return "Stopped: nothing was sent."
    summary = summarize(ended.results)
    said = "Stopped." if ended.status == "stopped" else "Done."
    if summary.receipt.get("already_complete"):
        said = "Already complete: nothing was sent."
    rejected = summary.counts["rejected"]
    if rejected:
        rows = _html.plural(rejected, "row was", "rows were")
        said += f" {rows} rejected, for the reasons below."
    if summary.counts["unknown"]:
        said += f" {_html.plural(summary.counts['unknown'], 'row')} may or may not be stored."
    return said


def draw_plan(plan: RecordsPlan, *, total: int, is_open: bool) -> str:
    """Draw a live plan of the first rows, or of all; ``total`` rows are there."""
    drawn = draw_live_plan(plan, total, is_open=is_open)
    return f'<div class="v3io-plan" style="{_PROSE}">{drawn}</div>'


def draw_shape(rows: int, columns: int) -> str:
    """Draw how large a DataFrame is, below its name."""
    said = f"{_html.plural(rows, 'row')}, {_html.plural(columns, 'column')}"
    return f'<div style="margin-left:calc(9em + 6px);opacity:0.75">{said}</div>'


def draw_results(results: pd.DataFrame, history: Sequence[tuple[float, int]]) -> str:
    """Draw how it went: the summary, rows that are not stored, and throughput over time."""
    parts = [_draw_unstored(results)]
    rates = rates_of(history)
    if len(rates) > 1:
        highest = _html.short_number(max(rate for _, rate in rates))
        said = f"over {rates[-1][0]:.1f} s, at most {highest} rows/s"
        parts.append(_html.fold("Rows per second", said, _html.area_chart(said, rates)))
    summary = summarize(results)
    return draw_summary(summary, more="".join(parts), go_on="The first button above")


def rates_of(history: Sequence[tuple[float, int]]) -> list[tuple[float, float]]:
    """Turn seconds and rows stored until then into seconds and rows a second."""
    return [
        (now, (rows - rows_before) / (now - before))
        for (before, rows_before), (now, rows) in pairwise(history)
        if now > before
    ]


def _draw_unstored(results: pd.DataFrame) -> str:
    unstored = results[results["status"] != "stored"]
    if unstored.empty:
        return ""
    aside = f"the first {SHOWN_ROWS}, all in .results" if len(unstored) > SHOWN_ROWS else ""
    rows = [
        (str(label), *("" if pd.isna(cell) else str(cell) for cell in cells))
        for label, *cells in unstored.head(SHOWN_ROWS)[
            ["status", "error_message", "error_detail", "attempts"]
        ].itertuples(name=None)
    ]
    header = ["Row", "Status", "Reason", "Detail", "Attempts"]
    heading = f"{_html.plural(len(unstored), 'row')} not stored, row by row"
    return _html.fold(heading, aside, _html.table(header, rows))


class LastState:
    """A static copy of the last state, below the widget, that stays in a saved notebook.

    A notebook saved without its widgets' state shows of a widget only its repr.
    """

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

"""What the uploader shows, as HTML: what happened last, the plan, how it went."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from .. import _html
from ..errors import PutRecordsError
from ..plan.records_plan import draw_live_plan
from ..progress import CellOutput, is_notebook
from ..summary import summarize

if TYPE_CHECKING:
    import pandas as pd

    from ..plan import RecordsPlan

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
_FIELDS: Final = (
    "columns", "format", "rows_per_record", "partition_key", "shard", "client_info", "delivery",
    "journal", "endpoint", "stream", "access_key",
)  # fmt: skip
_OPTION: Final = re.compile(rf"\b({'|'.join(_FIELDS)})(=|:)(?=['\" ])\s?")


class Ended(NamedTuple):
    """How an upload ended."""

    status: Literal["done", "stopped", "failed"]  # done: every row has an outcome
    results: pd.DataFrame | None = None  # None: nothing had been sent
    error: BaseException | None = None  # why it failed


def draw_message(message: str, *, is_alarm: bool = False) -> str:
    """Draw what happened last; screen readers read it aloud."""
    if not message:
        return ""
    color = _html.COLORS["rejected" if is_alarm else "running"]
    style = f"border-left:4px solid {color};padding:2px 0 2px 10px;margin:6px 0;{_PROSE}"
    kind = "alarm" if is_alarm else "calm"
    words = _html.text(message, 2_000)
    return f'<div role="status" class="v3io-{kind}" style="{style}">{words}</div>'


def in_form_words(error: BaseException) -> str:
    """Return an error's text in the words of the form: fields and buttons, not parameters."""
    if not isinstance(error, PutRecordsError):
        return f"{type(error).__name__}: {error}"
    words = str(error)
    for in_python, in_form in _IN_THE_FORM.items():
        words = re.sub(in_python, in_form, words)

    def name_field(option: re.Match[str]) -> str:
        field = option[1].replace("_", " ").capitalize()
        return f"{field}: " if option[2] == ":" else f"{field} "

    return _OPTION.sub(name_field, words)


def last_word(ended: Ended) -> str:
    """Return a sentence or two about the end of an upload; the page below has the numbers."""
    if ended.error is not None:
        return in_form_words(ended.error)
    if ended.results is None:
        return "Stopped: nothing was sent."
    summary = summarize(ended.results)
    words = "Stopped." if ended.status == "stopped" else "Done."
    if summary.receipt.get("already_complete"):
        words = "Already complete: nothing was sent."
    if rejected := summary.counts["rejected"]:
        rows = _html.plural(rejected, "row was", "rows were")
        words += f" {rows} rejected, for the reasons below."
    if unknown := summary.counts["unknown"]:
        words += f" {_html.plural(unknown, 'row')} may or may not be stored."
    return words


def draw_plan(plan: RecordsPlan, *, total: int, is_open: bool) -> str:
    """Draw a live plan of the first rows, or of all; ``total`` rows are there."""
    drawn = draw_live_plan(plan, total, is_open=is_open)
    return f'<div class="v3io-plan" style="{_PROSE}">{drawn}</div>'


class LastState:
    """A static copy of the last state, below the widget, that stays in a saved notebook.

    A notebook saved without its widgets' state shows of a widget only its repr.
    """

    def __init__(self) -> None:
        self._output = CellOutput()
        self._html = ""

    def show(self) -> None:
        """Make a place for it in the cell that runs now; outside of a kernel, none."""
        if is_notebook():
            self._output = CellOutput()  # of a widget that is shown again, the newest place
            self._draw()

    def replace(self, html: str = "") -> None:
        """Replace it; from any thread."""
        self._html = html
        if self._output.is_shown:
            self._draw()

    def _draw(self) -> None:
        """Fold it away: beside the living widget it says nothing new."""
        summary = "<summary>Last state, kept with the notebook</summary>"
        folded = f"<details>{summary}{self._html or 'Nothing uploaded yet.'}</details>"
        self._output.show(folded, "Last state of the uploader")

"""What the uploader says, in the words of the form."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .. import _html
from ..errors import PutRecordsError
from .form import FIELDS, name_field

if TYPE_CHECKING:
    from ..summary import Summary

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
_OPTION: Final = re.compile(rf"\b({'|'.join(FIELDS)})(=|:)(?=['\" ])\s?")


def draw_message(message: str, *, is_alarm: bool = False) -> str:
    """Draw what happened last; screen readers read it aloud."""
    if not message:
        return ""
    color = _html.COLORS["rejected" if is_alarm else "running"]
    style = f"border-left:4px solid {color};padding:2px 0 2px 10px;margin:6px 0"
    kind = "alarm" if is_alarm else "calm"
    return _html.block(kind, _html.text(message, 2_000), style=style, role="status")


def in_form_words(error: BaseException) -> str:
    """Return an error's text in the words of the form: fields and buttons, not parameters."""
    if not isinstance(error, PutRecordsError):
        return f"{type(error).__name__}: {error}"
    words = str(error)
    for in_python, in_form in _IN_THE_FORM.items():
        words = re.sub(in_python, in_form, words)

    def name_control(option: re.Match[str]) -> str:
        return f"{name_field(option[1])}{':' if option[2] == ':' else ''} "

    return _OPTION.sub(name_control, words)


def last_word(summary: Summary | None, *, is_stopped: bool) -> str:
    """Return a sentence or two about the end of an upload; the page below has the numbers."""
    if summary is None:
        return "Stopped: nothing was sent."
    words = "Stopped." if is_stopped else "Done."
    if summary.receipt.get("already_complete"):
        words = "Already complete: nothing was sent."
    if rejected := summary.counts["rejected"]:
        rows = _html.plural(rejected, "row was", "rows were")
        words += f" {rows} rejected, for the reasons below."
    if unknown := summary.counts["unknown"]:
        words += f" {_html.plural(unknown, 'row')} may or may not be stored."
    return words

"""The buttons and the places where the uploader says something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import ipywidgets as widgets

from v3io_frames_put.widget import show

if TYPE_CHECKING:
    from v3io_frames_put.widget.form import Form

_ROW: Final = {"flex_flow": "row wrap"}
_SEND_REST: Final = "Send what is left"


class Controls:
    """Everything an uploader is made of, and how it looks in each status.

    Parameters
    ----------
    form : Form
        The choices.
    """

    def __init__(self, form: Form) -> None:
        self.form = form
        self.upload = widgets.Button(description="Upload", button_style="primary")
        self.pause = widgets.Button(description="Pause", disabled=True)
        self.stop = widgets.Button(description="Stop", disabled=True)
        self.rest = widgets.Button(description=_SEND_REST, disabled=True)
        self.again = widgets.Button(description="Send all rows again")
        self.cancel = widgets.Button(description="Cancel")
        self.find = widgets.Button(description="Find DataFrames")
        self.create = widgets.Button(description="Create stream")
        self.shards = widgets.BoundedIntText(1, 1, 4_096, description="Shards")
        self.hours = widgets.BoundedIntText(24, 1, 100_000, description="Hours kept")
        self.save = widgets.Button(description="Save results", disabled=True)
        self.path = widgets.Text("results.parquet", description="to the file")
        self.message, self.numbers, self.preview, self.after = (widgets.HTML() for _ in range(4))
        self._create_row = widgets.HBox([self.create, self.shards, self.hours], layout=_ROW)
        self._confirm_row = widgets.HBox([self.again, self.cancel], layout=_ROW)
        self.offer_create(wanted=False)
        self.offer_again(wanted=False)

    @property
    def boxes(self) -> list[Any]:
        """All of it, in the order of a reader and of the Tab key."""
        return [
            self.form.box,
            widgets.HBox([self.upload, self.pause, self.stop, self.rest, self.find], layout=_ROW),
            self._create_row,
            self.message,
            self._confirm_row,
            self.numbers,
            self.after,
            widgets.HBox([self.save, self.path], layout=_ROW),
            self.preview,
        ]

    def say(self, message: str, *, is_alarm: bool = False) -> None:
        """Say what happened last."""
        self.message.value = show.draw_message(message, is_alarm=is_alarm)

    def offer_create(self, *, wanted: bool) -> None:
        """Show or hide what creates the stream."""
        self._create_row.layout.display = "" if wanted else "none"

    def offer_again(self, *, wanted: bool) -> None:
        """Show or hide what confirms that stored rows are sent a second time."""
        self._confirm_row.layout.display = "" if wanted else "none"

    def show_status(self, status: str, *, has_results: bool, has_rest: bool) -> None:
        """Let only those buttons be pressed that do something."""
        is_running = status in ("uploading", "pausing", "stopping")
        self.upload.disabled = is_running
        self.upload.description = "Start over" if has_rest and not is_running else "Upload"
        self.upload.button_style = "" if has_rest else "primary"
        self.rest.button_style = "primary" if has_rest else ""
        self.pause.disabled = status != "uploading"
        self.stop.disabled = status not in ("uploading", "pausing")
        self.rest.disabled = is_running or not has_rest
        self.rest.description = "Resume" if status == "paused" else _SEND_REST
        self.save.disabled = not has_results

    def clear(self) -> None:
        """Take away what the last upload left."""
        self.numbers.value = self.after.value = ""

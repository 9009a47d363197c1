"""Which data is to be sent, and the live plan of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from v3io_frames_put.errors import PutRecordsError
from v3io_frames_put.plan import plan_records
from v3io_frames_put.widget import show
from v3io_frames_put.widget.sources import (
    file_expression,
    find_frames,
    notebook_names,
    read_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from v3io_frames_put.client import Client
    from v3io_frames_put.plan import RecordsPlan
    from v3io_frames_put.widget.choices import Choices
    from v3io_frames_put.widget.controls import Controls

_SAMPLE_ROWS: Final = 5_000  # a live plan reads no more
_SAMPLE_CELLS: Final = 500_000


class Picker:
    """Lets pick a DataFrame or a file, and plans it whenever a choice changes.

    Parameters
    ----------
    controls : Controls
        Where it is picked, and where the plan is shown.
    data : DataFrame, optional
        The first pick.
    names : mapping, optional
        Where to look for DataFrames. None: the notebook's variables.
    client : Client, optional
        Whose limits count.
    soon : callable
        Has named work done outside of callbacks.
    """

    def __init__(
        self,
        controls: Controls,
        data: pd.DataFrame | None,
        *,
        names: Mapping[str, Any] | None,
        client: Client | None,
        soon: Callable[[str, Callable[[], Any]], None],
    ) -> None:
        self.data, self.source = data, "df"
        self.plan: RecordsPlan | None = None
        self._controls, self._form = controls, controls.form
        self._names, self._client, self._soon = names, client, soon
        self._frames: dict[str, pd.DataFrame] = {}

    def read_choices(self) -> Choices:
        """Return what the form says now."""
        return self._form.read(self.source)

    def find_frames(self) -> None:
        """Look for DataFrames anew; the one in use stays."""
        found = find_frames(notebook_names() if self._names is None else self._names)
        if self.data is not None and not any(frame is self.data for frame in found.values()):
            found = {self.source: self.data, **found}
        name = next((n for n, frame in found.items() if frame is self.data), next(iter(found), ""))
        self._frames = found
        self._form.frame.options = list(found)
        if not name:
            self._controls.say(
                "There is no DataFrame here. Make one and press Find DataFrames, or give a file."
            )
            return
        self._form.frame.value = name
        self._use(found[name], name)

    def choose_frame(self) -> None:
        """Take the DataFrame that was picked."""
        name = self._form.frame.value
        if name is not None and self._frames[name] is not self.data:
            self._use(self._frames[name], name)

    def choose_file(self) -> None:
        """Read the file that was named."""
        path = self._form.file.value.strip()
        if path:
            self._controls.say(f"Reading {path}")
            self._soon("file", lambda: self._use(read_file(path), file_expression(path)))

    def _use(self, frame: pd.DataFrame, source: str) -> None:
        self.data, self.source = frame, source
        self._form.offer_columns(frame)
        self._controls.say(f"{source}: {len(frame):,} rows, {len(frame.columns):,} columns")
        self.replan()

    def replan(self) -> None:
        """Plan soon."""
        self._soon("plan", self._make_plan)

    def _make_plan(self) -> None:
        if self.data is None:
            return
        rows = max(1, min(_SAMPLE_ROWS, _SAMPLE_CELLS // max(1, len(self.data.columns))))
        choices = self.read_choices()
        options = choices.options() | {"client": self._client}
        options.pop("journal", None)  # nothing is sent, so nothing is kept
        try:
            plan = plan_records(
                self.data.head(rows), choices.stream or "container/stream", **options
            )
        except PutRecordsError as error:
            self.plan = None
            self._controls.preview.value = show.draw_message(str(error), is_alarm=True)
            return
        self.plan = plan
        sampled_of = len(self.data) if len(self.data) > rows else None
        self._controls.preview.value = show.draw_plan(plan, sampled_of=sampled_of)

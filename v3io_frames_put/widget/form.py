"""The form: every choice of an upload as one labelled control."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

import ipywidgets as widgets

from v3io_frames_put._producer.policy import DeliveryMode
from v3io_frames_put.widget.choices import Choices
from v3io_frames_put.widget.secret import SecretText

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

NOTHING: Final = ""  # what a control of columns says for None
_WIDE: Final = {"layout": {"width": "auto"}, "style": {"description_width": "9em"}}
_SHOWN_COLUMNS: Final = 6


class Form:
    """The controls, and what they say.

    Parameters
    ----------
    choices : Choices
        What they say at first.
    has_client : bool
        Whether a Client was given, so that nobody has to say where the platform is.
    """

    def __init__(self, choices: Choices, *, has_client: bool) -> None:
        self._first = choices
        self.frame = widgets.Dropdown(description="DataFrame", **_WIDE)
        self.file = _text("or a file", "", "Parquet or CSV, a path where the kernel runs")
        self.endpoint = _text("Endpoint", "", "empty: as V3IO_API says")
        self.key = SecretText(
            description="Access key",
            placeholder="empty: as V3IO_ACCESS_KEY says, if Endpoint is empty",
            **_WIDE,
        )
        self.stream = _text("Stream", choices.stream, "container/path/to/stream")
        self.columns = widgets.SelectMultiple(description="Columns", rows=_SHOWN_COLUMNS, **_WIDE)
        self.index = widgets.Checkbox(choices.index, description="Send the index, too", **_WIDE)
        self.format = _choice("Format", ("json", "arrow", "raw"), choices.format)
        self.rows_per_record = widgets.BoundedIntText(
            choices.rows_per_record, 1, 1_000_000, description="Rows a record", **_WIDE
        )
        self.partition_key = _choice("Partition key", (NOTHING,), NOTHING)
        self.shard = _choice("Shard", (NOTHING,), NOTHING)
        self.client_info = _choice("Client info", (NOTHING,), NOTHING)
        self.delivery = _choice("Delivery", get_args(DeliveryMode), choices.delivery)
        hint = "a file that lets it go on after a kill; empty: none"
        self.journal = _text("Journal", choices.journal or "", hint)
        self._has_client = has_client

    @property
    def box(self) -> Any:
        """All controls, in the order of a reader and of the Tab key."""
        platform = [] if self._has_client else [self.endpoint, self.key]
        left = widgets.VBox([self.frame, self.file, *platform, self.stream, self.columns])
        right = widgets.VBox(
            [
                self.index,
                self.format,
                self.rows_per_record,
                self.partition_key,
                self.shard,
                self.client_info,
                self.delivery,
                self.journal,
            ]
        )
        for side in (left, right):
            side.layout.flex = "1 1 22em"
        return widgets.Box([left, right], layout={"flex_flow": "row wrap", "width": "100%"})

    def on_change(self, call: Callable[[Any], None]) -> None:
        """Call back when a choice changes that a plan depends on."""
        for control in (
            self.stream, self.columns, self.index, self.format, self.rows_per_record,
            self.partition_key, self.shard, self.client_info, self.delivery,
        ):  # fmt: skip
            control.observe(call, names="value")

    def offer_columns(self, frame: pd.DataFrame) -> None:
        """Offer the columns of a frame; choices that it has, too, stay."""
        names, levels = name_columns(frame)
        first = self._first
        was_all = self.columns.value == tuple(self.columns.options)
        kept = first.columns or names if was_all else self.columns.value
        self.columns.options = names
        self.columns.value = tuple(name for name in kept if name in names) or names
        for control, wanted in (
            (self.partition_key, first.partition_key),
            (self.shard, first.shard),
            (self.client_info, first.client_info),
        ):
            chosen = wanted if control.value == NOTHING else control.value
            fixed = [] if wanted is None or isinstance(wanted, str) else [wanted]
            values = [*names, *levels, *fixed]
            told = [*names, *levels, *(f"{value!r} for every row" for value in fixed)]
            control.options = [("none", NOTHING), *zip(told, values, strict=True)]
            control.value = chosen if chosen in values else NOTHING

    def read(self, source: str) -> Choices:
        """Return what the controls say."""
        all_chosen = self.columns.value == tuple(self.columns.options)
        return Choices(
            source=source,
            endpoint=self.endpoint.value.strip(),
            stream=self.stream.value.strip(),
            columns=None if all_chosen else self.columns.value,
            index=self.index.value,
            format=self.format.value,
            rows_per_record=self.rows_per_record.value,
            partition_key=_chosen(self.partition_key),
            shard=_chosen(self.shard),
            client_info=_chosen(self.client_info),
            delivery=self.delivery.value,
            journal=self.journal.value.strip() or None,
        )


def name_columns(frame: pd.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name what the form offers of a frame: its columns, and the levels of its index."""
    levels = tuple(str(name) for name in frame.index.names if name is not None)
    return tuple(map(str, frame.columns)), levels


def _chosen(control: Any) -> Any:
    return None if control.value == NOTHING else control.value


def _text(description: str, value: str, placeholder: str) -> Any:
    return widgets.Text(
        value, description=description, placeholder=placeholder, continuous_update=False, **_WIDE
    )


def _choice(description: str, options: tuple[str, ...], value: str) -> Any:
    return widgets.Dropdown(options=options, value=value, description=description, **_WIDE)

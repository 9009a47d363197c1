"""The form: what is sent, where to, and options, each choice as one labelled control."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import ipywidgets as widgets
import pandas as pd
from traitlets import Unicode

from .. import _html
from ..config import DeliveryMode, Format, check_choice, check_whole
from ..errors import ColumnNotFound, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NOTHING: Final = ""  # what a control of columns says for None
_FIXED: Final = {"shard": int, "client_info": bytes}  # one for every row
_NOT_OPTIONS: Final = ("source", "endpoint", "stream")
_WIDE: Final = {"layout": {"width": "auto"}, "style": {"description_width": "9em"}}
_ROW: Final = {"flex_flow": "row wrap", "align_items": "center"}
_LOW: Final = {"height": "22px", "margin": "1px 2px"}
_INSET: Final = {"margin": "0 0 0 calc(9em + 4px)", "width": "auto"}
_SHOWN_COLUMNS: Final = 8  # a control each: a thousand of them would flood the notebook
_OPTIONS: Final = (
    "format", "rows_per_record", "shard", "client_info", "delivery", "journal",
)  # fmt: skip
_READERS: Final = {  # by the ending of a file's name: functions of pandas
    ".parquet": "read_parquet",
    ".pq": "read_parquet",
    ".csv": "read_csv",
    ".csv.gz": "read_csv",
    ".csv.zip": "read_csv",
}
_WRITERS: Final = {".parquet": "to_parquet", ".csv": "to_csv", ".csv.gz": "to_csv"}


# -- the choices ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The values of the form, named as in ``put_records``."""

    source: str = "df"  # the data, as a Python expression
    endpoint: str = ""  # empty: the environment's
    stream: str = ""
    columns: tuple[str, ...] | None = None
    index: bool = False
    format: Format = "json"
    rows_per_record: int = 1
    partition_key: str | None = None
    shard: str | int | None = None
    client_info: str | bytes | None = None
    delivery: DeliveryMode = "at_least_once"
    journal: str | None = None

    def check(self, frame: pd.DataFrame) -> None:
        """Refuse values that no control can show, and columns that the frame does not have."""
        check_choice("format", self.format, get_args(Format))
        check_choice("delivery", self.delivery, get_args(DeliveryMode))
        check_whole("rows_per_record", self.rows_per_record, least=1)
        if self.columns == ():
            raise ConfigError("columns: there are none to send; expected at least one.")
        named = [("columns", name) for name in self.columns or ()]
        for option in ("partition_key", "shard", "client_info"):
            value = getattr(self, option)
            if isinstance(value, str):
                named.append((option, value))
            elif value is not None and not isinstance(value, _FIXED.get(option, ())):
                raise ConfigError(
                    f"{option} is a {type(value).__name__}; the form takes a column's name. Make "
                    f"it a column, or call put_records."
                )
        names = [name for names in name_columns(frame) for name in names]
        for option, name in named:
            if name not in names:
                raise ColumnNotFound(name, option=option, available=names)

    def options(self) -> dict[str, Any]:
        """Return the options that are not at their defaults."""
        return {
            option.name: value
            for option in fields(self)
            if option.name not in _NOT_OPTIONS
            and (value := getattr(self, option.name)) != option.default
        }

    def code(self) -> str:
        """Write the same upload as code, to paste into a job; it holds no key."""
        lines = [self.source, repr(self.stream)]
        if self.endpoint:
            lines.append(f"client=v3io_frames_put.Client({self.endpoint!r}, access_key=...)")
        for name, value in self.options().items():
            lines.append(f"{name}={list(value) if name == 'columns' else value!r}")
        arguments = "".join(f"    {line},\n" for line in lines)
        return f"results = v3io_frames_put.put_records(\n{arguments})"


# -- the data ------------------------------------------------------------------------------


def find_frames(names: Mapping[str, Any] | None) -> dict[str, pd.DataFrame]:
    """Find the DataFrames among variables, in order; None: those of the notebook."""
    if names is None:
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython else None
        names = {} if shell is None else shell.user_ns
    return {
        name: value
        for name, value in list(names.items())
        if isinstance(value, pd.DataFrame) and not name.startswith("_")  # those are the shell's
    }


def name_columns(frame: pd.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name what the form offers of a frame: its columns, and the levels of its index."""
    levels = tuple(str(name) for name in frame.index.names if name is not None)
    return tuple(map(str, frame.columns)), levels


def read_file(path: str) -> tuple[pd.DataFrame, str]:
    """Read a Parquet or CSV file; return it, and the reading as code. Raises ConfigError."""
    name = _by_ending(path, _READERS, "the field File")
    try:
        frame: pd.DataFrame = getattr(pd, name)(path)
    except (OSError, ValueError) as error:  # what pandas and pyarrow raise for files
        raise ConfigError(f"the file {path!r} cannot be read: {error}") from error
    return frame, f"pd.{name}({path!r})"


def write_results(results: pd.DataFrame, path: str) -> None:
    """Write results in the format that the name's ending says. Raises ConfigError."""
    getattr(results, _by_ending(path, _WRITERS, "the field beside Save results"))(path)


def _by_ending(path: str, known: Mapping[str, str], where: str) -> str:
    name = Path(path).name.lower()
    for suffix, function in known.items():
        if name.endswith(suffix):
            return function
    raise ConfigError(
        f"{where} says {path!r}; expected a name that ends in {', '.join(known)}. Correct it."
    )


# -- the controls --------------------------------------------------------------------------


class SecretText(widgets.Password):  # type: ignore[misc]  # ipywidgets has no types
    """Takes a secret and empties itself.

    What a widget's traits hold is sent to every browser that shows it, and saved with
    the notebook. So the text goes into a plain attribute and the trait is cleared in
    the same callback; and it is not echoed, as other traits are, to all front ends.
    """

    value = Unicode("", help="Empty again as soon as it was read").tag(sync=True, echo_update=False)

    def __init__(self, **options: Any) -> None:
        self.secret: str | None = None  # what was typed last
        super().__init__(continuous_update=False, **options)
        self.observe(self._take, names="value")

    def _take(self, change: Any) -> None:
        if change["new"]:
            self.secret = change["new"]
            self.value = ""
            self.placeholder = "taken; type another to replace it"


class ColumnList:
    """A list of columns with a search field and a check box each, shown a page at a time."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()  # all, in the order in which they are sent
        self.on_change: Callable[[], Any] = lambda: None  # others are chosen or shown
        self._frame = pd.DataFrame()
        self._chosen: set[str] = set()
        self._facts: dict[str, str] = {}
        self._first = 0
        self._is_filling = False
        self.search = widgets.Text(
            description="Columns", placeholder="search", continuous_update=True, **_WIDE
        )
        self.check, self.uncheck, self.back, self.on = (
            widgets.Button(description=label, layout={"width": "auto"})
            for label in ("Check all", "Uncheck all", "Previous", "Next")
        )
        self.count, self.place = widgets.HTML(), widgets.HTML()
        self.boxes = [
            widgets.Checkbox(indent=False, layout={**_LOW, "width": "auto", "flex": "1 1 auto"})
            for _ in range(_SHOWN_COLUMNS)
        ]
        self.facts = [widgets.HTML(layout={**_LOW, "flex": "0 0 auto"}) for _ in self.boxes]
        self._rows = [
            widgets.HBox(pair, layout={"justify_content": "space-between"})
            for pair in zip(self.boxes, self.facts, strict=True)
        ]
        self._pager = widgets.HBox([self.back, self.on, self.place], layout=_ROW)
        below = widgets.HBox([self.check, self.uncheck, self.count], layout=_ROW)
        page = widgets.VBox([*self._rows, self._pager, below], layout=_INSET)
        self.box = widgets.VBox([self.search, page])
        self.search.observe(lambda _: self._turn(0), names="value")
        self.check.on_click(lambda _: self._choose(self._chosen | {*self._matching()}))
        self.uncheck.on_click(lambda _: self._choose(self._chosen - {*self._matching()}))
        self.back.on_click(lambda _: self._turn(self._first - _SHOWN_COLUMNS))
        self.on.on_click(lambda _: self._turn(self._first + _SHOWN_COLUMNS))
        for box in self.boxes:
            box.observe(self._take, names="value")

    @property
    def value(self) -> tuple[str, ...]:
        """The chosen columns."""
        return tuple(name for name in self.names if name in self._chosen)

    @property
    def frame_order(self) -> tuple[str, ...]:
        """All columns, in the order of the frame."""
        return name_columns(self._frame)[0]

    def offer(self, frame: pd.DataFrame, chosen: Sequence[str]) -> None:
        """Offer the columns of a frame; those that are chosen come first, in that order."""
        names = name_columns(frame)[0]
        is_all = set(chosen) >= set(names)
        first = [] if is_all and tuple(chosen) == names else [n for n in chosen if n in names]
        self.names = (*first, *(name for name in names if name not in first))
        self._frame, self._facts = frame, {}
        self.search.value, self._first = "", 0
        self._choose(set(first or names))

    @property
    def is_stale(self) -> bool:
        """Whether columns were added to the frame, or taken from it, since it was offered."""
        return set(self.names) != set(self.frame_order)

    def count_missing(self) -> None:
        """Show type and share of missing cells of each column of the page."""
        for name in self._page():
            if name not in self._facts:
                column = self._frame.iloc[:, self.frame_order.index(name)]
                share = float(column.isna().mean()) if len(column) else 0.0
                missing = f" · {_percent(share)} missing" if share else ""
                self._facts[name] = f"{column.dtype}{missing}"
        self._fill()

    def _matching(self) -> list[str]:
        wanted = self.search.value.strip().lower()
        return [name for name in self.names if wanted in name.lower()]

    def _page(self) -> list[str]:
        return self._matching()[self._first : self._first + _SHOWN_COLUMNS]

    def _turn(self, first: int) -> None:
        last = max(0, (len(self._matching()) - 1) // _SHOWN_COLUMNS * _SHOWN_COLUMNS)
        self._first = min(max(0, first), last)
        self._choose(self._chosen)

    def _take(self, change: Any) -> None:
        """Take in a check box that was pressed."""
        if not self._is_filling:
            self._choose(self._chosen ^ {self._page()[self.boxes.index(change["owner"])]})

    def _choose(self, names: set[str]) -> None:
        self._chosen = names
        self._fill()
        self.on_change()

    def _fill(self) -> None:
        """Show the page."""
        matching, page = self._matching(), self._page()
        self._is_filling = True
        for place, row in enumerate(self._rows):
            name = page[place] if place < len(page) else ""
            row.layout.display = "" if name else "none"
            self.boxes[place].description = name
            self.boxes[place].value = name in self._chosen
            self.facts[place].value = _faint(self._facts.get(name, ""))
        self._is_filling = False
        self._pager.layout.display = "" if len(matching) > _SHOWN_COLUMNS else "none"
        self.back.disabled = self._first == 0
        self.on.disabled = self._first + _SHOWN_COLUMNS >= len(matching)
        last = self._first + len(page)
        self.place.value = _faint(f"{self._first + 1:,} to {last:,} of {len(matching):,}")
        columns = _html.plural(len(self.names), "column")
        self.count.value = _faint(f"{len(self.value):,} of {columns} checked")


class Form:
    """The controls; with a client, those of the platform are left out."""

    def __init__(self, choices: Choices, *, has_client: bool) -> None:
        self._first = choices
        self.frame = widgets.Dropdown(description="DataFrame", **_WIDE)
        self.frame.layout.flex = "1 1 auto"
        self.find = widgets.Button(description="Find DataFrames", layout={"width": "auto"})
        self.file = _text("File", "", "or the path of a Parquet or CSV file")
        self.shape = widgets.HTML()
        self.columns = ColumnList()
        self.index = widgets.Checkbox(
            choices.index, description="Send the index, too", indent=False, layout={"width": "auto"}
        )
        self.endpoint = _text("Endpoint", choices.endpoint, "empty: V3IO_API")
        self.key = SecretText(
            description="Access key",
            placeholder="empty: V3IO_ACCESS_KEY, if Endpoint is empty",
            **_WIDE,
        )
        self.stream = _text("Stream", choices.stream, "container/path/to/stream")
        self.partition_key = _choice("Partition key", (NOTHING,), NOTHING)
        self.more = widgets.ToggleButton(description="Options", layout={"width": "auto"})
        self.format = _choice("Format", get_args(Format), choices.format)
        self.rows_per_record = widgets.BoundedIntText(
            choices.rows_per_record, 1, 1_000_000, description="Rows per record", **_WIDE
        )
        self.shard = _choice("Shard", (NOTHING,), NOTHING)
        self.client_info = _choice("Client info", (NOTHING,), NOTHING)
        self.delivery = _choice("Delivery", get_args(DeliveryMode), choices.delivery)
        hint = "a file: the upload survives a kill; empty: none"
        self.journal = _text("Journal", choices.journal or "", hint)
        index = widgets.HBox([self.index], layout={**_INSET, "padding": "0 0 0 2px"})
        self._data = widgets.VBox([self.columns.box, index], layout={"display": "none"})
        options = {name: getattr(self, name) for name in _OPTIONS}
        self._options = widgets.VBox([*options.values()])
        self.box = self._compose(has_client=has_client)
        self.more.observe(lambda _: self._show_options(), names="value")
        self.more.value = any(
            getattr(choices, name) != getattr(Choices(), name) for name in options
        )
        self._show_options()

    def _compose(self, *, has_client: bool) -> Any:
        """Put the controls in the order of a reader and of the Tab key."""
        platform = [] if has_client else [self.endpoint, self.key]
        source = widgets.HBox([self.frame, self.find], layout={"align_items": "center"})
        more = widgets.HBox([self.more], layout={"margin": "8px 0 0 0"})
        sides = [
            widgets.VBox(
                [widgets.HTML(f'<b style="font-size:14px">{heading}</b>'), *controls],
                layout={"flex": "1 1 24em", "padding": "0 12px 0 0"},
            )
            for heading, controls in (
                ("What", [source, self.file, self.shape, self._data]),
                ("Where to", [*platform, self.stream, self.partition_key, more, self._options]),
            )
        ]
        return widgets.Box(sides, layout={"flex_flow": "row wrap", "width": "100%"})

    def _show_options(self) -> None:
        self._options.layout.display = "" if self.more.value else "none"
        self.more.icon = "caret-down" if self.more.value else "caret-right"

    def on_change(self, call: Callable[..., None]) -> None:
        """Call back when a choice changes that a plan depends on."""
        for control in (
            self.stream, self.index, self.format, self.rows_per_record, self.partition_key,
            self.shard, self.client_info, self.delivery,
        ):  # fmt: skip
            control.observe(call, names="value")
        self.columns.on_change = call

    def offer(self, frame: pd.DataFrame) -> None:
        """Offer the columns of a frame; choices that it has, too, stay."""
        names, levels = name_columns(frame)
        first, columns = self._first, self.columns
        was_all = len(columns.value) == len(columns.names)
        columns.offer(frame, first.columns or names if was_all else columns.value)
        shape = f"{_html.plural(len(frame), 'row')}, {_html.plural(len(names), 'column')}"
        self.shape.value = f'<div style="margin-left:9em">{_faint(shape)}</div>'
        self._data.layout.display = ""
        for option in ("partition_key", "shard", "client_info"):
            control, wanted = getattr(self, option), getattr(first, option)
            chosen = wanted if control.value == NOTHING else control.value
            offered = [(name, name) for name in (*names, *levels)]
            if wanted is not None and not isinstance(wanted, str):
                offered.append((f"{wanted!r} for every row", wanted))
            control.options = [("none", NOTHING), *offered]
            control.value = chosen if chosen in [value for _, value in offered] else NOTHING

    def read(self, source: str) -> Choices:
        """Return what the controls say."""
        chosen, frame_order = self.columns.value, self.columns.frame_order
        return Choices(
            source=source,
            endpoint=self.endpoint.value.strip(),
            stream=self.stream.value.strip(),
            columns=None if chosen == frame_order else chosen,
            index=self.index.value,
            format=self.format.value,
            rows_per_record=self.rows_per_record.value,
            partition_key=_chosen(self.partition_key),
            shard=_chosen(self.shard),
            client_info=_chosen(self.client_info),
            delivery=self.delivery.value,
            journal=self.journal.value.strip() or None,
        )


def _chosen(control: Any) -> Any:
    return None if control.value == NOTHING else control.value


def _text(description: str, value: str, placeholder: str) -> Any:
    return widgets.Text(
        value, description=description, placeholder=placeholder, continuous_update=False, **_WIDE
    )


def _choice(description: str, options: tuple[str, ...], value: str) -> Any:
    return widgets.Dropdown(options=options, value=value, description=description, **_WIDE)


def _faint(words: str) -> str:
    return f'<span style="opacity:0.75;margin:0 6px">{_html.text(words)}</span>' if words else ""


def _percent(share: float) -> str:
    """Write a share so that neither few look like none nor nearly all like all."""
    shown = min(max(share, 0.001), 0.999) if 0 < share < 1 else share
    return f"{shown:.1%}".replace("%", " %")

"""The form: what is sent, where to, and options, each choice as one labelled control."""

from __future__ import annotations

import inspect
import os
import re
import sys
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

import ipywidgets as widgets
import pandas as pd
from traitlets import Unicode

from .. import _html
from ..config import DeliveryMode, DeliveryOptions, Format, RowOptions, check_whole
from ..errors import ColumnNotFound, ConfigError, PutRecordsError
from ..put import put_records

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NOTHING: Final = ""  # what a control says for None
_OPTIONS: Final = inspect.unwrap(put_records).__kwdefaults__  # each with its default
_BY_ROW: Final = {"partition_key": (), "shard": (int,), "client_info": (bytes,)}  # or one for all
_ROW_OPTIONS: Final = {own.name for own in fields(RowOptions)}
_MOST_ROWS: Final = 1_000_000  # of the field Rows per record
_WIDE: Final = {"layout": {"width": "auto"}, "style": {"description_width": "9em"}}
_TEXT: Final = partial(widgets.Text, continuous_update=False, **_WIDE)
_CHOICE: Final = partial(widgets.Dropdown, **_WIDE)
_ROW: Final = {"flex_flow": "row wrap", "align_items": "center"}
_LOW: Final = {"height": "22px", "margin": "1px 2px"}
_INSET: Final = {"margin": "0 0 0 calc(9em + 4px)", "width": "auto"}
_SHOWN_COLUMNS: Final = 8  # a control each: a thousand of them would flood the notebook
_ENDINGS: Final = {  # of a file's name, and what pandas calls the format
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".csv.zip": "csv",
}


# -- the choices ---------------------------------------------------------------------------


class Choices(NamedTuple):
    """What the form says."""

    source: str  # the data, as a Python expression
    endpoint: str  # empty: the environment's
    stream: str
    options: dict[str, Any]  # of ``put_records``, those that are not at their defaults

    def code(self) -> str:
        """Write the same upload as code, to paste into a job; it holds no key."""
        lines = [self.source, repr(self.stream)]
        if self.endpoint:
            lines.append(f"client=v3io_frames_put.Client({self.endpoint!r}, access_key=...)")
        lines += [f"{name}={value!r}" for name, value in self.options.items()]
        arguments = "".join(f"    {line},\n" for line in lines)
        return f"results = v3io_frames_put.put_records(\n{arguments})"


def take_first(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first values that were given; refuse those that no control can show."""
    first = {name: value for name, value in given.items() if value is not None}
    RowOptions(**{name: first[name] for name in first.keys() & _ROW_OPTIONS})
    DeliveryOptions(delivery=first.get("delivery", "at_least_once"))
    check_whole("rows_per_record", first.get("rows_per_record", 1), least=1, most=_MOST_ROWS)
    for name, kinds in (("stream", (str,)), ("journal", (str, os.PathLike))):
        if not isinstance(first.get(name, ""), kinds):
            raise ConfigError(f"{name}={first[name]!r}: expected a path. Correct it.")
    if "journal" in first:
        first["journal"] = os.fspath(first["journal"])
    if "columns" in first:
        first["columns"] = [*map(str, first["columns"])]
        if not first["columns"]:
            raise ConfigError("columns: there are none to send; expected at least one.")
    return first


def check_columns(first: Mapping[str, Any], frame: pd.DataFrame) -> None:
    """Refuse first values that name columns which the frame does not have."""
    named = [("columns", name) for name in first.get("columns", ())]
    for option, for_all in _BY_ROW.items():
        value = first.get(option)
        if isinstance(value, str):
            named.append((option, value))
        elif value is not None and not isinstance(value, for_all):
            raise ConfigError(
                f"{option} is a {type(value).__name__}; the form takes a column's name. Make "
                f"it a column, or call put_records."
            )
    names = [name for names in name_columns(frame) for name in names]
    for option, name in named:
        if name not in names:
            raise ColumnNotFound(name, option=option, available=names)


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


def name_columns(frame: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Name what the form offers of a frame: its columns, and the levels of its index."""
    levels = [str(name) for name in frame.index.names if name is not None]
    return [*map(str, frame.columns)], levels


def read_file(path: str) -> tuple[pd.DataFrame, str]:
    """Read a Parquet or CSV file; return it, and the reading as code. Raises ConfigError."""
    name = f"read_{_format_of(path, 'the field File')}"
    try:
        frame: pd.DataFrame = getattr(pd, name)(path)
    except (OSError, ValueError) as error:  # what pandas and pyarrow raise for files
        raise ConfigError(f"the file {path!r} cannot be read: {error}") from error
    return frame, f"pd.{name}({path!r})"


def write_results(results: pd.DataFrame, path: str) -> None:
    """Write results in the format that the name's ending says. Raises ConfigError."""
    getattr(results, f"to_{_format_of(path, 'the field beside Save results')}")(path)


def _format_of(path: str, where: str) -> str:
    for ending, name in _ENDINGS.items():
        if path.lower().endswith(ending):
            return name
    raise ConfigError(
        f"{where} says {path!r}; expected a name that ends in {', '.join(_ENDINGS)}. Correct it."
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
        super().__init__(continuous_update=False, **_WIDE, **options)
        self.observe(self._take, names="value")

    def _take(self, change: Any) -> None:
        if change["new"]:
            self.secret = change["new"]
            self.value = ""
            self.placeholder = "taken; type another to replace it"


class ColumnList:
    """A list of columns with a search field and a check box each, shown a page at a time."""

    def __init__(self) -> None:
        self.names: list[str] = []  # all, in the order in which they are sent
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
    def value(self) -> list[str] | None:
        """The chosen columns; None: all, in the order of the frame."""
        chosen = [name for name in self.names if name in self._chosen]
        return None if chosen == name_columns(self._frame)[0] else chosen

    def offer(self, frame: pd.DataFrame, chosen: Sequence[str]) -> None:
        """Offer the columns of a frame: those chosen first, unless others are chosen already."""
        names = name_columns(frame)[0]
        if len(self._chosen) < len(self.names):
            chosen = [name for name in self.names if name in self._chosen]
        first = [name for name in chosen if name in names]
        self.names = [*dict.fromkeys([*first, *names])]
        self._frame, self._facts = frame, {}
        self.search.value, self._first = "", 0
        self._choose(set(first or names))

    @property
    def is_stale(self) -> bool:
        """Whether columns were added to the frame, or taken from it, since it was offered."""
        return set(self.names) != set(name_columns(self._frame)[0])

    def count_missing(self) -> None:
        """Show type and share of missing cells of each column of the page."""
        names = name_columns(self._frame)[0]
        for name in self._page():
            if name not in self._facts:
                column = self._frame.iloc[:, names.index(name)]
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
        self.count.value = _faint(f"{len(self._chosen):,} of {columns} checked")


_FIELDS: Final = {  # in the order of the Tab key
    "endpoint": partial(_TEXT, placeholder="empty: V3IO_API"),
    "access_key": partial(SecretText, placeholder="empty: V3IO_ACCESS_KEY, if Endpoint is empty"),
    "stream": partial(_TEXT, placeholder="container/path/to/stream"),
    "partition_key": _CHOICE,
    "format": partial(_CHOICE, options=get_args(Format)),
    "rows_per_record": partial(widgets.BoundedIntText, 1, 1, _MOST_ROWS, **_WIDE),
    "shard": _CHOICE,
    "client_info": _CHOICE,
    "delivery": partial(_CHOICE, options=get_args(DeliveryMode)),
    "journal": partial(_TEXT, placeholder="a file: the upload survives a kill; empty: none"),
}
OPTIONS: Final = [o for o in _OPTIONS if o in ("columns", "index", *_FIELDS)]  # with a control
_ALWAYS_SHOWN: Final = ("endpoint", "access_key", "stream", "partition_key")


class Form:
    """The controls, with the first values of some; with a client, without the platform's."""

    def __init__(self, first: Mapping[str, Any], *, has_client: bool) -> None:
        self._first = first
        self.frame = _CHOICE(description="DataFrame")
        self.frame.layout.flex = "1 1 auto"
        self.find = widgets.Button(description="Find DataFrames", layout={"width": "auto"})
        self.file = _TEXT(description="File", placeholder="or the path of a Parquet or CSV file")
        self.shape = widgets.HTML()
        self.columns = ColumnList()
        self.index = widgets.Checkbox(
            bool(first.get("index", False)),
            description="Send the index, too",
            indent=False,
            layout={"width": "auto"},
        )
        self.fields: dict[str, Any] = {
            name: make(description=_label(name)) for name, make in _FIELDS.items()
        }
        for name, value in first.items():
            if name in self.fields and name not in _BY_ROW:  # those wait for the data's columns
                self.fields[name].value = value
        index = widgets.HBox([self.index], layout={**_INSET, "padding": "0 0 0 2px"})
        self._data = widgets.VBox([self.columns.box, index], layout={"display": "none"})
        self.more = widgets.ToggleButton(description="Options", layout={"width": "auto"})
        shown = _ALWAYS_SHOWN[2:] if has_client else _ALWAYS_SHOWN
        folded = {name: self.fields[name] for name in _FIELDS if name not in _ALWAYS_SHOWN}
        self._folded = widgets.VBox([*folded.values()])
        self.box = self._compose([self.fields[name] for name in shown])
        self.more.observe(lambda _: self._show_options(), names="value")
        self.more.value = any(first.get(name, _OPTIONS[name]) != _OPTIONS[name] for name in folded)
        self._show_options()

    def _compose(self, shown: Sequence[Any]) -> Any:
        """Put the controls in the order of a reader and of the Tab key."""
        source = widgets.HBox([self.frame, self.find], layout={"align_items": "center"})
        more = widgets.HBox([self.more], layout={"margin": "8px 0 0 0"})
        sides = [
            widgets.VBox(
                [widgets.HTML(f'<b style="font-size:14px">{heading}</b>'), *controls],
                layout={"flex": "1 1 24em", "padding": "0 12px 0 0"},
            )
            for heading, controls in (
                ("What", [source, self.file, self.shape, self._data]),
                ("Where to", [*shown, more, self._folded]),
            )
        ]
        return widgets.Box(sides, layout={"flex_flow": "row wrap", "width": "100%"})

    def _show_options(self) -> None:
        self._folded.layout.display = "" if self.more.value else "none"
        self.more.icon = "caret-down" if self.more.value else "caret-right"

    def on_change(self, call: Callable[..., None]) -> None:
        """Call back when a choice changes."""
        for control in (self.index, *self.fields.values()):
            control.observe(call, names="value")
        self.columns.on_change = call

    def offer(self, frame: pd.DataFrame) -> None:
        """Offer the columns of a frame; choices that it has, too, stay."""
        names, levels = name_columns(frame)
        self.columns.offer(frame, self._first.get("columns", names))
        shape = f"{_html.plural(len(frame), 'row')}, {_html.plural(len(names), 'column')}"
        self.shape.value = f'<div style="margin-left:9em">{_faint(shape)}</div>'
        self._data.layout.display = ""
        for option in _BY_ROW:
            control, wanted = self.fields[option], self._first.get(option, NOTHING)
            chosen = control.value or wanted
            offered = [(name, name) for name in (*names, *levels)]
            if not isinstance(wanted, str):
                offered.append((f"{wanted!r} for every row", wanted))
            control.options = [("none", NOTHING), *offered]
            control.value = chosen if chosen in [value for _, value in offered] else NOTHING

    def read(self, source: str) -> Choices:
        """Return what the controls say."""
        said = {"columns": self.columns.value, "index": self.index.value}
        for name, field in self.fields.items():
            is_text = isinstance(field, widgets.Text)
            said[name] = field.value.strip() if is_text else field.value
        options = {
            name: value
            for name, value in said.items()
            if name in _OPTIONS and value not in (NOTHING, _OPTIONS[name])
        }
        return Choices(source, said["endpoint"], said["stream"], options)


def _faint(words: str) -> str:
    return f'<span style="opacity:0.75;margin:0 6px">{_html.text(words)}</span>' if words else ""


def _percent(share: float) -> str:
    """Write a share so that neither few look like none nor nearly all like all."""
    shown = min(max(share, 0.001), 0.999) if 0 < share < 1 else share
    return f"{shown:.1%}".replace("%", " %")


# -- the words of the form -----------------------------------------------------------------

# What a message of the library says, and what it means in the form.
_IN_FORM_WORDS: Final = {
    r"Check access_key= or V3IO_ACCESS_KEY, .* does not read the variables": (
        "Correct the field Access key (or V3IO_ACCESS_KEY, if it and Endpoint are empty)"
    ),
    r"Set V3IO_API, or give Client\(endpoint=\.\.\.\)": "Fill in the field Endpoint",
    r"Give them as username= and password=, or as access_key=": (
        "Give a key in the field Access key"
    ),
    r", or set V3IO_API": "",
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
_NAMED: Final = re.compile(rf"\b({'|'.join(['columns', *_FIELDS])})(=|:)(?=['\"\d ])\s?")


def in_form_words(error: BaseException, *, has_client: bool) -> str:
    """Return an error's text in the words of the form: fields and buttons, not parameters.

    ``has_client``: the uploader was given one, and shows no fields for endpoint and key.
    """
    if not isinstance(error, PutRecordsError):
        return f"{type(error).__name__}: {error}"
    words = str(error)
    for in_python, in_form in _IN_FORM_WORDS.items():
        words = re.sub(in_python, in_form, words)
    if has_client:
        of_client = "the field (Endpoint|Access key)( [(].*[)])?"
        words = re.sub(of_client, lambda field: f"the {field[1].lower()} of the client", words)

    def name_control(option: re.Match[str]) -> str:
        return f"{_label(option[1])}{':' if option[2] == ':' else ''} "

    return _NAMED.sub(name_control, words)


def _label(option: str) -> str:
    """Name the control of an option."""
    return option.replace("_", " ").capitalize()

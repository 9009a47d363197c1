"""``Uploader``: the form, the buttons and the threads."""

from __future__ import annotations

import logging
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import ipywidgets as widgets
import pandas as pd
from traitlets import Float, Int, Unicode

from v3io_frames_put._html import plural
from v3io_frames_put.client import Client
from v3io_frames_put.config import Retry
from v3io_frames_put.errors import ConfigError, PutRecordsError, StreamNotFound
from v3io_frames_put.plan import plan_records
from v3io_frames_put.progress import Pace, draw_progress, progress_words
from v3io_frames_put.put import put_records
from v3io_frames_put.results import ATTRS_KEY
from v3io_frames_put.widget import show
from v3io_frames_put.widget.background import Background, Run
from v3io_frames_put.widget.form import (
    Choices,
    Form,
    find_frames,
    name_columns,
    notebook_names,
    read_file,
    write_results,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from v3io_frames_put.plan import RecordsPlan
    from v3io_frames_put.progress import Progress
    from v3io_frames_put.widget.background import Ended

_LOG: Final = logging.getLogger("v3io_frames_put")
_QUIET_SECONDS: Final = 0.2
_SAMPLE_ROWS: Final = 5_000  # a live plan reads no more
_SAMPLE_CELLS: Final = 500_000
_MAX_HISTORY: Final = 600
_JOIN_SECONDS: Final = 10
_RUNNING: Final = ("uploading", "pausing", "stopping")
_ROW: Final = {"flex_flow": "row wrap", "align_items": "center"}
_COUNTS: Final = (
    "total", "stored", "rejected", "unknown", "unsent", "retried", "in_flight", "bytes_sent",
    "seconds", "waiting",
)  # fmt: skip


class _Sent(NamedTuple):
    """What the last upload sent."""

    original: pd.DataFrame  # as it was chosen, to know it again
    data: pd.DataFrame  # as it was then
    choices: Choices


class Uploader(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Choose, see what would be sent, send, watch, stop, and see what failed and why.

    Parameters
    ----------
    data : DataFrame, optional
        What to send. None: one is picked from the notebook, or a file.
    stream : str
        Where to, at first.
    client : Client, optional
        The platform. None: fields ask for endpoint and access key; left empty, the
        environment says.
    names : mapping, optional
        Where to look for DataFrames. None: the notebook's variables.
    **choices
        What the other controls say at first, named as in ``put_records``: ``columns``,
        ``index``, ``format``, ``rows_per_record``, ``partition_key``, ``shard``,
        ``client_info``, ``delivery``, ``journal``.

    Attributes
    ----------
    status : str
        ``"idle"``, ``"uploading"``, ``"pausing"``, ``"stopping"``, then ``"done"``,
        ``"paused"``, ``"stopped"`` or ``"failed"``. A traitlet, as those below: observe it.
    total, stored, rejected, unknown, unsent, retried, in_flight : int
        Rows, as in `Progress`.
    bytes_sent, seconds, waiting
        As in `Progress`.
    results : DataFrame or None
        Of the last upload. None: there was none, or it failed before anything was sent.
    """

    status = Unicode("idle")
    total = Int(None, allow_none=True)
    stored = Int(0)
    rejected = Int(0)
    unknown = Int(0)
    unsent = Int(0)
    retried = Int(0)
    in_flight = Int(0)
    bytes_sent = Int(0)
    seconds = Float(0.0)
    waiting = Unicode(None, allow_none=True)

    _run: Run | None = None  # ``close`` is called even where ``__init__`` has failed
    _background: Background | None = None

    def __init__(
        self,
        data: pd.DataFrame | None = None,
        stream: str = "",
        *,
        client: Client | None = None,
        names: Mapping[str, Any] | None = None,
        **choices: Any,
    ) -> None:
        if data is not None and not isinstance(data, pd.DataFrame):
            raise ConfigError(f"data is a {type(data).__name__}; expected a pandas DataFrame.")
        if choices.get("columns") is not None:
            choices["columns"] = tuple(map(str, choices["columns"]))
        first = Choices(stream=stream, **choices)
        if data is not None:
            columns, levels = name_columns(data)
            first.check([*columns, *levels])
        self.results: pd.DataFrame | None = None
        self._client, self._names = client, names
        self._data, self._source = data, "df"
        self._files: dict[str, pd.DataFrame] = {}
        self._frames: dict[str, pd.DataFrame] = {}
        self._plan: RecordsPlan | None = None
        self._history: list[tuple[float, int]] = []
        self._pace = Pace()
        self._sent: _Sent | None = None
        self._left: pd.DataFrame | None = None
        self._act: Callable[[], Any] = self._start
        self._lock = threading.RLock()
        self._background = Background(_QUIET_SECONDS)
        self._last_state = show.LastState()
        self._form = Form(first, has_client=client is not None)
        super().__init__(self._make_boxes())
        self.add_class("v3io-uploader")
        self._find_frames()
        self._offer_journal()
        self._wire()

    def _make_boxes(self) -> list[Any]:
        """Make what is below the form, all of it hidden, in the order of the Tab key."""
        auto = {"width": "auto"}
        self._primary = widgets.Button(description="Upload", layout=auto)
        self._stop_button = widgets.Button(description="Stop", layout=auto)
        self._over = widgets.Button(description="Start over", layout=auto)
        self._retry_later = widgets.Button(button_style="danger", layout=auto)
        self._cancel = widgets.Button(description="Cancel", layout=auto)
        self._create = widgets.Button(
            description="Create stream", button_style="primary", layout=auto
        )
        small = {"layout": {"width": "11em"}, "style": {"description_width": "6em"}}
        self._shards = widgets.BoundedIntText(1, 1, 4_096, description="Shards", **small)
        self._hours = widgets.BoundedIntText(24, 1, 100_000, description="Hours kept", **small)
        self._save = widgets.Button(description="Save results", layout=auto)
        self._path = widgets.Text(
            "results.parquet", description="to", style={"description_width": "2em"}
        )
        self._message, self._numbers, self._page, self._preview = (widgets.HTML() for _ in range(4))
        self._asking = widgets.HBox([self._retry_later, self._cancel], layout=_ROW)
        self._creating = widgets.HBox([self._create, self._shards, self._hours], layout=_ROW)
        self._saving = widgets.HBox([self._save, self._path], layout=_ROW)
        _show(self._creating, wanted=False)
        return [
            self._form.box,
            widgets.HBox(
                [self._primary, self._stop_button, self._over],
                layout={**_ROW, "margin": "8px 0 0 0"},
            ),
            self._message,
            self._asking,
            self._creating,
            self._numbers,
            self._page,
            self._saving,
            self._preview,
        ]

    def _wire(self) -> None:
        form = self._form
        for button, work in (
            (self._primary, self._do_next_step),
            (self._stop_button, self.stop),
            (self._over, self._ask),
            (self._retry_later, self._start_over),
            (self._cancel, self._refresh),
            (self._create, lambda: self._soon("create", self._create_stream)),
            (self._save, lambda: self._soon("save", self._save_results)),
            (form.find, self._find_frames),
        ):
            button.on_click(self._guard(work))
        form.frame.observe(self._guard(self._choose_frame), names="value")
        form.file.observe(self._guard(self._choose_file), names="value")
        form.journal.observe(self._guard(self._offer_journal), names="value")
        form.on_change(self._guard(self._replan))

    def _guard(self, work: Callable[[], Any]) -> Callable[..., None]:
        """Make a callback that shows what work raises: nobody else would see it."""

        def call(*_: Any) -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001  # a notebook swallows what a callback raises
                if not isinstance(error, PutRecordsError):
                    _LOG.error("the uploader failed", exc_info=error)
                self._say(show.in_form_words(error), is_alarm=True)

        return call

    def _soon(self, name: str, work: Callable[[], Any]) -> None:
        if self._background is not None:
            self._background.submit(name, self._guard(work))

    # -- what is shown -----------------------------------------------------------------

    def _say(self, message: str, *, is_alarm: bool = False) -> None:
        """Say what happened last."""
        self._message.value = show.draw_message(message, is_alarm=is_alarm)

    def _refresh(self) -> None:
        """Show the buttons that do something now; the first is the one to press."""
        with self._lock:
            is_running, has_left = self.status in _RUNNING, self._left is not None
            label, style, self._act = self._next_step()
            self._primary.description, self._primary.button_style = label, style
            self._primary.disabled = self.status in ("pausing", "stopping") or self._data is None
            _show(self._stop_button, wanted=is_running)
            self._stop_button.disabled = self.status == "stopping"
            _show(self._over, wanted=has_left and not is_running and not self._is_resumable)
            _show(self._asking, wanted=False)
            _show(self._saving, wanted=bool(self._page.value))

    def _do_next_step(self) -> None:
        """Do what the first button says."""
        self._act()

    def _next_step(self) -> tuple[str, str, Callable[[], Any]]:
        """Return what the first button does now: its label, its style and its work."""
        if self.status == "uploading":
            return "Pause", "", self.pause
        if self.status in _RUNNING:
            return self.status.capitalize(), "", self.pause
        if self._left is not None:
            rows = plural(self._count_left(self._left), "row")
            word = "Resume" if self.status == "paused" else "Send the rest"
            return f"{word}: {rows} left", "primary", self._send_rest
        label = "Upload" if self._data is None else f"Upload {plural(len(self._data), 'row')}"
        if self._is_sent_already():
            return f"{label} again", "", self._ask
        is_creating = self._creating.layout.display != "none"  # that button is the one to press
        return label, "" if is_creating else "primary", self._start

    @property
    def _is_resumable(self) -> bool:
        """Whether a journal makes Upload go on, so that it never starts over."""
        return self._sent is not None and self._sent.choices.journal is not None

    def _is_sent_already(self) -> bool:
        """Whether rows of this data are on this stream already."""
        if self._sent is None or self.results is None or self._is_resumable:
            return False
        choices, now = self._sent.choices, self._read_choices()
        if self._sent.original is not self._data or choices.stream != now.stream:
            return False
        stored = self.results["status"].isin(["stored", "unknown"])
        return choices.endpoint == now.endpoint and bool(stored.any())

    # -- what would be sent ------------------------------------------------------------

    @property
    def plan(self) -> RecordsPlan | None:
        """The plan of what would be sent, or None if it cannot be.

        Of a big DataFrame it is a plan of the first rows.
        """
        return self._plan

    @property
    def options(self) -> str:
        """The same upload as code to paste into a job, without the access key."""
        return self._read_choices().code()

    def _read_choices(self) -> Choices:
        return self._form.read(self._source)

    def _find_frames(self) -> None:
        """Look for DataFrames anew; the one in use stays, and so do files that were read."""
        found = find_frames(notebook_names() if self._names is None else self._names)
        known = {**found, **self._files}
        if self._data is not None and not any(frame is self._data for frame in known.values()):
            known = {self._source: self._data, **known}
        self._offer_frames(known)
        if not known:
            self._say(
                "No DataFrame was found. Make one and press Find DataFrames, or fill in the field "
                "File."
            )
            self._refresh()

    def _offer_frames(self, known: Mapping[str, pd.DataFrame]) -> None:
        """Offer DataFrames by name, and use the one in use, else the first."""
        name = next((n for n, frame in known.items() if frame is self._data), next(iter(known), ""))
        self._frames = dict(known)
        self._form.frame.options = list(known)
        if name:
            self._form.frame.value = name
            self._use(known[name], name)

    def _choose_frame(self) -> None:
        """Take the DataFrame that was picked."""
        name = self._form.frame.value
        if name is not None and self._frames[name] is not self._data:
            self._use(self._frames[name], name)

    def _choose_file(self) -> None:
        """Read the file that was named."""
        path = self._form.file.value.strip()
        if path:
            self._say(f"Reading {path}")
            self._soon("file", lambda: self._read_file(path))

    def _read_file(self, path: str) -> None:
        frame, expression = read_file(path)
        self._files[expression] = self._data = frame
        self._offer_frames({**self._frames, expression: frame})

    def _use(self, frame: pd.DataFrame, source: str) -> None:
        self._data, self._source = frame, source
        self._form.offer(frame)
        self._form.shape.value = show.draw_shape(len(frame), len(frame.columns))
        if self._run is None:
            self._say("")
        self._replan()

    def _replan(self) -> None:
        """Plan soon."""
        self._refresh()
        self._soon("plan", self._make_plan)

    def _make_plan(self) -> None:
        data = self._data
        if data is None:
            return
        if self._form.columns.is_stale:
            self._form.offer(data)
        self._form.columns.count_missing()
        rows = max(1, min(_SAMPLE_ROWS, _SAMPLE_CELLS // max(1, len(data.columns))))
        choices = self._read_choices()
        options = choices.options() | {"client": self._client}
        options.pop("journal", None)  # nothing is sent, so nothing is kept
        try:
            plan = plan_records(data.head(rows), choices.stream or "container/stream", **options)
        except PutRecordsError as error:
            self._plan = None
            self._preview.value = show.draw_message(show.in_form_words(error), is_alarm=True)
            return
        self._plan = plan
        self._show_plan()

    def _show_plan(self) -> None:
        """Show the plan, folded once there is something else to see."""
        if self._plan is not None and self._data is not None:
            is_open = self._run is None and self.results is None
            self._preview.value = show.draw_plan(self._plan, total=len(self._data), is_open=is_open)

    def _offer_journal(self) -> None:
        """Say that a run can go on, after the kernel was restarted."""
        path = self._form.journal.value.strip()
        if path and Path(path).exists():
            self._say(
                f"{path} is there, the journal of a run. With the same data and choices, Upload "
                f"goes on where that run ended: what is stored is not sent again."
            )

    # -- the upload --------------------------------------------------------------------

    def upload(self) -> None:
        """Send all rows, as the button Upload does: it asks first if they are stored already."""
        if self._left is not None or self._is_sent_already():
            self._ask()
        else:
            self._start()

    def _start(self) -> None:
        """Send all rows."""
        choices, data = self._read_choices(), self._data
        if data is None:
            raise ConfigError("There is nothing to send: choose a DataFrame or a file.")
        if not choices.stream:
            raise ConfigError("The field Stream is empty: fill in container/path/to/stream.")
        with self._lock:
            if self._run is None:
                self._sent, self._left = _Sent(data, data.copy(deep=False), choices), None
                self._forget()
                self._begin(f"Sending {plural(len(data), 'row')} to {choices.stream}")

    def _ask(self) -> None:
        """Ask before rows that are stored, or may be, are sent a second time."""
        if self.results is None or self._data is None or self._run is not None:
            return
        stored = int(self.results["status"].isin(["stored", "unknown"]).sum())
        self._say(
            f"{stored:,} of {plural(len(self.results), 'row')} of the last upload are stored or "
            f"may be. Sending every row again stores these twice.",
            is_alarm=True,
        )
        self._retry_later.description = f"Send all {plural(len(self._data), 'row')}"
        _show(self._asking, wanted=True)

    def _start_over(self) -> None:
        """Send all rows after it was asked for twice."""
        _show(self._asking, wanted=False)
        self._start()

    def _forget(self) -> None:
        """Let nothing of the last upload look as if it were of the next, which may not start."""
        self.results = None
        self._last_state.replace()
        with self.hold_trait_notifications():
            for name in _COUNTS:
                setattr(self, name, self.trait_defaults(name))

    def _send_rest(self) -> None:
        """Send what the last upload left, with the data and the choices it had."""
        with self._lock:
            if self._run is None and self._left is not None:
                rows = plural(self._count_left(self._left), "row")
                self._begin(f"Sending the {rows} left")

    def _count_left(self, results: pd.DataFrame) -> int:
        """Count the rows that the same upload would go on with."""
        never_twice = self._sent is not None and self._sent.choices.delivery == "at_most_once"
        left = ["unsent"] if never_twice else ["unsent", "unknown"]
        return int(results["status"].isin(left).sum())

    def _begin(self, message: str) -> None:
        self._history, self._pace = [], Pace()
        self._numbers.value = self._page.value = ""
        _show(self._creating, wanted=False)
        self._run = Run(self._put, self._watch, self._end)
        self._show_plan()
        self._set_status("uploading")
        self._say(message)
        self._run.start()

    def _put(self, **watching: Any) -> pd.DataFrame:
        assert self._sent is not None  # noqa: S101  # set before every run
        _, data, choices = self._sent
        left = None if choices.journal else self._left  # a journal knows what is left
        with self._connect(choices) as client:
            options = choices.options() | watching
            return put_records(data, choices.stream, resume=left, client=client, **options)

    def _connect(self, choices: Choices) -> AbstractContextManager[Client]:
        if self._client is not None:
            return nullcontext(self._client)
        retry = Retry().where_a_person_waits()  # with a journal and for the rest, too
        return Client(choices.endpoint or None, self._form.key.secret, retry=retry)

    def pause(self) -> None:
        """Stop the upload so that Resume goes on with it."""
        self._halt("pausing", "Pausing: waiting for the requests under way")

    def stop(self) -> None:
        """Stop the upload; requests under way get a few seconds for their outcomes."""
        self._halt("stopping", "Stopping: waiting for the requests under way")

    def _halt(self, status: str, message: str) -> None:
        with self._lock:
            if self._run is not None:
                self._run.stop()
                self._set_status(status)
                self._say(message)

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until the upload is over; False: it took too long.

        While a cell waits, the buttons may not answer; the kernel's interrupt does.
        """
        run = self._run
        return run is None or run.wait(timeout_seconds)

    def _watch(self, snapshot: Progress) -> None:
        with self._lock, self.hold_trait_notifications():
            for name in _COUNTS:
                setattr(self, name, getattr(snapshot, name))
            self._history.append((snapshot.seconds, snapshot.stored))
            if len(self._history) > _MAX_HISTORY:
                del self._history[1::2]
        words = progress_words(snapshot, self._pace, is_ended=False)
        self._numbers.value = draw_progress(snapshot, words, is_ended=False)

    def _end(self, ended: Ended) -> None:
        self._guard(lambda: self._show_end(ended))()
        with self._lock:
            self._run = None
            is_paused = ended.status == "stopped" and self.status == "pausing"
            self._set_status("paused" if is_paused else ended.status)

    def _show_end(self, ended: Ended) -> None:
        is_missing = isinstance(ended.error, StreamNotFound)
        if is_missing and self._sent is not None:
            self._say(f"The stream {self._sent.choices.stream} does not exist yet.")
        else:
            self._say(show.last_word(ended), is_alarm=ended.status == "failed")
        _show(self._creating, wanted=is_missing)
        self._numbers.value = ""
        if ended.results is None:
            return
        self.results = ended.results
        statuses = set(ended.results["status"])
        # What never reached the stream is not gone on with: Upload sends it all.
        can_go = bool(self._count_left(ended.results)) and statuses & {"stored", "unknown"}
        self._left = ended.results if can_go else None
        if not is_missing:
            self._show_results()
        if ended.error is None and "stored" in statuses:
            self._soon("shards", lambda: self._count_shards(ended.results))

    def _show_results(self) -> None:
        if self.results is not None:
            drawn = show.draw_results(self.results, self._history)
            self._page.value = drawn
            self._last_state.replace(drawn)

    def _count_shards(self, results: pd.DataFrame | None) -> None:
        """Ask how many shards the stream has, so that those without rows are shown, too."""
        if results is None or self._sent is None or results is not self.results:
            return
        choices = self._sent.choices
        try:
            with self._connect(choices) as client:
                shards = client.describe_stream(choices.stream).shards
        except PutRecordsError as error:  # the rows are stored all the same
            _LOG.info("how many shards %s has is not known: %s", choices.stream, error)
            return
        results.attrs[ATTRS_KEY]["shards"] = shards
        self._show_results()

    def _set_status(self, status: str) -> None:
        self.status = status
        self._refresh()

    # -- around it ---------------------------------------------------------------------

    def _create_stream(self) -> None:
        choices = self._read_choices()
        with self._connect(choices) as client:
            made = client.create_stream(choices.stream, self._shards.value, self._hours.value)
        _show(self._creating, wanted=False)
        self._refresh()
        self._say(
            f"{choices.stream} is there now, with {plural(made.shards, 'shard')}. "
            f"Press {self._primary.description}."
        )

    def _save_results(self) -> None:
        if self.results is None:
            raise ConfigError("Nothing was uploaded yet.")
        path = self._path.value.strip()
        write_results(self.results, path)
        self._say(f"The results of {plural(len(self.results), 'row')} are in {path}.")

    def _repr_mimebundle_(self, **options: Any) -> Any:
        self._last_state.show()
        return super()._repr_mimebundle_(**options)

    def __repr__(self) -> str:
        return f"Uploader({self._source}, {self._form.stream.value!r}, {self.status!r})"

    def close(self) -> None:
        """Stop the upload, end the threads, and take the widget away."""
        run = self._run
        if run is not None:
            run.stop()
            run.wait(_JOIN_SECONDS)
        if self._background is not None:
            self._background.close()
        super().close()


def _show(control: Any, *, wanted: bool) -> None:
    control.layout.display = "" if wanted else "none"

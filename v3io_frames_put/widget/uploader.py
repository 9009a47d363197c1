"""``Uploader``: the buttons, the threads, and what happens when."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import ipywidgets as widgets
import pandas as pd
import traitlets

from .. import _html, errors
from .._html import plural
from .._public import find_unknown
from ..client import Client, pick_client, with_retry
from ..plan import RecordsPlan, draw_live_plan, plan_records
from ..progress import CellOutput, HtmlBar, Progress, is_notebook
from ..put import put_records
from ..summary import Summary, draw_summary, summarize
from . import form

if TYPE_CHECKING:
    from collections.abc import Callable


_LOG: Final = logging.getLogger("v3io_frames_put")
_SAMPLE_ROWS: Final = 5_000  # a live plan reads no more
_SAMPLE_CELLS: Final = 500_000
_JOIN_SECONDS: Final = 10
_RUNNING: Final = ("uploading", "pausing", "stopping")
_ROW: Final = {"flex_flow": "row wrap", "align_items": "center"}


class _Sent(NamedTuple):
    """What the last upload sent."""

    original: pd.DataFrame  # as it was chosen, to know it again
    data: pd.DataFrame  # as it was then
    choices: form.Choices


class Uploader(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Choose rows and options, see what would be sent, send it, and see what failed and why.

    Parameters
    ----------
    data : DataFrame, optional
        What to send. None: choose a DataFrame of the notebook, or a file.
    stream : str
        First value of the field Stream.
    client : Client, optional
        The platform. None: fields ask for endpoint and access key. The environment fills in
        what is left empty.
    names : mapping, optional
        Where to look for DataFrames. None: the notebook's variables.
    **choices
        First values of the other fields, named as in ``put_records``: ``columns``,
        ``index``, ``format``, ``rows_per_record``, ``partition_key``, ``shard``,
        ``client_info``, ``delivery``, ``journal``.

    Attributes
    ----------
    status : str
        ``"idle"``, ``"uploading"``, ``"pausing"``, ``"stopping"``, then ``"done"``,
        ``"paused"``, ``"stopped"`` or ``"failed"``. A traitlet: it can be observed.
    progress : Progress or None
        The last snapshot of the upload. None: none was started. A traitlet, too.
    results : DataFrame or None
        Of the last upload. None: there was none, or it failed before anything was sent.
    """

    status = traitlets.Unicode("idle")
    progress = traitlets.Any(None, allow_none=True)

    _thread: threading.Thread | None = None  # ``close`` is called even if ``__init__`` failed
    _client_in_use: Client | None = None
    _is_closed = False

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
            raise errors.ConfigError(
                f"data is a {type(data).__name__}; expected a pandas DataFrame."
            )
        if unknown := find_unknown(choices, form.OPTIONS):
            raise TypeError(f"Uploader() {unknown}")
        if names is not None and not isinstance(names, Mapping):
            raise errors.ConfigError(
                f"names is a {type(names).__name__}; expected a mapping, such as globals()."
            )
        first = form.take_first({"stream": stream, **choices})
        if data is not None:
            form.check_columns(first, data)
        self.results: pd.DataFrame | None = None
        self._client, self._names = None if client is None else pick_client(client), names
        self._data, self._source = data, "df"
        self._frames: dict[str, pd.DataFrame] = {}
        self._plan: RecordsPlan | None = None
        self._cancel_event = threading.Event()
        self._sent: _Sent | None = None
        self._counts: Mapping[str, int] = {}  # its rows by status; empty: nothing came of it
        self._act: Callable[[], Any] = self._start
        self._lock = threading.RLock()
        self._turn = threading.Lock()  # of the work in the background
        self._waiting: set[Callable[[], Any]] = set()  # that has not begun
        self._copy: CellOutput | None = None
        self._form = form.Form(first, has_client=client is not None)
        super().__init__(self._make_boxes())
        self.add_class("v3io-uploader")
        self._find_frames()
        self._offer_journal()
        controls = self._form
        controls.find.on_click(self._guard(self._find_frames))
        controls.frame.observe(self._guard(self._choose_frame), names="value")
        controls.file.observe(lambda _: self._soon(self._read_file), names="value")
        controls.fields["journal"].observe(self._guard(self._offer_journal), names="value")
        controls.on_change(self._guard(self._replan))

    def _make_boxes(self) -> list[Any]:
        """Make what is below the form, all of it hidden, in the order of the Tab key."""
        self._primary = self._make_button("Upload", lambda: self._act())  # noqa: PLW0108  # as it is then
        self._stop_button = self._make_button("Stop", self.stop)
        self._over = self._make_button("Start over", self._ask)
        self._confirm = self._make_button("", self._start, "danger")
        cancel = self._make_button("Cancel", self._refresh)
        create = self._make_button(
            "Create stream", lambda: self._soon(self._create_stream), "primary"
        )
        save = self._make_button("Save results", lambda: self._soon(self._save_results))
        small = {"layout": {"width": "11em"}, "style": {"description_width": "6em"}}
        self._shards = widgets.BoundedIntText(1, 1, 4_096, description="Shards", **small)
        self._hours = widgets.BoundedIntText(24, 1, 100_000, description="Hours kept", **small)
        self._path = widgets.Text(
            "results.parquet", description="to", style={"description_width": "2em"}
        )
        self._message, self._numbers, self._page, self._preview = (widgets.HTML() for _ in range(4))
        buttons = widgets.HBox(
            [self._primary, self._stop_button, self._over], layout={**_ROW, "margin": "8px 0 0 0"}
        )
        self._asking = widgets.HBox([self._confirm, cancel], layout=_ROW)
        self._creating = widgets.HBox([create, self._shards, self._hours], layout=_ROW)
        self._saving = widgets.HBox([save, self._path], layout=_ROW)
        _show(self._creating, wanted=False)
        return [
            self._form.box, buttons, self._message, self._asking, self._creating, self._numbers,
            self._page, self._saving, self._preview,
        ]  # fmt: skip

    def _make_button(self, label: str, work: Callable[[], Any], style: str = "") -> Any:
        button = widgets.Button(description=label, button_style=style, layout={"width": "auto"})
        button.on_click(self._guard(work))
        return button

    def _guard(self, work: Callable[[], Any]) -> Callable[..., None]:
        """Make a callback that shows what work raises: a notebook hides it."""

        def call(*_: Any) -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001  # a notebook swallows what a callback raises
                if not isinstance(error, errors.PutRecordsError):
                    _LOG.error("the uploader failed", exc_info=error)
                self._say(self._words(error), is_alarm=True)

        return call

    def _soon(self, work: Callable[[], Any]) -> None:
        """Do work in the background, one piece at a time, unless this is closed.

        The same work that has not begun will do: ten changed choices make one plan, or two.
        """
        if work not in self._waiting:
            self._waiting.add(work)
            # A daemon: a platform that does not answer must not hold up the end of the program.
            threading.Thread(
                target=self._work_in_turn, args=[work], name="v3io-put-background", daemon=True
            ).start()

    def _work_in_turn(self, work: Callable[[], Any]) -> None:
        with self._turn:
            self._waiting.discard(work)
            if not self._is_closed:
                self._guard(work)()

    # -- what is shown -----------------------------------------------------------------

    def _say(self, message: str, *, is_alarm: bool = False) -> None:
        self._message.value = _draw_message(message, is_alarm=is_alarm)

    def _words(self, error: BaseException) -> str:
        return form.in_form_words(error, has_client=self._client is not None)

    def _refresh(self) -> None:
        """Show the buttons that do something now; the first is the one to press."""
        with self._lock:
            is_running = self.status in _RUNNING
            label, style, self._act = self._next_step()
            self._primary.description, self._primary.button_style = label, style
            self._primary.disabled = self.status in ("pausing", "stopping") or self._data is None
            _show(self._stop_button, wanted=is_running)
            self._stop_button.disabled = self.status == "stopping"
            has_journal = self._sent is not None and "journal" in self._sent.choices.options
            # By its journal an upload only goes on, and never starts over.
            _show(self._over, wanted=self._num_left > 0 and not is_running and not has_journal)
            _show(self._asking, wanted=False)
            _show(self._saving, wanted=bool(self._page.value))

    def _next_step(self) -> tuple[str, str, Callable[[], Any]]:
        """Return what the first button does now: its label, its style and its work."""
        if self.status == "uploading":
            return "Pause", "", self.pause
        if self.status in _RUNNING:
            return self.status.capitalize(), "", self.pause
        if self._num_left:
            rows = plural(self._num_left, "row")
            word = "Resume" if self.status == "paused" else "Send the rest"
            return f"{word}: {rows} left", "primary", self._send_rest
        label = "Upload" if self._data is None else f"Upload {plural(len(self._data), 'row')}"
        if self._is_sent_already():
            return f"{label} again", "", self._ask
        is_creating = self._creating.layout.display != "none"  # that button is the one to press
        return label, "" if is_creating else "primary", self._start

    def _is_sent_already(self) -> bool:
        """Whether rows of this data are on this stream already, and Upload would repeat them."""
        if self._sent is None or "journal" in self._sent.choices.options:
            return False
        sent, now = self._sent.choices, self._read_choices()
        is_same_stream = (sent.endpoint, sent.stream) == (now.endpoint, now.stream)
        return self._sent.original is self._data and is_same_stream and self._num_sent > 0

    @property
    def _num_sent(self) -> int:
        """How many rows of the last upload are stored, or may be."""
        return self._counts["stored"] + self._counts["unknown"] if self._counts else 0

    @property
    def _num_left(self) -> int:
        """How many rows of the last upload the same upload would go on with.

        What never reached the stream is not continued: Upload sends it all.
        """
        if self._sent is None or not self._num_sent:
            return 0
        is_sent_again = self._sent.choices.options.get("delivery") != "at_most_once"
        return self._counts["unsent"] + is_sent_again * self._counts["unknown"]

    # -- what would be sent ------------------------------------------------------------

    @property
    def plan(self) -> RecordsPlan | None:
        """The plan of what would be sent, or None if it cannot be sent.

        Of a big DataFrame it is a plan of the first rows.
        """
        return self._plan

    @property
    def options(self) -> str:
        """The same upload as code to paste into a job, without the access key."""
        return self._read_choices().code()

    def _read_choices(self) -> form.Choices:
        return self._form.read(self._source)

    def _find_frames(self) -> None:
        """Look for DataFrames again; the one in use stays, and so do files that were read."""
        files = {name: frame for name, frame in self._frames.items() if not name.isidentifier()}
        known = {**form.find_frames(self._names), **files}
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
            self._use(name)

    def _choose_frame(self) -> None:
        name = self._form.frame.value
        if name is not None and self._frames[name] is not self._data:
            self._use(name)

    def _read_file(self) -> None:
        if path := self._form.file.value.strip():
            self._say(f"Reading {path}")
            self._data, expression = form.read_file(path)
            self._offer_frames({**self._frames, expression: self._data})

    def _use(self, name: str) -> None:
        frame = self._frames[name]
        self._data, self._source = frame, name
        self._form.offer(frame)
        if self._thread is None:
            self._say("")
        self._replan()

    def _replan(self) -> None:
        self._refresh()
        self._soon(self._make_plan)

    def _make_plan(self) -> None:
        data = self._data
        if data is None:
            return
        if self._form.columns.is_stale:
            self._form.offer(data)
        self._form.columns.count_missing()
        rows = max(1, min(_SAMPLE_ROWS, _SAMPLE_CELLS // max(1, len(data.columns))))
        choices = self._read_choices()
        options = choices.options | {"client": self._client}
        options.pop("journal", None)  # nothing is sent, so nothing is kept
        try:
            plan = plan_records(data.head(rows), choices.stream or "container/stream", **options)
        except errors.PutRecordsError as error:
            self._plan = None
            self._preview.value = _draw_message(self._words(error), is_alarm=True)
            return
        self._plan = plan
        self._show_plan()

    def _show_plan(self) -> None:
        """Show the plan, folded once there is something else to see."""
        if self._plan is not None and self._data is not None:
            is_open = self._thread is None and self.results is None
            self._preview.value = draw_live_plan(self._plan, len(self._data), is_open=is_open)

    def _offer_journal(self) -> None:
        """Say that a run can continue, after the kernel was restarted."""
        path = self._read_choices().options.get("journal")
        if path and Path(path).exists():
            self._say(
                f"{path} is the journal of a run. With the same data and choices, Upload continues "
                f"that run: rows that are stored are not sent again."
            )

    # -- the upload --------------------------------------------------------------------

    def upload(self) -> None:
        """Send all rows, as the button Upload does: it asks first if they are stored already."""
        if self._num_left or self._is_sent_already():
            self._ask()
        else:
            self._start()

    def _start(self) -> None:
        """Send all rows."""
        choices, data = self._read_choices(), self._data
        if data is None:
            raise errors.ConfigError("There is nothing to send: choose a DataFrame or a file.")
        if not choices.stream:
            raise errors.ConfigError("The field Stream is empty: fill in container/path/to/stream.")
        with self._lock:
            if self._thread is None:
                self._sent = _Sent(data, data.copy(deep=False), choices)
                # What stays of the last upload would look as if it were of this one.
                self.results, self.progress, self._counts = None, None, {}
                self._keep_copy()
                self._begin(f"Sending {plural(len(data), 'row')} to {choices.stream}")

    def _ask(self) -> None:
        """Ask before rows that are stored, or may be, are sent a second time."""
        if self.results is None or self._data is None or self._thread is not None:
            return
        self._say(
            f"{self._num_sent:,} of {plural(len(self.results), 'row')} of the last upload are "
            f"stored or may be. Sending every row again stores these twice.",
            is_alarm=True,
        )
        self._confirm.description = f"Send all {plural(len(self._data), 'row')}"
        _show(self._asking, wanted=True)

    def _send_rest(self) -> None:
        """Send what the last upload left, with the data and the choices it had."""
        with self._lock:
            if self._thread is None and self._num_left:
                self._begin(f"Sending the {plural(self._num_left, 'row')} left")

    def _begin(self, message: str) -> None:
        self._cancel_event, self._bar = threading.Event(), HtmlBar(self._show_numbers)
        self._numbers.value = self._page.value = ""
        _show(self._creating, wanted=False)
        self._thread = threading.Thread(
            target=self._work, args=[self._sent], name="v3io-put-upload", daemon=True
        )
        self._show_plan()
        self.status = "uploading"
        self._refresh()
        self._say(message)
        self._thread.start()

    def _work(self, sent: _Sent) -> None:
        """Upload, in a thread of its own."""
        results, status, failure = None, "done", None
        try:
            results = self._put(sent.data, sent.choices)
        except errors.PartialFailure as error:
            results = error.results
        except errors.Interrupted as error:
            results, status = error.results, "stopped"
        except BaseException as error:  # noqa: BLE001  # shown: nobody else sees it
            results, status, failure = getattr(error, "results", None), "failed", error
        self._guard(lambda: self._show_end(sent.choices, status, results, failure))()
        with self._lock:
            self._thread = None
            is_paused = status == "stopped" and self.status == "pausing"
            self.status = "paused" if is_paused else status
            self._refresh()

    def _put(self, data: pd.DataFrame, choices: form.Choices) -> pd.DataFrame:
        options = choices.options | {"progress": self._watch, "cancel": self._cancel_event}
        if "journal" not in options:  # which knows itself what is left
            options["resume"] = self.results
        # A warning would be printed, and a notebook loses what a thread prints: so it raises.
        with self._connect(choices) as client:
            return put_records(data, choices.stream, client=client, on_error="raise", **options)

    def _connect(self, choices: form.Choices) -> Client:
        """Make a client that gives up soon if nothing answers: a person waits."""
        client = self._client or Client(
            choices.endpoint or None, self._form.fields["access_key"].secret
        )
        self._client_in_use = with_retry(client, client.interactive_retry)
        return self._client_in_use

    def pause(self) -> None:
        """Stop the upload so that Resume continues it."""
        self._halt("pausing")

    def stop(self) -> None:
        """Stop the upload; requests under way get a few seconds for their outcomes."""
        self._halt("stopping")

    def _halt(self, status: str) -> None:
        with self._lock:
            if self._thread is not None:
                self._cancel_event.set()
                self.status = status
                self._refresh()
                self._say(f"{status.capitalize()}: waiting for the requests under way")

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until the upload is over; return False if it took too long.

        While a cell waits, the buttons may not answer; the kernel's interrupt does.
        """
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout_seconds)
        return not thread.is_alive()

    def _watch(self, snapshot: Progress) -> None:
        self._bar(snapshot)
        self.progress = snapshot

    def _show_numbers(self, html: str, _text: str) -> None:
        self._numbers.value = html

    def _show_end(
        self,
        choices: form.Choices,
        status: str,
        results: pd.DataFrame | None,
        failure: BaseException | None,
    ) -> None:
        """Show how an upload ended: its results, unless nothing had been sent; why it failed."""
        is_missing = isinstance(failure, errors.StreamNotFound)
        summary = None if results is None else summarize(results)
        if is_missing:
            self._say(f"The stream {choices.stream} does not exist yet.")
        elif failure is not None:
            self._say(self._words(failure), is_alarm=True)
        else:
            self._say(_last_word(summary, is_stopped=status == "stopped"))
        _show(self._creating, wanted=is_missing)
        self._numbers.value = ""
        if results is None or summary is None:
            return
        self.results, self._counts = results, summary.counts
        if not is_missing:
            self._page.value = draw_summary(summary, go_on="The first button above")
            self._keep_copy(self._page.value)

    # -- around it ---------------------------------------------------------------------

    def _create_stream(self) -> None:
        choices = self._read_choices()
        with self._connect(choices) as client:
            made = client.create_stream(choices.stream, self._shards.value, self._hours.value)
        _show(self._creating, wanted=False)
        self._refresh()
        self._say(
            f"{choices.stream} exists now, with {plural(made.shards, 'shard')}. "
            f"Press {self._primary.description}."
        )

    def _save_results(self) -> None:
        if self.results is None:
            raise errors.ConfigError("Nothing was uploaded yet.")
        path = self._path.value.strip()
        form.write_results(self.results, path)
        self._say(f"The results of {plural(len(self.results), 'row')} are in {path}.")

    def _keep_copy(self, page: str = "Nothing uploaded yet.") -> None:
        """Keep a static copy below the widget, folded: beside the living one it says nothing new.

        A notebook saved without its widgets' state shows of a widget only its repr.
        """
        if self._copy is not None:
            summary = "<summary>Last state, kept with the notebook</summary>"
            folded = f"<details>{summary}{page}</details>"
            self._copy.show(folded, "Last state of the uploader")

    def _repr_mimebundle_(self, **options: Any) -> Any:
        if is_notebook():
            self._copy = CellOutput()  # of a widget that is shown again, the newest place
            self._keep_copy(self._page.value or "Nothing uploaded yet.")
        return super()._repr_mimebundle_(**options)

    def __repr__(self) -> str:
        return f"Uploader({self._source}, {self._form.fields['stream'].value!r}, {self.status!r})"

    def close(self) -> None:
        """Stop the upload, end the threads, and take the widget away."""
        if self._thread is not None:
            self._cancel_event.set()
            self.wait(_JOIN_SECONDS)
        self._is_closed = True
        if self._client_in_use is not None:
            self._client_in_use.close()
        super().close()


def _show(control: Any, *, wanted: bool) -> None:
    control.layout.display = "" if wanted else "none"


def _draw_message(message: str, *, is_alarm: bool = False) -> str:
    """Draw what happened last; screen readers read it aloud."""
    if not message:
        return ""
    color = _html.COLORS["rejected" if is_alarm else "running"]
    style = f"border-left:4px solid {color};padding:2px 0 2px 10px;margin:6px 0"
    kind = "alarm" if is_alarm else "calm"
    return _html.block(kind, _html.text(message, 2_000), style=style, role="status")


def _last_word(summary: Summary | None, *, is_stopped: bool) -> str:
    """Return a sentence or two about the end of an upload; the page below has the numbers."""
    if summary is None:
        return "Stopped: nothing was sent."
    words = "Stopped." if is_stopped else "Done."
    if summary.receipt.get("already_complete"):
        words = "Already complete: nothing was sent."
    for status, how in (("rejected", "rejected"), ("unsent", "not sent")):
        if count := summary.counts[status]:
            rows = plural(count, "row was", "rows were")
            words += f" {rows} {how}, for the reasons below."
    if unknown := summary.counts["unknown"]:
        words += f" {plural(unknown, 'row')} may or may not be stored."
    return words

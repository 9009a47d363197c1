"""``Uploader``: the form, the buttons, and the threads behind them put together."""

from __future__ import annotations

import logging
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ipywidgets as widgets
import pandas as pd
from traitlets import Float, Int, Unicode

from v3io_frames_put.client import Client
from v3io_frames_put.errors import ConfigError, PutRecordsError, StreamNotFound
from v3io_frames_put.progress_bar import draw_progress
from v3io_frames_put.put import put_records
from v3io_frames_put.widget import show
from v3io_frames_put.widget.background import Background
from v3io_frames_put.widget.choices import Choices
from v3io_frames_put.widget.controls import Controls
from v3io_frames_put.widget.form import Form, name_columns
from v3io_frames_put.widget.last_state import LastState
from v3io_frames_put.widget.picker import Picker
from v3io_frames_put.widget.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from v3io_frames_put.plan import RecordsPlan
    from v3io_frames_put.progress import Progress
    from v3io_frames_put.widget.run import Ended

_LOG: Final = logging.getLogger("v3io_frames_put")
_QUIET_SECONDS: Final = 0.2
_MAX_HISTORY: Final = 600
_JOIN_SECONDS: Final = 10
_COUNTS: Final = (
    "total", "stored", "rejected", "unknown", "unsent", "retried", "in_flight", "bytes_sent",
    "seconds", "waiting",
)  # fmt: skip


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
        self._client = client
        self._history: list[tuple[float, int]] = []
        self._sent: tuple[pd.DataFrame, Choices]
        self._left: pd.DataFrame | None = None
        self._lock = threading.RLock()
        self._background = Background(_QUIET_SECONDS)
        self._last_state = LastState()
        form = Form(first, has_client=client is not None)
        self._form, self._controls = form, Controls(form)
        self._picker = Picker(self._controls, data, names=names, client=client, soon=self._soon)
        super().__init__(self._controls.boxes)
        self.add_class("v3io-uploader")
        self._picker.find_frames()
        self._offer_journal()
        self._wire()

    def _wire(self) -> None:
        controls, picker = self._controls, self._picker
        for button, work in (
            (controls.upload, self._start),
            (controls.pause, self.pause),
            (controls.stop, self.stop),
            (controls.rest, self._send_rest),
            (controls.again, lambda: self._start(is_confirmed=True)),
            (controls.cancel, lambda: controls.offer_again(wanted=False)),
            (controls.find, picker.find_frames),
            (controls.create, lambda: self._soon("create", self._create_stream)),
            (controls.save, lambda: self._soon("save", self._save_results)),
        ):
            button.on_click(self._guard(work))
        self._form.frame.observe(self._guard(picker.choose_frame), names="value")
        self._form.file.observe(self._guard(picker.choose_file), names="value")
        self._form.journal.observe(self._guard(self._offer_journal), names="value")
        self._form.on_change(self._guard(picker.replan))

    def _guard(self, work: Callable[[], Any]) -> Callable[..., None]:
        """Make a callback that shows what work raises: nobody else would see it."""

        def call(*_: Any) -> None:
            try:
                work()
            except PutRecordsError as error:
                self._controls.say(str(error), is_alarm=True)
            except Exception as error:  # noqa: BLE001  # a notebook swallows what a callback raises
                _LOG.error("the uploader failed", exc_info=error)
                self._controls.say(f"{type(error).__name__}: {error}", is_alarm=True)

        return call

    def _soon(self, name: str, work: Callable[[], Any]) -> None:
        if self._background is not None:
            self._background.submit(name, self._guard(work))

    # -- what would be sent ------------------------------------------------------------

    @property
    def plan(self) -> RecordsPlan | None:
        """What would be sent; of big data, of the first rows only. None: it cannot be."""
        return self._picker.plan

    @property
    def options(self) -> str:
        """The same upload as code, to paste into a job. It holds no key."""
        return self._picker.read_choices().code()

    def _offer_journal(self) -> None:
        """Say that a run can go on, after the kernel was restarted."""
        path = self._form.journal.value.strip()
        if path and Path(path).exists():
            self._controls.say(
                f"{path} is there, the journal of a run. With the same data and choices, Upload "
                f"goes on where that run ended: what is stored is not sent again."
            )

    # -- the upload --------------------------------------------------------------------

    def _start(self, *, is_confirmed: bool = False) -> None:
        choices, data = self._picker.read_choices(), self._picker.data
        if data is None:
            raise ConfigError("There is nothing to send: choose a DataFrame or a file.")
        if not choices.stream:
            raise ConfigError("There is no stream: say where to, as container/path/to/stream.")
        with self._lock:
            if self._run is None and self._left is not None and not is_confirmed:
                self._ask(self._left)
            elif self._run is None:
                self._sent, self._left = (data.copy(deep=False), choices), None
                self._forget()
                self._begin(f"Sending {len(data):,} rows to {choices.stream}")

    def _ask(self, left: pd.DataFrame) -> None:
        """Ask before rows that are stored are sent a second time."""
        stored = int(left["status"].isin(["stored", "unknown"]).sum())
        self._controls.say(
            f"{stored:,} of {len(left):,} rows of the last upload are stored or may be, and its "
            f"rest can still be sent. Start over sends every row: these would be stored twice.",
            is_alarm=True,
        )
        self._controls.offer_again(wanted=True)

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
                left = int((self._left["status"] != "stored").sum())
                self._begin(f"Sending the {left:,} rows that are left")

    def _begin(self, message: str) -> None:
        self._history = []
        self._controls.clear()
        self._controls.offer_again(wanted=False)
        self._run = Run(self._put, self._watch, self._end)
        self._set_status("uploading")
        self._controls.say(message)
        self._run.start()

    def _put(self, **watching: Any) -> pd.DataFrame:
        data, choices = self._sent
        left = None if choices.journal else self._left  # a journal knows what is left
        with self._connect(choices) as client:
            options = choices.options() | watching
            return put_records(data, choices.stream, resume=left, client=client, **options)

    def _connect(self, choices: Choices) -> AbstractContextManager[Client]:
        if self._client is not None:
            return nullcontext(self._client)
        return Client(choices.endpoint or None, self._form.key.secret)

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
                self._controls.say(message)

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
        self._controls.numbers.value = draw_progress(snapshot)

    def _end(self, ended: Ended) -> None:
        self._guard(lambda: self._show_end(ended))()
        with self._lock:
            self._run = None
            is_paused = ended.status == "stopped" and self.status == "pausing"
            self._set_status("paused" if is_paused else ended.status)

    def _show_end(self, ended: Ended) -> None:
        self._controls.say(show.last_word(ended), is_alarm=ended.is_alarming)
        self._controls.offer_create(wanted=isinstance(ended.error, StreamNotFound))
        if ended.results is not None:
            self.results = ended.results
            statuses = set(ended.results["status"])
            # What never reached the stream is not gone on with: Upload sends it all.
            can_go = statuses & {"unsent", "unknown"} and statuses & {"stored", "unknown"}
            self._left = ended.results if can_go else None
            drawn = show.draw_results(ended.results, self._history)
            self._controls.after.value = drawn
            self._last_state.replace(drawn)

    def _set_status(self, status: str) -> None:
        self._controls.show_status(
            status, has_results=self.results is not None, has_rest=self._left is not None
        )
        self.status = status

    # -- around it ---------------------------------------------------------------------

    def _create_stream(self) -> None:
        choices, controls = self._picker.read_choices(), self._controls
        with self._connect(choices) as client:
            made = client.create_stream(choices.stream, controls.shards.value, controls.hours.value)
        controls.offer_create(wanted=False)
        controls.say(f"{choices.stream} is there, shards: {made.shards}. Press Upload.")

    def _save_results(self) -> None:
        if self.results is None:
            raise ConfigError("There are no results yet.")
        path = self._controls.path.value
        self.results.to_parquet(path)
        self._controls.say(f"Results of {len(self.results):,} rows are in {path}")

    def _repr_mimebundle_(self, **options: Any) -> Any:
        self._last_state.show()
        return super()._repr_mimebundle_(**options)

    def __repr__(self) -> str:
        return f"Uploader({self._picker.source}, {self._form.stream.value!r}, {self.status!r})"

    def close(self) -> None:
        """Stop the upload, end the threads, and take the widget away."""
        run = self._run
        if run is not None:
            run.stop()
            run.wait(_JOIN_SECONDS)
        if self._background is not None:
            self._background.close()
        super().close()

"""Uploaders without a kernel: traits and clicks do what a browser would do."""

from __future__ import annotations

import html
import re
import threading

import numpy as np
import pandas as pd
import pytest
from ipywidgets import Button

from v3io_frames_put import Uploader

STREAM = "projects/house/readings"
SECONDS = 30


class Hands:
    """What a person does with an uploader, and sees of it."""

    def settle(self, uploader):
        """Wait for the upload, and for the work that waits or follows in the background."""
        assert uploader.wait(SECONDS)
        while threads := self._threads("v3io-put-background"):
            threads[0].join(SECONDS)
            assert not threads[0].is_alive()

    def check_threads(self):
        """Check that no thread of an uploader goes on."""
        for thread in self._threads("v3io-put"):
            thread.join(SECONDS)
            assert not thread.is_alive()

    def _threads(self, name):
        return [thread for thread in threading.enumerate() if thread.name.startswith(name)]

    def seen(self, widget):
        """Yield the controls that are shown, in order."""
        if widget.layout.display != "none":
            yield widget
            for child in getattr(widget, "children", ()):
                yield from self.seen(child)

    def buttons(self, uploader):
        """Return the labels of the buttons below the form that can be pressed."""
        form = set(self.seen(uploader._form.box))
        return [
            button.description
            for button in self.seen(uploader)
            if isinstance(button, Button) and button not in form and not button.disabled
        ]

    def press(self, uploader, label):
        (found,) = [
            button
            for button in self.seen(uploader)
            if isinstance(button, Button) and button.description.startswith(label)
        ]
        assert not found.disabled
        found.click()

    def primary(self, uploader):
        """Return the first button, and whether it is marked as the one to press."""
        button = uploader._primary
        return button.description, button.button_style == "primary"

    def message(self, uploader):
        return html.unescape(uploader._message.value)

    def preview(self, uploader):
        return html.unescape(uploader._preview.value)

    def page(self, uploader):
        """Return the words of the results page."""
        return html.unescape(re.sub("<[^>]*>", "", uploader._page.value))

    def columns(self, uploader):
        """Return the columns that are shown, and whether each is checked."""
        columns = uploader._form.columns
        shown = [box for box in columns.boxes if box.description]
        return {box.description: box.value for box in shown}

    def check(self, uploader, column):
        """Press the box of a column."""
        boxes = uploader._form.columns.boxes
        (box,) = [box for box in boxes if box.description == column]
        box.value = not box.value

    def make_readings(self, rows=3_000):
        sensors = np.resize(["attic", "cellar", "hall"], rows)
        return pd.DataFrame({"sensor": sensors, "celsius": np.arange(rows) / 4})


@pytest.fixture
def hands():
    return Hands()


@pytest.fixture
def client(local_platform):
    with local_platform.client() as client:
        client.create_stream(STREAM, shards=3)
        yield client


@pytest.fixture
def make_uploader(hands):
    """Make uploaders that are closed, and whose threads are counted, at the end."""
    made = []

    def make(*args, **options):
        made.append(Uploader(*args, **options))
        return made[-1]

    yield make
    for uploader in made:
        uploader.close()
    hands.check_threads()

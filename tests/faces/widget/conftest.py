"""Uploaders without a kernel: traits and clicks do what a browser would do."""

from __future__ import annotations

import threading

import numpy as np
import pandas as pd
import pytest

from v3io_frames_put import Uploader

STREAM = "projects/house/readings"
SECONDS = 30


class Hands:
    """What a person does with an uploader, and sees of it."""

    def settle(self, uploader):
        assert uploader._background.wait_idle(SECONDS)
        assert uploader.wait(SECONDS)

    def press(self, uploader, name):
        getattr(uploader._controls, name).click()

    def message(self, uploader):
        return uploader._controls.message.value

    def preview(self, uploader):
        return uploader._controls.preview.value

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
def make_uploader():
    """Make uploaders that are closed, and whose threads are counted, at the end."""
    made = []

    def make(*args, **options):
        made.append(Uploader(*args, **options))
        return made[-1]

    yield make
    for uploader in made:
        uploader.close()
    assert [t.name for t in threading.enumerate() if t.name.startswith("v3io-put")] == []

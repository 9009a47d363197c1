"""What a cell shows and keeps: the progress bar, and the results of a run that was stopped.

Each test runs in a real kernel: IPython decides what becomes of outputs and exceptions.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OLDER_KERNEL = Path(sys.prefix) / "ipykernel6"  # `make test-ui` puts it there
STREAM = "projects/house/readings"
SECONDS = 60
MAKE = """
import pandas as pd, v3io_frames_put
client = v3io_frames_put.Client({endpoint!r})
df = pd.DataFrame({{"row": range({rows})}})
"""


class Kernel:
    """A kernel that runs one cell after the other, and shows what came of each."""

    def __init__(self, manager):
        self.manager = manager
        self.client = manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS)

    def start(self, code):
        self._outputs, self._places = [], {}
        return self.client.execute(code)

    def watch(self, message_id, until=lambda _outputs: False):
        """Follow a cell to its end, or until its outputs are so; return them as they are kept."""
        while not until(self._outputs):
            message = self.client.get_iopub_msg(timeout=SECONDS)
            if message["parent_header"].get("msg_id") == message_id:
                kind, content = message["msg_type"], message["content"]
                if kind == "status" and content["execution_state"] == "idle":
                    break
                self._keep(kind, content)
        return self._outputs

    def _keep(self, kind, content):
        place = content.get("transient", {}).get("display_id")
        if kind == "update_display_data":
            self._outputs[self._places[place]] = content
        elif kind not in ("status", "execute_input"):
            self._places[place] = len(self._outputs)
            self._outputs.append(content)

    def run(self, code):
        return self.watch(self.start(code))


@pytest.fixture(params=["newest", pytest.param("ipykernel 6", marks=pytest.mark.ui)])
def kernel(request, require, require_module):
    """Start a kernel; the older one is there for `make test-ui`."""
    require_module("ipykernel")
    manage = require_module("jupyter_client.manager")
    path = [str(ROOT)]
    if request.param != "newest":
        require("ipykernel 6", present=OLDER_KERNEL.exists(), hint="Type: make test-ui")
        path.insert(0, str(OLDER_KERNEL))
    manager = manage.KernelManager()
    manager.start_kernel(env={**os.environ, "PYTHONPATH": os.pathsep.join(path)})
    started = Kernel(manager)
    yield started
    started.client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.fixture
def make(local_platform, kernel):
    """Give the kernel a frame, and a client for the local platform."""
    local_platform.create_stream(STREAM)

    def make(rows):
        assert kernel.run(MAKE.format(endpoint=local_platform.endpoint, rows=rows)) == []

    return make


def test_a_cell_keeps_one_bar_as_it_was_last(kernel, make):
    make(5_000)
    outputs = kernel.run(f"results = df.v3io.put_records({STREAM!r}, client=client)")
    (bar,) = outputs
    assert bar["data"]["text/plain"].startswith("5,000 of 5,000 rows stored · ")
    assert 'aria-label="5,000 stored"' in bar["data"]["text/html"]
    assert "width:100.0000%" in bar["data"]["text/html"]


def test_a_bar_without_a_known_total_comes_to_rest(kernel, make):
    make(300)
    code = (
        "import pyarrow as pa\n"
        "reader = pa.Table.from_pandas(df).to_reader()\n"
        f"results = v3io_frames_put.put_records(reader, {STREAM!r}, client=client)"
    )
    (bar,) = kernel.run(code)
    assert bar["data"]["text/plain"].startswith("300 of 300 rows stored · ")
    assert "width:100.0000%" in bar["data"]["text/html"]


def test_an_interrupted_cell_leaves_its_results_and_says_where(kernel, make, local_platform):
    make(50_000)
    with local_platform.hold():
        cell = kernel.start(f"results = df.v3io.put_records({STREAM!r}, client=client)")
        local_platform.wait_until(lambda platform: platform.in_flight() == 8)
        kernel.manager.interrupt_kernel()
        # What was not sent is given up at once, what is under way gets its outcome.
        kernel.watch(cell, until=lambda outputs: "not sent" in str(outputs))
    bar, error = kernel.watch(cell)
    assert error["ename"] == "Interrupted"
    assert "sys.last_value.results says what became of every row" in error["evalue"]
    stored = len(local_platform.records(STREAM))
    assert bar["data"]["text/plain"].startswith(f"{stored:,} of 50,000 rows stored")
    (counted,) = kernel.run("import sys\nsys.last_value.results.status.value_counts().to_dict()")
    assert f"'stored': {stored}, " in counted["data"]["text/plain"].replace("\n", "")
    (rest,) = kernel.run(
        f"results = df.v3io.put_records({STREAM!r}, client=client, progress=False,"
        " resume=sys.last_value.results)\nresults.status.eq('stored').all()"
    )
    assert rest["data"]["text/plain"] == "np.True_"
    found = local_platform.records(STREAM)
    assert len(found) == len({record.data for record in found}) == 50_000

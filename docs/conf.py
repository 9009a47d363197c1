"""How the documentation is built: `make docs`. Nothing is fetched, and a warning is an error."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click
    from sphinx.application import Sphinx

for name in [name for name in os.environ if name.startswith("V3IO_")]:
    del os.environ[name]

FOLDER = Path(__file__).parent
(FOLDER / "notebooks").mkdir(exist_ok=True)
for notebook in (FOLDER.parent / "notebooks").glob("*.ipynb"):
    part = FOLDER / "notebooks" / f"{notebook.name}.{os.getpid()}"
    shutil.copy(notebook, part)
    part.replace(part.with_suffix(""))  # whole, although another build may read it

project = "v3io-frames-put"
author = "the authors of v3io-frames-put"
project_copyright = "2026, " + author
version = release = installed_version("v3io-frames-put")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
smartquotes = False  # options and quotes of commands stay what one types
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}

# Notebooks are kept without outputs; they run when the pages are built.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 100
nb_execution_show_tb = True
nb_merge_streams = True
nb_ipywidgets_js = {}  # would be fetched
nb_mime_priority_overrides = [("*", "application/vnd.jupyter.widget-view+json", None)]

copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Large, and not needed to read what our functions say.
autodoc_mock_imports = ["dask", "pyspark"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the numpy docstrings say more
autodoc_class_signature = "mixed"
napoleon_google_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["page.css"]
html_title = f"v3io-frames-put {release}"
html_copy_source = False
html_show_sphinx = False

_CONNECTION = ("--endpoint", "--access-key-file", "--ca-file", "--insecure")


def describe_connection_once(_app: object, ctx: click.Context, lines: list[str]) -> None:
    """Describe the connection options with `publish` alone; other commands link to them."""
    if ctx.info_name == "publish" or not any("--ca-file" in line for line in lines):
        return
    kept, is_left_out = [], False
    for line in lines:
        if line.startswith(".. option::"):
            is_left_out = line.split()[2].rstrip(",") in _CONNECTION
        if not is_left_out:
            kept.append(line)
    links = [f":option:`{name} <v3io-put publish {name}>`" for name in _CONNECTION]
    lines[:] = [*kept, "", f"Connection, as for publish: {', '.join(links)}.", ""]


def setup(app: Sphinx) -> None:
    """Register what this build changes."""
    app.connect("sphinx-click-process-options", describe_connection_once)

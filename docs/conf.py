"""How the documentation is built: `make docs`. Nothing is fetched, and a warning is an error."""

from __future__ import annotations

import os
from importlib.metadata import version as installed_version

for name in [name for name in os.environ if name.startswith("V3IO_")]:
    del os.environ[name]

project = "v3io-frames-put"
author = "the authors of v3io-frames-put"
project_copyright = "2026, " + author
version = release = installed_version("v3io-frames-put")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

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
html_title = f"v3io-frames-put {release}"
html_copy_source = False
html_show_sphinx = False

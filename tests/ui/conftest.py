"""One browser for the whole session; JupyterLab and Notebook 7, one after the other."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture(scope="session")
def browser(require, require_module):
    """Start Chromium as Debian packages it."""
    require("Chromium", present=shutil.which("chromium"), hint="Type: apt-get install chromium")
    playwright = require_module("playwright.sync_api")
    from tests.ui.lab import BROWSER_ARGS, CHROMIUM

    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=BROWSER_ARGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session", params=["jupyterlab", "notebook"])
def lab(request, tmp_path_factory, require, require_module):
    """Run JupyterLab with the newest kernel, then Notebook 7 with the one before."""
    require_module(request.param)
    from tests.ui.lab import OLDER_KERNEL, serve_lab

    is_notebook = request.param == "notebook"
    if is_notebook:
        require("ipykernel 6", present=OLDER_KERNEL.exists(), hint="Type: make test-ui")
    home = tmp_path_factory.mktemp(request.param)
    with serve_lab(home, request.param, has_older_kernel=is_notebook) as server:
        yield server

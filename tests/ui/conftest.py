"""One browser and one JupyterLab for all tests of the session."""

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


@pytest.fixture(scope="session")
def lab(tmp_path_factory, require_module):
    """Run JupyterLab, or Notebook 7 where V3IO_PUT_UI_APP=notebook says so."""
    require_module("jupyterlab")
    from tests.ui.lab import serve_lab

    with serve_lab(tmp_path_factory.mktemp("lab")) as server:
        yield server

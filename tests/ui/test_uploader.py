"""The uploader in a real JupyterLab; each test says which bug only a browser shows."""

from __future__ import annotations

import pytest

from v3io_frames_put.local import LocalPlatform

pytestmark = [pytest.mark.ui, pytest.mark.timeout(180)]

SAVE = "() => window.jupyterapp.commands.execute('docmanager:save')"  # awaited
STREAM = "projects/house/readings"
MAKE = """
import numpy as np, pandas as pd, v3io_frames_put
df = pd.DataFrame({"sensor": np.resize(["attic", "cellar"], 20_000), "celsius": np.arange(20_000)})
"""
SECONDS = 30_000


@pytest.fixture
def open_uploader(browser, lab, local_platform, request):
    """Open a notebook with an uploader for the local platform, and end its kernel after."""
    from tests.ui.lab import open_notebook

    pages = []

    def open_uploader(stream=STREAM, endpoint=local_platform.endpoint):
        name = f"{request.node.originalname}.ipynb"
        page = open_notebook(
            browser,
            lab,
            name,
            MAKE,
            f"uploader = df.v3io.uploader({stream!r})\nuploader",
        )
        pages.append(page)
        ui = page.locator(".v3io-uploader")
        fill(ui, "Endpoint", endpoint)
        return page, ui

    yield open_uploader
    for page in pages:
        page.close()


def expect(locator):
    from playwright.sync_api import expect  # not loaded where these tests are only collected

    return expect(locator)


def fill(ui, label, text):
    field = ui.get_by_label(label, exact=True)
    field.fill(text, timeout=SECONDS)
    field.press("Tab")


def press(ui, name):
    ui.get_by_role("button", name=name, exact=True).click()


def says(ui, text):
    expect(ui.get_by_role("status")).to_contain_text(text, timeout=SECONDS)


def test_a_missing_stream_is_created_and_filled(open_uploader, local_platform):
    """Hidden and shown again controls, and the numbers that reach the page in the end."""
    _, ui = open_uploader("projects/house/new")
    expect(ui.get_by_role("button", name="Create stream")).to_be_hidden()
    press(ui, "Upload")
    says(ui, "nothing is there")
    press(ui, "Create stream")
    says(ui, "Press Upload")
    press(ui, "Upload")
    says(ui, "All 20,000 rows are stored.")
    expect(ui).to_contain_text("20,000 of 20,000 rows stored")
    assert len(local_platform.records("projects/house/new")) == 20_000


def test_the_preview_follows_the_columns(open_uploader):
    """Choices made by a mouse reach the kernel, and its answer the page."""
    _, ui = open_uploader()
    expect(ui).to_contain_text('{"sensor":"attic","celsius":0}', timeout=SECONDS)
    ui.get_by_label("Columns", exact=True).select_option(["celsius"])
    expect(ui).to_contain_text('{"celsius":0}')
    expect(ui).to_contain_text("Of the first 5,000 of 20,000 rows")


def test_pause_and_resume_send_every_row_once(open_uploader, local_platform):
    """Buttons that answer while a thread uploads, whatever thread runs callbacks."""
    local_platform.create_stream(STREAM, shards=2)
    _, ui = open_uploader()
    with local_platform.hold():
        press(ui, "Upload")
        local_platform.wait_until(lambda platform: platform.in_flight() == 8)
        press(ui, "Pause")
        says(ui, "Pausing")
    says(ui, "Stopped.")
    press(ui, "Resume")
    says(ui, "All 20,000 rows are stored.")
    found = local_platform.records(STREAM)
    assert len(found) == len({record.data for record in found}) == 20_000


def test_a_reload_in_mid_upload_finds_it_alive(open_uploader, local_platform):
    """A page that comes back takes its state from the kernel."""
    from tests.ui.lab import wait_ready

    local_platform.create_stream(STREAM)
    page, ui = open_uploader()
    with local_platform.hold():
        press(ui, "Upload")
        local_platform.wait_until(lambda platform: platform.in_flight() == 8)
        page.evaluate(SAVE)
        page.reload()
        wait_ready(page)
        expect(ui.get_by_role("button", name="Stop")).to_be_enabled(timeout=SECONDS)
    says(ui, "All 20,000 rows are stored.")


def test_a_wrong_key_is_told_and_saved_nowhere(open_uploader, lab, request):
    """What a browser types into a password field, and what it saves."""
    with LocalPlatform(access_key="right") as platform:
        platform.create_stream(STREAM)
        page, ui = open_uploader(endpoint=platform.endpoint)
        fill(ui, "Access key", "s3cret-wrong")
        press(ui, "Upload")
        says(ui, "did not accept who we are")
        fill(ui, "Access key", "right")
        press(ui, "Upload")
        says(ui, "All 20,000 rows are stored.")
    page.evaluate(SAVE)
    kept = (lab.root / f"{request.node.originalname}.ipynb").read_text(encoding="utf-8")
    assert "Last state" in kept
    assert "s3cret-wrong" not in kept
    assert "s3cret-wrong" not in page.content()


def test_the_keyboard_is_enough(open_uploader, local_platform):
    """The order of the Tab key, and Enter on a button."""
    local_platform.create_stream(STREAM)
    page, ui = open_uploader()
    ui.get_by_label("Delivery", exact=True).focus()
    page.keyboard.press("Tab")
    expect(ui.get_by_role("button", name="Upload", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    says(ui, "All 20,000 rows are stored.")

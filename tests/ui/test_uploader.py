"""The uploader in JupyterLab and Notebook 7; each test says which bug only a browser shows."""

from __future__ import annotations

import re

import pytest

from v3io_frames_put.local import LocalPlatform, faults

pytestmark = [pytest.mark.ui, pytest.mark.timeout(180)]

SAVE = "() => window.jupyterapp.commands.execute('docmanager:save')"  # awaited
STREAM = "projects/house/readings"
MAKE = """
import numpy as np, pandas as pd, v3io_frames_put
df = pd.DataFrame({"sensor": np.resize(["attic", "cellar"], 20_000), "celsius": np.arange(20_000)})
"""
SECONDS = 30_000
# What stands in the focus: the text of a button, or the label of a field.
FOCUSED = """() => {
  const focused = document.activeElement;
  return focused.labels?.[0]?.textContent.trim() || focused.textContent.trim() }"""
# Contrast as WCAG 2 defines it, of every text that is shown, over the nearest background.
FAINT_TEXTS = """root => {
  const parse = color => (color.match(/[\\d.]+/g) || []).map(Number);
  const luminance = color => {
    const [r, g, b] = parse(color).slice(0, 3).map(part => {
      const share = part / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4 });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const isClear = color => parse(color).length === 4 && parse(color)[3] === 0;
  const backgroundOf = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!isClear(color)) return color;
    }
    return 'rgb(255, 255, 255)' };
  const seen = [], faint = [];
  for (const element of root.querySelectorAll('*')) {
    const own = [...element.childNodes].filter(node => node.nodeType === Node.TEXT_NODE);
    const text = own.map(node => node.textContent.trim()).join('');
    if (!text || !element.checkVisibility() || element.closest(':disabled')) continue;
    if (element.closest('svg')) continue;
    const [one, other] = [getComputedStyle(element).color, backgroundOf(element)].map(luminance);
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    seen.push(text);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(1)}: ${text}`);
  }
  return {seen, faint} }"""


@pytest.fixture
def open_cells(browser, lab, request):
    """Open a notebook with some cells and run them; its kernel ends with the test."""
    from tests.ui.lab import end_kernels, open_notebook

    pages = []

    def open_cells(*cells):
        page = open_notebook(browser, lab, f"{request.node.originalname}.ipynb", *cells)
        pages.append(page)
        return page

    yield open_cells
    for page in pages:
        page.close()
    end_kernels(lab)


@pytest.fixture
def open_uploader(open_cells, local_platform):
    """Open a notebook with an uploader for the local platform."""

    def open_uploader(stream=STREAM, endpoint=local_platform.endpoint, make=MAKE):
        page = open_cells(make, f"uploader = df.v3io.uploader({stream!r})\nuploader")
        ui = page.locator(".v3io-uploader")
        fill(ui, "Endpoint", endpoint)
        return page, ui

    return open_uploader


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


@pytest.mark.parametrize(
    ("halt", "halting", "go_on"),
    [("Pause", "Pausing", "Resume"), ("Stop", "Stopping", "Send what is left")],
    ids=["pause", "stop"],
)
def test_an_upload_that_is_halted_goes_on(open_uploader, local_platform, halt, halting, go_on):
    """Buttons that answer while a thread uploads, whatever thread runs callbacks."""
    local_platform.create_stream(STREAM, shards=2)
    _, ui = open_uploader()
    with local_platform.hold():
        press(ui, "Upload")
        local_platform.wait_until(lambda platform: platform.in_flight() == 8)
        press(ui, halt)
        says(ui, halting)
    says(ui, "Stopped.")
    expect(ui).to_contain_text(f"{len(local_platform.records(STREAM)):,} of 20,000 rows stored")
    press(ui, go_on)
    says(ui, "All 20,000 rows are stored.")
    found = local_platform.records(STREAM)
    assert len(found) == len({record.data for record in found}) == 20_000


def test_a_platform_that_dies_in_mid_upload_is_told_and_the_rest_sent_later(open_cells, tmp_path):
    """What an error of the upload's thread shows: a notebook swallows what a callback raises."""
    dies = faults.restart(nth=3, stored="all", down_seconds=3_600)
    with LocalPlatform(data_dir=tmp_path, faults=[dies]) as platform:
        platform.create_stream(STREAM)
        client = (
            f"client = v3io_frames_put.Client({platform.endpoint!r}, retry=v3io_frames_put.Retry("
            "deadline_seconds=0.5, base_seconds=0.05, settle_seconds=0.1))"
        )
        show = f"df.v3io.uploader({STREAM!r}, client=client, delivery='exactly_once')"
        ui = open_cells(MAKE, client, show).locator(".v3io-uploader")
        ui.get_by_role("button", name="Upload", exact=True).click(timeout=SECONDS)
        says(ui, "no request was answered for 0.5 s")
        port = int(platform.endpoint.rpartition(":")[2])
    expect(ui).to_contain_text(re.compile(r"of 20,000 rows stored · .* unknown"))
    with LocalPlatform(data_dir=tmp_path, port=port) as platform:
        press(ui, "Send what is left")
        says(ui, "All 20,000 rows are stored.")
        found = platform.records(STREAM)
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


def test_a_restarted_kernel_goes_on_where_its_journal_ends(
    open_cells, local_platform, lab, tmp_path
):
    """A kernel that is killed takes the widget with it; the next one finds the journal."""
    from tests.ui.lab import end_kernels

    local_platform.create_stream(STREAM)
    local_platform.faults = [faults.stalled_answer(nth=3, times=None)]
    journal = tmp_path / "run.v3io"
    client = (
        f"client = v3io_frames_put.Client({local_platform.endpoint!r}, "
        "retry=v3io_frames_put.Retry(settle_seconds=0.1))"
    )
    show = (
        f"df.v3io.uploader({STREAM!r}, client=client, delivery='exactly_once', "
        f"journal={str(journal)!r})"
    )
    ui = open_cells(MAKE, client, show).locator(".v3io-uploader")
    ui.get_by_role("button", name="Upload", exact=True).click(timeout=SECONDS)
    local_platform.wait_until(lambda platform: platform.in_flight() == 8)
    end_kernels(lab)
    local_platform.faults = []
    ui = open_cells(MAKE, client, show).locator(".v3io-uploader")
    says(ui, "the journal of a run")
    press(ui, "Upload")
    says(ui, "All 20,000 rows are stored.")
    found = local_platform.records(STREAM)
    assert len(found) == len({record.data for record in found}) == 20_000


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
    """The order of the Tab key through every control, and Enter on a button."""
    local_platform.create_stream(STREAM)
    page, ui = open_uploader()
    ui.get_by_label("DataFrame", exact=True).focus()
    passed = []
    while "Upload" not in passed:
        passed.append(page.evaluate(FOCUSED))
        page.keyboard.press("Tab")
    assert passed == [
        "DataFrame", "or a file", "Endpoint", "Access key", "Stream", "Columns",
        "Send the index, too", "Format", "Rows a record", "Partition key", "Shard",
        "Client info", "Delivery", "Journal", "Upload",
    ]  # fmt: skip
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    says(ui, "All 20,000 rows are stored.")


def test_all_text_can_be_read_in_both_themes(open_uploader, local_platform):
    """Colors come from the page: what is dark on white may be dark on black."""
    from tests.ui.lab import set_theme

    local_platform.create_stream(STREAM, shards=2)
    page, ui = open_uploader(
        make=MAKE + "df['celsius'] = (df.celsius + 1) / (df.index % 1_000 != 0)"
    )
    press(ui, "Upload")
    says(ui, "20 of 20,000 rows are not stored")
    expect(ui).to_contain_text("Rows per shard")
    for theme in ("Light", "Dark"):
        set_theme(page, theme)
        told = ui.evaluate(FAINT_TEXTS)
        assert told["faint"] == [], theme
        seen = "\n".join(told["seen"])
        for text in ("Delivery", "The first records", "Rows per shard", "UnencodableValue"):
            assert text in seen


def test_markup_in_names_and_values_stays_text(open_uploader, local_platform):
    """A page runs what is not escaped."""
    evil = '<img src=x onerror="window.harmed = true">'
    make = (
        "import pandas as pd, v3io_frames_put\n"
        f"evil = {evil!r}\n"
        "df = pd.DataFrame({evil: [evil, float('inf')], 'k': [evil, 'b']}, index=[evil, 'b'])"
    )
    local_platform.create_stream(STREAM)
    page, ui = open_uploader(make=make)
    ui.get_by_label("Partition key", exact=True).select_option("k")
    press(ui, "Upload")
    says(ui, "1 of 2 rows are not stored")
    expect(ui).to_contain_text(evil)
    expect(ui.locator("img")).to_have_count(0)
    assert page.evaluate("() => window.harmed") is None


def test_a_frame_that_is_made_later_is_found_however_wide(open_cells):
    """A list of a thousand columns, in controls that were empty before."""
    show = "import numpy as np, pandas as pd, v3io_frames_put\nv3io_frames_put.Uploader()"
    page = open_cells(show, "wide = pd.DataFrame(np.zeros((2_000, 1_000)))\nwide.shape")
    ui = page.locator(".v3io-uploader")
    says(ui, "There is no DataFrame here")
    expect(page.locator(".jp-OutputArea").last).to_contain_text("(2000, 1000)", timeout=SECONDS)
    press(ui, "Find DataFrames")
    says(ui, "wide: 2,000 rows, 1,000 columns")
    expect(ui).to_contain_text("Of the first 500 of 2,000 rows", timeout=SECONDS)
    expect(ui.get_by_label("Columns", exact=True).locator("option")).to_have_count(1_000)


def test_ten_million_rows_leave_the_buttons_alive(open_uploader, local_platform):
    """Updates that come too often, or too much at once, are dropped by the server."""
    local_platform.create_stream(STREAM)
    make = "import numpy as np, pandas as pd, v3io_frames_put\n"
    _, ui = open_uploader(make=make + "df = pd.DataFrame({'n': np.arange(10_000_000)})")
    expect(ui).to_contain_text("Of the first 5,000 of 10,000,000 rows", timeout=SECONDS)
    press(ui, "Upload")
    moving = re.compile(r"[1-9][\d,]* of 10,000,000 rows stored · .* left")
    expect(ui).to_contain_text(moving, timeout=SECONDS)
    press(ui, "Stop")
    says(ui, "Stopping")


def test_two_uploaders_do_not_disturb_each_other(open_cells, local_platform, lab):
    """Messages of two widgets in one page, and of two threads in one kernel."""
    streams = ["projects/house/one", "projects/house/two"]
    for stream in streams:
        local_platform.create_stream(stream)
    client = f"client = v3io_frames_put.Client({local_platform.endpoint!r})"
    shown = [f"df.v3io.uploader({stream!r}, client=client)" for stream in streams]
    version = "import ipykernel\nf'ipykernel {ipykernel.__version__}'"
    page = open_cells(MAKE + client, *shown, version)
    uis = [page.locator(".v3io-uploader").nth(place) for place in range(2)]
    with local_platform.hold():
        for ui in uis:
            ui.get_by_role("button", name="Upload", exact=True).click(timeout=SECONDS)
        local_platform.wait_until(lambda platform: platform.in_flight() == 16)
    for ui, stream in zip(uis, streams, strict=True):
        says(ui, "All 20,000 rows are stored.")
        assert len(local_platform.records(stream)) == 20_000
    is_older = lab.app == "notebook"  # the two servers run the kernels that they should
    expected = re.compile(r"ipykernel 6\." if is_older else r"ipykernel (7|8)\.")
    expect(page.locator(".jp-OutputArea").last).to_contain_text(expected)

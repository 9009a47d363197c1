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
BROKEN = "df['celsius'] = np.where(df.index % 4, df.celsius, np.inf)\n"
SECONDS = 30_000
# What has the focus: the text of a button, or the label of a field.
FOCUSED = """() => {
  const focused = document.activeElement;
  return focused.labels?.[0]?.textContent.trim() || focused.textContent.trim() }"""
SHARES = """root => {
  const bar = root.querySelector('.v3io-bar'), whole = bar.getBoundingClientRect().width;
  const share = status => (
    (bar.querySelector(`.v3io-${status}`)?.getBoundingClientRect().width ?? 0) / whole);
  return Object.fromEntries(['stored', 'rejected', 'unknown'].map(name => [name, share(name)])) }"""
# Contrast as WCAG 2 defines it, of every text that is shown, over the nearest background.
FAINT_TEXTS = """root => {
  const parse = color => (color.match(/[\\d.]+/g) || []).map(Number);
  const luminance = color => {
    const [r, g, b] = parse(color).slice(0, 3).map(part => {
      const share = part / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4 });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const backgroundOf = element => {
    const color = getComputedStyle(element ?? document.documentElement).backgroundColor;
    const [r, g, b, alpha = 1] = parse(color);
    if (!element) return 'rgb(255, 255, 255)';
    if (alpha === 1) return color;
    const below = parse(backgroundOf(element.parentElement));
    const mixed = [r, g, b].map((part, at) => alpha * part + (1 - alpha) * below[at]);
    return `rgb(${mixed.join(', ')})` };
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


def button(ui, label):
    """Find a button by the beginning of its label: it names rows, too."""
    return ui.get_by_role("button", name=re.compile(rf"^\W*{label}"))  # after an icon


def press(ui, label):
    button(ui, label).click(timeout=SECONDS)


def says(ui, text, kind="calm"):
    """Check what the uploader said last, and whether it is marked as an alarm."""
    expect(ui.get_by_role("status")).to_contain_text(text, timeout=SECONDS)
    expect(ui.get_by_role("status")).to_have_class(f"v3io-{kind}")


def is_primary(ui, label):
    """Check that a button is the blue one."""
    expect(button(ui, label)).to_have_class(re.compile("mod-primary"), timeout=SECONDS)


def shows(ui, headline):
    """Check the headline of the results page."""
    expect(ui.locator(".v3io-card b").first).to_have_text(headline, timeout=SECONDS)


def shares(ui):
    """Measure how much of the bar each status fills, in one go: it may be replaced any time."""
    return ui.evaluate(SHARES)


def color(ui, status):
    part = ui.locator(f".v3io-bar .v3io-{status}").first
    return part.evaluate("part => getComputedStyle(part).backgroundColor")


GREEN, RED, AMBER = "rgb(46, 125, 50)", "rgb(211, 47, 47)", "rgb(249, 168, 37)"


def test_nothing_is_shown_before_there_is_something_to_show(open_uploader, local_platform):
    """Controls that are hidden by their layout alone, which only a browser applies."""
    _, ui = open_uploader()
    expect(ui).to_contain_text("20,000 rows, 2 columns", timeout=SECONDS)
    is_primary(ui, "Upload 20,000 rows")
    for label in ("Pause", "Stop", "Start over", "Resume", "Cancel", "Create", "Save", "Send all"):
        expect(button(ui, label)).to_have_count(0)
    expect(ui.get_by_role("status")).to_have_count(0)
    expect(ui.locator(".v3io-bar")).to_have_count(0)
    expect(ui.get_by_label("Delivery", exact=True)).to_be_hidden()
    press(ui, "Options")
    expect(ui.get_by_label("Delivery", exact=True)).to_be_visible()


def test_a_missing_stream_is_one_line_and_a_button(open_uploader, local_platform):
    """Hidden and shown again controls, and the numbers that reach the page in the end."""
    _, ui = open_uploader("projects/house/new")
    press(ui, "Upload")
    says(ui, "The stream projects/house/new does not exist yet.")
    expect(ui.locator(".v3io-card")).to_have_count(0)
    is_primary(ui, "Create stream")
    fill(ui, "Shards", "2")
    press(ui, "Create stream")
    says(ui, "with 2 shards. Press Upload 20,000 rows.")
    press(ui, "Upload")
    says(ui, "Done.")
    shows(ui, "All 20,000 rows stored")
    assert shares(ui) == {"stored": 1, "rejected": 0, "unknown": 0}
    assert color(ui, "stored") == GREEN
    expect(ui).to_contain_text("2 shards, 10,000 rows each", timeout=SECONDS)
    expect(button(ui, "Create stream")).to_have_count(0)
    assert len(local_platform.records("projects/house/new")) == 20_000


def test_the_preview_follows_the_columns(open_uploader):
    """Choices made by a mouse reach the kernel, and its answer the page."""
    _, ui = open_uploader()
    expect(ui).to_contain_text('{"sensor":"attic","celsius":0}', timeout=SECONDS)
    ui.get_by_label("sensor", exact=True).uncheck()
    expect(ui).to_contain_text('{"celsius":0}')
    expect(ui).to_contain_text("20,000 rows make about 20,000 records")
    expect(ui).to_contain_text("1 of 2 columns checked")


def test_what_is_rejected_is_shown_with_its_reason(open_uploader, local_platform):
    """Colors and widths of the bar, and what is folded away."""
    local_platform.create_stream(STREAM, shards=2)
    _, ui = open_uploader(make=MAKE + BROKEN)
    press(ui, "Upload")
    says(ui, "Done. 5,000 rows were rejected, for the reasons below.")
    shows(ui, "15,000 of 20,000 rows stored")
    widths = shares(ui)
    assert widths["stored"] == pytest.approx(0.75, abs=0.01)
    assert widths["rejected"] == pytest.approx(0.25, abs=0.01)
    assert (color(ui, "stored"), color(ui, "rejected")) == (GREEN, RED)
    cells = ui.locator("details", has_text="Why 5,000 rows are not stored").get_by_role("cell")
    expect(cells.first).to_contain_text("UnencodableValue")
    expect(cells.nth(1)).to_have_text("celsius")
    expect(ui).to_contain_text("0, 4, 8, 12 and 4,996 more")
    row = ui.get_by_role("row", name="Delivery at_least_once")
    expect(row).to_be_hidden()
    ui.get_by_text("Details", exact=True).click()
    expect(row).to_be_visible()


def test_unknown_rows_are_amber_and_never_sent_twice(open_cells, local_platform):
    """The color of a status, which only a browser computes."""
    local_platform.create_stream(STREAM)
    local_platform.faults = [faults.lost_answer()]
    client = f"client = v3io_frames_put.Client({local_platform.endpoint!r})"
    show = f"df.v3io.uploader({STREAM!r}, client=client, delivery='at_most_once')"
    ui = open_cells(MAKE, client, show).locator(".v3io-uploader")
    press(ui, "Upload")
    says(ui, "Done. 1,000 rows may or may not be stored.")
    shows(ui, "19,000 of 20,000 rows stored")
    assert shares(ui)["unknown"] == pytest.approx(0.05, abs=0.01)
    assert (color(ui, "stored"), color(ui, "unknown")) == (GREEN, AMBER)
    expect(ui.locator(".v3io-notice").first).to_contain_text("never sends them again")
    expect(button(ui, "Send the rest")).to_have_count(0)


def test_results_are_saved_and_sent_again_only_when_it_is_confirmed(
    open_uploader, local_platform, tmp_path
):
    """Buttons that appear when an upload is done, and a question that takes their place."""
    local_platform.create_stream(STREAM)
    _, ui = open_uploader()
    press(ui, "Upload 20,000 rows")
    shows(ui, "All 20,000 rows stored")
    fill(ui, "to", str(tmp_path / "results.csv"))
    press(ui, "Save results")
    says(ui, "The results of 20,000 rows are in")
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 20_001
    press(ui, "Upload 20,000 rows again")
    says(ui, "Sending every row again stores these twice.", kind="alarm")
    assert len(local_platform.records(STREAM)) == 20_000
    press(ui, "Send all 20,000 rows")
    expect(button(ui, "Send all")).to_have_count(0)
    shows(ui, "All 20,000 rows stored")
    assert len(local_platform.records(STREAM)) == 40_000


def test_a_file_and_a_frame_are_chosen_back_and_forth(open_uploader, tmp_path):
    """A field that acts on Tab, and a list whose choices come from the kernel."""
    path = tmp_path / "readings.csv"
    path.write_text("room\nattic\n")
    _, ui = open_uploader()
    fill(ui, "File", str(path))
    expect(ui).to_contain_text('{"room":"attic"}', timeout=SECONDS)
    is_primary(ui, "Upload 1 row")
    ui.get_by_label("DataFrame", exact=True).select_option("df")
    expect(ui).to_contain_text('{"sensor":"attic","celsius":0}', timeout=SECONDS)
    is_primary(ui, "Upload 20,000 rows")


@pytest.mark.parametrize(
    ("halt", "halting", "go_on"),
    [("Pause", "Pausing", "Resume"), ("Stop", "Stopping", "Send the rest")],
    ids=["pause", "stop"],
)
def test_an_upload_that_is_halted_goes_on(open_uploader, local_platform, halt, halting, go_on):
    """Buttons that answer while a thread uploads, whatever thread runs callbacks."""
    local_platform.create_stream(STREAM, shards=2)
    _, ui = open_uploader()
    with local_platform.hold():
        press(ui, "Upload")
        local_platform.wait_until(lambda platform: platform.in_flight() == 8)
        expect(ui.locator(".v3io-progress")).to_contain_text("0 of 20,000 rows stored")
        assert shares(ui)["stored"] == 0
        expect(button(ui, "Upload")).to_have_count(0)
        press(ui, halt)
        says(ui, halting)
    is_primary(ui, go_on)
    stored = len(local_platform.records(STREAM))
    shows(ui, f"{stored:,} of 20,000 rows stored")
    expect(button(ui, go_on)).to_contain_text(f"{20_000 - stored:,} rows left")
    assert shares(ui)["stored"] == pytest.approx(stored / 20_000, abs=0.01)
    expect(ui.locator(".v3io-notice").first).to_contain_text("rows not sent")
    press(ui, "Start over")
    says(ui, f"{stored:,} of 20,000 rows of the last upload are stored or may be.", kind="alarm")
    press(ui, "Cancel")
    assert len(local_platform.records(STREAM)) == stored
    press(ui, go_on)
    shows(ui, "All 20,000 rows stored")
    found = local_platform.records(STREAM)
    assert len(found) == len({record.data for record in found}) == 20_000


def test_a_platform_that_dies_in_mid_upload_is_reported_and_the_rest_sent_later(
    open_cells, tmp_path
):
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
        press(ui, "Upload")
        says(ui, "no usable answer came for 0.5 s", kind="alarm")
        port = int(platform.endpoint.rpartition(":")[2])
    expect(ui).to_contain_text(re.compile("[1-9],000 rows may or may not be stored"))
    assert shares(ui)["unknown"] > 0
    assert color(ui, "unknown") == AMBER
    with LocalPlatform(data_dir=tmp_path, port=port) as platform:
        press(ui, "Send the rest")
        shows(ui, "All 20,000 rows stored")
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
        expect(button(ui, "Stop")).to_be_enabled(timeout=SECONDS)
    shows(ui, "All 20,000 rows stored")


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
    press(ui, "Upload")
    local_platform.wait_until(lambda platform: platform.in_flight() == 8)
    end_kernels(lab)
    local_platform.faults = []
    ui = open_cells(MAKE, client, show).locator(".v3io-uploader")
    says(ui, "the journal of a run")
    press(ui, "Upload")
    shows(ui, "All 20,000 rows stored")
    found = local_platform.records(STREAM)
    assert len(found) == len({record.data for record in found}) == 20_000


def test_a_wrong_key_is_reported_and_saved_nowhere(open_uploader, lab, request):
    """What a browser types into a password field, and what it saves."""
    with LocalPlatform(access_key="right") as platform:
        platform.create_stream(STREAM)
        page, ui = open_uploader(endpoint=platform.endpoint)
        fill(ui, "Access key", "s3cret-wrong")
        press(ui, "Upload")
        says(ui, "Correct the field Access key", kind="alarm")
        shows(ui, "0 of 20,000 rows stored")
        assert shares(ui) == {"stored": 0, "rejected": 0, "unknown": 0}
        fill(ui, "Access key", "right")
        press(ui, "Upload")
        shows(ui, "All 20,000 rows stored")
    page.evaluate(SAVE)
    kept = (lab.root / f"{request.node.originalname}.ipynb").read_text(encoding="utf-8")
    assert "Last state" in kept
    assert "s3cret-wrong" not in kept
    assert "s3cret-wrong" not in page.content()


def test_a_saved_notebook_that_is_not_trusted_shows_the_results(open_cells, local_platform, lab):
    """What JupyterLab leaves of a page of another's hand: it takes scripts and styles away."""
    from tests.ui.lab import open_saved

    local_platform.create_stream(STREAM, shards=2)
    client = f"client = v3io_frames_put.Client({local_platform.endpoint!r})"
    put = f"results = df.v3io.put_records({STREAM!r}, client=client)"
    page = open_cells(MAKE + BROKEN, client, put, "results.v3io.summary()")
    expect(page.locator(".v3io-card")).to_contain_text("rows stored", timeout=SECONDS)
    page.evaluate(SAVE)
    saved = open_saved(page, lab)
    card = saved.locator(".v3io-card")
    expect(card.locator("b").first).to_have_text("15,000 of 20,000 rows stored", timeout=SECONDS)
    expect(card.get_by_role("row", name=re.compile("^Shard 0 1"))).to_be_visible()
    assert shares(card)["stored"] == pytest.approx(0.75, abs=0.01)
    assert color(card, "stored") == GREEN
    bar = saved.locator(".v3io-progress")
    expect(bar).to_contain_text("15,000 of 20,000 rows stored · 75 % · 5,000 rejected")


def test_the_keyboard_is_enough(open_uploader, local_platform):
    """The order of the Tab key through every control, Space on a box and Enter on a button."""
    local_platform.create_stream(STREAM)
    page, ui = open_uploader()
    expect(ui).to_contain_text("20,000 rows, 2 columns", timeout=SECONDS)
    ui.get_by_label("DataFrame", exact=True).focus()
    passed = []
    while "Upload 20,000 rows" not in passed:
        passed.append(page.evaluate(FOCUSED))
        if passed[-1] == "sensor":
            page.keyboard.press("Space")
        if passed[-1] == "Options":
            page.keyboard.press("Enter")
            expect(ui.get_by_label("Journal", exact=True)).to_be_visible()
        page.keyboard.press("Tab")
    assert passed == [
        "DataFrame", "Find DataFrames", "File", "Columns", "sensor", "celsius", "Check all",
        "Uncheck all", "Send the index, too", "Endpoint", "Access key", "Stream", "Partition key",
        "Options", "Format", "Rows per record", "Shard", "Client info", "Delivery", "Journal",
        "Upload 20,000 rows",
    ]  # fmt: skip
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    shows(ui, "All 20,000 rows stored")
    sent = {record.data for record in local_platform.records(STREAM)}  # in any order: no keys
    assert sent == {b'{"celsius":%d}' % row for row in range(20_000)}


def test_all_text_can_be_read_in_both_themes(open_uploader, local_platform):
    """Colors come from the page: what is dark on white may be dark on black."""
    from tests.ui.lab import set_theme

    local_platform.create_stream(STREAM, shards=2)
    page, ui = open_uploader(make=MAKE + BROKEN)
    press(ui, "Options")
    press(ui, "Upload")
    shows(ui, "15,000 of 20,000 rows stored")
    expect(ui).to_contain_text("Rows per shard · 2 shards", timeout=SECONDS)
    for theme in ("Light", "Dark"):
        set_theme(page, theme)
        texts = ui.evaluate(FAINT_TEXTS)
        assert texts["faint"] == [], theme
        seen = "\n".join(texts["seen"])
        for text in ("Delivery", "5,000 rejected", "Rows per shard", "UnencodableValue"):
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
    shows(ui, "1 of 2 rows stored")
    expect(ui).to_contain_text(evil)
    expect(ui.locator("img")).to_have_count(0)
    assert page.evaluate("() => window.harmed") is None


def test_a_frame_that_is_made_later_is_found_however_wide(open_cells):
    """A thousand columns, searched and paged, in controls that were empty before."""
    show = "import numpy as np, pandas as pd, v3io_frames_put\nv3io_frames_put.Uploader()"
    make = "wide = pd.DataFrame(np.zeros((2_000, 1_000))).add_prefix('c').astype({'c7': 'str'})"
    page = open_cells(show, f"{make}\nwide.shape")
    ui = page.locator(".v3io-uploader")
    says(ui, "No DataFrame was found")
    expect(page.locator(".jp-OutputArea").last).to_contain_text("(2000, 1000)", timeout=SECONDS)
    press(ui, "Find DataFrames")
    expect(ui).to_contain_text("2,000 rows, 1,000 columns", timeout=SECONDS)
    expect(ui).to_contain_text("by the first 500 rows", timeout=SECONDS)
    boxes = ui.get_by_role("checkbox")
    expect(boxes).to_have_count(8 + 1)  # a page of columns, and the index
    search = ui.get_by_label("Columns", exact=True)
    search.press_sequentially("c99")
    expect(ui.get_by_label("c990", exact=True)).to_be_checked()
    expect(ui).to_contain_text("1 to 8 of 11")
    press(ui, "Next")
    expect(boxes).to_have_count(3 + 1)
    press(ui, "Previous")
    expect(boxes).to_have_count(8 + 1)
    press(ui, "Uncheck all")
    expect(ui).to_contain_text("989 of 1,000 columns checked")
    press(ui, "Check all")
    expect(ui).to_contain_text("1,000 of 1,000 columns checked")
    press(ui, "Uncheck all")
    search.fill("")
    expect(ui.get_by_label("c0", exact=True)).to_be_checked()
    ui.get_by_label("c0", exact=True).uncheck()
    expect(ui).to_contain_text("988 of 1,000 columns checked")


def test_ten_million_rows_leave_the_buttons_alive(open_uploader, local_platform):
    """Updates that come too often, or too much at once, are dropped by the server."""
    local_platform.create_stream(STREAM)
    make = "import numpy as np, pandas as pd, v3io_frames_put\n"
    _, ui = open_uploader(make=make + "df = pd.DataFrame({'n': np.arange(10_000_000)})")
    expect(ui).to_contain_text("10,000,000 rows make about 10,000,000 records", timeout=SECONDS)
    press(ui, "Upload")
    moving = re.compile(r"[1-9][\d,]* of 10,000,000 rows stored · \d+ % · .* rows/s · .* left")
    expect(ui.locator(".v3io-progress")).to_contain_text(moving, timeout=SECONDS)
    assert 0 < shares(ui)["stored"] < 1
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
            press(ui, "Upload")
        local_platform.wait_until(lambda platform: platform.in_flight() == 16)
    for ui, stream in zip(uis, streams, strict=True):
        shows(ui, "All 20,000 rows stored")
        assert len(local_platform.records(stream)) == 20_000
    is_older = lab.app == "notebook"  # the two servers run the kernels that they should
    expected = re.compile(r"ipykernel 6\." if is_older else r"ipykernel (7|8)\.")
    expect(page.locator(".jp-OutputArea").last).to_contain_text(expected)

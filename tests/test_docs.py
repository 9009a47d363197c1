"""What README and docs show is what happens, and nothing public is left out of them."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from markdown_it import MarkdownIt

import v3io_frames_put
from v3io_frames_put.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OUTPUT = doctest.OutputChecker()
CODE_COLUMNS = 100  # what fits a page at 1,300 px
LENIENT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text and the line where it begins."""

    language: str
    text: str
    line: int


def read_blocks(page: Path) -> list[Block]:
    """Find the fenced blocks of a page."""
    tokens = MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))
    return [
        Block(token.info.strip(), token.content, token.map[0] + 1)
        for token in tokens
        if token.type == "fence"
    ]


def pairs(blocks: list[Block]) -> Iterator[tuple[Block, str | None]]:
    """Put to each python block the text that the page says it prints."""
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.language == "python":
            yield block, after.text if after and after.language == "text" else None


def run_block(block: Block, page: Path, names: dict[str, Any]) -> str:
    """Run a block in the names of its page and return what it prints."""
    source = "\n" * block.line + block.text  # so that a traceback shows the page's line
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, str(page), "exec"), names)  # noqa: S102  # our own pages
    return printed.getvalue()


WITH_PYTHON = [page for page in PAGES if any(b.language == "python" for b in read_blocks(page))]


@pytest.mark.filterwarnings("ignore::v3io_frames_put.UnstoredRowsWarning")
@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_prints_what_it_says(page, local_platform, monkeypatch, tmp_path):
    monkeypatch.setenv("V3IO_API", local_platform.endpoint)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block, said in pairs(read_blocks(page)):
        printed = run_block(block, page, names)
        if said is not None:
            where = f"{page.relative_to(ROOT)}, line {block.line}, prints\n{printed}"
            assert OUTPUT.check_output(said, printed, LENIENT), where


def test_the_readme_shows_code_and_its_output_on_the_first_screen():
    blocks = read_blocks(ROOT / "README.md")
    assert [block.language for block in blocks[:2]] == ["python", "text"]
    assert blocks[1].line + blocks[1].text.count("\n") <= 35
    assert len([line for line in blocks[0].text.splitlines() if line]) <= 10


def test_each_name_on_the_way_of_a_row_is_in_the_code():
    text = (ROOT / "docs/explanation/the-way-of-a-row.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`([a-z_]+(?:\.\w+)+)`", text)) - {"v3io_frames_put.local"}
    assert len(names) > 50
    assert [name for name in sorted(names) if not is_in_package(name)] == []


def is_in_package(name: str) -> bool:
    """Import as much of a name as is a module, and look up the rest."""
    parts = name.split(".")
    found: Any = v3io_frames_put
    for place, part in enumerate(parts):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(".".join(["v3io_frames_put", *parts[: place + 1]]))
        found = getattr(found, part, None)
    return found is not None


def test_every_link_of_the_readme_leads_to_a_file():
    links = re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    here = [link for link in links if "://" not in link]
    assert here
    assert [link for link in here if not (ROOT / link).is_file()] == []


def test_every_public_name_is_in_the_reference():
    text = "\n".join(
        page.read_text(encoding="utf-8") for page in (ROOT / "docs/reference").glob("*.md")
    )
    whole_modules = {"v3io_frames_put.errors", "v3io_frames_put.config"}  # shown by automodule
    missing = []
    for name in set(v3io_frames_put.__all__) - {"__version__"}:
        home = getattr(getattr(v3io_frames_put, name), "__module__", None)
        if home not in whole_modules and not re.search(rf"\b{name}\b", text):
            missing.append(name)
    assert missing == []


def list_commands(
    command: click.Command, path: str = "v3io-put"
) -> Iterator[tuple[str, click.Command]]:
    """Walk the tree of commands."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from list_commands(below, f"{path} {name}")


COMMANDS = dict(list_commands(main))


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_of_the_command_line_is_described(path):
    command = COMMANDS[path]
    assert command.help, f"{path} has no help"
    bare = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
    assert bare == []


@pytest.fixture(scope="module")
def built(require_module, tmp_path_factory):
    """Build the documentation as `make docs` does; its notebooks run in tests of their own."""
    for name in ("sphinx", "myst_nb", "sphinx_copybutton"):
        require_module(name)
    target = tmp_path_factory.mktemp("docs")
    command = [
        *("-m", "sphinx", "-W", "--keep-going", "-q", "-D", "nb_execution_mode=off"),
        *(str(ROOT / "docs"), str(target)),
    ]
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return target


def test_the_docs_build_without_a_warning_and_fetch_nothing(built):
    pages = list(built.rglob("*.html"))
    assert len(pages) > 10
    fetched = re.compile(r"""<(?:script|link|img)[^>]+(?:src|href)=["'](?:https?:)?//[^"']+""")
    assert [found for page in pages for found in fetched.findall(page.read_text("utf-8"))] == []


def test_the_reference_shows_every_command_and_option(built):
    text = (built / "reference" / "cli.html").read_text(encoding="utf-8")
    names = {name for command in COMMANDS.values() for p in command.params for name in p.opts}
    missing = [name for name in names if name.startswith("--") and f">{name}<" not in text]
    assert missing == []
    assert [path for path in COMMANDS if path.split()[-1] not in text] == []


QUESTIONS = {
    "which address and which key?": ("how-to/connect", "address-and-key", "V3IO_ACCESS_KEY"),
    "my certificate is not trusted": ("how-to/connect", "certificates", "--ca-file"),
    "how do I go through a proxy?": ("how-to/connect", "proxies", "HTTPS_PROXY"),
    "key or shard?": ("how-to/keys-and-shards", "choose-keys-and-shards", "in order"),
    "how many rows per second?": ("explanation/performance", "measured", "v3io-py"),
    "what do I do with rows that failed?": ("how-to/fix-and-resend", "each-status", "rejected"),
    "how do timestamps arrive?": ("reference/types", "in-json", "timestamp with zone"),
    "how do I read with nuclio?": ("how-to/read-the-stream", "in-a-nuclio-function", "event.body"),
    "my kernel died": ("how-to/widget", "when-the-kernel-dies", "Journal"),
    "how do I run it every night?": ("how-to/schedule", "publish-on-a-schedule", "cron"),
}


class _Page(HTMLParser):
    """The links of a page, and the text of the section with an anchor."""

    def __init__(self, path: Path, anchor: str = "") -> None:
        super().__init__()
        self.links: set[str] = set()
        self.text = ""
        self._anchor = anchor
        self._depth = 0  # in sections, from the one with the anchor
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "a" and found.get("href"):
            self.links.add(found["href"])
        if tag == "section" and (self._depth or found.get("id") == self._anchor):
            self._depth += 1

    def handle_endtag(self, tag):
        if tag == "section" and self._depth:
            self._depth -= 1

    def handle_data(self, data):
        if self._depth:
            self.text += data


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_within_two_clicks_from_the_home_page(built, question):
    page, anchor, answer = QUESTIONS[question]
    assert answer in _Page(built / f"{page}.html", anchor).text
    home = _Page(built / "index.html").links
    target = f"{page}.html"
    then = _Page(built / target).links if target in home else set()
    assert home & {f"{target}#{anchor}"} or f"#{anchor}" in then


SEARCHES = {
    "token": "how-to/connect",
    "certificate": "how-to/connect",
    "proxy": "how-to/connect",
    "throughput": "explanation/performance",
    "consumer": "how-to/read-the-stream",
    "nuclio": "how-to/read-the-stream",
    "storey": "how-to/coming-from",
    "timestamp": "reference/types",
    "duplicates": "explanation/delivery-guarantees",
    "cron": "how-to/schedule",
}


@pytest.mark.parametrize("word", SEARCHES)
def test_a_search_leads_to_the_page(built, word):
    from sphinx.search.en import SearchEnglish

    text = (built / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    stem, pages = SearchEnglish({}).stem(word), set()
    for place in ("terms", "titleterms"):
        found = index[place].get(stem, [])
        pages |= {index["docnames"][n] for n in (found if isinstance(found, list) else [found])}
    assert SEARCHES[word] in pages


def test_code_has_copy_buttons_and_fits_the_page(built):
    assert "copybutton" in (built / "tutorial.html").read_text(encoding="utf-8")
    too_long = [
        f"{page.relative_to(ROOT)}, line {block.line}: {line}"
        for page in PAGES
        for block in read_blocks(page)
        if block.language != "text"  # output is wrapped
        for line in block.text.splitlines()
        if len(line) > CODE_COLUMNS
    ]
    assert too_long == []


CONSOLE = [
    pytest.param(line, id=f"{page.name}: {line}")
    for page in PAGES
    for block in read_blocks(page)
    if block.language == "console"
    for line in re.findall(r"v3io-put \S.*", block.text.replace("\\\n", " "))
]


@pytest.mark.parametrize("line", CONSOLE)
def test_a_command_shown_in_the_docs_exists_with_its_options(line):
    words = line.split()
    command = COMMANDS[f"v3io-put {words[1]}"]
    known = {name for p in command.params for name in p.opts} | {"--help"}
    assert [word for word in words if word.startswith("--") and word not in known] == []

"""The local platform shares no code with the client, so that both cannot be wrong together."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from v3io_frames_put import local

FILES = sorted(Path(local.__file__).parent.glob("*.py"))


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def test_it_imports_nothing_of_ours_but_the_client_it_makes():
    found = {
        (file.name, name)
        for file in FILES
        for name in imported(ast.parse(file.read_text(encoding="utf-8")))
        if name.startswith(("..", "v3io_frames_put"))
    }
    assert found == {("_local_platform.py", "..client")}


def test_the_names_it_gives_are_there():
    assert all(hasattr(local, name) for name in local.__all__)


def test_without_its_extra_it_names_the_extra():
    code = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "try: import v3io_frames_put.local\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "v3io-frames-put[local]"' in done.stdout

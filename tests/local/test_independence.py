"""The local platform shares no code with the client, so that both cannot be wrong together."""

from __future__ import annotations

import ast
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
        if name.startswith((".", "v3io_frames_put"))
        and not name.startswith("v3io_frames_put.local")
    }
    assert found == {("_local.py", "v3io_frames_put.client")}
    assert len(FILES) > 20


def test_the_names_it_gives_are_sorted_and_there():
    constants, classes, functions = [], [], []
    for name in local.__all__:
        (constants if name.isupper() else classes if name[0].isupper() else functions).append(name)
    assert sorted(constants) + sorted(classes) + sorted(functions) == local.__all__
    assert all(hasattr(local, name) for name in local.__all__)


def test_no_file_is_longer_than_a_thought():
    lengths = {file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert max(lengths.values()) <= 300, lengths

"""The page on delivery guarantees names tests, and every one of them is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "delivery-guarantees.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def names_of(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_page_names_is_there():
    named = NAMED.findall(PAGE.read_text(encoding="utf-8"))
    assert named
    assert [f"{path}::{name}" for path, name in named if name not in names_of(path)] == []


def test_every_promise_names_its_tests():
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    promises = [section for section in sections if "**Promise.**" in section]
    assert promises
    assert [s.partition("\n")[0] for s in promises if not NAMED.search(s)] == []

"""Import cycles of the package, and how much of it is imports: read from the source alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.ours import PACKAGE, PACKAGE_FOLDER


@dataclass(frozen=True)
class Size:
    """How large the package is: lines include blank ones."""

    files: int
    lines: int
    import_lines: int


def _modules() -> dict[str, Path]:
    """Return the package's modules by their dotted names."""
    modules = {}
    for path in sorted(PACKAGE_FOLDER.rglob("*.py")):
        parts = path.relative_to(PACKAGE_FOLDER).with_suffix("").parts
        name = [PACKAGE, *(part for part in parts if part != "__init__")]
        modules[".".join(name)] = path
    return modules


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _imports(tree: ast.AST, *, for_types: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Go through the import statements, those inside of functions too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif for_types or not _is_for_types(node):
            yield from _imports(node, for_types=for_types)


def _imported(node: ast.Import | ast.ImportFrom, module: str, *, is_package: bool) -> Iterator[str]:
    """Name what a statement imports: a module, or a module and what is taken from it."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = module.split(".")
    if node.level:
        base = base[: len(base) - node.level + is_package]
    start = ".".join([*base, node.module] if node.module else base) if node.level else node.module
    for alias in node.names:
        yield f"{start}.{alias.name}"
        yield str(start)


def import_graph(*, for_types: bool) -> dict[str, set[str]]:
    """Return which module of the package imports which: at run time, or for types, too."""
    modules = _modules()
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        graph[name] = set()
        for node in _imports(ast.parse(path.read_text()), for_types=for_types):
            names = _imported(node, name, is_package=path.name == "__init__.py")
            # ``from package import module`` imports the module; the package was there before.
            found = [each for each in names if each in modules]
            taken = {
                each for each in found if not any(other.startswith(f"{each}.") for other in found)
            }
            graph[name] |= taken - {name}
    return graph


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return what a module imports, directly or not."""
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        for other in graph[waiting.pop()] - reached:
            reached.add(other)
            waiting.append(other)
    return reached


def import_cycles(*, for_types: bool) -> list[list[str]]:
    """Return the groups of modules that all import one another, directly or not."""
    graph = import_graph(for_types=for_types)
    reached = {module: _reachable(graph, module) for module in graph}
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in graph
    }
    return [list(group) for group in sorted(groups) if group]


def measure_size() -> Size:
    """Count files, lines, and lines of import statements; those for types count, too."""
    files = lines = import_lines = 0
    for path in _modules().values():
        text = path.read_text()
        files, lines = files + 1, lines + len(text.splitlines())
        for node in _imports(ast.parse(text), for_types=True):
            import_lines += (node.end_lineno or node.lineno) - node.lineno + 1
    return Size(files, lines, import_lines)

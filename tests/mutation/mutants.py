"""Small changes of a module, one at a time: a comparison, a condition, a mask, a constant."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


class Mutant(NamedTuple):
    """A change.

    Attributes
    ----------
    label : str
        Where and what: ``Scan.proven: a < b -> a <= b``.
    tree : Module
        The whole module with the change.
    """

    label: str
    tree: ast.Module


def make_mutants(source: str) -> Iterator[Mutant]:
    """Yield every change of a module, in the order of its text."""
    count = sum(1 for _ in _find_changes(ast.parse(source)))
    seen: dict[str, int] = {}
    for number in range(count):
        tree = ast.parse(source)
        where, node, change = next(islice(_find_changes(tree), number, None))
        before = _show(node)
        change()
        label = f"{where}: {before} -> {_show(node)}"
        seen[label] = seen.get(label, 0) + 1
        nth = f" (no. {seen[label]})" if seen[label] > 1 else ""
        yield Mutant(label + nth, ast.fix_missing_locations(tree))


def _show(node: ast.AST) -> str:
    if isinstance(node, ast.If | ast.While):
        return f"if {ast.unparse(node.test)}"
    return ast.unparse(node)


def _is_equality(test: ast.AST) -> bool:
    """Return whether a flipped comparison is the same as a negated condition."""
    exact = ast.Eq | ast.NotEq | ast.Is | ast.IsNot | ast.In | ast.NotIn
    return isinstance(test, ast.Compare) and isinstance(test.ops[0], exact)


Change = tuple[str, ast.AST, Callable[[], None]]


def _find_changes(node: ast.AST, where: str = "") -> Iterator[Change]:
    """Yield what can be changed below a node: its function, the node, and what changes it."""
    for child in _executed(node):
        inside = where
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            inside = f"{where}.{child.name}".lstrip(".")
        yield from ((where, child, change) for change in _changes_of(child))
        yield from _find_changes(child, inside)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the children that run: no annotation, import for types or assertion."""
    children = ast.iter_child_nodes(node)
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        children = iter(node.body)
    elif isinstance(node, ast.AnnAssign):
        children = iter([node.value] if node.value else [])
    for child in children:
        is_for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        is_strict = isinstance(child, ast.keyword) and child.arg == "strict"
        if not (is_for_types or is_strict or isinstance(child, ast.Assert)):
            yield child


def _changes_of(node: ast.AST) -> Iterator[Callable[[], None]]:
    """Yield what changes a node in its place."""
    if isinstance(node, ast.Compare):
        for at, op in enumerate(node.ops):
            other = COMPARISONS[type(op)]()
            yield lambda at=at, other=other: node.ops.__setitem__(at, other)
    elif isinstance(node, ast.BoolOp):
        other_bool = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield lambda: setattr(node, "op", other_bool)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
        other_bit = ast.BitOr() if isinstance(node.op, ast.BitAnd) else ast.BitAnd()
        yield lambda: setattr(node, "op", other_bit)
    elif isinstance(node, ast.If | ast.While | ast.IfExp) and not _is_equality(node.test):
        yield lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield lambda: setattr(node, "value", not node.value)

"""Which rows to publish: a condition as text -> a pyarrow expression; nothing is run as code.

    condition  = comparisons with "and", "or", "not" and brackets
    comparison = column sign literal
               | column ["not"] "in" "(" literal { "," literal } ")"
               | column "is" ["not"] "null"
    sign       = "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">="
    column     = name | "any name" | `any name`
    literal    = number | 'text' | true | false

Words and signs bind as in Python, so its parser finds what belongs together. Columns and
literals are strings to it:

    amount > 5 and day <> 'x'  ->  ('amount') > ('5') and ('day') != ("'x'")

A literal is cast to the type of its column when the condition is read, so times are written
as text. As in SQL, a comparison with null is never true. A name that is not a column is a
member of JSON lines: Python compares it, line by line, with what has its JSON type.
"""

from __future__ import annotations

import ast
import logging
import operator
import re
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from .._encode.casts import cast_text
from .._encode.json_lines import MEMBERS, decode_member, parse_lines
from ..errors import ColumnNotFound, ConfigError
from ._files import cast_partition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ._files import InputFile

_Value: TypeAlias = bool | int | Decimal | str  # of a literal
_Test: TypeAlias = "Callable[[Any], bool | None]"  # of the value that a member has in a line
_LOG: Final = logging.getLogger("v3io_frames_put")

_TOKENS: Final = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")+" | `[^`]+` | [<>=!]=|<>|[<>=(),] | [^\s<>=!(),'"`]+ | \S""",
    re.VERBOSE,
)
_NUMBER: Final = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_KEPT: Final = ("and", "or", "not", "in", "is", "==", "!=", "<", "<=", ">", ">=", "(", ")", ",")
_PYTHON: Final = dict(zip(_KEPT, _KEPT, strict=True)) | {"=": "==", "<>": "!=", "null": "None"}
_COMPARE: Final[dict[type[ast.cmpop], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt,
    ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_JSON_TYPES: Final = {bool: bool, str: str, int: float, float: float, Decimal: float}
_MAX_TESTS: Final = 500  # Arrow's stack has no room for thousands: the process would die


class Where:
    """Which rows to publish: a condition on the columns of a schema.

    ``others``: and on names that the schema does not have. Raises ColumnNotFound, or ConfigError
    where the condition is malformed or a literal cannot be cast.
    """

    def __init__(self, text: object, schema: pa.Schema, *, others: bool = False) -> None:
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"where={text!r}: expected a condition as text, or None for all.")
        self._text, self._known, self._others = text, schema, others
        self._read: dict[str, pa.DataType] = {}
        self.columns: dict[str, bool] = {}  # names in it, also of members: is one asked to be null
        self.tests: dict[str, tuple[str, _Test]] = {}
        """Tests of members, by the column of truth values that each of them has."""
        self.expression = self._build(self._parse())  # true for the rows to keep
        self.schema = pa.schema(self._read)  # of the columns that it reads
        try:  # one row finds comparisons that have no meaning
            self.evaluate({own.name: pa.nulls(1, own.type) for own in self.schema})
        except pa.ArrowException as error:
            raise ConfigError(f"where={text[:200]!r} cannot be evaluated: {error}") from error

    def evaluate(self, columns: Mapping[str, pa.Array]) -> pa.BooleanArray:
        """Return for each row true, false, or null where it cannot be decided."""
        import pyarrow.dataset as ds

        table = pa.table([columns[name] for name in self.schema.names], self.schema)
        found = ds.dataset(table).scanner(columns={"keep": self.expression}).to_table()
        return found.column("keep").combine_chunks()

    def test_members(self, lines: pa.BinaryArray) -> tuple[dict[str, pa.Array], list[int]]:
        """Return the columns of tests for lines, and which lines are not objects."""
        rows, errors = parse_lines(MEMBERS, lines)
        columns = {}
        for column, (name, test) in self.tests.items():
            values = (None if row is None else test(decode_member(row.get(name))) for row in rows)
            columns[column] = pa.array(values, pa.bool_())
        return columns, list(errors)

    # -- from text to expression --------------------------------------------------------------

    def _parse(self) -> ast.expr:
        tokens = _TOKENS.findall(self._text)
        python = " ".join(_PYTHON.get(token.lower(), f"({token!r})") for token in tokens)
        try:
            tree = ast.parse(python, mode="eval").body
        except (SyntaxError, MemoryError, RecursionError) as error:
            self._fail(getattr(error, "msg", "too many 'not'"))
        if sum(isinstance(node, ast.Compare) for node in ast.walk(tree)) > _MAX_TESTS:
            self._fail(f"more than {_MAX_TESTS} comparisons; column in (...) takes any number")
        return tree

    def _fail(self, problem: str) -> NoReturn:
        raise ConfigError(
            f"where={self._text[:200]!r}: {problem}. Write comparisons of a column with a number "
            f"or 'text', joined by and, or, not."
        )

    def _build(self, node: ast.expr) -> Any:
        is_not = False
        while isinstance(node, ast.UnaryOp):  # in a loop: there may be hundreds
            is_not, node = not is_not, node.operand
        if isinstance(node, ast.BoolOp):
            join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
            result = reduce(join, map(self._build, node.values))
        elif isinstance(node, ast.Compare) and len(node.ops) == 1:
            result = self._compare(node.left, type(node.ops[0]), node.comparators[0])
        else:
            self._fail("a comparison is missing, or has more than two sides")
        return ~result if is_not else result

    def _compare(self, left: ast.expr, sign: type[ast.cmpop], right: ast.expr) -> Any:
        """Test a column, or a member of lines, which has a column of truth values for it."""
        if sign in (ast.IsNot, ast.NotIn):
            return ~self._compare(left, ast.Is if sign is ast.IsNot else ast.In, right)
        name = self._name(_token(left))
        self.columns[name] = self.columns.get(name) or sign is ast.Is
        listed = right.elts if sign is ast.In and isinstance(right, ast.Tuple) else [right]
        tokens = list(map(_token, listed))
        if not tokens or (sign is ast.Is and tokens != ["null"]):
            self._fail("'is' needs null, and 'in' a list")
        values = [] if sign is ast.Is else list(map(self._literal, tokens))
        if name not in self._known.names:
            column = f"{name}\ntest {len(self.tests)}"
            self.tests[column] = name, _test_member(sign, values)
            self._read[column] = pa.bool_()
            return pc.field(column)
        dtype = self._read[name] = self._known.field(name).type
        if sign is ast.Is:
            return pc.field(name).is_null()
        if pt.is_null(dtype):  # whatever it is compared with
            return pc.scalar(pa.scalar(None, pa.bool_()))
        known = _cast(values, name, dtype)
        return _COMPARE.get(sign, _is_in)(pc.field(name), known if sign is ast.In else known[0])

    def _name(self, name: str) -> str:
        if len(name) > 1 and name[0] in '"`':
            name = name[1:-1].replace(name[0] * 2, name[0])
        elif not name.isidentifier():
            self._fail(f"{name} is not a column")
        if name not in self._known.names and not self._others:
            raise ColumnNotFound(name, option="where", available=self._known.names)
        return name

    def _literal(self, token: str) -> _Value:
        if token.lower() in ("true", "false"):
            return token.lower() == "true"
        if len(token) > 1 and token[0] == "'":
            return token[1:-1].replace("''", "'")
        if not _NUMBER.fullmatch(token):
            self._fail(f"{token} is not a number or 'text' (DuckDB or pandas compare columns)")
        try:
            return int(token) if token.lstrip("+-").isdigit() else Decimal(token)
        except (ValueError, ArithmeticError):
            self._fail(f"{token:.60} has too many digits")


def _token(node: ast.expr) -> str:
    """Return a column or literal as it is written."""
    if not isinstance(node, ast.Constant):
        return "a list, or two values in a row,"
    return "null" if node.value is None else str(node.value)


def _cast(values: Sequence[_Value], name: str, dtype: pa.DataType) -> pa.Array:
    """Cast literals to the type of a column; text may be written for any type."""
    is_number = pt.is_integer(dtype) or pt.is_floating(dtype) or pt.is_decimal(dtype)
    texts = list(map(str, values))
    try:
        cast, bad = cast_text(pa.array(texts), dtype)
        if pt.is_timestamp(dtype) and dtype.tz:  # without a zone it is UTC
            plain, has_zone = cast_text(pa.array(texts), pa.timestamp(dtype.unit))
            cast, bad = pc.coalesce(cast, plain.cast(dtype)), bad & has_zone
    except pa.ArrowException:
        cast, bad = None, np.ones(len(texts), bool)
    for value, is_bad in zip(values, bad, strict=True):
        fits = pt.is_boolean(dtype) if isinstance(value, bool) else is_number
        if is_bad or not (fits or isinstance(value, str)):
            raise ConfigError(
                f"where: {value!s:.60} is not a value of column {name!r}, which is {dtype}. "
                f"Write a literal of that type (text in ''), or give the column another by types."
            )
    return cast


def _is_in(column: Any, values: pa.Array) -> Any:
    """Ask whether a value is in a list; null is neither in it nor outside of it."""
    if pt.is_floating(values.type) and 0 in values.to_pylist():  # equal, unlike their bits
        values = pa.concat_arrays([values, pa.array([0.0, -0.0], values.type)])
    return pc.if_else(column.is_valid(), column.isin(values), pa.scalar(None, pa.bool_()))


def _test_member(sign: type[ast.cmpop], values: Sequence[_Value]) -> _Test:
    """Return a test of a member against the values that have its JSON type; None: none has."""
    of_type: dict[type, set[Any]] = {bool: set(), float: set(), str: set()}
    for value in values:
        plain = float(value) if isinstance(value, Decimal) else value
        of_type[_JSON_TYPES[type(value)]].add(plain)

    def test(own: Any) -> bool | None:
        if sign is ast.Is:
            return own is None
        known = of_type.get(_JSON_TYPES.get(type(own), object))
        if not known:
            return None
        return own in known if sign is ast.In else _COMPARE[sign](own, *known)

    return test


def select_files(
    files: Sequence[InputFile], where: str | None, types: Mapping[str, pa.DataType]
) -> list[InputFile]:
    """Leave out the files whose folders exclude every row: those are not opened."""
    folders = {name: types.get(name, pa.string()) for file in files for name in file.partitions}
    if where is None or not folders:
        return list(files)
    condition = Where(where, pa.schema(list(folders.items())), others=True)
    columns = {name: pa.nulls(len(files), pa.bool_()) for name in condition.tests}
    for name, dtype in folders.items():
        columns[name] = pa.array([cast_partition(file, name, dtype) for file in files], dtype)
    keep = pc.fill_null(condition.evaluate(columns), True).to_pylist()  # noqa: FBT003 - Arrow's signature
    chosen = [file for file, is_kept in zip(files, keep, strict=True) if is_kept]
    if len(chosen) < len(files):
        _LOG.info("%d files are left out: where excludes their folders", len(files) - len(chosen))
    return chosen

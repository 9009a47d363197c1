"""Which rows to publish: a condition as text -> a pyarrow expression; nothing is run as code.

    condition  = both { "or" both } ;          both = one { "and" one }
    one        = "not" one | "(" condition ")" | test
    test       = column sign literal
               | column ["not"] "in" "(" literal { "," literal } ")"
               | column "is" ["not"] "null"
    sign       = "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">="
    column     = name | "any name" | `any name`
    literal    = number | 'text' | true | false

A literal is cast to the type of its column when the condition is read, so times are written
as text. As in SQL, a comparison with null is never true. A name that is not a column is a
member of JSON lines: Python compares it, line by line, with what has its JSON type.
"""

from __future__ import annotations

import logging
import operator
import re
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from .._encode.json_lines import parse_lines
from .._encode.layouts import to_numpy
from ..errors import ColumnNotFound, ConfigError
from ._cast import cast_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ._files import InputFile

_Test: TypeAlias = "Callable[[Any], bool | None]"  # of the value that a member has in a line
_LOG: Final = logging.getLogger("v3io_frames_put")

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?) | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")+"|`[^`]+`) | (?P<word>[^\W\d]\w*)
      | (?P<sign><=|>=|<>|!=|==|[=<>(),]) | (?P<end>$) | (?P<odd>\S+)
    )""",
    re.VERBOSE,
)
_COMPARE: Final[dict[str, Any]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne, "<>": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_MAX_DEPTH: Final = 50
_MAX_TESTS: Final = 500  # Arrow's stack has no room for thousands: the process would die


@dataclass(frozen=True, slots=True)
class Where:
    """Which rows to publish."""

    expression: Any  # true for the rows to keep
    columns: frozenset[str]  # names in it, members of lines among them
    schema: pa.Schema  # what it reads: columns, and one of truth values for each test of a member
    tests: Mapping[str, tuple[str, _Test]]  # by such a column

    def evaluate(self, columns: Mapping[str, pa.Array]) -> pa.BooleanArray:
        """Return for each row true, false, or null where it cannot be decided."""
        import pyarrow.dataset as ds

        table = pa.table([columns[name] for name in self.schema.names], self.schema)
        found = ds.dataset(table).scanner(columns={"keep": self.expression}).to_table()
        return pa.concat_arrays(found.column("keep").chunks)

    def test_members(self, lines: pa.BinaryArray) -> tuple[dict[str, pa.Array], list[int]]:
        """Return the columns of tests for lines, and which lines are not objects."""
        names = dict.fromkeys(name for name, _ in self.tests.values())
        fields = {name: f"m{number}" for number, name in enumerate(names)}
        members = [(field, Any, None) for field in fields.values()]
        rename = {field: name for name, field in fields.items()}
        line = msgspec.defstruct("Line", members, rename=rename)
        rows, errors = parse_lines(msgspec.json.Decoder(line), lines)
        columns = {
            column: pa.array([test(getattr(row, fields[name], None)) for row in rows], pa.bool_())
            for column, (name, test) in self.tests.items()
        }
        return columns, list(errors)


def parse_where(text: object, schema: pa.Schema, *, others: bool = False) -> Where:
    """Parse a condition on the columns of a schema; ``others``: and names it does not have.

    Raises ColumnNotFound, or ConfigError where it is malformed or a literal cannot be cast.
    """
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"where={text!r}: expected a condition as text, or nothing for all rows.")
    parser = _Parser(text, schema, others)
    expression = parser.parse("or")
    if parser.kind != "end":
        parser.fail("the end, 'and' or 'or'")
    where = Where(expression, frozenset(parser.columns), pa.schema(parser.read), parser.tests)
    try:  # one row finds comparisons that have no meaning
        where.evaluate({one.name: pa.nulls(1, one.type) for one in where.schema})
    except pa.ArrowException as error:
        raise ConfigError(f"where={text[:200]!r} cannot be evaluated: {error}") from error
    return where


def select_files(
    files: Sequence[InputFile], where: str | None, types: Mapping[str, pa.DataType]
) -> list[InputFile]:
    """Leave out the files whose folders exclude every row: those are not opened.

    The type of a column of folders depends on the files that are left: whole numbers if all
    of its values are, else text. So a file is left out that neither type leaves in.
    """
    names = dict.fromkeys(name for file in files for name in file.partitions)
    if where is None or not names:
        return list(files)
    texts = {
        name: pa.array([file.partitions.get(name) for file in files], pa.string()) for name in names
    }
    choices = [[types[n]] if n in types else [pa.int64(), pa.string()] for n in names]
    kept, judged = np.zeros(len(files), bool), np.zeros(len(files), bool)
    errors = []
    for typing in product(*choices):
        schema = pa.schema(list(zip(names, typing, strict=True)))
        try:
            condition = parse_where(where, schema, others=True)
        except ConfigError as error:  # a literal of another type
            errors.append(error)
            continue
        columns = {name: pa.nulls(len(files), pa.bool_()) for name in condition.tests}
        fits = np.ones(len(files), bool)
        for name, dtype in zip(names, typing, strict=True):
            columns[name], bad = cast_text(texts[name], dtype)
            fits &= ~bad
        judged |= fits
        kept |= fits & to_numpy(pc.fill_null(condition.evaluate(columns), True))  # noqa: FBT003 - Arrow's signature
    if errors and not judged.any():
        raise errors[0]
    chosen = [file for file, keep in zip(files, kept | ~judged, strict=True) if keep]
    if len(chosen) < len(files):
        _LOG.info("%d files are left out: where excludes their folders", len(files) - len(chosen))
    return chosen


class _Parser:
    """Recursive descent over the tokens; ``kind`` and ``token`` are the next one."""

    def __init__(self, text: str, schema: pa.Schema, others: bool) -> None:  # noqa: FBT001
        self.columns: set[str] = set()
        self.read: dict[str, pa.DataType] = {}
        self.tests: dict[str, tuple[str, _Test]] = {}
        self._text, self._schema, self._others = text, schema, others
        self._tokens = _TOKEN.finditer(text)
        self._depth = self._count = 0
        self.kind, self.token, self._place = "", "", 0
        self._advance()

    def _advance(self) -> str:
        passed, found = self.token, next(self._tokens)
        self.kind = str(found.lastgroup)
        self.token, self._place = found[self.kind], found.start(self.kind)
        return passed

    def fail(self, expected: str) -> NoReturn:
        """Raise ConfigError that says where it broke."""
        shown, found = self._text[max(0, self._place - 100) :][:200], self.token[:20] or "the end"
        raise ConfigError(
            f"where={shown!r}: found {found} at character {self._place + 1}; expected {expected}."
        )

    def _take(self, word: str) -> bool:
        is_there = self.kind in ("word", "sign") and self.token.lower() == word
        return is_there and bool(self._advance())

    def _require(self, word: str) -> None:
        if not self._take(word):
            self.fail(repr(word))

    def parse(self, word: Literal["or", "and"]) -> Any:
        """Parse alternatives, or what must all hold."""
        result = self.parse("and") if word == "or" else self._one()
        while self._take(word):
            result = result | self.parse("and") if word == "or" else result & self._one()
        return result

    def _one(self) -> Any:
        if self._depth == _MAX_DEPTH:
            self.fail(f"at most {_MAX_DEPTH} brackets and 'not' inside one another")
        self._depth += 1
        if self._take("not"):
            result = ~self._one()
        elif self._take("("):
            result = self.parse("or")
            self._require(")")
        else:
            result = self._test()
        self._depth -= 1
        return result

    def _test(self) -> Any:
        self._count += 1
        if self._count > _MAX_TESTS:
            self.fail(f"at most {_MAX_TESTS} comparisons; column in (1, 2, ...) takes any number")
        name = self._name()
        is_column = name in self._schema.names
        if self.token in _COMPARE:
            compare, value = _COMPARE[self._advance()], self._value()
            if is_column:
                return compare(self._field(name), self._cast(name, value))
            return self._member(name, _alike([value], lambda own, known: compare(own, *known)))
        if self._take("is"):
            is_not = self._take("not")
            self._require("null")
            if is_column:
                is_null = self._field(name).is_null()
            else:
                is_null = self._member(name, lambda own: own is None)
            return ~is_null if is_not else is_null
        is_not = self._take("not")
        if not (self._take("in") and self._take("(")):
            self.fail("=, !=, <, <=, >, >=, in (, not in (, is null or is not null")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        self._require(")")
        if is_column:
            is_in = _in_list(self._field(name), [self._cast(name, value) for value in values])
        else:
            is_in = self._member(name, _alike(values, lambda own, known: own in known))
        return ~is_in if is_not else is_in

    def _value(self) -> Any:
        kind, token = self.kind, self.token
        if kind not in ("number", "text") and token.lower() not in ("true", "false"):
            self.fail("a number or 'text' (columns are compared in DuckDB or pandas)")
        self._advance()
        if kind == "number":
            return int(token) if token.lstrip("+-").isdigit() else Decimal(token)
        return token.lower() == "true" if kind == "word" else token[1:-1].replace("''", "'")

    def _name(self) -> str:
        if self.kind not in ("word", "quoted"):
            self.fail("a column")
        is_quoted, name = self.kind == "quoted", self._advance()
        if is_quoted:
            name = name[1:-1].replace('""', '"') if name[0] == '"' else name[1:-1]
        if name not in self._schema.names and not self._others:
            raise ColumnNotFound(name, option="where", available=self._schema.names)
        self.columns.add(name)
        return name

    def _field(self, name: str) -> Any:
        self.read[name] = self._schema.field(name).type
        return pc.field(name)

    def _member(self, name: str, test: _Test) -> Any:
        column = f"{name}\ntest {len(self.tests)}"
        self.tests[column] = name, test
        self.read[column] = pa.bool_()
        return pc.field(column)

    def _cast(self, name: str, value: Any) -> pa.Scalar:
        dtype = self._schema.field(name).type
        try:
            return _as_type(value, dtype)
        except (pa.ArrowException, TypeError, ValueError, ArithmeticError):
            raise ConfigError(
                f"where: {value!s:.60} is not a value of column {name!r}, which is {dtype}. "
                f"Write a literal of that type (text in '')."
            ) from None


_JSON_TYPES: Final = {bool: bool, str: str, int: float, float: float}


def _alike(values: list[Any], compare: Callable[[Any, set[Any]], bool]) -> _Test:
    """Return a test of a member against the values that have its JSON type; None: none has."""
    of_type: dict[type, set[Any]] = {}
    for value in values:
        plain = float(value) if isinstance(value, Decimal) else value
        of_type.setdefault(_JSON_TYPES[type(plain)], set()).add(plain)

    def test(own: Any) -> bool | None:
        known = of_type.get(_JSON_TYPES.get(type(own), object))
        return None if known is None else compare(own, known)

    return test


def _in_list(column: Any, literals: list[pa.Scalar]) -> Any:
    """Ask whether a value is in a list; null is neither in it nor outside of it."""
    values = pa.array([one.as_py() for one in literals], literals[0].type)
    if pt.is_floating(values.type) and 0 in values.to_pylist():  # equal, unlike their bits
        values = pa.concat_arrays([values, pa.array([0.0, -0.0], values.type)])
    return pc.if_else(column.is_valid(), column.isin(values), pa.scalar(None, pa.bool_()))


def _as_type(value: Any, dtype: pa.DataType) -> pa.Scalar:
    """Cast a literal; raise where its type or value does not fit."""
    if isinstance(value, str):
        is_zoned = pt.is_timestamp(dtype) and dtype.tz is not None
        if is_zoned and not re.search(r"(Z|[+-]\d\d:?\d\d)$", value):
            value += "Z"  # without a zone it is UTC
        return pa.scalar(value).cast(dtype)
    is_number = pt.is_integer(dtype) or pt.is_floating(dtype) or pt.is_decimal(dtype)
    if isinstance(value, bool) != pt.is_boolean(dtype) or not (is_number or pt.is_boolean(dtype)):
        raise TypeError
    if pt.is_integer(dtype) and value != int(value):
        raise ValueError
    as_python = int if pt.is_integer(dtype) else float if pt.is_floating(dtype) else Decimal
    return pa.scalar(as_python(value) if is_number else value, dtype)

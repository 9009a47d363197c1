"""Parse a condition to a pyarrow expression; nothing of it is run as code.

    condition  = both { "or" both } ;          both = one { "and" one }
    one        = "not" one | "(" condition ")" | test
    test       = column sign literal | literal sign column
               | column ["not"] "in" "(" literal { "," literal } ")"
               | column "is" ["not"] "null"
    sign       = "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">="
    column     = name | "any name" | `any name`
    literal    = number | 'text' | true | false

A literal is cast to the type of its column when the condition is read, so times are written
as text. As in SQL, a comparison with null is never true. A member of JSON lines has no type:
it is compared by the JSON type that it has in each line.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put.errors import ColumnNotFound, ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

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
_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_MAX_DEPTH: Final = 50
_MAX_TESTS: Final = 500  # Arrow's stack has no room for thousands: the process would die

MEMBER_TYPES: Final = {
    "bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "text": pa.string(),
    "given": pa.bool_(),
}  # fmt: skip
"""A name that is not a column is read as one for each JSON type, null where a line has another."""


def member_column(name: str, kind: str) -> str:
    """Name the column that holds a member where it has one JSON type."""
    return f"{name}\n{kind}"


@dataclass(frozen=True, slots=True)
class Where:
    """Which rows to publish."""

    expression: Any  # true for the rows to keep
    columns: frozenset[str]  # that it names, members among them
    schema: pa.Schema  # what the expression reads

    def evaluate(self, columns: Mapping[str, pa.Array]) -> pa.BooleanArray:
        """Return for each row true, false, or null where it cannot be decided."""
        import pyarrow.dataset as ds

        table = pa.table([columns[name] for name in self.schema.names], self.schema)
        found = ds.dataset(table).scanner(columns={"keep": self.expression}).to_table()
        return pa.concat_arrays(found.column("keep").chunks)


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
    where = Where(expression, frozenset(parser.columns), pa.schema(parser.read))
    try:  # one row finds comparisons that have no meaning
        where.evaluate({one.name: pa.nulls(1, one.type) for one in where.schema})
    except pa.ArrowException as error:
        raise ConfigError(f"where={text[:200]!r} cannot be evaluated: {error}") from error
    return where


class _Parser:
    """Recursive descent over the tokens; ``kind`` and ``token`` are the next one."""

    def __init__(self, text: str, schema: pa.Schema, others: bool) -> None:  # noqa: FBT001
        self.columns: set[str] = set()
        self.read: dict[str, pa.DataType] = {}
        self._text, self._schema, self._others = text, schema, others
        self._tokens = _TOKEN.finditer(text)
        self._depth = self._tests = 0
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
        self._tests += 1
        if self._tests > _MAX_TESTS:
            self.fail(f"at most {_MAX_TESTS} comparisons; column in (1, 2, ...) takes any number")
        if self._is_literal():
            value = self._value()
            if self.token not in _COMPARE:
                self.fail("a comparison")
            sign = self._advance()
            name, sign = self._name(), _MIRRORED.get(sign, sign)
            return _first([_COMPARE[sign](*side) for side in self._sides(name, value)])
        name = self._name()
        if self.token in _COMPARE:
            sign = self._advance()
            if not self._is_literal():
                self.fail("a value (compare columns in DuckDB or pandas, and publish the result)")
            return _first([_COMPARE[sign](*side) for side in self._sides(name, self._value())])
        if self._take("is"):
            is_not = self._take("not")
            self._require("null")
            return self._is_given(name) if is_not else ~self._is_given(name)
        is_not = self._take("not")
        if not self._take("in"):
            self.fail("=, !=, <, <=, >, >=, in, not in, is null or is not null")
        return ~self._is_in(name) if is_not else self._is_in(name)

    def _is_in(self, name: str) -> Any:
        self._require("(")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        self._require(")")
        lists: dict[str, tuple[Any, list[pa.Scalar]]] = {}
        for value in values:
            for column, literal in self._sides(name, value):
                lists.setdefault(str(column), (column, []))[1].append(literal)
        return _first([_in_list(column, literals) for column, literals in lists.values()])

    def _is_literal(self) -> bool:
        is_word = self.token.lower() in ("true", "false") and self.token not in self._schema.names
        return self.kind in ("number", "text") or (self.kind == "word" and is_word)

    def _value(self) -> Any:
        if not self._is_literal():
            self.fail("a number or 'text'")
        kind, token = self.kind, self._advance()
        if kind == "number":
            return int(token) if token.lstrip("+-").isdigit() else Decimal(token)
        return token.lower() == "true" if kind == "word" else token[1:-1].replace("''", "'")

    def _name(self) -> str:
        if self.kind not in ("word", "quoted"):
            self.fail("a column, a number or 'text'")
        is_quoted, name = self.kind == "quoted", self._advance()
        if is_quoted:
            name = name[1:-1].replace('""', '"') if name[0] == '"' else name[1:-1]
        if name not in self._schema.names and not self._others:
            raise ColumnNotFound(name, option="where", available=self._schema.names)
        self.columns.add(name)
        return name

    def _field(self, name: str, kind: str | None = None) -> Any:
        dtype = self._schema.field(name).type if kind is None else MEMBER_TYPES[kind]
        name = name if kind is None else member_column(name, kind)
        self.read[name] = dtype
        return pc.field(name)

    def _is_given(self, name: str) -> Any:
        is_column = name in self._schema.names
        return self._field(name).is_valid() if is_column else self._field(name, "given")

    def _sides(self, name: str, value: Any) -> list[tuple[Any, pa.Scalar]]:
        """Return what a literal is compared with, and the literal in that type."""
        if name in self._schema.names:
            dtype = self._schema.field(name).type
            try:
                return [(self._field(name), _as_type(value, dtype))]
            except (pa.ArrowException, TypeError, ValueError, ArithmeticError):
                raise ConfigError(
                    f"where: {value!s:.60} is not a value of column {name!r}, which is {dtype}. "
                    f"Write a literal of that type (text in '')."
                ) from None
        if isinstance(value, (bool, str)):
            kind = "text" if isinstance(value, str) else "bool"
            return [(self._field(name, kind), pa.scalar(value))]
        whole, real = (
            self._field(name, "int"),
            (self._field(name, "float"), pa.scalar(float(value))),
        )
        if isinstance(value, int) and -(2**63) <= value < 2**63:
            return [(whole, pa.scalar(value, pa.int64())), real]
        return [(whole.cast(pa.float64(), safe=False), real[1]), real]


def _first(tests: list[Any]) -> Any:
    """Return the first test that can be decided: of a member, that of the type that it has."""
    return tests[0] if len(tests) == 1 else pc.coalesce(*tests)


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
    if isinstance(value, bool) != pt.is_boolean(dtype):
        raise TypeError
    if pt.is_boolean(dtype):
        return pa.scalar(value)
    if pt.is_floating(dtype) or pt.is_decimal(dtype):
        return pa.scalar(float(value) if pt.is_floating(dtype) else Decimal(value), dtype)
    if not pt.is_integer(dtype) or value != int(value):
        raise TypeError
    return pa.scalar(int(value), dtype)

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
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from v3io_frames_put.errors import ColumnNotFound, ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

Value: TypeAlias = "int | Decimal | str | bool"

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")+"|`[^`]+`)
      | (?P<word>[^\W\d]\w*)
      | (?P<sign><=|>=|<>|!=|==|[=<>(),])
      | (?P<end>$) | (?P<odd>\S+)
    )""",
    re.VERBOSE,
)
_COMPARE: Final[dict[str, Any]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne, "<>": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_OPEN: Final = pa.field("__v3io_open", pa.bool_())  # stands for what nothing is known of
_NULL: Final = pa.scalar(None, pa.bool_())
_MAX_DEPTH: Final = 50
_MAX_TESTS: Final = 500  # Arrow's stack has no room for thousands: the process would die

MEMBER_TYPES: Final = {
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "text": pa.string(),
    "given": pa.bool_(),
}
"""A member is read as a column for each JSON type, null where a line has another type."""


def member_column(name: str, kind: str) -> str:
    """Name the column that holds a member where it has one JSON type."""
    return f"{name}\n{kind}"


@dataclass(frozen=True, slots=True)
class Where:
    """Which rows to publish.

    Attributes
    ----------
    expression : pyarrow.compute.Expression
        True for the rows to keep.
    columns : frozenset of str
        Columns and members that it names.
    schema : Schema
        What the expression reads.
    text : str
        What was asked for.
    """

    expression: Any
    columns: frozenset[str]
    schema: pa.Schema
    text: str

    def evaluate(self, columns: Mapping[str, pa.Array]) -> pa.BooleanArray:
        """Return for each row true, false, or null where nobody can tell."""
        import pyarrow.dataset as ds

        table = pa.table([columns[name] for name in self.schema.names], self.schema)
        found = ds.dataset(table).scanner(columns={"keep": self.expression}).to_table()
        return pa.concat_arrays(found.column("keep").chunks)


def parse_where(
    text: object, schema: pa.Schema, unknown: Literal["refuse", "open", "member"] = "refuse"
) -> Where:
    """Parse a condition on the columns of a schema.

    Parameters
    ----------
    text : str
        The condition.
    schema : Schema
        The columns.
    unknown : {"refuse", "open", "member"}
        What a name is that is not in the schema: an error, a column of which nothing is
        known, or a member of JSON lines.

    Raises
    ------
    ConfigError
        It is malformed, or a literal cannot be cast to its column's type.
    ColumnNotFound
        It names a column that is not there.
    """
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"where={text!r}: expected a condition as text, or nothing for all rows.")
    parser = _Parser(text, schema, unknown)
    expression = parser.condition()
    if parser.kind != "end":
        parser.fail("the end, 'and' or 'or'")
    where = Where(expression, frozenset(parser.columns), pa.schema(parser.read), text)
    try:  # one row finds comparisons that have no meaning
        where.evaluate({one.name: pa.nulls(1, one.type) for one in where.schema})
    except pa.ArrowException as error:
        raise ConfigError(f"where={text[:200]!r} cannot be evaluated: {error}") from error
    return where


class _Parser:
    """Recursive descent over the tokens; ``kind`` and ``token`` are the next one."""

    def __init__(self, text: str, schema: pa.Schema, unknown: str) -> None:
        self.columns: set[str] = set()
        self.read: dict[str, pa.DataType] = {}
        self._text, self._schema, self._unknown = text, schema, unknown
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
        if is_there:
            self._advance()
        return is_there

    def _require(self, word: str) -> None:
        if not self._take(word):
            self.fail(repr(word))

    def condition(self) -> Any:
        """Parse alternatives."""
        result = self._both()
        while self._take("or"):
            result = result | self._both()
        return result

    def _both(self) -> Any:
        result = self._one()
        while self._take("and"):
            result = result & self._one()
        return result

    def _one(self) -> Any:
        if self._depth == _MAX_DEPTH:
            self.fail(f"at most {_MAX_DEPTH} brackets and 'not' inside one another")
        self._depth += 1
        if self._take("not"):
            result = ~self._one()
        elif self._take("("):
            result = self.condition()
            self._require(")")
        else:
            result = self._test()
        self._depth -= 1
        return result

    def _test(self) -> Any:
        self._tests += 1
        if self._tests > _MAX_TESTS:
            self.fail(f"at most {_MAX_TESTS} comparisons; column in (1, 2, ...) takes any number")
        name = None if self._is_literal() else self._name()
        if name is None or self.token in _COMPARE:
            return self._compare(name)
        if self._take("is"):
            is_not = self._take("not")
            self._require("null")
            return self._is_given(name) if is_not else ~self._is_given(name)
        is_not = self._take("not")
        if not self._take("in"):
            self.fail("=, !=, <, <=, >, >=, in, not in, is null or is not null")
        return ~self._is_in(name) if is_not else self._is_in(name)

    def _compare(self, name: str | None) -> Any:
        value = self._value() if name is None else None
        if self.token not in _COMPARE:
            self.fail("a comparison")
        sign = self._advance()
        if name is None:
            sign, name = _MIRRORED.get(sign, sign), self._name()
        elif self._is_literal():
            value = self._value()
        else:
            self.fail("a value (compare two columns in DuckDB or pandas, and publish the result)")
        return _first(_COMPARE[sign](*side) for side in self._sides(name, value))

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
        return _first(_in_list(column, literals) for column, literals in lists.values())

    def _is_literal(self) -> bool:
        is_word = self.token.lower() in ("true", "false") and self.token not in self._schema.names
        return self.kind in ("number", "text") or (self.kind == "word" and is_word)

    def _value(self) -> Value:
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
        if name not in self._schema.names and self._unknown == "refuse":
            raise ColumnNotFound(name, option="where", available=self._schema.names)
        self.columns.add(name)
        return name

    def _field(self, name: str, dtype: pa.DataType) -> Any:
        self.read[name] = dtype
        return pc.field(name)

    def _member(self, name: str, kind: str) -> Any:
        return self._field(member_column(name, kind), MEMBER_TYPES[kind])

    def _is_given(self, name: str) -> Any:
        if name in self._schema.names:
            return self._field(name, self._schema.field(name).type).is_valid()
        is_open = self._unknown == "open"
        return self._field(_OPEN.name, _OPEN.type) if is_open else self._member(name, "given")

    def _sides(self, name: str, value: Value | None) -> list[tuple[Any, pa.Scalar]]:
        """Return what a literal is compared with, and the literal in that type."""
        if name in self._schema.names:
            dtype = self._schema.field(name).type
            try:
                return [(self._field(name, dtype), _as_type(value, dtype))]
            except (pa.ArrowException, TypeError, ValueError, ArithmeticError):
                raise ConfigError(
                    f"where: {value!s:.60} is not a value of column {name!r}, which is {dtype}. "
                    f"Write a literal of that type (text in '')."
                ) from None
        if self._unknown == "open":
            return [(self._field(_OPEN.name, _OPEN.type), pa.scalar(value=True))]
        if isinstance(value, (bool, str)):
            return [
                (self._member(name, "text" if isinstance(value, str) else "bool"), pa.scalar(value))
            ]
        whole, real = self._member(name, "int"), self._member(name, "float")
        literal = pa.scalar(float(value or 0))
        if isinstance(value, int) and -(2**63) <= value < 2**63:
            return [(whole, pa.scalar(value, pa.int64())), (real, literal)]
        return [(whole.cast(pa.float64(), safe=False), literal), (real, literal)]


def _first(tests: Any) -> Any:
    """Return the first test that can be told: of a member, that of the type that it has."""
    tests = list(tests)
    return tests[0] if len(tests) == 1 else pc.coalesce(*tests)


def _in_list(column: Any, literals: list[pa.Scalar]) -> Any:
    """Ask whether a value is in a list; null is neither in it nor outside of it."""
    values = pa.array([one.as_py() for one in literals], literals[0].type)
    if pt.is_floating(values.type) and 0 in values.to_pylist():  # equal, unlike their bits
        values = pa.concat_arrays([values, pa.array([0.0, -0.0], values.type)])
    return pc.if_else(column.is_valid(), column.isin(values), _NULL)


def _as_type(value: Any, dtype: pa.DataType) -> pa.Scalar:
    """Cast a literal; raise where its type or value does not fit."""
    if isinstance(value, str):
        if (
            pt.is_timestamp(dtype)
            and dtype.tz is not None
            and not re.search(r"(Z|[+-]\d\d:?\d\d)$", value)
        ):
            value += "Z"  # without a zone it is UTC
        return pa.scalar(value).cast(dtype)
    if isinstance(value, bool) or pt.is_boolean(dtype):
        if not (isinstance(value, bool) and pt.is_boolean(dtype)):
            raise TypeError
        return pa.scalar(value)
    if pt.is_floating(dtype):
        return pa.scalar(float(value), dtype)
    if pt.is_decimal(dtype):
        return pa.scalar(Decimal(value), dtype)
    if not pt.is_integer(dtype) or value != int(value):
        raise TypeError
    return pa.scalar(int(value), dtype)

"""A condition as text -> a pyarrow expression, and nothing else: no code is run.

    condition  = both { "or" both } ;          both = one { "and" one }
    one        = "not" one | "(" condition ")" | value test
    test       = ("=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=") value
               | ["not"] "in" "(" literal { "," literal } ")"
               | "is" ["not"] "null"
    value      = column | literal ;            column = name | "any name" | `any name`
    literal    = number | 'text' | true | false

A literal takes the type of the column it is compared with, so times are written as
text. As in SQL, a comparison with null is never true.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from v3io_frames_put.errors import ColumnNotFound, ConfigError
from v3io_frames_put.jobs._comparisons import COMPARE, Column, compare, is_in
from v3io_frames_put.jobs._fit import shorten
from v3io_frames_put.jobs._types import INTERNAL

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")+"|`[^`]+`)
      | (?P<word>[^\W\d]\w*)
      | (?P<sign><=|>=|<>|!=|==|[=<>(),])
    )""",
    re.VERBOSE,
)

OPEN: Final = INTERNAL + "open"
"""The column that stands for what nothing is known of."""

_SHOWN: Final = 200  # characters of a condition, in an error
_MAX_DEPTH: Final = 50
_MAX_TESTS: Final = 500  # Arrow's stack has no room for thousands: the process would die
_INCOMPARABLE: Final = (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError, ArithmeticError)
_LITERAL_WORDS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Where:
    """Which rows to publish.

    Attributes
    ----------
    expression : pyarrow.compute.Expression
        True for the rows to keep.
    columns : frozenset of str
        What it reads.
    text : str
        What was asked for.
    """

    expression: Any
    columns: frozenset[str]
    text: str


def parse_where(text: object, schema: pa.Schema, *, is_open: bool = False) -> Where:
    """Read a condition on the columns of a schema.

    Parameters
    ----------
    text : str
        The condition.
    schema : Schema
        The columns.
    is_open : bool
        Whether there may be others: what is asked of those is then left open, as the
        column ``OPEN``.

    Raises
    ------
    ConfigError
        It is malformed, or compares what cannot be compared.
    ColumnNotFound
        It names a column that is not there.
    """
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(
            f"where={text!r}: expected a condition as text. Leave it out for all rows."
        )
    parser = _Parser(text, schema, is_open)
    expression = parser.condition()
    if parser.kind != "end":
        parser.fail("the end, 'and' or 'or'")
    try:  # one row finds comparisons that have no meaning; some are refused only then
        import pyarrow.dataset as ds

        if is_open:
            schema = schema.append(pa.field(OPEN, pa.bool_()))
        row = pa.table([pa.nulls(1, field.type) for field in schema], schema.names)
        ds.dataset(row).scanner(filter=expression).to_table()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise ConfigError(f"where={parser.shown()!r} cannot be evaluated: {error}") from error
    return Where(expression, frozenset(parser.columns), text)


@dataclass
class _Parser:
    """Recursive descent over the tokens; one token is looked at."""

    text: str
    schema: pa.Schema
    is_open: bool
    columns: set[str] = field(default_factory=set)
    kind: str = ""
    token: str = ""
    place: int = 0
    negations: int = 0  # around what is read now
    depth: int = 0  # of brackets and negations
    tests: int = 0
    _next: int = 0

    def __post_init__(self) -> None:
        self.advance()

    def advance(self) -> str:
        """Go on to the next token; return the one that was looked at."""
        passed = self.token
        self.place = self._next
        found = _TOKEN.match(self.text, self._next)
        if found is None:
            if self.text[self._next :].strip():
                self.token = self.text[self._next :].strip()[:20]
                self.fail("a column, a number, 'text' or a sign")
            self.kind, self.token = "end", "the end"
            return passed
        self.kind, self.token = str(found.lastgroup), found[str(found.lastgroup)]
        self._next = found.end()
        return passed

    def fail(self, expected: str) -> NoReturn:
        """Say where it broke."""
        raise ConfigError(
            f"where={self.shown()!r}: found {self.token} at character {self.place + 1}; "
            f"expected {expected}."
        )

    def shown(self) -> str:
        """Return the condition, or the part of a long one that is read now."""
        start = max(0, self.place - _SHOWN // 2)
        return self.text if len(self.text) <= _SHOWN else f"... {self.text[start:][:_SHOWN]} ..."

    def take(self, word: str) -> bool:
        """Go past a word or sign, if it is the one looked at."""
        if self.kind in ("word", "sign") and self.token.lower() == word:
            self.advance()
            return True
        return False

    def require(self, word: str) -> None:
        """Go past a word or sign that must come now."""
        if not self.take(word):
            self.fail(repr(word))

    def condition(self) -> Any:
        """Read alternatives."""
        result = self.both()
        while self.take("or"):
            result = result | self.both()
        return result

    def both(self) -> Any:
        """Read what must all hold."""
        result = self.one()
        while self.take("and"):
            result = result & self.one()
        return result

    def one(self) -> Any:
        """Read one test, or a condition in brackets."""
        if self.depth == _MAX_DEPTH:
            self.fail(f"at most {_MAX_DEPTH} brackets and 'not' inside one another")
        self.depth += 1
        if self.take("not"):
            self.negations += 1
            result = ~self.one()
            self.negations -= 1
        elif self.take("("):
            result = self.condition()
            self.require(")")
        else:
            result = self.test(self.value())
        self.depth -= 1
        return result

    def test(self, left: Any) -> Any:
        """Read what is asked of a value."""
        self.tests += 1
        if self.tests > _MAX_TESTS:
            self.fail(f"at most {_MAX_TESTS} comparisons; column in (1, 2, ...) takes any number")
        if self.kind == "sign" and self.token in COMPARE:
            return self.compare(left, self.advance(), self.value())
        if not isinstance(left, Column):
            self.fail("a comparison")
        if self.take("is"):
            is_not = self.take("not")
            self.require("null")
            return left.field.is_valid() if is_not else left.field.is_null()
        is_not = self.take("not")
        if not self.take("in"):
            self.fail("=, !=, <, <=, >, >=, in, not in, is null or is not null")
        inside = self.is_in(left, self.literals())
        if is_not or self.negations:  # null is neither in a list nor outside of it
            inside = pc.if_else(left.field.is_valid(), inside, pa.scalar(None, pa.bool_()))
        return ~inside if is_not else inside

    def compare(self, left: Any, sign: str, right: Any) -> Any:
        """Compare, a literal as the type of the column beside it."""
        column, literal = (left, right) if isinstance(left, Column) else (right, left)
        if not isinstance(column, Column):
            self.fail("a comparison with a column")
        if OPEN in [side.name for side in (left, right) if isinstance(side, Column)]:
            return pc.field(OPEN)
        try:
            return compare(left, sign, right)
        except _INCOMPARABLE:
            self.refuse(literal, column)

    def is_in(self, column: Column, literals: list[Any]) -> Any:
        """Ask whether a column's value is in a list, each literal as the column's type."""
        if column.name == OPEN:
            return column.field
        try:
            return is_in(column, literals)
        except _INCOMPARABLE:
            self.refuse(literals[0] if len(literals) == 1 else literals, column)

    def refuse(self, literal: Any, column: Column) -> NoReturn:
        """Say that a literal is no value of a column."""
        raise ConfigError(
            f"where={self.shown()!r}: {shorten(literal)} cannot be compared with a column of type "
            f"{column.dtype}. Correct the literal; text stands in single quotes."
        ) from None

    def literals(self) -> list[Any]:
        """Read a list in brackets."""
        self.require("(")
        values = []
        while True:
            value = self.value()
            if isinstance(value, Column):
                raise ConfigError(
                    f"where={self.shown()!r}: {value.name!r} is a column; a list holds literals. "
                    f"Text stands in single quotes: '{value.name}'."
                )
            values.append(value)
            if not self.take(","):
                break
        self.require(")")
        return values

    def value(self) -> Any:
        """Read a column or a literal."""
        if self.kind == "number":
            number = self.advance()
            return int(number) if re.fullmatch(r"[-+]?\d+", number) else Decimal(number)
        if self.kind == "text":
            return self.advance()[1:-1].replace("''", "'")
        if self.kind == "quoted":
            token = self.advance()
            return self.column(token[1:-1].replace('""', '"') if token[0] == '"' else token[1:-1])
        if self.kind == "word":
            word = self.advance()
            known = word in self.schema.names
            return (
                _LITERAL_WORDS.get(word.lower())
                if self._is_literal(word, known)
                else (self.column(word))
            )
        return self.fail("a column, a number or 'text'")

    @staticmethod
    def _is_literal(word: str, known: object) -> bool:
        return not known and word.lower() in _LITERAL_WORDS

    def column(self, name: str) -> Column:
        """Look a column up."""
        is_known = name in self.schema.names
        if not (is_known or self.is_open):
            raise ColumnNotFound(name, option="where", available=self.schema.names)
        self.columns.add(name)
        if not is_known:
            return Column(OPEN, pa.bool_())
        return Column(name, self.schema.field(name).type)

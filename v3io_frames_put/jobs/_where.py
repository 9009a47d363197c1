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
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from .._encode.json_lines import parse_lines
from ..errors import ColumnNotFound, ConfigError
from ._cast import cast_text
from ._files import cast_partition, find_partition_types

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ._files import InputFile

_Value: TypeAlias = bool | int | Decimal | str  # of a literal
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
_JSON_TYPES: Final = {bool: bool, str: str, int: float, float: float, Decimal: float}
_ZONE: Final = re.compile(r"(Z|[+-]\d\d:?\d\d)$")
_MAX_DEPTH: Final = 50
_MAX_TESTS: Final = 500  # Arrow's stack has no room for thousands: the process would die


@dataclass(frozen=True, slots=True)
class Where:
    """Which rows to publish."""

    expression: Any  # true for the rows to keep
    columns: frozenset[str]  # names in it, members of lines among them
    schema: pa.Schema  # what it reads: columns, and one of truth values for each test of a member
    tests: Mapping[str, tuple[str, _Test]]  # of members, by such a column

    def evaluate(self, columns: Mapping[str, pa.Array]) -> pa.BooleanArray:
        """Return for each row true, false, or null where it cannot be decided."""
        import pyarrow.dataset as ds

        table = pa.table([columns[name] for name in self.schema.names], self.schema)
        found = ds.dataset(table).scanner(columns={"keep": self.expression}).to_table()
        return pa.concat_arrays(found.column("keep").chunks)

    def test_members(self, lines: pa.BinaryArray) -> tuple[dict[str, pa.Array], list[int]]:
        """Return the columns of tests for lines, and which lines are not objects."""
        names = list(dict.fromkeys(name for name, _ in self.tests.values()))
        rename = {f"m{number}": name for number, name in enumerate(names)}
        line = msgspec.defstruct("Line", [(field, Any, None) for field in rename], rename=rename)
        rows, errors = parse_lines(msgspec.json.Decoder(line), lines)
        columns = {}
        for column, (name, test) in self.tests.items():
            field = f"m{names.index(name)}"
            columns[column] = pa.array([test(getattr(row, field, None)) for row in rows], "bool")
        return columns, list(errors)


def parse_where(text: object, schema: pa.Schema, *, others: bool = False) -> Where:
    """Parse a condition on the columns of a schema; ``others``: and names it does not have.

    Raises ColumnNotFound, or ConfigError where it is malformed or a literal cannot be cast.
    """
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"where={text!r}: expected a condition as text, or nothing for all rows.")
    where = _Parser(text, schema, others).parse()
    try:  # one row finds comparisons that have no meaning
        where.evaluate({one.name: pa.nulls(1, one.type) for one in where.schema})
    except pa.ArrowException as error:
        raise ConfigError(f"where={text[:200]!r} cannot be evaluated: {error}") from error
    return where


def select_files(
    files: Sequence[InputFile], where: str | None, types: Mapping[str, pa.DataType]
) -> list[InputFile]:
    """Leave out the files whose folders exclude every row: those are not opened."""
    schema = pa.schema(list(find_partition_types(files, types).items()))
    if where is None or not schema.names:
        return list(files)
    condition = parse_where(where, schema, others=True)
    columns = {name: pa.nulls(len(files), pa.bool_()) for name in condition.tests}
    for name, dtype in zip(schema.names, schema.types, strict=True):
        columns[name] = pa.array(
            [cast_partition(file, name, dtype).as_py() for file in files], dtype
        )
    keep = pc.fill_null(condition.evaluate(columns), True).to_pylist()  # noqa: FBT003 - Arrow's signature
    chosen = [file for file, is_kept in zip(files, keep, strict=True) if is_kept]
    if len(chosen) < len(files):
        _LOG.info("%d files are left out: where excludes their folders", len(files) - len(chosen))
    return chosen


class _Parser:
    """Recursive descent over the tokens; ``kind`` and ``token`` are the next one."""

    def __init__(self, text: str, schema: pa.Schema, others: bool) -> None:  # noqa: FBT001
        self._text, self._schema, self._others = text, schema, others
        self._columns: set[str] = set()
        self._read: dict[str, pa.DataType] = {}
        self._tests: dict[str, tuple[str, _Test]] = {}
        self._tokens = _TOKEN.finditer(text)
        self._depth = self._count = 0
        self.kind, self.token, self._place = "", "", 0
        self._advance()

    def parse(self) -> Where:
        """Parse the whole text."""
        expression = self._joined("or")
        if self.kind != "end":
            self._fail("the end, 'and' or 'or'")
        return Where(expression, frozenset(self._columns), pa.schema(self._read), self._tests)

    def _advance(self) -> str:
        passed, found = self.token, next(self._tokens)
        self.kind = str(found.lastgroup)
        self.token, self._place = found[self.kind], found.start(self.kind)
        return passed

    def _fail(self, expected: str) -> NoReturn:
        shown, found = self._text[max(0, self._place - 100) :][:200], self.token[:20] or "the end"
        raise ConfigError(
            f"where={shown!r}: found {found} at character {self._place + 1}; expected {expected}."
        )

    def _take(self, word: str) -> bool:
        is_there = self.kind in ("word", "sign") and self.token.lower() == word
        return is_there and bool(self._advance())

    def _require(self, word: str) -> None:
        if not self._take(word):
            self._fail(repr(word))

    def _joined(self, word: Literal["or", "and"]) -> Any:
        result = self._joined("and") if word == "or" else self._one()
        while self._take(word):
            result = result | self._joined("and") if word == "or" else result & self._one()
        return result

    def _one(self) -> Any:
        if self._depth == _MAX_DEPTH:
            self._fail(f"at most {_MAX_DEPTH} brackets and 'not' inside one another")
        self._depth += 1
        if self._take("not"):
            result = ~self._one()
        elif self._take("("):
            result = self._joined("or")
            self._require(")")
        else:
            result = self._test()
        self._depth -= 1
        return result

    def _test(self) -> Any:
        self._count += 1
        if self._count > _MAX_TESTS:
            self._fail(f"at most {_MAX_TESTS} comparisons; column in (1, 2, ...) takes any number")
        name = self._name()
        if self.token in _COMPARE:
            return self._apply(name, self._advance(), [self._value()])
        is_null = self._take("is")
        is_not = self._take("not")
        if is_null:
            self._require("null")
            result = self._apply(name, "null", [])
        else:
            if not (self._take("in") and self._take("(")):
                self._fail("=, !=, <, <=, >, >=, in (, not in (, is null or is not null")
            values = [self._value()]
            while self._take(","):
                values.append(self._value())
            self._require(")")
            result = self._apply(name, "in", values)
        return ~result if is_not else result

    def _name(self) -> str:
        if self.kind not in ("word", "quoted"):
            self._fail("a column")
        is_quoted, name = self.kind == "quoted", self._advance()
        if is_quoted:
            name = name[1:-1].replace(name[0] * 2, name[0])
        if name not in self._schema.names and not self._others:
            raise ColumnNotFound(name, option="where", available=self._schema.names)
        self._columns.add(name)
        return name

    def _value(self) -> _Value:
        kind, token = self.kind, self.token
        if kind not in ("number", "text") and token.lower() not in ("true", "false"):
            self._fail("a number or 'text' (columns are compared in DuckDB or pandas)")
        self._advance()
        if kind == "number":
            return int(token) if token.lstrip("+-").isdigit() else Decimal(token)
        return token.lower() == "true" if kind == "word" else token[1:-1].replace("''", "'")

    def _apply(self, name: str, sign: str, values: Sequence[_Value]) -> Any:
        """Test a column, or a member of lines, which has a column of truth values for it."""
        if name not in self._schema.names:
            column = f"{name}\ntest {len(self._tests)}"
            self._tests[column] = name, _test_member(sign, values)
            self._read[column] = pa.bool_()
            return pc.field(column)
        dtype = self._read[name] = self._schema.field(name).type
        if sign == "null":
            return pc.field(name).is_null()
        known = _cast(values, name, dtype)
        return _COMPARE.get(sign, _is_in)(pc.field(name), known if sign == "in" else known[0])


def _cast(values: Sequence[_Value], name: str, dtype: pa.DataType) -> pa.Array:
    """Cast literals to the type of a column; text may be written for any type."""
    is_number = pt.is_integer(dtype) or pt.is_floating(dtype) or pt.is_decimal(dtype)
    texts = list(map(str, values))
    if pt.is_integer(dtype):
        texts = [re.sub(r"\.0+$", "", text) for text in texts]
    if pt.is_timestamp(dtype) and dtype.tz:  # without a zone it is UTC
        texts = [text if _ZONE.search(text) else f"{text}Z" for text in texts]
    try:
        cast, bad = cast_text(pa.array(texts), dtype)
    except pa.ArrowException:
        cast, bad = None, np.ones(len(texts), bool)
    for value, is_bad in zip(values, bad, strict=True):
        fits = pt.is_boolean(dtype) if isinstance(value, bool) else is_number
        if is_bad or not (fits or isinstance(value, str)):
            raise ConfigError(
                f"where: {value!s:.60} is not a value of column {name!r}, which is {dtype}. "
                f"Write a literal of that type (text in '')."
            )
    return cast


def _is_in(column: Any, values: pa.Array) -> Any:
    """Ask whether a value is in a list; null is neither in it nor outside of it."""
    if pt.is_floating(values.type) and 0 in values.to_pylist():  # equal, unlike their bits
        values = pa.concat_arrays([values, pa.array([0.0, -0.0], values.type)])
    return pc.if_else(column.is_valid(), column.isin(values), pa.scalar(None, pa.bool_()))


def _test_member(sign: str, values: Sequence[_Value]) -> _Test:
    """Return a test of a member against the values that have its JSON type; None: none has."""
    of_type: dict[type, set[Any]] = {}
    for value in values:
        plain = float(value) if isinstance(value, Decimal) else value
        of_type.setdefault(_JSON_TYPES[type(value)], set()).add(plain)

    def test(own: Any) -> bool | None:
        if sign == "null":
            return own is None
        known = of_type.get(_JSON_TYPES.get(type(own), object))
        if known is None:
            return None
        return own in known if sign == "in" else _COMPARE[sign](own, *known)

    return test

"""Conditions as text: what they keep, and how what is malformed is refused."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from itertools import product
from operator import eq, ge, gt, le, lt, ne

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from v3io_frames_put import ColumnNotFound, ConfigError
from v3io_frames_put.jobs._where import parse_where

UTC = dt.timezone.utc
DIGITS = [Decimal("1." + "0" * 80 + "1"), Decimal("1e90"), Decimal("-9.995"), Decimal("9.99")]
TABLE = pa.table(
    {
        "n": [1, 2, 3, None],
        "x": [0.5, 1.5, 2.5, 3.5],
        "s": ["a", "it's", "c", "or"],
        "b": [True, False, None, True],
        "day": pa.array([dt.date(2026, 11, d) for d in (19, 20, 21, 22)]),
        "at": pa.array([dt.datetime(2026, 11, 22, h, tzinfo=UTC) for h in (1, 2, 3, 4)]),
        "plain": pa.array([dt.datetime(2026, 11, 22)] * 4),
        "code": pa.array(["u", "v", "u", None]),
        "price": pa.array([Decimal("1.10"), Decimal("2.20"), None, Decimal("4.40")]),
        "two words": [10, 20, 30, 40],
        'a"b': [7, 7, 8, 8],
    }
)


def rows(text):
    where = parse_where(text, TABLE.schema)
    numbered = TABLE.append_column("row", pa.array(range(len(TABLE))))
    return ds.dataset(numbered).to_table(filter=where.expression).column("row").to_pylist()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("n = 2", [1]),
        ("n == 2", [1]),
        ("2 < n", [2]),
        ("n != 2", [0, 2]),
        ("n <> 2", [0, 2]),
        ("n >= 2.5", [2]),
        ("x > 1", [1, 2, 3]),
        ("x > n", []),
        ("x = -1e0 or x = .5", [0]),
        ("s = 'it''s'", [1]),
        ("s in ('a', 'c')", [0, 2]),
        ("n not in (1, 2)", [2]),
        ("not n in (1, 2)", [2]),
        ("not (n in (1, 2) or n = 7)", [2]),
        ("not n not in (1, 2)", [0, 1]),
        ("n is null", [3]),
        ("n IS NOT NULL AND NOT s = 'a'", [1, 2]),
        ("b = true", [0, 3]),
        ("b = FALSE", [1]),
        ("day >= '2026-11-21'", [2, 3]),
        ("at < '2026-11-22 03:00:00'", [0, 1]),
        ("at < '2026-11-22T03:00:00+01:00'", [0]),
        ("code = 'u'", [0, 2]),
        ("price > 2", [1, 3]),
        ("price > 2.195 and price != 1.005", [1, 3]),
        ("price in (1.1, 2.2, 1.005)", [0, 1]),
        ("n in (1, 2.5)", [0]),
        ("n in (2.0, 99999999999999999999)", [1]),
        ("n not in (2.5)", [0, 1, 2]),
        ("n = 2.5 or n = 1e30", []),
        ("n != 2.5 and 1e30 <> n", [0, 1, 2]),
        ("n <= 2.5 and 1.5 < n", [1]),
        ("n < 99999999999999999999 and n > -1e400", [0, 1, 2]),
        ("n > 99999999999999999999 or n < -1e400", []),
        ("x < 1e400", [0, 1, 2, 3]),
        ('"two words" = 30 or `two words` = 40', [2, 3]),
        ('"a""b" = 8', [2, 3]),
        ("n = 1 or n = 2 and x > 99", [0]),
        ("(n = 1 or n = 2) and x > 1", [1]),
    ],
)
def test_keeps(text, kept):
    assert rows(text) == kept


@pytest.mark.parametrize("literals", ["0", "-0.0", "7, 0.0"])
@pytest.mark.parametrize("dtype", [pa.float64(), pa.float32()])
def test_zero_is_zero_of_either_sign(literals, dtype):
    table = pa.table({"x": pa.array([0.0, -0.0, 1.0, None], dtype), "row": range(4)})
    for text, kept in [(f"x in ({literals})", [0, 1]), (f"x not in ({literals})", [2])]:
        where = parse_where(text, table.schema)
        found = ds.dataset(table).to_table(filter=where.expression).column("row").to_pylist()
        assert found == kept


def test_a_program_may_write_five_hundred_comparisons_and_longer_lists():
    assert rows(" or ".join(f"n = {number}" for number in range(2, 502))) == [1, 2]
    assert rows(" and ".join(f"n != {number}" for number in range(2, 502))) == [0]
    assert rows(f"n in ({', '.join(map(str, range(2, 50_000)))})") == [1, 2]


EXTREMES = {
    "int8": [-(2**7), 0, 2**7 - 1],
    "uint32": [0, 2**24 + 1, 2**32 - 1],
    "int64": [-(2**63), 2**53 + 1, 2**63 - 1],
    "uint64": [0, 2**63, 2**64 - 1],
    "float32": [-1.5, 2.0**24, 3e38],
    "double": [-1e300, 2.0**53, 1e300],
    "date32": [dt.date(1, 1, 1), dt.date(1970, 1, 1), dt.date(9999, 12, 31)],
    "timestamp[s]": [dt.datetime(1, 1, 1), dt.datetime(3000, 1, 1), dt.datetime(9999, 12, 31)],
    "timestamp[us]": [dt.datetime(1, 1, 1), dt.datetime(3000, 1, 1), dt.datetime(9999, 12, 31)],
    "timestamp[ns]": [dt.datetime(1700, 1, 1), dt.datetime(1970, 1, 1), dt.datetime(2200, 1, 1)],
    "duration[s]": [-dt.timedelta(10**8), dt.timedelta(), dt.timedelta(10**8)],
    "duration[us]": [-dt.timedelta(10**8), dt.timedelta(microseconds=1), dt.timedelta(10**8)],
    "duration[ns]": [-dt.timedelta(10**5), dt.timedelta(), dt.timedelta(10**5)],
}
KINDS = [list(EXTREMES)[:6], list(EXTREMES)[6:10], list(EXTREMES)[10:]]
SIGNS = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}


def moment(value):
    if isinstance(value, dt.datetime) or not isinstance(value, dt.date):
        return value
    return dt.datetime(value.year, value.month, value.day)


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize(
    ("one", "other"), [pair for kind in KINDS for pair in product(kind, repeat=2)]
)
def test_no_value_breaks_a_comparison_of_columns(one, other, sign):
    pairs = [*product(EXTREMES[one], EXTREMES[other]), (None, EXTREMES[other][0])]
    lefts, rights = zip(*pairs, strict=True)
    table = pa.table(
        {
            "row": range(len(pairs)),
            "a": pa.array(lefts, pa.type_for_alias(one)),
            "b": pa.array(rights, pa.type_for_alias(other)),
        }
    )
    where = parse_where(f"a {sign} b", table.schema)
    kept = ds.dataset(table).to_table(filter=where.expression).column("row").to_pylist()
    as_doubles = any("float" in name or name == "double" for name in (one, other))
    meant = float if as_doubles else moment
    assert kept == [
        row
        for row, (a, b) in enumerate(pairs)
        if a is not None and SIGNS[sign](meant(as_type(a, one)), meant(as_type(b, other)))
    ]


def as_type(value, name):
    return pa.scalar(value, pa.type_for_alias(name)).as_py()


@given(
    st.sampled_from(list(EXTREMES)[:4]),
    st.sampled_from(list(SIGNS)),
    st.integers(-(2**65), 2**65) | st.decimals(-(10**20), 10**20, places=1),
    st.booleans(),
)
def test_whole_numbers_compare_with_any_number(name, sign, number, is_mirrored):
    values = EXTREMES[name]
    table = pa.table({"a": pa.array([*values, None], pa.type_for_alias(name))})
    text = f"{number} {sign} a" if is_mirrored else f"a {sign} {number}"
    where = parse_where(text, table.schema)
    kept = ds.dataset(table).to_table(filter=where.expression).column("a").to_pylist()
    sides = [(number, value) if is_mirrored else (value, number) for value in values]
    holds = [SIGNS[sign](*pair) for pair in sides]
    assert kept == [value for value, is_kept in zip(values, holds, strict=True) if is_kept]
    inside = parse_where(f"a in ({number}, {values[0]})", table.schema)
    kept = ds.dataset(table).to_table(filter=inside.expression).column("a").to_pylist()
    assert kept == [value for value in values if value in (number, values[0])]


@given(
    st.sampled_from([pa.decimal128(3, 2), pa.decimal256(40, 2), pa.decimal128(3, -1)]),
    st.sampled_from(list(SIGNS)),
    st.integers(-(10**45), 10**45) | st.decimals(-12, 12, places=4) | st.sampled_from(DIGITS),
)
def test_decimals_compare_with_any_number(dtype, sign, number):
    scaled = [-999, -100, 0, 1, 100, 999]
    values = [Decimal(value).scaleb(-dtype.scale) for value in scaled]
    table = pa.table({"a": pa.array([*values, None], dtype)})
    where = parse_where(f"a {sign} {number}", table.schema)
    kept = ds.dataset(table).to_table(filter=where.expression).column("a").to_pylist()
    assert kept == [value for value in values if SIGNS[sign](value, number)]
    inside = parse_where(f"a in ({number}, {values[1]})", table.schema)
    kept = ds.dataset(table).to_table(filter=inside.expression).column("a").to_pylist()
    assert kept == [value for value in values if value in (number, values[1])]


def test_names_the_columns_it_reads():
    assert parse_where("n = 1 or not s in ('a')", TABLE.schema).columns == {"n", "s"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "where='': expected a condition as text"),
        (" ", "where=' ': expected a condition as text"),
        (5, "where=5: expected a condition as text"),
        ("not", "found the end at character 4; expected a column"),
        ("n >", "found the end"),
        ("n = 1 n", "found n at character 6; expected the end, 'and' or 'or'"),
        ("(n = 1", "expected ')'"),
        ("1 = 1", "expected a comparison with a column"),
        ("n", "expected =, !="),
        ("n = 'one'", "'one' cannot be compared with a column of type int64"),
        ("s = 1", "1 cannot be compared with a column of type string"),
        ("n in (s)", "'s' is a column"),
        ("s > n", "cannot be evaluated"),
        ("at > plain", "Cannot compare timestamp with timezone"),
        ("(" * 2_000 + "n = 1" + ")" * 2_000, "at most 50 brackets and 'not' inside one another"),
        (" or ".join(["n = 1"] * 501), "at most 500 comparisons; column in (1, 2, ...) takes any"),
        ("not " * 2_000 + "n = 1", "at most 50 brackets and 'not' inside one another"),
        ("n = 1; import os", "found ; import os"),
        ("__import__('os')", "'__import__' is not a column"),
    ],
)
def test_refuses(text, said):
    with pytest.raises((ConfigError, ColumnNotFound)) as caught:
        parse_where(text, TABLE.schema)
    assert said in str(caught.value)

"""Conditions as text: what they keep, and how what is malformed is refused."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from v3io_frames_put import ColumnNotFound, ConfigError
from v3io_frames_put.jobs._where import parse_where

UTC = dt.timezone.utc
TABLE = pa.table(
    {
        "n": [1, 2, 3, None],
        "x": [0.5, 1.5, 2.5, 3.5],
        "s": ["a", "it's", "c", "or"],
        "b": [True, False, None, True],
        "day": pa.array([dt.date(2026, 11, d) for d in (19, 20, 21, 22)]),
        "at": pa.array([dt.datetime(2026, 11, 22, h, tzinfo=UTC) for h in (1, 2, 3, 4)]),
        "plain": pa.array([dt.datetime(2026, 11, 22)] * 4),
        "code": pa.array(["u", "v", "u", None]).dictionary_encode(),
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
        ('"two words" = 30 or `two words` = 40', [2, 3]),
        ('"a""b" = 8', [2, 3]),
        ("n = 1 or n = 2 and x > 99", [0]),
        ("(n = 1 or n = 2) and x > 1", [1]),
    ],
)
def test_keeps(text, kept):
    assert rows(text) == kept


def test_a_program_may_write_five_hundred_comparisons_and_longer_lists():
    assert rows(" or ".join(f"n = {number}" for number in range(2, 502))) == [1, 2]
    assert rows(" and ".join(f"n != {number}" for number in range(2, 502))) == [0]
    assert rows(f"n in ({', '.join(map(str, range(2, 50_000)))})") == [1, 2]


def test_names_the_columns_it_reads():
    assert parse_where("n = 1 or not s in ('a')", TABLE.schema).columns == {"n", "s"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found the end at character 1; expected a column"),
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

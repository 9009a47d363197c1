"""Conditions as text: what they keep, and how what is malformed is refused."""

from __future__ import annotations

import ast
import datetime as dt
import math
import operator
from decimal import Decimal

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from tests.jobs.conftest import read_rows, write_parquet, write_text
from v3io_frames_put import ColumnNotFound, ConfigError, DataError
from v3io_frames_put.jobs._files import InputFile, find_files
from v3io_frames_put.jobs._where import Where, select_files

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
        "code": pa.array(["u", "v", "u", None]),
        "price": pa.array([Decimal("1.10"), Decimal("2.20"), None, Decimal("4.40")]),
        "two words": [10, 20, 30, 40],
        'a"b': [7, 7, 8, 8],
        "nothing": pa.nulls(4),
    }
)


def rows(text):
    where = Where(text, TABLE.schema)
    columns = {name: TABLE.column(name).combine_chunks() for name in where.columns}
    return [row for row, keep in enumerate(where.evaluate(columns).to_pylist()) if keep]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("n = 2", [1]),
        ("n == 2", [1]),
        ("n != 2", [0, 2]),
        ("n <> 2", [0, 2]),
        ("x > 1", [1, 2, 3]),
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
        ("at < '2026-11-22T03:00+01'", [0]),
        ("at > '2026-11-22' and at not in ('2026-11-22 01:00', '2026-11-22T02:00Z')", [2, 3]),
        ("nothing = 1 or not nothing in ('a', 2) or n = 3", [2]),
        ("code = 'u'", [0, 2]),
        ("price > 2", [1, 3]),
        ("price in (1.1, 2.2)", [0, 1]),
        ("n>=2 and n in(3)", [2]),
        ("not " * 100 + "n = 1", [0]),
        ("x < 1e300", [0, 1, 2, 3]),
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
        where = Where(text, table.schema)
        found = ds.dataset(table).to_table(filter=where.expression).column("row").to_pylist()
        assert found == kept


def test_a_program_may_write_five_hundred_comparisons_and_longer_lists():
    assert rows(" or ".join(f"n = {number}" for number in range(2, 502))) == [1, 2]
    assert rows(" and ".join(f"n != {number}" for number in range(2, 502))) == [0]
    assert rows(f"n in ({', '.join(map(str, range(2, 50_000)))})") == [1, 2]


def test_names_the_columns_it_reads():
    assert Where("n = 1 or not s in ('a')", TABLE.schema).columns.keys() == {"n", "s"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "where='': expected a condition as text"),
        (" ", "where=' ': expected a condition as text"),
        (5, "where=5: expected a condition as text"),
        ("not", "where='not': invalid syntax. Write comparisons of a column with a number or"),
        ("n >", "invalid syntax"),
        ("n = 1 n", "two values in a row, is not a number or 'text'"),
        ("s = 'a' 'b'", "two values in a row, is not a number or 'text'"),
        ("(n = 1", "'(' was never closed"),
        ("n = 1) or (n = 2", "unmatched ')'"),
        ("1 = 1", "1 is not a column"),
        ("n", "a comparison is missing"),
        ("1 < n < 3", "a comparison is missing, or has more than two sides"),
        ("n, x", "a comparison is missing"),
        ("n is 5", "'is' needs null, and 'in' a list"),
        ("n in ()", "'is' needs null, and 'in' a list"),
        ("n = null", "null is not a number or 'text'"),
        ("n = (1, 2)", "a list, or two values in a row, is not"),
        ("n in (1, (2, 3))", "a list, or two values in a row, is not"),
        ("s = 'it", "two values in a row, is not a number"),
        ("n = 2.0", "2.0 is not a value of column 'n', which is int64"),
        ("n = 'one'", "one is not a value of column 'n', which is int64"),
        ("s = 1", "1 is not a value of column 's', which is string"),
        ("n = 2.5", "2.5 is not a value of column 'n', which is int64"),
        ("n < 99999999999999999999", "is not a value of column 'n'"),
        ("price = 1.005", "1.005 is not a value of column 'price'"),
        ("n = " + "1" * 5_000, "1 has too many digits"),
        ("b = 1", "1 is not a value of column 'b', which is bool"),
        ("day = 'soon'", "soon is not a value of column 'day', which is date32"),
        ("n in (s)", "s is not a number or 'text'"),
        ("x > n", "n is not a number or 'text' (DuckDB or pandas compare columns)"),
        ("(" * 2_000 + "n = 1" + ")" * 2_000, "too many nested parentheses"),
        (" or ".join(["n = 1"] * 501), "more than 500 comparisons; column in (...) takes any"),
        ("not " * 50_000 + "n = 1", "too many 'not'"),
        ("n = 1; import os", "two values in a row, is not a number"),
        ("__import__('os')", "a comparison is missing"),
    ],
)
def test_refuses(text, said):
    with pytest.raises((ConfigError, ColumnNotFound)) as caught:
        Where(text, TABLE.schema)
    assert said in str(caught.value)


SIGNS = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
DAYS = st.none() | st.sampled_from(["2026-11-20", "x", "10", "9"])
TESTS = st.one_of(
    st.builds("day {} {}".format, SIGNS, st.sampled_from(["'2026-11-20'", "'x'", "'10'"])),
    st.builds("{} {} {}".format, st.sampled_from(["part", "n", "x"]), SIGNS, st.integers(-3, 3)),
    st.builds("x {}in (0, 1)".format, st.sampled_from(["", "not "])),
    st.builds("{} is {}null".format, st.sampled_from(["day", "n"]), st.sampled_from(["", "not "])),
    st.builds(
        "{} {}in (1, 2)".format, st.sampled_from(["part", "n"]), st.sampled_from(["", "not "])
    ),
)
CONDITIONS = st.recursive(
    TESTS,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not {}".format, inner),
    ),
    max_leaves=6,
)
ROWS = st.lists(
    st.tuples(
        st.none() | st.sampled_from(["2026-11-20", "x", "10"]),
        st.none() | st.integers(-3, 3),
        st.none() | st.integers(-3, 3),
        st.none() | st.sampled_from([math.nan, 0.0, -0.0, 1.0, 2.5, math.inf]),
    ),
    max_size=12,
)


def evaluate(text, row):  # noqa: C901 - a small parser of its own
    """What SQL says of a row: True, False or None."""
    words = text.replace("(", " ( ").replace(")", " ) ").split()
    names = {f"{name}_": value for name, value in row.items()}

    def parse_or():
        result = parse_and()
        while words and words[0] == "or":
            words.pop(0)
            other = parse_and()
            result = True if True in (result, other) else None if None in (result, other) else False
        return result

    def parse_and():
        result = parse_one()
        while words and words[0] == "and":
            words.pop(0)
            other = parse_one()
            result = (
                False if False in (result, other) else None if None in (result, other) else True
            )
        return result

    def parse_one():
        if words[0] == "not":
            words.pop(0)
            result = parse_one()
            return None if result is None else not result
        if words[0] == "(":
            words.pop(0)
            result = parse_or()
            assert words.pop(0) == ")"
            return result
        value, sign = names[f"{words.pop(0)}_"], words.pop(0)
        if sign == "is":
            is_not = words[0] == "not" and words.pop(0) == "not"
            words.pop(0)
            return (value is None) != is_not
        if sign in ("in", "not"):
            is_not = sign == "not" and words.pop(0) == "in"
            assert words.pop(0) == "("
            items = [ast.literal_eval(words.pop(0).rstrip(","))]
            while words[0] != ")":
                items.append(ast.literal_eval(words.pop(0).rstrip(",")))
            words.pop(0)
            return None if value is None else (value in items) != is_not
        literal = ast.literal_eval(words.pop(0))
        return None if value is None else SIGN[sign](value, literal)

    return parse_or()


SIGN = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@given(ROWS, st.integers(1, 4), CONDITIONS)
@example([(None, None, None, 1.0), (None, None, None, math.nan)], 2, "x != 1")
@example([(None, None, None, 1.0), (None, None, None, math.nan)], 2, "not x <= 1")
@example([("x", 1, 2, 0.0), ("x", 1, 2, -0.0)], 1, "x in (0, 1) and n = 2")
def test_rows_are_kept_as_sql_says_whatever_statistics_exclude(
    tmp_path_factory, rows, group_size, where
):
    names = ("day", "part", "n", "x")
    types = (pa.string(), pa.int64(), pa.int64(), pa.float64())
    columns = [pa.array([row[i] for row in rows], types[i]) for i in range(4)]
    whole = pa.table([*columns, range(len(rows))], [*names, "row"])
    path = tmp_path_factory.mktemp("groups") / "a.parquet"
    pq.write_table(whole, path, row_group_size=group_size)
    found = read_rows(path, where=where)
    expected = [
        number
        for number, row in enumerate(rows)
        if evaluate(where, dict(zip(names, row, strict=True))) is True
    ]
    assert [row["row"] for row in found.rows] == expected
    assert found.places == [row + 1 for row in expected]


def make_files(*folders):
    return [
        InputFile(
            name=str(number),
            path=str(number),
            filesystem=None,
            kind="csv",
            size=1,
            mtime_ns=1,
            partitions=partitions,
        )
        for number, partitions in enumerate(folders)
    ]


@given(
    st.lists(st.tuples(DAYS, st.none() | st.sampled_from(["1", "2"])), min_size=1, max_size=6),
    CONDITIONS,
)
@example([("9", None), ("10", None), ("x", None)], "day < '5'")
def test_no_row_that_is_wanted_is_in_a_file_that_is_left_out(folders, where):
    files = make_files(*({"day": day, "part": part} for day, part in folders))
    try:
        chosen = select_files(files, where, {"part": pa.int64()})
    except ConfigError:  # a number compared with text
        return
    for file in files:
        if file in chosen:
            continue
        part = file.partitions["part"]
        row = {**file.partitions, "part": part and int(part)}
        answers = [
            evaluate(where, {**row, "n": n, "x": x})
            for n in (None, -3, 1, 2)
            for x in (None, 0.0, 1.0, 2.5)
        ]
        assert True not in answers


@pytest.mark.parametrize("where", ["day = '20261121'", "day = '20261121' and n > 0"])
def test_a_folder_that_is_not_a_number_changes_nothing_for_the_others(where):
    days = [{"day": day} for day in ("20261120", "20261121", "20261121.old")]
    for files in (make_files(*days[:2]), make_files(*days)):
        assert select_files(files, where, {}) == files[1:2]


def test_types_that_are_asked_for_decide():
    files = make_files({"day": "2"}, {"day": "10"})
    assert select_files(files, "day < 3", {"day": pa.int64()}) == files[:1]
    assert select_files(files, "day < '3'", {}) == files
    with pytest.raises(ConfigError, match=r"3 is not a value of column 'day'.* another by types"):
        select_files(files, "day < 3", {})


def test_a_file_that_is_left_out_is_not_opened(tmp_path):
    write_parquet(tmp_path / "day=1/0.parquet", n=[1])
    write_text(tmp_path / "day=2/0.parquet", "half a fi")
    assert len(select_files(find_files(tmp_path), "day = '1' and n = 1", {})) == 1
    with pytest.raises(DataError, match="cannot be read"):
        read_rows(tmp_path / "day=2")


def test_folders_win_over_columns_of_files(tmp_path):
    write_parquet(tmp_path / "day=1/0.parquet", n=[1, 2], day=[0, 1])
    assert read_rows(tmp_path, where="day = '1'").rows == [
        {"n": 1, "day": "1"},
        {"n": 2, "day": "1"},
    ]


@pytest.mark.parametrize("where", ["n > 3", "n > 3 and m is not null", "n >= 4 and not m > 5"])
def test_a_row_stays_if_an_invalid_cell_leaves_the_condition_open(tmp_path, where):
    path = write_text(tmp_path / "a.csv", "n,m,o", "1,1,1", "x,2,1", "4,4,1", "3,3,y", "5,5,y")
    found = read_rows(path, types=dict.fromkeys("nmo", "int64"), where=where)
    assert [row["m"] for row in found.rows] == [2, 4, 5]
    assert found.invalid == {0: {"n": "x"}, 2: {"o": "y"}}
    assert found.places == [3, 4, 6]


@pytest.mark.parametrize(
    ("value", "dtype"),
    [("x", "int64"), ("0x1F", "int64"), ("7" + "0" * 36, "decimal128(38, 2)")],
)
def test_a_folder_that_does_not_fit_its_type_is_refused(tmp_path, value, dtype):
    write_parquet(tmp_path / f"day={value}/0.parquet", n=[1])
    with pytest.raises(DataError, match=f"its folder day={value} is not a value of "):
        read_rows(tmp_path, types={"day": dtype})


def test_a_row_that_another_cell_excludes_is_left_out(tmp_path):
    path = write_text(tmp_path / "a.csv", "n,m,o", "1,1,1", "x,1,1", "5,2,1", ",2,x")
    found = read_rows(path, types=dict.fromkeys("nmo", "int64"), where="m = 2 and n > 3")
    assert found.rows == [{"n": 5, "m": 2, "o": 1}]
    assert not found.invalid


@pytest.mark.parametrize("where", ["a is not null", "not a is null", "a is not null and v = 2"])
def test_whether_an_invalid_cell_is_null_is_open(tmp_path, where):
    file = write_text(tmp_path / "a.csv", "a,v", "bad,2", "1,2", "1,2,3", ",2")
    found = read_rows(file, types={"a": "int64"}, where=where)
    assert found.places == [2, 3, 4]
    assert set(found.invalid) == {0, 2}

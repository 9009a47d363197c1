"""Laws: what folders or statistics exclude holds no row that the condition keeps."""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from tests.jobs.conftest import write_parquet, write_text
from v3io_frames_put import ConfigError
from v3io_frames_put.jobs._files import InputFile, find_files
from v3io_frames_put.jobs._partitions import find_partition_types, partition_value
from v3io_frames_put.jobs._pruning import choose_files, find_matching
from v3io_frames_put.jobs._table import FileTable
from v3io_frames_put.jobs._where import parse_where

DAYS = st.none() | st.sampled_from(["2026-11-20", "2026-11-21", "x", "10", "9"])
PARTS = st.none() | st.sampled_from(["1", "2", "10"])
TEXTS = st.sampled_from(["'2026-11-20'", "'x'", "'10'", "'5'"])
NUMBERS = st.sampled_from(["1", "2", "2.5", "10", "-3"])
SIGNS = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
TESTS = st.one_of(
    st.builds("{} {} {}".format, st.just("day"), SIGNS, TEXTS),
    st.builds("{} {} {}".format, st.sampled_from(["part", "n"]), SIGNS, NUMBERS),
    st.builds("{} {} {}".format, NUMBERS, SIGNS, st.sampled_from(["part", "n"])),
    st.builds("part {} n".format, SIGNS),
    st.builds("{} {} {}".format, st.just("x"), SIGNS, NUMBERS),
    st.builds("x {}in (0, 1)".format, st.sampled_from(["", "not "])),
    st.builds(
        "{} is {}null".format, st.sampled_from(["day", "part", "n"]), st.sampled_from(["", "not "])
    ),
    st.builds("day {}in ({}, {})".format, st.sampled_from(["", "not "]), TEXTS, TEXTS),
    st.builds("{} in ({}, {})".format, st.sampled_from(["part", "n"]), NUMBERS, NUMBERS),
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


def make_file(name, partitions):
    return InputFile(
        name=name,
        path=name,
        filesystem=None,
        kind="csv",
        size=1,
        mtime_ns=1,
        partitions=partitions,
    )


@given(st.lists(st.tuples(DAYS, PARTS), min_size=1, max_size=6), CONDITIONS)
@example([("9", None), ("10", None), ("x", None)], "day < '5'")
@example([("10", None), ("2", None), ("0a", None)], "day < '5'")
def test_no_row_that_is_wanted_is_in_a_file_that_is_left_out(folders, where):
    """Whatever types the columns of folders have in the end: those of the files that are left."""
    files = [
        make_file(str(place), {"day": day, "part": part})
        for place, (day, part) in enumerate(folders)
    ]
    chosen = find_matching(files, where, {})
    types = find_partition_types(chosen or files)
    whole = pa.schema([*types.items(), ("n", pa.int64()), ("x", pa.float64())])
    try:
        condition = parse_where(where, whole).expression
    except ConfigError:  # a number compared with text
        return
    for file in files:
        try:
            folder = [pa.repeat(partition_value(file, name, types[name]), 5) for name in types]
        except pa.ArrowInvalid:  # text, where those that are left are numbers
            continue
        rows = pa.table([*folder, [None, -3, 1, 2, 10], [0.0, 1, 2, 3, 4]], whole)
        assert file in chosen or not ds.dataset(rows).scanner(filter=condition).count_rows()


@pytest.mark.parametrize("where", ["day = '20261121'", "day = '20261121' and n > 0"])
def test_a_folder_that_is_no_number_changes_nothing_for_the_others(where):
    days = ["20261120", "20261121"]
    files = [make_file(day, {"day": day}) for day in days]
    stray = make_file("s", {"day": "20261121.old"})
    assert find_matching([*files, stray], where, {}) == find_matching(files, where, {}) == files[1:]


def test_types_that_are_asked_for_decide():
    files = [make_file(day, {"day": day}) for day in ("2", "10")]
    assert find_matching(files, "day < '3'", {}) == files[:1]
    assert find_matching(files, "day < '3'", {"day": pa.string()}) == files


class TestColumnsOfTheFiles:
    @pytest.mark.parametrize(
        ("own", "kept"), [((), [1, 2]), ((1,), [2]), ((2,), [1, 2, 4]), ((1, 2), [2, 4])]
    )
    def test_win_over_folders_where_any_that_is_looked_at_has_them(self, tmp_path, own, kept):
        """Of each pair of rows, a file's own column says that the second is of day 1."""
        for day, rows in ((1, [1, 2]), (2, [3, 4])):
            more = {"day": [0, 1]} if day in own else {}
            write_parquet(tmp_path / f"day={day}/0.parquet", n=rows, **more)
        chosen, others = choose_files(find_files(tmp_path), "day = 1", {})
        table = FileTable(chosen, {}, "day = 1", others=others)
        batches = table._batches([table.schema.names.index("n")])
        assert [n for batch in batches for n in batch.column(0).to_pylist()] == kept

    def test_are_found_in_files_that_are_left_out_where_they_are_asked_for(self, tmp_path):
        write_parquet(tmp_path / "day=1/0.parquet", n=[1])
        write_text(tmp_path / "day=2/0.parquet", "half a fi")
        write_parquet(tmp_path / "day=2/1.parquet", n=["text"], extra=[7])
        for where, types, named in (
            ("day = 1", {"extra": pa.int16()}, ()),
            ("day = 1", {}, ("extra",)),
            ("day = 1 and extra is null", {}, ()),
        ):
            chosen, others = choose_files(find_files(tmp_path), where, types)
            assert [file.partitions["day"] for file in chosen] == ["1"]
            table = FileTable(chosen, types, where, named=named, others=others)
            assert table.schema.field("extra").type == types.get("extra", pa.int64())
            assert table.schema.field("n").type == pa.int64()
            [batch] = table._batches(list(range(len(table.schema))))
            assert batch.to_pylist() == [{"n": 1, "day": 1, "extra": None}]
        chosen, others = choose_files(find_files(tmp_path), "day = 1", {})
        assert FileTable(chosen, {}, "day = 1", others=others).schema.names == ["n", "day"]
        with pytest.raises(ConfigError, match="no file has a column 'nowhere'"):
            FileTable(chosen, {"nowhere": pa.int8()}, "day = 1", others=others)


ROWS = st.lists(
    st.tuples(
        st.none() | st.sampled_from(["2026-11-20", "x", "10"]),
        st.none() | st.integers(-3, 3),
        st.none() | st.integers(-3, 3),
        st.none() | st.sampled_from([math.nan, 0.0, -0.0, 1.0, 2.5, math.inf]),
    ),
    max_size=12,
)


@given(ROWS, st.integers(1, 4), CONDITIONS)
@example([(None, None, None, 1.0), (None, None, None, math.nan)], 2, "x != 1")
@example([(None, None, None, 1.0), (None, None, None, math.nan)], 2, "not x <= 1")
@example([("x", 1, 2, 0.0), ("x", 1, 2, -0.0)], 1, "x in (0, 1) and n = 2")
def test_row_groups_change_nothing(tmp_path_factory, rows, group_size, where):
    schema = pa.schema(
        [("day", pa.string()), ("part", pa.int64()), ("n", pa.int64()), ("x", pa.float64())]
    )
    columns = [pa.array([row[place] for row in rows], schema.types[place]) for place in range(4)]
    whole = pa.table([*columns, range(len(rows))], [*schema.names, "row"])
    path = tmp_path_factory.mktemp("groups") / "a.parquet"
    pq.write_table(whole, path, row_group_size=group_size)
    kept = FileTable(find_files(path), {}, where)._batches([4])
    expected = ds.dataset(whole).to_table(filter=parse_where(where, whole.schema).expression)
    assert [row for batch in kept for row in batch.column(0).to_pylist()] == expected.column(
        "row"
    ).to_pylist()

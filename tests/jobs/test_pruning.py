"""Laws: what folders or statistics exclude holds no row that the condition keeps."""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.dataset as ds
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from v3io_frames_put import ConfigError
from v3io_frames_put.jobs._files import InputFile, find_files
from v3io_frames_put.jobs._partitions import settle_partitions
from v3io_frames_put.jobs._pruning import _find_matching
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


@given(st.lists(st.tuples(DAYS, PARTS), min_size=1, max_size=6), CONDITIONS)
def test_no_row_that_is_wanted_is_in_a_file_that_is_left_out(folders, where):
    files = settle_partitions(
        [
            InputFile(
                name=str(place),
                path=str(place),
                filesystem=None,
                kind="csv",
                size=1,
                mtime_ns=1,
                partitions={
                    "day": pa.scalar(day, pa.string()),
                    "part": pa.scalar(part, pa.string()),
                },
            )
            for place, (day, part) in enumerate(folders)
        ]
    )
    schema = pa.schema([(name, value.type) for name, value in files[0].partitions.items()])
    whole = pa.schema([*schema, ("n", pa.int64()), ("x", pa.float64())])
    try:
        condition = parse_where(where, whole).expression
        chosen = _find_matching(files, parse_where(where, schema, is_open=True), schema)
    except ConfigError:  # a number compared with text
        return
    for file in files:
        day, part = file.partitions.values()
        columns = [pa.repeat(day, 5), pa.repeat(part, 5), [None, -3, 1, 2, 10], [0.0, 1, 2, 3, 4]]
        rows = pa.table(columns, whole)
        assert file in chosen or not ds.dataset(rows).scanner(filter=condition).count_rows()


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

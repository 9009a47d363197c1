"""Rows that are read once more are those of the run, whatever it read of them."""

from __future__ import annotations

import json

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from v3io_frames_put.jobs._files import find_files
from v3io_frames_put.jobs._table import FileTable

CELLS = st.sampled_from([None, "1", "2", "oops", "NA", '"2"'])
TYPES = {"x": pa.int64(), "y": pa.int64()}


def as_json(cell):
    return cell if cell in ("1", "2", '"2"') else json.dumps(cell)


def write(path, rows, first):
    numbered = [(first + n, *row) for n, row in enumerate(rows)]
    if path.suffix == ".parquet":
        names = ["id", "x", "y"]
        columns = [list(column) for column in zip(*numbered, strict=True)] or [[], [], []]
        types = [pa.int64(), pa.string(), pa.string()]
        arrays = [pa.array(cells, dtype) for cells, dtype in zip(columns, types, strict=True)]
        pq.write_table(pa.table(arrays, names), path)
    elif path.suffix == ".csv":
        lines = [",".join("" if cell is None else str(cell) for cell in row) for row in numbered]
        path.write_text("\n".join(["id,x,y", *lines, ""]).replace('"', ""))
    else:
        lines = [f'{{"id": {n}, "x": {as_json(x)}, "y": {as_json(y)}}}' for n, x, y in numbered]
        path.write_text("".join(f"{line}\n" for line in ['{"id": -1, "x": 2, "y": 1}', *lines]))


@given(
    files=st.lists(
        st.tuples(
            st.sampled_from([".csv", ".jsonl", ".parquet"]),
            st.lists(st.tuples(CELLS, CELLS), max_size=20),
        ),
        min_size=1,
        max_size=3,
    ),
    where=st.sampled_from([None, "x > 1", "y > 1", "y > 1 or x is null", "id > 2", "x = y"]),
    opened=st.sampled_from([[], [], ["x"], ["y"], ["x", "y"]]),
)
def test_rows_read_again_are_those_of_the_run(tmp_path_factory, files, where, opened):
    folder = tmp_path_factory.mktemp("in")
    for number, (ending, rows) in enumerate(files):
        write(folder / f"{number}{ending}", rows, 10 * number)
    table = FileTable(find_files(folder), TYPES, where)
    ran = run(table, {"id", *opened})
    again = []
    for number in range(len(table.files)):
        table.look_over(number)
    for number in range(len(table.files)):
        for piece in table.reread(number):
            again += piece.columns["id"].to_pylist()
            assert not any(piece.misfits.values())  # each is there, as text
    assert again == ran


def run(table, columns):
    """Read a table as a run does; return the column ``id``."""
    source = table.source()
    places = [place for place, name in enumerate(table.schema.names) if name in columns]
    readers = [source.open(place) for place in places]
    ids, start = readers[places.index(table.schema.names.index("id"))], 0
    found = []
    while count := source.available(start, 1_000, 1 << 20):
        found += ids.read(start, start + count, 1 << 20).to_pylist()
        start += count
    return found

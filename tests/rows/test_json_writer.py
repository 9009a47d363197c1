"""The rows of the native writer are found again, whatever their length."""

from __future__ import annotations

import json
import sys

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.internals import RowWriter, write_cells

NUMBERS = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9), min_size=1, max_size=40)


@given(NUMBERS)
def test_rows_come_without_their_newlines(numbers):
    rows = RowWriter().write([pa.array(numbers)], [""])
    assert rows.to_pylist() == [b'{"":%d}' % number for number in numbers]


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=12), min_size=1, max_size=20))
def test_newlines_inside_text_end_no_row(texts):
    assert [json.loads(cell) for cell in write_cells(pa.array(texts)).to_pylist()] == texts


@pytest.mark.parametrize("sizes", [(1, 3_000, 2), (3_000, 1, 3_000)])
def test_a_writer_that_is_used_again_keeps_nothing_of_what_it_wrote(sizes):
    writer = RowWriter()
    written = [writer.write([pa.array(range(size))], ["a"]) for size in sizes]
    expected = [[b'{"a":%d}' % number for number in range(size)] for size in sizes]
    assert [rows.to_pylist() for rows in written] == expected


def test_a_profiler_that_holds_the_frames_stops_no_writer(request):
    held = []
    request.addfinalizer(lambda: sys.setprofile(None))
    writer = RowWriter()
    sys.setprofile(lambda frame, _event, _arg: held.append(frame))  # Dask's workers have one
    written = [writer.write([pa.array(range(size))], ["a"]) for size in (10, 3_000, 20)]
    sys.setprofile(None)
    assert held
    assert [len(rows) for rows in written] == [10, 3_000, 20]
    assert written[1][-1].as_py() == b'{"a":2999}'

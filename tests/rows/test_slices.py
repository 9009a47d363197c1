"""Nested values are what they are, however their arrays were cut and put together.

Arrow lets every array at every level begin anywhere in its buffers, and keep anything
below a null. The values are drawn as Python objects along with such arrays of them, so
that what is written is compared with nothing that Arrow did.
"""

from __future__ import annotations

import itertools
import json
from base64 import b64encode
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.internals import Blocks, plain_type, plan_rows
from v3io_frames_put.config import Encoding

DEPTH = 3
NESTED = ["struct", "list", "large list", "fixed", "map", "view"]
LEAVES = ["int", "text", "bytes", "bool", "float", "dictionary"]
EXTENSIONS = ["uuid", "bool8"] if hasattr(pa, "uuid") else []


def _leaf(kind, cells):
    """Return numbers as an array of a kind, and what JSON makes of them; None stays None."""
    make = {
        "text": (str, pa.string(), str),
        "bytes": (lambda n: b"%d" % n, pa.binary(), lambda n: b64encode(b"%d" % n).decode()),
        "bool": (lambda n: n % 2 == 1, pa.bool_(), lambda n: n % 2 == 1),
        "float": (lambda n: n / 4, pa.float64(), lambda n: n / 4),
        "dictionary": (str, pa.dictionary(pa.int8(), pa.string()), str),
        "uuid": (lambda n: UUID(int=n).bytes, pa.binary(16), lambda n: str(UUID(int=n))),
        "bool8": (lambda n: n % 2, pa.int8(), lambda n: n % 2 == 1),
    }
    value, dtype, expected = make.get(kind, (int, pa.int64(), int))
    array = pa.array([None if n is None else value(n) for n in cells], dtype)
    if kind in ("uuid", "bool8"):
        extension = pa.uuid() if kind == "uuid" else pa.bool8()
        array = pa.ExtensionArray.from_storage(extension, array)
    return array, [None if n is None else expected(n) for n in cells]


@st.composite
def cut_arrays(draw, size, kinds):
    """Draw an array that is a slice, of slices, and its values as JSON has them."""
    before, after = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    array, values = draw(_arrays(before + size + after, kinds))
    return array[before : before + size], values[before : before + size]


@st.composite
def _arrays(draw, size, kinds):
    kind, *inner = kinds
    if kind in LEAVES + EXTENSIONS:
        cells = draw(st.lists(st.none() | st.integers(0, 99), min_size=size, max_size=size))
        return _leaf(kind, cells)
    flags = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    mask = pa.array(flags, pa.bool_()) if any(flags) else None
    if kind.startswith("struct "):
        beside = kind.removeprefix("struct ")
        parts = [draw(cut_arrays(size, inner)), draw(cut_arrays(size, [beside]))]
        array = pa.StructArray.from_arrays([part for part, _ in parts], ["a", "b"], mask=mask)
        values = [{"a": a, "b": b} for a, b in zip(*(v for _, v in parts), strict=True)]
    else:
        array, values = _draw_lists(draw, kind, size, inner, mask)
    return array, [None if null else value for null, value in zip(flags, values, strict=True)]


def _draw_lists(draw, kind, size, inner, mask):
    """Draw lists; what the null ones hold is there, but means nothing."""
    lengths = [2] * size
    if kind != "fixed":
        lengths = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    gap = 0 if kind == "fixed" else draw(st.integers(0, 2))  # before the first list
    ends = np.cumsum([gap, *lengths])
    items, values = draw(cut_arrays(int(ends[-1]), inner))
    values = [values[start:stop] for start, stop in itertools.pairwise(ends)]
    offsets = pa.array(ends, pa.int64() if kind == "large list" else pa.int32())
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(items, 2, mask=mask), values
    if kind == "map":
        keys = pa.array([f"k{place}" for place in range(len(items))], pa.string())
        starts = ends[:-1].tolist()
        values = [
            {f"k{start + place}": item for place, item in enumerate(cells)}
            for start, cells in zip(starts, values, strict=True)
        ]
        return pa.MapArray.from_arrays(offsets, keys, items, mask=mask), values
    if kind == "view":
        backwards = np.arange(size)[::-1]
        starts, sizes = pa.array(ends[:-1][backwards], pa.int32()), np.array(lengths)[backwards]
        views = pa.ListViewArray.from_arrays(
            starts, pa.array(sizes.astype(np.int32)), items, mask=mask
        )
        return views, [values[place] for place in backwards]
    make = pa.LargeListArray if kind == "large list" else pa.ListArray
    return make.from_arrays(offsets, items, mask=mask), values


@st.composite
def columns(draw, kinds_of_leaves):
    """Draw a column in chunks, each a slice, and its values as JSON has them."""
    nested = draw(st.lists(st.sampled_from(NESTED), min_size=1, max_size=DEPTH))
    leaves = st.sampled_from(kinds_of_leaves)
    kinds = [f"struct {draw(leaves)}" if kind == "struct" else kind for kind in nested]
    kinds.append(draw(leaves))
    sizes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=3))
    chunks, values = zip(*(draw(cut_arrays(size, kinds)) for size in sizes), strict=True)
    return pa.chunked_array(chunks), [value for part in values for value in part]


WINDOW_BYTES = st.sampled_from([1, 60, 2**20])


@settings(max_examples=600)
@given(
    column=columns(LEAVES + EXTENSIONS),
    window_bytes=WINDOW_BYTES,
    infinity=st.sampled_from(["refuse", "string"]),
    rows_per_record=st.sampled_from([1, 2]),
)
def test_the_text_of_a_nested_value_does_not_depend_on_how_it_was_cut(
    column, window_bytes, infinity, rows_per_record
):
    chunks, values = column
    plan = plan_rows(
        pa.table({"a": chunks}),
        encoding=Encoding(infinity=infinity),
        rows_per_record=rows_per_record,
        window_bytes=window_bytes,
    )
    records = [data for window in plan.records() for data in window.data.to_pylist()]
    texts = [line for data in records for line in data.split(b"\n")]
    assert [json.loads(text)["a"] for text in texts] == values


@settings(max_examples=400)
@given(
    column=columns(LEAVES),
    window_bytes=WINDOW_BYTES,
    rows_per_record=st.sampled_from([1, 2, "auto"]),
)
def test_a_nested_value_in_arrow_does_not_depend_on_how_it_was_cut(
    column, window_bytes, rows_per_record
):
    chunks, _ = column

    def encode(values):
        plan = plan_rows(
            pa.table({"a": values}),
            format="arrow",
            rows_per_record=rows_per_record,
            window_bytes=window_bytes,
        )
        return [data for window in plan.records() for data in window.data.to_pylist()]

    records = encode(chunks)
    if rows_per_record == 1:  # nor on what lies under nulls
        assert records == encode(pa.array(chunks.to_pylist(), plain_type(chunks.type)))
    batches = [pa.ipc.open_stream(data).read_all() for data in records]
    assert [row["a"] for batch in batches for row in batch.to_pylist()] == chunks.to_pylist()


SECRET = b"what was blanked"


@pytest.mark.parametrize(
    "array",
    [
        pa.array([SECRET, b""]),
        pa.array([SECRET, b""]).cast(pa.large_binary()),
        pa.array([SECRET, bytes(len(SECRET))], pa.binary(len(SECRET))),
        pa.array([int.from_bytes(SECRET[:8], "little"), 0]),
        pa.array([[SECRET] * 3, []]),
        pa.array([{"k": [SECRET]}, {"k": []}]),
        pa.array([[SECRET] * 2, [b""] * 2], pa.list_(pa.binary(), 2)),
        pa.array([[("k", SECRET)], []], pa.map_(pa.string(), pa.binary())),
    ],
    ids=lambda array: str(array.type),
)
def test_what_lies_under_nulls_is_not_sent(array):
    buffers = array.buffers()[: array.type.num_buffers]
    below = []
    if pa.types.is_nested(array.type):
        below = [array.field(0) if pa.types.is_struct(array.type) else array.values]
    buffers[0] = pa.array([False, True]).buffers()[1]
    hidden = pa.Array.from_buffers(array.type, 2, buffers, children=below)
    inside = pa.ListArray.from_arrays(pa.array([0, 2], pa.int32()), hidden)
    for column in (hidden, inside):
        [records] = plan_rows(pa.table({"a": column}), format="arrow").records()
        assert not any(SECRET[:8] in data for data in records.data.to_pylist())


@pytest.mark.parametrize(
    ("option", "hiding", "clean"),
    [
        ("partition_key", pa.array(["a", "x"]), pa.array(["a", None])),
        ("client_info", pa.array([b"a", b"x"]), pa.array([b"a", None])),
        ("shard", pa.array([1, 2]), pa.array([1, None])),
    ],
)
def test_the_checksum_of_rows_does_not_depend_on_what_lies_under_nulls(option, hiding, clean):
    valid = pa.array([True, False]).buffers()[1]
    hiding = pa.Array.from_buffers(hiding.type, 2, [valid, *hiding.buffers()[1:]])

    def note(column):
        blocks = Blocks()
        table = pa.table({"a": [1, 2], "c": column})
        list(plan_rows(table, columns=["a"], **{option: "c"}).records(None, blocks))
        return list(blocks.fresh)

    assert note(hiding) == note(clean)


@pytest.mark.skipif(not EXTENSIONS, reason="this pyarrow has no UUID type")
def test_uuids_and_bool8_are_text_and_booleans_in_arrow():
    columns = {kind: _leaf(kind, [1, None, 0]) for kind in EXTENSIONS}
    table = pa.table({kind: array for kind, (array, _) in columns.items()})
    (records,) = plan_rows(table, format="arrow", rows_per_record=3).records()
    again = pa.ipc.open_stream(records.data[0].as_py()).read_all()
    assert again.schema.types == [pa.string(), pa.bool_()]
    assert again.to_pydict() == {kind: values for kind, (_, values) in columns.items()}


@pytest.mark.parametrize(
    ("dtype", "cell"),
    [
        (pa.struct([("in", pa.struct([("x", pa.int64())]))]), lambda i: {"in": {"x": i}}),
        (pa.list_(pa.struct([("x", pa.int64())]), 1), lambda i: [{"x": i}]),
        (pa.list_(pa.list_(pa.int64(), 1), 2), lambda i: [[i], [-i]]),
    ],
    ids=["struct in struct", "fixed list of structs", "fixed list of fixed lists"],
)
@pytest.mark.parametrize(
    ("data_format", "rows_per_record"), [("json", 1), ("arrow", 1), ("arrow", 5)]
)
def test_nested_values_after_the_first_window_are_sent(dtype, cell, data_format, rows_per_record):
    cells = [cell(i) for i in range(900)]
    plan = plan_rows(
        pa.table({"g": pa.array(cells, dtype)}),
        format=data_format,
        rows_per_record=rows_per_record,
        window_bytes=2**12,
    )
    records = [data for window in plan.records() for data in window.data.to_pylist()]
    if data_format == "json":
        rows = [json.loads(data) for data in records]
    else:
        rows = [row for data in records for row in pa.ipc.open_stream(data).read_all().to_pylist()]
    assert [row["g"] for row in rows] == cells

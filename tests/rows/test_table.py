"""Contract section 5, cell by cell: the text of each type, written out."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.internals import plan_rows
from v3io_frames_put.config import Encoding
from v3io_frames_put.errors import UnsupportedType

NAN, INF = float("nan"), float("inf")


def encode(values, **options):
    """Return the JSON text of each cell; None where its row was refused."""
    table = values if isinstance(values, pd.DataFrame) else pa.table({"a": values})
    texts = [None] * len(table)
    for records in plan_rows(table, **options).records():
        for row, text in zip(records.rows, records.data.to_pylist(), strict=True):
            texts[row] = text.decode().removeprefix('{"a":').removesuffix("}")
    return texts


def encode_cells(*cells, **options):
    objects = np.empty(len(cells), dtype=object)
    objects[:] = cells
    return encode(pd.DataFrame({"a": pd.Series(objects, dtype=object)}), **options)


def ticks(dtype, *numbers):
    physical = pa.int32() if dtype.bit_width == 32 else pa.int64()
    return pa.array(numbers, physical).view(dtype)


HALVES = np.array([0.1, 1e4, 6e-8, 65504, -0.0], np.float16)

CELLS = {
    "bool": (pa.array([True, False, None]), ["true", "false", "null"]),
    "int8": (pa.array([-128, 127], pa.int8()), ["-128", "127"]),
    "int64": (pa.array([-(2**63), 2**63 - 1]), ["-9223372036854775808", "9223372036854775807"]),
    "uint64": (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
    "float64": (
        pa.array([517.0, 0.1, -0.0, 1e20, 5e-324, 0.1 + 0.2, NAN, None]),
        ["517.0", "0.1", "-0.0", "1.0e20", "5.0e-324", "0.30000000000000004", "null", "null"],
    ),
    "float32": (pa.array([0.1, 16777216, 3.4e38], pa.float32()), ["0.1", "16777216.0", "3.4e38"]),
    "float16": (pa.array(HALVES), ["0.1", "10000.0", "6.0e-8", "65500.0", "-0.0"]),
    "decimal128": (pa.array([Decimal("1E+3"), None], pa.decimal128(5, -3)), ['"1E+3"', "null"]),
    "decimal256": (pa.array([Decimal("0.1")], pa.decimal256(60, 1)), ['"0.1"']),
    "string": (
        pa.array(['é"\\/\n\t\x00\x1f\x7f😀', "", None]),
        ['"é\\"\\\\/\\n\\t\\u0000\\u001f\x7f😀"', '""', "null"],
    ),
    "large string": (pa.array(["a"], pa.large_string()), ['"a"']),
    "string view": (pa.array(["a", None], pa.string_view()), ['"a"', "null"]),
    "binary": (pa.array([b"abcd", b"", None]), ['"YWJjZA=="', '""', "null"]),
    "binary view": (pa.array([b"abcde"], pa.binary_view()), ['"YWJjZGU="']),
    "fixed binary": (pa.array([b"abc", None], pa.binary(3)), ['"YWJj"', "null"]),
    "dictionary": (pa.array(["x", None, "x"]).dictionary_encode(), ['"x"', "null", '"x"']),
    "dictionary of zoned timestamps": (
        pa.array([0], pa.timestamp("s", "Europe/Berlin")).dictionary_encode(),
        ['"1970-01-01T00:00:00Z"'],
    ),
    "dictionary of string views": (
        pa.DictionaryArray.from_arrays([1, None, 0], pa.array(["x", None], pa.string_view())),
        ["null", "null", '"x"'],
    ),
    "dictionary of binary views": (
        pa.DictionaryArray.from_arrays([0, 0], pa.array([b"x" * 13], pa.binary_view())),
        ['"eHh4eHh4eHh4eHh4eA=="'] * 2,
    ),
    "list of dictionaries of views": (
        pa.ListArray.from_arrays(
            [0, 2, 2],
            pa.DictionaryArray.from_arrays([0, 0], pa.array(["x"], pa.string_view())),
        ),
        ['["x","x"]', "[]"],
    ),
    "large list views of nulls": (
        pa.LargeListViewArray.from_arrays([1, 0, 0], [2, 1, 0], pa.nulls(3)),
        ["[null,null]", "[null]", "[]"],
    ),
    "runs of views": (
        pa.RunEndEncodedArray.from_arrays([2, 3], pa.array(["x", None], pa.string_view())),
        ['"x"', '"x"', "null"],
    ),
    "runs of dictionaries": (
        pa.RunEndEncodedArray.from_arrays([2, 3], pa.array(["x", "y"]).dictionary_encode()),
        ['"x"', '"x"', '"y"'],
    ),
    "dictionary of runs": (
        pa.DictionaryArray.from_arrays(
            [2, 0], pa.RunEndEncodedArray.from_arrays([2, 3], ["x", "y"])
        ),
        ['"y"', '"x"'],
    ),
    "struct of runs": (
        pa.StructArray.from_arrays(
            [pa.RunEndEncodedArray.from_arrays([1, 3], ["x", "y"])],
            ["k"],
            mask=pa.array([False, True, False]),
        ),
        ['{"k":"x"}', "null", '{"k":"y"}'],
    ),
    "runs": (pa.RunEndEncodedArray.from_arrays([2, 3], [1.0, None]), ["1.0", "1.0", "null"]),
    "date32": (
        pa.array([dt.date(2026, 11, 22), dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
        ['"2026-11-22"', '"0001-01-01"', '"9999-12-31"'],
    ),
    "date64": (pa.array([dt.date(2026, 11, 22)], pa.date64()), ['"2026-11-22"']),
    "date beyond": (ticks(pa.date32(), -719_163, 2_932_897, 0), [None, None, '"1970-01-01"']),
    "time s": (ticks(pa.time32("s"), 36_000), ['"10:00:00"']),
    "time ms": (ticks(pa.time32("ms"), 36_000_120), ['"10:00:00.120"']),
    "time us": (ticks(pa.time64("us"), 36_000_123_456), ['"10:00:00.123456"']),
    "time ns": (
        ticks(pa.time64("ns"), 36_000_000_000_001, 86_400 * 10**9, -1),
        ['"10:00:00.000000001"', None, None],
    ),
    "timestamp s": (
        ticks(pa.timestamp("s"), 0, -1, -62_135_596_800, -62_135_596_801, 253_402_300_800, 2**62),
        [
            '"1970-01-01T00:00:00"',
            '"1969-12-31T23:59:59"',
            '"0001-01-01T00:00:00"',
            None,
            None,
            None,
        ],
    ),
    "timestamp ms": (ticks(pa.timestamp("ms"), -1), ['"1969-12-31T23:59:59.999"']),
    "timestamp us": (ticks(pa.timestamp("us"), 1_500_000), ['"1970-01-01T00:00:01.500"']),
    "timestamp ns": (
        ticks(pa.timestamp("ns"), 1, 1_000, 1_000_000, 10**9),
        [
            '"1970-01-01T00:00:00.000000001"',
            '"1970-01-01T00:00:00.000001"',
            '"1970-01-01T00:00:00.001"',
            '"1970-01-01T00:00:01"',
        ],
    ),
    "zoned timestamp": (
        ticks(pa.timestamp("ns", "Europe/Berlin"), 1_774_746_000 * 10**9),
        ['"2026-03-29T01:00:00Z"'],
    ),
    "offset timestamp": (ticks(pa.timestamp("s", "+05:30"), 0), ['"1970-01-01T00:00:00Z"']),
    "duration s": (ticks(pa.duration("s"), 183_600, 0), ['"PT183600S"', '"PT0S"']),
    "duration ms": (ticks(pa.duration("ms"), -1_500), ['"-PT1.5S"']),
    "duration us": (ticks(pa.duration("us"), 1), ['"PT0.000001S"']),
    "duration ns": (ticks(pa.duration("ns"), -(2**63)), ['"-PT9223372036.854775808S"']),
    "list": (pa.array([[1.0, NAN, None], None, []]), ["[1.0,null,null]", "null", "[]"]),
    "fixed list": (pa.array([[b"a"], None], pa.list_(pa.binary(), 1)), ['["YQ=="]', "null"]),
    "list view": (pa.array([["a"], None], pa.list_view(pa.string())), ['["a"]', "null"]),
    "list with an infinity": (pa.array([[1.0], [INF], [2.0]]), ["[1.0]", None, "[2.0]"]),
    "struct": (
        pa.array([{"x": Decimal("1.5"), "y": None}, None]),
        ['{"x":"1.5","y":null}', "null"],
    ),
    "map": (
        pa.array([[("k", 1.0)], None, []], pa.map_(pa.string(), pa.float64())),
        ['{"k":1.0}', "null", "{}"],
    ),
    "map with a key twice": (
        pa.array([[("k", 1), ("k", 2)], [("k", 1)]], pa.map_(pa.string(), pa.int8())),
        [None, '{"k":1}'],
    ),
    "null": (pa.nulls(2), ["null", "null"]),
}

for bits, precision in ((32, 8), (64, 17), (128, 5), (128, 38), (256, 76)):
    for scale in (
        (-90, -77, -40, -19, -10, 10, 19, 40, 77, 90) if hasattr(pa, f"decimal{bits}") else ()
    ):
        numbers = [0, 1, -12, 10**precision - 1]
        raw = b"".join(n.to_bytes(bits // 8, "little", signed=True) for n in numbers)
        dtype = getattr(pa, f"decimal{bits}")(precision, scale)
        CELLS[str(dtype)] = (
            pa.Array.from_buffers(dtype, len(numbers), [None, pa.py_buffer(raw)]),
            [f'"{Decimal(f"{number}E{-scale}")}"' for number in numbers],
        )

if hasattr(pa, "uuid"):  # not in the oldest pyarrow we work with
    CELLS |= {
        "list of uuids": (
            pa.ListArray.from_arrays(
                [0, 1, 1],
                pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"\0" * 16], pa.binary(16))),
                mask=pa.array([False, True]),
            ),
            ['["00000000-0000-0000-0000-000000000000"]', "null"],
        ),
        "uuid": (
            pa.ExtensionArray.from_storage(
                pa.uuid(), pa.array([b"0123456789abcdef"], pa.binary(16))
            ),
            ['"30313233-3435-3637-3839-616263646566"'],
        ),
        "bool8": (
            pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8())),
            ["true", "false"],
        ),
        "null lists of uuids and dictionaries": (
            pa.nulls(
                2,
                pa.list_(
                    pa.struct([("u", pa.uuid()), ("d", pa.dictionary(pa.int8(), pa.string()))])
                ),
            ),
            ["null", "null"],
        ),
        "null maps of uuids": (
            pa.nulls(1, pa.map_(pa.dictionary(pa.int8(), pa.string()), pa.uuid())),
            ["null"],
        ),
        "runs of uuids": (
            pa.RunEndEncodedArray.from_arrays(
                [2],
                pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"\0" * 16], pa.binary(16))),
            ),
            ['"00000000-0000-0000-0000-000000000000"'] * 2,
        ),
    }
if hasattr(pa, "decimal32"):  # not in the oldest pyarrow we work with
    CELLS["decimal32"] = (pa.array([Decimal("1.50")], pa.decimal32(9, 2)), ['"1.50"'])
    CELLS["decimal64"] = (pa.array([Decimal("-1.50")], pa.decimal64(18, 2)), ['"-1.50"'])


@pytest.mark.parametrize("name", CELLS)
def test_each_arrow_type_has_its_text(name):
    values, expected = CELLS[name]
    assert encode(values) == expected


@pytest.mark.parametrize("name", CELLS)
def test_the_text_of_a_cell_does_not_depend_on_its_neighbors(name):
    values, expected = CELLS[name]
    assert [encode(values.slice(row, 1))[0] for row in range(len(values))] == expected


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (True, "true"),
        (np.bool_(False), "false"),
        (2**64 - 1, "18446744073709551615"),
        (np.int64(7), "7"),
        (517.0, "517.0"),
        (np.float32(0.1), "0.1"),
        (np.float16(0.1), "0.1"),
        (NAN, "null"),
        (None, "null"),
        (pd.NaT, "null"),
        (pd.NA, "null"),
        (np.datetime64("NaT", "ns"), "null"),
        (Decimal("NaN"), "null"),
        (Decimal("1.50"), '"1.50"'),
        ("é", '"é"'),
        (b"abcd", '"YWJjZA=="'),
        (bytearray(b"abc"), '"YWJj"'),
        pytest.param(memoryview(b"abcd")[::2], '"YWM="', id="a view of every second byte"),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (dt.date(1, 1, 1), '"0001-01-01"'),
        (dt.time(10, 0, 0, 120_000), '"10:00:00.120"'),
        (dt.datetime(2026, 11, 22, 10, 0, 0, 123_456), '"2026-11-22T10:00:00.123456"'),
        (
            dt.datetime(2026, 11, 22, tzinfo=dt.timezone(dt.timedelta(hours=2))),
            '"2026-11-21T22:00:00Z"',
        ),
        (pd.Timestamp("2026-11-22T10:00:00.123456789"), '"2026-11-22T10:00:00.123456789"'),
        (pd.Timestamp("1969-12-31T23:59:59.5", tz="Europe/Berlin"), '"1969-12-31T22:59:59.500Z"'),
        (np.datetime64("2026-11-22T10:00", "m"), '"2026-11-22T10:00:00"'),
        (dt.timedelta(hours=51), '"PT183600S"'),
        (dt.timedelta(seconds=-1.5), '"-PT1.5S"'),
        (pd.Timedelta(1, "ns"), '"PT0.000000001S"'),
        (np.timedelta64(0, "s"), '"PT0S"'),
        ([1, NAN, b"a", {"k": (Decimal("1.0"),)}], '[1,null,"YQ==",{"k":["1.0"]}]'),
        (np.array([[1.5, 2.0]]), "[[1.5,2.0]]"),
        (INF, None),
        ([1.0, -INF], None),
        (Decimal("Infinity"), None),
        (2**64, None),
        (-(2**63) - 1, None),
        ("\ud800", None),
        (["\ud800"], None),
        ({1: 2}, None),
        ([{"k": INF}], None),
        ([{1: 2}], None),
        ({1, 2}, None),
        (1j, None),
        pytest.param(object(), None, id="an object"),
        (pd.Period("2026"), None),
        (np.datetime64(10**6, "Y"), None),
        (pd.Timestamp(np.datetime64(2**40, "s")), None),
        (dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2))), None),
    ],
    ids=repr,
)
def test_each_python_cell_has_its_text(cell, expected):
    assert encode_cells(cell, "text", 1) == [expected, '"text"', "1"]


MISSING = [None, NAN, np.float32("nan"), np.float16("nan"), pd.NaT, pd.NA, Decimal("sNaN")]
MISSING += [np.datetime64("NaT", "ns"), np.timedelta64("NaT", "ns"), Decimal("NaN")]


@pytest.mark.parametrize("cell", MISSING, ids=lambda cell: f"{type(cell).__name__} {cell}")
def test_a_missing_cell_is_null_whatever_stands_beside_it(cell):
    assert encode_cells(cell) == ["null"]
    assert encode_cells("x", cell) == ['"x"', "null"]
    assert encode_cells(1.5, cell) == ["1.5", "null"]


def test_a_cell_nested_too_deeply_rejects_its_row():
    deep = []
    deep.append(deep)
    assert encode_cells(deep, 1) == [None, "1"]


FLOATS = pa.array([1.0, INF, -INF, None, NAN])
STRINGS = ["1.0", '"Infinity"', '"-Infinity"', "null", "null"]


@pytest.mark.parametrize(
    ("infinity", "expected"),
    [
        ("refuse", ["1.0", None, None, "null", "null"]),
        ("null", ["1.0", "null", "null", "null", "null"]),
        ("string", STRINGS),
    ],
)
def test_infinities_are_what_the_encoding_says(infinity, expected):
    encoding = Encoding(infinity=infinity)
    assert encode(FLOATS, encoding=encoding) == expected
    assert encode_cells("text", *FLOATS.to_pylist(), encoding=encoding)[1:] == expected
    assert encode(FLOATS.cast(pa.float16()), encoding=encoding) == expected


def test_text_beside_infinities_is_kept_whatever_it_says():
    values = pa.array([{"t": "float0:1.5", "x": float("inf")}, {"t": "float1:", "x": 2.5}])
    assert encode(values, encoding=Encoding(infinity="string")) == [
        '{"t":"float0:1.5","x":"Infinity"}',
        '{"t":"float1:","x":2.5}',
    ]


def test_infinities_become_strings_inside_nested_values_too():
    values = pa.array(
        [{"x": [1e20, INF], "m": [("k", -INF)]}, None, {"x": None, "m": []}],
        pa.struct([("x", pa.list_(pa.float64())), ("m", pa.map_(pa.string(), pa.float64()))]),
    )
    assert encode(values, encoding=Encoding(infinity="string")) == [
        '{"x":[1.0e20,"Infinity"],"m":{"k":"-Infinity"}}',
        "null",
        '{"x":null,"m":{}}',
    ]


@pytest.mark.parametrize(
    ("beside", "text"),
    [
        (pa.array([2**60], pa.duration("s")), '"PT1152921504606846976S"'),
        (pa.array([0], pa.timestamp("us", "Weird/Zone")), '"1970-01-01T00:00:00Z"'),
        (pa.array([1], pa.time64("ns")), '"00:00:00.000000001"'),
        (pa.array([2**60], pa.timestamp("us")), None),
        (pa.array([{}], pa.struct([])), "{}"),
    ],
    ids=str,
)
def test_what_python_has_not_may_stand_beside_an_infinity(beside, text):
    count = 40  # more rows than may be at fault
    column = pa.StructArray.from_arrays(
        [pa.array([INF] * count), pa.concat_arrays([beside] * count)], names=["f", "x"]
    )
    expected = None if text is None else f'{{"f":"Infinity","x":{text}}}'
    assert encode(column, encoding=Encoding(infinity="string")) == [expected] * count


def test_dates_far_out_of_range_reject_their_rows():
    last = (2**63 - 1) // 86_400_000 * 86_400_000
    dates = pa.array([last, -last] * 20).view(pa.date64())
    assert encode(pa.concat_arrays([dates, pa.array([0]).view(pa.date64())])) == [
        *[None] * 40,
        '"1970-01-01"',
    ]


def test_narrow_floats_beside_an_infinity_keep_their_shortest_digits():
    values = pa.array([[0.1, INF], [0.1]], pa.list_(pa.float32()))
    expected = ['[0.1,"Infinity"]', "[0.1]"]
    assert encode(values, encoding=Encoding(infinity="string")) == expected


@pytest.mark.skipif(not hasattr(pa, "uuid"), reason="this pyarrow has no UUID type")
@pytest.mark.parametrize("kind", ["list", "large list", "fixed list", "map", "struct"])
def test_uuids_and_bool8_beside_floats_keep_their_text_in_lists_and_maps(kind):
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"\0" * 16], pa.binary(16)))
    flags = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1], pa.int8()))
    items = pa.StructArray.from_arrays([uuids, flags, pa.array([INF])], ["u", "b", "x"])
    text = '{"u":"00000000-0000-0000-0000-000000000000","b":true,"x":"Infinity"}'
    values, expected = {
        "list": (pa.ListArray.from_arrays([0, 1], items), f"[{text}]"),
        "large list": (pa.LargeListArray.from_arrays([0, 1], items), f"[{text}]"),
        "fixed list": (pa.FixedSizeListArray.from_arrays(items, 1), f"[{text}]"),
        "map": (pa.MapArray.from_arrays([0, 1], ["k"], items), f'{{"k":{text}}}'),
        "struct": (pa.StructArray.from_arrays([items], ["k"]), f'{{"k":{text}}}'),
    }[kind]
    assert encode(values, encoding=Encoding(infinity="string")) == [expected]


@pytest.mark.parametrize(
    "values",
    [
        pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]),
        pa.array([pa.MonthDayNano([1, 2, 3])]),
        pa.array([[(1, 1)]], pa.map_(pa.int64(), pa.int64())),
        pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"]),
        pa.array(pd.period_range("2026", periods=1, freq="D").array),
        pa.ListArray.from_arrays([0, 1], pa.RunEndEncodedArray.from_arrays([1], ["x"])),
        # Arrow gives 14336.0 for 0.5 where it joins these.
        pa.ListArray.from_arrays(
            [0, 1], pa.DictionaryArray.from_arrays([0], pa.array([np.float16(0.5)]))
        ),
    ],
    ids=lambda values: str(values.type)[:20],
)
def test_a_type_without_json_raises_before_anything_is_encoded(values):
    with pytest.raises(UnsupportedType) as raised:
        plan_rows(pa.table({"fine": [1], "odd": values}))
    assert raised.value.column == "odd"


@pytest.mark.parametrize("data_format", ["json", "arrow"])
@pytest.mark.parametrize("name", [b"pandas.period", b"geoarrow.point", b"arrow.unheard"])
@pytest.mark.parametrize("is_inside", [False, True])
def test_an_extension_that_only_metadata_knows_is_refused(data_format, name, is_inside):
    field = pa.field("odd", pa.int64(), metadata={"ARROW:extension:name": name})
    if is_inside:
        field = pa.field("odd", pa.list_(field))
    schema = pa.schema([pa.field("fine", pa.int64()), field])
    values = [[1]] if is_inside else [1]
    table = pa.Table.from_arrays([pa.array([1]), pa.array(values, field.type)], schema=schema)
    for data in (table, table.to_reader()):
        with pytest.raises(UnsupportedType, match=name.decode()) as raised:
            plan_rows(data, format=data_format)
        assert raised.value.column == "odd"
    assert plan_rows(table, columns=["fine"], format=data_format).num_rows == 1


@pytest.mark.parametrize("data_format", ["json", "arrow"])
def test_a_registered_extension_is_refused_alike(data_format):
    periods = pa.array(pd.period_range("2026", periods=1, freq="D").array)
    for values in (periods, pa.ListArray.from_arrays([0, 1], periods)):
        with pytest.raises(UnsupportedType, match=r"pandas\.period"):
            plan_rows(pa.table({"odd": values}), format=data_format)


def test_json_texts_are_text():
    storage = pa.array(['{"x":1}', None])
    expected = ['"{\\"x\\":1}"', "null"]
    field = pa.field("a", pa.string(), metadata={"ARROW:extension:name": b"arrow.json"})
    (records,) = plan_rows(pa.Table.from_arrays([storage], schema=pa.schema([field]))).records()
    assert [data.decode()[5:-1] for data in records.data.to_pylist()] == expected
    if hasattr(pa, "json_"):
        assert encode(pa.ExtensionArray.from_storage(pa.json_(), storage)) == expected


@pytest.mark.parametrize(
    "series",
    [
        pd.Series(pd.period_range("2026", periods=2, freq="D")),
        pd.Series(pd.interval_range(0, 2)),
        pd.Series([1j, 2j]),
    ],
    ids=lambda series: str(series.dtype),
)
def test_a_pandas_dtype_without_json_raises(series):
    with pytest.raises(UnsupportedType, match=r"column 'odd' has type.* with astype\(str\)"):
        plan_rows(pd.DataFrame({"odd": series}))
    assert plan_rows(pd.DataFrame({"odd": series.astype(str)})).num_rows == 2


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (pd.Series([1, None], dtype="Int64"), ["1", "null"]),
        (pd.Series([True, None], dtype="boolean"), ["true", "null"]),
        (pd.Series(["a", None], dtype="string[python]"), ['"a"', "null"]),
        (pd.Series(["a", None], dtype="string[pyarrow]"), ['"a"', "null"]),
        (pd.Series(["a", None], dtype="category"), ['"a"', "null"]),
        (pd.Series(["a", 1, None], dtype="category"), ['"a"', "1", "null"]),
        (pd.Series([1.5, None], dtype="category"), ["1.5", "null"]),
        (pd.Series([None, None], dtype="category"), ["null", "null"]),
        (pd.Series(pd.arrays.SparseArray([0, 7])), ["0", "7"]),
        (pd.Series(pd.to_datetime(["2026-11-22", None])), ['"2026-11-22T00:00:00"', "null"]),
        (pd.Series([0.1, NAN]), ["0.1", "null"]),
        (
            pd.Series([Decimal("1.5"), None], dtype=pd.ArrowDtype(pa.decimal128(3, 1))),
            ['"1.5"', "null"],
        ),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_each_pandas_dtype_has_its_text(series, expected):
    assert encode(pd.DataFrame({"a": series})) == expected


def test_an_object_column_is_told_cell_by_cell():
    assert encode_cells("1", 1, 1.0, True) == ['"1"', "1", "1.0", "true"]


def test_names_are_escaped_once_and_for_all():
    frame = pd.DataFrame({'a"\n': [1], 7: [None], "é": [{"x": 1}]})
    records = next(iter(plan_rows(frame).records()))
    assert records.data.to_pylist() == ['{"a\\"\\n":1,"7":null,"é":{"x":1}}'.encode()]

"""Records back to rows, where no schema or another record gets in the way."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.internals import decode_records, plan_rows
from v3io_frames_put import Client
from v3io_frames_put.errors import ConfigError, DataError


def records_of(*data):
    return pd.DataFrame(
        {
            "shard_id": pd.array([0] * len(data), dtype="Int32"),
            "sequence_number": pd.array(range(1, len(data) + 1), dtype="Int64"),
            "data": pd.Series(data, dtype=object),
        }
    )


def test_without_a_schema_values_have_jsons_own_types():
    decoded = decode_records(records_of(b'{"a":1,"b":"2026-11-22"}', b'{"a":null,"c":[1]}'))
    assert decoded.columns.tolist() == ["a", "b", "c"]
    assert decoded["b"].tolist()[0] == "2026-11-22"
    assert decoded["c"].tolist()[1] == [1]
    assert decoded.index.tolist() == [(0, 1), (0, 2)]
    assert decoded.index.names == ["shard_id", "sequence_number"]


def test_the_rows_of_a_pack_share_its_label():
    decoded = decode_records(records_of(b'{"a":1}\n{"a":2}', b'{"a":3}\n'))
    assert decoded["a"].tolist() == [1, 2, 3]
    assert decoded.index.tolist() == [(0, 1), (0, 1), (0, 2)]


def test_raw_records_are_bytes_or_the_schemas_text():
    records = records_of(b"x", b"\xc3\xa9")
    assert decode_records(records, format="raw")["data"].tolist() == [b"x", b"\xc3\xa9"]
    schema = pa.schema([("note", pa.string())])
    assert decode_records(records, format="raw", schema=schema)["note"].tolist() == ["x", "é"]
    frame = pd.DataFrame({"note": pd.Series(["text"], dtype=object)})
    assert decode_records(records, format="raw", schema=frame)["note"].tolist() == ["x", "é"]


def test_index_levels_that_were_sent_get_their_types_back():
    frame = pd.DataFrame({"a": [1]}, index=pd.date_range("2026-11-22", periods=1, name="when"))
    (records,) = plan_rows(frame, index=True).records()
    decoded = decode_records(records_of(*records.data.to_pylist()), schema=frame)
    assert decoded["when"].tolist() == [pd.Timestamp("2026-11-22")]


@pytest.mark.parametrize(
    "dtype",
    [
        pa.dictionary(pa.int8(), pa.string_view()),
        pa.run_end_encoded(pa.int32(), pa.string_view()),
        pa.run_end_encoded(pa.int16(), pa.dictionary(pa.int8(), pa.string())),
    ],
    ids=str,
)
@pytest.mark.parametrize("data_format", ["json", "arrow"])
def test_dictionaries_and_runs_of_views_come_back_as_their_values(dtype, data_format):
    (records,) = plan_rows(pa.table({"a": ["x", "x", None]}), format=data_format).records()
    schema = pa.schema([("a", dtype)])
    decoded = decode_records(
        records_of(*records.data.to_pylist()), format=data_format, schema=schema
    )
    column = pa.chunked_array(decoded["a"].array.__arrow_array__())
    assert column.type in (pa.string(), pa.large_string())
    assert column.to_pylist() == ["x", "x", None]


def test_infinities_written_as_strings_come_back_as_floats():
    schema = pa.schema([("a", pa.float64()), ("b", pa.list_(pa.float32()))])
    decoded = decode_records(records_of(b'{"a":"-Infinity","b":["Infinity",1.5]}'), schema=schema)
    assert decoded["a"].tolist() == [-np.inf]
    assert decoded["b"].tolist() == [[np.inf, 1.5]]


@pytest.mark.parametrize("schema", [None, pa.schema([("a", pa.int8())]), pd.DataFrame({"a": [1]})])
@pytest.mark.parametrize("data_format", ["json", "arrow"])
def test_no_records_give_an_empty_frame(schema, data_format):
    decoded = decode_records(records_of(), format=data_format, schema=schema)
    assert len(decoded) == 0
    assert decoded.columns.tolist() == ([] if schema is None else ["a"])


@pytest.mark.parametrize(
    ("data", "data_format", "message"),
    [
        (b"{", "json", r"record 1 is not a JSON object \(.*truncated"),
        (b"[1]", "json", r"record 1 is not a JSON object \(Expected `object`, got `array`\)"),
        (b"{}", "arrow", "record 1 is not an Arrow stream"),
    ],
)
def test_a_record_that_cannot_be_decoded_is_named(data, data_format, message):
    fine = {
        "json": b"{}",
        "arrow": next(plan_rows(pa.table({"a": [1]}), format="arrow").records()).data[0].as_py(),
    }
    with pytest.raises(DataError, match=message):
        decode_records(records_of(fine[data_format], data), format=data_format)


def test_an_unknown_format_is_refused():
    with pytest.raises(ConfigError, match="expected one of 'json', 'arrow', 'raw'"):
        decode_records(records_of(), format="csv")


@pytest.mark.parametrize(
    ("dtype", "record"),
    [("int64", b'{"a":1}'), ("uint8", b'{"a":1}'), ("bool", b'{"a":true}')],
)
def test_a_null_is_no_value_of_a_type_without_one(dtype, record):
    schema = pd.DataFrame({"a": pd.Series([1], dtype=dtype)})
    with pytest.raises(DataError, match=f"column 'a': .*{dtype} has no null"):
        decode_records(records_of(record, b'{"b":2}'), schema=schema)


def test_a_value_that_does_not_fit_its_type_names_the_column():
    with pytest.raises(DataError, match="column 'a'"):
        decode_records(records_of(b'{"a":"text"}'), schema=pa.schema([("a", pa.int64())]))


def test_raw_bytes_that_are_no_text_name_the_column():
    with pytest.raises(DataError, match="column 'a'"):
        decode_records(records_of(b"\xff"), format="raw", schema=pd.DataFrame({"a": ["text"]}))


def test_what_is_no_records_is_refused():
    with pytest.raises(ConfigError, match="no column 'data'"):
        decode_records(records_of().drop(columns="data"))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ('"0001-01-01T00:00:00"', pa.timestamp("ns")),
        ('"9999-12-31T23:59:59.999999"', pa.timestamp("ns", "UTC")),
        ('"1677-09-21T00:12:43.145224191"', pa.timestamp("ns")),
        ('"2026-11-22T10:00:00.999"', pa.timestamp("s")),
        ('"2026-11-22T10:00:00.123456Z"', pa.timestamp("ms", "UTC")),
        ('"10:00:00.123"', pa.time32("s")),
        ('"PT1.5S"', pa.duration("s")),
        ('"PT1.123456S"', pa.duration("ms")),
        ("1.5", pa.int64()),
        ("[1, -2.5]", pa.list_(pa.int8())),
        ('{"x": 0.5}', pa.struct([("x", pa.uint16())])),
    ],
)
def test_a_type_that_would_change_a_value_is_an_error(value, dtype):
    records = records_of(b'{"a":null}', b'{"a":%s}' % value.encode())
    with pytest.raises(DataError, match=r"column 'a': .* cannot hold exactly"):
        decode_records(records, schema=pa.schema([("a", dtype)]))


def test_values_at_the_ends_of_a_type_are_what_they_were():
    ends = [b'{"a":"1677-09-21T00:12:43.145224193"}', b'{"a":"2262-04-11T23:47:16.854775807"}']
    decoded = decode_records(records_of(*ends), schema=pa.schema([("a", pa.timestamp("ns"))]))
    assert [when.value for when in decoded["a"]] == [-(2**63) + 1, 2**63 - 1]


@pytest.mark.parametrize("schema", [{"a": "int64"}, "a"])
def test_what_is_not_a_schema_is_refused(schema):
    with pytest.raises(ConfigError, match="expected a pyarrow or polars Schema, or the frame sent"):
        decode_records(records_of(b'{"a":1}'), schema=schema)


@pytest.mark.parametrize(
    "schema",
    [pa.schema([("a", pa.string()), ("b", pa.string())]), pd.DataFrame(columns=["a", "b"])],
)
def test_raw_records_have_one_column(schema):
    with pytest.raises(ConfigError, match="schema has 2 columns; format='raw' decodes one"):
        decode_records(records_of(b"x"), format="raw", schema=schema)


def test_whole_numbers_are_exact_beside_nulls_and_floats():
    number = 2**53 + 1
    decoded = decode_records(records_of(b'{"a":%d,"b":%d}' % (number, number), b'{"b":1.5}'))
    assert decoded["a"].tolist() == [number, pd.NA]
    assert decoded["b"].tolist() == [number, 1.5]
    table = pa.table({"a": [number, None], "b": pa.array([None, 2**64 - 1], pa.uint64())})
    (records,) = plan_rows(table, format="arrow").records()
    decoded = decode_records(records_of(*records.data.to_pylist()), format="arrow")
    assert decoded["a"].tolist() == [number, pd.NA]
    assert decoded["b"].tolist() == [pd.NA, 2**64 - 1]


def test_categories_of_a_type_without_null_may_be_missing():
    frame = pd.DataFrame({"a": pd.Categorical([1, 2, None], categories=[2, 1], ordered=True)})
    for data_format in ("json", "arrow"):
        (records,) = plan_rows(frame, format=data_format).records()
        data = records_of(*records.data.to_pylist())
        decoded = decode_records(data, format=data_format, schema=frame)
        assert decoded["a"].dtype == frame["a"].dtype
        assert decoded["a"].cat.codes.tolist() == [1, 0, -1]


def test_a_column_that_was_left_out_may_have_any_type():
    frame = pd.DataFrame({"a": [1], "month": pd.period_range("2026-11", periods=1, freq="M")})
    (records,) = plan_rows(frame, columns=["a"]).records()
    decoded = decode_records(records_of(*records.data.to_pylist()), schema=frame)
    assert decoded["a"].tolist() == [1]


def test_arrow_types_that_pandas_lacks_come_back_without_a_schema():
    nanosecond = pa.array([1], pa.int64()).view(pa.time64("ns"))
    table = pa.table({"t": nanosecond, "d": [[Decimal("1.5")]], "i": [[2**53 + 1, None]]})
    (records,) = plan_rows(table, format="arrow").records()
    decoded = decode_records(records_of(*records.data.to_pylist()), format="arrow")
    assert pa.chunked_array(decoded["t"].array.__arrow_array__()).equals(table["t"])
    assert decoded["d"].tolist() == [[Decimal("1.5")]]
    assert decoded["i"].tolist() == [[2**53 + 1, None]]


@pytest.mark.parametrize("is_nested", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        pa.array([2**30], pa.int32()).view(pa.date32()),
        pa.array([0], pa.timestamp("us", "Weird/Zone")),
        pa.array([2**60], pa.timestamp("us")),
        pa.array([2**60], pa.duration("s")),
    ],
    ids=lambda values: str(values.type),
)
def test_arrow_values_that_python_lacks_come_back_without_a_schema(values, is_nested):
    if is_nested:
        values = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), values)
    (records,) = plan_rows(pa.table({"v": values}), format="arrow").records()
    decoded = decode_records(records_of(*records.data.to_pylist()), format="arrow")
    array = pa.array(decoded["v"])
    assert (array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array).equals(values)


def test_a_carriage_return_ends_no_line():
    decoded = decode_records(records_of(b'{"a":\r1}\n{"a":2}\r\n{"a":3}\n'))
    assert decoded["a"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("data_format", ["json", "arrow"])
def test_nanoseconds_of_objects_come_back(data_format):
    cells = [pd.Timedelta(1, "ns"), dt.timedelta(days=1), None]
    frame = pd.DataFrame({"t": pd.Series(cells, dtype=object)})
    (records,) = plan_rows(frame, format=data_format).records()
    data = records_of(*records.data.to_pylist())
    assert decode_records(data, format=data_format, schema=frame)["t"].tolist() == cells


@pytest.mark.parametrize(("data_format", "bad"), [("json", b"[1]"), ("arrow", b"{}")])
def test_records_that_cannot_be_decoded_are_left_out_by_name(data_format, bad):
    (records,) = plan_rows(pa.table({"a": [1, 2]}), format=data_format).records()
    first, second = records.data.to_pylist()
    data = records_of(first, bad, second)
    with pytest.warns(UserWarning, match=r"1 of 3 records .* shard 0, sequence number 2"):
        decoded = decode_records(data, format=data_format, on_error="skip")
    assert decoded["a"].tolist() == [1, 2]
    assert decoded.index.get_level_values("sequence_number").tolist() == [1, 3]
    with pytest.raises(ConfigError, match="expected one of 'raise', 'skip'"):
        decode_records(data, on_error="ignore")


def test_a_table_that_was_sent_is_a_schema():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [7], "when": [dt.date(2026, 11, 22)]})
    schemas = [frame, frame.to_arrow()]
    if hasattr(frame.schema, "__arrow_c_schema__"):  # older polars gives no Arrow schema
        schemas.append(frame.schema)
    for schema in schemas:
        decoded = decode_records(records_of(b'{"a":7,"when":"2026-11-22"}'), schema=schema)
        assert decoded.dtypes.astype(str).tolist() == ["int64[pyarrow]", "date32[day][pyarrow]"]


def test_the_warning_names_the_line_that_asked():
    client = Client("http://127.0.0.1:1")
    with pytest.warns(UserWarning, match="1 of 1 records were left out") as caught:
        assert len(client.decode_records(records_of(b"["), on_error="skip")) == 0
    assert caught[0].filename == __file__

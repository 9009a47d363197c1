"""Bad input, each with its error: nothing lost, nothing half sent, and what to do is said."""

from __future__ import annotations

import socket

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from v3io_frames_put import Client, Encoding, Limits, Retry, put_records
from v3io_frames_put.errors import (
    AuthenticationError,
    ColumnNotFound,
    ConfigError,
    NotAStream,
    PermissionDenied,
    PlatformUnavailable,
    PutRecordsError,
    RequestError,
    StreamNotFound,
    UnsupportedType,
)
from v3io_frames_put.local import AccessKey, LocalPlatform, Request

STREAM = "projects/house/readings"
FRAME = pd.DataFrame({"sensor": ["a", "b", None], "celsius": [20.5, 21.0, 19.0]})
TWICE = pd.DataFrame([[1, 2]], columns=["a", "a"])
COLLIDING = pd.DataFrame([[1, 2]], columns=[1, "1"])
UNION = pa.UnionArray.from_sparse(
    pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]
)

pytestmark = pytest.mark.filterwarnings("ignore::v3io_frames_put.UnstoredRowsWarning")


@pytest.fixture
def platform(local_platform):
    local_platform.create_stream(STREAM, shards=3)
    return local_platform


def refuse(error_class, data, *, platform, stream=STREAM, **options):
    """Return the error, after making sure that no request was made and no results exist."""
    with pytest.raises(error_class) as caught:
        put_records(data, stream, client=platform.client(), **options)
    assert platform.requests == []
    assert caught.value.results is None
    return caught.value


@pytest.mark.parametrize(
    ("data", "options", "error_class", "says"),
    [
        (FRAME, {"columns": ["kelvin"]}, ColumnNotFound, "kelvin"),
        (FRAME, {"partition_key": "kelvin"}, ColumnNotFound, "celsius"),
        (FRAME, {"shard": "kelvin"}, ColumnNotFound, "sensor"),
        (FRAME, {"client_info": "kelvin"}, ColumnNotFound, "kelvin"),
        (FRAME, {"columns": ["sensor", "sensor"]}, ConfigError, "sensor"),
        (FRAME, {"columns": []}, ConfigError, "column"),
        (FRAME, {"columns": "sensor"}, ConfigError, "columns"),
        (TWICE, {}, ConfigError, "'a'"),
        (COLLIDING, {}, ConfigError, "'1'"),
        (pd.DataFrame(index=range(3)), {}, ConfigError, "column"),
        (FRAME.set_index("sensor", drop=False), {"index": True}, ConfigError, "sensor"),
        (FRAME, {"partition_key": ["sensor", "celsius"]}, ConfigError, "Join"),
        (FRAME, {"partition_key": np.array(["a", "b"])}, ConfigError, "3"),
        (FRAME, {"partition_key": ["a", "b", "c", "d"]}, ConfigError, "3"),
        (FRAME, {"partition_key": pd.Series(["a", "b", "c"], [7, 8, 9])}, ConfigError, "index"),
        (FRAME, {"shard": True}, ConfigError, "shard"),
        (FRAME, {"shard": 1.5}, ConfigError, "shard"),
        (FRAME, {"shard": -1}, ConfigError, "shard"),
        (FRAME, {"shard": 4_096}, ConfigError, "4,095"),
        (FRAME, {"client_info": b"x" * 17}, ConfigError, "16"),
        (FRAME, {"format": "xml"}, ConfigError, "format"),
        (FRAME, {"format": "raw"}, ConfigError, "columns"),
        (FRAME, {"format": "raw", "columns": ["sensor"], "rows_per_record": 2}, ConfigError, "raw"),
        (FRAME, {"rows_per_record": 0}, ConfigError, "rows_per_record"),
        (FRAME, {"rows_per_record": "auto"}, ConfigError, "arrow"),
        (FRAME, {"delivery": "twice"}, ConfigError, "at_most_once"),
        (FRAME, {"order": "random"}, ConfigError, "'key'"),
        (FRAME, {"on_error": "ignore"}, ConfigError, "'raise'"),
        (FRAME, {"max_in_flight": 0}, ConfigError, "max_in_flight"),
        (FRAME, {"max_in_flight": True}, ConfigError, "max_in_flight"),
        (FRAME, {"max_in_flight": "many"}, ConfigError, 'or "auto"'),
        (FRAME, {"max_in_flight_bytes": 0}, ConfigError, "max_in_flight_bytes"),
        (FRAME, {"progress": "yes"}, ConfigError, "callable"),
        (FRAME, {"columns": 5}, ConfigError, "a list of names"),
        (FRAME, {"index": "yes"}, ConfigError, "True or False"),
        (FRAME, {"partition_key": 5}, ColumnNotFound, "'5'"),
        (FRAME, {"partition_key": np.zeros((3, 2))}, ConfigError, "one value a row"),
        (FRAME, {"partition_key": FRAME[["sensor"]]}, ConfigError, "one value a row"),
        (FRAME, {"partition_key": iter("abc")}, ConfigError, "one value a row"),
        (FRAME, {"partition_key": b"abc"}, ConfigError, "one value a row"),
        (FRAME, {"encoding": "null"}, ConfigError, "Encoding(...)"),
        (FRAME, {"cancel": True}, ConfigError, "threading.Event"),
        (FRAME, {"journal": 5}, ConfigError, "a path"),
        (pa.table({"u": UNION}), {}, UnsupportedType, "'u'"),
        (7, {}, PutRecordsError, "int"),
        (FRAME["sensor"], {}, ConfigError, "a pandas DataFrame"),
        (pa.array([1, 2]), {}, ConfigError, "a pandas DataFrame"),
        ([{"a": 1}], {}, PutRecordsError, "list"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, (dict, str)) else "",
)
def test_what_is_wrong_with_a_column_or_an_option_raises_before_anything_is_sent(
    platform, data, options, error_class, says
):
    error = refuse(error_class, data, platform=platform, **options)
    assert says in str(error)


@pytest.mark.parametrize("key", ["sensor", "celsius"])
def test_unknown_columns_say_which_there_are(platform, key):
    error = refuse(ColumnNotFound, FRAME, platform=platform, columns=["nope"])
    assert error.column == "nope"
    assert repr(key) in str(error)


def test_an_unsupported_type_names_column_and_type(platform):
    error = refuse(UnsupportedType, pa.table({"u": UNION}), platform=platform)
    assert (error.column, error.dtype[:12]) == ("u", "sparse_union")


@pytest.mark.parametrize("stream", ["", "projects", "/", "projects/", "http://x/y", "a//b\0", 5])
def test_a_malformed_stream_path_raises_before_anything_is_sent(platform, stream):
    refuse(ConfigError, FRAME, platform=platform, stream=stream)


def test_no_endpoint_says_where_one_may_be_given():
    with pytest.raises(ConfigError, match="V3IO_API"):
        put_records(FRAME, STREAM)


@pytest.mark.parametrize("endpoint", ["ftp://host", "http://", "http://host:port", "a b"])
def test_a_malformed_endpoint_is_refused(endpoint):
    with pytest.raises(ConfigError):
        Client(endpoint)


@pytest.mark.parametrize(
    "data",
    [
        FRAME[:0],
        pa.table({"a": pa.array([], pa.int64())}),
        pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), iter([])),
    ],
    ids=["frame", "table", "reader"],
)
def test_no_rows_make_empty_results_and_no_request(platform, data):
    results = put_records(data, STREAM, client=platform.client())
    assert len(results) == 0
    assert results.status.cat.categories.tolist() == ["stored", "rejected", "unsent", "unknown"]
    assert platform.requests == []


def put(platform, data, **options):
    return put_records(data, STREAM, client=platform.client(), **options)


def test_an_unencodable_cell_deep_in_the_data_rejects_its_row_alone(platform):
    frame = pd.DataFrame({"row": range(200_500), "cell": pd.Series([1] * 200_500, dtype=object)})
    frame.at[200_000, "cell"] = object()  # noqa: PD008  # loc would look into it
    results = put(platform, frame, rows_per_record=100)
    assert results.index[results.status != "stored"].tolist() == [200_000]
    told = results.loc[200_000]
    assert (told.status, told.error_message) == ("rejected", "UnencodableValue")
    assert "'cell'" in told.error_detail
    assert "object" in told.error_detail
    lines = b"".join(record.data for record in platform.records(STREAM)).count(b"row")
    assert lines == 200_499


def one_bad(**column):
    """Make three rows of which the middle one is bad in one column."""
    return pd.DataFrame({"row": [0, 1, 2], **column})


@pytest.mark.parametrize(
    ("frame", "options", "name"),
    [
        (one_bad(text=["", "x" * 1_000_001, ""]), {}, "DataTooLarge"),
        (one_bad(key=["", "ä" * 129, ""]), {"partition_key": "key"}, "PartitionKeyTooLong"),
        (one_bad(info=[b"", b"x" * 17, b""]), {"client_info": "info"}, "ClientInfoTooLong"),
        (one_bad(place=[0, -1, 2]), {"shard": "place"}, "ShardIdInvalid"),
        (one_bad(place=[0, 4_096, 2]), {"shard": "place"}, "ShardIdInvalid"),
        (one_bad(place=[0.0, 1.5, 2.0]), {"shard": "place"}, "ShardIdInvalid"),
        (one_bad(place=[0, 4_095, 2]), {"shard": "place"}, "ShardIDOutOfRangeException"),
        (one_bad(value=[0.5, np.inf, 0.5]), {}, "UnencodableValue"),
        (one_bad(text=pd.Series(["a", "\ud800", "b"], dtype=object)), {}, "UnencodableValue"),
        (one_bad(key=[1.0, 1.5, 2.0]), {"partition_key": "key"}, "UnencodableValue"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_row_is_rejected_and_the_others_are_stored(platform, frame, options, name):
    results = put(platform, frame, columns=None if "info" not in frame else ["row"], **options)
    assert results.status.tolist() == ["stored", "rejected", "stored"]
    assert results.error_message[1] == name
    assert results.error_detail.notna().tolist() == [False, True, False]
    assert len(platform.records(STREAM)) == 2


@pytest.mark.parametrize("size", [255, 256])
def test_a_key_of_256_bytes_is_a_key(platform, size):
    results = put(platform, one_bad(key=["", "x" * size, ""]), partition_key="key")
    assert results.status.tolist() == ["stored"] * 3


def test_null_keys_and_null_shards_mean_not_given(platform):
    frame = pd.DataFrame({"key": [None, "k", None], "place": pd.array([None, None, 2], "Int64")})
    results = put(platform, frame, partition_key="key", shard="place")
    assert results.status.tolist() == ["stored"] * 3
    keys = {record.partition_key for record in platform.records(STREAM)}
    assert keys == {None, "k"}
    assert results.shard_id[2] == 2


def test_an_infinity_may_be_sent_as_the_encoding_says(platform):
    results = put(platform, one_bad(v=[0.5, np.inf, 0.5]), encoding=Encoding(infinity="null"))
    assert results.status.tolist() == ["stored"] * 3


# -- what the platform says ------------------------------------------------------------------

SECRET = "s3cret-access-key"


def test_a_wrong_key_stops_with_all_rows_unsent_and_is_never_shown():
    with LocalPlatform(access_key="the-right-one") as platform:
        platform.create_stream(STREAM)
        with pytest.raises(AuthenticationError) as caught:
            put_records(FRAME, STREAM, client=Client(platform.endpoint, SECRET))
        assert platform.records(STREAM) == []
    error = caught.value
    assert error.results.status.tolist() == ["unsent"] * 3
    assert error.status == 401
    assert "V3IO_ACCESS_KEY" in str(error)
    assert SECRET not in f"{error} {error!r} {error.results.to_csv()} {error.results.attrs}"


def test_a_key_that_may_not_write_stops_with_all_rows_unsent():
    key = AccessKey(key=SECRET, may_write=False)
    with LocalPlatform(access_key=key) as platform:
        platform.create_stream(STREAM)
        with pytest.raises(PermissionDenied) as caught:
            put_records(FRAME, STREAM, client=platform.client())
    assert caught.value.results.status.tolist() == ["unsent"] * 3
    assert SECRET not in str(caught.value)


def test_a_missing_stream_says_how_to_create_it(local_platform):
    with pytest.raises(StreamNotFound) as caught:
        put_records(FRAME, STREAM, client=local_platform.client())
    assert "client.create_stream('projects/house/readings'" in str(caught.value)
    assert caught.value.results.status.tolist() == ["unsent"] * 3


def test_a_directory_is_told_from_a_missing_stream(platform):
    body = b'{"Records": []}'
    platform.platform.handle(Request("PUT", "/projects/folder/file", "", {}, body))
    with pytest.raises(NotAStream) as caught:
        put_records(FRAME, "projects/folder", client=platform.client())
    assert "a directory is there" in str(caught.value)
    assert caught.value.results.status.tolist() == ["unsent"] * 3


def test_nothing_listening_ends_with_the_deadline():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        port = taken.getsockname()[1]
        client = Client(f"http://127.0.0.1:{port}", retry=Retry(deadline_seconds=0.3))
        with pytest.raises(PlatformUnavailable) as caught:
            put_records(FRAME, STREAM, client=client)
    assert str(port) in str(caught.value)
    assert caught.value.results.status.tolist() == ["unsent"] * 3


def test_limits_are_the_clients(platform):
    client = platform.client(limits=Limits(max_data_bytes=30, max_records=1))
    frame = pd.DataFrame({"text": ["", "x" * 30, ""]})
    results = put_records(frame, STREAM, client=client)
    assert results.error_message.tolist() == [pd.NA, "DataTooLarge", pd.NA]
    puts = [arrival for arrival in platform.requests if arrival.function == "PutRecords"]
    assert len(puts) == 2


def test_a_container_that_is_not_there_is_no_stream(platform):
    with pytest.raises(RequestError):
        put_records(FRAME, "nowhere/stream", client=platform.client())


@pytest.mark.parametrize("client", ["http://127.0.0.1:8081", LocalPlatform])
def test_what_is_no_client_is_refused(client):
    with pytest.raises(ConfigError, match=r"client: expected Client\(\.\.\.\)"):
        put_records(FRAME, STREAM, client=client)


def test_tags_need_room_in_client_info(platform):
    client = platform.client(limits=Limits(max_client_info_bytes=15))
    with pytest.raises(ConfigError, match="tags of 16 bytes"):
        put_records(FRAME, STREAM, client=client, delivery="exactly_once")
    assert platform.requests == []


@pytest.mark.parametrize("option", ["timeouts", "retry", "limits"])
def test_settings_of_another_kind_are_refused(option):
    with pytest.raises(ConfigError, match=rf"{option}: expected {option.title()}\(\.\.\.\); got 0"):
        Client("http://127.0.0.1:8081", **{option: 0})


@pytest.mark.parametrize("label", [1, ("x", "y")])
def test_labels_that_are_no_text_name_their_columns(platform, label):
    frame = pd.DataFrame({label: ["k", "k"], "v": [1, 2]})
    put_records(frame, STREAM, client=platform.client(), partition_key=label)
    keys = platform.client().read_records(STREAM).partition_key
    assert keys.tolist() == ["k", "k"]


NOT_UTF8 = pa.array([b"a", b"\xff", b"c"]).view(pa.string())
NO_DAY = pa.array([0, 5, 86_400_000], pa.int64()).view(pa.date64())
EACH = [0, 1, 2, 3]  # offsets: one value a row
ODD_JSON = NOT_UTF8  # pyarrow before 19 has no JSON type
if hasattr(pa, "json_"):
    ODD_JSON = pa.ExtensionArray.from_storage(pa.json_(), NOT_UTF8)


@pytest.mark.parametrize(
    ("column", "options"),
    [
        (NOT_UTF8, {}),
        (NOT_UTF8, {"format": "arrow"}),
        (NOT_UTF8, {"partition_key": "odd", "columns": ["row"]}),
        (pa.DictionaryArray.from_arrays([0, 1, 2], NOT_UTF8), {}),
        (pa.ListArray.from_arrays(EACH, NOT_UTF8), {}),
        (pa.ListArray.from_arrays(EACH, NOT_UTF8), {"format": "arrow"}),
        (pa.FixedSizeListArray.from_arrays(NOT_UTF8, 1), {}),
        (pa.StructArray.from_arrays([pa.array(EACH[:3]), NOT_UTF8], ["fine", "text"]), {}),
        (pa.MapArray.from_arrays(EACH, ["x", "y", "z"], NOT_UTF8), {}),
        (pa.MapArray.from_arrays(EACH, NOT_UTF8, ["x", "y", "z"]), {"format": "arrow"}),
        (ODD_JSON, {"format": "arrow"}),
        (NO_DAY, {}),
        (pa.LargeListArray.from_arrays(EACH, NO_DAY), {}),
        (pa.array([0, 2**63, 2], pa.uint64()), {"shard": "odd", "columns": ["row"]}),
    ],
    ids=[
        *("text", "arrow", "key", "dictionary", "list", "list-arrow", "fixed-list", "struct"),
        *("map-value", "map-key", "extension", "date64", "date64-list", "shard"),
    ],
)
def test_a_cell_that_breaks_the_rules_of_its_type_costs_its_own_row(platform, column, options):
    table = pa.table({"row": [0, 1, 2], "odd": column})
    results = put_records(table, STREAM, client=platform.client(), **options)
    assert results.status.tolist() == ["stored", "rejected", "stored"]
    assert "column 'odd' holds" in results.error_detail[1]
    alone = put_records(table[1:2], STREAM, client=platform.client(), **options)
    assert alone.status.tolist() == ["rejected"]


def test_an_object_cell_out_of_range_is_told_as_it_is(platform):
    frame = pd.DataFrame({"row": [0, 1], "shard": pd.Series([0, 5_000], dtype=object)})
    results = put_records(frame, STREAM, client=platform.client(), shard="shard")
    assert results.error_detail[1].startswith("column 'shard' holds shard 5000; expected 0 to")


def test_a_column_name_that_utf8_cannot_hold_is_refused(platform):
    frame = pd.DataFrame([[1]], columns=pd.Index(["a\ud800"], dtype=object))
    for format_ in ("json", "arrow"):
        error = refuse(ConfigError, frame, platform=platform, format=format_)
        assert "lone surrogate" in str(error)

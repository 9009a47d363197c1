"""Reading back from the local platform."""

import time

import msgspec
import numpy as np
import pandas as pd
import pytest

from tests.internals import put_records_request, reader
from v3io_frames_put.config import Retry
from v3io_frames_put.errors import ConfigError, RequestError
from v3io_frames_put.local import LocalPlatform, Rules, faults

STREAM = "projects/tests/s"
COLUMNS = ["shard_id", "sequence_number", "arrival_time", "partition_key", "client_info", "data"]


@pytest.fixture
def client(local_platform):
    local_platform.create_stream(STREAM, shards=4)
    with local_platform.client(retry=Retry(base_seconds=0, attempts=5)) as client:
        yield client


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr(reader, "PAGE_RECORDS", 1_000)


def texts(count):
    return [b"%d" % number for number in range(count)]


def places(frame):
    return list(zip(frame.shard_id.tolist(), frame.sequence_number.tolist(), strict=True))


def test_a_new_stream_reads_as_an_empty_frame_with_all_columns(client):
    frame = client.read_records(STREAM)
    assert list(frame.columns) == COLUMNS
    assert [str(dtype) for dtype in frame.dtypes] == [
        "Int32", "Int64", "datetime64[ns, UTC]", "string", "object", "object",
    ]  # fmt: skip
    assert len(frame) == 0


def test_records_come_shard_by_shard_in_stored_order(local_platform, client):
    local_platform.add_records(STREAM, [b"a", b"b"], shard=2)
    local_platform.add_records(STREAM, [b"c"], shard=0, key="k")
    frame = client.read_records(STREAM)
    assert frame.data.tolist() == [b"c", b"a", b"b"]
    assert places(frame) == [(0, 1), (2, 1), (2, 2)]
    assert frame.partition_key.tolist()[0] == "k"
    assert frame.partition_key.isna().tolist() == [False, True, True]
    assert (pd.Timestamp.now("UTC") - frame.arrival_time).max() < pd.Timedelta("1h")


@pytest.mark.parametrize(
    "rules",
    [Rules(), Rules(statuses="2.10"), Rules(list_last_sequence_id=False)],
    ids=["current", "2.10", "listings without numbers"],
)
def test_many_pages_are_read_to_the_end_on_any_release(rules, small_pages):
    with LocalPlatform(rules=rules) as platform:
        platform.create_stream(STREAM, shards=3)
        platform.add_records(STREAM, texts(2_500), shard=1)
        platform.add_records(STREAM, texts(1_000), shard=2)
        frame = platform.client().read_records(STREAM)
    assert frame.data.tolist() == texts(2_500) + texts(1_000)


def test_reading_ends_where_the_stream_ended_when_it_began(local_platform, client):
    local_platform.add_records(STREAM, texts(10), shard=0)
    admin = client._admin(STREAM)
    ends = reader.find_ends(admin, range(4))
    local_platform.add_records(STREAM, texts(10), shard=0)
    batches = reader.read_shard(admin, 0, reader.EARLIEST, end=ends[0], limit=100)
    assert sum(batch.num_rows for batch in batches) == 10


def test_the_latest_place_has_nothing_before_it(local_platform, client):
    local_platform.add_records(STREAM, texts(10))
    assert len(client.read_records(STREAM, "latest")) == 0


def test_a_mapping_reads_the_shards_it_names_from_the_numbers_it_gives(local_platform, client):
    local_platform.add_records(STREAM, texts(5), shard=0)
    local_platform.add_records(STREAM, texts(5), shard=3)
    assert places(client.read_records(STREAM, {3: 4})) == [(3, 4), (3, 5)]
    assert places(client.read_records(STREAM, {3: 6, 1: 1})) == []
    assert len(client.read_records(STREAM, {})) == 0


def test_a_time_reads_what_arrived_since(local_platform, client):
    local_platform.add_records(STREAM, texts(5), shard=0)
    arrival = client.read_records(STREAM).arrival_time.iloc[0]
    later = arrival + pd.Timedelta("1h")
    assert len(client.read_records(STREAM, arrival)) == 5
    assert len(client.read_records(STREAM, arrival.tz_convert("Asia/Tokyo"))) == 5
    assert len(client.read_records(STREAM, arrival.tz_localize(None).isoformat())) == 5
    assert len(client.read_records(STREAM, later.to_pydatetime(warn=False))) == 0


def test_now_is_the_same_everywhere(local_platform, client, monkeypatch, request):
    local_platform.add_records(STREAM, texts(5), shard=0)
    request.addfinalizer(time.tzset)
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Etc/GMT+12")  # where it is twelve hours earlier
        time.tzset()
        assert len(client.read_records(STREAM, "now")) == 0


@pytest.mark.parametrize(
    "start", [5, True, None, "soon", {9: 1}, {0: 0}, {0: 1.5}, {"0": 1}, pd.NaT, "1969-12-31"]
)
def test_a_start_that_is_not_valid_is_refused(start, client):
    with pytest.raises(ConfigError, match="start"):
        client.read_records(STREAM, start)


@pytest.mark.parametrize("limit", [0, -1, 1.5, None, True])
def test_a_limit_that_is_not_valid_is_refused(limit, client):
    with pytest.raises(ConfigError, match="limit"):
        client.read_records(STREAM, limit=limit)


def test_a_limit_that_cuts_warns(local_platform, client):
    local_platform.add_records(STREAM, texts(5), shard=0)
    local_platform.add_records(STREAM, texts(5), shard=1)
    with pytest.warns(UserWarning, match="limit=9 left records out") as caught:
        assert len(client.read_records(STREAM, limit=9)) == 9
    assert caught[0].filename == __file__
    assert len(client.read_records(STREAM, limit=10)) == 10


def put(client, *records):
    place = client.locate(STREAM)
    body = msgspec.json.encode({"Records": list(records)})
    assert client.transport(place).attempt(put_records_request(place, body)).status == 200


def test_unique_keeps_the_first_record_of_each_tag_and_all_without(client):
    tag, other, short = "AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAQ==", "AAAA"
    put(
        client,
        {"Data": "YTAw", "ShardId": 0, "ClientInfo": tag},
        {"Data": "YTAx", "ShardId": 0},
        {"Data": "YTAy", "ShardId": 0, "ClientInfo": other},
        {"Data": "YTAz", "ShardId": 1, "ClientInfo": tag},
        {"Data": "YTA0", "ShardId": 1, "ClientInfo": short},
        {"Data": "YTA1", "ShardId": 1, "ClientInfo": short},
        {"Data": "YTA2", "ShardId": 1},
    )
    frame = client.read_records(STREAM, unique=True)
    assert frame.data.tolist() == [b"a00", b"a01", b"a02", b"a04", b"a05", b"a06"]
    assert frame.client_info.iloc[0] == bytes(16)
    assert frame.index.tolist() == list(range(6))
    assert len(client.read_records(STREAM)) == 7


def test_retention_that_overtakes_the_reading_is_reported_and_the_rest_is_read(
    local_platform, client, caplog, small_pages
):
    local_platform.add_records(STREAM, texts(3_000), shard=0)
    local_platform.faults = [
        faults.Change(action="drop_records", function="GetRecords", nth=2, keep_last=500)
    ]
    frame = client.read_records(STREAM)
    assert frame.sequence_number.tolist() == [*range(1, 1_001), *range(2_501, 3_001)]
    assert "retention overtook" in caplog.text


def test_numbers_that_retention_dropped_are_skipped(local_platform, client):
    local_platform.add_records(STREAM, texts(10), shard=0)
    local_platform.faults = [faults.Change(action="drop_records", function="Seek", keep_last=5)]
    assert places(client.read_records(STREAM, {0: 2})) == [(0, n) for n in range(6, 11)]


def test_seek_and_get_records_go_page_by_page(local_platform, client):
    local_platform.add_records(STREAM, texts(5), shard=0)
    page = client.get_records(STREAM, 0, client.seek(STREAM, 0), limit=2)
    assert (page.records.column("data").to_pylist(), page.records_behind) == ([b"0", b"1"], 3)
    page = client.get_records(STREAM, 0, page.next_location)
    assert (page.records.column("data").to_pylist(), page.records_behind) == (texts(5)[2:], 0)
    page = client.get_records(STREAM, 0, client.seek(STREAM, 0, 4))
    assert page.records.column("sequence_number").to_pylist() == [4, 5]


@pytest.mark.parametrize(("number", "found"), [(6, []), (100, []), (np.int64(4), [4, 5])])
def test_seek_beyond_the_end_finds_the_end(local_platform, client, number, found):
    local_platform.add_records(STREAM, texts(5), shard=0)
    page = client.get_records(STREAM, 0, client.seek(STREAM, np.int64(0), number), np.int64(9))
    assert page.records.column("sequence_number").to_pylist() == found


def test_seek_before_what_retention_left_finds_its_beginning(local_platform, client):
    local_platform.add_records(STREAM, texts(5), shard=0)
    local_platform.platform.drop_records(STREAM, keep_last=2)
    page = client.get_records(STREAM, 0, client.seek(STREAM, 0, 2))
    assert page.records.column("sequence_number").to_pylist() == [4, 5]


def test_seek_in_a_shard_never_written_to_finds_no_place(client):
    assert client.seek(STREAM, 1) is None


@pytest.mark.parametrize("shard", [-1, 4, 1.0, "0"])
def test_a_shard_that_is_not_valid_is_refused(shard, client):
    with pytest.raises(ConfigError, match="shard: expected a whole number, 0 to 3"):
        client.seek(STREAM, shard)


def test_a_place_that_is_not_valid_is_refused(local_platform, client):
    local_platform.add_records(STREAM, texts(5), shard=0)
    with pytest.raises(RequestError):
        client.get_records(STREAM, 0, "bm93aGVyZQ==")


@pytest.mark.parametrize("function", ["Seek", "GetRecords"])
@pytest.mark.parametrize(("action", "said"), [("delete", "nothing is"), ("recreate", "now it is")])
def test_a_stream_that_goes_while_it_is_read_is_not_read_in_part(
    local_platform, client, function, action, said
):
    for shard in range(2):
        local_platform.add_records(STREAM, [b"x"], shard=shard)
    local_platform.faults = [faults.Change(action=action, function=function, nth=2, target=STREAM)]
    with pytest.raises(RequestError, match=said):
        client.read_records(STREAM)


def test_a_stream_that_goes_while_a_location_expires_is_not_read_in_part(
    local_platform, client, monkeypatch
):
    monkeypatch.setattr(reader, "PAGE_RECORDS", 1)
    local_platform.add_records(STREAM, texts(3), shard=0)
    body = '{"ErrorCode": -20, "ErrorMessage": "IllegalLocationException"}'
    local_platform.faults = [
        faults.Answer(status=400, body=body, function="GetRecords", nth=2),
        faults.Change(action="recreate", function="Seek", nth=2, target=STREAM),
    ]
    with pytest.raises(RequestError, match="now it is"):
        client.read_records(STREAM)

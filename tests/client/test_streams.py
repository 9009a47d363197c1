"""A stream's life, asked of the local platform."""

import threading

import pandas as pd
import pytest

from tests.internals import Request
from v3io_frames_put import put_records
from v3io_frames_put.config import Retry
from v3io_frames_put.errors import (
    AuthenticationError,
    ConfigError,
    NotAStream,
    PermissionDenied,
    PlatformUnavailable,
    ProtocolError,
    RequestError,
    StreamNotFound,
)
from v3io_frames_put.local import LocalPlatform, Rules, faults

STREAM = "projects/tests/s"
FRAME = pd.DataFrame({"a": range(3)})


@pytest.fixture
def client(local_platform):
    with local_platform.client(retry=Retry(base_seconds=0, attempts=5)) as client:
        yield client


@pytest.fixture(params=["current", "2.10"])
def any_release(request):
    """Connect to a platform of either release; they differ in statuses."""
    rules = Rules(statuses=request.param, list_last_sequence_id=request.param == "current")
    with LocalPlatform(rules=rules) as platform, platform.client() as client:
        yield client


def shape(stream):
    return stream.shards, stream.retention_hours


def functions(platform):
    return [arrival.function for arrival in platform.requests]


def test_a_stream_is_created_described_grown_and_deleted(client):
    assert shape(client.create_stream(STREAM, shards=2, retention_hours=5)) == (2, 5)
    assert shape(client.describe_stream(f"v3io:///{STREAM}/")) == (2, 5)
    assert shape(client.update_stream(STREAM, shards=4)) == (4, 5)
    assert shape(client.describe_stream(STREAM)) == (4, 5)
    client.delete_stream(STREAM)
    with pytest.raises(StreamNotFound):
        client.describe_stream(STREAM)


def test_names_that_urls_do_not_take_are_fine(client):
    stream = "projects/ü b/100%?#/s+t"
    client.create_stream(stream)
    client.delete_stream(stream)


def test_an_existing_stream_is_an_error_that_says_what_is_there(any_release):
    any_release.create_stream(STREAM, shards=2)
    with pytest.raises(RequestError, match=r"exists already, with 2 shards.*exist_ok=True"):
        any_release.create_stream(STREAM, shards=2)


def test_an_existing_stream_may_be_fine_and_is_left_as_it_is(any_release, caplog):
    any_release.create_stream(STREAM, shards=2, retention_hours=5)
    assert shape(any_release.create_stream(STREAM, shards=8, exist_ok=True)) == (2, 5)
    assert "exists with 2 shards, not 8" in caplog.text


def test_a_creation_whose_answer_is_lost_is_not_repeated(local_platform, client):
    local_platform.faults = [faults.lost_answer(function="CreateStream")]
    with pytest.raises(PlatformUnavailable, match="not known whether it was done"):
        client.create_stream(STREAM)
    assert functions(local_platform) == ["CreateStream"]


def test_a_creation_that_does_not_mind_is_repeated(local_platform, client):
    local_platform.faults = [faults.lost_answer(function="CreateStream")]
    assert shape(client.create_stream(STREAM, shards=3, exist_ok=True)) == (3, 24)


def test_a_growth_whose_answer_is_lost_is_found_done(local_platform, client):
    client.create_stream(STREAM)
    local_platform.faults = [faults.lost_answer(function="UpdateStream")]
    assert client.update_stream(STREAM, shards=2).shards == 2


def test_growing_to_what_is_there_asks_for_nothing(local_platform, client):
    client.create_stream(STREAM, shards=2)
    local_platform.faults = [faults.Answer(status=502, function="UpdateStream", times=None)]
    assert client.update_stream(STREAM, shards=2).shards == 2


def test_a_stream_does_not_shrink(client):
    client.create_stream(STREAM, shards=2)
    with pytest.raises(ConfigError, match="has 2 and can only grow"):
        client.update_stream(STREAM, shards=1)


@pytest.mark.parametrize("shards", [0, -1, 4_097, 1.0, "2", True, None])
def test_shard_counts_are_checked_before_anything_is_sent(shards, local_platform, client):
    with pytest.raises(ConfigError, match=r"shards: expected a whole number, 1 to 4,096"):
        client.create_stream(STREAM, shards=shards)
    assert local_platform.requests == []


@pytest.mark.parametrize(
    "fault",
    [faults.Disconnect(function="*", times=2), faults.Answer(status=502, function="*", times=2)],
)
def test_reading_outlives_passing_faults(fault, local_platform, client):
    client.create_stream(STREAM)
    local_platform.faults = [fault]
    assert client.describe_stream(STREAM).shards == 1


def test_a_missing_stream_says_how_to_create_it(any_release):
    with pytest.raises(StreamNotFound, match=r"create_stream\('projects/nope'"):
        any_release.describe_stream("projects/nope")
    with pytest.raises(StreamNotFound):
        any_release.describe_stream("no-such-container/nope")
    with pytest.raises(StreamNotFound):
        any_release.read_records("projects/nope")


def test_a_directory_is_distinguished_from_a_missing_stream(any_release):
    any_release.create_stream("projects/folder/s")
    with pytest.raises(NotAStream, match="a directory is there"):
        any_release.describe_stream("projects/folder")


def test_a_file_is_distinguished_from_a_missing_stream(client):
    place = client.locate("projects/file.csv")
    written = client.transport(place).attempt(Request("PUT", "/projects/file.csv", {}, b"a,b"))
    assert written.status in (200, 204)
    with pytest.raises(NotAStream, match="something else is there"):
        client.describe_stream("projects/file.csv")


def test_a_container_that_is_not_there_is_reported(client):
    with pytest.raises(RequestError, match="the container 'nope' is not there"):
        client.create_stream("nope/s")


def test_a_stream_that_holds_a_directory_is_not_deleted(client):
    client.create_stream(STREAM)
    client.create_stream(f"{STREAM}/below")
    with pytest.raises(RequestError, match="it holds the directory 'tests/s/below/'"):
        client.delete_stream(STREAM)
    assert client.describe_stream(f"{STREAM}/below").shards == 1


def test_a_diagnosis_is_returned_and_not_raised(client):
    client.create_stream("projects/folder/s")
    there = client._admin(client.locate("projects/folder/s")).diagnose()
    assert "now it is" in str(there)
    assert isinstance(client._admin("projects/folder").diagnose(), NotAStream)
    assert isinstance(client._admin("projects/nope").diagnose(), StreamNotFound)


def test_a_diagnosis_that_cannot_be_made_is_the_platforms_own_word(local_platform, client):
    local_platform.faults = [faults.Answer(status=502, function="*", times=None)]
    assert isinstance(client._admin(STREAM).diagnose(), StreamNotFound)


def test_only_streams_are_deleted(client):
    client.create_stream("projects/folder/s")
    for stream, error in (("projects/folder", NotAStream), ("projects/nope", StreamNotFound)):
        with pytest.raises(error):
            client.delete_stream(stream)
    assert client.describe_stream("projects/folder/s").shards == 1


def test_a_stream_of_several_listing_pages_is_deleted_whole(local_platform, client):
    client.create_stream(STREAM, shards=1_100)
    for shard in range(1_100):
        local_platform.add_records(STREAM, [b"x"], shard=shard)
    client.delete_stream(STREAM)
    assert isinstance(client._admin(STREAM).diagnose(), StreamNotFound)


def test_a_deletion_outlives_lost_answers(local_platform, client):
    client.create_stream(STREAM, shards=2)
    local_platform.add_records(STREAM, [b"x", b"y"])
    local_platform.faults = [faults.lost_answer(function="DELETE", every=2, times=None)]
    client.delete_stream(STREAM)
    assert isinstance(client._admin(STREAM).diagnose(), StreamNotFound)


def test_a_wrong_key_says_what_to_check(local_platform):
    with LocalPlatform(access_key="right") as platform:
        client = platform.client(access_key="wrong-key")
        with pytest.raises(AuthenticationError, match="does not read the variables") as caught:
            client.describe_stream(STREAM)
    assert caught.value.status == 401
    assert "wrong-key" not in str(caught.value)


def test_a_platform_that_moved_is_not_followed(local_platform, client):
    local_platform.faults = [faults.redirected(function="DescribeStream", times=None)]
    with pytest.raises(RequestError, match=r"308.*moved to .*Set endpoint="):
        client.describe_stream(STREAM)
    assert functions(local_platform) == ["DescribeStream"]


def test_nothing_listening_is_reported_with_the_address():
    with LocalPlatform() as platform:
        client = platform.client(retry=Retry(base_seconds=0, attempts=2))
        endpoint = platform.endpoint
    with pytest.raises(PlatformUnavailable, match=f"{endpoint}.*2 tries.*Check the endpoint"):
        client.describe_stream(STREAM)


def test_a_client_closes_and_can_still_be_used(client):
    client.create_stream(STREAM)
    client.close()
    assert client.describe_stream(STREAM).shards == 1


def test_permission_is_distinguished_from_authentication(local_platform, client):
    local_platform.faults = [faults.refused(function="DescribeStream", status=403)]
    with pytest.raises(PermissionDenied, match="Ask for access"):
        client.describe_stream(STREAM)


def test_a_client_that_another_thread_closes_asks_again(client, local_platform):
    client.create_stream(STREAM)
    asked = threading.Event()

    class Asked(faults.Answer, frozen=True):
        def apply(self, platform, request):
            asked.set()
            return faults.Answer.apply(self, platform, request)

    local_platform.faults = [Asked(function="DescribeStream", wait_seconds=None)]
    reported = []
    thread = threading.Thread(target=lambda: reported.append(client.describe_stream(STREAM)))
    thread.start()
    assert asked.wait(10)
    client.close()
    thread.join(10)
    assert [one.shards for one in reported] == [1]


def test_a_page_of_another_server_is_not_taken_for_a_new_stream(local_platform, client):
    page = faults.Answer(status=200, body="<html>Log in</html>", function="*", times=None)
    local_platform.faults = [page]
    for ask in (client.create_stream, client.describe_stream):
        with pytest.raises(ProtocolError, match=f"'{STREAM}' at {local_platform.endpoint}: .*JSON"):
            ask(STREAM)


@pytest.mark.parametrize("function", ["GET", "Seek", "GetRecords"])
def test_what_cannot_be_read_is_said_with_stream_and_address(local_platform, client, function):
    client.create_stream(STREAM)
    local_platform.add_records(STREAM, [b"x"])
    page = faults.Answer(status=200, body="<html>Log in</html>", function=function, times=None)
    local_platform.faults = [page]
    with pytest.raises(ProtocolError, match=f"'{STREAM}' at {local_platform.endpoint}: "):
        client.read_records(STREAM)
    quick = Retry(deadline_seconds=0.2, base_seconds=0.05)
    with (
        local_platform.client(retry=quick) as hasty,
        pytest.raises(PlatformUnavailable, match="answer of status 200 cannot be read"),
    ):
        put_records(FRAME, STREAM, client=hasty, delivery="exactly_once", progress=False)

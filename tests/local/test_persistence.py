"""What a data directory keeps: everything that was acknowledged, whatever ends the process."""

from __future__ import annotations

import signal
import subprocess
import sys
from urllib.request import Request, urlopen

import pytest

from v3io_frames_put.local import LocalPlatform, Platform, StoreError, faults

SERVE = """
import sys
from v3io_frames_put.local import LocalPlatform
with LocalPlatform(sys.argv[1]) as platform:
    print(platform.endpoint, flush=True)
    platform.wait()
"""


@pytest.fixture
def served(tmp_path):
    """Run a platform in a process of its own, on a directory."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        yield process, process.stdout.readline().strip(), tmp_path
        process.kill()


def post(endpoint, function, path, body):
    request = Request(endpoint + path, body, {"X-v3io-function": function})  # noqa: S310
    with urlopen(request, timeout=10) as answer:  # noqa: S310  # our own endpoint
        return answer.status


def test_what_was_acknowledged_survives_kill_9(served):
    process, endpoint, directory = served
    post(endpoint, "CreateStream", "/projects/s", b'{"ShardCount":2}')
    for _ in range(50):
        assert post(endpoint, "PutRecords", "/projects/s", b'{"Records":[{"Data":"QQ=="}]}') == 200
    process.kill()
    assert process.wait() == -signal.SIGKILL
    platform = Platform(directory)
    assert len(platform.records("projects/s")) == 50
    assert platform.describe_stream("projects/s").shard_count == 2
    platform.close()


def test_one_platform_at_a_time_uses_a_directory(served):
    _, _, directory = served
    with pytest.raises(StoreError, match="One local platform at a time"):
        Platform(directory)


def test_a_database_that_is_none_is_told(tmp_path):
    other = b"not a database, but longer than a header"
    (tmp_path / "local-platform.sqlite").write_bytes(other * 99)
    with pytest.raises(StoreError, match="cannot be opened"), LocalPlatform(tmp_path):
        pass


def test_streams_objects_and_numbers_go_on_where_they_were(tmp_path):
    with LocalPlatform(tmp_path) as platform:
        platform.create_stream("projects/s")
        platform.add_records("projects/s", [b"a", b"b"], key="k")
    with LocalPlatform(tmp_path) as platform:
        platform.add_records("projects/s", [b"c"])
        found = [
            (r.sequence_number, r.data, r.partition_key) for r in platform.records("projects/s")
        ]
    assert found == [(1, b"a", "k"), (2, b"b", "k"), (3, b"c", None)]


def test_a_restart_reopens_the_directory(tmp_path):
    platform = Platform(tmp_path)
    platform.create_stream("projects/s")
    platform.add_records("projects/s", [b"a"])
    platform.restart()
    assert [r.data for r in platform.records("projects/s")] == [b"a"]
    platform.close()


def test_a_restart_in_mid_run_keeps_what_is_on_disk(tmp_path):
    with LocalPlatform(tmp_path, faults=[faults.restart(stored="all")]) as platform:
        platform.create_stream("projects/s")
        with pytest.raises(ConnectionResetError):
            post(platform.endpoint, "PutRecords", "/projects/s", b'{"Records":[{"Data":"QQ=="}]}')
        assert post(platform.endpoint, "GetItem", "/projects/s/0", b"{}") == 200
        assert len(platform.records("projects/s")) == 1
        platform.check()

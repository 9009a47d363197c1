"""The life of a stream by commands, against the local platform."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from tests.internals import _confirm, read_on
from v3io_frames_put.cli import main
from v3io_frames_put.local import faults

STREAM = "projects/house/readings"


@pytest.fixture
def run(local_platform, monkeypatch):
    monkeypatch.setenv("V3IO_API", local_platform.endpoint)

    def run(*words, text=None):
        return CliRunner().invoke(main, words, input=text)

    return run


def test_create_then_describe(run):
    made = run("create", STREAM, "--shards", "3", "--retention-hours", "5")
    assert (made.exit_code, made.stdout) == (0, "")
    told = run("describe", STREAM)
    assert told.exit_code == 0
    assert json.loads(told.stdout) == {"shards": 3, "retention_hours": 5}


def test_creating_again_is_refused_unless_it_may_exist(run):
    run("create", STREAM)
    assert run("create", STREAM).exit_code == 4
    assert run("create", STREAM, "--exist-ok").exit_code == 0


def test_update_grows(run):
    run("create", STREAM)
    assert run("update", STREAM, "--shards", "4").exit_code == 0
    assert json.loads(run("describe", STREAM).stdout)["shards"] == 4


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_delete_asks_and_takes_no_for_an_answer(run, answer):
    run("create", STREAM)
    done = run("delete", STREAM, text=answer)
    assert done.exit_code == 2
    assert "Delete projects/house/readings and every record on it?" in done.stderr
    assert done.stdout == ""
    assert run("describe", STREAM).exit_code == 0


def test_no_stdin_is_a_no(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", None)  # as `v3io-put delete STREAM <&-` leaves it
    assert not _confirm("Delete?")
    assert "Delete? [y/N]" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "answer"), [(["--yes"], None), ([], "y\n")])
def test_delete_deletes(run, words, answer):
    run("create", STREAM)
    assert run("delete", STREAM, *words, text=answer).exit_code == 0
    gone = run("describe", STREAM)
    assert gone.exit_code == 4
    assert STREAM in gone.stderr


def test_no_endpoint_is_said_with_what_to_do(run, monkeypatch):
    monkeypatch.delenv("V3IO_API")
    done = run("describe", STREAM)
    assert done.exit_code == 2
    assert "V3IO_API" in done.stderr


def test_a_malformed_path_sends_nothing(run, local_platform):
    assert run("describe", "projects").exit_code == 2
    assert local_platform.requests == []


def test_the_key_comes_from_a_file_and_is_never_shown(run, local_platform, tmp_path):
    key = tmp_path / "key"
    key.write_text("s3cret-key\n")
    words = ("describe", STREAM, "--access-key-file", str(key))
    run("create", STREAM)
    told = run(*words)
    assert told.exit_code == 0
    assert "s3cret-key" not in told.output
    for unfit in (b"two\nlines\n", b"", b"\xff\xfe"):
        key.write_bytes(unfit)
        told = run(*words)
        assert told.exit_code == 2
        assert "a file that holds the access key and nothing else" in told.stderr


@pytest.mark.filterwarnings("default::v3io_frames_put.InsecureConnectionWarning")
def test_insecure_warns(run, local_platform):
    run("create", STREAM)
    told = run("describe", STREAM, "--insecure")
    assert told.exit_code == 0
    assert told.stderr.startswith("Warning: ")


def test_no_option_takes_a_secret():
    names = {
        name
        for command in main.commands.values()
        for parameter in command.params
        for name in parameter.opts
    }
    about_secrets = {name for name in names if re.search(r"key$|password|secret|token", name)}
    assert about_secrets - {"--partition-key"} == {"--tls-key"}  # a file


class TestTail:
    def test_prints_what_stands_there(self, run, local_platform):
        local_platform.create_stream(STREAM, shards=2)
        local_platform.add_records(STREAM, [b"one", b"two"], shard=0)
        local_platform.add_records(STREAM, [b"three"], shard=1)
        told = run("tail", STREAM)
        assert (told.exit_code, told.stdout) == (0, "one\ntwo\nthree\n")

    def test_an_empty_stream_prints_nothing(self, run, local_platform):
        local_platform.create_stream(STREAM)
        assert run("tail", STREAM).stdout == ""

    def test_one_shard_and_a_limit(self, run, local_platform):
        local_platform.create_stream(STREAM, shards=2)
        local_platform.add_records(STREAM, [b"one", b"two"], shard=0)
        local_platform.add_records(STREAM, [b"three", b"four"], shard=1)
        assert run("tail", STREAM, "--shard", "1", "--limit", "1").stdout == "three\n"

    def test_json_has_number_and_key(self, run, local_platform):
        local_platform.create_stream(STREAM)
        local_platform.add_records(STREAM, [b"\xff"], key="attic")
        told = json.loads(run("tail", STREAM, "--output", "json").stdout)
        assert told["shard_id"] == 0
        assert told["sequence_number"] == 1
        assert told["partition_key"] == "attic"
        assert told["data_base64"] == "/w=="
        assert told["arrival_time"].endswith("+00:00")

    def test_follow_stops_at_its_limit(self, run, local_platform):
        local_platform.create_stream(STREAM)
        local_platform.add_records(STREAM, [b"one", b"two"])
        told = run("tail", STREAM, "--follow", "--start", "earliest", "--limit", "2")
        assert (told.exit_code, told.stdout) == (0, "one\ntwo\n")


class TestReader:
    @pytest.fixture
    def client(self, local_platform):
        with local_platform.client() as client:
            yield client

    def test_sees_what_comes_later_in_old_and_new_shards(self, local_platform, client):
        local_platform.create_stream(STREAM, shards=1)
        local_platform.add_records(STREAM, [b"before"], shard=0)
        records = read_on(client._admin(STREAM), [], "latest", follow=True)
        assert next(records) is None
        local_platform.add_records(STREAM, [b"one"], shard=0)
        assert next(records)["data"] == b"one"
        client.update_stream(STREAM, shards=2)
        local_platform.add_records(STREAM, [b"two"], shard=1)
        assert next(records)["data"] == b"two"
        assert next(records) is None

    def test_begins_at_the_first_record_of_a_shard_that_was_empty(self, local_platform, client):
        local_platform.create_stream(STREAM)
        records = read_on(client._admin(STREAM), [], "latest", follow=True)
        assert next(records) is None
        local_platform.add_records(STREAM, [b"first", b"second"])
        assert [next(records)["data"] for _ in range(2)] == [b"first", b"second"]

    @pytest.mark.parametrize("is_empty_meanwhile", [False, True])
    def test_begins_anew_where_the_stream_was_made_anew(
        self, local_platform, client, is_empty_meanwhile
    ):
        local_platform.create_stream(STREAM)
        local_platform.add_records(STREAM, [b"old"] * 3)
        records = read_on(client._admin(STREAM), [], "latest", follow=True)
        assert next(records) is None
        local_platform.platform.delete_stream(STREAM)
        local_platform.create_stream(STREAM)
        if is_empty_meanwhile:
            assert next(records) is None
        local_platform.add_records(STREAM, [b"one", b"two"])
        assert [next(records)["data"] for _ in range(2)] == [b"one", b"two"]

    def test_ends_where_the_stream_ended_though_somebody_writes(self, local_platform, client):
        local_platform.create_stream(STREAM)
        local_platform.add_records(STREAM, [b"one", b"two"])
        read = []
        for record in read_on(client._admin(STREAM), [], "earliest", follow=False):
            local_platform.add_records(STREAM, [b"later"])
            read.append(record["data"])
            assert len(read) <= 2
        assert read == [b"one", b"two"]

    def test_goes_on_where_it_was_when_its_place_expires(self, local_platform, client):
        local_platform.create_stream(STREAM)
        local_platform.add_records(STREAM, [b"one"])
        records = read_on(client._admin(STREAM), [], "earliest", follow=True)
        assert next(records)["data"] == b"one"
        assert next(records) is None
        location = {"message": "IllegalLocationException", "function": "GetRecords"}
        local_platform.faults = [faults.refused(status=400, **location)]
        local_platform.add_records(STREAM, [b"two"])
        assert next(records)["data"] == b"two"

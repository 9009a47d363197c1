"""A flipped bit in a journal: an error that says so, or true results."""

import sqlite3

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.internals import Store
from v3io_frames_put import Client, Retry, put_records
from v3io_frames_put.errors import ConfigError, PutRecordsError
from v3io_frames_put.local import LocalPlatform, faults

STREAM = "projects/s"
FRAME = pd.DataFrame({"key": [f"k{n % 50}" for n in range(3_000)], "n": range(3_000)})
OPTIONS = {"partition_key": "key", "delivery": "exactly_once", "progress": False}


def finish(client, path):
    results = put_records(FRAME, STREAM, client=client, journal=path, **OPTIONS)
    assert set(results.status) == {"stored"}
    return results


class Finished:
    """A finished run, its journal, and a free path for damaged copies of it."""

    def __init__(self, client, folder):
        self.results = finish(client, folder / "run.v3io")
        self.content = (folder / "run.v3io").read_bytes()
        self._client, self._path = client, folder / "copy.v3io"

    def hold_against(self, content):
        """Repeat the call on a journal: an error that names the file, or the same results."""
        self._path.write_bytes(content)
        try:
            again = put_records(FRAME, STREAM, client=self._client, journal=self._path, **OPTIONS)
        except ConfigError as error:
            message = str(error)
        else:
            message = None
        for left in self._path.parent.glob("copy.v3io*"):
            left.unlink()
        if message is None:
            pd.testing.assert_frame_equal(again, self.results)
            assert again.attrs["v3io"]["already_complete"]
        else:
            assert str(self._path) in message


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with LocalPlatform() as platform:
        platform.create_stream(STREAM, shards=4)
        yield Finished(platform.client(), tmp_path_factory.mktemp("journal"))


@pytest.mark.enable_socket
@given(place=st.integers(0, 2**40), bit=st.integers(0, 7))
@settings(max_examples=150, deadline=None)
def test_a_flipped_bit_is_an_error_or_does_no_harm(finished, place, bit):
    content = bytearray(finished.content)
    content[place % len(content)] ^= 1 << bit
    finished.hold_against(bytes(content))


@pytest.mark.enable_socket
@given(start=st.integers(0, 2**40), length=st.integers(1, 5_000), value=st.integers(0, 255))
@settings(max_examples=50, deadline=None)
def test_a_lost_block_is_an_error_or_does_no_harm(finished, start, length, value):
    content = bytearray(finished.content)
    start %= len(content)
    content[start : start + length] = bytes([value]) * len(content[start : start + length])
    finished.hold_against(bytes(content))


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "run.v3io"
    opened = Store(path)
    with opened.transaction():
        opened.insert("blocks", [(0, 10, 7), (10, 10, 8)])
        opened.insert("pages", [(0, 1, b"abc"), (1, 1, b"def")])
        opened.update("blocks", {"checksum": np.int64(9)}, "first_row = ?", 10)
        opened.insert("copies", [(1, 2, 3)])
        opened.delete("pages", "number = ?", 1)
    opened.close()
    return path


def test_whatever_was_written_is_in_the_checksums(store):
    Store(store).close()


@pytest.mark.parametrize(
    "change",
    [
        "update pages set outcomes = x'676868'",
        "update pages set outcomes = 'abc'",
        "update pages set number = 1",
        "delete from blocks where first_row = 0",
        "insert into copies values (5, 5, 5)",
        "update checks set checksum = 1 where name = 'pages'",
        "delete from checks where name = 'pages'",
    ],
)
def test_a_change_by_another_program_is_an_error(store, change):
    with sqlite3.connect(store) as database:
        database.execute(change)
    database.close()
    with pytest.raises(ConfigError, match="the checksum of its table"):
        Store(store)


def test_what_could_not_be_written_is_not_in_the_checksums(store):
    opened = Store(store)
    twice = [(7, 1, b"new"), (7, 1, b"the same number")]
    with pytest.raises(PutRecordsError, match="cannot be written"), opened.transaction():
        opened.insert("pages", twice)
    with opened.transaction():
        opened.insert("pages", [(8, 1, b"new")])
    opened.close()
    Store(store).close()


@pytest.mark.enable_socket
@given(place=st.integers(0, 2**40), bit=st.integers(0, 7))
@settings(max_examples=20, deadline=None)
def test_a_flipped_bit_in_an_unfinished_journal_costs_no_row(tmp_path_factory, place, bit):
    path = tmp_path_factory.mktemp("journal") / "run.v3io"
    with LocalPlatform(faults=[faults.redirected(nth=3)]) as platform:
        platform.create_stream(STREAM, shards=4)
        client = Client(platform.endpoint, retry=Retry(settle_seconds=0.01))
        with pytest.raises(PutRecordsError):
            finish(client, path)
        platform.faults = []
        content = bytearray(path.read_bytes())
        content[place % len(content)] ^= 1 << bit
        path.write_bytes(content)
        try:
            finish(client, path)
        except ConfigError as error:
            message = str(error)
        else:
            message = None
        if message is not None:
            assert str(path) in message
            return
        numbers = sorted(record.data for record in platform.records(STREAM))
        assert len(numbers) == len(set(numbers)) == len(FRAME)

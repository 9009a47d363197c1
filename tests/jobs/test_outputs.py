"""Where a job may write: each refusal that the docs promise, before anything is sent."""

from __future__ import annotations

import os

import pytest

from tests.internals import check_outputs
from tests.jobs.conftest import write_text
from v3io_frames_put import ConfigError
from v3io_frames_put.jobs._files import find_files


@pytest.fixture
def file(tmp_path):
    return write_text(tmp_path / "in" / "a.csv", "n", "1")


def links_in_a_circle(folder):
    (folder / "one").symlink_to(folder / "two")
    (folder / "two").symlink_to(folder / "one")
    return folder / "one"


def link_to_the_input(folder):
    (folder / "link").symlink_to(folder / "in")
    return folder / "link" / "a.csv"


@pytest.mark.parametrize("option", ["results", "failed"])
@pytest.mark.parametrize(
    ("place", "says"),
    [
        (lambda folder: folder / "in" / "a.csv", "is one of the files to publish"),
        (lambda folder: folder / "in" / ".." / "in" / "a.csv", "is one of the files to publish"),
        (link_to_the_input, "is one of the files to publish"),
        (lambda folder: folder / "in", "expected a file's name"),
        (lambda folder: folder / "no" / "r.parquet", "expected a file's name"),
        (lambda _folder: "/dev/null", "expected a file's name"),
        (lambda folder: folder / "new.jsonl.gz", "would be a Parquet file"),
        (lambda folder: folder / os.fsdecode(b"r\xe9s.parquet"), "expected a file's name"),
        (lambda folder: folder / "a\0b", "expected a file's name"),
        (links_in_a_circle, "expected a file's name"),
        (lambda _folder: 5, "='5': expected a file's name"),
    ],
    ids=["input", "input by ..", "input by link", "folder", "no folder", "device", "other kind",
         "not UTF-8", "NUL", "circle", "number"],
)  # fmt: skip
def test_a_place_for_results_or_failed_rows_that_is_refused(tmp_path, file, option, place, says):
    given = place(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=says):
        check_outputs(find_files([file]), **{option: given})
    assert sorted(tmp_path.rglob("*")) == before
    assert file.read_text() == "n\n1\n"


def test_a_journal_is_no_input_and_may_have_any_name(tmp_path, file):
    check_outputs(find_files([file]), journal=tmp_path / "run.csv")
    with pytest.raises(ConfigError, match=r"journal='.*a\.csv' is one of the files to publish"):
        check_outputs(find_files([file]), journal=file)


@pytest.mark.parametrize("other", ["failed", "journal"])
def test_one_place_for_two_outputs(tmp_path, file, other):
    outputs = {"results": tmp_path / "r.parquet", other: tmp_path / "in" / ".." / "r.parquet"}
    with pytest.raises(ConfigError, match=f"{other}=.* is the place of results, too"):
        check_outputs(find_files([file]), **outputs)


def test_places_that_are_fine(tmp_path, file):
    outputs = {"results": tmp_path / "r.parquet", "failed": str(tmp_path / "f"), "journal": None}
    check_outputs(find_files([file]), **outputs)


def test_nothing_is_sent_where_a_place_is_refused(publish, file, local_platform):
    before = len(local_platform.requests)
    with pytest.raises(ConfigError, match="one of the files to publish"):
        publish(file, failed=file)
    assert len(local_platform.requests) == before

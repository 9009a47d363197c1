"""Faults as files, and what is said of a wrong one."""

from __future__ import annotations

import pytest

from v3io_frames_put.local import Fault, faults, load_faults

GOOD = """
[[fault]]
kind = "answer"
status = 429
nth = 3
times = "forever"
headers = { Retry-After = "1" }

[[fault]]
kind = "answer"
status = 503
headers = { Via = "1.1 nginx" }
body = ""
stored = "odd_shards"
stream = "projects/s"

[[fault]]
kind = "record_errors"
places = [1]
code = -99

[[fault]]
kind = "answer"
wait_seconds = "never"

[[fault]]
kind = "disconnect"
stored = "even_shards"
down_seconds = 2

[[fault]]
kind = "wrong_entries"
order = "swapped"

[[fault]]
kind = "change"
action = "resize"
shards = 9
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "faults.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_file_gives_what_the_presets_give(write):
    assert load_faults(write(GOOD)) == [
        faults.throttled(nth=3, times=None),
        faults.Answer(
            status=503,
            headers={"Via": "1.1 nginx"},
            body="",
            stored="odd_shards",
            stream="projects/s",
        ),
        faults.RecordErrors(places=(1,), code=-99),
        faults.Answer(wait_seconds=None),
        faults.restart("even_shards", down_seconds=2),
        faults.WrongEntries(order="swapped"),
        faults.Change(action="resize", shards=9),
    ]


def test_an_empty_file_is_no_fault(write):
    assert load_faults(write("")) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[faults]]\nkind = 'answer'", "unknown field `faults`"),
        ("fault = 3", r"Expected `array`, got `int` - at `\$.fault`"),
        ("[[fault]]\nkind = 'anser'", r"Invalid value 'anser' - at `\$.fault\[0\].kind`"),
        ("[[fault]]\nnth = 3", r"missing required field `kind` - at `\$.fault\[0\]`"),
        ("[[fault]]\nkind = 'answer'\n[[fault]]\nkind = 'disconnect'\nwenn = 'now'",
         r"unknown field `wenn` - at `\$.fault\[1\]`"),
        ("[[fault]]\nkind = 'disconnect'\nwhen = 'now'", "Invalid enum value 'now'"),
        ("[[fault]]\nkind = 'answer'\nnth = 1.5", "Expected `int`, got `float`"),
        ("[[fault]]\nkind = 'answer'\ntimes = 'ever'", r"got `str` - at `\$.fault\[0\].times`"),
        ("[[fault]]\nkind = 'answer'\nnth = 0", r"Answer\(nth=0\): expected 1 or more"),
        ("[[fault]]\nkind = 'change'\naction = 'resize'", "expected shards"),
        ("[[fault", r"faults.toml: .*Correct the file"),
    ],
)  # fmt: skip
def test_a_wrong_file_says_what_and_where(write, text, said):
    with pytest.raises(match=said):
        load_faults(write(text))


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_faults(tmp_path / "none.toml")


def test_every_kind_can_be_written_in_a_file(write):
    kinds = [kind for kind in vars(faults).values() if isinstance(kind, type)]
    kinds = [kind for kind in kinds if issubclass(kind, Fault) and kind is not Fault]
    tags = [kind.__struct_config__.tag for kind in kinds]
    assert sorted(tags) == ["answer", "change", "disconnect", "record_errors", "wrong_entries"]
    tables = "[[fault]]\nkind = 'change'\naction = 'delete'\n"
    tables += "".join(f"[[fault]]\nkind = '{tag}'\n" for tag in tags if tag != "change")
    assert {type(fault) for fault in load_faults(write(tables))} == set(kinds)

"""Faults as files, and what is said of a wrong one."""

from __future__ import annotations

import pytest

from v3io_frames_put.local import Fault, FaultScriptError, faults, load_faults

GOOD = """
[[fault]]
kind = "answer"
status = 429
nth = 3
times = "forever"
retry_after_seconds = 1
retry_after_as_date = true

[[fault]]
kind = "answer"
status = 503
headers = { Via = "1.1 nginx" }
body = ""
stored = [0, 2]
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
        faults.throttled(nth=3, times=None, as_date=True),
        faults.Answer(
            status=503,
            headers={"Via": "1.1 nginx"},
            body="",
            stored=(0, 2),
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
        ("[[faults]]\nkind = 'answer'", r"unknown name 'faults'.*mean 'fault'\?"),
        ("fault = 3", r"'fault' is not a list. Write \[\[fault\]\]"),
        ("[fault]\nkind = 'answer'", r"'fault' is not a list. Write \[\[fault\]\]"),
        ("[[fault]]\nkind = 'anser'",
         r"fault 1: kind = 'anser'; expected one of answer, .*mean 'answer'\?"),
        ("[[fault]]\nnth = 3", r"kind = None; expected one of answer, disconnect"),
        ("[[fault]]\nkind = ['answer']", r"kind = \['answer'\]; expected one of answer"),
        ("[[fault]]\nkind = 'answer'\n[[fault]]\nkind = 'disconnect'\nwenn = 'now'",
         r"fault 2 \(disconnect\): unknown name 'wenn'; expected one of .*mean 'when'\?"),
        ("[[fault]]\nkind = 'disconnect'\nwhen = 'now'",
         r"when = 'now': .*\(one of 'before_body', 'in_body', 'after_body'\)"),
        ("[[fault]]\nkind = 'answer'\nstored = 'some'",
         r"stored = 'some': .*\(one of 'none', 'all', 'even_shards', 'odd_shards'\)"),
        ("[[fault]]\nkind = 'answer'\nnth = 1.5", r"nth = 1.5: Expected `int`, got `float`"),
        ("[[fault]]\nkind = 'answer'\ntimes = 'ever'",
         r"times = 'ever': Expected `int`, got `str` \(one of 'forever'\)"),
        ("[[fault]]\nkind = 'answer'\nnth = 'forever'", r"nth = 'forever': Expected `int`"),
        ("[[fault]]\nkind = 'answer'\nretry_after_as_date = 1",
         r"retry_after_as_date = 1: Expected `bool`"),
        ("[[fault]]\nkind = 'answer'\nheaders = { a = 1 }", r"headers = .*: Expected `str`"),
        ("[[fault]]\nkind = 'record_errors'\nplaces = ['a']", r"places = \['a'\]: Expected `int`"),
        ("[[fault]]\nkind = 'answer'\nnth = 0", r"fault 1 .*: Answer\(nth=0\): expected 1 or more"),
        ("[[fault]]\nkind = 'change'", r"fault 1 \(change\): .*`action`"),
        ("[[fault]]\nkind = 'change'\naction = 'resize'", r"fault 1 \(change\): .*shards"),
        ("[[fault", r"faults.toml is not valid TOML: .*Correct the file"),
    ],
)  # fmt: skip
def test_a_wrong_file_says_what_and_where(write, text, said):
    with pytest.raises(FaultScriptError, match=said):
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

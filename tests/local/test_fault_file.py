"""Scripts of faults as files, and what is said of a wrong one."""

from __future__ import annotations

import pytest

from v3io_frames_put import local
from v3io_frames_put.local import (
    FaultScriptError,
    RecordErrors,
    Restart,
    ShardsAdded,
    StalledAnswer,
    Throttled,
    Unavailable,
    load_faults,
)

GOOD = """
[[fault]]
kind = "Throttled"
nth = 3
times = "forever"
as_date = true

[[fault]]
kind = "Unavailable"
stored = [0, 2]
stream = "projects/s"

[[fault]]
kind = "RecordErrors"
places = [1]
code = -99

[[fault]]
kind = "StalledAnswer"
seconds = "never"

[[fault]]
kind = "Restart"
stored = "even_shards"
down_seconds = 2

[[fault]]
kind = "ShardsAdded"
shards = 9
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "faults.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_file_reads_as_the_script_in_python(write):
    assert load_faults(write(GOOD)) == [
        Throttled(nth=3, times=None, as_date=True),
        Unavailable(stored=(0, 2), stream="projects/s"),
        RecordErrors(places=(1,), code=-99),
        StalledAnswer(seconds=None),
        Restart(stored="even_shards", down_seconds=2),
        ShardsAdded(shards=9),
    ]


def test_an_empty_file_is_an_empty_script(write):
    assert load_faults(write("")) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[fault]]\nkind = 'Throtled'", r"fault 1: kind = 'Throtled'; .*mean 'Throttled'\?"),
        ("[[fault]]\nnth = 2", r"fault 1: kind = None; expected one of EmptyAnswer"),
        ("[[faults]]\nkind = 'Reset'", r"unknown name 'faults'; .*mean 'fault'\?"),
        ("[fault]\nkind = 'Reset'", r"Write \[\[fault\]\] for each"),
        ("[[fault]]\nkind = 'Reset'\n[[fault]]\nkind = 'Reset'\nwenn = 'now'",
         r"fault 2 \(Reset\): unknown name 'wenn'; expected one of .*mean 'when'\?"),
        ("[[fault]]\nkind = 'Reset'\nwhen = 'now'",
         r"when = 'now'; expected 'before_body' or 'in_body' or 'after_body'"),
        ("[[fault]]\nkind = 'Reset'\nnth = 1.5", r"nth = 1.5; expected a whole number"),
        ("[[fault]]\nkind = 'Reset'\nnth = 'forever'", r"nth = 'forever'; expected a whole number"),
        ("[[fault]]\nkind = 'TooLarge'\ncloses_early = 1", r"expected true or false"),
        ("[[fault]]\nkind = 'RecordErrors'\nplaces = ['a']", r"expected a list of whole numbers"),
        ("[[fault]]\nkind = 'Reset'\nnth = 0", r"fault 1: Reset\(nth=0\): expected 1 or more"),
        ("[[fault]]\nkind = 'ShardsAdded'", r"fault 1: .*shards"),
        ("[[fault", r"faults.toml is no TOML: .*Correct the file"),
    ],
)  # fmt: skip
def test_a_wrong_file_says_what_and_where(write, text, said):
    with pytest.raises(FaultScriptError, match=said):
        load_faults(write(text))


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_faults(tmp_path / "none.toml")


def test_every_fault_has_a_kind_a_table_row_and_words_for_its_values():
    from v3io_frames_put.local._fault_file import KINDS

    public = {name for name in dir(local) if isinstance(getattr(local, name), type)}
    faults = {name for name in public if issubclass(getattr(local, name), local.Fault)} - {"Fault"}
    assert faults == set(KINDS)
    assert all(f"\n{name} " in local.__doc__ for name in faults)
    for kind in KINDS.values():
        own = set(kind.__annotations__) - set(local.Fault.__annotations__)
        assert all(name in kind.__doc__ for name in own), kind

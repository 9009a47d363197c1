"""The package as a whole: public names, version, errors, and how little importing does."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import v3io_frames_put
from v3io_frames_put import errors

ROOT = Path(__file__).parents[1]


def run_python(code, **environment):
    """Run code in a fresh interpreter and return what it printed, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_public_names_are_sorted():
    assert list(v3io_frames_put.__all__) == sorted(v3io_frames_put.__all__)


def test_public_names_are_all_there():
    contract = {
        "Client", "ConfigError", "DataError", "Encoding", "Interrupted", "Limits", "PartialFailure",
        "PutRecordsError", "Retry", "Timeouts", "UnstoredRowsWarning",
        "put_records", "summarize",
    }  # fmt: skip
    assert contract <= set(v3io_frames_put.__all__)
    assert [name for name in v3io_frames_put.__all__ if not hasattr(v3io_frames_put, name)] == []


def test_every_error_is_public():
    ours = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == errors.__name__ and name[0] != "_"
    }
    assert ours <= set(v3io_frames_put.__all__)


def test_the_version_is_the_installed_one():
    assert v3io_frames_put.__version__ == importlib.metadata.version("v3io-frames-put")


def test_the_accessor_is_registered():
    import pandas as pd

    assert callable(pd.DataFrame().v3io.put_records)


def read_tree(text):
    """Read the drawing of the error tree as pairs of (class, base)."""
    above: list[tuple[int, str]] = []
    found = set()
    for line in text.splitlines():
        match = re.match(r"(    [ │├└─]*)([A-Z]\w+)(?:\s|$)", line)
        if not match:
            continue
        column, name = len(match[1]), match[2]
        while above and above[-1][0] >= column:
            above.pop()
        if above:
            found.add((name, above[-1][1]))
        above.append((column, name))
    return found


def first_public_base(value):
    return next(base.__name__ for base in value.__bases__ if not base.__name__.startswith("_"))


def test_the_drawing_of_the_error_tree_shows_the_classes():
    raised = {
        value
        for value in vars(errors).values()
        if isinstance(value, type)
        and issubclass(value, BaseException)
        and not issubclass(value, Warning)
        and value.__module__ == errors.__name__
        and not value.__name__.startswith("_")
    }
    classes = {(value.__name__, first_public_base(value)) for value in raised}
    assert read_tree(errors.__doc__) == classes


LIST_MODULES = "import json, sys; {}; print(json.dumps(sorted(sys.modules)))"


def test_importing_loads_pandas_and_pyarrow_and_nothing_else():
    bare = set(run_python(LIST_MODULES.format("import pandas, pyarrow")))
    ours = set(run_python(LIST_MODULES.format("import v3io_frames_put")))
    tops = {name.partition(".")[0] for name in ours} - {name.partition(".")[0] for name in bare}
    foreign = tops - {"v3io_frames_put"} - set(sys.stdlib_module_names)
    slow = {"aiohttp", "click", "ipywidgets", "IPython", "requests", "sqlite3", "tqdm", "urllib3"}
    assert not slow & tops
    assert foreign <= {"arro3", "msgspec", "pybase64", "typing_extensions"}


def test_importing_starts_no_thread():
    code = "import json, threading, v3io_frames_put; print(json.dumps(threading.active_count()))"
    assert run_python(code) == 1


READS = """
import json, os, pandas, pyarrow
seen = []
class Watched(dict):
    def __getitem__(self, name): seen.append(name); return super().__getitem__(name)
    def get(self, name, default=None): seen.append(name); return super().get(name, default)
os.environ = Watched(os.environ)
os.getenv = lambda name, default=None: os.environ.get(name, default)
import v3io_frames_put
print(json.dumps([name for name in seen if "V3IO" in name or "PROXY" in name.upper()]))
"""


def test_importing_reads_no_environment():
    assert run_python(READS, V3IO_API="http://127.0.0.1:1", V3IO_ACCESS_KEY="k") == []


def test_jobs_and_local_are_there_without_an_import_of_their_own():
    code = (
        "import json, v3io_frames_put as v; "
        "print(json.dumps([v.jobs.publish.__name__, v.local.LocalPlatform.__name__]))"
    )
    assert run_python(code) == ["publish", "LocalPlatform"]

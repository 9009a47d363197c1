"""What editors, notebooks and `inspect` see of the public functions; how their errors look."""

from __future__ import annotations

import inspect
import subprocess
import sys
import traceback

import jedi
import pandas as pd
import polars as pl
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

import v3io_frames_put
import v3io_frames_put.polars
from v3io_frames_put import Client, ColumnNotFound, ConfigError, jobs, plan_records, put_records
from v3io_frames_put.widget import Uploader

FRAME = pd.DataFrame({"sensor": ["attic"], "celsius": [31.5]})
CALLS = ["put_records", "plan_records"]


@pytest.fixture
def client():
    with Client("http://127.0.0.1:1", "key") as client:  # nothing is sent
        yield client


@pytest.mark.parametrize("frame", [FRAME, pl.DataFrame(FRAME)], ids=["pandas", "polars"])
@pytest.mark.parametrize("name", CALLS)
def test_a_method_has_the_signature_and_the_docstring_of_its_function(frame, name):
    function, method = getattr(v3io_frames_put, name), getattr(frame.v3io, name)
    of_function = list(inspect.signature(function).parameters.values())
    assert list(inspect.signature(method).parameters.values()) == of_function[1:]
    assert of_function[0].name == "data"
    assert method.__doc__ == function.__doc__
    assert method.__name__ == name


def test_the_uploaders_options_are_the_widgets():
    options = set(inspect.signature(FRAME.v3io.uploader).parameters)
    shown = Uploader(FRAME, **dict.fromkeys(options - {"stream", "client", "index", "format",
                                                       "rows_per_record", "delivery"}))  # fmt: skip
    shown.close()
    assert {"columns", "partition_key", "shard", "client_info", "delivery", "journal"} <= options


@pytest.mark.parametrize(
    "call",
    [
        "v3io_frames_put.put_records(df, 'a/b', partition_k",
        "v3io_frames_put.plan_records(df, 'a/b', partition_k",
        "v3io_frames_put.accessor.V3ioAccessor(df).put_records('a/b', partition_k",
        "v3io_frames_put.accessor.V3ioAccessor(df).plan_records('a/b', partition_k",
        "v3io_frames_put.accessor.V3ioAccessor(df).uploader('a/b', partition_k",
    ],
)
def test_an_editor_completes_options(call):
    script = jedi.Script(f"import v3io_frames_put\nimport v3io_frames_put.accessor\n{call}")
    assert [found.name for found in script.complete()] == ["partition_key="]


@pytest.mark.parametrize("name", [*CALLS, "uploader"])
def test_a_notebook_completes_options(name):
    shell = InteractiveShell.instance(user_ns={"df": FRAME})
    line = f"df.v3io.{name}('a/b', partition_k"
    with provisionalcompleter():
        found = [each.text for each in shell.Completer.completions(line, len(line))]
    InteractiveShell.clear_instance()
    assert "partition_key=" in found


def test_tab_lists_the_public_names_only():
    assert dir(v3io_frames_put) == sorted([*v3io_frames_put.__all__, "jobs", "local"])
    assert {"Uploader", "jobs", "local", "put_records"} <= set(dir(v3io_frames_put))


@pytest.mark.parametrize("call", [FRAME.v3io.put_records, FRAME.v3io.plan_records])
def test_a_misspelled_option_is_named_with_the_right_one(call):
    with pytest.raises(TypeError, match=r"'partion_key'\. Did you mean 'partition_key'"):
        call("a/b", partion_key="sensor")


def test_an_option_that_is_like_no_other_is_only_refused():
    with pytest.raises(TypeError, match=r"'xyz'\.$"):
        put_records(FRAME, "a/b", xyz=1)


def test_a_misspelled_column_is_named_with_the_right_one(client):
    with pytest.raises(ColumnNotFound, match="Did you mean 'celsius'"):
        put_records(FRAME, "a/b", partition_key="celcius", client=client)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: FRAME.v3io.put_records("a/b", partition_key="no", client=client),
        lambda client: put_records(FRAME, "a/b", format="xml", client=client),
        lambda client: put_records(FRAME, "a/b", shard=pd.Series([1, 2]), client=client),
        lambda client: plan_records(FRAME, "a/b", columns=["no"], client=client),
        lambda client: pl.DataFrame(FRAME).v3io.put_records("a/b", columns=[], client=client),
        lambda _client: FRAME.v3io.plan_records("a/b", partion_key="sensor"),
        lambda client: jobs.publish("no.parquet", "a/b", client=client),
        lambda client: jobs.plan("no.parquet", "a/b", format="xml", client=client),
        lambda client: jobs.publish("no.parquet", "a/b", partion_key="sensor", client=client),
    ],
)
def test_an_error_about_the_callers_line_shows_one_line_of_ours(client, call):
    with pytest.raises((ValueError, TypeError)) as raised:
        call(client)
    frames = traceback.extract_tb(raised.tb)
    ours = [frame for frame in frames if "v3io_frames_put" in frame.filename]
    assert len(ours) == 1
    shown = "".join(traceback.format_exception(raised.value))
    assert shown.count("v3io_frames_put/") == 1


def test_a_notebook_shows_none_of_our_lines(client):
    with pytest.raises(ConfigError) as raised:
        put_records(FRAME, "a/b", format="xml", client=client)
    assert raised.traceback.filter(raised)[-1].path.name == "test_signatures.py"


def test_the_package_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "v3io_frames_put", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith("Usage: v3io-put ")


def test_polars_frames_are_sent_as_they_are(local_platform):
    frame = pl.DataFrame({"sensor": ["attic", "cellar"], "celsius": [31.5, 12.0]})
    local_platform.create_stream("users/a/b")
    with local_platform.client() as client:
        results = frame.v3io.put_records("users/a/b", partition_key="sensor", client=client)
    assert results["status"].tolist() == ["stored", "stored"]
    assert [record.data for record in local_platform.records("users/a/b")] == [
        b'{"sensor":"attic","celsius":31.5}',
        b'{"sensor":"cellar","celsius":12.0}',
    ]

"""The data, the choices, and the plan that follows them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import v3io_frames_put
from v3io_frames_put import ColumnNotFound, ConfigError, Uploader

STREAM = "projects/house/readings"


def test_the_plan_follows_the_choices(hands, make_uploader, client):
    uploader = make_uploader(hands.make_readings(5), STREAM, client=client)
    hands.settle(uploader)
    assert '{"sensor":"attic","celsius":0.0}'.replace('"', "&quot;") in hands.preview(uploader)
    uploader._form.columns.value = ("celsius",)
    hands.settle(uploader)
    assert '{"celsius":0.0}'.replace('"', "&quot;") in hands.preview(uploader)
    uploader._form.format.value = "raw"
    hands.settle(uploader)
    assert uploader.plan is None
    assert "raw" in hands.preview(uploader)


def test_a_big_frame_is_sampled_and_says_so(hands, make_uploader, client):
    wide = pd.DataFrame(np.zeros((2_000, 1_000)), columns=[f"c{n}" for n in range(1_000)])
    uploader = make_uploader(wide, STREAM, client=client)
    hands.settle(uploader)
    assert uploader.plan.rows == 500
    assert "Of the first 500 of 2,000 rows" in hands.preview(uploader)


def test_the_options_are_the_same_upload_as_code(hands, make_uploader, client):
    uploader = make_uploader(
        hands.make_readings(9), STREAM, client=client, partition_key="sensor", columns=["celsius"]
    )
    uploader._form.delivery.value = "at_most_once"
    assert uploader.options == (
        "results = v3io_frames_put.put_records(\n"
        "    df,\n"
        "    'projects/house/readings',\n"
        "    columns=['celsius'],\n"
        "    partition_key='sensor',\n"
        "    delivery='at_most_once',\n"
        ")"
    )
    names = {"v3io_frames_put": _WithClient(client), "df": hands.make_readings(9)}
    exec(uploader.options, names)  # noqa: S102  # our own text
    assert names["results"]["status"].eq("stored").all()


class _WithClient:
    """The package, as a notebook sees it whose environment names the platform."""

    def __init__(self, client):
        self._client = client

    def put_records(self, *args, **options):
        return v3io_frames_put.put_records(*args, client=self._client, **options)


def test_frames_of_the_notebook_are_found(hands, make_uploader):
    names = {"clicks": hands.make_readings(2), "_": hands.make_readings(3), "number": 7}
    uploader = make_uploader(names=names)
    assert uploader._form.frame.options == ("clicks",)
    names["later"] = hands.make_readings(4)
    hands.press(uploader, "find")
    assert uploader._form.frame.options == ("clicks", "later")
    uploader._form.frame.value = "later"
    assert "later: 4 rows, 2 columns" in hands.message(uploader)
    assert uploader.options.startswith("results = v3io_frames_put.put_records(\n    later,")


def test_no_frame_in_the_notebook_says_what_to_do(hands, make_uploader):
    uploader = make_uploader(names={})
    assert "press Find DataFrames" in hands.message(uploader)
    hands.press(uploader, "upload")
    assert "There is nothing to send" in hands.message(uploader)
    assert uploader.status == "idle"


def test_the_frame_in_use_stays_though_its_name_is_gone(hands, make_uploader):
    names = {"clicks": hands.make_readings(2)}
    uploader = make_uploader(names=names)
    del names["clicks"]
    hands.press(uploader, "find")
    assert uploader._form.frame.options == ("clicks",)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_file_is_read(hands, make_uploader, tmp_path, suffix):
    path = str(tmp_path / f"readings.{suffix}")
    data = hands.make_readings(7)
    data.to_parquet(path) if suffix == "parquet" else data.to_csv(path, index=False)
    uploader = make_uploader(names={})
    uploader._form.file.value = path
    hands.settle(uploader)
    assert f"pd.read_{suffix}({path!r})" in uploader.options
    assert uploader._form.columns.options == ("sensor", "celsius")


@pytest.mark.parametrize("name", ["missing.parquet", "notes.txt"])
def test_a_file_that_cannot_be_read_says_why(hands, make_uploader, tmp_path, name):
    uploader = make_uploader(names={})
    uploader._form.file.value = str(tmp_path / name)
    hands.settle(uploader)
    assert name in hands.message(uploader)


def test_what_is_no_frame_is_refused():
    with pytest.raises(ConfigError, match="a list; expected a pandas DataFrame"):
        Uploader([1, 2])


def test_the_accessor_makes_an_uploader(hands, make_uploader):
    uploader = hands.make_readings(2).v3io.uploader(STREAM, names={})
    assert "2 rows" in hands.message(uploader)
    uploader.close()


@pytest.mark.parametrize(
    ("choices", "error_class", "says"),
    [
        ({"columns": ["celsius", "kelvin"]}, ColumnNotFound, "columns='kelvin' is not a column"),
        ({"columns": []}, ConfigError, "expected at least one"),
        ({"partition_key": "kelvin"}, ColumnNotFound, "partition_key='kelvin' is not a column"),
        ({"partition_key": ["a"] * 9}, ConfigError, "the form takes a column's name"),
        ({"delivery": "twice"}, ConfigError, "delivery='twice'"),
        ({"format": "xml"}, ConfigError, "format='xml'"),
        ({"rows_per_record": "auto"}, ConfigError, "rows_per_record"),
    ],
)
def test_what_the_data_or_the_form_does_not_have_is_refused(
    hands, make_uploader, choices, error_class, says
):
    with pytest.raises(error_class, match=says):
        make_uploader(hands.make_readings(9), STREAM, **choices)


def test_a_shard_and_a_client_info_for_every_row_are_sent(hands, make_uploader, client):
    choices = {"shard": 0, "client_info": b"abc"}
    uploader = make_uploader(hands.make_readings(9), STREAM, client=client, **choices)
    assert "shard=0,\n    client_info=b'abc',\n" in uploader.options
    uploader._start()
    hands.settle(uploader)
    records = client.read_records(STREAM)
    assert set(records.shard_id) == {0}
    assert set(records.client_info) == {b"abc"}


def test_all_columns_of_one_frame_are_all_of_the_next(make_uploader, client):
    frames = {
        "one": pd.DataFrame({"a": [1], "b": [2]}),
        "two": pd.DataFrame({"b": [3], "c": [4]}),
    }
    uploader = make_uploader(names=frames, stream=STREAM, client=client)
    uploader._form.frame.value = "two"
    assert uploader._picker.read_choices().columns is None
    uploader._form.columns.value = ("b",)
    uploader._form.frame.value = "one"
    assert uploader._picker.read_choices().columns == ("b",)

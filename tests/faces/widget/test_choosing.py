"""The data, the choices, and the plan that follows them."""

from __future__ import annotations

import re

import ipywidgets
import numpy as np
import pandas as pd
import pytest

import v3io_frames_put
from v3io_frames_put import ColumnNotFound, ConfigError, Uploader

STREAM = "projects/house/readings"


def test_the_plan_follows_the_choices(hands, make_uploader, client):
    uploader = make_uploader(hands.make_readings(5), STREAM, client=client)
    hands.settle(uploader)
    assert '{"sensor":"attic","celsius":0.0}' in hands.preview(uploader)
    uploader._form.fields["format"].value = "raw"
    hands.settle(uploader)
    assert uploader.plan is None
    assert "Format 'raw' sends one column, and 2 are chosen. Check one in the list Columns." in (
        hands.preview(uploader)
    )
    uploader._form.fields["rows_per_record"].value = 3
    hands.settle(uploader)
    assert "Rows per record 3: Format 'raw' sends one row" in hands.preview(uploader)
    uploader._form.fields["rows_per_record"].value = 1
    uploader._form.fields["format"].value = "json"
    hands.check(uploader, "sensor")
    hands.settle(uploader)
    assert '{"celsius":0.0}' in hands.preview(uploader)
    hands.check(uploader, "celsius")
    hands.settle(uploader)
    assert "No column is checked" in hands.preview(uploader)


def test_a_big_frame_is_sampled_and_the_sample_scaled(hands, make_uploader, client):
    wide = pd.DataFrame(np.zeros((2_000, 1_000)), columns=[f"c{n}" for n in range(1_000)])
    uploader = make_uploader(wide, STREAM, client=client)
    hands.settle(uploader)
    assert uploader.plan.rows == 500
    assert (
        "<b>2,000 rows</b> make about 2,000 records, about 29.1 MB on the wire "
        "(by the first 500 rows)"
    ) in hands.preview(uploader)


def test_the_options_are_the_same_upload_as_code(hands, make_uploader, client):
    uploader = make_uploader(
        hands.make_readings(9), STREAM, client=client, partition_key="sensor", columns=["celsius"]
    )
    uploader._form.fields["delivery"].value = "at_most_once"
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
    hands.press(uploader, "Find DataFrames")
    assert uploader._form.frame.options == ("clicks", "later")
    assert hands.primary(uploader) == ("Upload 2 rows", True)
    uploader._form.frame.value = "later"
    assert "4 rows, 2 columns" in uploader._form.shape.value
    assert hands.primary(uploader) == ("Upload 4 rows", True)
    assert uploader.options.startswith("results = v3io_frames_put.put_records(\n    later,")


def test_no_frame_in_the_notebook_says_what_to_do(hands, make_uploader):
    uploader = make_uploader(names={})
    assert "press Find DataFrames" in hands.message(uploader)
    assert hands.buttons(uploader) == []
    shown = [w for w in hands.seen(uploader) if isinstance(w, ipywidgets.HTML) and w.value]
    said = "No DataFrame was found. Make one and press Find DataFrames, or fill in the field File."
    assert [re.sub("<[^>]*>", "", w.value) for w in shown] == ["What", "Where to", said]


def test_a_stream_is_needed(hands, make_uploader):
    uploader = make_uploader(hands.make_readings(2), names={})
    hands.press(uploader, "Upload")
    assert "The field Stream is empty" in hands.message(uploader)
    assert uploader.status == "idle"


def test_what_does_nothing_yet_is_not_shown(hands, make_uploader):
    uploader = make_uploader(hands.make_readings(2), STREAM, names={})
    assert hands.buttons(uploader) == ["Upload 2 rows"]
    assert uploader._page.value == uploader._numbers.value == uploader._message.value == ""
    assert uploader._form.fields["format"] not in list(hands.seen(uploader))
    uploader._form.more.value = True
    assert uploader._form.fields["format"] in list(hands.seen(uploader))
    with_options = make_uploader(hands.make_readings(2), STREAM, names={}, format="arrow")
    assert with_options._form.fields["format"] in list(hands.seen(with_options))


def test_the_frame_in_use_stays_though_its_name_is_gone(hands, make_uploader):
    names = {"clicks": hands.make_readings(2)}
    uploader = make_uploader(names=names)
    del names["clicks"]
    hands.press(uploader, "Find DataFrames")
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
    assert hands.columns(uploader) == {"sensor": True, "celsius": True}


def test_a_file_and_a_frame_can_be_chosen_back_and_forth(hands, make_uploader, tmp_path):
    path = str(tmp_path / "readings.csv")
    hands.make_readings(7).to_csv(path, index=False)
    uploader = make_uploader(names={"clicks": hands.make_readings(3)})
    uploader._form.file.value = path
    hands.settle(uploader)
    read = f"pd.read_csv({path!r})"
    assert uploader._form.frame.options == ("clicks", read)
    for name, rows in (("clicks", 3), (read, 7), ("clicks", 3)):
        uploader._form.frame.value = name
        hands.settle(uploader)
        assert uploader.options.startswith(f"results = v3io_frames_put.put_records(\n    {name},")
        assert hands.primary(uploader) == (f"Upload {rows} rows", True)
        assert uploader.plan.rows == rows


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
    uploader = hands.make_readings(2).v3io.uploader(STREAM)
    assert hands.primary(uploader) == ("Upload 2 rows", True)
    uploader.close()


@pytest.mark.parametrize(
    ("choices", "error_class", "says"),
    [
        ({"columns": ["celsius", "kelvin"]}, ColumnNotFound, "columns='kelvin' is not a column"),
        ({"columns": []}, ConfigError, "expected at least one"),
        ({"columns": "celsius"}, ConfigError, r"Type columns=\['celsius'\]"),
        ({"columns": 5}, ConfigError, "columns=5: expected a list of names. Correct it"),
        ({"partition_key": "kelvin"}, ColumnNotFound, "partition_key='kelvin' is not a column"),
        ({"partition_key": ["a"] * 9}, ConfigError, "the form takes a column's name"),
        ({"delivery": "twice"}, ConfigError, "delivery='twice'"),
        ({"format": "xml"}, ConfigError, "format='xml'"),
        ({"rows_per_record": "auto"}, ConfigError, "rows_per_record"),
        ({"rows_per_record": 5_000_000}, ConfigError, "1 to 1,000,000"),
        ({"format": "raw", "rows_per_record": 3}, ConfigError, "sends one row in a record"),
        ({"index": "yes"}, ConfigError, "index='yes': expected True or False"),
        ({"journal": 5}, ConfigError, "journal=5: expected a path"),
        ({"client": "x"}, ConfigError, r"client: expected Client\(\.\.\.\); got 'x'"),
        ({"names": [1]}, ConfigError, "names is a list; expected a mapping"),
    ],
)
def test_what_the_data_or_the_form_does_not_have_is_refused(
    hands, make_uploader, choices, error_class, says
):
    with pytest.raises(error_class, match=says):
        make_uploader(hands.make_readings(9), STREAM, **choices)


def test_first_values_may_be_of_kindred_types(hands, make_uploader, tmp_path):
    uploader = make_uploader(
        hands.make_readings(9), None, names={},
        journal=tmp_path / "run.v3io", index=np.True_, rows_per_record=np.int64(4),
        columns=pd.Index(["celsius"]),
    )  # fmt: skip
    for said in ("columns=['celsius']", "index=True", "rows_per_record=4", "run.v3io'"):
        assert f"{said},\n" in uploader.options


def test_a_shard_and_a_client_info_for_every_row_are_sent(hands, make_uploader, client):
    choices = {"shard": 0, "client_info": b"abc"}
    uploader = make_uploader(hands.make_readings(9), STREAM, client=client, **choices)
    assert "shard=0,\n    client_info=b'abc',\n" in uploader.options
    uploader._start()
    hands.settle(uploader)
    records = client.read_records(STREAM)
    assert set(records.shard_id) == {0}
    assert set(records.client_info) == {b"abc"}


def test_all_columns_of_one_frame_are_all_of_the_next(hands, make_uploader, client):
    frames = {
        "one": pd.DataFrame({"a": [1], "b": [2]}),
        "two": pd.DataFrame({"b": [3], "c": [4]}),
    }
    uploader = make_uploader(names=frames, stream=STREAM, client=client)
    uploader._form.frame.value = "two"
    assert "columns=" not in uploader.options
    hands.check(uploader, "c")
    uploader._form.frame.value = "one"
    assert "columns=['b']" in uploader.options


def test_columns_are_sent_in_the_order_that_was_asked_for(hands, make_uploader):
    uploader = make_uploader(
        hands.make_readings(2), STREAM, names={}, columns=["celsius", "sensor"]
    )
    assert "columns=['celsius', 'sensor']" in uploader.options


def wide_frame(columns=1_000):
    names = [f"c{n:03}" for n in range(columns)]
    return pd.DataFrame(np.arange(2.0 * columns).reshape(2, -1), columns=names)


def test_a_thousand_columns_are_searched_and_paged(hands, make_uploader):
    uploader = make_uploader(wide_frame(), STREAM, names={})
    columns = uploader._form.columns
    assert len(list(hands.columns(uploader))) == 8
    assert "1 to 8 of 1,000" in columns.place.value
    columns.on.click()
    assert next(iter(hands.columns(uploader))) == "c008"
    columns.search.value = "C99"
    assert list(hands.columns(uploader)) == [f"c{n}" for n in range(990, 998)]
    columns.on.click()
    assert list(hands.columns(uploader)) == ["c998", "c999"]
    assert columns.on.disabled
    columns.uncheck.click()
    assert "990 of 1,000 columns checked" in columns.count.value
    columns.search.value = ""
    columns.uncheck.click()
    columns.search.value = "c42"
    columns.check.click()
    assert uploader.options.count("'c42") == 10


def test_columns_show_type_and_share_of_missing_cells(hands, make_uploader):
    data = pd.DataFrame(
        {"full": [1, 2], "half": [1.5, None], "few": [None, *[1.0] * 1]}, index=[0, 1]
    )
    data = pd.concat([data] * 2_000, ignore_index=True)
    data.loc[1:, "few"] = 1.0
    uploader = make_uploader(data, STREAM, names={})
    hands.settle(uploader)
    facts = [re.sub("<[^>]*>", "", html.value) for html in uploader._form.columns.facts[:3]]
    assert facts == ["int64", "float64 · 50.0 % missing", "float64 · 0.1 % missing"]


def test_columns_that_come_and_go_in_place_are_offered_anew(hands, make_uploader, client):
    data = hands.make_readings(3)
    uploader = make_uploader(data, STREAM, client=client, partition_key="sensor")
    hands.settle(uploader)
    del data["sensor"]
    data["new"] = 1
    hands.press(uploader, "Upload")
    hands.settle(uploader)
    assert "'sensor' is not a column of the data" in hands.message(uploader)
    uploader._form.fields["rows_per_record"].value = 2
    hands.settle(uploader)
    assert hands.columns(uploader) == {"celsius": True, "new": True}
    assert "partition_key" not in uploader.options
    hands.press(uploader, "Upload")
    hands.settle(uploader)
    assert uploader.progress.stored == 3

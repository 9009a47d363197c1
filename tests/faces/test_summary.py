"""A summary says what a results frame says, as text and as a page."""

from __future__ import annotations

import html
import io
import re
import sys

import pandas as pd
import pytest

import v3io_frames_put
from v3io_frames_put import ConfigError, jobs, summarize
from v3io_frames_put.local import faults

STREAM = "projects/house/readings"


def make_results(**columns):
    """Make a results frame by hand: one stored row, changed as asked for."""
    rows = max((len(values) for values in columns.values()), default=1)
    blank = {
        "status": ["stored"] * rows,
        "shard_id": pd.array([0] * rows, "Int32"),
        "sequence_number": pd.array(range(1, rows + 1), "Int64"),
        "error_code": pd.array([None] * rows, "Int64"),
        "error_message": pd.array([None] * rows, "string"),
        "error_detail": pd.array([None] * rows, "string"),
        "attempts": pd.array([1] * rows, "Int16"),
        "maybe_duplicate": [False] * rows,
    }
    frame = pd.DataFrame(blank | columns)
    return frame.astype({"status": "category"})


def test_rows_are_counted_by_status_shard_and_attempt():
    summary = summarize(
        make_results(
            status=["stored", "stored", "rejected", "unknown"],
            shard_id=pd.array([1, 0, None, None], "Int32"),
            attempts=pd.array([1, 3, 0, 1], "Int16"),
            maybe_duplicate=[False, True, False, False],
        )
    )
    assert summary.counts == {"stored": 2, "rejected": 1, "unsent": 0, "unknown": 1}
    assert summary.shards["rows"].to_dict() == {0: 1, 1: 1}
    assert summary.shards["first"].to_dict() == {0: 2, 1: 1}
    assert (summary.rows, summary.maybe_duplicates) == (4, 1)
    assert repr(summary).startswith("2 of 4 rows stored (1 rejected, 1 unknown)\n")
    assert "1 row may be stored twice" in repr(summary)


def test_reasons_are_grouped_commonest_first():
    summary = summarize(
        make_results(
            status=["rejected"] * 3,
            error_message=["ShardIdInvalid", "DataTooLarge", "DataTooLarge"],
            error_detail=["one", "two", "three"],
        )
    )
    assert summary.errors["error_message"].tolist() == ["DataTooLarge", "ShardIdInvalid"]
    assert summary.errors["rows"].tolist() == [2, 1]
    assert summary.errors["detail"].tolist() == ["two", "one"]


def test_a_selection_of_rows_needs_no_receipt():
    results = make_results(status=["stored", "unsent"])
    results.attrs = {}
    summary = summarize(results.iloc[:1])
    assert (summary.rows, summary.receipt) == (1, {})
    assert "second" not in repr(summary)


def test_no_rows_have_a_summary():
    summary = summarize(make_results().iloc[:0])
    assert summary.rows == 0
    assert "<table" in summary._repr_html_()


def test_another_frame_is_refused_and_what_it_lacks_is_named():
    with pytest.raises(ConfigError, match="no column error_code"):
        summarize(pd.DataFrame({"status": [], "shard_id": [], "sequence_number": []}))


def test_a_run_tells_its_throughput(local_platform):
    data = pd.DataFrame({"key": ["a", "b", "c"] * 500, "text": "x" * 500})
    local_platform.faults = [faults.throttled()]
    with local_platform.client() as client:
        client.create_stream(STREAM, shards=3)
        results = data.v3io.put_records(STREAM, partition_key="key", client=client)
    summary = results.v3io.summary()
    assert summary.receipt == results.attrs["v3io"]
    assert summary.headline == "All 1,500 rows stored"
    run_id = results.attrs["v3io"]["run_id"]
    told = r"[\d.]+k? rows/s · [\d.]+ MB/s · \d requests · [\d.]+ s · "
    assert re.search(rf"{told}{STREAM} · run {run_id}\n", repr(summary))
    assert any(name == "Rows sent again" for name, _ in summary.facts())
    assert summary.shards["rows"].sum() == 1_500


def test_the_page_holds_the_numbers_and_a_described_bar(local_platform):
    local_platform.faults = [faults.RecordErrors(places=(0,))]
    data = pd.DataFrame({"key": ["a", "b"]}, index=["first", "second"])
    with local_platform.client() as client:
        client.create_stream(STREAM, shards=2)
        with pytest.warns(v3io_frames_put.UnstoredRowsWarning):
            results = data.v3io.put_records(STREAM, client=client)
    page = summarize(results)._repr_html_()
    assert '<b style="font-size:16px">1 of 2 rows stored</b>' in page
    assert 'role="img" aria-label="1 stored, 1 rejected"' in page
    assert "Why 1 row is not stored" in page
    assert "InvalidArgumentException" in page
    assert ">-201326592</code>" in page  # an identifier: no separators
    assert ">first</td>" in page
    assert "<script" not in page
    assert "http" not in page.replace(local_platform.endpoint, "")
    assert "-201326592" in repr(summarize(results))


def test_reasons_name_their_column_what_to_do_and_rows(local_platform):
    data = pd.DataFrame({"a": [1.5, float("inf"), 2.5] * 4, "b": [float("inf"), 1.0, 1.0] * 4})
    data.index = [f"row {n}" for n in range(12)]
    with local_platform.client() as client:
        client.create_stream(STREAM)
        with pytest.warns(v3io_frames_put.UnstoredRowsWarning):
            results = data.v3io.put_records(STREAM, client=client)
    errors = summarize(results).errors
    assert errors[["error_message", "column", "rows"]].to_numpy().tolist() == [
        ["UnencodableValue", "b", 4],
        ["UnencodableValue", "a", 4],
    ]
    assert errors["labels"].tolist() == [
        ("row 0", "row 3", "row 6", "row 9"),
        ("row 1", "row 4", "row 7", "row 10"),
    ]
    assert (
        "           4  UnencodableValue, column 'b': holds an infinity. Clean it, or choose "
        "Encoding(infinity='null' or 'string')\n              rows row 0, row 3, row 6, row 9\n"
    ) in repr(summarize(results))


def test_every_shard_is_labelled_and_those_without_rows_are_told():
    results = make_results(shard_id=pd.array([0] * 30 + [2] * 30, "Int32"))
    results.attrs["v3io"] = {"shards": 5}
    summary = summarize(results)
    assert summary.shards["rows"].to_dict() == {0: 30, 1: 0, 2: 30, 3: 0, 4: 0}
    assert "3 of 5 shards got no rows: 1, 3, 4" in repr(summary)
    for shard in range(5):
        assert f">{shard}</th>" in summary._repr_html_()
    few = summarize(make_results(shard_id=pd.array([0, 2], "Int32")))
    assert few.shards["rows"].to_dict() == {0: 1, 1: 0, 2: 1}
    assert "got no rows" not in repr(few)  # two rows cannot fill three shards


@pytest.mark.parametrize(
    ("shards", "words"),
    [([0, 1], "2 shards, 1 row each"), ([0, 1, 1], "2 shards, 1 to 2 rows each")],
)
def test_shards_with_as_many_rows_have_one_number(shards, words):
    assert words in repr(summarize(make_results(shard_id=pd.array(shards, "Int32"))))


@pytest.mark.parametrize("name", ["status", "shard_id", "error_message", "column", "label"])
def test_an_index_may_be_named_as_a_column_of_results(local_platform, name):
    frame = pd.DataFrame({"x": [float("inf"), 1.0]}, index=pd.Index([7, 8], name=name))
    with local_platform.client() as client:
        client.create_stream(STREAM)
        with pytest.warns(v3io_frames_put.UnstoredRowsWarning, match="1 of 2 rows"):
            results = frame.v3io.put_records(STREAM, client=client)
    summary = results.v3io.summary()
    assert results.index.name == name
    assert summary.shards["rows"].to_dict() == {0: 1}
    assert summary.errors["labels"].tolist() == [("7",)]


def test_what_was_read_back_can_be_sent_and_summarized(local_platform):
    with local_platform.client() as client:
        client.create_stream(STREAM)
        pd.DataFrame({"x": [1, 2]}).v3io.put_records(STREAM, client=client)
        rows = client.decode_records(client.read_records(STREAM))
        results = rows.v3io.put_records(STREAM, client=client)
    assert results.v3io.summary().counts["stored"] == 2


class Terminal(io.StringIO):
    """A terminal, as a person looks at it."""

    def isatty(self):
        return True


@pytest.mark.parametrize("is_terminal", [True, False])
def test_where_a_person_looks_on_shards_without_rows_are_known(
    local_platform, monkeypatch, is_terminal
):
    local_platform.create_stream(STREAM, shards=3)
    monkeypatch.setattr(sys, "stderr", Terminal() if is_terminal else io.StringIO())
    data = pd.DataFrame({"row": range(60)})
    results = data.v3io.put_records(STREAM, shard=0, client=local_platform.client())
    asked = [arrival.function for arrival in local_platform.requests]
    assert asked == ["PutRecords"] + ["DescribeStream"] * is_terminal
    assert ("2 of 3 shards got no rows: 1, 2." in repr(summarize(results))) == is_terminal


@pytest.mark.parametrize(
    ("columns", "receipt", "told"),
    [
        ({"maybe_duplicate": [True]}, {}, "1 row may be stored twice, because an answer was lost"),
        ({"maybe_duplicate": [True]}, {"delivery": "exactly_once"}, "(..., unique=True)"),
        ({"status": ["unknown"] * 2}, {}, "2 rows may or may not be stored: no answer came."),
        ({"status": ["unknown"]}, {"delivery": "exactly_once"}, "looks for them on the stream"),
        ({"status": ["unknown"]}, {"delivery": "at_least_once"}, "sends them again, and marks"),
        ({"status": ["unknown"]}, {"delivery": "at_most_once"}, "never sends them again"),
        ({"status": ["unsent"]}, {"stopped": "stopped"}, "1 row not sent, because the run ended"),
        ({}, {"duplicates": {"count": 1}}, "1 further copy of stored rows is on the stream"),
        ({}, {"out_of_order": {"count": 2}}, "2 rows stored after later rows of the same key"),
        ({}, {"already_complete": True}, "already complete: nothing was sent"),
    ],
)  # fmt: skip
def test_what_must_not_be_missed_is_told_with_its_cure(columns, receipt, told):
    results = make_results(**columns)
    results.attrs["v3io"] = receipt
    summary = summarize(results)
    assert told in repr(summary)
    bare = re.sub("<[^>]*>", "", summary._repr_html_())
    assert told in html.unescape(bare)


def test_what_a_resumed_run_does_not_know_is_not_told():
    results = make_results()
    results.attrs["v3io"] = {"out_of_order": None}
    assert "out of order" not in repr(summarize(results))


def test_one_row_is_one_row():
    assert summarize(make_results()).headline == "1 row stored"
    one = summarize(make_results(status=["rejected"], error_message=["DataTooLarge"]))
    assert one.headline == "0 of 1 row stored"
    assert one.unstored_message().startswith(
        "1 of 1 row is not stored (1 rejected). 1 x DataTooLarge"
    )


def test_nobody_knows_that_unknown_rows_are_not_stored():
    summary = summarize(make_results(status=["unknown"], error_message=["NoAnswer"]))
    known = "row is not known to be stored"
    assert summary.unstored_message().startswith(f"1 of 1 {known} (1 unknown). 1 x NoAnswer")
    assert f"Why 1 {known}" in repr(summary)


def test_markup_in_messages_is_escaped():
    evil = "<script>alert(1)</script>"
    results = make_results(status=["rejected"], error_message=[evil], error_detail=[evil * 100])
    page = summarize(results)._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "(2,500 characters)" in page


def test_thousands_of_shards_and_reasons_are_capped():
    stored = make_results(shard_id=pd.array(range(4_096), "Int32"))
    summary = summarize(stored)
    assert len(summary._repr_html_()) < 200_000
    assert "The first 256 of 4,096 shards" in summary._repr_html_()
    assert "and 4,080 more shards" in repr(summary)
    names = [f"Reason{n}" for n in range(300)]
    failed = summarize(make_results(status=["rejected"] * 300, error_message=names))
    assert "the 10 most frequent of 300 reasons" in failed._repr_html_()
    many = make_results(status=["unknown"] * 1_500, error_message=["NoAnswer"] * 1_500)
    assert ">1,500</th>" in summarize(many)._repr_html_()
    assert "and 290 more reasons" in repr(failed)


def test_the_results_of_a_job_show_themselves_as_a_run_does(local_platform, tmp_path):
    path = tmp_path / "readings.parquet"
    pd.DataFrame({"celsius": [1.5, float("inf"), 2.5]}).to_parquet(path)
    failed = tmp_path / "failed.parquet"
    with local_platform.client() as client:
        client.create_stream(STREAM)
        with pytest.warns(v3io_frames_put.UnstoredRowsWarning):
            results = jobs.publish(path, STREAM, client=client, failed=failed, on_error="return")
    assert repr(results).startswith("2 of 3 rows stored (1 rejected)\n")
    assert f"rows {path}:2\n" in repr(results)
    assert repr(results).endswith(f"Files read: 1\nFailed rows: {failed}")
    assert "Why 1 row is not stored" in results._repr_html_()
    assert ">celsius</code>" in results._repr_html_()


class OtherFrame:
    """Results as Dask or Spark hold them: columns that are read when asked for."""

    def __init__(self, results):
        self.results = results
        self.columns = [*results.columns, "partition"]

    def __getitem__(self, columns):
        return OtherFrame(self.results[columns])

    def compute(self):
        return self.results


class SparkFrame(OtherFrame):
    """Results as Spark hands them over: missing numbers make floats of the others."""

    def select(self, *columns):
        return SparkFrame(self.results[list(columns)])

    def toPandas(self):  # noqa: N802  # Spark's name
        return self.results.astype({"shard_id": "float64", "sequence_number": "float64"})


@pytest.mark.parametrize("kind", [OtherFrame, SparkFrame])
def test_results_of_dask_and_spark_are_summarized(kind):
    results = make_results(status=["stored", "rejected"], shard_id=pd.array([1, None], "Int32"))
    summary = summarize(kind(results))
    assert summary.headline == "1 of 2 rows stored"
    assert summary.shards["rows"].to_dict() == {0: 0, 1: 1}

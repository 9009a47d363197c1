"""A summary says what a results frame says, as text and as a page."""

from __future__ import annotations

import pandas as pd
import pytest

import v3io_frames_put
from v3io_frames_put import ConfigError, summarize
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
    assert summary.attempts == {0: 1, 1: 2, 3: 1}
    assert (summary.rows, summary.maybe_duplicates) == (4, 1)
    assert "1 rows were sent more than once, at most 3 times" in repr(summary)
    assert "1 rows may stand twice" in repr(summary)


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
    assert (summary.rows, summary.rows_per_second, summary.receipt) == (1, None, {})
    assert "second" not in repr(summary)


def test_no_rows_have_a_summary():
    summary = summarize(make_results().iloc[:0])
    assert summary.rows == 0
    assert "<table" in summary._repr_html_()


def test_another_frame_is_refused_and_what_it_lacks_is_named():
    with pytest.raises(ConfigError, match="no column attempts, error_code"):
        summarize(pd.DataFrame({"status": [], "shard_id": [], "sequence_number": []}))


def test_a_run_tells_its_throughput(local_platform):
    data = pd.DataFrame({"key": ["a", "b", "c"] * 500})
    local_platform.faults = [faults.throttled()]
    with local_platform.client() as client:
        client.create_stream(STREAM, shards=3)
        results = data.v3io.put_records(STREAM, partition_key="key", client=client)
    summary = results.v3io.summary()
    assert summary.receipt == results.attrs["v3io"]
    assert "MB/s" in repr(summary)
    assert "rows were sent more than once, at most 2 times" in repr(summary)
    assert summary.shards["rows"].sum() == 1_500


def test_the_page_holds_the_numbers_and_a_described_drawing(local_platform):
    local_platform.faults = [faults.RecordErrors(places=(0,))]
    data = pd.DataFrame({"key": ["a", "b"]})
    with local_platform.client() as client:
        client.create_stream(STREAM, shards=2)
        with pytest.warns(v3io_frames_put.UnstoredRowsWarning):
            results = data.v3io.put_records(STREAM, client=client)
    html = summarize(results)._repr_html_()
    said = "Rows per shard: 1 in all, shards 1, the fewest 1, the most 1"
    assert f'role="img" aria-label="{said}"' in html
    assert "var(--jp-brand-color1,#1976d2)" in html
    assert '<th scope="row"' in html
    assert "InvalidArgumentException" in html


def test_markup_in_messages_is_escaped():
    evil = "<script>alert(1)</script>"
    results = make_results(status=["rejected"], error_message=[evil], error_detail=[evil * 100])
    html = summarize(results)._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "(2,500 characters)" in html


def test_thousands_of_shards_and_reasons_are_capped():
    stored = make_results(shard_id=pd.array(range(4_096), "Int32"))
    summary = summarize(stored)
    assert len(summary._repr_html_()) < 70_000
    assert "the first 16 of 4,096" in summary._repr_html_()
    assert "and 4080 more shards" in repr(summary)
    names = [f"Reason{n}" for n in range(300)]
    failed = summarize(make_results(status=["rejected"] * 300, error_message=names))
    assert "the 10 commonest of 300 reasons" in failed._repr_html_()
    assert "and 295 more reasons" in repr(failed)

"""An upload from the first click to the last word."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from packaging.version import Version

import v3io_frames_put
from v3io_frames_put.local import faults

STREAM = "projects/house/readings"


def test_an_upload_ends_with_true_numbers(hands, make_uploader, client, local_platform):
    uploader = make_uploader(hands.make_readings(), STREAM, client=client, partition_key="sensor")
    seen = []
    uploader.observe(lambda change: seen.append(change["new"]), names="status")
    hands.press(uploader, "upload")
    hands.settle(uploader)
    assert seen == ["uploading", "done"]
    assert (uploader.total, uploader.stored, uploader.in_flight) == (3_000, 3_000, 0)
    assert len(local_platform.records(STREAM)) == 3_000
    assert uploader.results["status"].eq("stored").all()
    assert "All 3,000 rows are stored." in hands.message(uploader)
    assert "3,000 of 3,000 rows stored" in uploader._controls.numbers.value
    assert "Rows per shard" in uploader._controls.after.value


def test_stop_leaves_true_results(hands, make_uploader, client, local_platform):
    uploader = make_uploader(hands.make_readings(20_000), STREAM, client=client)
    with local_platform.hold():
        hands.press(uploader, "upload")
        local_platform.wait_until(lambda platform: platform.in_flight() == 8)
        assert uploader.status == "uploading"
        assert uploader._controls.upload.disabled
        hands.press(uploader, "stop")
        assert uploader.status == "stopping"
    hands.settle(uploader)
    assert uploader.status == "stopped"
    stored = uploader.results["status"].eq("stored").sum()
    assert stored == len(local_platform.records(STREAM))
    assert 0 < stored < 20_000
    assert "Stopped." in hands.message(uploader)
    assert not uploader._controls.upload.disabled


def test_what_is_left_is_sent(hands, make_uploader, client, local_platform):
    uploader = make_uploader(hands.make_readings(20_000), STREAM, client=client)
    assert uploader._controls.rest.disabled
    with local_platform.hold():
        hands.press(uploader, "upload")
        local_platform.wait_until(lambda platform: platform.in_flight() == 8)
        hands.press(uploader, "pause")
    hands.settle(uploader)
    assert uploader.status == "paused"
    assert uploader._controls.rest.description == "Resume"
    run_id = uploader.results.attrs["v3io"]["run_id"]
    uploader._form.columns.value = ("celsius",)  # of the next upload, not of this one
    hands.press(uploader, "rest")
    hands.settle(uploader)
    assert uploader.status == "done"
    assert uploader._controls.rest.disabled
    assert uploader._controls.rest.description == "Send what is left"
    assert uploader.results.attrs["v3io"]["run_id"] == run_id
    found = local_platform.records(STREAM)
    assert len(found) == len({record.data for record in found}) == 20_000
    assert all(b"sensor" in record.data for record in found)


def test_an_upload_that_does_not_start_shows_nothing_of_the_one_before(
    hands, make_uploader, client, local_platform
):
    uploader = make_uploader(hands.make_readings(10), STREAM, client=client)
    hands.press(uploader, "upload")
    hands.settle(uploader)
    assert (uploader.total, uploader.stored, len(uploader.results)) == (10, 10, 10)
    uploader._form.stream.value = "nowhere"
    hands.press(uploader, "upload")
    hands.settle(uploader)
    assert uploader.status == "failed"
    assert (uploader.total, uploader.stored, uploader.results) == (None, 0, None)
    assert uploader._controls.after.value == ""
    assert uploader._last_state._html == "Nothing uploaded yet."
    assert uploader._controls.save.disabled
    assert len(local_platform.records(STREAM)) == 10


def test_a_second_click_does_not_upload_twice(hands, make_uploader, client, local_platform):
    uploader = make_uploader(hands.make_readings(10), STREAM, client=client)
    with local_platform.hold():
        hands.press(uploader, "upload")
        hands.press(uploader, "upload")
    hands.settle(uploader)
    assert len(local_platform.records(STREAM)) == 10


def test_two_uploaders_work_side_by_side(hands, make_uploader, client, local_platform):
    two = [make_uploader(hands.make_readings(2_000), STREAM, client=client) for _ in range(2)]
    for uploader in two:
        hands.press(uploader, "upload")
    for uploader in two:
        hands.settle(uploader)
    assert [uploader.stored for uploader in two] == [2_000, 2_000]
    assert len(local_platform.records(STREAM)) == 4_000


def test_failed_rows_are_shown_capped_and_whole_in_results(hands, make_uploader, client):
    data = pd.DataFrame({"<b>value": np.full(80, np.inf)})
    uploader = make_uploader(data, STREAM, client=client)
    hands.press(uploader, "upload")
    hands.settle(uploader)
    after = uploader._controls.after.value
    assert "80 rows are not stored; the first 50, all in .results" in after
    assert after.count("UnencodableValue") == 50 + 1  # each row, and the group of all
    assert "<b>" not in after
    assert "80 of 80 rows are not stored (80 rejected)" in hands.message(uploader)
    assert uploader.status == "done"


def test_a_refusal_of_the_platform_is_shown(hands, make_uploader, client, local_platform):
    local_platform.faults = [faults.RecordErrors(places=(1,), message="ShardIDOutOfRangeException")]
    uploader = make_uploader(hands.make_readings(3), STREAM, client=client)
    hands.press(uploader, "upload")
    hands.settle(uploader)
    assert "ShardIDOutOfRangeException" in uploader._controls.after.value
    assert (uploader.stored, uploader.rejected) == (2, 1)


def test_a_missing_stream_is_created_from_the_widget(hands, make_uploader, client, local_platform):
    uploader = make_uploader(hands.make_readings(4), "projects/house/new", client=client)
    create = uploader._controls._create_row
    assert create.layout.display == "none"
    hands.press(uploader, "upload")
    hands.settle(uploader)
    assert uploader.status == "failed"
    assert "nothing is there" in hands.message(uploader)
    assert create.layout.display == ""
    uploader._controls.shards.value = 2
    hands.press(uploader, "create")
    hands.settle(uploader)
    assert client.describe_stream("projects/house/new").shards == 2
    assert create.layout.display == "none"
    hands.press(uploader, "upload")
    hands.settle(uploader)
    assert uploader.stored == 4


def test_a_platform_that_is_down_is_shown(hands, make_uploader, local_platform):
    local_platform.faults = [faults.unavailable(times=None)]
    retry = v3io_frames_put.Retry(deadline_seconds=0.2, base_seconds=0.05)
    with local_platform.client() as client:
        client.create_stream(STREAM)
    with local_platform.client(retry=retry) as client:
        uploader = make_uploader(hands.make_readings(3), STREAM, client=client)
        hands.press(uploader, "upload")
        hands.settle(uploader)
    assert uploader.results["status"].ne("stored").all()
    assert "RetriesExhausted" in uploader._controls.after.value


def test_a_frame_that_changes_during_the_upload_does_not_disturb_it(
    hands, make_uploader, client, local_platform
):
    data = hands.make_readings(5)
    uploader = make_uploader(data, STREAM, client=client)
    with local_platform.hold():
        hands.press(uploader, "upload")
        data["late"] = 1
        del data
    hands.settle(uploader)
    assert all(b"late" not in record.data for record in local_platform.records(STREAM))
    assert uploader.stored == 5


@pytest.mark.skipif(
    Version(pd.__version__) < Version("3"), reason="before pandas 3, copies share their values"
)
def test_values_that_change_during_the_upload_are_sent_as_they_were(
    hands, make_uploader, client, local_platform
):
    data = hands.make_readings(5)
    uploader = make_uploader(data, STREAM, client=client)
    with local_platform.hold():
        hands.press(uploader, "upload")
        data.loc[:, "celsius"] = -1.0
    hands.settle(uploader)
    assert all(b"-1" not in record.data for record in local_platform.records(STREAM))


def test_a_journal_lets_another_uploader_go_on(
    hands, make_uploader, client, local_platform, tmp_path
):
    path = tmp_path / "run.v3io"
    data, options = hands.make_readings(20_000), {"client": client, "journal": str(path)}
    first = make_uploader(data, STREAM, **options)
    assert "journal" not in hands.message(first)
    assert f"journal={str(path)!r}" in first.options
    with local_platform.hold():
        hands.press(first, "upload")
        local_platform.wait_until(lambda platform: platform.in_flight() == 8)
        hands.press(first, "stop")
    hands.settle(first)
    second = make_uploader(data, STREAM, **options)
    hands.settle(second)
    assert "is there, the journal of a run" in hands.message(second)
    assert second.plan is not None
    hands.press(second, "upload")
    hands.settle(second)
    assert second.status == "done"
    found = local_platform.records(STREAM)
    assert len(found) == len({record.data for record in found}) == 20_000
    hands.press(first, "rest")  # by the same journal, which knows that nothing is left
    hands.settle(first)
    assert "Already complete, nothing was sent." in hands.message(first)
    assert first.results["status"].eq("stored").all()
    assert len(local_platform.records(STREAM)) == 20_000


def test_results_are_saved(hands, make_uploader, client, tmp_path):
    uploader = make_uploader(hands.make_readings(6), STREAM, client=client)
    hands.press(uploader, "save")
    hands.settle(uploader)
    assert "There are no results yet." in hands.message(uploader)
    hands.press(uploader, "upload")
    hands.settle(uploader)
    uploader._controls.path.value = str(tmp_path / "results.parquet")
    hands.press(uploader, "save")
    hands.settle(uploader)
    saved = pd.read_parquet(tmp_path / "results.parquet")
    assert saved["status"].tolist() == ["stored"] * 6

"""An upload from the first click to the last word."""

from __future__ import annotations

import re

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
    hands.press(uploader, "Upload")
    hands.settle(uploader)
    assert seen == ["uploading", "done"]
    last = uploader.progress
    assert (last.total, last.stored, last.in_flight) == (3_000, 3_000, 0)
    assert len(local_platform.records(STREAM)) == 3_000
    assert uploader.results["status"].eq("stored").all()
    assert "Done." in hands.message(uploader)
    assert uploader._numbers.value == ""  # the page says it all
    assert "All 3,000 rows stored" in hands.page(uploader)
    assert "Rows per shard" in hands.page(uploader)
    assert hands.buttons(uploader) == ["Upload 3,000 rows again", "Save results"]
    assert hands.primary(uploader) == ("Upload 3,000 rows again", False)


def test_progress_is_shown_while_it_runs(hands, make_uploader, client, local_platform):
    uploader = make_uploader(hands.make_readings(20_000), STREAM, client=client)
    seen = []
    uploader._numbers.observe(lambda change: seen.append(change["new"]), names="value")
    with local_platform.hold():
        hands.press(uploader, "Upload")
        local_platform.wait_until(lambda platform: platform.in_flight() == 8)
        assert hands.buttons(uploader) == ["Pause", "Stop"]
    hands.settle(uploader)
    assert "0 of 20,000 rows stored" in seen[0]
    assert seen[-1] == ""


def test_the_same_rows_are_sent_again_only_when_it_is_confirmed(
    hands, make_uploader, client, local_platform
):
    uploader = make_uploader(hands.make_readings(10), STREAM, client=client)
    hands.press(uploader, "Upload 10 rows")
    hands.settle(uploader)
    hands.press(uploader, "Upload 10 rows again")
    assert "Sending every row again stores these twice." in hands.message(uploader)
    assert hands.buttons(uploader)[1:3] == ["Send all 10 rows", "Cancel"]
    hands.press(uploader, "Cancel")
    assert len(local_platform.records(STREAM)) == 10
    hands.press(uploader, "Upload 10 rows again")
    hands.press(uploader, "Send all 10 rows")
    hands.settle(uploader)
    assert len(local_platform.records(STREAM)) == 20


def test_upload_from_code_asks_as_the_button_does(hands, make_uploader, client, local_platform):
    uploader = make_uploader(hands.make_readings(10), STREAM, client=client)
    for _ in range(2):
        uploader.upload()
        hands.settle(uploader)
    assert len(local_platform.records(STREAM)) == 10
    assert "Sending every row again stores these twice." in hands.message(uploader)


def test_another_stream_needs_no_confirmation(hands, make_uploader, client, local_platform):
    local_platform.create_stream("projects/house/other")
    uploader = make_uploader(hands.make_readings(10), STREAM, client=client)
    hands.press(uploader, "Upload 10 rows")
    hands.settle(uploader)
    uploader._form.fields["stream"].value = "projects/house/other"
    assert hands.primary(uploader) == ("Upload 10 rows", True)
    hands.press(uploader, "Upload 10 rows")
    hands.settle(uploader)
    assert len(local_platform.records("projects/house/other")) == 10


def test_stop_leaves_true_results(hands, make_uploader, client, local_platform):
    uploader = make_uploader(hands.make_readings(20_000), STREAM, client=client)
    with local_platform.hold():
        hands.press(uploader, "Upload")
        local_platform.wait_until(lambda platform: platform.in_flight() == 8)
        assert uploader.status == "uploading"
        assert hands.buttons(uploader) == ["Pause", "Stop"]
        hands.press(uploader, "Stop")
        assert uploader.status == "stopping"
        assert hands.buttons(uploader) == []
    hands.settle(uploader)
    assert uploader.status == "stopped"
    stored = uploader.results["status"].eq("stored").sum()
    assert stored == len(local_platform.records(STREAM))
    assert 0 < stored < 20_000
    assert "Stopped." in hands.message(uploader)
    assert f"{stored:,} of 20,000 rows stored" in hands.page(uploader)
    assert f"{20_000 - stored:,} rows not sent, because the run ended early" in hands.page(uploader)
    assert "The first button above sends them." in hands.page(uploader)
    assert hands.primary(uploader) == (f"Send the rest: {20_000 - stored:,} rows left", True)


def test_what_is_left_is_sent(hands, make_uploader, client, local_platform):
    uploader = make_uploader(hands.make_readings(20_000), STREAM, client=client)
    with local_platform.hold():
        hands.press(uploader, "Upload")
        local_platform.wait_until(lambda platform: platform.in_flight() == 8)
        hands.press(uploader, "Pause")
    hands.settle(uploader)
    assert uploader.status == "paused"
    left = 20_000 - len(local_platform.records(STREAM))
    assert hands.primary(uploader) == (f"Resume: {left:,} rows left", True)
    run_id = uploader.results.attrs["v3io"]["run_id"]
    hands.check(uploader, "sensor")  # of the next upload, not of this one
    hands.press(uploader, "Resume")
    hands.settle(uploader)
    assert uploader.status == "done"
    assert uploader.results.attrs["v3io"]["run_id"] == run_id
    found = local_platform.records(STREAM)
    assert len(found) == len({record.data for record in found}) == 20_000
    assert all(b"sensor" in record.data for record in found)


@pytest.mark.parametrize(("halt", "go_on"), [("Pause", "Resume"), ("Stop", "Send the rest")])
def test_starting_over_asks_before_stored_rows_are_sent_again(
    hands, make_uploader, client, local_platform, halt, go_on
):
    uploader = make_uploader(hands.make_readings(20_000), STREAM, client=client)
    with local_platform.hold():
        hands.press(uploader, "Upload")
        local_platform.wait_until(lambda platform: platform.in_flight() == 8)
        hands.press(uploader, halt)
    hands.settle(uploader)
    stored = len(local_platform.records(STREAM))
    left = f"{go_on}: {20_000 - stored:,} rows left"
    assert hands.buttons(uploader) == [left, "Start over", "Save results"]
    assert hands.primary(uploader) == (left, True)
    hands.press(uploader, "Start over")
    hands.settle(uploader)
    assert len(local_platform.records(STREAM)) == stored
    said = f"{stored:,} of 20,000 rows of the last upload are stored or may be."
    assert said in hands.message(uploader)
    hands.press(uploader, "Cancel")
    hands.press(uploader, go_on)
    hands.settle(uploader)
    assert len(local_platform.records(STREAM)) == 20_000


def test_starting_over_sends_everything_once_it_is_confirmed(
    hands, make_uploader, client, local_platform
):
    uploader = make_uploader(hands.make_readings(20_000), STREAM, client=client)
    with local_platform.hold():
        hands.press(uploader, "Upload")
        local_platform.wait_until(lambda platform: platform.in_flight() == 8)
        hands.press(uploader, "Pause")
    hands.settle(uploader)
    stored = len(local_platform.records(STREAM))
    hands.press(uploader, "Start over")
    hands.press(uploader, "Send all 20,000 rows")
    hands.settle(uploader)
    assert uploader.status == "done"
    assert len(local_platform.records(STREAM)) == stored + 20_000


def test_an_upload_that_does_not_start_shows_nothing_of_the_one_before(
    hands, make_uploader, client, local_platform
):
    uploader = make_uploader(hands.make_readings(10), STREAM, client=client)
    hands.press(uploader, "Upload")
    hands.settle(uploader)
    assert (uploader.progress.stored, len(uploader.results)) == (10, 10)
    uploader._form.fields["stream"].value = "nowhere"
    hands.press(uploader, "Upload")
    hands.settle(uploader)
    assert uploader.status == "failed"
    assert (uploader.progress, uploader.results) == (None, None)
    assert uploader._page.value == ""
    assert hands.buttons(uploader) == ["Upload 10 rows"]
    assert len(local_platform.records(STREAM)) == 10


def test_a_second_click_does_not_upload_twice(hands, make_uploader, client, local_platform):
    uploader = make_uploader(hands.make_readings(10), STREAM, client=client)
    with local_platform.hold():
        uploader._start()  # as a click does that comes before the button says Pause
        uploader._start()
    hands.settle(uploader)
    assert len(local_platform.records(STREAM)) == 10


def test_two_uploaders_work_side_by_side(hands, make_uploader, client, local_platform):
    two = [make_uploader(hands.make_readings(2_000), STREAM, client=client) for _ in range(2)]
    for uploader in two:
        hands.press(uploader, "Upload")
    for uploader in two:
        hands.settle(uploader)
    assert [uploader.progress.stored for uploader in two] == [2_000, 2_000]
    assert len(local_platform.records(STREAM)) == 4_000


def test_rejected_rows_are_grouped_and_markup_stays_text(hands, make_uploader, client):
    data = pd.DataFrame({"<b>value": np.full(80, np.inf)})
    uploader = make_uploader(data, STREAM, client=client)
    hands.press(uploader, "Upload")
    hands.settle(uploader)
    assert "0, 1, 2, 3 and 76 more" in hands.page(uploader)
    assert "&lt;b&gt;value" in uploader._page.value
    assert "<b>value" not in uploader._page.value
    assert "80 rows were rejected, for the reasons below." in hands.message(uploader)
    assert uploader.status == "done"


def test_a_refusal_of_the_platform_is_shown(hands, make_uploader, client, local_platform):
    local_platform.faults = [faults.RecordErrors(places=(1,), message="ShardIDOutOfRangeException")]
    uploader = make_uploader(hands.make_readings(3), STREAM, client=client)
    hands.press(uploader, "Upload")
    hands.settle(uploader)
    assert "ShardIDOutOfRangeException" in hands.page(uploader)
    assert (uploader.progress.stored, uploader.progress.rejected) == (2, 1)


def test_what_is_never_sent_twice_is_not_left_to_send(hands, make_uploader, client, local_platform):
    local_platform.faults = [faults.lost_answer()]
    uploader = make_uploader(hands.make_readings(3), STREAM, client=client, delivery="at_most_once")
    hands.press(uploader, "Upload")
    hands.settle(uploader)
    assert "Done. 3 rows may or may not be stored." in hands.message(uploader)
    assert "at_most_once never sends them again; read the stream" in hands.page(uploader)
    assert hands.buttons(uploader) == ["Upload 3 rows again", "Save results"]


def test_a_missing_stream_is_created_from_the_widget(hands, make_uploader, client, local_platform):
    uploader = make_uploader(hands.make_readings(4), "projects/house/new", client=client)
    hands.press(uploader, "Upload")
    hands.settle(uploader)
    assert uploader.status == "failed"
    assert "The stream projects/house/new does not exist yet." in hands.message(uploader)
    assert "v3io-calm" in uploader._message.value
    assert uploader._page.value == ""  # one line and a button
    assert hands.buttons(uploader) == ["Upload 4 rows", "Create stream"]
    assert hands.primary(uploader) == ("Upload 4 rows", False)
    uploader._shards.value = 2
    hands.press(uploader, "Create stream")
    hands.settle(uploader)
    assert client.describe_stream("projects/house/new").shards == 2
    assert "with 2 shards. Press Upload 4 rows." in hands.message(uploader)
    assert hands.primary(uploader) == ("Upload 4 rows", True)
    hands.press(uploader, "Upload")
    hands.settle(uploader)
    assert uploader.progress.stored == 4


@pytest.mark.parametrize(
    ("fault", "choices", "said"),
    [
        (faults.refused(401), {}, "Correct the access key of the client."),
        (faults.redirected(), {}, "Correct the endpoint of the client."),
        (faults.lost_answer(times=None), {}, "Check the endpoint of the client and the network."),
        (None, {"format": "raw"}, "Format 'raw' sends one column, and 2 are chosen. Check one in"),
        (None, {"delivery": "exactly_once", "client_info": b"x"}, "in the field Client info, or"),
    ],
    ids=["key", "moved", "down", "raw", "tags"],
)
def test_messages_speak_of_fields(hands, make_uploader, local_platform, fault, choices, said):
    local_platform.create_stream(STREAM)
    local_platform.faults = [fault] if fault else []
    retry = v3io_frames_put.Retry(deadline_seconds=0.2, base_seconds=0.05)
    with local_platform.client(retry=retry) as client:
        uploader = make_uploader(hands.make_readings(3), STREAM, client=client, **choices)
        hands.press(uploader, "Upload")
        hands.settle(uploader)
    message = re.sub("<[^>]*>", "", hands.message(uploader))
    assert said in message
    assert re.findall(r"\b[a-z_]+=", message) == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (faults.refused(401), "Correct the field Access key (or V3IO_ACCESS_KEY, if it and"),
        (faults.redirected(), "Correct the field Endpoint."),
    ],
)
def test_fields_for_the_platform_are_named_where_they_are(
    hands, make_uploader, local_platform, fault, said
):
    local_platform.create_stream(STREAM)
    local_platform.faults = [fault]
    uploader = make_uploader(hands.make_readings(3), STREAM)
    uploader._form.fields["endpoint"].value = local_platform.endpoint
    hands.press(uploader, "Upload")
    hands.settle(uploader)
    assert said in hands.message(uploader)


def test_rows_that_were_given_up_are_not_done(hands, make_uploader, local_platform):
    local_platform.faults = [faults.throttled(times=None, retry_after_seconds=0)]
    retry = v3io_frames_put.Retry(attempts=2, base_seconds=0.01)
    with local_platform.client(retry=retry) as client:
        uploader = make_uploader(hands.make_readings(3), STREAM, client=client)
        hands.press(uploader, "Upload")
        hands.settle(uploader)
    assert "3 rows were not sent, for the reasons below." in hands.message(uploader)


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("", "Fill in the field Endpoint."),
        ("ftp://host", "Write it as 'https://host:8443'."),
        ("http://me:s3cret@host", "Give a key in the field Access key."),
    ],
)
def test_what_is_wrong_with_an_address_is_said_in_words_of_the_form(
    hands, make_uploader, endpoint, said
):
    uploader = make_uploader(hands.make_readings(3), STREAM, names={})
    uploader._form.fields["endpoint"].value = endpoint
    hands.press(uploader, "Upload")
    hands.settle(uploader)
    message = hands.message(uploader)
    assert said in message
    assert "V3IO_API" not in message
    assert "s3cret" not in message


def test_a_platform_that_is_down_is_shown(hands, make_uploader, local_platform):
    local_platform.faults = [faults.unavailable(times=None)]
    retry = v3io_frames_put.Retry(deadline_seconds=0.2, base_seconds=0.05)
    with local_platform.client() as client:
        client.create_stream(STREAM)
    with local_platform.client(retry=retry) as client:
        uploader = make_uploader(hands.make_readings(3), STREAM, client=client)
        hands.press(uploader, "Upload")
        hands.settle(uploader)
    assert uploader.results["status"].ne("stored").all()
    assert "RetriesExhausted" in hands.page(uploader)


def test_a_frame_that_changes_during_the_upload_does_not_disturb_it(
    hands, make_uploader, client, local_platform
):
    data = hands.make_readings(5)
    uploader = make_uploader(data, STREAM, client=client)
    with local_platform.hold():
        hands.press(uploader, "Upload")
        data["late"] = 1
        del data
    hands.settle(uploader)
    assert all(b"late" not in record.data for record in local_platform.records(STREAM))
    assert uploader.progress.stored == 5


@pytest.mark.skipif(
    Version(pd.__version__) < Version("3"), reason="before pandas 3, copies share their values"
)
def test_values_that_change_during_the_upload_are_sent_as_they_were(
    hands, make_uploader, client, local_platform
):
    data = hands.make_readings(5)
    uploader = make_uploader(data, STREAM, client=client)
    with local_platform.hold():
        hands.press(uploader, "Upload")
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
        hands.press(first, "Upload")
        local_platform.wait_until(lambda platform: platform.in_flight() == 8)
        hands.press(first, "Stop")
    hands.settle(first)
    second = make_uploader(data, STREAM, **options)
    hands.settle(second)
    assert "is the journal of a run" in hands.message(second)
    assert second.plan is not None
    hands.press(second, "Upload")
    hands.settle(second)
    assert second.status == "done"
    found = local_platform.records(STREAM)
    assert len(found) == len({record.data for record in found}) == 20_000
    hands.press(first, "Send the rest")  # by the same journal, which knows that nothing is left
    hands.settle(first)
    assert "Already complete: nothing was sent." in hands.message(first)
    assert first.results["status"].eq("stored").all()
    assert len(local_platform.records(STREAM)) == 20_000


READERS = {
    "results.parquet": pd.read_parquet,
    "results.csv": lambda path: pd.read_csv(path, index_col=0),
    "RESULTS.CSV.GZ": lambda path: pd.read_csv(path, index_col=0, compression="gzip"),
}


@pytest.mark.parametrize("name", READERS)
def test_results_are_saved_as_the_ending_says(hands, make_uploader, client, tmp_path, name):
    uploader = make_uploader(hands.make_readings(6), STREAM, client=client)
    hands.press(uploader, "Upload")
    hands.settle(uploader)
    uploader._path.value = str(tmp_path / name)
    hands.press(uploader, "Save results")
    hands.settle(uploader)
    assert "The results of 6 rows are in" in hands.message(uploader)
    saved = READERS[name](tmp_path / name)
    assert saved["status"].tolist() == ["stored"] * 6


@pytest.mark.parametrize("choices", [{}, {"journal": "run.v3io"}], ids=["plain", "journal"])
def test_a_person_waits_ten_seconds_for_the_first_contact(hands, make_uploader, client, choices):
    """A job with a journal waits until the deadline."""
    for known in (client, None):
        data = hands.make_readings(3)
        uploader = make_uploader(data, STREAM, client=known, names={}, **choices)
        uploader._form.fields["endpoint"].value = client.endpoint
        used = uploader._connect(uploader._read_choices())
        assert (used.retry.first_contact_seconds, used.endpoint) == (10, client.endpoint)
        assert client.retry.first_contact_seconds is None


def test_an_ending_that_says_nothing_is_refused(hands, make_uploader, client, tmp_path):
    uploader = make_uploader(hands.make_readings(6), STREAM, client=client)
    hands.press(uploader, "Upload")
    hands.settle(uploader)
    path = tmp_path / "results.xlsx"
    uploader._path.value = str(path)
    hands.press(uploader, "Save results")
    hands.settle(uploader)
    assert "expected a name that ends in .parquet, .pq, .csv, .csv.gz" in hands.message(uploader)
    assert not path.exists()

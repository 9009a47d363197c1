"""What is in the widget's state and what is not, its names, and its threads."""

from __future__ import annotations

import json
import threading

from ipywidgets import VBox
from ipywidgets.embed import dependency_state

from v3io_frames_put import Uploader
from v3io_frames_put.local import LocalPlatform
from v3io_frames_put.widget.form import SecretText

STREAM = "projects/house/readings"
SECONDS = 30


def state_of(uploader):
    return json.dumps(dependency_state([uploader]), default=str)


def test_the_key_is_in_no_state(hands, make_uploader):
    uploader = make_uploader(hands.make_readings(2), STREAM, names={})
    key = uploader._form.fields["access_key"]
    key.set_state({"value": "s3cret"})  # as a browser sends it
    assert key.secret == "s3cret"
    assert key.value == ""
    assert "s3cret" not in json.dumps(key.get_state(), default=str)
    assert "s3cret" not in state_of(uploader)
    assert "s3cret" not in uploader.options
    assert "s3cret" not in repr(uploader)


def test_the_key_is_not_echoed_to_other_front_ends():
    sent = []
    key = SecretText()
    key.comm.send = lambda data=None, **_: sent.append(data)  # a comm of ours records it
    key.set_state({"value": "s3cret"})
    assert sent != []
    assert "s3cret" not in json.dumps(sent)
    key.close()


def test_the_key_is_used(hands, make_uploader):
    with LocalPlatform(access_key="s3cret") as platform:
        with platform.client() as client:
            client.create_stream(STREAM)
        uploader = make_uploader(hands.make_readings(2), STREAM, names={})
        uploader._form.fields["endpoint"].value = platform.endpoint
        hands.press(uploader, "Upload")
        hands.settle(uploader)
        assert "if it and Endpoint are empty" in hands.message(uploader)
        uploader._form.fields["access_key"].set_state({"value": "s3cret"})
        hands.press(uploader, "Upload")
        hands.settle(uploader)
        assert uploader.progress.stored == 2


def test_every_control_has_a_name(hands, make_uploader):
    uploader = make_uploader(hands.make_readings(2), STREAM, names={})
    uploader._form.more.value = True
    takes_input = [w for w in hands.seen(uploader) if hasattr(w, "disabled")]
    assert len(takes_input) > 15
    assert [w for w in takes_input if not w.description] == []


def test_closing_stops_the_upload_and_its_threads(hands, client, local_platform):
    uploader = Uploader(hands.make_readings(20_000), STREAM, client=client)
    with local_platform.hold():
        hands.press(uploader, "Upload")
        local_platform.wait_until(lambda platform: platform.in_flight() == 8)
        uploader.stop()
    uploader.close()
    assert uploader.status == "stopped"
    hands.check_threads()


def test_closing_ends_a_request_that_is_not_answered(hands, client, local_platform):
    uploader = Uploader(hands.make_readings(2), "projects/new", client=client, names={})
    hands.press(uploader, "Upload")
    hands.settle(uploader)
    with local_platform.hold():
        hands.press(uploader, "Create stream")
        local_platform.wait_until(lambda platform: platform.in_flight("CreateStream") == 1)
        uploader.close()
        hands.check_threads()


def test_an_uploader_that_does_nothing_has_no_thread(hands):
    uploader = Uploader(hands.make_readings(2), STREAM, names={})
    hands.check_threads()
    assert uploader.plan.rows == 2


def test_an_observer_that_fails_does_not_stop_an_upload(hands, make_uploader, client):
    uploader = make_uploader(hands.make_readings(5), STREAM, client=client)

    def fail(_change):
        raise RuntimeError("ours")

    uploader.observe(fail, names="progress")
    hands.press(uploader, "Upload")
    hands.settle(uploader)
    assert uploader.status == "done"


def test_work_that_has_not_begun_is_replaced_by_newer_work(hands, make_uploader):
    uploader, goes_on, done = make_uploader(names={}), threading.Event(), []

    def work():
        done.append("done")

    uploader._soon(lambda: goes_on.wait(SECONDS))
    for _ in range(20):
        uploader._soon(work)
    goes_on.set()
    hands.settle(uploader)
    assert done == ["done"]
    uploader.close()
    uploader._soon(work)
    assert done == ["done"]


def test_nothing_of_ipywidgets_is_hidden_by_a_name_of_ours(make_uploader):
    uploader = make_uploader(names={})
    ours = {name for name in {*vars(Uploader), *vars(uploader)} if not name.startswith("__")}
    meant = {"close", "_repr_mimebundle_"}
    of_traitlets = {name for name in vars(VBox) if "trait" in name or "static" in name}
    hidden = {name for name in ours if hasattr(VBox, name)} - meant - of_traitlets
    assert hidden <= {"_descriptors", "_instance_inits", "_trait_values", "_traits", "comm", "keys"}

"""Who may do what."""

from __future__ import annotations

from base64 import b64encode

import pytest

from v3io_frames_put.local import AccessKey

KEY = {"X-v3io-session-key": "writer"}


def basic(text):
    return {"Authorization": f"Basic {b64encode(text.encode()).decode()}"}


@pytest.fixture
def call(make_platform, make_caller):
    keys = [
        AccessKey(key="all", username="ann", password="secret"),
        AccessKey(key="writer", may_read=False),
        AccessKey(key="reader", may_write=False),
    ]
    platform = make_platform(access_key=keys)
    platform.create_stream("projects/s")
    platform.add_records("projects/s", [b"x"])
    return make_caller(platform)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-v3io-session-key": "all"},
        {"x-V3IO-session-KEY": "all"},
        basic("ann:secret"),
        basic("anybody:writer"),
    ],
)
def test_every_way_to_say_who_we_are_works(call, headers):
    assert call("DescribeStream", "/projects/s", headers=headers).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-v3io-session-key": "nobody"},
        {"Authorization": "AWS all:sig"},
        {"Authorization": "Bearer all"},
        {"Authorization": "Basic ???"},
        basic("ann:all"),
        basic("bob:secret"),
        basic("ann:"),
    ],
)
def test_everybody_else_is_not_known(call, headers):
    answer = call("DescribeStream", "/projects/s", headers=headers)
    assert (answer.status, answer.json()["ErrorMessage"]) == (401, "Unauthorized")


def test_a_key_may_write_and_not_read(call, make_record):
    body = {"Records": [make_record()], "Type": "EARLIEST"}
    assert call("PutRecords", "/projects/s", body, headers=KEY).status == 200
    for function in ("Seek", "GetRecords", "GetItem", "GetItems"):
        answer = call(function, "/projects/s/0", body, headers=KEY)
        assert (answer.status, answer.json()) == (
            403,
            {"ErrorCode": -13, "ErrorMessage": "Permission denied"},
        )
    assert call(None, "/projects", method="GET", headers=KEY).status == 403


def test_a_key_may_read_and_not_write(call, make_record):
    key = {"X-v3io-session-key": "reader"}
    assert call("Seek", "/projects/s/0", {"Type": "LATEST"}, headers=key).status == 200
    assert (
        call("PutRecords", "/projects/s", {"Records": [make_record()]}, headers=key).status == 403
    )
    assert call(None, "/projects/s/0", method="DELETE", headers=key).status == 403


def test_one_key_as_a_text_may_do_everything(make_platform, make_caller):
    call = make_caller(make_platform(access_key="k"))
    assert call("DescribeStream", "/projects/s").status == 401
    headers = {"X-v3io-session-key": "k"}
    assert call("CreateStream", "/projects/s", {}, headers=headers).status == 204


def test_an_empty_key_is_no_key():
    with pytest.raises(ValueError, match="expected a text"):
        AccessKey(key="")


def test_a_key_never_shows():
    assert "hidden" not in repr(AccessKey(key="hidden", password="hidden"))

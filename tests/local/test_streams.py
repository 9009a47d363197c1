"""CreateStream, DescribeStream, UpdateStream and the paths that lead to a stream."""

from __future__ import annotations

import pytest

from v3io_frames_put.local import Rules


def test_a_new_stream_is_described_as_it_was_made(call):
    made = call("CreateStream", "/projects/a/s/", {"ShardCount": 1000, "RetentionPeriodHours": 1})
    assert (made.status, made.body) == (204, b"")
    found = call("DescribeStream", "/projects/a/s/", method="PUT")
    assert found.json() == {"ShardCount": 1000, "RetentionPeriodHours": 1}


def test_counts_have_defaults(call):
    call("CreateStream", "/projects/s", {})
    found = call("DescribeStream", "/projects/s").json()
    assert found == {"ShardCount": 1, "RetentionPeriodHours": 24}


@pytest.mark.parametrize(
    "body",
    [
        {"ShardCount": 0},
        {"ShardCount": 4097},
        {"ShardCount": "8"},
        {"ShardCount": True},
        {"ShardCount": 1.5},
        {"RetentionPeriodHours": 0},
        b"{half",
        b"[1]",
    ],
)
def test_a_stream_that_cannot_be_is_refused(call, body):
    answer = call("CreateStream", "/projects/s", body)
    assert answer.status == 400
    assert answer.json() == {"ErrorCode": -201326592, "ErrorMessage": "InvalidArgumentException"}
    assert call("DescribeStream", "/projects/s").status == 404


@pytest.mark.parametrize(("statuses", "status"), [("current", 409), ("2.10", 400)])
def test_a_path_in_use_answers_as_its_version_did(make_platform, make_caller, statuses, status):
    call = make_caller(make_platform(rules=Rules(statuses=statuses)))
    call("CreateStream", "/projects/s", {})
    again = call("CreateStream", "/projects/s/", {})
    assert (again.status, again.json()["ErrorMessage"]) == (status, "ResourceInUseException")


def test_a_stream_only_grows(call):
    call("CreateStream", "/projects/s", {"ShardCount": 2})
    assert call("UpdateStream", "/projects/s/", {"ShardCount": 3}).status == 204
    for count in (3, 2):
        refused = call("UpdateStream", "/projects/s/", {"ShardCount": count})
        assert (refused.status, refused.json()["ErrorMessage"]) == (
            400,
            "InvalidShardCountException",
        )
    assert call("DescribeStream", "/projects/s").json()["ShardCount"] == 3


@pytest.mark.parametrize(
    ("function", "status", "message"),
    [
        ("DescribeStream", 404, "ResourceNotFoundException"),
        ("PutRecords", 404, "ResourceNotFoundException"),
        ("UpdateStream", 400, "ResourceNotStreamException"),
        ("CreateStream", 409, "ResourceInUseException"),
    ],
)
def test_a_directory_is_no_stream(call, make_record, function, status, message):
    call(None, "/projects/plain/", b"", method="PUT")
    body = {"ShardCount": 5, "Records": [make_record()]}
    answer = call(function, "/projects/plain/", body)
    assert (answer.status, answer.json()["ErrorMessage"]) == (status, message)


def test_putting_to_an_object_says_that_it_is_no_stream(call, make_record):
    call(None, "/projects/file", b"content", method="PUT")
    answer = call.put("/projects/file", make_record())
    assert (answer.status, answer.json()["ErrorMessage"]) == (400, "ResourceIsnotStream")


@pytest.mark.parametrize(
    "path", ["/projects/dir/s", "//projects//dir/s//", "/3/dir/s/", "/projects/d%69r/s"]
)
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_verbs_slashes_and_container_ids_all_lead_to_the_stream(call, path, method):
    call("CreateStream", "/projects/dir/s", {"ShardCount": 7})
    assert call("DescribeStream", path, method=method).json()["ShardCount"] == 7


def test_the_stream_name_may_stand_in_the_body(call):
    assert call("CreateStream", "/projects/dir/", {"StreamName": "s"}).status == 204
    assert call("DescribeStream", "/projects/dir/", {"StreamName": "s"}).status == 200
    assert call("DescribeStream", "/projects/dir/s").status == 200


@pytest.mark.parametrize("name", ["a/b", 7])
def test_the_stream_name_of_a_body_is_one_name(call, name):
    assert call("CreateStream", "/projects/", {"StreamName": name}).status == 400


def test_an_unknown_container_is_named(call):
    answer = call("DescribeStream", "/nowhere/s")
    assert (answer.status, answer.json()["ErrorMessage"]) == (404, "Container not found")


def test_an_unknown_function_is_refused(call):
    assert call("MakeCoffee", "/projects/s", {}).status == 400


def test_answers_come_from_the_front_end(call):
    headers = call("DescribeStream", "/projects/s").headers
    assert headers["Server"] == "nginx"
    assert headers["Date"] == "Tue, 14 Nov 2023 22:13:20 GMT"

"""Stream paths: every form that people write, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.internals import StreamPath, parse_stream_path
from v3io_frames_put.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("projects/fraud/clicks", StreamPath("projects", "fraud/clicks")),
        ("projects/clicks", StreamPath("projects", "clicks")),
        ("/projects/clicks/", StreamPath("projects", "clicks")),
        ("//projects///fraud//clicks//", StreamPath("projects", "fraud/clicks")),
        ("v3io:///projects/clicks", StreamPath("projects", "clicks")),
        ("v3io:////projects//clicks/", StreamPath("projects", "clicks")),
        ("v3io://projects/clicks", StreamPath("projects", "clicks")),
        ("V3IO://projects/clicks", StreamPath("projects", "clicks")),
        ("v3io://localhost/clicks", StreamPath("localhost", "clicks")),
        ("v3ios:///projects/clicks", StreamPath("projects", "clicks")),
        ("v3io://h:8081/projects/clicks", StreamPath("projects", "clicks", "http://h:8081")),
        ("v3ios://a.b/projects/clicks/", StreamPath("projects", "clicks", "https://a.b")),
        ("v3io://[::1]:8081/c/p", StreamPath("c", "p", "http://[::1]:8081")),
        ("projects/v1.2/a:b", StreamPath("projects", "v1.2/a:b")),
        ("projects/spaced out/ü", StreamPath("projects", "spaced out/ü")),
    ],
)
def test_a_path_is_read(text, expected):
    assert parse_stream_path(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a container and a path"),
        ("/", "a container and a path"),
        ("projects", "a container and a path"),
        ("v3io:///projects/", "a container and a path"),
        ("v3io://host:8081/projects", "a container and a path"),
        ("http://host:8081/projects/clicks", "its scheme is 'http'"),
        ("s3://bucket/clicks", "its scheme is 's3'"),
        ("projects/../secrets", "'..' is not a name"),
        ("projects/./clicks", "'.' is not a name"),
        ("projects/a\0b", "is not a name"),
        ("projects/" + "a" * 256, "longer than 255 bytes"),
        ("projects/" + "é" * 128, "longer than 255 bytes"),
        ("projects/" + "/".join(["a" * 200] * 21), "longer than 4,096 bytes"),
        ("projects/\ud800", "is not Unicode text"),
        (None, "a NoneType is not a stream path"),
        (b"projects/clicks", "a bytes is not a stream path"),
    ],
)
def test_what_is_not_a_path_is_refused_with_what_to_write(text, reason):
    with pytest.raises(ConfigError) as caught:
        parse_stream_path(text)
    message = str(caught.value)
    assert reason in message
    assert "expected 'container/path/to/stream'" in message
    assert message.endswith("Correct the path.")


@pytest.mark.parametrize("scheme", ["v3io", "http"])
def test_a_password_in_a_path_is_not_repeated(scheme):
    with pytest.raises(ConfigError) as caught:
        parse_stream_path(f"{scheme}://me:topsecret@host:8081/projects/clicks")
    assert "topsecret" not in str(caught.value)


def test_resources_are_percent_encoded():
    place = StreamPath("my projects", "a b/ü?#%/c+d")
    assert place.resource == "/my%20projects/a%20b/%C3%BC%3F%23%25/c%2Bd/"
    assert place.shard_resource(3) == "/my%20projects/a%20b/%C3%BC%3F%23%25/c%2Bd/3"
    assert str(place) == "my projects/a b/ü?#%/c+d"


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1)


@given(st.lists(NAMES.filter(lambda name: name not in (".", "..")), min_size=2, max_size=4))
def test_any_names_survive_the_way_through_a_path(names):
    text = "/".join(name[:60] for name in names)
    if "://" in text:
        return
    assert str(parse_stream_path(f"/{text}/")) == text

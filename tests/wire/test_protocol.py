"""Errors of the platform, in every shape that they come in."""

import pytest

from tests.internals import Answer, PlatformError, parse_error


def parse(status, body):
    return parse_error(Answer(status, {}, body))


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            400,
            b'{"ErrorCode": -201326592, "ErrorMessage": "InvalidArgumentException"}',
            PlatformError(400, -201326592, "InvalidArgumentException", "InvalidArgumentException"),
        ),
        (
            503,  # captured from a platform in 2025: tabs, line ends, prose
            b'{\n\t"ErrorCode": -117440512,\n\t"ErrorMessage": "%b"\n}'
            % b"Failed to send a control message request",
            PlatformError(
                503,
                -117440512,
                "Failed to send a control message request",
                "Failed to send a control message request",
            ),
        ),
        (
            404,
            b'{ "ErrorCode": -2, "ErrorMessage": "No such file or directory" }',
            PlatformError(404, -2, "ResourceNotFoundException", "No such file or directory"),
        ),
        (
            502,
            b"<html><head><title>502 Bad\n Gateway</title></head><body>nginx</body></html>",
            PlatformError(502, None, "HTTP 502", "Bad Gateway"),
        ),
        (413, b"", PlatformError(413, None, "HTTP 413", "HTTP 413")),
        (500, b"<h1>Oops</h1> <p>it broke", PlatformError(500, None, "HTTP 500", "Oops it broke")),
        (400, b"[1]", PlatformError(400, None, "HTTP 400", "[1]")),
        (400, b'{"ErrorMessage": 5}', PlatformError(400, None, "HTTP 400", "HTTP 400")),
        (
            400,
            b'{"ErrorCode": true, "ErrorMessage": "X"}',
            PlatformError(400, None, "X", "X"),
        ),
        (
            400,
            b'{"a":' * 1_000_000 + b"1" + b"}" * 1_000_000,  # Python 3.14 reads 3,000
            PlatformError(400, None, "HTTP 400", ('{"a":' * 40)),
        ),
        (500, b"\xff\xfe", PlatformError(500, None, "HTTP 500", "\ufffd\ufffd")),
    ],
    ids=["symbolic", "captured", "prose", "page", "empty", "no title", "list", "odd", "bool",
         "deep", "binary"],
)  # fmt: skip
def test_an_error_is_read(status, body, expected):
    assert parse(status, body) == expected


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("ResourceNotStreamException", "ResourceIsnotStream"),
        ("ResourceIsnotStream", "ResourceIsnotStream"),
        ("ResourceInUse", "ResourceInUseException"),
        ("IllegalLocation", "IllegalLocationException"),
        ("ResourceNotFoundException", "ResourceNotFoundException"),
    ],
)
def test_one_error_has_one_name(message, name):
    assert parse(400, f'{{"ErrorMessage": " {message}\\n"}}'.encode()).name == name


def test_long_texts_are_cut():
    error = parse(500, b'{"ErrorMessage": "' + b"ab " * 10_000 + b'"}')
    assert (len(error.name), len(error.text)) == (80, 200)
    assert len(parse(500, b"word " * 1_000_000).text) <= 200

"""Keys and passwords: not where a platform repeats them, nor where a tool prints variables."""

import html
import json
import logging
import re
import traceback
from base64 import b64encode
from urllib.parse import quote

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.internals import Fault, Secrets
from v3io_frames_put import put_records
from v3io_frames_put.client import Client
from v3io_frames_put.config import Retry
from v3io_frames_put.errors import ConfigError, PutRecordsError

pytestmark = pytest.mark.enable_socket

PASSWORD = 'pä/ss"w\\ö&d <+>'
BASIC = b64encode(f"ann:{PASSWORD}".encode()).decode()

SPELLINGS = {
    "plain": lambda text: text,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, in Unicode": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)[1:-1])[1:-1],
    "every character escaped": lambda text: "".join(f"\\u{ord(one):04X}" for one in text),
    "PHP's JSON": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "percent": lambda text: quote(text, safe=""),
    "percent, small": lambda text: re.sub("%..", lambda m: m[0].lower(), quote(text, safe="")),
    "percent twice": lambda text: quote(quote(text, safe="")),
    "form": lambda text: quote(text, safe="").replace("%20", "+"),
    "HTML": html.escape,
    "HTML numbers": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "HTML hexadecimal": lambda text: "".join(f"&#x{ord(one):X};" for one in text),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("secret", [PASSWORD, BASIC, "0123-4567-89ab"], ids=["text", "b64", "key"])
def test_a_secret_is_hidden_however_it_is_spelled(spelling, secret):
    text = f"x{spelling(secret)}y"
    assert Secrets([secret]).hide_text(text) == "x***y"


@given(st.text(min_size=8).filter(lambda text: not text.isdigit()), st.sampled_from([*SPELLINGS]))
def test_any_text_is_hidden_in_any_spelling(secret, name):
    try:
        text = SPELLINGS[name](secret)
        secret.encode()
    except UnicodeEncodeError:
        return
    if any(ord(one) > 0xFFFF for one in secret) and name == "every character escaped":
        return  # that spelling has no surrogates
    assert Secrets([secret]).hide_text(f"[{text}]") == "[***]"


@pytest.mark.parametrize(
    "secret", ["\\" * 3 + "secret", "a" * 30, "%" * 20, '&&&&\\"\\"\\', "0" * 8 + "x"]
)
@pytest.mark.parametrize("flood", ["\\", "%25", "&#0", "a", '\\"', "0"])
def test_no_answer_makes_the_search_slow(secret, flood):
    text = (flood * 2_000_000).encode()[:2_000_000]
    assert Secrets([secret]).hide(text) is not None  # quadratic, it would take hours


@pytest.mark.parametrize("secret", ["12345678", "1234", "key1", "s3cr3t", "pä/s"])
def test_a_short_secret_is_hidden_where_it_is_a_whole_word(secret):
    hide = Secrets([secret]).hide_text
    assert hide(f"wrong key {secret}, or '{secret}'") == "wrong key ***, or '***'"
    assert hide(f"x{secret}x") == f"x{secret}x"
    for spelling in SPELLINGS.values():
        assert hide(f"({spelling(secret)})") == "(***)"


def test_a_number_that_equals_a_secret_by_chance_stays_in_json():
    text = b'{"ErrorCode": 12345678, "ErrorMessage": "key 12345678 and abc"}'
    hidden = b'{"ErrorCode": 12345678, "ErrorMessage": "key *** and abc"}'
    assert Secrets(["12345678", "abc"]).hide(text) == hidden


OK_PUT = {"FailedRecordCount": 0, "Records": [{"SequenceNumber": 1, "ShardId": 0}]}
FAILED_PUT = {"FailedRecordCount": 1, "Records": [{"ErrorCode": -1, "ErrorMessage": "KEY"}]}


def answer(status, body, *headers):
    head = "".join(f"{line}\r\n" for line in (status, *headers, f"Content-Length: {len(body)}"))
    return f"{head}\r\n".encode("utf-8", "replace") + body


def positions(secret):
    """Yield answers that repeat a secret: in each place that an answer has."""
    message = json.dumps({"ErrorCode": -22, "ErrorMessage": f"wrong key {secret}"}).encode()
    for status in ("400 Bad Request", "401 Unauthorized", "403 Forbidden", "500 Oops", "503 Busy"):
        yield answer(f"HTTP/1.1 {status}", message)
    yield answer("HTTP/1.1 502 Bad Gateway", f"<title>{html.escape(secret)}</title>".encode())
    yield answer("HTTP/1.1 308 Moved", b"", f"Location: http://{quote(secret, safe='')}/")
    yield answer(f"HTTP/1.1 500 {secret}", b"")
    yield f"HTTP/1.1 {secret}\r\n\r\n".encode()
    yield f"{secret}\r\n\r\n".encode()
    yield answer("HTTP/1.1 200 OK", message)
    yield answer("HTTP/1.1 200 OK", json.dumps(FAILED_PUT).replace("KEY", quote(secret)).encode())
    escaped = json.dumps(FAILED_PUT).replace("ErrorM", "\\u0045rrorM").encode()
    yield answer("HTTP/1.1 200 OK", escaped.replace(b"KEY", json.dumps(secret)[1:-1].encode()))
    yield answer("HTTP/1.1 200 OK", b"{}", f"Content-Encoding: {quote(secret)}")
    yield answer("HTTP/1.1 200 OK", b"{}", f"Transfer-Encoding: {quote(secret)}")


SECRETS = ["0123-4567-89ab-key", PASSWORD, BASIC]
PLANTED = [(secret, place) for secret in SECRETS for place in positions(secret)]


@pytest.mark.parametrize(("secret", "planted"), PLANTED, ids=range(len(PLANTED)))
def test_no_answer_brings_a_secret_into_results_exceptions_or_log(
    secret, planted, serve, tools, caplog
):
    server = serve(tools.Answers(planted, closes=True))
    is_key = secret == SECRETS[0]
    who = {"access_key": secret} if is_key else {"username": "ann", "password": PASSWORD}
    client = Client(server.url, retry=Retry(attempts=2, base_seconds=0.001), **who)
    caplog.set_level(logging.DEBUG)
    seen = []
    try:
        results = put_records(
            pd.DataFrame({"a": [1]}), "projects/s", client=client, on_error="raise", progress=False
        )
    except PutRecordsError as error:
        seen += ["".join(traceback.format_exception(error)), repr(vars(error))]
        results = error.results
    if results is not None:
        seen += [results.to_json(), repr(results.attrs)]
    with pytest.raises(PutRecordsError) as caught:
        client.describe_stream("projects/s")
    seen += ["".join(traceback.format_exception(caught.value)), caplog.text]
    text = "\n".join(seen)
    spelled = {spelling(secret) for secret in SECRETS for spelling in SPELLINGS.values()}
    assert not [secret for secret in spelled if secret in text]


def test_a_hidden_secret_leaves_the_rest_of_the_message(serve, tools):
    body = json.dumps({"ErrorCode": -22, "ErrorMessage": f"no user {PASSWORD} here"}).encode()
    server = serve(tools.Answers(answer("HTTP/1.1 409 Conflict", body)))
    client = Client(server.url, username="ann", password=PASSWORD)
    with pytest.raises(PutRecordsError, match=r"no user \*\*\* here, ErrorCode -22"):
        client.create_stream("projects/s")


def test_a_proxys_refusal_does_not_show_a_password(serve, connect, tools, monkeypatch):
    refusal = f"HTTP/1.1 407 {PASSWORD} topsecret {BASIC}\r\n\r\n".encode()
    proxy = serve(tools.Answers(refusal, closes=True))
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:topsecret@127.0.0.1:{proxy.port}")
    transport = connect("https://platform.example", username="ann", password=PASSWORD)
    fault = transport.attempt(tools.post())
    assert isinstance(fault, Fault)
    assert "407" in fault.detail
    assert not [one for one in (PASSWORD, "topsecret", BASIC) if one in fault.detail]


def frames_of(error):
    """Yield what a tool shows that prints the variables of our frames."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if "v3io_frames_put" in frame.f_code.co_filename:
            for name, value in frame.f_locals.items():
                # As rich does: long texts are cut before they are shown.
                shown = value[:80] if isinstance(value, (str, bytes)) else value
                yield f"{frame.f_code.co_name}: {name} = {value!r} {shown!r}"


REFUSED = [
    {"access_key": "top\nsecret"},
    {"access_key": "topsecret" * 20, "username": 5},
    {"access_key": b"topsecret"},
    {"username": "ann:", "password": "topsecret"},
    {"password": "topsecret"},
    {"username": "ann", "password": "topsecret\ud800"},
    {"username": "ann", "password": b"topsecret"},
    {"access_key": "topsecret", "verify": "/no/such/file"},
    {"access_key": "topsecret", "endpoint": "ftp://host"},
    {"access_key": "topsecret", "timeouts": 5},
    {"endpoint": "http://me:topsecret@host"},
]


@pytest.mark.parametrize("options", REFUSED, ids=range(len(REFUSED)))
def test_no_frame_of_a_refused_client_shows_a_secret(options):
    with pytest.raises(ConfigError) as caught:
        Client(**{"endpoint": "http://host", **options})
    ours = list(frames_of(caught.value))
    assert ours
    assert not [line for line in ours if "secret" in line]
    assert "secret" not in str(caught.value)


def test_no_frame_shows_a_proxys_password(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://me:topsecret@")
    with pytest.raises(ConfigError) as caught:
        Client("http://127.0.0.1:9").transport()
    assert not [line for line in frames_of(caught.value) if "topsecret" in line]

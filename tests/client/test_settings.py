"""Making a Client: arguments, environment, what is shown and what is pickled."""

import pickle
import subprocess
import sys
import traceback

import pytest

from tests.internals import Endpoint
from v3io_frames_put import InsecureConnectionWarning
from v3io_frames_put.client import Client
from v3io_frames_put.config import Limits, Retry, Timeouts
from v3io_frames_put.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("http://v3io-webapi:8081", "http://v3io-webapi:8081"),
        ("v3io-webapi:8081", "http://v3io-webapi:8081"),
        ("v3io-webapi", "http://v3io-webapi"),
        ("https://default-tenant.app.cluster:8443/", "https://default-tenant.app.cluster:8443"),
        ("https://host///", "https://host"),
        (" host:8081 ", "http://host:8081"),
        ("HTTPS://Host", "https://Host"),
        ("http://[::1]:8081", "http://[::1]:8081"),
    ],
)
def test_an_endpoint_is_read(text, endpoint, monkeypatch):
    assert Client(text).endpoint == endpoint
    monkeypatch.setenv("V3IO_API", text)
    assert Client().endpoint == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "http://", "ftp://host", "http://host/path", "http://host?x=1", "http://host#a",
        "http://host:port", "http://host:99999", "http://host:0", "http://ho st", "host\n:80", 5,
    ],
)  # fmt: skip
def test_what_is_not_an_endpoint_is_refused(text):
    with pytest.raises(ConfigError, match=r"endpoint.*https://host:8443"):
        Client(text)


def test_credentials_in_an_endpoint_are_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="username=") as caught:
        Client("http://me:topsecret@host")
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "two\nlines", "crlf\r\nX: y", "käy", " k ", 5])
def test_a_key_that_no_header_holds_is_refused_and_not_repeated(key):
    with pytest.raises(ConfigError, match="access_key") as caught:
        Client("http://host", key)
    assert "two" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"password": "p"}, "username"),
        ({"username": "ann"}, "username: expected a password with it"),
        ({"username": "a:b", "password": "p"}, "colon"),
        ({"username": 5}, "username"),
        ({"verify": "/no/such/file"}, "there is none"),
        ({"verify": 5}, "verify"),
    ],
)
def test_other_arguments_are_checked(options, reason):
    with pytest.raises(ConfigError, match=reason):
        Client("http://host", **options)


@pytest.mark.parametrize("name", ["endpoint", "access_key", "password"])
@pytest.mark.parametrize("value", [5, b"secret", ""])
def test_what_is_not_text_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name}: expected .*text") as caught:
        Client(**{"endpoint": "http://host", "username": "ann", name: value})
    assert "secret" not in str(caught.value)


def test_a_client_that_is_refused_can_be_shown():
    with pytest.raises(ConfigError) as caught:
        Client("http://me:topsecret@host")
    shown = "".join(
        traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    )
    assert "Client(None)" in shown
    assert "topsecret" not in shown.replace(
        'Client("http://me:topsecret@host")', ""
    )  # our own line


def test_a_user_without_a_password_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("V3IO_API", "host:8081")
    monkeypatch.setenv("V3IO_USERNAME", "ann")
    assert Client().username == "ann"


def headers(client):
    return dict(client._endpoint.auth_headers())


def test_the_environment_is_read_by_a_client_made_without_arguments(monkeypatch):
    monkeypatch.setenv("V3IO_API", "host:8081")
    monkeypatch.setenv("V3IO_ACCESS_KEY", "key")
    monkeypatch.setenv("V3IO_USERNAME", "ann")
    client = Client()
    assert (client.endpoint, client.username) == ("http://host:8081", "ann")
    assert headers(client) == {"X-v3io-session-key": "key"}


def test_user_and_password_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("V3IO_API", "host:8081")
    monkeypatch.setenv("V3IO_USERNAME", "ann")
    monkeypatch.setenv("V3IO_PASSWORD", "p:w")
    assert headers(Client()) == {"Authorization": "Basic YW5uOnA6dw=="}


def test_secrets_of_the_environment_go_to_no_endpoint_that_is_given(monkeypatch):
    monkeypatch.setenv("V3IO_API", "host:8081")
    monkeypatch.setenv("V3IO_ACCESS_KEY", "key")
    assert headers(Client("http://elsewhere")) == {}


def test_a_given_key_goes_to_the_endpoint_of_the_environment(monkeypatch):
    monkeypatch.setenv("V3IO_API", "host:8081")
    monkeypatch.setenv("V3IO_ACCESS_KEY", "key")
    client = Client(access_key="mine")
    assert client.endpoint == "http://host:8081"
    assert headers(client) == {"X-v3io-session-key": "mine"}


def test_without_an_endpoint_a_stream_path_has_to_name_one():
    client = Client()
    assert client.locate("v3io://h:8081/projects/s").endpoint == "http://h:8081"
    with pytest.raises(ConfigError, match="V3IO_API"):
        client.locate("projects/s")


def test_a_stream_path_may_name_another_host_than_the_client():
    client = Client("https://host")
    assert client.locate("v3ios://a.b/projects/s").endpoint == "https://a.b"
    assert client.locate("projects/s").endpoint == "https://host"
    assert repr(client.transport(client.locate("v3io://h:1/c/s"))) == "Transport('http://h:1')"
    assert repr(client.transport()) == "Transport('https://host')"


@pytest.mark.parametrize("stream", ["v3io://h:port/c/s", "v3io://h:1:2/c/s"])
def test_a_host_in_a_stream_path_is_checked(stream):
    with pytest.raises(ConfigError):
        Client("http://host").locate(stream)


def test_a_client_shows_where_and_who_and_no_secret():
    client = Client("http://host", "secret-key", username="ann", password="topsecret")
    assert repr(client) == "Client('http://host', username='ann')"
    endpoint = client._endpoint
    shown = [repr(endpoint), str(client), repr(vars(client)), repr(endpoint.auth_headers())]
    shown += [repr(Endpoint(url="http://h", username="ann", password="topsecret").auth_headers())]
    assert "secret" not in "".join(shown)
    assert "YW5u" not in "".join(shown)


def test_a_pickled_client_holds_no_secret_and_finds_its_own(monkeypatch):
    client = Client(
        "http://host", "secret-key", username="ann", password="topsecret",
        timeouts=Timeouts(read_seconds=1), retry=Retry(attempts=3), limits=Limits(max_records=5),
    )  # fmt: skip
    pickled = pickle.dumps(client)
    assert b"secret" not in pickled
    monkeypatch.setenv("V3IO_ACCESS_KEY", "mine")
    loaded = pickle.loads(pickled)
    assert repr(loaded) == repr(client)
    assert headers(loaded) == {"X-v3io-session-key": "mine"}
    settings = loaded.timeouts.read_seconds, loaded.retry.attempts, loaded.limits.max_records
    assert settings == (1, 3, 5)


def test_leaving_verification_out_warns_once_and_by_name():
    with pytest.warns(InsecureConnectionWarning, match="access key") as caught:
        Client("https://host", "key", verify=False)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_a_client_costs_no_requests_until_it_asks():
    code = (
        "import sys; from v3io_frames_put.client import Client; "
        "Client('http://host', 'key').locate('c/s'); print('requests' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

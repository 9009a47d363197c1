"""`serve` as a program of its own: prints where it is, keeps what it was given, ends when told."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection

import pytest
from click.testing import CliRunner

from v3io_frames_put import AuthenticationError, Client, RequestError, Retry, StreamNotFound
from v3io_frames_put.cli import main

STREAM = "projects/house/readings"


@pytest.fixture
def serve():
    """Start the command; yields a function that returns the process and its address."""
    with contextlib.ExitStack() as stack:

        def serve(*words):
            command = [sys.executable, "-m", "v3io_frames_put", "serve", "--port", "0", *words]
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            return process, process.stdout.readline().strip()

        yield serve


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_it_prints_only_its_address_and_ends_when_told(serve, number, code):
    process, endpoint = serve()
    with Client(endpoint) as client:
        assert client.create_stream(STREAM, shards=2).shards == 2
    process.send_signal(number)
    rest, told = process.communicate(timeout=20)
    assert (process.returncode, rest) == (code, "")
    assert told.strip() == "Stopped."


def test_what_it_stored_survives_a_kill(serve, tmp_path):
    process, endpoint = serve("--data-dir", str(tmp_path))
    with Client(endpoint) as client:
        client.create_stream(STREAM, shards=3)
    process.kill()
    process.wait(20)
    _, endpoint = serve("--data-dir", str(tmp_path))
    with Client(endpoint) as client:
        assert client.describe_stream(STREAM).shards == 3


def test_it_asks_for_the_key_in_a_file(serve, tmp_path):
    (tmp_path / "key").write_text("open-sesame\n")
    _, endpoint = serve("--access-key-file", str(tmp_path / "key"))
    with Client(endpoint, "another") as client, pytest.raises(AuthenticationError):
        client.describe_stream(STREAM)
    with Client(endpoint, "open-sesame") as client, pytest.raises(StreamNotFound):
        client.describe_stream(STREAM)


def test_what_is_to_go_wrong_comes_from_a_file(serve, tmp_path):
    script = tmp_path / "faults.toml"
    script.write_text('[[fault]]\nkind = "answer"\nstatus = 429\nfunction = "CreateStream"\n')
    _, endpoint = serve("--faults", str(script))
    with Client(endpoint, retry=Retry(attempts=1)) as client:
        with pytest.raises(RequestError, match="429"):
            client.create_stream(STREAM)
        assert client.create_stream(STREAM).shards == 1


@pytest.mark.parametrize(("words", "status"), [((), 403), (("--allow-host", "box"), 404)])
def test_a_name_that_is_not_of_this_machine_has_to_be_allowed(serve, words, status):
    _, endpoint = serve(*words)
    connection = HTTPConnection(endpoint.partition("://")[2], timeout=10)
    connection.request("GET", "/projects/none", headers={"Host": "box:8081"})
    assert connection.getresponse().status == status
    connection.close()


def run(*words):
    return CliRunner().invoke(main, ["serve", *words])


def test_a_port_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("--port", port)
    assert done.exit_code == 2
    assert f"cannot serve on 127.0.0.1:{port}" in done.stderr


def test_faults_of_unknown_names_are_said(tmp_path):
    script = tmp_path / "faults.toml"
    script.write_text('[[fault]]\nkind = "Earthquake"\n')
    done = run("--port", "0", "--faults", str(script))
    assert done.exit_code == 2
    assert "Earthquake" in done.stderr


def test_a_certificate_needs_its_key(tmp_path):
    (tmp_path / "cert.pem").write_text("")
    cert = str(tmp_path / "cert.pem")
    assert run("--tls-cert", cert).exit_code == 2
    done = run("--port", "0", "--tls-cert", cert, "--tls-key", cert)
    assert done.exit_code == 2
    assert f"{cert} and {cert} are not a certificate and its private key" in done.stderr

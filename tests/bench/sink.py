"""The sink of ``sink.c``: built with the machine's C compiler, run as a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
OUT = HERE / "out"


class NoCompilerError(RuntimeError):
    """There is no C compiler, so there is no sink."""


def build_sink() -> Path:
    """Compile the sink, unless it is newer than its source."""
    source, program = HERE / "sink.c", OUT / "sink"
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    compiler = os.environ.get("CC") or "cc"
    if shutil.which(compiler) is None:
        raise NoCompilerError(
            f"no C compiler {compiler!r}: the sink that the figures are measured against cannot "
            f"be built. Install one, for example with apt-get install gcc, or name it in CC."
        )
    OUT.mkdir(exist_ok=True)
    # Built beside its place and moved there: two runs may build at once.
    built = OUT / f"sink-{os.getpid()}"
    options = ["-O2", "-Wall", "-Wextra", "-D_GNU_SOURCE", "-pthread"]
    subprocess.run([compiler, *options, "-o", str(built), str(source)], check=True)
    return built.replace(program)


class Sink:
    """A running sink."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self.endpoint = f"http://{self.address}"

    def reset(self) -> None:
        """Count from zero."""
        self._get("/reset")

    def stats(self) -> dict[str, Any]:
        """Return requests, records and bytes, and the seconds until the first was answered."""
        stats: dict[str, Any] = json.loads(self._get("/stats"))
        return stats

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.endpoint + path) as answer:  # noqa: S310  # always http
            body: bytes = answer.read()
        return body


@contextmanager
def run_sink(
    *, shards: int = 8, delay_ms: int = 0, recording: Path | None = None
) -> Iterator[Sink]:
    """Run a sink while the block runs.

    Parameters
    ----------
    shards : int
        Of its one stream.
    delay_ms : int
        Wait before each answer.
    recording : Path, optional
        Write each PutRecords request there, byte for byte.
    """
    command = [str(build_sink()), "--shards", str(shards), "--delay-ms", str(delay_ms)]
    if recording is not None:
        command += ["--record", str(recording)]
    with subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield Sink(int(process.stdout.readline()))
        finally:
            process.stdin.close()  # which ends it


def read_recording(path: Path) -> list[bytes]:
    """Split what a sink recorded into requests."""
    recorded = path.read_bytes()
    requests, start = [], 0
    while start < len(recorded):
        body = recorded.index(b"\r\n\r\n", start) + 4
        head = recorded[start:body].lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        requests.append(recorded[start : body + length])
        start = body + length
    return requests

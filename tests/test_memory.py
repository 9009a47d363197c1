"""Peak memory of an upload: the frame, its results (40 bytes a row), and 250 MB.

Python and its libraries, which take half of that before there is a frame, included.
The pages of their files count as 50 MB: the kernel maps from 40 to 110 MB of them, as
it likes, shares them among processes and takes them back.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

UPLOAD = """
import json, re, resource, sys
from pathlib import Path
import numpy as np, pandas as pd, pyarrow as pa
from v3io_frames_put import Client, put_records

def peak_bytes():
    status = Path("/proc/self/status")
    if status.exists():  # the process's own, since it began; rusage has its parent's, too
        kb = dict(re.findall(r"(VmHWM|RssFile):\\s+(\\d+) kB", status.read_text()))
        return 1024 * (int(kb["VmHWM"]) - int(kb["RssFile"])) + 50_000_000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

rows, text_bytes = 150_000, 2_000
offsets = pa.py_buffer(np.arange(0, (rows + 1) * text_bytes, text_bytes, dtype=np.int64))
letters = pa.py_buffer(np.full(rows * text_bytes, ord("x"), np.uint8))
text = pa.LargeStringArray.from_buffers(rows, offsets, letters)
frame = pd.DataFrame({
    "key": pd.array(pa.array(np.arange(rows) % 997).cast(pa.string()), pd.ArrowDtype(pa.string())),
    "text": pd.array(text, pd.ArrowDtype(pa.large_string())),
})
results = put_records(frame, "projects/s", partition_key="key", client=Client(sys.argv[1]))
print(json.dumps({
    "stored": int((results.status == "stored").sum()),
    "results_bytes": int(results.memory_usage(index=False, deep=True).sum()),
    "frame_bytes": int(frame.memory_usage(deep=True).sum()),
    "peak_bytes": peak_bytes(),
}))
"""
MB = 1_000_000


class _Forgetful(BaseHTTPRequestHandler):
    """Calls every record stored, in one shard, and keeps none; takes its time to answer."""

    protocol_version = "HTTP/1.1"
    latency = threading.Event()  # never set
    last = 0
    lock = threading.Lock()

    def do_POST(self):
        count = self.rfile.read(int(self.headers["Content-Length"])).count(b'"Data"')
        self.latency.wait(0.1)  # so that all that may wait and be under way does
        with self.lock:
            first = type(self).last + 1
            type(self).last += count
        records = [{"ShardId": 0, "SequenceNumber": first + at} for at in range(count)]
        body = json.dumps({"FailedRecordCount": 0, "Records": records}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def forgetful_platform():
    """Serve a platform that needs no memory of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Forgetful)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def upload(endpoint):
    """Upload in a process of its own; return what it measured."""
    done = subprocess.run(
        [sys.executable, "-c", UPLOAD, endpoint],
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(330)
def test_an_upload_needs_its_frame_its_results_and_250_mb(forgetful_platform):
    peaks = []
    for _ in range(3):  # what allocators keep of freed memory swings by 15 MB
        measured = upload(forgetful_platform)
        assert measured["stored"] == 150_000
        assert measured["frame_bytes"] > 300 * MB  # its bodies, kept, would break the bound below
        assert measured["results_bytes"] <= 45 * 150_000
        peaks.append(measured["peak_bytes"])
    assert sorted(peaks)[1] <= measured["frame_bytes"] + 40 * 150_000 + 250 * MB

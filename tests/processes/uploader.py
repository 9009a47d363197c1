"""One upload as a process of its own: what the campaigns interrupt and kill.

``python -m tests.processes.uploader SPEC.json``, with the fields of ``Spec``. Results go to
a file in every case; it exits with 0, or with 130 after Ctrl-C.
"""

from __future__ import annotations

import json
import signal
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from v3io_frames_put import (
    Client,
    Interrupted,
    Limits,
    Retry,
    Timeouts,
    UnstoredRowsWarning,
    put_records,
)

STREAM = "projects/campaign/stream"
KEYS = 13


@dataclass
class Spec:
    """What to upload, and where to.

    Attributes
    ----------
    results : str
        Where the results go, pickled.
    resume : str or None
        Where earlier results are.
    options : dict
        Of ``put_records``.
    """

    endpoint: str
    results: str
    rows: int
    resume: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


def make_frame(rows: int) -> pd.DataFrame:
    """Make the data: row numbers, and keys in turn."""
    return pd.DataFrame({"row": range(rows), "key": [f"key {row % KEYS}" for row in range(rows)]})


def make_client(endpoint: str) -> Client:
    """Make a client that sends many small requests and settles fast."""
    return Client(
        endpoint,
        retry=Retry(base_seconds=0.02, cap_seconds=0.5, deadline_seconds=90, settle_seconds=0.5),
        limits=Limits(max_records=10),
        timeouts=Timeouts(connect_seconds=10, read_seconds=20),
    )


def upload(spec: Spec) -> int:
    """Upload; return the exit code."""
    warnings.simplefilter("ignore", UnstoredRowsWarning)
    earlier = None if spec.resume is None else pd.read_pickle(spec.resume)
    try:
        code, results = 0, put_records(
            make_frame(spec.rows),
            STREAM,
            partition_key="key",
            client=make_client(spec.endpoint),
            resume=earlier,
            progress=False,
            **spec.options,
        )  # fmt: skip
    except Interrupted as stopped:
        code, results = 130, stopped.results
    results.to_pickle(spec.results)
    return code


if __name__ == "__main__":
    # A Ctrl-C before or after the run does nothing: only the run is under test.
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    done = upload(Spec(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(done)

"""All that the bench and the shape scripts import of the package.

The public faces, and two private functions for the speed of encoding alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

import v3io_frames_put
from v3io_frames_put import Client, put_records

PACKAGE = v3io_frames_put.__name__
PACKAGE_FOLDER = Path(v3io_frames_put.__file__).parent
STREAM = "projects/bench/flights"


def connect(endpoint: str) -> Client:
    """Open a client that sends no key of the caller's environment."""
    return Client(endpoint, "bench")


def put(frame: pd.DataFrame, client: Client, **options: Any) -> pd.DataFrame:
    """Put a frame; every row is stored, or the figure would be of something else."""
    results = put_records(frame, STREAM, client=client, progress=False, **options)
    if not (results["status"] == "stored").all():
        raise RuntimeError(f"not every row was stored: {results['status'].value_counts()}")
    return results


def encode(frame: pd.DataFrame, **options: Any) -> int:
    """Encode every row to its entry in a request's body; return the bytes."""
    # Here and not above: it loads what a user's first call has still to load.
    from tests.internals import encode_records, plan_rows

    plan = plan_rows(frame, **options)
    return sum(encode_records(records).entries.nbytes for records in plan.records())

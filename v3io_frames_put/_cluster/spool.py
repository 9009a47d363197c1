"""Record batches that come once -> a table that can be read again, in no memory.

A task has to know how many rows it was given, to tell of each of them whatever
happens; and one that is run again reads them twice.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@contextmanager
def spool(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table | None]:
    """Write batches to a file of this machine, and map it; None: there are none."""
    folder = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0] or None
    with tempfile.TemporaryDirectory(dir=folder, prefix="v3io-put-") as place:
        path = Path(place) / "rows.arrow"
        if not _write(path, batches):
            yield None
            return
        with pa.memory_map(str(path)) as source:
            yield pa.ipc.open_file(source).read_all()


def _write(path: Path, batches: Iterable[pa.RecordBatch]) -> int:
    """Write batches, and return how many rows they have."""
    rows, writer = 0, None
    try:
        for batch in batches:
            writer = writer or pa.ipc.new_file(str(path), batch.schema)
            writer.write_batch(batch)
            rows += batch.num_rows
    finally:
        if writer is not None:
            writer.close()
    return rows

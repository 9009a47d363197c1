"""A real MLRun runs a function that publishes: ``make test-mlrun``."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

STREAM = "projects/house/readings"
FUNCTION = """
from v3io_frames_put import jobs

def publish(context, path, stream):
    context.log_results(jobs.publish(path, stream, progress=False).counts)
"""

pytestmark = [pytest.mark.mlrun, pytest.mark.filterwarnings("default")]  # MLRun's own


def test_a_local_mlrun_function_publishes(local_platform, monkeypatch, tmp_path, require_module):
    mlrun = require_module("mlrun")
    local_platform.create_stream(STREAM, shards=2)
    monkeypatch.setenv("V3IO_API", local_platform.endpoint)
    (tmp_path / "function.py").write_text(FUNCTION)
    pq.write_table(pa.table({"n": range(5_000)}), tmp_path / "rows.parquet")
    function = mlrun.new_function("nightly", kind="local", command=str(tmp_path / "function.py"))
    run = function.run(
        handler="publish",
        params={"path": str(tmp_path / "rows.parquet"), "stream": STREAM},
        local=True,
        artifact_path=str(tmp_path),
    )
    assert run.status.state == "completed"
    assert run.outputs["stored"] == 5_000
    assert len(local_platform.records(STREAM)) == 5_000

"""A job framework's context hears what became of a job, whatever became of it."""

from __future__ import annotations

import json
import threading

import pandas as pd
import pytest

from tests.jobs.conftest import write_parquet
from v3io_frames_put import ConfigError, Interrupted, PartialFailure


class Context:
    """Has the methods of MLRun's context, and keeps what it is told."""

    def __init__(self):
        self.results, self.datasets = {}, {}

    def log_result(self, key, value):
        json.dumps(value)  # MLRun keeps results as JSON
        self.results[key] = value

    def log_dataset(self, key, df, tag="", local_path=None):
        assert isinstance(df, pd.DataFrame)
        self.datasets[key] = df


@pytest.fixture
def context():
    return Context()


def test_counts_receipt_and_paths_are_logged(publish, folder, context, tmp_path):
    told = publish(folder, context=context, results=tmp_path / "results.parquet")
    assert context.results["rows"] == context.results["stored"] == 30
    assert [context.results[name] for name in ("rejected", "unsent", "unknown")] == [0, 0, 0]
    assert context.results["complete"] is True
    assert context.results["receipt"]["run_id"] == told.receipt["run_id"]
    assert context.results["results_path"] == str(tmp_path / "results.parquet")
    assert "failed_path" not in context.results
    assert context.datasets == {}


def test_rows_that_are_not_stored_are_logged_before_they_raise(publish, context, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", n=[1, 2], user=["ann", "x" * 300])
    failed = tmp_path / "failed.parquet"
    with pytest.raises(PartialFailure):
        publish(path, context=context, partition_key="user", failed=failed)
    assert (context.results["stored"], context.results["rejected"]) == (1, 1)
    assert (context.results["failed_path"], context.results["failed_rows"]) == (str(failed), 1)
    told = context.datasets["not_stored"]
    assert told.error_message.tolist() == ["PartitionKeyTooLong"]
    assert told.rows.tolist() == [1]


def test_a_job_that_is_stopped_is_logged(publish, folder, context):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        publish(folder, context=context, cancel=stop)
    assert (context.results["stored"], context.results["unsent"]) == (0, 30)


def test_a_context_that_fails_hides_nothing(publish, folder, caplog):
    class Broken(Context):
        def log_result(self, key, value):
            raise ConnectionError("the database of runs is away")

    told = publish(folder, context=Broken())
    assert told.counts["stored"] == 30
    assert "the job's context failed" in caplog.text
    assert "the database of runs is away" in caplog.text


@pytest.mark.parametrize("context", ["a name", {"log_result": print}, print])
def test_what_is_no_context_is_refused_before_anything_is_sent(
    publish, folder, local_platform, context
):
    with pytest.raises(ConfigError, match=r"expected log_result\(\)"):
        publish(folder, context=context)
    assert "PutRecords" not in {request.function for request in local_platform.requests}

"""A real Airflow runs the DAG of the page "Publish on a schedule": ``make test-airflow``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "schedule.md"
STREAM = "projects/fraud/clicks"

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]


def test_the_dag_of_the_docs_publishes_the_day_it_is_run_for(local_platform, tmp_path):
    local_platform.create_stream(STREAM)
    for day in ("2026-11-20", "2026-11-21"):
        folder = tmp_path / f"lake/clicks/day={day}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"user_id": ["ann", "bob"]}), folder / "0.parquet")
    (tmp_path / "state").mkdir()
    [code] = re.findall(r":name: airflow\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for name in ("lake", "state"):
        code = code.replace(f'"/{name}/', f'"{tmp_path}/{name}/')
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "publish_clicks.py").write_text(code)
    environment = os.environ | {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "V3IO_API": local_platform.endpoint,
    }
    for words in (["db", "migrate"], ["dags", "test", "publish_clicks", "2026-11-21"]):
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *words],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    assert [record.partition_key for record in local_platform.records(STREAM)] == ["ann", "bob"]
    assert (tmp_path / "state" / "2026-11-21.failed.parquet").exists()

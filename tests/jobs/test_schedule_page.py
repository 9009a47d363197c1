"""What the page "Publish on a schedule" shows can be run: commands parse, code publishes."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
import types
from functools import partial
from pathlib import Path

import pytest

from tests.internals import Exit
from tests.jobs.conftest import write_parquet
from v3io_frames_put import StreamNotFound
from v3io_frames_put.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "schedule.md"
TEXT = PAGE.read_text(encoding="utf-8")
LAKE = "/lake/clicks"
STREAM = "projects/fraud/clicks"


def read_block(language, name=None):
    """Return the block of a language, or the one with a name."""
    head = f"```{language}\n" if name is None else f"```{{code-block}} {language}\n:name: {name}\n"
    [block] = re.findall(re.escape(head) + r"(.*?)```", TEXT, re.DOTALL)
    return block


@pytest.fixture
def cron_job(require_module):
    return require_module("yaml").safe_load(read_block("yaml"))


def parse_publish(shell):
    """Parse the command in a line of shell as `v3io-put` does; return its options."""
    line = shell[shell.index("v3io-put publish") :].replace("$NIGHT", "2026-11-21")
    line = line.replace("\\\n", " ")
    _, name, *words = shlex.split(line)
    command = main.commands[name]
    return command.make_context(name, words).params


def test_the_line_for_cron_parses():
    options = parse_publish(read_block("sh"))
    assert options["where"] == "day = '2026-11-21'"
    assert str(options["journal"]) == "/var/lib/clicks/2026-11-21.v3io"


def test_the_command_for_kubernetes_parses(cron_job):
    [container] = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["sh", "-c"]
    [shell] = container["args"]
    assert "exec v3io-put" in shell
    options = parse_publish(shell)
    assert options["delivery"] == "exactly_once"
    mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert str(options["journal"]).startswith(tuple(f"{path}/" for path in mounted))


def test_kubernetes_runs_again_what_is_worth_it(cron_job):
    job = cron_job["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy takes no other
    assert pod["terminationGracePeriodSeconds"] >= 30
    assert cron_job["spec"]["concurrencyPolicy"] == "Forbid"
    [codes] = [rule for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert codes["action"] == "FailJob"
    assert codes["onExitCodes"]["containerName"] == pod["containers"][0]["name"]
    final = {Exit.NOT_ALL_STORED, Exit.NOTHING_SENT, Exit.IN_DOUBT}
    assert set(codes["onExitCodes"]["values"]) == final
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == volumes


def test_the_page_names_every_code_that_a_job_ends_with():
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert told == {int(code) for code in Exit} - {Exit.INTERRUPTED}


@pytest.fixture
def lake(local_platform, monkeypatch, tmp_path):
    """Two days of clicks, and the places of the page moved to a folder of this test."""
    local_platform.create_stream(STREAM)
    for day in ("2026-11-20", "2026-11-21"):
        write_parquet(tmp_path / f"lake/clicks/day={day}/0.parquet", user_id=["ann", "bob"])
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("V3IO_API", local_platform.endpoint)

    def move(code):
        code = code.replace("/v3io/projects/fraud/", "/").replace('"/lake', f'"{tmp_path}/lake')
        return code.replace('"/state', f'"{tmp_path}/state')

    return move


def test_the_airflow_task_publishes_the_day_it_is_run_for(lake, local_platform, monkeypatch):
    runs = []

    def dag(**_):
        return lambda function: function

    def task(**_):
        return lambda function: lambda: runs.append(function(ds="2026-11-21"))

    sdk = types.ModuleType("airflow.sdk")
    sdk.dag, sdk.task = dag, task
    monkeypatch.setitem(sys.modules, "airflow", types.ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.sdk", sdk)
    exec(lake(read_block("python", "airflow")), {})  # noqa: S102  # our own page
    assert runs == [{"stored": 2, "rejected": 0, "unsent": 0, "unknown": 0}]
    assert len(local_platform.records(STREAM)) == 2


class Context:
    """Has the method of MLRun's context, and keeps what it is given."""

    def log_results(self, results):
        self.results = results


def test_the_mlrun_handler_publishes_and_logs(lake, local_platform):
    """MLRun gives the context first, and parameters by their names."""
    names = {}
    exec(lake(read_block("python", "mlrun")), names)  # noqa: S102  # our own page
    handler, context = names["publish_clicks"], Context()
    assert next(iter(inspect.signature(handler).parameters)) == "context"
    handler(context, day="2026-11-21")
    assert context.results["stored"] == 2
    assert len(local_platform.records(STREAM)) == 2
    handler = partial(handler, stream="projects/fraud/nothing")
    with pytest.raises(StreamNotFound):
        handler(context, day="2026-11-20")
    assert context.results["unsent"] == 2

"""Run the fast laws against mutants, each in a forked process.

``python -m tests.mutation classification resume`` prints which mutants live, as it finds them.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest

from tests.mutation.mutants import Mutant, make_mutants

# These take seconds: imported once, before the fork. The package itself is not among them.
HEAVY = ("numpy", "pandas", "pyarrow.compute")
PRELOADED = [importlib.import_module(name) for name in HEAVY]
MODULES = {
    "accumulator": "v3io_frames_put._producer.accumulator",
    "classification": "v3io_frames_put._producer.classification",
    "flow_control": "v3io_frames_put._producer.flow_control",
    "in_doubt": "v3io_frames_put._producer.in_doubt",
    "outcomes": "v3io_frames_put._producer.outcomes",
    "prior_run": "v3io_frames_put._producer.prior_run",
    "producer": "v3io_frames_put._producer.producer",
    "reconciler": "v3io_frames_put._producer.reconciler",
    "resume": "v3io_frames_put.resume",
}
CPU_SECONDS, SECONDS = 10, 600  # of a test, of all: a mutant that never ends is noticed, too
LAWS = [  # those first that notice much in little time
    "tests/delivery/test_runs.py",
    "tests/delivery/test_stopping.py",
    "tests/delivery/test_pauses.py",
    "tests/delivery/test_classification.py",
    "tests/delivery/test_error_mapping.py",
    "tests/delivery/test_backoff.py",
    "tests/delivery/test_concurrency_limit.py",
    "tests/delivery/test_reading_ahead.py",
    "tests/delivery/test_accumulator.py",
    "tests/delivery/test_producer.py",
    "tests/delivery/test_query_scheduler.py",
    "tests/delivery/test_outcomes.py",
    "tests/delivery/test_prior_run.py",
    "tests/delivery/test_queries.py",
    "tests/delivery/test_order.py",
    "tests/delivery/test_model.py",
    "tests/delivery/test_reconcile.py",
    "tests/test_resume.py",
]
OPTIONS = [
    *("-x", "-q", "--assert=plain", "--hypothesis-profile=mutant"),
    *("-p", "no:cacheprovider", "-p", "no:xdist"),
    *("-k", "not 200_bytes"),  # what counts memory takes as long as all others
]


class MutantFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads a mutant in place of its module."""

    def __init__(self, name: str, path: Path, mutant: Mutant) -> None:
        self._name, self._path, self._mutant = name, path, mutant

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the mutant's spec."""
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed text."""
        exec(compile(self._mutant.tree, str(self._path), "exec"), module.__dict__)  # noqa: S102  # our own text


class CpuLimit:
    """Ends the process at a test that takes too long."""

    def pytest_runtest_setup(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # which ends in SIGPROF


def labels_of(name: str) -> list[str]:
    """Return the labels of all mutants of a module."""
    return [mutant.label for mutant in make_mutants(path_of(name).read_text())]


def path_of(name: str) -> Path:
    return Path(*MODULES[name].split(".")).with_suffix(".py").resolve()


def find_survivors(name: str) -> Iterator[str]:
    """Yield the labels of the mutants of a module that no law notices."""
    module, path = MODULES[name], path_of(name)
    source = path.read_text()
    if _is_killed(module, path, Mutant("unchanged", ast.parse(source))):
        raise RuntimeError("the laws fail without a mutant: run them by pytest and see")
    for mutant in make_mutants(source):
        if not _is_killed(module, path, mutant):
            yield mutant.label


def _is_killed(name: str, path: Path, mutant: Mutant) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forks beside threads: they only wait for work
        process = multiprocessing.get_context("fork").Process(
            target=_run_laws, args=(name, path, mutant)
        )
        process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode != 0


def _run_laws(name: str, path: Path, mutant: Mutant) -> None:
    """Run the laws with a mutant in the place of its module; exit as they do."""
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    for loaded in [loaded for loaded in sys.modules if loaded.startswith("v3io_frames_put")]:
        del sys.modules[loaded]  # the local platform's plugin for pytest had loaded them
    for loaded in [loaded for loaded in sys.modules if loaded.startswith("tests.")]:
        if not loaded.startswith("tests.mutation"):
            del sys.modules[loaded]
    sys.meta_path.insert(0, MutantFinder(name, path, mutant))
    hypothesis.settings.register_profile(
        "mutant",
        max_examples=10,
        deadline=None,
        database=None,  # what a mutant fails at is of no use to anybody
        derandomize=True,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    module = name.rpartition(".")[2]
    own_first = sorted(LAWS, key=lambda law: Path(law).stem.removeprefix("test_") not in module)
    os._exit(pytest.main([*OPTIONS, *own_first], plugins=[CpuLimit()]))


def main(names: Sequence[str]) -> None:
    """Print the survivors of some modules, or of all."""
    for name in names or MODULES:
        print(f"{name}:", flush=True)  # noqa: T201
        for survivor in find_survivors(name):
            print(f"  {survivor}", flush=True)  # noqa: T201

"""A job told to the framework that runs it: counts, receipt, and where the files are.

The context is known by its methods, those of MLRun's; no framework is imported.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

import pandas as pd

from v3io_frames_put.errors import ConfigError
from v3io_frames_put.jobs._job_results import JobResults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOG: Final = logging.getLogger("v3io_frames_put")
_METHODS: Final = ("log_result", "log_dataset")
_APART: Final = frozenset({"rows", "counts", "complete", "results", "failed", "failed_rows"})


class JobContext(Protocol):
    """What a job needs of a context, such as MLRun's."""

    def log_result(self, key: str, value: Any) -> object:
        """Keep a value of the run."""

    def log_dataset(self, key: str, df: pd.DataFrame) -> object:
        """Keep a table of the run."""


@contextmanager
def log_to(context: JobContext | None) -> Iterator[Callable[[JobResults], JobResults]]:
    """Give what logs a job's results; those of an error that ends the block are logged, too.

    Raises
    ------
    ConfigError
        The context has other methods. Nothing was sent.
    """
    missing = [name for name in _METHODS if not callable(getattr(context, name, None))]
    if context is not None and missing:
        raise ConfigError(
            f"context is a {type(context).__name__} without {missing[0]}(); expected log_result() "
            f"and log_dataset(), as MLRun's context has them."
        )

    def log(told: JobResults) -> JobResults:
        if context is not None:
            _log_results(context, told)
        return told

    try:
        yield log
    except BaseException as error:
        told = getattr(error, "results", None)
        if isinstance(told, JobResults):
            log(told)
        raise


def _log_results(context: JobContext, told: JobResults) -> None:
    """Log results; a context that fails must not hide what became of the rows."""
    summary = told.to_json()
    values = {
        "rows": told.rows,
        **told.counts,
        "complete": told.complete,
        "receipt": {name: value for name, value in summary.items() if name not in _APART},
        "results_path": summary["results"],
        "failed_path": summary["failed"],
        "failed_rows": told.failed_rows,
    }
    try:
        for name, value in values.items():
            if value is not None:
                context.log_result(name, value)
        if told.reasons:
            context.log_dataset("not_stored", df=pd.DataFrame(list(told.reasons)))
    except Exception:  # noqa: BLE001  # whatever a framework raises
        _LOG.warning("the job's context failed; its results are %s", told.counts, exc_info=True)

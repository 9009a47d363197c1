"""`--log-format`: what the package logs, as lines on stderr."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG_FORMATS: Final = ("text", "json")


class _JsonLines(logging.Formatter):
    """One JSON object a line; numbers of progress stand apart from the text."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        told = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        progress = getattr(record, "progress", None)
        if progress is not None:
            told["progress"] = progress
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


class _ToStderr(logging.Handler):
    """Writes where stderr is now, which a test runner may have changed."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        click.echo(self.format(record), err=True)


@contextmanager
def log_to_stderr(log_format: str) -> Iterator[None]:
    """Log while a command runs.

    Parameters
    ----------
    log_format : {"text", "json"}
        How a line looks.
    """
    logger = logging.getLogger("v3io_frames_put")
    handler = _ToStderr()
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(_JsonLines() if log_format == "json" else text)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)

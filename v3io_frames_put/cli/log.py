"""`--log-format`: what the package logs, and what commands tell, as lines on stderr."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG_FORMATS: Final = ("text", "json")
_LOGGER: Final = logging.getLogger("v3io_frames_put")


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
    handler = _ToStderr()
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(_JsonLines() if log_format == "json" else text)
    before = _LOGGER.level
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        _LOGGER.removeHandler(handler)
        _LOGGER.setLevel(before)


def tell(text: str, *, level: int = logging.ERROR, plain: str | None = None) -> None:
    """Tell the user something on stderr.

    Parameters
    ----------
    text : str
        What a line of a JSON log says.
    level : int
        Of that line.
    plain : str, optional
        What is told otherwise. None: the text behind its level.
    """
    if any(isinstance(handler.formatter, _JsonLines) for handler in _LOGGER.handlers):
        _LOGGER.log(level, "%s", text)
    else:
        click.echo(plain or f"{logging.getLevelName(level).capitalize()}: {text}", err=True)

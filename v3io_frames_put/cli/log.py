"""`--log-format`: what the package logs, and what commands tell, as lines on stderr."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


class _Plain(logging.Formatter):
    """A line as commands tell one that no log was asked of."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        return _say(record.getMessage(), record.levelno)


class _ToStderr(logging.Handler):
    """Writes where stderr is now, which a test runner may have changed."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        _echo(self.format(record))


_FORMATTERS: Final[dict[str | None, tuple[logging.Formatter, int]]] = {
    None: (_Plain(), logging.WARNING),
    "text": (logging.Formatter("%(asctime)s %(levelname)s %(message)s"), logging.INFO),
    "json": (_JsonLines(), logging.INFO),
}


@contextmanager
def log_to_stderr(log_format: str | None = None) -> Iterator[None]:
    """Log while a command runs, instead of as before.

    Parameters
    ----------
    log_format : {"text", "json"}, optional
        How a line looks. None: warnings alone, as plain text.
    """
    handler = _ToStderr()
    formatter, level = _FORMATTERS[log_format]
    handler.setFormatter(formatter)
    handlers, before = _LOGGER.handlers, _LOGGER.level
    _LOGGER.handlers = [*(h for h in handlers if not isinstance(h, _ToStderr)), handler]
    _LOGGER.setLevel(level)
    try:
        yield
    finally:
        _LOGGER.handlers = handlers
        _LOGGER.setLevel(before)


def asks_for_json(args: Sequence[str]) -> bool:
    """Say whether the words behind a command, which may be wrong, ask for a JSON log."""
    probe = click.Command(
        "log",
        params=[click.Option(["--log-format"])],
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        add_help_option=False,
    )
    found = probe.make_context("log", list(args), resilient_parsing=True)
    return bool(found.params["log_format"] == "json")


def logs_json() -> bool:
    """Say whether lines on stderr are to be JSON."""
    return any(isinstance(handler.formatter, _JsonLines) for handler in _LOGGER.handlers)


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
    if logs_json():
        _LOGGER.log(level, "%s", text)
    else:
        _echo(plain or _say(text, level))


def _echo(line: str) -> None:
    """Write a line to stderr, above a bar if there is one."""
    bars = sys.modules.get("tqdm")
    # Where nobody reads stderr any more, a run keeps its results all the same.
    with suppress(OSError), bars.tqdm.external_write_mode(sys.stderr) if bars else nullcontext():
        click.echo(line, err=True)


def _say(text: str, level: int) -> str:
    return f"{logging.getLevelName(level).capitalize()}: {text}"

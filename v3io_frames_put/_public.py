"""How public functions are called: short tracebacks, help with misspelled options."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .errors import ConfigError, DataError, suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

_Function = TypeVar("_Function", bound="Callable[..., Any]")


def public(function: _Function) -> _Function:
    """Make a function raise ConfigError and DataError without the frames below it.

    Such an error is about the caller's line, and its text says what to do. The traceback
    shows that line and one line of this package.
    """
    kinds = {p.name: p.kind for p in inspect.signature(function).parameters.values()}
    takes_any = inspect.Parameter.VAR_KEYWORD in kinds.values()

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        __tracebackhide__ = True  # for IPython and pytest
        if not takes_any and not options.keys() <= kinds.keys():
            raise TypeError(f"{function.__name__}() {find_unknown(options, kinds)}")
        try:
            return function(*args, **options)
        except (ConfigError, DataError) as error:
            cause = error.__cause__
            raise error.with_traceback(None) from cause and cause.with_traceback(None)

    return cast("_Function", call)


def find_unknown(options: Iterable[str], known: Collection[str]) -> str | None:
    """Return what is wrong with the first option that is not known; None: all are."""
    for option in options:
        if option not in known:
            return f"got an unexpected keyword argument {option!r}.{suggest(option, [*known])}"
    return None


def callers_level() -> int:
    """Count the frames up to the line that called us, by whichever face."""
    package = __name__.partition(".")[0]
    frame, level = sys._getframe(1), 1  # noqa: SLF001  # inspect.stack() reads every source file
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    return level

"""How public functions are called: short tracebacks, help with misspelled options."""

from __future__ import annotations

import functools
import inspect
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
    return cast("_Function", _wrap(function))


def bind(function: Callable[..., Any], data: Any) -> Callable[..., Any]:
    """Return a public function as a method of ``data``: its signature without the first."""
    return _wrap(inspect.unwrap(function), data)


def _wrap(function: Callable[..., Any], *first: Any) -> Callable[..., Any]:
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())[len(first) :]
    known = [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
    takes_any = len(known) < len(parameters)

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        __tracebackhide__ = True  # for IPython and pytest
        unknown = None if takes_any else find_unknown(options, known)
        if unknown is not None:
            raise TypeError(f"{function.__name__}() {unknown}")
        try:
            return function(*first, *args, **options)
        except (ConfigError, DataError) as error:
            cause = error.__cause__
            raise error.with_traceback(None) from cause and cause.with_traceback(None)

    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # inspect reads it
    return call


def find_unknown(options: Iterable[str], known: Collection[str]) -> str | None:
    """Return what is wrong with the first option that is not known; None: all are."""
    for option in options:
        if option not in known:
            return f"got an unexpected keyword argument {option!r}.{suggest(option, [*known])}"
    return None

"""Scripts of faults as TOML files.

Every table of the array ``fault`` is one fault: ``kind`` names its class, the other keys
are the class's values::

    [[fault]]
    kind = "Throttled"
    nth = 3
    times = 2
    retry_after_seconds = 5

    [[fault]]
    kind = "RecordErrors"
    containing = "poison"
    times = "forever"
    code = -13
    message = "Permission denied"

TOML has no null: ``"forever"`` for ``times``, and ``"never"`` for seconds, stand for None.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args, get_origin, get_type_hints

from v3io_frames_put.local._answer_faults import (
    EmptyAnswer,
    PermutedAnswer,
    RecordErrors,
    TruncatedAnswer,
    WrongCounts,
)
from v3io_frames_put.local._changes import (
    RecordsDropped,
    ShardsAdded,
    StreamRemade,
    StreamRemoved,
)
from v3io_frames_put.local._connection_faults import (
    LateGhost,
    LostAnswer,
    Reset,
    Restart,
    SlowAnswer,
    StalledAnswer,
)
from v3io_frames_put.local._refusal_faults import (
    HtmlError,
    Redirected,
    Refused,
    Throttled,
    TooLarge,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from v3io_frames_put.local._faults import Fault

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KINDS: Final[Mapping[str, type[Fault]]] = {
    kind.__name__: kind
    for kind in (
        EmptyAnswer,
        HtmlError,
        LateGhost,
        LostAnswer,
        PermutedAnswer,
        RecordErrors,
        RecordsDropped,
        Redirected,
        Refused,
        Reset,
        Restart,
        ShardsAdded,
        SlowAnswer,
        StalledAnswer,
        StreamRemade,
        StreamRemoved,
        Throttled,
        TooLarge,
        TruncatedAnswer,
        Unavailable,
        WrongCounts,
    )
}
_NONE_WORDS: Final = ("forever", "never")


class FaultScriptError(ValueError):
    """A file of faults cannot be used; the message says where and why."""


def load_faults(path: str | Path) -> list[Fault]:
    """Read a script of faults from a TOML file.

    Parameters
    ----------
    path : path
        A file with one ``[[fault]]`` table for each fault, first come first served.

    Raises
    ------
    FaultScriptError
        The file is no TOML, or names a kind or a value that does not exist.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FaultScriptError(f"{path} is no TOML: {error}. Correct the file.") from error
    _check_names(str(path), content, ["fault"])
    tables = content.get("fault", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise FaultScriptError(f"{path}: 'fault' is one table. Write [[fault]] for each.")
    return [_build(f"{path}, fault {place}", table) for place, table in enumerate(tables, 1)]


def _build(where: str, table: dict[str, Any]) -> Fault:
    """Make one fault of its table."""
    values = dict(table)
    name = values.pop("kind", None)
    if name not in KINDS:
        raise FaultScriptError(
            f"{where}: kind = {name!r}; expected one of {', '.join(KINDS)}.{_hint(name, KINDS)}"
        )
    kind = KINDS[name]
    types = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    _check_names(f"{where} ({name})", values, names)
    read: dict[str, Any] = {
        key: _read(f"{where} ({name})", key, value, types[key]) for key, value in values.items()
    }
    try:
        return kind(**read)
    except (TypeError, ValueError) as error:
        raise FaultScriptError(f"{where}: {error}") from error


def _check_names(where: str, table: Mapping[str, Any], known: list[str]) -> None:
    """Refuse names that mean nothing, rather than run another script than was meant."""
    for name in table:
        if name not in known:
            raise FaultScriptError(
                f"{where}: unknown name {name!r}; expected one of {', '.join(known)}."
                f"{_hint(name, known)}"
            )


def _hint(name: object, known: Mapping[str, Any] | list[str]) -> str:
    """Guess what was meant."""
    close = get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _read(where: str, name: str, value: object, expected: object) -> object:
    """Turn a TOML value into one of a fault's."""
    choices = list(_choices(expected))
    if value in _NONE_WORDS and type(None) in choices:
        return None
    if isinstance(value, list):
        value = tuple(value)
    if not any(_fits(value, choice) for choice in choices):
        wanted = " or ".join(_spell(choice) for choice in choices)
        raise FaultScriptError(f"{where}: {name} = {value!r}; expected {wanted}.")
    return value


def _choices(expected: object) -> Iterator[object]:
    """Yield the types of a union, or the one type."""
    if get_origin(expected) in {None, Literal, tuple}:
        yield expected
        return
    for part in get_args(expected):
        yield from _choices(part)


def _fits(value: object, expected: object) -> bool:
    """Tell whether a value is of a type; whole numbers are numbers, truth values are not."""
    if get_origin(expected) is Literal:
        return value in get_args(expected)
    if get_origin(expected) is tuple:
        return isinstance(value, tuple) and all(type(item) is int for item in value)
    return type(value) is expected or (expected is float and type(value) is int)


def _spell(expected: object) -> str:
    """Say in words what is expected."""
    if get_origin(expected) is Literal:
        return " or ".join(repr(choice) for choice in get_args(expected))
    if get_origin(expected) is tuple:
        return "a list of whole numbers"
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return names.get(expected, "'forever' or 'never'") if isinstance(expected, type) else "a value"

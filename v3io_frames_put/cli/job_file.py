"""`--config job.toml`: everything that a command line can say, in a file."""

from __future__ import annotations

import difflib
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from v3io_frames_put.cli.job_options import IntOr
from v3io_frames_put.errors import MissingExtra

if TYPE_CHECKING:
    from pathlib import Path


_PATH: Final = f"{__name__}.path"


def find_job_file() -> Path | None:
    """Return where the job file of the command that runs now is."""
    path: Path | None = click.get_current_context().meta.get(_PATH)
    return path


def read_job_file(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
    """Take what a job file says as defaults: the command line wins.

    Called by click before the other options are looked at.
    """
    if path is None:
        return
    ctx.meta[_PATH] = path
    known = {
        str(param.name): param
        for param in ctx.command.params
        if param.name not in ("config", "help")
    }
    told: dict[str, Any] = {}
    for key, value in _load(path).items():
        name = key.replace("-", "_")
        if name not in known:
            raise click.UsageError(f"{path}: there is no option {key!r}. {_advise(name, known)}")
        try:
            told[name] = _fit(known[name], value)
        except TypeError as error:
            raise click.UsageError(f"{path}: {key} = {value!r}: {error}. Correct it.") from error
    ctx.default_map = {**(ctx.default_map or {}), **told}


def _load(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ModuleNotFoundError as error:
            if error.name != "tomli":
                raise
            raise MissingExtra(package="tomli", extra="local") from error
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path}: this is no TOML: {error}") from error


def _advise(name: str, known: dict[str, click.Parameter]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known are {', '.join(sorted(known))}."


def _fit(param: click.Parameter, value: Any) -> Any:
    """Let one path stand for a list of them; raise TypeError for what no option takes."""
    is_text = isinstance(param.type, (click.types.StringParamType, click.Path))
    if isinstance(value, list) and is_text and param.nargs == 1 and not _repeats(param):
        raise TypeError("expected one value, not a list")
    one = value if isinstance(value, list) else [value]
    is_whole = isinstance(param.type, (click.types.IntParamType, IntOr))
    if is_whole and isinstance(value, (bool, float)):
        raise TypeError("expected a whole number")
    if isinstance(param.type, click.Path) and not all(isinstance(item, str) for item in one):
        raise TypeError("expected a path, in quotes")
    return one if param.nargs == -1 else value


def _repeats(param: click.Parameter) -> bool:
    return isinstance(param, click.Option) and param.multiple

"""The files that a job writes: none over another, and none over what is read."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from v3io_frames_put.errors import ConfigError
from v3io_frames_put.jobs._files import kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from v3io_frames_put.jobs._files import InputFile

Place: TypeAlias = "str | os.PathLike[str] | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The files that a job writes; None: not asked for."""

    results: Path | None
    failed: Path | None

    @classmethod
    def check(
        cls, files: Sequence[InputFile], *, results: Place, failed: Place, journal: Place
    ) -> Outputs:
        """Refuse to write over what is read, twice to one place, or where nothing can be."""
        places = check_apart({"results": results, "failed": failed, "journal": journal})
        inputs = {file.resolve() for file in files}
        for name, place in places.items():
            if place in inputs:
                raise ConfigError(
                    f"{name}={str(place)!r} is one of the files to publish. Choose another place."
                )
            if name != "journal":
                _check_place(place)
        asked = {"results": results, "failed": failed}
        return cls(**{name: Path(path) if path else None for name, path in asked.items()})


def check_apart(outputs: Mapping[str, Place]) -> dict[str, Path]:
    """Return where files are to be, links followed; refuse one place for two."""
    places = {
        name: _resolve(name, path)
        for name, given in outputs.items()
        if (path := _read_path(name, given)) is not None
    }
    for (one, place), (other, same) in combinations(places.items(), 2):
        if place == same:
            raise ConfigError(f"{one} and {other} are both {place}; expected two files.")
    return places


def _read_path(name: str, given: object) -> Path | None:
    if given is not None and not isinstance(given, (str, os.PathLike)):
        raise ConfigError(f"{name}={given!r}: expected a path. Correct it.")
    return None if given is None else Path(given)


def _resolve(name: str, path: Path) -> Path:
    try:
        str(path).encode()  # Arrow takes no other names
        with suppress(FileNotFoundError):  # a free name
            path.stat()  # finds links in a circle, which resolve() does not on every Python
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # ValueError: a NUL, or not UTF-8
        raise ConfigError(
            f"{name}={str(path)!a}: {_EXPECTED}; {error}. Choose another place."
        ) from error


_EXPECTED: Final = "expected a file's name in a folder that exists"


def _check_place(place: Path) -> None:
    """Refuse what is not a file and not a free name, or promises another kind of file."""
    if not (place.is_file() if place.exists() else place.parent.is_dir()):
        raise ConfigError(f"{place} cannot be written: {_EXPECTED}. Choose another place.")
    if kind_of(place) not in (None, "parquet"):
        raise ConfigError(
            f"{place} would be a Parquet file; expected a name that ends with .parquet. Choose "
            f"another."
        )

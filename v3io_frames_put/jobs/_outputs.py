"""The files that a job writes: none over another, and none over what is read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

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
        cls,
        files: Sequence[InputFile],
        *,
        is_whole: bool,
        results: Place,
        failed: Place,
        journal: Place,
    ) -> Outputs:
        """Refuse to write over what is read, twice to one place, or where nothing can be.

        ``failed`` may be one of the files, if it is published whole and no journal is to
        find it again: it is written once they have been read.
        """
        asked = cls(results=_read_path("results", results), failed=_read_path("failed", failed))
        for path in (asked.results, asked.failed):
            if path is not None:
                _check_place(path)
                _check_kind(path)
        places = check_apart({"results": results, "failed": failed, "journal": journal})
        inputs = {file.resolve(): file for file in files}
        for name in ("results", "journal"):
            if places.get(name) in inputs:
                raise ConfigError(
                    f"{name}={str(places[name])!r} is one of the files to publish. Choose another "
                    f"place."
                )
        source = inputs.get(places.get("failed"))  # type: ignore[arg-type]  # None is none of them
        lost = [
            what
            for what, is_lost in (
                ("the rows that where leaves out", not is_whole),
                ("what its journal tells of", journal is not None),
            )
            if is_lost
        ]
        if source is not None and lost:
            raise ConfigError(
                f"failed={str(failed)!r} is one of the files to publish, and would lose {lost[0]}. "
                f"Choose another place."
            )
        return asked


def check_apart(outputs: Mapping[str, Place]) -> dict[str, Path]:
    """Return where files are to be, links followed; refuse one place for two."""
    places = {
        name: path.resolve()
        for name, told in outputs.items()
        if (path := _read_path(name, told)) is not None
    }
    for (one, place), (other, same) in combinations(places.items(), 2):
        if place == same:
            raise ConfigError(f"{one} and {other} are both {place}; expected two files.")
    return places


def _read_path(name: str, told: object) -> Path | None:
    if told is not None and not isinstance(told, (str, os.PathLike)):
        raise ConfigError(f"{name}={told!r}: expected a path. Correct it.")
    return None if told is None else Path(told)


def _check_place(path: Path) -> None:
    """Refuse what is no file and no free name."""
    expected = "expected a file's name in a folder that is there"
    try:
        str(path).encode()  # Arrow takes no other names
        place = path.resolve()
        fits = place.is_file() if place.exists() else place.parent.is_dir()
    except (OSError, RuntimeError, UnicodeEncodeError) as error:  # or links in a circle
        raise ConfigError(f"{str(path)!a}: {expected}; {error}. Choose another place.") from error
    if not fits:
        raise ConfigError(f"{path} cannot be written: {expected}. Choose another place.")


def _check_kind(path: Path) -> None:
    """Refuse a name that promises another kind of file."""
    if kind_of(path) not in (None, "parquet"):
        raise ConfigError(
            f"{path} would be a Parquet file; expected a name that ends with .parquet. Choose "
            f"another."
        )

"""What the user names -> the files to publish, in a fixed order."""

from __future__ import annotations

import glob
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import pyarrow as pa
from pyarrow import fs

from v3io_frames_put.errors import ConfigError, MissingExtra
from v3io_frames_put.jobs._partitions import read_partitions
from v3io_frames_put.jobs._passwords import hide_password, public_cause

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_LOG: Final = logging.getLogger("v3io_frames_put")

Kind: TypeAlias = Literal["parquet", "csv", "json", "arrow"]
FileStamp: TypeAlias = "tuple[str, int | None, int | None]"
Inputs: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"

_KINDS: Final[dict[str, Kind]] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_NOT_READ_TO_ITS_END: Final = (None, None)  # it may be mended before the run goes on
_COMPRESSED: Final = (".gz", ".bz2", ".zst", ".lz4")  # of text, which knows no compression itself


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One file to publish.

    Attributes
    ----------
    name : str
        As the user would type it.
    path, filesystem
        Where pyarrow finds it.
    kind : {"parquet", "csv", "json", "arrow"}
        By its ending.
    size, mtime_ns : int or None
        To tell whether it is still the same file.
    partitions : dict of str to str or None
        ``key=value`` folders on the way to it, below what the user named.
    """

    name: str
    path: str
    filesystem: Any = field(repr=False)
    kind: Kind
    size: int | None
    mtime_ns: int | None
    partitions: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def stamp(self) -> FileStamp:
        """What tells whether it is the same file, now and in another process."""
        return self.name, self.size, self.mtime_ns

    @property
    def delimiter(self) -> str:
        """Between the cells of a line."""
        return "\t" if _ending(self.path) == ".tsv" else ","

    def resolve(self) -> Path:
        """Return where it is, links followed, if it is on this machine."""
        return Path(self.path).resolve()

    def open(self) -> pa.NativeFile:
        """Open it for reading anywhere in it."""
        return self.filesystem.open_input_file(self.path)

    def open_stream(self) -> pa.NativeFile:
        """Open it for reading from its beginning, decompressed."""
        name = PurePosixPath(self.path.lower())  # its ending tells, in capitals, too
        is_packed = name.suffix in _COMPRESSED
        packing = pa.Codec.detect(str(name)).name if is_packed else None
        return self.filesystem.open_input_stream(self.path, compression=packing)

    def is_unchanged(self) -> bool:
        """Whether size and time are what they were when it was found."""
        info = self.filesystem.get_file_info(self.path)
        return (info.size, info.mtime_ns) == (self.size, self.mtime_ns)


@dataclass(frozen=True, slots=True)
class _Place:
    """A path as the user named it, on the file system that has it."""

    filesystem: Any
    path: str
    scheme: str
    find: Callable[[str], list[str]]

    def describe(self, path: str) -> Any:
        """Ask the file system about a path."""
        return self.filesystem.get_file_info(path)


def find_files(inputs: Inputs) -> list[InputFile]:
    """Find the files behind paths, folders, globs and URLs.

    In the order in which they are named; those of a folder or a glob sorted by path.
    Names that begin with a dot or an underscore are left out of folders, and a file that
    is named twice is taken once.

    Raises
    ------
    ConfigError
        There are none, or one is of a kind that cannot be read.
    """
    found: dict[tuple[str, str], InputFile] = {}
    for named in _read_inputs(inputs):
        for file in _expand(named):
            place = file.name, file.path  # a name may show less than the path
            if place in found:
                _LOG.info("%s is named twice; it is taken once", file.name)
            found.setdefault(place, file)
    if not found:
        raise ConfigError("there are no files to publish; expected at least one.")
    files = list(found.values())
    _warn_of_links(files)
    return files


def _warn_of_links(files: Sequence[InputFile]) -> None:
    """Warn of rows that are sent twice, since a link leads to a file that is published, too."""
    first: dict[str, InputFile] = {}
    for file in files:
        if not isinstance(file.filesystem, fs.LocalFileSystem):
            continue
        other = first.setdefault(os.path.realpath(file.path), file)
        if other is not file:
            _LOG.warning(
                "%s and %s are one file, and both are published: its rows are sent twice",
                other.name,
                file.name,
            )


def _read_inputs(inputs: Inputs) -> list[str]:
    """Return what is named, as text. Raises ConfigError."""
    try:
        named = [inputs] if isinstance(inputs, (str, os.PathLike)) else list(inputs)
        return [str(os.fspath(one)) for one in named]
    except TypeError as error:
        raise ConfigError(f"files={inputs!r}: expected a path, or a list of them.") from error


def pick_files(
    found: Sequence[InputFile], pinned: Sequence[FileStamp]
) -> tuple[list[InputFile], list[InputFile]]:
    """Pick the files of a run that has begun; return them, and the others.

    Raises
    ------
    ConfigError
        One of them is not there any more, or has changed.
    """
    of_name = {file.name: file for file in found}
    picked = []
    for name, size, mtime_ns in pinned:
        file = of_name.pop(name, None)
        known = (size, mtime_ns)
        if file is None or known not in [(file.size, file.mtime_ns), _NOT_READ_TO_ITS_END]:
            what = "is not among the files" if file is None else "has changed"
            raise ConfigError(
                f"journal: its run is not finished, and {name} {what} since it began. Bring "
                f"back what it was, or choose another journal for a new run."
            )
        picked.append(file)
    return picked, list(of_name.values())


def _expand(named: str) -> list[InputFile]:
    shown = hide_password(named)
    place = _locate(named, shown)
    try:
        found = _list(place, shown)
    except OSError as error:
        why = hide_password(str(error))
        raise ConfigError(f"{shown}: {why}. Check path and permissions.") from public_cause(error)
    except UnicodeEncodeError as error:
        raise ConfigError(f"{error.object!a}: its name is no UTF-8. Rename it.") from error
    if not found:
        raise ConfigError(
            f"{shown!r} leads to no file; expected {', '.join(sorted(_KINDS))}. Check the path."
        )
    return found


def _list(place: _Place, shown: str) -> list[InputFile]:
    info = place.describe(place.path)
    if info.type == fs.FileType.File:
        return [_make(place, info, root=str(PurePosixPath(place.path).parent))]
    if info.type == fs.FileType.Directory:
        return _walk(place, place.path, root=place.path)
    if not glob.has_magic(place.path):
        raise ConfigError(f"{shown!r}: there is no such file. Check the path.")
    found: list[InputFile] = []
    root = _fixed_part(place.path)
    for path in sorted(place.find(place.path)):
        info = place.describe(path)
        if info.type == fs.FileType.Directory:
            found += _walk(place, path, root=root)
        else:
            found.append(_make(place, info, root=root))
    return found


def _walk(place: _Place, folder: str, root: str) -> list[InputFile]:
    """List the files of a folder that hold data."""
    is_local = isinstance(place.filesystem, fs.LocalFileSystem)
    every = fs.FileSelector(folder, recursive=True)
    infos = _walk_local(place, folder, ()) if is_local else place.filesystem.get_file_info(every)
    found = []
    for info in sorted(infos, key=lambda info: cast("str", info.path)):
        below = PurePosixPath(info.path).relative_to(folder)
        if info.type != fs.FileType.File or any(part[0] in "._" for part in below.parts):
            continue
        if kind_of(info.path):
            found.append(_make(place, info, root=root))
        else:
            _LOG.warning(
                "%s is left out: no kind of file that can be read", _name(place, info.path)
            )
    return found


def _walk_local(place: _Place, folder: str, above: tuple[str, ...]) -> list[Any]:
    """List what is below a folder, links followed, but for those that lead back or nowhere."""
    here = os.path.realpath(folder)
    if here in above:
        _LOG.warning("%s is left out: it leads back to a folder that it stands in", folder)
        return []
    found = []
    paths = [os.path.join(folder, name) for name in os.listdir(folder) if name[0] not in "._"]  # noqa: PTH118, PTH208 - as text, for Arrow
    for info in place.filesystem.get_file_info(paths):
        if info.type == fs.FileType.Directory:
            found += _walk_local(place, info.path, (*above, here))
        elif info.type == fs.FileType.NotFound:
            _LOG.warning("%s is left out: it leads to no file", info.path)
        else:
            found.append(info)
    return found


def _make(place: _Place, info: Any, root: str) -> InputFile:
    kind = kind_of(info.path)
    if kind is None:
        raise ConfigError(
            f"{_name(place, info.path)}: cannot tell what it holds; expected a name that ends with "
            f"{', '.join(sorted(_KINDS))}. Rename it."
        )
    return InputFile(
        name=_name(place, info.path),
        path=info.path,
        filesystem=place.filesystem,
        kind=kind,
        size=info.size,
        mtime_ns=info.mtime_ns,
        partitions=read_partitions(info.path, root),
    )


def _name(place: _Place, path: str) -> str:
    is_url = "://" in path  # where the file system, as that of HTTP, knows whole URLs only
    return hide_password(path if is_url else place.scheme + path)


def kind_of(path: str | os.PathLike[str]) -> Kind | None:
    """Return what a file holds, by the ending of its name; None: it does not tell."""
    return _KINDS.get(_ending(os.fspath(path)))


def _ending(path: str) -> str:
    endings = [ending.lower() for ending in PurePosixPath(path).suffixes]
    if len(endings) > 1 and endings[-1] in _COMPRESSED:
        return endings[-2]
    return endings[-1] if endings else ""


def _fixed_part(pattern: str) -> str:
    """Return the folder above the first part that has a wildcard."""
    parts = PurePosixPath(pattern).parts
    fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    return str(PurePosixPath(*parts[:fixed]))


def _locate(named: str, shown: str) -> _Place:
    if "://" not in named:
        path = PurePosixPath(os.path.abspath(named)).as_posix()  # noqa: PTH100 - keeps symlinks
        return _Place(fs.LocalFileSystem(), path, "", lambda p: glob.glob(p, recursive=True))  # noqa: PTH207 - patterns come absolute
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        if error.name != "fsspec":
            raise
        raise MissingExtra(package="fsspec", extra="fsspec") from error
    try:
        remote, path = url_to_fs(named)
    except Exception as error:  # no such scheme, no package for it, nobody there: each its own
        why = str(error).replace(named, shown)
        raise ConfigError(f"{shown!r}: {why}. Check the address, and who may read it.") from error
    scheme = named.partition("://")[0] + "://"
    return _Place(fs.PyFileSystem(fs.FSSpecHandler(remote)), path, scheme, remote.glob)

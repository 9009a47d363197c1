"""What the user names -> the files to publish, in a fixed order."""

from __future__ import annotations

import fnmatch
import glob
import logging
import os
import re
import stat
import sys
import tempfile
from dataclasses import dataclass, field
from functools import reduce
from itertools import product
from operator import and_
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from v3io_frames_put.errors import ConfigError, DataError, MissingExtra
from v3io_frames_put.jobs._where import parse_where

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from typing_extensions import Self

_LOG: Final = logging.getLogger("v3io_frames_put")

Kind: TypeAlias = Literal["parquet", "csv", "json", "arrow"]
FileStamp: TypeAlias = "tuple[str, int | None, int | None]"
Inputs: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"

STDIN: Final = "-"
INPUT_FORMATS: Final[dict[str, Kind]] = {
    "parquet": "parquet",
    "csv": "csv",
    "tsv": "csv",
    "jsonl": "json",
    "ndjson": "json",
    "json": "json",
    "arrow": "arrow",
}
_KINDS: Final[dict[str, Kind]] = {
    **{f".{name}": kind for name, kind in INPUT_FORMATS.items()},
    ".pq": "parquet",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_ENDINGS: Final = ", ".join(sorted(_KINDS))
_COMPRESSED: Final = (".gz", ".bz2", ".zst", ".lz4", ".xz", ".zip")  # of text
_NULL: Final = "__HIVE_DEFAULT_PARTITION__"
_NOT_READ_TO_ITS_END: Final = (None, None)  # it may be repaired before the run goes on
_OF_ARROW: Final = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs")
_COPY_BYTES: Final = 1 << 20
_STEP_BYTES: Final = 1 << 16  # of text that is lost before a damaged part of a compressed file

# -- URLs as they may be shown ------------------------------------------------------------

_SECRETS: Final = [
    # Up to the last @ before a slash; where none is, a slash may be in it: unless it is a port.
    re.compile(r"(://[^/@:\[\s]*:)(?:[^/\s]*@|(?!\d+(?:/|$))\S*?@)"),
    re.compile(r"(https?://)[^/@:\s]+@", re.IGNORECASE),  # a token instead of a name
]
_URL: Final = re.compile(r"\w://\S+")
_SIGNATURE: Final = re.compile(
    r"([?&#](?:sig|(?:[\w-]+-)?signature|[\w-]+-security-token|(?:access_|api_)?(?:token|key)"
    r"|accesskey|password)=)[^&\s'\"]+",
    re.IGNORECASE,
)


def hide_password(text: str) -> str:
    """Cross out what opens a URL to whoever has it, wherever it is in a text."""
    for secret in _SECRETS:
        text = secret.sub(r"\1***@", text)
    return _URL.sub(lambda url: _SIGNATURE.sub(r"\1***", url[0]), text)


def public_cause(error: Exception) -> Exception | None:
    """Return an error that may be shown: one without a password in its text."""
    return error if hide_password(str(error)) == str(error) else None


# -- one file -----------------------------------------------------------------------------


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
        By its ending, or as the user says.
    size, mtime_ns : int or None
        To check whether it is still the same file.
    partitions : dict of str to str or None
        ``key=value`` folders on the way to it, below what the user named.
    spool : file or None
        What keeps a copy of standard input on disk.
    """

    name: str
    path: str
    filesystem: Any = field(repr=False)
    kind: Kind
    size: int | None
    mtime_ns: int | None
    partitions: Mapping[str, str | None] = field(default_factory=dict)
    spool: Any = field(default=None, repr=False)

    @property
    def stamp(self) -> FileStamp:
        """What identifies the file, now and in another process."""
        return self.name, self.size, self.mtime_ns

    @property
    def delimiter(self) -> str:
        """Between the cells of a line, by the ending."""
        return "\t" if _ending(self.path) == ".tsv" else ","

    def resolve(self) -> Path:
        """Return where it is, links followed, if it is on this machine."""
        return Path(self.path).resolve()

    def open(self) -> pa.NativeFile:
        """Open it for reading anywhere in it."""
        return self.filesystem.open_input_file(self.path)

    def open_text(self) -> TextStream:
        """Open it for reading from its beginning, decompressed."""
        return TextStream(self)

    def is_unchanged(self) -> bool:
        """Whether size and time are what they were when it was found."""
        info = self.filesystem.get_file_info(self.path)
        return (info.size, info.mtime_ns) == (self.size, self.mtime_ns)


class TextStream:
    """Decompressed bytes of a file, from its beginning."""

    def __init__(self, file: InputFile) -> None:
        name = _path_of(file.path).lower()
        packing = PurePosixPath(name).suffix
        self._raw = file.open()
        self._stream: Any = self._raw
        self._step = _STEP_BYTES if packing in _COMPRESSED else 1 << 62
        self._failure: Exception | None = None
        if packing == ".zip":
            self._stream = _open_member(self._raw)
        elif packing in _COMPRESSED:
            buffered: Any = pa.BufferedInputStream(self._raw, _COPY_BYTES)
            if packing == ".xz":
                import lzma

                self._stream = lzma.LZMAFile(buffered)  # noqa: SIM115 - closed with what it reads
            else:
                self._stream = pa.CompressedInputStream(buffered, pa.Codec.detect(name).name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def read(self, size: int) -> bytes:
        """Read at most so many bytes; none at the end alone."""
        if self._failure is not None:
            raise self._failure
        parts: list[bytes] = []
        while size > 0:
            try:
                part = self._stream.read(min(size, self._step))
            except (OSError, EOFError) as error:
                if not parts:
                    raise
                self._failure = error  # what was read before it comes first
                break
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    @property
    def position(self) -> int:
        """How many bytes of the file itself were read."""
        return int(self._raw.tell())


def _open_member(raw: Any) -> Any:
    import zipfile

    archive = zipfile.ZipFile(raw)
    members = [info for info in archive.infolist() if not info.is_dir()]
    if len(members) != 1:
        raise DataError(f"it holds {len(members)} files; expected one. Unpack it.")
    return archive.open(members[0])


# -- finding files ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """A path as the user named it, on the file system that has it."""

    filesystem: Any
    path: str
    scheme: str
    find: Callable[[str], list[str]]
    kind: Kind | None

    def describe(self, path: str) -> Any:
        """Ask the file system about a path."""
        return self.filesystem.get_file_info(path)

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return isinstance(self.filesystem, fs.LocalFileSystem)


def find_files(inputs: Inputs, input_format: str | None = None) -> list[InputFile]:
    """Find the files of paths, folders, globs, URLs and standard input.

    In the order in which they are named; those of a folder or a glob sorted by path.
    Names that begin with a dot or an underscore are left out of both, and a file that is
    named twice is taken once.

    Raises
    ------
    ConfigError
        There are none, or one is of a kind that cannot be read.
    """
    if input_format is not None and input_format not in INPUT_FORMATS:
        expected = ", ".join(INPUT_FORMATS)
        raise ConfigError(f"input_format={input_format!r}: expected one of {expected}.")
    found: dict[tuple[str, str], InputFile] = {}
    for named in _read_inputs(inputs):
        for file in _read_stdin(input_format) if named == STDIN else _expand(named, input_format):
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


def _read_stdin(input_format: str | None) -> list[InputFile]:
    """Copy standard input to disk: a run reads its files more than once."""
    if input_format is None:
        raise ConfigError(
            f"{STDIN}: standard input has no name that shows what it holds; expected input_format "
            f"({', '.join(INPUT_FORMATS)})."
        )
    spool = tempfile.NamedTemporaryFile(suffix=f".{input_format}")  # noqa: SIM115 - kept by the file
    while part := sys.stdin.buffer.read(_COPY_BYTES):
        spool.write(part)
    spool.flush()
    return [
        InputFile(
            name=STDIN,
            path=PurePosixPath(spool.name).as_posix(),
            filesystem=fs.LocalFileSystem(),
            kind=INPUT_FORMATS[input_format],
            size=spool.tell(),
            mtime_ns=Path(spool.name).stat().st_mtime_ns,
            spool=spool,
        )
    ]


def pick_files(
    found: Sequence[InputFile], pinned: Sequence[FileStamp]
) -> tuple[list[InputFile], list[InputFile]]:
    """Pick the files of a run that has begun; return them, and those that came later.

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


def _expand(named: str, input_format: str | None) -> list[InputFile]:
    shown = hide_password(named)
    place = _locate(named, shown, INPUT_FORMATS[input_format] if input_format else None)
    try:
        found = _list(place, shown)
    except OSError as error:
        why = hide_password(str(error))
        raise ConfigError(f"{shown}: {why}. Check path and permissions.") from public_cause(error)
    except UnicodeEncodeError as error:
        raise ConfigError(f"{error.object!a}: its name is not valid UTF-8. Rename it.") from error
    if not found:
        raise ConfigError(f"{shown!r} leads to no file; expected {_ENDINGS}. Check the path.")
    return found


def _list(place: _Place, shown: str) -> list[InputFile]:
    info = place.describe(place.path)
    if info.type == fs.FileType.File:
        return [_make(place, info, root=str(PurePosixPath(place.path).parent))]
    if info.type == fs.FileType.Directory:
        return list(_walk(place, place.path, root=place.path))
    if info.type == fs.FileType.Unknown and place.is_local:
        is_pipe = stat.S_ISFIFO(os.stat(place.path).st_mode)  # noqa: PTH116 - as text, for Arrow
        what = "a named pipe" if is_pipe else "neither a file nor a folder"
        raise ConfigError(
            f"{shown!r} is {what}, which can be read only once. Send it to standard input, and "
            f"name {STDIN} with input_format."
        )
    if not glob.has_magic(place.path):
        raise ConfigError(f"{shown!r}: there is no such file. Check the path.")
    root = _fixed_part(place.path)
    marked = PurePosixPath(place.path).name[0] in "._"  # asked for by name
    found: list[InputFile] = []
    for path in sorted(place.find(place.path)):
        info = place.describe(path)
        if info.type == fs.FileType.Directory:
            found += _walk(place, path, root=root)
        elif marked or PurePosixPath(path).name[0] not in "._":
            found += _make_known(place, info, root=root)
    return found


def _walk(place: _Place, folder: str, root: str) -> Iterator[InputFile]:
    """List the files of a folder that hold data."""
    every = fs.FileSelector(folder, recursive=True)
    infos = (
        _walk_local(place, folder, ()) if place.is_local else place.filesystem.get_file_info(every)
    )
    for info in sorted(infos, key=lambda info: cast("str", info.path)):
        below = _below(info.path, folder)
        if info.type == fs.FileType.File and not any(part[0] in "._" for part in below.parts):
            yield from _make_known(place, info, root=root)


def _walk_local(place: _Place, folder: str, above: tuple[str, ...]) -> list[Any]:
    """List what is below a folder, links followed, but for those that lead back or nowhere."""
    here = os.path.realpath(folder)
    if here in above:
        _LOG.warning("%s is left out: it leads back to a folder above it", folder)
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


def _make_known(place: _Place, info: Any, root: str) -> list[InputFile]:
    """Make a file of a folder or glob, if it is of a kind that can be read."""
    if place.kind or kind_of(info.path):
        return [_make(place, info, root=root)]
    _LOG.warning("%s is left out: not a kind of file that can be read", _name(place, info.path))
    return []


def _make(place: _Place, info: Any, root: str) -> InputFile:
    kind = place.kind or kind_of(info.path)
    if kind is None:
        raise ConfigError(
            f"{_name(place, info.path)}: the format is not known; expected a name that ends with "
            f"{_ENDINGS}. Rename it, or give input_format."
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
    if place.scheme and not is_url:
        path = place.scheme + path.lstrip("/")
    return hide_password(path)


def kind_of(path: str | os.PathLike[str]) -> Kind | None:
    """Return what a file holds, by the ending of its name; None: it does not show."""
    return _KINDS.get(_ending(os.fspath(path)))


def _path_of(path: str) -> str:
    """Return a path without the query that a URL has."""
    return urlsplit(path).path if "://" in path else path


def _ending(path: str) -> str:
    endings = [ending.lower() for ending in PurePosixPath(_path_of(path)).suffixes]
    if len(endings) > 1 and endings[-1] in _COMPRESSED:
        return endings[-2]
    return endings[-1] if endings else ""


def _below(path: str, folder: str) -> PurePosixPath:
    """Return a path below a folder; not every file system lists paths as it is asked for them."""
    return PurePosixPath(path.lstrip("/")).relative_to(folder.lstrip("/"))


def _fixed_part(pattern: str) -> str:
    """Return the folder above the first part that has a wildcard."""
    parts = PurePosixPath(pattern).parts
    fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    return str(PurePosixPath(*parts[:fixed]))


def _locate(named: str, shown: str, kind: Kind | None) -> _Place:
    if "://" not in named:
        path = PurePosixPath(os.path.abspath(os.path.expanduser(named))).as_posix()  # noqa: PTH100, PTH111 - keeps symlinks
        return _Place(fs.LocalFileSystem(), path, "", lambda p: glob.glob(p, recursive=True), kind)  # noqa: PTH207 - patterns come absolute
    scheme, _, rest = named.partition("://")
    if scheme in _OF_ARROW:
        try:
            root, query = rest.partition("/")[0], urlsplit(named).query
            remote, base = fs.FileSystem.from_uri(f"{scheme}://{root}/" + (query and f"?{query}"))
        except (pa.ArrowException, OSError) as error:
            why = hide_password(str(error))
            raise ConfigError(f"{shown!r}: {why}. Check the address.") from public_cause(error)
        except NotImplementedError:  # a pyarrow that was built without it
            pass
        else:
            below = rest.partition("/")[2].removesuffix(f"?{query}")
            path = "/".join(part for part in (base.strip("/"), below) if part)
            return _Place(remote, path, f"{scheme}://", lambda p: _glob(remote, p), kind)
    try:
        if scheme == "v3io":
            import v3iofs  # type: ignore[import-untyped]  # noqa: F401 - registers itself
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        if error.name not in ("fsspec", "v3iofs"):
            raise
        extra = "v3io" if error.name == "v3iofs" else "fsspec"
        raise MissingExtra(package=error.name, extra=extra) from error
    try:
        remote, path = url_to_fs(named)
    except Exception as error:  # no such scheme, no package for it, nobody there: each its own
        why = str(error).replace(named, shown)
        raise ConfigError(f"{shown!r}: {why}. Check the address, and who may read it.") from error
    files = fs.PyFileSystem(fs.FSSpecHandler(remote))
    # Its own glob does not find what its listing begins with a slash.
    find = remote.glob if scheme != "v3io" else lambda pattern: _glob(files, pattern)
    return _Place(files, path, f"{scheme}://", find, kind)


def _glob(remote: Any, pattern: str) -> list[str]:
    """Find the paths that match a pattern; ``**`` is any number of folders."""
    selector = fs.FileSelector(_fixed_part(pattern), recursive=True, allow_not_found=True)
    wanted = pattern.lstrip("/").split("/")
    paths = [info.path for info in remote.get_file_info(selector)]
    return [path for path in paths if _matches(path.lstrip("/").split("/"), wanted)]


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not (parts and pattern):
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


# -- key=value folders --------------------------------------------------------------------


def read_partitions(path: str, root: str) -> dict[str, str | None]:
    """Read the ``key=value`` folders between ``root`` and a file."""
    folders = _below(path, root).parts[:-1]
    pairs = (folder.partition("=") for folder in folders if "=" in folder)
    return {unquote(key): None if value == _NULL else unquote(value) for key, _, value in pairs}


def find_partition_types(
    files: Sequence[InputFile], types: Mapping[str, pa.DataType]
) -> dict[str, pa.DataType]:
    """Find the type of each partition column: whole numbers, if all are written as such."""
    values: dict[str, list[str]] = {}
    for file in files:
        for name, value in file.partitions.items():
            values.setdefault(name, []).extend([] if value is None else [value])
    return {
        name: types.get(name, pa.int64() if given and all(map(_is_integer, given)) else pa.string())
        for name, given in values.items()
    }


def _is_integer(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and text == str(int(text)) and len(digits) < 19  # noqa: PLR2004 - fits 64 bits


def partition_value(file: InputFile, name: str, dtype: pa.DataType) -> pa.Scalar:
    """Return what a file's folders say about a column; null where they say nothing."""
    value = file.partitions.get(name)
    if value is None:
        return pa.scalar(None, dtype)
    try:
        return pa.scalar(value).cast(dtype)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{file.name}: its folder {name}={value} is not a value of {dtype}. Give another type "
            f"by types, or rename the folder."
        ) from error


def select_files(
    files: Sequence[InputFile], where: str | None, types: Mapping[str, pa.DataType]
) -> list[InputFile]:
    """Leave out the files whose folders exclude every row: those are not opened.

    A column of folders has one type in the end, which depends on the files that are left: so
    where some values are numbers and some are not, a file is left out that no type leaves in.
    """
    known = find_partition_types(files, types)
    if where is None or not known:
        return list(files)
    texts = {name: {file.partitions.get(name) for file in files} for name in known}
    choices = [
        {known[name], pa.int64()}
        if name not in types and any(map(_is_integer, filter(None, texts[name])))
        else {known[name]}
        for name in known
    ]
    kept: set[int] = set()
    judged: set[int] = set()
    errors = []
    for typing in product(*choices):
        try:
            judged_now, kept_now = _prune(files, where, dict(zip(known, typing, strict=True)))
        except ConfigError as error:  # a literal of another type
            errors.append(error)
            continue
        judged |= judged_now
        kept |= kept_now
    if not judged and errors:
        raise errors[0]
    chosen = [file for place, file in enumerate(files) if place in kept or place not in judged]
    if len(chosen) < len(files):
        _LOG.info("%d files are left out: where excludes their folders", len(files) - len(chosen))
    return chosen


def _prune(
    files: Sequence[InputFile], where: str, types: Mapping[str, pa.DataType]
) -> tuple[set[int], set[int]]:
    """Return the places of files whose folders have the types, and of those to be read."""
    import pyarrow.dataset as ds

    schema = pa.schema(list(types.items()))
    condition = parse_where(where, schema, others=True)
    kind, nowhere = ds.ParquetFileFormat(), fs.LocalFileSystem()  # nothing is opened: any will do
    fragments = []
    for place, file in enumerate(files):
        facts: list[Any] = [pc.scalar(True)]  # noqa: FBT003 - a literal
        try:
            for name in file.partitions:
                value = partition_value(file, name, types[name])
                known = pc.field(name) == value if value.is_valid else pc.field(name).is_null()
                facts.append(known)
        except DataError:
            continue
        fact = reduce(and_, facts)
        fragments.append(kind.make_fragment(str(place), nowhere, partition_expression=fact))
    schema = pa.unify_schemas([schema, condition.schema])
    dataset = ds.FileSystemDataset(fragments, schema, kind, nowhere)
    kept = {int(fragment.path) for fragment in dataset.get_fragments(condition.expression)}
    return {int(fragment.path) for fragment in fragments}, kept

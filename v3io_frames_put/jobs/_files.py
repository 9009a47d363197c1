"""What the user names -> the files to publish, in a fixed order."""

from __future__ import annotations

import codecs
import fnmatch
import glob
import logging
import os
import re
import shutil
import sys
import tempfile
import weakref
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import TextIOWrapper
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from .._encode.casts import cast_text
from ..errors import ConfigError, DataError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_LOG: Final = logging.getLogger("v3io_frames_put")

Kind: TypeAlias = Literal["parquet", "csv", "tsv", "json", "arrow"]
FileStamp: TypeAlias = "tuple[str, int | None, int | None]"
Inputs: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"

STDIN: Final = "-"
INPUT_FORMATS: Final[dict[str, Kind]] = {
    "parquet": "parquet", "csv": "csv", "tsv": "tsv", "jsonl": "json", "ndjson": "json",
    "json": "json", "arrow": "arrow",
}  # fmt: skip
_KINDS: Final[dict[str, Kind]] = {
    **INPUT_FORMATS, "pq": "parquet", "arrows": "arrow", "feather": "arrow", "ipc": "arrow"
}  # fmt: skip
_ENDINGS: Final = ", ".join(f".{name}" for name in sorted(_KINDS))
_COMPRESSED: Final = (".gz", ".bz2", ".zst", ".lz4", ".xz", ".zip")  # of text
_NULL: Final = "__HIVE_DEFAULT_PARTITION__"
_NOT_READ_TO_ITS_END: Final = (None, None)  # it may be repaired before the run goes on
_EXTRAS: Final = {"fsspec": "fsspec", "v3iofs": "v3io"}
_OF_ARROW: Final = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs")

MAX_LINE_BYTES: Final = 16 << 20  # no record may be so long
_KEPT_BYTES: Final = 1_000  # of a line that is too long
_PACKED_BYTES: Final = 1 << 20  # of a compressed file, read at once
_STEP_BYTES: Final = 1 << 16  # of text that is lost before a damaged part of a compressed file

# -- URLs as they may be shown ------------------------------------------------------------

_SECRETS: Final = [
    # Up to the last @ before a slash; where none is, a slash may be in it: unless it is a port.
    re.compile(r"(://[^/@:\[\s]*:)(?:[^/\s]*@|(?!\d+(?:/|$))\S*?@)"),
    re.compile(r"(https?://)[^/@:\s]+@", re.IGNORECASE),  # a token instead of a name
]
_URL: Final = re.compile(r"\w://\S+")
_SIGNATURE: Final = re.compile(
    r"([?&#](?:[\w-]*(?:token|secret|signature|passw(?:or)?d|pwd|jwt"
    r"|(?:access|account|api|secret)[_-]?key)|key|sig|auth|code)=)[^&\s'\"]+",
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


class Block(NamedTuple):
    """Whole lines of a text file in UTF-8, or the beginning of a line that is too long."""

    text: bytes
    is_cut: bool
    position: int  # bytes of the file that were read


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One file to publish; its name is as the user would type it."""

    name: str
    path: str
    filesystem: Any = field(repr=False)
    kind: Kind
    size: int | None
    mtime_ns: int | None
    partitions: Mapping[str, str | None] = field(default_factory=dict)
    """``key=value`` folders on the way to it, below what the user named."""
    spool: Any = field(default=None, repr=False)
    """The copy of standard input, which is removed when nothing refers to this any more."""
    block_bytes: int = 1 << 20
    """Bytes of text that are read at once; at least those of a byte-order mark."""

    @property
    def stamp(self) -> FileStamp:
        """What identifies the file, now and in another process."""
        return self.name, self.size, self.mtime_ns

    def open(self) -> pa.NativeFile:
        """Open it for reading anywhere in it."""
        return self.filesystem.open_input_file(self.path)

    def is_unchanged(self) -> bool:
        """Whether size and time are what they were when it was found."""
        info = self.filesystem.get_file_info(self.path)
        return (info.size, info.mtime_ns) == (self.size, self.mtime_ns)

    def read_blocks(self, encoding: str | None = None, errors: str = "strict") -> Iterator[Block]:
        """Yield the decompressed text, however long a line of it is; ``encoding``: if not UTF-8."""
        rest, is_first, is_cut = b"", True, False
        with self.open() as raw:
            for chunk in self._read_chunks(raw, encoding, errors):
                position = raw.tell()  # the end of the text may close it
                if is_cut and b"\n" not in chunk:
                    continue
                rest += chunk.partition(b"\n")[2] if is_cut else chunk
                if is_first:
                    rest = rest.removeprefix(codecs.BOM_UTF8)
                is_first = is_cut = False
                if end := rest.rfind(b"\n") + 1:
                    yield Block(rest[:end], is_cut=False, position=position)
                    rest = rest[end:]
                elif len(rest) > MAX_LINE_BYTES:
                    yield Block(rest[:_KEPT_BYTES], is_cut=True, position=position)
                    rest, is_cut = b"", True
            if rest:
                yield Block(rest, is_cut=False, position=position)

    def _read_chunks(
        self, raw: pa.NativeFile, encoding: str | None, errors: str
    ) -> Iterator[bytes]:
        """Yield the text in pieces; of a damaged file, first what is before the damage."""
        text, size = b"", self.block_bytes
        try:
            stream = _decompress(raw, _path_of(self.path).lower())
            step = size if stream is raw else min(size, _STEP_BYTES)
            if encoding is not None:
                stream = TextIOWrapper(stream, encoding, errors, newline="")
            while fresh := stream.read(step):
                text += fresh.encode("utf-8", "surrogatepass") if encoding else fresh
                if len(text) >= size:
                    yield text
                    text = b""
        except Exception as error:  # each compression has errors of its own
            yield text
            raise DataError(str(error)) from error
        yield text


def _decompress(raw: pa.NativeFile, name: str) -> Any:
    """Return a stream of the decompressed bytes of a file."""
    packing = PurePosixPath(name).suffix
    if packing == ".zip":
        import zipfile

        archive = zipfile.ZipFile(raw)
        members = [info for info in archive.infolist() if not info.is_dir()]
        if len(members) != 1:
            raise DataError(f"it holds {len(members)} files; expected one. Unpack it.")
        return archive.open(members[0])
    if packing not in _COMPRESSED:
        return raw
    buffered = pa.BufferedInputStream(raw, _PACKED_BYTES)
    if packing == ".xz":
        import lzma

        return lzma.LZMAFile(buffered)
    return pa.CompressedInputStream(buffered, pa.Codec.detect(name).name)


# -- finding files ------------------------------------------------------------------------


def find_files(inputs: Inputs, input_format: str | None = None) -> list[InputFile]:
    """Find the files of paths, folders, globs, URLs and standard input, in this order.

    Those of a folder or a glob are sorted by path, without names that begin with a dot or an
    underscore. A file that is named twice, or by a link, is taken once. Raises ConfigError.
    """
    if input_format is not None and input_format not in INPUT_FORMATS:
        expected = ", ".join(INPUT_FORMATS)
        raise ConfigError(f"input_format={input_format!r}: expected one of {expected}.")
    try:
        every = [inputs] if isinstance(inputs, (str, os.PathLike)) else list(inputs)
        named = [str(os.fspath(one)) for one in every]
    except TypeError as error:
        raise ConfigError(f"files={inputs!r}: expected a path, or a list of them.") from error
    kind = None if input_format is None else INPUT_FORMATS[input_format]
    found: dict[str, InputFile] = {}
    for one in named:
        for file in [_copy_stdin(kind)] if one == STDIN else _expand(one, kind):
            # The name of a remote file may show less than its path.
            place = os.path.realpath(file.path) if _is_local(file.filesystem) else file.path
            first = found.setdefault(place, file)
            if first is not file:
                _LOG.info("%s is named twice (%s); it is taken once", first.name, file.name)
    if not found:
        raise ConfigError("there are no files to publish; expected at least one.")
    return list(found.values())


def _copy_stdin(kind: Kind | None) -> InputFile:
    """Copy standard input to disk: a run reads its files more than once."""
    if kind is None:
        raise ConfigError(
            f"{STDIN}: standard input has no name that shows what it holds; expected input_format "
            f"({', '.join(INPUT_FORMATS)})."
        )
    with tempfile.NamedTemporaryFile(delete=False) as spool:
        weakref.finalize(spool, Path(spool.name).unlink, missing_ok=True)
        shutil.copyfileobj(sys.stdin.buffer, spool)
    [file] = _expand(spool.name, kind)
    return replace(file, name=STDIN, spool=spool)


def _expand(named: str, kind: Kind | None) -> list[InputFile]:
    """Find the files that a path, folder, glob or URL leads to."""
    shown = hide_password(named)
    filesystem, path, scheme = _locate(named, shown)
    try:
        infos, root = _list(filesystem, path, shown)
    except OSError as error:
        why = hide_password(str(error))
        raise ConfigError(f"{shown}: {why}. Check path and permissions.") from public_cause(error)
    except UnicodeError as error:  # Arrow takes and gives paths as text
        text = getattr(error, "object", named)
        raise ConfigError(f"{text!a}: its name is not valid UTF-8. Rename it.") from error
    files = []
    for info in sorted(infos, key=lambda info: str(info.path)):
        # Some file systems, as that of HTTP, know whole URLs only.
        is_path = scheme and "://" not in info.path
        name = hide_password(f"{scheme}{info.path.lstrip('/')}" if is_path else info.path)
        of_kind = kind or kind_of(info.path)
        if of_kind is None and info.path == path:
            raise ConfigError(
                f"{name}: the format is not known; expected a name that ends with {_ENDINGS}. "
                f"Rename it, or give input_format."
            )
        if of_kind is None or info.type != fs.FileType.File:
            _LOG.warning("%s is left out: not a file of a kind that can be read", name)
            continue
        file = InputFile(
            name=name,
            path=info.path,
            filesystem=filesystem,
            kind=of_kind,
            size=info.size,
            mtime_ns=info.mtime_ns,
            partitions=read_partitions(info.path, root),
        )
        files.append(file)
    if not files:
        raise ConfigError(f"{shown!r} leads to no file; expected {_ENDINGS}. Check the path.")
    return files


def _list(filesystem: Any, path: str, shown: str) -> tuple[list[Any], str]:
    """List the files of a path, and the folder below which folders are columns."""
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.File:
        return [info], str(PurePosixPath(path).parent)
    if info.type == fs.FileType.Directory:
        return [*_walk(filesystem, path)], path
    if info.type == fs.FileType.Unknown and _is_local(filesystem):
        raise ConfigError(
            f"{shown!r} is a named pipe or a device, which can be read only once. Send it to "
            f"standard input, and name {STDIN} with input_format."
        )
    if not glob.has_magic(_path_of(path)):
        raise ConfigError(f"{shown!r}: there is no such file. Check the path.")
    root = _fixed_part(path)
    asked = [part for part in path.split("/") if part.startswith((".", "_"))]
    infos: list[Any] = []
    for match in filesystem.get_file_info(_glob(filesystem, path)):
        if _is_marked(match.path, root, asked):
            continue
        if match.type == fs.FileType.Directory:
            infos += _walk(filesystem, match.path)
        else:
            infos.append(match)
    return infos, root


def _walk(filesystem: Any, folder: str, above: tuple[str, ...] = ()) -> Iterator[Any]:
    """Yield the files of a folder; links are followed, but in no circle."""
    is_local = _is_local(filesystem)  # only there are links; others list all folders at once
    above = (*above, os.path.realpath(folder))
    for info in filesystem.get_file_info(fs.FileSelector(folder, recursive=not is_local)):
        if _is_marked(info.path, folder):
            continue
        if info.type != fs.FileType.Directory:
            yield info
        elif is_local and os.path.realpath(info.path) in above:
            _LOG.warning("%s is left out: it leads back to a folder above it", info.path)
        elif is_local:
            yield from _walk(filesystem, info.path, above)


def _is_marked(path: str, folder: str, asked: Sequence[str] = ()) -> bool:
    """Whether a name below a folder begins with a dot or an underscore that is not asked for."""
    marked = [part for part in _below(path, folder).parts if part[0] in "._"]
    return not all(any(fnmatch.fnmatchcase(part, one) for one in asked) for part in marked)


def kind_of(path: str | os.PathLike[str]) -> Kind | None:
    """Return what a file holds, by the ending of its name; None: it does not show."""
    endings = PurePosixPath(_path_of(os.fspath(path)).lower()).suffixes
    if len(endings) > 1 and endings[-1] in _COMPRESSED:
        endings.pop()
    return _KINDS.get(endings[-1][1:]) if endings else None


def _path_of(path: str) -> str:
    """Return a path without the query that a URL has."""
    return urlsplit(path).path if "://" in path else path


def _below(path: str, folder: str) -> PurePosixPath:
    """Return a path below a folder; not every file system lists paths as it is asked for them."""
    return PurePosixPath(path.lstrip("/")).relative_to(folder.lstrip("/"))


def _fixed_part(pattern: str) -> str:
    """Return the folder above the first part that has a wildcard."""
    parts = PurePosixPath(pattern).parts
    fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    return str(PurePosixPath(*parts[:fixed]))


def _is_local(filesystem: Any) -> bool:
    return isinstance(filesystem, fs.LocalFileSystem)


def _locate(named: str, shown: str) -> tuple[Any, str, str]:
    """Return the file system of a path or URL, its path there, and the scheme of the URL."""
    scheme, is_url, _ = named.partition("://")
    if not is_url:
        path = PurePosixPath(os.path.abspath(os.path.expanduser(named))).as_posix()  # noqa: PTH100, PTH111 - keeps symlinks
        return fs.LocalFileSystem(), path, ""
    try:
        if scheme in _OF_ARROW:
            query = urlsplit(named).query
            secret = _SECRETS[0].search(named)  # which may have a slash
            start = secret.end() if secret else len(f"{scheme}://")
            root, _, below = named[start:].removesuffix(f"?{query}").partition("/")
            remote, base = fs.FileSystem.from_uri(f"{named[:start]}{root}/?{query}")
            # What is below may have wildcards.
            path = "/".join(part for part in (base.strip("/"), below) if part)
            return remote, path, f"{scheme}://"
        if scheme == "v3io":
            import v3iofs  # type: ignore[import-untyped]  # noqa: F401 - registers itself
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        remote, path = url_to_fs(named)
    except Exception as error:  # no such scheme, no package, nobody there
        package = getattr(error, "name", None)
        if package in _EXTRAS:
            raise MissingExtra(package=package, extra=_EXTRAS[package]) from error
        why = hide_password(str(error).replace(named, shown))
        raise ConfigError(
            f"{shown!r}: {why}. Check the address, and who may read it."
        ) from public_cause(error)
    return fs.PyFileSystem(fs.FSSpecHandler(remote)), path, f"{scheme}://"


def _glob(filesystem: Any, pattern: str) -> list[str]:
    """Find the paths that match a pattern; ``**`` is any number of folders."""
    if _is_local(filesystem):
        return glob.glob(pattern, recursive=True)  # noqa: PTH207 - patterns come absolute
    selector = fs.FileSelector(_fixed_part(pattern), recursive=True, allow_not_found=True)
    wanted = pattern.lstrip("/").split("/")
    paths = [info.path for info in filesystem.get_file_info(selector)]
    return [path for path in paths if _matches(path.lstrip("/").split("/"), wanted)]


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not (parts and pattern):
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def pick_files(
    found: Sequence[InputFile], pinned: Sequence[FileStamp]
) -> tuple[list[InputFile], list[InputFile]]:
    """Pick the files of a run that has begun; return them, and those that came later.

    Raises ConfigError where one is not there any more, or has changed.
    """
    of_name = {file.name: file for file in found}
    picked = []
    for name, *known in pinned:
        file = of_name.pop(name, None)
        if file is None or tuple(known) not in [file.stamp[1:], _NOT_READ_TO_ITS_END]:
            what = "is not among the files" if file is None else "has changed"
            raise ConfigError(
                f"journal: its run is not finished, and {name} {what} since it began. Bring "
                f"back what it was, or choose another journal for a new run."
            )
        picked.append(file)
    return picked, list(of_name.values())


# -- key=value folders --------------------------------------------------------------------


def read_partitions(path: str, root: str) -> dict[str, str | None]:
    """Read the ``key=value`` folders between ``root`` and a file."""
    folders = _below(path, root).parts[:-1]
    pairs = (folder.partition("=") for folder in folders if "=" in folder)
    return {unquote(key): None if value == _NULL else unquote(value) for key, _, value in pairs}


def cast_partition(file: InputFile, name: str, dtype: pa.DataType) -> pa.Scalar:
    """Return what a file's folders say about a column, in its type; null: nothing."""
    value = file.partitions.get(name)
    with suppress(pa.ArrowNotImplementedError):
        [cast], [is_bad] = cast_text(pa.array([value], pa.string()), dtype)
        if not is_bad:
            return cast
    raise DataError(
        f"{file.name}: its folder {name}={value} is not a value of {dtype}. Give another type by "
        f"types, or rename the folder."
    )

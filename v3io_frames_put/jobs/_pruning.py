"""Which files a condition leaves to read, by the ``key=value`` folders on the way to them."""

from __future__ import annotations

import logging
from functools import reduce
from itertools import product
from operator import and_
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from v3io_frames_put.errors import ConfigError, DataError
from v3io_frames_put.jobs._files import pick_files
from v3io_frames_put.jobs._partitions import find_partition_types, is_integer, partition_value
from v3io_frames_put.jobs._table import open_reader
from v3io_frames_put.jobs._where import OPEN, parse_where

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from v3io_frames_put.jobs._files import FileStamp, InputFile
    from v3io_frames_put.jobs._where import Where

_LOG: Final = logging.getLogger("v3io_frames_put")


class Choice(NamedTuple):
    """The files to read, and the others that were named."""

    files: list[InputFile]
    others: list[InputFile]


def choose_files(
    files: Sequence[InputFile],
    where: str | None,
    types: Mapping[str, pa.DataType],
    pinned: Sequence[FileStamp] | None = None,
) -> Choice:
    """Leave out the files whose folders exclude every row: they are not read.

    Of a column that the files have themselves the folders say nothing: of those that are
    chosen and of those that are not, the first that can be opened tells whether they have.
    One file stays where all are excluded, to tell which columns there are.

    Parameters
    ----------
    files : sequence of InputFile
        All that were named.
    where : str or None
        The condition.
    types : dict of str to DataType
        Types that the user wants, by column.
    pinned : sequence of FileStamp, optional
        The files of a run that has begun: those are chosen, and no others.
    """
    if pinned is not None:
        picked, others = pick_files(files, pinned)
        later = [file.name for file in find_matching(others, where, types)]
        if later:
            _LOG.info("files that came later are left to the next run: %s", ", ".join(later))
        return Choice(picked, others)
    chosen = find_matching(files, where, types)
    taken = {file.name for file in chosen}
    others = [file for file in files if file.name not in taken]
    if where is None or not others:
        return Choice(chosen, others)
    asked = parse_where(where, pa.schema([]), is_open=True).columns & {*find_partition_types(files)}
    samples = [_find_readable(chosen), _find_readable(others)]
    if any(asked & names for _, names in filter(None, samples)):
        return Choice(list(files), [])
    _LOG.info("%d files are left out: where excludes their folders", len(others))
    if chosen or samples[1] is None:
        return Choice(chosen or list(files), others)
    example, _ = samples[1]
    return Choice([example], [file for file in others if file is not example])


def _find_readable(files: Sequence[InputFile]) -> tuple[InputFile, set[str]] | None:
    """Return the first file that can be opened, and its columns."""
    for file in files:
        reader = open_reader(file)
        if not isinstance(reader, DataError):
            return file, set(reader.schema.names)
    return None


def find_matching(
    files: Sequence[InputFile], where: str | None, types: Mapping[str, pa.DataType]
) -> list[InputFile]:
    """Return the files whose folders leave a chance that the condition holds in them.

    A column of folders has one type in the end, which depends on the files that are left:
    so where some are numbers and some are not, a file is left out that no type leaves in.
    """
    kept: set[int] = set()
    judged: set[int] = set()
    for schema in _possible_types(files, types) if where is not None else ():
        try:
            condition = parse_where(where, schema, is_open=True)
        except ConfigError:  # told of when all columns are known
            continue
        told = {place: _describe(file, schema) for place, file in enumerate(files)}
        known = {place: fact for place, fact in told.items() if fact is not None}
        judged |= known.keys()
        kept |= _prune(known, condition, schema)
    return [file for place, file in enumerate(files) if place in kept or place not in judged]


def _possible_types(
    files: Sequence[InputFile], types: Mapping[str, pa.DataType]
) -> Iterator[pa.Schema]:
    settled = find_partition_types(files)
    numbers = {
        name
        for file in files
        for name, value in file.partitions.items()
        if value is not None and is_integer(value)
    }
    choices = [
        [types[name]] if name in types else [dtype, *([pa.int64()] if name in numbers else [])]
        for name, dtype in settled.items()
    ]
    for chosen in product(*map(dict.fromkeys, choices)) if settled else ():
        yield pa.schema(list(zip(settled, chosen, strict=True)))


def _describe(file: InputFile, schema: pa.Schema) -> Any:
    """Return what the folders of a file say of each of its rows; None where they do not fit."""
    facts: list[Any] = [pc.scalar(True)]  # noqa: FBT003 - a literal
    for name in file.partitions:
        try:
            value = partition_value(file, name, schema.field(name).type)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            return None
        facts.append(pc.field(name) == value if value.is_valid else pc.field(name).is_null())
    return reduce(and_, facts)


def _prune(facts: Mapping[int, Any], condition: Where, schema: pa.Schema) -> set[int]:
    """Return the places whose facts do not rule the condition out."""
    import pyarrow.dataset as ds

    kind, nowhere = ds.ParquetFileFormat(), fs.LocalFileSystem()  # nothing is opened: any will do
    fragments = [
        kind.make_fragment(str(place), nowhere, partition_expression=fact)
        for place, fact in facts.items()
    ]
    schema = schema.append(pa.field(OPEN, pa.bool_()))
    dataset = ds.FileSystemDataset(fragments, schema, kind, nowhere)
    return {int(fragment.path) for fragment in dataset.get_fragments(condition.expression)}

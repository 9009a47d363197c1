"""Which files a condition leaves to read, by the ``key=value`` folders on the way to them."""

from __future__ import annotations

import logging
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from v3io_frames_put.errors import ConfigError, DataError
from v3io_frames_put.jobs._partitions import partition_value
from v3io_frames_put.jobs._table import open_reader
from v3io_frames_put.jobs._where import OPEN, parse_where

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from v3io_frames_put.jobs._files import InputFile
    from v3io_frames_put.jobs._where import Where

_LOG: Final = logging.getLogger("v3io_frames_put")


def choose_files(
    files: Sequence[InputFile], where: str | None, types: Mapping[str, pa.DataType]
) -> list[InputFile]:
    """Leave out the files whose folders exclude every row: they are not opened.

    Of a column that the files have themselves the folders say nothing: as the first file
    that can be opened has it, so have the others. That file stays where all are excluded,
    to tell which columns there are.
    """
    own = {name: value.type for file in files for name, value in file.partitions.items()}
    schema = pa.schema([(name, types.get(name, dtype)) for name, dtype in own.items()])
    if where is None or not own:
        return list(files)
    try:
        condition = parse_where(where, schema, is_open=True)
    except ConfigError:  # told of when all columns are known
        return list(files)
    chosen = _find_matching(files, condition, schema)
    if len(chosen) == len(files):
        return chosen
    for file in chosen or files:
        reader = open_reader(file)
        if isinstance(reader, DataError):
            continue
        if condition.columns & set(reader.schema.names):
            return list(files)
        chosen = chosen or [file]
        break
    _LOG.info("%d files are left out: where excludes their folders", len(files) - len(chosen))
    return chosen or list(files)


def _find_matching(
    files: Sequence[InputFile], condition: Where, schema: pa.Schema
) -> list[InputFile]:
    import pyarrow.dataset as ds

    kind, nowhere = ds.ParquetFileFormat(), fs.LocalFileSystem()  # nothing is opened: any will do
    fragments = [
        kind.make_fragment(str(place), nowhere, partition_expression=_describe(file, schema))
        for place, file in enumerate(files)
    ]
    schema = schema.append(pa.field(OPEN, pa.bool_()))
    dataset = ds.FileSystemDataset(fragments, schema, kind, nowhere)
    found = dataset.get_fragments(condition.expression)
    return [files[place] for place in sorted(int(fragment.path) for fragment in found)]


def _describe(file: InputFile, schema: pa.Schema) -> Any:
    """Return what the folders of a file say of each of its rows, as an expression."""
    return reduce(and_, _facts(file, schema), pc.scalar(True))  # noqa: FBT003 - a literal


def _facts(file: InputFile, schema: pa.Schema) -> Iterator[Any]:
    for name in file.partitions:
        try:
            value = partition_value(file, name, schema.field(name).type)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            continue  # refused, with its name, when the file is opened
        yield pc.field(name) == value if value.is_valid else pc.field(name).is_null()

"""``key=value`` folders on the way to a file -> columns, and what they exclude."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from v3io_frames_put.jobs._files import InputFile
    from v3io_frames_put.jobs._where import Where


def find_partition_types(files: Sequence[InputFile]) -> dict[str, pa.DataType]:
    """Find the type of each partition column: whole numbers, if all are spelt as such."""
    values: dict[str, list[str]] = {}
    for file in files:
        for name, value in file.partitions.items():
            values.setdefault(name, []).extend([] if value is None else [value])
    return {
        name: pa.int64() if told and all(map(_is_integer, told)) else pa.string()
        for name, told in values.items()
    }


def _is_integer(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and text == str(int(text)) and len(digits) < 19  # noqa: PLR2004 - fits 64 bits


def add_partitions(
    schema: pa.Schema, file: InputFile, types: Mapping[str, pa.DataType]
) -> pa.Schema:
    """Add the partition columns of a file to its own, which win where both have one."""
    for name in file.partitions:
        if name not in schema.names:
            schema = schema.append(pa.field(name, types[name]))
    return schema


def partition_value(file: InputFile, name: str, dtype: pa.DataType) -> pa.Scalar:
    """Return what a file's folders say about a column; null where they say nothing."""
    value = file.partitions.get(name)
    return pa.scalar(None, dtype) if value is None else pa.scalar(value).cast(dtype)


def may_match(file: InputFile, where: Where, schema: pa.Schema, own: Sequence[str]) -> bool:
    """Whether the folders of a file leave a chance that the condition holds in it.

    Of the file's ``own`` columns they say nothing.
    """
    names = [name for name in file.partitions if name in where.columns and name not in own]
    if not names:
        return True
    import pyarrow.dataset as ds

    known = [
        pc.field(name) == partition_value(file, name, schema.field(name).type)
        for name in names
        if file.partitions[name] is not None
    ]
    if not known:
        return True
    guarantee = known[0]
    for one in known[1:]:
        guarantee &= one
    kind = ds.ParquetFileFormat()  # nothing is opened: any kind will do
    fragment = kind.make_fragment(file.path, file.filesystem, partition_expression=guarantee)
    dataset = ds.FileSystemDataset([fragment], schema, kind, filesystem=file.filesystem)
    return any(True for _ in dataset.get_fragments(where.expression))

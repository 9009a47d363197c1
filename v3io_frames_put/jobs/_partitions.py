"""``key=value`` folders on the way to a file -> columns."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from v3io_frames_put.jobs._files import InputFile

_NULL: Final = "__HIVE_DEFAULT_PARTITION__"


def read_partitions(path: str, root: str) -> dict[str, str | None]:
    """Read the ``key=value`` folders between ``root`` and a file."""
    folders = PurePosixPath(path).relative_to(root).parts[:-1]
    pairs = (folder.partition("=") for folder in folders if "=" in folder)
    return {unquote(key): None if value == _NULL else unquote(value) for key, _, value in pairs}


def find_partition_types(files: Sequence[InputFile]) -> dict[str, pa.DataType]:
    """Find the type of each partition column: whole numbers, if all are spelt as such."""
    values: dict[str, list[str]] = {}
    for file in files:
        for name, value in file.partitions.items():
            values.setdefault(name, []).extend([] if value is None else [value])
    return {
        name: pa.int64() if told and all(map(is_integer, told)) else pa.string()
        for name, told in values.items()
    }


def is_integer(text: str) -> bool:
    """Whether a folder's value is spelt as a whole number of 64 bits is."""
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

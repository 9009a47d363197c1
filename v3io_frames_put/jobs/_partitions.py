"""``key=value`` folders on the way to a file -> columns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from v3io_frames_put.jobs._files import InputFile

_NULL: Final = "__HIVE_DEFAULT_PARTITION__"


def read_partitions(path: str, root: str) -> dict[str, pa.Scalar]:
    """Read the ``key=value`` folders between ``root`` and a file, as text."""
    folders = PurePosixPath(path).relative_to(root).parts[:-1]
    pairs = (folder.partition("=") for folder in folders if "=" in folder)
    return {
        unquote(key): pa.scalar(None if value == _NULL else unquote(value), pa.string())
        for key, _, value in pairs
    }


def settle_partitions(files: Sequence[InputFile]) -> list[InputFile]:
    """Give each partition column one type: whole numbers, if all are spelt as such."""
    values: dict[str, list[str]] = {}
    for file in files:
        for name, value in file.partitions.items():
            values.setdefault(name, []).extend([value.as_py()] if value.is_valid else [])
    numbers = {name for name, told in values.items() if told and all(map(_is_integer, told))}
    return [
        replace(
            file,
            partitions={
                name: value.cast(pa.int64()) if name in numbers else value
                for name, value in file.partitions.items()
            },
        )
        for file in files
    ]


def _is_integer(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and text == str(int(text)) and len(digits) < 19  # noqa: PLR2004 - fits 64 bits


def add_partitions(schema: pa.Schema, partitions: Mapping[str, pa.Scalar]) -> pa.Schema:
    """Add the partition columns of a file to its own, which win where both have one."""
    for name, value in partitions.items():
        if name not in schema.names:
            schema = schema.append(pa.field(name, value.type))
    return schema


def partition_value(file: InputFile, name: str, dtype: pa.DataType) -> pa.Scalar:
    """Return what a file's folders say about a column; null where they say nothing."""
    value = file.partitions.get(name)
    return pa.scalar(None, dtype) if value is None else value.cast(dtype)

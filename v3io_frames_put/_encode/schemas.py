"""Types of columns: read by name, and those of several files brought together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.types as pt

from ..errors import ConfigError, DataError
from .columns import INTERNAL
from .layouts import contains, plain_type

HOLDS: Final = b"v3io_holds"
"""Metadata that marks columns, also in a file of failed rows: index, json-lines or cells."""

_ZONED: Final = re.compile(r"timestamp\[(s|ms|us|ns), *(?:tz=)?([\w/+:-]+)\]")
_DECIMAL: Final = re.compile(r"decimal(128|256)?\((\d+), *(-?\d+)\)")


def read_types(types: Mapping[str, Any] | None) -> dict[str, pa.DataType]:
    """Turn type names into types; types stay as they are. Raises ConfigError."""
    if types is not None and not isinstance(types, Mapping):
        raise ConfigError(f"types={types!r}: expected a dict of types by column. Correct it.")
    read = {}
    for column, given in (types or {}).items():
        try:
            if isinstance(given, pa.DataType):
                read[str(column)] = given
            elif zoned := _ZONED.fullmatch(str(given)):
                read[str(column)] = pa.timestamp(zoned[1], zoned[2])
            elif exact := _DECIMAL.fullmatch(str(given)):
                make = pa.decimal256 if exact[1] == "256" else pa.decimal128
                read[str(column)] = make(int(exact[2]), int(exact[3]))
            else:
                read[str(column)] = pa.type_for_alias(str(given))
        except ValueError:  # noqa: PERF203 - it ends the loop
            raise ConfigError(
                f"types: {column}={given!r} is not a type; expected for example string, int64, "
                f"double, bool, date32, timestamp[us], timestamp[us, UTC] or decimal128(10, 2)."
            ) from None
    return read


def merge_schemas(
    schemas: Sequence[tuple[str, pa.Schema]], types: Mapping[str, pa.DataType]
) -> pa.Schema:
    """Find the columns and types that serve all files, each given with its name.

    A column of ``types`` has that type, any other one that Arrow promotes all files' to.
    Raises DataError, which names file and column, where there is none.
    """
    merged: dict[str, pa.Field] = {}
    for file, schema in schemas:
        twice = [name for name in schema.names if schema.names.count(name) > 1]
        if twice:
            raise DataError(f"{file}: two columns are named {twice[0]!r}. Rename one.")
        for own in schema:
            if own.name.startswith(INTERNAL):
                continue
            dtype = plain_type(types.get(own.name, own.type))
            known = merged.get(own.name, own.with_type(dtype))
            both = promote(known.type, dtype)
            if both is None:
                raise DataError(
                    f"{file}: column {own.name!r} is {dtype}, and {known.type} in files before it; "
                    f"no type holds both without loss. Give it one by types, or publish the files "
                    f"apart."
                )
            metadata = {**(known.metadata or {}), **(own.metadata or {})}  # names extension types
            if holds(known) != holds(own):  # an index here is a column there
                del metadata[HOLDS]
            merged[own.name] = pa.field(own.name, both, metadata=metadata)
    return pa.schema(list(merged.values()))


def promote(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type that Arrow promotes both to; None where there is none, or it rounds."""
    try:
        schemas = [pa.schema([("", one)]), pa.schema([("", other)])]
        both = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return None
    is_exact = contains(one, pt.is_decimal) or contains(other, pt.is_decimal)
    return None if is_exact and not contains(both, pt.is_decimal) else both


def holds(own: pa.Field) -> bytes | None:
    """Return what a column holds, if it is marked."""
    return (own.metadata or {}).get(HOLDS)

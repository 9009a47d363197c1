"""The rows left to send: read once more where they stand, and written with the reasons.

Nothing of the input is kept during a run; files whose rows are all stored are not
opened again.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet as pq

from v3io_frames_put._encode.columns import INTERNAL, INVALID
from v3io_frames_put.errors import ConfigError, DataError
from v3io_frames_put.jobs._reader import INTERNAL_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from typing_extensions import Self

    from v3io_frames_put.jobs._reader import FileTable
    from v3io_frames_put.jobs._results_file import ParquetOutput

_LOG: Final = logging.getLogger("v3io_frames_put")

_TOLD: Final = ("status", "error_message", "error_detail")
_SCHEMA: Final = pa.schema([(name, pa.string()) for name in _TOLD])
_NAMES: Final = [f"{INTERNAL}{name}" for name in ("status", "error", "detail")]
_NEVER_READ: Final = ("unsent", "Stopped", "The run ended before this row was read.")


class Outcomes:
    """Outcomes of a results file, read forward; rows beyond its end were never read.

    Parameters
    ----------
    path : path
        The results file.
    """

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        self.num_rows: int = self._file.metadata.num_rows
        self._batches = self._file.iter_batches(columns=list(_TOLD))
        self._pending = _SCHEMA.empty_table()
        self._first = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close(force=True)

    def read(self, start: int, count: int) -> pa.Table:
        """Return the outcomes of rows; ``start`` never goes back."""
        start = min(start, self.num_rows)
        stop = min(start + count, self.num_rows)
        while self._first + len(self._pending) < stop:
            passed = min(max(0, start - self._first), len(self._pending))
            batch = pa.Table.from_batches([next(self._batches)]).cast(_SCHEMA)
            self._pending = pa.concat_tables([self._pending.slice(passed), batch])
            self._first += passed
        told = self._pending.slice(start - self._first, max(0, stop - start))
        missing = count - len(told)
        filler = {
            name: pa.repeat(pa.scalar(text), missing)
            for name, text in zip(_TOLD, _NEVER_READ, strict=True)
        }
        return pa.concat_tables([told, pa.table(filler, _SCHEMA)]) if missing else told


def check_columns(schema: pa.Schema) -> None:
    """Refuse a column that could not be written if a row of it were left."""
    for field in schema:
        with _refuses(field):
            pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([field])).close()


@contextmanager
def _refuses(field: pa.Field) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(
            f"failed: it is a Parquet file, which cannot hold column {field.name!r}, "
            f"{field.type}: {str(error).rstrip('.')}. Give the column another type by types, or go "
            f"without failed."
        ) from error


def write_leftovers(
    table: FileTable,
    outcomes: Outcomes,
    output: ParquetOutput,
    *,
    left: set[int],
    with_unknown: bool,
) -> int:
    """Write the rows that are left to send; return how many they are.

    Parameters
    ----------
    table : FileTable
        What was published, and how far it was read.
    outcomes : Outcomes
        What became of it.
    output : ParquetOutput
        Where to; whoever made it puts it in its place, or throws it away.
    left : set of int
        Files with rows that are not stored.
    with_unknown : bool
        Whether rows may be sent again that may be stored.

    Raises
    ------
    DataError
        A file has changed.
    OSError, ConfigError
        The file cannot be written.
    """
    wanted = pa.array(["rejected", "unsent", *(["unknown"] if with_unknown else [])])
    ours = [*((name, pa.string()) for name in _NAMES), INTERNAL_FIELDS[0]]
    schema = pa.schema([*table.schema, *ours])
    count = 0
    output.begin(schema)
    numbers = list(_find_files(table, outcomes, left))
    for start, batch in _walk(table, outcomes, numbers):
        told = outcomes.read(start, batch.num_rows).combine_chunks()
        columns = [
            *(batch.column(name) for name in table.schema.names),
            *(told.column(name).combine_chunks() for name in _TOLD),
            batch.column(INVALID),
        ]
        is_left = pc.is_in(told.column("status").combine_chunks(), wanted)
        rows = pa.record_batch(columns, schema=schema).filter(is_left)
        if rows.num_rows:
            output.write(rows)
            count += rows.num_rows
    output.seal()
    return count


def _find_files(table: FileTable, outcomes: Outcomes, left: set[int]) -> Iterator[int]:
    """Yield the files that have rows left; raise DataError if one has changed."""
    for number, file in enumerate(table.files):
        is_settled = number < len(table.ends) and table.ends[number] <= outcomes.num_rows
        if is_settled and number not in left:
            continue
        if not file.is_unchanged():
            raise DataError(f"{file.name} has changed since it was published.")
        yield number


def _walk(
    table: FileTable, outcomes: Outcomes, numbers: Sequence[int]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the rows of files, with the row each batch begins with."""
    for number in numbers:
        is_opened = number < len(table.starts)
        row = table.starts[number] if is_opened else outcomes.num_rows
        try:
            for batch in table.reread(number):
                yield row, batch
                row += batch.num_rows
        except DataError as error:  # what can be read of the others is still to be sent
            _LOG.warning("rows left to send: %s", error)
        else:
            if number < len(table.ends) and row != table.ends[number]:
                raise DataError(
                    f"{table.files[number].name} has other rows than when it was published."
                )

"""Failed rows: read again from their files, written with the reasons, and sent again.

Nothing of the input is kept during a run; files whose rows are all stored are not
opened again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet as pq

from v3io_frames_put._encode.columns import INTERNAL
from v3io_frames_put._encode.layouts import INVALID
from v3io_frames_put.errors import ConfigError, DataError
from v3io_frames_put.jobs._reader import INTERNAL_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Self

    from v3io_frames_put.jobs._reader import FileTable
    from v3io_frames_put.jobs._results_file import ParquetOutput

_LOG: Final = logging.getLogger("v3io_frames_put")

_REASONS: Final = pa.schema(
    [(name, pa.string()) for name in ("status", "error_message", "error_detail")]
)
_STATUS: Final = f"{INTERNAL}status"
_NAMES: Final = (_STATUS, f"{INTERNAL}error", f"{INTERNAL}detail")
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
        self._batches = self._file.iter_batches(columns=_REASONS.names)
        self._pending = _REASONS.empty_table()
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
            batch = pa.Table.from_batches([next(self._batches)]).cast(_REASONS)
            self._pending = pa.concat_tables([self._pending.slice(passed), batch])
            self._first += passed
        known = self._pending.slice(start - self._first, max(0, stop - start))
        missing = count - len(known)
        filler = [pa.repeat(pa.scalar(text), missing) for text in _NEVER_READ]
        return pa.concat_tables([known, pa.table(filler, _REASONS)]) if missing else known


def check_columns(schema: pa.Schema) -> None:
    """Refuse a column that could not be written if a row of it failed."""
    for field in schema:
        try:
            pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([field])).close()
        except (OSError, pa.ArrowException) as error:  # noqa: PERF203 - once a column
            raise ConfigError(
                f"failed: it is a Parquet file, which cannot hold column {field.name!r}, "
                f"{field.type}: {str(error).rstrip('.')}. Give the column another type by types, "
                f"or go without failed."
            ) from error


def write_failed_rows(
    table: FileTable,
    outcomes: Outcomes,
    output: ParquetOutput,
    *,
    failing: set[int],
    with_unknown: bool,
) -> int:
    """Write the rows that are left to send, in the columns and types of the input.

    Parameters
    ----------
    table : FileTable
        What was published, and how far it was read.
    outcomes : Outcomes
        What became of it.
    output : ParquetOutput
        Where to; whoever made it puts it in its place, or throws it away.
    failing : set of int
        Files with rows that are not stored.
    with_unknown : bool
        Whether rows may be sent again that may be stored.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    DataError
        A file has changed.
    OSError, ConfigError
        The file cannot be written.
    """
    reasons = [pa.field(name, pa.string()) for name in _NAMES]
    fields = [*table.schema, *reasons, INTERNAL_FIELDS[0]]
    schema = pa.schema(fields, table.schema.metadata)
    wanted = pa.array(["rejected", "unsent", *(["unknown"] if with_unknown else [])])
    count = 0
    output.begin(schema)
    for start, batch in _read_again(table, outcomes, failing):
        known = outcomes.read(start, batch.num_rows).combine_chunks()
        columns = [
            *(batch.column(name) for name in table.schema.names),
            *(column.combine_chunks() for column in known.columns),
            batch.column(INVALID),
        ]
        mask = pc.is_in(known.column("status").combine_chunks(), wanted)
        rows = pa.record_batch(columns, schema=schema).filter(mask)
        if rows.num_rows:
            output.write(rows)
            count += rows.num_rows
    output.seal()
    return count


def _read_again(
    table: FileTable, outcomes: Outcomes, failing: set[int]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the rows of files that have failed ones, with the row each batch begins with."""
    for number, file in enumerate(table.files):
        is_read = number < len(table.ends)
        if is_read and table.ends[number] <= outcomes.num_rows and number not in failing:
            continue
        if not file.is_unchanged():
            raise DataError(f"{file.name} has changed since it was published.")
        row = table.starts[number] if number < len(table.starts) else outcomes.num_rows
        try:
            for batch in table.read_again(number):
                yield row, batch
                row += batch.num_rows
        except DataError as error:  # what can be read of the others is still to be sent
            _LOG.warning("failed rows: %s", error)
        else:
            if is_read and row != table.ends[number]:
                raise DataError(f"{file.name} has other rows than when it was published.")


# -- sending them again -------------------------------------------------------------------------


def check_failed_rows(path: Path, left: Path) -> None:
    """Check a file of failed rows that is to be sent again.

    Parameters
    ----------
    path : path
        The file, as ``publish(failed=...)`` wrote it.
    left : path
        Where what is left of it will be written.

    Raises
    ------
    ConfigError
        It is not such a file, or would be written over.
    """
    if left.resolve() == path.resolve():
        raise ConfigError(f"failed={str(left)!r} is the file to send again. Choose another place.")
    try:
        names = pq.read_schema(path).names
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(
            f"{path} cannot be read as Parquet: {str(error).rstrip('.')}. Expected a file that "
            f"publish wrote for failed (--failed)."
        ) from error
    if _STATUS not in names:
        raise ConfigError(
            f"{path} has no column {_STATUS}; expected a file that publish wrote for failed "
            f"(--failed)."
        )

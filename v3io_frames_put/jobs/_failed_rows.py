"""Failed rows: read once more where they stand, written with the reasons, and sent again.

Nothing of the input is kept during a run; files whose rows are all stored are not
opened again.
"""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet as pq

from v3io_frames_put._encode.columns import INTERNAL
from v3io_frames_put._encode.layouts import INVALID, find_invalid
from v3io_frames_put.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from typing_extensions import Self

    from v3io_frames_put.jobs._results_file import ParquetOutput
    from v3io_frames_put.jobs._table import FileTable

_LOG: Final = logging.getLogger("v3io_frames_put")

LINE: Final = "line"
"""Column of the lines of JSON Lines files that are kept as they are."""

_REASONS: Final = pa.schema(
    [(name, pa.string()) for name in ("status", "error_message", "error_detail")]
)
_STATUS: Final = f"{INTERNAL}status"
_NAMES: Final = (_STATUS, f"{INTERNAL}error", f"{INTERNAL}detail")
_CELLS: Final = pa.map_(pa.string(), pa.string())
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
    has_lines = any(file.kind == "json" for file in table.files)
    fields = list(table.schema)
    if has_lines and LINE not in table.schema.names:
        fields.append(pa.field(LINE, pa.string()))
    fields += [pa.field(name, pa.string()) for name in _NAMES]
    schema = pa.schema([*fields, pa.field(INVALID, _CELLS)], table.schema.metadata)
    wanted = pa.array(["rejected", "unsent", *(["unknown"] if with_unknown else [])])
    count = 0
    output.begin(schema)
    for start, batch in _read_again(table, outcomes, failing):
        reasons = outcomes.read(start, batch.num_rows).combine_chunks()
        mask = pc.is_in(reasons.column("status").combine_chunks(), wanted)
        if pc.any(mask).as_py():
            rows = _fill(batch.filter(mask), reasons.filter(mask), schema, has_lines=has_lines)
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


def _fill(
    batch: pa.RecordBatch, reasons: pa.Table, schema: pa.Schema, *, has_lines: bool
) -> pa.RecordBatch:
    """Return failed rows in the columns of their file."""
    columns = {name: batch.column(name) for name in batch.schema.names}
    cells = columns.get(INVALID, pa.nulls(batch.num_rows, _CELLS))
    found = _entries(cells)
    for name, column in columns.items():
        if not name.startswith(INTERNAL):
            columns[name] = _take_out_invalid(name, column, found)
    if has_lines:
        lines = [entries.pop(LINE, None) for entries in found]
        known = columns.get(LINE, pa.nulls(batch.num_rows, pa.string()))
        columns[LINE] = pc.coalesce(known, pa.array(lines, pa.string()))
    columns[INVALID] = pa.array([list(entries.items()) or None for entries in found], _CELLS)
    for name, told in zip(_NAMES, reasons.columns, strict=True):
        columns[name] = told.combine_chunks()
    empty = pa.nulls(batch.num_rows)
    return pa.record_batch(
        [columns.get(field.name, empty).cast(field.type) for field in schema], schema=schema
    )


def _entries(cells: pa.Array) -> list[dict[str, str]]:
    if cells.null_count == len(cells):
        return [{} for _ in range(len(cells))]
    return [dict(pairs or ()) for pairs in cells.to_pylist()]


def _take_out_invalid(name: str, column: pa.Array, found: list[dict[str, str]]) -> pa.Array:
    """Move cells that no reader of Parquet takes, such as text that is not UTF-8, to the others."""
    bad = find_invalid(column)
    if not bad:
        return column
    for row, why in bad.items():
        found[row][name] = _write_cell(column, row, why)
    return column.take(pa.array([None if row in bad else row for row in range(len(column))]))


def _write_cell(column: pa.Array, row: int, why: str) -> str:
    try:
        cell: bytes = column[row : row + 1].cast(pa.large_binary())[0].as_py()
    except pa.ArrowNotImplementedError:  # nested, or a date
        return why
    return cell.decode("utf-8", "backslashreplace")


# -- sending them again -------------------------------------------------------------------------


@contextmanager
def open_failed_rows(path: Path, left: Path) -> Iterator[list[Path]]:
    """Give the files to publish in place of a file of failed rows.

    Lines of JSON Lines files stand in it as they were, and are lines of such a file again
    while the block runs; other rows are published as they are.

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
        opened = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(
            f"{path} cannot be read as Parquet: {str(error).rstrip('.')}. Expected a file that "
            f"publish wrote for failed (--failed)."
        ) from error
    with opened:
        names = opened.schema_arrow.names
        if _STATUS not in names:
            raise ConfigError(
                f"{path} has no column {_STATUS}; expected a file that publish wrote for failed "
                f"(--failed)."
            )
        if LINE not in names:
            yield [path]
            return
        with tempfile.TemporaryDirectory(prefix="v3io-put-") as folder:
            yield list(_split_lines(opened, Path(folder) / path.stem))


def _split_lines(opened: pq.ParquetFile, place: Path) -> Iterator[Path]:
    """Write lines, and rows that are none, to a file each; yield those that are not empty."""
    rows, lines = place.with_suffix(".parquet"), place.with_suffix(".jsonl")
    num_lines = 0
    with pq.ParquetWriter(rows, opened.schema_arrow) as writer, lines.open("wb") as file:
        for batch in opened.iter_batches():
            is_line = _find_lines(batch)
            num_lines += _write_lines(batch.filter(is_line).column(LINE), file)
            writer.write_batch(batch.filter(pc.invert(is_line)))
    if num_lines < opened.metadata.num_rows or not num_lines:
        yield rows
    if num_lines:
        yield lines


def _find_lines(batch: pa.RecordBatch) -> pa.BooleanArray:
    """Return which rows are a line: they have nothing else."""
    mask = batch.column(LINE).is_valid()
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name != LINE and not name.startswith(INTERNAL):
            mask = pc.and_(mask, column.is_null())
    return mask


def _write_lines(lines: pa.Array, file: IO[bytes]) -> int:
    for line in lines.to_pylist():
        # A line that was mended by hand may have been broken into several.
        file.write(line.replace("\n", " ").replace("\r", " ").encode() + b"\n")
    return len(lines)

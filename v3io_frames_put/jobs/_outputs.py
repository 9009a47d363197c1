"""What a job writes: where files may be, results as Parquet, failed rows, and the counts.

    FileTable: where rows are   \
                                  temporary file -> counts, results file -> failed rows
    Run: what became of them    /

No result is written before the run has ended: what its last scan finds (``exactly_once``) may
change the outcome of any row.
"""

from __future__ import annotations

import logging
import os
import tempfile
from bisect import bisect_left
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet as pq

from .._encode.columns import INTERNAL
from .._encode.json_lines import FILE, FILE_ROW
from .._encode.layouts import INVALID
from .._producer.outcomes import Outcomes
from .._producer.values import PAGE_ROWS, RECORD_ROW, SCHEMA, Copy, Failure
from ..errors import ConfigError, DataError
from ..results import ATTRS_KEY, Receipt, amend_results, collect_results
from ..summary import Summary, add_summaries, count_results
from ._files import InputFile, kind_of
from ._reader import INTERNAL_FIELDS, FileTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .._run import RunReport


OutputPath: TypeAlias = "str | os.PathLike[str] | None"

_LOG: Final = logging.getLogger("v3io_frames_put")
_EXPECTED: Final = "expected a file's name in a folder that exists"

# -- where they may be ----------------------------------------------------------------------


def check_outputs(files: Sequence[InputFile], **outputs: OutputPath) -> None:
    """Refuse to write over what is read, twice to one place, or where no file can be."""
    taken = {Path(file.path).resolve(): "one of the files to publish" for file in files}
    for name, given in outputs.items():
        if given is None:
            continue
        place = _resolve(name, given)
        refused = f"{name}={str(place)!r} {{}}. Choose another place.".format
        if place in taken:
            raise ConfigError(refused(f"is {taken[place]}"))
        taken[place] = f"the place of {name}, too"
        if name not in ("results", "failed", "summary"):
            continue
        is_there = place.is_file() or (name == "summary" and not place.is_dir())  # /dev/stderr, say
        if not (is_there if place.exists() else os.access(place.parent, os.W_OK)):
            raise ConfigError(refused(f"cannot be written: {_EXPECTED}"))
        if name != "summary" and kind_of(place) not in (None, "parquet"):
            raise ConfigError(
                refused("would be a Parquet file; expected a name that ends with .parquet")
            )


def _resolve(name: str, given: Any) -> Path:
    """Return where a file is to be, links followed."""
    try:
        path = Path(given)
        str(path).encode()  # Arrow takes no other names
        with suppress(FileNotFoundError):  # a free name
            path.stat()  # finds links in a circle, which resolve() does not on every Python
        return path.resolve()
    except (OSError, RuntimeError, TypeError, ValueError) as error:  # a NUL, or not UTF-8
        raise ConfigError(
            f"{name}={str(given)!a}: {_EXPECTED}; {error}. Choose another place."
        ) from error


@contextmanager
def open_parquet(path: Path, schema: pa.Schema, **encodings: Any) -> Iterator[pq.ParquetWriter]:
    """Write a Parquet file that appears under its name only when it is complete.

    A link stays, and the file that it leads to is written. Raises OSError with the file's name.
    """
    place = path.resolve()
    part = place.with_name(f".{place.name}.{uuid4().hex[:8]}.part")
    encodings["use_compliant_nested_type"] = False  # it would rename what is in a list
    try:
        with pq.ParquetWriter(part, schema, compression="zstd", **encodings) as writer:
            yield writer
        part.replace(place)
    except (OSError, pa.ArrowException) as error:
        raise OSError(f"{path} cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)


# -- outcomes until the run has ended -----------------------------------------------------------


class RowReader:
    """Takes any number of rows from batches; ``fill`` makes those after their end."""

    def __init__(
        self, batches: Iterable[pa.RecordBatch | pa.Table], fill: Callable[[int], pa.RecordBatch]
    ) -> None:
        self._batches, self._fill, self._rest = iter(batches), fill, pa.table(fill(0))

    def take(self, num_rows: int) -> pa.Table:
        """Return the next rows."""
        parts, missing = [self._rest], num_rows - len(self._rest)
        while missing > 0:
            batch = next(self._batches, None)
            parts.append(pa.table(self._fill(missing) if batch is None else batch))
            missing -= len(parts[-1])
        rows = pa.concat_tables(parts).unify_dictionaries()
        self._rest = rows[num_rows:]
        return rows[:num_rows].combine_chunks()


_FOUND: Final = pa.schema([own for own in INTERNAL_FIELDS if own.name in (FILE, FILE_ROW)])
_PLACE: Final = pa.schema(zip(("file", "file_row"), _FOUND.types, strict=True))
"""Columns that say where a row comes from; null for rows that were never read."""
# A dictionary of numbers that never come twice takes as much memory again as the page.
_REPEATED: Final = ["status", "shard_id", "error_code", "error_message", "error_detail", "file"]
_ASCENDING: Final = ("sequence_number", "file_row")
_INTEGERS: Any = pd.Int64Dtype()  # null where a row was never read
_NEVER_READ: Final = Failure("Stopped", "The run ended before this row was read.")
_PARTS: Final = 256  # pages that are counted before their counts are added up
_IN_MEMORY_BYTES: Final = 4 << 20  # about 700,000 outcomes


class Sink:
    """Takes the outcomes of a run; once it has ended, counts them and writes the results.

    Until then they are in a temporary file, beside the rows' places in the input.
    """

    def __init__(
        self,
        table: FileTable,
        *,
        packed: bool,
        results: Path | None = None,
        failed: Path | None = None,
    ) -> None:
        self.summary: Summary | None = None  # of the whole run, once it has ended
        self.failing: set[str] = set()  # the files with rows that are not stored
        self.results: Path | None = None  # once they are written
        self.failure: OSError | None = None  # why they are not
        self.num_rows = 0  # that have an outcome
        self.skim: Iterator[object] = iter(())  # reads rows that have an outcome already
        self._asked, self._packed = results, packed
        self._columns = SCHEMA.append(RECORD_ROW) if packed else SCHEMA
        self._empty = collect_results([], index=None, packed=packed).assign(
            file=pd.Categorical([]), file_row=pd.array([], "Int64")
        )
        self._schema = pa.schema([*self._columns, *_PLACE])
        self._copies: tuple[Sequence[Copy], Sequence[Copy]] = ((), ())  # late ones, duplicates
        folders = [str(path.resolve().parent) for path in (results, failed) if path is not None]
        self._file: Any = tempfile.SpooledTemporaryFile(  # noqa: SIM115
            _IN_MEMORY_BYTES, dir=folders[0] if folders else None
        )
        options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
        file = pa.PythonFile(self._file, "w")
        self._writer = pa.ipc.new_stream(file, self._schema, options=options)
        self._table = table
        table.places = deque()  # of rows that have no outcome yet
        self._places = RowReader(
            iter(self._next_places, None),
            lambda missing: pa.record_batch(
                [pa.nulls(missing, dtype) for dtype in _FOUND.types], _FOUND
            ),
        )

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    def _next_places(self) -> pa.RecordBatch | None:
        places = self._table.places
        while not places and next(self.skim, None) is not None:
            pass
        return places.popleft() if places else None

    def take(self, batch: pa.RecordBatch | pa.Table) -> bool:
        """Keep outcomes, in the order of rows; False: they are lost, as will be all others."""
        try:
            if self.failure is None:
                places = self._places.take(batch.num_rows)
                self._writer.write_table(pa.table([*batch.columns, *places.columns], self._schema))
                self.num_rows += batch.num_rows
        except OSError as error:
            self.failure = error
        return self.failure is None

    def finish(self, report: RunReport) -> None:
        """Count the outcomes, and write the results."""
        receipt, nothing = asdict(report.receipt), count_results(self._empty, {})
        # All that is known on a full disk.
        self.summary = replace(nothing, counts=receipt["counts"], receipt=receipt)
        self._copies = report.late, report.duplicates
        deque(self.skim, maxlen=0)  # to the end of the last file
        num_rows = max(self._table.num_rows or 0, self._table.rows_read)
        for first in range(self.num_rows, num_rows, PAGE_ROWS):
            self.take(self.never_read(min(PAGE_ROWS, num_rows - first)))
        try:
            if self.failure is None:
                self._writer.close()
                parts = [nothing]
                for page in self.pages():
                    parts.append(self._count(page))
                    if len(parts) == _PARTS:
                        parts = [add_summaries(parts, {})]
                self.summary = add_summaries(parts, receipt)
                receipt["maybe_duplicates"] = self.summary.maybe_duplicates
                if self._asked is not None:
                    self._write_results(self._asked, report.receipt)
        except OSError as error:
            self.failure = error

    def pages(self) -> Iterator[pd.DataFrame]:
        """Yield the results, with what a last scan saw, and where the rows come from."""
        self._file.seek(0)
        options, first_row = pa.ipc.IpcReadOptions(use_threads=False), 0
        for batch in pa.ipc.open_stream(pa.PythonFile(self._file, "r"), options=options):
            outcomes = batch.select(self._columns.names)
            page = collect_results([outcomes], index=None, packed=self._packed)
            late, duplicates = (_of_rows(one, first_row, len(page)) for one in self._copies)
            amend_results(page, late=late, duplicates=duplicates)
            page["file"] = batch["file"].to_pandas()
            page["file_row"] = _INTEGERS.__from_arrow__(batch["file_row"])
            yield page
            first_row += len(page)

    def _count(self, page: pd.DataFrame) -> Summary:
        """Count outcomes; a row is named by its file and its place there."""
        file, row = page["file"], page["file_row"]
        self.failing.update(file[page["status"] != "stored"].dropna().unique())
        return count_results(
            page, {}, label=lambda one: None if pd.isna(file[one]) else f"{file[one]}:{row[one]}"
        )

    def never_read(self, num_rows: int) -> pa.Table:
        """Return the outcomes of rows that were never read."""
        outcomes = Outcomes(packed=self._packed)
        outcomes.open(num_rows)
        outcomes.record_failure(outcomes.open_rows(), "unsent", _NEVER_READ)
        return pa.Table.from_batches(outcomes.finish(), self._columns)

    def _write_results(self, path: Path, receipt: Receipt) -> None:
        """Write the results as ``pandas.read_parquet`` reads them back, with the receipt."""
        self._empty.attrs = {ATTRS_KEY: asdict(receipt)}
        metadata = pa.Schema.from_pandas(self._empty, preserve_index=False).metadata
        with open_parquet(
            path,
            self._schema.with_metadata(metadata),
            use_dictionary=_REPEATED,
            column_encoding=dict.fromkeys(_ASCENDING, "DELTA_BINARY_PACKED"),
        ) as writer:
            for page in self.pages():
                writer.write_table(_to_table(page, self._schema))
        self.results = path


def _to_table(page: pd.DataFrame, schema: pa.Schema | None) -> pa.Table:
    """Convert results; in other threads, each would keep memory of its own."""
    return pa.Table.from_pandas(page, schema, preserve_index=False, nthreads=1)


def _of_rows(copies: Sequence[Copy], first_row: int, num_rows: int) -> list[Copy]:
    """Return the copies of some rows, which are counted from the first of them."""
    ends = first_row, first_row + num_rows
    begin, end = (bisect_left(copies, row, key=lambda copy: copy.row) for row in ends)
    return [copy._replace(row=copy.row - first_row) for copy in copies[begin:end]]


# -- failed rows --------------------------------------------------------------------------------

_STATUS: Final = f"{INTERNAL}status"
_WHY: Final = pa.schema(
    [(name, pa.string()) for name in ("status", "error_message", "error_detail")]
)


def check_failed_rows(path: Path) -> None:
    """Refuse to send again what is not a file that ``publish(failed=...)`` wrote."""
    expected = "expected a file that publish wrote for failed="
    try:
        names = pq.read_schema(path).names
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(
            f"{path} cannot be read as Parquet: {str(error).rstrip('.')}; {expected}."
        ) from error
    if _STATUS not in names:
        raise ConfigError(f"{path} has no column {_STATUS}; {expected}.")


def failed_schema(path: Path, table: FileTable) -> pa.Schema:
    """Return the columns of failed rows: those of the input in its types, and reasons.

    Raises ConfigError where Parquet cannot hold one.
    """
    reasons = [pa.field(f"{INTERNAL}{name}", pa.string()) for name in ("status", "error", "detail")]
    schema = pa.schema([*table.schema, *reasons, INTERNAL_FIELDS[0]], table.schema.metadata)
    try:
        pq.ParquetWriter(pa.BufferOutputStream(), schema).close()
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path} cannot be written: {error}. Leave out failed.") from error
    return schema


def write_failed_rows(table: FileTable, sink: Sink, path: Path, *, with_unknown: bool) -> int:
    """Write the rows that are left to send, and count them.

    Nothing of the input was kept: files with such rows, and those that were not read to their
    end, are read again. Raises DataError for a file that has changed.
    """
    schema, count = failed_schema(path, table), 0
    wanted = pa.array(["rejected", "unsent", *(["unknown"] if with_unknown else [])])
    unread = {file.name for file in table.files[len(table.ends) :]}
    again = unread.union(sink.failing)
    starts = [*table.starts, table.rows_read]

    def why_of(page: pd.DataFrame) -> pa.Table:
        # Of rows that an earlier run has finished, and this one has not read, no file is known.
        rows = page.loc[page["file"].isin([*again, None]), _WHY.names]
        return _to_table(rows, None).cast(_WHY)

    known = map(why_of, sink.pages())
    outcomes = RowReader(
        known, lambda missing: sink.never_read(missing).select(_WHY.names).cast(_WHY)
    )
    with open_parquet(path, schema) as writer:
        for number, file in enumerate(table.files):
            if file.name not in again:
                continue
            if not file.is_unchanged():
                raise DataError(f"{file.name} has changed since it was published.")
            left = starts[number + 1] - starts[number] if number + 1 < len(starts) else 0
            try:
                for batch in table.read_again(number):
                    why = outcomes.take(batch.num_rows)
                    left -= batch.num_rows
                    cells = [batch.column(name) for name in table.schema.names]
                    columns = [*cells, *why.columns, batch.column(INVALID)]
                    rows = pa.table(columns, schema=schema)
                    rows = rows.filter(pc.is_in(why["status"], wanted))
                    if len(rows):
                        writer.write_table(rows)
                        count += len(rows)
            except DataError as error:  # what can be read of the others is still to be sent
                _LOG.warning("failed rows: %s", error)
                outcomes.take(max(left, 0))
            else:
                if left and file.name not in unread:
                    raise DataError(f"{file.name} has other rows than when it was published.")
    return count

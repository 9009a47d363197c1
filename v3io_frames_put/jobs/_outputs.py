"""What a job writes: where files may be, results as Parquet, failed rows, and the counts.

    FileTable: where rows are    ->  temporary file  \
                                                       Tally, results file -> failed rows
    Run: what became of them     ->  temporary file  /

Nothing is written before the run has ended: what its last scan finds (``exactly_once``) may
change the outcome of any row.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from bisect import bisect_left
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import chain, combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import uuid4

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet as pq

from .._encode.columns import INTERNAL
from .._encode.json_lines import FILE, FILE_ROW
from .._encode.layouts import INVALID
from .._producer.values import (
    BLANK,
    PAGE,
    PAGE_ROWS,
    RECORD_ROW,
    SCHEMA,
    STATUSES,
    Copy,
    Texts,
    to_results_batch,
)
from ..errors import ConfigError, DataError
from ..results import ATTRS_KEY, Receipt, amend_results, collect_results
from ._files import InputFile, kind_of
from ._reader import INTERNAL_FIELDS, FileTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from .._run import RunReport


OutputPath: TypeAlias = "str | os.PathLike[str] | None"

_LOG: Final = logging.getLogger("v3io_frames_put")
_EXPECTED: Final = "expected a file's name in a folder that exists"

# -- where they may be ----------------------------------------------------------------------


def check_outputs(files: Sequence[InputFile], **outputs: OutputPath) -> None:
    """Refuse to write over what is read, twice to one place, or where no file can be."""
    inputs = {Path(file.path).resolve() for file in files}
    places = {name: _resolve(name, path) for name, path in outputs.items() if path is not None}
    for (one, place), (other, same) in combinations(places.items(), 2):
        if place == same:
            raise ConfigError(f"{one} and {other} are both {place}; expected two files.")
    for name, place in places.items():
        if place in inputs:
            raise ConfigError(
                f"{name}={str(place)!r} is one of the files to publish. Choose another place."
            )
        if name not in ("results", "failed", "summary"):
            continue
        is_device = name == "summary" and not place.is_dir()  # /dev/stderr, say
        is_there = place.is_file() or is_device
        if not (is_there if place.exists() else os.access(place.parent, os.W_OK)):
            raise ConfigError(
                f"{name}={str(place)!r} cannot be written: {_EXPECTED}. Choose another place."
            )
        if name != "summary" and kind_of(place) not in (None, "parquet"):
            raise ConfigError(
                f"{place} would be a Parquet file; expected a name that ends with .parquet. "
                f"Choose another."
            )


def _resolve(name: str, given: object) -> Path:
    """Return where a file is to be, links followed."""
    if not isinstance(given, (str, os.PathLike)):
        raise ConfigError(f"{name}={given!r}: expected a path. Correct it.")
    path = Path(given)
    try:
        str(path).encode()  # Arrow takes no other names
        with suppress(FileNotFoundError):  # a free name
            path.stat()  # finds links in a circle, which resolve() does not on every Python
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # ValueError: a NUL, or not UTF-8
        raise ConfigError(
            f"{name}={str(path)!a}: {_EXPECTED}; {error}. Choose another place."
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


# -- rows until the run has ended ---------------------------------------------------------------

_IN_MEMORY_BYTES: Final = 4 << 20  # about 700,000 outcomes


class Spool:
    """Keeps batches in a temporary file, from which they are read once all are written."""

    def __init__(self, schema: pa.Schema, folder: str | None = None) -> None:
        self.num_rows = 0
        self._file: Any = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, dir=folder)  # noqa: SIM115
        self._lock = threading.Lock()
        options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
        file = pa.PythonFile(self._file, "w")
        self._writer: Any = pa.ipc.new_stream(file, schema, options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; a thread that still reads when the run has ended adds none."""
        with self._lock:
            if self._writer is not None:
                self._writer.write_batch(batch)
                self.num_rows += batch.num_rows

    def end(self) -> None:
        """Write no more."""
        with self._lock:
            self._writer = self._writer.close()

    def read(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches from the first on."""
        self._file.seek(0)
        options = pa.ipc.IpcReadOptions(use_threads=False)
        yield from pa.ipc.open_stream(pa.PythonFile(self._file, "r"), options=options)

    def close(self) -> None:
        """Remove the file."""
        with self._lock:
            self._writer = None
            self._file.close()


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


# -- the end of a run ---------------------------------------------------------------------------

_FOUND: Final = pa.schema([own for own in INTERNAL_FIELDS if own.name in (FILE, FILE_ROW)])
_PLACE: Final = pa.schema(zip(("file", "file_row"), _FOUND.types, strict=True))
"""Columns that say where a row comes from; null for rows that were never read."""
# A dictionary of numbers that never come twice takes as much memory again as the page.
_REPEATED: Final = ["status", "shard_id", "error_code", "error_message", "error_detail", "file"]
_ASCENDING: Final = ("sequence_number", "file_row")


class Sink:
    """Takes the outcomes of a run; once it has ended, counts them and writes the results."""

    def __init__(
        self,
        table: FileTable,
        *,
        packed: bool,
        results: Path | None = None,
        failed: Path | None = None,
    ) -> None:
        self.tally = Tally()
        self.results: Path | None = None  # once they are written
        self.failure: OSError | None = None  # why they are not
        self._asked, self._packed = results, packed
        self._columns = SCHEMA.append(RECORD_ROW) if packed else SCHEMA
        self._schema = pa.schema([*self._columns, *_PLACE])
        self._copies: tuple[Sequence[Copy], Sequence[Copy]] = ((), ())  # late ones, duplicates
        folders = [str(path.resolve().parent) for path in (results, failed) if path is not None]
        self._outcomes = Spool(self._columns, *folders[:1])
        self._places = table.places = Spool(_FOUND, *folders[:1])
        self._table = table

    @property
    def num_rows(self) -> int:
        """Rows that have an outcome."""
        return self._outcomes.num_rows

    def close(self) -> None:
        """Remove the temporary files."""
        self._outcomes.close()
        self._places.close()

    def take(self, batch: pa.RecordBatch) -> bool:
        """Keep outcomes, in the order of rows; False: they are lost, as will be all others."""
        try:
            if self.failure is None:
                self._outcomes.write(batch)
        except OSError as error:
            self.failure = error
        return self.failure is None

    def finish(self, report: RunReport, num_rows: int | None) -> None:
        """Count the outcomes, and write the results; ``num_rows`` are those of the table."""
        self.tally = Tally(counts=report.receipt.counts)  # all that is known on a full disk
        self._copies = report.late, report.duplicates
        self._places.end()
        num_rows = max(num_rows or 0, self._places.num_rows)
        for first in range(self.num_rows, num_rows, PAGE_ROWS):
            self.take(self.never_read(min(PAGE_ROWS, num_rows - first)))
        try:
            if self.failure is None:
                self._outcomes.end()
                self.tally = count_outcomes(chain([self._schema.empty_table()], self.rows()))
                if self._asked is not None:
                    self._write_results(self._asked, report.receipt)
        except OSError as error:  # a file of places that broke off is one, too
            self.failure = error

    def rows(self) -> Iterator[pa.Table]:
        """Yield the results: the outcomes, and where the rows come from."""
        first_row = 0
        places = RowReader(
            self._places.read(),
            lambda missing: pa.record_batch(
                [pa.nulls(missing, own) for own in _FOUND.types], _FOUND
            ),
        )
        for batch in self._outcomes.read():
            columns = [*self._amend(batch, first_row).columns]
            columns += places.take(batch.num_rows).columns
            yield pa.table(columns, schema=self._schema)
            first_row += batch.num_rows

    def count_rows(self, number: int) -> int:
        """Return how many rows of a file have been read."""
        starts = [*self._table.starts, self._places.num_rows]
        return starts[number + 1] - starts[number] if number + 1 < len(starts) else 0

    def never_read(self, num_rows: int) -> pa.RecordBatch:
        """Return the outcomes of rows that were never read."""
        texts = Texts()
        page = {name: BLANK[name].repeat(num_rows) for name in PAGE.names or ()}
        page["status"][:] = STATUSES.index("unsent")
        page["error_message"][:] = texts.number("Stopped")
        page["error_detail"][:] = texts.number("The run ended before this row was read.")
        return to_results_batch(page, texts, packed=self._packed)

    def _amend(self, batch: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
        """Write into outcomes what a last scan saw: see ``amend_results``."""
        stop = first_row + batch.num_rows
        late, duplicates = (_of_rows(copies, first_row, stop) for copies in self._copies)
        if not (late or duplicates):
            return batch
        results = collect_results([batch], index=None, packed=self._packed)
        amend_results(results, late=late, duplicates=duplicates)
        amended = pa.RecordBatch.from_pandas(results, batch.schema, preserve_index=False)
        return amended.cast(batch.schema)

    def _write_results(self, path: Path, receipt: Receipt) -> None:
        """Write the results as ``pandas.read_parquet`` reads them back, with the receipt."""
        empty = collect_results([], index=None, packed=self._packed)
        empty = empty.assign(file=pd.Categorical([]), file_row=pd.array([], "Int64"))
        empty.attrs = {ATTRS_KEY: asdict(receipt)}
        metadata = pa.Schema.from_pandas(empty, preserve_index=False).metadata
        with open_parquet(
            path,
            self._schema.with_metadata(metadata),
            use_dictionary=_REPEATED,
            column_encoding=dict.fromkeys(_ASCENDING, "DELTA_BINARY_PACKED"),
        ) as writer:
            for rows in self.rows():
                writer.write_table(rows)
        self.results = path


def _of_rows(copies: Sequence[Copy], first_row: int, stop: int) -> list[Copy]:
    """Return the copies of some rows, which are counted from the first of them."""
    begin, end = (bisect_left(copies, row, key=lambda copy: copy.row) for row in (first_row, stop))
    return [copy._replace(row=copy.row - first_row) for copy in copies[begin:end]]


# -- counts -------------------------------------------------------------------------------------

_REASON: Final = ["status", "error_message", "error_code"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Outcomes, counted."""

    counts: Mapping[Any, int] = field(default_factory=dict)
    reasons: Sequence[Mapping[str, Any]] = ()  # why rows are not stored, the most frequent first
    shards: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    failing: Sequence[str] = ()  # the files with rows that are not stored


def count_outcomes(pages: Iterable[pa.Table]) -> Tally:
    """Count the results of a job, of at least one page: by status, by reason, by shard."""
    parts, failing = [], set()
    for page in pages:
        status, numbers = page["status"].cast(pa.string()), page["sequence_number"]
        rows = page.select(["error_message", "error_code", "shard_id", "file", "file_row"])
        rows = rows.append_column("status", status).append_column("detail", page["error_detail"])
        rows = rows.append_column("rows", pa.array(np.ones(len(page), np.int64)))
        rows = rows.append_column("first", numbers).append_column("last", numbers)
        parts.append(_fold(rows, [*_REASON, "shard_id"]))
        failed = page["file"].filter(pc.not_equal(status, "stored"))
        failing.update(failed.unique().drop_null().to_pylist())
    groups = pa.concat_tables(parts).unify_dictionaries()
    is_stored = pc.equal(groups["status"], "stored")
    by_status = _fold(groups, ["status"]).to_pylist()
    by_shard = _fold(groups.filter(is_stored).sort_by("shard_id"), ["shard_id"]).to_pylist()
    by_reason = _fold(groups.filter(pc.invert(is_stored)), _REASON)
    by_reason = by_reason.select([*_REASON, "rows", "detail", "file", "file_row"]).to_pylist()
    return Tally(
        counts=dict.fromkeys(STATUSES, 0) | {one["status"]: one["rows"] for one in by_status},
        reasons=sorted(by_reason, key=lambda one: -one["rows"]),
        shards={
            one["shard_id"]: {name: one[name] for name in ("rows", "first", "last")}
            for one in by_shard
        },
        failing=sorted(failing),
    )


def _fold(rows: pa.Table, keys: list[str]) -> pa.Table:
    """Add up what has the same keys; the other columns are those of the first."""
    numbered = rows.append_column("at", pa.array(np.arange(len(rows))))
    sums = [("rows", "sum"), ("first", "min"), ("last", "max")]
    grouped = numbered.group_by(keys, use_threads=False).aggregate([("at", "min"), *sums])
    folded = rows.take(grouped["at_min"])
    for name, how in sums:
        at = folded.schema.get_field_index(name)
        folded = folded.set_column(at, name, grouped[f"{name}_{how}"])
    return folded


# -- failed rows --------------------------------------------------------------------------------

_STATUS: Final = f"{INTERNAL}status"
_WHY: Final = pa.schema(
    [(name, pa.string()) for name in ("status", "error_message", "error_detail")]
)


def failed_schema(path: Path, table: FileTable) -> pa.Schema:
    """Return the columns of failed rows: those of the input in its types, and reasons.

    Raises ConfigError where Parquet cannot hold one.
    """
    names = [f"{INTERNAL}{name}" for name in ("status", "error", "detail")]
    own = [*table.schema, *(pa.field(name, pa.string()) for name in names), INTERNAL_FIELDS[0]]
    schema = pa.schema(own, table.schema.metadata)
    try:
        pq.ParquetWriter(pa.BufferOutputStream(), schema).close()
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path} cannot be written: {error}. Leave out failed.") from error
    return schema


def check_failed_rows(path: Path) -> None:
    """Refuse to send again what is not a file that ``publish(failed=...)`` wrote."""
    expected = "expected a file that publish wrote for failed (--failed)"
    try:
        names = pq.read_schema(path).names
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(
            f"{path} cannot be read as Parquet: {str(error).rstrip('.')}; {expected}."
        ) from error
    if _STATUS not in names:
        raise ConfigError(f"{path} has no column {_STATUS}; {expected}.")


def write_failed_rows(table: FileTable, sink: Sink, path: Path, *, with_unknown: bool) -> int:
    """Write the rows that are left to send, and count them.

    Nothing of the input was kept: files with such rows, and those that were not read to their
    end, are read again. Raises DataError for a file that has changed.
    """
    schema, count = failed_schema(path, table), 0
    wanted = pa.array(["rejected", "unsent", *(["unknown"] if with_unknown else [])])
    unread = {file.name for file in table.files[len(table.ends) :]}
    again = unread.union(sink.tally.failing)
    names = pa.array(sorted(again), pa.string())
    known = (
        rows.filter(pc.is_in(rows["file"].cast(pa.string()), names)).select(_WHY.names).cast(_WHY)
        for rows in sink.rows()
    )
    outcomes = RowReader(
        known, lambda missing: sink.never_read(missing).select(_WHY.names).cast(_WHY)
    )
    with open_parquet(path, schema) as writer:
        for number, file in enumerate(table.files):
            if file.name not in again:
                continue
            if not file.is_unchanged():
                raise DataError(f"{file.name} has changed since it was published.")
            left = sink.count_rows(number)
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

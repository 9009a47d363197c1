"""What a job writes: where files may be, results as Parquet, failed rows, and the counts."""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet as pq

from .._encode.columns import INTERNAL
from .._encode.json_lines import FILE, FILE_ROW
from .._encode.layouts import INVALID
from .._producer.values import PAGE_ROWS, RECORD_ROW, SCHEMA, STATUSES, Copy
from ..errors import ConfigError, DataError
from ..results import ATTRS_KEY, Receipt, amend_results, collect_results
from ._files import InputFile, kind_of
from ._reader import INTERNAL_FIELDS, FileTable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Self


OutputPath: TypeAlias = "str | os.PathLike[str] | None"

_LOG: Final = logging.getLogger("v3io_frames_put")
_EXPECTED: Final = "expected a file's name in a folder that exists"
PLACE: Final = (
    pa.field("file", pa.dictionary(pa.int32(), pa.string())),
    pa.field("file_row", pa.int64()),
)
"""Columns that say where a row comes from; null for rows that were never read."""
# A dictionary of numbers that never come twice takes as much memory again as the page.
_REPEATED: Final = ["status", "shard_id", "error_code", "error_message", "error_detail", "file"]
_ASCENDING: Final = ("sequence_number", "file_row")

# -- where they may be ----------------------------------------------------------------------


def check_outputs(files: Sequence[InputFile], **outputs: OutputPath) -> None:
    """Refuse to write over what is read, twice to one place, or where no file can be."""
    inputs = {Path(file.path).resolve() for file in files}
    for name, place in check_apart(outputs).items():
        if place in inputs:
            raise ConfigError(
                f"{name}={str(place)!r} is one of the files to publish. Choose another place."
            )
        if name == "journal":
            continue
        is_device = name == "summary" and not place.is_dir()  # /dev/stderr, say
        is_file = place.is_file() if place.exists() and not is_device else place.parent.is_dir()
        if not is_file:
            raise ConfigError(
                f"{name}={str(place)!r} cannot be written: {_EXPECTED}. Choose another place."
            )
        if name != "summary" and kind_of(place) not in (None, "parquet"):
            raise ConfigError(
                f"{place} would be a Parquet file; expected a name that ends with .parquet. "
                f"Choose another."
            )


def check_apart(outputs: Mapping[str, OutputPath]) -> dict[str, Path]:
    """Return where files are to be, links followed; refuse one place for two."""
    places = {name: _resolve(name, path) for name, path in outputs.items() if path is not None}
    for (one, place), (other, same) in combinations(places.items(), 2):
        if place == same:
            raise ConfigError(f"{one} and {other} are both {place}; expected two files.")
    return places


def _resolve(name: str, given: object) -> Path:
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


# -- Parquet files --------------------------------------------------------------------------


class ParquetOutput:
    """A Parquet file that appears under its name only when it is complete.

    It is written to a hidden file, which a lock keeps to this run until ``place`` or ``close``.
    A link stays, and the file that it leads to is written.
    """

    def __init__(
        self, path: Path, schema: pa.Schema, *, suffix: str = ".part", **encodings: Any
    ) -> None:
        self.path, self.schema = path.resolve(), schema
        self.part = self.path.with_name(f".{self.path.name}{suffix}")
        self._writer: Any = None
        self._is_over = False
        with self._raising(ConfigError):
            self._lock = _open_locked(self.part)
        try:
            with self._raising(ConfigError):
                # The schema is stored last, since its metadata may be known last.
                self._writer = pq.ParquetWriter(
                    self.part,
                    schema.remove_metadata(),
                    compression="zstd",
                    store_schema=False,
                    use_compliant_nested_type=False,  # which would rename what is in a list
                    **encodings,
                )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows, as a row group."""
        with self._raising(OSError):
            self._writer.write_batch(batch)

    def seal(self, metadata: dict[str, str] | None = None) -> None:
        """Complete the file."""
        schema = self.schema.with_metadata({**(self.schema.metadata or {}), **(metadata or {})})
        stored = base64.b64encode(schema.serialize().to_pybytes()).decode()
        with self._raising(OSError):
            self._writer.add_key_value_metadata({"ARROW:schema": stored})  # Arrow looks there
            self._writer.close()

    def place(self) -> None:
        """Give the complete file its name."""
        with self._raising(OSError):
            self.part.replace(self.path)
        self._is_over = True
        self._lock.close()

    def close(self) -> None:
        """Remove what was written, unless it has its name."""
        if self._is_over:  # another run may be writing there by now
            return
        self._is_over = True
        with suppress(OSError):  # the disk is full: this is why it is removed
            if self._writer is not None:
                self._writer.close()
        self.part.unlink(missing_ok=True)
        self._lock.close()

    @contextmanager
    def _raising(self, kind: type[Exception]) -> Iterator[None]:
        """Raise errors of the block as another kind, with the name of the file."""
        try:
            yield
        except BlockingIOError as error:
            raise ConfigError(
                f"{self.path} is being written by another run. Wait for its end, or choose another "
                f"place."
            ) from error
        except (OSError, pa.ArrowException) as error:
            advice = ". Choose another place." if kind is ConfigError else ""
            raise kind(f"{self.path} cannot be written: {error}{advice}") from error


def _open_locked(part: Path) -> IO[bytes]:
    """Open a hidden file, and keep other runs from it; what a killed run left is written over."""
    file = part.open("ab")
    if fcntl is None:
        file.close()  # Windows would not move it while it is open
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise
    except OSError as error:
        _LOG.warning("%s cannot be locked: %s. Start no second run there", part, error)
    return file


# -- results --------------------------------------------------------------------------------


class ResultsOutput(ParquetOutput):
    """The results of a run, as ``pandas.read_parquet`` reads them back."""

    def __init__(self, path: Path, *, packed: bool, suffix: str = ".part") -> None:
        self.packed = packed
        empty = collect_results([], index=None, packed=packed)
        empty = empty.assign(file=pd.Categorical([]), file_row=pd.array([], "Int64"))
        metadata = pa.Schema.from_pandas(empty, preserve_index=False).metadata
        super().__init__(
            path,
            result_schema(packed=packed).with_metadata(metadata),
            suffix=suffix,
            use_dictionary=_REPEATED,
            column_encoding=dict.fromkeys(_ASCENDING, "DELTA_BINARY_PACKED"),
        )

    def seal_with(self, receipt: Receipt) -> None:
        """Complete the file, with the run's receipt as its attrs."""
        self.seal({"PANDAS_ATTRS": json.dumps({ATTRS_KEY: asdict(receipt)})})

    def amended(self, late: Sequence[Copy], duplicates: Sequence[Copy]) -> Iterator[pa.RecordBatch]:
        """Read the complete file again, with what a last scan saw: see ``amend_results``."""
        schema, start = result_schema(packed=self.packed), 0
        outcomes = pa.schema([field for field in schema if field not in PLACE])
        with pq.ParquetFile(self.part) as file:
            for page in file.iter_batches(PAGE_ROWS):
                batch = page.cast(schema)
                rows = range(start, start + batch.num_rows)
                moved = [
                    [
                        copy._replace(row=copy.row - rows.start)
                        for copy in copies
                        if copy.row in rows
                    ]
                    for copies in (late, duplicates)
                ]
                if any(moved):
                    known = batch.select(outcomes.names)
                    results = collect_results([known], index=None, packed=self.packed)
                    amend_results(results, late=moved[0], duplicates=moved[1])
                    known = pa.RecordBatch.from_pandas(results, outcomes, preserve_index=False)
                    places = [batch.column(field.name) for field in PLACE]
                    columns = [*known.cast(outcomes).columns, *places]
                    batch = pa.record_batch(columns, schema=schema)
                start += batch.num_rows
                yield batch


def result_schema(*, packed: bool) -> pa.Schema:
    """Return the columns of the results of a job."""
    return pa.schema([*SCHEMA, *([RECORD_ROW] if packed else []), *PLACE])


# -- failed rows ----------------------------------------------------------------------------

_STATUS: Final = f"{INTERNAL}status"
_REASONS: Final = pa.schema(
    [(name, pa.string()) for name in ("status", "error_message", "error_detail")]
)
_NEVER_READ: Final = ("unsent", "Stopped", "The run ended before this row was read.")


def open_failed_rows(path: Path, schema: pa.Schema) -> ParquetOutput:
    """Open a file for the rows that are left to send, in the columns and types of the input.

    A column that Parquet cannot hold is refused now, before anything is sent.
    """
    names = [f"{INTERNAL}{name}" for name in ("status", "error", "detail")]
    fields = [*schema, *(pa.field(name, pa.string()) for name in names), INTERNAL_FIELDS[0]]
    return ParquetOutput(path, pa.schema(fields, schema.metadata))


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


def write_failed_rows(
    table: FileTable, results: Path, output: ParquetOutput, *, failing: set[str], with_unknown: bool
) -> int:
    """Write the rows that are left to send, and count them.

    Nothing of the input was kept: the ``failing`` files are read again. The results may end
    before the table does. Raises DataError for a file that has changed.
    """
    wanted = pa.array(["rejected", "unsent", *(["unknown"] if with_unknown else [])])
    count = 0
    with pq.ParquetFile(results) as file:
        outcomes = _Outcomes(file)
        for start, batch in _read_again(table, outcomes.num_rows, failing):
            known = outcomes.read(start, batch.num_rows).combine_chunks()
            columns = [
                *(batch.column(name) for name in table.schema.names),
                *(column.combine_chunks() for column in known.columns),
                batch.column(INVALID),
            ]
            mask = pc.is_in(known.column("status").combine_chunks(), wanted)
            rows = pa.record_batch(columns, schema=output.schema).filter(mask)
            if rows.num_rows:
                output.write(rows)
                count += rows.num_rows
    output.seal()
    return count


class _Outcomes:
    """Outcomes of a results file, read forward; rows beyond its end were never read."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self.num_rows: int = file.metadata.num_rows
        self._batches = file.iter_batches(columns=_REASONS.names)
        self._pending, self._first = _REASONS.empty_table(), 0

    def read(self, start: int, count: int) -> pa.Table:
        """Return the outcomes of rows; ``start`` never goes back."""
        start, stop = (min(row, self.num_rows) for row in (start, start + count))
        while self._first + len(self._pending) < stop:
            passed = min(max(0, start - self._first), len(self._pending))
            batch = pa.Table.from_batches([next(self._batches)]).cast(_REASONS)
            self._pending = pa.concat_tables([self._pending.slice(passed), batch])
            self._first += passed
        known = self._pending.slice(start - self._first, stop - start)
        missing = count - len(known)
        filler = [pa.repeat(pa.scalar(text), missing) for text in _NEVER_READ]
        return pa.concat_tables([known, pa.table(filler, _REASONS)])


def _read_again(
    table: FileTable, num_rows: int, failing: set[str]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the rows of files that have failed ones, with the row each batch begins with."""
    for number, file in enumerate(table.files):
        is_read = number < len(table.ends)
        if is_read and table.ends[number] <= num_rows and file.name not in failing:
            continue
        if not file.is_unchanged():
            raise DataError(f"{file.name} has changed since it was published.")
        row = table.starts[number] if number < len(table.starts) else num_rows
        try:
            for batch in table.read_again(number):
                yield row, batch
                row += batch.num_rows
        except DataError as error:  # what can be read of the others is still to be sent
            _LOG.warning("failed rows: %s", error)
        else:
            if is_read and row != table.ends[number]:
                raise DataError(f"{file.name} has other rows than when it was published.")


# -- outcomes, while the job runs -----------------------------------------------------------

_GROUP_BY: Final = ("status", "error_message", "error_code")
_MAX_REASONS: Final = 1_000  # kinds of reasons, not rows; beyond them rows are counted alone


class Brake(threading.Event):
    """Stops a run when it is set, or when the user's own event is."""

    def __init__(self, other: threading.Event | None = None) -> None:
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        """Whether either is."""
        return super().is_set() or (self._other is not None and self._other.is_set())


class Places:
    """Remembers where rows come from, from when they are read until their outcome is taken.

    A finished run is read to its end first, so rows that follow each other are kept as a range.
    """

    def __init__(self) -> None:
        self._parts: deque[tuple[str, range | NDArray[np.int64]]] = deque()

    def note(self, batch: pa.RecordBatch) -> None:
        """Add the rows that were read, of one file and ascending; the encoder thread calls it."""
        rows = batch.column(FILE_ROW).to_numpy()
        if len(rows):
            is_range = rows[-1] - rows[0] == len(rows) - 1
            part = range(int(rows[0]), int(rows[-1]) + 1) if is_range else rows
            self._parts.append((batch.column(FILE)[0].as_py(), part))

    def take(self, num_rows: int) -> list[pa.Array]:
        """Return the files and rows of the next rows; null where they were never read."""
        columns: tuple[list[pa.Array], list[pa.Array]] = [], []
        missing = num_rows
        while missing and self._parts:
            name, part = self._parts.popleft()
            if len(part) > missing:
                self._parts.appendleft((name, part[missing:]))
                part = part[:missing]
            missing -= len(part)
            codes, names = pa.array(np.zeros(len(part), np.int32)), pa.array([name])
            columns[0].append(pa.DictionaryArray.from_arrays(codes, names))
            rows = np.arange(part.start, part.stop) if isinstance(part, range) else part
            columns[1].append(pa.array(rows, pa.int64()))
        return [
            pa.chunked_array([*arrays, pa.nulls(missing, own.type)], own.type)
            .unify_dictionaries()
            .combine_chunks()
            for own, arrays in zip(PLACE, columns, strict=True)
        ]


class Sink:
    """Takes outcome batches: counts them, and writes them to the results file.

    Writing ``failed`` needs the results: without ``results``, they go to a hidden file. The
    brake is set when they cannot be written: what was sent afterwards would not be known.
    """

    def __init__(
        self,
        table: FileTable,
        *,
        results: Path | None = None,
        failed: Path | None = None,
        packed: bool,
        brake: threading.Event | None = None,
    ) -> None:
        self.tally = Tally()
        self.failing: set[str] = set()  # names of the files with rows that are not stored
        self.failure: OSError | ConfigError | None = None  # why there are no results
        self.failed: ParquetOutput | None = None
        self.outcomes: Path | None = None  # the complete results, asked for or not
        self.results: Path | None = None  # the same, under the name that was asked for
        self._asked, self._packed, self._brake = results, packed, brake
        self._places = table.places = Places()
        self._output: ResultsOutput | None = None
        with ExitStack() as stack:
            if failed is not None:
                self.failed = stack.enter_context(open_failed_rows(failed, table.schema))
                results = results or failed.with_name(f".{failed.name}.results")
            if results is not None:
                self._output = stack.enter_context(ResultsOutput(results, packed=packed))
            self._outputs = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._outputs.close()

    def take(self, batch: pa.RecordBatch) -> None:
        """Count a batch and write it."""
        columns = [*batch.columns, *self._places.take(batch.num_rows)]
        batch = pa.record_batch(columns, schema=result_schema(packed=self._packed))
        self.failing.update(self.tally.add(batch))
        if self._output is None or self.failure is not None:
            return
        try:
            self._output.write(batch)
        except OSError as error:
            self.failure = error
            if self._brake is not None:
                self._brake.set()

    def add_unread(self, num_rows: int) -> None:
        """Count rows at the end that were never read."""
        schema = pa.schema([own for own in result_schema(packed=self._packed) if own not in PLACE])
        reasons = dict(zip(_REASONS.names, _NEVER_READ, strict=True))
        row = {**reasons, "attempts": 0, "maybe_duplicate": False}
        one = pa.RecordBatch.from_pylist([row], schema)
        for start in range(0, num_rows, PAGE_ROWS):
            self.take(one.take(np.zeros(min(PAGE_ROWS, num_rows - start), np.int32)))

    def finish(self, receipt: Receipt, *, late: Sequence[Copy], duplicates: Sequence[Copy]) -> None:
        """Complete the results, with what a last scan saw of rows that had an outcome."""
        if self._output is not None and self.failure is None:
            try:
                self._complete(self._output, receipt, late, duplicates)
            except (OSError, ConfigError) as error:
                self.failure = error
            else:
                return
        self.tally.move_to_stored(late)

    def _complete(
        self,
        output: ResultsOutput,
        receipt: Receipt,
        late: Sequence[Copy],
        duplicates: Sequence[Copy],
    ) -> None:
        output.seal_with(receipt)
        tally = self.tally
        if late or duplicates:
            tally, first = Tally(), output
            output = ResultsOutput(first.path, packed=self._packed, suffix=".amended.part")
            self._outputs.push(output)
            for batch in first.amended(late, duplicates):
                tally.add(batch)
                output.write(batch)
            output.seal_with(receipt)
        self.outcomes = output.part
        if self._asked is not None:
            output.place()
            self.outcomes = self.results = self._asked
        self.tally = tally


class Tally:
    """Counts outcomes as they come: by status, by reason, by shard."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(STATUSES, 0)
        self.shards: dict[int, dict[str, int]] = {}
        self._reasons: dict[tuple[Any, ...], dict[str, Any]] = {}

    @property
    def num_rows(self) -> int:
        """Rows counted."""
        return sum(self.counts.values())

    def add(self, batch: pa.RecordBatch) -> list[str]:
        """Count results of a job; return the files with rows that are not stored."""
        status = batch.column("status").cast(pa.string())
        for entry in pc.value_counts(status).to_pylist():
            self.counts[entry["values"]] += entry["counts"]
        is_stored = pc.equal(status, "stored")
        stored = pa.table({name: batch.column(name) for name in ("shard_id", "sequence_number")})
        grouped = stored.filter(is_stored).group_by("shard_id", use_threads=False)
        numbers = [("sequence_number", "count"), ("sequence_number", "min_max")]
        for found in grouped.aggregate(numbers).to_pylist():
            ends = found["sequence_number_min_max"]
            count = found["sequence_number_count"]
            self._add_to_shard(found["shard_id"], count, ends["min"], ends["max"])
        left = batch.filter(pc.invert(is_stored))
        if not left.num_rows:
            return []
        self._add_reasons(left)
        return [name for name in left.column("file").unique().to_pylist() if name is not None]

    def move_to_stored(self, late: Sequence[Copy]) -> None:
        """Count rows as stored that a last scan found on the stream."""
        self.counts["unknown"] -= len(late)
        self.counts["stored"] += len(late)
        for copy in late:
            self._add_to_shard(copy.shard_id, 1, copy.sequence_number, copy.sequence_number)

    def reasons(self) -> list[dict[str, Any]]:
        """Return why rows are not stored: the commonest reasons first."""
        return sorted(self._reasons.values(), key=lambda reason: -int(reason["rows"]))

    def _add_to_shard(self, shard: int, rows: int, first: int, last: int) -> None:
        known = self.shards.get(shard, {"rows": 0, "first": first, "last": last})
        self.shards[shard] = {
            "rows": known["rows"] + rows,
            "first": min(known["first"], first),
            "last": max(known["last"], last),
        }

    def _add_reasons(self, batch: pa.RecordBatch) -> None:
        columns = {name: batch.column(name) for name in (*_GROUP_BY, "file", "file_row")}
        columns |= {name: columns[name].cast(pa.string()) for name in ("status", "file")}
        table = pa.table({**columns, "detail": batch.column("error_detail")})
        grouped = table.group_by(list(_GROUP_BY), use_threads=False)
        firsts = [(name, "first") for name in ("detail", "file", "file_row")]
        for found in grouped.aggregate([([], "count_all"), *firsts]).to_pylist():
            key = tuple(found[name] for name in _GROUP_BY)
            if key not in self._reasons and len(self._reasons) < _MAX_REASONS:
                group = {name: found[name] for name in _GROUP_BY}
                first = {name: found[f"{name}_first"] for name, _ in firsts}
                self._reasons[key] = {**group, "rows": 0, **first}
            if key in self._reasons:
                self._reasons[key]["rows"] += found["count_all"]

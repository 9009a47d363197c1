"""Takes the outcomes of a job's rows while it runs: counts them, and writes the results."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from v3io_frames_put._encode.json_lines import FILE, FILE_ROW
from v3io_frames_put._producer.values import PAGE_ROWS, STATUSES
from v3io_frames_put.errors import ConfigError
from v3io_frames_put.jobs._outputs import PLACE, ResultsOutput, open_failed_rows, result_schema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from typing_extensions import Self

    from v3io_frames_put._producer.values import Copy
    from v3io_frames_put.jobs._outputs import ParquetOutput
    from v3io_frames_put.jobs._reader import FileTable
    from v3io_frames_put.results import Receipt

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
        row = {
            "status": "unsent",
            "error_message": "Stopped",
            "error_detail": "The run ended before its turn.",
            "attempts": 0,
            "maybe_duplicate": False,
        }
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
        table = pa.table(
            {
                "status": batch.column("status").cast(pa.string()),
                "error_message": batch.column("error_message"),
                "error_code": batch.column("error_code"),
                "detail": batch.column("error_detail"),
                "file": batch.column("file").cast(pa.string()),
                "file_row": batch.column("file_row"),
            }
        )
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

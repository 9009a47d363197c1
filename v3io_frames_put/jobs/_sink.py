"""Where the outcomes of a job go while it runs."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from v3io_frames_put._encode.json_lines import FILE, FILE_ROW
from v3io_frames_put._producer.values import PAGE_ROWS, RECORD_ROW, SCHEMA, STATUSES
from v3io_frames_put.errors import ConfigError
from v3io_frames_put.jobs._results_file import ParquetOutput, ResultsFile, Tally, result_schema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from typing_extensions import Self

    from v3io_frames_put._producer.values import Copy
    from v3io_frames_put.jobs._reader import FileTable
    from v3io_frames_put.results import Receipt

_STOPPED: Final = ("Stopped", "The run ended before its turn.")


class Brake(threading.Event):
    """Stops a run when it is set, or when the user's own event is.

    Parameters
    ----------
    other : threading.Event, optional
        The user's.
    """

    def __init__(self, other: threading.Event | None = None) -> None:
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        """Whether either is."""
        return super().is_set() or (self._other is not None and self._other.is_set())


class Places:
    """Remembers where rows come from, from when they are read until their outcome is taken.

    Rows that follow each other in a file cost nothing each.
    """

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._parts: deque[tuple[NDArray[np.int64], ...]] = deque()  # first, file, row; length

    def note(self, batch: pa.RecordBatch) -> None:
        """Take the places of rows that were read; they follow those of the call before."""
        if not batch.num_rows:
            return
        names = batch.column(FILE)
        numbers = [
            self._files.setdefault(name, len(self._files)) for name in names.dictionary.to_pylist()
        ]
        files = np.array(numbers, np.int64)[np.asarray(names.indices)]
        rows = np.asarray(batch.column(FILE_ROW), np.int64)
        breaks = np.flatnonzero((np.diff(files) != 0) | (np.diff(rows) != 1)) + 1
        firsts = np.append(0, breaks)
        self._parts.append((firsts, files[firsts], rows[firsts], np.array([batch.num_rows])))

    def take(self, num_rows: int) -> tuple[pa.Array, pa.Array]:
        """Return the files and rows of the next rows; null where they were never read."""
        files, rows, missing = [], [], num_rows
        while missing and self._parts:
            firsts, file, row, (length,) = self._parts.popleft()
            taken = min(missing, length)
            if taken < length:
                self._parts.appendleft(_skip(taken, firsts, file, row, length))
            counts = np.diff(np.append(np.minimum(firsts, taken), taken))
            files.append(np.repeat(file, counts))
            rows.append(np.repeat(row - firsts, counts) + np.arange(taken))
            missing -= taken
        numbers = pa.array(np.concatenate([*files, np.zeros(0, np.int64)]).astype(np.int32))
        known = pa.array(np.concatenate([*rows, np.zeros(0, np.int64)]))
        used = pc.unique(numbers)
        names = list(self._files)
        indices = pa.concat_arrays([pc.index_in(numbers, used), pa.nulls(missing, pa.int32())])
        dictionary = pa.array([names[number] for number in used.to_pylist()], pa.string())
        return (
            pa.DictionaryArray.from_arrays(indices, dictionary),
            pa.concat_arrays([known, pa.nulls(missing, pa.int64())]),
        )


def _skip(
    count: int,
    firsts: NDArray[np.int64],
    file: NDArray[np.int64],
    row: NDArray[np.int64],
    length: int,
) -> tuple[NDArray[np.int64], ...]:
    """Return a part without its first rows."""
    run = int(np.searchsorted(firsts, count, side="right")) - 1
    begun = np.maximum(firsts[run:] - count, 0)
    moved = row[run:] + np.maximum(count - firsts[run:], 0)
    return begun, file[run:], moved, np.array([length - count])


class Sink:
    """Takes outcome batches: counts them, and writes them where they are needed.

    No other run writes to its files from the moment that it is made to its end.

    Parameters
    ----------
    table : FileTable
        Whose rows they are about.
    results : Path, optional
        Where the user wants them.
    failed : Path, optional
        Where the user wants the rows left to send: finding those takes the outcomes, too.
    packed : bool
        Whether there is a column ``record_row``.
    brake : threading.Event, optional
        Set when they cannot be written: what was sent afterwards would not be known.

    Attributes
    ----------
    tally : Tally
        What it took, counted.
    failing : set of int
        Files with rows that are not stored.
    places : Places
        Where the rows come from that were read and have no outcome yet.
    failure : OSError, ConfigError or None
        Why the results could not be written.
    path : Path or None
        Where the results are once they are whole, asked for or not.
    failed : ParquetOutput or None
        For the rows left to send.
    """

    def __init__(
        self,
        table: FileTable,
        results: Path | None,
        failed: Path | None,
        *,
        packed: bool,
        brake: threading.Event | None,
    ) -> None:
        self.tally = Tally()
        self.failing: set[int] = set()
        self.failure: OSError | ConfigError | None = None
        self._table, self._packed, self._brake = table, packed, brake
        self.places = table.places = Places()
        self._file: ResultsFile | None = None
        self._spare: Path | None = None
        self.failed = None if failed is None else ParquetOutput(failed)
        if results is None and failed is not None:
            results = self._spare = failed.with_name(f".{failed.name}.results")
        self.path, self._is_asked_for = results, self._spare is None
        try:
            self._file = None if results is None else ResultsFile(results, packed=packed)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_asked_for(self) -> bool:
        """Whether the user wants the file."""
        return self.path is not None and self._is_asked_for and self.failure is None

    def take(self, batch: pa.RecordBatch) -> None:
        """Count a batch and write it."""
        start = self.tally.num_rows
        columns = [*batch.columns, *self.places.take(batch.num_rows)]
        batch = pa.record_batch(columns, schema=result_schema(packed=self._packed))
        rows = self.tally.add(batch)
        if len(rows):
            files = np.searchsorted(self._table.starts, start + rows, side="right") - 1
            self.failing.update(np.unique(files).tolist())
        if self._file is None or self.failure is not None:
            return
        try:
            self._file.write(batch)
        except OSError as error:
            self.failure = error
            if self._brake is not None:
                self._brake.set()

    def add_unread(self, num_rows: int) -> None:
        """Count rows at the end that were never read."""
        for start in range(0, num_rows, PAGE_ROWS):
            self.take(_unsent(min(PAGE_ROWS, num_rows - start), packed=self._packed))

    def finish(self, receipt: Receipt, *, late: Sequence[Copy], duplicates: Sequence[Copy]) -> None:
        """Put the results file in its place, with what a last scan saw of settled rows."""
        if self._file is not None and self.failure is None:
            try:
                self._place(self._file, receipt, late, duplicates)
            except (OSError, ConfigError) as error:
                self.failure = error
            else:
                return
        self.tally.move_to_stored(len(late))
        if self._file is not None:
            self._file.discard()

    def _place(
        self,
        file: ResultsFile,
        receipt: Receipt,
        late: Sequence[Copy],
        duplicates: Sequence[Copy],
    ) -> None:
        file.seal_with(receipt)
        tally = self.tally
        if late or duplicates:
            self._file, tally = file.amended(late=late, duplicates=duplicates)
            file.discard()
            file = self._file
            file.seal_with(receipt)
        file.place()
        self.tally = tally

    def place_failed(self) -> None:
        """Put the file of the rows left to send in its place."""
        self._drop_spare()
        if self.failed is not None:
            self.failed.place()

    def close(self) -> None:
        """Remove what is not whole, or was not asked for."""
        self._drop_spare()
        for output in (self._file, self.failed):
            if output is not None:
                output.discard()

    def _drop_spare(self) -> None:
        """Remove the results that nobody asked for, while others are kept out of their place."""
        if self._spare is not None:
            self._spare.unlink(missing_ok=True)
            self._spare = None


def _unsent(num_rows: int, *, packed: bool) -> pa.RecordBatch:
    schema = SCHEMA.append(RECORD_ROW) if packed else SCHEMA
    message, detail = _STOPPED
    known = {
        "status": pa.DictionaryArray.from_arrays(
            pa.repeat(pa.scalar(STATUSES.index("unsent"), pa.int8()), num_rows), pa.array(STATUSES)
        ),
        "error_message": pa.repeat(pa.scalar(message), num_rows),
        "error_detail": pa.repeat(pa.scalar(detail), num_rows),
        "attempts": pa.repeat(pa.scalar(0, pa.int16()), num_rows),
        "maybe_duplicate": pa.repeat(pa.scalar(value=False), num_rows),
    }
    columns = [
        known[field.name].cast(field.type)
        if field.name in known
        else pa.nulls(num_rows, field.type)
        for field in schema
    ]
    return pa.record_batch(columns, schema=schema)

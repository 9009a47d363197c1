"""Any table-like input as windows of columns.

A source offers columns by position, and rows in order. Nothing is read before a
window asks for it, and a window is as many rows as fit its byte budget, so that one
is small whatever the rows look like.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import pyarrow as pa

from v3io_frames_put._rows.arrow_types import combine, plain_type
from v3io_frames_put._rows.sizes import measure, rows_within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    import pandas as pd


MAX_ROWS: Final = 8_192  # of a window: fewer spend their time in calls, more spill the caches


class Reader(Protocol):
    """One column, read piece by piece."""

    @property
    def type(self) -> pa.DataType | None:
        """The plain Arrow type of all pieces; None for Python objects."""

    def read(self, start: int, stop: int, max_bytes: int) -> pa.Array | np.ndarray:
        """Return rows from ``start``, before ``stop``, as many as fit ``max_bytes``.

        At least one. Python objects come as an object array, or as Arrow text where
        every cell of the piece is text or missing.
        """


class Source(Protocol):
    """A table-like input.

    Attributes
    ----------
    names, level_names : list of str
        Columns and index levels as text; ``open`` counts through both.
    """

    names: list[str]
    level_names: list[str]

    @property
    def num_rows(self) -> int | None:
        """Rows of the input; None: unknown until read."""

    @property
    def index(self) -> pd.Index[Any] | None:
        """The labels of the input's rows; None where it has none."""

    def open(self, position: int) -> Reader:
        """Return a reader of a column; positions from ``len(names)`` are index levels."""

    def available(self, start: int, num_rows: int, max_bytes: int) -> int:
        """Return how many rows from ``start`` can be read now, at most ``num_rows``.

        0 only at the end. Rows before ``start`` may be forgotten; ``max_bytes`` is
        when to stop gathering more.
        """


@dataclass(frozen=True, slots=True)
class Column:
    """A column as a plan sees it: its place in a window, its name and type."""

    number: int
    name: str
    type: pa.DataType | None


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive rows of the columns a plan reads."""

    first_row: int
    num_rows: int
    columns: list[pa.Array | np.ndarray]

    def head(self, num_rows: int) -> Window:
        """Return the first rows only, if there are more."""
        if num_rows >= self.num_rows:
            return self
        return Window(self.first_row, num_rows, [column[:num_rows] for column in self.columns])


def read_window(
    source: Source, readers: Sequence[Reader], first_row: int, max_rows: int, max_bytes: int
) -> Window | None:
    """Read the window that begins at ``first_row``; None at the end."""
    num_rows = source.available(first_row, max_rows, max_bytes)
    if num_rows == 0:
        return None
    stop = first_row + num_rows
    values = [reader.read(first_row, stop, max_bytes) for reader in readers]
    num_rows = min(map(len, values), default=num_rows)
    return Window(first_row, num_rows, [column[:num_rows] for column in values])


@dataclass(frozen=True, slots=True)
class ArrowReader:
    """Reads a chunked Arrow array; no copy inside a chunk of a plain type."""

    column: pa.ChunkedArray

    @property
    def type(self) -> pa.DataType:
        """The plain type."""
        return plain_type(self.column.type)

    def read(self, start: int, stop: int, max_bytes: int) -> pa.Array:
        """Return the rows as one plain array."""
        piece = self.column.slice(start, stop - start)
        piece = piece.slice(0, rows_within(piece, max_bytes))
        return combine(piece.chunks, piece.type)


class TableSource:
    """A table in memory."""

    index = None

    def __init__(self, table: pa.Table) -> None:
        self.num_rows: int = table.num_rows
        self.names = list(table.column_names)
        self.level_names: list[str] = []
        self._table = table

    def open(self, position: int) -> ArrowReader:
        """Return a reader of a column."""
        return ArrowReader(self._table.column(position))

    def available(self, start: int, num_rows: int, max_bytes: int) -> int:  # noqa: ARG002 - all is here
        """Return how many rows there are from ``start``."""
        return min(num_rows, self.num_rows - start)


class StreamSource:
    """Record batches that come one after another, once.

    Parameters
    ----------
    schema : Schema
        Of the batches, all columns.
    batches : callable
        Given the positions of the columns that were opened, returns the batches of
        these columns, in this order. Called at the first read.
    """

    index = None
    num_rows = None

    def __init__(
        self, schema: pa.Schema, batches: Callable[[list[int]], Iterator[pa.RecordBatch]]
    ) -> None:
        self.names = list(schema.names)
        self.level_names: list[str] = []
        self._schema = schema
        self._open_batches = batches
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._opened: list[int] = []
        self._pending: list[pa.RecordBatch] = []
        self._first_row = 0  # of the pending batches

    def open(self, position: int) -> Reader:
        """Return a reader of a column."""
        if position not in self._opened:
            self._opened.append(position)
        return _StreamReader(self, self._opened.index(position), self._schema.field(position).type)

    def available(self, start: int, num_rows: int, max_bytes: int) -> int:
        """Take batches in until there are enough rows or bytes, or no more."""
        if self._batches is None:
            self._batches = self._open_batches(self._opened)
        self._forget(start)
        rows: int = sum(batch.num_rows for batch in self._pending)
        size = sum(measure(batch.columns) for batch in self._pending)
        while rows == 0 or (rows < num_rows and size < max_bytes):
            try:
                batch = next(self._batches, None)
            except Exception as error:
                if not rows:
                    raise
                self._batches = _fail(error)  # once what was read before it is on its way
                break
            if batch is None:
                break
            self._pending.append(batch)
            rows += batch.num_rows
            size += measure(batch.columns)
        return min(num_rows, rows)

    def column(self, number: int, start: int, stop: int, dtype: pa.DataType) -> pa.ChunkedArray:
        """Return rows of an opened column."""
        chunks = [batch.column(number) for batch in self._pending]
        return pa.chunked_array(chunks, dtype).slice(start - self._first_row, stop - start)

    def _forget(self, start: int) -> None:
        """Let go of rows before ``start``."""
        while self._pending and self._first_row < start:
            batch = self._pending.pop(0)
            passed = min(batch.num_rows, start - self._first_row)
            self._first_row += passed
            if passed < batch.num_rows:
                self._pending.insert(0, batch.slice(passed))


def _fail(error: Exception) -> Iterator[pa.RecordBatch]:
    raise error
    yield


@dataclass(frozen=True, slots=True)
class _StreamReader:
    """Reads a column of a stream's pending batches."""

    source: StreamSource
    number: int
    stored_type: pa.DataType

    @property
    def type(self) -> pa.DataType:
        """The plain type."""
        return plain_type(self.stored_type)

    def read(self, start: int, stop: int, max_bytes: int) -> pa.Array:
        """Return the rows as one plain array."""
        column = self.source.column(self.number, start, stop, self.stored_type)
        return ArrowReader(column).read(0, len(column), max_bytes)

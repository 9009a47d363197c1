"""Write outcome batches to a Parquet file, and count them."""

from __future__ import annotations

import base64
import json
import logging
import os
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet as pq

from v3io_frames_put._producer.values import PAGE_ROWS, RECORD_ROW, SCHEMA, STATUSES
from v3io_frames_put.errors import ConfigError
from v3io_frames_put.results import ATTRS_KEY, amend_results, collect_results

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from v3io_frames_put._producer.values import Copy
    from v3io_frames_put.results import Receipt

_LOG: Final = logging.getLogger("v3io_frames_put")
_GROUP_BY: Final = ("status", "error_message", "error_code")
PLACE: Final = (
    pa.field("file", pa.dictionary(pa.int32(), pa.string())),
    pa.field("file_row", pa.int64()),
)
"""Columns that say where a row comes from; null for rows that were never read."""
# A dictionary of numbers that never come twice takes as much memory again as the page.
_REPEATED: Final = ["status", "shard_id", "error_code", "error_message", "error_detail", "file"]
_ASCENDING: Final = ("sequence_number", "file_row")
_SCHEMA_KEY: Final = "ARROW:schema"  # where Arrow looks for types that Parquet does not have
_MAX_REASONS: Final = 1_000  # kinds of reasons, not rows; beyond them rows are counted alone


class ParquetOutput:
    """A Parquet file that appears in its place only when it is whole.

    No other run writes there from the moment that it is made.

    Parameters
    ----------
    path : path
        Where to. A link stays, and the file that it leads to is written.

    Raises
    ------
    ConfigError
        It is being written by another run, or cannot be written.
    """

    def __init__(self, path: Path, *, suffix: str = ".part") -> None:
        self.path = path.resolve()
        self._part = self.path.with_name(f".{self.path.name}{suffix}")
        self._schema = pa.schema([])
        self._writer: Any = None
        self._is_over = False
        with self._refuses():
            self._lock = _lock(self._part)

    def begin(self, schema: pa.Schema, **encodings: Any) -> None:
        """Set the columns of its rows; encodings are those of ``pyarrow.parquet.ParquetWriter``."""
        self._schema = schema
        with self._refuses():
            # The schema is stored last, since its metadata may be known last.
            self._writer = pq.ParquetWriter(
                self._part,
                schema.remove_metadata(),
                compression="zstd",
                store_schema=False,
                use_compliant_nested_type=False,  # which would rename what is in a list
                **encodings,
            )

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows, as a row group."""
        with self._names_the_file():
            self._writer.write_batch(batch)

    def seal(self, metadata: dict[str, str] | None = None) -> None:
        """Make the file whole."""
        known = self._schema.metadata or {}
        schema = self._schema.with_metadata({**known, **(metadata or {})})
        stored = base64.b64encode(schema.serialize().to_pybytes()).decode()
        self._writer.add_key_value_metadata({_SCHEMA_KEY: stored})
        with self._names_the_file():
            self._writer.close()

    def place(self) -> None:
        """Put the whole file in its place."""
        with self._names_the_file():
            self._part.replace(self.path)
        self._is_over = True
        self._lock.close()

    @contextmanager
    def _refuses(self) -> Iterator[None]:
        try:
            yield
        except BlockingIOError as error:
            raise ConfigError(
                f"{self.path} is being written by another run. Wait for its end, or choose another "
                f"place."
            ) from error
        except OSError as error:
            raise ConfigError(
                f"{self.path} cannot be written: {error}. Choose another place."
            ) from error

    @contextmanager
    def _names_the_file(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise OSError(f"{self.path} cannot be written: {error}") from error

    def discard(self) -> None:
        """Remove what was written, unless it is in its place."""
        if self._is_over:  # another run may be writing there by now
            return
        self._is_over = True
        try:
            if self._writer is not None:
                self._writer.close()
        except OSError:  # the disk is full: this is why it is thrown away
            pass
        finally:
            self._part.unlink(missing_ok=True)
            self._lock.close()


def _lock(part: Path) -> IO[bytes]:
    """Keep other runs from writing to the same part; what a killed one left is taken over."""
    while True:
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
            _LOG.warning(
                "%s cannot be locked (%s): start no second run that writes there", part, error
            )
            return file
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), part.stat()):
                return file
        file.close()  # another run put it in its place between the two


class ResultsFile(ParquetOutput):
    """The results of a run as ``pandas.read_parquet`` reads them back.

    Parameters
    ----------
    path : path
        Where to.
    packed : bool
        Whether there is a column ``record_row``.
    """

    def __init__(self, path: Path, *, packed: bool, suffix: str = ".part") -> None:
        self._packed = packed
        empty = collect_results([], index=None, packed=packed)
        empty = empty.assign(file=pd.Categorical([]), file_row=pd.array([], "Int64"))
        pandas_metadata = pa.Schema.from_pandas(empty, preserve_index=False).metadata
        super().__init__(path, suffix=suffix)
        try:
            self.begin(
                result_schema(packed=packed).with_metadata(pandas_metadata),
                use_dictionary=_REPEATED,
                column_encoding=dict.fromkeys(_ASCENDING, "DELTA_BINARY_PACKED"),
            )
        except BaseException:
            self.discard()
            raise

    def seal_with(self, receipt: Receipt) -> None:
        """Make the file whole, with the run's receipt as its attrs."""
        self.seal({"PANDAS_ATTRS": json.dumps({ATTRS_KEY: receipt.to_json()})})

    def amended(
        self, *, late: Sequence[Copy], duplicates: Sequence[Copy]
    ) -> tuple[ResultsFile, Tally]:
        """Write a file that is whole anew, with what a last scan saw; count it anew.

        Parameters
        ----------
        late, duplicates : sequence of Copy
            As in ``amend_results``.

        Returns
        -------
        ResultsFile, Tally
            To be sealed, and placed instead of this one.
        """
        after = ResultsFile(self.path, packed=self._packed, suffix=".amended.part")
        tally = Tally()
        try:
            with pq.ParquetFile(self._part) as whole:
                for batch in whole.iter_batches(PAGE_ROWS):
                    amended = _amend(batch, tally.num_rows, self._packed, late, duplicates)
                    tally.add(amended)
                    after.write(amended)
        except BaseException:
            after.discard()
            raise
        return after, tally


def _amend(
    batch: pa.RecordBatch,
    first_row: int,
    packed: bool,  # noqa: FBT001 - passed on
    late: Sequence[Copy],
    duplicates: Sequence[Copy],
) -> pa.RecordBatch:
    batch = batch.cast(result_schema(packed=packed))
    here = range(first_row, first_row + batch.num_rows)
    moved = [
        [copy._replace(row=copy.row - first_row) for copy in copies if copy.row in here]
        for copies in (late, duplicates)
    ]
    if not any(moved):
        return batch
    schema = _schema(packed=packed)
    results = collect_results([batch.select(schema.names)], index=None, packed=packed)
    amend_results(results, late=moved[0], duplicates=moved[1])
    amended = pa.RecordBatch.from_pandas(results, schema, preserve_index=False).cast(schema)
    columns = [*amended.columns, *(batch.column(field.name) for field in PLACE)]
    return pa.record_batch(columns, schema=batch.schema)


def _schema(*, packed: bool) -> pa.Schema:
    return SCHEMA.append(RECORD_ROW) if packed else SCHEMA


def result_schema(*, packed: bool) -> pa.Schema:
    """Return the columns of the results of a job."""
    return pa.schema([*_schema(packed=packed), *PLACE])


class Tally:
    """Counts outcomes as they come."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(STATUSES, 0)
        self._reasons: dict[tuple[Any, ...], dict[str, Any]] = {}

    @property
    def num_rows(self) -> int:
        """Rows counted."""
        return sum(self.counts.values())

    def add(self, batch: pa.RecordBatch) -> NDArray[np.uint64]:
        """Count a batch of results of a job; return where in it rows are that are not stored."""
        status = batch.column("status").cast(pa.string())
        for entry in pc.value_counts(status).to_pylist():
            self.counts[entry["values"]] += entry["counts"]
        left = pc.not_equal(status, "stored")
        if pc.any(left).as_py():
            self._add_reasons(batch.filter(left))
        rows: NDArray[np.uint64] = pc.indices_nonzero(left).to_numpy()
        return rows

    def move_to_stored(self, num_rows: int) -> None:
        """Count rows as stored that nobody had known about."""
        self.counts["unknown"] -= num_rows
        self.counts["stored"] += num_rows

    def reasons(self) -> list[dict[str, Any]]:
        """Return why rows are not stored: the commonest reasons first."""
        return sorted(self._reasons.values(), key=lambda reason: -int(reason["rows"]))

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

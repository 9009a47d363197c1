"""The journal's file: an SQLite database, so that it can be read without this package.

Its tables are described in the documentation (Reference, Journal). Tables of rows are kept as
Arrow IPC streams, many rows a cell.
"""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from ..errors import ConfigError, PutRecordsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

APPLICATION_ID: Final = 0x7633696F  # "v3io", where SQLite keeps whose file it is
VERSION: Final = 1

_TABLES: Final = {
    "run": """
        run_id text not null,      -- 16 hexadecimal digits: the first half of every tag
        stream text not null,      -- with the platform it is on
        delivery text not null,
        mapping text not null,     -- a digest of what becomes of which column
        files text,                -- JSON: name, size and mtime of each; null: no files
        num_rows integer,          -- null: not known yet
        began text not null,       -- UTC
        starts text,               -- JSON: each shard's last number before the run (exactly_once)
        is_finished integer not null default 0
    """,
    "blocks": """                  -- what the data held, in order
        first_row integer primary key,
        num_rows integer not null,
        checksum integer not null  -- CRC-32
    """,
    "requests": """                -- that were sent, and not answered for every record
        moment integer primary key,
        last_row integer not null,
        rows blob not null,        -- Arrow: row; none: where a process that went on looked from
        floor blob,                -- Arrow: the low watermark of each shard, sequence_number
        is_refused integer not null default 0  -- nothing of it is stored
    """,
    "outcomes": """                -- of rows whose page is not complete
        moment integer primary key,
        last_row integer not null,
        outcomes blob not null     -- Arrow: row, and columns of the results, those with a value:
                                   -- status 0: stored, 1: rejected, 3: unknown; -1: not given
    """,
    "pages": """                   -- 65,536 rows each, all with an outcome
        number integer primary key,
        moment integer not null,   -- older requests and outcomes of its rows say nothing new
        outcomes blob not null     -- Arrow: the columns of the results
    """,
    "copies": """                  -- of rows that are stored elsewhere, too
        row integer not null,
        shard_id integer not null,
        sequence_number integer not null,
        primary key (row, shard_id, sequence_number)
    """,
    # A flipped bit would else give wrong places: SQLite checks its structure alone.
    "checks": """
        name text primary key,     -- of a table
        num_rows integer not null,
        checksum integer not null  -- of its rows: the sum of the CRC-32 of each
    """,
}
_CACHE_KIB: Final = 2_048
_CHECKPOINT_PAGES: Final = 4_000


class Store:
    """An open journal file, locked for this process; it is created if it does not exist.

    Raises
    ------
    ConfigError
        It is in use, damaged, something else, of another version, or is where
        nothing can be locked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sums: dict[str, tuple[int, int]] = dict.fromkeys(_TABLES, (0, 0))
        with ExitStack() as cleanup:
            try:
                self._database = sqlite3.connect(path.absolute(), timeout=0, isolation_level=None)
                cleanup.callback(self._database.close)
                self._lock()
                self._check_file()
                self._check_rows()
            except sqlite3.Error as error:
                raise ConfigError(_explain(path, error)) from error
            except UnicodeDecodeError as error:  # in SQLite's own message
                raise ConfigError(_explain_damage(path, error)) from error
            cleanup.pop_all()

    def _lock(self) -> None:
        """Keep every other process out until the file is closed."""
        for setting in (
            "locking_mode = exclusive",
            "journal_mode = wal",
            "synchronous = normal",  # whole after a power failure, perhaps without its end
            f"cache_size = -{_CACHE_KIB}",
            f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
        ):
            self._database.execute(f"pragma {setting}")
        self._database.execute("begin exclusive")
        self._database.execute("commit")

    def _check_file(self) -> None:
        """Refuse other files and damaged ones; create the tables that are missing."""
        if self._number("pragma schema_version"):
            if self._number("pragma application_id") != APPLICATION_ID:
                raise ConfigError(
                    f"journal: {self.path} is a database of something else. Choose another path."
                )
            version = self._number("pragma user_version")
            if version != VERSION:
                raise ConfigError(
                    f"journal: {self.path} is of version {version}, this package keeps version "
                    f"{VERSION}. Finish the run with the package that began it."
                )
            problem = self._database.execute("pragma quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise sqlite3.DatabaseError(problem)
        self._database.execute("begin")
        for name, columns in _TABLES.items():
            self._database.execute(f"create table if not exists {name} ({columns})")
        self._database.execute(f"pragma application_id = {APPLICATION_ID}")
        self._database.execute(f"pragma user_version = {VERSION}")
        self._database.execute("commit")

    def _check_rows(self) -> None:
        """Compare every table with its checksum."""
        known = {name: rest for name, *rest in self._database.execute("select * from checks")}
        for table in _TABLES.keys() - {"checks"}:
            self._add(table, self._database.execute(f"select * from {table}"))  # noqa: S608  # fixed names
            if [*self._sums[table]] != known.get(table, [0, 0]):
                raise sqlite3.DatabaseError(f"the checksum of its table {table} is wrong")

    def _number(self, query: str) -> int:
        number: int = self._database.execute(query).fetchone()[0]
        return number

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what the block writes durable, all of it or nothing.

        Raises
        ------
        PutRecordsError
            It cannot be written.
        """
        before = dict(self._sums)
        try:
            self._database.execute("begin")
            yield
            changed = [(name, *sums) for name, sums in self._sums.items() if sums != before[name]]
            self._database.executemany("insert or replace into checks values (?, ?, ?)", changed)
            self._database.execute("commit")
        except sqlite3.Error as error:
            self._sums = before
            if self._database.in_transaction:
                self._database.execute("rollback")
            raise self._write_error(error) from error

    def _write_error(self, error: sqlite3.Error) -> PutRecordsError:
        return PutRecordsError(
            f"the journal {self.path} cannot be written: {error}. What was stored since is "
            f"not in it; the same call again finds out, as delivery says."
        )

    def sync(self) -> None:
        """Bring all that is durable to the disk; raises as ``transaction`` does."""
        try:
            self._database.execute("pragma wal_checkpoint(full)").fetchall()
        except sqlite3.Error as error:
            raise self._write_error(error) from error

    def insert(self, table: str, rows: Iterable[Iterable[Any]]) -> None:
        """Insert rows with a value for each column of a table."""
        new = [_to_python(row) for row in rows]
        if new:
            places = ", ".join("?" * len(new[0]))
            self._database.executemany(f"insert into {table} values ({places})", new)  # noqa: S608  # fixed names
            self._add(table, new)

    def update(
        self, table: str, changes: Mapping[str, Any], where: str = "true", *values: Any
    ) -> None:
        """Change columns of rows; the condition must hold afterwards, too."""
        select = f"select * from {table} where {where}"  # noqa: S608  # fixed names
        settings = ", ".join(f"{column} = ?" for column in changes)
        self._add(table, self._database.execute(select, values), sign=-1)
        self._database.execute(
            f"update {table} set {settings} where {where}",  # noqa: S608
            _to_python([*changes.values(), *values]),
        )
        self._add(table, self._database.execute(select, values))

    def delete(self, table: str, where: str = "true", *values: Any) -> None:
        """Delete rows."""
        rest, given = f"from {table} where {where}", _to_python(values)
        self._add(table, self._database.execute(f"select * {rest}", given), sign=-1)
        self._database.execute(f"delete {rest}", given)

    def clear(self) -> None:
        """Delete all rows."""
        for table in _TABLES.keys() - {"checks"}:
            self.delete(table)

    def _add(self, table: str, rows: Iterable[tuple[Any, ...]], sign: int = 1) -> None:
        """Count rows, and their checksums, that a table has now, or has no more."""
        num_rows, checksum = self._sums[table]
        for row in rows:
            num_rows, checksum = num_rows + sign, checksum + sign * _row_checksum(row)
        self._sums[table] = num_rows, checksum

    def read(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Run a query.

        Raises
        ------
        ConfigError
            The file is damaged.
        """
        try:
            yield from self._database.execute(query, _to_python(values))
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise ConfigError(_explain_damage(self.path, error)) from error

    def load(self, blob: bytes) -> pa.RecordBatch:
        """Read the rows of a cell; a damaged one is a ConfigError."""
        try:
            return from_blob(blob)
        except (pa.ArrowException, StopIteration, TypeError) as error:
            raise ConfigError(_explain_damage(self.path, error)) from error

    def close(self) -> None:
        """Close the file, and let others open it."""
        self._database.close()


def _to_python(values: Iterable[Any]) -> tuple[Any, ...]:
    """Turn NumPy's numbers into Python's: SQLite would take their memory as a blob.

    Such a blob equals no number, so what is kept under one would not be found.
    """
    return tuple(value.item() if isinstance(value, np.generic) else value for value in values)


def _row_checksum(row: tuple[Any, ...]) -> int:
    """Return the CRC-32 of a row: of each value, its type and its length."""
    cells = [value if isinstance(value, bytes) else repr(value).encode() for value in row]
    parts = [
        b"%b %d %b" % (type(value).__name__.encode(), len(cell), cell)
        for value, cell in zip(row, cells, strict=True)
    ]
    return zlib.crc32(b"".join(parts))


def set_aside(path: Path) -> Path:
    """Move a journal that nobody has open out of the way; return where to."""
    number = 1
    while (aside := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    path.rename(aside)
    return aside


def narrow(numbers: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers in the narrowest signed type: what is written costs time."""
    if numbers.dtype.kind != "i" or numbers.itemsize == 1 or not len(numbers):
        return numbers
    least, most = int(numbers.min()), int(numbers.max())
    return numbers.astype(np.min_scalar_type(min(least, -1 - most)))


def to_blob(batch: pa.RecordBatch, compression: str | None = None) -> bytes:
    """Turn rows into an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def from_blob(blob: bytes) -> pa.RecordBatch:
    """Read rows from an Arrow IPC stream."""
    return pa.ipc.open_stream(blob).read_next_batch()


def _explain(path: Path, error: sqlite3.Error) -> str:
    if "locked" in str(error) and "protocol" not in str(error):
        return (
            f"journal: {path} is in use: another run keeps it. Wait for its end, or choose another "
            f"path for a run of its own."
        )
    is_damaged = any(text in str(error) for text in ("no such", "malformed"))
    if isinstance(error, sqlite3.OperationalError) and not is_damaged:
        return (
            f"journal: {path} cannot be kept: {error}. It needs a folder that can be written, on "
            f"a file system that can lock files, such as a local disk."
        )
    return _explain_damage(path, error)


def _explain_damage(path: Path, error: Exception) -> str:
    return (
        f"journal: {path} is damaged, or not a journal: {error}. It does not show what was "
        f"sent. Move it away to start a new run, which sends every row."
    )

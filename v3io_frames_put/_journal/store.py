"""The journal's file: an SQLite database, so that it can be read without us.

Its tables are described in the documentation (Reference, Journal). Tables
of rows are kept as Arrow IPC streams, many rows a cell.
"""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from v3io_frames_put.errors import ConfigError, PutRecordsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

APPLICATION_ID: Final = 0x7633696F  # "v3io", where SQLite keeps whose file it is
VERSION: Final = 1

_SCHEMA: Final = """
create table run (
    run_id text not null,      -- 16 hexadecimal digits: the first half of every tag
    stream text not null,      -- with the platform it is on
    delivery text not null,
    mapping text not null,     -- a digest of what becomes of which column
    files text,                -- JSON: name, size and mtime of each; null: no files
    num_rows integer,          -- null: not known yet
    began text not null,       -- UTC
    starts text,               -- JSON: each shard's last number before the run (exactly_once)
    is_finished integer not null default 0
);
create table blocks (          -- what the data held, in order
    first_row integer primary key,
    num_rows integer not null,
    checksum integer not null  -- CRC-32
);
create table requests (        -- that were sent, and not answered for every record
    moment integer primary key,
    last_row integer not null,
    rows blob not null,        -- Arrow: row
    floor blob,                -- Arrow: sequence_number, by shard; all of it is stored after them
    is_refused integer not null default 0  -- nothing of it is stored
);
create table outcomes (        -- of rows whose page is not complete
    moment integer primary key,
    last_row integer not null,
    outcomes blob not null     -- Arrow: row, and columns of the results, those that have a value:
                               -- status 0: stored, 1: rejected, 3: unknown; -1: not given
);
create table pages (           -- 65,536 rows each, all with an outcome
    number integer primary key,
    moment integer not null,   -- older requests and outcomes of its rows say nothing new
    outcomes blob not null     -- Arrow: the columns of the results
);
create table copies (          -- of rows that are stored elsewhere, too
    row integer not null,
    shard_id integer not null,
    sequence_number integer not null,
    primary key (row, shard_id, sequence_number)
);
"""

# What the first package had not; it is made in older files, too.
_INPUT: Final = """
create table if not exists input (  -- no row, unless the run broke off at a file
    schema blob not null            -- Arrow: what the columns of its files are read as
)
"""

# A flipped bit would else give wrong places without a word: SQLite checks its structure alone.
_CHECKS: Final = """
create table if not exists checks (
    name text primary key,     -- of a table
    num_rows integer not null,
    checksum integer not null  -- of its rows: the sum of the CRC-32 of each
) without rowid
"""
_TRIGGERS: Final = """
create temp trigger {table}_{event} after {event} on {table} begin
    update checks
    set num_rows = num_rows - {old_rows}, checksum = checksum - {old}
    where name = '{table}' and {old_rows};
    insert into checks select '{table}', {new_rows}, {new} where {new_rows}
    on conflict (name) do update
    set num_rows = num_rows + excluded.num_rows, checksum = checksum + excluded.checksum;
end
"""

_LIMITS: Final = [
    (dtype, np.iinfo(dtype).max + 1) for dtype in map(np.dtype, ("i1", "i2", "i4", "i8"))
]
_CACHE_KIB: Final = 2_048
_CHECKPOINT_PAGES: Final = 4_000


class Store:
    """An open journal file, locked for this process.

    Parameters
    ----------
    path : Path
        Its path; it is created if it does not exist.

    Raises
    ------
    ConfigError
        It is in use, damaged, something else, of another version, or is where
        nothing can be locked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with ExitStack() as cleanup:
            try:
                self._database = sqlite3.connect(path, timeout=0, isolation_level=None)
                cleanup.callback(self._database.close)
                self._lock()
                self._check()
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
            "recursive_triggers = on",  # else a row that is replaced stays in its checksum
        ):
            self._database.execute(f"pragma {setting}")
        self._database.execute("begin exclusive")
        self._database.execute("commit")

    def _check(self) -> None:
        """Refuse other files and damaged ones; create the tables in an empty one."""
        if not self._number("pragma schema_version"):
            with self.transaction():
                for statement in [*_SCHEMA.split(";\n"), _INPUT]:
                    self._database.execute(statement)
                self._database.execute(f"pragma application_id = {APPLICATION_ID}")
                self._database.execute(f"pragma user_version = {VERSION}")
            return
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
        self._database.execute(_INPUT)

    def _check_rows(self) -> None:
        """Compare every table with its checksum, and keep the checksums from now on."""
        self._database.create_function("row_checksum", -1, _row_checksum, deterministic=True)
        names = "select name from sqlite_master where type = 'table' and name <> 'checks'"
        is_older = not self._number("select count(*) from sqlite_master where name = 'checks'")
        self._database.execute(_CHECKS)
        known = {
            name: rest for name, *rest in self._database.execute("select * from checks").fetchall()
        }
        for (table,) in self._database.execute(names).fetchall():
            columns = [row[1] for row in self._database.execute(f"pragma table_info({table})")]
            digest = f"row_checksum({', '.join(columns)})"
            query = f"select count(*), coalesce(sum({digest}), 0) from {table}"  # noqa: S608  # fixed names
            found = list(self._database.execute(query).fetchone())
            if is_older:
                self._database.execute("insert into checks values (?, ?, ?)", [table, *found])
            elif found != known.get(table, [0, 0]):
                raise sqlite3.DatabaseError(f"the checksum of its table {table} is wrong")
            old, new = (
                f"row_checksum({', '.join(f'{when}.{name}' for name in columns)})"
                for when in ("old", "new")
            )
            for event in ("insert", "update", "delete"):
                has_old, has_new = event != "insert", event != "delete"
                self._database.execute(
                    _TRIGGERS.format(
                        table=table,
                        event=event,
                        old_rows=int(has_old),
                        old=old if has_old else 0,
                        new_rows=int(has_new),
                        new=new if has_new else 0,
                    )
                )

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
        try:
            self._database.execute("begin")
            yield
            self._database.execute("commit")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                self._database.execute("rollback")
            raise PutRecordsError(
                f"the journal {self.path} cannot be written: {error}. What was stored since is "
                f"not in it; the same call again finds out, as delivery says."
            ) from error

    def sync(self) -> None:
        """Bring all that is durable to the disk."""
        self._database.execute("pragma wal_checkpoint(full)").fetchall()

    def write(self, statement: str, values: Any) -> None:
        """Run a statement, once for each entry of ``values``."""
        self._database.executemany(statement, map(_to_python, values))

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

    def clear(self) -> None:
        """Delete all rows."""
        for (table,) in self._database.execute(
            "select name from sqlite_master where type = 'table'"
        ).fetchall():
            self._database.execute(f"delete from {table}")  # noqa: S608  # fixed names

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def _to_python(values: Iterable[Any]) -> tuple[Any, ...]:
    """Turn NumPy's numbers into Python's: SQLite would take their memory as a blob.

    Such a blob equals no number, so what is kept under one would not be found.
    """
    return tuple(value.item() if isinstance(value, np.generic) else value for value in values)


def _row_checksum(*values: Any) -> int:
    """Return the CRC-32 of a row: of each value, its type and its length."""
    checksum = 0
    for value in values:
        data = value if isinstance(value, bytes) else repr(value).encode()
        kind = b"%s %d " % (type(value).__name__.encode(), len(data))
        checksum = zlib.crc32(data, zlib.crc32(kind, checksum))
    return checksum


def set_aside(path: Path) -> Path:
    """Move a journal that nobody has open out of the way; return where to."""
    number = 1
    while (aside := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    path.rename(aside)
    return aside


def narrow(numbers: NDArray[Any]) -> NDArray[Any]:
    """Bring whole numbers to the narrowest type that holds them: what is written costs time."""
    if numbers.dtype.kind != "i" or numbers.itemsize == 1 or not len(numbers):
        return numbers
    least, most = int(numbers.min()), int(numbers.max())
    beyond = max(most, -1 - least)  # of the limit, on either side of zero
    return numbers.astype(next(dtype for dtype, limit in _LIMITS if beyond < limit))


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
    is_damaged = any(text in str(error) for text in ("no such", "malformed", "user-defined"))
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

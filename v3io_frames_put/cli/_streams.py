"""`create`, `describe`, `update`, `delete`, `tail`, `verify`: a stream and its records."""

from __future__ import annotations

import base64
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from v3io_frames_put.cli._main import Exit, escape, reading_bar, to_json
from v3io_frames_put.cli._options import FILE, GroupedCommand, option, takes_client
from v3io_frames_put.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pandas as pd

    from v3io_frames_put.client import Client


@click.command(cls=GroupedCommand)
@click.argument("stream")
@option("--shards", default=1, show_default=True, help="Number of shards.")
@option("--retention-hours", default=24, show_default=True, help="How long records are kept.")
@option("--exist-ok", is_flag=True, help="Do not mind a stream that exists already.")
@takes_client
def create(
    stream: str, shards: int, retention_hours: int, *, exist_ok: bool, client: Client
) -> None:
    """Create STREAM, and the folders above it."""
    client.create_stream(stream, shards=shards, retention_hours=retention_hours, exist_ok=exist_ok)
    click.echo(f"{stream} is there.", err=True)


@click.command(cls=GroupedCommand)
@click.argument("stream")
@takes_client
def describe(stream: str, client: Client) -> None:
    """Print the shards and the retention of STREAM, as JSON."""
    found = client.describe_stream(stream)
    click.echo(to_json({"shards": found.shards, "retention_hours": found.retention_hours}))


@click.command(cls=GroupedCommand)
@click.argument("stream")
@option("--shards", type=int, required=True, help="The new number; it can only grow.")
@takes_client
def update(stream: str, shards: int, client: Client) -> None:
    """Give STREAM more shards.

    Records of one partition key that come afterwards may go to another shard than before.
    """
    client.update_stream(stream, shards=shards)
    click.echo(f"{stream} has {shards} shards.", err=True)


@click.command(cls=GroupedCommand)
@click.argument("stream")
@option("--yes", is_flag=True, help="Do not ask.")
@takes_client
def delete(stream: str, *, yes: bool, client: Client) -> None:
    """Delete STREAM and every record on it.

    Only what the platform itself calls a stream is deleted, and nothing beside it.
    """
    client.describe_stream(stream)  # asked about only when there is one
    if not (yes or _confirm(f"Delete {stream} and every record on it?")):
        click.echo("Nothing was deleted.", err=True)
        raise click.exceptions.Exit(Exit.NOTHING_SENT)
    client.delete_stream(stream)
    click.echo(f"{stream} is deleted.", err=True)


def _confirm(question: str) -> bool:
    """Ask on stderr, since stdout is for what was asked for; no answer is a no."""
    click.echo(f"{question} [y/N] ", nl=False, err=True)
    answer = "" if sys.stdin is None else sys.stdin.readline()  # closed by the shell
    return answer.strip().lower() in {"y", "yes"}


# -- tail ---------------------------------------------------------------------------------


@click.command(cls=GroupedCommand)
@click.argument("stream")
@option("--follow", "-f", is_flag=True, help="Wait for more, until Ctrl-C.")
@option(
    "--start",
    metavar="WHERE",
    help="earliest, latest, or a time such as 2026-11-22T10:00Z."
    "  [default: earliest, with --follow latest]",
)
@option("--shard", "shards", type=int, multiple=True, help="Only this shard; repeatable.")
@option("--limit", type=click.IntRange(min=1), help="At most so many records.")
@option(
    "--output",
    type=click.Choice(["data", "json"]),
    default="data",
    show_default=True,
    help="The data as it is, with a line break; or JSON lines with shard, number, time and key.",
)
@option(
    "--every",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Seconds between two reads, with --follow.",
)
@takes_client
def tail(  # its options
    stream: str,
    *,
    follow: bool,
    start: str | None,
    shards: Sequence[int],
    limit: int | None,
    output: str,
    every: float,
    client: Client,
) -> None:
    """Print the records of STREAM, oldest first within each shard."""
    left = limit
    reader = _Reader(client, stream, shards, start or ("latest" if follow else "earliest"))
    for record in reader.walk():
        if record is not None:
            click.echo(_write_record(record, output))
            left = None if left is None else left - 1
        elif follow:
            time.sleep(every)
        else:
            return
        if left == 0:
            return


def _write_record(record: dict[str, Any], output: str) -> bytes:
    """Write one record as one line."""
    if output == "data":
        return bytes(record["data"])
    line: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, bytes):
            line.update(_text_or_base64(name, value))
        elif value is not None:
            line[name] = value if isinstance(value, (int, str)) else value.isoformat()
    return to_json(line).encode()


def _text_or_base64(name: str, value: bytes) -> dict[str, str]:
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}


class _Reader:
    """Reads shards a page at a time, in turn, and remembers where it is.

    Parameters
    ----------
    client : Client
        The platform.
    stream : str
        An existing stream.
    shards : sequence of int
        Which shards. None at all: every shard, and those added later.
    start : str
        As for `Client.seek`.
    """

    def __init__(self, client: Client, stream: str, shards: Sequence[int], start: str) -> None:
        self._client, self._stream, self._shards = client, stream, shards
        self._start: dict[int, str | int] = dict.fromkeys(self._list_shards(), start)
        self._places: dict[int, str | None] = {}
        for shard in self._start:
            self._places[shard] = self._seek(shard)

    def walk(self) -> Iterator[dict[str, Any] | None]:
        """Yield records; None whenever every shard was read to its end."""
        while True:
            is_behind = False
            for shard in self._list_shards():
                for record in self._read_page(shard):
                    is_behind = True
                    yield record
            if not is_behind:
                yield None

    def _list_shards(self) -> Sequence[int]:
        return self._shards or range(self._client.describe_stream(self._stream).shards)

    def _seek(self, shard: int) -> str | None:
        """Find a place to read from. None: nothing was ever written there."""
        # What is written to a shard that was empty or not there at the start came later.
        place = self._client.seek(self._stream, shard, self._start.get(shard, "earliest"))
        if place is None:
            self._start[shard] = "earliest"
        return place

    def _read_page(self, shard: int) -> list[dict[str, Any]]:
        place = self._places.get(shard) or self._seek(shard)
        if place is None:
            return []
        try:
            page = self._client.get_records(self._stream, shard, place)
        except RequestError:  # the place may have expired
            place = self._seek(shard)
            if place is None:
                raise
            page = self._client.get_records(self._stream, shard, place)
        self._places[shard] = page.next_location
        records = page.records.to_pylist()
        if records:
            self._start[shard] = records[-1]["sequence_number"] + 1
        return [{"shard_id": shard, **record} for record in records]


# -- verify -------------------------------------------------------------------------------


@click.command(cls=GroupedCommand)
@click.argument("results", type=FILE)
@click.argument("stream")
@takes_client
def verify(results: Path, stream: str, client: Client) -> None:
    """Read STREAM again, and check that the stored rows of RESULTS are there.

    RESULTS is a Parquet file: from `publish --results`, or `results.to_parquet(...)`.
    Exits with 3 if a row is missing or out of order.
    """
    with reading_bar("Verifying") as show:
        found = client.verify_results(_read_results(results), stream, progress=show)
    click.echo(escape(repr(found)))
    if not found.is_proven:
        raise click.exceptions.Exit(Exit.IN_DOUBT)


def _read_results(path: Path) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    try:
        return pd.read_parquet(path)
    except (pa.ArrowException, OSError) as error:
        raise click.UsageError(
            f"{path} cannot be read as Parquet ({type(error).__name__}); expected the results "
            f"of a run. Write them with publish --results or results.to_parquet."
        ) from error

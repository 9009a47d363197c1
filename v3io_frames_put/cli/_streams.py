"""`create`, `describe`, `update`, `delete`, `tail`, `verify`: a stream and its records."""

from __future__ import annotations

import base64
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ..errors import RequestError
from ._main import Exit, escape, reading_bar, to_json
from ._options import FILE, GroupedCommand, option, takes_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ..client import Client


@click.command(cls=GroupedCommand)
@click.argument("stream")
@option("--shards", metavar="N", default=1, show_default=True, help="Number of shards.")
@option(
    "--retention-hours",
    metavar="N",
    default=24,
    show_default=True,
    help="Hours that records are kept.",
)
@option("--exist-ok", is_flag=True, help="Accept a stream that exists already.")
@takes_client
def create(
    stream: str, shards: int, retention_hours: int, *, exist_ok: bool, client: Client
) -> None:
    """Create STREAM, and the folders above it."""
    client.create_stream(stream, shards=shards, retention_hours=retention_hours, exist_ok=exist_ok)
    click.echo(f"{stream} exists.", err=True)


@click.command(cls=GroupedCommand)
@click.argument("stream")
@takes_client
def describe(stream: str, client: Client) -> None:
    """Print the shards and the retention of STREAM, as JSON."""
    found = client.describe_stream(stream)
    click.echo(to_json({"shards": found.shards, "retention_hours": found.retention_hours}))


@click.command(cls=GroupedCommand)
@click.argument("stream")
@option("--shards", metavar="N", type=int, required=True, help="New number; it can only grow.")
@takes_client
def update(stream: str, shards: int, client: Client) -> None:
    """Give STREAM more shards.

    Later records of a partition key may go to another shard than earlier ones.
    """
    client.update_stream(stream, shards=shards)
    click.echo(f"{stream} has {shards} shards.", err=True)


@click.command(cls=GroupedCommand)
@click.argument("stream")
@option("--yes", is_flag=True, help="Do not ask.")
@takes_client
def delete(stream: str, *, yes: bool, client: Client) -> None:
    """Delete STREAM and every record on it.

    Anything that is not a stream is refused.
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
@option("--follow", "-f", is_flag=True, help="Wait for more records, until Ctrl-C.")
@option(
    "--start",
    metavar="WHERE",
    help="earliest, latest, or a time such as 2026-11-22T10:00Z."
    "  [default: earliest; with --follow latest]",
)
@option("--shard", "shards", metavar="N", type=int, multiple=True, help="Only this shard; repeat.")
@option("--limit", metavar="N", type=click.IntRange(min=1), help="Stop after this many records.")
@option(
    "--output",
    type=click.Choice(["data", "json"]),
    default="data",
    show_default=True,
    help="Data as it is, a line each; or JSON with shard, number, time and key.",
)
@option(
    "--every",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Pause between two reads, with --follow.",
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
    count = 0
    start = start or ("latest" if follow else "earliest")
    for record in read_pages(client, stream, shards, start):
        if record is not None:
            click.echo(_format_record(record, output))
            count += 1
        elif follow:
            time.sleep(every)
        else:
            return
        if count == limit:
            return


def _format_record(record: dict[str, Any], output: str) -> bytes:
    """Format a record as one line."""
    if output == "data":
        return bytes(record["data"])
    line: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, bytes):
            try:
                line[name] = value.decode()
            except UnicodeDecodeError:
                line[f"{name}_base64"] = base64.b64encode(value).decode()
        elif value is not None:
            line[name] = value if isinstance(value, (int, str)) else value.isoformat()
    return to_json(line).encode()


@dataclass(slots=True)
class _Shard:
    """Reads a shard a page at a time, and remembers where it is."""

    client: Client
    stream: str
    number: int
    start: str | int = "earliest"
    place: str | None = None

    def seek(self) -> str | None:
        self.place = self.client.seek(self.stream, self.number, self.start)
        if self.place is None:  # what is written there later is read from its first record
            self.start = "earliest"
        return self.place

    def read_page(self) -> list[dict[str, Any]]:
        place = self.place or self.seek()
        if place is None:
            return []
        try:
            page = self.client.get_records(self.stream, self.number, place)
        except RequestError:  # the place may have expired
            place = self.seek()
            if place is None:
                raise
            page = self.client.get_records(self.stream, self.number, place)
        self.place = page.next_location
        records = [{"shard_id": self.number, **record} for record in page.records.to_pylist()]
        if records:
            self.start = records[-1]["sequence_number"] + 1
        return records


def read_pages(
    client: Client, stream: str, shards: Sequence[int], start: str
) -> Iterator[dict[str, Any] | None]:
    """Yield the records of shards, a page of each in turn; None when all are read to the end.

    ``shards`` without any: every shard, and those that are added later. ``start`` is as for
    `Client.seek`.
    """
    readers: dict[int, _Shard] = {}
    while True:
        listed = shards or range(client.describe_stream(stream).shards)
        if not readers:
            readers = {number: _Shard(client, stream, number, start) for number in listed}
            for reader in readers.values():  # "latest" is where each shard ends now
                reader.seek()
        is_end = True
        for number in listed:
            for record in readers.setdefault(number, _Shard(client, stream, number)).read_page():
                is_end = False
                yield record
        if is_end:
            yield None


# -- verify -------------------------------------------------------------------------------


@click.command(cls=GroupedCommand)
@click.argument("results", type=FILE)
@click.argument("stream")
@takes_client
def verify(results: Path, stream: str, client: Client) -> None:
    """Check that the stored rows of RESULTS are on STREAM, in order.

    RESULTS is a Parquet file: from `publish --results`, or `results.to_parquet(...)`.
    Exits with 3 if a row is missing or out of order.
    """
    import pandas as pd
    import pyarrow as pa

    try:
        frame = pd.read_parquet(results)
    except (pa.ArrowException, OSError) as error:
        raise click.UsageError(
            f"{results} cannot be read as Parquet ({type(error).__name__}); expected the results "
            f"of a run. Write them with publish --results or results.to_parquet."
        ) from error
    with reading_bar("Verifying") as show:
        found = client.verify_results(frame, stream, progress=show)
    click.echo(escape(repr(found)))
    if not found.is_proven:
        raise click.exceptions.Exit(Exit.IN_DOUBT)

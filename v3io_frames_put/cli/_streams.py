"""`create`, `describe`, `update`, `delete`, `tail`, `verify`: a stream and its records."""

from __future__ import annotations

import base64
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from ..config import check_whole
from ._main import Exit, escape, reading_bar, to_json
from ._options import FILE, GroupedCommand, option, takes_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .._io.stream_admin import StreamAdmin
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

_FOLLOW_SECONDS: Final = 1.0  # between two reads


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
@takes_client
def tail(  # its options
    stream: str,
    *,
    follow: bool,
    start: str | None,
    shards: Sequence[int],
    limit: int | None,
    output: str,
    client: Client,
) -> None:
    """Print the records of STREAM, oldest first within each shard."""
    count = 0
    start = start or ("latest" if follow else "earliest")
    admin = client._admin(stream)  # noqa: SLF001  # no verb does
    for record in read_on(admin, shards, start, follow=follow):
        if record is None:
            time.sleep(_FOLLOW_SECONDS)
            continue
        click.echo(_format_record(record, output))
        count += 1
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


def read_on(
    stream: StreamAdmin, shards: Sequence[int], start: str, *, follow: bool
) -> Iterator[dict[str, Any] | None]:
    """Yield the records of shards, one shard after the other, to their ends as they are now.

    With ``follow`` go on with what comes later; None: there is nothing now. ``shards`` without
    any: every shard, and those that are added later. ``start`` is as for `Client.read_records`;
    a shard that is written to only later is read from its first record, and so is one that ends
    before what was read of it: its stream was made anew.
    """
    from .._io.reader import EARLIEST, LATEST, StartPosition, find_ends, parse_start, read_shard

    first = parse_start(start)
    count = stream.describe().shards
    for shard in shards:
        check_whole("shard", shard, least=0, most=count - 1)
    ends = find_ends(stream, shards or range(count))
    positions = {
        shard: StartPosition("sequence", end + 1) if first == LATEST else first
        for shard, end in ends.items()
    }
    while True:
        is_end = True
        for shard, end in ends.items():
            position = positions.get(shard, EARLIEST)
            for batch in read_shard(stream, shard, position, end=end, limit=sys.maxsize):
                for record in batch.to_pylist():
                    is_end = False
                    yield {"shard_id": shard, **record}
        if not follow:
            return
        if is_end:
            yield None
        before = ends
        ends = find_ends(stream, shards or range(stream.describe().shards))
        positions = {
            shard: StartPosition("sequence", end + 1)
            for shard, end in before.items()
            if end <= ends.get(shard, 0)
        }


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

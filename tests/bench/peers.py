"""The other ways to send the same rows."""

from __future__ import annotations

import importlib.util
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any

import pandas as pd

from tests.bench.sink import Sink

THREADS = 8
MAX_RECORDS = 1_000
HAS_QUESTDB = importlib.util.find_spec("questdb") is not None


def _spell(value: Any) -> Any:
    """Write what json does not know: arrays as lists, all else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _records(rows: pd.DataFrame, key: str | None) -> list[dict[str, Any]]:
    """Encode rows as the v3io package's users do."""
    records: list[dict[str, Any]] = []
    for row in rows.to_dict("records"):
        record = {"data": json.dumps(row, default=_spell)}
        if key is not None and isinstance(row[key], str):
            record["partition_key"] = row[key]
        records.append(record)
    return records


def encode_with_v3io(frame: pd.DataFrame, key: str | None) -> int:
    """Encode every row to a request's body with the v3io package; return the bytes."""
    from v3io.dataplane.request import encode_put_records

    size = 0
    for start in range(0, len(frame), MAX_RECORDS):
        records = _records(frame[start : start + MAX_RECORDS], key)
        arguments = {"records": records, "stream_path": "stream", "path": "stream"}
        *_, body = encode_put_records("container", "", arguments)
        size += len(body)
    return size


def send_with_v3io(
    frame: pd.DataFrame, sink: Sink, key: str | None, max_records: int = MAX_RECORDS
) -> None:
    """Send a frame with the v3io package in eight threads."""
    from v3io.dataplane import Client

    client = Client(endpoint=sink.endpoint, access_key="bench", max_connections=THREADS)

    def send(start: int) -> None:
        records = _records(frame[start : start + max_records], key)
        client.stream.put_records("projects", "bench/flights", records)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(send, range(0, len(frame), max_records)))
    client.close()


def send_with_questdb(
    frame: pd.DataFrame, sink: Sink, *, symbols: Any = False, at: Any = None, protocol: int = 1
) -> None:
    """Send a frame with QuestDB's client, over HTTP with 1,000 rows a request.

    Protocol 1 writes numbers as text, as we do; 2 writes floats as their eight bytes.
    """
    from questdb.ingress import Sender, ServerTimestamp

    settings = (
        f"http::addr={sink.address};auto_flush_rows={MAX_RECORDS};protocol_version={protocol};"
    )
    with Sender.from_conf(settings) as sender:
        at = ServerTimestamp if at is None else at
        sender.dataframe(frame, table_name="bench", symbols=symbols, at=at)


def replay(requests: list[bytes], sink: Sink) -> None:
    """Send recorded requests over eight raw sockets: the most that any client can reach."""
    waiting: SimpleQueue[bytes] = SimpleQueue()
    for request in requests:
        waiting.put(request)

    def carry(_: int) -> None:
        with socket.create_connection(("127.0.0.1", sink.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                try:
                    request = waiting.get_nowait()
                except Empty:
                    return
                connection.sendall(request)
                _read_answer(connection)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(carry, range(THREADS)))


def _read_answer(connection: socket.socket) -> None:
    answer = connection.recv(1 << 18)
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the sink answered {head[:40]!r} to a recorded request")
    left = int(head.partition(b"Content-Length: ")[2].split(b"\r\n", 1)[0]) - len(body)
    while left > 0:
        left -= len(connection.recv(1 << 18))

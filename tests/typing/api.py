"""What type checkers see of the public API: checked by `make lint`, never run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from typing_extensions import assert_type

from v3io_frames_put import (
    Client,
    Encoding,
    Interrupted,
    Limits,
    PartialFailure,
    Progress,
    RecordsPlan,
    Retry,
    Timeouts,
    put_records,
    summarize,
)
from v3io_frames_put.accessor import V3ioAccessor

if TYPE_CHECKING:
    import threading

    import pyarrow as pa


def put_a_frame(frame: pd.DataFrame, table: pa.Table, stop: threading.Event) -> None:
    """Call the one verb with every option."""
    results = put_records(
        frame,
        "projects/house/readings",
        columns=["celsius"],
        index=True,
        format="json",
        rows_per_record=10,
        partition_key="sensor",
        delivery="at_most_once",
        order="none",
        on_error="raise",
        max_in_flight=4,
        max_in_flight_bytes=1 << 20,
        progress=show,
        cancel=stop,
        encoding=Encoding(infinity="null"),
        client=make_client(),
    )
    assert_type(results, pd.DataFrame)
    assert_type(put_records(table, "projects/house/readings"), pd.DataFrame)
    put_records(frame, "a/b", max_in_flight="auto")
    put_records(frame, "a/b", max_in_flight="many")  # type: ignore[arg-type]  # a number or "auto"
    put_records(frame, "a/b", format="xml")  # type: ignore[arg-type]  # not a format
    put_records(frame, "a/b", "json")  # type: ignore[call-arg]  # options go by keyword


def put_by_methods(frame: pd.DataFrame) -> None:
    """Call the accessor as pandas makes it."""
    accessor = V3ioAccessor(frame)
    assert_type(accessor.put_records("a/b", partition_key="sensor"), pd.DataFrame)
    assert_type(accessor.plan_records("a/b", partition_key="sensor"), RecordsPlan)
    accessor.put_records("a/b", partion_key="sensor")  # type: ignore[call-arg]  # misspelled
    accessor.plan_records("a/b", format="xml")  # type: ignore[arg-type]  # not a format


def show(snapshot: Progress) -> None:
    """Take a snapshot."""
    assert_type(snapshot.stored, int)
    assert_type(snapshot.total, "int | None")


def make_client() -> Client:
    """Make a client with every setting."""
    return Client(
        "https://webapi.example.com",
        "key",
        verify="authority.pem",
        timeouts=Timeouts(connect_seconds=1),
        retry=Retry(deadline_seconds=10, attempts=3),
        limits=Limits(max_records=100),
    )


def read_back(client: Client) -> None:
    """Use the verbs of a stream."""
    assert_type(client.describe_stream("a/b").shards, int)
    records = client.read_records("a/b", start={0: 1}, limit=10)
    assert_type(records, pd.DataFrame)
    assert_type(client.decode_records(records, format="json"), pd.DataFrame)
    assert_type(client.decode_records(records, on_error="skip"), pd.DataFrame)
    assert_type(summarize(records).rows, int)


def catch(error: PartialFailure | Interrupted) -> None:
    """Find the results on what was raised."""
    assert_type(error.results, "pd.DataFrame | None")

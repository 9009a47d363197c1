"""`verify`: whether the rows that results call stored stand on the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from v3io_frames_put.cli.connection import FILE, takes_client
from v3io_frames_put.cli.exits import Exit

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from v3io_frames_put.client import Client


@click.command()
@click.argument("results", type=FILE)
@click.argument("stream")
@takes_client
def verify(results: Path, stream: str, client: Client) -> None:
    """Read STREAM again, and tell whether the stored rows of RESULTS stand there.

    RESULTS is a Parquet file: from `publish --results`, or `results.to_parquet(...)`.
    Ends with 3 if a row is missing or out of order.
    """
    told = client.verify_results(_read_results(results), stream)
    click.echo(repr(told))
    if not told.is_proven:
        raise click.exceptions.Exit(Exit.IN_DOUBT)


def _read_results(path: Path) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    try:
        return pd.read_parquet(path)
    except (pa.ArrowException, OSError) as error:
        raise click.UsageError(
            f"{path} cannot be read as Parquet ({type(error).__name__}); expected the results "
            f"of a run. Write them with publish --results or results.to_parquet."
        ) from error

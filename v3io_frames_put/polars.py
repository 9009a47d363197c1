"""``df.v3io`` for polars: importing this module registers the methods of `v3io_frames_put`.

>>> import v3io_frames_put.polars
>>> results = df.v3io.put_records("projects/fraud/clicks", partition_key="user_id")

Results are a pandas DataFrame, as for every input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .accessor import V3ioAccessor
from .errors import MissingExtra

try:
    import polars as pl
except ModuleNotFoundError as error:
    if error.name != "polars":
        raise
    raise MissingExtra(package="polars", extra="polars") from error

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["V3ioNamespace"]


@pl.api.register_dataframe_namespace("v3io")
class V3ioNamespace(V3ioAccessor):
    """Put a polars DataFrame on Iguazio v3io streams.

    ``put_records`` and ``plan_records`` read the DataFrame as it is; ``uploader`` and
    ``summary`` convert it to pandas.
    """

    def _to_pandas(self) -> pd.DataFrame:
        frame: pd.DataFrame = self._frame.to_pandas()
        return frame

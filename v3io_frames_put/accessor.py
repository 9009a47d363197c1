"""``df.v3io``: a door to the functions, with no logic of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from v3io_frames_put.plan import RecordsPlan
    from v3io_frames_put.summary import Summary
    from v3io_frames_put.widget import Uploader


@pd.api.extensions.register_dataframe_accessor("v3io")
class V3ioAccessor:
    """Put a DataFrame on Iguazio v3io streams.

    pandas makes a new accessor at each ``df.v3io``, so it keeps nothing but the frame.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def put_records(self, stream: str, **options: Any) -> pd.DataFrame:
        """Put every row on a stream; see `v3io_frames_put.put_records` for the options."""
        from v3io_frames_put.put import put_records

        return put_records(self._frame, stream, **options)

    def plan_records(self, stream: str, **options: Any) -> RecordsPlan:
        """Find out what would be sent; see `v3io_frames_put.plan_records` for the options."""
        from v3io_frames_put.plan import plan_records

        return plan_records(self._frame, stream, **options)

    def uploader(self, stream: str = "", **options: Any) -> Uploader:
        """Make an uploader for a notebook; see `v3io_frames_put.Uploader` for the options."""
        from v3io_frames_put.widget import Uploader

        return Uploader(self._frame, stream, **options)

    def summary(self) -> Summary:
        """Count what a results frame says; see `v3io_frames_put.summarize`."""
        from v3io_frames_put.summary import summarize

        return summarize(self._frame)

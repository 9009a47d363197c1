"""What a run reports, as it happens, to the journal that records it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from v3io_frames_put._producer.batch import Batch
    from v3io_frames_put._producer.outcomes import Texts
    from v3io_frames_put._producer.reconciler import Copy


class RunLog:
    """Is told what happens to requests and rows; this one keeps nothing.

    A request is told of before it leaves, and again when its end is known. What it
    left unknown stays on record until its rows have an outcome.
    """

    def begin(self, floor: NDArray[np.int64]) -> None:
        """Take where each shard ends, before the first record (``exactly_once``)."""

    def send(self, batch: Batch) -> None:
        """Take the records that the next request carries; its number is ``batch.request``."""

    def acked(self, request: int) -> None:
        """Take that a request got an answer for each of its records."""

    def refuse(self, request: int) -> None:
        """Take that nothing of a request is stored."""

    def doubt(self, batch: Batch) -> None:
        """Take that nobody knows of some records of ``batch.request`` whether they are stored."""

    def settle(
        self, rows: NDArray[np.int64], columns: Mapping[str, NDArray[Any]], texts: Texts
    ) -> None:
        """Take the outcome of rows: columns of a page, the others are blank."""

    def complete(self, number: int, batch: pa.RecordBatch) -> None:
        """Take a page of which every row has its outcome."""

    def reordered(self, rows: NDArray[np.int64], least: NDArray[np.int64]) -> None:
        """Take open rows that have a stored one of their destination behind them: its number."""

    def commit(self) -> None:
        """Make durable what was taken; raises a PutRecordsError where that fails."""

    def conclude(
        self,
        *,
        num_rows: int,
        is_finished: bool,
        late: Sequence[Copy],
        duplicates: Sequence[Copy],
    ) -> None:
        """Take how the run ended.

        How many rows it had, whether anything is left to do, and where scans saw rows: those
        that stand after all, and further copies.
        """
